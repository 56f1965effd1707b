//! The outbox.

use iocast_domain::{
    id::{AccountId, LetterId},
    letter::{LetterKind, LetterState},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Set, sea_query::Query,
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, StoreResult,
    digests::OPEN,
    error::corrupt,
    page::cursor,
    row::{letter, outage, outage_letter},
};

mod write;

/// A letter about to be written.
#[derive(Clone)]
pub struct NewLetter {
    /// A fresh id.
    pub id: LetterId,
    /// The account.
    pub account_id: AccountId,
    /// Why it is written.
    pub kind: LetterKind,
    /// To whom.
    pub recipient: String,
    /// Carried by every try.
    pub message_id: String,
    /// One line of plain ASCII.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// When it is written, and due.
    pub created_at: Timestamp,
    /// For letters without an outage: what makes it one of a kind.
    pub subject_key: Option<String>,
    /// The letter that must have gone out before.
    pub after_letter: Option<LetterId>,
}

impl std::fmt::Debug for NewLetter {
    /// Without the words: they may carry a link that signs somebody in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewLetter")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

/// A letter and what became of it.
#[derive(Clone, Debug)]
pub struct LetterRow {
    /// The letter.
    pub letter: NewLetter,
    /// What became of it.
    pub state: LetterState,
    /// Tries so far.
    pub attempts: u32,
    /// When it is due.
    pub next_at: Timestamp,
    /// When nothing more happens to it.
    pub settled_at: Option<Timestamp>,
    /// What the mail server said last.
    pub last_answer: Option<String>,
    /// A try ended without an answer: it may have arrived.
    pub maybe_sent: bool,
    /// It gathers more: its words are written when it is handed over for the first time.
    pub gathers: bool,
}

/// By whom a letter is handed over: a webhook that hangs holds up no mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// To people.
    Mail,
    /// To programs, one at a time to each.
    Hooks,
}

/// What became of a try.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What the letter is now.
    pub state: LetterState,
    /// When it is due again.
    pub next_at: Timestamp,
    /// What the mail server said.
    pub answer: String,
    /// No answer came: it may have arrived.
    pub maybe_sent: bool,
}

/// How many letters are in which state.
#[derive(Clone, Debug, Default)]
pub struct LetterCounts {
    /// Number of letters by state.
    pub by_state: Vec<(LetterState, u64)>,
    /// Since when the letter is due that is due longest.
    pub oldest_due: Option<Timestamp>,
}

const STATES: [LetterState; 6] = [
    LetterState::Due,
    LetterState::Claimed,
    LetterState::Sent,
    LetterState::Dead,
    LetterState::Superseded,
    LetterState::Discarded,
];
const KINDS: [LetterKind; 8] = [
    LetterKind::Warning,
    LetterKind::Recovery,
    LetterKind::Limit,
    LetterKind::Test,
    LetterKind::Invitation,
    LetterKind::PasswordReset,
    LetterKind::Held,
    LetterKind::NotTaken,
];

pub(crate) fn state_code(state: LetterState) -> i16 {
    match state {
        LetterState::Due => 1,
        LetterState::Claimed => 2,
        LetterState::Sent => 3,
        LetterState::Dead => 4,
        LetterState::Superseded => 5,
        LetterState::Discarded => 6,
    }
}

pub(crate) fn to_state(code: i16) -> StoreResult<LetterState> {
    STATES
        .into_iter()
        .find(|s| state_code(*s) == code)
        .ok_or_else(|| corrupt("letters", "state", code))
}

pub(crate) fn kind_code(kind: LetterKind) -> i16 {
    match kind {
        LetterKind::Warning => 1,
        LetterKind::Recovery => 2,
        LetterKind::Limit => 3,
        LetterKind::Test => 4,
        LetterKind::Invitation => 5,
        LetterKind::PasswordReset => 6,
        LetterKind::Held => 7,
        LetterKind::NotTaken => 8,
    }
}

