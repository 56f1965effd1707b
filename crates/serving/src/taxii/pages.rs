//! Pages of objects: collected from the shards of a group.

use std::sync::Arc;

use bytes::Bytes;
use iocast_domain::{device_type::Taxii, id::KeyId, key::Key, receipt::Fetched, time::Timestamp};
use iocast_formats::{
    gzip,
    taxii::{self as shape, Object, Position},
};
use serde_json::json;

use super::{Asked, Of, Piece, Refusal, TaxiiAnswer, TaxiiRequest, asked, refuse};
use crate::{
    AppError, AppResult, Serving,
    feed::{File, GroupFeed},
};

/// A page: objects with the pieces that hold them, whether there are more, and how many fit at all
/// where that was counted.
struct Page {
    objects: Vec<(Arc<Piece>, usize)>,
    more: bool,
    first: usize,
    all: Option<usize>,
}

impl Page {
    fn iter(&self) -> impl Iterator<Item = (&Piece, &Object)> {
        self.objects.iter().filter_map(|(piece, i)| piece.objects.get(*i).map(|o| (&**piece, o)))
    }

    fn added(&self) -> Option<(Timestamp, Timestamp)> {
        let at = |o: &(Arc<Piece>, usize)| {
            o.0.objects.get(o.1).map(|o| Timestamp::from_micros(o.position.added))
        };
        self.objects.first().and_then(at).zip(self.objects.last().and_then(at))
    }
}

