//! What devices poll: the feed table and the key table, both in memory (first journey of the design).
//!
//! [`App::feed_open`] never waits: it finds the group, checks the key by a fast keyed hash, compares the ETag. Only a
//! body that is not in the cache costs a read.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose};
use bytes::Bytes;
use iocast_domain::{
    account::Module,
    id::{AccountId, DeviceId, GroupId, KeyId},
    key::{Key, KeyKind},
};
use iocast_formats::gzip;
use iocast_store::{BlobRef, FileRef, GroupRow};
use quick_cache::{Weighter, sync::Cache};
use subtle::ConstantTimeEq as _;

use crate::{Actor, App, AppError, AppResult};

/// A file of a group's publication.
#[derive(Debug)]
pub struct File {
    /// Strong, of the plain bytes, without quotes; the gzip form has `-gzip` behind.
    pub etag: String,
    /// Plain length.
    pub raw_len: u64,
    /// `Content-Type`.
    pub content_type: &'static str,
    group: GroupId,
    segments: Vec<BlobRef>,
}

#[derive(Debug)]
struct GroupFeed {
    account_id: AccountId,
    device_id: DeviceId,
    name: String,
    device_name: String,
    type_name: &'static str,
    /// The file whose complete transfer is a pull.
    entry: &'static str,
    publication: i64,
    live: u32,
    files: HashMap<String, Arc<File>>,
}

type Groups = HashMap<GroupId, Arc<GroupFeed>>;
type Keys = HashMap<[u8; 32], Arc<Key>>;

#[derive(Clone)]
struct ByLength;

impl Weighter<String, Bytes> for ByLength {
    fn weight(&self, _: &String, body: &Bytes) -> u64 {
        body.len() as u64
    }
}

/// The tables.
pub(crate) struct Feed {
    groups: ArcSwap<Groups>,
    keys: ArcSwap<Keys>,
    bodies: Cache<String, Bytes, ByLength>,
    /// Held while a table is replaced; readers never wait for it.
    writing: Mutex<()>,
    /// Held while the keys are read and replaced: two at once could end in the wrong order.
    loading_keys: tokio::sync::Mutex<()>,
}

impl Feed {
    /// The key of this hash, dead or alive.
    pub(crate) fn key(&self, hash: &[u8; 32]) -> Option<Arc<Key>> {
        self.keys.load().get(hash).cloned()
    }

    pub(crate) fn new(cache_bytes: u64) -> Self {
        Self {
            groups: ArcSwap::default(),
            keys: ArcSwap::default(),
            bodies: Cache::with_weighter(1_000, cache_bytes, ByLength),
            writing: Mutex::new(()),
            loading_keys: tokio::sync::Mutex::new(()),
        }
    }

    fn edit(&self, change: impl FnOnce(&mut Groups)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups = Groups::clone(&self.groups.load());
        change(&mut groups);
        self.groups.store(Arc::new(groups));
    }
}

impl File {
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
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<&'a str>,
}

impl fmt::Debug for FeedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedRequest").field("group", &self.group).field("path", &self.path).finish_non_exhaustive()
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
        /// To be noted as a pull once the last byte is handed over.
        pull: Option<Pulled>,
    },
    /// 200 with a page for people: heading and lines.
    Page {
        /// What stands here.
        lines: Vec<String>,
    },
    /// 401, 404 or 503 with one plain sentence, most useful words first.
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
}

