//! What an event's last version holds that the next one goes on from.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use serde::Deserialize;
use uuid::Uuid;

use super::{EventHead, Member, Orgc, RenderedEvent, SourceNames};

/// Tags that an earlier version of an event listed, by attribute UUID.
pub type ListedTags = HashMap<Uuid, BTreeSet<String>>;

#[derive(Deserialize)]
struct ListedFile {
    #[serde(rename = "Event")]
    event: ListedEvent,
}

#[derive(Deserialize)]
struct ListedEvent {
    #[serde(rename = "Attribute")]
    attribute: Vec<ListedAttribute>,
}

#[derive(Deserialize)]
struct ListedAttribute {
    uuid: Uuid,
    #[serde(rename = "Tag", default)]
    tag: Vec<ListedTag>,
}

#[derive(Deserialize)]
struct ListedTag {
    name: String,
}

/// The tags that a published event lists, deleted ones too: once taken back, a tag stays listed as
/// deleted for receivers that missed the version in between.
///
/// # Errors
/// If the file is not one of ours.
pub fn listed_tags(json: &[u8]) -> serde_json::Result<ListedTags> {
    let file: ListedFile = serde_json::from_slice(json)?;
    Ok(file
        .event
        .attribute
        .into_iter()
        .map(|a| (a.uuid, a.tag.into_iter().map(|t| t.name).collect()))
        .collect())
}

/// The files of an event as they were published.
#[derive(Debug)]
pub struct Published {
    json: Vec<u8>,
    hashes: Vec<u8>,
    /// Where in the JSON its attributes stand.
    attributes: Range<usize>,
    threat_level: u8,
}

impl Published {
    /// None if the event is not written as this version writes it.
    #[must_use]
    pub fn of(json: Vec<u8>, hashes: Vec<u8>) -> Option<Self> {
        let attributes = attributes_begin(&json)?..json.strip_suffix(AFTER_ATTRIBUTES)?.len();
        let head = json.get(..attributes.start)?;
        let level = memmem(head, THREAT_LEVEL)? + THREAT_LEVEL.len();
        let threat_level = head.get(level).filter(|b| (b'1'..=b'3').contains(b))? - b'0';
        Some(Self { json, hashes, attributes, threat_level })
    }

    fn attributes(&self) -> &[u8] {
        self.json.get(self.attributes.clone()).unwrap_or_default()
    }
}

/// What stands before the attributes, and what behind them. A quote within a text is escaped:
/// neither is found in one.
const BEFORE_ATTRIBUTES: &[u8] = b",\"Attribute\":[";
const AFTER_ATTRIBUTES: &[u8] = b"],\"Object\":[],\"EventReport\":[]}}";
const THREAT_LEVEL: &[u8] = b",\"threat_level_id\":\"";

fn attributes_begin(json: &[u8]) -> Option<usize> {
    Some(memmem(json, BEFORE_ATTRIBUTES)? + BEFORE_ATTRIBUTES.len())
}

fn memmem(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|w| w == wanted)
}

/// As `event` renders it, where members were added and nothing else changed: what is published is
/// taken as it stands, and only the new ones are rendered, in front of it.
///
/// # Errors
/// As `event`.
fn grown(
    head: &EventHead<'_>,
    orgc: &Orgc,
    published: &Published,
    joining: &[Member<'_>],
    names: &SourceNames,
) -> serde_json::Result<RenderedEvent> {
    let mut file = super::render(
        head,
        orgc,
        joining,
        names,
        &ListedTags::new(),
        Some(published.threat_level),
    )?;
    let before = published.attributes();
    if let Some(at) = attributes_begin(&file.json).filter(|_| !before.is_empty()) {
        let end = file.json.len() - AFTER_ATTRIBUTES.len();
        let comma: &[u8] = if at == end { b"" } else { b"," };
        file.json.splice(end..end, comma.iter().chain(before).copied());
    }
    file.hashes.splice(0..0, published.hashes.iter().copied());
    Ok(file)
}

/// As [`grown`], of an event that has a file for a MISP that never had it: `first` is that one.
///
/// # Errors
/// As `event`.
pub fn both_grown(
    head: &EventHead<'_>,
    orgc: &Orgc,
    (whole, first): (&Published, Option<&Published>),
    joining: &[Member<'_>],
    names: &SourceNames,
) -> serde_json::Result<RenderedEvent> {
    let mut file = grown(head, orgc, whole, joining, names)?;
    if let Some(first) = first {
        file.first = Some(grown(head, orgc, first, joining, names)?.json);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use iocast_domain::{
        id::PartId,
        ioc::{Enrichment, Kind},
    };

    use super::{
        super::{
            fingerprint,
            tests::{ioc, render, rich},
        },
        *,
    };

    /// An event with its attributes in the order of their ids.
    fn sorted(json: &[u8]) -> serde_json::Value {
        let mut file: serde_json::Value = serde_json::from_slice(json).unwrap();
        let attributes = file["Event"]["Attribute"].as_array_mut().unwrap();
        assert!(
            attributes.is_sorted_by_key(|a| a["deleted"] == true),
            "those that are deleted come last"
        );
        attributes.sort_by_key(|a| a["uuid"].to_string());
        file
    }

    #[test]
    fn an_event_that_grew_is_as_if_written_anew() {
        let (enrichment, names) = rich();
        let low = ioc(
            Kind::Url,
            "http://low.example/,\"Attribute\":[{",
            Enrichment { reported_severity: None, ..enrichment.clone() },
        );
        let high = ioc(Kind::Domain, "high.example", enrichment);
        let low = Member { ioc: &low, stamp: 5, tombstone: false };
        let gone = Member { tombstone: true, ..low.clone() };
        let high = Member { ioc: &high, stamp: 6, tombstone: false };
        let none = ListedTags::new();
        let published = |file: RenderedEvent| Published::of(file.json, file.hashes).unwrap();
        for (first, rest) in [
            (vec![], vec![low.clone()]),
            (vec![low.clone()], vec![high.clone()]),
            (vec![high.clone()], vec![low.clone()]),
            (vec![gone, high], vec![low.clone()]),
            (vec![low], vec![]),
        ] {
            let whole = render(&[first.clone(), rest.clone()].concat(), &names, &none);
            let head = EventHead {
                id: PartId(Uuid::from_u128(1)),
                info: "G - 2026-11-01",
                group_name: "G",
                day: "2026-11-01",
                stamp: 1_793_527_872,
            };
            let orgc = Orgc { name: "Acme".into(), uuid: Uuid::from_u128(2) };
            let grown =
                grown(&head, &orgc, &published(render(&first, &names, &none)), &rest, &names)
                    .unwrap();
            assert_eq!(sorted(&grown.json), sorted(&whole.json));
            assert_eq!((grown.hashes, grown.manifest_entry), (whole.hashes, whole.manifest_entry));
            assert!(
                rest.iter().all(|m| grown.fingerprints[&m.ioc.id] == fingerprint(m.ioc, &names))
            );
        }
        assert!(Published::of(b"{\"Event\":{}}".to_vec(), Vec::new()).is_none());
    }
}
