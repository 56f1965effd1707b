//! The outbox.

use iocast_domain::{
    id::{AccountId, MessageId},
    message::{MessageKind, MessageState},
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
    row::{message, outage, outage_message},
};

mod write;

/// A message about to be written.
#[derive(Clone)]
pub struct NewMessage {
    /// A fresh id.
    pub id: MessageId,
    /// The account.
    pub account_id: AccountId,
    /// Why it is written.
    pub kind: MessageKind,
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
    /// For messages without an outage: what makes it one of a kind.
    pub subject_key: Option<String>,
    /// The message that must have gone out before.
    pub after_message: Option<MessageId>,
}

impl std::fmt::Debug for NewMessage {
    /// Without the words: they may carry a link that signs somebody in.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewMessage")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("recipient", &self.recipient)
            .finish_non_exhaustive()
    }
}

/// A message and what became of it.
#[derive(Clone, Debug)]
pub struct MessageRow {
    /// The message.
    pub message: NewMessage,
    /// What became of it.
    pub state: MessageState,
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

/// By whom a message is handed over: a webhook that hangs holds up no mail.
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
    /// What the message is now.
    pub state: MessageState,
    /// When it is due again.
    pub next_at: Timestamp,
    /// What the mail server said.
    pub answer: String,
    /// No answer came: it may have arrived.
    pub maybe_sent: bool,
}

/// How many messages are in which state.
#[derive(Clone, Debug, Default)]
pub struct MessageCounts {
    /// Number of messages by state.
    pub by_state: Vec<(MessageState, u64)>,
    /// Since when the message is due that is due longest.
    pub oldest_due: Option<Timestamp>,
}

const STATES: [MessageState; 6] = [
    MessageState::Due,
    MessageState::Claimed,
    MessageState::Sent,
    MessageState::Dead,
    MessageState::Superseded,
    MessageState::Discarded,
];
const KINDS: [MessageKind; 10] = [
    MessageKind::Warning,
    MessageKind::Recovery,
    MessageKind::Limit,
    MessageKind::Test,
    MessageKind::Invitation,
    MessageKind::PasswordReset,
    MessageKind::Held,
    MessageKind::NotTaken,
    MessageKind::SourceFailing,
    MessageKind::SourceRecovered,
];

pub(crate) fn state_code(state: MessageState) -> i16 {
    match state {
        MessageState::Due => 1,
        MessageState::Claimed => 2,
        MessageState::Sent => 3,
        MessageState::Dead => 4,
        MessageState::Superseded => 5,
        MessageState::Discarded => 6,
    }
}

pub(crate) fn to_state(code: i16) -> StoreResult<MessageState> {
    STATES
        .into_iter()
        .find(|s| state_code(*s) == code)
        .ok_or_else(|| corrupt("messages", "state", code))
}

pub(crate) fn kind_code(kind: MessageKind) -> i16 {
    match kind {
        MessageKind::Warning => 1,
        MessageKind::Recovery => 2,
        MessageKind::Limit => 3,
        MessageKind::Test => 4,
        MessageKind::Invitation => 5,
        MessageKind::PasswordReset => 6,
        MessageKind::Held => 7,
        MessageKind::NotTaken => 8,
        MessageKind::SourceFailing => 9,
        MessageKind::SourceRecovered => 10,
    }
}

pub(crate) fn to_kind(code: i16) -> StoreResult<MessageKind> {
    KINDS
        .into_iter()
        .find(|k| kind_code(*k) == code)
        .ok_or_else(|| corrupt("messages", "kind", code))
}

fn to_message(row: message::Model) -> StoreResult<MessageRow> {
    Ok(MessageRow {
        state: to_state(row.state)?,
        attempts: u32::try_from(row.attempts).unwrap_or_default(),
        next_at: Timestamp::from_micros(row.next_at),
        settled_at: row.settled_at.map(Timestamp::from_micros),
        last_answer: row.last_answer,
        maybe_sent: row.maybe_sent,
        gathers: row.digest == OPEN,
        message: NewMessage {
            id: MessageId(row.id),
            account_id: crate::accounts::account_id("messages", row.account_id)?,
            kind: to_kind(row.kind)?,
            recipient: row.recipient,
            message_id: row.message_id,
            subject: row.subject,
            text: row.body_text,
            html: row.body_html,
            created_at: Timestamp::from_micros(row.created_at),
            subject_key: row.subject_key,
            after_message: row.after_message.map(MessageId),
        },
    })
}

/// A message as it is written: due at once.
pub(crate) fn insertion(new: &NewMessage) -> message::ActiveModel {
    let NewMessage {
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
        after_message,
    } = new.clone();
    message::ActiveModel {
        id: Set(id.0),
        account_id: Set(account_id.to_string()),
        kind: Set(kind_code(kind)),
        recipient: Set(recipient),
        message_id: Set(message_id),
        subject: Set(subject),
        body_text: Set(text),
        body_html: Set(html),
        state: Set(state_code(MessageState::Due)),
        attempts: Set(0),
        created_at: Set(created_at.micros()),
        next_at: Set(created_at.micros()),
        claim_token: Set(None),
        claim_until: Set(0),
        settled_at: Set(None),
        last_answer: Set(None),
        subject_key: Set(subject_key),
        after_message: Set(after_message.map(|l| l.0)),
        maybe_sent: Set(false),
        digest: Set(0),
    }
}

