//! Subscriptions of sources: what is fetched, how fresh it is, what fetches did.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use iocast_app::{App, Fetch, Loss, SubscriptionView};
use iocast_domain::{
    id::SourceId,
    ioc::Kind,
    subscription::{SubscriptionOptions, Takes},
    time::{HOUR, MINUTE, Timestamp},
    tlp::Tlp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, List, imports::ImportOut};
use crate::{
    extract::{Body, Id, Paging, Query, Session},
    problem::Problem,
};

mod given;
pub use self::given::subscription_of;
pub(crate) use self::given::{SUBSCRIPTION_FIELDS, SubscriptionIn, is_usual, of_form};

/// A source's subscription.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubscriptionOut {
    /// The source.
    pub(crate) source_id: String,
    /// What is fetched: `file` (any form that can be imported), `misp_feed` (a folder with
    /// manifest.json), `taxii` (a collection, 2.0 or 2.1), `threat_command` (the IOCs of an account,
    /// by its API), `folder` (all files in a folder of the machine of iocast).
    protocol: &'static str,
    /// Where it lies.
    url: String,
    /// The form that a person chose; without one, iocast finds out.
    form: Option<String>,
    /// Minutes between two fetches.
    every_minutes: i64,
    /// `growing`: each fetch only adds. `full`: what is gone from the list is reported no more.
    coverage: &'static str,
    /// Hours for which what is gone from a full list stays.
    grace_hours: i64,
    /// How a fetch says who it is: `none`, `basic`, `bearer`, `header`, `query` or `oauth2`.
    access: &'static str,
    /// The user's name, or that of the header or parameter.
    access_name: String,
    /// Whether there is a password, token or key. It is never shown.
    has_secret: bool,
    /// Where the token of `oauth2` comes from.
    token_url: Option<String>,
    /// What that token is for.
    scope: Option<String>,
    /// Certificates (PEM) of those who sign for the server, in place of the public ones.
    ca: Option<String>,
    /// The certificate (PEM) that iocast shows to the server. Its key is never shown.
    certificate: Option<String>,
    /// Tags for all IOCs of the source.
    tags: BTreeSet<String>,
    /// Only IOCs of these kinds are taken; all if it is empty.
    pub(crate) kinds: Vec<&'static str>,
    /// Only IOCs with one of these tags are taken; all if it is empty.
    only_tags: Vec<String>,
    /// IOCs marked more strictly are not taken: `clear`, `green`, `amber`, `amber_strict` or `red`.
    tlp_most: Option<&'static str>,
    /// IOCs that the list itself is less sure of are not taken: 1 (low) to 3 (high).
    min_confidence: Option<u8>,
    /// IOCs last seen more days ago are not taken.
    max_age_days: Option<u32>,
    /// At which times it is fetched, in place of a pause, as cron takes them.
    cron: Option<String>,
    /// The time zone of `cron`.
    time_zone: Option<&'static str>,
    /// Of a file in JSON, where the address of the next page stands.
    next_field: Option<String>,
    /// The parameter that takes what stands there.
    next_parameter: Option<String>,
    /// What columns of a table hold.
    columns: Option<String>,
    /// A person paused it.
    paused: bool,
    /// `never_fetched`, `fresh`, `failing` or `paused`.
    pub(crate) freshness: &'static str,
    /// When the next fetch is due.
    #[schema(value_type = String, format = DateTime)]
    next_at: Timestamp,
    /// When the last fetch ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    tried_at: Option<Timestamp>,
    /// When the last fetch ended that went well.
    #[schema(value_type = Option<String>, format = DateTime)]
    ok_at: Option<Timestamp>,
    /// When something in the list changed last.
    #[schema(value_type = Option<String>, format = DateTime)]
    changed_at: Option<Timestamp>,
    /// Fetches that failed since the last one that went well.
    failures: u32,
    /// Since when no fetch went well.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Why the last fetch failed, or what it could not read.
    error: Option<String>,
    /// IOCs in the list.
    listed: u64,
}

impl From<SubscriptionView> for SubscriptionOut {
    fn from(
        SubscriptionView { subscription: of, has_secret, freshness }: SubscriptionView,
    ) -> Self {
        let progress = of.progress;
        let SubscriptionOptions {
            takes,
            tags,
            token_url,
            scope,
            ca,
            certificate,
            schedule,
            next_field,
            next_parameter,
            columns,
        } = of.options;
        let Takes { kinds, tags: only_tags, tlp_most, min_confidence, max_age_days } = takes;
        Self {
            source_id: of.source_id.to_string(),
            protocol: of.protocol.word(),
            url: of.url,
            form: of.form,
            every_minutes: of.every / MINUTE,
            coverage: of.coverage.word(),
            grace_hours: of.grace / HOUR,
            access: of.access.word(),
            access_name: of.access_name,
            has_secret,
            token_url,
            scope,
            ca,
            certificate,
            tags,
            kinds: kinds.into_iter().map(Kind::word).collect(),
            only_tags,
            tlp_most: tlp_most.map(Tlp::word),
            min_confidence: min_confidence.map(u8::from),
            max_age_days,
            cron: schedule.as_ref().map(|of| of.text().to_owned()),
            time_zone: schedule.map(|of| of.zone()),
            next_field,
            next_parameter,
            columns,
            paused: of.paused,
            freshness: freshness.word(),
            next_at: progress.next_at,
            tried_at: progress.tried_at,
            ok_at: progress.ok_at,
            changed_at: progress.changed_at,
            failures: progress.failures,
            failing_since: progress.failing_since,
            error: progress.error,
            listed: progress.listed,
        }
    }
}

