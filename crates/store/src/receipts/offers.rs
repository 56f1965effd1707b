//! MISP events are offered again to clients that lack them.

use iocast_domain::{
    id::{GroupId, PartId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::write::ROWS;
use crate::{
    StoreResult, Txn,
    row::{event_receipt, group, part, receipt},
};

impl Txn {
    /// Has it looked at then whether a client took what it was offered, unless that is due earlier.
    pub(super) async fn receipt_check(
        &self,
        client: Uuid,
        group: GroupId,
        at: Timestamp,
    ) -> StoreResult<()> {
        receipt::Entity::update_many()
            .col_expr(receipt::Column::CheckAt, Expr::value(at.micros()))
            .filter(receipt::Column::ClientId.eq(client))
            .filter(receipt::Column::GroupId.eq(group.0))
            .filter(receipt::Column::CheckAt.is_null())
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that a client was looked at, and when to do so again.
    pub async fn receipt_checked(
        &self,
        client: Uuid,
        group: GroupId,
        next: Option<Timestamp>,
    ) -> StoreResult<()> {
        receipt::Entity::update_many()
            .col_expr(receipt::Column::CheckAt, Expr::value(next.map(Timestamp::micros)))
            .filter(receipt::Column::ClientId.eq(client))
            .filter(receipt::Column::GroupId.eq(group.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Offers MISP events of a group again: they get new timestamps with the next publication,
    /// which is due at once. Notes for whom.
    pub async fn events_offer_again(
        &self,
        client: Uuid,
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
        for chunk in events.chunks(ROWS) {
            part::Entity::update_many()
                .col_expr(part::Column::OfferAgain, Expr::value(true))
                .filter(part::Column::GroupId.eq(group.0))
                .filter(part::Column::Id.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
            let rows = chunk.iter().map(|event| event_receipt::ActiveModel {
                client_id: Set(client),
                event: Set(*event),
                group_id: Set(group.0),
                version: Set(Uuid::nil()),
                fetched_at: Set(0),
                times: Set(0),
                offered: Set(1),
            });
            let again = Expr::col((event_receipt::Entity, event_receipt::Column::Offered)).add(1);
            let over = OnConflict::columns([
                event_receipt::Column::ClientId,
                event_receipt::Column::Event,
            ])
            .value(event_receipt::Column::Offered, again)
            .to_owned();
            event_receipt::Entity::insert_many(rows)
                .on_conflict(over)
                .exec_without_returning(&self.0)
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

    /// Closes MISP events: who joins from now on comes into others.
    pub async fn parts_seal(&self, events: &[Uuid]) -> StoreResult<()> {
        for chunk in events.chunks(ROWS) {
            part::Entity::update_many()
                .col_expr(part::Column::Sealed, Expr::value(true))
                .filter(part::Column::Id.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }
}
