//! Imports: a spooled body is taken apart on one thread and understood on all, merged with what is
//! known onto a stage in small writes, and made seen by one short transaction, all or nothing.
//! While one batch is written, the next one is merged, and those after it are read.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use iocast_domain::{
    alert::Alert,
    id::{ImportId, IocId, SourceId},
    ioc::{Enrichment, Kind, Severity, Sighting},
    source::{Confidence, Source},
    time::{HOUR, Timestamp},
};
use iocast_formats::read::{Columns, Input, Options, Rejected, form::Stated};
use iocast_store::ImportLine;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Actor, AppError, AppResult, Intake, Ledger};

mod apart;
mod history;
mod kept;
mod promote;
mod review;
mod run;
mod undo;

mod documents;
mod dry;
use self::documents::Documents;
pub(crate) use self::kept::digest;
pub use self::{
    apart::{Extracted, ExtractedFile, file as extracted_file},
    documents::ReadAs,
    kept::ImportView,
    review::{ReviewIoc, ReviewPage},
    undo::UndoPlan,
};
use self::{
    kept::{LINES_MAX, kept_report, lines},
    run::{Begun, stopped},
};

mod merge;
use self::merge::{Order, Parsed, unreadable};

mod stage;

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
/// Refused lines, and remarks, that are listed; all are counted.
const REJECTED_MAX: usize = 1_000;

/// An import whose body lies in the spool.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Where the body lies.
    pub path: PathBuf,
    /// What the file is called, where it was one.
    pub file_name: Option<String>,
    /// What was said about its form; the bytes decide, unless a person chose.
    pub stated: Stated,
    /// What the reader shall take.
    pub options: Options,
    /// What the columns of a table hold, where a person said so.
    pub columns: Option<Arc<Columns>>,
    /// What holds for every IOC in it: tags, families.
    pub also: Enrichment,
    /// Whose decisions the body may hold.
    pub trust: Trust,
    /// What shall come of it.
    pub mode: Mode,
    /// What the list held when it was fetched last: what is the same is left out.
    pub ledger: Option<Arc<Ledger>>,
}

/// What shall come of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only its report: nothing is written.
    DryRun,
    /// It waits for a person, who takes it or throws it away.
    Review,
    /// It is taken.
    Take,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    /// Whitelist states.
    pub whitelist: u64,
    /// User tags, which were taken as tags of the source.
    pub user_tags: u64,
    /// Confidences above the source's own, which were lowered to it.
    pub confidence: u64,
    /// Severities above the worst one that the source may report, which were lowered to it.
    #[serde(default)]
    pub severity: u64,
}

impl Ignored {
    /// A sentence for each kind.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let Self { whitelist, user_tags, confidence, severity } = *self;
        let all = [
            (
                whitelist,
                "whitelist states were ignored: people set them, not files. To restore an export of this account, import it as a restore.",
            ),
            (user_tags, "IOCs came with user tags; they were taken as tags of the source."),
            (confidence, "confidences were above that of the source, and lowered to it."),
            (
                severity,
                "severities were above the worst one that the source may report, and lowered to it.",
            ),
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
        self.severity += other.severity;
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportReport {
    /// Under which id it is kept; none of a dry run.
    pub id: Option<ImportId>,
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
    /// How many fields of IOCs were left out, as they could not be read.
    pub remarks_count: u64,
    /// The first thousand of them.
    pub remarks: Vec<Rejected>,
    /// What the body, or each file in it, was taken for.
    pub read_as: Vec<ReadAs>,
    /// Of those that are new, how many are so old that they retired at once.
    pub retired: u64,
    /// What was not taken of lines that were.
    pub ignored: Ignored,
    /// IOCs that a person unselected.
    pub left_out: u64,
    /// Nothing was written.
    pub dry_run: bool,
    /// Of a dry run, the first IOCs that would be new or change, as they would be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preview: Vec<PreviewRow>,
}

/// An IOC as an import would make it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewRow {
    /// Its kind.
    pub kind: Kind,
    /// Its value.
    pub value: String,
    /// Whether it would be new.
    pub is_new: bool,
    /// First seen.
    pub first_seen: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
    /// The severity that would count.
    pub severity: Severity,
    /// The confidence that this source's report would have.
    pub confidence: Option<Confidence>,
    /// Its tags.
    pub tags: Vec<String>,
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

impl Intake {
    /// The folder where bodies of imports lie until they are read.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.context.settings.data.join("spool")
    }

    /// A fresh place in the spool.
    #[must_use]
    pub fn spool_path(&self) -> PathBuf {
        self.spool().join(self.context.entropy.uuid().to_string())
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
        let txn = self.context.store.write().await?;
        txn.import_end_lapsed(self.context.clock.real_now()).await?;
        txn.commit().await?;
        while let Some(import) = self.context.store.read().stage_left_behind().await? {
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
        while !self.context.is_closing() {
            let txn = self.context.store.write().await?;
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
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn end_imports(&self) -> AppResult<()> {
        if self.context.store.is_bundled() {
            let txn = self.context.store.write().await?;
            txn.import_end_all().await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Imports a list that is in memory, in the form of our own JSON.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub async fn import_list(
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
        let (options, also) = (Options::default(), Enrichment::default());
        let request = ImportRequest {
            path: spooled.0.clone(),
            file_name: None,
            stated: Stated::Chosen(Input::Json),
            options,
            columns: None,
            also,
            trust: Trust::Restore,
            mode: Mode::Take,
            ledger: None,
        };
        let begun = match alert {
            // An alert is kept itself.
            Some(_) => self.import_begin_unkept(actor, source).await?,
            None => self.import_begin(actor, source, &request).await?,
        };
        self.import_run(actor, begun, request, &|_| {}, alert).await
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
        let begun = match request.mode {
            Mode::DryRun => self.import_begin_dry(actor, source_id).await?,
            Mode::Review | Mode::Take => self.import_begin(actor, source_id, &request).await?,
        };
        self.import_run(actor, begun, request, progress, None).await
    }
}

/// An import under way.
struct Import<'a> {
    intake: &'a Arc<Intake>,
    id: Uuid,
    /// Under which it is kept.
    record: Option<ImportId>,
    actor: &'a Actor,
    namespace: Uuid,
    source: Source,
    request: &'a ImportRequest,
    alert: Option<&'a Alert>,
    documents: Documents,
    /// IOCs about which the import says nothing new; they are counted, and not staged.
    known_same: HashSet<IocId>,
    /// Marks of those that are on the stage.
    staged: HashSet<u32>,
    order: Order,
    /// Something of it lies on the stage.
    on_stage: bool,
    /// What a person unselected.
    left_out: Arc<HashSet<IocId>>,
    /// Refused lines that are not written down yet.
    lines: Vec<ImportLine>,
    lines_kept: usize,
    now: Timestamp,
    report: ImportReport,
}

type Sightings = Vec<(IocId, Box<Sighting>)>;

#[cfg(test)]
mod tests;
