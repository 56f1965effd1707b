//! Lists and searches of IOCs, along one index each.

use iocast_domain::id::{AccountId, IocId, SourceId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait as _, QueryFilter, QueryTrait,
    sea_query::{Asterisk, Expr, Query},
};
use uuid::Uuid;

use super::{FEW, IocFilter, IocRow, LATEST, listing, reported_by};
use crate::{Conn, Page, PageOf, StoreError, StoreResult, page::cursor, row::ioc};

/// In which order a page is listed: in that of the index that narrows the search, so that no page
/// needs sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Last changed first.
    Changed,
    Value,
    Host,
}

impl IocFilter {
    pub(super) fn order(&self) -> Order {
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

    /// How many IOCs of the account a search finds, counted as far as `most`.
    pub async fn ioc_count_up_to(
        &self,
        account: &AccountId,
        filter: &IocFilter,
        most: u64,
    ) -> StoreResult<u64> {
        let found = listing(account, filter, None, most - 1).into_query();
        let mut count = Query::select();
        count.expr(Expr::col(Asterisk).count()).from_subquery(found, "found");
        let row = self.0.query_one(&count).await?;
        let n = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(n).unwrap_or_default())
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
}
