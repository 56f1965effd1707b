//! What sources report, counted once a day.

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    import::ImportState,
    quality::{SourceCounts, SourceDay},
    time::{DAY, Timestamp},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait as _, QueryFilter, QueryOrder,
    QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use crate::{
    Conn, StoreResult,
    accounts::account_id,
    row::{
        account, group, import_record, ioc_source, source, source_count, source_day, source_overlap,
    },
};

mod fates;
mod write;

/// Most rows in one statement.
const ROWS: usize = 1_000;

/// Longer than any import takes, in microseconds.
const LONGEST: i64 = DAY;

/// IOCs whose ids are from the first on and below the second, which may be open.
pub type IdRange = (Uuid, Option<Uuid>);

/// How many things of a source imports met, and how many of those they refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Things that were met.
    pub handled: u64,
    /// Those that were refused.
    pub refused: u64,
}

/// A source on one day, with what its imports brought since the count before.
#[derive(Clone, Copy, Debug)]
pub struct CountedSource {
    /// The source.
    pub source_id: SourceId,
    /// What was counted.
    pub day: SourceDay,
    /// What its imports met.
    pub handled: Handled,
}

/// When the sources of an account were counted last.
#[derive(Clone, Copy, Debug)]
pub struct LastCount {
    /// When; none if they never were.
    pub counted_at: Option<Timestamp>,
    /// Imports that ended before this are counted.
    pub imports_until: Timestamp,
}

fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

