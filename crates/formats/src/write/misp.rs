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
    source::Confidence,
};
use md5::{Digest, Md5};
use serde::Serialize;
use uuid::Uuid;

mod published;

pub use self::published::{ListedTags, Published, grown, listed_tags};

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
    tag: Vec<Tag<'a>>,
    #[serde(rename = "Attribute")]
    attribute: Vec<Attribute<'a>>,
    #[serde(rename = "Object")]
    object: [(); 0],
    #[serde(rename = "EventReport")]
    event_report: [(); 0],
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
    tag: Vec<Tag<'a>>,
}

#[derive(Serialize)]
struct Tag<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    colour: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

#[derive(Serialize)]
struct ManifestEntry<'a> {
    #[serde(rename = "Orgc")]
    orgc: &'a Orgc,
    #[serde(rename = "Tag")]
    tag: Vec<Tag<'a>>,
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
    let attribute = members
        .iter()
        .map(|m| {
            let uuid = attribute_uuid(head.id, m.ioc.id);
            let shown = if m.tombstone { Shown::default() } else { Shown::of(m.ioc, names) };
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
    Ok(RenderedEvent {
        json: serde_json::to_vec(&EventFile { event })?,
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

fn event_tags<'a>(head: &EventHead<'_>) -> Vec<Tag<'a>> {
    vec![Tag {
        name: format!("iocast:group=\"{}\"", head.group_name),
        colour: Some("#3b6ea8"),
        deleted: None,
    }]
}

fn attribute<'a>(
    member: &Member<'a>,
    uuid: Uuid,
    shown: Shown,
    listed: Option<&BTreeSet<String>>,
) -> Attribute<'a> {
    let ioc = member.ioc;
    let (kind, category) = misp_type(ioc.kind);
    let live = !member.tombstone;
    let mut tag = Vec::new();
    if live {
        let gone = listed.into_iter().flatten().filter(|t| shown.tags.binary_search(t).is_err());
        tag.extend(gone.map(|t| Tag { name: t.clone(), colour: None, deleted: Some(true) }));
        tag.extend(shown.tags.into_iter().map(|name| Tag { name, colour: None, deleted: None }));
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

/// What receivers see of an IOC beside its value and times.
#[derive(Debug, Default)]
struct Shown {
    /// In order, each once.
    tags: Vec<String>,
    comment: String,
}

impl Shown {
    fn of(ioc: &Ioc, names: &SourceNames) -> Self {
        Self { tags: tags(ioc, names), comment: comment(ioc, names) }
    }

    fn fingerprint(&self, ioc: &Ioc) -> i64 {
        // CRC-32 twice over, forwards and with the length: a number to compare, not a secret.
        let first_seen = ioc.first_seen.micros().to_string();
        let mut crc = crc32fast::Hasher::new();
        let mut length = 0;
        for (i, piece) in [&first_seen, &self.comment].into_iter().chain(&self.tags).enumerate() {
            if i > 0 {
                crc.update(b"|");
                length += 1;
            }
            crc.update(piece.as_bytes());
            length += piece.len();
        }
        let low = i64::from(crc.clone().finalize());
        crc.update(length.to_string().as_bytes());
        let high = i64::from(crc.finalize());
        (high << 32) ^ low
    }
}

/// All tags of an attribute.
fn tags(ioc: &Ioc, names: &SourceNames) -> Vec<String> {
    let e = &ioc.enrichment;
    let mut tags = vec![tag("iocast:severity", ioc.severity().word())];
    let counting = || {
        e.reports.iter().filter_map(|r| names.get(&r.source_id).map(|name| (name, r.confidence)))
    };
    if let Some(best) = counting().map(|(_, c)| c).max() {
        tags.push(tag("misp:confidence-level", confidence_word(best)));
    }
    tags.extend(counting().map(|(name, _)| tag("iocast:source", name)));
    let own = |predicate: &'static str, t: &String| {
        if looks_like_tag(t) { t.clone() } else { tag(predicate, t) }
    };
    tags.extend(e.user_tags.iter().map(|t| own("iocast:user-tag", t)));
    tags.extend(e.system_tags.iter().map(|t| own("iocast:system-tag", t)));
    tags.extend(e.threat_actors.iter().map(|v| tag("misp-galaxy:threat-actor", v)));
    tags.extend(e.campaigns.iter().map(|v| tag("iocast:campaign", v)));
    tags.extend(e.malware_families.iter().map(|v| tag("misp-galaxy:malpedia", v)));
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// `predicate="value"`. MISP and its clients split tags on `"`, `:` and `=`: none stands in the
/// value.
fn tag(predicate: &str, value: &str) -> String {
    let mut tag = String::with_capacity(predicate.len() + value.len() + 3);
    tag.push_str(predicate);
    tag.push_str("=\"");
    tag.extend(value.chars().map(|c| if matches!(c, '"' | ':' | '=') { '-' } else { c }));
    tag.push('"');
    tag
}

/// `namespace:predicate` or `namespace:predicate="value"`, with at most one `=`.
fn looks_like_tag(text: &str) -> bool {
    let name = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'.'))
    };
    let Some((namespace, rest)) = text.split_once(':') else { return false };
    let (predicate, value) = rest.split_once('=').map_or((rest, None), |(p, v)| (p, Some(v)));
    let quoted = |v: &str| {
        v.len() >= 2
            && v.starts_with('"')
            && v.ends_with('"')
            && !v.contains('=')
            && v.matches('"').count() == 2
    };
    // What iocast says itself no source says in its place; MISP compares tags ignoring case.
    let ours = namespace.eq_ignore_ascii_case("iocast")
        || (namespace.eq_ignore_ascii_case("misp")
            && predicate.eq_ignore_ascii_case("confidence-level"));
    name(namespace) && !ours && name(predicate) && value.is_none_or(quoted)
}

