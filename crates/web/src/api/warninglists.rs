//! Warninglists: given as MISP has them, switched, tried.

use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    patch, post, web,
};
use iocast_app::{App, AppError, ListGiven, ListOutcome, PageOf};
use iocast_domain::{
    account::Module,
    id::WarninglistId,
    ioc::Kind,
    time::Timestamp,
    warninglist::{ListMatch, ListMode, Matching, Warninglist, kinds_of},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{Answer, imports::spool};
use crate::{
    extract::{Body, Id, Query, Session, uncompressed},
    problem::Problem,
};

/// A warninglist.
#[derive(Serialize, ToSchema)]
pub(crate) struct WarninglistOut {
    /// Id.
    id: String,
    /// Its name.
    name: String,
    /// What its maker says of it.
    description: String,
    /// Its version.
    version: i64,
    /// How its entries are compared: `string` (the whole value), `hostname` (a name and all below
    /// it), `substring`, `cidr` or `regex`.
    #[serde(rename = "type")]
    matching: &'static str,
    /// The attribute types of MISP that it names; none: all.
    matching_attributes: Vec<String>,
    /// The kinds of IOC that these stand for. Without any, no IOC is ever on it.
    kinds: Vec<&'static str>,
    /// `off`, `warn` or `withhold`.
    mode: &'static str,
    /// Entries that are compared.
    entries: u64,
    /// Entries that can't be compared.
    left_out: u64,
    /// Why, of the first twenty.
    left_out_reasons: Vec<String>,
    /// When it was last given.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Warninglist> for WarninglistOut {
    fn from(of: Warninglist) -> Self {
        let kinds = kinds_of(&of.attributes).into_iter().map(Kind::word).collect();
        Self {
            id: of.id.to_string(),
            name: of.name,
            description: of.description,
            version: of.version,
            matching: Matching::word(of.matching),
            matching_attributes: of.attributes,
            kinds,
            mode: ListMode::word(of.mode),
            entries: of.entries,
            left_out: of.left_out.count,
            left_out_reasons: of.left_out.first,
            updated_at: of.updated_at,
        }
    }
}

/// A warninglist that an IOC is on.
#[derive(Serialize, ToSchema)]
pub(crate) struct OnListOut {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// `warn`: the IOC is sent all the same; `withhold`: it goes to no device.
    mode: &'static str,
}

impl From<ListMatch> for OnListOut {
    fn from(ListMatch { id, name, mode }: ListMatch) -> Self {
        Self { id: id.to_string(), name, mode: mode.word() }
    }
}

/// What became of a list that was given.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListGivenOut {
    /// Its name, or that of its file if it is none.
    name: String,
    /// `added`, `updated`, `unchanged` or `refused`.
    outcome: &'static str,
    /// Its id; none if it was refused.
    id: Option<String>,
    /// Why it was refused.
    reason: Option<String>,
}

impl From<ListGiven> for ListGivenOut {
    fn from(ListGiven { name, outcome }: ListGiven) -> Self {
        let (outcome, id, reason) = match outcome {
            ListOutcome::Added(id) => ("added", Some(id), None),
            ListOutcome::Updated(id) => ("updated", Some(id), None),
            ListOutcome::Unchanged(id) => ("unchanged", Some(id), None),
            ListOutcome::Refused(reason) => ("refused", None, Some(reason)),
        };
        Self { name, outcome, id: id.map(|id| id.to_string()), reason }
    }
}

/// What became of the lists of a file.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListsGivenOut {
    /// One for each list.
    lists: Vec<ListGivenOut>,
}

/// How to take lists.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AddQuery {
    /// What new lists do: `off`, `warn` (unless given) or `withhold`. A list with the name of a stored
    /// one keeps the mode of that one.
    mode: Option<String>,
}

/// A value to look up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CheckQuery {
    /// The value, in any spelling; it may be defanged.
    value: String,
}

/// The lists that a value is on.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckOut {
    /// What it is.
    kind: &'static str,
    /// Its normalised value.
    value: String,
    /// The lists that are on and hold it.
    warninglists: Vec<OnListOut>,
}

