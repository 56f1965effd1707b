//! Messages are handed over, and what came of it is written.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use iocast_domain::{
    id::MessageId,
    message::{MessageKind, MessageState, Tried, after_try, is_webhook},
    time::clip,
};
use iocast_notify::{Email, Failure, Webhook};
use iocast_store::{Channel, MessageRow, NewMessage, Settled};
use uuid::Uuid;

use super::ANSWER_MAX;
use crate::{AppResult, Watch, digests::Words};

/// Tries to write down what became of a message that was handed over, while the server ends.
const SETTLE_TRIES: u32 = 5;

/// Every how many tries the failure is logged.
const SETTLE_LOGGED: u32 = 60;

/// Says of a message that it is handed over here, for as long as it lives: no other sender of this
/// process takes it over.
struct InFlightGuard<'a>(&'a Mutex<HashSet<MessageId>>, MessageId);

impl<'a> InFlightGuard<'a> {
    fn begin(all: &'a Mutex<HashSet<MessageId>>, id: MessageId) -> Self {
        all.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Self(all, id)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Watch {
    /// Hands over every message of a lane that is due, one after the other. Several may do so at
    /// once.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn deliver_due(&self, lane: Channel) -> AppResult<()> {
        while !self.context.is_closing() {
            if !self.deliver_one(lane).await? {
                break;
            }
        }
        Ok(())
    }

    /// Claims a message, hands it over with no transaction open, and writes down what became of it.
    async fn deliver_one(&self, lane: Channel) -> AppResult<bool> {
        let token = self.context.entropy.uuid();
        let real_now = self.context.store.shared_now(self.context.clock.real_now()).await?;
        // Twice as long as handing over may take: a sender that is still at it then was stopped,
        // and asks before it goes on.
        let until = real_now.plus(
            i64::try_from(self.context.settings.mail_deadline.as_micros())
                .unwrap_or(i64::MAX)
                .saturating_mul(2),
        );
        if !self.context.store.read().message_is_due(lane, self.context.now(), real_now).await? {
            return Ok(false);
        }
        let txn = self.context.store.write().await?;
        let here: Vec<MessageId> = self
            .on_their_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect();
        let Some(mut row) =
            txn.message_claim(lane, token, (self.context.now(), real_now, until), &here).await?
        else {
            // What could not be read was put off.
            txn.commit().await?;
            return Ok(false);
        };
        let words =
            if row.gathers { self.digest_close(&txn, &mut row).await? } else { Words::Ready };
        if let Some(settled) = self.unspoken(words, &row) {
            // In the same transaction: nobody finds a digest that is neither open nor closed.
            txn.message_settle(row.message.id, token, &settled, self.context.now()).await?;
            txn.commit().await?;
            self.tell_log(&row, settled.state, &settled.answer);
            self.tally.count(settled.state);
            return Ok(true);
        }
        let _on_its_way = InFlightGuard::begin(&self.on_their_way, row.message.id);
        txn.commit().await?;
        let superseded = |why: &str| Settled {
            state: MessageState::Superseded,
            next_at: self.context.now(),
            answer: why.to_owned(),
            maybe_sent: false,
        };
        let pointless = self.pointless(&row).await?.map(superseded);
        let settled = match pointless {
            Some(settled) => settled,
            None => match self.hand_over(&row, token).await {
                Some(settled) => settled,
                // The sender that has it writes what becomes of it.
                None => return Ok(true),
            },
        };
        self.tell_log(&row, settled.state, &settled.answer);
        self.settle(&row.message, token, &settled).await?;
        self.tally.count(settled.state);
        Ok(true)
    }

    /// Hands a message over; gives what becomes of it, or nothing where another sender has it.
    async fn hand_over(&self, row: &MessageRow, token: Uuid) -> Option<Settled> {
        let ours = async || {
            let read = self.context.store.read();
            read.message_is_claimed(row.message.id, token).await.unwrap_or(false)
        };
        let handed_over = if is_webhook(&row.message.recipient) {
            self.post_hook(&row.message, ours).await
        } else {
            self.post.hand_over(&self.email(&row.message), ours).await
        };
        let maybe_sent = matches!(handed_over, Err(Failure::Unknown(_)));
        let (tried, answer) = match handed_over {
            Ok(answer) => (Tried::Taken, answer),
            Err(Failure::Transient(answer) | Failure::Unknown(answer)) => (Tried::Failed, answer),
            Err(Failure::Permanent(answer)) => (Tried::Refused, answer),
            Err(Failure::NotOurs) => return None,
        };
        Some(Settled { maybe_sent, ..self.tried(row, tried, &answer) })
    }

    /// What becomes of a message after a try.
    fn tried(&self, row: &MessageRow, tried: Tried, answer: &str) -> Settled {
        let mut jitter = [0; 2];
        self.context.entropy.fill(&mut jitter);
        let (state, next_at) = after_try(
            tried,
            row.attempts,
            row.message.created_at,
            self.context.now(),
            u16::from_le_bytes(jitter),
        );
        Settled {
            state,
            next_at,
            answer: clip(&answer.replace(char::is_control, " "), ANSWER_MAX),
            maybe_sent: false,
        }
    }

    /// What becomes of a digest that has no words.
    fn unspoken(&self, words: Words, row: &MessageRow) -> Option<Settled> {
        match words {
            Words::Ready => None,
            Words::NothingLeft => {
                let answer = "what it was about ended before it was handed over".to_owned();
                Some(Settled {
                    state: MessageState::Superseded,
                    next_at: self.context.now(),
                    answer,
                    maybe_sent: false,
                })
            }
            Words::Unreadable(why) => {
                Some(self.tried(row, Tried::Failed, &format!("Its words can't be written: {why}")))
            }
        }
    }

    async fn post_hook(
        &self,
        message: &NewMessage,
        ours: impl AsyncFnOnce() -> bool,
    ) -> Result<String, Failure> {
        let (id, timestamp) = (message.id.to_string(), self.context.clock.real_now().secs());
        let key = self.context.secrets.webhook_key(message.account_id.as_str(), &message.recipient);
        let signed = standardwebhooks::Webhook::from_bytes(key.to_vec())
            .and_then(|key| key.sign(&id, timestamp, message.text.as_bytes()));
        let signature = signed.map_err(|error| {
            Failure::Transient(format!("The message could not be signed: {error}."))
        })?;
        if !ours().await {
            return Err(Failure::NotOurs);
        }
        let hook = Webhook {
            url: message.recipient.clone(),
            id,
            timestamp,
            signature,
            body: message.text.clone(),
        };
        self.post.post(hook).await
    }

    fn tell_log(&self, row: &MessageRow, state: MessageState, answer: &str) {
        let id = row.message.id;
        match state {
            MessageState::Sent => {
                tracing::info!(message.id = %id, "Message {id} was handed over: {answer}");
            }
            MessageState::Due => {
                tracing::warn!(message.id = %id, message.attempts = row.attempts, "Message {id} could not be handed over, and is tried again: {answer}");
            }
            MessageState::Dead => {
                tracing::error!(message.id = %id, message.attempts = row.attempts, "Message {id} is given up: {answer}");
            }
            _ => tracing::info!(message.id = %id, "Message {id} is not needed any more: {answer}"),
        }
    }

    /// Writes down what became of a message. It was handed over already: giving up here would send
    /// it twice, so only the end of this server ends the tries.
    async fn settle(&self, message: &NewMessage, token: Uuid, settled: &Settled) -> AppResult<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let written = async {
                let txn = self.context.store.write().await?;
                txn.message_settle(message.id, token, settled, self.context.now()).await?;
                txn.commit().await?;
                AppResult::Ok(())
            };
            match written.await {
                Err(error) if tries < SETTLE_TRIES || !self.context.is_closing() => {
                    if tries % SETTLE_LOGGED == 1 {
                        tracing::warn!(message.id = %message.id, error = &error as &dyn std::error::Error, "The outcome of message {} can't be written; it is tried again every second", message.id);
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                done => return done,
            }
        }
    }

    /// Why a message need not be sent any more.
    async fn pointless(
        &self,
        MessageRow { message, maybe_sent, .. }: &MessageRow,
    ) -> AppResult<Option<&'static str>> {
        let read = self.context.store.read();
        let alert = matches!(
            message.kind,
            MessageKind::Warning | MessageKind::Recovery | MessageKind::Limit | MessageKind::Held
        );
        if alert && !self.still_alerted(message).await? {
            return Ok(Some("nobody gets alerts there any more"));
        }
        Ok(match (message.kind, message.after_message) {
            (MessageKind::Warning, _)
                if !maybe_sent && !read.message_has_open_outage(message.id).await? =>
            {
                Some("the silence ended before it was handed over")
            }
            (MessageKind::Recovery, Some(warning)) if !read.message_was_sent(warning).await? => {
                Some("its warning was never sent")
            }
            _ => None,
        })
    }

