//! Numbers that grow with every change of a kind, and which groups' feeds changed under which
//! number: so that a replica reads what changed, and not all that exists.

use std::collections::BTreeSet;

use iocast_domain::id::GroupId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set,
    sea_query::{Expr, OnConflict, Query},
};

use crate::{
    Conn, Signal, StoreResult, Txn,
    error::corrupt,
    row::{feed_change, setting},
};

/// The setting that counts changes of feeds.
const FEEDS: &str = "feeds_version";
/// Changes of feeds that are remembered: a replica that is further behind compares all groups.
const REMEMBERED: i64 = 10_000;
/// Every how many changes the oldest are forgotten.
const FORGET_EVERY: i64 = 100;
/// Changed groups that are read one by one.
const GROUPS: u64 = 20_000;
/// Most rows in one statement.
const ROWS: usize = 1_000;

impl<C: ConnectionTrait> Conn<C> {
    /// A number kept as a setting; 0 before it was first counted.
    pub(crate) async fn version(&self, setting: &str) -> StoreResult<i64> {
        Ok(self.setting_fetch(setting).await?.and_then(|v| v.parse().ok()).unwrap_or(0))
    }

    /// A number that grows with every publication, and whatever else changes what a group serves or
    /// is called.
    pub async fn feeds_version(&self) -> StoreResult<i64> {
        self.version(FEEDS).await
    }

    /// The groups that changed behind the number `since` up to `until`, also those that were
    /// deleted. Nothing where that can't be told, or is so much that all are better compared.
    pub async fn feed_changes(
        &self,
        since: i64,
        until: i64,
    ) -> StoreResult<Option<BTreeSet<GroupId>>> {
        if since < 0 || !(1..=REMEMBERED).contains(&(until - since)) {
            return Ok(None);
        }
        let between =
            feed_change::Column::Version.gt(since).and(feed_change::Column::Version.lte(until));
        let rows = feed_change::Entity::find().filter(between).limit(GROUPS).all(&self.0).await?;
        let versions: BTreeSet<i64> = rows.iter().map(|row| row.version).collect();
        if rows.len() as u64 == GROUPS || versions.len() as i64 != until - since {
            return Ok(None);
        }
        Ok(Some(rows.into_iter().map(|row| GroupId(row.group_id)).collect()))
    }
}

impl Txn {
    /// Counts a change. The number is locked until this transaction ends: numbers are seen in their
    /// order.
    pub(crate) async fn next_version(&self, name: &str) -> StoreResult<i64> {
        let next = Expr::cust("CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)");
        let insert = Query::insert()
            .into_table(setting::Entity)
            .columns([setting::Column::Name, setting::Column::Value])
            .values_panic([name.into(), "1".into()])
            .on_conflict(
                OnConflict::column(setting::Column::Name)
                    .value(setting::Column::Value, next)
                    .to_owned(),
            )
            .returning_col(setting::Column::Value)
            .take();
        let row = self
            .0
            .query_one(&insert)
            .await?
            .ok_or_else(|| corrupt("settings", "value", "nothing came back"))?;
        let value: String = row.try_get_by_index(0)?;
        value.parse().map_err(|e| corrupt("settings", "value", e))
    }

    /// Has every replica look at what these groups serve; this one, too, where it did not come to
    /// it.
    pub(crate) async fn feeds_moved(&self, ids: &[GroupId]) -> StoreResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let version = self.next_version(FEEDS).await?;
        for chunk in ids.chunks(ROWS) {
            let rows = chunk
                .iter()
                .map(|id| feed_change::ActiveModel { version: Set(version), group_id: Set(id.0) });
            feed_change::Entity::insert_many(rows).exec_without_returning(&self.0).await?;
        }
        if version % FORGET_EVERY == 0 {
            feed_change::Entity::delete_many()
                .filter(feed_change::Column::Version.lte(version - REMEMBERED))
                .exec(&self.0)
                .await?;
        }
        self.notify(Signal::Feed).await
    }
}
