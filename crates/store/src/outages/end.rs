//! An outage ends, and with it what was written about it.

use std::collections::{HashMap, hash_map::Entry};

use iocast_domain::{
    id::{MessageId, OutageId},
    message::{MessageKind, MessageState},
    time::Timestamp,
    watch::EndedBy,
};

use crate::{OutageMessage, StoreResult, Txn};

/// What became of a warning whose outage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningFate {
    /// It was sent.
    Sent,
    /// It is being sent, or may have arrived.
    InFlight,
}

impl Txn {
    /// Takes back the warnings of an outage that are not on their way, and gives those that are or
    /// were. `needed` remembers of which messages another outage is still open.
    pub async fn warnings_take_back(
        &self,
        outage: OutageId,
        now: Timestamp,
        needed: &mut HashMap<MessageId, bool>,
    ) -> StoreResult<Vec<(MessageId, String, WarningFate)>> {
        let mut gone = Vec::new();
        for OutageMessage { id, kind, recipient, state, maybe_sent, gathers } in
            self.outage_messages(outage).await?
        {
            if kind != MessageKind::Warning {
                continue;
            }
            match state {
                MessageState::Sent => gone.push((id, recipient, WarningFate::Sent)),
                MessageState::Claimed => gone.push((id, recipient, WarningFate::InFlight)),
                // The digest goes out without it.
                MessageState::Due if gathers && self.digest_drop(id, outage).await? => {}
                MessageState::Due => {
                    // One that may have arrived is sent until the mail server says so: its reader
                    // waits for the end of it.
                    let open = match needed.entry(id) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(place) => {
                            *place.insert(self.message_has_open_outage(id).await?)
                        }
                    };
                    if maybe_sent
                        || open
                        || !self
                            .message_move(id, &[MessageState::Due], MessageState::Superseded, now)
                            .await?
                    {
                        gone.push((id, recipient, WarningFate::InFlight));
                    }
                }
                MessageState::Dead | MessageState::Superseded | MessageState::Discarded => {}
            }
        }
        Ok(gone)
    }

    /// Ends an outage without a message: warnings of it that were not sent yet are not needed any
    /// more.
    pub async fn outage_close(
        &self,
        outage: OutageId,
        (at, now): (Timestamp, Timestamp),
        by: EndedBy,
    ) -> StoreResult<()> {
        self.outage_end(outage, at, by).await?;
        for (message, _, _) in self.warnings_take_back(outage, now, &mut HashMap::new()).await? {
            // Not sent any more, even if it may have arrived already.
            if !self.message_has_open_outage(message).await? {
                self.message_move(message, &[MessageState::Due], MessageState::Superseded, now)
                    .await?;
            }
        }
        Ok(())
    }
}