const fn confidence_word(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::HIGH => "completely-confident",
        Confidence::MEDIUM => "fairly-confident",
        _ => "rarely-confident",
    }
}

/// Most sources that a comment names: MISP loses an event over a comment of 64 KB.
const COMMENT_SOURCES: usize = 20;

/// What tags can't say, for people: each source with its own confidence, whether the severity was
/// rated, score, alert.
fn comment(ioc: &Ioc, names: &SourceNames) -> String {
    let e = &ioc.enrichment;
    let mut text = String::new();
    // Writing into a string can't fail.
    let mut sources = 0;
    for (report, name) in e.reports.iter().filter_map(|r| Some((r, names.get(&r.source_id)?))) {
        sources += 1;
        if sources <= COMMENT_SOURCES {
            let before = if sources == 1 { "Source: " } else { ", " };
            let _ =
                write!(text, "{before}{name} (confidence {} of 3)", u8::from(report.confidence));
        }
    }
    if sources > COMMENT_SOURCES {
        let _ = write!(text, " and {} more", sources - COMMENT_SOURCES);
    }
    if sources > 0 {
        text.push_str("; ");
    }
    let _ = write!(
        text,
        "Severity: {}{}",
        ioc.severity().word(),
        if ioc.rated() { "" } else { " (not rated)" }
    );
    if let Some(alert) = &e.alert_id {
        let _ = write!(text, "; Alert ID: {alert}");
    }
    if let Some(score) = e.score {
        let _ = write!(text, "; Score: {score}");
    }
    text
}

/// The MD5 of the value as MISP normalises it; for a URL with capitals a second line with the
/// lower-cased value.
fn hash_lines(out: &mut Vec<u8>, ioc: &Ioc, event: PartId) {
    let mut line = |value: &str| {
        out.extend_from_slice(hex::encode(Md5::digest(value.as_bytes())).as_bytes());
        out.push(b',');
        out.extend_from_slice(
            event.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(),
        );
        out.push(b'\n');
    };
    line(&ioc.value);
    if ioc.kind == Kind::Url && ioc.value.bytes().any(|b| b.is_ascii_uppercase()) {
        line(&ioc.value.to_lowercase());
    }
}

/// A number over all that a receiver would see change, except last seen; stored with each member.
#[must_use]
pub fn fingerprint(ioc: &Ioc, names: &SourceNames) -> i64 {
    Shown::of(ioc, names).fingerprint(ioc)
}

/// The tags of which an attribute carries one at a time.
#[must_use]
pub fn exclusive_tags() -> BTreeSet<String> {
    let severities = Severity::ALL.iter().map(|s| format!("iocast:severity=\"{}\"", s.word()));
    let confidences = [Confidence::LOW, Confidence::MEDIUM, Confidence::HIGH]
        .into_iter()
        .map(|c| format!("misp:confidence-level=\"{}\"", confidence_word(c)));
    severities.chain(confidences).collect()
}

