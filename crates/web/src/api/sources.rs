//! Sources of IOCs.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, patch, post, web};
use iocast_app::{App, AppError, NewSource, SourcePatch};
use iocast_domain::{
    id::SourceId,
    ioc::{Kind, Severity},
    source::{Source, SourceLimits},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{Answer, List, whole};
use crate::{
    extract::{Body, Id, Session},
    problem::Problem,
};

/// A source to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceIn {
    /// 1 to 100 characters.
    name: String,
    /// 1 (low), 2 (medium) or 3 (high).
    confidence: i64,
    /// Switched on unless said otherwise.
    #[serde(default = "yes")]
    enabled: bool,
    /// What it may claim, and for how long its IOCs stay.
    #[serde(default)]
    limits: LimitsWire,
}

/// What a source may claim, and for how long its IOCs stay. It counts for reports from now on.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsWire {
    /// Days for which its IOCs stay active after they were last seen: 1 to 3,650. Left out: as usual
    /// for their kind. An IOC of several sources stays for the longest time that one of them has.
    lifetime_days: Option<u16>,
    /// The same for some kinds: `{"url": 30}`.
    #[schema(value_type = BTreeMap<String, u16>)]
    lifetimes: BTreeMap<Kind, u16>,
    /// The worst severity that it may report: `low`, `medium` or `high`. A worse one counts as this
    /// one.
    #[schema(value_type = Option<String>)]
    severity_most: Option<Severity>,
}

/// Limits as the body of `PATCH /sources/{id}` says them.
///
/// # Errors
/// If it is no such object.
pub fn limits_of(body: &str) -> Result<SourceLimits, AppError> {
    let wire: LimitsWire =
        serde_json::from_str(body).map_err(|error| AppError::Malformed(format!("{error}.")))?;
    Ok(wire.into())
}

impl From<LimitsWire> for SourceLimits {
    fn from(wire: LimitsWire) -> Self {
        let LimitsWire { lifetime_days, lifetimes, severity_most } = wire;
        Self { lifetime_days, lifetimes, severity_most }
    }
}

impl From<SourceLimits> for LimitsWire {
    fn from(limits: SourceLimits) -> Self {
        let SourceLimits { lifetime_days, lifetimes, severity_most } = limits;
        Self { lifetime_days, lifetimes, severity_most }
    }
}

fn yes() -> bool {
    true
}

/// What may be changed of a source.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourcePatchIn {
    /// New name.
    #[serde(default)]
    name: Option<String>,
    /// New confidence, for reports from now on.
    #[serde(default)]
    confidence: Option<i64>,
    /// On or off; reports of a source that is off don't count.
    #[serde(default)]
    enabled: Option<bool>,
    /// What it may claim, whole, for reports from now on.
    #[serde(default)]
    limits: Option<LimitsWire>,
}

/// A source.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceOut {
    /// Id.
    pub(crate) id: String,
    /// Name.
    name: String,
    /// 1 to 3.
    confidence: u8,
    /// Switched on.
    enabled: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// What it may claim, and for how long its IOCs stay.
    limits: LimitsWire,
}

impl From<Source> for SourceOut {
    fn from(source: Source) -> Self {
        let Source { id, name, confidence, enabled, created_at, kind: _, description: _, limits } =
            source;
        Self {
            id: id.to_string(),
            name,
            confidence: confidence.into(),
            enabled,
            created_at,
            limits: limits.into(),
        }
    }
}

/// Make a source.
#[utoipa::path(tag = "sources", request_body = SourceIn, params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = SourceOut), (status = 422, body = Problem)))]
#[post("/sources")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    body: Body<SourceIn>,
) -> Answer {
    let SourceIn { name, confidence, enabled, limits } = body.value;
    let make = async {
        Ok(SourceOut::from(
            app.intake
                .source_create(
                    &session.0,
                    NewSource {
                        enabled,
                        limits: limits.into(),
                        ..NewSource::feed(name, confidence)
                    },
                )
                .await?,
        ))
    };
    let made =
        async |id| Ok(SourceOut::from(app.intake.source_fetch(&session.0, SourceId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The sources, by name.
#[utoipa::path(tag = "sources", responses((status = 200, body = List<SourceOut>)))]
#[get("/sources")]
pub(crate) async fn list(app: web::Data<App>, session: Session) -> Answer {
    Ok(whole(app.intake.source_list(&session.0).await?.into_iter().map(SourceOut::from).collect()))
}

/// One source.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 200, body = SourceOut), (status = 404, body = Problem)))]
#[get("/sources/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok()
        .json(SourceOut::from(app.intake.source_fetch(&session.0, SourceId(id.0)).await?)))
}

/// Change a source.
#[utoipa::path(tag = "sources", request_body = SourcePatchIn, params(("id" = Uuid, Path)), responses((status = 200, body = SourceOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[patch("/sources/{id}")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<SourcePatchIn>,
) -> Answer {
    let SourcePatchIn { name, confidence, enabled, limits } = body.value;
    let patch = SourcePatch { name, confidence, enabled, limits: limits.map(Into::into) };
    let source = app.intake.source_update(&session.0, SourceId(id.0), patch).await?;
    Ok(HttpResponse::Ok().json(SourceOut::from(source)))
}

/// Delete a source. Its IOCs stay, but its reports count no more.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/sources/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.intake.source_delete(&session.0, SourceId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}
