//! Messages that gather what happens within a few minutes: a digest is open until it is handed over
//! for the first time.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, GroupId, MessageId, OutageId},
    message::{GATHERED_FOR, Lately, MessageKind, MessageState, digest_at},
    time::Timestamp,
    watch::Outage,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use crate::{
    Conn, NewMessage, StoreError, StoreResult, Txn,
    error::readable,
    messages::{insertion, kind_code, state_code},
    outages::to_outage,
    row::{group, message, message_item, outage, outage_message},
};

/// What a message is, as far as digests go.
pub(crate) const OPEN: i16 = 1;
const CLOSED: i16 = 2;
/// Tries to find or make the open digest of a person: two replicas that do so at once need two.
const OPEN_TRIES: usize = 4;

/// The one digest of this kind that may be open for a person.
fn slot(account: &AccountId, kind: MessageKind, recipient: &str) -> String {
    format!("digest:{}:{account}:{recipient}", kind_code(kind))
}

/// The outages that a message is about.
fn of_message(message: MessageId) -> sea_orm::sea_query::SelectStatement {
    Query::select()
        .column(outage_message::Column::OutageId)
        .from(outage_message::Entity)
        .and_where(outage_message::Column::MessageId.eq(message.0))
        .take()
}

impl<C: ConnectionTrait> Conn<C> {
    /// What a person was written lately, since a time.
    pub async fn messages_lately(
        &self,
        account: &AccountId,
        kind: MessageKind,
        recipient: &str,
        since: Timestamp,
    ) -> StoreResult<Lately> {
        let dropped = [MessageState::Superseded, MessageState::Discarded].map(state_code);
        let open = message::Column::Digest.eq(OPEN);
        let find = message::Entity::find()
            .select_only()
            .columns([message::Column::CreatedAt, message::Column::Digest])
            .filter(message::Column::AccountId.eq(account.as_str()))
            .filter(
                message::Column::CreatedAt
                    .gt(since.micros())
                    .or(message::Column::SubjectKey.eq(slot(account, kind, recipient))),
            )
            .filter(message::Column::Kind.eq(kind_code(kind)))
            .filter(message::Column::Recipient.eq(recipient))
            .filter(Condition::any().add(open).add(message::Column::State.is_not_in(dropped)));
        let rows: Vec<(i64, i16)> =
            find.order_by_asc(message::Column::CreatedAt).into_tuple().all(&self.0).await?;
        let written: Vec<i64> =
            rows.iter().filter(|(_, digest)| *digest != OPEN).map(|(at, _)| *at).collect();
        Ok(Lately {
            written: written.len(),
            digest: rows.iter().any(|(_, digest)| *digest != 0),
            last: written.last().copied().map(Timestamp::from_micros),
        })
    }

    /// The first outages that a digest is about, the longest first, and how many there are.
    pub async fn digest_outages(
        &self,
        message: MessageId,
        limit: u64,
    ) -> StoreResult<(Vec<Outage>, u64)> {
        let find =
            outage::Entity::find().filter(outage::Column::Id.in_subquery(of_message(message)));
        let all = find.clone().count(&self.0).await?;
        let first = find
            .order_by_asc(outage::Column::BeganAt)
            .order_by_asc(outage::Column::Id)
            .limit(limit)
            .all(&self.0)
            .await?;
        Ok((readable(first, to_outage), all))
    }

    /// Some of the other things that a digest is about, behind the key that is given: their keys,
    /// and what was noted of them.
    pub async fn digest_items(
        &self,
        message: MessageId,
        after: &str,
        limit: u64,
    ) -> StoreResult<Vec<(String, String)>> {
        let find = message_item::Entity::find()
            .filter(message_item::Column::MessageId.eq(message.0))
            .filter(message_item::Column::ItemKey.gt(after));
        let rows =
            find.order_by_asc(message_item::Column::ItemKey).limit(limit).all(&self.0).await?;
        Ok(rows.into_iter().map(|row| (row.item_key, row.content)).collect())
    }

    /// Until when publications of these groups are held; of those of which none is, nothing.
    pub async fn held_until(&self, groups: &[GroupId]) -> StoreResult<HashMap<GroupId, Timestamp>> {
        let find = group::Entity::find()
            .select_only()
            .columns([group::Column::Id, group::Column::HeldUntil]);
        let held = find
            .filter(group::Column::Id.is_in(groups.iter().map(|g| g.0)))
            .filter(group::Column::HeldUntil.is_not_null());
        let rows: Vec<(Uuid, i64)> = held.into_tuple().all(&self.0).await?;
        Ok(rows
            .into_iter()
            .map(|(id, until)| (GroupId(id), Timestamp::from_micros(until)))
            .collect())
    }
}

impl Txn {
    /// Finds the open digest for the recipient of `new`, or makes `new` the one, due at `due`.
    /// Nobody closes it before this transaction ends. Gives its id, and whether it was made.
    pub async fn digest_open(
        &self,
        new: &NewMessage,
        due: Timestamp,
    ) -> StoreResult<(MessageId, bool)> {
        let slot = slot(&new.account_id, new.kind, &new.recipient);
        for _ in 0..OPEN_TRIES {
            let of_slot = message::Column::SubjectKey.eq(slot.as_str());
            let lock = message::Entity::update_many()
                .col_expr(message::Column::Attempts, Expr::col(message::Column::Attempts))
                .filter(of_slot.clone())
                .filter(message::Column::State.eq(state_code(MessageState::Due)));
            if lock.exec(&self.0).await?.rows_affected > 0
                && let Some(row) = message::Entity::find().filter(of_slot).one(&self.0).await?
            {
                return Ok((MessageId(row.id), false));
            }
            let mut row = insertion(new);
            (row.subject_key, row.next_at, row.digest) =
                (Set(Some(slot.clone())), Set(due.micros()), Set(OPEN));
            let once = OnConflict::column(message::Column::SubjectKey).do_nothing().to_owned();
            if message::Entity::insert(row)
                .on_conflict(once)
                .exec_without_returning(&self.0)
                .await?
                > 0
            {
                self.digest_due_after_others(new, due).await?;
                return Ok((new.id, true));
            }
            // One that a sender died with before it was closed is no digest to add to.
            let left_behind = message::Column::SubjectKey
                .eq(slot.as_str())
                .and(message::Column::State.ne(state_code(MessageState::Due)));
            self.digest_free(left_behind).await?;
        }
        Err(StoreError::Unusable(
            "Several processes opened a digest at once; try again.".to_owned(),
        ))
    }

