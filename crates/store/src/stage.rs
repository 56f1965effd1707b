//! The stage of imports. IOCs are merged and laid here in small writes that hold nobody up; one
//! statement makes them seen.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::{Change, Ioc},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QuerySelect, Set, Statement,
    Value,
    sea_query::{Expr, OnConflict, Order, Query, SelectStatement},
};
use uuid::Uuid;

use crate::{
    Conn, Store, StoreError, StoreResult, Txn,
    error::corrupt,
    iocs::{Parts, parts, to_ioc},
    row::{import, ioc, ioc_source, staged},
};

/// Most rows in one statement: 16 columns each, under SQLite's 32,766 variables.
const ROWS: usize = 1_000;
/// Rows that are swept in one write.
const SWEEP: u64 = 5_000;

/// An IOC on the stage.
#[derive(Clone, Debug)]
pub struct Staged {
    /// As it will be.
    pub ioc: Ioc,
    /// When it was first imported, in UTC microseconds.
    pub created_at: i64,
    /// What the import does to it.
    pub change: Change,
}

/// IOCs made ready to be laid on the stage: the work that this is can be done while others write.
#[derive(Debug, Default)]
pub struct StageWrite(Vec<Statement>);

impl Store {
    /// Makes IOCs ready for [`Txn::stage_put_many`]. Touches no database.
    ///
    /// # Errors
    /// If one can't be written down, which is a fault of our own.
    pub fn stage_write(&self, import: Uuid, rows: &[Staged]) -> StoreResult<StageWrite> {
        let backend = self.read().0.get_database_backend();
        let statement = |chunk: &[Staged]| {
            let mut insert = Query::insert();
            let columns = [staged::Column::ImportId, staged::Column::Change]
                .into_iter()
                .chain(CARRIED.map(|(_, column)| column));
            insert.into_table(staged::Entity).columns(columns);
            for row in chunk {
                insert
                    .values(values(import, row)?.map(Expr::value))
                    .map_err(|e| corrupt("ioc_stage", "columns", e))?;
            }
            let mut over = OnConflict::columns([staged::Column::ImportId, staged::Column::Id]);
            over.update_column(staged::Column::Change)
                .update_columns(CARRIED.iter().skip(IDENTITY).map(|(_, column)| *column));
            Ok(backend.build(insert.on_conflict(over)))
        };
        rows.chunks(ROWS).map(statement).collect::<StoreResult<Vec<_>>>().map(StageWrite)
    }
}

/// How many IOCs on the stage are new, changed, and merely seen again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// New.
    pub accepted: u64,
    /// Changed.
    pub updated: u64,
    /// Seen again.
    pub unchanged: u64,
}

/// Columns that go from the stage into `iocs`; the first five say which IOC it is and never change.
const CARRIED: [(ioc::Column, staged::Column); 14] = [
    (ioc::Column::Id, staged::Column::Id),
    (ioc::Column::Kind, staged::Column::Kind),
    (ioc::Column::Value, staged::Column::Value),
    (ioc::Column::ValueHead, staged::Column::ValueHead),
    (ioc::Column::ReversedHost, staged::Column::ReversedHost),
    (ioc::Column::FirstSeen, staged::Column::FirstSeen),
    (ioc::Column::LastSeen, staged::Column::LastSeen),
    (ioc::Column::Severity, staged::Column::Severity),
    (ioc::Column::State, staged::Column::State),
    (ioc::Column::RetiresAt, staged::Column::RetiresAt),
    (ioc::Column::Whitelist, staged::Column::Whitelist),
    (ioc::Column::Enrichment, staged::Column::Enrichment),
    (ioc::Column::CreatedAt, staged::Column::CreatedAt),
    (ioc::Column::Precedence, staged::Column::Precedence),
];
const IDENTITY: usize = 5;

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

/// Ids cut into equal ranges of about [`PROMOTED_AT_ONCE`] rows each: ids are spread evenly. Gives
/// where each begins, the first bits of it.
fn slices(rows: u64) -> impl Iterator<Item = (Uuid, Option<Uuid>)> {
    let count = rows.div_ceil(PROMOTED_AT_ONCE).clamp(1, 1 << 16).next_power_of_two();
    let begin = move |slice: u64| Uuid::from_u128(u128::from(slice * ((1 << 16) / count)) << 112);
    (0..count).map(move |slice| (begin(slice), (slice + 1 < count).then(|| begin(slice + 1))))
}

fn code(change: Change) -> i16 {
    match change {
        Change::Accepted => 1,
        Change::Updated => 2,
        Change::Unchanged => 3,
    }
}

