//! Imports: a body of any size is spooled to the data folder, then read and written in one
//! transaction.

use std::time::Duration;

use actix_web::{HttpMessage as _, HttpRequest, dev::Payload, http::StatusCode, post, web};
use futures_util::StreamExt as _;
use iocast_app::{
    App, Document, Idempotent, ImportReport, ImportRequest, Input, Options, ReadAs, Rejected, Spooled,
    Stated, Trust,
};
use iocast_domain::{
    account::Module,
    id::SourceId,
    ioc::{Enrichment, label},
};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use utoipa::{IntoParams, ToSchema};

use super::{Answer, answer_once, idempotency_key};
use crate::{
    extract::{Id, Query, Session, cut_off, drain, too_slow, uncompressed},
    problem::Problem,
};

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

/// A line that was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct RejectedOut {
    /// Line in a text, or place in a list; from 1.
    line: u64,
    /// The value, clipped.
    value: String,
    /// Why.
    reason: String,
}

/// What a body, or a file in it, was taken for.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadAsOut {
    /// The name of the file, where it came out of an archive.
    file: Option<String>,
    /// The document that its text was taken from.
    document: Option<DocumentOut>,
    /// Its form.
    form: FormOut,
    /// The form in words.
    name: String,
}

/// The form of a text.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FormOut {
    Json,
    Table,
    List,
    Report,
    Html,
    OpenIoc,
}

impl From<Input> for FormOut {
    fn from(form: Input) -> Self {
        match form {
            Input::Json => Self::Json,
            Input::Table => Self::Table,
            Input::List => Self::List,
            Input::Report => Self::Report,
            Input::Html => Self::Html,
            Input::OpenIoc => Self::OpenIoc,
        }
    }
}

/// A kind of document.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DocumentOut {
    Pdf,
    Text,
    Slides,
    Sheet,
    Mail,
    Tar,
}

impl From<Document> for DocumentOut {
    fn from(document: Document) -> Self {
        match document {
            Document::Pdf => Self::Pdf,
            Document::Text => Self::Text,
            Document::Slides => Self::Slides,
            Document::Sheet => Self::Sheet,
            Document::Mail => Self::Mail,
            Document::Tar => Self::Tar,
        }
    }
}

impl From<ReadAs> for ReadAsOut {
    fn from(ReadAs { file, document, form }: ReadAs) -> Self {
        let name = match document {
            Some(document) => format!("{} from {}", form.name(), document.name()),
            None => form.name().to_owned(),
        };
        Self { file, document: document.map(DocumentOut::from), form: form.into(), name }
    }
}

/// What an import did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImportOut {
    /// IOCs that were not there before, each once.
    accepted: u64,
    /// IOCs that were there and changed.
    updated: u64,
    /// IOCs that were there; at most they were seen again.
    unchanged: u64,
    /// The first thousand lines that were refused.
    rejected: Vec<RejectedOut>,
    /// How many were refused in all.
    rejected_count: u64,
    /// Sentences on what was not taken of lines that were, as people decide it: whitelist states,
    /// user tags, confidence.
    ignored: Vec<String>,
    /// The first thousand fields of IOCs that could not be read and were left out; the IOCs were
    /// taken.
    remarks: Vec<RejectedOut>,
    /// How many were left out in all.
    remarks_count: u64,
    /// Of the new IOCs, how many were last seen so long ago that they are retired, and go to no
    /// device.
    retired: u64,
    /// What the body, or each file of an archive, was taken for.
    read_as: Vec<ReadAsOut>,
    /// Nothing was written.
    dry_run: bool,
}

impl From<ImportReport> for ImportOut {
    fn from(report: ImportReport) -> Self {
        let ImportReport {
            accepted,
            updated,
            unchanged,
            rejected_count,
            rejected,
            remarks_count,
            remarks,
            read_as,
            retired,
            ignored,
            dry_run,
        } = report;
        let line = |r: Rejected| RejectedOut { line: r.line, value: r.value, reason: r.reason };
        Self {
            accepted,
            updated,
            unchanged,
            rejected: rejected.into_iter().map(line).collect(),
            rejected_count,
            ignored: ignored.sentences(),
            remarks: remarks.into_iter().map(line).collect(),
            remarks_count,
            retired,
            read_as: read_as.into_iter().map(ReadAsOut::from).collect(),
            dry_run,
        }
    }
}

/// Import IOCs into a source. The form is found from the bytes: JSON (our own, MISP, STIX, exports
/// of other products), tables, lists, reports, pages, OpenIOC, PDF, Office documents, mails, also in gzip, ZIP or
/// tar; `Content-Type` is a hint, and `form` decides.
#[utoipa::path(
    tag = "sources",
    params(("id" = Uuid, Path), ImportQuery, ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((Vec<ImportIocIn> = "application/json"), (String = "text/csv"), (String = "text/plain"), (String = "text/vnd.iocast.report"))),
    responses((status = 200, body = ImportOut), (status = 400, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem), (status = 415, body = Problem))
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
    app.intake.source_fetch(actor, source).await?;
    let spooled = spool(&app, payload).await?;
    let key = match idempotency_key(&request, |key, operation| Ok((key.to_owned(), operation)))? {
        Some((key, operation)) => {
            Some(Idempotent::of_file(&key, operation, spooled.0.clone()).await?)
        }
        None => None,
    };
    let trust = if query.0.restore { Trust::Restore } else { Trust::Feed };
    let import = ImportRequest {
        path: spooled.0.clone(),
        stated,
        options: Options { only_to_ids, live_links: query.0.live_links },
        also,
        trust,
        dry_run: query.0.dry_run,
    };
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
async fn spool(app: &App, mut payload: Payload) -> Result<Spooled, Problem> {
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