/// A manifest, or the parsed part of one, by event UUID: for tests and previews.
pub type Manifest = BTreeMap<Uuid, serde_json::Value>;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use iocast_domain::{
        id::IocId,
        ioc::{Enrichment, Report, State, Whitelist},
        time::Timestamp,
    };

    use super::*;
    use crate::read::{Input, Item, Options, read};

    pub(super) fn ioc(kind: Kind, value: &str, enrichment: Enrichment) -> Ioc {
        let seen = Timestamp::parse("2026-11-01T10:11:12.123456Z").unwrap();
        Ioc {
            id: IocId(Uuid::new_v5(&Uuid::NAMESPACE_OID, value.as_bytes())),
            kind,
            value: value.into(),
            first_seen: seen,
            last_seen: seen,
            state: State::Active,
            whitelist: Whitelist::Default,
            enrichment,
        }
    }

    #[test]
    fn no_source_speaks_for_iocast() {
        for tag in [
            "iocast:severity=\"high\"",
            "IOCAST:source=\"Trusted\"",
            "Iocast:x",
            "misp:confidence-level=\"completely-confident\"",
            "MISP:Confidence-Level=\"x\"",
        ] {
            assert!(!looks_like_tag(tag), "{tag}");
        }
        assert!(looks_like_tag("tlp:amber+strict") && looks_like_tag("misp:tool=\"x\""));
    }

    pub(super) fn rich() -> (Enrichment, SourceNames) {
        let source = SourceId(Uuid::from_u128(7));
        let set = |s: &str| BTreeSet::from([s.to_owned()]);
        let enrichment = Enrichment {
            reports: vec![Report {
                source_id: source,
                confidence: Confidence::MEDIUM,
                reported_at: 0,
            }],
            user_tags: set("mine"),
            system_tags: BTreeSet::from(["tlp:amber".to_owned(), "phishing kit".to_owned()]),
            threat_actors: set("APT28"),
            campaigns: set("Summer"),
            malware_families: set("Emotet"),
            alert_id: Some("64f0c0ffee".into()),
            score: Some(85.5),
            reported_severity: Some(Severity::High),
            ..Enrichment::default()
        };
        (enrichment, SourceNames::from([(source, "Feed \u{1f41b} One".to_owned())]))
    }

    pub(super) fn render(
        members: &[Member<'_>],
        names: &SourceNames,
        listed: &ListedTags,
    ) -> RenderedEvent {
        let head = EventHead {
            id: PartId(Uuid::from_u128(1)),
            info: "G - 2026-11-01",
            group_name: "G",
            day: "2026-11-01",
            stamp: 1_793_527_872,
        };
        event(
            &head,
            &Orgc { name: "Acme".into(), uuid: Uuid::from_u128(2) },
            members,
            names,
            listed,
        )
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (enrichment, names) = rich();
        let iocs = [
            ioc(Kind::Domain, "evil.example", enrichment.clone()),
            ioc(Kind::Url, "http://evil.example/A\"b", enrichment.clone()),
            ioc(Kind::Ipv6, "2001:db8::/32", enrichment.clone()),
            ioc(Kind::Email, "a@evil.example", Enrichment::default()),
        ];
        let members: Vec<_> =
            iocs.iter().map(|ioc| Member { ioc, stamp: 5, tombstone: false }).collect();
        let file = render(&members, &names, &ListedTags::new());
        let mut back = Vec::new();
        read(Input::Json, &mut Cursor::new(&file.json), Options::default(), &mut |item| {
            let Item::Sighting(s) = item else { panic!("{item:?}") };
            back.push(*s);
            true
        })
        .unwrap();
        for (ioc, seen) in iocs.iter().zip(&back) {
            assert_eq!(
                seen.indicator.as_ref().map(|(k, v)| (*k, v.as_str())),
                Some((ioc.kind, ioc.value.as_str()))
            );
            assert_eq!(
                (seen.first_seen, seen.last_seen),
                (Some(ioc.first_seen), Some(ioc.last_seen))
            );
        }
        let expected = Enrichment { reports: Vec::new(), score: None, ..enrichment };
        assert_eq!(back[0].enrichment, expected);
        assert_eq!(back[0].confidence, Some(Confidence::MEDIUM));
        assert_eq!(file.hashes.split(|b| *b == b'\n').count(), 6);
        assert!(String::from_utf8_lossy(&file.json).contains("Severity: low (not rated)"));
    }

    #[test]
    fn a_replaced_tag_is_listed_as_deleted_and_stays_so() {
        let (mut enrichment, names) = rich();
        let before = ioc(Kind::Domain, "evil.example", enrichment.clone());
        let first = render(
            &[Member { ioc: &before, stamp: 5, tombstone: false }],
            &names,
            &ListedTags::new(),
        );
        enrichment.user_severity = Some(Severity::Low);
        let after = ioc(Kind::Domain, "evil.example", enrichment);
        assert_ne!(fingerprint(&before, &names), fingerprint(&after, &names));
        let second = render(
            &[Member { ioc: &after, stamp: 6, tombstone: false }],
            &names,
            &listed_tags(&first.json).unwrap(),
        );
        let third = render(
            &[Member { ioc: &after, stamp: 6, tombstone: false }],
            &names,
            &listed_tags(&second.json).unwrap(),
        );
        let gone = r#"{"name":"iocast:severity=\"high\"","deleted":true}"#;
        assert!(!String::from_utf8_lossy(&first.json).contains(gone));
        assert!(String::from_utf8_lossy(&second.json).contains(gone));
        assert_eq!(second.json, third.json);
    }

    #[test]
    fn a_tombstone_says_deleted_and_leaves_the_hashes() {
        let gone = ioc(Kind::Domain, "gone.example", rich().0);
        let file = render(
            &[Member { ioc: &gone, stamp: 9, tombstone: true }],
            &rich().1,
            &ListedTags::new(),
        );
        let text = String::from_utf8_lossy(&file.json).into_owned();
        assert!(
            text.contains("\"deleted\":true")
                && !text.contains("\"deleted\":false")
                && file.hashes.is_empty()
        );
        let all = manifest([(PartId(Uuid::from_u128(1)), file.manifest_entry.as_str())]);
        let read: Manifest = serde_json::from_slice(&all).unwrap();
        assert_eq!(read[&Uuid::from_u128(1)]["timestamp"], 1_793_527_872);
        assert_eq!(manifest([]), b"{}");
    }

    fn label_text() -> impl proptest::strategy::Strategy<Value = BTreeSet<String>> {
        proptest::collection::btree_set("[A-Za-z][A-Za-z0-9 _.ü-]{0,18}[A-Za-z0-9]", 0..4)
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            host in "[a-z0-9]{1,10}", path in "[A-Za-z0-9\\\\\"'<>&]{0,12}", first in 0_i64..1_700_000_000_000_000, span in 0_i64..50_000_000_000_000,
            user in label_text(), system in label_text(), actors in label_text(), campaigns in label_text(), families in label_text(),
            alert in proptest::option::of("[0-9a-f]{24}"), severity in proptest::option::of(0_usize..3), level in 1_u8..=3,
        ) {
            let (_, names) = rich();
            let source = *names.keys().next().unwrap();
            let enrichment = Enrichment {
                reports: vec![Report { source_id: source, confidence: Confidence::try_from(level).unwrap(), reported_at: 0 }],
                user_tags: user, system_tags: system, threat_actors: actors, campaigns, malware_families: families, alert_id: alert,
                reported_severity: severity.map(|i| Severity::ALL[i]),
                ..Enrichment::default()
            };
            let mut one = ioc(Kind::Url, &format!("http://{host}.example/{path}"), enrichment.clone());
            one.first_seen = Timestamp::from_micros(1_000_000 + first);
            one.last_seen = one.first_seen.plus(span);
            let file = render(&[Member { ioc: &one, stamp: 5, tombstone: false }], &names, &ListedTags::new());
            let mut back = Vec::new();
            read(Input::Json, &mut Cursor::new(&file.json), Options::default(), &mut |item| {
                back.push(item);
                true
            }).unwrap();
            let Some(Item::Sighting(seen)) = back.pop() else { panic!("{back:?}") };
            proptest::prop_assert_eq!(seen.indicator, Some((one.kind, one.value)));
            proptest::prop_assert_eq!((seen.first_seen, seen.last_seen), (Some(one.first_seen), Some(one.last_seen)));
            // What nobody rated goes out as low, and can only come back so.
            let rated = enrichment.reported_severity.or(Some(Severity::Low));
            proptest::prop_assert_eq!(seen.enrichment, Enrichment { reports: Vec::new(), reported_severity: rated, ..enrichment });
            proptest::prop_assert_eq!(seen.confidence.map(u8::from), Some(level));
        }
    }
}