impl Serving {
    pub(super) async fn taxii_page(
        &self,
        request: &TaxiiRequest<'_>,
        key: &Key,
        group: &GroupFeed,
        of: &Of<'_>,
    ) -> Result<(TaxiiAnswer, Fetched), Refusal> {
        let version = request.version;
        let mut asked = asked(request)?;
        if let Of::Object(id) | Of::Versions(id) = of {
            asked.filter = asked.filter.of_object(id);
        }
        let busy = || {
            refuse(503, "Not ready", "This collection is being built; try again in a few seconds.")
        };
        let file = group.entry_file().ok_or_else(busy)?;
        let page = self
            .taxii_collect(&file, group.created_at, version, &asked, key.id)
            .await
            .map_err(|error| match error {
                AppError::Unavailable(sentence) => refuse(503, "Busy", sentence),
                error => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "A TAXII page could not be read"
                    );
                    busy()
                }
            })?;
        if page.objects.is_empty()
            && matches!(of, Of::Object(_) | Of::Versions(_))
            && asked.after.is_none()
        {
            return Err(refuse(404, "Not found", "The collection holds no such object now."));
        }
        let next =
            page.iter().last().filter(|_| page.more).map(|(_, object)| object.position.cursor());
        let text = |(piece, object): (&'_ Piece, &Object)| {
            piece.text.get(object.range.clone()).unwrap_or("{}").to_owned()
        };
        let body = match of {
            Of::Objects | Of::Object(_) => {
                let objects: Vec<String> = page.iter().map(text).collect();
                shape::page(version, objects.iter().map(String::as_str), next.as_deref(), self.context.entropy.uuid())
            }
            Of::Manifest => shape::manifest(version, page.iter().map(|(_, o)| o), next.as_deref()).to_string(),
            Of::Versions(_) => json!({ "more": false, "versions": page.iter().map(|(_, o)| o.version.clone()).collect::<Vec<_>>() }).to_string(),
        };
        let content_type = match (version, of) {
            (Taxii::V20, Of::Objects | Of::Object(_)) => shape::media_type(version),
            _ => shape::content_type(version),
        };
        let range = page.all.map(|all| match page.objects.len() {
            0 => format!("items */{all}"),
            here => format!("items {}-{}/{all}", page.first, page.first + here - 1),
        });
        let partial = page.all.is_some_and(|all| page.objects.len() < all);
        let empty = page.objects.is_empty();
        match range {
            Some(range) if empty && page.all.is_some_and(|all| all > 0) => {
                Err(refuse(416, "Out of range", format!("There are no such items: {range}.")))
            }
            range => {
                let (status, range) = if partial { (206, range) } else { (200, None) };
                // Who asked for all, page by page, and reached the end has what is published.
                let fetched = match () {
                    () if page.more || !asked.filter.takes_indicators(spec_version(version)) => {
                        Fetched::Part
                    }
                    // Who asks for what is new has all only if it had what was there before.
                    () if asked.since => Fetched::Rest(group.serves),
                    () => Fetched::Whole(group.serves),
                };
                let answer = TaxiiAnswer {
                    status,
                    content_type,
                    body: Bytes::from(body),
                    added: page.added(),
                    range,
                    pull: None,
                    refused: None,
                };
                Ok((answer, fetched))
            }
        }
    }

    /// Gathers a page. Shards are ordered among each other, so that only those are read that hold
    /// something of the page.
    async fn taxii_collect(
        &self,
        file: &File,
        floor: Timestamp,
        version: Taxii,
        asked: &Asked,
        key: KeyId,
    ) -> AppResult<Page> {
        let _permit = self.permits.acquire(key).await?;
        let spec_version = spec_version(version);
        let pieces = file.pieces();
        // The head, and what indicators point at, are few and spread over all dates: they are
        // merged in.
        let mut beside = Vec::new();
        let mut first_shard = 0;
        for hash in pieces.iter().take(2) {
            let piece = self.taxii_piece(file, hash, floor).await?;
            if piece.objects.iter().any(|o| o.kind() == "indicator") {
                break;
            }
            beside.push(piece);
            first_shard += 1;
        }
        let shards = pieces.get(first_shard..).unwrap_or_default();
        let mut at = self.taxii_first_shard(file, shards, floor, asked.after).await?;
        let mut page = Page { objects: Vec::new(), more: false, first: asked.skip, all: None };
        let mut fitting = 0;
        let mut after = asked.after;
        loop {
            let shard = match shards.get(at) {
                Some(hash) => Some(self.taxii_piece(file, hash, floor).await?),
                None => None,
            };
            // What lies beside is taken up to the end of this shard, and behind the last one to its
            // own end.
            let end = shard
                .as_ref()
                .filter(|_| at + 1 < shards.len())
                .and_then(|s| s.objects.last())
                .map(|o| o.position);
            let lists: Vec<&Arc<Piece>> = beside.iter().chain(shard.as_ref()).collect();
            let indexed: Vec<Vec<(usize, Position)>> = lists
                .iter()
                .map(|p| p.objects.iter().enumerate().map(|(i, o)| (i, o.position)).collect())
                .collect();
            let merged = shape::merge(
                indexed.iter().map(Vec::as_slice).collect(),
                after,
                |(_, position)| *position,
            );
            for (list, (i, position)) in
                merged.take_while(|(_, (_, position))| end.is_none_or(|end| *position <= end))
            {
                after = Some(*position);
                let Some(piece) = lists.get(list) else { continue };
                if !piece
                    .objects
                    .get(*i)
                    .is_some_and(|object| asked.filter.fits(object, spec_version))
                {
                    continue;
                }
                fitting += 1;
                if fitting <= asked.skip {
                    continue;
                }
                if page.objects.len() < asked.limit {
                    page.objects.push((Arc::clone(piece), *i));
                } else {
                    page.more = true;
                    if !asked.count_all {
                        return Ok(page);
                    }
                }
            }
            at += 1;
            // A filter may look at every object: other requests on this thread are answered in
            // between.
            tokio::task::yield_now().await;
            if at >= shards.len() {
                break;
            }
        }
        page.all = asked.count_all.then_some(fitting);
        Ok(page)
    }

    /// The first shard that holds something behind a position.
    async fn taxii_first_shard(
        &self,
        file: &File,
        shards: &[String],
        floor: Timestamp,
        after: Option<Position>,
    ) -> AppResult<usize> {
        let Some(after) = after else { return Ok(0) };
        let (mut low, mut high) = (0, shards.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let Some(hash) = shards.get(middle) else { break };
            let last =
                self.taxii_piece(file, hash, floor).await?.objects.last().map(|o| o.position);
            if last.is_none_or(|last| last <= after) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    async fn taxii_piece(
        &self,
        file: &File,
        hash: &str,
        floor: Timestamp,
    ) -> AppResult<Arc<Piece>> {
        let cache_key = format!("{}/{hash}", file.group);
        if let Some(piece) = self.feed.pieces.get(&cache_key) {
            return Ok(piece);
        }
        let segment = self.feed_segment(file, hash).await?;
        let read = move || -> std::io::Result<Piece> {
            let text = String::from_utf8(gzip::inflate_segment(&segment)?)
                .map_err(std::io::Error::other)?;
            let objects = shape::objects(&text, floor);
            Ok(Piece { text, objects })
        };
        let piece = Arc::new(
            tokio::task::spawn_blocking(read)
                .await
                .map_err(AppError::internal)?
                .map_err(AppError::internal)?,
        );
        self.feed.pieces.insert(cache_key, Arc::clone(&piece));
        Ok(piece)
    }
}

const fn spec_version(version: Taxii) -> &'static str {
    match version {
        Taxii::V20 => "2.0",
        Taxii::V21 => "2.1",
    }
}
