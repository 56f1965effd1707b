//! A group's publications compared, frozen and let through; and what it keeps back.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use iocast_app::{App, AppError, RefusedIoc};
use iocast_domain::{guard::Refusal, id::GroupId, time::Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{Answer, List, groups::GroupOut};
use crate::{
    extract::{Body, Id, Query, Session, page},
    problem::Problem,
};

/// Most values named in each list of a comparison.
const NAMED: usize = 1_000;

/// Why IOCs are kept back.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReasonOut {
    /// Its word.
    pub(crate) reason: &'static str,
    /// How many.
    pub(crate) count: u64,
    /// The second half of "not for this device, because …".
    pub(crate) because: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

impl From<(Refusal, u64)> for ReasonOut {
    fn from((refusal, count): (Refusal, u64)) -> Self {
        Self { reason: refusal.word(), count, because: refusal.because(), remedy: refusal.remedy() }
    }
}

/// An IOC that a group keeps back.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusedOut {
    /// Id.
    id: String,
    /// Kind.
    kind: &'static str,
    /// Normalised value.
    value: String,
    /// Why: a word.
    reason: &'static str,
    /// Why: a sentence's second half.
    because: &'static str,
    /// The names of the warninglists that it is on.
    warninglists: Vec<String>,
}

impl From<RefusedIoc> for RefusedOut {
    fn from(of: RefusedIoc) -> Self {
        let RefusedIoc { ioc, refusal, lists } = of;
        Self {
            id: ioc.id.to_string(),
            kind: ioc.kind.word(),
            value: ioc.value,
            reason: refusal.word(),
            because: refusal.because(),
            warninglists: lists.into_iter().map(|list| list.name).collect(),
        }
    }
}

/// Which of those that are kept back.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RefusedQuery {
    /// Kept back for this reason.
    #[serde(default)]
    reason: Option<String>,
    /// Items on a page, 1 to 1,000; 100 unless given.
    #[serde(default)]
    limit: Option<u64>,
    /// `next` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

/// Which two publications.
#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CompareQuery {
    /// Number of the earlier one.
    from: i64,
    /// Number of the later one.
    to: i64,
}

/// Values on one side of a comparison.
#[derive(Serialize, ToSchema)]
pub(crate) struct DifferenceOut {
    /// All of them.
    count: usize,
    /// The first 1,000, in the order of values.
    values: Vec<String>,
}

impl From<Vec<String>> for DifferenceOut {
    fn from(values: Vec<String>) -> Self {
        Self { count: values.len(), values: values.into_iter().take(NAMED).collect() }
    }
}

/// What differs between two publications.
#[derive(Serialize, ToSchema)]
pub(crate) struct ComparisonOut {
    /// The earlier one.
    from: i64,
    /// The later one.
    to: i64,
    /// Only in the later one.
    added: DifferenceOut,
    /// Only in the earlier one.
    removed: DifferenceOut,
    /// In both, and differently described.
    changed: DifferenceOut,
}

/// What a group is to serve.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FreezeIn {
    /// One of its last twenty publications; null: its last one again, and what comes after.
    // Without it a forgotten body would thaw the group.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    publication: Option<i64>,
}

/// A publication that waits.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeldOut {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// When it goes out by itself.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// IOCs that the group serves.
    pub(crate) iocs: u32,
    /// How many of them would leave.
    pub(crate) would_lose: u32,
}

/// IOCs that rules choose and that are not for this device, with the reason, by IOC id.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path), RefusedQuery), responses((status = 200, body = List<RefusedOut>), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/groups/{id}/refused")]
pub(crate) async fn refused(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    query: Query<RefusedQuery>,
) -> Answer {
    let RefusedQuery { reason, limit, cursor } = query.0;
    let reason = reason
        .map(|word| {
            word.parse::<Refusal>().map_err(|why| AppError::field("reason", "reason_unknown", why))
        })
        .transpose()?;
    let page = page(limit, cursor)?;
    Ok(super::list(
        &request,
        app.accounts
            .group_refused(&session.0, GroupId(id.0), reason, &page)
            .await?
            .map(RefusedOut::from),
    ))
}

/// What differs between two publications of a group.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path), CompareQuery), responses((status = 200, body = ComparisonOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[get("/groups/{id}/compare")]
pub(crate) async fn compare(
    app: web::Data<App>,
    session: Session,
    id: Id,
    query: Query<CompareQuery>,
) -> Answer {
    let CompareQuery { from, to } = query.0;
    let found = app.serving.group_compare(&session.0, GroupId(id.0), from, to).await?;
    Ok(HttpResponse::Ok().json(ComparisonOut {
        from,
        to,
        added: found.added.into(),
        removed: found.removed.into(),
        changed: found.changed.into(),
    }))
}

/// Keep a group at one of its last publications, whatever its rules say from now on, or have it go
/// by its rules again (`null`). Going back is a publication of its own; what was set to "never sent"
/// or deleted stays out of it, and leaves a frozen group, too.
#[utoipa::path(tag = "groups", request_body = FreezeIn, params(("id" = Uuid, Path)), responses((status = 200, body = GroupOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[post("/groups/{id}/freeze")]
pub(crate) async fn freeze(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<FreezeIn>,
) -> Answer {
    app.group_freeze(&session.0, GroupId(id.0), body.value.publication).await?;
    Ok(HttpResponse::Ok()
        .json(GroupOut::from(app.accounts.group_fetch(&session.0, GroupId(id.0)).await?)))
}

/// Let a publication through that is held because it would lose too much at once.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path)), responses((status = 200, body = GroupOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/groups/{id}/let-through")]
pub(crate) async fn let_through(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.group_let_through(&session.0, GroupId(id.0)).await?;
    Ok(HttpResponse::Ok()
        .json(GroupOut::from(app.accounts.group_fetch(&session.0, GroupId(id.0)).await?)))
}
