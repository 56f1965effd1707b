//! MISP events are offered again to clients that lack them.

use iocast_domain::{
    id::{GroupId, PartId},
    time::Timestamp,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

use super::{EventReceipt, Receipt, write::ROWS};
use crate::{
    StoreResult, Txn,
    row::{event_receipt, group, part, receipt},
};

impl Txn {
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
    pub async fn events_offered(&self, rows: Vec<EventReceipt>) -> StoreResult<()> {
        let columns = [
            event_receipt::Column::Offered,
            event_receipt::Column::Corrections,
            event_receipt::Column::Reported,
        ];
        self.event_rows(rows, &columns).await
    }

    /// Has MISP events of a group get new timestamps with its next publication, which is due at
    /// once.
    pub async fn parts_offer_again(
        &self,
        group: GroupId,
        events: &[Uuid],
        now: Timestamp,
    ) -> StoreResult<()> {
        // The group's row before its parts', in the order in which the publisher locks them.
        group::Entity::update_many()
            .col_expr(group::Column::DueAt, Expr::value(now.micros()))
            .filter(group::Column::Id.eq(group.0))
            .exec(&self.0)
            .await?;
        self.parts_marked(group, part::Column::OfferAgain, events).await
    }

    /// Closes MISP events of a group: who joins from now on comes into new ones.
    pub async fn parts_close(&self, group: GroupId, events: &[Uuid]) -> StoreResult<()> {
        // The group's row first, as above.
        group::Entity::update_many()
            .col_expr(group::Column::ClaimUntil, Expr::col(group::Column::ClaimUntil))
            .filter(group::Column::Id.eq(group.0))
            .exec(&self.0)
            .await?;
        self.parts_marked(group, part::Column::Sealed, events).await
    }

    async fn parts_marked(
        &self,
        group: GroupId,
        mark: part::Column,
        events: &[Uuid],
    ) -> StoreResult<()> {
        for chunk in events.chunks(ROWS) {
            part::Entity::update_many()
                .col_expr(mark, Expr::value(true))
                .filter(part::Column::GroupId.eq(group.0))
                .filter(part::Column::Id.is_in(chunk.iter().copied()))
                .filter(mark.eq(false))
                .exec(&self.0)
                .await?;
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
