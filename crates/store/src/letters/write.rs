//! Letters are written, claimed and settled.

use iocast_domain::{
    id::LetterId,
    letter::{LetterKind, LetterState},
    time::{HOUR, Timestamp},
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use super::{
    Channel, LetterRow, NewLetter, Settled, due, insertion, kind_code, of_lane, state_code,
    to_letter,
};
use crate::{
    StoreResult, Txn,
    row::{letter, letter_item, outage, outage_letter},
};

impl Txn {
    /// Writes a letter. Gives false if there is one with its subject key.
    pub async fn letter_insert(&self, new: &NewLetter) -> StoreResult<bool> {
        let row = insertion(new);
        let once = OnConflict::column(letter::Column::SubjectKey).do_nothing().to_owned();
        Ok(letter::Entity::insert(row).on_conflict(once).exec_without_returning(&self.0).await? > 0)
    }

    /// Claims the letter of a lane that is due longest, until `until` (real time). One that must
    /// follow another waits until that is settled. Those in `not` are left alone; one that can't be
    /// read is put off for an hour.
    pub async fn letter_claim(
        &self,
        lane: Channel,
        token: Uuid,
        (now, real_now, until): (Timestamp, Timestamp, Timestamp),
        not: &[LetterId],
    ) -> StoreResult<Option<LetterRow>> {
        loop {
            let unsettled = Query::select()
                .column(letter::Column::Id)
                .from(letter::Entity)
                .and_where(
                    letter::Column::State
                        .is_in([LetterState::Due, LetterState::Claimed].map(state_code)),
                )
                .take();
            let first = Condition::any()
                .add(letter::Column::AfterLetter.is_null())
                .add(letter::Column::AfterLetter.not_in_subquery(unsettled));
            let find = letter::Entity::find()
                .filter(due(now, real_now))
                .filter(of_lane(lane))
                .filter(first);
            let find = find.filter(letter::Column::Id.is_not_in(not.iter().map(|id| id.0)));
            let Some(row) = find
                .order_by_asc(letter::Column::NextAt)
                .order_by_asc(letter::Column::Id)
                .one(&self.0)
                .await?
            else {
                return Ok(None);
            };
            let id = row.id;
            // The sender that had it may have delivered it before it died.
            let maybe_sent = row.maybe_sent || row.state == state_code(LetterState::Claimed);
            let read = match to_letter(letter::Model {
                attempts: row.attempts.saturating_add(1),
                maybe_sent,
                ..row
            }) {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(letter.id = %id, error = &error as &dyn std::error::Error, "Letter {id} can't be read; it is looked at again in an hour");
                    let later = letter::Entity::update_many()
                        .col_expr(letter::Column::NextAt, Expr::value(now.plus(HOUR).micros()))
                        .col_expr(letter::Column::State, Expr::value(state_code(LetterState::Due)))
                        .col_expr(letter::Column::MaybeSent, Expr::value(maybe_sent));
                    later
                        .filter(letter::Column::Id.eq(id))
                        .filter(due(now, real_now))
                        .exec(&self.0)
                        .await?;
                    continue;
                }
            };
            let claim = letter::Entity::update_many()
                .col_expr(letter::Column::State, Expr::value(state_code(LetterState::Claimed)))
                .col_expr(letter::Column::ClaimToken, Expr::value(token))
                .col_expr(letter::Column::ClaimUntil, Expr::value(until.micros()))
                .col_expr(letter::Column::Attempts, Expr::col(letter::Column::Attempts).add(1))
                .col_expr(letter::Column::MaybeSent, Expr::value(maybe_sent))
                .filter(letter::Column::Id.eq(id))
                .filter(due(now, real_now));
            // Another replica was quicker: look for the next.
            if claim.exec(&self.0).await?.rows_affected > 0 {
                return Ok(Some(read));
            }
        }
    }

    /// Writes what became of a claimed letter. Gives false if the claim was lost since.
    pub async fn letter_settle(
        &self,
        id: LetterId,
        token: Uuid,
        settled: &Settled,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let Settled { state, next_at, ref answer, maybe_sent } = *settled;
        let mut settle = letter::Entity::update_many();
        if maybe_sent {
            settle = settle.col_expr(letter::Column::MaybeSent, Expr::value(true));
        }
        let settle = settle
            .col_expr(letter::Column::State, Expr::value(state_code(state)))
            .col_expr(letter::Column::NextAt, Expr::value(next_at.micros()))
            .col_expr(letter::Column::ClaimToken, Expr::value(Option::<Uuid>::None))
            .col_expr(letter::Column::ClaimUntil, Expr::value(0_i64))
            .col_expr(letter::Column::LastAnswer, Expr::value(answer.as_str()))
            .col_expr(
                letter::Column::SettledAt,
                Expr::value(state.is_settled().then_some(now.micros())),
            )
            .filter(letter::Column::Id.eq(id.0))
            .filter(letter::Column::State.eq(state_code(LetterState::Claimed)))
            .filter(letter::Column::ClaimToken.eq(token));
        let settled = settle.exec(&self.0).await?.rows_affected > 0;
        if settled && state.is_settled() {
            self.digest_let_go(id).await?;
            self.letter_forget_secret(id).await?;
        }
        Ok(settled)
    }

    /// What was written to one person only, with a link that signs them in, is not kept once it is
    /// gone.
    async fn letter_forget_secret(&self, id: LetterId) -> StoreResult<()> {
        let forget = letter::Entity::update_many()
            .col_expr(letter::Column::BodyText, Expr::value(""))
            .col_expr(letter::Column::BodyHtml, Expr::value(""))
            .filter(letter::Column::Id.eq(id.0))
            // A dead one can be tried again.
            .filter(letter::Column::State.ne(state_code(LetterState::Dead)))
            .filter(
                letter::Column::Kind
                    .is_in([LetterKind::Invitation, LetterKind::PasswordReset].map(kind_code)),
            );
        forget.exec(&self.0).await?;
        Ok(())
    }

    /// Moves a letter that nobody is handing over from one of `from` to `to`. Gives false if it is
    /// in none of them.
    pub async fn letter_move(
        &self,
        id: LetterId,
        from: &[LetterState],
        to: LetterState,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let change = letter::Entity::update_many()
            .col_expr(letter::Column::State, Expr::value(state_code(to)))
            .col_expr(letter::Column::NextAt, Expr::value(now.micros()))
            .col_expr(
                letter::Column::SettledAt,
                Expr::value(to.is_settled().then_some(now.micros())),
            )
            .filter(letter::Column::Id.eq(id.0))
            .filter(letter::Column::State.is_in(from.iter().map(|s| state_code(*s))));
        let moved = change.exec(&self.0).await?.rows_affected > 0;
        if moved && to.is_settled() {
            self.digest_let_go(id).await?;
            self.letter_forget_secret(id).await?;
        }
        Ok(moved)
    }

    /// Lets all claims run out: their senders are dead.
    pub async fn letter_release_all(&self) -> StoreResult<()> {
        letter::Entity::update_many()
            .col_expr(letter::Column::ClaimUntil, Expr::value(0_i64))
            .filter(letter::Column::State.eq(state_code(LetterState::Claimed)))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets letters that were settled before `since`, and with them what they were about; but
    /// none of an outage that had not ended then: its recovery asks for its warning.
    pub async fn letter_prune(&self, since: Timestamp) -> StoreResult<()> {
        let lasting = || {
            let lasts = Expr::col((outage::Entity, outage::Column::EndedAt))
                .is_null()
                .or(Expr::col((outage::Entity, outage::Column::EndedAt)).gte(since.micros()));
            Query::select()
                .column(outage_letter::Column::LetterId)
                .from(outage_letter::Entity)
                .inner_join(
                    outage::Entity,
                    Expr::col((outage::Entity, outage::Column::Id))
                        .equals((outage_letter::Entity, outage_letter::Column::OutageId)),
                )
                .and_where(lasts)
                .take()
        };
        let old = Query::select()
            .column(letter::Column::Id)
            .from(letter::Entity)
            .and_where(letter::Column::SettledAt.lt(since.micros()))
            .and_where(letter::Column::Id.not_in_subquery(lasting()))
            .take();
        // The letters first: which of them are old is asked of what they are about.
        letter::Entity::delete_many()
            .filter(letter::Column::Id.in_subquery(old))
            .exec(&self.0)
            .await?;
        let there = Query::select().column(letter::Column::Id).from(letter::Entity).take();
        outage_letter::Entity::delete_many()
            .filter(outage_letter::Column::LetterId.not_in_subquery(there.clone()))
            .exec(&self.0)
            .await?;
        letter_item::Entity::delete_many()
            .filter(letter_item::Column::LetterId.not_in_subquery(there))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