impl App {
    /// Answers a device. Never waits.
    #[must_use]
    pub fn feed_open(&self, request: &FeedRequest<'_>) -> FeedAnswer {
        let refuse = |status, sentence: &str, device| FeedAnswer::Refused { status, sentence: sentence.to_owned(), device };
        let groups = self.feed.groups.load();
        let id = request.group.parse().ok().map(GroupId);
        let group = id.and_then(|id| groups.get(&id));
        let key = match self.feed_key(request.authorization) {
            Ok(key) => key,
            Err((sentence, account)) => {
                // A failure is written to the device's history only where whoever asked knew the account: by a key of it, dead as
                // that is, or by its ID.
                let known = account.zip(group).zip(id).filter(|((account, g), _)| account == g.account_id.as_str());
                return refuse(401, &sentence, known.map(|((_, g), id)| (g.device_id, id)));
            }
        };
        let visible = |g: &GroupFeed| g.account_id == key.account_id && key.device_id.is_none_or(|d| d == g.device_id);
        let (Some(id), Some(group)) = (id, group.filter(|g| visible(g))) else {
            return refuse(404, "Unknown IOC group: copy the group URL from iocast again.", None);
        };
        if group.publication == 0 {
            return refuse(503, "This IOC group is being built; try again in a few seconds.", Some((group.device_id, id)));
        }
        if request.path.is_empty() {
            return FeedAnswer::Page { lines: group.page() };
        }
        let Some(file) = group.files.get(request.path) else {
            let hint = if request.path.ends_with("manifest.json/manifest.json") {
                "End the feed URL before /manifest.json: MISP adds it by itself."
            } else {
                "No such file in this IOC group; the entry is manifest.json."
            };
            return refuse(404, hint, None);
        };
        let pull = (request.path == group.entry).then_some(Pulled { device_id: group.device_id, group_id: id, key_id: key.id });
        match request.if_none_match.and_then(|header| matching_etag(header, &file.etag)) {
            Some(etag) => FeedAnswer::NotModified { etag, pull },
            None => FeedAnswer::File { file: Arc::clone(file), pull },
        }
    }

    /// The working key behind an `Authorization` header, or a sentence and the account that is meant.
    fn feed_key(&self, authorization: Option<&str>) -> Result<Arc<Key>, (String, Option<String>)> {
        let Some(header) = authorization else {
            return Err(("Authentication needed: Basic, with the account ID as user and an appliance or device key as password.".to_owned(), None));
        };
        let Some((account, secret)) = credentials(header) else {
            return Err(("The Authorization header is not readable: use Basic, with the account ID as user and the key as password.".to_owned(), None));
        };
        let hash = self.secrets.hash(&secret);
        let keys = self.feed.keys.load();
        let found = keys.get(&hash).filter(|key| bool::from(key.hash.ct_eq(&hash)) && account.as_deref().is_none_or(|a| a == key.account_id.as_str()));
        let Some(key) = found else { return Err(("Key rejected: account ID or key is wrong; make a new key in iocast if it was lost.".to_owned(), account)) };
        if key.kind == KeyKind::Api {
            let sentence = "Key rejected: this is an API key, which opens the REST API; group URLs take an appliance or device key.";
            return Err((sentence.to_owned(), Some(key.account_id.to_string())));
        }
        match key.refusal(self.now()) {
            None => Ok(Arc::clone(key)),
            Some(refusal) => Err((format!("Key rejected: {refusal}; paste the new key into the device."), Some(key.account_id.to_string()))),
        }
    }

    /// The body of a file: from the cache, or put together from its pieces.
    ///
    /// # Errors
    /// If the pieces can't be read: then the device gets 503, never less than the whole file.
    pub async fn feed_body(&self, file: &File, accept_gzip: bool) -> AppResult<FeedBody> {
        let cache_key = format!("{}/{}", file.group, file.etag);
        let gzip = match self.feed.bodies.get(&cache_key) {
            Some(body) => body,
            None => {
                let body = Bytes::from(self.feed_assemble(file).await?);
                self.feed.bodies.insert(cache_key, body.clone());
                body
            }
        };
        if accept_gzip {
            return Ok(FeedBody { bytes: gzip, gzip: true });
        }
        let raw_len = file.raw_len;
        let plain = tokio::task::spawn_blocking(move || gzip::inflate(&gzip, raw_len)).await.map_err(AppError::internal)?.map_err(AppError::internal)?;
        Ok(FeedBody { bytes: Bytes::from(plain), gzip: false })
    }

    /// The files that a group of the actor serves now, by path; none before its first publication.
    ///
    /// # Errors
    /// If the group is not there.
    pub fn group_files(&self, actor: &Actor, id: GroupId) -> AppResult<BTreeMap<String, Arc<File>>> {
        actor.may_read(Module::Automation)?;
        let groups = self.feed.groups.load();
        let group = groups.get(&id).filter(|g| g.account_id == actor.account_id).ok_or(AppError::NotFound("group"))?;
        Ok(group.files.iter().map(|(path, file)| (path.clone(), Arc::clone(file))).collect())
    }

