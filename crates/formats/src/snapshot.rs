//! What a publication held, read back from its files, and what differs between two of them.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use iocast_domain::device_type::Format;
use serde_json::Value;

use crate::write::list::writer;

/// A file of a publication.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotFile<'a> {
    /// Path below the group URL.
    pub path: &'a str,
    /// The plain text.
    pub text: &'a str,
    /// Of a list: where its entries begin.
    pub before: usize,
}

/// The values of a publication, each with a number over all that it said of it.
pub type Snapshot = BTreeMap<String, u64>;

/// What differs between two publications, in the order of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the later one.
    pub added: Vec<String>,
    /// Only in the earlier one.
    pub removed: Vec<String>,
    /// In both, and differently described.
    pub changed: Vec<String>,
}

/// Reads a publication back.
#[must_use]
pub fn snapshot<'a>(format: Format, files: impl IntoIterator<Item = SnapshotFile<'a>>) -> Snapshot {
    let mut values = Snapshot::new();
    for file in files {
        if format == Format::MispFeed {
            misp_event(file.text, &mut values);
        } else if file.path == format.entry() {
            list(format, file, &mut values);
        }
    }
    values
}

/// What differs from `earlier` to `later`.
#[must_use]
pub fn compare(earlier: &Snapshot, later: &Snapshot) -> Comparison {
    let mut comparison = Comparison::default();
    for (value, said) in later {
        match earlier.get(value) {
            None => comparison.added.push(value.clone()),
            Some(before) if before != said => comparison.changed.push(value.clone()),
            Some(_) => {}
        }
    }
    comparison.removed =
        earlier.keys().filter(|value| !later.contains_key(*value)).cloned().collect();
    comparison
}

fn number(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn misp_event(text: &str, values: &mut Snapshot) {
    let Ok(file) = serde_json::from_str::<Value>(text) else { return };
    let attributes = file.pointer("/Event/Attribute").and_then(Value::as_array);
    for attribute in attributes
        .into_iter()
        .flatten()
        .filter(|a| a.get("deleted").and_then(Value::as_bool) != Some(true))
    {
        let Some(value) = attribute.get("value").and_then(Value::as_str) else { continue };
        let said = ["comment", "first_seen", "last_seen", "Tag"]
            .map(|name| attribute.get(name).map(ToString::to_string).unwrap_or_default())
            .concat();
        values.insert(value.to_owned(), number(&said));
    }
}

fn list(format: Format, file: SnapshotFile<'_>, values: &mut Snapshot) {
    let (head, body) = file.text.split_at_checked(file.before).unwrap_or(("", file.text));
    let joined = writer(format).is_some_and(|w| !w.between().is_empty());
    let columns: Vec<&str> = head.trim().split(',').collect();
    let lines = body.lines().map(|line| if joined { line.trim_end_matches(',') } else { line });
    for line in lines.filter(|line| !line.is_empty()) {
        if let Some(value) = value(format, &columns, line) {
            // When something changed is no change of what is said.
            let said = if format.is_log() || format == Format::Json || format == Format::Ndjson {
                without_times(line)
            } else {
                line.to_owned()
            };
            values.insert(value, number(&said));
        }
    }
}

/// A JSON object without the moments of its own making.
fn without_times(line: &str) -> String {
    let Ok(mut object) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    if let Some(fields) = object.as_object_mut() {
        for name in ["at", "created", "modified", "since"] {
            fields.remove(name);
        }
    }
    object.to_string()
}

/// The value that a line is about; nothing for lines that are about none.
fn value(format: Format, columns: &[&str], line: &str) -> Option<String> {
    let cell = |wanted: &[&str]| {
        let at = columns.iter().position(|c| wanted.contains(c))?;
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        reader.records().next()?.ok()?.get(at).map(str::to_owned)
    };
    let field = |name: &str| {
        serde_json::from_str::<Value>(line).ok()?.get(name)?.as_str().map(str::to_owned)
    };
    let between = |from: &str, to: &str| {
        line.split_once(from)
            .and_then(|(_, rest)| rest.split_once(to))
            .map(|(value, _)| value.to_owned())
    };
    match format {
        Format::MispFeed | Format::VendorApi => None,
        Format::PlainList | Format::RequestedList | Format::PanosEdl | Format::SuricataDataset => {
            Some(line.to_owned())
        }
        Format::CiscoList => (!line.starts_with('#')).then(|| line.to_owned()),
        Format::CheckPointCsv => cell(&["VALUE"]),
        Format::DefenderCsv => cell(&["indicatorValue"]),
        Format::SplunkCsv => cell(&["ip", "domain", "url", "file_hash", "src_user"]),
        Format::Csv => cell(&["value"]),
        Format::F5FeedList => {
            line.rsplit_once(",BL,").map(|(network, _)| network.replacen(',', "/", 1))
        }
        Format::MikrotikScript => between("address=", " "),
        Format::Nftables if line.starts_with("add element ") => between("{ ", " }"),
        Format::Nftables => None,
        Format::SquidDomains => line.strip_prefix('.').map(str::to_owned),
        Format::Rpz => line
            .split_once(" CNAME ")
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.starts_with("*.")),
        Format::Hosts => line.strip_prefix("0.0.0.0 ").map(str::to_owned),
        Format::Dnsmasq => between("/", "/"),
        Format::Unbound => between("\"", ".\""),
        Format::ZeekIntel => line.split('\t').next().map(str::to_owned),
        Format::Json | Format::Ndjson => field("value"),
        Format::ArcsightEvents => {
            field("value").filter(|_| field("action").as_deref() == Some("add"))
        }
        Format::CarbonBlackFeed => {
            let report: Value = serde_json::from_str(line).ok()?;
            report.get("iocs")?.as_object()?.values().next()?.get(0)?.as_str().map(str::to_owned)
        }
        Format::StixBundle | Format::Taxii21 | Format::Taxii20 => {
            let object: Value = serde_json::from_str(line).ok()?;
            let live = object.get("type")?.as_str() == Some("indicator")
                && object.get("revoked").and_then(Value::as_bool) != Some(true);
            object.get("name").filter(|_| live)?.as_str().map(str::to_owned)
        }
    }
}
