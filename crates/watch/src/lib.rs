//! Contact with devices, and messages about it: pulls, outages, the outbox and its senders.
//!
//! A pull is noted in memory when its last byte is sent, and written in batches; in the same
//! transaction it ends the outage of its device. Each tick looks for devices that may have fallen
//! silent; one transaction opens the outage and writes the messages. Senders claim a message,
//! deliver it with no transaction open, and record the result.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use iocast_context::{
    Actor, Answer, AppError, AppResult, Context, GroupNews, Messages, Pulled, Tables,
};
use iocast_domain::{
    account::{Account, User},
    id::MessageId,
    message::Content,
};
use iocast_notify::{MailWay, Mailer};
use iocast_store::Txn;
use tokio::sync::Notify;

mod digests;
mod outage_messages;
mod outbox;
mod pulls;
mod receipts;
mod watchdog;

pub use self::{
    outbox::Delivered,
    pulls::{Client, PullNote, PullUnderWay},
    receipts::receiver,
    watchdog::Watched,
};

/// Watches devices, and writes and sends messages.
pub struct Watch {
    context: Arc<Context>,
    tables: Arc<dyn Tables>,
    notes: pulls::Notes,
    receipts: receipts::Written,
    pulls: pulls::Pulls,
    /// Pulls whose bodies are being sent.
    under_way: Arc<AtomicUsize>,
    post: Mailer,
    /// Poked whenever a message was written, for each lane.
    messages: [Notify; 2],
    /// Messages that are handed over here just now.
    on_their_way: Mutex<HashSet<MessageId>>,
    last_heartbeat: AtomicI64,
    last_beat: Mutex<Option<watchdog::Beat>>,
    tally: outbox::DeliveryCounters,
}

impl Watch {
    /// Delivers with this mailer; `tables` say what a client has that shows a manifest's ETag.
    #[must_use]
    pub fn new(context: Arc<Context>, tables: Arc<dyn Tables>, post: Mailer) -> Self {
        Self {
            context,
            tables,
            receipts: receipts::Written::default(),
            notes: pulls::Notes::default(),
            pulls: pulls::Pulls::default(),
            under_way: Arc::default(),
            post,
            messages: [Notify::new(), Notify::new()],
            on_their_way: Mutex::default(),
            last_heartbeat: AtomicI64::new(0),
            last_beat: Mutex::default(),
            tally: outbox::DeliveryCounters::default(),
        }
    }

    /// What became of messages since the server started.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        self.tally.read()
    }

    /// What was found by whichever tick since the server started.
    #[must_use]
    pub fn watched_so_far(&self) -> Watched {
        self.tally.watched_so_far()
    }

    /// Answers to devices since the server started, by status.
    #[must_use]
    pub fn answers(&self) -> Vec<(u16, u64)> {
        self.pulls.read()
    }

    /// Pulls that could not be noted, because the database was away for long.
    #[must_use]
    pub fn pulls_dropped(&self) -> u64 {
        self.notes.dropped()
    }

    /// When a write of ours was last seen in the database, in microseconds of real time.
    #[must_use]
    pub fn last_heartbeat(&self) -> i64 {
        self.last_heartbeat.load(Ordering::Relaxed)
    }

    /// Where messages go, in words.
    #[must_use]
    pub fn mail_goes_to(&self) -> String {
        self.post.describe()
    }

    /// In which way mail goes out.
    #[must_use]
    pub fn mail_way(&self) -> MailWay {
        self.post.way()
    }
}

impl Messages for Watch {
    fn are_off(&self) -> bool {
        self.post.is_off()
    }

    fn tell<'a>(
        &'a self,
        txn: &'a Txn,
        account: &'a Account,
        news: &'a GroupNews,
        subject: &'a str,
    ) -> Answer<'a, ()> {
        Box::pin(self.group_messages(txn, account, news, subject))
    }

    fn tell_person<'a>(
        &'a self,
        txn: &'a Txn,
        account: &'a Account,
        user: &'a User,
        content: &'a Content,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let message = self.message(account, content.kind(), &user.email, content)?;
            txn.message_insert(&message).await?;
            Ok(())
        })
    }

    fn wake(&self) {
        self.messages_wait();
    }
}
