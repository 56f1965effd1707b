//! What is known of a client and a MISP event.

use iocast_domain::{
    id::GroupId,
    receipt::{EventBody, PULL_ENDS, REFUSED_AFTER},
    time::{DAY, Timestamp},
};
use uuid::Uuid;

use super::Receipt;
use crate::row::event_receipt;

/// A MISP event that a client fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventReceipt {
    /// The client.
    pub client_id: Uuid,
    /// The group.
    pub group_id: GroupId,
    /// The event.
    pub event: Uuid,
    /// Its version.
    pub version: Uuid,
    /// The publication that it was given from.
    pub publication: i64,
    /// When it was last given.
    pub fetched_at: Timestamp,
    /// At how many pulls this version was given.
    pub times: u32,
    /// How often the event was offered again since it was last given.
    pub offered: u32,
    /// The client pulled since without asking for it again: it stores the event, in whichever
    /// version.
    pub stored: bool,
    /// It may have stored the event wrongly: it was given the file that takes something back, and
    /// may have imported it as new, so that what was taken back is attached now; or its pull broke
    /// off right after.
    pub mistaken: bool,
    /// When it was given the manifest of the pull at which it fetched the event.
    pub pulled_at: Timestamp,
    /// How often the event was offered again because it may be stored wrongly, without a day in
    /// which it was not fetched.
    pub corrections: u32,
    /// People were told that the client does not take the event.
    pub reported: bool,
    /// How many versions of it were given, up to [`SURE_AFTER`].
    pub versions: u32,
}

/// After how many versions a client that asked for each of them surely stores the event. A person
/// who previews an event of the feed looks like a MISP that imports it: one version alone may have
/// been such a preview.
pub(super) const SURE_AFTER: u32 = 2;

impl EventReceipt {
    /// A client was offered an event and never fetched it.
    #[must_use]
    pub const fn never(client_id: Uuid, group_id: GroupId, event: Uuid) -> Self {
        Self {
            client_id,
            group_id,
            event,
            version: Uuid::nil(),
            publication: 0,
            fetched_at: Timestamp::from_micros(0),
            times: 0,
            offered: 0,
            stored: false,
            mistaken: false,
            pulled_at: Timestamp::from_micros(0),
            corrections: 0,
            reported: false,
            versions: 0,
        }
    }

    /// Whether it was fetched at all.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        self.publication > 0
    }

    /// What is known after the client was given the event.
    #[must_use]
    pub fn follow(
        self,
        (version, publication, body): (Uuid, i64, EventBody),
        at: Timestamp,
        asked_at: Option<Timestamp>,
    ) -> Self {
        let known = self.is_fetched();
        let again = known && self.version == version;
        // At another pull: a MISP that stores a version does not ask for it again. Either it never
        // stored this one, or it lost it, as by a backup that was put back.
        let lacks_it = again && asked_at.is_some_and(|asked| asked > self.fetched_at);
        let stored = self.stored && !lacks_it;
        // All attributes of a version that is offered again have new timestamps: a MISP that stores
        // the event takes back what was taken back.
        let corrected = known && !again && stored && self.offered > 0;
        let is_sure = stored && (again || self.versions >= SURE_AFTER);
        let doubtful = !is_sure && body == EventBody::Whole && (!again || lacks_it);
        // What it refused, it may refuse in another version, too.
        let still_refused = self.times >= REFUSED_AFTER && !stored;
        Self {
            version,
            publication,
            fetched_at: at,
            times: match again {
                // It stored the event, and lost it since: it may refuse it from now on.
                true if self.stored && lacks_it => 1,
                true => self.times + u32::from(lacks_it),
                false if still_refused => self.times,
                false => 1,
            },
            offered: 0,
            stored,
            mistaken: (self.mistaken && !corrected) || doubtful,
            pulled_at: asked_at.unwrap_or(at),
            // A bound for a day: what went wrong long ago must not use up what is needed now.
            corrections: if at.since(self.fetched_at) < DAY { self.corrections } else { 0 },
            reported: self.reported && !self.stored && (again || still_refused),
            versions: if lacks_it { 0 } else { self.versions + u32::from(!again) }.min(SURE_AFTER),
            ..self
        }
    }

    /// Whether the client fetches the event at pull after pull in the same version, so that it
    /// does not store it: also at the last one.
    #[must_use]
    pub fn is_refused(&self, of: &Receipt) -> bool {
        self.times >= REFUSED_AFTER && self.fetched_at.plus(PULL_ENDS) >= of.asked_at()
    }
}

pub(super) fn to_event(row: &event_receipt::Model) -> EventReceipt {
    EventReceipt {
        client_id: row.client_id,
        group_id: GroupId(row.group_id),
        event: row.event,
        version: row.version,
        publication: row.publication,
        fetched_at: Timestamp::from_micros(row.fetched_at),
        times: u32::try_from(row.times).unwrap_or_default(),
        offered: u32::try_from(row.offered).unwrap_or_default(),
        stored: row.stored,
        mistaken: row.mistaken,
        pulled_at: Timestamp::from_micros(row.pulled_at),
        corrections: u32::try_from(row.corrections).unwrap_or_default(),
        reported: row.reported,
        versions: u32::try_from(row.versions).unwrap_or_default(),
    }
}
