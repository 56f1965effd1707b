//! Digests: what a person is told within a few minutes comes in one message. Its words are written
//! when it is handed over.

use iocast_domain::{
    account::Account,
    id::{GroupId, MessageId},
    message::{Content, GATHERED_FOR, MessageKind, digest_at, is_webhook},
};
use iocast_notify::{Rendered, render};
use iocast_store::{MessageRow, NewMessage, Txn};

use crate::{AppError, AppResult, GroupNews, Watch};

/// Devices or groups that one message to a person lists; the others are counted.
const LISTED: usize = 100;
/// Things in a digest that are read together.
const AT_ONCE: u64 = 500;

/// Whether a digest can be handed over.
pub(crate) enum Words {
    /// Its words are written.
    Ready,
    /// What it was about is over.
    NothingLeft,
    /// What it is about can't be read.
    Unreadable(String),
}

const fn kind(news: &GroupNews) -> MessageKind {
    match news {
        GroupNews::Full(_) => MessageKind::Limit,
        GroupNews::Held(..) => MessageKind::Held,
        GroupNews::NotTaken(_) => MessageKind::NotTaken,
        GroupNews::SourceFailing(_) => MessageKind::SourceFailing,
        GroupNews::SourceRecovered(_) => MessageKind::SourceRecovered,
    }
}

const fn held(news: &GroupNews) -> Option<GroupId> {
    if let GroupNews::Held(group, _) = news { Some(*group) } else { None }
}

/// What a message about these groups or sources says, if there are any.
fn content(news: Vec<GroupNews>, more: u64) -> Option<Content> {
    let (mut full, mut held, mut not_taken) = (Vec::new(), Vec::new(), Vec::new());
    let (mut failing, mut recovered) = (Vec::new(), Vec::new());
    for item in news {
        match item {
            GroupNews::Full(group) => full.push(group),
            GroupNews::Held(_, group) => held.push(group),
            GroupNews::NotTaken(group) => not_taken.push(group),
            GroupNews::SourceFailing(source) => failing.push(source),
            GroupNews::SourceRecovered(source) => recovered.push(source),
        }
    }
    // One message is about news of one kind.
    if !full.is_empty() {
        Some(Content::Limit { groups: full, more })
    } else if !held.is_empty() {
        Some(Content::Held { groups: held, more })
    } else if !not_taken.is_empty() {
        Some(Content::NotTaken { groups: not_taken, more })
    } else if !failing.is_empty() {
        Some(Content::SourceFailing { sources: failing, more })
    } else if !recovered.is_empty() {
        Some(Content::SourceRecovered { sources: recovered, more })
    } else {
        None
    }
}

impl Watch {
    /// A digest that is about to be opened. Its words come later.
    pub(crate) fn digest(
        &self,
        account: &Account,
        kind: MessageKind,
        recipient: &str,
    ) -> NewMessage {
        let subject = match kind {
            MessageKind::Recovery => "Devices pull again",
            MessageKind::Limit => "IOC groups reached their limit",
            MessageKind::Held => "IOC groups are held back",
            MessageKind::NotTaken => "MISP does not take events",
            MessageKind::SourceFailing => "Sources can't fetch",
            MessageKind::SourceRecovered => "Sources fetch again",
            _ => "Devices are silent",
        };
        let words = Rendered {
            subject: format!("[iocast] {subject}"),
            text: String::new(),
            html: String::new(),
        };
        self.new_message(account, kind, recipient, words)
    }

    /// Writes messages about a group or a source to all who get alerts, once for each `subject`.
    pub(crate) async fn group_messages(
        &self,
        txn: &Txn,
        account: &Account,
        news: &GroupNews,
        subject: &str,
    ) -> AppResult<()> {
        let (kind, now) = (kind(news), self.context.now());
        for recipient in self.alerted(txn, account).await? {
            let key = format!("{subject}:{recipient}");
            let digest = if is_webhook(&recipient) {
                None
            } else {
                digest_at(
                    txn.messages_lately(&account.id, kind, &recipient, now.plus(-GATHERED_FOR))
                        .await?,
                    1,
                    now,
                )
            };
            if let Some(due) = digest {
                let (message, _) =
                    txn.digest_open(&self.digest(account, kind, &recipient), due).await?;
                txn.digest_add(
                    message,
                    &key,
                    serde_json::to_string(news).map_err(AppError::internal)?,
                )
                .await?;
            } else if let Some(content) = content(vec![news.clone()], 0) {
                let mut message = self.message(account, kind, &recipient, &content)?;
                message.subject_key = Some(key);
                txn.message_insert(&message).await?;
            }
        }
        self.messages_wait();
        Ok(())
    }

    /// Writes the words of a digest that was just claimed, of what it is about now.
    pub(crate) async fn digest_close(&self, txn: &Txn, row: &mut MessageRow) -> AppResult<Words> {
        match self.digest_words(txn, &row.message).await {
            Ok(Some((content, account))) => {
                let words = render(&content, &account.name, &self.context.settings.public_url)
                    .map_err(AppError::internal)?;
                let message = &mut row.message;
                (message.subject, message.text, message.html, message.created_at) =
                    (words.subject, words.text, words.html, self.context.now());
                txn.digest_close(message).await?;
                row.gathers = false;
                Ok(Words::Ready)
            }
            Ok(None) => Ok(Words::NothingLeft),
            Err(error) if error.is_corrupt() => Ok(Words::Unreadable(error.to_string())),
            Err(error) => Err(error),
        }
    }

    async fn digest_words(
        &self,
        txn: &Txn,
        message: &NewMessage,
    ) -> AppResult<Option<(Content, Account)>> {
        let Some(account) = txn.account_fetch(&message.account_id).await? else { return Ok(None) };
        let content = match message.kind {
            MessageKind::Warning | MessageKind::Recovery => {
                self.digest_of_outages(txn, &account, message.id, message.kind, LISTED as u64)
                    .await?
            }
            _ => self.digest_of_groups(txn, message.id).await?,
        };
        Ok(content.map(|content| (content, account)))
    }

    /// What a digest about groups says: of those that are still as they were noted.
    async fn digest_of_groups(&self, txn: &Txn, message: MessageId) -> AppResult<Option<Content>> {
        let (mut listed, mut more, mut after) = (Vec::new(), 0, String::new());
        loop {
            let some = txn.digest_items(message, &after, AT_ONCE).await?;
            let Some((last, _)) = some.last() else { break };
            after.clone_from(last);
            let mut news: Vec<GroupNews> = Vec::with_capacity(some.len());
            for (_, item) in &some {
                match serde_json::from_str(item) {
                    Ok(item) => news.push(item),
                    Err(error) => {
                        tracing::error!(message.id = %message, error = &error as &dyn std::error::Error, "Part of message {message} can't be read and is left out");
                    }
                }
            }
            let groups: Vec<GroupId> = news.iter().filter_map(held).collect();
            let held = txn.held_until(&groups).await?;
            // Somebody let it through, the IOCs came back, or another publication is held since.
            news.retain(|item| {
                if let GroupNews::Held(group, news) = item {
                    held.get(group) == Some(&news.until)
                } else {
                    true
                }
            });
            for item in news {
                if listed.len() < LISTED { listed.push(item) } else { more += 1 }
            }
        }
        Ok(content(listed, more))
    }
}