pub(crate) fn to_kind(code: i16) -> StoreResult<LetterKind> {
    KINDS
        .into_iter()
        .find(|k| kind_code(*k) == code)
        .ok_or_else(|| corrupt("letters", "kind", code))
}

fn to_letter(row: letter::Model) -> StoreResult<LetterRow> {
    Ok(LetterRow {
        state: to_state(row.state)?,
        attempts: u32::try_from(row.attempts).unwrap_or_default(),
        next_at: Timestamp::from_micros(row.next_at),
        settled_at: row.settled_at.map(Timestamp::from_micros),
        last_answer: row.last_answer,
        maybe_sent: row.maybe_sent,
        gathers: row.digest == OPEN,
        letter: NewLetter {
            id: LetterId(row.id),
            account_id: crate::accounts::account_id("letters", row.account_id)?,
            kind: to_kind(row.kind)?,
            recipient: row.recipient,
            message_id: row.message_id,
            subject: row.subject,
            text: row.body_text,
            html: row.body_html,
            created_at: Timestamp::from_micros(row.created_at),
            subject_key: row.subject_key,
            after_letter: row.after_letter.map(LetterId),
        },
    })
}

/// A letter as it is written: due at once.
pub(crate) fn insertion(new: &NewLetter) -> letter::ActiveModel {
    let NewLetter {
        id,
        account_id,
        kind,
        recipient,
        message_id,
        subject,
        text,
        html,
        created_at,
        subject_key,
        after_letter,
    } = new.clone();
    letter::ActiveModel {
        id: Set(id.0),
        account_id: Set(account_id.to_string()),
        kind: Set(kind_code(kind)),
        recipient: Set(recipient),
        message_id: Set(message_id),
        subject: Set(subject),
        body_text: Set(text),
        body_html: Set(html),
        state: Set(state_code(LetterState::Due)),
        attempts: Set(0),
        created_at: Set(created_at.micros()),
        next_at: Set(created_at.micros()),
        claim_token: Set(None),
        claim_until: Set(0),
        settled_at: Set(None),
        last_answer: Set(None),
        subject_key: Set(subject_key),
        after_letter: Set(after_letter.map(|l| l.0)),
        maybe_sent: Set(false),
        digest: Set(0),
    }
}

/// To be handed over at `now`: due, or left behind by somebody whose claim ran out at `real_now`.
fn due(now: Timestamp, real_now: Timestamp) -> Condition {
    let waits = Condition::all()
        .add(letter::Column::State.eq(state_code(LetterState::Due)))
        .add(letter::Column::NextAt.lte(now.micros()));
    let left_behind = Condition::all()
        .add(letter::Column::State.eq(state_code(LetterState::Claimed)))
        .add(letter::Column::ClaimUntil.lte(real_now.micros()));
    Condition::any().add(waits).add(left_behind)
}

