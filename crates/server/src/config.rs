//! Settings: flags before environment (`IOCAST_…`) before file (TOML) before defaults.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use iocast_app::Role;
use iocast_domain::proxy::Proxies;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

mod environment;
pub use self::environment::environment;

mod backups;
pub(crate) use self::backups::{passphrase, passphrase_lock, recipients_lock};
mod fetching;

mod mail;
mod reference;
mod shown;
pub use self::reference::{example, table};
pub(crate) use self::shown::redact;

/// Everything that can be set.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on, as `HOST:PORT`.
    pub listen: String,
    /// Folder for the database, the secrets and the spool.
    pub data: PathBuf,
    /// File for the secrets of the first account, in place of standard output; under systemd
    /// `first-account.txt` in the data folder.
    pub first_account_file: Option<PathBuf>,
    /// URL at which devices reach iocast; `http://` and the listening address unless given.
    pub public_url: Option<String>,
    /// Certificate chain (PEM). With it and `tls_key`, iocast speaks HTTPS and reads both again
    /// when they change.
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    pub tls_key: Option<PathBuf>,
    /// Addresses and networks of proxies whose `X-Forwarded-For` counts, separated by commas.
    pub trusted_proxies: String,
    /// Addresses and networks that are not public, and from which subscriptions may fetch all the
    /// same, separated by commas.
    pub fetch_networks: String,
    /// Folders of this machine that subscriptions may read: whole paths, separated by commas.
    pub fetch_folders: String,
    /// Proxy through which subscriptions fetch, as `http://HOST:PORT`, with `USER:PASSWORD@` before
    /// the host where it asks for them.
    pub fetch_proxy: Option<String>,
    /// PostgreSQL, as `postgres://USER:PASSWORD@HOST/DATABASE`; the bundled SQLite in the data
    /// folder unless given.
    pub database_url: Option<String>,
    /// The secrets file, which all replicas share; `secrets.json` in the data folder unless given.
    pub secrets_file: Option<PathBuf>,
    /// Whether administrators may move the product's clock.
    pub emulator: bool,
    /// Days for which lines of the audit log are kept.
    pub audit_kept_days: u32,
    /// Days for which outages are kept after their end.
    pub outages_kept_days: u32,
    /// Folder for backups that iocast makes by itself; none unless given.
    pub backup_folder: Option<PathBuf>,
    /// Hours from one backup to the next.
    pub backup_every_hours: u64,
    /// Backups that are kept; older ones are deleted.
    pub backup_keep: usize,
    /// Who may read the backups: a key of age (`age1…`, from `iocast backup-key`), or several
    /// separated by commas.
    pub backup_recipient: Option<String>,
    /// File that holds the passphrase of the backups, instead of `backup_recipient`.
    pub backup_passphrase_file: Option<PathBuf>,
    /// `text` or `json`. Logs go to standard error.
    pub log_format: String,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or parts such as
    /// `info,iocast_app=debug`. `info,access=info` logs every request. The variable `RUST_LOG` wins
    /// over it.
    pub log: String,
    /// Threads that answer requests; one per core unless given.
    pub workers: Option<usize>,
    /// Most bytes of one import.
    pub import_max_bytes: u64,
    /// Bytes of compressed feed files that are kept in memory.
    pub cache_bytes: u64,
    /// Seconds that requests get to finish when iocast stops.
    pub drain_seconds: u64,
    /// `smtp`, `folder` or `off`; `smtp` where `smtp_host` is set, else `folder`.
    pub mail: Option<String>,
    /// Sender of all messages.
    pub mail_from: String,
    /// Folder for messages where there is no mail server, one `.eml` file each; `mail` in the data
    /// folder unless given.
    pub mail_folder: Option<PathBuf>,
    /// Seconds that delivering one message may take, 1 to 600.
    pub mail_deadline_seconds: u64,
    /// Mail server.
    pub smtp_host: Option<String>,
    /// Port of the mail server; 587, 465 or 25 by `smtp_security` unless given.
    pub smtp_port: Option<u16>,
    /// `starttls` (nothing is sent without it), `tls` (from the first byte) or `plain`.
    pub smtp_security: String,
    /// User at the mail server.
    pub smtp_user: Option<String>,
    /// Password at the mail server.
    pub smtp_password: Option<String>,
    /// File that holds the password, instead of `smtp_password`.
    pub smtp_password_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted in addition to the public ones.
    pub smtp_ca_file: Option<PathBuf>,
    /// Name by which the mail server is greeted (EHLO); the host of `public_url` unless given.
    pub smtp_hello: Option<String>,
    /// Whether webhooks may lead to private and other special addresses.
    pub webhook_allow_private: bool,
    /// Bearer token for `/metrics`, 16 characters or more. Without one, `/metrics` answers 404.
    pub metrics_token: Option<String>,
    /// REST calls that an account may make in a minute before it gets 429; 0 for no limit.
    pub api_calls_per_minute: u32,
    /// Enrichments that an account may ask for in a day.
    pub api_enrichments_per_day: u32,
    /// `web` answers requests; `worker` publishes, watches and sends messages; `all` does both.
    /// `web` and `worker` need PostgreSQL.
    pub role: String,
    /// Hours for which devices are served from memory while the database is away.
    pub without_database_hours: u64,
    /// Folder whose files replace those of the same name under `web-templates` (`pages`, `parts`,
    /// `assets`).
    pub templates: Option<PathBuf>,
    /// Address on which `/metrics` needs no token, as `ADDRESS:PORT`.
    pub metrics_listen: Option<String>,
    /// Start with an empty database although there are secrets. For one start: a flag alone.
    #[serde(skip)]
    pub new_database: bool,
    /// The program that reads documents apart: this one, also if its file was replaced since.
    #[serde(skip)]
    pub program: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data: PathBuf::from("data"),
            public_url: None,
            first_account_file: None,
            tls_cert: None,
            tls_key: None,
            trusted_proxies: String::new(),
            fetch_networks: String::new(),
            fetch_folders: String::new(),
            fetch_proxy: None,
            database_url: None,
            secrets_file: None,
            emulator: false,
            audit_kept_days: 1_095,
            outages_kept_days: 1_095,
            backup_folder: None,
            backup_every_hours: 24,
            backup_keep: 7,
            backup_recipient: None,
            backup_passphrase_file: None,
            log_format: "text".to_owned(),
            log: "info,access=off,sea_orm_migration=warn,actix_server=warn,sqlx::postgres::notice=warn,sqlx_core::pool=error".to_owned(),
            workers: None,
            import_max_bytes: 1 << 30,
            cache_bytes: 256 << 20,
            drain_seconds: 25,
            mail: None,
            mail_from: "iocast <iocast@localhost>".to_owned(),
            mail_folder: None,
            mail_deadline_seconds: 45,
            smtp_host: None,
            smtp_port: None,
            smtp_security: "starttls".to_owned(),
            smtp_user: None,
            smtp_password: None,
            smtp_password_file: None,
            smtp_ca_file: None,
            smtp_hello: None,
            webhook_allow_private: false,
            metrics_token: None,
            api_calls_per_minute: 6_000,
            api_enrichments_per_day: 1_000,
            metrics_listen: None,
            role: "all".to_owned(),
            without_database_hours: 24,
            templates: None,
            new_database: false,
            program: PathBuf::from("/proc/self/exe"),
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
    /// See [`Config::tls_cert`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// See [`Config::tls_key`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// See [`Config::database_url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<String>,
    /// See [`Config::role`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
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

