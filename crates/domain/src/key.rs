//! Machine keys: random secrets, shown once, kept as a keyed hash.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AccountId, DeviceId, KeyId},
    time::{Timestamp, span_in_words},
};

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// The Threat Command REST API.
    Api,
    /// Every group of the account.
    Appliance,
    /// The groups of one device.
    Device,
}

impl KeyKind {
    /// The word used in sentences: `appliance key`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Api => "API key",
            Self::Appliance => "appliance key",
            Self::Device => "device key",
        }
    }
}

/// A key as it is stored.
#[derive(Clone, Debug)]
pub struct Key {
    /// Id.
    pub id: KeyId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// What it opens.
    pub kind: KeyKind,
    /// For a device key: the device.
    pub device_id: Option<DeviceId>,
    /// The first characters of the secret, to tell keys apart.
    pub prefix: String,
    /// The secret's keyed hash.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When the overlap after a rotation ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it last opened something.
    pub last_used_at: Option<Timestamp>,
}

impl Key {
    /// Why this key opens nothing at `now`; `None` while it works.
    #[must_use]
    pub fn refusal(&self, now: Timestamp) -> Option<String> {
        let (since, what) = match (self.revoked_at, self.expires_at) {
            (Some(at), _) => (at, "revoked"),
            (None, Some(at)) if at <= now => (at, "replaced, and its overlap ended"),
            _ => return None,
        };
        Some(format!("{} {what} {} ago", self.kind.words(), span_in_words(now.since(since))))
    }
}
