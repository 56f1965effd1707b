//! IOCs.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::{Ioc, Kind, Severity, State, Whitelist},
    normalise::reversed_host,
    rule::{Criteria, StateFilter},
    selection::{self, value_head},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::NotSet,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select, SelectModel,
    Selector, Set,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

pub use self::precedence::{Standpoint, Walk};
use crate::{
    Conn, Page, PageOf, StoreError, StoreResult, Txn,
    error::corrupt,
    page::cursor,
    row::{ioc, ioc_source},
};

mod precedence;

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

/// The ids of a page.
fn listing(
    account: &AccountId,
    filter: &IocFilter,
    after: Option<(Expr, Uuid)>,
    limit: u64,
) -> Select<ioc::Entity> {
    let (column, way) = match filter.order() {
        Order::Changed => (ioc::Column::Seq, sea_orm::Order::Desc),
        Order::Value => (ioc::Column::ValueHead, sea_orm::Order::Asc),
        Order::Host => (ioc::Column::ReversedHost, sea_orm::Order::Asc),
    };
    let mut find = ioc::Entity::find()
        .select_only()
        .column(ioc::Column::Id)
        .filter(ioc::Column::AccountId.eq(account.as_str()))
        .filter(conditions(filter));
    if let Some((at, id)) = after {
        let (row, last) = (
            Expr::tuple([Expr::col(column), Expr::col(ioc::Column::Id)]),
            Expr::tuple([at, Expr::value(id)]),
        );
        find = find.filter(if way == sea_orm::Order::Desc { row.lt(last) } else { row.gt(last) });
    }
    find.order_by(column, way.clone()).order_by(ioc::Column::Id, way).limit(limit + 1)
}

fn changed(
    account: &AccountId,
    from: i64,
    to: i64,
    after: Option<(i64, IocId)>,
) -> Select<ioc::Entity> {
    // One lower bound only: given both, SQLite takes the number's, and walks again through all that
    // was listed before.
    let behind = match after {
        Some((seq, id)) => place().gt(Expr::tuple([Expr::value(seq), Expr::value(id.0)])),
        None => ioc::Column::Seq.gt(from),
    };
    let find = ioc::Entity::find()
        .filter(ioc::Column::AccountId.eq(account.as_str()))
        .filter(behind)
        .filter(ioc::Column::Seq.lte(to));
    find.order_by_asc(ioc::Column::Seq).order_by_asc(ioc::Column::Id)
}

fn candidates(
    account: &AccountId,
    rules: &[&Criteria],
    to: i64,
    after: Option<(i64, IocId)>,
) -> Select<ioc::Entity> {
    changed(account, -1, to, after).filter(sendable()).filter(choosable_by(rules))
}

/// What one of these rules may choose, as far as columns tell. A test says that none is left out
/// that a rule chooses.
fn choosable_by(rules: &[&Criteria]) -> Condition {
    let one = |criteria: &&Criteria| {
        let mut all = of_kinds(criteria);
        // What is on the blocklist is chosen whatever else is asked.
        if !criteria.blocklist {
            all = all.add(as_asked(criteria));
            if !criteria.source_ids.is_empty() {
                all = all.add(reported_by(
                    &criteria.source_ids,
                    Expr::col((ioc::Entity, ioc::Column::Id)),
                ));
            }
        }
        all
    };
    let each: Vec<Condition> = rules.iter().map(one).collect();
    // One that asks for nothing lets everything by; an empty condition would be left out instead.
    // Very many do, too: a statement takes only so much.
    let asked: usize =
        rules.iter().map(|r| 4 + r.kinds.len() + r.severities.len() + r.source_ids.len()).sum();
    if asked > MOST_ASKED || each.iter().any(Condition::is_empty) {
        Condition::all()
    } else {
        each.into_iter().fold(Condition::any(), Condition::add)
    }
}

/// What may be sent at all.
fn sendable() -> Condition {
    Condition::all()
        .add(ioc::Column::DeletedAt.is_null())
        .add(ioc::Column::Whitelist.ne(Whitelist::NeverSent.code()))
}

