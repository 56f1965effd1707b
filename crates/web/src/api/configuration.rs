//! Configuration as code.

use actix_web::{HttpResponse, get, post, web};
use iocast_app::{App, AppError};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Answer;
use crate::{
    configuration::{Applied, ApplyOptions, Document, apply as apply_document, export},
    extract::{Body, Query, Session},
    problem::Problem,
};

/// Most bytes of a document.
const DOCUMENT_MAX: usize = 8 * 1024 * 1024;

/// How to apply a document.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyQuery {
    /// Only say what would change.
    plan: bool,
    /// Delete rules, groups, devices and sources that the parts of the document do not name, and
    /// disable people. A part that the document leaves out is not touched.
    prune: bool,
    /// `fingerprint` of the plan that is to be carried out; if others would be the changes now, nothing
    /// is done (409).
    expected: Option<String>,
}

/// The account as a document, without secrets: people, guards, sources with their subscriptions,
/// devices with their groups, rules.
#[utoipa::path(tag = "configuration", responses((status = 200, body = Document), (status = 403, body = Problem)))]
#[get("/configuration")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session) -> Answer {
    Ok(HttpResponse::Ok().json(export(&app, &session.0).await?))
}

/// Make the account what a document says. The same document again changes nothing. A document that
/// is wrong changes nothing (422); a change that fails ends the work (409), and those before it
/// stay.
#[utoipa::path(tag = "configuration", params(ApplyQuery), request_body = Document, responses((status = 200, body = Applied), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/configuration")]
pub(crate) async fn apply(
    app: web::Data<App>,
    session: Session,
    query: Query<ApplyQuery>,
    body: Body<Document, DOCUMENT_MAX>,
) -> Answer {
    let ApplyQuery { plan, prune, expected } = query.0;
    let options = ApplyOptions { plan, prune, expected };
    // It goes on where the client is cut off: half of it would be worse.
    let (on, actor) = (app.clone().into_inner(), session.0);
    let work = async move { apply_document(&on, &actor, body.value, options).await };
    let done = app.context.in_background(work).await.map_err(AppError::internal)?;
    Ok(HttpResponse::Ok().json(done?))
}
