//! Imports: a body of any size is spooled to the data folder, then read and written in one
//! transaction.

use std::time::Duration;

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, dev::Payload, http::StatusCode, post, web,
};
use futures_util::StreamExt as _;
use iocast_app::{
    Actor, App, AppError, Idempotent, ImportReport, ImportRequest, Input, Mode, Options, Spooled,
    Stated, Trust,
};
use iocast_domain::{
    account::Module,
    id::{ImportId, SourceId},
    ioc::{Enrichment, label},
    time::clip,
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use utoipa::{IntoParams, ToSchema};

use self::kept::ImportRecordOut;
use super::{Answer, answer_once, idempotency_key};
use crate::{
    extract::{Id, Query, Session, cut_off, drain, too_slow, uncompressed},
    problem::Problem,
};

pub(crate) mod kept;
mod report;
pub(crate) mod review;

pub(crate) use self::report::ImportOut;

/// How long nothing may arrive.
const SILENCE: Duration = Duration::from_secs(15);
/// After this, a body must have come at [`PACE`] on average.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes per second.
const PACE: u64 = 1_024;

/// How to import.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ImportQuery {
    /// Say what would happen, and write nothing.
    dry_run: bool,
    /// Write nothing yet: the import waits for a person, who looks at its IOCs, unselects some, and
    /// takes it. Up to 64 MiB.
    review: bool,
    /// Answer 202 once the body is here, and read it in the background; `GET /imports/{id}` says how
    /// far it is. A line that breaks does not stop it.
    background: bool,
    /// What the file is called, for the history.
    file_name: Option<String>,
    /// `only`: of MISP attributes only those marked `to_ids`.
    to_ids: Option<String>,
    /// A user tag for every IOC in it.
    tag: Option<String>,
    /// A malware family that every IOC in it belongs to.
    malware_family: Option<String>,
    /// What the body is, whatever its bytes look like: `json`, `table`, `list`, `report`, `html` or
    /// `openioc`. Without it, or with `auto`, iocast finds out.
    form: Option<String>,
    /// Of reports, take live links as well: they are references otherwise.
    live_links: bool,
    /// Of STIX, take what was merely observed as well.
    observables: bool,
    /// Restore an export of this account: whitelist states and user tags in it are taken, too.
    restore: bool,
}

/// An IOC of a list to import; only `value` is needed. Instead of such a list, a MISP event
/// (`{"Event": …}`), several of them, or a list of bare values can be sent.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct ImportIocIn {
    /// The indicator; it may be defanged.
    value: String,
    /// A kind, or a word for one of several (`ip`, `hash`). Without it the value decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// When it was seen first: a date or a time in RFC 3339. Without it, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    /// When it was seen last. Without it, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    /// `high`, `medium` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<String>,
    /// 0 to 100; gives a severity where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// The source's confidence in this IOC, 1 to 3; never more than that of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<u8>,
    /// The alert that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system_tags: Vec<String>,
    /// Taken only when an export of this account is restored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    threat_actors: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    campaigns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    malware_families: Vec<String>,
}

impl ImportIocIn {
    /// What the documentation shows.
    pub(crate) fn example() -> Self {
        Self {
            value: "evil.example".to_owned(),
            last_seen: Some("2026-11-01T00:00:00Z".to_owned()),
            severity: Some("high".to_owned()),
            ..Self::default()
        }
    }
}

/// What people decided is not for everybody to bring along.
fn may_say(actor: &Actor, query: &ImportQuery) -> Result<(), AppError> {
    if query.restore {
        actor.may_administer()?;
    }
    // Tags of people count for IOCs of other sources, too.
    if query.tag.is_some() && actor.service_token().is_some_and(|token| token.limit.is_some()) {
        return Err(AppError::field(
            "tag",
            "tag_not_allowed",
            "A service token for one source can't set tags of people; leave `tag` out.",
        ));
    }
    Ok(())
}