fn of_kinds(criteria: &Criteria) -> Condition {
    let kinds = &criteria.kinds;
    Condition::all().add_option(
        (!kinds.is_empty()).then(|| ioc::Column::Kind.is_in(kinds.iter().map(|k| k.code()))),
    )
}

/// Severity, state and first seen, as criteria ask for them.
fn as_asked(criteria: &Criteria) -> Condition {
    let Criteria { severities, state, first_seen_from, first_seen_to, .. } = criteria;
    let state = match state {
        StateFilter::Active => Some(State::Active),
        StateFilter::Retired => Some(State::Retired),
        StateFilter::Any => None,
    };
    Condition::all()
        .add_option(
            (!severities.is_empty())
                .then(|| ioc::Column::Severity.is_in(severities.iter().map(|s| s.code()))),
        )
        .add_option(state.map(|state| ioc::Column::State.eq(state.code())))
        .add_option(first_seen_from.map(|from| ioc::Column::FirstSeen.gte(from.micros())))
        .add_option(first_seen_to.map(|to| ioc::Column::FirstSeen.lt(to.micros())))
}

/// Where an IOC stands in the order of changes; compared as a pair, so that a page is a range of
/// the index.
fn place() -> Expr {
    Expr::tuple([Expr::col(ioc::Column::Seq), Expr::col(ioc::Column::Id)])
}

fn head(value: &str) -> String {
    value_head(value).to_owned()
}

/// The least text behind every text that begins with `prefix`.
fn behind(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

/// What a row must be to fit.
pub(crate) fn conditions(filter: &IocFilter) -> Condition {
    let IocFilter {
        value,
        prefix,
        domain_suffix,
        kinds,
        severities,
        state,
        sources,
        whitelist,
        first_seen,
        last_seen,
    } = filter;
    let mut all = Condition::all().add(ioc::Column::DeletedAt.is_null());
    if let Some(value) = value {
        all = all
            .add(ioc::Column::ValueHead.eq(head(value)))
            .add(ioc::Column::Value.eq(value.as_str()));
    }
    if let Some(prefix) = prefix {
        all = all
            .add(ioc::Column::ValueHead.gte(head(prefix)))
            .add(ioc::Column::ValueHead.lt(behind(&head(prefix))));
    }
    if let Some(suffix) = domain_suffix {
        // What is no domain has nothing under it: no host begins with a blank.
        let reversed = reversed_host(Kind::Domain, suffix).unwrap_or_else(|| " ".to_owned());
        all = all
            .add(ioc::Column::ReversedHost.gte(reversed.as_str()))
            .add(ioc::Column::ReversedHost.lt(behind(&reversed)));
    }
    if let Some(state) = state {
        all = all.add(ioc::Column::State.eq(state.code()));
    }
    let codes: [(ioc::Column, Vec<i16>); 3] = [
        (ioc::Column::Kind, kinds.iter().map(|k| k.code()).collect()),
        (ioc::Column::Severity, severities.iter().map(|s| s.code()).collect()),
        (ioc::Column::Whitelist, whitelist.iter().map(|w| w.code()).collect()),
    ];
    for (column, codes) in codes.into_iter().filter(|(_, codes)| !codes.is_empty()) {
        all = all.add(column.is_in(codes));
    }
    for (column, (from, to)) in
        [(ioc::Column::FirstSeen, first_seen), (ioc::Column::LastSeen, last_seen)]
    {
        all = all
            .add_option(from.map(|from| column.gte(from.micros())))
            .add_option(to.map(|to| column.lte(to.micros())));
    }
    if !sources.is_empty() {
        all = all.add(reported_by(sources, Expr::col((ioc::Entity, ioc::Column::Id))));
    }
    all
}

/// Whether one of the sources reported the IOC of this id.
fn reported_by(sources: &[SourceId], id: Expr) -> Expr {
    let of_sources = Query::select()
        .expr(Expr::value(1))
        .from(ioc_source::Entity)
        .and_where(
            Expr::col((ioc_source::Entity, ioc_source::Column::SourceId))
                .is_in(sources.iter().map(|s| s.0)),
        )
        .and_where(Expr::col((ioc_source::Entity, ioc_source::Column::IocId)).eq(id))
        .take();
    Expr::exists(of_sources)
}

/// In which order a page is listed: in that of the index that narrows the search, so that no page
/// needs sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Last changed first.
    Changed,
    Value,
    Host,
}

