//! STIX 2.0 and 2.1: indicators of bundles and TAXII answers, with what other objects of the same
//! bundle say of them.

use std::collections::HashMap;

use iocast_domain::{
    ioc::{Enrichment, Kind, label},
    normalise,
    time::Timestamp,
};
use serde_json::{Map, Value};

use super::{
    Item, Options, Rejected,
    fields::{Facts, Role, Said},
    list,
};

mod pattern;
use self::pattern::{Comparison, comparisons};

/// Most observables of one object.
const OBSERVED_MAX: usize = 10_000;

const OBSERVED: &str =
    "this was observed, and nothing says that it is bad; import with observables to take it";

/// Most objects of a bundle of which something is kept to be said of others.
const KEPT_MAX: usize = 200_000;

/// What the objects of a bundle say of each other.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Threats by their id.
    threats: HashMap<String, (Threat, String)>,
    /// What an indicator indicates.
    indicates: HashMap<String, Vec<String>>,
    /// Marks by their id, as tags.
    markings: HashMap<String, String>,
    /// When an indicator was last seen.
    sightings: HashMap<String, Timestamp>,
}

#[derive(Clone, Copy, Debug)]
enum Threat {
    Family,
    Actor,
    Campaign,
}

fn text<'o>(object: &'o Map<String, Value>, key: &str) -> Option<&'o str> {
    object.get(key).and_then(Value::as_str)
}

fn texts<'o>(object: &'o Map<String, Value>, key: &str) -> impl Iterator<Item = &'o str> {
    object.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether an object is one of STIX: its id begins with its type.
pub(super) fn is_object(object: &Map<String, Value>) -> bool {
    let (Some(kind), Some(id)) = (text(object, "type"), text(object, "id")) else { return false };
    id.strip_prefix(kind).is_some_and(|rest| rest.starts_with("--"))
}

impl Graph {
    /// Takes in an object that says something of others.
    pub(super) fn learn(&mut self, json: &[u8]) {
        let kept = self.threats.len() + self.indicates.len() + self.sightings.len();
        if kept + self.markings.len() >= KEPT_MAX {
            return;
        }
        let Ok(Value::Object(object)) = serde_json::from_slice(json) else { return };
        let (Some(kind), Some(id)) = (text(&object, "type"), text(&object, "id")) else { return };
        let threat = match kind {
            "malware" | "tool" => Threat::Family,
            "threat-actor" | "intrusion-set" => Threat::Actor,
            "campaign" => Threat::Campaign,
            "relationship" if text(&object, "relationship_type") == Some("indicates") => {
                if let (Some(from), Some(to)) =
                    (text(&object, "source_ref"), text(&object, "target_ref"))
                {
                    self.indicates.entry(from.to_owned()).or_default().push(to.to_owned());
                }
                return;
            }
            "sighting" => {
                let seen = text(&object, "last_seen").and_then(|t| Timestamp::parse(t).ok());
                if let (Some(of), Some(seen)) = (text(&object, "sighting_of_ref"), seen) {
                    let last = self.sightings.entry(of.to_owned()).or_insert(seen);
                    *last = (*last).max(seen);
                }
                return;
            }
            "marking-definition" => {
                let tlp = object.get("definition").and_then(|definition| definition.get("tlp"));
                let name = tlp.and_then(Value::as_str).map(|tlp| format!("tlp:{tlp}"));
                let name = name.or_else(|| text(&object, "name").map(str::to_ascii_lowercase));
                if let Some(name) = name.filter(|name| name.starts_with("tlp:")) {
                    self.markings.insert(id.to_owned(), name);
                }
                return;
            }
            _ => return,
        };
        if let Some(name) = text(&object, "name").and_then(label) {
            self.threats.insert(id.to_owned(), (threat, name));
        }
    }

    fn tell(&self, id: &str, enrichment: &mut Enrichment) {
        for (threat, name) in
            self.indicates.get(id).into_iter().flatten().filter_map(|to| self.threats.get(to))
        {
            let names = match threat {
                Threat::Family => &mut enrichment.malware_families,
                Threat::Actor => &mut enrichment.threat_actors,
                Threat::Campaign => &mut enrichment.campaigns,
            };
            names.insert(name.clone());
        }
    }
}

/// The marks that STIX itself defines, and those of TLP 2.0.
const MARKINGS: &[(&str, &str)] = &[
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", "tlp:white"),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", "tlp:green"),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", "tlp:amber"),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "tlp:red"),
    ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", "tlp:clear"),
    ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "tlp:green"),
    ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", "tlp:amber"),
    ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", "tlp:amber+strict"),
    ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", "tlp:red"),
];

