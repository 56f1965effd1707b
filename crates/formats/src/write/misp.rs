//! The MISP feed: `manifest.json`, one file an event, `hashes.csv` (`misp-feed.md` sections 3 and
//! 4).
//!
//! This writer escapes and lays out; which IOCs and parts there are was decided before.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
};

use iocast_domain::{
    id::{IocId, PartId, SourceId},
    ioc::{Ioc, Kind, Severity},
    member::attribute_uuid,
};
use serde::Serialize;
use uuid::Uuid;

mod published;

pub use self::published::{ListedTags, Published, both_grown, listed_tags};

mod words;
use self::words::{AttributeText, colour, hash_lines, is_same_tag, is_storable};
pub use self::words::{exclusive_tags, fingerprint, storable, value_key};

/// The organisation that a feed names as its creator.
#[derive(Clone, Debug, Serialize)]
pub struct Orgc {
    /// The account's name.
    pub name: String,
    /// Version 5.
    pub uuid: Uuid,
}

/// What an event says of itself.
#[derive(Clone, Debug)]
pub struct EventHead<'a> {
    /// Event UUID.
    pub id: PartId,
    /// `<group> - <day>`.
    pub info: &'a str,
    /// The group's name when the event was begun.
    pub group_name: &'a str,
    /// `YYYY-MM-DD`.
    pub day: &'a str,
    /// UTC seconds; the same in the manifest.
    pub stamp: i64,
}

/// One attribute of an event.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The IOC.
    pub ioc: &'a Ioc,
    /// When it last changed, in UTC seconds.
    pub stamp: i64,
    /// Listed as deleted.
    pub tombstone: bool,
}

/// The names of the sources whose reports count.
pub type SourceNames = HashMap<SourceId, String>;

/// A rendered event, and what the manifest says of it.
#[derive(Clone, Debug)]
pub struct RenderedEvent {
    /// The JSON file.
    pub json: Vec<u8>,
    /// The JSON file for a MISP that never had the event: without what was taken back. At a first
    /// import MISP attaches tags that are listed as deleted. None where nothing was taken back, or
    /// nothing is left.
    pub first: Option<Vec<u8>>,
    /// Its lines of `hashes.csv`.
    pub hashes: Vec<u8>,
    /// Its entry in the manifest: the value behind the UUID.
    pub manifest_entry: String,
    /// [`fingerprint`]s of those that are not listed as deleted.
    pub fingerprints: HashMap<IocId, i64>,
}

#[derive(Serialize)]
struct EventFile<'a> {
    #[serde(rename = "Event")]
    event: Event<'a>,
}

#[derive(Serialize)]
struct Event<'a> {
    uuid: Uuid,
    info: &'a str,
    date: &'a str,
    timestamp: String,
    publish_timestamp: String,
    published: bool,
    analysis: &'a str,
    threat_level_id: String,
    extends_uuid: &'a str,
    protected: bool,
    #[serde(rename = "Orgc")]
    orgc: &'a Orgc,
    #[serde(rename = "Tag")]
    tag: Vec<Tag>,
    #[serde(rename = "Attribute")]
    attribute: Vec<Attribute<'a>>,
    #[serde(rename = "Object")]
    object: [(); 0],
    #[serde(rename = "EventReport")]
    event_report: [(); 0],
}

impl Event<'_> {
    /// Leaves out what is listed as deleted. Gives whether that makes a difference, and leaves
    /// something.
    fn keep_standing(&mut self) -> bool {
        let all = self.attribute.len();
        self.attribute.retain(|attribute| attribute.deleted.is_none());
        let mut differs = self.attribute.len() < all;
        for attribute in &mut self.attribute {
            let tags = attribute.tag.len();
            attribute.tag.retain(|tag| tag.deleted.is_none());
            differs |= attribute.tag.len() < tags;
        }
        differs && !self.attribute.is_empty()
    }
}

#[derive(Serialize)]
struct Attribute<'a> {
    uuid: Uuid,
    #[serde(rename = "type")]
    kind: &'a str,
    category: &'a str,
    value: &'a str,
    to_ids: bool,
    comment: String,
    timestamp: String,
    disable_correlation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(rename = "Tag", skip_serializing_if = "Vec::is_empty")]
    tag: Vec<Tag>,
}

#[derive(Serialize)]
struct Tag {
    name: String,
    colour: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

impl Tag {
    fn of(name: String, deleted: Option<bool>) -> Self {
        Self { colour: colour(&name), name, deleted }
    }
}

#[derive(Serialize)]
struct ManifestEntry<'a> {
    #[serde(rename = "Orgc")]
    orgc: &'a Orgc,
    #[serde(rename = "Tag")]
    tag: Vec<Tag>,
    info: &'a str,
    date: &'a str,
    analysis: u8,
    threat_level_id: u8,
    timestamp: i64,
}

