//! One object of a list: an IOC of ours, an attribute of MISP, an indicator of STIX or ECS, or what
//! other products export, whose keys are named as the columns of tables are.

use std::sync::Arc;

use iocast_domain::time::clip;
use serde_json::{Map, Value};

use super::super::{
    Item, Options, Rejected,
    fields::{self, Role, Said},
    list, misp, stix, table,
};

/// An object, not understood yet.
#[derive(Debug)]
pub(in super::super) struct Element {
    pub(super) place: u64,
    pub(super) json: Vec<u8>,
    /// What the objects of its bundle say of each other.
    pub(super) graph: Option<Arc<stix::Graph>>,
    pub(super) options: Options,
    /// What its pulse says of all its indicators.
    pub(super) labels: Option<Arc<Labels>>,
}

/// Tags, families, actors and campaigns.
pub(super) type Labels = Vec<(Role, Said)>;

/// Labels of a kind that are taken from a pulse: no IOC keeps more.
const LABELS_MAX: usize = 100;
/// Longest label, in characters.
const LABEL_MAX: usize = 250;

/// What an object says of all that is in it.
pub(super) fn labels(object: &Value) -> Labels {
    let all = object.as_object().map(said).unwrap_or_default();
    let holds = |role: &Role| {
        matches!(
            role,
            Role::UserTags | Role::SystemTags | Role::Actors | Role::Campaigns | Role::Families
        )
    };
    let few = |(role, said): (Role, Said)| match said {
        Said::Exact(mut texts) => {
            texts.truncate(LABELS_MAX);
            texts.iter_mut().for_each(|text| *text = clip(text, LABEL_MAX));
            (role, Said::Exact(texts))
        }
        cell @ Said::Cell(_) => (role, cell),
    };
    all.into_iter().filter(|(role, _)| holds(role)).map(few).collect()
}

/// Keys of objects that are understood as a whole.
pub(super) fn is_known(key: &str) -> bool {
    matches!(key, "pattern" | "threat" | "properties") || key.starts_with("threat.indicator.")
}

/// A bare value of a list.
pub(super) fn bare(place: u64, text: &str, sink: &mut dyn FnMut(Item)) {
    let read = list::word(text, &mut |found| sink(Item::found(found)));
    if let Err(reason) = read {
        sink(Rejected::item(place, text, reason));
    }
}

impl Element {
    pub(super) fn weight(&self) -> usize {
        self.json.len()
    }

    /// The id of the STIX object that it is.
    pub(super) fn object_id(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Identified {
            #[serde(rename = "type")]
            kind: String,
            id: String,
        }
        let Identified { kind, id } = serde_json::from_slice(&self.json).ok()?;
        id.strip_prefix(&kind).is_some_and(|rest| rest.starts_with("--")).then_some(id)
    }

    pub(super) fn items(self, sink: &mut dyn FnMut(Item)) {
        let Self { place, json, graph, options, labels } = self;
        let object = match serde_json::from_slice(&json) {
            Ok(Value::Object(object)) => object,
            Ok(_) => Map::new(),
            Err(error) => return sink(Rejected::item(place, "", error.to_string())),
        };
        if stix::is_object(&object) {
            stix::observed(place, &object, options, sink);
            return stix::items(place, &object, graph.as_deref(), sink);
        }
        if object.get("action").and_then(Value::as_str) == Some("delete") {
            return;
        }
        if is_attribute(&object) {
            return misp::Attribute::alone(place, object, options).items(sink);
        }
        let mut cells = Vec::new();
        if let Some(pattern) = pattern(&object) {
            return stix::pattern_items(place, pattern, &said(&object), sink);
        }
        match object.get("threat").and_then(|threat| threat.get("indicator")) {
            Some(Value::Object(indicator)) => ecs(indicator, &mut cells),
            _ => cells = said(&object),
        }
        flattened_ecs(&object, &mut cells);
        // Where a key is for indicators of any kind, others only describe them.
        if cells.iter().any(|(role, _)| *role == Role::Value) {
            cells.retain(|(role, _)| !role.is_value() || *role == Role::Value);
        }
        cells.extend(labels.iter().flat_map(|labels| labels.iter().cloned()));
        table::indicators(place, &cells, options.only_to_ids, sink);
    }
}

