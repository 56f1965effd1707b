//! Tags, comments and fingerprints of attributes.

use std::{collections::BTreeSet, fmt::Write as _};

use iocast_domain::{
    id::PartId,
    ioc::{Ioc, Severity},
    source::Confidence,
};
use md5::{Digest, Md5};
use uuid::Uuid;

use super::SourceNames;

/// What receivers see of an IOC beside its value and times.
#[derive(Debug, Default)]
pub(super) struct AttributeText {
    /// In order, each once.
    pub(super) tags: Vec<String>,
    pub(super) comment: String,
}

impl AttributeText {
    pub(super) fn of(ioc: &Ioc, names: &SourceNames) -> Self {
        Self { tags: tags(ioc, names), comment: comment(ioc, names) }
    }

    pub(super) fn fingerprint(&self, ioc: &Ioc) -> i64 {
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
    tags.extend(e.alert_id.iter().map(|id| tag("iocast:alert-id", id)));
    let own = |predicate: &'static str, t: &String| {
        if looks_like_tag(t) && t.len() <= TAG_MAX { storable(t) } else { tag(predicate, t) }
    };
    tags.extend(e.user_tags.iter().map(|t| own("iocast:user-tag", t)));
    tags.extend(e.system_tags.iter().map(|t| own("iocast:system-tag", t)));
    tags.extend(e.threat_actors.iter().map(|v| tag("misp-galaxy:threat-actor", v)));
    tags.extend(e.campaigns.iter().map(|v| tag("iocast:campaign", v)));
    tags.extend(e.malware_families.iter().map(|v| tag("misp-galaxy:malpedia", v)));
    tags.sort_unstable();
    let mut each: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        if !each.iter().any(|other| is_same_tag(other, &tag)) {
            each.push(tag);
        }
    }
    each
}

/// Whether MISP takes two names for one tag: it compares them without case.
pub(super) fn is_same_tag(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        a.eq_ignore_ascii_case(b)
    } else {
        a.to_lowercase() == b.to_lowercase()
    }
}

/// The colour of a tag: those of the traffic light protocol and of severities mean something, all
/// others get the one that MISP would make up for a tag without one.
pub(super) fn colour(tag: &str) -> String {
    let known = match tag.to_ascii_lowercase().as_str() {
        "tlp:red" => "#ff2b2b",
        "tlp:amber" | "tlp:amber+strict" => "#ffc000",
        "tlp:green" => "#33ff00",
        "tlp:white" | "tlp:clear" => "#ffffff",
        "iocast:severity=\"high\"" => "#c62828",
        "iocast:severity=\"medium\"" => "#ef8f00",
        "iocast:severity=\"low\"" => "#2e7d32",
        _ => "",
    };
    if known.is_empty() {
        let mut made_up = hex::encode(Md5::digest(tag.as_bytes()));
        made_up.truncate(6);
        made_up.insert(0, '#');
        made_up
    } else {
        known.to_owned()
    }
}

/// Most bytes of a tag: MISP cuts a longer one off, and does not attach it the next time.
const TAG_MAX: usize = 255;

/// Text as MISP's database keeps it, in three bytes a character: one beyond that would lose MISP
/// the whole event.
#[must_use]
pub fn storable(text: &str) -> String {
    text.chars().map(storable_char).collect()
}

pub(super) const fn is_storable(c: char) -> bool {
    c <= '\u{ffff}'
}

const fn storable_char(c: char) -> char {
    if is_storable(c) { c } else { char::REPLACEMENT_CHARACTER }
}

/// `predicate="value"`. MISP and its clients split tags on `"`, `:` and `=`: none stands in the
/// value.
fn tag(predicate: &str, value: &str) -> String {
    let mut tag = String::with_capacity(predicate.len() + value.len() + 3);
    tag.push_str(predicate);
    tag.push_str("=\"");
    for c in value.chars() {
        let c = if matches!(c, '"' | ':' | '=') { '-' } else { storable_char(c) };
        if tag.len() + c.len_utf8() >= TAG_MAX {
            break;
        }
        tag.push(c);
    }
    tag.push('"');
    tag
}

/// `namespace:predicate` or `namespace:predicate="value"`, with at most one `=`.
pub(super) fn looks_like_tag(text: &str) -> bool {
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
    storable(&text)
}

/// The MD5 of a value in lower case, by which MISP finds it, and by which values that MISP takes
/// for one are known.
#[must_use]
pub fn value_key(ioc: &Ioc) -> String {
    hex::encode(Md5::digest(ioc.value.to_lowercase().as_bytes()))
}

/// The MD5 of the value; for one with capitals a second line with the lower-cased value.
pub(super) fn hash_lines(out: &mut Vec<u8>, ioc: &Ioc, event: PartId) {
    let mut line = |value: &str| {
        out.extend_from_slice(hex::encode(Md5::digest(value.as_bytes())).as_bytes());
        out.push(b',');
        out.extend_from_slice(
            event.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(),
        );
        out.push(b'\n');
    };
    line(&ioc.value);
    let lower = ioc.value.to_lowercase();
    if lower != *ioc.value {
        line(&lower);
    }
}

/// A number over all that a receiver would see change, except last seen; stored with each member.
#[must_use]
pub fn fingerprint(ioc: &Ioc, names: &SourceNames) -> i64 {
    AttributeText::of(ioc, names).fingerprint(ioc)
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
