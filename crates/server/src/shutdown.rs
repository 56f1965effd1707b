//! The one signal to end. It is made before anything else and given to everything that waits, so
//! that none is lost.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Tells that iocast shall end. Clones tell of the same end.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    end: CancellationToken,
    /// How often SIGHUP came.
    hangups: watch::Sender<u64>,
}

impl Shutdown {
    /// Listens from now on: SIGTERM and Ctrl-C begin the end, a second one ends the process at
    /// once, SIGHUP reads certificate and settings again, and SIGUSR1 and SIGUSR2 do nothing (unheard, they
    /// would kill).
    ///
    /// # Errors
    /// If the system lets nobody listen.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let [mut terminate, mut interrupt, mut hangup] = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ];
        let ignored: [Signal; 2] =
            [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?];
        let told = shutdown.clone();
        tokio::spawn(async move {
            let _ignored = ignored;
            loop {
                tokio::select! {
                    _ = terminate.recv() => told.first_or_exit(),
                    _ = interrupt.recv() => told.first_or_exit(),
                    _ = hangup.recv() => told.hangups.send_modify(|count| *count += 1),
                }
            }
        });
        Ok(shutdown)
    }

    fn first_or_exit(&self) {
        if self.end.is_cancelled() {
            tracing::warn!("Stopped at once by a second signal");
            std::process::exit(1);
        }
        tracing::info!(
            "Shutting down, finishing open requests (send the signal again to stop at once)"
        );
        self.end.cancel();
    }

    /// Begins the end.
    pub fn begin(&self) {
        self.end.cancel();
    }

    /// Waits until the end has begun.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.end.cancelled()
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Changes at each SIGHUP from now on.
    pub(crate) fn hangups(&self) -> watch::Receiver<u64> {
        self.hangups.subscribe()
    }
}
