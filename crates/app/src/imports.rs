//! Imports: a spooled body is taken apart on one thread and understood on all, merged with what is
//! known onto a stage in small writes, and made seen by one short transaction, all or nothing.
//! While one batch is written, the next one is merged, and those after it are read.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::BufReader,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
};

use iocast_domain::{
    account::Module,
    alert::Alert,
    id::{IocId, SourceId},
    ioc::{Enrichment, Sighting, ioc_id_in, merge},
    source::{Confidence, Source},
    time::{HOUR, Timestamp},
};
use iocast_formats::read::{Input, Item, Options, Raw, ReadError, Rejected, split};
use iocast_store::{IocRow, PromoteOrder, StageCounts, StageWrite, Staged, Txn};
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use crate::{Actor, App, AppError, AppResult};

/// Pieces of a body whose IOCs are merged and staged together: one small write.
const BATCH: usize = 2_000;
/// The most that they weigh, in bytes.
const WEIGHT: usize = 8 << 20;
/// Batches in one write, at most: some hundred milliseconds for which others wait.
const TOGETHER: u32 = 4;
/// How often what others changed is merged again while everybody may write; after that they wait
/// for it.
const OVERTAKEN_ROUNDS: u32 = 4;
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
    /// Whose decisions the body may hold.
    pub trust: Trust,
    /// Write nothing.
    pub dry_run: bool,
}

/// Whether a body may say what people decide: whitelist states and user tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It comes from a feed: it reports, and decides nothing.
    Feed,
    /// An administrator restores an export of the account.
    Restore,
}

/// What a body said and an import did not take, as it is for people to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Whitelist states.
    pub whitelist: u64,
    /// User tags, which were taken as tags of the source.
    pub user_tags: u64,
    /// Confidences above the source's own, which were lowered to it.
    pub confidence: u64,
}

