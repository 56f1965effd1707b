//! Databases that are filled, or are to be copied as they are.

use std::path::Path;

use sea_orm::{ConnectionTrait as _, EntityTrait as _, QuerySelect as _};

use super::{MOVE_PROGRESS, RESTORE_PROGRESS, step_names};
use crate::{Store, StoreError, StoreResult, row};

impl Store {
    /// Opens a database as it is: one of another version stays that.
    ///
    /// # Errors
    /// If it can't be opened, or was last used by another version.
    pub async fn open_present(url: Option<&str>, data: &Path) -> StoreResult<Self> {
        let store = Self::connect(url, data).await?;
        let applied = store.steps_applied().await?;
        if applied == step_names() {
            store.refuse_half().await?;
            return Ok(store);
        }
        Err(StoreError::Unusable(
            "Another version of iocast used this database last. Use that version, or start this one once to update it.".to_owned(),
        ))
    }

    /// Refuses a database that is being filled, or whose filling was broken off.
    pub(crate) async fn refuse_half(&self) -> StoreResult<()> {
        for (mark, what) in [
            (
                RESTORE_PROGRESS,
                "A restore into this database was not finished: empty it and restore again.",
            ),
            (MOVE_PROGRESS, "A move into this database was not finished: run `iocast move` again."),
        ] {
            if self.read().setting_fetch(mark).await?.is_some() {
                return Err(StoreError::Unusable(what.to_owned()));
            }
        }
        Ok(())
    }

    /// How many other connections of iocast the database has; none are counted on the bundled one,
    /// which one process owns.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn others_connected(&self) -> StoreResult<u64> {
        if self.is_bundled() {
            return Ok(0);
        }
        let ask = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'iocast'";
        let ask = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, ask);
        let row = self.reader().query_one_raw(ask).await?;
        let n: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
        let ours: u64 = self.pools().iter().map(|pool| pool.open).sum();
        Ok(u64::try_from(n).unwrap_or_default().saturating_sub(ours))
    }

    /// Whether it holds an account, and is not the unfinished copy of a move.
    async fn is_used(&self) -> StoreResult<bool> {
        if self.steps_applied().await?.is_empty() {
            return Ok(false);
        }
        let is_copy = self.read().setting_fetch(MOVE_PROGRESS).await?.is_some();
        // Only the id: the table may be in an earlier form.
        let account: Option<String> = row::account::Entity::find()
            .select_only()
            .column(row::account::Column::Id)
            .limit(1)
            .into_tuple()
            .one(self.reader())
            .await?;
        Ok(!is_copy && account.is_some())
    }

    /// Opens an empty database and brings it to the form that it has after some steps: that of a
    /// backup. The unfinished copy of a move counts as empty.
    ///
    /// # Errors
    /// If it can't be opened or holds something, or this iocast does not know the steps.
    pub async fn open_at(url: Option<&str>, data: &Path, steps: &[String]) -> StoreResult<Self> {
        let store = Self::connect(url, data).await?;
        if store.is_used().await? {
            return Err(StoreError::Unusable(
                "The database is not empty: it holds an iocast. Give an empty one.".to_owned(),
            ));
        }
        let known = step_names();
        if !known.starts_with(steps) {
            let unknown = steps.iter().find(|step| !known.contains(step));
            return Err(StoreError::Unusable(format!(
                "It was made by a newer iocast (it knows the step `{}`). Restore it with that version.",
                unknown.map_or("unknown", String::as_str)
            )));
        }
        if store.steps_applied().await?.len() > steps.len() {
            return Err(StoreError::Unusable(
                "The database is not empty: a newer iocast than that of the backup prepared it. Give an empty one.".to_owned(),
            ));
        }
        store.migrate(Some(steps.len())).await?;
        Ok(store)
    }

    /// Brings the database to the newest form.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn finish_steps(&self) -> StoreResult<()> {
        self.migrate(None).await
    }
}
