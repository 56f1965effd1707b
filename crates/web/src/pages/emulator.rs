//! The emulator: fixtures, scenarios, faults and recordings, and the clock that every page has.

use actix_web::{HttpResponse, http::StatusCode, web};
use iocast_app::{AppError, FIXTURES, FixtureReport, SCENARIOS};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Failure, Form, PageContext, PageResult, problem},
};
use crate::{
    api::{
        emulator::ClockOut,
        faults::{FaultIn, FaultOut, allowed, checked},
        recordings::{Own, RecordingOut, file},
        scenarios::{ScenarioOut, ScenarioRunOut},
    },
    emulator::{Emulator, MOST, advance as advance_clock, start, stop},
};

pub(crate) async fn show(visitor: PageContext, emulator: web::Data<Emulator>) -> PageResult {
    page(&visitor, &emulator, StatusCode::OK, Value::from(()), context! {}).await
}

async fn page(
    visitor: &PageContext,
    emulator: &Emulator,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    let (app, actor) = (&visitor.app, &visitor.actor);
    allowed(app, actor)?;
    let own = Own::of(app, emulator, actor).await?;
    let clients = emulator.recording.clients(|who| own.has(who));
    let clients: Vec<RecordingOut> = clients.iter().map(RecordingOut::from).collect();
    let faults: Vec<FaultOut> = emulator.faults.list().into_iter().map(FaultOut::from).collect();
    let runs = emulator.scenarios.runs(&actor.account_id).into_iter();
    let runs: Vec<ScenarioRunOut> = runs.map(ScenarioRunOut::from).collect();
    let scenarios: Vec<ScenarioOut> = SCENARIOS.iter().map(ScenarioOut::from).collect();
    let fixtures: Vec<Value> =
        FIXTURES.iter().map(|of| context! { name => of.name, about => of.about }).collect();
    let of_page = context! {
        clients => view::value(clients), faults => view::value(faults), runs => view::value(runs),
        scenarios => view::value(scenarios), fixtures, problem, sent,
    };
    Ok(visitor.page(status, "pages/emulator.html", of_page))
}

pub(crate) async fn act(form: Form, emulator: web::Data<Emulator>) -> PageResult {
    let visitor = &form.visitor;
    allowed(&visitor.app, &visitor.actor)?;
    match done(&form, &emulator).await {
        Ok(said) => visitor.done("/emulator", &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, &emulator, status, problem, form.again()).await
        }
    }
}

/// Does what a button says. Gives the sentence about it.
async fn done(form: &Form, emulator: &Emulator) -> Result<String, AppError> {
    let (app, actor) = (&form.visitor.app, &form.visitor.actor);
    let said = |what: &str, r: FixtureReport| {
        let FixtureReport { sources, iocs, alerts, devices, rules: _ } = r;
        format!("{what}: {sources} sources, {iocs} IOCs, {alerts} alerts, {devices} devices.")
    };
    let id = || {
        let gone = |_wrong| AppError::NotFound("entry of this page");
        form.text("id").parse::<uuid::Uuid>().map_err(gone)
    };
    match form.text("do") {
        "load" => Ok(said("Loaded", app.fixtures_load(actor, form.text("fixtures")).await?)),
        "reset" => Ok(said("Emptied", app.fixtures_reset(actor).await?)),
        "start" => {
            let run = start(app, emulator, actor, form.text("scenario")).await?;
            Ok(format!("The scenario {} runs.", run.scenario.name))
        }
        "stop" => {
            let was_there = stop(emulator, &actor.account_id, id()?);
            was_there
                .then(|| "The scenario is stopped.".to_owned())
                .ok_or(AppError::NotFound("scenario"))
        }
        "fault" => {
            let fault = checked(fault_of(form)?, app.context.entropy.uuid())?;
            let path = fault.path.clone();
            if emulator.faults.add(fault, app.context.now()) {
                return Ok(format!("Requests of {path} meet a fault from now on."));
            }
            let detail = format!("There are {MOST} faults already; end them first.");
            Err(AppError::Conflict { code: "too_many_faults", detail })
        }
        "end" => {
            emulator.faults.clear(Some(id()?));
            Ok("The fault is ended.".to_owned())
        }
        "end_all" => {
            let count = emulator.faults.clear(None);
            Ok(format!("{count} faults are ended."))
        }
        "forget" => {
            let own = Own::of(app, emulator, actor).await?;
            emulator.recording.forget(|who| own.has(who));
            Ok("The recordings are deleted.".to_owned())
        }
        _ => Err(AppError::Malformed("This form has no such button.".to_owned())),
    }
}

/// A fault as the form describes it.
fn fault_of(form: &Form) -> Result<FaultIn, AppError> {
    fn number<T: TryFrom<i64>>(form: &Form, name: &str) -> Result<Option<T>, AppError> {
        let too_large = |_wrong| AppError::field(name, "fault_invalid", "Give a smaller number.");
        form.number(name)?.map(|n| T::try_from(n).map_err(|_| too_large(()))).transpose()
    }
    Ok(FaultIn {
        path: form.text("path").to_owned(),
        method: form.maybe("method"),
        times: number(form, "times")?,
        until: None,
        status: number(form, "status")?,
        body: form.text("body").to_owned(),
        content_type: form.maybe("content_type"),
        retry_after: number(form, "retry_after")?,
        delay_ms: number(form, "delay_ms")?.unwrap_or_default(),
        drop_after_bytes: number(form, "drop_after_bytes")?,
        bytes_per_second: number(form, "bytes_per_second")?,
    })
}

/// What a client asked and was answered, as a file.
pub(crate) async fn recording(
    visitor: PageContext,
    emulator: web::Data<Emulator>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    allowed(&visitor.app, &visitor.actor)?;
    Ok(file(&visitor.app, &emulator, &visitor.actor, &id).await?)
}

/// Moves the product's clock, from the bar that every page has in emulator mode.
pub(crate) async fn advance(form: Form, emulator: web::Data<Emulator>) -> PageResult {
    let visitor = &form.visitor;
    let back =
        Some(form.text("here")).filter(|h| view::is_place(h)).unwrap_or("/automation/integrations");
    let span = form.text("advance");
    allowed(&visitor.app, &visitor.actor)?;
    let said = match advance_clock(&visitor.app, &emulator, &visitor.actor, span).await {
        Ok(done) => ClockOut::from(done).sentence(),
        Err(error) => {
            let (_, problem) = problem(error)?;
            problem.get_attr("detail").map(|d| d.to_string()).unwrap_or_default()
        }
    };
    visitor.done(back, &said)
}
