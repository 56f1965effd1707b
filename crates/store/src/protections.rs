//! Whether devices have what their groups hold: the last verdict on each group, and how many groups
//! have which.

use std::collections::BTreeMap;

use iocast_domain::{
    id::{DeviceId, GroupId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, Set,
    sea_query::{Expr, OnConflict},
};

use crate::{
    Conn, StoreResult, Txn,
    row::{group, protection, protection_count},
};

/// Rows in one statement.
const ROWS: usize = 500;

/// The last verdict on a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectionRow {
    /// The group.
    pub group_id: GroupId,
    /// The code of the most urgent [`iocast_domain::receipt::Protection`]; empty before the first
    /// verdict.
    pub state: String,
    /// Grows with everything that may change the verdict.
    pub version: i64,
}

/// A verdict on a group that was due.
#[derive(Clone, Debug)]
pub struct NewProtection {
    /// As it was read when it was due.
    pub before: ProtectionRow,
    /// Its code now; empty before the first publication, none where the group is gone.
    pub state: Option<&'static str>,
    /// When time alone may change it.
    pub due_at: Option<Timestamp>,
}

fn to_row(row: protection::Model) -> ProtectionRow {
    let protection::Model { group_id, state, due_at: _, version } = row;
    ProtectionRow { group_id: GroupId(group_id), state, version }
}

impl<C: ConnectionTrait> Conn<C> {
    /// Groups on which a verdict is due, the one that is due longest first.
    pub async fn protections_due(
        &self,
        now: Timestamp,
        limit: u64,
    ) -> StoreResult<Vec<ProtectionRow>> {
        let rows = protection::Entity::find()
            .filter(protection::Column::DueAt.lte(now.micros()))
            .order_by_asc(protection::Column::DueAt)
            .limit(limit)
            .all(&self.0)
            .await?;
        Ok(rows.into_iter().map(to_row).collect())
    }

    /// The last verdicts on the groups of a device.
    pub async fn protections_of(&self, device: DeviceId) -> StoreResult<Vec<String>> {
        let groups = group::Entity::find()
            .select_only()
            .column(group::Column::Id)
            .filter(group::Column::DeviceId.eq(device.0))
            .into_query();
        Ok(protection::Entity::find()
            .select_only()
            .column(protection::Column::State)
            .filter(protection::Column::GroupId.in_subquery(groups))
            .into_tuple()
            .all(&self.0)
            .await?)
    }

    /// How many groups have which verdict.
    pub async fn protection_counts(&self) -> StoreResult<Vec<(String, u64)>> {
        let rows = protection_count::Entity::find().all(&self.0).await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.state, u64::try_from(row.total).unwrap_or_default()))
            .collect())
    }
}

impl Txn {
    /// Has these groups looked at again. Call it last: everybody who locks these rows does so after
    /// all others, in the order of the groups.
    pub async fn protections_due_now(
        &self,
        mut groups: Vec<GroupId>,
        now: Timestamp,
    ) -> StoreResult<()> {
        groups.sort_unstable();
        groups.dedup();
        let earlier = Expr::case(
            Expr::col((protection::Entity, protection::Column::DueAt)).lt(now.micros()),
            Expr::col((protection::Entity, protection::Column::DueAt)),
        )
        .finally(Expr::value(now.micros()));
        let version = Expr::col((protection::Entity, protection::Column::Version)).add(1);
        let over = OnConflict::column(protection::Column::GroupId)
            .value(protection::Column::DueAt, earlier)
            .value(protection::Column::Version, version)
            .to_owned();
        for chunk in groups.chunks(ROWS) {
            let rows = chunk.iter().map(|group| protection::ActiveModel {
                group_id: Set(group.0),
                state: Set(String::new()),
                due_at: Set(now.micros()),
                version: Set(0),
            });
            protection::Entity::insert_many(rows)
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Writes verdicts. A group of which something changed since it was read stays due.
    pub async fn protections_put(&self, mut all: Vec<NewProtection>) -> StoreResult<()> {
        all.sort_unstable_by_key(|new| new.before.group_id);
        let mut moved: BTreeMap<String, i64> = BTreeMap::new();
        for NewProtection { before, state, due_at } in all {
            let unchanged = Condition::all()
                .add(protection::Column::GroupId.eq(before.group_id.0))
                .add(protection::Column::Version.eq(before.version))
                .add(protection::Column::State.eq(before.state.as_str()));
            let written = match state {
                Some(state) => {
                    let due_at = due_at.map_or(i64::MAX, Timestamp::micros);
                    protection::Entity::update_many()
                        .col_expr(protection::Column::State, Expr::value(state))
                        .col_expr(protection::Column::DueAt, Expr::value(due_at))
                        .filter(unchanged)
                        .exec(&self.0)
                        .await?
                        .rows_affected
                }
                None => {
                    protection::Entity::delete_many()
                        .filter(unchanged)
                        .exec(&self.0)
                        .await?
                        .rows_affected
                }
            };
            if written == 1 && state != Some(before.state.as_str()) {
                *moved.entry(before.state).or_default() -= 1;
                *moved.entry(state.unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        // Groups without a verdict, and those that are gone, are not counted.
        moved.retain(|state, by| !state.is_empty() && *by != 0);
        let add = Expr::col((protection_count::Entity, protection_count::Column::Total))
            .add(Expr::col(("excluded", protection_count::Column::Total)));
        let over = OnConflict::column(protection_count::Column::State)
            .value(protection_count::Column::Total, add)
            .to_owned();
        for (state, by) in moved {
            let row = protection_count::ActiveModel { state: Set(state), total: Set(by) };
            protection_count::Entity::insert(row)
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }
}
