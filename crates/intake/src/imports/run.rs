//! An import is begun, carried out, and ended, whatever comes of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use iocast_domain::{
    account::Module,
    alert::Alert,
    id::{ImportId, IocId, SourceId},
    import::ImportState,
    source::Source,
    time::Timestamp,
};
use iocast_formats::read::{Input, Rejected, form::Stated};
use iocast_store::{StageWrite, Txn};
use uuid::Uuid;

use super::{
    ALIVE, Documents, Import, ImportReport, ImportRequest, Mode, Order, Progress, Spooled,
    dry::Dry,
    kept::{NewRecord, kept_report},
    review,
};
use crate::{Actor, AppError, AppResult, Intake};

/// How often an import that waits for others gives a sign of life.
const WAITING: Duration = Duration::from_secs(600);

impl Intake {
    /// Begins an import and reads it in the background, also if the line of the client breaks. Its
    /// record says how far it is.
    ///
    /// # Errors
    /// If the source is not there.
    pub async fn import_start(
        self: &Arc<Self>,
        actor: &Actor,
        source: SourceId,
        request: ImportRequest,
        spooled: Spooled,
    ) -> AppResult<ImportId> {
        let begun = self.import_begin(actor, source, &request).await?;
        let id = ImportId(begun.id);
        let (intake, actor) = (Arc::clone(self), actor.clone());
        self.context.in_background(async move {
            // One after the other: each takes all cores.
            let _alone = loop {
                match tokio::time::timeout(WAITING, intake.reading.lock()).await {
                    Ok(alone) => break alone,
                    Err(_elapsed) => intake.import_waits(begun.id).await,
                }
            };
            // How it ended is written down.
            if let Err(error) = intake.import_run(&actor, begun, request, &|_| {}, None).await {
                tracing::info!(import.id = %id, "Import {id} failed: {error}");
            }
            drop(spooled);
        });
        Ok(id)
    }

    /// Gives a sign of life of an import that waits for others.
    async fn import_waits(&self, id: Uuid) {
        let alive = async {
            let txn = self.context.store.write().await?;
            txn.stage_put_many(id, StageWrite::default(), self.alive_until()).await?;
            txn.commit().await
        };
        // If it was stopped, it is found out when its turn comes.
        let _: Result<(), _> = alive.await;
    }

    /// Begins an import that writes nothing, as long as memory is enough for it.
    pub(super) async fn import_begin_dry(
        &self,
        actor: &Actor,
        source: SourceId,
    ) -> AppResult<Begun> {
        actor.may_change(Module::Tip)?;
        let source = self.source_fetch(actor, source).await?;
        let (id, at) = (self.context.entropy.uuid(), self.context.now());
        Ok(Begun { id, source, record: None, at, left_out: HashSet::new() })
    }

    /// Begins an import of which nothing is kept.
    pub(super) async fn import_begin_unkept(
        &self,
        actor: &Actor,
        source: SourceId,
    ) -> AppResult<Begun> {
        actor.may_change(Module::Tip)?;
        let source = self.source_fetch(actor, source).await?;
        let id = self.context.entropy.uuid();
        let txn = self.context.store.write().await?;
        txn.import_begin(id, &actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        Ok(Begun { id, source, record: None, at: self.context.now(), left_out: HashSet::new() })
    }

    /// Begins an import and writes down that it did.
    pub(super) async fn import_begin(
        &self,
        actor: &Actor,
        source: SourceId,
        request: &ImportRequest,
    ) -> AppResult<Begun> {
        actor.may_change(Module::Tip)?;
        let source = self.source_fetch(actor, source).await?;
        self.import_begin_in(actor, source, request).await
    }

    /// The same, of a subscription, which may bring IOCs in although it is no person.
    pub(crate) async fn import_begin_in(
        &self,
        actor: &Actor,
        source: Source,
        request: &ImportRequest,
    ) -> AppResult<Begun> {
        let (id, at) = (self.context.entropy.uuid(), self.context.now());
        let new = NewRecord { id: ImportId(id), actor, source: &source, request, at };
        let mut record = self.import_record(new).await?;
        if request.mode == Mode::Review {
            review::check_size(&record)?;
        }
        let txn = self.context.store.write().await?;
        let at = self.import_time(&txn, actor).await?;
        record.started_at = at;
        txn.import_insert(&actor.account_id, &record).await?;
        txn.import_begin(id, &actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        Ok(Begun { id, source, record: Some(record.id), at, left_out: HashSet::new() })
    }

    /// The time that the reports of an import bear. It tells them from those of every other import
    /// of the account, also where the clock stands still.
    pub(super) async fn import_time(&self, txn: &Txn, actor: &Actor) -> AppResult<Timestamp> {
        txn.account_lock(&actor.account_id).await?;
        let latest = txn.import_latest(&actor.account_id).await?;
        let now = self.context.now();
        Ok(latest.map_or(now, |latest| now.max(latest.plus(1))))
    }

    pub(crate) fn alive_until(&self) -> Timestamp {
        self.context.clock.real_now().plus(ALIVE)
    }

    /// Reads an import that began.
    pub(crate) async fn import_run(
        self: &Arc<Self>,
        actor: &Actor,
        begun: Begun,
        request: ImportRequest,
        progress: Progress<'_>,
        alert: Option<&Alert>,
    ) -> AppResult<ImportReport> {
        let Begun { id, source, record, at, left_out } = begun;
        let mut import = Import {
            intake: self,
            id,
            record,
            actor,
            namespace: actor.account_id.namespace(),
            source,
            request: &request,
            alert,
            documents: Documents::default(),
            known_same: HashSet::new(),
            staged: HashSet::new(),
            order: Order::default(),
            on_stage: request.mode != Mode::DryRun,
            left_out: Arc::new(left_out),
            lines: Vec::new(),
            lines_kept: 0,
            now: at,
            report: ImportReport {
                id: record,
                dry_run: request.mode != Mode::Take,
                ..ImportReport::default()
            },
        };
        let result = import.carry_out(progress).await;
        let failed = match &result {
            Err(error) => Some(import.fail(error).await?),
            Ok(()) => None,
        };
        let (report, on_stage) = (import.report, import.on_stage);
        if request.mode == Mode::DryRun && on_stage {
            let txn = self.context.store.write().await?;
            txn.import_end(id).await?;
            txn.commit().await?;
        }
        // Publishing comes first; what lies on the stage is in nobody's way.
        self.context.changed.notify_one();
        if on_stage && (result.is_err() || request.mode != Mode::Review) {
            self.clear_in_background(id);
        }
        match failed {
            Some(ImportState::Discarded) => Err(stopped()),
            _ => result.map(|()| report),
        }
    }

    pub(crate) fn clear_in_background(self: &Arc<Self>, id: Uuid) {
        let intake = Arc::clone(self);
        self.context.in_background(async move {
            if let Err(error) = intake.stage_clear(id).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "The stage of an import could not be cleared; it is tried again"
                );
            }
        });
    }
}