/// Renders an event. `listed` is what its last published version listed ([`listed_tags`]): a tag
/// that is gone since is listed as deleted, which is the only way to take one back.
///
/// # Errors
/// If serialising fails, which it does only by a fault of its own.
pub fn event(
    head: &EventHead<'_>,
    orgc: &Orgc,
    members: &[Member<'_>],
    names: &SourceNames,
    listed: &ListedTags,
) -> serde_json::Result<RenderedEvent> {
    render(head, orgc, members, names, listed, None)
}

/// `threat_level` is that of members which are not among these.
fn render(
    head: &EventHead<'_>,
    orgc: &Orgc,
    members: &[Member<'_>],
    names: &SourceNames,
    listed: &ListedTags,
    threat_level: Option<u8>,
) -> serde_json::Result<RenderedEvent> {
    let worst = members
        .iter()
        .filter(|m| !m.tombstone)
        .map(|m| m.ioc.severity())
        .max()
        .unwrap_or(Severity::Low);
    let own_level: u8 = match worst {
        Severity::High => 1,
        Severity::Medium => 2,
        Severity::Low => 3,
    };
    let threat_level = threat_level.unwrap_or(own_level).min(own_level);
    let mut hashes = Vec::with_capacity(members.len() * 70);
    let mut fingerprints = HashMap::with_capacity(members.len());
    // Before 2.4.179, MISP took the first of two that are alike, even a deleted one.
    let (live, gone): (Vec<_>, Vec<_>) = members.iter().partition(|m| !m.tombstone);
    let attribute = live
        .into_iter()
        .chain(gone)
        .map(|m| {
            let uuid = attribute_uuid(head.id, m.ioc.id);
            let shown = if m.tombstone {
                AttributeText::default()
            } else {
                AttributeText::of(m.ioc, names)
            };
            if !m.tombstone {
                hash_lines(&mut hashes, m.ioc, head.id);
                fingerprints.insert(m.ioc.id, shown.fingerprint(m.ioc));
            }
            attribute(m, uuid, shown, listed.get(&uuid))
        })
        .collect();
    let event = Event {
        uuid: head.id.0,
        info: head.info,
        date: head.day,
        timestamp: head.stamp.to_string(),
        publish_timestamp: head.stamp.to_string(),
        published: true,
        analysis: "2",
        threat_level_id: threat_level.to_string(),
        extends_uuid: "",
        protected: false,
        orgc,
        tag: event_tags(head),
        attribute,
        object: [],
        event_report: [],
    };
    let entry = ManifestEntry {
        orgc,
        tag: event_tags(head),
        info: head.info,
        date: head.day,
        analysis: 2,
        threat_level_id: threat_level,
        timestamp: head.stamp,
    };
    let mut file = EventFile { event };
    let json = serde_json::to_vec(&file)?;
    let first = file.event.keep_standing().then(|| serde_json::to_vec(&file)).transpose()?;
    Ok(RenderedEvent {
        json,
        first,
        hashes,
        manifest_entry: serde_json::to_string(&entry)?,
        fingerprints,
    })
}

/// The manifest over entries given as (event UUID, [`RenderedEvent::manifest_entry`]), in the order
/// in which MISP shall fetch them.
pub fn manifest<'a>(entries: impl IntoIterator<Item = (PartId, &'a str)>) -> Vec<u8> {
    let mut out = String::from("{");
    for (i, (id, entry)) in entries.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing into a string can't fail.
        let _ = write!(out, "{comma}\"{id}\":{entry}");
    }
    out.push('}');
    out.into_bytes()
}

fn event_tags(head: &EventHead<'_>) -> Vec<Tag> {
    vec![Tag {
        name: format!("iocast:group=\"{}\"", head.group_name),
        colour: "#3b6ea8".to_owned(),
        deleted: None,
    }]
}

fn attribute<'a>(
    member: &Member<'a>,
    uuid: Uuid,
    shown: AttributeText,
    listed: Option<&BTreeSet<String>>,
) -> Attribute<'a> {
    let ioc = member.ioc;
    let (kind, category) = misp_type(ioc.kind);
    let live = !member.tombstone;
    let mut tag = Vec::new();
    if live {
        // MISP attaches first and detaches then: a tag that is listed in another case must not be
        // listed as deleted, too.
        // One that MISP could not store was never attached.
        let is_gone = |t: &&String| {
            !shown.tags.iter().any(|live| is_same_tag(live, t)) && t.chars().all(is_storable)
        };
        let gone = listed.into_iter().flatten().filter(is_gone);
        tag.extend(gone.map(|t| Tag::of(t.clone(), Some(true))));
        tag.extend(shown.tags.into_iter().map(|name| Tag::of(name, None)));
    }
    Attribute {
        uuid,
        kind,
        category,
        value: &ioc.value,
        to_ids: true,
        comment: shown.comment,
        timestamp: member.stamp.to_string(),
        disable_correlation: false,
        first_seen: live.then(|| ioc.first_seen.min(ioc.last_seen).misp()),
        last_seen: live.then(|| ioc.last_seen.misp()),
        deleted: member.tombstone.then_some(true),
        tag,
    }
}

/// Type and category, a pair that MISP allows.
const fn misp_type(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Domain => ("domain", "Network activity"),
        Kind::Url => ("url", "Network activity"),
        Kind::Email => ("email-src", "Payload delivery"),
        Kind::Ipv4 | Kind::Ipv6 => ("ip-dst", "Network activity"),
        Kind::Md5 => ("md5", "Payload delivery"),
        Kind::Sha1 => ("sha1", "Payload delivery"),
        Kind::Sha256 => ("sha256", "Payload delivery"),
    }
}

/// A manifest, or the parsed part of one, by event UUID: for tests and previews.
pub type Manifest = BTreeMap<Uuid, serde_json::Value>;

#[cfg(test)]
mod tests;
