//! The whole of an iocast: backed up, restored, moved to another engine, checked.
//!
//! A backup holds the database row by row, and the secrets. It can be restored on both engines and
//! with every later version: a restore makes the database as it was then, and updates it.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use iocast_context::{AppError, AppResult, Secrets};
use iocast_domain::time::Timestamp;
use iocast_formats::backup::{BackupError, BackupReader, BackupWriter};
pub use iocast_formats::backup::{Lock, Unlock, check_recipients, new_key};
use iocast_store::{Cell, RESTORE_PROGRESS, Restored, Rows, Store, Txn, step_names, tables};
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;

mod check;
mod moving;
mod rows;
mod scheduled;
use self::rows::{Line, cells, kinds};
pub use self::{
    check::{Checked, Fault, check},
    moving::{Moved, move_all},
    scheduled::BackupPlan,
};

/// The form of the file; one that is greater is refused.
const FORM: u32 = 1;
/// Bytes of rows that are written in one transaction.
const AT_ONCE: usize = 8 * 1024 * 1024;

/// What stands at the head of a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupHead {
    /// Form of the file.
    iocast_backup: u32,
    /// The iocast that made it.
    pub version: String,
    /// The product's time when it was made.
    pub made_at: Timestamp,
    /// The steps that the database had been through.
    steps: Vec<String>,
    /// Secrets of the installation.
    secrets: Secrets,
}

#[derive(Serialize, Deserialize)]
struct TableHead {
    table: String,
    columns: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: bool,
    tables: usize,
    rows: u64,
}

/// What a backup or a restore copied.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Copied {
    /// Tables with rows.
    pub tables: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Called with the table that is copied and the number of rows so far.
pub type OnProgress<'a> = &'a (dyn Fn(&str, u64) + Send + Sync);

fn json(of: &impl Serialize) -> AppResult<Vec<u8>> {
    serde_json::to_vec(of).map_err(AppError::internal)
}

fn of_file(error: BackupError) -> AppError {
    match error {
        BackupError::Io(error) => AppError::internal(error),
        told => AppError::Malformed(told.to_string()),
    }
}

/// Writes a backup of the database as it is now. The file is complete or missing.
///
/// # Errors
/// If the database does not answer, or the file can't be written.
pub async fn backup(
    store: &Store,
    (secrets, version): (&Secrets, &str),
    (lock, path): (&Lock, &Path),
    now: Timestamp,
    progress: OnProgress<'_>,
) -> AppResult<Copied> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| AppError::Malformed("Give the name of a file.".to_owned()))?;
    let not_written = |why: std::io::Error| {
        AppError::Malformed(format!("{} can't be written: {why}.", path.display()))
    };
    let draft = Draft(path.with_file_name(format!(".{name}.{}", std::process::id())));
    let begin = || -> AppResult<_> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft.0)
            .map_err(not_written)?;
        BackupWriter::begin(BufWriter::new(file), lock).map_err(of_file)
    };
    let out = block_in_place(begin)?;
    let head = BackupHead {
        iocast_backup: FORM,
        version: version.to_owned(),
        made_at: now,
        steps: step_names(),
        secrets: secrets.clone(),
    };
    let (out, mut copied) = write(store, out, &head, progress).await?;
    let end = || -> std::io::Result<u64> {
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(&draft.0, path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(bytes)
    };
    copied.bytes = block_in_place(end).map_err(not_written)?;
    Ok(copied)
}

/// A file that is not whole yet: it is deleted unless it got its name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more where it got its name.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn write<W: std::io::Write>(
    store: &Store,
    mut out: BackupWriter<W>,
    head: &BackupHead,
    progress: OnProgress<'_>,
) -> AppResult<(W, Copied)> {
    out.line(&json(head)?).map_err(AppError::internal)?;
    let snapshot = store.snapshot().await?;
    let mut copied = Copied::default();
    for table in tables() {
        let mut after = None;
        loop {
            let rows = snapshot.rows(&table, after.as_deref()).await?;
            let Some(last) = rows.last() else { break };
            if after.is_none() {
                copied.tables += 1;
                let columns = table.columns.iter().cloned().zip(kinds(last)).collect();
                let head = TableHead { table: table.name.clone(), columns };
                out.line(&json(&head)?).map_err(AppError::internal)?;
            }
            block_in_place(|| -> AppResult<()> {
                for row in &rows {
                    out.line(&json(&Line(row))?).map_err(AppError::internal)?;
                }
                Ok(())
            })?;
            copied.rows += rows.len() as u64;
            progress(&table.name, copied.rows);
            after = Some(table.key(last));
        }
    }
    snapshot.end().await?;
    let end = End { end: true, tables: copied.tables, rows: copied.rows };
    out.line(&json(&end)?).map_err(AppError::internal)?;
    Ok((out.finish().map_err(AppError::internal)?, copied))
}

