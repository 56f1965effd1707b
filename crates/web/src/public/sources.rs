//! Sources: listed, made of documents, extended, deleted.

use actix_web::{HttpResponse, delete, get, http::StatusCode, post, web};
use iocast_app::{App, AppError, DocumentIoc, NewDocument};
use iocast_domain::{
    id::SourceId,
    ioc::Severity,
    normalise::detect,
    source::{Source, SourceKind},
    time::clip,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Json, Program, Refusal, kinds_of, lenient};

/// A source.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ThreatCommandSource {
    #[serde(rename = "_id")]
    id: String,
    name: String,
    /// 1 to 3.
    confidence_level: u8,
    is_enabled: bool,
    description: String,
    #[serde(rename = "SourceType")]
    source_type: &'static str,
}

/// Sources by category.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SourcesOut {
    intelligence_feed: Vec<ThreatCommandSource>,
    files: Vec<ThreatCommandSource>,
    emails: Vec<ThreatCommandSource>,
}

impl From<Source> for ThreatCommandSource {
    fn from(source: Source) -> Self {
        let Source { id, name, confidence, enabled, created_at: _, kind, description, limits: _ } =
            source;
        Self {
            id: id.to_string(),
            name,
            confidence_level: confidence.into(),
            is_enabled: enabled,
            description,
            source_type: source_type(kind),
        }
    }
}

fn source_type(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Feed => "IntelligenceFeed",
        SourceKind::Document => "File",
    }
}

/// The sources of the account.
#[utoipa::path(tag = "Threat Command: sources", responses((status = 200, body = SourcesOut), (status = 401)), security(("basic" = [])))]
#[get("/v1/iocs/sources")]
pub(crate) async fn list(app: web::Data<App>, program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(listed(&app, &program).await?))
}

pub(super) async fn listed(app: &App, program: &Program) -> Result<SourcesOut, Refusal> {
    let (files, feeds): (Vec<Source>, Vec<Source>) = app
        .intake
        .source_list(&program.0)
        .await?
        .into_iter()
        .partition(|s| s.kind == SourceKind::Document);
    let out = |sources: Vec<Source>| sources.into_iter().map(ThreatCommandSource::from).collect();
    Ok(SourcesOut { intelligence_feed: out(feeds), files: out(files), emails: Vec::new() })
}

/// An IOC of a document.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct IocIn {
    /// `IpAddresses`, `Urls`, `Domains`, `Hashes` or `Emails`.
    #[serde(rename = "Type")]
    kind: String,
    value: String,
}

/// What a document is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DetailsIn {
    name: String,
    #[serde(default, deserialize_with = "lenient::null")]
    description: String,
    /// 1 to 3; 2 unless given.
    #[serde(default, deserialize_with = "lenient::whole")]
    confidence_level: Option<i64>,
    /// For all of its IOCs.
    #[serde(default)]
    severity: Option<String>,
    /// For all of its IOCs.
    #[serde(default, deserialize_with = "lenient::null")]
    tags: Vec<String>,
}

/// A document with IOCs.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DocumentIn {
    document_details: DetailsIn,
    #[serde(default, deserialize_with = "lenient::null")]
    iocs: Vec<IocIn>,
}

/// More IOCs for a document.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MoreIn {
    iocs: Vec<IocIn>,
}

/// Values that are named as left out, at most.
const LEFT_OUT_MAX: usize = 100;

/// What is taken, and the first of those that are left out.
struct Readable {
    iocs: Vec<DocumentIoc>,
    left_out: Vec<String>,
}

/// The IOCs that are what they say they are; the others are left out, as the original does.
fn readable(
    iocs: Vec<IocIn>,
    severity: Option<Severity>,
    tags: &[String],
) -> Result<Readable, Refusal> {
    let mut found = Readable { iocs: Vec::with_capacity(iocs.len()), left_out: Vec::new() };
    for IocIn { kind, value } in iocs {
        let kinds = kinds_of(&kind).ok_or_else(|| {
            Refusal::unprocessable("Type is one of IpAddresses, Urls, Domains, Hashes, Emails.")
        })?;
        if detect(&value).is_ok_and(|(kind, _)| kinds.contains(&kind)) {
            found.iocs.push(DocumentIoc { value, severity, tags: tags.to_vec() });
        } else if found.left_out.len() < LEFT_OUT_MAX {
            found.left_out.push(clip(&value, 200));
        }
    }
    Ok(found)
}

/// Makes a source of a document. What is no IOC in it is left out.
#[utoipa::path(tag = "Threat Command: sources", request_body = DocumentIn, responses((status = 200, body = Object), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/iocs/add-source")]
pub(crate) async fn add(app: web::Data<App>, program: Program, body: Json<DocumentIn>) -> Answer {
    let DocumentIn { document_details, iocs } = body.0;
    if iocs.is_empty() {
        return Err(Refusal::unprocessable("MissingIocs"));
    }
    let DetailsIn { name, description, confidence_level, severity, tags } = document_details;
    let severity = severity
        .filter(|s| !s.is_empty())
        .map(|s| s.parse::<Severity>())
        .transpose()
        .map_err(|_none| Refusal::unprocessable("Severity is one of high, medium, low."))?;
    let Readable { iocs, left_out } = readable(iocs, severity, &tags)?;
    let new = NewDocument { name, description, confidence: confidence_level.unwrap_or(2) };
    match app.intake.document_add(&program.0, new, iocs).await {
        Ok((source, report)) => Ok(HttpResponse::Ok().json(json!({
            "Success": true,
            "Data": {
                "sourceDetails": { "_id": source.id.to_string(), "SourceType": source_type(source.kind) },
                "iocSavedCount": report.accepted + report.updated + report.unchanged,
                "leftOut": left_out,
            },
        }))),
        // Odd as it is: a name that is taken is told with 200.
        Err(AppError::Invalid(fields)) if fields.iter().any(|f| f.code == "name_taken") => {
            Ok(HttpResponse::Ok().json(json!({ "Success": false, "Data": "SourceNameAlreadyExists" })))
        }
        Err(error) => Err(error.into()),
    }
}

fn id_of(text: &str) -> Result<SourceId, Refusal> {
    text.parse()
        .map(SourceId)
        .map_err(|_none| Refusal::text(StatusCode::NOT_FOUND, "SourceDoesNotExist"))
}

/// Takes IOCs into a source.
#[utoipa::path(tag = "Threat Command: sources", params(("id" = String, Path)), request_body = MoreIn, responses((status = 200, body = Object), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[post("/v1/iocs/add-iocs-to-source/{id}")]
pub(crate) async fn extend(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<MoreIn>,
) -> Answer {
    let Readable { iocs, left_out } = readable(body.0.iocs, None, &[])?;
    let report = app.intake.document_extend(&program.0, id_of(&id)?, &iocs).await?;
    Ok(HttpResponse::Ok().json(json!({ "Success": true, "Data": { "iocSavedCount": report.accepted + report.updated + report.unchanged, "leftOut": left_out } })))
}

/// Deletes a source; IOCs that nobody else reported leave the groups.
#[utoipa::path(tag = "Threat Command: sources", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 401), (status = 404)), security(("basic" = [])))]
#[delete("/v1/iocs/delete-source/{id}")]
pub(crate) async fn remove(app: web::Data<App>, program: Program, id: web::Path<String>) -> Answer {
    app.intake.source_delete(&program.0, id_of(&id)?).await?;
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}
