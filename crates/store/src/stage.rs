//! The stage of imports. IOCs are merged and laid here in small writes that hold nobody up; one
//! statement makes them seen.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, IocId},
    ioc::{Change, Ioc, State},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    Statement, Value,
    sea_query::{Expr, OnConflict, Query, SelectStatement},
};
use uuid::Uuid;

use crate::{
    Conn, Store, StoreError, StoreResult, Txn,
    error::corrupt,
    iocs::{Parts, parts, to_ioc},
    row::{import, ioc, staged},
    threat_names::noted,
};

mod promote;
use self::promote::IDENTITY;
pub use self::promote::{PromoteOrder, id_ranges};

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
    pub fn stage_write(
        &self,
        account: &AccountId,
        import: Uuid,
        rows: &[Staged],
    ) -> StoreResult<StageWrite> {
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
        let mut all: Vec<Statement> =
            rows.chunks(ROWS).map(statement).collect::<StoreResult<Vec<_>>>()?;
        // What they carry is noted before they are seen: who reads by a name looks again.
        let each = rows.iter().map(|row| (row.ioc.id.0, &row.ioc.enrichment));
        all.extend(noted(backend, account, each)?);
        Ok(StageWrite(all))
    }
}

/// How many IOCs on the stage are new, changed, and merely seen again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// New.
    pub accepted: u64,
    /// Of the new ones, those that are retired at once.
    pub retired: u64,
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

/// The number in which a change is stored.
pub(crate) fn code(change: Change) -> i16 {
    match change {
        Change::Accepted => 1,
        Change::Updated => 2,
        Change::Unchanged => 3,
    }
}

/// The change stored as `code`.
pub(crate) fn change_of(code: i16) -> StoreResult<Change> {
    match code {
        1 => Ok(Change::Accepted),
        2 => Ok(Change::Updated),
        3 => Ok(Change::Unchanged),
        other => Err(corrupt("ioc_stage", "change", other)),
    }
}

/// The IOC of a row.
pub(crate) fn staged_ioc(row: staged::Model) -> StoreResult<Ioc> {
    to_ioc(
        row.id,
        row.kind,
        row.value,
        row.first_seen,
        row.last_seen,
        row.state,
        row.whitelist,
        &row.enrichment,
    )
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
                let (change, created_at) = (change_of(row.change)?, row.created_at);
                let ioc = staged_ioc(row)?;
                found.insert(ioc.id, Staged { ioc, created_at, change });
            }
        }
        Ok(found)
    }

    /// How many IOCs an import has staged.
    pub async fn stage_counts(&self, import: Uuid) -> StoreResult<StageCounts> {
        let rows: Vec<(i16, i16, i64)> = staged::Entity::find()
            .select_only()
            .column(staged::Column::Change)
            .column(staged::Column::State)
            .column_as(staged::Column::Id.count(), "count")
            .filter(staged::Column::ImportId.eq(import))
            .group_by(staged::Column::Change)
            .group_by(staged::Column::State)
            .into_tuple()
            .all(&self.0)
            .await?;
        let mut counts = StageCounts::default();
        for (code, state, count) in rows {
            let count = u64::try_from(count).unwrap_or_default();
            if change_of(code)? == Change::Accepted && state == State::Retired.code() {
                counts.retired += count;
            }
            let place = match change_of(code)? {
                Change::Accepted => &mut counts.accepted,
                Change::Updated => &mut counts.updated,
                Change::Unchanged => &mut counts.unchanged,
            };
            *place += count;
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
            review: Set(false),
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

    /// Gives an import up.
    pub async fn import_end(&self, import: Uuid) -> StoreResult<()> {
        import::Entity::delete_by_id(import).exec(&self.0).await?;
        Ok(())
    }

    /// Ends the imports that gave no sign of life until `now` (real time), and the reviews that
    /// were not taken until then.
    pub async fn import_end_lapsed(&self, now: Timestamp) -> StoreResult<()> {
        import::Entity::delete_many()
            .filter(import::Column::AliveUntil.lte(now.micros()))
            .exec(&self.0)
            .await?;
        self.import_records_end_lapsed().await
    }

    /// Ends all imports that are being read: at a start, none can be.
    pub async fn import_end_all(&self) -> StoreResult<()> {
        import::Entity::delete_many()
            .filter(import::Column::Review.eq(false))
            .exec(&self.0)
            .await?;
        self.import_takes_end().await?;
        self.import_records_end_lapsed().await
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
        let mut after = Uuid::nil();
        // One step of the index for each import, not one for each IOC.
        loop {
            let next = staged::Entity::find()
                .select_only()
                .column(staged::Column::ImportId)
                .filter(staged::Column::ImportId.gt(after))
                .order_by_asc(staged::Column::ImportId)
                .limit(1);
            let Some(id) = next.into_tuple::<Uuid>().one(&self.0).await? else { return Ok(None) };
            if import::Entity::find_by_id(id).one(&self.0).await?.is_none() {
                return Ok(Some(id));
            }
            after = id;
        }
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
