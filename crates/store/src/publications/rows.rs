//! The rows of parts and publications, and what is made of them.

use iocast_domain::{
    group::{Boundary, Held, Truncation},
    id::{GroupId, IocId, PartId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    StoreResult,
    error::corrupt,
    row::{group, part},
};

/// A compressed piece of a file, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// BLAKE3 of the compressed bytes, in hexadecimal.
    #[serde(rename = "h")]
    pub hash: String,
    /// CRC-32 of the plain bytes.
    #[serde(rename = "c")]
    pub crc: u32,
    /// Plain length.
    #[serde(rename = "r")]
    pub raw_len: u64,
    /// Compressed length.
    #[serde(rename = "l")]
    pub len: u64,
}

/// A file of a publication.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileRef {
    /// Path below the group URL.
    #[serde(rename = "p")]
    pub path: String,
    /// Its pieces, in order.
    #[serde(rename = "s")]
    pub segments: Vec<BlobRef>,
    /// Of a list: the plain length of what stands before the first entry.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Of a MISP event in which something was taken back: the file for a MISP that never had it.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub first: Option<BlobRef>,
    /// Of a MISP event: the ETag that it had when it last got a timestamp. A MISP that has that one
    /// asks for no other.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl FileRef {
    /// The pieces of all its forms.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobRef> {
        self.segments.iter().chain(&self.first)
    }
}

/// A blob to write.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Its name.
    pub hash: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A publication to be written.
#[derive(Debug)]
pub struct NewPublication {
    /// Whose it is.
    pub group: GroupId,
    /// Its line in the history.
    pub line: PublicationLine,
    /// The change number that it holds.
    pub seq: i64,
    /// Its files.
    pub files: Vec<FileRef>,
    /// What of them is new.
    pub blobs: Vec<NewBlob>,
    /// What the IOCs that it changed were before.
    pub before: Vec<Before>,
}

/// What the publisher knows of a group.
#[derive(Clone, Debug)]
pub struct PublishState {
    /// Raised by every change of rules, limit, priority or sources.
    pub config_version: i64,
    /// The configuration that the last publication was made from.
    pub applied_config: i64,
    /// The change number that the last publication holds.
    pub applied_seq: i64,
    /// Number of the last publication.
    pub publication: i64,
    /// Live members.
    pub live: u32,
    /// What was left out.
    pub cut: Truncation,
    /// When something is to do even without a change.
    pub due_at: Option<i64>,
    /// The latest stamp given: UTC seconds for an event, UTC microseconds in a log.
    pub latest_stamp: Option<i64>,
    /// A publication that is held.
    pub held: Option<Held>,
    /// An admin lets it through.
    pub let_through: bool,
    /// People were told that the group is full.
    pub limit_told: bool,
    /// Where the room of a full group ends.
    pub boundary: Option<Boundary>,
    /// The publication that an admin keeps the group at.
    pub frozen: Option<i64>,
    /// See [`crate::GroupRow::restored`].
    pub restored: Option<i64>,
    /// The UTC day (days since 1970) on which its members were last judged by their age; none
    /// where no rule goes by age.
    pub aged_day: Option<i64>,
}

/// A part as it is stored.
#[derive(Clone, Debug)]
pub struct PartRow {
    /// Event UUID.
    pub id: PartId,
    /// `YYYY-MM-DD`.
    pub day: String,
    /// From 1 within the day.
    pub number: u32,
    /// The group's name when it was begun.
    pub group_name: String,
    /// Event timestamp, UTC seconds.
    pub stamp: i64,
    /// Takes no more members.
    pub sealed: bool,
    /// Members, tombstones counted.
    pub total: u32,
    /// Live members.
    pub live: u32,
    /// Something waits to be told to receivers.
    pub pending: bool,
    /// Until when it rests, in UTC microseconds.
    pub next_change_at: i64,
    /// A receiver lacks it although it was offered: it gets new timestamps.
    pub offer_again: bool,
    /// Its entry in the manifest.
    pub manifest_entry: String,
    /// Its event file.
    pub event: BlobRef,
    /// The event file for a MISP that never had it, where that is another one.
    pub first: Option<BlobRef>,
    /// The ETag of the event file when the part last got a timestamp; none if that was before it
    /// was noted.
    pub version: Option<String>,
    /// Its lines of `hashes.csv`.
    pub hashes: BlobRef,
}

/// A publication in the history of a group.
#[derive(Clone, Debug)]
pub struct PublicationLine {
    /// From 1.
    pub number: i64,
    /// When.
    pub created_at: Timestamp,
    /// IOCs in it.
    pub live: u32,
    /// IOCs that joined.
    pub added: u32,
    /// IOCs that left.
    pub removed: u32,
}

