//! Whether rows belong to each other as they should.

use std::collections::{BTreeSet, HashMap};

use iocast_domain::{id::GroupId, member::MembershipState};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait as _, QueryFilter,
    QuerySelect, Statement,
    sea_query::{Alias, Asterisk, Condition, Expr, ExprTrait as _, Query},
};
use uuid::Uuid;

use crate::{
    Conn, FileRef, Store, StoreResult, Txn,
    row::{blob, group, member},
};

/// Files that are read at once.
const AT_ONCE: usize = 16;

/// A row of the first table belongs to one of the second: table, column, table, column, and what one
/// that belongs to none is.
type Belongs = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// What belongs to what. A row that belongs to nothing is of no use to anybody.
const BELONGS: &[Belongs] = &[
    ("ioc_groups", "device_id", "devices", "id", "groups of a device that is gone"),
    ("parts", "group_id", "ioc_groups", "id", "parts of a group that is gone"),
    ("members", "group_id", "ioc_groups", "id", "entries of a group that is gone"),
    ("members", "part_id", "parts", "id", "entries of a part that is gone"),
    ("members", "ioc_id", "iocs", "id", "entries whose IOC is gone"),
    ("publications", "group_id", "ioc_groups", "id", "publications of a group that is gone"),
    ("blobs", "group_id", "ioc_groups", "id", "files of a group that is gone"),
    ("refused_iocs", "group_id", "ioc_groups", "id", "refused IOCs of a group that is gone"),
    ("rule_groups", "group_id", "ioc_groups", "id", "targets of a rule that are gone"),
    ("rule_groups", "rule_id", "rules", "id", "targets of a rule that is gone"),
    ("keys", "device_id", "devices", "id", "keys of a device that is gone"),
    ("clients", "device_id", "devices", "id", "clients of a device that is gone"),
    ("receipts", "client_id", "clients", "id", "receipts of a client that is gone"),
    ("event_receipts", "client_id", "clients", "id", "receipts of a client that is gone"),
    ("ioc_sources", "ioc_id", "iocs", "id", "reports whose IOC is gone"),
    ("subscriptions", "source_id", "sources", "id", "subscriptions of a source that is gone"),
];

/// A group whose last publication can't be served as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedGroup {
    /// The group.
    pub id: GroupId,
    /// What is wrong.
    pub what: String,
    /// Its files that are damaged or missing.
    pub files: Vec<String>,
    /// What is wrong can be made again.
    pub can_be_made: bool,
}

fn alone((table, column, parent, key, _): &Belongs) -> Condition {
    let of_parent = Query::select()
        .expr(Expr::value(1))
        .from(Alias::new(*parent))
        .and_where(
            Expr::col((Alias::new(*parent), Alias::new(*key)))
                .equals((Alias::new(*table), Alias::new(*column))),
        )
        .take();
    Condition::all()
        .add(Expr::col((Alias::new(*table), Alias::new(*column))).is_not_null())
        .add(Expr::exists(of_parent).not())
}

