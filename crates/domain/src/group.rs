//! IOC groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{AccountId, DeviceId, GroupId, SourceId},
    name::Name,
    time::Timestamp,
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
    /// The most IOCs it holds.
    pub limit: u32,
    /// Sources whose IOCs come first when the limit bites, best first.
    pub source_priority: Vec<SourceId>,
    /// Whether to write when the limit is reached.
    pub notify_on_limit: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why eligible IOCs are not in a group, with their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Reason code (`limit`, `not_for_device`) → count.
    #[serde(flatten)]
    pub reasons: BTreeMap<String, u64>,
}

impl Cut {
    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.reasons.values().sum()
    }
}
