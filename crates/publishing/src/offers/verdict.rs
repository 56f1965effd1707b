//! What is to be done about the events that a client was offered.

use std::collections::HashMap;

use iocast_domain::{
    receipt::{LEFT_FOR, OFFERED_AGAIN, OFFERED_FOR},
    time::{SECOND, Timestamp},
};
use iocast_store::{EventReceipt, FileRef, Reader, Receipt};
use uuid::Uuid;

use crate::{AppResult, Publishing, misp_event};

/// What is to be done about events.
#[derive(Default)]
pub(super) struct Verdict {
    /// They are offered again.
    pub(super) again: Vec<Uuid>,
    /// They may be stored wrongly, and are offered again.
    pub(super) wrong: Vec<Uuid>,
    /// They were, as often as may be, and nothing came of it.
    pub(super) given_up: Vec<Uuid>,
    /// The client fetches them again and again.
    pub(super) refused: Vec<Uuid>,
    /// They are to be offered again, and no publication did so yet.
    pub(super) waiting: Vec<Uuid>,
    /// Of some it is not known yet whether they are stored, and it matters.
    pub(super) doubtful: bool,
    /// The client asks for the manifest alone, and not for long: it may leave some on purpose.
    pub(super) undecided: bool,
    /// People were told that the client leaves others.
    pub(super) is_known: bool,
    /// The last pull ended before its end, as far as can be seen.
    broke_off: bool,
}

impl Verdict {
    /// Whether it says something of an event already: one event is one row of what is noted.
    fn names(&self, event: Uuid) -> bool {
        let Self { again, wrong, given_up, refused, waiting, .. } = self;
        [again, wrong, given_up, refused, waiting].into_iter().any(|all| all.contains(&event))
    }

    /// What gets new timestamps with the next publication.
    pub(super) fn offers(&self) -> impl Iterator<Item = Uuid> {
        self.again.iter().chain(&self.wrong).chain(&self.waiting).copied()
    }
}

/// What a client was given, beside what is published.
struct Look<'a> {
    receipt: &'a Receipt,
    fetched: &'a HashMap<Uuid, EventReceipt>,
    /// The events of the last publication; none if that is the one that the client was given.
    newest: Option<HashMap<Uuid, Uuid>>,
    /// The timestamp of each event, and whether it is to get another one.
    stamps: HashMap<Uuid, (i64, bool)>,
    /// It fetched events since it was given the manifest. A manifest alone may have been a preview,
    /// of which nothing else was wanted.
    imports: bool,
    now: Timestamp,
}

impl Publishing {
    /// What is to be done about the events that a client was offered.
    pub(super) async fn verdict(
        &self,
        read: &Reader,
        receipt: &Receipt,
        fetched: &HashMap<Uuid, EventReceipt>,
        now: Timestamp,
    ) -> AppResult<Verdict> {
        let group = receipt.group_id;
        // What the manifest listed that it was given. One that is not kept any more is followed by
        // others, which it will ask for.
        let listed = events(read.publication_files_of(group, receipt.publication).await?);
        let stamps = read.part_stamps(group).await?.into_iter();
        let look = Look {
            receipt,
            fetched,
            newest: self.newest_events(read, receipt).await?,
            stamps: stamps.map(|(event, stamp, again)| (event, (stamp, again))).collect(),
            imports: fetched.values().any(|event| event.fetched_at >= receipt.fetched_at),
            now,
        };
        let mut verdict = Verdict::default();
        for (event, version) in listed {
            look.judge(event, version, &mut verdict);
        }
        if verdict.broke_off {
            let given_last = look.given_last(&verdict);
            verdict.wrong.extend(given_last);
        }
        Ok(verdict)
    }

    /// The events of the last publication; none if that is the one that the client was given.
    async fn newest_events(
        &self,
        read: &Reader,
        receipt: &Receipt,
    ) -> AppResult<Option<HashMap<Uuid, Uuid>>> {
        let state = read.publish_state(receipt.group_id).await?;
        let newest = state.map_or(0, |state| state.publication);
        if newest == receipt.publication {
            return Ok(None);
        }
        Ok(Some(events(read.publication_files_of(receipt.group_id, newest).await?)))
    }
}

impl Look<'_> {
    /// Judges one event that the client was offered in this version.
    fn judge(&self, event: Uuid, version: Uuid, verdict: &mut Verdict) {
        let Some((stamp, is_waiting)) = self.stamps.get(&event).copied() else { return };
        let known = self.fetched.get(&event);
        let lacks = known.is_none_or(|known| known.version != version && known.offered == 0);
        verdict.broke_off |= lacks && !is_waiting;
        verdict.is_known |= known.is_some_and(|of| of.reported && of.offered > OFFERED_AGAIN);
        match known.filter(|known| known.version == version) {
            Some(known) if known.is_refused(self.receipt) => verdict.refused.push(event),
            Some(known) => {
                if known.mistaken && known.offered == 0 && known.corrections < OFFERED_AGAIN {
                    // It stores the event: an edit takes back what the import may have attached.
                    if known.stored || self.receipt.asked_at() > known.fetched_at {
                        verdict.wrong.push(event);
                    } else {
                        verdict.doubtful = true;
                    }
                }
            }
            None if is_waiting => verdict.waiting.push(event),
            None if !self.was_offered(event, version) => {}
            None if self.now.micros() - stamp * SECOND < OFFERED_FOR => {}
            None => match known.map_or(0, |known| known.offered) {
                0 if known.is_none() && !self.imports => {
                    if self.is_left(stamp) {
                        verdict.given_up.push(event);
                    } else {
                        verdict.undecided = true;
                    }
                }
                offered if offered < OFFERED_AGAIN => verdict.again.push(event),
                OFFERED_AGAIN => verdict.given_up.push(event),
                _ => {}
            },
        }
    }

    /// Whether it is the last version: what was published since, the client was not offered yet. It
    /// gets a manifest when it asks next.
    fn was_offered(&self, event: Uuid, version: Uuid) -> bool {
        self.newest.as_ref().is_none_or(|newest| newest.get(&event) == Some(&version))
    }

    /// Whether the client asked for the manifest long after it was offered an event.
    fn is_left(&self, stamp: i64) -> bool {
        let offered_at = self.receipt.first_at.max(Timestamp::from_secs(stamp));
        self.receipt.asked_at().since(offered_at) >= LEFT_FOR
    }

    /// What was given last at a pull that broke off, which may be stored by half.
    fn given_last(&self, verdict: &Verdict) -> Vec<Uuid> {
        let of_pull = |event: &&EventReceipt| event.fetched_at >= self.receipt.asked_at();
        let last = self.fetched.values().filter(of_pull).map(|event| event.fetched_at).max();
        let given_last = self.fetched.values().filter(|event| {
            Some(event.fetched_at) == last
                && event.offered == 0
                && event.corrections < OFFERED_AGAIN
                && self.stamps.contains_key(&event.event)
                && !verdict.names(event.event)
        });
        given_last.map(|event| event.event).collect()
    }
}

fn events(files: Option<Vec<FileRef>>) -> HashMap<Uuid, Uuid> {
    let files = files.unwrap_or_default();
    files.iter().filter_map(misp_event).collect()
}
