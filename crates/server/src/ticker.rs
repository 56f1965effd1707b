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
/// Looking what other replicas did takes at most one part in so many of the time.
const FOLLOW_SHARE: u32 = 20;
/// But it is done that often at least.
const FOLLOW_PAUSE: Duration = Duration::from_secs(5);
/// How often the age of what devices are served from is told while the database lets us wait.
const AGE: Duration = Duration::from_secs(1);
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
const PUBLISH: Duration = Duration::from_secs(1);
/// A burst of changes makes two publications, not many: the first change is published at once, the others together.
const GATHER: Duration = Duration::from_millis(30);
const SWEEP: Duration = Duration::from_secs(60);
const RETIRE: Duration = Duration::from_secs(60);

/// Starts the ticks of this process's role; they end when `stop` turns true.
pub(crate) fn start(app: &Arc<App>, begun: Instant, stop: &watch::Receiver<bool>) -> JoinSet<()> {
    let role = app.settings.role;
    let mut ticks = JoinSet::new();
    ticks.spawn(follow(Arc::clone(app), stop.clone()));
    ticks.spawn(listen(Arc::clone(app), stop.clone()));
    // The heart beats where requests are answered, devices are judged where work is done: see `watch`.
    let dog = Arc::clone(app);
    ticks.spawn(every(WATCH, stop.clone(), "watching for silence", move || {
        let app = Arc::clone(&dog);
        async move { app.watch(begun.elapsed()).await.map(drop) }
    }));
    if role.answers() {
        ticks.spawn(keep_at_hand(Arc::clone(app), stop.clone()));
        let flush = Arc::clone(app);
        ticks.spawn(every(FLUSH, stop.clone(), "writing the pulls", move || {
            let app = Arc::clone(&flush);
            async move { app.pulls_flush().await }
        }));
    }
    if role.works() {
        work(app, stop, &mut ticks);
    }
    ticks
}

/// What is done without anybody waiting for it.
fn work(app: &Arc<App>, stop: &watch::Receiver<bool>, ticks: &mut JoinSet<()>) {
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
}

/// Learns what other replicas did: when they say so, and anyway now and then. How long ago that was is told all the time,
/// also while the database lets us wait.
async fn follow(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    let mut last = Instant::now();
    while !*stop.borrow() {
        let begun = Instant::now();
        let result = {
            let following = app.feed_follow();
            tokio::pin!(following);
            loop {
                tokio::select! {
                    result = &mut following => break result,
                    () = tokio::time::sleep(AGE) => app.feed_age(last.elapsed()),
                }
            }
        };
        if result.is_ok() {
            last = begun;
        }
        app.feed_age(last.elapsed());
        if !app.settings.role.works() {
            // Else the publisher says so: one that hangs must not be hidden by this.
            app.tick_done();
        }
        failing = told("following other replicas", failing, result);
        // Very many groups take a while to look through: that is not done all the time. A database that lets us wait is another matter.
        let pause = if failing { FOLLOW } else { (begun.elapsed() * FOLLOW_SHARE).clamp(FOLLOW, FOLLOW_PAUSE) };
        tokio::select! {
            () = app.feed_changed() => {}
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn listen(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    while !*stop.borrow() {
        tokio::select! {
            result = app.feed_listen() => failing = told("listening to other replicas", failing, result),
            _ = stop.changed() => break,
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Reads what is published into memory, for the time when there is no database.
async fn keep_at_hand(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut failing = false;
    while !*stop.borrow() {
        failing = told("reading what is published into memory", failing, app.feed_keep_at_hand().await);
        tokio::select! {
            () = app.feed_to_keep() => if failing { tokio::time::sleep(LISTEN_AGAIN).await },
            _ = stop.changed() => {}
        }
    }
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
        failing = told("publishing", failing, app.publish_due().await);
        if app.publisher_moves() {
            app.tick_done();
        }
        // What changes after a quiet time is published at once; what follows closely is gathered.
        let quiet_from = Instant::now() + GATHER;
        tokio::select! {
            () = app.changed() => tokio::time::sleep_until(quiet_from).await,
            () = tokio::time::sleep(PUBLISH) => {}
            _ = stop.changed() => {}
        }
    }
    app.publisher_rests().await;
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
