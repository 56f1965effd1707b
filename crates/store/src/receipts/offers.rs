//! MISP events are offered again to clients that lack them.

use iocast_domain::{
    id::{DeviceId, GroupId, PartId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{
    EventReceipt, Receipt,
    write::{ROWS, event_row},
};
use crate::{
    StoreResult, Txn,
    row::{event_receipt, group, part, pull, receipt},
};

impl Txn {
    /// When a MISP last pulled a group before this moment, by the pull log.
    pub async fn misp_pulled_before(
        &self,
        device: DeviceId,
        group: GroupId,
        misp_uuid: &str,
        before: Timestamp,
    ) -> StoreResult<Option<Timestamp>> {
        let last = pull::Entity::find()
            .filter(pull::Column::DeviceId.eq(device.0))
            .filter(pull::Column::GroupId.eq(group.0))
            .filter(pull::Column::MispUuid.eq(misp_uuid))
            .filter(pull::Column::Failed.eq(false))
            .filter(pull::Column::Events.eq(0))
            .filter(pull::Column::FirstAt.lt(before.micros()))
            .order_by_desc(pull::Column::FirstAt)
            .one(&self.0)
            .await?;
        // A line that goes on was begun before.
        Ok(last.map(|line| {
            Timestamp::from_micros(line.first_at.max(line.at.min(before.micros() - 1)))
        }))
    }

    /// Takes the turn to look at a client, and says when it is the next one's. Gives false where
    /// another replica took it.
    pub async fn receipt_claim(&self, of: &Receipt, next: Timestamp) -> StoreResult<bool> {
        let claimed = receipt::Entity::update_many()
            .col_expr(receipt::Column::CheckAt, Expr::value(next.micros()))
            .filter(receipt::Column::ClientId.eq(of.client_id))
            .filter(receipt::Column::GroupId.eq(of.group_id.0))
            .filter(receipt::Column::CheckAt.eq(of.check_at.map(Timestamp::micros)))
            .exec(&self.0)
            .await?;
        Ok(claimed.rows_affected == 1)
    }

    /// Looks at a client no more, unless it pulled since it was read.
    pub async fn receipt_settled(&self, of: &Receipt) -> StoreResult<()> {
        receipt::Entity::update_many()
            .col_expr(receipt::Column::CheckAt, Expr::value(None::<i64>))
            .filter(receipt::Column::ClientId.eq(of.client_id))
            .filter(receipt::Column::GroupId.eq(of.group_id.0))
            .filter(receipt::Column::FetchedAt.eq(of.fetched_at.micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes how often events were offered again. What a client fetched at this moment stays.
    pub async fn events_offered(&self, mut rows: Vec<EventReceipt>) -> StoreResult<()> {
        rows.sort_unstable_by_key(|row| (row.client_id, row.event));
        let over =
            OnConflict::columns([event_receipt::Column::ClientId, event_receipt::Column::Event])
                .update_column(event_receipt::Column::Offered)
                .to_owned();
        for chunk in rows.chunks(ROWS) {
            event_receipt::Entity::insert_many(chunk.iter().map(event_row))
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Has MISP events of a group get new timestamps with its next publication, which is due at
    /// once; and closes others: who joins from now on comes into new ones.
    pub async fn parts_offer_again(
        &self,
        group: GroupId,
        events: &[Uuid],
        closed: &[Uuid],
        now: Timestamp,
    ) -> StoreResult<()> {
        // The group's row before its parts', in the order in which the publisher locks them.
        group::Entity::update_many()
            .col_expr(group::Column::DueAt, Expr::value(now.micros()))
            .filter(group::Column::Id.eq(group.0))
            .exec(&self.0)
            .await?;
        for (column, parts) in [(part::Column::OfferAgain, events), (part::Column::Sealed, closed)]
        {
            for chunk in parts.chunks(ROWS) {
                part::Entity::update_many()
                    .col_expr(column, Expr::value(true))
                    .filter(part::Column::GroupId.eq(group.0))
                    .filter(part::Column::Id.is_in(chunk.iter().copied()))
                    .filter(column.eq(false))
                    .exec(&self.0)
                    .await?;
            }
        }
        Ok(())
    }

    /// Notes that MISP events got new timestamps.
    pub async fn parts_offered(&self, events: &[PartId]) -> StoreResult<()> {
        for chunk in events.chunks(ROWS) {
            part::Entity::update_many()
                .col_expr(part::Column::OfferAgain, Expr::value(false))
                .filter(part::Column::Id.is_in(chunk.iter().map(|part| part.0)))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }
}