/// What a fetch did.
#[derive(Serialize, ToSchema)]
pub(crate) struct FetchOut {
    /// Its id.
    id: String,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `taken`, `unchanged` or `failed`. After a failure nothing changed.
    outcome: &'static str,
    /// The status that the server answered with.
    status: Option<u16>,
    /// Bytes of the body.
    bytes: u64,
    /// IOCs that the list holds.
    listed: u64,
    /// IOCs that were not known.
    new: u64,
    /// IOCs of which something changed.
    changed: u64,
    /// IOCs that this source reports no more.
    gone: u64,
    /// Lines that were refused.
    refused: u64,
    /// The import that it made: `GET /imports/{id}` says more.
    import_id: Option<String>,
    /// Why it failed.
    error: Option<String>,
}

impl From<Fetch> for FetchOut {
    fn from(of: Fetch) -> Self {
        Self {
            id: of.id.to_string(),
            at: of.at,
            outcome: of.outcome.word(),
            status: of.status,
            bytes: of.bytes,
            listed: of.listed,
            new: of.added,
            changed: of.changed,
            gone: of.gone,
            refused: of.refused,
            import_id: of.import_id.map(|id| id.to_string()),
            error: of.error,
        }
    }
}

/// How to fetch.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FetchQuery {
    /// Take a list that lost more than half of its IOCs: it is refused otherwise.
    accept_loss: bool,
}

/// The subscription of a source, and how fresh it is.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 200, body = SubscriptionOut), (status = 404, body = Problem)))]
#[get("/sources/{id}/subscription")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let found = app.intake.subscription_fetch(&session.0, SourceId(id.0)).await?;
    Ok(HttpResponse::Ok().json(SubscriptionOut::from(found)))
}

/// Have a source fetch a list by itself, or change what it fetches. The first fetch follows at once.
#[utoipa::path(tag = "sources", request_body = SubscriptionIn, params(("id" = Uuid, Path)), responses((status = 200, body = SubscriptionOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[put("/sources/{id}/subscription")]
pub(crate) async fn put(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<SubscriptionIn>,
) -> Answer {
    let new = body.value.checked()?;
    let found = app.intake.subscription_put(&session.0, SourceId(id.0), new).await?;
    Ok(HttpResponse::Ok().json(SubscriptionOut::from(found)))
}

/// End the subscription of a source. What it brought stays.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/sources/{id}/subscription")]
pub(crate) async fn end(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.intake.subscription_delete(&session.0, SourceId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Fetch a list now, and say what that did.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path), FetchQuery), responses((status = 200, body = FetchOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/sources/{id}/subscription/fetch")]
pub(crate) async fn fetch_now(
    app: web::Data<App>,
    session: Session,
    id: Id,
    query: Query<FetchQuery>,
) -> Answer {
    let loss = if query.0.accept_loss { Loss::Accept } else { Loss::Refuse };
    let done = app.intake.subscription_fetch_now(&session.0, SourceId(id.0), loss).await?;
    Ok(HttpResponse::Ok().json(FetchOut::from(done)))
}

/// Fetch a list and say what taking it would do. Nothing is written.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path)), responses((status = 200, body = ImportOut), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/sources/{id}/subscription/try")]
pub(crate) async fn try_it(app: web::Data<App>, session: Session, id: Id) -> Answer {
    let report = app.intake.subscription_try(&session.0, SourceId(id.0)).await?;
    Ok(HttpResponse::Ok().json(ImportOut::from(report)))
}

/// What the fetches of a source did, latest first; they are kept for 90 days.
#[utoipa::path(tag = "sources", params(("id" = Uuid, Path), Paging), responses((status = 200, body = List<FetchOut>), (status = 404, body = Problem)))]
#[get("/sources/{id}/subscription/fetches")]
pub(crate) async fn fetches(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    query: Query<Paging>,
) -> Answer {
    let page = query.0.page()?;
    let found = app.intake.fetch_list(&session.0, SourceId(id.0), &page).await?;
    Ok(super::list(&request, found.map(FetchOut::from)))
}
