//! Logs, to standard error: readable or JSON.

use std::{io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Changes what is logged.
type Change = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Starts logging; a second call changes nothing.
pub(crate) fn start(config: &Config) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&config.log))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // It fails where a subscriber is set already, as in tests: then that one stays.
    let started = if config.log_format == "json" {
        let builder =
            builder.json().flatten_event(true).with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().map(|()| Box::new(move |new| handle.reload(new).is_ok()) as Change)
    } else {
        let builder = builder.with_env_filter(filter).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().map(|()| Box::new(move |new| handle.reload(new).is_ok()) as Change)
    };
    if let Ok(change) = started {
        let _ = CHANGE.set(change);
    }
}

/// Logs what `log` says from now on. Gives whether it does: RUST_LOG comes first.
pub(crate) fn follow(log: &str) -> bool {
    let (false, Ok(filter)) = (std::env::var_os("RUST_LOG").is_some(), EnvFilter::try_new(log))
    else {
        return false;
    };
    CHANGE.get().is_some_and(|change| change(filter))
}
