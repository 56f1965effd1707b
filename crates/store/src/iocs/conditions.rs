//! Which IOCs a list, a rule or a search asks for, as conditions of SQL.

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::{Kind, State, Whitelist},
    normalise::reversed_host,
    rule::{Criteria, StateFilter},
    selection::value_head,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

use super::{IocFilter, MOST_ASKED, Order};
use crate::row::{ioc, ioc_source};

/// The ids of a page.
pub(super) fn listing(
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

pub(super) fn changed(
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

pub(super) fn candidates(
    account: &AccountId,
    rules: &[&Criteria],
    to: i64,
    after: Option<(i64, IocId)>,
) -> Select<ioc::Entity> {
    changed(account, -1, to, after).filter(sendable()).filter(choosable_by(rules))
}

/// What one of these rules may choose, as far as columns tell. A test says that none is left out
/// that a rule chooses.
pub(super) fn choosable_by(rules: &[&Criteria]) -> Condition {
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
pub(super) fn sendable() -> Condition {
    Condition::all()
        .add(ioc::Column::DeletedAt.is_null())
        .add(ioc::Column::Whitelist.ne(Whitelist::NeverSent.code()))
}

pub(super) fn of_kinds(criteria: &Criteria) -> Condition {
    let kinds = &criteria.kinds;
    Condition::all().add_option(
        (!kinds.is_empty()).then(|| ioc::Column::Kind.is_in(kinds.iter().map(|k| k.code()))),
    )
}

/// Severity, state and first seen, as criteria ask for them.
pub(super) fn as_asked(criteria: &Criteria) -> Condition {
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

pub(super) fn head(value: &str) -> String {
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
pub(super) fn reported_by(sources: &[SourceId], id: Expr) -> Expr {
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
