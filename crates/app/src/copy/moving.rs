//! A database is moved to another engine, with everything in it: keys and group URLs stay, so that no
//! device is touched.

use std::path::Path;

use iocast_context::{AppError, AppResult};
use iocast_store::{Cell, MOVE_PROGRESS, Snapshot, Store, Table, step_names, tables};
use serde::{Deserialize, Serialize};

use super::{
    OnProgress, json,
    rows::{Line, cells, kinds},
    settings_make_way,
};

/// The table that comes last: a database without its fingerprint is not taken for one that is used.
const LAST: &str = "settings";

#[derive(Debug, Serialize, Deserialize)]
struct Place {
    table: String,
    /// The key of the last row that was copied, and what its columns hold.
    after: Option<(String, Vec<(String, String)>)>,
}

/// What a move copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// Rows in the new database.
    pub rows: u64,
    /// Tables whose rows were counted and compared.
    pub tables: usize,
    /// It went on where another one was broken off.
    pub resumed: bool,
}

/// Copies everything into another database and compares the two. A move that was broken off is gone
/// on with; nothing may write to either database. `leave` is called when both are the same, before the
/// new one can be started: it keeps the old one from being started.
///
/// # Errors
/// If one of them does not answer, the new one is used already, or they differ at the end.
pub async fn move_all(
    from: &Store,
    (url, data): (Option<&str>, &Path),
    progress: OnProgress<'_>,
    leave: &(dyn Fn() -> Result<(), String> + Sync),
) -> AppResult<Moved> {
    if from.others_connected().await? > 0 {
        return Err(AppError::Malformed(
            "An iocast uses the old database. Stop all replicas first.".to_owned(),
        ));
    }
    let to = Store::open_at(url, data, &step_names()).await?;
    let moved = copy(from, &to, progress, leave).await;
    to.close().await?;
    moved
}

async fn copy(
    from: &Store,
    to: &Store,
    progress: OnProgress<'_>,
    leave: &(dyn Fn() -> Result<(), String> + Sync),
) -> AppResult<Moved> {
    let place: Option<Place> = to
        .read()
        .setting_fetch(MOVE_PROGRESS)
        .await?
        .and_then(|text| serde_json::from_str(&text).ok());
    let mut moved = Moved { resumed: place.is_some(), ..Moved::default() };
    let snapshot = from.snapshot().await?;
    let mut all = tables();
    all.sort_by_key(|table| table.name == LAST);
    let mut skip = place;
    for table in &all {
        let mut after = None;
        if let Some(place) = &skip {
            if place.table != table.name {
                continue;
            }
            after = place.after.as_ref().and_then(|(key, columns)| cells(key.as_bytes(), columns));
            skip = None;
        } else {
            let txn = to.write().await?;
            // What an empty database begins with comes from the old one, too.
            if table.name != LAST {
                txn.rows_clear(&table.name).await?;
            }
            note(&txn, table, None).await?;
            txn.commit().await?;
        }
        rest_of_table(&snapshot, to, table, after, progress).await?;
    }
    snapshot.end().await?;
    // As both are now: what was written in between shows.
    let (old, new) = (from.snapshot().await?, to.snapshot().await?);
    for table in &all {
        let (here, there) = (sum(&old, table).await?, sum(&new, table).await?);
        if here != there {
            return Err(AppError::Malformed(format!(
                "The table {} differs, {} rows here and {} there: something wrote to one of the databases. Empty the new one and begin again",
                table.name, here.0, there.0
            )));
        }
        moved.rows += there.0;
        moved.tables += 1;
        progress("compared", moved.rows);
    }
    old.end().await?;
    new.end().await?;
    leave().map_err(AppError::Malformed)?;
    let txn = to.write().await?;
    txn.setting_delete(&[MOVE_PROGRESS.to_owned()]).await?;
    txn.commit().await?;
    Ok(moved)
}

async fn note(txn: &iocast_store::Txn, table: &Table, after: Option<&[Cell]>) -> AppResult<()> {
    let after = match after {
        None => None,
        Some(key) => {
            let text = String::from_utf8(json(&Line(key))?).map_err(AppError::internal)?;
            Some((text, kinds(key).map(|kind| (String::new(), kind)).collect()))
        }
    };
    let place = Place { table: table.name.clone(), after };
    let text = serde_json::to_string(&place).map_err(AppError::internal)?;
    Ok(txn.setting_put(MOVE_PROGRESS, &text).await?)
}

async fn rest_of_table(
    snapshot: &Snapshot,
    to: &Store,
    table: &Table,
    mut after: Option<Vec<Cell>>,
    progress: OnProgress<'_>,
) -> AppResult<()> {
    let mut copied = 0;
    loop {
        let rows = snapshot.rows(table, after.as_deref()).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        let key = table.key(last);
        copied += rows.len() as u64;
        let txn = to.write().await?;
        settings_make_way(&txn, &table.name, &rows).await?;
        txn.rows_add(&table.name, &table.columns, rows).await?;
        note(&txn, table, Some(&key)).await?;
        txn.commit().await?;
        progress(&table.name, copied);
        after = Some(key);
    }
}

/// How many rows a table has, and a sum over all of them: the same in whatever order they come.
async fn sum(snapshot: &Snapshot, table: &Table) -> AppResult<(u64, u128)> {
    let (mut rows, mut sum, mut after) = (0, 0_u128, None);
    loop {
        let page = snapshot.rows(table, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok((rows, sum)) };
        after = Some(table.key(last));
        for row in &page {
            if table.name == LAST && row.contains(&Cell::Text(Some(MOVE_PROGRESS.to_owned()))) {
                continue;
            }
            let hash = blake3::hash(&json(&Line(row))?);
            let half = hash.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
            sum = sum.wrapping_add(u128::from_le_bytes(half));
            rows += 1;
        }
    }
}
