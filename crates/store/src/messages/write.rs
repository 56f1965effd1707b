//! Messages are written, claimed and settled.

use iocast_domain::{
    id::MessageId,
    message::{MessageKind, MessageState},
    time::{HOUR, Timestamp},
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use super::{
    Channel, MessageRow, NewMessage, Settled, due, insertion, kind_code, of_lane, state_code,
    to_message,
};
use crate::{
    StoreResult, Txn,
    row::{message, message_item, outage, outage_message},
};

impl Txn {
    /// Writes a message. Gives false if there is one with its subject key.
    pub async fn message_insert(&self, new: &NewMessage) -> StoreResult<bool> {
        let row = insertion(new);
        let once = OnConflict::column(message::Column::SubjectKey).do_nothing().to_owned();
        Ok(message::Entity::insert(row).on_conflict(once).exec_without_returning(&self.0).await?
            > 0)
    }

    /// Claims the message of a lane that is due longest, until `until` (real time). One that must
    /// follow another waits until that is settled. Those in `not` are left alone; one that can't be
    /// read is put off for an hour.
    pub async fn message_claim(
        &self,
        lane: Channel,
        token: Uuid,
        (now, real_now, until): (Timestamp, Timestamp, Timestamp),
        not: &[MessageId],
    ) -> StoreResult<Option<MessageRow>> {
        loop {
            let unsettled = Query::select()
                .column(message::Column::Id)
                .from(message::Entity)
                .and_where(
                    message::Column::State
                        .is_in([MessageState::Due, MessageState::Claimed].map(state_code)),
                )
                .take();
            let first = Condition::any()
                .add(message::Column::AfterMessage.is_null())
                .add(message::Column::AfterMessage.not_in_subquery(unsettled));
            let find = message::Entity::find()
                .filter(due(now, real_now))
                .filter(of_lane(lane))
                .filter(first);
            let find = find.filter(message::Column::Id.is_not_in(not.iter().map(|id| id.0)));
            let Some(row) = find
                .order_by_asc(message::Column::NextAt)
                .order_by_asc(message::Column::Id)
                .one(&self.0)
                .await?
            else {
                return Ok(None);
            };
            let id = row.id;
            // The sender that had it may have delivered it before it died.
            let maybe_sent = row.maybe_sent || row.state == state_code(MessageState::Claimed);
            let read = match to_message(message::Model {
                attempts: row.attempts.saturating_add(1),
                maybe_sent,
                ..row
            }) {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(message.id = %id, error = &error as &dyn std::error::Error, "Message {id} can't be read; it is looked at again in an hour");
                    let later = message::Entity::update_many()
                        .col_expr(message::Column::NextAt, Expr::value(now.plus(HOUR).micros()))
                        .col_expr(
                            message::Column::State,
                            Expr::value(state_code(MessageState::Due)),
                        )
                        .col_expr(message::Column::MaybeSent, Expr::value(maybe_sent));
                    later
                        .filter(message::Column::Id.eq(id))
                        .filter(due(now, real_now))
                        .exec(&self.0)
                        .await?;
                    continue;
                }
            };
            let claim = message::Entity::update_many()
                .col_expr(message::Column::State, Expr::value(state_code(MessageState::Claimed)))
                .col_expr(message::Column::ClaimToken, Expr::value(token))
                .col_expr(message::Column::ClaimUntil, Expr::value(until.micros()))
                .col_expr(message::Column::Attempts, Expr::col(message::Column::Attempts).add(1))
                .col_expr(message::Column::MaybeSent, Expr::value(maybe_sent))
                .filter(message::Column::Id.eq(id))
                .filter(due(now, real_now));
            // Another replica was quicker: look for the next.
            if claim.exec(&self.0).await?.rows_affected > 0 {
                return Ok(Some(read));
            }
        }
    }

    /// Writes what became of a claimed message. Gives false if the claim was lost since.
    pub async fn message_settle(
        &self,
        id: MessageId,
        token: Uuid,
        settled: &Settled,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let Settled { state, next_at, ref answer, maybe_sent } = *settled;
        let mut settle = message::Entity::update_many();
        if maybe_sent {
            settle = settle.col_expr(message::Column::MaybeSent, Expr::value(true));
        }
        let settle = settle
            .col_expr(message::Column::State, Expr::value(state_code(state)))
            .col_expr(message::Column::NextAt, Expr::value(next_at.micros()))
            .col_expr(message::Column::ClaimToken, Expr::value(Option::<Uuid>::None))
            .col_expr(message::Column::ClaimUntil, Expr::value(0_i64))
            .col_expr(message::Column::LastAnswer, Expr::value(answer.as_str()))
            .col_expr(
                message::Column::SettledAt,
                Expr::value(state.is_settled().then_some(now.micros())),
            )
            .filter(message::Column::Id.eq(id.0))
            .filter(message::Column::State.eq(state_code(MessageState::Claimed)))
            .filter(message::Column::ClaimToken.eq(token));
        let settled = settle.exec(&self.0).await?.rows_affected > 0;
        if settled && state.is_settled() {
            self.digest_let_go(id).await?;
            self.message_forget_secret(id).await?;
        }
        Ok(settled)
    }

    /// What was written to one person only, with a link that signs them in, is not kept once it is
    /// gone.
    async fn message_forget_secret(&self, id: MessageId) -> StoreResult<()> {
        let forget = message::Entity::update_many()
            .col_expr(message::Column::BodyText, Expr::value(""))
            .col_expr(message::Column::BodyHtml, Expr::value(""))
            .filter(message::Column::Id.eq(id.0))
            // A dead one can be tried again.
            .filter(message::Column::State.ne(state_code(MessageState::Dead)))
            .filter(
                message::Column::Kind
                    .is_in([MessageKind::Invitation, MessageKind::PasswordReset].map(kind_code)),
            );
        forget.exec(&self.0).await?;
        Ok(())
    }

    /// Moves a message that nobody is handing over from one of `from` to `to`. Gives false if it is
    /// in none of them.
    pub async fn message_move(
        &self,
        id: MessageId,
        from: &[MessageState],
        to: MessageState,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let change = message::Entity::update_many()
            .col_expr(message::Column::State, Expr::value(state_code(to)))
            .col_expr(message::Column::NextAt, Expr::value(now.micros()))
            .col_expr(
                message::Column::SettledAt,
                Expr::value(to.is_settled().then_some(now.micros())),
            )
            .filter(message::Column::Id.eq(id.0))
            .filter(message::Column::State.is_in(from.iter().map(|s| state_code(*s))));
        let moved = change.exec(&self.0).await?.rows_affected > 0;
        if moved && to.is_settled() {
            self.digest_let_go(id).await?;
            self.message_forget_secret(id).await?;
        }
        Ok(moved)
    }

    /// Lets all claims run out: their senders are dead.
    pub async fn message_release_all(&self) -> StoreResult<()> {
        message::Entity::update_many()
            .col_expr(message::Column::ClaimUntil, Expr::value(0_i64))
            .filter(message::Column::State.eq(state_code(MessageState::Claimed)))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets messages that were settled before `since`, and with them what they were about; but
    /// none of an outage that had not ended then: its recovery asks for its warning.
    pub async fn message_prune(&self, since: Timestamp) -> StoreResult<()> {
        let lasting = || {
            let lasts = Expr::col((outage::Entity, outage::Column::EndedAt))
                .is_null()
                .or(Expr::col((outage::Entity, outage::Column::EndedAt)).gte(since.micros()));
            Query::select()
                .column(outage_message::Column::MessageId)
                .from(outage_message::Entity)
                .inner_join(
                    outage::Entity,
                    Expr::col((outage::Entity, outage::Column::Id))
                        .equals((outage_message::Entity, outage_message::Column::OutageId)),
                )
                .and_where(lasts)
                .take()
        };
        let old = Query::select()
            .column(message::Column::Id)
            .from(message::Entity)
            .and_where(message::Column::SettledAt.lt(since.micros()))
            .and_where(message::Column::Id.not_in_subquery(lasting()))
            .take();
        // The messages first: which of them are old is asked of what they are about.
        message::Entity::delete_many()
            .filter(message::Column::Id.in_subquery(old))
            .exec(&self.0)
            .await?;
        let there = Query::select().column(message::Column::Id).from(message::Entity).take();
        outage_message::Entity::delete_many()
            .filter(outage_message::Column::MessageId.not_in_subquery(there.clone()))
            .exec(&self.0)
            .await?;
        message_item::Entity::delete_many()
            .filter(message_item::Column::MessageId.not_in_subquery(there))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
