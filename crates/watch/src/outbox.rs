//! The outbox: messages are written in the transaction that gives their reason, and handed over
//! afterwards, at least once.

use std::sync::atomic::{AtomicU64, Ordering};

use iocast_domain::{
    account::{Account, User, parse_address},
    id::MessageId,
    member::TOMBSTONE_KEPT_FOR_ABSENT,
    message::{Content, MessageKind, MessageState, is_webhook},
    time::DAY,
};
use iocast_notify::{Rendered, payload, render};
use iocast_store::{Channel, MessageRow, NewMessage, Page, PageOf, Txn};
use tokio::sync::Notify;

use crate::{Actor, AppError, AppResult, Watch, Watched};

mod deliver;

/// How long settled messages are kept, in microseconds.
const KEPT: i64 = 90 * DAY;
/// Longest answer of a mail server that is kept, in characters.
const ANSWER_MAX: usize = 500;

/// What became of the messages that were due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// Taken by the mail server.
    pub sent: u64,
    /// To be tried again.
    pub failed: u64,
    /// Refused for good.
    pub dead: u64,
    /// Not needed any more.
    pub superseded: u64,
}

/// The same, counted since the server started.
#[derive(Debug, Default)]
pub(crate) struct DeliveryCounters {
    sent: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    superseded: AtomicU64,
    outages: AtomicU64,
    messages: AtomicU64,
}

impl DeliveryCounters {
    pub(crate) fn watched(&self, Watched { outages, messages }: Watched) {
        self.outages.fetch_add(outages, Ordering::Relaxed);
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// What the watchdog found so far, by whichever tick.
    pub(crate) fn watched_so_far(&self) -> Watched {
        Watched {
            outages: self.outages.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
        }
    }

    fn count(&self, state: MessageState) {
        let counter = match state {
            MessageState::Sent => &self.sent,
            MessageState::Dead => &self.dead,
            MessageState::Superseded | MessageState::Discarded => &self.superseded,
            MessageState::Due | MessageState::Claimed => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Delivered {
        let [sent, failed, dead, superseded] =
            [&self.sent, &self.failed, &self.dead, &self.superseded]
                .map(|c| c.load(Ordering::Relaxed));
        Delivered { sent, failed, dead, superseded }
    }
}

impl Delivered {
    /// What came to it after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            failed: self.failed - before.failed,
            dead: self.dead - before.dead,
            superseded: self.superseded - before.superseded,
        }
    }
}

impl Watch {
    /// Makes a message; it still has to be written.
    pub(crate) fn message(
        &self,
        account: &Account,
        kind: MessageKind,
        recipient: &str,
        content: &Content,
    ) -> AppResult<NewMessage> {
        if is_webhook(recipient) {
            let body = payload(content, account.id.as_str(), &account.name, self.context.now())
                .unwrap_or_default();
            return Ok(self.new_message(
                account,
                kind,
                recipient,
                Rendered { subject: "webhook".to_owned(), text: body, html: String::new() },
            ));
        }
        let words = render(content, &account.name, &self.context.settings.public_url)
            .map_err(AppError::internal)?;
        Ok(self.new_message(account, kind, recipient, words))
    }

    pub(crate) fn new_message(
        &self,
        account: &Account,
        kind: MessageKind,
        recipient: &str,
        words: Rendered,
    ) -> NewMessage {
        let id = MessageId::random(&*self.context.entropy);
        let host = self
            .context
            .settings
            .mail_from
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .trim_end_matches('>')
            .to_owned();
        NewMessage {
            id,
            account_id: account.id.clone(),
            kind,
            recipient: recipient.to_owned(),
            message_id: format!("<{id}@{host}>"),
            subject: words.subject,
            text: words.text,
            html: words.html,
            created_at: self.context.now(),
            subject_key: None,
            after_message: None,
        }
    }

    /// Who gets an account's alerts: active administrators who want them, and the account's
    /// webhook.
    pub(crate) async fn alerted(&self, txn: &Txn, account: &Account) -> AppResult<Vec<String>> {
        let people =
            if self.post.is_off() { Vec::new() } else { txn.user_list(&account.id).await? };
        let people = people.into_iter().filter(User::gets_alerts).map(|u| u.email);
        let mut all: Vec<String> = people.chain(account.webhook_url.clone()).collect();
        // In one order everywhere: their digests are locked one after the other.
        all.sort_unstable();
        Ok(all)
    }