    async fn still_alerted(&self, message: &NewMessage) -> AppResult<bool> {
        let read = self.context.store.read();
        if is_webhook(&message.recipient) {
            return Ok(read
                .account_fetch(&message.account_id)
                .await?
                .is_some_and(|account| account.webhook_url.as_ref() == Some(&message.recipient)));
        }
        Ok(read
            .user_list(&message.account_id)
            .await?
            .iter()
            .any(|user| user.gets_alerts() && user.email == message.recipient))
    }

    pub(super) fn email(&self, message: &NewMessage) -> Email {
        Email {
            message_id: message.message_id.clone(),
            from: self.context.settings.mail_from.clone(),
            to: message.recipient.clone(),
            subject: message.subject.clone(),
            text: message.text.clone(),
            html: message.html.clone(),
        }
    }

    /// Hands over what is due, and waits for those who are at it elsewhere in this process.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn deliver_and_wait(&self) -> AppResult<()> {
        let begun = tokio::time::Instant::now();
        loop {
            for lane in [Channel::Mail, Channel::Hooks] {
                self.deliver_due(lane).await?;
            }
            let under_way = self
                .context
                .store
                .read()
                .message_counts(self.context.now())
                .await?
                .by_state
                .iter()
                .any(|(state, n)| *state == MessageState::Claimed && *n > 0);
            // One that is settled may not be counted yet: it is on its way here until it is.
            let here = !self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if !(under_way || here) || begun.elapsed() > 2 * self.context.settings.mail_deadline {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
