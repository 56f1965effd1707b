//! The emulator's clock. Without `--emulator` these endpoints do not exist.

use actix_web::{HttpResponse, delete, get, post, web};
use iocast_app::{Advanced, App, AppError, FixtureReport};
use iocast_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::Answer;
use crate::{
    emulator::{Emulator, advance as advance_clock},
    extract::{Body, Session},
    problem::Problem,
};

/// How far to move the clock.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdvanceIn {
    /// A span such as `49h`, `5m` or `1d 2h`.
    advance: String,
}

/// The product's time.
#[derive(Serialize, ToSchema)]
pub(crate) struct NowOut {
    /// The product's time.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
}

/// What moving the product's clock did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClockOut {
    /// The product's time.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// IOCs that retired on the way.
    retired: u64,
    /// Publications that were made on the way.
    publications: u64,
    /// Outages that were opened on the way.
    outages_opened: u64,
    /// Messages about them that were written.
    messages_queued: u64,
    /// Messages that the mail server took.
    messages_sent: u64,
    /// Messages that are tried again later.
    messages_failed: u64,
    /// Messages that are given up.
    messages_dead: u64,
    /// Messages that are not needed any more.
    messages_superseded: u64,
}

impl ClockOut {
    /// What happened, for people.
    pub(crate) fn sentence(&self) -> String {
        let many = |n: u64, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let counts = [
            (self.outages_opened, "outage opened"),
            (self.messages_queued, "message queued"),
            (self.messages_sent, "message sent"),
            (self.messages_failed, "message failed"),
            (self.messages_dead, "message dead"),
            (self.messages_superseded, "message superseded"),
            (self.retired, "IOC retired"),
            (self.publications, "publication"),
        ];
        // The noun takes the plural: 2 messages sent.
        let plural = |n: u64, words: &str| match words.split_once(' ') {
            Some((noun, verb)) => format!("{} {verb}", many(n, noun)),
            None => many(n, words),
        };
        let told: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| plural(*n, words)).collect();
        let told = if told.is_empty() { "nothing was due".to_owned() } else { told.join(", ") };
        format!("The clock is at {}: {told}.", self.now.minute())
    }
}

impl From<Advanced> for ClockOut {
    fn from(done: Advanced) -> Self {
        let Advanced { now, retired, publications, watched, delivered } = done;
        Self {
            now,
            retired,
            publications,
            outages_opened: watched.outages,
            messages_queued: watched.messages,
            messages_sent: delivered.sent,
            messages_failed: delivered.failed,
            messages_dead: delivered.dead,
            messages_superseded: delivered.superseded,
        }
    }
}

/// The product's time.
#[utoipa::path(tag = "emulator", responses((status = 200, body = NowOut), (status = 404, body = Problem)))]
#[get("/emulator/clock")]
pub(crate) async fn clock(app: web::Data<App>, _session: Session) -> Answer {
    here(&app)?;
    Ok(HttpResponse::Ok().json(NowOut { now: app.context.now() }))
}

/// Which made-up world.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FixturesIn {
    /// `small`, `medium` or `large`.
    load: String,
}

/// What was loaded or emptied.
#[derive(Serialize, ToSchema)]
pub(crate) struct FixturesOut {
    sources: u64,
    iocs: u64,
    alerts: u64,
    devices: u64,
    rules: u64,
}

impl From<FixtureReport> for FixturesOut {
    fn from(report: FixtureReport) -> Self {
        let FixtureReport { sources, iocs, alerts, devices, rules } = report;
        Self { sources, iocs, alerts, devices, rules }
    }
}

/// Fill the account with a made-up world.
#[utoipa::path(tag = "emulator", request_body = FixturesIn, responses((status = 200, body = FixturesOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/emulator/fixtures")]
pub(crate) async fn fixtures_load(
    app: web::Data<App>,
    session: Session,
    body: Body<FixturesIn>,
) -> Answer {
    here(&app)?;
    Ok(HttpResponse::Ok()
        .json(FixturesOut::from(app.fixtures_load(&session.0, &body.value.load).await?)))
}

/// Empty the account: all of its devices, groups, rules, sources and IOCs.
#[utoipa::path(tag = "emulator", responses((status = 200, body = FixturesOut), (status = 404, body = Problem)))]
#[delete("/emulator/fixtures")]
pub(crate) async fn fixtures_reset(app: web::Data<App>, session: Session) -> Answer {
    here(&app)?;
    Ok(HttpResponse::Ok().json(FixturesOut::from(app.fixtures_reset(&session.0).await?)))
}

/// Without the emulator its endpoints are not there.
pub(super) fn here(app: &App) -> Result<(), Problem> {
    if app.context.settings.emulator { Ok(()) } else { Err(AppError::NotFound("endpoint").into()) }
}

/// Move the product's clock forward, and run what becomes due.
#[utoipa::path(tag = "emulator", request_body = AdvanceIn, responses((status = 200, body = ClockOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[post("/emulator/clock")]
pub(crate) async fn advance(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
    body: Body<AdvanceIn>,
) -> Answer {
    here(&app)?;
    let done = advance_clock(&app, &emulator, &session.0, &body.value.advance).await?;
    Ok(HttpResponse::Ok().json(ClockOut::from(done)))
}
