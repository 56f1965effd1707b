//! Scenarios: only with `--emulator`.

use actix_web::{HttpResponse, delete, get, post, web};
use iocast_app::{App, AppError, SCENARIOS, Scenario};
use iocast_domain::time::{MINUTE, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::{Answer, List, emulator::here, faults::allowed, whole};
use crate::{
    emulator::{Emulator, Run, Said, start as start_run, stop as stop_run},
    extract::{Body, Id, Session},
    problem::Problem,
};

/// A step of a scenario.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScenarioStepOut {
    /// Minutes after the start, by the product's clock.
    after_minutes: i64,
    /// What happens.
    what: &'static str,
}

/// What can be started.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScenarioOut {
    /// Its name.
    name: &'static str,
    /// What it shows.
    about: &'static str,
    /// In order of time.
    steps: Vec<ScenarioStepOut>,
}

impl From<&Scenario> for ScenarioOut {
    fn from(scenario: &Scenario) -> Self {
        let Scenario { name, about, steps } = scenario;
        let steps = steps
            .iter()
            .map(|step| ScenarioStepOut { after_minutes: step.after / MINUTE, what: step.what });
        Self { name, about, steps: steps.collect() }
    }
}

/// Which scenario.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScenarioIn {
    /// Its name, such as `key_is_rotated`.
    run: String,
}

/// What a step did.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScenarioSaidOut {
    /// When, by the product's clock.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What happened, and what to know of it: a group URL, a key.
    what: String,
}

/// A scenario that was started.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScenarioRunOut {
    /// Id.
    id: Uuid,
    /// Which scenario.
    scenario: &'static str,
    /// When it began, by the product's clock.
    #[schema(value_type = String, format = DateTime)]
    began_at: Timestamp,
    /// What happened so far.
    said: Vec<ScenarioSaidOut>,
    /// When the next step is due; null at the end.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// What comes then.
    next: Option<&'static str>,
    /// Whether it ended or was stopped.
    ended: bool,
}

impl From<Run> for ScenarioRunOut {
    fn from(run: Run) -> Self {
        let next_at = run.due();
        let next = run.scenario.steps.get(run.next).filter(|_| !run.has_ended);
        let said = run.said.into_iter().map(|Said { at, what }| ScenarioSaidOut { at, what });
        Self {
            id: run.id,
            scenario: run.scenario.name,
            began_at: run.began,
            said: said.collect(),
            next_at,
            next: next.map(|step| step.what),
            ended: run.has_ended,
        }
    }
}

/// The scenarios, each with its steps.
#[utoipa::path(tag = "emulator", responses((status = 200, body = List<ScenarioOut>), (status = 404, body = Problem)))]
#[get("/emulator/scenarios")]
pub(crate) async fn list(app: web::Data<App>, _session: Session) -> Answer {
    here(&app)?;
    Ok(whole(SCENARIOS.iter().map(ScenarioOut::from).collect()))
}

/// Start a scenario. Its steps are taken as the product's clock goes.
#[utoipa::path(tag = "emulator", request_body = ScenarioIn, responses((status = 201, body = ScenarioRunOut), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/emulator/scenarios")]
pub(crate) async fn start(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
    body: Body<ScenarioIn>,
) -> Answer {
    allowed(&app, &session.0)?;
    let run = start_run(&app, &emulator, &session.0, &body.value.run).await?;
    Ok(HttpResponse::Created().json(ScenarioRunOut::from(run)))
}

/// What was started, the last one first.
#[utoipa::path(tag = "emulator", responses((status = 200, body = List<ScenarioRunOut>), (status = 404, body = Problem)))]
#[get("/emulator/scenarios/runs")]
pub(crate) async fn runs(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
) -> Answer {
    // What they say holds keys.
    allowed(&app, &session.0)?;
    let runs = emulator.scenarios.runs(&session.0.account_id);
    Ok(whole(runs.into_iter().map(ScenarioRunOut::from).collect()))
}

/// Stop a scenario. What it made stays.
#[utoipa::path(tag = "emulator", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/emulator/scenarios/runs/{id}")]
pub(crate) async fn stop(
    app: web::Data<App>,
    emulator: web::Data<Emulator>,
    session: Session,
    id: Id,
) -> Answer {
    allowed(&app, &session.0)?;
    if !stop_run(&emulator, &session.0.account_id, id.0) {
        return Err(AppError::NotFound("scenario").into());
    }
    Ok(HttpResponse::NoContent().finish())
}
