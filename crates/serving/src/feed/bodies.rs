//! Bodies: put together from the pieces of a publication, and kept in memory as far as there is
//! room.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use iocast_domain::id::KeyId;
use iocast_formats::{
    gzip,
    view::{Document, View},
};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{FeedBody, File};
use crate::{AppError, AppResult, Serving};

/// How long a device waits for the database, and a second more for each MiB.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body, compressed.
struct Made {
    gzip: Bytes,
    raw_len: u64,
    left_out: u64,
}

#[derive(Clone)]
pub(super) struct ByLength;

impl Weighter<String, Bytes> for ByLength {
    fn weight(&self, _: &String, body: &Bytes) -> u64 {
        body.len() as u64
    }
}

/// Plain bodies that are being sent: all readers of one share it, and it goes with the last of
/// them.
#[derive(Default)]
pub(super) struct Plain(Mutex<HashMap<String, Weak<tokio::sync::OnceCell<Shared>>>>);

/// A body that `Bytes` share.
#[derive(Clone)]
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Keeps the place of a body for as long as somebody reads it.
struct Read {
    body: Shared,
    _place: Arc<tokio::sync::OnceCell<Shared>>,
}

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        self.body.as_ref()
    }
}

impl Plain {
    async fn get(&self, name: String, gzip: Bytes, raw_len: u64) -> AppResult<Bytes> {
        let place = {
            let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match bodies.get(&name).and_then(Weak::upgrade) {
                Some(place) => place,
                None => {
                    bodies.retain(|_, body| body.strong_count() > 0);
                    let place = Arc::default();
                    bodies.insert(name, Arc::downgrade(&place));
                    place
                }
            }
        };
        let inflate = async || {
            let plain = tokio::task::spawn_blocking(move || gzip::inflate(&gzip, raw_len))
                .await
                .map_err(AppError::internal)?;
            Ok::<_, AppError>(Shared(Arc::new(plain.map_err(AppError::internal)?)))
        };
        let body = place.get_or_try_init(inflate).await?.clone();
        Ok(Bytes::from_owner(Read { body, _place: place }))
    }
}

