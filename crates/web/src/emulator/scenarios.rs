//! Scenarios that run: their steps are due by the product's clock.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::http::StatusCode;
use iocast_app::{Action, Actor, Advanced, App, AppError, AppResult, SCENARIOS, Scenario};
use iocast_domain::{id::AccountId, time::Timestamp};
use uuid::Uuid;

use super::{
    Emulator,
    faults::{Fault, What},
};

/// Runs that are kept: the oldest that ended goes first.
const MOST: usize = 20;

/// What a step did.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) at: Timestamp,
    pub(crate) what: String,
}

/// A scenario that was started.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) scenario: &'static Scenario,
    pub(crate) began: Timestamp,
    /// The step that comes next.
    pub(crate) next: usize,
    pub(crate) said: Vec<Said>,
    /// It ended, or was stopped.
    pub(crate) has_ended: bool,
    /// Faults that it brought.
    faults: Vec<Uuid>,
    actor: Actor,
}

impl Run {
    pub(crate) fn is_of(&self, account: &AccountId) -> bool {
        self.actor.account_id == *account
    }

    /// When the next step is due.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let step = self.scenario.steps.get(self.next).filter(|_| !self.has_ended)?;
        Some(self.began.plus(step.after))
    }
}

/// The runs of this process.
#[derive(Debug, Default)]
pub(crate) struct Scenarios {
    all: Mutex<Vec<Run>>,
    /// Steps are taken one after another.
    turn: tokio::sync::Mutex<()>,
}

impl Scenarios {
    fn all(&self) -> MutexGuard<'_, Vec<Run>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs of an account, the last one first.
    pub(crate) fn runs(&self, account: &AccountId) -> Vec<Run> {
        self.all().iter().rev().filter(|run| run.is_of(account)).cloned().collect()
    }

    /// Stops a run. Gives the faults that it brought; none if it is not there.
    fn stop(&self, account: &AccountId, id: Uuid) -> Option<Vec<Uuid>> {
        let mut all = self.all();
        let run = all.iter_mut().find(|run| run.id == id && run.is_of(account))?;
        run.has_ended = true;
        Some(run.faults.clone())
    }

    /// The run whose next step is due first, until a moment.
    fn due(&self, until: Timestamp) -> Option<(Run, Timestamp)> {
        let all = self.all();
        let due = all.iter().filter_map(|run| Some((run, run.due()?)));
        let first = due.filter(|(_, at)| *at <= until).min_by_key(|(_, at)| *at);
        first.map(|(run, at)| (run.clone(), at))
    }

    fn put(&self, run: Run) {
        let mut all = self.all();
        match all.iter_mut().find(|of| of.id == run.id) {
            // It may have been stopped while its step was taken.
            Some(of) => *of = Run { has_ended: of.has_ended || run.has_ended, ..run },
            None => all.push(run),
        }
        if all.len() > MOST
            && let Some(ended) = all.iter().position(|of| of.has_ended)
        {
            all.remove(ended);
        }
    }
}

/// Starts a scenario, and takes the steps that are due at once.
pub(crate) async fn start(
    app: &App,
    emulator: &Emulator,
    actor: &Actor,
    name: &str,
) -> AppResult<Run> {
    let Some(scenario) = SCENARIOS.iter().find(|of| of.name == name) else {
        let known: Vec<&str> = SCENARIOS.iter().map(|of| of.name).collect();
        let message = format!("There is no such scenario; there are {}.", known.join(", "));
        return Err(AppError::field("run", "scenario_unknown", message));
    };
    let _turn = emulator.scenarios.turn.lock().await;
    let is_running = |of: &Run| of.scenario.name == name && !of.has_ended;
    let runs = emulator.scenarios.all().clone();
    if runs.iter().any(|of| is_running(of) && of.is_of(&actor.account_id)) {
        return Err(AppError::Conflict {
            code: "scenario_running",
            detail: "This scenario runs already; stop it first.".to_owned(),
        });
    }
    if runs.iter().filter(|of| !of.has_ended).count() >= MOST {
        return Err(AppError::Conflict {
            code: "too_many_scenarios",
            detail: format!("{MOST} scenarios are running; stop one first."),
        });
    }
    let began = app.context.now();
    let mut run = Run {
        id: app.context.entropy.uuid(),
        scenario,
        began,
        next: 0,
        said: Vec::new(),
        has_ended: false,
        faults: Vec::new(),
        actor: actor.clone(),
    };
    // What is in the way of the first steps is said to the person who starts it.
    while run.due() == Some(began) {
        step(app, emulator, &mut run).await?;
    }
    emulator.scenarios.put(run.clone());
    Ok(run)
}

