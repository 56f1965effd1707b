//! What all list formats share: one document of entries, put together from shards that are rendered
//! on their own.
//!
//! A document is the head, the entries with [`ListWriter::between`] between them, and the tail.
//! Writers escape and lay out; which IOCs there are was decided before.

use std::borrow::Cow;

use iocast_domain::{
    device_type::{Format, GroupKind},
    id::{AccountId, GroupId},
    ioc::{Ioc, Severity},
    source::Confidence,
    time::Timestamp,
};
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::{
    arcsight::ArcsightEvents,
    carbon_black::CarbonBlackFeed,
    check_point::CheckPointCsv,
    defender::DefenderCsv,
    f5::F5FeedList,
    json::{Json, Ndjson},
    mikrotik::MikrotikScript,
    misp::SourceNames,
    nftables::Nftables,
    plain::{CiscoList, PanosEdl, PlainList, RequestedList},
    resolver::{Dnsmasq, Hosts, Unbound},
    rpz::Rpz,
    splunk::SplunkCsv,
    squid::SquidDomains,
    stix::{STIX_20, STIX_21},
    suricata::SuricataDataset,
    table::Csv,
    zeek::ZeekIntel,
};

/// What a document says of its group.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub account_name: String,
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub group_name: String,
    /// What it holds, where it holds one kind.
    pub kind: Option<GroupKind>,
    /// When the group was made.
    pub created_at: Timestamp,
    /// Number of the publication.
    pub publication: i64,
    /// When it was made.
    pub published_at: Timestamp,
    /// IOCs in it.
    pub live: u32,
    /// When the latest entry changed.
    pub latest: Timestamp,
    /// The names of the sources whose reports count.
    pub names: SourceNames,
}

/// An IOC in a document.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The IOC.
    pub ioc: &'a Ioc,
    /// When it joined the group.
    pub joined_at: Timestamp,
    /// When it last changed; in a log, where it stands.
    pub stamp: Timestamp,
    /// In a log: it left.
    pub removed: bool,
    /// It was listed as removed before it came back.
    pub readded: bool,
}

/// Writes one format.
pub trait ListWriter: Sync {
    /// `Content-Type`.
    fn content_type(&self) -> &'static str {
        "text/plain; charset=utf-8"
    }

    /// What stands before the first entry.
    fn head(&self, _scope: &Scope, _out: &mut Vec<u8>) {}

    /// Whether a page that begins in the middle begins with the head too.
    fn head_on_every_page(&self) -> bool {
        true
    }

    /// One entry.
    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>);

    /// What stands between two entries; nothing where entries end lines of their own.
    fn between(&self) -> &'static [u8] {
        b""
    }

    /// What stands behind the last entry.
    fn tail(&self, _scope: &Scope, _out: &mut Vec<u8>) {}
}

/// The writer of a list format; none for the others.
#[must_use]
pub fn writer(format: Format) -> Option<&'static dyn ListWriter> {
    Some(match format {
        Format::MispFeed | Format::VendorApi => return None,
        Format::PlainList => &PlainList,
        Format::RequestedList => &RequestedList,
        Format::PanosEdl => &PanosEdl,
        Format::CiscoList => &CiscoList,
        Format::CheckPointCsv => &CheckPointCsv,
        Format::F5FeedList => &F5FeedList,
        Format::MikrotikScript => &MikrotikScript,
        Format::Nftables => &Nftables,
        Format::SquidDomains => &SquidDomains,
        Format::Rpz => &Rpz,
        Format::Hosts => &Hosts,
        Format::Dnsmasq => &Dnsmasq,
        Format::Unbound => &Unbound,
        Format::ZeekIntel => &ZeekIntel,
        Format::SuricataDataset => &SuricataDataset,
        Format::SplunkCsv => &SplunkCsv,
        Format::DefenderCsv => &DefenderCsv,
        Format::Csv => &Csv,
        Format::Json => &Json,
        Format::Ndjson => &Ndjson,
        Format::CarbonBlackFeed => &CarbonBlackFeed,
        Format::ArcsightEvents => &ArcsightEvents,
        Format::StixBundle | Format::Taxii21 => &STIX_21,
        Format::Taxii20 => &STIX_20,
    })
}