impl Store {
    /// What the engine itself finds wrong with its file; nothing on PostgreSQL, which checks what it
    /// reads.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn engine_faults(&self) -> StoreResult<Vec<String>> {
        if !self.is_bundled() {
            return Ok(Vec::new());
        }
        let ask = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check(20)");
        let rows = self.reader().query_all_raw(ask).await?;
        let lines: Vec<String> =
            rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// Rows that belong to nothing: what they are, and how many.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn orphans(&self) -> StoreResult<Vec<(&'static str, u64)>> {
        let mut found = Vec::new();
        for belongs in BELONGS {
            let count = Query::select()
                .expr(Expr::col(Asterisk).count())
                .from(Alias::new(belongs.0))
                .cond_where(alone(belongs))
                .take();
            let row = self.0.query_one(&count).await?;
            let n: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
            if n > 0 {
                found.push((belongs.4, u64::try_from(n).unwrap_or_default()));
            }
        }
        Ok(found)
    }

    /// Groups whose last publication can't be served as it should be, and why. `is_whole` says
    /// whether a file has the content that its name stands for.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn damaged_groups(
        &self,
        is_whole: impl Fn(&str, &[u8]) -> bool,
    ) -> StoreResult<Vec<DamagedGroup>> {
        let groups: Vec<(Uuid, i64, i32)> = group::Entity::find()
            .select_only()
            .columns([group::Column::Id, group::Column::Publication, group::Column::Live])
            .into_tuple()
            .all(&self.0)
            .await?;
        let mut damaged = Vec::new();
        for (id, publication, live) in groups {
            let id = GroupId(id);
            if publication == 0 {
                continue;
            }
            let Some(files) = self.publication_files_of(id, publication).await? else {
                let what = "its last publication is missing".to_owned();
                damaged.push(DamagedGroup { id, what, files: Vec::new(), can_be_made: false });
                continue;
            };
            let names: BTreeSet<String> =
                files.iter().flat_map(FileRef::blobs).map(|blob| blob.hash.clone()).collect();
            let names: Vec<String> = names.into_iter().collect();
            let mut bad = Vec::new();
            for some in names.chunks(AT_ONCE) {
                let there = self.blob_fetch_loose(id, some).await?;
                let is_bad =
                    |name: &&String| !there.get(*name).is_some_and(|data| is_whole(name, data));
                bad.extend(some.iter().filter(is_bad).cloned());
            }
            if !bad.is_empty() {
                let what = format!("{} of its files are damaged or missing", bad.len());
                damaged.push(DamagedGroup { id, what, files: bad, can_be_made: true });
            }
            let entries = member::Entity::find()
                .filter(member::Column::GroupId.eq(id.0))
                .filter(member::Column::Standing.eq(MembershipState::Live.code()))
                .count(&self.0)
                .await?;
            if i64::try_from(entries).unwrap_or(i64::MAX) != i64::from(live) {
                let what = format!("it says {live} entries and has {entries}");
                damaged.push(DamagedGroup { id, what, files: Vec::new(), can_be_made: false });
            }
        }
        Ok(damaged)
    }

    /// Blobs of a group by name, those that are missing left out.
    async fn blob_fetch_loose(
        &self,
        id: GroupId,
        names: &[String],
    ) -> StoreResult<HashMap<String, Vec<u8>>> {
        let rows = blob::Entity::find()
            .filter(blob::Column::GroupId.eq(id.0))
            .filter(blob::Column::Hash.is_in(names.iter().map(String::as_str)))
            .all(&self.0)
            .await?;
        Ok(rows.into_iter().map(|row| (row.hash, row.data)).collect())
    }
}

impl Txn {
    /// Takes out rows that belong to nothing, and what belonged to them. Gives how many.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn orphans_remove(&self) -> StoreResult<u64> {
        let mut removed = 0;
        for belongs in BELONGS {
            let delete =
                Query::delete().from_table(Alias::new(belongs.0)).cond_where(alone(belongs)).take();
            removed += self.0.execute(&delete).await?.rows_affected();
        }
        Ok(removed)
    }

    /// Has a group make its files once more, in place of some that are damaged.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn group_rebuild(&self, of: &DamagedGroup) -> StoreResult<()> {
        // An entry that differs from what was published is written again.
        member::Entity::update_many()
            .col_expr(member::Column::Fingerprint, Expr::value(0_i64))
            .filter(member::Column::GroupId.eq(of.id.0))
            .exec(&self.0)
            .await?;
        blob::Entity::delete_many()
            .filter(blob::Column::GroupId.eq(of.id.0))
            .filter(blob::Column::Hash.is_in(of.files.iter().map(String::as_str)))
            .exec(&self.0)
            .await?;
        self.group_reconfigure(&[of.id]).await
    }
}
