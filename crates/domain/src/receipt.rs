//! What a client verifiably fetched, and whether a device therefore has what its group holds.
//!
//! The dot says whether a device pulls. [`protection`] says what came of it.

use uuid::Uuid;

use crate::{
    group::Held,
    time::{HOUR, MINUTE, Timestamp},
};

/// What was handed over to a client, or what it showed that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fetched {
    /// The whole entry document of this publication.
    Whole(i64),
    /// It has the entry document of this publication already: 304.
    Same(i64),
    /// All of this publication that was added since it last asked.
    Rest(i64),
    /// A slice of a list: what it has of the rest is not known.
    Part,
    /// A MISP event.
    Event {
        /// Which.
        event: Uuid,
        /// Its version.
        version: Uuid,
        /// The publication that it was served from.
        publication: i64,
        /// Which of its files.
        body: EventBody,
    },
}

/// Which of the files of a MISP event was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventBody {
    /// There is but one: nothing was taken back in it.
    Only,
    /// The one for a MISP that never had the event: without tags that were taken back, which MISP
    /// would attach at its first import.
    First,
    /// The one that takes back what a MISP may have from earlier versions.
    Whole,
}

impl Fetched {
    /// Whether the entry document was asked for: that is a pull.
    #[must_use]
    pub const fn is_pull(self) -> bool {
        !matches!(self, Self::Event { .. })
    }
}

/// After how long without a request a client is done with its pull, in microseconds.
pub const PULL_ENDS: i64 = 10 * MINUTE;
/// At how many pulls a client fetches an event in the same version before it is taken to refuse it.
pub const REFUSED_AFTER: u32 = 3;
/// For how long a MISP may leave what it was offered before it is offered again, in microseconds.
pub const OFFERED_FOR: i64 = HOUR;
/// How often an event is offered again: each time costs every MISP of the group a fetch.
pub const OFFERED_AGAIN: u32 = 3;
/// For how long a MISP may ask for the manifest and leave an event that stays as it is before it is
/// taken to leave it on purpose, in microseconds.
pub const LEFT_FOR: i64 = 24 * HOUR;
/// How much a group has to lose to count as shrunk, in per cent.
const SHRUNK: u64 = 50;

/// A publication of a group, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// From 1.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// IOCs in it.
    pub live: u32,
    /// IOCs that joined or left.
    pub changed: u32,
}

/// What a client of a group is known to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHas {
    /// The publication whose entry document it fetched last.
    pub publication: Option<i64>,
    /// When it did.
    pub fetched_at: Option<Timestamp>,
    /// Of MISP events: how many of those that are published it has in their present version.
    pub events: u64,
    /// Events that it fetches again and again.
    pub refused: u64,
    /// Events that it was offered again several times, or for a day, and did not fetch.
    pub not_taken: u64,
}

/// What is known of a group.
#[derive(Clone, Debug, Default)]
pub struct GroupFacts {
    /// Its last publications, the newest first.
    pub published: Vec<Published>,
    /// The one that it serves.
    pub serves: i64,
    /// For how long a device may lack what was published before people are told to look, in
    /// microseconds.
    pub late_after: i64,
    /// Of MISP: how many events it publishes.
    pub events: u64,
    /// IOCs that found no room.
    pub left_out: u64,
    /// A publication waits.
    pub held: Option<Held>,
    /// It is kept at one publication.
    pub frozen: Option<i64>,
    /// The device pulled at some time.
    pub pulled: bool,
    /// What its clients have that were there lately.
    pub clients: Vec<ClientHas>,
}

/// Whether a device has what its group holds, in the order in which people should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Nothing was fetched yet.
    NeverFetched,
    /// The device fetches events again and again, so it does not store them.
    Refused {
        /// Events.
        events: u64,
    },
    /// The device was offered events again several times, or for a day, and did not fetch them.
    NotTaken {
        /// Events.
        events: u64,
    },
    /// It lacks what was published long before.
    Late {
        /// IOCs that joined or left since.
        changes: u64,
        /// More than are known of.
        at_least: bool,
        /// Since when.
        since: Timestamp,
    },
    /// It knows of all events, and has some of them.
    Partly {
        /// Events that it has.
        events: u64,
        /// Of so many.
        of: u64,
    },
    /// The group holds nothing.
    Empty,
    /// The group holds much less than before.
    Shrunk {
        /// By so many per cent.
        percent: u64,
    },
    /// A publication waits, because it would lose too much.
    Held {
        /// Until then.
        until: Timestamp,
    },
    /// The group is kept at one publication.
    Frozen {
        /// Its number.
        publication: i64,
    },
    /// The group is full.
    AtLimit {
        /// IOCs that found no room.
        left_out: u64,
    },
    /// It lacks what was published a moment ago.
    Behind {
        /// IOCs that joined or left since.
        changes: u64,
        /// More than are known of.
        at_least: bool,
        /// Since when.
        since: Timestamp,
    },
    /// It pulls, and it is not known what it has: it pulls slices, or has not pulled since receipts
    /// are kept.
    Unknown,
    /// It has all that the group holds.
    Complete,
}

