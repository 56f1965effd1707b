//! Imports: a spooled body is read on a blocking thread, merged with what is known onto a stage in small writes, and made
//! seen by one short transaction, all or nothing. While one batch is written, the next one is merged, and the one after that read.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use iocast_domain::{
    account::Module,
    id::{IocId, SourceId},
    ioc::{Enrichment, Sighting, ioc_id_in, merge},
    source::{Confidence, Source},
    time::{HOUR, Timestamp},
};
use iocast_formats::read::{Input, Item, Options, ReadError, Rejected, read};
use iocast_store::{IocRow, StageCounts, Staged, Txn};
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use crate::{Actor, App, AppError, AppResult};

/// Sightings that are merged and staged together: one small write.
const BATCH: usize = 2_000;
/// Batches in one write, at most: some hundred milliseconds for which others wait.
const TOGETHER: u32 = 4;
/// After how long without a sign of life an import is taken for dead, in microseconds.
const ALIVE: i64 = HOUR;
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

/// A spooled body, gone when dropped.
#[derive(Debug)]
pub struct Spooled(pub PathBuf);

impl Drop for Spooled {
    fn drop(&mut self) {
        // If it stays, the next start sweeps it.
        let _ = std::fs::remove_file(&self.0);
    }
}

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

    /// Sweeps what killed imports left on the stage.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn stage_sweep(&self) -> AppResult<()> {
        let txn = self.store.write().await?;
        txn.import_end_lapsed(self.clock.real_now()).await?;
        txn.commit().await?;
        while let Some(import) = self.store.read().stage_left_behind().await? {
            if !self.stage_clear(import).await? {
                break;
            }
        }
        Ok(())
    }

    /// Clears the stage of an import that ended, in small writes, one import at a time. Gives false where the server is
    /// stopping: the next start sweeps the rest.
    async fn stage_clear(&self, import: Uuid) -> AppResult<bool> {
        let _alone = self.clearing.lock().await;
        while !self.is_closing() {
            let txn = self.store.write().await?;
            let more = txn.stage_clear(import).await?;
            txn.commit().await?;
            if !more {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends the imports of a server that was killed. On PostgreSQL they lapse: another replica may be at one.
    pub(crate) async fn end_imports(&self) -> AppResult<()> {
        if self.store.is_bundled() {
            let txn = self.store.write().await?;
            txn.import_end_lapsed(Timestamp::from_micros(i64::MAX)).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Imports a list that is in memory, in the form of our own JSON.
    pub(crate) async fn import_list(self: &Arc<Self>, actor: &Actor, source: SourceId, list: &[impl Serialize]) -> AppResult<ImportReport> {
        tokio::fs::create_dir_all(self.spool()).await.map_err(AppError::internal)?;
        let spooled = Spooled(self.spool_path());
        tokio::fs::write(&spooled.0, serde_json::to_vec(list).map_err(AppError::internal)?).await.map_err(AppError::internal)?;
        let (input, options, also) = (Input::Json, Options::default(), Enrichment::default());
        self.import(actor, source, ImportRequest { path: spooled.0.clone(), input, options, also, dry_run: false }, &|_| {}).await
    }

    /// Imports a spooled body into a source.
    ///
    /// # Errors
    /// If the source is not there or the body can't be read; then nothing was written.
    pub async fn import(self: &Arc<Self>, actor: &Actor, source_id: SourceId, request: ImportRequest, progress: Progress<'_>) -> AppResult<ImportReport> {
        actor.may_change(Module::Tip)?;
        let source = self.source_fetch(actor, source_id).await?;
        let seen = self.store.read().account_seq(&actor.account_id).await?;
        let mut import = Import {
            app: self,
            id: self.entropy.uuid(),
            actor,
            namespace: actor.account_id.namespace(),
            source,
            request: &request,
            known_same: HashSet::new(),
            now: self.now(),
            report: ImportReport { dry_run: request.dry_run, ..ImportReport::default() },
        };
        let result = match import.stage(progress).await {
            Ok(()) if request.dry_run => import.count().await,
            Ok(()) => import.flip(seen).await,
            Err(error) => Err(error),
        };
        if result.is_err() || request.dry_run {
            let txn = self.store.write().await?;
            txn.import_end(import.id).await?;
            txn.commit().await?;
        }
        let (id, report) = (import.id, import.report);
        // Publishing comes first; what lies on the stage is in nobody's way.
        self.changed.notify_one();
        let app = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = app.stage_clear(id).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "The stage of an import could not be cleared; it is tried again");
            }
        });
        result.map(|()| report)
    }
}

