//! Backups, restoring one, moving to another engine, checking a database.

use std::{
    fs::DirBuilder,
    io::IsTerminal as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use iocast_app::{
    Secrets,
    copy::{self, Backup, Lock, Unlock},
};
use iocast_domain::time::{Clock as _, Timestamp};
use iocast_store::Store;
use serde_json::json;

use super::{Settings, arguments::DataFlags, commands::is_there, say, show};
use crate::{
    application::{RESTORING, RESTORING_TEXT, chain, lock},
    clock::SystemClock,
    config::{Config, passphrase, passphrase_lock, recipients_lock},
    files, secrets,
};

const OTHER_SECRETS: &str =
    "the secrets file is not the one that this database was made with; put the original back";

/// Commands about the whole of an iocast.
#[derive(Debug, Subcommand)]
pub(super) enum CopyVerb {
    /// Write a backup: everything, secrets included, encrypted. The server may run.
    Backup {
        /// The file to write.
        file: PathBuf,
        #[command(flatten)]
        data: DataFlags,
        /// Encrypt for this key of age (age1…); may be given several times.
        #[arg(long, value_name = "AGE1")]
        recipient: Vec<String>,
        /// Encrypt with the passphrase in this file.
        #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
        passphrase_file: Option<PathBuf>,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Make a key for backups: print the key file, and the recipient to encrypt for.
    BackupKey,
    /// Put a backup into an empty data folder or database. Says first what it will do.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        data: DataFlags,
        #[command(flatten)]
        open: Opening,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Read the whole database and compare what belongs together. Ends with 1 if something is wrong.
    Check {
        #[command(flatten)]
        data: DataFlags,
        /// Make right what can be recomputed. The server must not run.
        #[arg(long)]
        repair: bool,
        /// Print one JSON object and nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Move everything to another database; keys and group URLs stay. The server must not run.
    Move {
        #[command(flatten)]
        data: DataFlags,
        /// postgres://… for an empty PostgreSQL database, or `sqlite` for the bundled one.
        #[arg(long, value_name = "URL|sqlite")]
        to: String,
    },
}

/// What opens a backup.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Opening {
    /// The key file of the recipient.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The file with the passphrase.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Carries one out.
pub(super) async fn copies(settings: &Settings, what: CopyVerb) -> Result<(), String> {
    match what {
        CopyVerb::Backup { file, data, recipient, passphrase_file, json } => {
            let config = settings.quiet(data)?;
            let lock = who_may_read(&config, recipient, passphrase_file.as_deref())?;
            back_up(&config, &file, &lock, json).await
        }
        CopyVerb::BackupKey => {
            let (key, recipient) = copy::new_key();
            print!("{key}");
            eprintln!(
                "Keep this key file apart from the backups: without it they can't be read. Encrypt for it with --recipient {recipient} or backup_recipient = \"{recipient}\"."
            );
            Ok(())
        }
        CopyVerb::Restore { file, data, open, yes } => {
            restore(&settings.quiet(data)?, &file, &open, yes).await
        }
        CopyVerb::Check { data, repair, json } => check(&settings.quiet(data)?, repair, json).await,
        CopyVerb::Move { data, to } => move_to(&settings.quiet(data)?, &to).await,
    }
}

fn who_may_read(
    config: &Config,
    recipients: Vec<String>,
    passphrase_file: Option<&Path>,
) -> Result<Lock, String> {
    let lock = match passphrase_file {
        Some(file) => passphrase_lock(file).map(Some),
        None if recipients.is_empty() => config.backup_lock(),
        None => recipients_lock(recipients).map(Some),
    };
    lock.map_err(|why| why.to_string())?.ok_or_else(|| {
        "a backup holds the secrets, so it is encrypted: say for whom with --recipient (iocast backup-key makes a key) or --passphrase-file".to_owned()
    })
}

fn secrets_path(config: &Config) -> PathBuf {
    config.secrets_file.clone().unwrap_or_else(|| config.data.join("secrets.json"))
}

fn read_secrets(config: &Config) -> Result<Secrets, String> {
    let path = secrets_path(config);
    match secrets::read(&path) {
        Ok(Some(secrets)) => Ok(secrets),
        Ok(None) => Err(format!("the secrets file {} is missing", path.display())),
        Err(why) => Err(format!("the secrets file {} can't be read: {why}", path.display())),
    }
}

async fn open_present(config: &Config) -> Result<Store, String> {
    is_there(config)?;
    Store::open_present(config.database_url.as_deref(), &config.data)
        .await
        .map_err(|error| chain(&error))
}

fn now() -> Timestamp {
    SystemClock::default().real_now()
}

/// How far it is, on a terminal.
fn bar(is_quiet: bool) -> ProgressBar {
    if is_quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} rows, {msg} ({elapsed})")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn shown(bar: &ProgressBar) -> impl Fn(&str, u64) + Send + Sync + '_ {
    |table, rows| {
        bar.set_message(table.to_owned());
        bar.set_position(rows);
    }
}

async fn back_up(config: &Config, file: &Path, lock: &Lock, json: bool) -> Result<(), String> {
    if file.exists() {
        return Err(format!("{} exists already; give another name", file.display()));
    }
    let secrets = read_secrets(config)?;
    let store = open_present(config).await?;
    if !secrets.belong_to(&store).await.map_err(|error| chain(&error))? {
        return Err(OTHER_SECRETS.to_owned());
    }
    let bar = bar(json);
    let version = env!("CARGO_PKG_VERSION");
    let made = copy::backup(&store, (&secrets, version), (lock, file), now(), &shown(&bar)).await;
    bar.finish_and_clear();
    store.close().await.map_err(|error| chain(&error))?;
    let made = made.map_err(|error| format!("no backup was made: {}", sentence(&error)))?;
    show(json, &json!({ "file": file, "rows": made.rows, "bytes": made.bytes }), || {
        say(&format!("{}: {} rows, {} bytes.", file.display(), made.rows, made.bytes));
    });
    Ok(())
}

async fn restore(config: &Config, file: &Path, open: &Opening, yes: bool) -> Result<(), String> {
    let unlock = match (&open.key_file, &open.passphrase_file) {
        (Some(key), _) => Unlock::Keys(
            std::fs::read_to_string(key)
                .map_err(|why| format!("the key file {} can't be read: {why}", key.display()))?,
        ),
        (None, Some(file)) => Unlock::Passphrase(passphrase(file).map_err(|e| e.to_string())?),
        (None, None) => return Err("give --key-file or --passphrase-file".to_owned()),
    };
    let backup = Backup::open(file, &unlock).map_err(|error| chain(&error))?;
    let secrets_file = secrets_path(config);
    let database = config.database_url.as_deref().map_or_else(
        || config.data.join("iocast.sqlite").display().to_string(),
        crate::config::redact,
    );
    say(&format!(
        "{} was made by iocast {} on {}.\nIt goes into {database}, and its secrets into {}.\n\
         Timestamps continue after the latest one that a device can have seen, and devices fetch everything again: MISP events are offered again, TAXII collections and logs are sent again. Lists are served as they were. Everybody signs in again.\n\
         What came in since is not in it: import it again. A key that was revoked since works again: revoke it again.",
        file.display(),
        backup.head.version,
        backup.head.made_at.minute(),
        secrets_file.display(),
    ));
    if secrets_file.exists() {
        return Err(format!(
            "{} exists already: a backup is restored into an empty place. Move the old data folder away, or give another one with --data",
            secrets_file.display()
        ));
    }
    if !yes {
        return Err("nothing was done yet; say --yes to do it".to_owned());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data)
        .map_err(|why| format!("the folder {} can't be made: {why}", config.data.display()))?;
    let _lock = lock(&config.data).map_err(|error| error.to_string())?;
    let mark = config.data.join(RESTORING);
    let secrets = backup.secrets().clone();
    let store = prepare(config, &backup, &mark).await?;
    let bar = bar(false);
    let done = backup.restore(store, now(), &shown(&bar)).await;
    bar.finish_and_clear();
    let (copied, again) = done.map_err(|error| {
        format!(
            "it was not restored: {} What is in {database} now is incomplete: delete it",
            sentence(&error)
        )
    })?;
    // Last: without its secrets the database is not started by mistake while it is not whole.
    let text = serde_json::to_vec(&secrets).map_err(|error| error.to_string())?;
    files::write(&secrets_file, &text)
        .map_err(|why| format!("{} can't be written: {why}", secrets_file.display()))?;
    unmark(&mark)?;
    if config.database_url.is_some() {
        mark_postgresql(config)?;
    }
    say(&format!(
        "Restored: {} rows. MISP groups offered again: {}. Collections and logs sent again: {}. Start iocast as before.",
        copied.rows, again.misp_groups, again.log_groups
    ));
    Ok(())
}

/// Marks the data folder as one that is not to be started yet, and opens the database that is to be
/// filled. Where that can't be done, all is as it was.
async fn prepare(config: &Config, backup: &Backup, mark: &Path) -> Result<Store, String> {
    let is_again = mark.exists();
    if is_again && config.database_url.is_none() {
        // What an earlier try left.
        for file in ["iocast.sqlite", "iocast.sqlite-wal", "iocast.sqlite-shm"] {
            let _ = std::fs::remove_file(config.data.join(file));
        }
    }
    files::write(mark, RESTORING_TEXT)
        .map_err(|why| format!("{} can't be written: {why}", mark.display()))?;
    match backup.place(config.database_url.as_deref(), &config.data).await {
        Ok(store) => Ok(store),
        Err(error) => {
            if !is_again {
                unmark(mark)?;
            }
            Err(format!("nothing was restored: {}", sentence(&error)))
        }
    }
}

fn unmark(mark: &Path) -> Result<(), String> {
    std::fs::remove_file(mark).map_err(|why| format!("{} can't be deleted: {why}", mark.display()))
}

async fn check(config: &Config, repair: bool, json: bool) -> Result<(), String> {
    let _lock =
        if repair { Some(lock(&config.data).map_err(|error| error.to_string())?) } else { None };
    let secrets = read_secrets(config)?;
    let store = open_present(config).await?;
    let bar = bar(json);
    let found = copy::check(&store, &secrets, repair, &shown(&bar)).await;
    bar.finish_and_clear();
    store.close().await.map_err(|error| chain(&error))?;
    let found = found.map_err(|error| chain(&error))?;
    let faults: Vec<_> = found
        .faults
        .iter()
        .map(|of| json!({ "what": of.what, "can_be_repaired": of.can_be_repaired }))
        .collect();
    show(
        json,
        &json!({ "rows": found.rows, "faults": faults, "repaired": found.repaired }),
        || {
            say(&format!("{} rows were read.", found.rows));
            for fault in &found.faults {
                say(&format!(
                    "- {}{}",
                    fault.what,
                    if fault.can_be_repaired && !repair { " (--repair corrects this)" } else { "" }
                ));
            }
        },
    );
    let left = found.faults.iter().filter(|fault| !(repair && fault.can_be_repaired)).count();
    match (found.faults.len(), left) {
        (0, _) if !json => say("Everything is consistent."),
        (_, 0) if !json => {
            say("All of it was repaired. Damaged files are made again at the next start.");
        }
        (_, 0) => {}
        (all, left) => return Err(format!("{left} of {all} faults are left")),
    }
    Ok(())
}

async fn move_to(config: &Config, to: &str) -> Result<(), String> {
    let url = (to != "sqlite").then_some(to);
    if url == config.database_url.as_deref() {
        return Err("that is the database in which it is now".to_owned());
    }
    let _lock = lock(&config.data).map_err(|error| error.to_string())?;
    let secrets = read_secrets(config)?;
    let from = open_present(config).await?;
    if !secrets.belong_to(&from).await.map_err(|error| chain(&error))? {
        return Err(OTHER_SECRETS.to_owned());
    }
    let bar = bar(false);
    let leave = || if url.is_some() { mark_postgresql(config) } else { Ok(()) };
    let moved = copy::move_all(&from, (url, &config.data), &shown(&bar), &leave).await;
    bar.finish_and_clear();
    from.close().await.map_err(|error| chain(&error))?;
    let moved = moved.map_err(|error| {
        format!("it was not moved: {} The old database is as it was", sentence(&error))
    })?;
    say(&format!(
        "Moved{}: {} rows in {} tables, counted and compared.",
        if moved.resumed { ", after an earlier try" } else { "" },
        moved.rows,
        moved.tables
    ));
    match url {
        Some(url) => {
            say(&format!(
                "From now on start iocast with --database-url {} (IOCAST_DATABASE_URL, database_url). The old file {} is not used any more.",
                crate::config::redact(url),
                config.data.join("iocast.sqlite").display()
            ));
        }
        None => {
            let mark = config.data.join(crate::application::ON_POSTGRESQL);
            if mark.exists() {
                std::fs::remove_file(&mark)
                    .map_err(|why| format!("{} can't be deleted: {why}", mark.display()))?;
            }
            say("From now on start iocast without database_url.");
        }
    }
    Ok(())
}

/// From now on the folder's iocast is on PostgreSQL.
fn mark_postgresql(config: &Config) -> Result<(), String> {
    let mark = config.data.join(crate::application::ON_POSTGRESQL);
    files::write(&mark, crate::application::ON_POSTGRESQL_TEXT)
        .map_err(|why| format!("{} can't be written: {why}", mark.display()))
}

/// An error with its causes, as a sentence.
fn sentence(error: &dyn std::error::Error) -> String {
    format!("{}.", chain(error).trim_end_matches('.'))
}
