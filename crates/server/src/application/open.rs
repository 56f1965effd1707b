//! The application is opened: secrets, database, lock, first account.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use iocast_app::{App, AppError, Mailer, NewAccount, Settings, Webhooks, database_is_used};
use iocast_domain::time::{Clock, Entropy};
use iocast_store::Store;

use super::{FIRST_ADMIN, StartError};
use crate::{
    config::{Config, redact},
    files,
    secrets::SecretsFile,
};

/// The opened over an opened database, with the lock that keeps others off the bundled one.
#[derive(Debug)]
pub(crate) struct OpenedApp {
    pub(crate) app: Arc<App>,
    /// None where another replica on the same PostgreSQL has the folder, too.
    pub(super) lock: Option<File>,
}

/// The file that marks the data folder of an iocast on PostgreSQL.
pub(crate) const ON_POSTGRESQL: &str = "on-postgresql";
/// What is in it.
pub(crate) const ON_POSTGRESQL_TEXT: &[u8] = b"The iocast of this folder keeps its data on PostgreSQL. To start with an empty SQLite, delete this file.\n";

/// The file that marks a data folder into which a backup is being restored.
pub(crate) const RESTORING: &str = "restore-unfinished";
/// What is in it.
pub(crate) const RESTORING_TEXT: &[u8] =
    b"A backup is being restored here, or that was broken off: run `iocast restore` again.\n";

/// How often it is looked whether the database is there.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is told that it is not.
const TELL: Duration = Duration::from_secs(30);

/// As [`open`], once the database is there: host and database may have been started together, or a
/// standby is taking over.
pub(super) async fn open_in_time(
    config: &Config,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    public_url: &str,
) -> Result<OpenedApp, StartError> {
    let mut told: Option<Instant> = None;
    loop {
        match open(config, Arc::clone(clock), Arc::clone(entropy), public_url.to_owned()).await {
            Err(StartError::Store(error)) if config.database_url.is_some() && error.may_pass() => {
                if told.is_none_or(|told| told.elapsed() >= TELL) {
                    told = Some(Instant::now());
                    let url = config.database_url.as_deref().map(redact).unwrap_or_default();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "The database {url} does not answer; waiting for it"
                    );
                }
                tokio::time::sleep(LOOK).await;
            }
            Ok(opened) => {
                if told.is_some() {
                    tracing::info!("The database answers");
                }
                return Ok(opened);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Refuses a data folder that is marked: its data is elsewhere, or not all there.
fn refuse_marked(config: &Config) -> Result<(), StartError> {
    // A command that forgets the database must not begin a second, empty iocast beside the real
    // one.
    let elsewhere = config.data.join(ON_POSTGRESQL);
    if config.database_url.is_none() && elsewhere.exists() {
        return Err(StartError::OnPostgresql(elsewhere));
    }
    let restoring = config.data.join(RESTORING);
    if restoring.exists() { Err(StartError::Restoring(restoring)) } else { Ok(()) }
}

/// Opens the data folder and the database. The bundled SQLite is locked against other processes.
pub(crate) async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    public_url: String,
) -> Result<OpenedApp, StartError> {
    let data = &config.data;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Data { path, source }
    };
    // What is in it is nobody else's business.
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed(data))?;
    let elsewhere = data.join(ON_POSTGRESQL);
    refuse_marked(config)?;
    let lock = if config.database_url.is_none() { Some(lock(data)?) } else { lock(data).ok() };
    let secrets_path = config.secrets_file.clone().unwrap_or_else(|| data.join("secrets.json"));
    let secrets = SecretsFile::open(&secrets_path, &*entropy).map_err(failed(&secrets_path))?;
    // Data that is missing (a volume that is not mounted) must not be taken for a first start.
    let missing =
        |database: String| StartError::DataMissing { secrets: secrets_path.clone(), database };
    let may_begin = secrets.is_new || config.new_database;
    if config.database_url.is_none() {
        let database = data.join("iocast.sqlite");
        if !may_begin && std::fs::metadata(&database).map_or(0, |file| file.len()) == 0 {
            return Err(missing(database.display().to_string()));
        }
        for file in
            ["iocast.sqlite", "iocast.sqlite-wal", "iocast.sqlite-shm"].map(|name| data.join(name))
        {
            files::make_private(&file).map_err(failed(&file))?;
        }
    }
    let store = Store::open(config.database_url.as_deref(), data).await?;
    if !may_begin && !database_is_used(&store).await? {
        return Err(missing(
            config
                .database_url
                .as_deref()
                .map_or_else(|| data.join("iocast.sqlite").display().to_string(), redact),
        ));
    }
    let settings = Settings {
        public_url,
        trusted_proxies: config.trusted_proxies()?,
        fetch_networks: config.fetch_networks()?,
        fetch_folders: config.fetch_folders()?,
        fetch_proxy: config.fetch_proxy()?,
        data: data.clone(),
        program: config.program.clone(),
        emulator: config.emulator,
        import_max: config.import_max_bytes,
        cache_bytes: config.cache_bytes,
        mail_from: config.mail_from.clone(),
        mail_deadline: Duration::from_secs(config.mail_deadline_seconds),
        metrics_token: config.metrics_token.clone(),
        api_calls_per_minute: config.api_calls_per_minute,
        api_enrichments_per_day: config.api_enrichments_per_day,
        audit_kept_days: i64::from(config.audit_kept_days.max(1)),
        outages_kept_days: i64::from(config.outages_kept_days.max(1)),
        without_database: Duration::from_secs(config.without_database_hours.saturating_mul(3_600)),
        role: config.role()?,
    };
    let webhooks = Webhooks {
        allow_private: config.webhook_allow_private,
        total: Duration::from_secs(config.mail_deadline_seconds),
    };
    let post = Mailer::new(config.transport()?, webhooks);
    match App::open(settings, store, secrets.secrets.clone(), post, clock, entropy).await {
        Ok(app) => {
            secrets.keep().map_err(failed(&secrets_path))?;
            if config.database_url.is_some() {
                files::write(&elsewhere, ON_POSTGRESQL_TEXT).map_err(failed(&elsewhere))?;
            }
            Ok(OpenedApp { app, lock })
        }
        Err(error) => {
            if matches!(error, AppError::OtherSecrets) {
                secrets.forget();
            }
            Err(error.into())
        }
    }
}

/// Takes the lock on the data folder.
pub(crate) fn lock(data: &Path) -> Result<File, StartError> {
    let path = data.join("iocast.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| StartError::Data { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(StartError::Data { path, source }),
    }
}

/// Makes an account on an empty database; of several replicas that start at once, one does.
pub(super) async fn first_account(app: &Arc<App>) -> Result<Option<NewAccount>, StartError> {
    if !app.accounts.account_list().await?.is_empty() {
        return Ok(None);
    }
    match app.accounts.account_create("iocast", FIRST_ADMIN, None).await {
        Ok(first) => Ok(Some(first)),
        Err(_) if !app.accounts.account_list().await?.is_empty() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
