//! Values in the one form in which they are compared.

use std::collections::BTreeMap;

use iocast_app::AppError;
use iocast_domain::{device::check_labels, guard::OwnName, problem::FieldError};
use serde_json::{Map, Value};

use super::{
    current::{fields, folded, group_name, names},
    document::{AllowPart, Document},
};
use crate::api::{
    rules::CriteriaWire,
    sources::LimitsWire,
    subscriptions::{SubscriptionIn, is_usual},
};

/// What says nothing, taken out; and lists in order.
pub(super) fn without_empty(fields: Map<String, Value>) -> Map<String, Value> {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    let mut fields: Map<String, Value> =
        fields.into_iter().filter(|(_, value)| says(value)).collect();
    // Of these lists the order says nothing.
    for value in fields.values_mut() {
        if let Value::Array(all) = value {
            all.sort_by_key(ToString::to_string);
        }
    }
    fields
}

/// The fields of a subscription that are not as usual.
pub(super) fn subscription(fields: Map<String, Value>) -> Map<String, Value> {
    let mut fields = without_empty(fields);
    if fields.contains_key("cron") {
        fields.remove("every_minutes");
    }
    if let Some(Value::String(url)) = fields.get_mut("url")
        && let Ok(same) = url::Url::parse(url.trim())
    {
        *url = same.to_string();
    }
    let protocol = fields.get("protocol").and_then(Value::as_str).unwrap_or("file").to_owned();
    fields.retain(|name, value| !is_usual(&protocol, name, value));
    fields
}

/// Puts a document into that form, and collects what is wrong with it.
pub(super) struct Normal {
    sources: BTreeMap<String, String>,
    devices: BTreeMap<String, String>,
    groups: BTreeMap<String, String>,
    pub(super) wrong: Vec<FieldError>,
}

fn group_names(document: &Document) -> Vec<String> {
    let devices = document.devices.iter().flatten();
    devices
        .flat_map(|of| of.groups.iter().flatten().map(|group| group_name(&of.name, &group.name)))
        .collect()
}

impl Normal {
    /// Knows the names of what is there and of what the document adds.
    pub(super) fn of(there: &Document, new: &Document) -> Self {
        let source = |of: &Document| -> Vec<String> {
            of.sources.iter().flatten().map(|one| one.name.clone()).collect()
        };
        let device = |of: &Document| -> Vec<String> {
            of.devices.iter().flatten().map(|one| one.name.clone()).collect()
        };
        let both = |there: Vec<String>, new: Vec<String>| {
            names(there.iter().map(String::as_str), new.iter().map(String::as_str))
        };
        Self {
            sources: both(source(there), source(new)),
            devices: both(device(there), device(new)),
            groups: both(group_names(there), group_names(new)),
            wrong: Vec::new(),
        }
    }

    fn wrong(&mut self, field: String, code: &str, message: impl Into<String>) {
        self.wrong.push(FieldError::new(&field, code, message));
    }

    fn source(&mut self, field: &str, name: &str) -> String {
        if let Some(known) = self.sources.get(&folded(name)) {
            return known.clone();
        }
        let message = format!("There is no source `{name}`, and the document adds none.");
        self.wrong(field.to_owned(), "unknown", message);
        name.to_owned()
    }

    fn device(&mut self, field: &str, name: &str) -> String {
        if let Some(known) = self.devices.get(&folded(name)) {
            return known.clone();
        }
        let message = format!("There is no device `{name}`, and the document adds none.");
        self.wrong(field.to_owned(), "unknown", message);
        name.to_owned()
    }

    fn group(&mut self, field: &str, name: &str) -> String {
        if let Some(known) = self.groups.get(&folded(name)) {
            return known.clone();
        }
        let message = format!(
            "There is no group `{name}`, and the document adds none. Name a group as `Device/Group`."
        );
        self.wrong(field.to_owned(), "unknown", message);
        name.to_owned()
    }