/// A backup that was opened.
#[derive(Debug)]
pub struct Backup {
    reader: BackupReader<BufReader<File>>,
    /// What it is.
    pub head: BackupHead,
}

impl Backup {
    /// Opens a backup and reads its head.
    ///
    /// # Errors
    /// If it is none, is not opened by this, or was made by an iocast that writes another form.
    pub fn open(path: &Path, unlock: &Unlock) -> AppResult<Self> {
        let file = File::open(path).map_err(|why| {
            AppError::Malformed(format!("{} can't be read: {why}.", path.display()))
        })?;
        let mut reader = BackupReader::open(BufReader::new(file), unlock).map_err(of_file)?;
        let first = reader.line().map_err(of_file)?.unwrap_or_default();
        let head: BackupHead = serde_json::from_slice(&first).map_err(|_none| {
            AppError::Malformed(
                "This file is encrypted as backups are, and holds something else.".to_owned(),
            )
        })?;
        if head.iocast_backup > FORM {
            return Err(AppError::Malformed(format!(
                "iocast {} made this backup, in a form that is newer than this version. Restore it with that version.",
                head.version
            )));
        }
        Ok(Self { reader, head })
    }

    /// The secrets of the installation.
    #[must_use]
    pub const fn secrets(&self) -> &Secrets {
        &self.head.secrets
    }

    /// Opens the empty database that is to be filled, and marks it: nobody starts on it before all is
    /// there.
    ///
    /// # Errors
    /// If it holds something, can't be written, or this iocast is older than the backup. Then nothing
    /// was written.
    pub async fn place(&self, url: Option<&str>, data: &Path) -> AppResult<Store> {
        let store = Store::open_at(url, data, &self.head.steps).await?;
        let txn = store.write().await?;
        txn.setting_put(RESTORE_PROGRESS, &self.head.made_at.to_string()).await?;
        txn.commit().await?;
        Ok(store)
    }

    /// Fills the database.
    ///
    /// # Errors
    /// If the backup is not whole, or the database can't be written; then it holds a part and must
    /// not be used.
    pub async fn restore(
        mut self,
        store: Store,
        now: Timestamp,
        progress: OnProgress<'_>,
    ) -> AppResult<(Copied, Restored)> {
        let copied = self.fill(&store, progress).await?;
        store.finish_steps().await?;
        let txn = store.write().await?;
        let restored = txn.after_restore(now).await?;
        txn.commit().await?;
        store.close().await?;
        Ok((copied, restored))
    }

    async fn fill(&mut self, store: &Store, progress: OnProgress<'_>) -> AppResult<Copied> {
        let broken = |what: &str| {
            AppError::Malformed(format!("The backup is not whole: {what}. Take another one."))
        };
        let mut copied = Copied::default();
        let mut table: Option<TableHead> = None;
        let (mut rows, mut bytes): (Rows, usize) = (Vec::new(), 0);
        loop {
            let line =
                self.reader.line().map_err(of_file)?.ok_or_else(|| broken("its end is missing"))?;
            let is_row = line.first() == Some(&b'[');
            if bytes > AT_ONCE || !is_row {
                if let Some(of) = &table {
                    let columns: Vec<String> =
                        of.columns.iter().map(|(name, _)| name.clone()).collect();
                    let txn = store.write().await?;
                    let rows = std::mem::take(&mut rows);
                    settings_make_way(&txn, &of.table, &rows).await?;
                    txn.rows_add(&of.table, &columns, rows).await?;
                    txn.commit().await?;
                    progress(&of.table, copied.rows);
                }
                bytes = 0;
            }
            if is_row {
                let of = table.as_ref().ok_or_else(|| broken("a row has no table"))?;
                rows.push(
                    cells(&line, &of.columns)
                        .ok_or_else(|| broken("a row does not match its table"))?,
                );
                copied.rows += 1;
                bytes += line.len();
            } else if let Ok(end) = serde_json::from_slice::<End>(&line) {
                if end.rows != copied.rows || end.tables != copied.tables {
                    return Err(broken("rows are missing"));
                }
                return Ok(copied);
            } else {
                let of: TableHead = serde_json::from_slice(&line)
                    .map_err(|_none| broken("a line can't be read"))?;
                // What an empty database begins with is in the backup, too.
                if of.table != "settings" {
                    let txn = store.write().await?;
                    txn.rows_clear(&of.table).await?;
                    txn.commit().await?;
                }
                table = Some(of);
                copied.tables += 1;
            }
        }
    }
}

/// Settings that an empty database begins with make way for those that are copied.
async fn settings_make_way(txn: &Txn, table: &str, rows: &Rows) -> AppResult<()> {
    if table != "settings" {
        return Ok(());
    }
    let name = |row: &Vec<Cell>| match row.first() {
        Some(Cell::Text(name)) => name.clone(),
        _ => None,
    };
    let names: Vec<String> = rows.iter().filter_map(name).collect();
    Ok(txn.setting_delete(&names).await?)
}
