//! Signs of life, without sign-in.

use actix_web::{HttpResponse, get, web};
use iocast_app::{App, Readiness};
use iocast_domain::time::SECOND;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;

/// The process lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthOut {
    /// `ok`.
    status: &'static str,
    /// Version.
    version: &'static str,
}

/// Whether requests can be served.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyOut {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// The database answers.
    database: bool,
    /// Seconds since the database last took a write.
    write_age_seconds: i64,
    /// Groups that wait for the publisher.
    groups_waiting: u64,
    /// Seconds that the first of them has waited.
    publisher_lag_seconds: i64,
    /// Seconds since the last tick.
    tick_age_seconds: i64,
    /// Seconds since the watchdog last looked at all devices.
    watch_age_seconds: i64,
    /// `alive`, or `stuck`: letters that are due are not looked at. Feeds are served all the same.
    sender: &'static str,
}

/// The process lives.
#[utoipa::path(tag = "health", responses((status = 200, body = HealthOut)), security(()))]
#[get("/health")]
pub(crate) async fn health() -> Answer {
    Ok(HttpResponse::Ok().json(HealthOut { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// Requests can be served.
#[utoipa::path(tag = "health", responses((status = 200, body = ReadyOut), (status = 503, body = ReadyOut)), security(()))]
#[get("/ready")]
pub(crate) async fn ready(app: web::Data<App>) -> Answer {
    let readiness = app.readiness().await;
    let (mut answer, status) = if readiness.ready() { (HttpResponse::Ok(), "ready") } else { (HttpResponse::ServiceUnavailable(), "not_ready") };
    let Readiness { database, write_age, groups_waiting, publisher_lag, tick_age, sender_alive, watch_age } = readiness;
    Ok(answer.json(ReadyOut {
        status,
        database,
        write_age_seconds: write_age / SECOND,
        groups_waiting,
        publisher_lag_seconds: publisher_lag / SECOND,
        tick_age_seconds: tick_age / SECOND,
        watch_age_seconds: watch_age / SECOND,
        sender: if sender_alive { "alive" } else { "stuck" },
    }))
}