fn change(code: i16) -> StoreResult<Change> {
    match code {
        1 => Ok(Change::Accepted),
        2 => Ok(Change::Updated),
        3 => Ok(Change::Unchanged),
        other => Err(corrupt("ioc_stage", "change", other)),
    }
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

fn of(import: Uuid) -> SelectStatement {
    Query::select().from(staged::Entity).and_where(staged::Column::ImportId.eq(import)).take()
}

impl<C: ConnectionTrait> Conn<C> {
    /// What an import has staged of these IOCs.
    pub async fn stage_fetch_many(
        &self,
        import: Uuid,
        ids: &[IocId],
    ) -> StoreResult<HashMap<IocId, Staged>> {
        let mut found = HashMap::new();
        for chunk in ids.chunks(ROWS) {
            let of_chunk = staged::Column::Id.is_in(chunk.iter().map(|i| i.0));
            for row in staged::Entity::find()
                .filter(staged::Column::ImportId.eq(import))
                .filter(of_chunk)
                .all(&self.0)
                .await?
            {
                let (change, created_at) = (change(row.change)?, row.created_at);
                let ioc = to_ioc(
                    row.id,
                    row.kind,
                    row.value,
                    row.first_seen,
                    row.last_seen,
                    row.state,
                    row.whitelist,
                    &row.enrichment,
                )?;
                found.insert(ioc.id, Staged { ioc, created_at, change });
            }
        }
        Ok(found)
    }

    /// How many IOCs an import has staged.
    pub async fn stage_counts(&self, import: Uuid) -> StoreResult<StageCounts> {
        let rows: Vec<(i16, i64)> = staged::Entity::find()
            .select_only()
            .column(staged::Column::Change)
            .column_as(staged::Column::Id.count(), "count")
            .filter(staged::Column::ImportId.eq(import))
            .group_by(staged::Column::Change)
            .into_tuple()
            .all(&self.0)
            .await?;
        let mut counts = StageCounts::default();
        for (code, count) in rows {
            let place = match change(code)? {
                Change::Accepted => &mut counts.accepted,
                Change::Updated => &mut counts.updated,
                Change::Unchanged => &mut counts.unchanged,
            };
            *place = u64::try_from(count).unwrap_or_default();
        }
        Ok(counts)
    }

    /// Staged IOCs that somebody else changed after the account's change number `since`.
    pub async fn stage_overtaken(
        &self,
        import: Uuid,
        account: &AccountId,
        since: i64,
    ) -> StoreResult<Vec<IocId>> {
        let mut ids = Vec::new();
        let changed = ioc::Entity::find()
            .select_only()
            .column(ioc::Column::Id)
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .filter(ioc::Column::Seq.gt(since))
            .filter(ioc::Column::Id.in_subquery(of(import).column(staged::Column::Id).take()));
        for id in changed.into_tuple::<Uuid>().all(&self.0).await? {
            ids.push(IocId(id));
        }
        Ok(ids)
    }
}

impl Txn {
    /// Begins an import; what it stages is swept unless it gives a sign of life before
    /// `alive_until` (real time).
    pub async fn import_begin(
        &self,
        import: Uuid,
        account: &AccountId,
        alive_until: Timestamp,
    ) -> StoreResult<()> {
        let row = import::ActiveModel {
            id: Set(import),
            account_id: Set(account.to_string()),
            alive_until: Set(alive_until.micros()),
        };
        import::Entity::insert(row).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Lays IOCs on the stage, over what lies there of them, as a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the import was taken for dead and swept.
    pub async fn stage_put_many(
        &self,
        import: Uuid,
        rows: StageWrite,
        alive_until: Timestamp,
    ) -> StoreResult<()> {
        let alive = import::Entity::update_many()
            .col_expr(import::Column::AliveUntil, Expr::value(alive_until.micros()))
            .filter(import::Column::Id.eq(import));
        if alive.exec(&self.0).await?.rows_affected == 0 {
            return Err(swept());
        }
        for statement in rows.0 {
            self.0.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Takes IOCs off the stage.
    pub async fn stage_take_off(&self, import: Uuid, ids: &[IocId]) -> StoreResult<()> {
        for chunk in ids.chunks(ROWS) {
            let of_chunk = staged::Column::Id.is_in(chunk.iter().map(|i| i.0));
            staged::Entity::delete_many()
                .filter(staged::Column::ImportId.eq(import))
                .filter(of_chunk)
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Makes all that an import staged seen, as reports of `source` under the account's change
    /// number `seq`, and ends the import. What lay on the stage is left to [`Txn::stage_clear`].
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the import was taken for dead and swept.
    pub async fn promote_staging(
        &self,
        import: Uuid,
        account: &AccountId,
        source: SourceId,
        seq: i64,
        counts: &StageCounts,
        order: PromoteOrder,
    ) -> StoreResult<()> {
        if import::Entity::delete_by_id(import).exec(&self.0).await?.rows_affected == 0 {
            return Err(swept());
        }
        let StageCounts { accepted, updated, unchanged } = counts;
        let rows = accepted + updated + unchanged;
        if order == PromoteOrder::AsStaged
            && self.0.get_database_backend() == DbBackend::Sqlite
            && self.is_large(rows).await?
            && let Some((low, high)) = self.staged_rows(import).await?
        {
            for first in (low..=high).step_by(PROMOTED_AT_ONCE as usize) {
                let slice = || staged_between(import, first, first + PROMOTED_AT_ONCE as i64);
                self.promote_iocs(slice(), account, seq).await?;
                self.promote_links(slice(), source).await?;
            }
            return Ok(());
        }
        for (first, behind) in slices(rows) {
            let slice = || {
                let mut slice = of(import);
                slice.and_where(staged::Column::Id.gte(first));
                slice.and_where_option(behind.map(|behind| staged::Column::Id.lt(behind)));
                slice
            };
            self.promote_iocs(slice(), account, seq).await?;
            self.promote_links(slice(), source).await?;
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
        source: SourceId,
    ) -> StoreResult<()> {
        staged.expr(Expr::value(source.0)).column(staged::Column::Id);
        let key = [ioc_source::Column::SourceId, ioc_source::Column::IocId];
        let insert = Query::insert()
            .into_table(ioc_source::Entity)
            .columns(key)
            .select_from(staged)
            .map_err(|e| corrupt("ioc_sources", "columns", e))?
            .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
            .take();
        self.0.execute(&insert).await?;
        Ok(())
    }

    /// Gives an import up.
    pub async fn import_end(&self, import: Uuid) -> StoreResult<()> {
        import::Entity::delete_by_id(import).exec(&self.0).await?;
        Ok(())
    }

    /// Ends the imports that gave no sign of life until `now` (real time).
    pub async fn import_end_lapsed(&self, now: Timestamp) -> StoreResult<()> {
        import::Entity::delete_many()
            .filter(import::Column::AliveUntil.lte(now.micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Takes some of what an import staged off the stage. Gives whether there was any.
    pub async fn stage_clear(&self, import: Uuid) -> StoreResult<bool> {
        let some = of(import).column(staged::Column::Id).limit(SWEEP).take();
        let clear = staged::Entity::delete_many()
            .filter(staged::Column::ImportId.eq(import))
            .filter(staged::Column::Id.in_subquery(some));
        Ok(clear.exec(&self.0).await?.rows_affected > 0)
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// An import that ended and still has something on the stage.
    pub async fn stage_left_behind(&self) -> StoreResult<Option<Uuid>> {
        let under_way = Query::select().column(import::Column::Id).from(import::Entity).take();
        Ok(staged::Entity::find()
            .select_only()
            .column(staged::Column::ImportId)
            .filter(staged::Column::ImportId.not_in_subquery(under_way))
            .limit(1)
            .into_tuple::<Uuid>()
            .one(&self.0)
            .await?)
    }
}

fn swept() -> StoreError {
    StoreError::Unusable("The import gave no sign of life for too long and was swept; nothing of it was written. Send it again.".to_owned())
}

/// In the order of [`CARRIED`], after the import and what it does.
fn values(import: Uuid, row: &Staged) -> StoreResult<[Value; 2 + CARRIED.len()]> {
    let Parts {
        id,
        kind,
        value,
        value_head,
        reversed_host,
        first_seen,
        last_seen,
        severity,
        state,
        retires_at,
        whitelist,
        enrichment,
        precedence,
    } = parts(&row.ioc)?;
    Ok([
        import.into(),
        code(row.change).into(),
        id.into(),
        kind.into(),
        value.into(),
        value_head.into(),
        reversed_host.into(),
        first_seen.into(),
        last_seen.into(),
        severity.into(),
        state.into(),
        retires_at.into(),
        whitelist.into(),
        enrichment.into(),
        row.created_at.into(),
        precedence.into(),
    ])
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
            for (first, behind) in slices(rows) {
                proptest::prop_assert!(before.is_none_or(|b| b == first), "no gap");
                before = behind;
                found += u32::from(id >= first && behind.is_none_or(|b| id < b));
            }
            proptest::prop_assert_eq!((found, before), (1, None));
        }
    }
}