fn stored(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn within(column: impl ColumnTrait, (from, to): IdRange) -> Condition {
    Condition::all().add(column.gte(from)).add_option(to.map(|to| column.lt(to)))
}

fn to_counted(row: source_day::Model) -> CountedSource {
    let source_day::Model {
        source_id,
        day: _,
        counted_at,
        iocs,
        only_here,
        timed,
        first_here,
        never_sent,
        kept_back,
        in_groups,
        handled,
        refused,
        fetched,
    } = row;
    CountedSource {
        source_id: SourceId(source_id),
        day: SourceDay {
            counted_at: Timestamp::from_micros(counted_at),
            counts: SourceCounts {
                iocs: number(iocs),
                only: number(only_here),
                timed: number(timed),
                first: number(first_here),
                never_sent: number(never_sent),
                kept_back: number(kept_back),
                in_groups: number(in_groups),
                fetched: number(fetched),
            },
        },
        handled: Handled { handled: number(handled), refused: number(refused) },
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// Accounts with sources that were not counted on this day (days since 1970), and that nobody
    /// counts at the moment.
    pub async fn source_counts_due(
        &self,
        day: i64,
        real_now: Timestamp,
    ) -> StoreResult<Vec<AccountId>> {
        let has_sources = sea_orm::sea_query::Query::select()
            .expr(Expr::value(1))
            .from(source::Entity)
            .and_where(
                Expr::col((source::Entity, source::Column::AccountId))
                    .equals((account::Entity, account::Column::Id)),
            )
            .take();
        let is_done = sea_orm::sea_query::Query::select()
            .column(source_count::Column::AccountId)
            .from(source_count::Entity)
            .cond_where(
                Condition::any()
                    .add(source_count::Column::Day.gte(day))
                    .add(source_count::Column::ClaimedUntil.gt(real_now.micros())),
            )
            .take();
        let find = account::Entity::find()
            .select_only()
            .column(account::Column::Id)
            .filter(Expr::exists(has_sources))
            .filter(account::Column::Id.not_in_subquery(is_done));
        let found: Vec<String> = find.into_tuple().all(&self.0).await?;
        found.into_iter().map(|id| account_id("accounts", id)).collect()
    }

    /// When the sources of an account were counted last.
    pub async fn source_count_last(&self, account: &AccountId) -> StoreResult<Option<LastCount>> {
        let row = source_count::Entity::find_by_id(account.as_str()).one(&self.0).await?;
        Ok(row.map(|row| LastCount {
            counted_at: row.counted_at.map(Timestamp::from_micros),
            imports_until: Timestamp::from_micros(row.imports_until),
        }))
    }

    /// About how many rows a count of an account walks over: reports, or members of groups,
    /// whichever are more.
    pub async fn source_count_size(
        &self,
        account: &AccountId,
        sources: &[SourceId],
    ) -> StoreResult<u64> {
        let mut reports = 0;
        for source in sources {
            reports += self.source_ioc_count(*source).await?;
        }
        let live: Option<i64> = group::Entity::find()
            .select_only()
            .column_as(Expr::cust("CAST(COALESCE(SUM(live), 0) AS BIGINT)"), "live")
            .filter(group::Column::AccountId.eq(account.as_str()))
            .into_tuple()
            .one(&self.0)
            .await?;
        Ok(Ord::max(reports, number(live.unwrap_or_default())))
    }

    /// What a source reports in a range, by id: the IOCs, and when the report of each came first.
    pub async fn source_reports(
        &self,
        source: SourceId,
        range: IdRange,
    ) -> StoreResult<Vec<(IocId, Option<i64>)>> {
        let rows: Vec<(Uuid, Option<i64>)> = ioc_source::Entity::find()
            .select_only()
            .columns([ioc_source::Column::IocId, ioc_source::Column::FirstAt])
            .filter(ioc_source::Column::SourceId.eq(source.0))
            .filter(within(ioc_source::Column::IocId, range))
            .order_by_asc(ioc_source::Column::IocId)
            .into_tuple()
            .all(&self.0)
            .await?;
        Ok(rows.into_iter().map(|(id, at)| (IocId(id), at)).collect())
    }

    /// Imports of an account that ended in a span and were taken: in order of their beginning, some
    /// at a time; each with its source, what it met, and its report.
    pub async fn imports_taken_between(
        &self,
        account: &AccountId,
        (from, to): (Timestamp, Timestamp),
        after: Option<(i64, Uuid)>,
        limit: u64,
    ) -> StoreResult<Vec<TakenImport>> {
        use import_record::Column;
        let mut find = import_record::Entity::find()
            .select_only()
            .columns([
                Column::StartedAt,
                Column::Id,
                Column::SourceId,
                Column::Handled,
                Column::Report,
            ])
            .filter(Column::AccountId.eq(account.as_str()))
            .filter(Column::State.eq(ImportState::Done.code()))
            // By an index; no import runs as long as that.
            .filter(Column::StartedAt.gte(from.plus(-LONGEST).micros()))
            .filter(Column::EndedAt.gte(from.micros()))
            .filter(Column::EndedAt.lt(to.micros()));
        if let Some((at, id)) = after {
            let same = Column::StartedAt.eq(at).and(Column::Id.gt(id));
            find = find.filter(Column::StartedAt.gt(at).or(same));
        }
        let rows: Vec<(i64, Uuid, Uuid, i64, String)> = find
            .order_by_asc(Column::StartedAt)
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.0)
            .await?;
        let line = |(at, id, source, handled, report)| TakenImport {
            place: (at, id),
            source_id: SourceId(source),
            handled: number(handled),
            report,
        };
        Ok(rows.into_iter().map(line).collect())
    }

    /// The days on which a source was counted, latest first.
    pub async fn source_days(
        &self,
        source: SourceId,
        limit: u64,
    ) -> StoreResult<Vec<CountedSource>> {
        let find = source_day::Entity::find()
            .filter(source_day::Column::SourceId.eq(source.0))
            .order_by_desc(source_day::Column::Day)
            .limit(limit);
        Ok(find.all(&self.0).await?.into_iter().map(to_counted).collect())
    }

    /// The days of some sources from one day on.
    pub async fn source_days_since(
        &self,
        sources: &[SourceId],
        day: i64,
    ) -> StoreResult<Vec<CountedSource>> {
        let mut found = Vec::new();
        for chunk in sources.chunks(ROWS) {
            let find = source_day::Entity::find()
                .filter(source_day::Column::SourceId.is_in(chunk.iter().map(|of| of.0)))
                .filter(source_day::Column::Day.gte(day))
                .order_by_asc(source_day::Column::Day);
            found.extend(find.all(&self.0).await?.into_iter().map(to_counted));
        }
        Ok(found)
    }

    /// How many IOCs pairs of sources of an account share, as last counted.
    pub async fn source_overlaps(
        &self,
        account: &AccountId,
    ) -> StoreResult<Vec<(SourceId, SourceId, u64)>> {
        let find = source_overlap::Entity::find()
            .filter(source_overlap::Column::AccountId.eq(account.as_str()))
            .order_by_asc(source_overlap::Column::SourceA)
            .order_by_asc(source_overlap::Column::SourceB);
        let pair = |row: source_overlap::Model| {
            (SourceId(row.source_a), SourceId(row.source_b), number(row.iocs))
        };
        Ok(find.all(&self.0).await?.into_iter().map(pair).collect())
    }
}

/// An import that was taken.
#[derive(Clone, Debug)]
pub struct TakenImport {
    /// Where it stands among those of its account.
    pub place: (i64, Uuid),
    /// The source it went into.
    pub source_id: SourceId,
    /// How many things it met.
    pub handled: u64,
    /// What it did, as JSON.
    pub report: String,
}
