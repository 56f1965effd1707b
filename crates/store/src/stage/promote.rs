//! What an import staged becomes visible, in slices.

use iocast_domain::{
    id::{AccountId, SourceId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter,
    sea_query::{Expr, OnConflict, Order, Query, SelectStatement},
};
use uuid::Uuid;

use super::{CARRIED, StageCounts, of, swept};
use crate::{
    StoreResult, Txn,
    error::corrupt,
    quality::IdRange,
    row::{import, ioc, ioc_source, staged},
};

pub(super) const IDENTITY: usize = 5;

/// About how many rows are flipped by one statement. SQLite keeps every page that a statement
/// changes in memory until it has ended, to be able to take it back: some pages for each row, as
/// keys are spread evenly.
const PROMOTED_AT_ONCE: u64 = 2_000;

/// In which order an import's rows are promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromoteOrder {
    /// By id: as good as any where values come in no order.
    ById,
    /// As they were staged: where values that came together lie together, so do their places in the
    /// indexes by value, which are larger than those by id.
    AsStaged,
}

/// Ids of IOCs cut into equal ranges of about `each` of `rows`: ids are spread evenly. Gives where
/// each begins and ends; the last one is open.
pub fn id_ranges(rows: u64, each: u64) -> impl Iterator<Item = IdRange> {
    let count = rows.div_ceil(each).clamp(1, 1 << 16).next_power_of_two();
    let begin = move |slice: u64| Uuid::from_u128(u128::from(slice * ((1 << 16) / count)) << 112);
    (0..count).map(move |slice| (begin(slice), (slice + 1 < count).then(|| begin(slice + 1))))
}

/// The rows of an import with these row numbers. The plus keeps SQLite from looking at all rows of
/// the import each time.
fn staged_between(import: Uuid, first: i64, behind: i64) -> SelectStatement {
    Query::select()
        .from(staged::Entity)
        .and_where(Expr::cust_with_values("+import_id = ?", [import]))
        .and_where(Expr::cust_with_values("rowid >= ?", [first]))
        .and_where(Expr::cust_with_values("rowid < ?", [behind]))
        .take()
}

impl Txn {
    /// Makes all that an import staged seen, under the account's change number `seq`, as reports
    /// `by` a source that came at a time, and ends the import. What lay on the stage is left to [`Txn::stage_clear`].
    ///
    /// # Errors
    /// [`Unusable`](crate::StoreError::Unusable) if the import was taken for dead and swept.
    pub async fn promote_staging(
        &self,
        import: Uuid,
        account: &AccountId,
        by: (SourceId, Timestamp),
        seq: i64,
        counts: &StageCounts,
        order: PromoteOrder,
    ) -> StoreResult<()> {
        if import::Entity::delete_by_id(import).exec(&self.0).await?.rows_affected == 0 {
            return Err(swept());
        }
        let StageCounts { accepted, updated, unchanged, .. } = counts;
        let rows = accepted + updated + unchanged;
        if order == PromoteOrder::AsStaged
            && self.0.get_database_backend() == DbBackend::Sqlite
            && self.is_large(rows).await?
            && let Some((low, high)) = self.staged_rows(import).await?
        {
            for first in (low..=high).step_by(PROMOTED_AT_ONCE as usize) {
                let slice = || staged_between(import, first, first + PROMOTED_AT_ONCE as i64);
                self.promote_iocs(slice(), account, seq).await?;
                self.promote_links(slice(), by).await?;
            }
            return Ok(());
        }
        for (first, behind) in id_ranges(rows, PROMOTED_AT_ONCE) {
            let slice = || {
                let mut slice = of(import);
                slice.and_where(staged::Column::Id.gte(first));
                slice.and_where_option(behind.map(|behind| staged::Column::Id.lt(behind)));
                slice
            };
            self.promote_iocs(slice(), account, seq).await?;
            self.promote_links(slice(), by).await?;
        }
        Ok(())
    }

