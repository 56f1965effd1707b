//! Imports that were made: history, undo.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use iocast_app::{App, ImportFilter, ImportLine, ImportView, UndoPlan};
use iocast_domain::{
    id::{ImportId, SourceId},
    import::{ImportState, Undone},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::ImportOut;
use crate::{
    api::{Answer, List, list as listed},
    csv::{line, streamed},
    extract::{Id, Query, Session, page},
    problem::Problem,
};

/// Lines of a download that are read together.
const LINES: u64 = 2_000;

/// Which imports.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportsQuery {
    /// Into this source only.
    source_id: Option<Uuid>,
    /// `running`, `review`, `done`, `failed`, `discarded` or `undone`.
    state: Option<String>,
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What undoing an import did, in IOCs.
#[derive(Serialize, ToSchema)]
pub(crate) struct UndoneOut {
    /// Nobody reports them any more: they leave all groups.
    removed: u64,
    /// Another source reports them, too: only this report went, and what the import added to them
    /// stays.
    shared: u64,
    /// The source had reported them before: they stay as they are.
    known: u64,
    /// They changed since the import: they stay as they are.
    changed: u64,
}

impl From<Undone> for UndoneOut {
    fn from(undone: Undone) -> Self {
        let Undone { removed, shared, known, changed } = undone;
        Self { removed, shared, known, changed }
    }
}

/// What undoing an import does, or would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct UndoOut {
    #[serde(flatten)]
    undone: UndoneOut,
    /// The first thousand values that another source reports, too.
    shared_values: Vec<String>,
}

impl From<UndoPlan> for UndoOut {
    fn from(UndoPlan { undone, shared }: UndoPlan) -> Self {
        Self { undone: undone.into(), shared_values: shared }
    }
}

/// An import that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportRecordOut {
    /// Its id.
    id: String,
    /// The source it went into.
    source_id: String,
    /// What the source was called.
    source_name: String,
    /// By whom: an e-mail address, or what did it.
    made_by: String,
    /// The file's name, where it had one.
    file_name: Option<String>,
    /// The SHA-256 hash of the body.
    sha256: String,
    /// Bytes of the body.
    bytes: u64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended, or was ready for a review; null while it is read, and where it was stopped.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// `running`, `review`, `done`, `failed`, `discarded` or `undone`.
    #[schema(value_type = String)]
    state: ImportState,
    /// How many things were met so far.
    handled: u64,
    /// What it did, or, in review, would do; without its lists of lines.
    report: ImportOut,
    /// Why it failed.
    error: Option<String>,
    /// What undoing it did.
    undone: Option<UndoneOut>,
}

impl From<ImportView> for ImportRecordOut {
    fn from(view: ImportView) -> Self {
        let ImportView {
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
            report,
            error,
            undone,
        } = view;
        Self {
            id: id.to_string(),
            source_id: source_id.to_string(),
            source_name,
            made_by,
            file_name,
            sha256,
            bytes,
            started_at,
            ended_at,
            state,
            handled,
            report: report.into(),
            error,
            undone: undone.map(UndoneOut::from),
        }
    }
}

/// The imports of the account, newest first. They are kept for 400 days.
#[utoipa::path(tag = "imports", params(ImportsQuery), responses((status = 200, body = List<ImportRecordOut>), (status = 400, body = Problem)))]
#[get("/imports")]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    query: Query<ImportsQuery>,
) -> Answer {
    let ImportsQuery { source_id, state, limit, cursor } = query.0;
    let filter = ImportFilter {
        source: source_id.map(SourceId),
        state: state.as_deref().map(word("state")).transpose()?,
    };
    let found = app.intake.import_list_page(&session.0, &filter, &page(limit, cursor)?).await?;
    Ok(listed(&request, found.map(ImportRecordOut::from)))
}

/// One import: how far it is, what it did.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), responses((status = 200, body = ImportRecordOut), (status = 404, body = Problem)))]
#[get("/imports/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let view = app.intake.import_fetch(&session.0, ImportId(id.0)).await?;
    Ok(HttpResponse::Ok().json(ImportRecordOut::from(view)))
}

/// Stop an import that is being read, or throw away one that waits for a review. Nothing of it is
/// written.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[delete("/imports/{id}")]
pub(crate) async fn discard(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.intake.import_discard(&session.0, ImportId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The lines that an import refused, and the fields that it left out, as CSV: the first 100,000. They
/// are kept for 30 days.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), responses((status = 200, body = String, content_type = "text/csv"), (status = 404, body = Problem)))]
#[get("/imports/{id}/refused")]
pub(crate) async fn refused(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let id = ImportId(id.0);
    let actor = session.0;
    app.intake.import_fetch(&actor, id).await?;
    let name = format!("refused-{id}.csv");
    Ok(streamed(&name, &["line", "value", "why", "taken"], Some(0_u64), move |from| {
        let (app, actor) = (app.clone(), actor.clone());
        async move {
            let lines = app.intake.import_lines(&actor, id, from, LINES).await?;
            let next = (lines.len() as u64 == LINES).then_some(from + LINES);
            let row = |ImportLine { remark, line: number, value, reason }: &ImportLine| {
                let taken = if *remark { "without this field" } else { "no" };
                line(&[number.to_string().as_str(), value, reason, taken])
            };
            Ok((lines.iter().map(row).collect(), next))
        }
    }))
}

/// What undoing an import would do.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), responses((status = 200, body = UndoOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[get("/imports/{id}/undo")]
pub(crate) async fn undo_plan(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let plan = app.intake.import_undo_plan(&session.0, ImportId(id.0)).await?;
    Ok(HttpResponse::Ok().json(UndoOut::from(plan)))
}

/// Undo an import: the reports that it made are removed, but for those of IOCs that changed since. A
/// group that would lose more than half of its IOCs is held first, as always.
#[utoipa::path(tag = "imports", params(("id" = Uuid, Path)), responses((status = 200, body = UndoOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/imports/{id}/undo")]
pub(crate) async fn undo(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let plan = app.intake.import_undo(&session.0, ImportId(id.0)).await?;
    Ok(HttpResponse::Ok().json(UndoOut::from(plan)))
}

/// Reads a word of a list of them.
fn word<T: std::str::FromStr<Err = String>>(
    field: &'static str,
) -> impl Fn(&str) -> Result<T, iocast_app::AppError> {
    move |text| {
        text.parse().map_err(|why| {
            iocast_app::AppError::field(field, "word_unknown", format!("{field}: {why}."))
        })
    }
}
