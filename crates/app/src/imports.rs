//! Imports: a spooled body is read on a blocking thread and written in one transaction, all or nothing.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use iocast_domain::{
    id::{IocId, SourceId},
    ioc::{Change, Enrichment, Ioc, Sighting, ioc_id_in, merge},
    source::Source,
    time::Timestamp,
};
use iocast_formats::read::{Input, Item, Options, ReadError, Rejected, read};
use iocast_store::Txn;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{Actor, App, AppError, AppResult};

/// Sightings that are merged and written together.
const BATCH: usize = 1_000;
/// Refused lines that are listed; all are counted.
const REJECTED_MAX: usize = 1_000;

/// An import whose body lies in the spool.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Where the body lies.
    pub path: PathBuf,
    /// Its form.
    pub input: Input,
    /// What the reader shall take.
    pub options: Options,
    /// What holds for every IOC in it: tags, families.
    pub also: Enrichment,
    /// Write nothing.
    pub dry_run: bool,
}

/// What an import did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportReport {
    /// IOCs that were not there before, each once.
    pub accepted: u64,
    /// IOCs that were there and changed.
    pub updated: u64,
    /// IOCs that were there; at most they were seen again.
    pub unchanged: u64,
    /// How many lines were refused.
    pub rejected_count: u64,
    /// The first thousand of them.
    pub rejected: Vec<Rejected>,
    /// Nothing was written.
    pub dry_run: bool,
}

/// Told on the way: how many sightings were handled.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

impl App {
    /// The folder where bodies of imports lie until they are read.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.settings.data.join("spool")
    }

    /// A fresh place in the spool.
    #[must_use]
    pub fn spool_path(&self) -> PathBuf {
        self.spool().join(self.entropy.uuid().to_string())
    }

    /// Sweeps what an earlier server left behind. Only the server does, at its start: a shell command beside it must not.
    pub fn sweep_spool(&self) {
        let Ok(entries) = std::fs::read_dir(self.spool()) else { return };
        for entry in entries.flatten() {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(error = &error as &dyn std::error::Error, "A spooled import could not be swept");
            }
        }
    }

    /// Imports a spooled body into a source.
    ///
    /// # Errors
    /// If the source is not there or the body can't be read; then nothing was written.
    pub async fn import(self: &Arc<Self>, actor: &Actor, source_id: SourceId, request: ImportRequest, progress: Progress<'_>) -> AppResult<ImportReport> {
        actor.may_write()?;
        let source = self.source_fetch(actor, source_id).await?;
        let (sender, mut items) = mpsc::channel::<Vec<Item>>(4);
        let path = request.path.clone();
        let reading = tokio::task::spawn_blocking(move || read_spooled(&path, request.input, request.options, &sender));
        // The first batch is awaited before the transaction begins: a body that can't be read never takes the lock.
        let first = items.recv().await;
        let txn = self.store.write().await?;
        let mut report = ImportReport { dry_run: request.dry_run, ..ImportReport::default() };
        let seq = txn.account_next_seq(&actor.account_id).await?;
        let mut batch = Batch {
            namespace: actor.account_id.namespace(),
            source: &source,
            also: &request.also,
            left_alone: HashSet::new(),
            seq,
            now: self.now(),
            actor,
            txn: &txn,
        };
        let mut handled = 0;
        let mut next = first;
        while let Some(some) = next {
            handled += some.len() as u64;
            batch.write(some, &mut report).await?;
            progress(handled);
            next = items.recv().await;
        }
        reading.await.map_err(AppError::internal)?.map_err(unreadable)?;
        if request.dry_run {
            return Ok(report);
        }
        self.audit(&txn, actor, "ioc.import", &source.id, &serde_json::json!({ "source": source.name, "accepted": report.accepted, "updated": report.updated, "unchanged": report.unchanged, "rejected": report.rejected_count })).await?;
        txn.commit().await?;
        self.changed.notify_one();
        Ok(report)
    }
}