/// An import under way.
struct Import<'a> {
    app: &'a Arc<App>,
    id: Uuid,
    actor: &'a Actor,
    namespace: Uuid,
    source: Source,
    request: &'a ImportRequest,
    /// IOCs about which the import says nothing new; they are counted, and not staged.
    known_same: HashSet<IocId>,
    now: Timestamp,
    report: ImportReport,
}

impl Import<'_> {
    fn alive_until(&self) -> Timestamp {
        self.app.clock.real_now().plus(ALIVE)
    }

    /// Reads the body and lays what it says on the stage.
    async fn stage(&mut self, progress: Progress<'_>) -> AppResult<()> {
        let (mut items, reading) = self.read();
        // The first batch is awaited before anything is written: a body that can't be read never gets that far.
        let mut next = items.recv().await;
        let txn = self.app.store.write().await?;
        txn.import_begin(self.id, &self.actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        let mut handled = 0;
        // What is merged, and not laid on the stage yet.
        let mut merged: Option<Vec<Staged>> = None;
        let mut open: Option<(Txn, u32)> = None;
        while let Some(batch) = next {
            handled += batch.len() as u64;
            let sightings = self.sightings(batch);
            let ids = ids(&sightings);
            let (txn, nth) = match open.take() {
                Some(open) => open,
                None => (self.app.store.write().await?, 1),
            };
            // Read by the one who writes: what was just written is at hand there, and a reader would fetch it anew.
            let (mut staged, known) = (txn.stage_fetch_many(self.id, &ids).await?, txn.ioc_fetch_many(&ids).await?);
            let before = merged.as_deref().unwrap_or_default();
            staged.extend(before.iter().filter(|row| ids.binary_search(&row.ioc.id).is_ok()).map(|row| (row.ioc.id, row.clone())));
            let merging = self.merging(sightings, staged, known);
            // One in which nothing is new is a sign of life, too.
            if let Some(rows) = &merged {
                txn.stage_put_many(self.id, rows, self.alive_until()).await?;
            }
            merged = Some(self.merged(merging).await?);
            progress(handled);
            // What is read already goes into the same write, so far as that holds nobody up: each write syncs the disk, and
            // lays down again most pages of an index whose keys are spread evenly.
            next = match items.try_recv() {
                Ok(batch) if nth < TOGETHER => {
                    open = Some((txn, nth + 1));
                    Some(batch)
                }
                ready => {
                    txn.commit().await?;
                    match ready {
                        Ok(batch) => Some(batch),
                        Err(_) => items.recv().await,
                    }
                }
            };
        }
        let txn = self.app.store.write().await?;
        txn.stage_put_many(self.id, &merged.unwrap_or_default(), self.alive_until()).await?;
        txn.commit().await?;
        reading.await.map_err(AppError::internal)?.map_err(unreadable)
    }

    fn read(&self) -> (mpsc::Receiver<Vec<Item>>, JoinHandle<Result<(), ReadError>>) {
        let (sender, items) = mpsc::channel(2);
        let ImportRequest { path, input, options, .. } = self.request.clone();
        (items, tokio::task::spawn_blocking(move || read_spooled(&path, input, options, &sender)))
    }

    fn sightings(&mut self, items: Vec<Item>) -> Sightings {
        let mut sightings = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Item::Sighting(mut sighting) => {
                    sighting.enrichment.absorb(&self.request.also);
                    if let Some((kind, value)) = &sighting.indicator {
                        sightings.push((ioc_id_in(&self.namespace, *kind, value), sighting));
                    }
                }
                Item::Rejected(rejected) => {
                    self.report.rejected_count += 1;
                    if self.report.rejected.len() < REJECTED_MAX {
                        self.report.rejected.push(rejected);
                    }
                }
            }
        }
        sightings
    }

    /// Merges sightings with what is on the stage or, where nothing is, with what is known, beside other work.
    fn merging(&self, sightings: Sightings, staged: HashMap<IocId, Staged>, known: HashMap<IocId, IocRow>) -> JoinHandle<Merged> {
        let (source, confidence, now) = (self.source.id, self.source.confidence, self.now);
        tokio::task::spawn_blocking(move || merge_all(sightings, &staged, known, source, confidence, now))
    }

    /// What is to be laid on the stage; what says nothing new is counted.
    async fn merged(&mut self, merging: JoinHandle<Merged>) -> AppResult<Vec<Staged>> {
        let Merged { rows, same } = merging.await.map_err(AppError::internal)?;
        for row in &rows {
            self.known_same.remove(&row.ioc.id);
        }
        self.known_same.extend(same);
        Ok(rows)
    }

    /// Makes everything on the stage seen, under one change number. `seen` is the account's number before staging began:
    /// what others changed since is merged again.
    async fn flip(&mut self, seen: i64) -> AppResult<()> {
        let txn = self.app.store.write().await?;
        let account = &self.actor.account_id;
        // The number first: it locks the account's row, so that nobody changes an IOC from here on.
        let seq = txn.account_next_seq(account, || self.app.now()).await?;
        self.source = txn.source_fetch(account, self.source.id).await?.ok_or(AppError::NotFound("source"))?;
        if seq > seen + 1 {
            let overtaken = txn.stage_overtaken(self.id, account, seen).await?;
            self.stage_again(&txn, &overtaken).await?;
        }
        self.count_in(txn.stage_counts(self.id).await?);
        txn.stage_flip(self.id, account, self.source.id, seq).await?;
        let ImportReport { accepted, updated, unchanged, rejected_count, .. } = self.report;
        let detail =
            serde_json::json!({ "source": self.source.name, "accepted": accepted, "updated": updated, "unchanged": unchanged, "rejected": rejected_count });
        self.app.audit(&txn, self.actor, "ioc.import", &self.source.id, &detail).await?;
        self.app.idempotency_effect(&txn, self.actor, &self.report).await?;
        Ok(txn.commit().await?)
    }

    /// Reads the body once more for these IOCs alone.
    async fn stage_again(&mut self, txn: &Txn, overtaken: &[IocId]) -> AppResult<()> {
        if overtaken.is_empty() {
            return Ok(());
        }
        txn.stage_take_off(self.id, overtaken).await?;
        let overtaken: HashSet<IocId> = overtaken.iter().copied().collect();
        let (mut items, reading) = self.read();
        while let Some(mut batch) = items.recv().await {
            // Refused lines were counted the first time.
            batch.retain(|item| matches!(item, Item::Sighting(_)));
            let mut sightings = self.sightings(batch);
            sightings.retain(|(id, _)| overtaken.contains(id));
            let ids = ids(&sightings);
            let (staged, known) = (txn.stage_fetch_many(self.id, &ids).await?, txn.ioc_fetch_many(&ids).await?);
            let rows = self.merged(self.merging(sightings, staged, known)).await?;
            txn.stage_put_many(self.id, &rows, self.alive_until()).await?;
        }
        reading.await.map_err(AppError::internal)?.map_err(unreadable)
    }

    async fn count(&mut self) -> AppResult<()> {
        self.count_in(self.app.store.read().stage_counts(self.id).await?);
        Ok(())
    }

    fn count_in(&mut self, StageCounts { accepted, updated, unchanged }: StageCounts) {
        self.report.accepted = accepted;
        self.report.updated = updated;
        self.report.unchanged = unchanged + self.known_same.len() as u64;
    }
}

