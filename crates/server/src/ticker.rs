//! Ticks: what happens without being asked. Each tick is a use case; the next tick is the retry.

use std::{sync::Arc, time::Duration};

use iocast_app::{App, AppResult, Channel, copy::BackupPlan};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::supervisor::Supervisor;

const FLUSH: Duration = Duration::from_millis(400);
const WATCH: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(1);
const PRUNE: Duration = Duration::from_secs(3_600);
const DELIVER: Duration = Duration::from_secs(1);
/// Messages on their way at once in each lane: a server that hangs holds up as many, not all.
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
/// A burst of changes makes two publications, not many: the first change is published at once, the
/// others together.
const GATHER: Duration = Duration::from_millis(30);
const SWEEP: Duration = Duration::from_secs(60);
const RETIRE: Duration = Duration::from_secs(60);
const FETCH: Duration = Duration::from_secs(1);
/// Within which a tick gives its next sign of life beyond its own pause, before it counts as stuck.
const LATE: Duration = Duration::from_secs(120);

/// Starts the ticks of this process's role.
pub(crate) fn start(
    app: &Arc<App>,
    begun: Instant,
    backups: Option<BackupPlan>,
    tasks: &mut Supervisor,
) {
    let role = app.context.settings.role;
    let stop = tasks.stop();
    let (of, until) = (Arc::clone(app), stop.clone());
    tasks.start("follow", LATE, move || follow(Arc::clone(&of), until.clone()));
    let (of, until) = (Arc::clone(app), stop.clone());
    // Nothing may be said for hours: then it waits.
    tasks.start("listen", Duration::MAX, move || listen(Arc::clone(&of), until.clone()));
    tick(app, tasks, LOOK, "look", |app| async move { app.ops.look_around().await });
    // The heart beats where requests are answered, devices are judged where work is done: see
    // `watch`.
    tick(app, tasks, WATCH, "watch", move |app| async move {
        app.watch.watch(begun.elapsed()).await.map(drop)
    });
    if role.answers() {
        let (of, until) = (Arc::clone(app), stop.clone());
        tasks.start("preload", Duration::MAX, move || preload(Arc::clone(&of), until.clone()));
        tick(app, tasks, FLUSH, "pulls", |app| async move { app.watch.pulls_flush().await });
    }
    if role.works() {
        work(app, tasks);
        let backups = Arc::new(backups);
        tick(app, tasks, RETIRE, "backup", move |app| {
            let backups = Arc::clone(&backups);
            async move {
                match &*backups {
                    Some(plan) => app.backup_tick(plan).await,
                    None => app.backups_end().await,
                }
            }
        });
    }
}

/// What is done without anybody waiting for it.
fn work(app: &Arc<App>, tasks: &mut Supervisor) {
    tick(app, tasks, PRUNE, "prune", |app| async move { app.prune().await });
    for nth in 0..SENDERS {
        for (lane, name) in
            [(Channel::Mail, MAIL_SENDERS.get(nth)), (Channel::Hooks, HOOK_SENDERS.get(nth))]
        {
            let (of, until, name) =
                (Arc::clone(app), tasks.stop(), name.copied().unwrap_or("send"));
            let late = app.context.settings.mail_deadline * 4 + LATE;
            tasks.start(name, late, move || deliver(Arc::clone(&of), lane, name, until.clone()));
        }
    }
    tick(
        app,
        tasks,
        RETIRE,
        "retire",
        |app| async move { app.intake.retire_tick().await.map(drop) },
    );
    tick(
        app,
        tasks,
        FETCH,
        "subscriptions",
        |app| async move { app.intake.subscriptions_tick().await },
    );
    tick(app, tasks, RETIRE, "guards", |app| async move { app.accounts.guards_tick().await });
    tick(app, tasks, PRUNE, "places", |app| async move { app.intake.places_tick().await });
    tick(app, tasks, RETIRE, "listed", |app| async move { app.intake.listed_tick().await });
    tick(app, tasks, RETIRE, "quality", |app| async move { app.intake.quality_tick().await });
    tick(app, tasks, RETIRE, "pauses", |app| async move { app.accounts.pauses_tick().await });
    tick(app, tasks, PRUNE, "names", |app| async move { app.intake.names_tick().await });
    tick(app, tasks, RETIRE, "count", |app| async move { app.home_tick().await });
    tick(app, tasks, PRUNE, "sources", |app| async move { app.intake.sources_tick().await });
    tick(app, tasks, RETIRE, "offers", |app| async move {
        app.publishing.offers_tick().await.map(drop)
    });
    tick(
        app,
        tasks,
        RETIRE,
        "protection",
        |app| async move { app.accounts.protections_tick().await },
    );
    tick(app, tasks, SWEEP, "sweep", |app| async move { app.intake.stage_sweep().await });
    let (of, until) = (Arc::clone(app), tasks.stop());
    tasks.start("publish", LATE, move || publish(Arc::clone(&of), until.clone()));
}

