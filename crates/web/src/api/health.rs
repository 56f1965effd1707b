//! Signs of life, without sign-in.

use actix_web::{HttpResponse, get, web};
use iocast_app::{App, Memory, Readiness, TaskAge};
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

/// Whether devices are served, and whether work goes on.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadyOut {
    /// `ready`; `degraded`: devices are served, and something else is not well (see the other
    /// fields); or `not_ready`.
    status: &'static str,
    /// What this process does: `web`, `worker` or `all`.
    role: &'static str,
    /// The database answers.
    database: bool,
    /// Seconds since a write was last seen in the database.
    write_age_seconds: i64,
    /// Groups that wait for the publisher of this process.
    groups_waiting: u64,
    /// Seconds that the first of them has waited.
    publisher_lag_seconds: i64,
    /// What runs without being asked, by name.
    tasks: Vec<TaskOut>,
    /// Devices are served `fresh`; from `memory`, as the database is away; or `unavailable`, as it
    /// has been away for too long.
    feeds: &'static str,
    /// Seconds since what devices are served from was last compared with the database.
    feeds_age_seconds: i64,
}

/// A task of this process.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskOut {
    /// Its name.
    name: &'static str,
    /// `alive`, or `stuck`: it gave no sign of life for longer than it may.
    status: &'static str,
    /// Seconds since its last sign of life.
    age_seconds: u64,
    /// How often it ended by a fault and was started again.
    failures: u64,
}

impl From<TaskAge> for TaskOut {
    fn from(task: TaskAge) -> Self {
        let TaskAge { name, age, failures, is_stuck } = task;
        Self {
            name,
            status: if is_stuck { "stuck" } else { "alive" },
            age_seconds: age.as_secs(),
            failures,
        }
    }
}

/// The process lives.
#[utoipa::path(tag = "health", responses((status = 200, body = HealthOut)), security(()))]
#[get("/health")]
pub(crate) async fn health() -> Answer {
    Ok(HttpResponse::Ok().json(HealthOut { status: "ok", version: env!("CARGO_PKG_VERSION") }))
}

/// Devices are served. 503 only where they are not: for a load balancer. Whether work goes on
/// stands in the fields.
#[utoipa::path(tag = "health", responses((status = 200, body = ReadyOut), (status = 503, body = ReadyOut)), security(()))]
#[get("/ready")]
pub(crate) async fn ready(app: web::Data<App>) -> Answer {
    let readiness = app.readiness();
    let (mut answer, status) = match (readiness.serves(), readiness.works()) {
        (true, true) => (HttpResponse::Ok(), "ready"),
        // A load balancer must not take it away: devices get what they need.
        (true, false) => (HttpResponse::Ok(), "degraded"),
        (false, _) => (HttpResponse::ServiceUnavailable(), "not_ready"),
    };
    let Readiness {
        database,
        write_age,
        groups_waiting,
        publisher_lag,
        tasks,
        memory,
        memory_age,
        role,
    } = readiness;
    Ok(answer.json(ReadyOut {
        status,
        database,
        write_age_seconds: write_age / SECOND,
        groups_waiting,
        publisher_lag_seconds: publisher_lag / SECOND,
        tasks: tasks.into_iter().map(TaskOut::from).collect(),
        feeds: match memory {
            Memory::Fresh => "fresh",
            Memory::Old => "memory",
            Memory::Stale => "unavailable",
        },
        feeds_age_seconds: memory_age / SECOND,
        role: role.word(),
    }))
}
