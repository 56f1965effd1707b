//! Messages that gather what happens within a few minutes: a digest is open until it is handed over
//! for the first time.

use std::collections::HashMap;

use iocast_domain::{
    id::{AccountId, GroupId, LetterId, OutageId},
    letter::{GATHERED_FOR, Lately, LetterKind, LetterState, digest_at},
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
    Conn, NewLetter, StoreError, StoreResult, Txn,
    error::readable,
    letters::{insertion, kind_code, state_code},
    outages::to_outage,
    row::{group, letter, letter_item, outage, outage_letter},
};

/// What a letter is, as far as digests go.
pub(crate) const OPEN: i16 = 1;
const CLOSED: i16 = 2;
/// Tries to find or make the open digest of a person: two replicas that do so at once need two.
const OPEN_TRIES: usize = 4;

/// The one digest of this kind that may be open for a person.
fn slot(account: &AccountId, kind: LetterKind, recipient: &str) -> String {
    format!("digest:{}:{account}:{recipient}", kind_code(kind))
}

/// The outages that a letter is about.
fn of_letter(letter: LetterId) -> sea_orm::sea_query::SelectStatement {
    Query::select()
        .column(outage_letter::Column::OutageId)
        .from(outage_letter::Entity)
        .and_where(outage_letter::Column::LetterId.eq(letter.0))
        .take()
}

impl<C: ConnectionTrait> Conn<C> {
    /// What a person was written lately, since a time.
    pub async fn letters_lately(
        &self,
        account: &AccountId,
        kind: LetterKind,
        recipient: &str,
        since: Timestamp,
    ) -> StoreResult<Lately> {
        let dropped = [LetterState::Superseded, LetterState::Discarded].map(state_code);
        let open = letter::Column::Digest.eq(OPEN);
        let find = letter::Entity::find()
            .select_only()
            .columns([letter::Column::CreatedAt, letter::Column::Digest])
            .filter(letter::Column::AccountId.eq(account.as_str()))
            .filter(
                letter::Column::CreatedAt
                    .gt(since.micros())
                    .or(letter::Column::SubjectKey.eq(slot(account, kind, recipient))),
            )
            .filter(letter::Column::Kind.eq(kind_code(kind)))
            .filter(letter::Column::Recipient.eq(recipient))
            .filter(Condition::any().add(open).add(letter::Column::State.is_not_in(dropped)));
        let rows: Vec<(i64, i16)> =
            find.order_by_asc(letter::Column::CreatedAt).into_tuple().all(&self.0).await?;
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
        letter: LetterId,
        limit: u64,
    ) -> StoreResult<(Vec<Outage>, u64)> {
        let find = outage::Entity::find().filter(outage::Column::Id.in_subquery(of_letter(letter)));
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
        letter: LetterId,
        after: &str,
        limit: u64,
    ) -> StoreResult<Vec<(String, String)>> {
        let find = letter_item::Entity::find()
            .filter(letter_item::Column::LetterId.eq(letter.0))
            .filter(letter_item::Column::ItemKey.gt(after));
        let rows =
            find.order_by_asc(letter_item::Column::ItemKey).limit(limit).all(&self.0).await?;
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
        new: &NewLetter,
        due: Timestamp,
    ) -> StoreResult<(LetterId, bool)> {
        let slot = slot(&new.account_id, new.kind, &new.recipient);
        for _ in 0..OPEN_TRIES {
            let of_slot = letter::Column::SubjectKey.eq(slot.as_str());
            let lock = letter::Entity::update_many()
                .col_expr(letter::Column::Attempts, Expr::col(letter::Column::Attempts))
                .filter(of_slot.clone())
                .filter(letter::Column::State.eq(state_code(LetterState::Due)));
            if lock.exec(&self.0).await?.rows_affected > 0
                && let Some(row) = letter::Entity::find().filter(of_slot).one(&self.0).await?
            {
                return Ok((LetterId(row.id), false));
            }
            let mut row = insertion(new);
            (row.subject_key, row.next_at, row.digest) =
                (Set(Some(slot.clone())), Set(due.micros()), Set(OPEN));
            let once = OnConflict::column(letter::Column::SubjectKey).do_nothing().to_owned();
            if letter::Entity::insert(row).on_conflict(once).exec_without_returning(&self.0).await?
                > 0
            {
                self.digest_due_after_others(new, due).await?;
                return Ok((new.id, true));
            }
            // One that a sender died with before it was closed is no digest to add to.
            let left_behind = letter::Column::SubjectKey
                .eq(slot.as_str())
                .and(letter::Column::State.ne(state_code(LetterState::Due)));
            self.digest_free(left_behind).await?;
        }
        Err(StoreError::Unusable(
            "Several processes opened a digest at once; try again.".to_owned(),
        ))
    }