const MAIL_SENDERS: [&str; SENDERS] = ["mail 1", "mail 2", "mail 3", "mail 4"];
const HOOK_SENDERS: [&str; SENDERS] = ["webhooks 1", "webhooks 2", "webhooks 3", "webhooks 4"];

/// A use case that is tried again at every tick.
fn tick<F>(
    app: &Arc<App>,
    tasks: &mut Supervisor,
    pause: Duration,
    name: &'static str,
    what: impl Fn(Arc<App>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = AppResult<()>> + Send + 'static,
{
    let (of, until) = (Arc::clone(app), tasks.stop());
    tasks.start(name, pause + LATE, move || {
        let (done, what) = (Arc::clone(&of), what.clone());
        every(Arc::clone(&of), pause, until.clone(), name, move || what(Arc::clone(&done)))
    });
}

/// Learns what other replicas did: when they say so, and anyway now and then. How long ago that was
/// is told all the time, also while the database lets us wait.
async fn follow(app: Arc<App>, stop: CancellationToken) {
    let mut failing = false;
    let mut last = Instant::now();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let result = {
            let following = app.sync_from_database();
            tokio::pin!(following);
            loop {
                tokio::select! {
                    result = &mut following => break result,
                    () = tokio::time::sleep(AGE) => app.serving.feed_age(last.elapsed()),
                }
            }
        };
        if result.is_ok() {
            last = begun;
        }
        app.serving.feed_age(last.elapsed());
        app.context.task_alive("follow");
        failing = log_transition("following other replicas", failing, result);
        // Very many groups take a while to look through: that is not done all the time. A database
        // that lets us wait is another matter.
        let pause = if failing {
            FOLLOW
        } else {
            (begun.elapsed() * FOLLOW_SHARE).clamp(FOLLOW, FOLLOW_PAUSE)
        };
        tokio::select! {
            () = app.serving.feed_changed() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn listen(app: Arc<App>, stop: CancellationToken) {
    let mut failing = false;
    while !stop.is_cancelled() {
        tokio::select! {
            result = app.serving.feed_listen() => failing = log_transition("listening to other replicas", failing, result),
            () = stop.cancelled() => break,
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Reads what is published into memory, for the time when there is no database.
async fn preload(app: Arc<App>, stop: CancellationToken) {
    let mut failing = false;
    while !stop.is_cancelled() {
        failing = log_transition(
            "reading what is published into memory",
            failing,
            app.serving.preload_files().await,
        );
        tokio::select! {
            () = app.serving.files_to_preload() => if failing { tokio::time::sleep(LISTEN_AGAIN).await },
            () = stop.cancelled() => {}
        }
    }
}

async fn every<F: Future<Output = AppResult<()>>>(
    app: Arc<App>,
    pause: Duration,
    stop: CancellationToken,
    name: &'static str,
    tick: impl Fn() -> F,
) {
    let mut failing = false;
    while !stop.is_cancelled() {
        failing = log_transition(name, failing, tick().await);
        app.context.task_alive(name);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn publish(app: Arc<App>, stop: CancellationToken) {
    let mut failing = false;
    while !stop.is_cancelled() {
        // Each group that is begun is a sign of life, too: a round over very many takes as long as
        // it takes.
        failing = log_transition("publishing", failing, app.publishing.publish_due().await);
        if app.publishing.publisher_moves() {
            app.context.task_alive("publish");
        }
        // What changes after a quiet time is published at once; what follows closely is gathered.
        let quiet_from = Instant::now() + GATHER;
        tokio::select! {
            () = app.publishing.changed() => tokio::time::sleep_until(quiet_from).await,
            () = tokio::time::sleep(PUBLISH) => {}
            () = stop.cancelled() => {}
        }
    }
    app.publishing.publisher_rests().await;
}

async fn deliver(app: Arc<App>, lane: Channel, name: &'static str, stop: CancellationToken) {
    let mut failing = false;
    while !stop.is_cancelled() {
        failing = log_transition(
            "sending e-mail and webhooks",
            failing,
            app.watch.deliver_due(lane).await,
        );
        app.context.task_alive(name);
        tokio::select! {
            () = app.watch.message_written(lane) => {}
            () = tokio::time::sleep(DELIVER) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Logs the first failure of a row, and the recovery.
fn log_transition(what: &str, failing: bool, result: AppResult<()>) -> bool {
    match (failing, result) {
        (false, Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "{what} failed; retrying");
            true
        }
        (true, Ok(())) => {
            tracing::info!("{what} works again");
            false
        }
        (failing, _) => failing,
    }
}
