//! What a service manager is told: that iocast answers, that it ends, that it is alive.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// iocast answers from now on. Without a service manager this does nothing.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// iocast ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Gives a sign of life as often as the service manager wants one, three times within its patience.
/// It means that tasks get their turns, and nothing about the database: devices are served while
/// that is away.
pub(crate) async fn watchdog(stop: CancellationToken) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return stop.cancelled().await };
    let pause = (patience / 3).max(Duration::from_millis(100));
    while !stop.is_cancelled() {
        tell(&[NotifyState::Watchdog]);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "The service manager can't be told"
        );
    }
}
