//! Backups that iocast makes by itself.

use std::{path::PathBuf, time::Duration};

use iocast_context::{AppError, AppResult};
use iocast_domain::time::{HOUR, Timestamp};
use iocast_ops::{LAST_BACKUP, LastBackup};

use super::{Lock, backup};
use crate::App;

/// How long a replica that makes one keeps the others from it.
const CLAIM: i64 = 6 * HOUR;
/// When one that failed is tried again.
const RETRY: i64 = HOUR;
const SUFFIX: &str = ".backup";

/// Which backups are made.
#[derive(Clone, Debug)]
pub struct BackupPlan {
    /// Where they are put.
    pub folder: PathBuf,
    /// From one to the next.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// Who may read them.
    pub lock: Lock,
}

impl App {
    /// No backups are made any more: none is missed. What another process wrote stays.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn backups_end(&self) -> AppResult<()> {
        let text = self.context.store.read().setting_fetch(LAST_BACKUP).await?;
        let last: Option<LastBackup> = text.and_then(|text| serde_json::from_str(&text).ok());
        if last.is_none_or(|last| last.by != self.this_process()) {
            return Ok(());
        }
        let txn = self.context.store.write().await?;
        txn.setting_delete(&[LAST_BACKUP.to_owned()]).await?;
        Ok(txn.commit().await?)
    }

    /// What the names of this installation's backups begin with.
    fn prefix(&self) -> String {
        format!("iocast-{}-", self.context.secrets.installation())
    }

    /// Which process this is among replicas: its host and its data folder.
    fn this_process(&self) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}:{}", host.trim(), self.context.settings.data.display())
    }

    /// Makes a backup if it is time for one, on one of the replicas.
    ///
    /// # Errors
    /// If it can't be made; it is tried again in an hour at most.
    pub async fn backup_tick(&self, plan: &BackupPlan) -> AppResult<()> {
        let now = self.context.now();
        let every = i64::try_from(plan.every.as_micros()).unwrap_or(i64::MAX / 2);
        let txn = self.context.store.write().await?;
        txn.setting_insert(LAST_BACKUP, "{}").await?;
        let last: LastBackup = txn
            .setting_lock(LAST_BACKUP)
            .await?
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let process = self.this_process();
        if !last.is_due(&process, (now, every, RETRY)) || self.context.is_closing() {
            return Ok(());
        }
        let claimed = LastBackup {
            tried_at: Some(now),
            claimed_until: now.micros() + CLAIM,
            every,
            since: last.since.or(Some(now)),
            by: process,
            ..last
        };
        txn.setting_put(LAST_BACKUP, &as_text(&claimed)?).await?;
        txn.commit().await?;
        let (file, made) = self.make(plan, now).await;
        let last = LastBackup { claimed_until: 0, ..claimed };
        let last = match &made {
            Ok(bytes) => LastBackup {
                done_at: Some(now),
                file: Some(file.clone()),
                bytes: *bytes,
                error: None,
                ..last
            },
            Err(error) => {
                LastBackup { error: Some(iocast_domain::time::clip(&told(error), 300)), ..last }
            }
        };
        let txn = self.context.store.write().await?;
        txn.setting_put(LAST_BACKUP, &as_text(&last)?).await?;
        txn.commit().await?;
        let bytes = made?;
        tracing::info!(backup.bytes = bytes, "A backup was made in {}", plan.folder.display());
        prune(plan, &self.prefix(), &file)
    }

    async fn make(&self, plan: &BackupPlan, now: Timestamp) -> (String, AppResult<u64>) {
        let stamp = now.to_string().replace([':', '.'], "-");
        let file = format!("{}{stamp}{SUFFIX}", self.prefix());
        let path = plan.folder.join(&file);
        let made = async {
            std::fs::create_dir_all(&plan.folder).map_err(|why| {
                AppError::Malformed(format!(
                    "The folder {} can't be made: {why}.",
                    plan.folder.display()
                ))
            })?;
            let (context, version) = (&self.context, env!("CARGO_PKG_VERSION"));
            let of = (&context.secrets, version);
            let alive = |_: &str, _: u64| context.task_alive("backup");
            backup(&context.store, of, (&plan.lock, &path), now, &alive).await
        };
        (file, made.await.map(|copied| copied.bytes))
    }
}

fn as_text(last: &LastBackup) -> AppResult<String> {
    serde_json::to_string(last).map_err(AppError::internal)
}

/// An error with what lies behind it.
fn told(error: &AppError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

/// Deletes all but the newest backups of this installation, and what is left of those that were cut
/// off. Their names end with their time; a file with any other name is somebody else's.
fn prune(plan: &BackupPlan, prefix: &str, made: &str) -> AppResult<()> {
    let files = std::fs::read_dir(&plan.folder).map_err(AppError::internal)?;
    let names: Vec<String> =
        files.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let is_ours = |name: &&String| {
        let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
        middle.is_some_and(|stamp| {
            stamp.len() >= 20 && stamp.bytes().all(|b| b.is_ascii_digit() || b"TZ-".contains(&b))
        })
    };
    let is_draft = |name: &&String| name.starts_with(&format!(".{prefix}"));
    let mut ours: Vec<&String> =
        names.iter().filter(is_ours).filter(|name| *name != made).collect();
    ours.sort_unstable();
    let old = ours.into_iter().rev().skip(plan.keep.saturating_sub(1));
    for name in old.chain(names.iter().filter(is_draft)) {
        std::fs::remove_file(plan.folder.join(name)).map_err(AppError::internal)?;
    }
    Ok(())
}
