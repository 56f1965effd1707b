//! What is kept of an import: who brought what in, what was asked for, what was refused.

use std::{fs::File, io::Read as _, path::PathBuf};

use iocast_domain::{
    id::{ImportId, SourceId},
    import::ImportState,
    ioc::{Enrichment, Ioc},
    source::Source,
    time::Timestamp,
};
use iocast_formats::read::{Input, Options, form::Stated};
use iocast_store::{ImportLine, ImportRecord};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ImportReport, ImportRequest, Mode, Trust};
use crate::{Actor, AppError, AppResult, Intake};

/// Refused lines that are kept of an import.
pub(super) const LINES_MAX: usize = 100_000;

/// What was asked for, as it is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// The form that a person chose.
    chosen: Option<Input>,
    /// The form that a name or `Content-Type` suggested.
    hint: Option<Input>,
    only_to_ids: bool,
    live_links: bool,
    observables: bool,
    restore: bool,
    also: Enrichment,
}

impl Asked {
    pub(super) fn of(request: &ImportRequest) -> Self {
        let ImportRequest {
            path: _,
            file_name: _,
            stated,
            options,
            columns: _,
            also,
            trust,
            mode: _,
            ledger: _,
        } = request;
        let Options { only_to_ids, live_links, observables } = *options;
        let (chosen, hint) = match *stated {
            Stated::Nothing => (None, None),
            Stated::Hint(form) => (None, Some(form)),
            Stated::Chosen(form) => (Some(form), None),
        };
        let restore = *trust == Trust::Restore;
        Self { chosen, hint, only_to_ids, live_links, observables, restore, also: also.clone() }
    }

    /// Whether an IOC bears tags of a person other than those that were asked for with the import.
    pub(super) fn tagged(&self, ioc: &Ioc) -> bool {
        !self.restore && !ioc.enrichment.user_tags.is_subset(&self.also.user_tags)
    }

    /// The same request, of a body that lies at `path`, to be taken.
    pub(super) fn again(self, path: PathBuf, file_name: Option<String>) -> ImportRequest {
        let Self { chosen, hint, only_to_ids, live_links, observables, restore, also } = self;
        let hint = hint.map_or(Stated::Nothing, Stated::Hint);
        ImportRequest {
            path,
            file_name,
            stated: chosen.map_or(hint, Stated::Chosen),
            options: Options { only_to_ids, live_links, observables },
            columns: None,
            also,
            trust: if restore { Trust::Restore } else { Trust::Feed },
            mode: Mode::Take,
            ledger: None,
        }
    }
}

/// What is written down when an import begins.
pub(super) struct NewRecord<'a> {
    pub(super) id: ImportId,
    pub(super) actor: &'a Actor,
    pub(super) source: &'a Source,
    pub(super) request: &'a ImportRequest,
    pub(super) at: Timestamp,
}

impl Intake {
    /// The record of an import that begins. Its body is read once for that.
    pub(super) async fn import_record(&self, new: NewRecord<'_>) -> AppResult<ImportRecord> {
        let NewRecord { id, actor, source, request, at } = new;
        let path = request.path.clone();
        let (sha256, bytes) = self
            .context
            .spawn_blocking(move || digest(path))
            .await
            .map_err(AppError::internal)?
            .map_err(AppError::internal)?;
        Ok(ImportRecord {
            id,
            source_id: source.id,
            source_name: source.name.clone(),
            made_by: actor.name().to_owned(),
            file_name: request.file_name.clone(),
            sha256,
            bytes,
            started_at: at,
            ended_at: None,
            state: ImportState::Running,
            handled: 0,
            seq: None,
            request: text(&Asked::of(request))?,
            report: "{}".to_owned(),
            error: None,
            undone: None,
        })
    }
}

/// The hash of a file, in hexadecimal, and its length.
pub(crate) fn digest(path: PathBuf) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let (mut buffer, mut length) = (vec![0; 256 * 1024], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let hash = hasher.finalize();
            return Ok((hash.iter().map(|byte| format!("{byte:02x}")).collect(), length));
        }
        length += read as u64;
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

/// A report without its lists, which are kept line by line.
pub(super) fn kept_report(report: &ImportReport) -> AppResult<String> {
    text(&ImportReport { rejected: Vec::new(), remarks: Vec::new(), ..report.clone() })
}

pub(super) fn text(value: &impl Serialize) -> AppResult<String> {
    serde_json::to_string(value).map_err(AppError::internal)
}

pub(super) fn parsed<T: for<'a> Deserialize<'a>>(text: &str) -> AppResult<T> {
    serde_json::from_str(text).map_err(AppError::internal)
}

/// An import as it is shown.
#[derive(Clone, Debug)]
pub struct ImportView {
    /// Its id.
    pub id: ImportId,
    /// The source it went into.
    pub source_id: SourceId,
    /// What the source was called.
    pub source_name: String,
    /// By whom.
    pub made_by: String,
    /// The file's name.
    pub file_name: Option<String>,
    /// The SHA-256 hash of the body.
    pub sha256: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What became of it.
    pub state: ImportState,
    /// How many things were met so far.
    pub handled: u64,
    /// What it did, or, in review, would do.
    pub report: ImportReport,
    /// Why it failed.
    pub error: Option<String>,
    /// What taking it back did.
    pub undone: Option<iocast_domain::import::Undone>,
}

impl TryFrom<ImportRecord> for ImportView {
    type Error = AppError;

    fn try_from(record: ImportRecord) -> AppResult<Self> {
        let ImportRecord {
            id,
            source_id,
            source_name,
            made_by,
            file_name,
            sha256,
            bytes,
            started_at,
            ended_at,
            state,
            handled,
            seq: _,
            request: _,
            report,
            error,
            undone,
        } = record;
        Ok(Self {
            id,
            source_id,
            source_name,
            made_by,
            file_name,
            sha256,
            bytes,
            started_at,
            ended_at,
            state,
            handled,
            report: parsed(&report)?,
            error,
            undone,
        })
    }
}

/// Lines to be kept, of those that were refused.
pub(super) fn lines(
    rejected: &[iocast_formats::read::Rejected],
    remark: bool,
) -> impl Iterator<Item = ImportLine> {
    rejected.iter().map(move |line| ImportLine {
        remark,
        line: line.line,
        value: line.value.clone(),
        reason: line.reason.clone(),
    })
}
