//! An import that waits for a person: its IOCs lie on the stage, to be looked at and unselected,
//! and its body is kept, so that it is merged with what is known when it is taken.

use std::{fs::File, io::Read as _, sync::Arc};

use iocast_domain::{
    account::Module,
    guard::{Judged, Refusal},
    id::{ImportId, IocId},
    import::{Choice, ImportState},
    ioc::Enrichment,
    time::DAY,
    warninglist::ListMatch,
};
use iocast_store::{ImportRecord, ReviewFilter, ReviewRow};
use tokio::io::AsyncWriteExt as _;

use super::{
    Begun, Import, ImportReport, Spooled,
    kept::{Asked, kept_report, parsed, text},
    stopped,
};
use crate::{Actor, AppError, AppResult, Intake};

/// Largest body that waits for a review, in bytes: it is kept in the database.
const BODY_MAX: u64 = 64 << 20;
/// Bytes of a body in one row.
const PIECE: usize = 1 << 20;
/// How long a review waits, in microseconds of real time.
const WAITS: i64 = 7 * DAY;
/// Most IOCs that are selected in one call.
const SELECTED_MAX: usize = 10_000;

/// A page of the IOCs of a review.
#[derive(Clone, Debug)]
pub struct ReviewPage {
    /// The IOCs.
    pub rows: Vec<ReviewIoc>,
    /// How many there are that the filter finds.
    pub found: u64,
}

/// An IOC of a review, and what the guards say of it.
#[derive(Clone, Debug)]
pub struct ReviewIoc {
    /// The IOC, and what the import would do to it.
    pub row: ReviewRow,
    /// The guard that keeps it from all devices.
    pub refusal: Option<Refusal>,
    /// The warninglists that it is on.
    pub lists: Vec<ListMatch>,
}

/// Refuses an import that is too large to wait for a review.
pub(super) fn check_size(record: &ImportRecord) -> AppResult<()> {
    if record.bytes <= BODY_MAX {
        return Ok(());
    }
    Err(AppError::TooLarge(format!(
        "More than {} MiB can't be reviewed. Import it without, and undo the import if it is not what you want.",
        BODY_MAX >> 20
    )))
}

impl Import<'_> {
    /// Keeps what lies on the stage, and the body, until a person decides.
    pub(super) async fn wait_for_review(&mut self) -> AppResult<()> {
        self.count().await?;
        let Some(record) = self.record else { return Ok(()) };
        let context = &self.intake.context;
        let mut file = File::open(&self.request.path).map_err(AppError::internal)?;
        for number in 0.. {
            let mut piece = Vec::with_capacity(PIECE);
            let mut next = file.by_ref().take(PIECE as u64);
            next.read_to_end(&mut piece).map_err(AppError::internal)?;
            if piece.is_empty() {
                break;
            }
            let txn = context.store.write().await?;
            txn.import_body_put(record, number, piece).await?;
            txn.commit().await?;
        }
        let (now, report) = (context.now(), kept_report(&self.report)?);
        let (from, to) = (ImportState::Running, ImportState::Review);
        let txn = context.store.write().await?;
        let alive = txn.import_review(record, context.clock.real_now().plus(WAITS)).await?;
        if !alive || !txn.import_settle(record, from, to, now, None, &report, None).await? {
            return Err(stopped());
        }
        Ok(txn.commit().await?)
    }
}

impl Intake {
    /// A page of the IOCs of an import in review, by value.
    ///
    /// # Errors
    /// If it is not in review.
    pub async fn review_list(
        &self,
        actor: &Actor,
        id: ImportId,
        filter: &ReviewFilter,
        offset: u64,
        limit: u64,
    ) -> AppResult<ReviewPage> {
        self.in_review(actor, id).await?;
        let read = self.context.store.read();
        let account = read.account_fetch(&actor.account_id).await?;
        let guard = self.context.guard(&account.ok_or(AppError::NotFound("account"))?).await?;
        let rows = read.review_rows(id, filter, offset, limit).await?.into_iter();
        let withheld = |row: ReviewRow| {
            let refusal = guard.refuse(&row.ioc, Judged::default());
            let lists = guard.lists().matches(row.ioc.kind, &row.ioc.value);
            ReviewIoc { row, refusal, lists }
        };
        Ok(ReviewPage {
            rows: rows.map(withheld).collect(),
            found: read.review_count(id, filter).await?,
        })
    }