impl IocFilter {
    fn order(&self) -> Order {
        let Self { value, prefix, domain_suffix, .. } = self;
        if value.is_some() || prefix.is_some() {
            Order::Value
        } else if domain_suffix.is_some() {
            Order::Host
        } else {
            Order::Changed
        }
    }
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

    /// A page of the account's IOCs: last changed first, or where a prefix or a domain is asked for
    /// in order of value or host.
    ///
    /// The ids are found in an index alone, which holds every column that is filtered by: of a
    /// million IOCs none is read that does not fit.
    pub async fn ioc_list(
        &self,
        account: &AccountId,
        filter: &IocFilter,
        page: &Page,
    ) -> StoreResult<PageOf<IocRow>> {
        let few = match filter.sources.as_slice() {
            // So few that they are looked at one by one.
            [source] => Some(self.source_ioc_ids(*source, None, FEW as u64 + 1).await?)
                .filter(|ids| ids.len() <= FEW),
            _ => None,
        };
        if let Some(source) = filter.only_source().filter(|_| few.is_none())
            && let Some(found) = self.of_quiet_source(account, source, page).await?
        {
            return Ok(found);
        }
        let after = match (filter.order(), page.after.as_deref()) {
            (_, None) => None,
            (Order::Changed, Some(text)) => {
                let (seq, id) = cursor(text)?;
                Some((Expr::value(seq), id))
            }
            // The row says where it stands.
            (order, Some(text)) => {
                let id: Uuid = text.parse().map_err(|_invalid| StoreError::Cursor)?;
                let row = ioc::Entity::find_by_id(id)
                    .filter(ioc::Column::AccountId.eq(account.as_str()))
                    .one(&self.0)
                    .await?
                    .ok_or(StoreError::Cursor)?;
                Some((
                    if order == Order::Value {
                        Expr::value(row.value_head)
                    } else {
                        Expr::value(row.reversed_host)
                    },
                    id,
                ))
            }
        };
        let mut find = listing(account, filter, after, page.limit);
        if let Some(ids) = few {
            find = find.filter(ioc::Column::Id.is_in(ids));
        }
        let found: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
        let mut rows =
            self.ioc_fetch_many(&found.iter().copied().map(IocId).collect::<Vec<_>>()).await?;
        let rows = found.into_iter().filter_map(|id| rows.remove(&IocId(id))).collect();
        Ok(PageOf::cut(rows, page.limit, |r| match filter.order() {
            Order::Changed => format!("{}.{}", r.seq, r.ioc.id),
            Order::Value | Order::Host => r.ioc.id.to_string(),
        }))
    }

