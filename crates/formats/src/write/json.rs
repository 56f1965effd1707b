//! All that is known of each IOC as JSON: one document, or an object a line.

use std::collections::BTreeSet;

use serde::Serialize;

use super::list::{Entry, ListWriter, Scope, confidence, sources};

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
    confidence: u8,
}

#[derive(Serialize)]
struct Item<'a> {
    value: &'a str,
    kind: &'a str,
    severity: &'a str,
    rated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    first_seen: String,
    last_seen: String,
    since: String,
    sources: Vec<Source<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_id: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tags: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    system_tags: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    threat_actors: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    campaigns: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    malware_families: &'a BTreeSet<String>,
}

fn item(entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
    let ioc = entry.ioc;
    let e = &ioc.enrichment;
    let item = Item {
        value: &ioc.value,
        kind: ioc.kind.word(),
        severity: ioc.severity().word(),
        rated: ioc.rated(),
        confidence: confidence(ioc, &scope.names).map(u8::from),
        score: e.score,
        first_seen: ioc.first_seen.to_string(),
        last_seen: ioc.last_seen.to_string(),
        since: entry.joined_at.to_string(),
        sources: sources(ioc, &scope.names)
            .map(|(name, c)| Source { name, confidence: u8::from(c) })
            .collect(),
        alert_id: e.alert_id.as_deref(),
        tags: &e.user_tags,
        system_tags: &e.system_tags,
        threat_actors: &e.threat_actors,
        campaigns: &e.campaigns,
        malware_families: &e.malware_families,
    };
    put(&item, out);
}

/// Writing plain structures into memory can't fail.
pub(super) fn put(value: &impl Serialize, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, value);
}

pub(super) struct Json;

impl ListWriter for Json {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"group\":");
        put(&scope.group_name, out);
        out.extend_from_slice(
            format!(
                ",\"publication\":{},\"published_at\":\"{}\",\"count\":{},\"iocs\":[\n",
                scope.publication, scope.published_at, scope.live
            )
            .as_bytes(),
        );
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        item(entry, scope, out);
    }

    fn between(&self) -> &'static [u8] {
        b",\n"
    }

    fn tail(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\n]}\n");
    }
}

pub(super) struct Ndjson;

impl ListWriter for Ndjson {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        item(entry, scope, out);
        out.push(b'\n');
    }
}