/// The indicators of an object: those of its pattern, if it is an indicator that holds.
pub(super) fn items(
    place: u64,
    object: &Map<String, Value>,
    graph: Option<&Graph>,
    sink: &mut dyn FnMut(Item),
) {
    if text(object, "type") != Some("indicator")
        || object.get("revoked").and_then(Value::as_bool) == Some(true)
    {
        return;
    }
    let pattern = text(object, "pattern").unwrap_or_default();
    let language = text(object, "pattern_type").unwrap_or("stix");
    if language != "stix" {
        let reason = format!(
            "a pattern of `{}` is a rule, and not an indicator",
            iocast_domain::time::clip(language, 30)
        );
        return sink(Rejected::item(place, pattern, reason));
    }
    let mut said = Vec::new();
    let mut put = |role, key| {
        let texts = match object.get(key) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Number(number)) => vec![number.to_string()],
            _ => texts(object, key).map(str::to_owned).collect(),
        };
        if !texts.is_empty() {
            said.push((role, Said::Exact(texts)));
        }
    };
    put(Role::FirstSeen, "valid_from");
    put(Role::Confidence, "confidence");
    put(Role::SystemTags, "labels");
    put(Role::SystemTags, "indicator_types");
    let marks = texts(object, "object_marking_refs").filter_map(|id| {
        let known = MARKINGS.iter().find(|(known, _)| *known == id).map(|(_, tag)| *tag);
        known.or_else(|| graph?.markings.get(id).map(String::as_str)).map(str::to_owned)
    });
    let marks: Vec<String> = marks.collect();
    if !marks.is_empty() {
        said.push((Role::SystemTags, Said::Exact(marks)));
    }
    let id = text(object, "id").unwrap_or_default();
    let mut facts = Facts::default();
    for (role, said) in &said {
        facts.take(*role, said);
    }
    if let Some(graph) = graph {
        graph.tell(id, &mut facts.sighting.enrichment);
        facts.sighting.last_seen = graph.sightings.get(id).copied();
    }
    facts.finish();
    give(place, pattern, facts, sink);
}

/// What an object observed: in STIX 2.1 it is one itself, in 2.0 it holds some. It was merely seen,
/// so it is taken by choice only.
pub(super) fn observed(
    place: u64,
    object: &Map<String, Value>,
    options: Options,
    sink: &mut dyn FnMut(Item),
) {
    let inner = match text(object, "type") {
        Some("observed-data") => object.get("objects").and_then(Value::as_object),
        _ => None,
    };
    let inner = inner.into_iter().flat_map(Map::values).filter_map(Value::as_object);
    for observable in std::iter::once(object).chain(inner).take(OBSERVED_MAX) {
        for (path, value) in paths(observable) {
            if !options.observables {
                sink(Rejected::item(place, &value, OBSERVED));
            } else if let Err(reason) = read(&path, &value, &mut |found| sink(Item::found(found))) {
                sink(Rejected::item(place, &value, reason));
            }
        }
    }
}

/// What an observable says that devices take, as a pattern would say it.
fn paths(object: &Map<String, Value>) -> Vec<(String, String)> {
    let Some(kind) = text(object, "type") else { return Vec::new() };
    match kind {
        "ipv4-addr" | "ipv6-addr" | "domain-name" | "url" | "email-addr" => text(object, "value")
            .map(|value| (format!("{kind}:value"), value.to_owned()))
            .into_iter()
            .collect(),
        "file" | "artifact" => object
            .get("hashes")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(name, _)| !name.to_ascii_uppercase().contains("512"))
            .filter_map(|(name, value)| {
                Some((format!("{kind}:hashes.{name}"), value.as_str()?.to_owned()))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The indicators of a pattern in an object of another product.
pub(super) fn pattern_items(
    place: u64,
    pattern: &str,
    said: &[(Role, Said)],
    sink: &mut dyn FnMut(Item),
) {
    let mut facts = Facts::default();
    for (role, said) in said {
        facts.take(*role, said);
    }
    facts.finish();
    give(place, pattern, facts, sink);
}

fn give(place: u64, pattern: &str, facts: Facts, sink: &mut dyn FnMut(Item)) {
    let found = match comparisons(pattern) {
        Ok(found) => found,
        Err(reason) => return sink(Rejected::item(place, pattern, reason)),
    };
    for Comparison { path, value } in found {
        let mut give = |indicator| sink(Item::found_with(indicator, &facts.sighting));
        if let Err(reason) = read(&path, &value, &mut give) {
            sink(Rejected::item(place, &value, reason));
        }
    }
    for sentence in facts.left_out {
        sink(Item::Remark(Rejected::new(place, pattern, sentence)));
    }
}

fn read(path: &str, value: &str, give: &mut dyn FnMut((Kind, String))) -> Result<(), String> {
    let (object, property) = path.split_once(':').unwrap_or((path, ""));
    let kind = match (object, property) {
        ("ipv4-addr", "value") => Some(Kind::Ipv4),
        ("ipv6-addr", "value") => Some(Kind::Ipv6),
        ("domain-name" | "hostname", "value") => Some(Kind::Domain),
        ("url", "value") => Some(Kind::Url),
        ("email-addr", "value")
        | ("email-message", "from_ref.value" | "sender_ref.value" | "reply_to_refs[*].value") => {
            Some(Kind::Email)
        }
        ("network-traffic", "dst_ref.value" | "src_ref.value")
        | ("domain-name", "resolves_to_refs[*].value") => None,
        ("file" | "artifact", hashes)
            if hashes.starts_with("hashes.") || hashes.starts_with("content_ref.hashes.") =>
        {
            let name: String = hashes
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect();
            match name.to_ascii_uppercase().as_str() {
                "MD5" => Some(Kind::Md5),
                "SHA1" => Some(Kind::Sha1),
                "SHA256" => Some(Kind::Sha256),
                _ => return Err(untaken(path)),
            }
        }
        _ => return Err(untaken(path)),
    };
    let Some(kind) = kind else { return list::word(value, give) };
    match normalise::of_hint(kind, value) {
        Ok(found) => {
            give(found);
            Ok(())
        }
        Err(reason) => list::word(value, give).map_err(|_| reason),
    }
}

fn untaken(path: &str) -> String {
    format!("`{}` is not a kind of IOC that devices take", iocast_domain::time::clip(path, 60))
}

#[cfg(test)]
mod tests;
