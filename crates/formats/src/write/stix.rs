//! STIX 2.1 and 2.0: an object a line, so that bundles and TAXII pages are made of the same bytes.
//!
//! Everything that an IOC brings along carries the moment of its last change as `modified`, which
//! is also the date on which it was added to the TAXII collection. Ids are version 5: the same IOC
//! keeps its id while it stays.

use iocast_domain::{
    device_type::Taxii,
    ioc::{Ioc, Kind},
    source::Confidence,
    time::Timestamp,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    json::put,
    list::{Entry, ListWriter, Scope, about, confidence, sources, uuid_of},
};

mod marking;
use self::marking::{AMBER_STRICT, TLP, TLP_2, marking};

mod threats;
pub use self::threats::{Threat, ThreatKind, threat, threats};

/// A writer of STIX.
pub(super) struct Stix(Taxii);

pub(super) const STIX_20: Stix = Stix(Taxii::V20);
pub(super) const STIX_21: Stix = Stix(Taxii::V21);

/// A UUID as the version wants it: STIX 2.0 takes version 4 only, so the same 122 bits are marked
/// as that.
fn marked(version: Taxii, uuid: Uuid) -> Uuid {
    match version {
        Taxii::V20 => uuid::Builder::from_bytes(uuid.into_bytes())
            .with_version(uuid::Version::Random)
            .into_uuid(),
        Taxii::V21 => uuid,
    }
}

fn threat_id(version: Taxii, scope: &Scope, kind: ThreatKind, name: &str) -> String {
    format!(
        "{}--{}",
        kind.word(),
        marked(version, uuid_of(scope, &format!("stix|{}|{name}", kind.word())))
    )
}

/// The UUID of an IOC's indicator. STIX forbids a new version of what was revoked: who comes back
/// is a new indicator.
#[must_use]
pub fn indicator_uuid(
    version: Taxii,
    namespace: &Uuid,
    ioc: &Ioc,
    joined_at: Timestamp,
    readded: bool,
) -> Uuid {
    let again = if readded { format!("|{}", joined_at.micros()) } else { String::new() };
    marked(
        version,
        Uuid::new_v5(
            namespace,
            format!("stix|{}|{}{again}", ioc.kind.word(), ioc.value).as_bytes(),
        ),
    )
}

/// A moment as the version wants it: STIX 2.0 takes milliseconds.
fn moment(version: Taxii, at: Timestamp) -> String {
    match version {
        Taxii::V20 => at.millis(),
        Taxii::V21 => at.to_string(),
    }
}