/// To be handed over at `now`: due, or left behind by somebody whose claim ran out at `real_now`.
fn due(now: Timestamp, real_now: Timestamp) -> Condition {
    let waits = Condition::all()
        .add(message::Column::State.eq(state_code(MessageState::Due)))
        .add(message::Column::NextAt.lte(now.micros()));
    let left_behind = Condition::all()
        .add(message::Column::State.eq(state_code(MessageState::Claimed)))
        .add(message::Column::ClaimUntil.lte(real_now.micros()));
    Condition::any().add(waits).add(left_behind)
}

/// Messages of a lane. An address of a person never begins like that.
fn of_lane(lane: Channel) -> Condition {
    let hook = Condition::any()
        .add(message::Column::Recipient.starts_with("https://"))
        .add(message::Column::Recipient.starts_with("http://"));
    match lane {
        Channel::Mail => hook.not(),
        Channel::Hooks => {
            let busy = Query::select()
                .column(message::Column::Recipient)
                .from(message::Entity)
                .and_where(message::Column::State.eq(state_code(MessageState::Claimed)))
                .take();
            let left_behind = message::Column::State.eq(state_code(MessageState::Claimed));
            Condition::all()
                .add(hook)
                .add(left_behind.or(message::Column::Recipient.not_in_subquery(busy)))
        }
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// The messages of an account, newest first.
    pub async fn message_list(
        &self,
        account: &AccountId,
        state: Option<MessageState>,
        page: &Page,
    ) -> StoreResult<PageOf<MessageRow>> {
        let mut find =
            message::Entity::find().filter(message::Column::AccountId.eq(account.as_str()));
        if let Some(state) = state {
            find = find.filter(message::Column::State.eq(state_code(state)));
        }
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            find = find.filter(
                message::Column::CreatedAt
                    .lt(at)
                    .or(message::Column::CreatedAt.eq(at).and(message::Column::Id.lt(id))),
            );
        }
        let rows = find
            .order_by_desc(message::Column::CreatedAt)
            .order_by_desc(message::Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        let rows = rows.into_iter().map(to_message).collect::<StoreResult<Vec<_>>>()?;
        Ok(PageOf::cut(rows, page.limit, |r| {
            format!("{}.{}", r.message.created_at.micros(), r.message.id)
        }))
    }

    /// One message of an account.
    pub async fn message_fetch(
        &self,
        account: &AccountId,
        id: MessageId,
    ) -> StoreResult<Option<MessageRow>> {
        message::Entity::find_by_id(id.0)
            .filter(message::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_message)
            .transpose()
    }

    /// Whether a message of any account was taken.
    pub async fn message_was_sent(&self, id: MessageId) -> StoreResult<bool> {
        Ok(message::Entity::find_by_id(id.0)
            .filter(message::Column::State.eq(state_code(MessageState::Sent)))
            .count(&self.0)
            .await?
            > 0)
    }

    /// Whether a claim still holds.
    pub async fn message_is_claimed(&self, id: MessageId, token: Uuid) -> StoreResult<bool> {
        let find = message::Entity::find_by_id(id.0)
            .filter(message::Column::State.eq(state_code(MessageState::Claimed)))
            .filter(message::Column::ClaimToken.eq(token));
        Ok(find.count(&self.0).await? > 0)
    }

    /// Whether any of the outages that a message is about is still open.
    pub async fn message_has_open_outage(&self, id: MessageId) -> StoreResult<bool> {
        let of = Query::select()
            .column(outage_message::Column::OutageId)
            .from(outage_message::Entity)
            .and_where(outage_message::Column::MessageId.eq(id.0))
            .take();
        Ok(outage::Entity::find()
            .filter(outage::Column::Id.in_subquery(of))
            .filter(outage::Column::EndedAt.is_null())
            .count(&self.0)
            .await?
            > 0)
    }

    /// Whether a message is to be handed over: looked at before a write is begun.
    pub async fn message_is_due(
        &self,
        lane: Channel,
        now: Timestamp,
        real_now: Timestamp,
    ) -> StoreResult<bool> {
        Ok(message::Entity::find()
            .select_only()
            .column(message::Column::Id)
            .filter(due(now, real_now))
            .filter(of_lane(lane))
            .limit(1)
            .into_tuple::<Uuid>()
            .one(&self.0)
            .await?
            .is_some())
    }

    /// How many messages are in which state, and which is due longest.
    pub async fn message_counts(&self, now: Timestamp) -> StoreResult<MessageCounts> {
        let rows: Vec<(i16, i64)> = message::Entity::find()
            .select_only()
            .column(message::Column::State)
            .column_as(message::Column::Id.count(), "count")
            .group_by(message::Column::State)
            .into_tuple()
            .all(&self.0)
            .await?;
        let by_state = rows
            .into_iter()
            .map(|(code, n)| Ok((to_state(code)?, u64::try_from(n).unwrap_or_default())))
            .collect::<StoreResult<_>>()?;
        let oldest = message::Entity::find()
            .filter(
                message::Column::State
                    .is_in([MessageState::Due, MessageState::Claimed].map(state_code)),
            )
            .filter(message::Column::NextAt.lte(now.micros()))
            .order_by_asc(message::Column::NextAt)
            .one(&self.0)
            .await?;
        Ok(MessageCounts {
            by_state,
            oldest_due: oldest.map(|l| Timestamp::from_micros(l.next_at)),
        })
    }
}