/// What a new publication says of its group.
#[derive(Clone, Debug)]
pub struct GroupUpdate {
    /// The claim it was made under, where other processes publish, too.
    pub claim: Option<Uuid>,
    /// The configuration it was made from.
    pub applied_config: i64,
    /// The change number it holds.
    pub applied_seq: i64,
    /// Its number; unchanged where nothing was published.
    pub publication: i64,
    /// Live members.
    pub live: u32,
    /// What was left out.
    pub cut: Truncation,
    /// When something is to do next.
    pub due_at: Option<i64>,
    /// The latest stamp given.
    pub latest_stamp: Option<i64>,
    /// Where the room of a full group ends.
    pub boundary: Option<Boundary>,
    /// What the group was kept at when it was made: see [`crate::GroupRow::frozen`] and
    /// [`crate::GroupRow::restored`].
    pub kept_at: (Option<i64>, Option<i64>),
    /// What restores that from now on.
    pub restored: Option<i64>,
    /// See [`PublishState::aged_day`].
    pub aged_day: Option<i64>,
    /// Whether it only takes out what was withdrawn, and the rest waits: a hold stays as it is.
    pub withdrawals_only: bool,
}

/// What an IOC was in a group before a publication changed it: nothing if it was not in, else the
/// network that it stood for, where that was wider than its own.
pub type Before = (IocId, Option<Option<u8>>);

/// As stored: 17 bytes each, the id and one that is 0 for an IOC that was not in, 1 for one that
/// stood for itself, and 2 more than the length of the prefix for a network.
pub(super) fn before_bytes(before: &[Before]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(before.len() * 17);
    for (id, was) in before {
        bytes.extend_from_slice(id.0.as_bytes());
        bytes.push(match was {
            None => 0,
            Some(None) => 1,
            Some(Some(merged_prefix)) => merged_prefix.saturating_add(2),
        });
    }
    bytes
}

pub(super) fn to_before(bytes: &[u8]) -> Vec<Before> {
    let one = |entry: &[u8; 17]| {
        let (id, was) = entry.split_at(16);
        let was = match was {
            [0] => None,
            [1] => Some(None),
            [merged_prefix, ..] => Some(Some(merged_prefix - 2)),
            [] => None,
        };
        Some((IocId(Uuid::from_slice(id).ok()?), was))
    };
    bytes.as_chunks::<17>().0.iter().filter_map(one).collect()
}

pub(super) fn count(n: i32) -> u32 {
    u32::try_from(n).unwrap_or_default()
}

pub(super) fn stored(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn blob_ref(column: &'static str, text: &str) -> StoreResult<BlobRef> {
    serde_json::from_str(text).map_err(|e| corrupt("parts", column, e))
}

pub(super) fn json(value: &impl Serialize) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|e| corrupt("parts", "json", e))
}

pub(super) fn to_part(row: part::Model) -> StoreResult<PartRow> {
    let part::Model {
        id,
        group_id: _,
        day,
        number,
        group_name,
        stamp,
        sealed,
        total,
        live,
        pending,
        next_change_at,
        manifest_entry,
        event_segment,
        hashes_segment,
        offer_again,
        first_segment,
        version,
    } = row;
    Ok(PartRow {
        id: PartId(id),
        day,
        number: count(number),
        group_name,
        stamp,
        sealed,
        total: count(total),
        live: count(live),
        pending,
        next_change_at,
        offer_again,
        manifest_entry,
        event: blob_ref("event_segment", &event_segment)?,
        first: first_segment.map(|text| blob_ref("first_segment", &text)).transpose()?,
        version,
        hashes: blob_ref("hashes_segment", &hashes_segment)?,
    })
}

impl PartRow {
    /// A part that holds nothing yet.
    #[must_use]
    pub fn empty(id: PartId, day: &str, number: u32, group_name: &str) -> Self {
        let nothing = BlobRef { hash: String::new(), crc: 0, raw_len: 0, len: 0 };
        Self {
            id,
            day: day.to_owned(),
            number,
            group_name: group_name.to_owned(),
            stamp: 0,
            sealed: false,
            total: 0,
            live: 0,
            pending: false,
            next_change_at: 0,
            offer_again: false,
            manifest_entry: String::new(),
            event: nothing.clone(),
            first: None,
            version: None,
            hashes: nothing,
        }
    }
}

pub(super) fn to_state(row: &group::Model) -> StoreResult<PublishState> {
    Ok(PublishState {
        config_version: row.config_version,
        applied_config: row.applied_config,
        applied_seq: row.applied_seq,
        publication: row.publication,
        live: count(row.live),
        cut: serde_json::from_str(&row.cut).map_err(|e| corrupt("ioc_groups", "cut", e))?,
        due_at: row.due_at,
        latest_stamp: row.latest_stamp,
        held: row
            .held
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(|e| corrupt("ioc_groups", "held", e))?,
        let_through: row.let_through.is_some(),
        limit_told: row.limit_told,
        // Without one, the group is selected from scratch.
        boundary: row.boundary.as_deref().and_then(|b| serde_json::from_str(b).ok()),
        frozen: row.frozen,
        restored: row.restored,
        aged_day: row.aged_day,
    })
}
