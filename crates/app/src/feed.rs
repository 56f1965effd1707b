//! What devices poll: the feed table and the key table, both in memory (first journey of the
//! design).
//!
//! [`App::feed_open`] never waits: it finds the group, checks the key by a fast keyed hash,
//! compares the ETag. Only a body that is not in the cache costs a read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose};
use bytes::Bytes;
use iocast_domain::{
    account::Module,
    device_type::{DeviceType, Format, Taxii},
    id::{AccountId, DeviceId, GroupId, KeyId},
    key::{Key, KeyKind},
    time::Timestamp,
};
use iocast_formats::{gzip, view::View, write::list};
use iocast_store::{BlobRef, FileRef};
use quick_cache::sync::Cache;
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;

use self::bodies::{ByLength, Plain, cache, view_etag};
use crate::{
    Actor, App, AppError, AppResult, Memory,
    taxii::{self, ByText, Piece},
};

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

/// A request of a device.
#[derive(Clone, Copy)]
pub struct FeedRequest<'a> {
    /// The group in the URL.
    pub group: &'a str,
    /// The path below the group URL, without outer slashes.
    pub path: &'a str,
    /// The parameters of the URL.
    pub parameters: &'a [(&'a str, &'a str)],
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-API-Key` header.
    pub api_key: Option<&'a str>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<&'a str>,
}

impl fmt::Debug for FeedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedRequest")
            .field("group", &self.group)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a device is told.
#[derive(Debug)]
pub enum FeedAnswer {
    /// 304.
    NotModified {
        /// As it was asked with.
        etag: String,
        /// To be noted as a pull, if it is one.
        pull: Option<Pulled>,
    },
    /// 200.
    File {
        /// The file.
        file: Arc<File>,
        /// In another shape.
        view: Option<View>,
        /// Of the shape that was asked for, without quotes; the gzip form has `-gzip` behind.
        etag: String,
        /// `Content-Type` of it.
        content_type: &'static str,
        /// To be noted as a pull once the last byte is handed over.
        pull: Option<Pulled>,
        /// The key it was asked with.
        key: KeyId,
    },
    /// 200 with a page for people: heading and lines.
    Page {
        /// What stands here.
        lines: Vec<String>,
    },
    /// 400, 401, 404 or 503 with one plain sentence, most useful words first.
    Refused {
        /// Status.
        status: u16,
        /// The sentence.
        sentence: String,
        /// The known device it concerns, for its pull history.
        device: Option<(DeviceId, GroupId)>,
    },
}

/// Who pulled what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pulled {
    /// The device.
    pub device_id: DeviceId,
    /// The group.
    pub group_id: GroupId,
    /// The key it used.
    pub key_id: KeyId,
}

/// A body ready to be sent.
#[derive(Clone, Debug)]
pub struct FeedBody {
    /// The bytes.
    pub bytes: Bytes,
    /// Whether they are gzip.
    pub gzip: bool,
    /// How many values a view left out because its shape can't take them.
    pub left_out: u64,
}

impl App {
    /// Answers a device. Never waits.
    #[must_use]
    pub fn feed_open(&self, request: &FeedRequest<'_>) -> FeedAnswer {
        let refuse = |status, sentence: &str, device| FeedAnswer::Refused {
            status,
            sentence: sentence.to_owned(),
            device,
        };
        if self.memory() == Memory::Stale {
            return refuse(
                503,
                "iocast has had no database for too long to know which keys still work; keep what you have and try again.",
                None,
            );
        }
        // A feed's checksum lies beside it.
        let (name, path) = match request.group.strip_suffix(".md5") {
            Some(name) if request.path.is_empty() => (name, "md5"),
            _ => (request.group, request.path),
        };
        let id = name.parse().ok().map(GroupId);
        let groups = id.map(|id| self.feed.groups_like(id).load());
        let group = id.zip(groups.as_ref()).and_then(|(id, groups)| groups.get(&id));
        let key = match self.feed_key(request.credentials()) {
            Ok(key) => key,
            Err((sentence, account)) => {
                // A failure is written to the device's history only where the client knew the
                // account: by a key of it, dead as that is, or by its ID.
                let known = account
                    .zip(group)
                    .zip(id)
                    .filter(|((account, g), _)| account == g.account_id.as_str());
                return refuse(401, &sentence, known.map(|((_, g), id)| (g.device_id, id)));
            }
        };
        let (Some(id), Some(group)) = (id, group.filter(|g| g.visible_to(&key))) else {
            return refuse(404, "Unknown IOC group: copy the group URL from iocast again.", None);
        };
        if group.publication == 0 {
            return refuse(
                503,
                "This IOC group is being built; try again in a few seconds.",
                Some((group.device_id, id)),
            );
        }
        let format = group.device_type.format;
        let Some(file) = group.files.get(path) else {
            if path.is_empty() {
                return FeedAnswer::Page { lines: group.page(&self.settings.public_url, id) };
            }
            let hint = match format.entry() {
                "manifest.json" if path.ends_with("manifest.json/manifest.json") => {
                    "End the feed URL before /manifest.json: MISP adds it by itself.".to_owned()
                }
                "" => "Nothing lies below this IOC group's URL: the list is the URL itself."
                    .to_owned(),
                entry => format!("No such file in this IOC group; the entry is {entry}."),
            };
            return refuse(404, &hint, None);
        };
        let view = match if path == format.entry() {
            View::parse(format, request.parameters.iter().copied())
        } else {
            Ok(None)
        } {
            Ok(view) => view,
            Err(why) => return refuse(400, &why, Some((group.device_id, id))),
        };
        let pull = (path == format.entry()).then_some(Pulled {
            device_id: group.device_id,
            group_id: id,
            key_id: key.id,
        });
        let etag = view.as_ref().map_or_else(|| file.etag.clone(), |view| view_etag(file, view));
        match request.if_none_match.and_then(|header| matching_etag(header, &etag)) {
            Some(etag) => FeedAnswer::NotModified { etag, pull },
            None => {
                let content_type =
                    view.as_ref().map_or(file.content_type, |view| view.content_type(format));
                FeedAnswer::File {
                    file: Arc::clone(file),
                    view,
                    etag,
                    content_type,
                    pull,
                    key: key.id,
                }
            }
        }
    }

    /// The working key that a device shows, or a sentence and the account that is meant.
    pub(crate) fn feed_key(
        &self,
        shown: Result<Shown, &'static str>,
    ) -> Result<Arc<Key>, (String, Option<String>)> {
        let (account, secret) = shown.map_err(|sentence| (sentence.to_owned(), None))?;
        let hash = self.secrets.hash(&secret);
        let keys = self.feed.keys_like(&hash).load();
        let found = keys.get(&hash).filter(|key| {
            bool::from(key.hash.ct_eq(&hash))
                && account.as_deref().is_none_or(|a| a == key.account_id.as_str())
        });
        let Some(key) = found else {
            return Err(("Key rejected: account ID or key is wrong; make a new key in iocast if it was lost.".to_owned(), account));
        };
        if key.kind == KeyKind::Api {
            let sentence = "Key rejected: this is an API key, which opens the REST API; group URLs take an appliance or device key.";
            return Err((sentence.to_owned(), Some(key.account_id.to_string())));
        }
        match key.refusal(self.now()) {
            None => Ok(Arc::clone(key)),
            Some(refusal) => Err((
                format!("Key rejected: {refusal}; paste the new key into the device."),
                Some(key.account_id.to_string()),
            )),
        }
    }

    /// The files that a group of the actor serves now, by path; none before its first publication.
    ///
    /// # Errors
    /// If the group is not there.
    pub fn group_files(
        &self,
        actor: &Actor,
        id: GroupId,
    ) -> AppResult<BTreeMap<String, Arc<File>>> {
        actor.may_read(Module::Automation)?;
        let groups = self.feed.groups_like(id).load();
        let group = groups
            .get(&id)
            .filter(|g| g.account_id == actor.account_id)
            .ok_or(AppError::NotFound("group"))?;
        Ok(group.files.iter().map(|(path, file)| (path.clone(), Arc::clone(file))).collect())
    }
}

/// A file of a publication with its path.
pub(crate) fn file(group: GroupId, format: Format, from: FileRef) -> (String, File) {
    let mut etag = blake3::Hasher::new();
    let mut raw_len = 0;
    for segment in &from.segments {
        etag.update(segment.hash.as_bytes());
        raw_len += segment.raw_len;
    }
    let etag = etag.finalize().to_hex().chars().take(32).collect();
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

/// What a device shows of itself: an account ID, where it names one, and a secret.
pub(crate) type Shown = (Option<String>, String);

impl FeedRequest<'_> {
    fn credentials(&self) -> Result<Shown, &'static str> {
        shown(self.authorization, self.api_key, self.parameters)
    }
}

/// Basic or Bearer; else the header for devices that know only one of their own; else the key in
/// the URL.
pub(crate) fn shown(
    authorization: Option<&str>,
    api_key: Option<&str>,
    parameters: &[(&str, &str)],
) -> Result<Shown, &'static str> {
    if let Some(header) = authorization {
        return credentials(header).ok_or("The Authorization header is not readable: use Basic, with the account ID as user and the key as password.");
    }
    let in_url = || parameters.iter().find(|(name, _)| *name == "key").map(|(_, value)| *value);
    let key = api_key.or_else(in_url).ok_or("Authentication needed: Basic, with the account ID as user and an appliance or device key as password.")?;
    Ok((None, key.to_owned()))
}

/// User and password of Basic, split at the first colon; or the key alone as Bearer.
pub(crate) fn credentials(header: &str) -> Option<(Option<String>, String)> {
    let (scheme, value) = header.trim().split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, value.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = general_purpose::STANDARD_NO_PAD.decode(value.trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((Some(user.to_owned()), password.to_owned()))
}

/// The ETag in an `If-None-Match` list that names this file, in whatever form a proxy left it.
fn matching_etag(header: &str, etag: &str) -> Option<String> {
    header.split(',').map(str::trim).find_map(|candidate| {
        if candidate == "*" {
            return Some(format!("\"{etag}\""));
        }
        let opaque = candidate.trim_start_matches("W/").trim_matches('"');
        let plain = opaque.strip_suffix("-gzip").unwrap_or(opaque);
        (plain == etag).then(|| format!("\"{opaque}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_as_clients_send_it() {
        let pair = |u: &str, p: &str| Some((Some(u.to_owned()), p.to_owned()));
        assert_eq!(credentials("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(credentials("bAsIc YTpi"), pair("a", "b"));
        assert_eq!(credentials("Basic YTpiOg"), pair("a", "b:"));
        assert_eq!(credentials("Bearer key"), Some((None, "key".to_owned())));
        for bad in ["", "Basic", "Basic !!!", "Basic YWI=", "Digest x"] {
            assert_eq!(credentials(bad), None, "{bad}");
        }
    }

    #[test]
    fn etags_survive_proxies() {
        for header in ["\"abc\"", "W/\"abc\"", "\"abc-gzip\"", "\"x\", \"abc\"", "*"] {
            assert!(matching_etag(header, "abc").is_some(), "{header}");
        }
        assert_eq!(matching_etag("\"abc-gzip\"", "abc").as_deref(), Some("\"abc-gzip\""));
        assert_eq!(matching_etag("\"abcd\"", "abc"), None);
    }
}