/// An attribute as MISP's searches give it: with a category, or marked to be detected or not.
fn is_attribute(object: &Map<String, Value>) -> bool {
    let text = |key: &str| object.get(key).is_some_and(Value::is_string);
    text("type") && text("value") && (text("category") || object.contains_key("to_ids"))
}

/// A pattern of STIX in an object of another product, such as Microsoft Sentinel's.
fn pattern(object: &Map<String, Value>) -> Option<&str> {
    let inner = object.get("properties").and_then(Value::as_object);
    [Some(object), inner]
        .into_iter()
        .flatten()
        .find_map(|object| object.get("pattern"))
        .and_then(Value::as_str)
        .filter(|pattern| pattern.trim_start().starts_with('['))
}

/// The fields of an object that mean something.
fn said(object: &Map<String, Value>) -> Vec<(Role, Said)> {
    object
        .iter()
        .filter_map(|(key, value)| {
            let role = fields::role(key).filter(|role| *role != Role::Reference)?;
            Some((role, Said::Exact(texts(value)?)))
        })
        .collect()
}

/// A value as text: each element of a list, and no object.
fn texts(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Object(object) => {
            let name = object.get("name").or_else(|| object.get("display_name"))?;
            name.as_str().map(str::to_owned)
        }
        Value::Null | Value::Array(_) => None,
    };
    match value {
        Value::Array(list) => Some(list.iter().filter_map(one).collect()),
        other => one(other).map(|text| vec![text]),
    }
}

/// The indicator of the Elastic Common Schema: one of its fields is the value.
fn ecs(indicator: &Map<String, Value>, cells: &mut Vec<(Role, Said)>) {
    let mut put = |role: Role, value: Option<&Value>| {
        if let Some(texts) = value.and_then(texts) {
            cells.push((role, Said::Exact(texts)));
        }
    };
    put(Role::Value, indicator.get("ip"));
    let url = indicator.get("url");
    let part = |names: [&str; 2]| url.and_then(|url| names.iter().find_map(|name| url.get(name)));
    put(Role::Value, part(["full", "original"]).or_else(|| part(["domain", "domain"])));
    put(Role::Value, indicator.get("domain"));
    put(Role::Value, indicator.get("email").and_then(|email| email.get("address")));
    let hashes = indicator.get("file").and_then(|file| file.get("hash")).and_then(Value::as_object);
    for (name, hash) in hashes.into_iter().flatten() {
        if matches!(name.as_str(), "md5" | "sha1" | "sha256") {
            put(Role::Value, Some(hash));
        }
    }
    put(Role::FirstSeen, indicator.get("first_seen"));
    put(Role::LastSeen, indicator.get("last_seen"));
    put(Role::Confidence, indicator.get("confidence"));
}

/// The same, with its keys written in one: `threat.indicator.ip`.
fn flattened_ecs(object: &Map<String, Value>, cells: &mut Vec<(Role, Said)>) {
    for (key, value) in object {
        let Some(path) = key.strip_prefix("threat.indicator.") else { continue };
        let role = match path {
            "ip" | "url.full" | "url.original" | "domain" | "email.address" | "file.hash.md5"
            | "file.hash.sha1" | "file.hash.sha256" => Role::Value,
            "first_seen" => Role::FirstSeen,
            "last_seen" => Role::LastSeen,
            "confidence" => Role::Confidence,
            _ => continue,
        };
        if let Some(texts) = texts(value) {
            cells.push((role, Said::Exact(texts)));
        }
    }
}
