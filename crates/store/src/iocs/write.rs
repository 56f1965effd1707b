//! IOCs are written one by one; imports go by the stage.

use iocast_domain::{
    id::{AccountId, IocId},
    ioc::{Ioc, State},
    normalise::reversed_host,
    selection::{self},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, EntityTrait, QueryFilter, Set,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{IocRow, ROWS, head};
use crate::{
    StoreResult, Txn,
    error::corrupt,
    row::{ioc, ioc_source},
};

impl Txn {
    /// Writes a changed IOC under the account's change number `seq`.
    pub async fn ioc_update(&self, account: &AccountId, row: &IocRow, seq: i64) -> StoreResult<()> {
        self.ioc_update_many(account, std::iter::once(row), seq).await
    }

    /// Writes changed IOCs under the account's change number `seq`.
    pub async fn ioc_update_many<'a>(
        &self,
        account: &AccountId,
        rows: impl Iterator<Item = &'a IocRow> + Clone + Send,
        seq: i64,
    ) -> StoreResult<()> {
        for row in rows.clone() {
            active(account, &row.ioc, row.created_at, seq, None)?.update(&self.0).await?;
        }
        self.names_put(account, rows.map(|row| &row.ioc)).await
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
        // By the key, which begins with the source: whose reports these are is known.
        let sources = row.ioc.enrichment.reports.iter().map(|report| report.source_id.0);
        ioc_source::Entity::delete_many()
            .filter(ioc_source::Column::SourceId.is_in(sources))
            .filter(ioc_source::Column::IocId.eq(row.ioc.id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Has IOCs of one account retire no earlier than `until`.
    pub async fn ioc_postpone(&self, ids: &[IocId], until: Timestamp) -> StoreResult<()> {
        for chunk in ids.chunks(ROWS) {
            ioc::Entity::update_many()
                .col_expr(ioc::Column::RetiresAt, Expr::value(until.micros()))
                .filter(ioc::Column::Id.is_in(chunk.iter().map(|i| i.0)))
                .filter(ioc::Column::RetiresAt.lt(until.micros()))
                .exec(&self.0)
                .await?;
        }
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