/// What is said to the one who sent an import that somebody stopped.
pub(super) fn stopped() -> AppError {
    let detail = "The import was stopped by a person; nothing of it was written.".to_owned();
    AppError::Conflict { code: "import_stopped", detail }
}

/// An import that began.
pub(crate) struct Begun {
    /// Under which it stages.
    pub(super) id: Uuid,
    pub(super) source: Source,
    /// Under which it is kept.
    pub(super) record: Option<ImportId>,
    pub(super) at: Timestamp,
    /// What a person unselected.
    pub(super) left_out: HashSet<IocId>,
}

impl Import<'_> {
    pub(super) fn alive_until(&self) -> Timestamp {
        self.intake.alive_until()
    }

    async fn carry_out(&mut self, progress: Progress<'_>) -> AppResult<()> {
        let (documents, refused) = self.intake.documents(self.request).await?;
        self.documents = documents;
        self.report.read_as = self.read_as();
        self.check_folder(&refused)?;
        self.reject(refused);
        self.check_page()?;
        if self.request.mode == Mode::DryRun {
            if self.count_in_memory(progress).await? == Dry::Counted {
                return self.request.ledger.as_ref().map_or(Ok(()), |ledger| ledger.check());
            }
            let txn = self.intake.context.store.write().await?;
            txn.import_begin(self.id, &self.actor.account_id, self.alive_until()).await?;
            txn.commit().await?;
            self.on_stage = true;
        }
        let seen = self.intake.context.store.read().account_seq(&self.actor.account_id).await?;
        self.stage(progress).await?;
        if let Some(ledger) = &self.request.ledger {
            ledger.check()?;
        }
        match self.request.mode {
            Mode::DryRun => self.count().await,
            Mode::Review => self.wait_for_review().await,
            Mode::Take => self.promote(seen).await,
        }
    }

    /// Refuses a folder of which a file can't be read: what stood in it would look gone.
    fn check_folder(&self, refused: &[Rejected]) -> AppResult<()> {
        let is_folder = self.request.ledger.as_ref().is_some_and(|ledger| ledger.is_folder());
        match refused.first().filter(|_| is_folder) {
            Some(Rejected { value, reason, .. }) => Err(AppError::Malformed(format!(
                "{value} in the folder can't be read, and nothing was taken: {reason}"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses a page where a list was fetched: more often a login than a list.
    fn check_page(&self) -> AppResult<()> {
        let chosen = matches!(self.request.stated, Stated::Chosen(_));
        let is_page = self.documents.list.iter().any(|document| document.input == Input::Html);
        let is_list = self.request.ledger.as_ref().is_some_and(|ledger| !ledger.is_folder());
        if !is_list || chosen || !is_page {
            return Ok(());
        }
        Err(AppError::Malformed(
            "The server answered with a web page (HTML) in place of a list; it may ask for a login. If the list is that page, choose the form “a page”."
                .to_owned(),
        ))
    }

    /// Ends an import that failed. Gives what became of its record.
    async fn fail(&self, error: &AppError) -> AppResult<ImportState> {
        let txn = self.intake.context.store.write().await?;
        txn.import_end(self.id).await?;
        let mut state = ImportState::Failed;
        if let Some(record) = self.record {
            let why = match error {
                AppError::Internal(_) => {
                    "Something went wrong on our side. Nothing was written; send it again."
                        .to_owned()
                }
                other => other.to_string(),
            };
            let report = kept_report(&self.report)?;
            let now = self.intake.context.now();
            // What waits for a person still does.
            let ended = if self.id == record.0 {
                txn.import_settle(
                    record,
                    ImportState::Running,
                    state,
                    now,
                    None,
                    &report,
                    Some(&why),
                )
                .await?
            } else {
                txn.import_turn(record, ImportState::Running, ImportState::Review).await?
            };
            if !ended {
                state = ImportState::Discarded;
            }
        }
        txn.commit().await?;
        Ok(state)
    }
}
