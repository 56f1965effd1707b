//! Settings from the environment, and what a mistyped name was meant to be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Config, ConfigError};

/// How alike a variable's name must be to that of a setting to be taken for a mistyped one.
const ALIKE: f64 = 0.9;

/// Variables that belong to iocast and are no settings of the server.
const NO_SETTINGS: &[&str] =
    &["config", "test_postgres", "samples", "python", "long", "seed", "pictures", "database_of"];

/// Secrets that may be in a file, which a variable with `_FILE` behind the name of the setting names.
const FROM_FILES: &[&str] = &["database_url", "fetch_proxy", "metrics_token"];

/// The settings that the environment gives. A text is taken as it is, quotes and digits too. Other
/// variables that begin with `IOCAST_` are somebody else's (Kubernetes sets some), unless their
/// name is nearly that of a setting.
///
/// # Errors
/// Which variable is wrong and what it may be.
pub fn environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, Value>, ConfigError> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut found = BTreeMap::new();
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix("IOCAST_").map(str::to_ascii_lowercase) else {
            continue;
        };
        // What a service manager puts into a file: systemd credentials, secrets of Docker and Kubernetes.
        if let Some(secret) = name.strip_suffix("_file").filter(|of| FROM_FILES.contains(of)) {
            let value = std::fs::read_to_string(&text).map_err(|why| {
                ConfigError::Invalid(format!(
                    "{variable} names {text}, which can't be read: {why}."
                ))
            })?;
            if found.insert(secret.to_owned(), Value::from(value.trim_end())).is_some() {
                let plain = secret.to_ascii_uppercase();
                return Err(ConfigError::Invalid(format!(
                    "Give IOCAST_{plain} or {variable}, not both."
                )));
            }
            continue;
        }
        let wrong = |what: &str| {
            Err(ConfigError::Invalid(format!("{variable} must be {what}; it is `{text}`.")))
        };
        let value = match (name.as_str(), defaults.get(&name)) {
            ("workers" | "smtp_port", _) | (_, Some(Value::Number(_))) => {
                match text.trim().parse::<u64>() {
                    Ok(number) => Value::from(number),
                    Err(_) => return wrong("a whole number"),
                }
            }
            (_, Some(Value::Bool(_))) => match text.trim() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return wrong("true or false"),
            },
            (_, Some(_)) => Value::String(text),
            (other, None) => {
                let mut settings = defaults.as_object().into_iter().flat_map(serde_json::Map::keys);
                let meant = settings.find(|setting| strsim::jaro_winkler(setting, other) >= ALIKE);
                match meant {
                    Some(meant) if !NO_SETTINGS.contains(&other) => {
                        let right = meant.to_ascii_uppercase();
                        return Err(ConfigError::Invalid(format!(
                            "{variable} is not a setting; did you mean IOCAST_{right}?"
                        )));
                    }
                    _ => continue,
                }
            }
        };
        if found.insert(name.clone(), value).is_some() {
            return Err(ConfigError::Invalid(format!(
                "Give {variable} or {variable}_FILE, not both."
            )));
        }
    }
    Ok(found)
}