    /// Has a digest that was just made wait its time if another replica closed one for the same
    /// person after `due` was found.
    async fn digest_due_after_others(&self, new: &NewLetter, due: Timestamp) -> StoreResult<()> {
        let now = new.created_at;
        let since = now.plus(-GATHERED_FOR);
        let lately = self.letters_lately(&new.account_id, new.kind, &new.recipient, since).await?;
        let Some(later) = digest_at(lately, 1, now).filter(|at| *at > due) else { return Ok(()) };
        letter::Entity::update_many()
            .col_expr(letter::Column::NextAt, Expr::value(later.micros()))
            .filter(letter::Column::Id.eq(new.id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that an open digest is also about this, once.
    pub async fn digest_add(
        &self,
        letter: LetterId,
        key: &str,
        content: String,
    ) -> StoreResult<()> {
        let row = letter_item::ActiveModel {
            item_key: Set(key.to_owned()),
            letter_id: Set(letter.0),
            content: Set(content),
        };
        let once = OnConflict::column(letter_item::Column::ItemKey).do_nothing().to_owned();
        letter_item::Entity::insert(row).on_conflict(once).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Takes an outage out of an open digest. Gives false if the digest is no longer open: then it
    /// tells of the outage.
    pub async fn digest_drop(&self, letter: LetterId, outage: OutageId) -> StoreResult<bool> {
        let lock = letter::Entity::update_many()
            .col_expr(letter::Column::Attempts, Expr::col(letter::Column::Attempts))
            .filter(letter::Column::Id.eq(letter.0))
            .filter(letter::Column::Digest.eq(OPEN))
            .filter(letter::Column::State.eq(state_code(LetterState::Due)));
        if lock.exec(&self.0).await?.rows_affected == 0 {
            return Ok(false);
        }
        let of_letter = outage_letter::Column::LetterId.eq(letter.0);
        outage_letter::Entity::delete_many()
            .filter(of_letter)
            .filter(outage_letter::Column::OutageId.eq(outage.0))
            .exec(&self.0)
            .await?;
        Ok(true)
    }

    /// Closes a digest with its final words: it is a letter like any other from now on.
    pub async fn digest_close(&self, letter: &NewLetter) -> StoreResult<()> {
        let close = letter::Entity::update_many()
            .col_expr(letter::Column::Subject, Expr::value(letter.subject.as_str()))
            .col_expr(letter::Column::BodyText, Expr::value(letter.text.as_str()))
            .col_expr(letter::Column::BodyHtml, Expr::value(letter.html.as_str()))
            .col_expr(letter::Column::CreatedAt, Expr::value(letter.created_at.micros()));
        close.filter(letter::Column::Id.eq(letter.id.0)).exec(&self.0).await?;
        letter_item::Entity::delete_many()
            .filter(letter_item::Column::LetterId.eq(letter.id.0))
            .exec(&self.0)
            .await?;
        self.digest_let_go(letter.id).await
    }

    /// Frees the place of a digest: the next one may be opened.
    pub(crate) async fn digest_let_go(&self, letter: LetterId) -> StoreResult<()> {
        self.digest_free(letter::Column::Id.eq(letter.0)).await
    }

    async fn digest_free(&self, of: Expr) -> StoreResult<()> {
        let free = letter::Entity::update_many()
            .col_expr(letter::Column::SubjectKey, Expr::value(Option::<String>::None))
            .col_expr(letter::Column::Digest, Expr::value(CLOSED));
        free.filter(of).filter(letter::Column::Digest.eq(OPEN)).exec(&self.0).await?;
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
        let letter = |n: u128, at| NewLetter {
            id: LetterId(Uuid::from_u128(n)),
            account_id: "0123456789abcdef01234567".parse().unwrap(),
            kind: LetterKind::Warning,
            recipient: "ana@example.com".to_owned(),
            message_id: format!("<{n}@example.com>"),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
            created_at: at,
            subject_key: None,
            after_letter: None,
        };
        let txn = store.write().await.unwrap();
        let first = letter(1, now.plus(-MINUTE));
        assert_eq!(txn.digest_open(&first, now).await.unwrap(), (first.id, true));
        txn.digest_close(&first).await.unwrap();
        let second = letter(2, now);
        assert_eq!(txn.digest_open(&second, now).await.unwrap(), (second.id, true));
        let row = letter::Entity::find_by_id(second.id.0).one(&txn.0).await.unwrap().unwrap();
        assert_eq!(row.next_at, now.plus(GATHERED_FOR - MINUTE).micros());
        txn.commit().await.unwrap();
    }
}
