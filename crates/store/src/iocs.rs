//! IOCs.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::{Ioc, Kind, Severity, State, Whitelist},
    rule::Criteria,
    selection::value_head,
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, SelectModel, Selector, sea_query::Query,
};
use uuid::Uuid;

pub use self::precedence::{Standpoint, Walk};
use crate::{
    Conn, PageOf, StoreResult,
    error::corrupt,
    page::cursor,
    row::{ioc, ioc_source},
};

mod list;
use self::list::Order;

mod write;
pub(crate) use self::write::{Parts, active, parts};

mod conditions;
pub(crate) use self::conditions::conditions;
use self::conditions::{
    as_asked, candidates, changed, choosable_by, head, listing, of_kinds, reported_by, sendable,
};

mod precedence;
mod seen;

/// Most ids in one statement: few enough for SQLite's 32,766 variables.
const ROWS: usize = 1_000;
/// IOCs of a source that are looked at one by one.
const FEW: usize = 2_000;
/// Changes of an account among which a source that still reports is found.
const LATEST: u64 = 100_000;
/// Values in the conditions of one statement: SQLite takes 1,000 conditions, and 32,766 values.
const MOST_ASKED: usize = 1_000;

/// An IOC with the number of its last change.
#[derive(Clone, Debug)]
pub struct IocRow {
    /// The IOC.
    pub ioc: Ioc,
    /// Change number.
    pub seq: i64,
    /// Change number under which it came; 0 where that was not written down yet.
    pub first_seq: i64,
    /// When it was first imported, in UTC microseconds.
    pub created_at: i64,
    /// Deleted by a person: gone from every list, kept for the tombstones.
    pub deleted: bool,
}

/// What to list. Empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IocFilter {
    /// This value exactly.
    pub value: Option<String>,
    /// Values that begin so.
    pub prefix: Option<String>,
    /// Hosts under this domain.
    pub domain_suffix: Option<String>,
    /// One of these kinds.
    pub kinds: Vec<Kind>,
    /// One of these severities.
    pub severities: Vec<Severity>,
    /// This state.
    pub state: Option<State>,
    /// Reported by one of these sources.
    pub sources: Vec<SourceId>,
    /// One of these whitelist states.
    pub whitelist: Vec<Whitelist>,
    /// First seen between these times, both included.
    pub first_seen: (Option<Timestamp>, Option<Timestamp>),
    /// Last seen between these times, both included.
    pub last_seen: (Option<Timestamp>, Option<Timestamp>),
}

impl IocFilter {
    /// Whether everything fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The source, where one is all that is asked for.
    fn only_source(&self) -> Option<SourceId> {
        let [source] = self.sources.as_slice() else { return None };
        (*self == Self { sources: vec![*source], ..Self::default() }).then_some(*source)
    }
}

/// The columns that say what an IOC is; the others are only searched by. A publication reads very
/// many rows.
#[derive(Debug, FromQueryResult)]
struct IocWithSources {
    id: Uuid,
    seq: i64,
    first_seq: i64,
    kind: i16,
    value: String,
    first_seen: i64,
    last_seen: i64,
    state: i16,
    whitelist: i16,
    enrichment: String,
    created_at: i64,
    deleted_at: Option<i64>,
    precedence: Option<i64>,
}

/// IOCs as they were read. What they are can be found out on any thread.
#[derive(Debug)]
pub struct IocPage(Vec<IocWithSources>);

impl IocPage {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Change number and id of the last one.
    #[must_use]
    pub fn last(&self) -> Option<(i64, IocId)> {
        self.0.last().map(|row| (row.seq, IocId(row.id)))
    }

    /// The place of the last one in the order of precedence.
    #[must_use]
    pub fn last_place(&self) -> Option<Standpoint> {
        self.0.last().and_then(|row| {
            Some(Standpoint {
                precedence: row.precedence?,
                head: value_head(&row.value).to_owned(),
                id: IocId(row.id),
            })
        })
    }