    /// A page of the IOCs of a source that has many, but too few for a page among the latest
    /// changes of the account: to find them in order of change, all that others reported since
    /// would be walked through. They are listed by id instead, at a steady cost. None for other
    /// sources.
    async fn of_quiet_source(
        &self,
        account: &AccountId,
        source: SourceId,
        page: &Page,
    ) -> StoreResult<Option<PageOf<IocRow>>> {
        // What is another account's is not there.
        if self.source_fetch(account, source).await?.is_none() {
            return Ok(None);
        }
        let after = match page.after.as_deref() {
            // A walk goes on in the order in which it began.
            Some(text) if text.contains('.') => return Ok(None),
            Some(text) => Some(text.parse::<Uuid>().map_err(|_invalid| StoreError::Cursor)?),
            None => {
                let latest = listing(account, &IocFilter::default(), None, LATEST - 1);
                let mut probe = Query::select();
                probe
                    .expr(Expr::value(1))
                    .from_subquery(latest.into_query(), "latest")
                    .limit(page.limit + 1);
                probe.and_where(reported_by(&[source], Expr::col(("latest", "id"))));
                if self.0.query_all(&probe).await?.len() as u64 > page.limit {
                    return Ok(None);
                }
                None
            }
        };
        let ids = self.source_ioc_ids(source, after, page.limit + 1).await?;
        let mut rows =
            self.ioc_fetch_many(&ids.iter().copied().map(IocId).collect::<Vec<_>>()).await?;
        let rows: Vec<IocRow> = ids.into_iter().filter_map(|id| rows.remove(&IocId(id))).collect();
        Ok(Some(PageOf::cut(rows, page.limit, |r| r.ioc.id.to_string())))
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

impl Txn {
    /// Writes a changed IOC under the account's change number `seq`.
    pub async fn ioc_update(&self, account: &AccountId, row: &IocRow, seq: i64) -> StoreResult<()> {
        active(account, &row.ioc, row.created_at, seq, None)?.update(&self.0).await?;
        Ok(())
    }

    /// Deletes an IOC: it leaves every list and group; the row stays for the tombstones.
    pub async fn ioc_delete(
        &self,
        account: &AccountId,
        row: &IocRow,
        seq: i64,
        now: Timestamp,
    ) -> StoreResult<()> {
        active(account, &row.ioc, row.created_at, seq, Some(now.micros()))?.update(&self.0).await?;
        ioc_source::Entity::delete_many()
            .filter(ioc_source::Column::IocId.eq(row.ioc.id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Retires IOCs of one account under its change number `seq`, unless they were seen again
    /// since.
    pub async fn ioc_retire(&self, ids: &[IocId], seq: i64, now: Timestamp) -> StoreResult<()> {
        for chunk in ids.chunks(ROWS) {
            ioc::Entity::update_many()
                .col_expr(ioc::Column::State, Expr::value(State::Retired.code()))
                .col_expr(ioc::Column::Seq, Expr::value(seq))
                .filter(ioc::Column::Id.is_in(chunk.iter().map(|i| i.0)))
                .filter(ioc::Column::RetiresAt.lte(now.micros()))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }
}

/// An IOC as columns.
pub(crate) struct Parts {
    pub(crate) id: Uuid,
    pub(crate) kind: i16,
    pub(crate) value: String,
    pub(crate) value_head: String,
    pub(crate) reversed_host: Option<String>,
    pub(crate) first_seen: i64,
    pub(crate) last_seen: i64,
    pub(crate) severity: i16,
    pub(crate) state: i16,
    pub(crate) retires_at: i64,
    pub(crate) whitelist: i16,
    pub(crate) enrichment: String,
    pub(crate) precedence: i64,
}

pub(crate) fn parts(ioc: &Ioc) -> StoreResult<Parts> {
    let Ioc { id, kind, value, first_seen, last_seen, state, whitelist, enrichment } = ioc;
    Ok(Parts {
        id: id.0,
        kind: kind.code(),
        value: value.clone(),
        value_head: head(value),
        reversed_host: reversed_host(*kind, value),
        first_seen: first_seen.micros(),
        last_seen: last_seen.micros(),
        severity: ioc.severity().code(),
        state: state.code(),
        retires_at: ioc.retires_at().micros(),
        whitelist: whitelist.code(),
        enrichment: serde_json::to_string(enrichment)
            .map_err(|e| corrupt("iocs", "enrichment", e))?,
        precedence: selection::precedence(ioc),
    })
}

pub(crate) fn active(
    account: &AccountId,
    ioc: &Ioc,
    created_at: i64,
    seq: i64,
    deleted_at: Option<i64>,
) -> StoreResult<ioc::ActiveModel> {
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
    } = parts(ioc)?;
    Ok(ioc::ActiveModel {
        id: Set(id),
        account_id: Set(account.to_string()),
        seq: Set(seq),
        kind: Set(kind),
        value: Set(value),
        value_head: Set(value_head),
        reversed_host: Set(reversed_host),
        first_seen: Set(first_seen),
        last_seen: Set(last_seen),
        severity: Set(severity),
        state: Set(state),
        retires_at: Set(retires_at),
        whitelist: Set(whitelist),
        enrichment: Set(enrichment),
        created_at: Set(created_at),
        deleted_at: Set(deleted_at),
        precedence: Set(Some(precedence)),
        // It is written once, when the IOC comes.
        first_seq: NotSet,
    })
}

#[cfg(test)]
mod plans;