/// Room for bodies, in one piece: cut into shards, as it is by default, none could be longer than a
/// shard is wide.
pub(super) fn cache(cache_bytes: u64) -> Cache<String, Bytes, ByLength> {
    match OptionsBuilder::new()
        .estimated_items_capacity(1_000)
        .weight_capacity(cache_bytes)
        .shards(1)
        .build()
    {
        Ok(options) => Cache::with_options(
            options,
            ByLength,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // It fails where one of them is missing.
        Err(_) => Cache::with_weighter(1_000, cache_bytes, ByLength),
    }
}

impl Serving {
    /// The body of a file: from the cache, or put together from its pieces.
    ///
    /// # Errors
    /// If the pieces can't be read: then the device gets 503, never less than the whole file.
    pub async fn feed_body(
        &self,
        file: &File,
        view: Option<(&View, KeyId)>,
        accept_gzip: bool,
    ) -> AppResult<FeedBody> {
        let Made { gzip, raw_len, left_out } = match view {
            None => Made { gzip: self.feed_gzip(file).await?, raw_len: file.raw_len, left_out: 0 },
            Some((view, key)) => self.feed_view(file, view, key).await?,
        };
        if accept_gzip {
            return Ok(FeedBody { bytes: gzip, gzip: true, left_out });
        }
        let name = match view {
            None => cache_key(file),
            Some((view, _)) => format!("{}/{}", file.group, view_etag(file, view)),
        };
        Ok(FeedBody {
            bytes: self.feed.plain.get(name, gzip, raw_len).await?,
            gzip: false,
            left_out,
        })
    }

    /// The first bytes of a file, at most so many.
    ///
    /// # Errors
    /// If the pieces can't be read.
    pub async fn feed_start(&self, file: &File, most: u64) -> AppResult<Vec<u8>> {
        let gzip = self.feed_gzip(file).await?;
        let start = tokio::task::spawn_blocking(move || gzip::inflate_start(&gzip, most)).await;
        start.map_err(AppError::internal)?.map_err(AppError::internal)
    }

    pub(super) async fn feed_gzip(&self, file: &File) -> AppResult<Bytes> {
        let cache_key = cache_key(file);
        if let Some(body) = self.feed.bodies.get(&cache_key) {
            return Ok(body);
        }
        // A line to the database that leads nowhere says nothing for long; the device is told to
        // come again.
        let silent = |_elapsed| {
            AppError::Unavailable(
                "The database does not answer; try again in a few seconds.".to_owned(),
            )
        };
        let patience = PATIENCE + Duration::from_secs(file.gzip_len() >> 20);
        let body = Bytes::from(
            tokio::time::timeout(patience, self.feed_assemble(file)).await.map_err(silent)??,
        );
        self.feed.bodies.insert(cache_key, body.clone());
        Ok(body)
    }

    /// Reads what groups serve since they were last loaded into memory, as far as there is room: a
    /// replica that loses its database serves that. The bundled database can't be lost like that.
    ///
    /// # Errors
    /// If some of it can't be read; it is read next time.
    pub async fn preload_files(&self) -> AppResult<()> {
        let (mut unread, mut failed) = (Vec::new(), Ok(()));
        while let Some(id) = self.feed.next_to_preload() {
            let Some(group) = self.feed.group(id).filter(|_| !self.context.store.is_bundled())
            else {
                continue;
            };
            for file in group
                .files
                .values()
                .filter(|file| self.feed.bodies.peek(&cache_key(file)).is_none())
            {
                if let Err(error) = self.feed_gzip(file).await {
                    failed = Err(error);
                    unread.push(id);
                    break;
                }
            }
        }
        unread.into_iter().for_each(|id| self.feed.keep(id));
        failed
    }

    /// Waits until there is something to read into memory.
    pub async fn files_to_preload(&self) {
        self.feed.loaded.notified().await;
    }

    /// A list in another shape, made once and kept like any body. What is kept ends in its plain
    /// length and the number of values that are left out.
    async fn feed_view(&self, file: &File, view: &View, key: KeyId) -> AppResult<Made> {
        let cache_key = format!("{}/{}", file.group, view_etag(file, view));
        let kept = match self.feed.bodies.get(&cache_key) {
            Some(kept) => kept,
            None => {
                let _permit = self.permits.acquire(key).await?;
                let is_slice = view.is_slice();
                let (gzip, raw_len, format, view) =
                    (self.feed_gzip(file).await?, file.raw_len, file.format, view.clone());
                let before = usize::try_from(file.before.unwrap_or(0)).unwrap_or(0);
                let make = move || -> std::io::Result<Vec<u8>> {
                    let plain = gzip::inflate(&gzip, raw_len)?;
                    let text = String::from_utf8_lossy(&plain);
                    let (shown, left_out) = view.apply(format, Document { text: &text, before });
                    let piece = gzip::segment(&shown)?;
                    let mut kept = gzip::join([(piece.data.as_slice(), piece.crc, piece.raw_len)]);
                    kept.extend_from_slice(&piece.raw_len.to_le_bytes());
                    kept.extend_from_slice(&left_out.to_le_bytes());
                    Ok(kept)
                };
                let kept = Bytes::from(
                    tokio::task::spawn_blocking(make)
                        .await
                        .map_err(AppError::internal)?
                        .map_err(AppError::internal)?,
                );
                // Of slices there are as many as somebody likes to ask for: they would push out
                // what devices poll.
                if !is_slice {
                    self.feed.bodies.insert(cache_key, kept.clone());
                }
                kept
            }
        };
        let number = |at: usize| {
            kept.get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let split = kept.len().saturating_sub(16);
        Ok(Made { gzip: kept.slice(..split), raw_len: number(split), left_out: number(split + 8) })
    }

    /// A piece of a file.
    pub(crate) async fn feed_segment(&self, file: &File, hash: &str) -> AppResult<gzip::Segment> {
        let gone = || AppError::Unavailable("This file was just replaced; try again.".to_owned());
        let at = file.segments.iter().position(|s| s.hash == hash).ok_or_else(gone)?;
        let (before, piece) = file
            .segments
            .split_at_checked(at)
            .and_then(|(before, rest)| Some((before, rest.first()?)))
            .ok_or_else(gone)?;
        // Where the whole file is in memory, so is the piece: that serves without the database,
        // too.
        if let Some(body) = self.feed.bodies.get(&cache_key(file))
            && let Some(data) = gzip::piece(&body, before.iter().map(|s| s.len).sum(), piece.len)
        {
            return Ok(gzip::Segment {
                data: data.to_vec(),
                crc: piece.crc,
                raw_len: piece.raw_len,
            });
        }
        let data = self
            .context
            .store
            .read()
            .blob_fetch(file.group, std::slice::from_ref(&piece.hash))
            .await?
            .remove(hash)
            .ok_or_else(gone)?;
        Ok(gzip::Segment { data, crc: piece.crc, raw_len: piece.raw_len })
    }

    async fn feed_assemble(&self, file: &File) -> AppResult<Vec<u8>> {
        let hashes: Vec<String> = file.segments.iter().map(|s| s.hash.clone()).collect();
        let blobs = self.context.store.read().blob_fetch(file.group, &hashes).await?;
        let pieces: Option<Vec<_>> = file
            .segments
            .iter()
            .map(|s| blobs.get(&s.hash).map(|data| (data.as_slice(), s.crc, s.raw_len)))
            .collect();
        // A publication that was replaced twenty times since the table was read: the device asks
        // again.
        let pieces = pieces.ok_or_else(|| {
            AppError::Unavailable("This file was just replaced; try again.".to_owned())
        })?;
        Ok(gzip::join(pieces))
    }
}

pub(super) fn cache_key(file: &File) -> String {
    format!("{}/{}", file.group, file.etag)
}

/// The ETag of another shape of a file.
pub(super) fn view_etag(file: &File, view: &View) -> String {
    // The number rises when a shape is made otherwise than before: who holds the older body gets
    // the new one.
    blake3::hash(format!("2|{}|{view:?}", file.etag).as_bytes()).to_hex().chars().take(32).collect()
}
