//! Settings that are read again at SIGHUP.

use serde_json::Value;

use crate::{config::Config, shutdown::Shutdown, telemetry};

/// The names of settings that differ.
fn differing(before: &Config, after: &Config) -> Vec<String> {
    let fields = |of: &Config| serde_json::to_value(of).unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    let Value::Object(after) = after else { return Vec::new() };
    let differs = |name: &String, value: &Value| before.get(name) != Some(value);
    let names = after.into_iter().filter(|(name, value)| differs(name, value));
    names.map(|(name, _)| name).collect()
}

/// Reads the settings again at each SIGHUP, takes what can be taken while iocast runs, and says
/// what needs a restart. Certificates are followed by themselves.
pub(crate) async fn follow(
    shutdown: Shutdown,
    mut running: Config,
    load: impl Fn() -> Result<Config, String> + Send,
) {
    let mut hangups = shutdown.hangups();
    while hangups.changed().await.is_ok() {
        let read = match load() {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(
                    error,
                    "The settings can't be used; those before are kept. `iocast config check` says more"
                );
                continue;
            }
        };
        let mut restart = differing(&running, &read);
        if let Some(at) = restart.iter().position(|name| name == "log") {
            restart.remove(at);
            if telemetry::follow(&read.log) {
                // It shows whatever the level is.
                tracing::warn!("The settings were read again: `log` is now `{}`", read.log);
            } else {
                tracing::warn!(
                    "`log` stays as it is: RUST_LOG in the environment says what is logged"
                );
            }
            running.log = read.log;
        } else if restart.is_empty() {
            tracing::info!("The settings were read again: nothing has changed");
        }
        if !restart.is_empty() {
            tracing::warn!("Restart iocast for the new {}", restart.join(", "));
        }
    }
}
