//! Service tokens: what programs show to the management API.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AccountId, DeviceId, ServiceTokenId, SourceId},
    problem::FieldError,
    time::{Timestamp, span_in_words},
};

/// What every service token begins with.
pub const PREFIX: &str = "ist_";
/// Longest name, in characters.
const NAME_MAX: usize = 80;

/// What a service token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read all but what only administrators see: people, messages, the audit log.
    Read,
    /// Read; change devices with their groups and keys, and rules.
    Devices,
    /// Read; change sources and IOCs, and import.
    Intake,
    /// Everything that an administrator may, but for what gives lasting access: service tokens, API
    /// keys and people.
    Admin,
}

impl Scope {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Devices, Self::Intake, Self::Admin];

    /// The word in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Devices => "devices",
            Self::Intake => "intake",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

/// The one thing that a service token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// One device with its groups and keys.
    Device(DeviceId),
    /// One source with its imports and its subscription.
    Source(SourceId),
}

/// A service token as it is stored.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    /// Id.
    pub id: ServiceTokenId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// The one thing that it is for; none: all of them.
    pub limit: Option<Limit>,
    /// The first characters of the secret, to tell tokens apart.
    pub prefix: String,
    /// The secret's keyed hash.
    pub hash: [u8; 32],
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to some minutes.
    pub last_used_at: Option<Timestamp>,
    /// The days that it was made for; none: for ever. A token that takes its place gets as many.
    pub days: Option<i64>,
    /// The token that took its place.
    pub replaced_by: Option<ServiceTokenId>,
}

impl ServiceToken {
    /// Why this token opens nothing at `now`; none while it works.
    #[must_use]
    pub fn refusal(&self, now: Timestamp) -> Option<String> {
        let (since, what) = match (self.revoked_at, self.expires_at) {
            (Some(at), _) => (at, "was revoked"),
            (None, Some(at)) if at <= now => (at, "expired"),
            _ => return None,
        };
        Some(format!(
            "The service token `{}` {what} {} ago.",
            self.name,
            span_in_words(now.since(since))
        ))
    }
}

/// Checks the name of a service token.
///
/// # Errors
/// If it is empty, too long, or has control characters.
pub fn check_name(name: &str) -> Result<String, FieldError> {
    let name = name.trim();
    let is_good =
        (1..=NAME_MAX).contains(&name.chars().count()) && !name.contains(char::is_control);
    if is_good {
        Ok(name.to_owned())
    } else {
        Err(FieldError {
            field: "name".to_owned(),
            code: "name_invalid".to_owned(),
            message: format!(
                "Give a name of 1 to {NAME_MAX} characters that says which program uses the token."
            ),
        })
    }
}

/// Checks that a scope and a limit go together.
///
/// # Errors
/// If the token could do nothing with what it is for.
pub fn check_limit(scope: Scope, limit: Option<Limit>) -> Result<(), FieldError> {
    let message = match (scope, limit) {
        (Scope::Admin, Some(_)) => "A token with the scope `admin` can't be limited.",
        (Scope::Intake, Some(Limit::Device(_))) => {
            "A token for one device needs the scope `devices` or `read`."
        }
        (Scope::Devices, Some(Limit::Source(_))) => {
            "A token for one source needs the scope `intake` or `read`."
        }
        _ => return Ok(()),
    };
    Err(FieldError {
        field: "scope".to_owned(),
        code: "scope_and_limit".to_owned(),
        message: message.to_owned(),
    })
}