    /// What they are.
    ///
    /// # Errors
    /// If one is not as it was written.
    pub fn rows(self) -> StoreResult<Vec<IocRow>> {
        self.0.into_iter().map(to_row).collect()
    }
}

fn with_sources(find: Select<ioc::Entity>) -> Selector<SelectModel<IocWithSources>> {
    use ioc::Column as C;
    let what = [
        C::Id,
        C::Seq,
        C::FirstSeq,
        C::Kind,
        C::Value,
        C::FirstSeen,
        C::LastSeen,
        C::State,
        C::Whitelist,
        C::Enrichment,
    ];
    let columns = what.into_iter().chain([C::CreatedAt, C::DeletedAt, C::Precedence]);
    find.select_only().columns(columns).into_model()
}

fn to_row(row: IocWithSources) -> StoreResult<IocRow> {
    let (seq, first_seq, created_at, deleted) =
        (row.seq, row.first_seq, row.created_at, row.deleted_at.is_some());
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
    Ok(IocRow { ioc, seq, first_seq, created_at, deleted })
}

/// The IOC in the columns that `iocs` and the stage share.
pub(crate) fn to_ioc(
    id: Uuid,
    kind: i16,
    value: String,
    first_seen: i64,
    last_seen: i64,
    state: i16,
    whitelist: i16,
    enrichment: &str,
) -> StoreResult<Ioc> {
    Ok(Ioc {
        id: IocId(id),
        kind: Kind::from_code(kind).ok_or_else(|| corrupt("iocs", "kind", kind))?,
        value,
        first_seen: Timestamp::from_micros(first_seen),
        last_seen: Timestamp::from_micros(last_seen),
        state: State::from_code(state).ok_or_else(|| corrupt("iocs", "state", state))?,
        whitelist: Whitelist::from_code(whitelist)
            .ok_or_else(|| corrupt("iocs", "whitelist", whitelist))?,
        enrichment: serde_json::from_str(enrichment)
            .map_err(|e| corrupt("iocs", "enrichment", e))?,
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// IOCs by id, deleted ones too.
    pub async fn ioc_fetch_many(&self, ids: &[IocId]) -> StoreResult<HashMap<IocId, IocRow>> {
        let mut found = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(ROWS) {
            for row in with_sources(
                ioc::Entity::find().filter(ioc::Column::Id.is_in(chunk.iter().map(|i| i.0))),
            )
            .all(&self.0)
            .await?
            {
                let row = to_row(row)?;
                found.insert(row.ioc.id, row);
            }
        }
        Ok(found)
    }

    /// One IOC of an account, unless it was deleted.
    pub async fn ioc_fetch(&self, account: &AccountId, id: IocId) -> StoreResult<Option<IocRow>> {
        let find = ioc::Entity::find_by_id(id.0)
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .filter(ioc::Column::DeletedAt.is_null());
        with_sources(find).one(&self.0).await?.map(to_row).transpose()
    }

    /// A page of what changed after number `from` and up to `to`, in order of (number, id); deleted
    /// ones too.
    pub async fn ioc_changed(
        &self,
        account: &AccountId,
        from: i64,
        to: i64,
        after: Option<(i64, IocId)>,
        limit: u64,
    ) -> StoreResult<Vec<IocRow>> {
        with_sources(changed(account, from, to, after).limit(limit))
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_row)
            .collect()
    }

    /// The same of all numbers up to `to`, but only of what one of these criteria may choose as far
    /// as columns tell: the index that is walked along holds most of them, so that of very many
    /// IOCs few are read.
    pub async fn ioc_candidates(
        &self,
        account: &AccountId,
        rules: &[&Criteria],
        to: i64,
        after: Option<(i64, IocId)>,
        limit: u64,
    ) -> StoreResult<IocPage> {
        if rules.is_empty() {
            return Ok(IocPage(Vec::new()));
        }
        Ok(IocPage(
            with_sources(candidates(account, rules, to, after).limit(limit)).all(&self.0).await?,
        ))
    }

    /// Those that changed after number `from` and may not be sent any more, deleted ones too.
    pub async fn ioc_withdrawn(&self, account: &AccountId, from: i64) -> StoreResult<Vec<IocId>> {
        let find = changed(account, from, i64::MAX, None)
            .filter(sendable().not())
            .select_only()
            .column(ioc::Column::Id);
        Ok(find.into_tuple::<Uuid>().all(&self.0).await?.into_iter().map(IocId).collect())
    }

    /// A page of the IOCs that changed in a range of numbers, in order of (number, id).
    pub async fn ioc_scan(
        &self,
        account: &AccountId,
        (first, last): (i64, i64),
        filter: &IocFilter,
        after: Option<&str>,
        limit: u64,
    ) -> StoreResult<PageOf<IocRow>> {
        let after = after
            .map(cursor)
            .transpose()?
            .filter(|(seq, _)| *seq >= first)
            .map(|(seq, id)| (seq, IocId(id)));
        let rows = with_sources(
            changed(account, first - 1, last, after).filter(conditions(filter)).limit(limit + 1),
        )
        .all(&self.0)
        .await?;
        let rows = rows.into_iter().map(to_row).collect::<StoreResult<Vec<_>>>()?;
        Ok(PageOf::cut(rows, limit, |r| format!("{}.{}", r.seq, r.ioc.id)))
    }

    /// How many IOCs of an account there are that a rule may choose: reported by one of these
    /// sources, of these kinds and severities, in this state, first seen in this window; never
    /// those that are never sent. Empty lists of kinds and severities ask for nothing.
    pub async fn ioc_count(
        &self,
        account: &AccountId,
        criteria: &Criteria,
        sources: &[SourceId],
    ) -> StoreResult<u64> {
        Ok(self.choosable(account, criteria, sources).count(&self.0).await?)
    }

    /// The latest of the same IOCs.
    pub async fn ioc_choosable(
        &self,
        account: &AccountId,
        criteria: &Criteria,
        sources: &[SourceId],
        limit: u64,
    ) -> StoreResult<Vec<IocRow>> {
        let find =
            self.choosable(account, criteria, sources).order_by_desc(ioc::Column::Seq).limit(limit);
        with_sources(find).all(&self.0).await?.into_iter().map(to_row).collect()
    }

    fn choosable(
        &self,
        account: &AccountId,
        criteria: &Criteria,
        sources: &[SourceId],
    ) -> Select<ioc::Entity> {
        let reported = Query::select()
            .column(ioc_source::Column::IocId)
            .from(ioc_source::Entity)
            .and_where(ioc_source::Column::SourceId.is_in(sources.iter().map(|s| s.0)))
            .take();
        ioc::Entity::find()
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .filter(sendable())
            .filter(ioc::Column::Id.in_subquery(reported))
            .filter(of_kinds(criteria))
            .filter(as_asked(criteria))
    }

    /// How many IOCs an account has.
    pub async fn ioc_any(&self, account: &AccountId) -> StoreResult<bool> {
        Ok(ioc::Entity::find()
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .is_some())
    }

    /// Accounts that hold Active IOCs due to retire at `now`, with some of those IOCs.
    pub async fn ioc_due_to_retire(
        &self,
        now: Timestamp,
        limit: u64,
    ) -> StoreResult<Vec<(AccountId, IocId)>> {
        let rows: Vec<(String, Uuid)> = ioc::Entity::find()
            .select_only()
            .column(ioc::Column::AccountId)
            .column(ioc::Column::Id)
            .filter(ioc::Column::State.eq(State::Active.code()))
            .filter(ioc::Column::RetiresAt.lte(now.micros()))
            .order_by_asc(ioc::Column::RetiresAt)
            .limit(limit)
            .into_tuple()
            .all(&self.0)
            .await?;
        rows.into_iter()
            .map(|(account, id)| Ok((crate::accounts::account_id("iocs", account)?, IocId(id))))
            .collect()
    }
}

#[cfg(test)]
mod plans;
