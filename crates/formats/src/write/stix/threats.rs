//! Threats of an indicator: actors, campaigns, malware.

use iocast_domain::{device_type::Taxii, ioc::Ioc, time::Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::{super::list::Scope, Stix, marking::AMBER, moment, threat_id};

/// What an IOC may belong to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ThreatKind {
    /// A malware family.
    Malware,
    /// A threat actor.
    ThreatActor,
    /// A campaign.
    Campaign,
}

/// A malware family, threat actor or campaign that IOCs of a group point at, and since when it is
/// listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Threat {
    /// What it is.
    #[serde(rename = "k")]
    pub kind: ThreatKind,
    /// Its name.
    #[serde(rename = "n")]
    pub name: String,
    /// UTC microseconds.
    #[serde(rename = "t")]
    pub stamp: i64,
}

impl ThreatKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Malware => "malware",
            Self::ThreatActor => "threat-actor",
            Self::Campaign => "campaign",
        }
    }
}

/// What an IOC belongs to.
pub fn threats(ioc: &Ioc) -> impl Iterator<Item = (ThreatKind, &str)> {
    let e = &ioc.enrichment;
    let sets = [
        (ThreatKind::Malware, &e.malware_families),
        (ThreatKind::ThreatActor, &e.threat_actors),
        (ThreatKind::Campaign, &e.campaigns),
    ];
    sets.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name.as_str())))
}

/// A malware family, threat actor or campaign as an object.
#[must_use]
pub fn threat(version: Taxii, scope: &Scope, of: &Threat) -> Value {
    let at = moment(version, Timestamp::from_micros(of.stamp));
    let mut object = json!({
        "type": of.kind.word(), "id": threat_id(version, scope, of.kind, &of.name), "created_by_ref": Stix(version).identity(scope), "created": at, "modified": at,
        "name": of.name, "object_marking_refs": [AMBER],
    });
    let Some(fields) = object.as_object_mut() else { return object };
    match (version, of.kind) {
        (Taxii::V21, ThreatKind::Malware) => fields.insert("is_family".to_owned(), json!(true)),
        (Taxii::V20, ThreatKind::Malware | ThreatKind::ThreatActor) => {
            fields.insert("labels".to_owned(), json!(["unknown"]))
        }
        _ => None,
    };
    if version == Taxii::V21 {
        fields.insert("spec_version".to_owned(), json!("2.1"));
    }
    object
}