impl Protection {
    /// Stable word.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NeverFetched => "never_fetched",
            Self::Refused { .. } => "refused",
            Self::NotTaken { .. } => "not_taken",
            Self::Late { .. } => "late",
            Self::Partly { .. } => "partly_fetched",
            Self::Empty => "empty",
            Self::Shrunk { .. } => "shrunk",
            Self::Held { .. } => "held",
            Self::Frozen { .. } => "frozen",
            Self::AtLimit { .. } => "at_limit",
            Self::Behind { .. } => "behind",
            Self::Unknown => "unknown",
            Self::Complete => "complete",
        }
    }

    /// All words, the most urgent first.
    pub const CODES: [&'static str; 13] = [
        "never_fetched",
        "refused",
        "not_taken",
        "late",
        "partly_fetched",
        "empty",
        "shrunk",
        "held",
        "frozen",
        "at_limit",
        "behind",
        "unknown",
        "complete",
    ];

    /// Whether somebody should look.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        !matches!(self, Self::Complete | Self::Behind { .. } | Self::Unknown)
    }
}

/// All that holds of a group, the most urgent first; nothing before its first publication.
#[must_use]
pub fn protection(facts: &GroupFacts, now: Timestamp) -> Vec<Protection> {
    let Some(newest) = facts.published.first() else { return Vec::new() };
    let mut all = Vec::new();
    let known: Vec<&ClientHas> =
        facts.clients.iter().filter(|client| client.publication.is_some()).collect();
    match () {
        () if !facts.pulled && known.is_empty() => all.push(Protection::NeverFetched),
        () if known.is_empty() => all.push(Protection::Unknown),
        () => {
            let refused: u64 = known.iter().map(|client| client.refused).sum();
            if refused > 0 {
                all.push(Protection::Refused { events: refused });
            }
            let not_taken: u64 = known.iter().map(|client| client.not_taken).max().unwrap_or(0);
            if not_taken > 0 {
                all.push(Protection::NotTaken { events: not_taken });
            }
            all.extend(behind(facts, &known, now).or_else(|| partly(facts, &known)));
        }
    }
    if newest.live == 0 {
        all.push(Protection::Empty);
    } else if let Some(percent) = shrunk(&facts.published) {
        all.push(Protection::Shrunk { percent });
    }
    if let Some(held) = &facts.held {
        all.push(Protection::Held { until: held.until });
    }
    if let Some(publication) = facts.frozen {
        all.push(Protection::Frozen { publication });
    }
    if facts.left_out > 0 {
        all.push(Protection::AtLimit { left_out: facts.left_out });
    }
    if all.is_empty() {
        all.push(Protection::Complete);
    }
    all.sort_unstable();
    all
}

/// The client that has the oldest publication decides.
fn behind(facts: &GroupFacts, clients: &[&ClientHas], now: Timestamp) -> Option<Protection> {
    let client = clients.iter().min_by_key(|client| client.publication)?;
    let has = client.publication?;
    // A database that was put back knows fewer publications than its clients.
    if has >= facts.serves {
        return None;
    }
    let later: Vec<&Published> =
        facts.published.iter().filter(|p| p.number > has && p.changed > 0).collect();
    let first = later.last()?;
    let changes = later.iter().map(|p| u64::from(p.changed)).sum();
    let at_least = facts.published.last().is_some_and(|oldest| oldest.number > has + 1);
    let since = client.fetched_at.filter(|_| at_least).unwrap_or(first.at);
    Some(if now.since(since) > facts.late_after {
        Protection::Late { changes, at_least, since }
    } else {
        Protection::Behind { changes, at_least, since }
    })
}

fn partly(facts: &GroupFacts, clients: &[&ClientHas]) -> Option<Protection> {
    let missing = |client: &&&ClientHas| client.events + client.not_taken < facts.events;
    let events = clients.iter().filter(missing).map(|client| client.events).min()?;
    Some(Protection::Partly { events, of: facts.events })
}

/// By how much the group is smaller than the largest of its last publications, if that is much.
fn shrunk(published: &[Published]) -> Option<u64> {
    let now = u64::from(published.first()?.live);
    let most = published.iter().map(|p| u64::from(p.live)).max()?;
    let lost = (most - now) * 100 / most.max(1);
    (lost > SHRUNK).then_some(lost)
}

#[cfg(test)]
mod tests;