/// Letters of a lane. An address of a person never begins like that.
fn of_lane(lane: Channel) -> Condition {
    let hook = Condition::any()
        .add(letter::Column::Recipient.starts_with("https://"))
        .add(letter::Column::Recipient.starts_with("http://"));
    match lane {
        Channel::Mail => hook.not(),
        Channel::Hooks => {
            let busy = Query::select()
                .column(letter::Column::Recipient)
                .from(letter::Entity)
                .and_where(letter::Column::State.eq(state_code(LetterState::Claimed)))
                .take();
            let left_behind = letter::Column::State.eq(state_code(LetterState::Claimed));
            Condition::all()
                .add(hook)
                .add(left_behind.or(letter::Column::Recipient.not_in_subquery(busy)))
        }
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// The letters of an account, newest first.
    pub async fn letter_list(
        &self,
        account: &AccountId,
        state: Option<LetterState>,
        page: &Page,
    ) -> StoreResult<PageOf<LetterRow>> {
        let mut find =
            letter::Entity::find().filter(letter::Column::AccountId.eq(account.as_str()));
        if let Some(state) = state {
            find = find.filter(letter::Column::State.eq(state_code(state)));
        }
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            find = find.filter(
                letter::Column::CreatedAt
                    .lt(at)
                    .or(letter::Column::CreatedAt.eq(at).and(letter::Column::Id.lt(id))),
            );
        }
        let rows = find
            .order_by_desc(letter::Column::CreatedAt)
            .order_by_desc(letter::Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        let rows = rows.into_iter().map(to_letter).collect::<StoreResult<Vec<_>>>()?;
        Ok(PageOf::cut(rows, page.limit, |r| {
            format!("{}.{}", r.letter.created_at.micros(), r.letter.id)
        }))
    }

    /// One letter of an account.
    pub async fn letter_fetch(
        &self,
        account: &AccountId,
        id: LetterId,
    ) -> StoreResult<Option<LetterRow>> {
        letter::Entity::find_by_id(id.0)
            .filter(letter::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_letter)
            .transpose()
    }

    /// Whether a letter of any account was taken.
    pub async fn letter_was_sent(&self, id: LetterId) -> StoreResult<bool> {
        Ok(letter::Entity::find_by_id(id.0)
            .filter(letter::Column::State.eq(state_code(LetterState::Sent)))
            .count(&self.0)
            .await?
            > 0)
    }

    /// Whether a claim still holds.
    pub async fn letter_is_claimed(&self, id: LetterId, token: Uuid) -> StoreResult<bool> {
        let find = letter::Entity::find_by_id(id.0)
            .filter(letter::Column::State.eq(state_code(LetterState::Claimed)))
            .filter(letter::Column::ClaimToken.eq(token));
        Ok(find.count(&self.0).await? > 0)
    }

    /// Whether any of the outages that a letter is about is still open.
    pub async fn letter_has_open_outage(&self, id: LetterId) -> StoreResult<bool> {
        let of = Query::select()
            .column(outage_letter::Column::OutageId)
            .from(outage_letter::Entity)
            .and_where(outage_letter::Column::LetterId.eq(id.0))
            .take();
        Ok(outage::Entity::find()
            .filter(outage::Column::Id.in_subquery(of))
            .filter(outage::Column::EndedAt.is_null())
            .count(&self.0)
            .await?
            > 0)
    }

    /// Whether a letter is to be handed over: looked at before a write is begun.
    pub async fn letter_is_due(
        &self,
        lane: Channel,
        now: Timestamp,
        real_now: Timestamp,
    ) -> StoreResult<bool> {
        Ok(letter::Entity::find()
            .select_only()
            .column(letter::Column::Id)
            .filter(due(now, real_now))
            .filter(of_lane(lane))
            .limit(1)
            .into_tuple::<Uuid>()
            .one(&self.0)
            .await?
            .is_some())
    }

    /// How many letters are in which state, and which is due longest.
    pub async fn letter_counts(&self, now: Timestamp) -> StoreResult<LetterCounts> {
        let rows: Vec<(i16, i64)> = letter::Entity::find()
            .select_only()
            .column(letter::Column::State)
            .column_as(letter::Column::Id.count(), "count")
            .group_by(letter::Column::State)
            .into_tuple()
            .all(&self.0)
            .await?;
        let by_state = rows
            .into_iter()
            .map(|(code, n)| Ok((to_state(code)?, u64::try_from(n).unwrap_or_default())))
            .collect::<StoreResult<_>>()?;
        let oldest = letter::Entity::find()
            .filter(
                letter::Column::State
                    .is_in([LetterState::Due, LetterState::Claimed].map(state_code)),
            )
            .filter(letter::Column::NextAt.lte(now.micros()))
            .order_by_asc(letter::Column::NextAt)
            .one(&self.0)
            .await?;
        Ok(LetterCounts { by_state, oldest_due: oldest.map(|l| Timestamp::from_micros(l.next_at)) })
    }
}
