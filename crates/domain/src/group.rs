//! IOC groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    device_type::GroupKind,
    id::{AccountId, DeviceId, GroupId, SourceId},
    name::Name,
    selection::Place,
    time::{DAY, Timestamp},
};

/// An IOC group: a set of IOCs under a URL of its own.
#[derive(Clone, Debug)]
pub struct Group {
    /// Id, and the last part of the group URL.
    pub id: GroupId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// The device it belongs to.
    pub device_id: DeviceId,
    /// Unique in the device, ignoring case.
    pub name: Name,
    /// What it holds, where its device takes one kind a group.
    pub kind: Option<GroupKind>,
    /// The most IOCs it holds.
    pub limit: u32,
    /// Whether what another entry covers is left out: addresses within a listed network, names
    /// below a listed domain.
    pub collapse: bool,
    /// Sources whose IOCs come first when the limit bites, best first.
    pub source_priority: Vec<SourceId>,
    /// Whether to write when the limit is reached.
    pub notify_on_limit: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why eligible IOCs are not in a group, with their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// Reason code (`limit`, `not_for_device`) → count.
    #[serde(flatten)]
    pub reasons: BTreeMap<String, u64>,
}

impl Truncation {
    /// What found no room, and what is not for the device.
    #[must_use]
    pub fn of(limit: u64, not_for_device: u64) -> Self {
        let reasons = [("limit", limit), ("not_for_device", not_for_device)];
        Self {
            reasons: reasons
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(r, n)| (r.to_owned(), n))
                .collect(),
        }
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.reasons.values().sum()
    }
}

/// Where the room of a full group ends: every IOC that is in has this place or a better one, and
/// every other that the group would take stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    /// The last place that found room.
    pub place: Place,
    /// When those that found none are to be counted, in UTC microseconds; nothing once they are.
    /// Until then their number is a lower bound.
    pub count_at: Option<i64>,
}

/// A publication that would lose too much at once, and waits for an admin or its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Since when.
    pub since: Timestamp,
    /// When it goes out by itself.
    pub until: Timestamp,
    /// IOCs that the group serves.
    pub live: u32,
    /// How many of them would leave.
    pub loses: u32,
}

/// Groups smaller than this are never held: a handful may well go at once.
pub const SHRINK_FROM: u32 = 20;
/// How long a publication is held unless an admin lets it through, in microseconds.
pub const SHRINK_HOLD: i64 = DAY;

/// Whether a publication that takes `leaving` of `live` IOCs away is to be held: more than half.
#[must_use]
pub const fn shrinks_too_much(live: u32, leaving: u32) -> bool {
    live >= SHRINK_FROM && leaving > live / 2
}