/// Entries with what stands between them.
#[must_use]
pub fn shard<'a>(
    writer: &dyn ListWriter,
    scope: &Scope,
    entries: impl IntoIterator<Item = Entry<'a>>,
) -> Vec<u8> {
    grown(writer, scope, Vec::new(), entries)
}

/// A shard to which entries are added at its end.
#[must_use]
pub fn grown<'a>(
    writer: &dyn ListWriter,
    scope: &Scope,
    before: Vec<u8>,
    entries: impl IntoIterator<Item = Entry<'a>>,
) -> Vec<u8> {
    let mut out = before;
    for entry in entries {
        if !out.is_empty() {
            out.extend_from_slice(writer.between());
        }
        writer.entry(&entry, scope, &mut out);
    }
    out
}

/// The MD5 of a document, piece by piece, as devices that ask for one want it.
#[derive(Debug, Default)]
pub struct Checksum(Md5);

impl Checksum {
    /// The next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The sum as a line of hexadecimal digits.
    #[must_use]
    pub fn finish(self) -> String {
        format!("{}\n", hex::encode(self.0.finalize()))
    }
}

/// A URL as a device sees it in a request: user, password and fragment stay with the client.
pub(super) fn as_requested(url: &str) -> Cow<'_, str> {
    let url = url.split_once('#').map_or(url, |(sent, _)| sent);
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}://{host}{tail}")),
        None => Cow::Borrowed(url),
    }
}

/// A URL without its scheme, as most devices want it.
pub(super) fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// One line of text for people: no control characters, at most `longest` characters.
pub(super) fn line(text: &str, longest: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect()
}

/// A CSV cell (RFC 4180); control characters become blanks, so that every row stays on one line.
pub(super) fn cell(out: &mut Vec<u8>, text: &str) {
    if text.contains([',', '"'])
        || text.contains(char::is_control)
        || text.starts_with(' ')
        || text.ends_with(' ')
    {
        out.push(b'"');
        out.extend(
            text.chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect::<String>()
                .replace('"', "\"\"")
                .bytes(),
        );
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// A CSV row.
pub(super) fn row(out: &mut Vec<u8>, cells: &[&str]) {
    for (i, text) in cells.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        cell(out, text);
    }
    out.push(b'\n');
}

/// The best confidence of a report that counts.
pub(super) fn confidence(ioc: &Ioc, names: &SourceNames) -> Option<Confidence> {
    ioc.enrichment
        .reports
        .iter()
        .filter(|r| names.contains_key(&r.source_id))
        .map(|r| r.confidence)
        .max()
}

/// The names of the sources whose reports count.
pub(super) fn sources<'a>(
    ioc: &'a Ioc,
    names: &'a SourceNames,
) -> impl Iterator<Item = (&'a str, Confidence)> {
    ioc.enrichment
        .reports
        .iter()
        .filter_map(|r| names.get(&r.source_id).map(|name| (name.as_str(), r.confidence)))
}

/// A short text for people: who says so, and what it belongs to.
pub(super) fn about(ioc: &Ioc, names: &SourceNames, longest: usize) -> String {
    let e = &ioc.enrichment;
    let mut parts: Vec<String> = Vec::new();
    let mut list = |label: &str, items: Vec<&str>| {
        if !items.is_empty() {
            parts.push(format!("{label}: {}", items.join(" | ")));
        }
    };
    list("source", sources(ioc, names).map(|(name, _)| name).take(5).collect());
    list("malware", e.malware_families.iter().map(String::as_str).take(5).collect());
    list("actor", e.threat_actors.iter().map(String::as_str).take(5).collect());
    list("campaign", e.campaigns.iter().map(String::as_str).take(5).collect());
    list("alert", e.alert_id.iter().map(String::as_str).collect());
    line(&if parts.is_empty() { "iocast".to_owned() } else { parts.join("; ") }, longest)
}

/// 30, 60 or 90 of 100.
pub(super) const fn weight(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 30,
        Severity::Medium => 60,
        Severity::High => 90,
    }
}

/// A version 5 UUID of the account.
pub(super) fn uuid_of(scope: &Scope, what: &str) -> Uuid {
    Uuid::new_v5(&scope.account.namespace(), what.as_bytes())
}