    /// Waits until a message was written.
    pub async fn message_written(&self, lane: Channel) {
        self.messages[lane as usize].notified().await;
    }

    /// Wakes those who hand messages over.
    pub(crate) fn messages_wait(&self) {
        self.messages.iter().for_each(Notify::notify_one);
    }

    /// Sends a test message at once, and gives what the mail server said.
    ///
    /// # Errors
    /// If the address is none, or the message was not taken.
    pub async fn mail_test(&self, actor: &Actor, to: &str) -> AppResult<String> {
        actor.may_write()?;
        let to = parse_address(to).map_err(|e| AppError::field("to", &e.code, e.message))?;
        let account = self
            .context
            .store
            .read()
            .account_fetch(&actor.account_id)
            .await?
            .ok_or(AppError::NotFound("account"))?;
        let message = self.message(
            &account,
            MessageKind::Test,
            &to,
            &Content::Test { asked_by: actor.name().to_owned() },
        )?;
        let sent = self.post.hand_over(&self.email(&message), async || true).await;
        let txn = self.context.store.write().await?;
        let said = sent.as_ref().map_or_else(ToString::to_string, Clone::clone);
        self.context
            .audit(
                &txn,
                actor,
                "mail.test",
                &to,
                &serde_json::json!({ "taken": sent.is_ok(), "answer": said }),
            )
            .await?;
        txn.commit().await?;
        sent.map_err(|failure| AppError::Conflict {
            code: "mail_not_taken",
            detail: format!("The test e-mail was not accepted. {failure}"),
        })
    }

    /// The messages of the account, newest first.
    ///
    /// # Errors
    /// If the actor may not see them.
    pub async fn message_list(
        &self,
        actor: &Actor,
        state: Option<MessageState>,
        page: &Page,
    ) -> AppResult<PageOf<MessageRow>> {
        actor.may_write()?;
        Ok(self.context.store.read().message_list(&actor.account_id, state, page).await?)
    }

    /// Tries a message again at once.
    ///
    /// # Errors
    /// If it is not there, or neither dead nor waiting.
    pub async fn message_retry(&self, actor: &Actor, id: MessageId) -> AppResult<MessageRow> {
        let row = self.message_turn(actor, id, "message.retry", MessageState::Due).await?;
        self.messages_wait();
        Ok(row)
    }

    /// Throws a message away that was not sent.
    ///
    /// # Errors
    /// If it is not there, or neither dead nor waiting.
    pub async fn message_discard(&self, actor: &Actor, id: MessageId) -> AppResult<MessageRow> {
        self.message_turn(actor, id, "message.discard", MessageState::Discarded).await
    }

    async fn message_turn(
        &self,
        actor: &Actor,
        id: MessageId,
        action: &str,
        to: MessageState,
    ) -> AppResult<MessageRow> {
        actor.may_write()?;
        let txn = self.context.store.write().await?;
        let row =
            txn.message_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("message"))?;
        if !txn
            .message_move(id, &[MessageState::Due, MessageState::Dead], to, self.context.now())
            .await?
        {
            let detail = "Only pending or failed messages can be retried or discarded; this one is being sent, was sent, or is no longer needed.";
            return Err(AppError::Conflict { code: "message_settled", detail: detail.to_owned() });
        }
        self.context
            .audit(
                &txn,
                actor,
                action,
                &id,
                &serde_json::json!({ "to": row.message.recipient, "subject": row.message.subject }),
            )
            .await?;
        let row =
            txn.message_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("message"))?;
        txn.commit().await?;
        Ok(row)
    }

    /// Lets go of the messages of a server that was killed. On PostgreSQL claims run out: another
    /// replica may hold one.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn message_release(&self) -> AppResult<()> {
        if self.context.store.is_bundled() {
            let txn = self.context.store.write().await?;
            txn.message_release_all().await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Forgets messages that were settled long ago, withdrawals from before, and clients that were
    /// not seen for as long as tombstones are kept for them.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn prune(&self) -> AppResult<()> {
        let txn = self.context.store.write().await?;
        txn.message_prune(self.context.now().plus(-KEPT)).await?;
        txn.commit().await?;
        // Of clients, some at a time: others write in between.
        loop {
            let txn = self.context.store.write().await?;
            let now = self.context.now();
            let more =
                txn.receipts_prune(now.plus(-TOMBSTONE_KEPT_FOR_ABSENT), now.plus(-KEPT)).await?;
            txn.commit().await?;
            if !more || self.context.is_closing() {
                return Ok(());
            }
        }
    }
}
