//! The allow list: what must never be blocked, for how long, and where.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::OwnName;
use crate::{
    id::{DeviceId, SourceId},
    problem::FieldError,
    time::Timestamp,
};

/// Longest comment of an entry, in characters.
pub const COMMENT_MAX: usize = 500;

/// For whom an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllowScope {
    /// For the whole account.
    Account,
    /// For what only this source reports.
    Source(SourceId),
    /// For the groups of this device.
    Device(DeviceId),
}

impl AllowScope {
    /// The source or the device.
    #[must_use]
    pub const fn ids(self) -> (Option<SourceId>, Option<DeviceId>) {
        match self {
            Self::Account => (None, None),
            Self::Source(id) => (Some(id), None),
            Self::Device(id) => (None, Some(id)),
        }
    }
}

/// An entry of the allow list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct AllowEntry {
    /// A domain with all below it, an address, or a network.
    pub value: OwnName,
    /// Why it was added.
    pub comment: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// For whom it holds.
    pub scope: AllowScope,
}

impl AllowEntry {
    /// One that holds everywhere, for good.
    #[must_use]
    pub const fn plain(value: OwnName) -> Self {
        Self { value, comment: None, expires_at: None, scope: AllowScope::Account }
    }

    /// What it is for: of two of the same, one counts.
    #[must_use]
    pub fn key(&self) -> (&OwnName, AllowScope) {
        (&self.value, self.scope)
    }

    /// Whether it ended.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// An entry as it is written down: a value alone, as before there was more, or with what is said of
/// it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Plain(OwnName),
    Full {
        value: OwnName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source_id: Option<SourceId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device_id: Option<DeviceId>,
    },
}

impl From<Stored> for AllowEntry {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Plain(value) => Self::plain(value),
            Stored::Full { value, comment, expires_at, source_id, device_id } => {
                let scope = match (source_id, device_id) {
                    (Some(id), _) => AllowScope::Source(id),
                    (None, Some(id)) => AllowScope::Device(id),
                    (None, None) => AllowScope::Account,
                };
                Self { value, comment, expires_at, scope }
            }
        }
    }
}

impl From<AllowEntry> for Stored {
    fn from(entry: AllowEntry) -> Self {
        let AllowEntry { value, comment, expires_at, scope } = entry;
        if comment.is_none() && expires_at.is_none() && scope == AllowScope::Account {
            return Self::Plain(value);
        }
        let (source_id, device_id) = scope.ids();
        Self::Full { value, comment, expires_at, source_id, device_id }
    }
}

impl From<AllowEntry> for NewAllow {
    fn from(entry: AllowEntry) -> Self {
        let AllowEntry { value, comment, expires_at, scope } = entry;
        let (source_id, device_id) = scope.ids();
        Self { value: value.into(), comment, expires_at, source_id, device_id }
    }
}

/// What is given for an entry.
#[derive(Clone, Debug, Default)]
pub struct NewAllow {
    /// A domain, an address or a network.
    pub value: String,
    /// Why it was added.
    pub comment: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// For what only this source reports.
    pub source_id: Option<SourceId>,
    /// For the groups of this device.
    pub device_id: Option<DeviceId>,
}

impl NewAllow {
    /// The entry.
    ///
    /// # Errors
    /// The broken rule, as an error of `allow`.
    pub fn checked(self) -> Result<AllowEntry, FieldError> {
        let wrong = |code: &'static str, why: String| FieldError::new("allow", code, why);
        let value: OwnName = self.value.parse().map_err(|why| wrong("entry_invalid", why))?;
        let comment = self.comment.map(|text| text.trim().to_owned()).filter(|t| !t.is_empty());
        if comment.as_ref().is_some_and(|text| {
            text.chars().count() > COMMENT_MAX || text.chars().any(char::is_control)
        }) {
            return Err(wrong(
                "comment_invalid",
                format!("Give a comment of at most {COMMENT_MAX} characters, in one line."),
            ));
        }
        let scope = match (self.source_id, self.device_id) {
            (None, None) => AllowScope::Account,
            (Some(id), None) => AllowScope::Source(id),
            (None, Some(id)) => AllowScope::Device(id),
            (Some(_), Some(_)) => {
                return Err(wrong(
                    "scope_invalid",
                    "An entry is for one source or for one device; give two entries for both."
                        .to_owned(),
                ));
            }
        };
        Ok(AllowEntry { value, comment, expires_at: self.expires_at, scope })
    }
}

/// Most entries.
const ENTRIES_MAX: usize = super::SHIELDS_MAX;

/// Reads an allow list. An entry without a value is left out; of two for the same value and scope,
/// the later one counts.
///
/// # Errors
/// The first entry that is none, as an error of `allow`.
pub fn allow_list(
    entries: impl IntoIterator<Item = NewAllow>,
) -> Result<Vec<AllowEntry>, FieldError> {
    let mut list: Vec<AllowEntry> = Vec::new();
    let mut places = HashMap::new();
    for new in entries.into_iter().filter(|new| !new.value.trim().is_empty()) {
        let entry = new.checked()?;
        let key = (String::from(entry.value.clone()), entry.scope);
        let place = *places.entry(key).or_insert(list.len());
        match list.get_mut(place) {
            Some(known) => *known = entry,
            None => list.push(entry),
        }
        if list.len() > ENTRIES_MAX {
            return Err(FieldError::new(
                "allow",
                "too_many",
                format!("Give at most {ENTRIES_MAX} entries."),
            ));
        }
    }
    Ok(list)
}