    /// Has a digest that was just made wait its time if another replica closed one for the same
    /// person after `due` was found.
    async fn digest_due_after_others(&self, new: &NewMessage, due: Timestamp) -> StoreResult<()> {
        let now = new.created_at;
        let since = now.plus(-GATHERED_FOR);
        let lately = self.messages_lately(&new.account_id, new.kind, &new.recipient, since).await?;
        let Some(later) = digest_at(lately, 1, now).filter(|at| *at > due) else { return Ok(()) };
        message::Entity::update_many()
            .col_expr(message::Column::NextAt, Expr::value(later.micros()))
            .filter(message::Column::Id.eq(new.id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that an open digest is also about this, once.
    pub async fn digest_add(
        &self,
        message: MessageId,
        key: &str,
        content: String,
    ) -> StoreResult<()> {
        let row = message_item::ActiveModel {
            item_key: Set(key.to_owned()),
            message_id: Set(message.0),
            content: Set(content),
        };
        let once = OnConflict::column(message_item::Column::ItemKey).do_nothing().to_owned();
        message_item::Entity::insert(row).on_conflict(once).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Takes an outage out of an open digest. Gives false if the digest is no longer open: then it
    /// tells of the outage.
    pub async fn digest_drop(&self, message: MessageId, outage: OutageId) -> StoreResult<bool> {
        let lock = message::Entity::update_many()
            .col_expr(message::Column::Attempts, Expr::col(message::Column::Attempts))
            .filter(message::Column::Id.eq(message.0))
            .filter(message::Column::Digest.eq(OPEN))
            .filter(message::Column::State.eq(state_code(MessageState::Due)));
        if lock.exec(&self.0).await?.rows_affected == 0 {
            return Ok(false);
        }
        let of_message = outage_message::Column::MessageId.eq(message.0);
        outage_message::Entity::delete_many()
            .filter(of_message)
            .filter(outage_message::Column::OutageId.eq(outage.0))
            .exec(&self.0)
            .await?;
        Ok(true)
    }

    /// Closes a digest with its final words: it is a message like any other from now on.
    pub async fn digest_close(&self, message: &NewMessage) -> StoreResult<()> {
        let close = message::Entity::update_many()
            .col_expr(message::Column::Subject, Expr::value(message.subject.as_str()))
            .col_expr(message::Column::BodyText, Expr::value(message.text.as_str()))
            .col_expr(message::Column::BodyHtml, Expr::value(message.html.as_str()))
            .col_expr(message::Column::CreatedAt, Expr::value(message.created_at.micros()));
        close.filter(message::Column::Id.eq(message.id.0)).exec(&self.0).await?;
        message_item::Entity::delete_many()
            .filter(message_item::Column::MessageId.eq(message.id.0))
            .exec(&self.0)
            .await?;
        self.digest_let_go(message.id).await
    }

    /// Frees the place of a digest: the next one may be opened.
    pub(crate) async fn digest_let_go(&self, message: MessageId) -> StoreResult<()> {
        self.digest_free(message::Column::Id.eq(message.0)).await
    }

    async fn digest_free(&self, of: Expr) -> StoreResult<()> {
        let free = message::Entity::update_many()
            .col_expr(message::Column::SubjectKey, Expr::value(Option::<String>::None))
            .col_expr(message::Column::Digest, Expr::value(CLOSED));
        free.filter(of).filter(message::Column::Digest.eq(OPEN)).exec(&self.0).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use iocast_domain::time::MINUTE;

    use super::*;
    use crate::Store;

    /// Two replicas: one finds no digest and that the next may go out now, the other one closes
    /// its own at that moment.
    #[tokio::test]
    async fn a_digest_waits_for_one_that_was_closed_just_before() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(None, folder.path()).await.unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let message = |n: u128, at| NewMessage {
            id: MessageId(Uuid::from_u128(n)),
            account_id: "0123456789abcdef01234567".parse().unwrap(),
            kind: MessageKind::Warning,
            recipient: "ana@example.com".to_owned(),
            message_id: format!("<{n}@example.com>"),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
            created_at: at,
            subject_key: None,
            after_message: None,
        };
        let txn = store.write().await.unwrap();
        let first = message(1, now.plus(-MINUTE));
        assert_eq!(txn.digest_open(&first, now).await.unwrap(), (first.id, true));
        txn.digest_close(&first).await.unwrap();
        let second = message(2, now);
        assert_eq!(txn.digest_open(&second, now).await.unwrap(), (second.id, true));
        let row = message::Entity::find_by_id(second.id.0).one(&txn.0).await.unwrap().unwrap();
        assert_eq!(row.next_at, now.plus(GATHERED_FOR - MINUTE).micros());
        txn.commit().await.unwrap();
    }
}
