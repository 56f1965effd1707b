//! Signs of life, without sign-in.

use actix_web::{HttpResponse, get, web};
use iocast_app::{App, Memory, Readiness};
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
    /// `ready`; `degraded`: devices are served from memory, and nothing else is; or `not_ready`.
    status: &'static str,
    /// What this process does: `web`, `worker` or `all`.
    role: &'static str,
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
    /// Devices are served `fresh`; from `memory`, as the database is away; or `not` at all any more, since it has been away for too long.
    feeds: &'static str,
    /// Seconds since what devices are served from was last compared with the database.
    feeds_age_seconds: i64,
}

/// The process lives.
#[utoipa::path(tag = "health", responses((status = 200, body = HealthOut)), security(()))]
#[get("/health")]
pub(crate) async fn health() -> Answer {
    Ok(HttpResponse::Ok().json(HealthOut { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// Requests can be served. Where only devices can, from memory, the answer is 200 and says `degraded`.
#[utoipa::path(tag = "health", responses((status = 200, body = ReadyOut), (status = 503, body = ReadyOut)), security(()))]
#[get("/ready")]
pub(crate) async fn ready(app: web::Data<App>) -> Answer {
    let readiness = app.readiness().await;
    let (mut answer, status) = match (readiness.ready(), readiness.serves()) {
        (true, _) => (HttpResponse::Ok(), "ready"),
        // A load balancer must not take it away: devices get what they need.
        (false, true) => (HttpResponse::Ok(), "degraded"),
        (false, false) => (HttpResponse::ServiceUnavailable(), "not_ready"),
    };
    let Readiness { database, write_age, groups_waiting, publisher_lag, tick_age, sender_alive, watch_age, memory, memory_age, role } = readiness;
    Ok(answer.json(ReadyOut {
        status,
        database,
        write_age_seconds: write_age / SECOND,
        groups_waiting,
        publisher_lag_seconds: publisher_lag / SECOND,
        tick_age_seconds: tick_age / SECOND,
        watch_age_seconds: watch_age / SECOND,
        sender: if sender_alive { "alive" } else { "stuck" },
        feeds: match memory {
            Memory::Fresh => "fresh",
            Memory::Old => "memory",
            Memory::Stale => "not",
        },
        feeds_age_seconds: memory_age / SECOND,
        role: role.word(),
    }))
}
