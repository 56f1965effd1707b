//! Sources of IOCs.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, patch, post, web};
use iocast_app::{App, NewSource, SourcePatch};
use iocast_domain::{id::SourceId, source::Source, time::Timestamp};
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
}

/// A source.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceOut {
    /// Id.
    id: String,
    /// Name.
    name: String,
    /// 1 to 3.
    confidence: u8,
    /// Switched on.
    enabled: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Source> for SourceOut {
    fn from(source: Source) -> Self {
        let Source { id, name, confidence, enabled, created_at, kind: _, description: _ } = source;
        Self { id: id.to_string(), name, confidence: confidence.into(), enabled, created_at }
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
    let SourceIn { name, confidence, enabled } = body.value;
    let make = async {
        Ok(SourceOut::from(
            app.intake
                .source_create(
                    &session.0,
                    NewSource { enabled, ..NewSource::feed(name, confidence) },
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
    let SourcePatchIn { name, confidence, enabled } = body.value;
    Ok(HttpResponse::Ok().json(SourceOut::from(
        app.intake
            .source_update(&session.0, SourceId(id.0), SourcePatch { name, confidence, enabled })
            .await?,
    )))
}

/// Delete a source. Its IOCs stay, but its reports count no more.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/sources/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.intake.source_delete(&session.0, SourceId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}