impl From<(Kind, String, Vec<ListMatch>)> for CheckOut {
    fn from((kind, value, found): (Kind, String, Vec<ListMatch>)) -> Self {
        let warninglists = found.into_iter().map(OnListOut::from).collect();
        Self { kind: kind.word(), value, warninglists }
    }
}

/// What a warninglist is to do.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WarninglistIn {
    /// `off`, `warn` or `withhold`.
    #[validate(length(max = 20, code = "mode_invalid", message = "Give off, warn or withhold."))]
    mode: String,
}

pub(crate) fn list_mode(word: &str) -> Result<ListMode, AppError> {
    word.parse().map_err(|why| AppError::field("mode", "mode_invalid", format!("mode: {why}.")))
}

/// The account's warninglists, by name; at most 500.
#[utoipa::path(tag = "account", responses((status = 200, body = super::List<WarninglistOut>), (status = 401, body = Problem)))]
#[get("/warninglists")]
pub(crate) async fn all(request: HttpRequest, app: web::Data<App>, session: Session) -> Answer {
    let items = app.intake.warninglists(&session.0).await?;
    let items = items.into_iter().map(WarninglistOut::from).collect();
    Ok(super::list(&request, PageOf { items, next: None }))
}

/// Give a warninglist, as MISP has it in a file (`list.json`) or answers with it, or a ZIP archive
/// of many, such as that of the misp-warninglists repository. A list with the name of a stored
/// one replaces it and keeps its mode.
#[utoipa::path(
    tag = "account",
    params(AddQuery),
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, body = ListsGivenOut), (status = 403, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem))
)]
#[post("/warninglists")]
pub(crate) async fn add(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    query: Query<AddQuery>,
    payload: web::Payload,
) -> Answer {
    uncompressed(&request)?;
    let mode = query.0.mode.as_deref().map_or(Ok(ListMode::Warn), list_mode)?;
    session.0.may_change(Module::Automation)?;
    let spooled = spool(&app, payload.into_inner()).await?;
    let given = app.intake.warninglists_add(&session.0, spooled.0.clone(), mode).await?;
    let lists = given.into_iter().map(ListGivenOut::from).collect();
    Ok(HttpResponse::Ok().json(ListsGivenOut { lists }))
}

/// The warninglists that a value is on, of those that are on.
#[utoipa::path(tag = "account", params(CheckQuery), responses((status = 200, body = CheckOut), (status = 422, body = Problem)))]
#[get("/warninglists/check")]
pub(crate) async fn check(
    app: web::Data<App>,
    session: Session,
    query: Query<CheckQuery>,
) -> Answer {
    let found = app.intake.warninglists_check(&session.0, &query.0.value).await?;
    Ok(HttpResponse::Ok().json(CheckOut::from(found)))
}

/// A warninglist with its entries, as MISP has it in a file.
#[utoipa::path(tag = "account", params(("id" = Uuid, Path)), responses((status = 200, body = String, content_type = "application/json"), (status = 404, body = Problem)))]
#[get("/warninglists/{id}/file")]
pub(crate) async fn file(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let (_, bytes) = app.intake.warninglist_file(&session.0, WarninglistId(id.0)).await?;
    let name = format!("attachment; filename=\"warninglist-{}.json\"", id.0);
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CONTENT_DISPOSITION, name))
        .body(bytes))
}

/// Say what a warninglist does. The account's groups are looked at again.
#[utoipa::path(tag = "account", request_body = WarninglistIn, params(("id" = Uuid, Path)), responses((status = 200, body = WarninglistOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[patch("/warninglists/{id}")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<WarninglistIn>,
) -> Answer {
    let mode = list_mode(&body.value.mode)?;
    let list = app.intake.warninglist_set_mode(&session.0, WarninglistId(id.0), mode).await?;
    Ok(HttpResponse::Ok().json(WarninglistOut::from(list)))
}

/// Delete a warninglist. The account's groups are looked at again.
#[utoipa::path(tag = "account", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/warninglists/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.intake.warninglist_delete(&session.0, WarninglistId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}