/// Import IOCs into a source. The form is found from the bytes: JSON (our own, MISP, STIX, exports
/// of other products), tables, lists, reports, pages, OpenIOC, PDF, Office documents, mails, also in gzip, ZIP or
/// tar; `Content-Type` is a hint, and `form` decides.
#[utoipa::path(
    tag = "sources",
    params(("id" = Uuid, Path), ImportQuery, ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((Vec<ImportIocIn> = "application/json"), (String = "text/csv"), (String = "text/plain"), (String = "text/vnd.iocast.report"))),
    responses((status = 200, body = ImportOut), (status = 202, body = ImportRecordOut), (status = 400, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem))
)]
#[post("/sources/{id}/iocs")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    query: Query<ImportQuery>,
    payload: web::Payload,
) -> Answer {
    let actor = &session.0;
    let source = SourceId(id.0);
    let mut payload = payload.into_inner();
    let Some(hint) = Input::from_content_type(request.content_type()) else {
        drain(&mut payload, 0).await;
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            "Name the form in Content-Type: application/json, text/csv, text/plain, text/html, text/vnd.iocast.report (prose), or application/octet-stream to have it found out.",
        ));
    };
    uncompressed(&request)?;
    let only_to_ids = match query.0.to_ids.as_deref() {
        None => false,
        Some("only") => true,
        Some(_) => {
            return Err(iocast_app::AppError::field(
                "to_ids",
                "to_ids_invalid",
                "to_ids takes only the value `only`; leave it out to import all attributes.",
            )
            .into());
        }
    };
    let stated = stated(query.0.form.as_deref(), hint)?;
    let mut also = Enrichment::default();
    also.user_tags.extend(query.0.tag.as_deref().and_then(label));
    also.malware_families.extend(query.0.malware_family.as_deref().and_then(label));
    // Who may not, or where there is no such source, is told before the body is read.
    actor.may_change(Module::Tip)?;
    may_say(actor, &query.0)?;
    app.intake.source_fetch(actor, source).await?;
    let spooled = spool(&app, payload).await?;
    let key = match idempotency_key(&request, |key, operation| Ok((key.to_owned(), operation)))? {
        Some((key, operation)) => {
            Some(Idempotent::of_file(&key, operation, spooled.0.clone()).await?)
        }
        None => None,
    };
    let trust = if query.0.restore { Trust::Restore } else { Trust::Feed };
    let mode = match (query.0.dry_run, query.0.review) {
        (true, _) => Mode::DryRun,
        (false, true) => Mode::Review,
        (false, false) => Mode::Take,
    };
    let import = ImportRequest {
        path: spooled.0.clone(),
        file_name: query.0.file_name.as_deref().map(|name| clip(name, 250)),
        stated,
        options: Options {
            only_to_ids,
            live_links: query.0.live_links,
            observables: query.0.observables,
        },
        also,
        trust,
        mode,
        ledger: None,
        columns: None,
    };
    if query.0.background && mode != Mode::DryRun {
        return in_background(&app, actor, source, import, spooled, key).await;
    }
    let make =
        async { Ok(ImportOut::from(app.intake.import(actor, source, import, &|_| {}).await?)) };
    let again = async |report| {
        // What was noted with the import is its report, not the answer.
        serde_json::from_value::<ImportReport>(report)
            .map(ImportOut::from)
            .map_err(|error| Problem::from(iocast_app::AppError::Internal(Box::new(error))))
    };
    answer_once(&app, actor, key, StatusCode::OK, make, again).await
}

/// Begins an import, and answers with its record.
async fn in_background(
    app: &web::Data<App>,
    actor: &Actor,
    source: SourceId,
    import: ImportRequest,
    spooled: Spooled,
    key: Option<Idempotent>,
) -> Answer {
    let record = async |id| {
        let view = app.intake.import_fetch(actor, id).await?;
        Ok::<_, Problem>(ImportRecordOut::from(view))
    };
    let make =
        async { record(app.intake.import_start(actor, source, import, spooled).await?).await };
    let again = async |report: serde_json::Value| {
        let report: ImportReport = serde_json::from_value(report).unwrap_or_default();
        record(report.id.unwrap_or_else(|| ImportId(uuid::Uuid::nil()))).await
    };
    answer_once(app, actor, key, StatusCode::ACCEPTED, make, again).await
}

/// Answers with what an import did.
pub(crate) fn imported(report: ImportReport) -> HttpResponse {
    HttpResponse::Ok().json(ImportOut::from(report))
}

/// The form that somebody chose by its word; without a choice, what is known.
pub(crate) fn stated(form: Option<&str>, hint: Stated) -> Result<Stated, iocast_app::AppError> {
    match form {
        None | Some("" | "auto") => Ok(hint),
        Some(word) => Input::from_word(word).map(Stated::Chosen).ok_or_else(|| {
            iocast_app::AppError::field(
                "form",
                "form_invalid",
                "form is one of auto, json, table, list, report, html, openioc.",
            )
        }),
    }
}

/// Writes the body to the spool, within bounds of size and time.
pub(crate) async fn spool(app: &App, mut payload: Payload) -> Result<Spooled, Problem> {
    let failed = |error: std::io::Error| {
        tracing::error!(error = &error as &dyn std::error::Error, "An import could not be spooled");
        Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "spool_failed",
            "The import could not be put aside: the data folder is full or not writable. Nothing was written.",
        )
    };
    let max = app.context.settings.import_max;
    tokio::fs::create_dir_all(app.intake.spool()).await.map_err(failed)?;
    let spooled = Spooled(app.intake.spool_path());
    let mut file = tokio::fs::File::create(&spooled.0).await.map_err(failed)?;
    let mut written: u64 = 0;
    let begun = tokio::time::Instant::now();
    loop {
        let chunk = match tokio::time::timeout(SILENCE, payload.next()).await {
            Err(_elapsed) => return Err(too_slow()),
            Ok(None) => break,
            Ok(Some(chunk)) => chunk.map_err(|_cut| cut_off())?,
        };
        written += chunk.len() as u64;
        if written > max {
            drain(&mut payload, written).await;
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!(
                    "The body is larger than {max} bytes; split it, or raise import_max_bytes."
                ),
            ));
        }
        if begun.elapsed() > GRACE && written < PACE.saturating_mul(begun.elapsed().as_secs()) {
            return Err(too_slow());
        }
        file.write_all(&chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(spooled)
}