    async fn feed_assemble(&self, file: &File) -> AppResult<Vec<u8>> {
        let hashes: Vec<String> = file.segments.iter().map(|s| s.hash.clone()).collect();
        let blobs = self.store.read().blob_fetch(file.group, &hashes).await?;
        let pieces: Option<Vec<_>> = file.segments.iter().map(|s| blobs.get(&s.hash).map(|data| (data.as_slice(), s.crc, s.raw_len))).collect();
        // A publication that was replaced twenty times since the table was read: the device asks again.
        let pieces = pieces.ok_or_else(|| AppError::Unavailable("This file was just replaced; try again.".to_owned()))?;
        Ok(gzip::join(pieces))
    }

    /// Loads both tables.
    pub(crate) async fn feed_reload(&self) -> AppResult<()> {
        self.feed_reload_keys().await?;
        let rows = self.store.read().group_all().await?;
        for row in &rows {
            self.feed_load_group(row).await?;
        }
        let there = self.store.read().publication_numbers().await?;
        self.feed.edit(|groups| groups.retain(|id, _| there.contains_key(id)));
        Ok(())
    }

    /// Loads the keys.
    pub(crate) async fn feed_reload_keys(&self) -> AppResult<()> {
        let _alone = self.feed.loading_keys.lock().await;
        let keys = self.store.read().key_all().await?;
        self.feed.keys.store(Arc::new(keys.into_iter().map(|k| (k.hash, Arc::new(k))).collect()));
        Ok(())
    }

    /// Learns what other replicas published or changed, and mends what a cancelled request left stale.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn feed_follow(&self) -> AppResult<()> {
        self.clock_follow().await?;
        self.feed_reload_keys().await?;
        let numbers = self.store.read().publication_numbers().await?;
        let known = self.feed.groups.load_full();
        if numbers.len() != known.len() || numbers.iter().any(|(id, n)| known.get(id).is_none_or(|g| g.publication != *n)) {
            self.feed_reload().await?;
        }
        Ok(())
    }

    /// Serves what a group last published.
    pub(crate) async fn feed_load_group(&self, row: &GroupRow) -> AppResult<()> {
        let read = self.store.read();
        let group = &row.group;
        let Some(device) = read.device_fetch(&group.account_id, group.device_id).await? else { return Ok(()) };
        let (publication, files) = match read.publication_files(group.id).await? {
            Some((number, files)) => (number, files),
            None => (0, Vec::new()),
        };
        let feed = GroupFeed {
            account_id: group.account_id.clone(),
            device_id: group.device_id,
            name: group.name.to_string(),
            device_name: device.name.to_string(),
            type_name: device.device_type.name,
            entry: device.device_type.format.entry(),
            publication,
            live: row.live,
            files: files.into_iter().map(|f| (f.path.clone(), Arc::new(file(group.id, f)))).collect(),
        };
        self.feed.edit(|groups| {
            // Two that load at once may end in the wrong order.
            if groups.get(&group.id).is_none_or(|there| there.publication <= publication) {
                groups.insert(group.id, Arc::new(feed));
            }
        });
        Ok(())
    }

    /// Serves a group no more.
    pub(crate) fn feed_drop_groups(&self, ids: &[GroupId]) {
        self.feed.edit(|groups| groups.retain(|id, _| !ids.contains(id)));
    }
}

fn file(group: GroupId, from: FileRef) -> File {
    let mut etag = blake3::Hasher::new();
    let mut raw_len = 0;
    for segment in &from.segments {
        etag.update(segment.hash.as_bytes());
        raw_len += segment.raw_len;
    }
    let etag = etag.finalize().to_hex().chars().take(32).collect();
    let content_type = if from.path.ends_with(".csv") { "text/csv; charset=utf-8" } else { "application/json" };
    File { etag, raw_len, content_type, group, segments: from.segments }
}

impl GroupFeed {
    fn page(&self) -> Vec<String> {
        vec![
            format!("IOC group {} of the {} device {}", self.name, self.type_name, self.device_name),
            format!("{} IOCs, publication {}", self.live, self.publication),
            format!("The feed begins at {} below this address. In MISP paste this address without it, as a MISP Feed.", self.entry),
        ]
    }
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
