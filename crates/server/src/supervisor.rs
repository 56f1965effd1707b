//! Keeps tasks going: one that panics is logged and started again, and every sign of life is noted
//! in the application.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use iocast_app::App;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a task that panicked rests before it is started again.
const REST: Duration = Duration::from_secs(1);

/// The tasks of this process.
pub(crate) struct Supervisor {
    app: Arc<App>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Ends its tasks when `stop` is cancelled.
    pub(crate) fn new(app: &Arc<App>, stop: CancellationToken) -> Self {
        Self { app: Arc::clone(app), stop, tasks: JoinSet::new() }
    }

    /// Tells the tasks when to end.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that gives a sign of life at least every `within`; `make` makes it again after
    /// a panic.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        within: Duration,
        make: impl Fn() -> F + Send + 'static,
    ) {
        let (app, stop) = (Arc::clone(&self.app), self.stop.clone());
        app.context.task_expect(name, within);
        self.tasks.spawn(async move {
            while !stop.is_cancelled() {
                if AssertUnwindSafe(make()).catch_unwind().await.is_ok() && stop.is_cancelled() {
                    break;
                }
                app.context.task_failed(name);
                tracing::error!(
                    task = name,
                    "The task `{name}` ended by a fault; it is started again"
                );
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
    }

    /// Tells all tasks to end, and waits for it. Gives false where some had to be cut off.
    pub(crate) async fn end(mut self, within: Duration) -> bool {
        self.stop.cancel();
        let ended =
            tokio::time::timeout(within, async { while self.tasks.join_next().await.is_some() {} })
                .await
                .is_ok();
        self.tasks.shutdown().await;
        ended
    }
}