/// The comparison expression that matches an IOC.
#[must_use]
pub fn pattern(kind: Kind, value: &str) -> String {
    let path = match kind {
        Kind::Domain => "domain-name:value",
        Kind::Url => "url:value",
        Kind::Email => "email-addr:value",
        Kind::Ipv4 => "ipv4-addr:value",
        Kind::Ipv6 => "ipv6-addr:value",
        Kind::Md5 => "file:hashes.MD5",
        Kind::Sha1 => "file:hashes.'SHA-1'",
        Kind::Sha256 => "file:hashes.'SHA-256'",
    };
    format!("[{path} = '{}']", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[derive(Serialize)]
struct Indicator<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_version: Option<&'a str>,
    id: String,
    created_by_ref: String,
    created: String,
    modified: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
    name: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    indicator_types: Option<[&'a str; 1]>,
    pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern_version: Option<&'a str>,
    valid_from: String,
    valid_until: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<u8>,
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Value>,
    object_marking_refs: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<Value>,
    #[serde(flatten)]
    custom: Option<Value>,
}

#[derive(Serialize)]
struct Relationship<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_version: Option<&'a str>,
    id: String,
    created_by_ref: String,
    created: String,
    modified: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    revoked: bool,
    relationship_type: &'a str,
    source_ref: String,
    target_ref: String,
    object_marking_refs: [&'a str; 1],
}

impl Stix {
    const fn spec_version(&self) -> Option<&'static str> {
        match self.0 {
            Taxii::V20 => None,
            Taxii::V21 => Some("2.1"),
        }
    }

    fn is_v21(&self) -> bool {
        self.0 == Taxii::V21
    }

    fn identity(&self, scope: &Scope) -> String {
        format!("identity--{}", marked(self.0, uuid_of(scope, "stix|identity")))
    }

    fn extension(scope: &Scope) -> String {
        format!("extension-definition--{}", uuid_of(scope, "stix|extension"))
    }

    fn relationships(&self, entry: &Entry<'_>, scope: &Scope, indicator: Uuid, out: &mut Vec<u8>) {
        for (kind, name) in threats(entry.ioc) {
            let target = threat_id(self.0, scope, kind, name);
            let relationship = Relationship {
                r#type: "relationship",
                spec_version: self.spec_version(),
                id: format!(
                    "relationship--{}",
                    marked(self.0, Uuid::new_v5(&indicator, target.as_bytes()))
                ),
                created_by_ref: self.identity(scope),
                created: moment(self.0, entry.joined_at),
                modified: moment(self.0, entry.stamp),
                revoked: entry.removed,
                relationship_type: "indicates",
                source_ref: format!("indicator--{indicator}"),
                target_ref: target,
                object_marking_refs: [marking(self.0, entry.ioc)],
            };
            out.extend_from_slice(self.between());
            put(&relationship, out);
        }
    }
}

/// What every collection holds beside its IOCs: who made it, the markings, the meaning of our
/// extension. Each is one object.
#[must_use]
pub fn statics(version: Taxii, scope: &Scope) -> Vec<Value> {
    let stix = Stix(version);
    let at = moment(version, scope.created_at);
    let identity = stix.identity(scope);
    let mut objects = vec![
        json!({ "type": "identity", "id": identity, "created": at, "modified": at, "name": scope.account_name, "identity_class": "organization" }),
    ];
    objects.extend(TLP.iter().map(|(colour, id)| {
        json!({ "type": "marking-definition", "id": id, "created": "2017-01-20T00:00:00.000Z", "definition_type": "tlp", "definition": { "tlp": colour } })
    }));
    if stix.is_v21() {
        objects.push(json!({
            "type": "marking-definition", "id": AMBER_STRICT, "created": "2022-10-01T00:00:00.000Z", "name": "TLP:AMBER+STRICT",
            "extensions": { TLP_2: { "extension_type": "property-extension", "tlp_2_0": "amber+strict" } },
        }));
        objects.push(json!({
            "type": "extension-definition", "id": Stix::extension(scope), "created_by_ref": identity, "created": at, "modified": at,
            "name": "iocast indicator context", "description": "Severity, score, and each source with its confidence from 1 to 3.",
            "schema": "severity: low, medium or high; score: 0 to 100; sources: objects of name and confidence; first_seen, last_seen: timestamps",
            "version": "1.0.0", "extension_types": ["property-extension"],
        }));
        for object in objects.iter_mut().filter_map(Value::as_object_mut) {
            let colour =
                object.get("definition").and_then(|d| d["tlp"].as_str()).map(str::to_uppercase);
            if let Some(colour) = colour {
                object.insert("name".to_owned(), json!(format!("TLP:{colour}")));
            }
            object.insert("spec_version".to_owned(), json!("2.1"));
        }
    }
    objects
}

impl ListWriter for Stix {
    fn content_type(&self) -> &'static str {
        match self.0 {
            Taxii::V20 => "application/vnd.oasis.stix+json; version=2.0",
            Taxii::V21 => "application/stix+json;version=2.1",
        }
    }

    /// The bundle's beginning with the objects that are always there; IOCs follow behind a comma.
    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        let id = marked(
            self.0,
            uuid_of(scope, &format!("stix|bundle|{}|{}", scope.group, scope.publication)),
        );
        let version = if self.is_v21() { "" } else { "\"spec_version\":\"2.0\"," };
        out.extend_from_slice(
            format!("{{\"type\":\"bundle\",\"id\":\"bundle--{id}\",{version}\"objects\":[\n")
                .as_bytes(),
        );
        for (i, object) in statics(self.0, scope).iter().enumerate() {
            if i > 0 {
                out.extend_from_slice(self.between());
            }
            put(object, out);
        }
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let ioc = entry.ioc;
        let e = &ioc.enrichment;
        let uuid =
            indicator_uuid(self.0, &scope.account.namespace(), ioc, entry.joined_at, entry.readded);
        let valid_from = ioc.first_seen.min(ioc.last_seen);
        let mut labels =
            vec!["malicious-activity".to_owned(), format!("severity:{}", ioc.severity().word())];
        labels.extend(e.user_tags.iter().chain(&e.system_tags).cloned());
        let alert = |id: &str| json!({ "source_name": "Threat Command alert", "external_id": id });
        let context = || {
            let sources: Vec<Value> = sources(ioc, &scope.names)
                .map(|(name, c)| json!({ "name": name, "confidence": u8::from(c) }))
                .collect();
            let mut context = json!({
                "severity": ioc.severity().word(), "sources": sources, "first_seen": ioc.first_seen.to_string(), "last_seen": ioc.last_seen.to_string(),
            });
            if let (Some(score), Some(fields)) = (e.score, context.as_object_mut()) {
                fields.insert("score".to_owned(), json!(score));
            }
            context
        };
        let indicator = Indicator {
            r#type: "indicator",
            spec_version: self.spec_version(),
            id: format!("indicator--{uuid}"),
            created_by_ref: self.identity(scope),
            created: moment(self.0, entry.joined_at),
            modified: moment(self.0, entry.stamp),
            revoked: entry.removed,
            name: &ioc.value,
            description: about(ioc, &scope.names, 500),
            indicator_types: self.is_v21().then_some(["malicious-activity"]),
            pattern: pattern(ioc.kind, &ioc.value),
            pattern_type: self.is_v21().then_some("stix"),
            pattern_version: self.is_v21().then_some("2.1"),
            valid_from: moment(self.0, valid_from),
            valid_until: moment(self.0, ioc.retires_at().max(valid_from.plus(1_000_000))),
            confidence: if self.is_v21() { confidence(ioc, &scope.names).map(of_100) } else { None },
            labels,
            external_references: e.alert_id.as_deref().map(alert).into_iter().collect(),
            object_marking_refs: [marking(self.0, ioc)],
            extensions: self.is_v21().then(|| {
                let mut context = context();
                if let Some(fields) = context.as_object_mut() {
                    fields.insert("extension_type".to_owned(), json!("property-extension"));
                }
                json!({ Self::extension(scope): context })
            }),
            custom: (!self.is_v21()).then(|| {
                let context = context();
                json!({ "x_iocast_severity": context["severity"], "x_iocast_sources": context["sources"], "x_iocast_first_seen": context["first_seen"],
                        "x_iocast_last_seen": context["last_seen"] })
            }),
        };
        put(&indicator, out);
        self.relationships(entry, scope, uuid, out);
    }

    fn between(&self) -> &'static [u8] {
        b",\n"
    }

    fn tail(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\n]}\n");
    }
}

/// The middle of each range of STIX's Low, Med and High scale.
fn of_100(confidence: Confidence) -> u8 {
    match confidence {
        Confidence::HIGH => 85,
        Confidence::MEDIUM => 50,
        _ => 15,
    }
}

#[cfg(test)]
mod tests;