impl Ignored {
    /// A sentence for each kind.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let Self { whitelist, user_tags, confidence } = *self;
        let all = [
            (
                whitelist,
                "whitelist states were ignored: people set them, not files. To restore an export of this account, import it as a restore.",
            ),
            (user_tags, "IOCs came with user tags; they were taken as tags of the source."),
            (confidence, "confidences were above that of the source, and lowered to it."),
        ];
        all.into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect()
    }

    fn add(&mut self, other: Self) {
        self.whitelist += other.whitelist;
        self.user_tags += other.user_tags;
        self.confidence += other.confidence;
    }
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
    /// What was not taken of lines that were.
    pub ignored: Ignored,
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

    /// Sweeps what an earlier server left behind. Only the server does, at its start: a shell
    /// command beside it must not.
    pub fn sweep_spool(&self) {
        let Ok(entries) = std::fs::read_dir(self.spool()) else { return };
        for entry in entries.flatten() {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "A spooled import could not be swept"
                );
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

    /// Clears the stage of an import that ended, in small writes, one import at a time. Gives false
    /// where the server is stopping: the next start sweeps the rest.
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

    /// Ends the imports of a server that was killed. On PostgreSQL they lapse: another replica may
    /// be at one.
    pub(crate) async fn end_imports(&self) -> AppResult<()> {
        if self.store.is_bundled() {
            let txn = self.store.write().await?;
            txn.import_end_lapsed(Timestamp::from_micros(i64::MAX)).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Imports a list that is in memory, in the form of our own JSON.
    pub(crate) async fn import_list(
        self: &Arc<Self>,
        actor: &Actor,
        source: SourceId,
        list: &[impl Serialize],
    ) -> AppResult<ImportReport> {
        self.import_list_of(actor, source, list, None).await
    }

    /// The same; the alert that the list came with is written in the transaction that makes its
    /// IOCs seen.
    pub(crate) async fn import_list_of(
        self: &Arc<Self>,
        actor: &Actor,
        source: SourceId,
        list: &[impl Serialize],
        alert: Option<&Alert>,
    ) -> AppResult<ImportReport> {
        tokio::fs::create_dir_all(self.spool()).await.map_err(AppError::internal)?;
        let spooled = Spooled(self.spool_path());
        tokio::fs::write(&spooled.0, serde_json::to_vec(list).map_err(AppError::internal)?)
            .await
            .map_err(AppError::internal)?;
        let (input, options, also) = (Input::Json, Options::default(), Enrichment::default());
        let request = ImportRequest {
            path: spooled.0.clone(),
            input,
            options,
            also,
            trust: Trust::Restore,
            dry_run: false,
        };
        self.import_of(actor, source, request, &|_| {}, alert).await
    }

    /// Imports a spooled body into a source.
    ///
    /// # Errors
    /// If the source is not there or the body can't be read; then nothing was written.
    pub async fn import(
        self: &Arc<Self>,
        actor: &Actor,
        source_id: SourceId,
        request: ImportRequest,
        progress: Progress<'_>,
    ) -> AppResult<ImportReport> {
        self.import_of(actor, source_id, request, progress, None).await
    }

    async fn import_of(
        self: &Arc<Self>,
        actor: &Actor,
        source_id: SourceId,
        request: ImportRequest,
        progress: Progress<'_>,
        alert: Option<&Alert>,
    ) -> AppResult<ImportReport> {
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
            alert,
            known_same: HashSet::new(),
            staged: HashSet::new(),
            order: Order::default(),
            now: self.now(),
            report: ImportReport { dry_run: request.dry_run, ..ImportReport::default() },
        };
        let result = match import.stage(progress).await {
            Ok(()) if request.dry_run => import.count().await,
            Ok(()) => import.promote(seen).await,
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
        self.in_background(async move {
            if let Err(error) = app.stage_clear(id).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "The stage of an import could not be cleared; it is tried again"
                );
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
    alert: Option<&'a Alert>,
    /// IOCs about which the import says nothing new; they are counted, and not staged.
    known_same: HashSet<IocId>,
    /// [`mark`]s of those that are on the stage.
    staged: HashSet<u32>,
    order: Order,
    now: Timestamp,
    report: ImportReport,
}

impl Import<'_> {
    fn alive_until(&self) -> Timestamp {
        self.app.clock.real_now().plus(ALIVE)
    }

    /// Reads the body and lays what it says on the stage.
    async fn stage(&mut self, progress: Progress<'_>) -> AppResult<()> {
        let (mut batches, reading) = self.read();
        let mut next = batches.recv().await;
        if next.is_none() {
            // It can't be read at all: nothing was written.
            return reading.await.map_err(AppError::internal)?.map_err(unreadable);
        }
        let txn = self.app.store.write().await?;
        txn.import_begin(self.id, &self.actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        let mut handled = 0;
        // What is being merged, and not laid on the stage yet.
        let mut merging: Option<JoinHandle<AppResult<Merged>>> = None;
        let mut open: Option<(Txn, u32)> = None;
        while let Some(batch) = next {
            let Parsed { sightings, ids, items, rejected, ignored } =
                batch.await.map_err(AppError::internal)?;
            handled += items;
            self.reject(rejected);
            self.report.ignored.add(ignored);
            let (txn, nth) = match open.take() {
                Some(open) => open,
                None => (self.app.store.write().await?, 1),
            };
            // Read by the one who writes: what was just written is in its cache, and a reader
            // would fetch it again.
            let (mut staged, known) = self.known(&txn, &ids).await?;
            let before = match merging.take() {
                Some(merging) => Some(self.merged(merging).await?),
                None => None,
            };
            let overlay = before
                .iter()
                .flat_map(|before| &before.rows)
                .filter(|row| ids.binary_search(&row.ioc.id).is_ok());
            staged.extend(overlay.map(|row| (row.ioc.id, row.clone())));
            merging = Some(self.merging(sightings, staged, known));
            // One in which nothing is new is a sign of life, too.
            if let Some(before) = before {
                self.app.idempotency_alive(&txn, self.actor).await?;
                txn.stage_put_many(self.id, before.write, self.alive_until()).await?;
            }
            progress(handled);
            // What is read already goes into the same write, so far as that holds nobody up: each
            // write syncs the disk, and lays down again most pages of an index whose keys are
            // spread evenly.
            next = match batches.try_recv() {
                Ok(batch) if nth < TOGETHER && batch.is_finished() => {
                    open = Some((txn, nth + 1));
                    Some(batch)
                }
                ready => {
                    txn.commit().await?;
                    match ready {
                        Ok(batch) => Some(batch),
                        Err(_) => batches.recv().await,
                    }
                }
            };
        }
        let last = match merging {
            Some(merging) => self.merged(merging).await?.write,
            None => StageWrite::default(),
        };
        let txn = self.app.store.write().await?;
        txn.stage_put_many(self.id, last, self.alive_until()).await?;
        txn.commit().await?;
        reading.await.map_err(AppError::internal)?.map_err(unreadable)
    }

    /// Takes the body apart on one thread; what the pieces mean is found out on all of them, and
    /// comes in order. They are not threads of the one that answers this request: those are few.
    fn read(&self) -> (mpsc::Receiver<JoinHandle<Parsed>>, JoinHandle<Result<(), ReadError>>) {
        let (sender, batches) = mpsc::channel(cores());
        let ImportRequest { path, input, options, also, .. } = self.request.clone();
        let (also, namespace) = (Arc::new(also), self.namespace);
        let trusted = Trusted { trust: self.request.trust, confidence: self.source.confidence };
        let give = move |pieces: Vec<Raw>| {
            let also = Arc::clone(&also);
            sender
                .blocking_send(tokio::task::spawn_blocking(move || {
                    Parsed::of(pieces, &also, trusted, &namespace)
                }))
                .is_ok()
        };
        (
            batches,
            self.app.runtime.spawn_blocking(move || split_spooled(&path, input, options, &give)),
        )
    }

    fn reject(&mut self, rejected: Vec<Rejected>) {
        self.report.rejected_count += rejected.len() as u64;
        let room = REJECTED_MAX.saturating_sub(self.report.rejected.len());
        self.report.rejected.extend(rejected.into_iter().take(room));
    }

    /// What of these IOCs is on the stage, and what is known of them.
    async fn known(
        &self,
        txn: &Txn,
        ids: &[IocId],
    ) -> AppResult<(HashMap<IocId, Staged>, HashMap<IocId, IocRow>)> {
        let maybe_staged: Vec<IocId> =
            ids.iter().copied().filter(|id| self.staged.contains(&mark(*id))).collect();
        Ok((txn.stage_fetch_many(self.id, &maybe_staged).await?, txn.ioc_fetch_many(ids).await?))
    }

    /// Merges sightings with what is on the stage or, where nothing is, with what is known, beside
    /// other work.
    fn merging(
        &self,
        sightings: Sightings,
        staged: HashMap<IocId, Staged>,
        known: HashMap<IocId, IocRow>,
    ) -> JoinHandle<AppResult<Merged>> {
        let (source, confidence, now) = (self.source.id, self.source.confidence, self.now);
        let (store, import) = (self.app.store.clone(), self.id);
        self.app.runtime.spawn_blocking(move || {
            let (rows, same) = merge_all(sightings, &staged, known, source, confidence, now);
            Ok(Merged { write: store.stage_write(import, &rows)?, rows, same })
        })
    }

    /// What is to be laid on the stage; what says nothing new is counted.
    async fn merged(&mut self, merging: JoinHandle<AppResult<Merged>>) -> AppResult<Merged> {
        let mut merged = merging.await.map_err(AppError::internal)??;
        self.order.see(&merged.rows);
        for row in &merged.rows {
            self.known_same.remove(&row.ioc.id);
            self.staged.insert(mark(row.ioc.id));
        }
        self.known_same.extend(std::mem::take(&mut merged.same));
        Ok(merged)
    }

    /// Makes everything on the stage seen. `seen` is the account's number before staging began:
    /// what others changed since is merged again, while everybody else may write.
    async fn promote(&mut self, mut seen: i64) -> AppResult<()> {
        let account = &self.actor.account_id;
        let mut round = 0;
        loop {
            let now_seen = self.app.store.read().account_seq(account).await?;
            if now_seen > seen {
                self.source = self
                    .app
                    .store
                    .read()
                    .source_fetch(account, self.source.id)
                    .await?
                    .ok_or(AppError::NotFound("source"))?;
                let overtaken =
                    self.app.store.read().stage_overtaken(self.id, account, seen).await?;
                self.restage(None, &overtaken).await?;
                seen = now_seen;
            }
            let txn = self.app.store.write().await?;
            // The number first: it locks the account's row, so that nobody changes an IOC from here
            // on.
            let seq = txn.account_next_seq(account, || self.app.now()).await?;
            self.source = txn
                .source_fetch(account, self.source.id)
                .await?
                .ok_or(AppError::NotFound("source"))?;
            let overtaken = if seq > seen + 1 {
                txn.stage_overtaken(self.id, account, seen).await?
            } else {
                Vec::new()
            };
            if overtaken.is_empty() || round == OVERTAKEN_ROUNDS {
                // Others were quicker each time: they wait for once.
                self.restage(Some(&txn), &overtaken).await?;
                return self.promote_in(txn, seq).await;
            }
            round += 1;
        }
    }

    /// Makes everything on the stage seen, under one change number.
    async fn promote_in(&mut self, txn: Txn, seq: i64) -> AppResult<()> {
        let account = &self.actor.account_id;
        let counts = txn.stage_counts(self.id).await?;
        self.count_in(counts);
        let order = self.order.of_rows();
        txn.promote_staging(self.id, account, self.source.id, seq, &counts, order).await?;
        let ImportReport { accepted, updated, unchanged, rejected_count, ignored, .. } =
            self.report;
        let detail = serde_json::json!({
            "source": self.source.name,
            "accepted": accepted,
            "updated": updated,
            "unchanged": unchanged,
            "rejected": rejected_count,
            "ignored": ignored.sentences(),
            "restore": self.request.trust == Trust::Restore,
        });
        self.app.audit(&txn, self.actor, "ioc.import", &self.source.id, &detail).await?;
        if let Some(alert) = self.alert {
            self.app.alert_write(&txn, self.actor, alert, seq).await?;
        }
        self.app.idempotency_effect(&txn, self.actor, &self.report).await?;
        Ok(txn.commit().await?)
    }

    /// Reads the body once more for these IOCs alone, and puts them on the stage again: in the
    /// transaction `within`, or in short ones.
    async fn restage(&mut self, within: Option<&Txn>, overtaken: &[IocId]) -> AppResult<()> {
        if overtaken.is_empty() {
            return Ok(());
        }
        match within {
            Some(txn) => txn.stage_take_off(self.id, overtaken).await?,
            None => {
                let txn = self.app.store.write().await?;
                self.app.idempotency_alive(&txn, self.actor).await?;
                txn.stage_take_off(self.id, overtaken).await?;
                txn.commit().await?;
            }
        }
        let overtaken: HashSet<IocId> = overtaken.iter().copied().collect();
        let (mut batches, reading) = self.read();
        while let Some(batch) = batches.recv().await {
            // Refused lines were counted the first time.
            let Parsed { mut sightings, mut ids, .. } = batch.await.map_err(AppError::internal)?;
            sightings.retain(|(id, _)| overtaken.contains(id));
            ids.retain(|id| overtaken.contains(id));
            if ids.is_empty() {
                continue;
            }
            match within {
                Some(txn) => self.stage_batch_again(txn, sightings, &ids).await?,
                None => {
                    let txn = self.app.store.write().await?;
                    self.stage_batch_again(&txn, sightings, &ids).await?;
                    txn.commit().await?;
                }
            }
        }
        reading.await.map_err(AppError::internal)?.map_err(unreadable)
    }

    async fn stage_batch_again(
        &mut self,
        txn: &Txn,
        sightings: Sightings,
        ids: &[IocId],
    ) -> AppResult<()> {
        let (staged, known) = self.known(txn, ids).await?;
        let merged = self.merged(self.merging(sightings, staged, known)).await?;
        Ok(txn.stage_put_many(self.id, merged.write, self.alive_until()).await?)
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

/// The first bits of an id: very many of them take little room, and few ids share one.
fn mark(id: IocId) -> u32 {
    let [a, b, c, d, ..] = *id.0.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// What is found in some pieces of a body.
struct Parsed {
    sightings: Sightings,
    /// The IOCs that are sighted, each once, in order.
    ids: Vec<IocId>,
    /// How many things were met.
    items: u64,
    rejected: Vec<Rejected>,
    ignored: Ignored,
}

/// How far a body is trusted.
#[derive(Clone, Copy)]
struct Trusted {
    trust: Trust,
    confidence: Confidence,
}

impl Trusted {
    /// Takes out of a sighting what is for people to decide, and caps what it claims.
    fn apply(self, sighting: &mut Sighting, ignored: &mut Ignored) {
        if sighting.confidence.is_some_and(|claimed| claimed > self.confidence) {
            sighting.confidence = Some(self.confidence);
            ignored.confidence += 1;
        }
        if self.trust == Trust::Restore {
            return;
        }
        if sighting.whitelist.take().is_some() {
            ignored.whitelist += 1;
        }
        if !sighting.enrichment.user_tags.is_empty() {
            let tags = std::mem::take(&mut sighting.enrichment.user_tags);
            sighting.enrichment.system_tags.extend(tags);
            ignored.user_tags += 1;
        }
    }
}

impl Parsed {
    fn of(pieces: Vec<Raw>, also: &Enrichment, trusted: Trusted, namespace: &Uuid) -> Self {
        let mut sightings = Vec::with_capacity(pieces.len());
        let (mut items, mut rejected, mut ignored) = (0, Vec::new(), Ignored::default());
        for piece in pieces {
            piece.items(&mut |item| {
                items += 1;
                match item {
                    Item::Sighting(mut sighting) => {
                        trusted.apply(&mut sighting, &mut ignored);
                        sighting.enrichment.absorb(also);
                        if let Some((kind, value)) = &sighting.indicator {
                            sightings.push((ioc_id_in(namespace, *kind, value), sighting));
                        }
                    }
                    Item::Rejected(line) => rejected.push(line),
                }
            });
        }
        let mut ids: Vec<IocId> = sightings.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        Self { sightings, ids, items, rejected, ignored }
    }
}

/// What comes of a batch.
struct Merged {
    /// What changes, by id.
    rows: Vec<Staged>,
    /// The same, ready to be written.
    write: StageWrite,
    /// Those that are known, and about which nothing new is said.
    same: Vec<IocId>,
}

fn merge_all(
    mut sightings: Sightings,
    staged: &HashMap<IocId, Staged>,
    mut known: HashMap<IocId, IocRow>,
    source: SourceId,
    confidence: Confidence,
    now: Timestamp,
) -> (Vec<Staged>, Vec<IocId>) {
    // Deleted by a person and reported again: it starts afresh.
    known.retain(|_, row| !row.deleted);
    // Those of one IOC stay in the order in which they came.
    sightings.sort_by_key(|(id, _)| *id);
    let (mut rows, mut same) = (Vec::with_capacity(sightings.len()), Vec::new());
    let mut sightings = sightings.into_iter().peekable();
    while let Some((id, first)) = sightings.next() {
        let mut earlier = staged.get(&id).cloned();
        let before = staged.get(&id).map(|s| &s.ioc).or_else(|| known.get(&id).map(|k| &k.ioc));
        let others = std::iter::from_fn(|| sightings.next_if(|(other, _)| *other == id))
            .map(|(_, other)| other);
        for mut sighting in std::iter::once(first).chain(others) {
            let Some((kind, value)) = sighting.indicator.take() else { continue };
            let (base, created_at, change) = match (earlier, known.get(&id)) {
                (Some(Staged { ioc, created_at, change }), _) => {
                    (Some(ioc), created_at, Some(change))
                }
                (None, Some(row)) => (Some(row.ioc.clone()), row.created_at, None),
                (None, None) => (None, now.micros(), None),
            };
            let (ioc, changed) = merge(base, id, kind, value, *sighting, source, confidence, now);
            // Within one import an IOC counts once, by the most that happened to it.
            let change = change.map_or(changed, |earlier| earlier.min(changed));
            earlier = Some(Staged { ioc, created_at, change });
        }
        match earlier {
            Some(row) if before != Some(&row.ioc) => rows.push(row),
            Some(_) if !staged.contains_key(&id) => same.push(id),
            _ => {}
        }
    }
    (rows, same)
}

/// Whether values come in some order: sorted lists do, from one batch to the next.
#[derive(Default)]
struct Order {
    batches: usize,
    /// Batches whose values all lie before or behind those of the batch before.
    apart: usize,
    last: Option<(String, String)>,
}

impl Order {
    fn see(&mut self, rows: &[Staged]) {
        let values = || rows.iter().map(|row| row.ioc.value.as_str());
        let Some((low, high)) = values().min().zip(values().max()) else { return };
        let apart = self
            .last
            .as_ref()
            .is_none_or(|(before, until)| low > until.as_str() || high < before.as_str());
        self.batches += 1;
        self.apart += usize::from(apart);
        self.last = Some((low.to_owned(), high.to_owned()));
    }

    fn of_rows(&self) -> PromoteOrder {
        if 4 * self.apart >= 3 * self.batches { PromoteOrder::AsStaged } else { PromoteOrder::ById }
    }
}

/// Number of parser threads.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn split_spooled(
    path: &Path,
    input: Input,
    options: Options,
    give: &impl Fn(Vec<Raw>) -> bool,
) -> Result<(), ReadError> {
    let file = File::open(path).map_err(ReadError::Io)?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut weight = 0;
    split(input, &mut BufReader::with_capacity(256 * 1024, file), options, &mut |raw| {
        weight += raw.weight();
        batch.push(raw);
        if batch.len() < BATCH && weight < WEIGHT {
            return true;
        }
        weight = 0;
        give(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)))
    })?;
    if give(batch) { Ok(()) } else { Err(ReadError::Stopped) }
}

fn unreadable(error: ReadError) -> AppError {
    match error {
        ReadError::Malformed(message) => AppError::Malformed(message),
        other => AppError::internal(other),
    }
}

#[cfg(test)]
mod tests {
    use iocast_domain::ioc::{Change, Ioc};

    use super::*;

    fn batch(values: &[&str]) -> Vec<Staged> {
        let staged = |value: &&str| {
            let account = "6f9619ff8b86d01bb42d00cf".parse().unwrap();
            let at = Timestamp::from_secs(1_800_000_000);
            let kind = iocast_domain::ioc::Kind::Domain;
            let ioc = Ioc {
                id: iocast_domain::ioc::ioc_id(&account, kind, value),
                kind,
                value: (*value).to_owned(),
                first_seen: at,
                last_seen: at,
                state: iocast_domain::ioc::State::Active,
                whitelist: iocast_domain::ioc::Whitelist::Default,
                enrichment: Enrichment::default(),
            };
            Staged { ioc, created_at: 0, change: Change::Accepted }
        };
        values.iter().map(staged).collect()
    }

    fn order(batches: &[&[&str]]) -> PromoteOrder {
        let mut order = Order::default();
        batches.iter().for_each(|values| order.see(&batch(values)));
        order.of_rows()
    }

    #[test]
    fn sorted_lists_are_told_from_others() {
        let sorted: [&[&str]; 4] = [&["a.x", "b.x"], &["c.x", "d.x"], &["e.x"], &["f.x", "g.x"]];
        assert_eq!(order(&sorted), PromoteOrder::AsStaged);
        let backwards: Vec<&[&str]> = sorted.into_iter().rev().collect();
        assert_eq!(order(&backwards), PromoteOrder::AsStaged);
        let mixed: [&[&str]; 4] = [&["a.x", "f.x"], &["b.x", "g.x"], &["c.x", "e.x"], &["d.x"]];
        assert_eq!(order(&mixed), PromoteOrder::ById);
        assert_eq!(order(&[]), PromoteOrder::AsStaged);
    }
}
