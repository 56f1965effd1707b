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

/// A page: objects with the pieces that hold them.
#[derive(Default)]
struct Page {
    objects: Vec<(Arc<Piece>, usize)>,
    /// Whether there are more.
    more: bool,
    first: usize,
    /// How many of those that are asked for were met so far.
    seen: usize,
    /// How many there are, where that was counted.
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

impl Page {
    /// Which items these are of all, where all were counted.
    fn range(&self) -> Option<String> {
        self.all.map(|all| match self.objects.len() {
            0 => format!("items */{all}"),
            here => format!("items {}-{}/{all}", self.first, self.first + here - 1),
        })
    }

    fn is_partial(&self) -> bool {
        self.all.is_some_and(|all| self.objects.len() < all)
    }

    fn is_out_of_range(&self) -> bool {
        self.objects.is_empty() && self.all.is_some_and(|all| all > 0)
    }

    /// Takes the objects that are asked for, in their order, up to this position. Gives false once
    /// the page is full and nothing else is to be counted.
    fn take(
        &mut self,
        lists: &[&Arc<Piece>],
        end: Option<Position>,
        asked: &Asked,
        (spec_version, after): (&str, &mut Option<Position>),
    ) -> bool {
        let indexed: Vec<Vec<(usize, Position)>> = lists
            .iter()
            .map(|p| p.objects.iter().enumerate().map(|(i, o)| (i, o.position)).collect())
            .collect();
        let slices = indexed.iter().map(Vec::as_slice).collect();
        let merged = shape::merge(slices, *after, |(_, position)| *position);
        for (list, (i, position)) in
            merged.take_while(|(_, (_, position))| end.is_none_or(|end| *position <= end))
        {
            *after = Some(*position);
            let Some(piece) = lists.get(list) else { continue };
            let is_asked = |object| asked.filter.fits(object, spec_version);
            if !piece.objects.get(*i).is_some_and(is_asked) {
                continue;
            }
            self.seen += 1;
            if self.seen <= asked.skip {
                continue;
            }
            if self.objects.len() < asked.limit {
                self.objects.push((Arc::clone(piece), *i));
            } else {
                self.more = true;
                if !asked.count_all {
                    return false;
                }
            }
        }
        true
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
        let range = page.range();
        if let Some(range) = range.as_ref().filter(|_| page.is_out_of_range()) {
            return Err(refuse(416, "Out of range", format!("There are no such items: {range}.")));
        }
        let (status, range) = if page.is_partial() { (206, range) } else { (200, None) };
        let content_type = match (version, of) {
            (Taxii::V20, Of::Objects | Of::Object(_)) => shape::media_type(version),
            _ => shape::content_type(version),
        };
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
            body: Bytes::from(self.taxii_body(version, of, &page)),
            added: page.added(),
            range,
            pull: None,
            refused: None,
        };
        Ok((answer, fetched))
    }

    fn taxii_body(&self, version: Taxii, of: &Of<'_>, page: &Page) -> String {
        let last = page.iter().last().filter(|_| page.more);
        let next = last.map(|(_, object)| object.position.cursor());
        match of {
            Of::Objects | Of::Object(_) => {
                let text = |(piece, object): (&'_ Piece, &Object)| {
                    piece.text.get(object.range.clone()).unwrap_or("{}").to_owned()
                };
                let objects: Vec<String> = page.iter().map(text).collect();
                let objects = objects.iter().map(String::as_str);
                shape::page(version, objects, next.as_deref(), self.context.entropy.uuid())
            }
            Of::Manifest => {
                let objects = page.iter().map(|(_, object)| object);
                shape::manifest(version, objects, next.as_deref()).to_string()
            }
            Of::Versions(_) => {
                let versions: Vec<_> = page.iter().map(|(_, o)| o.version.clone()).collect();
                json!({ "more": false, "versions": versions }).to_string()
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
        let mut page = Page { first: asked.skip, ..Page::default() };
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
            if !page.take(&lists, end, asked, (spec_version, &mut after)) {
                return Ok(page);
            }
            at += 1;
            // A filter may look at every object: other requests on this thread are answered in
            // between.
            tokio::task::yield_now().await;
            if at >= shards.len() {
                break;
            }
        }
        page.all = asked.count_all.then_some(page.seen);
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
