//! Settings of backups.

use std::{path::Path, time::Duration};

use iocast_app::copy::{BackupPlan, Lock, check_recipients};

use super::{Config, ConfigError};

impl Config {
    /// The backups that iocast makes by itself; none without a folder.
    ///
    /// # Errors
    /// Which setting is missing or wrong.
    pub fn backups(&self) -> Result<Option<BackupPlan>, ConfigError> {
        let Some(folder) = &self.backup_folder else { return Ok(None) };
        let wrong = |why: &str| Err(ConfigError::Invalid(why.to_owned()));
        if self.backup_every_hours == 0 || self.backup_every_hours > 24 * 366 {
            return wrong("`backup_every_hours` must be 1 to 8784.");
        }
        if self.backup_keep == 0 {
            return wrong("`backup_keep` must be at least 1.");
        }
        let Some(lock) = self.backup_lock()? else {
            return wrong(
                "`backup_folder` needs `backup_recipient` (iocast backup-key makes one) or `backup_passphrase_file`: a backup holds the secrets, so it is encrypted.",
            );
        };
        Ok(Some(BackupPlan {
            folder: folder.clone(),
            every: Duration::from_secs(self.backup_every_hours * 3_600),
            keep: self.backup_keep,
            lock,
        }))
    }

    /// Who may read backups, as far as the settings say so.
    ///
    /// # Errors
    /// If a recipient is none, or the passphrase can't be read.
    pub fn backup_lock(&self) -> Result<Option<Lock>, ConfigError> {
        if let Some(recipients) = &self.backup_recipient {
            return recipients_lock(recipients.split(',').map(str::to_owned).collect()).map(Some);
        }
        self.backup_passphrase_file.as_deref().map(passphrase_lock).transpose()
    }
}

/// Those who hold one of these keys.
pub(crate) fn recipients_lock(recipients: Vec<String>) -> Result<Lock, ConfigError> {
    check_recipients(&recipients).map_err(|why| ConfigError::Invalid(why.to_string()))?;
    Ok(Lock::Recipients(recipients))
}

/// Those who know what is in a file.
pub(crate) fn passphrase_lock(file: &Path) -> Result<Lock, ConfigError> {
    passphrase(file).map(Lock::Passphrase)
}

/// A passphrase of 12 characters or more.
pub(crate) fn passphrase(file: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|why| {
        ConfigError::Invalid(format!("The passphrase in {} can't be read: {why}.", file.display()))
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.chars().count() < 12 {
        return Err(ConfigError::Invalid(format!(
            "The passphrase in {} is shorter than 12 characters.",
            file.display()
        )));
    }
    Ok(text.to_owned())
}
