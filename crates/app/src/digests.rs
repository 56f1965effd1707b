//! Digests: what a person is told within a few minutes comes in one message. Its words are written when it is handed over.

use iocast_domain::{
    account::Account,
    id::{GroupId, LetterId},
    letter::{GATHERED_FOR, LetterKind, digest_at},
};
use iocast_mail::{Content, FullGroup, HeldGroup, Rendered, is_webhook, render};
use iocast_store::{LetterRow, NewLetter, Txn};
use serde::{Deserialize, Serialize};

use crate::{App, AppError, AppResult};

/// Devices or groups that one message to a person lists; the others are counted.
const LISTED: u64 = 100;

/// What happened to a group, as it waits in a digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum GroupNews {
    Full(FullGroup),
    Held(GroupId, HeldGroup),
}

impl GroupNews {
    const fn kind(&self) -> LetterKind {
        match self {
            Self::Full(_) => LetterKind::Limit,
            Self::Held(..) => LetterKind::Held,
        }
    }
}

/// What a message about these says; nothing if there are none.
fn content(news: Vec<GroupNews>, more: u64) -> Option<Content> {
    let (mut full, mut held) = (Vec::new(), Vec::new());
    for item in news {
        match item {
            GroupNews::Full(group) => full.push(group),
            GroupNews::Held(_, group) => held.push(group),
        }
    }
    match (full.is_empty(), held.is_empty()) {
        (false, _) => Some(Content::Limit { groups: full, more }),
        (_, false) => Some(Content::Held { groups: held, more }),
        _ => None,
    }
}

impl App {
    /// A digest that is about to be opened. Its words come later.
    pub(crate) fn digest(&self, account: &Account, kind: LetterKind, recipient: &str) -> NewLetter {
        let subject = match kind {
            LetterKind::Recovery => "Devices pull again",
            LetterKind::Limit => "IOC groups reached their limit",
            LetterKind::Held => "IOC groups are held back",
            _ => "Devices are silent",
        };
        let words = Rendered { subject: format!("[iocast] {subject}"), text: String::new(), html: String::new() };
        self.new_letter(account, kind, recipient, words)
    }

    /// Writes letters about a group to all who get alerts, once for each `subject`.
    pub(crate) async fn group_letters(&self, txn: &Txn, account: &Account, news: &GroupNews, subject: &str) -> AppResult<()> {
        let (kind, now) = (news.kind(), self.now());
        for recipient in self.alerted(txn, account).await? {
            let key = format!("{subject}:{recipient}");
            let digest = if is_webhook(&recipient) {
                None
            } else {
                digest_at(txn.letters_lately(&account.id, kind, &recipient, now.plus(-GATHERED_FOR)).await?, 1, now)
            };
            if let Some(due) = digest {
                let (letter, _) = txn.digest_open(&self.digest(account, kind, &recipient), due).await?;
                txn.digest_add(letter, &key, serde_json::to_string(news).map_err(AppError::internal)?).await?;
            } else if let Some(content) = content(vec![news.clone()], 0) {
                let mut letter = self.letter(account, kind, &recipient, &content)?;
                letter.subject_key = Some(key);
                txn.letter_insert(&letter).await?;
            }
        }
        self.letters_wait();
        Ok(())
    }

    /// Writes the words of a digest that was just claimed, of what it is about now. Gives false if nothing is left to tell.
    pub(crate) async fn digest_close(&self, txn: &Txn, row: &mut LetterRow) -> AppResult<bool> {
        let letter = &mut row.letter;
        let Some(account) = txn.account_fetch(&letter.account_id).await? else { return Ok(false) };
        let content = match letter.kind {
            LetterKind::Warning | LetterKind::Recovery => self.digest_of_outages(txn, &account, letter.id, letter.kind, LISTED).await?,
            _ => self.digest_of_groups(txn, letter.id).await?,
        };
        let Some(content) = content else { return Ok(false) };
        let words = render(&content, &account.name, &self.settings.public_url).map_err(AppError::internal)?;
        (letter.subject, letter.text, letter.html, letter.created_at) = (words.subject, words.text, words.html, self.now());
        txn.digest_close(letter).await?;
        row.gathers = false;
        Ok(true)
    }

    async fn digest_of_groups(&self, txn: &Txn, letter: LetterId) -> AppResult<Option<Content>> {
        let (items, all) = txn.digest_items(letter, LISTED).await?;
        let more = all - items.len() as u64;
        let mut news = Vec::with_capacity(items.len());
        for item in items {
            match serde_json::from_str(&item) {
                // Somebody let it through, or the IOCs came back.
                Ok(GroupNews::Held(group, _)) if txn.publish_state(group).await?.is_none_or(|state| state.held.is_none()) => {}
                Ok(item) => news.push(item),
                Err(error) => {
                    tracing::error!(letter.id = %letter, error = &error as &dyn std::error::Error, "Part of letter {letter} can't be read and is left out");
                }
            }
        }
        Ok(content(news, more))
    }
}