    /// Names that come twice.
    fn once<'a>(&mut self, part: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = std::collections::HashSet::new();
        let twice: Vec<&str> = names.filter(|name| !seen.insert(folded(name))).collect();
        for name in twice {
            self.wrong(part.to_owned(), "twice", format!("`{name}` stands in it twice."));
        }
    }

    /// The document in the form in which it is compared.
    pub(super) fn document(&mut self, mut document: Document) -> Document {
        self.once("people", document.people.iter().flatten().map(|of| of.email.as_str()));
        self.once("sources", document.sources.iter().flatten().map(|of| of.name.as_str()));
        self.once("devices", document.devices.iter().flatten().map(|of| of.name.as_str()));
        self.once("rules", document.rules.iter().flatten().map(|of| of.name.as_str()));
        if let Some(guards) = &mut document.guards {
            if let Some(own) = &mut guards.own {
                *own = std::mem::take(own)
                    .into_iter()
                    .map(|text| self.own_name("guards.own", text))
                    .collect();
            }
            for entry in guards.allow.iter_mut().flatten() {
                self.allow(entry);
            }
        }
        for person in document.people.iter_mut().flatten() {
            person.email = folded(&person.email);
        }
        for source in document.sources.iter_mut().flatten() {
            let at = format!("sources.{}", source.name);
            if let Some(limits) = source.limits.take() {
                source.limits = self.limits(&at, limits);
            }
            if let Some(fields) = source.subscription.take() {
                source.subscription = self.subscription(&at, fields);
            }
        }
        for device in document.devices.iter_mut().flatten() {
            let at = format!("devices.{}", device.name);
            self.once(&at, device.groups.iter().flatten().map(|of| of.name.as_str()));
            if let Some(labels) = &mut device.labels {
                match check_labels(labels) {
                    Ok(checked) => *labels = checked.into_iter().collect(),
                    Err(error) => self.wrong(format!("{at}.labels"), &error.code, error.message),
                }
            }
            for group in device.groups.iter_mut().flatten() {
                let at = format!("{at}.{}.source_priority", group.name);
                for name in group.source_priority.iter_mut().flatten() {
                    *name = self.source(&at, name);
                }
            }
        }
        for rule in document.rules.iter_mut().flatten() {
            let at = format!("rules.{}", rule.name);
            if let Some(criteria) = rule.criteria.take() {
                rule.criteria = self.criteria(&format!("{at}.criteria"), criteria);
            }
            if let Some(groups) = &mut rule.groups {
                for name in groups.iter_mut() {
                    *name = self.group(&format!("{at}.groups"), name);
                }
                groups.sort();
                groups.dedup();
            }
        }
        document
    }

    fn own_name(&mut self, field: &str, text: String) -> String {
        match text.parse::<OwnName>() {
            Ok(name) => name.into(),
            Err(why) => {
                self.wrong(field.to_owned(), "invalid", format!("{why}."));
                text
            }
        }
    }

    fn allow(&mut self, entry: &mut AllowPart) {
        entry.value = self.own_name("guards.allow", std::mem::take(&mut entry.value));
        if let Some(name) = &entry.source {
            entry.source = Some(self.source("guards.allow", name));
        }
        if let Some(name) = &entry.device {
            entry.device = Some(self.device("guards.allow", name));
        }
    }

    fn limits(&mut self, at: &str, given: Map<String, Value>) -> Option<Map<String, Value>> {
        let read: Result<LimitsWire, _> = serde_json::from_value(given.into());
        match read.map_err(AppError::internal).and_then(|wire| fields(&wire)) {
            Ok(fields) => Some(without_empty(fields)),
            Err(error) => {
                self.wrong(format!("{at}.limits"), "invalid", cause(&error));
                None
            }
        }
    }

    fn subscription(&mut self, at: &str, given: Map<String, Value>) -> Option<Map<String, Value>> {
        let at = format!("{at}.subscription");
        let read: Result<SubscriptionIn, _> = serde_json::from_value(given.clone().into());
        match read {
            Ok(read) => match read.checked() {
                Ok(_) => Some(subscription(given)),
                Err(error) => {
                    self.wrong(at, "invalid", crate::problem::Problem::from(error).detail);
                    None
                }
            },
            Err(error) => {
                self.wrong(at, "invalid", format!("{error}."));
                None
            }
        }
    }

    /// Criteria name sources where the API has ids.
    fn criteria(&mut self, at: &str, mut given: Map<String, Value>) -> Option<Map<String, Value>> {
        let sources = given.remove("sources").unwrap_or_default();
        let sources: Vec<String> = match sources {
            Value::Null => Vec::new(),
            other => match serde_json::from_value(other) {
                Ok(names) => names,
                Err(error) => {
                    self.wrong(format!("{at}.sources"), "invalid", format!("{error}."));
                    return None;
                }
            },
        };
        let mut sources: Vec<String> =
            sources.iter().map(|name| self.source(&format!("{at}.sources"), name)).collect();
        sources.sort();
        if given.contains_key("source_ids") {
            let message = "A document names sources: give `sources` with their names.";
            self.wrong(format!("{at}.source_ids"), "invalid", message);
            return None;
        }
        let read: Result<CriteriaWire, _> = serde_json::from_value(given.into());
        match read.map_err(AppError::internal).and_then(|wire| fields(&wire)) {
            Ok(fields) => {
                let mut fields = without_empty(fields);
                if !sources.is_empty() {
                    fields.insert("sources".to_owned(), sources.into());
                }
                Some(fields)
            }
            Err(error) => {
                self.wrong(at.to_owned(), "invalid", cause(&error));
                None
            }
        }
    }
}

/// What a fault of reading says.
fn cause(error: &AppError) -> String {
    match error {
        AppError::Internal(cause) => format!("{cause}."),
        other => other.to_string(),
    }
}
