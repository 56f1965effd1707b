//! What devices poll: the feed table and the key table, both in memory (first journey of the
//! design).
//!
//! [`Serving::feed_open`](crate::Serving::feed_open) never waits: it finds the group, checks the key by a
//! fast keyed hash, compares the ETag. Only a body that is not in the cache costs a read.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use iocast_domain::{
    device_type::{DeviceType, Format, Taxii},
    id::{AccountId, DeviceId, GroupId},
    key::Key,
    time::Timestamp,
};
use iocast_formats::{gzip, write::list};
use iocast_store::{BlobRef, FileRef};
use quick_cache::sync::Cache;
use tokio::sync::Notify;
use uuid::Uuid;

use self::bodies::{ByLength, Plain, cache};
use crate::taxii::{self, ByText, Piece};
use crate::{file_etag, misp_event};

mod open;
pub use self::open::{FeedAnswer, FeedBody, FeedFile, FeedRequest};

mod bodies;
mod follow;

/// What stands between two entries, or ends a bundle, is at most this long.
const BETWEEN: u64 = 4;

/// A file of a group's publication.
#[derive(Debug)]
pub struct File {
    /// Strong, of the plain bytes, without quotes; the gzip form has `-gzip` behind.
    pub etag: String,
    /// Plain length.
    pub raw_len: u64,
    /// `Content-Type`.
    pub content_type: &'static str,
    pub(crate) group: GroupId,
    format: Format,
    segments: Vec<BlobRef>,
    /// Of a list: the plain length of what stands before the first entry.
    pub(crate) before: Option<u64>,
    /// Of a MISP event in which something was taken back: the file for a MISP that never had it.
    pub first: Option<Arc<Self>>,
    /// Of a MISP event: which, and its version.
    pub(crate) event: Option<(Uuid, Uuid)>,
}

#[derive(Debug)]
pub(crate) struct GroupFeed {
    pub(crate) account_id: AccountId,
    pub(crate) device_id: DeviceId,
    pub(crate) name: String,
    pub(crate) device_name: String,
    pub(crate) created_at: Timestamp,
    device_type: &'static DeviceType,
    publication: i64,
    /// The number of the publication whose files these are.
    pub(crate) serves: i64,
    /// The publication that it serves instead.
    frozen: Option<i64>,
    live: u32,
    files: HashMap<String, Arc<File>>,
}

type Groups = HashMap<GroupId, Arc<GroupFeed>>;
type Keys = HashMap<[u8; 32], Arc<Key>>;

/// The tables.
pub(crate) struct Feed {
    /// By the first byte of their id: of very many groups, a publication copies one share of the
    /// table.
    groups: [ArcSwap<Groups>; 256],
    /// By the first byte of their hash: of very many keys, a new one copies one share of the table.
    keys: [ArcSwap<Keys>; 256],
    /// Counts the changes that the key table holds.
    keys_version: AtomicI64,
    /// Counts the changes that the table of groups holds.
    feeds_version: AtomicI64,
    /// When all groups were last compared, in real time.
    compared_at: AtomicI64,
    bodies: Cache<String, Bytes, ByLength>,
    plain: Plain,
    /// Pieces of TAXII collections.
    pub(crate) pieces: Cache<String, Arc<Piece>, ByText>,
    /// Held while a table is replaced; readers never wait for it.
    writing: Mutex<()>,
    /// Held while the keys are read and replaced: two at once could end in the wrong order.
    loading_keys: tokio::sync::Mutex<()>,
    /// Poked when another replica changed what devices get.
    changed: Notify,
    /// Groups whose files are to be read into memory.
    to_preload: Mutex<BTreeSet<GroupId>>,
    /// Poked when there are some.
    loaded: Notify,
}

impl Feed {
    /// The key of this hash, dead or alive.
    pub(crate) fn key(&self, hash: &[u8; 32]) -> Option<Arc<Key>> {
        self.keys_like(hash).load().get(hash).cloned()
    }

    /// The share of the key table in which this hash is, if it is there.
    fn keys_like(&self, hash: &[u8; 32]) -> &ArcSwap<Keys> {
        let [first, ..] = *hash;
        &self.keys[usize::from(first)]
    }

    pub(crate) fn new(cache_bytes: u64) -> Self {
        Self {
            groups: std::array::from_fn(|_| ArcSwap::default()),
            keys: std::array::from_fn(|_| ArcSwap::default()),
            keys_version: AtomicI64::new(-1),
            feeds_version: AtomicI64::new(-1),
            compared_at: AtomicI64::new(0),
            bodies: cache(cache_bytes),
            plain: Plain::default(),
            pieces: Cache::with_weighter(1_000, cache_bytes, ByText),
            writing: Mutex::new(()),
            loading_keys: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            to_preload: Mutex::default(),
            loaded: Notify::new(),
        }
    }

