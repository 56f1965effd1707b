//! An outage ends, and with it what was written about it.

use std::collections::{HashMap, hash_map::Entry};

use iocast_domain::{
    id::{LetterId, OutageId},
    letter::{LetterKind, LetterState},
    time::Timestamp,
    watch::EndedBy,
};

use crate::{OutageLetter, StoreResult, Txn};

/// What became of a warning whose outage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningFate {
    /// It was sent.
    Sent,
    /// It is being sent, or may have arrived.
    OnItsWay,
}

impl Txn {
    /// Takes back the warnings of an outage that are not on their way, and gives those that are or
    /// were. `needed` remembers of which letters another outage is still open.
    pub async fn warnings_take_back(
        &self,
        outage: OutageId,
        now: Timestamp,
        needed: &mut HashMap<LetterId, bool>,
    ) -> StoreResult<Vec<(LetterId, String, WarningFate)>> {
        let mut gone = Vec::new();
        for OutageLetter { id, kind, recipient, state, maybe_sent, gathers } in
            self.outage_letters(outage).await?
        {
            if kind != LetterKind::Warning {
                continue;
            }
            match state {
                LetterState::Sent => gone.push((id, recipient, WarningFate::Sent)),
                LetterState::Claimed => gone.push((id, recipient, WarningFate::OnItsWay)),
                // The digest goes out without it.
                LetterState::Due if gathers && self.digest_drop(id, outage).await? => {}
                LetterState::Due => {
                    // One that may have arrived is sent until the mail server says so: its reader
                    // waits for the end of it.
                    let open = match needed.entry(id) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(place) => {
                            *place.insert(self.letter_has_open_outage(id).await?)
                        }
                    };
                    if maybe_sent
                        || open
                        || !self
                            .letter_move(id, &[LetterState::Due], LetterState::Superseded, now)
                            .await?
                    {
                        gone.push((id, recipient, WarningFate::OnItsWay));
                    }
                }
                LetterState::Dead | LetterState::Superseded | LetterState::Discarded => {}
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
        for (letter, _, _) in self.warnings_take_back(outage, now, &mut HashMap::new()).await? {
            // Not sent any more, even if it may have arrived already.
            if !self.letter_has_open_outage(letter).await? {
                self.letter_move(letter, &[LetterState::Due], LetterState::Superseded, now).await?;
            }
        }
        Ok(())
    }
}