    /// Makes IOCs from which `source` takes its report back seen, under the account's change number
    /// `seq`, and ends the import that staged them so.
    ///
    /// # Errors
    /// [`Unusable`](crate::StoreError::Unusable) if it was taken for dead and swept.
    pub async fn promote_undo(
        &self,
        import: Uuid,
        account: &AccountId,
        source: SourceId,
        seq: i64,
        rows: u64,
    ) -> StoreResult<()> {
        if import::Entity::delete_by_id(import).exec(&self.0).await?.rows_affected == 0 {
            return Err(swept());
        }
        for (first, behind) in id_ranges(rows, PROMOTED_AT_ONCE) {
            let slice = || {
                let mut slice = of(import);
                slice.and_where(staged::Column::Id.gte(first));
                slice.and_where_option(behind.map(|behind| staged::Column::Id.lt(behind)));
                slice
            };
            self.promote_iocs(slice(), account, seq).await?;
            let taken_back = slice().column(staged::Column::Id).take();
            ioc_source::Entity::delete_many()
                .filter(ioc_source::Column::SourceId.eq(source.0))
                .filter(ioc_source::Column::IocId.in_subquery(taken_back))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Whether an import is large beside the IOCs that are there, on SQLite: then the indexes by
    /// value count most. Beside very many IOCs, those by id do.
    async fn is_large(&self, rows: u64) -> StoreResult<bool> {
        let last = Query::select().from(ioc::Entity).expr(Expr::cust("max(rowid)")).take();
        let row = self.0.query_one(&last).await?;
        let there: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        Ok(2 * rows >= u64::try_from(there.unwrap_or(0)).unwrap_or(0))
    }

    /// The first and the last row number of an import on SQLite.
    async fn staged_rows(&self, import: Uuid) -> StoreResult<Option<(i64, i64)>> {
        let range = of(import).expr(Expr::cust("min(rowid)")).expr(Expr::cust("max(rowid)")).take();
        let Some(row) = self.0.query_one(&range).await? else { return Ok(None) };
        let (low, high): (Option<i64>, Option<i64>) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok(low.zip(high))
    }

    async fn promote_iocs(
        &self,
        mut staged: SelectStatement,
        account: &AccountId,
        seq: i64,
    ) -> StoreResult<()> {
        staged
            .expr(Expr::value(account.as_str()))
            .expr(Expr::value(seq))
            .expr(Expr::value(seq))
            .columns(CARRIED.map(|(_, from)| from))
            .order_by(staged::Column::Id, Order::Asc);
        let mut over = OnConflict::column(ioc::Column::Id);
        // `deleted_at` is not among the columns inserted, and so is null: what a person deleted is
        // back. `first_seq` stays.
        over.update_columns([ioc::Column::Seq, ioc::Column::DeletedAt])
            .update_columns(CARRIED.iter().skip(IDENTITY).map(|(column, _)| *column));
        let into = [ioc::Column::AccountId, ioc::Column::Seq, ioc::Column::FirstSeq]
            .into_iter()
            .chain(CARRIED.map(|(to, _)| to));
        let insert = Query::insert()
            .into_table(ioc::Entity)
            .columns(into)
            .select_from(staged)
            .map_err(|e| corrupt("iocs", "columns", e))?
            .on_conflict(over)
            .take();
        self.0.execute(&insert).await?;
        Ok(())
    }

    async fn promote_links(
        &self,
        mut staged: SelectStatement,
        (source, at): (SourceId, Timestamp),
    ) -> StoreResult<()> {
        staged.expr(Expr::value(source.0)).column(staged::Column::Id);
        staged.expr(Expr::value(at.micros()));
        let key = [ioc_source::Column::SourceId, ioc_source::Column::IocId];
        let insert = Query::insert()
            .into_table(ioc_source::Entity)
            .columns(key.into_iter().chain([ioc_source::Column::FirstAt]))
            .select_from(staged)
            .map_err(|e| corrupt("ioc_sources", "columns", e))?
            .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
            .take();
        self.0.execute(&insert).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_id_is_in_one_slice(rows in 0_u64..200_000_000, id: u128) {
            let id = Uuid::from_u128(id);
            let mut before = None;
            let mut found = 0;
            for (first, behind) in id_ranges(rows, PROMOTED_AT_ONCE) {
                proptest::prop_assert!(before.is_none_or(|b| b == first), "no gap");
                before = behind;
                found += u32::from(id >= first && behind.is_none_or(|b| id < b));
            }
            proptest::prop_assert_eq!((found, before), (1, None));
        }
    }
}