/// Stops a run and ends its faults. False if it is not there.
pub(crate) fn stop(emulator: &Emulator, account: &AccountId, id: Uuid) -> bool {
    let Some(faults) = emulator.scenarios.stop(account, id) else { return false };
    for fault in faults {
        emulator.faults.clear(Some(fault));
    }
    true
}

/// Takes the next step of a run.
async fn step(app: &App, emulator: &Emulator, run: &mut Run) -> AppResult<()> {
    let Some(step) = run.scenario.steps.get(run.next) else { return Ok(()) };
    let now = app.context.now();
    if let Action::Refuse { path, retry_after, span } = step.action {
        let id = app.context.entropy.uuid();
        run.faults.push(id);
        let fault = Fault {
            id,
            path: path.to_owned(),
            method: None,
            times: None,
            until: Some(run.began.plus(step.after).plus(span)),
            what: What {
                status: Some(StatusCode::TOO_MANY_REQUESTS),
                retry_after: Some(retry_after),
                ..What::default()
            },
            met: 0,
        };
        if !emulator.faults.add(fault, now) {
            return Err(AppError::Conflict {
                code: "too_many_faults",
                detail: "There are too many faults already; clear them first.".to_owned(),
            });
        }
    }
    let more = app.scenario_act(&run.actor, step.action).await?;
    let said = std::iter::once(step.what.to_owned()).chain(more);
    run.said.extend(said.map(|what| Said { at: now, what }));
    run.next += 1;
    run.has_ended = run.next == run.scenario.steps.len();
    Ok(())
}

/// Takes every step that is due by now. Says whether there was one.
async fn run_due(app: &App, emulator: &Emulator) -> bool {
    let _turn = emulator.scenarios.turn.lock().await;
    let mut was_due = false;
    while let Some((mut run, _)) = emulator.scenarios.due(app.context.now()) {
        was_due = true;
        if let Err(error) = step(app, emulator, &mut run).await {
            let (at, what) = (app.context.now(), format!("It stopped: {error}"));
            run.said.push(Said { at, what });
            run.has_ended = true;
        }
        emulator.scenarios.put(run);
    }
    was_due
}

/// Moves the product's clock, from step to step of what runs.
pub(crate) async fn advance(
    app: &App,
    emulator: &Emulator,
    actor: &Actor,
    span: &str,
) -> AppResult<Advanced> {
    let target = app.context.now().plus(iocast_app::advance_span(span)?);
    let mut done: Option<Advanced> = None;
    loop {
        let now = app.context.now();
        let stop = emulator.scenarios.due(target).map_or(target, |(_, at)| at).max(now);
        let piece = app.clock_advance_by(actor, stop.since(now)).await?;
        let sum = match done.take() {
            Some(before) => before.and(piece),
            None => piece,
        };
        // After a step there is once more something to publish.
        if !run_due(app, emulator).await && stop >= target {
            return Ok(sum);
        }
        done = Some(sum);
    }
}

/// Takes steps as the clock goes, until the server closes.
pub(crate) async fn tick(app: Arc<App>, emulator: Arc<Emulator>) {
    while !app.context.is_closing() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        run_due(&app, &emulator).await;
    }
}