/// Longest public URL, in characters: with `/feeds/` and an id behind, MISP's 255 are kept.
const PUBLIC_URL_MAX: usize = 200;

impl Config {
    /// Reads all layers. The file is the one named, or `iocast.toml` in the working folder if there
    /// is one.
    ///
    /// # Errors
    /// Which setting is wrong and what it may be.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let figment = Figment::from(Serialized::defaults(Self::default()));
        let figment = match file {
            Some(file) if !file.exists() => {
                return Err(ConfigError::Invalid(format!(
                    "There is no configuration file {}.",
                    file.display()
                )));
            }
            Some(file) => figment.merge(Toml::file_exact(file)),
            None if Path::new("iocast.toml").exists() => {
                figment.merge(Toml::file_exact("iocast.toml"))
            }
            None => figment,
        };
        let environment = environment(std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        }))?;
        let config: Self = figment
            .merge(Serialized::defaults(environment))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|e| ConfigError::Unreadable(Box::new(e)))?;
        config.checked()
    }

    fn checked(mut self) -> Result<Self, ConfigError> {
        self.check()?;
        Ok(self)
    }

    fn check(&mut self) -> Result<(), ConfigError> {
        let wrong = |message: String| Err(ConfigError::Invalid(message));
        if !self
            .listen
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            return wrong(format!(
                "`listen` must be HOST:PORT, such as 127.0.0.1:8080; it is `{}`.",
                self.listen
            ));
        }
        if let Some(url) = &mut self.public_url {
            url.truncate(url.trim_end_matches('/').len());
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if rest.is_none_or(str::is_empty)
                || url.contains(['?', '#', ' ', '@'])
                || url.len() > PUBLIC_URL_MAX
            {
                return wrong(format!(
                    "`public_url` must begin with http:// or https://, have no query, fragment or credentials, and be at most {PUBLIC_URL_MAX} characters; it is `{url}`."
                ));
            }
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return wrong(
                "HTTPS needs both `tls_cert` and `tls_key`; give the other one too.".to_owned(),
            );
        }
        self.trusted_proxies()?;
        self.fetch_networks()?;
        self.fetch_folders()?;
        self.fetch_proxy()?;
        self.role()?;
        if !matches!(self.log_format.as_str(), "text" | "json") {
            return wrong(format!(
                "`log_format` must be text or json; it is `{}`.",
                self.log_format
            ));
        }
        if let Some(word) = self.log.split(',').map(str::trim).find(|part| !is_log_directive(part))
        {
            return wrong(format!(
                "`log` must be a level (error, warn, info, debug, trace, off) or parts such as `info,iocast_app=debug`; `{word}` is neither."
            ));
        }
        if self.workers == Some(0) {
            return wrong("`workers` must be at least 1.".to_owned());
        }
        if let Some(address) = &self.metrics_listen
            && address.parse::<std::net::SocketAddr>().is_err()
        {
            return wrong(format!(
                "`metrics_listen` must be ADDRESS:PORT, such as 127.0.0.1:9090; it is `{address}`."
            ));
        }
        if self.metrics_token.as_ref().is_some_and(|token| token.len() < 16) {
            return wrong("`metrics_token` must be at least 16 characters.".to_owned());
        }
        if self.mail_deadline_seconds == 0 || self.mail_deadline_seconds > 600 {
            return wrong("`mail_deadline_seconds` must be 1 to 600.".to_owned());
        }
        self.transport()?;
        self.backups()?;
        Ok(())
    }

    /// What this process does.
    ///
    /// # Errors
    /// What there is to choose from.
    pub fn role(&self) -> Result<Role, ConfigError> {
        match [Role::Web, Role::Worker, Role::All].into_iter().find(|role| role.word() == self.role)
        {
            Some(role) if role != Role::All && self.database_url.is_none() => {
                Err(ConfigError::Invalid(format!(
                    "`role` {} needs PostgreSQL (`database_url`): the bundled SQLite belongs to one process, which does all.",
                    role.word()
                )))
            }
            Some(role) => Ok(role),
            None => Err(ConfigError::Invalid(format!(
                "`role` must be web, worker or all; it is `{}`.",
                self.role
            ))),
        }
    }

    /// Whose word on who asked counts.
    ///
    /// # Errors
    /// Which entry is no address.
    pub fn trusted_proxies(&self) -> Result<Proxies, ConfigError> {
        self.trusted_proxies.parse().map_err(|why| {
            ConfigError::Invalid(format!(
                "`trusted_proxies` must be addresses and networks, parted by commas: {why}."
            ))
        })
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

fn is_log_directive(part: &str) -> bool {
    let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
    LEVELS.contains(&level.to_ascii_lowercase().as_str())
        && EnvFilter::builder().parse(part).is_ok()
}