    /// Bytes and number of what is kept ready: feed files, and pieces of TAXII collections.
    pub(crate) fn kept(&self) -> [(&'static str, u64, u64); 2] {
        [
            ("bodies", self.bodies.weight(), self.bodies.len() as u64),
            ("taxii", self.pieces.weight(), self.pieces.len() as u64),
        ]
    }

    /// Groups and keys that are known.
    pub(crate) fn known(&self) -> (u64, u64) {
        (
            self.groups.iter().map(|share| share.load().len() as u64).sum(),
            self.keys.iter().map(|share| share.load().len() as u64).sum(),
        )
    }

    /// A group of any account.
    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<GroupFeed>> {
        self.groups_like(id).load().get(&id).cloned()
    }

    /// The share of the group table that holds this id, if it is known.
    fn groups_like(&self, id: GroupId) -> &ArcSwap<Groups> {
        let [first, ..] = *id.0.as_bytes();
        &self.groups[usize::from(first)]
    }

    /// All groups that fit.
    pub(crate) fn groups_where(
        &self,
        fits: impl Fn(&GroupFeed) -> bool,
    ) -> Vec<(GroupId, Arc<GroupFeed>)> {
        let shares = self.groups.iter().map(ArcSwap::load_full);
        shares
            .flat_map(|share| {
                share
                    .iter()
                    .filter(|(_, g)| fits(g))
                    .map(|(id, g)| (*id, Arc::clone(g)))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn keep(&self, id: GroupId) {
        self.to_preload.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.loaded.notify_one();
    }

    fn next_to_preload(&self) -> Option<GroupId> {
        self.to_preload.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// Changes the share of the table in which this group is.
    fn edit(&self, id: GroupId, change: impl FnOnce(&mut Groups)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let share = self.groups_like(id);
        let mut groups = Groups::clone(&share.load());
        change(&mut groups);
        share.store(Arc::new(groups));
    }
}

impl File {
    /// The bodies that it may be served as.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.first.as_deref())
    }

    /// Its pieces by name, in order, without the little ones between them.
    pub(crate) fn pieces(&self) -> Vec<String> {
        self.segments.iter().filter(|s| s.raw_len > BETWEEN).map(|s| s.hash.clone()).collect()
    }

    /// Length of the gzip form.
    #[must_use]
    pub fn gzip_len(&self) -> u64 {
        self.segments.iter().map(|s| s.len).sum::<u64>() + gzip::OVERHEAD
    }
}

/// A file of a publication with its path.
pub(crate) fn file(group: GroupId, format: Format, from: FileRef) -> (String, File) {
    let first = from.first.clone().map(|piece| {
        let only = FileRef { first: None, segments: vec![piece], ..from.clone() };
        Arc::new(file(group, format, only).1)
    });
    let event = misp_event(&from).filter(|_| format == Format::MispFeed);
    let etag = file_etag(&from);
    let raw_len = from.segments.iter().map(|segment| segment.raw_len).sum();
    let content_type = match list::writer(format) {
        Some(writer) if from.path == format.entry() => writer.content_type(),
        Some(_) => "text/plain; charset=utf-8",
        None if from.path.ends_with(".csv") => "text/csv; charset=utf-8",
        None => "application/json",
    };
    (
        from.path,
        File {
            etag,
            raw_len,
            content_type,
            group,
            format,
            segments: from.segments,
            before: from.before,
            first,
            event,
        },
    )
}

impl GroupFeed {
    /// Whether a key opens it.
    pub(crate) fn visible_to(&self, key: &Key) -> bool {
        self.account_id == key.account_id && key.device_id.is_none_or(|d| d == self.device_id)
    }

    /// Whether it is a collection of this version's TAXII server.
    pub(crate) fn is_collection(&self, version: Taxii) -> bool {
        self.device_type.format.taxii() == Some(version)
    }

    /// What the device asks for first; nothing before the first publication.
    pub(crate) fn entry_file(&self) -> Option<Arc<File>> {
        self.files.get(self.device_type.format.entry()).cloned()
    }

    /// The MISP events that it publishes, and their versions.
    pub(crate) fn events(&self) -> Vec<(Uuid, Uuid)> {
        self.files.values().filter_map(|file| file.event).collect()
    }

    /// What a person sees who opens the group URL of a device that asks for something below it.
    fn page(&self, public_url: &str, id: GroupId) -> Vec<String> {
        let mut lines = vec![
            format!(
                "IOC group {} of the {} device {}",
                self.name, self.device_type.name, self.device_name
            ),
            format!("{} IOCs, publication {}", self.live, self.publication),
        ];
        match self.device_type.format.taxii() {
            None => lines.push("The feed begins at manifest.json below this address. In MISP paste this address without it, as a MISP Feed.".to_owned()),
            Some(version) => {
                lines.push(format!("API root: {}", taxii::root(public_url, version, &self.account_id)));
                lines.push(format!("Collection: {id}"));
                lines.push("The same without TAXII, as one STIX bundle: stix.json below this address.".to_owned());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests;
