//! Messages are written in the transaction that gives their reason.

use iocast_domain::{
    account::{Account, User},
    id::GroupId,
    message::{Content, FailingSource, FullGroup, HeldGroup, NotTakenGroup},
};
use iocast_store::Txn;
use serde::{Deserialize, Serialize};

use crate::Answer;

/// What happened to a group or a source, as it waits in a digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum GroupNews {
    /// It reached its limit.
    Full(FullGroup),
    /// A publication of it is held.
    Held(GroupId, HeldGroup),
    /// A MISP does not take events of it.
    NotTaken(NotTakenGroup),
    /// A source can't fetch.
    SourceFailing(FailingSource),
    /// It fetches again.
    SourceRecovered(FailingSource),
}

/// Writes messages into the outbox. Delivery is tried later, outside the transaction.
pub trait Messages: Send + Sync {
    /// Whether messages are written at all.
    fn are_off(&self) -> bool;

    /// Writes news to all who get alerts, once for each `subject`.
    fn tell<'a>(
        &'a self,
        txn: &'a Txn,
        account: &'a Account,
        news: &'a GroupNews,
        subject: &'a str,
    ) -> Answer<'a, ()>;

    /// Writes to one person.
    fn tell_person<'a>(
        &'a self,
        txn: &'a Txn,
        account: &'a Account,
        user: &'a User,
        content: &'a Content,
    ) -> Answer<'a, ()>;

    /// Wakes those who hand messages over: call it after the commit.
    fn wake(&self);
}