fn read_spooled(path: &Path, input: Input, options: Options, sender: &mpsc::Sender<Vec<Item>>) -> Result<(), ReadError> {
    let file = File::open(path).map_err(ReadError::Io)?;
    let mut batch = Vec::with_capacity(BATCH);
    read(input, &mut BufReader::with_capacity(256 * 1024, file), options, &mut |item| {
        batch.push(item);
        batch.len() < BATCH || sender.blocking_send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH))).is_ok()
    })?;
    sender.blocking_send(batch).map_err(|_closed| ReadError::Stopped)
}

fn unreadable(error: ReadError) -> AppError {
    match error {
        ReadError::Malformed(message) => AppError::Malformed(message),
        other => AppError::internal(other),
    }
}

struct Batch<'a> {
    namespace: uuid::Uuid,
    source: &'a Source,
    also: &'a Enrichment,
    /// IOCs that were counted although nothing about them was written.
    left_alone: HashSet<IocId>,
    seq: i64,
    now: Timestamp,
    actor: &'a Actor,
    txn: &'a Txn,
}

impl Batch<'_> {
    async fn write(&mut self, items: Vec<Item>, report: &mut ImportReport) -> AppResult<()> {
        let mut sightings: Vec<(IocId, Box<Sighting>)> = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Sighting(mut sighting) => {
                    sighting.enrichment.absorb(self.also);
                    if let Some((kind, value)) = &sighting.indicator {
                        sightings.push((ioc_id_in(&self.namespace, *kind, value), sighting));
                    }
                }
                Item::Rejected(rejected) => {
                    report.rejected_count += 1;
                    if report.rejected.len() < REJECTED_MAX {
                        report.rejected.push(rejected);
                    }
                }
            }
        }
        let mut ids: Vec<IocId> = sightings.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let known = self.txn.ioc_fetch_many(&ids).await?;
        let mut merged: HashMap<IocId, (Ioc, i64, Change)> = HashMap::with_capacity(ids.len());
        for (id, sighting) in sightings {
            let Some((kind, value)) = &sighting.indicator else { continue };
            let earlier = merged.remove(&id);
            // Deleted by a person and reported again: it starts afresh.
            let stored = known.get(&id).filter(|row| !row.deleted);
            let created_at = stored.map_or(self.now.micros(), |row| row.created_at);
            let before = earlier.as_ref().map(|(ioc, _, _)| ioc.clone()).or_else(|| stored.map(|row| row.ioc.clone()));
            let (ioc, change) = merge(before, id, *kind, value, &sighting, self.source.id, self.source.confidence, self.now);
            // Within one import an IOC counts once, by the most that happened to it.
            let change = match (earlier.map(|(_, _, c)| c), change) {
                (Some(Change::Accepted), _) => Change::Accepted,
                (Some(Change::Updated), _) | (_, Change::Updated) => Change::Updated,
                (_, change) => change,
            };
            merged.insert(id, (ioc, created_at, change));
        }
        let mut rows = Vec::with_capacity(merged.len());
        for (id, (ioc, created_at, change)) in merged {
            // Written by an earlier batch of this import: counted there.
            let counted = known.get(&id).is_some_and(|row| row.seq == self.seq && !row.deleted);
            let changed = known.get(&id).is_none_or(|row| row.deleted || row.ioc != ioc);
            if !counted && (changed || self.left_alone.insert(id)) {
                match change {
                    Change::Accepted => report.accepted += 1,
                    Change::Updated => report.updated += 1,
                    Change::Unchanged => report.unchanged += 1,
                }
            }
            if changed {
                rows.push((ioc, created_at));
            }
        }
        rows.sort_unstable_by_key(|(ioc, _)| ioc.id);
        Ok(self.txn.ioc_put_many(&self.actor.account_id, &rows, Some(self.source.id), self.seq).await?)
    }
}
