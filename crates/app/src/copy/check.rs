//! Whether the database is consistent, and repairs of what can be recomputed.

use iocast_context::{AppResult, Secrets};
use iocast_store::{Snapshot, Store, Table, tables};

use super::OnProgress;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, and what to do.
    pub what: String,
    /// It can be made right without a backup.
    pub can_be_repaired: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Rows that were read.
    pub rows: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What was made right.
    pub repaired: u64,
}

impl Checked {
    fn unrepairable(&mut self, what: String) {
        self.faults.push(Fault { what, can_be_repaired: false });
    }
}

/// Reads the whole database and compares what belongs together. With `repair`, what can be
/// recomputed is: rows that belong to nothing are removed, and damaged files of groups are made again
/// at the next start. Nothing is changed where something else is wrong.
///
/// # Errors
/// If the database does not answer.
pub async fn check(
    store: &Store,
    secrets: &Secrets,
    repair: bool,
    progress: OnProgress<'_>,
) -> AppResult<Checked> {
    let mut checked = Checked::default();
    for what in store.engine_faults().await? {
        checked.unrepairable(format!("The database file is damaged: {what}. Restore a backup."));
    }
    if !secrets.belong_to(store).await? {
        checked.unrepairable("The secrets file is not the one that this database was made with: no key works. Put the original back.".to_owned());
    }
    let snapshot = store.snapshot().await?;
    for table in tables() {
        if let Err(error) = read_all(&snapshot, &table, &mut checked, progress).await {
            checked.unrepairable(format!(
                "The table {} can't be read to its end: {error}. Restore a backup.",
                table.name
            ));
            // After an error PostgreSQL answers nothing more, and a damaged file tells no truth.
            return Ok(checked);
        }
    }
    let is_whole = |name: &str, data: &[u8]| blake3::hash(data).to_hex().as_str() == name;
    let orphans = snapshot.read().orphans().await?;
    let damaged = snapshot.read().damaged_groups(is_whole).await?;
    snapshot.end().await?;
    for (what, n) in &orphans {
        checked.faults.push(Fault { what: format!("{n} {what}"), can_be_repaired: true });
    }
    for group in &damaged {
        let can_be_repaired = group.can_be_made;
        let advice =
            if can_be_repaired { "" } else { ". Restore a backup, or make the group again" };
        let what = format!("Group {}: {}{advice}", group.id, group.what);
        checked.faults.push(Fault { what, can_be_repaired });
    }
    // What a damaged file says of its rows is no ground for taking any out.
    let is_sound = checked.faults.iter().all(|fault| fault.can_be_repaired);
    if repair && is_sound && !checked.faults.is_empty() {
        let txn = store.write().await?;
        checked.repaired += txn.orphans_remove().await?;
        for group in &damaged {
            txn.group_rebuild(group).await?;
            checked.repaired += 1;
        }
        txn.commit().await?;
    }
    Ok(checked)
}

async fn read_all(
    snapshot: &Snapshot,
    table: &Table,
    checked: &mut Checked,
    progress: OnProgress<'_>,
) -> AppResult<()> {
    let mut after = None;
    loop {
        let rows = snapshot.rows(table, after.as_deref()).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        checked.rows += rows.len() as u64;
        progress(&table.name, checked.rows);
        after = Some(table.key(last));
    }
}
