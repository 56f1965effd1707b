//! Settings: flags before environment (`IOCAST_…`) before file (TOML) before defaults.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on: `HOST:PORT`.
    pub listen: String,
    /// Folder for the database, the secrets and the spool.
    pub data: PathBuf,
    /// Where devices reach iocast; `http://` and the listening address unless given.
    pub public_url: Option<String>,
    /// `postgres://…`; the bundled SQLite unless given.
    pub database_url: Option<String>,
    /// The secrets file; `secrets.json` in the data folder unless given. Replicas need the same one.
    pub secrets_file: Option<PathBuf>,
    /// Whether the product's clock may be moved.
    pub emulator: bool,
    /// `text` or `json`.
    pub log_format: String,
    /// What is logged, as `RUST_LOG` writes it.
    pub log: String,
    /// Threads that answer requests; as many as there are cores unless given.
    pub workers: Option<usize>,
    /// Most bytes of one import.
    pub import_max_bytes: u64,
    /// Bytes of compressed feed files kept in memory.
    pub cache_bytes: u64,
    /// Seconds that requests under way get when iocast stops.
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data: PathBuf::from("data"),
            public_url: None,
            database_url: None,
            secrets_file: None,
            emulator: false,
            log_format: "text".to_owned(),
            log: "info,sea_orm_migration=warn,actix_server=warn".to_owned(),
            workers: None,
            import_max_bytes: 1 << 30,
            cache_bytes: 256 << 20,
            drain_seconds: 25,
        }
    }
}

/// Settings given as flags; what is not given is left to the layers below.
#[derive(Clone, Default, Serialize)]
pub struct Flags {
    /// See [`Config::listen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// See [`Config::data`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// See [`Config::public_url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// See [`Config::database_url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// See [`Config::emulator`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulator: Option<bool>,
    /// See [`Config::log_format`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A layer can't be read, or holds something unknown.
    #[error("the configuration can't be read: {0}")]
    Unreadable(Box<figment::Error>),
    /// A value is not valid.
    #[error("{0}")]
    Invalid(String),
}

/// The settings that the environment may give; other variables that begin with `IOCAST_` are nobody's mistake.
const SETTINGS: &[&str] = &[
    "listen",
    "data",
    "public_url",
    "database_url",
    "secrets_file",
    "emulator",
    "log_format",
    "log",
    "workers",
    "import_max_bytes",
    "cache_bytes",
    "drain_seconds",
];

/// Longest public URL, in characters: with `/feeds/` and an id behind, MISP's 255 are kept.
const PUBLIC_URL_MAX: usize = 200;

impl Config {
    /// Reads all layers. The file is the one named, or `iocast.toml` in the working folder if there is one.
    ///
    /// # Errors
    /// Which setting is wrong and what it may be.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let figment = Figment::from(Serialized::defaults(Self::default()));
        let figment = match file {
            Some(file) if !file.exists() => return Err(ConfigError::Invalid(format!("There is no configuration file {}.", file.display()))),
            Some(file) => figment.merge(Toml::file_exact(file)),
            None if Path::new("iocast.toml").exists() => figment.merge(Toml::file_exact("iocast.toml")),
            None => figment,
        };
        let environment = Env::prefixed("IOCAST_").only(SETTINGS);
        let mut config: Self = figment.merge(environment).merge(Serialized::defaults(flags)).extract().map_err(|e| ConfigError::Unreadable(Box::new(e)))?;
        config.check()?;
        Ok(std::mem::take(&mut config))
    }

    fn check(&mut self) -> Result<(), ConfigError> {
        let wrong = |message: String| Err(ConfigError::Invalid(message));
        if !self.listen.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            return wrong(format!("`listen` must be HOST:PORT, such as 127.0.0.1:8080; it is `{}`.", self.listen));
        }
        if let Some(url) = &mut self.public_url {
            url.truncate(url.trim_end_matches('/').len());
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if rest.is_none_or(str::is_empty) || url.contains(['?', '#', ' ', '@']) || url.len() > PUBLIC_URL_MAX {
                return wrong(format!(
                    "`public_url` must begin with http:// or https://, have no query, fragment or credentials, and be at most {PUBLIC_URL_MAX} characters; it is `{url}`."
                ));
            }
        }
        if !matches!(self.log_format.as_str(), "text" | "json") {
            return wrong(format!("`log_format` must be text or json; it is `{}`.", self.log_format));
        }
        if self.workers == Some(0) {
            return wrong("`workers` must be at least 1.".to_owned());
        }
        Ok(())
    }

    /// The settings as TOML, with the database password left out.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = self.clone();
        shown.database_url = shown.database_url.map(|url| redact(&url));
        let json = serde_json::to_value(&shown).unwrap_or_default();
        let lines = json
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| if value.is_null() { format!("# {name} is not set\n") } else { format!("{name} = {value}\n") });
        lines.collect()
    }
}

/// A URL without its password.
fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        // What stands behind a question mark may hold a password, too.
        Some((user, host)) => format!("{scheme}://{}:…@{host}", user.split(':').next().unwrap_or_default(), host = host.split('?').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_say_what_to_do() {
        let load = |flags: Flags| Config::load(None, &flags);
        assert!(load(Flags { listen: Some("8080".into()), ..Flags::default() }).unwrap_err().to_string().contains("HOST:PORT"));
        assert!(load(Flags { public_url: Some("iocast.example".into()), ..Flags::default() }).is_err());
        assert!(load(Flags { log_format: Some("xml".into()), ..Flags::default() }).is_err());
        let config = load(Flags { public_url: Some("https://iocast.example/".into()), ..Flags::default() }).unwrap();
        assert_eq!(config.public_url.as_deref(), Some("https://iocast.example"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = Config { database_url: Some("postgres://me:hunter2@db/x".into()), ..Config::default() };
        assert!(config.shown().contains("postgres://me:…@db/x") && !config.shown().contains("hunter2"));
    }
}