    /// Leaves IOCs of a review out, or takes them in again. Gives how many.
    ///
    /// # Errors
    /// If it is not in review, or these are too many for one call.
    pub async fn review_select(
        &self,
        actor: &Actor,
        id: ImportId,
        iocs: &[IocId],
        choice: Choice,
    ) -> AppResult<u64> {
        actor.may_change(Module::Tip)?;
        if iocs.len() > SELECTED_MAX {
            return Err(AppError::field(
                "ids",
                "too_many",
                format!("Give at most {SELECTED_MAX} IOCs in one call."),
            ));
        }
        self.in_review(actor, id).await?;
        let txn = self.context.store.write().await?;
        // Nobody takes it until this is written.
        if !txn.import_turn(id, ImportState::Review, ImportState::Review).await? {
            return Err(not_in_review());
        }
        let changed = txn.review_select(id, iocs, choice).await?;
        txn.commit().await?;
        Ok(changed)
    }

    /// The same of all that a filter finds.
    ///
    /// # Errors
    /// If it is not in review.
    pub async fn review_select_all(
        &self,
        actor: &Actor,
        id: ImportId,
        filter: &ReviewFilter,
        choice: Choice,
    ) -> AppResult<u64> {
        actor.may_change(Module::Tip)?;
        self.in_review(actor, id).await?;
        let txn = self.context.store.write().await?;
        // Nobody takes it until this is written.
        if !txn.import_turn(id, ImportState::Review, ImportState::Review).await? {
            return Err(not_in_review());
        }
        let changed = txn.review_select_all(id, filter, choice).await?;
        txn.commit().await?;
        Ok(changed)
    }

    /// Takes an import that was reviewed, but for what was unselected. `also` holds for every IOC
    /// in it.
    ///
    /// # Errors
    /// If it is not in review any more.
    pub async fn review_take(
        self: &Arc<Self>,
        actor: &Actor,
        id: ImportId,
        also: &Enrichment,
    ) -> AppResult<ImportReport> {
        actor.may_change(Module::Tip)?;
        let record = self.in_review(actor, id).await?;
        let source = self.source_fetch(actor, record.source_id).await?;
        let spooled = self.body_of(id).await?;
        let mut request =
            parsed::<Asked>(&record.request)?.again(spooled.0.clone(), record.file_name.clone());
        request.also.absorb(also);
        let txn = self.context.store.write().await?;
        // From here on no selection is taken.
        if !txn.import_turn(id, ImportState::Review, ImportState::Running).await? {
            return Err(not_in_review());
        }
        let begun = Begun {
            id: self.context.entropy.uuid(),
            source,
            record: Some(id),
            at: self.import_time(&txn, actor).await?,
            left_out: txn.review_left_out(id).await?.into_iter().collect(),
        };
        // Its reports bear the time at which it is taken.
        txn.import_restarted(id, begun.at, &text(&Asked::of(&request))?).await?;
        txn.import_review(id, self.context.clock.real_now().plus(WAITS)).await?;
        txn.import_begin(begun.id, &actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        // It goes on if the line of the client breaks.
        let (intake, actor) = (Arc::clone(self), actor.clone());
        let taking = self.context.in_background(async move {
            let report = intake.import_run(&actor, begun, request, &|_| {}, None).await?;
            intake.clear_in_background(id.0);
            drop(spooled);
            Ok(report)
        });
        taking.await.map_err(AppError::internal)?
    }

    async fn in_review(&self, actor: &Actor, id: ImportId) -> AppResult<ImportRecord> {
        actor.may_read(Module::Tip)?;
        let found = self.context.store.read().import_fetch(&actor.account_id, id).await?;
        let record = found.ok_or(AppError::NotFound("import"))?;
        if record.state == ImportState::Review { Ok(record) } else { Err(not_in_review()) }
    }

    /// The body of an import in review, in the spool.
    async fn body_of(&self, id: ImportId) -> AppResult<Spooled> {
        tokio::fs::create_dir_all(self.spool()).await.map_err(AppError::internal)?;
        let spooled = Spooled(self.spool_path());
        let mut file = tokio::fs::File::create(&spooled.0).await.map_err(AppError::internal)?;
        for number in 0.. {
            let Some(piece) = self.context.store.read().import_body(id, number).await? else {
                break;
            };
            file.write_all(&piece).await.map_err(AppError::internal)?;
        }
        file.flush().await.map_err(AppError::internal)?;
        Ok(spooled)
    }
}

fn not_in_review() -> AppError {
    let detail = "This import does not wait for a review: it was taken, thrown away, or is being read. Look at it again.".to_owned();
    AppError::Conflict { code: "not_in_review", detail }
}
