//! Alerts.

use iocast_domain::{
    alert::{Alert, AlertKind},
    id::{AccountId, AlertId},
    ioc::Severity,
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, Set, sea_query::Expr,
};

use crate::{Conn, Page, PageOf, StoreError, StoreResult, Txn, error::corrupt, row::alert};

/// Which alerts to list. Empty lists ask for nothing; times are included.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// One of these types.
    pub kinds: Vec<AlertKind>,
    /// One of these severities.
    pub severities: Vec<Severity>,
    /// Closed ones, or open ones.
    pub closed: Option<bool>,
    /// Found between these times.
    pub found: (Option<Timestamp>, Option<Timestamp>),
    /// Last changed between these times.
    pub updated: (Option<Timestamp>, Option<Timestamp>),
}

fn to_alert(row: alert::Model) -> StoreResult<Alert> {
    let alert::Model {
        account_id: _,
        id,
        kind,
        severity,
        closed: _,
        found_at,
        received_at,
        updated_at,
        document,
    } = row;
    Ok(Alert {
        id: id.parse().map_err(|e| corrupt("alerts", "id", e))?,
        kind: AlertKind::from_code(kind).ok_or_else(|| corrupt("alerts", "kind", kind))?,
        severity: Severity::from_code(severity)
            .ok_or_else(|| corrupt("alerts", "severity", severity))?,
        found_at: Timestamp::from_micros(found_at),
        received_at: Timestamp::from_micros(received_at),
        updated_at: Timestamp::from_micros(updated_at),
        text: serde_json::from_str(&document).map_err(|e| corrupt("alerts", "document", e))?,
    })
}

fn to_row(account: &AccountId, of: &Alert) -> StoreResult<alert::ActiveModel> {
    let Alert { id, kind, severity, found_at, received_at, updated_at, text } = of;
    Ok(alert::ActiveModel {
        account_id: Set(account.to_string()),
        id: Set(id.to_string()),
        kind: Set(kind.code()),
        severity: Set(severity.code()),
        closed: Set(text.closing.is_some()),
        found_at: Set(found_at.micros()),
        received_at: Set(received_at.micros()),
        updated_at: Set(updated_at.micros()),
        document: Set(serde_json::to_string(text).map_err(|e| corrupt("alerts", "document", e))?),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// One alert of an account.
    pub async fn alert_fetch(
        &self,
        account: &AccountId,
        id: &AlertId,
    ) -> StoreResult<Option<Alert>> {
        alert::Entity::find_by_id((account.to_string(), id.to_string()))
            .one(&self.0)
            .await?
            .map(to_alert)
            .transpose()
    }

    /// When an alert of an account changed last.
    pub async fn alert_last_change(&self, account: &AccountId) -> StoreResult<Option<Timestamp>> {
        let find = alert::Entity::find()
            .select_only()
            .column(alert::Column::UpdatedAt)
            .filter(alert::Column::AccountId.eq(account.as_str()))
            .order_by_desc(alert::Column::UpdatedAt)
            .limit(1);
        Ok(find.into_tuple().one(&self.0).await?.map(Timestamp::from_micros))
    }

    /// Alerts of an account in order of (last change, id), behind a place in that order.
    pub async fn alert_list(
        &self,
        account: &AccountId,
        filter: &AlertFilter,
        after: Option<(Timestamp, &AlertId)>,
        limit: u64,
    ) -> StoreResult<Vec<Alert>> {
        let mut find = wanted(account, filter);
        if let Some((at, id)) = after {
            find = find.filter(place().gt(place_of(at, id)));
        }
        let rows = find
            .order_by_asc(alert::Column::UpdatedAt)
            .order_by_asc(alert::Column::Id)
            .limit(limit)
            .all(&self.0)
            .await?;
        rows.into_iter().map(to_alert).collect()
    }

    /// A page of alerts of an account, last changed first.
    pub async fn alert_list_latest(
        &self,
        account: &AccountId,
        filter: &AlertFilter,
        page: &Page,
    ) -> StoreResult<PageOf<Alert>> {
        let mut find = wanted(account, filter);
        if let Some(text) = page.after.as_deref() {
            let (at, id) = text.split_once('.').ok_or(StoreError::Cursor)?;
            let at =
                at.parse().map(Timestamp::from_micros).map_err(|_invalid| StoreError::Cursor)?;
            let id = id.parse().map_err(|_invalid| StoreError::Cursor)?;
            find = find.filter(place().lt(place_of(at, &id)));
        }
        let rows = find
            .order_by_desc(alert::Column::UpdatedAt)
            .order_by_desc(alert::Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        let alerts = rows.into_iter().map(to_alert).collect::<StoreResult<Vec<Alert>>>()?;
        Ok(PageOf::cut(alerts, page.limit, |of| format!("{}.{}", of.updated_at.micros(), of.id)))
    }
}

/// Where an alert is in the order of changes; compared as a pair, so that a page is a range of the
/// index.
fn place() -> Expr {
    Expr::tuple([Expr::col(alert::Column::UpdatedAt), Expr::col(alert::Column::Id)])
}

fn place_of(at: Timestamp, id: &AlertId) -> Expr {
    Expr::tuple([Expr::value(at.micros()), Expr::value(id.as_str())])
}

/// The alerts that a list asks for.
fn wanted(account: &AccountId, filter: &AlertFilter) -> Select<alert::Entity> {
    let AlertFilter { kinds, severities, closed, found, updated } = filter;
    let mut find = alert::Entity::find().filter(alert::Column::AccountId.eq(account.as_str()));
    if !kinds.is_empty() {
        find = find.filter(alert::Column::Kind.is_in(kinds.iter().map(|k| k.code())));
    }
    if !severities.is_empty() {
        find = find.filter(alert::Column::Severity.is_in(severities.iter().map(|s| s.code())));
    }
    if let Some(closed) = closed {
        find = find.filter(alert::Column::Closed.eq(*closed));
    }
    for (column, (from, to)) in
        [(alert::Column::FoundAt, found), (alert::Column::UpdatedAt, updated)]
    {
        if let Some(from) = from {
            find = find.filter(column.gte(from.micros()));
        }
        if let Some(to) = to {
            find = find.filter(column.lte(to.micros()));
        }
    }
    find
}

impl Txn {
    /// Writes a new alert.
    pub async fn alert_insert(&self, account: &AccountId, new: &Alert) -> StoreResult<()> {
        to_row(account, new)?.insert(&self.0).await?;
        Ok(())
    }

    /// Writes a changed alert.
    pub async fn alert_update(&self, account: &AccountId, changed: &Alert) -> StoreResult<()> {
        to_row(account, changed)?.update(&self.0).await?;
        Ok(())
    }

    /// Deletes every alert of an account; gives how many.
    pub async fn alert_delete_all(&self, account: &AccountId) -> StoreResult<u64> {
        Ok(alert::Entity::delete_many()
            .filter(alert::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?
            .rows_affected)
    }
}