type Sightings = Vec<(IocId, Box<Sighting>)>;

/// The IOCs that are sighted, each once.
fn ids(sightings: &Sightings) -> Vec<IocId> {
    let mut ids: Vec<IocId> = sightings.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What comes of a batch.
struct Merged {
    /// What changes, by id.
    rows: Vec<Staged>,
    /// Those that are known, and about which nothing new is said.
    same: Vec<IocId>,
}

fn merge_all(
    sightings: Sightings,
    staged: &HashMap<IocId, Staged>,
    mut known: HashMap<IocId, IocRow>,
    source: SourceId,
    confidence: Confidence,
    now: Timestamp,
) -> Merged {
    // Deleted by a person and reported again: it starts afresh.
    known.retain(|_, row| !row.deleted);
    let mut merged: BTreeMap<IocId, Staged> = BTreeMap::new();
    for (id, sighting) in sightings {
        let Some((kind, value)) = &sighting.indicator else { continue };
        let earlier = merged.remove(&id).or_else(|| staged.get(&id).cloned());
        let (before, created_at, change) = match (earlier, known.get(&id)) {
            (Some(Staged { ioc, created_at, change }), _) => (Some(ioc), created_at, Some(change)),
            (None, Some(row)) => (Some(row.ioc.clone()), row.created_at, None),
            (None, None) => (None, now.micros(), None),
        };
        let (ioc, changed) = merge(before, id, *kind, value, &sighting, source, confidence, now);
        // Within one import an IOC counts once, by the most that happened to it.
        let change = change.map_or(changed, |earlier| earlier.min(changed));
        merged.insert(id, Staged { ioc, created_at, change });
    }
    let (mut rows, mut same) = (Vec::with_capacity(merged.len()), Vec::new());
    for (id, row) in merged {
        let before = staged.get(&id).map(|s| &s.ioc).or_else(|| known.get(&id).map(|k| &k.ioc));
        if before != Some(&row.ioc) {
            rows.push(row);
        } else if !staged.contains_key(&id) {
            same.push(id);
        }
    }
    Merged { rows, same }
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
