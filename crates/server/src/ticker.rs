//! Ticks: what happens without being asked. Each tick is a use case; the next tick is the retry.

use std::{sync::Arc, time::Duration};

use iocast_app::{App, AppResult, Lane};
use tokio::{sync::watch, task::JoinSet, time::Instant};

const FLUSH: Duration = Duration::from_millis(400);
const WATCH: Duration = Duration::from_secs(5);
const PRUNE: Duration = Duration::from_secs(3_600);
const DELIVER: Duration = Duration::from_secs(1);
/// Letters on their way at once in each lane: a server that hangs holds up as many, not all.
const SENDERS: usize = 4;
const FOLLOW: Duration = Duration::from_millis(500);
const PUBLISH: Duration = Duration::from_secs(1);
/// A burst of changes makes one publication, not many.
const GATHER: Duration = Duration::from_millis(30);
const SWEEP: Duration = Duration::from_secs(60);
const RETIRE: Duration = Duration::from_secs(60);

/// Starts all ticks; they end when `stop` turns true.
pub(crate) fn start(app: &Arc<App>, begun: Instant, stop: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut ticks = JoinSet::new();
    let flush = Arc::clone(app);
    ticks.spawn(every(FLUSH, stop.clone(), "writing the pulls", move || {
        let app = Arc::clone(&flush);
        async move { app.pulls_flush().await }
    }));
    let dog = Arc::clone(app);
    ticks.spawn(every(WATCH, stop.clone(), "watching for silence", move || {
        let app = Arc::clone(&dog);
        async move { app.watch(begun.elapsed()).await.map(drop) }
    }));
    let prune = Arc::clone(app);
    ticks.spawn(every(PRUNE, stop.clone(), "forgetting what is old", move || {
        let app = Arc::clone(&prune);
        async move {
            app.letter_prune().await?;
            app.attempt_prune().await
        }
    }));
    for _ in 0..SENDERS {
        for lane in [Lane::Mail, Lane::Hooks] {
            ticks.spawn(deliver(Arc::clone(app), lane, stop.clone()));
        }
    }
    let follow = Arc::clone(app);
    ticks.spawn(every(FOLLOW, stop.clone(), "following other replicas", move || {
        let app = Arc::clone(&follow);
        async move { app.feed_follow().await }
    }));
    let retire = Arc::clone(app);
    ticks.spawn(every(RETIRE, stop.clone(), "retiring IOCs", move || {
        let app = Arc::clone(&retire);
        async move { app.retire_tick().await.map(drop) }
    }));
    let sweep = Arc::clone(app);
    ticks.spawn(every(SWEEP, stop.clone(), "sweeping the stage", move || {
        let app = Arc::clone(&sweep);
        async move { app.stage_sweep().await }
    }));
    ticks.spawn(publish(Arc::clone(app), stop.clone()));
    ticks
}

async fn every<F: Future<Output = AppResult<()>>>(pause: Duration, mut stop: watch::Receiver<bool>, what: &'static str, tick: impl Fn() -> F) {
    let mut failing = false;
    while !*stop.borrow() {
        failing = told(what, failing, tick().await);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn publish(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    while !*stop.borrow() {
        failing = told("publishing", failing, app.publish_due(false).await.map(drop));
        app.tick_done();
        tokio::select! {
            () = app.changed() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep(PUBLISH) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn deliver(app: Arc<App>, lane: Lane, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    while !*stop.borrow() {
        failing = told("handing over letters", failing, app.deliver_due(lane).await);
        tokio::select! {
            () = app.letter_written(lane) => {}
            () = tokio::time::sleep(DELIVER) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Logs the first failure of a row, and the recovery.
fn told(what: &str, failing: bool, result: AppResult<()>) -> bool {
    match (failing, result) {
        (false, Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "{what} failed; it is tried again at every tick");
            true
        }
        (true, Ok(())) => {
            tracing::info!("{what} works again");
            false
        }
        (failing, _) => failing,
    }
}
