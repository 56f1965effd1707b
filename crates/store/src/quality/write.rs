//! Counts are written.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, SourceId},
    quality::{SourceCounts, SourceDay},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{CountedSource, Handled, ROWS, stored, to_counted};
use crate::{
    StoreResult, Txn,
    row::{source_count, source_day, source_overlap},
};

impl Txn {
    /// Has nobody else count the sources of an account until `until` (real time). Gives false if
    /// somebody does.
    pub async fn source_count_claim(
        &self,
        account: &AccountId,
        real_now: Timestamp,
        until: Timestamp,
    ) -> StoreResult<bool> {
        let row = source_count::ActiveModel {
            account_id: Set(account.to_string()),
            day: Set(-1),
            counted_at: Set(None),
            imports_until: Set(0),
            claimed_until: Set(0),
        };
        source_count::Entity::insert(row)
            .on_conflict(
                OnConflict::column(source_count::Column::AccountId).do_nothing().to_owned(),
            )
            .exec_without_returning(&self.0)
            .await?;
        let claim = source_count::Entity::update_many()
            .col_expr(source_count::Column::ClaimedUntil, Expr::value(until.micros()))
            .filter(source_count::Column::AccountId.eq(account.as_str()))
            .filter(source_count::Column::ClaimedUntil.lte(real_now.micros()));
        Ok(claim.exec(&self.0).await?.rows_affected > 0)
    }

    /// Gives the claim back without a count.
    pub async fn source_count_release(&self, account: &AccountId) -> StoreResult<()> {
        source_count::Entity::update_many()
            .col_expr(source_count::Column::ClaimedUntil, Expr::value(0))
            .filter(source_count::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes what was counted of an account on a day, in place of what was counted on the same day
    /// before, and gives the claim back. What imports met is added to that.
    pub async fn source_count_put(
        &self,
        account: &AccountId,
        day: i64,
        imports_until: Timestamp,
        counted: &[CountedSource],
        overlaps: &[(SourceId, SourceId, u64)],
    ) -> StoreResult<()> {
        use source_day::Column as C;
        let before: HashMap<Uuid, Handled> = source_day::Entity::find()
            .filter(C::Day.eq(day))
            .filter(C::SourceId.is_in(counted.iter().map(|of| of.source_id.0)))
            .all(&self.0)
            .await?
            .into_iter()
            .map(|row| (row.source_id, to_counted(row).handled))
            .collect();
        let row = |of: &CountedSource| {
            to_row(of, day, before.get(&of.source_id.0).copied().unwrap_or_default())
        };
        let key = [C::SourceId, C::Day];
        let counts = [
            C::CountedAt,
            C::Iocs,
            C::OnlyHere,
            C::Timed,
            C::FirstHere,
            C::NeverSent,
            C::KeptBack,
            C::InGroups,
            C::Fetched,
            C::Handled,
            C::Refused,
        ];
        for chunk in counted.chunks(ROWS) {
            source_day::Entity::insert_many(chunk.iter().map(row))
                .on_conflict(OnConflict::columns(key).update_columns(counts).to_owned())
                .exec_without_returning(&self.0)
                .await?;
        }
        source_overlap::Entity::delete_many()
            .filter(source_overlap::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        let pair = |(a, b, iocs): &(SourceId, SourceId, u64)| source_overlap::ActiveModel {
            source_a: Set(a.0),
            source_b: Set(b.0),
            account_id: Set(account.to_string()),
            iocs: Set(stored(*iocs)),
        };
        for chunk in overlaps.chunks(ROWS) {
            source_overlap::Entity::insert_many(chunk.iter().map(pair))
                .exec_without_returning(&self.0)
                .await?;
        }
        let counted_at = counted.iter().map(|of| of.day.counted_at.micros()).max();
        source_count::Entity::update_many()
            .col_expr(source_count::Column::Day, Expr::value(day))
            .col_expr(source_count::Column::CountedAt, Expr::value(counted_at))
            .col_expr(source_count::Column::ImportsUntil, Expr::value(imports_until.micros()))
            .col_expr(source_count::Column::ClaimedUntil, Expr::value(0))
            .filter(source_count::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets what was counted of a source that is deleted.
    pub(crate) async fn source_counts_delete(&self, source: SourceId) -> StoreResult<()> {
        source_day::Entity::delete_many()
            .filter(source_day::Column::SourceId.eq(source.0))
            .exec(&self.0)
            .await?;
        let of_pair = Condition::any()
            .add(source_overlap::Column::SourceA.eq(source.0))
            .add(source_overlap::Column::SourceB.eq(source.0));
        source_overlap::Entity::delete_many().filter(of_pair).exec(&self.0).await?;
        Ok(())
    }

    /// Forgets days before this one.
    pub async fn source_days_prune(&self, day: i64) -> StoreResult<()> {
        source_day::Entity::delete_many()
            .filter(source_day::Column::Day.lt(day))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}

/// A source on a day as a row; what its imports met is added to what they met before.
fn to_row(of: &CountedSource, day: i64, earlier: Handled) -> source_day::ActiveModel {
    let CountedSource { source_id, day: SourceDay { counted_at, counts }, handled } = of;
    let SourceCounts { iocs, only, timed, first, never_sent, kept_back, in_groups, fetched } =
        *counts;
    source_day::ActiveModel {
        source_id: Set(source_id.0),
        day: Set(day),
        counted_at: Set(counted_at.micros()),
        iocs: Set(stored(iocs)),
        only_here: Set(stored(only)),
        timed: Set(stored(timed)),
        first_here: Set(stored(first)),
        never_sent: Set(stored(never_sent)),
        kept_back: Set(stored(kept_back)),
        in_groups: Set(stored(in_groups)),
        handled: Set(stored(earlier.handled + handled.handled)),
        refused: Set(stored(earlier.refused + handled.refused)),
        fetched: Set(stored(fetched)),
    }
}
