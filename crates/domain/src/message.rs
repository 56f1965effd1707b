//! Typed messages: why one is written, with everything that it says. Their words are elsewhere.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::time::Timestamp;

mod delivery;

pub use self::delivery::*;

/// Longest URL of a webhook, in bytes.
const WEBHOOK_MAX: usize = 250;

/// A device in a message about silence.
#[derive(Clone, Debug, Serialize)]
pub struct SilentDevice {
    /// Its name.
    pub name: String,
    /// Its type, in the vendor's words.
    pub type_name: String,
    /// Since when nothing was pulled.
    pub since: Timestamp,
    /// When it pulled again, in a message that says so.
    pub until: Option<Timestamp>,
    /// How long that is, in words.
    pub silence: String,
    /// It never pulled at all.
    pub never_pulled: bool,
    /// It was paused, and `since` is when it was watched again.
    pub watched_again: bool,
    /// When it last pulled.
    pub last_pull: Option<Timestamp>,
    /// Who pulled last.
    pub last_client: Option<String>,
    /// What was refused last, and when.
    pub last_error: Option<String>,
    /// The code of the most urgent [`crate::receipt::Protection`] of its groups, in a warning.
    pub protection: Option<String>,
    /// Its page.
    pub link: String,
    /// What to check on a device of this type.
    pub checks: Vec<String>,
}

/// A group that reached its limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FullGroup {
    /// The device.
    pub device: String,
    /// The group.
    pub group: String,
    /// Its limit.
    pub limit: u32,
    /// IOCs that would be in it without.
    pub wanted: u64,
    /// The device's page.
    pub link: String,
}

/// A group of which a publication is held, because it would lose too much at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldGroup {
    /// The device.
    pub device: String,
    /// The group.
    pub group: String,
    /// IOCs that it serves.
    pub live: u32,
    /// How many of them would leave.
    pub loses: u32,
    /// When it goes out by itself.
    pub until: Timestamp,
    /// The group's page.
    pub link: String,
}

/// A group of which a MISP does not take events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NotTakenGroup {
    /// The device.
    pub device: String,
    /// The group.
    pub group: String,
    /// The MISP, by its `MISP-uuid`.
    pub misp: String,
    /// How many events.
    pub events: u64,
    /// It fetches them at pull after pull; else it was offered them and never fetched them.
    pub refused: bool,
    /// The group's page.
    pub link: String,
}

/// A source that fetches by itself, and could not for long, or can again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailingSource {
    /// Its name.
    pub source: String,
    /// Where it fetches: scheme, host and path.
    pub address: String,
    /// Since when no fetch went well.
    pub since: Timestamp,
    /// When one went well again, in a message that says so.
    pub until: Option<Timestamp>,
    /// Why the last one failed.
    pub error: String,
    /// IOCs that it brought and that its list held last.
    pub listed: u64,
    /// The page of its subscription.
    pub link: String,
}

/// Why a message is written, with everything that it says. Where it is about many, the first are
/// listed, and `more` counts the others.
#[derive(Clone, Debug)]
pub enum Content {
    /// Devices fell silent.
    Warning {
        /// The devices.
        devices: Vec<SilentDevice>,
        /// How many others.
        more: u64,
    },
    /// Devices pull again.
    Recovery {
        /// The devices.
        devices: Vec<SilentDevice>,
        /// How many others.
        more: u64,
    },
    /// Groups reached their limit.
    Limit {
        /// The groups.
        groups: Vec<FullGroup>,
        /// How many others.
        more: u64,
    },
    /// Publications are held.
    Held {
        /// The groups.
        groups: Vec<HeldGroup>,
        /// How many others.
        more: u64,
    },
    /// MISPs do not take events.
    NotTaken {
        /// The groups.
        groups: Vec<NotTakenGroup>,
        /// How many others.
        more: u64,
    },
    /// Sources can't fetch.
    SourceFailing {
        /// The sources.
        sources: Vec<FailingSource>,
        /// How many others.
        more: u64,
    },
    /// Sources fetch again.
    SourceRecovered {
        /// The sources.
        sources: Vec<FailingSource>,
        /// How many others.
        more: u64,
    },
    /// Whether mail arrives.
    Test {
        /// Who wants to know.
        asked_by: String,
    },
    /// A person is invited.
    Invitation {
        /// By whom.
        invited_by: String,
        /// Where to choose a password.
        link: String,
        /// Until when.
        until: Timestamp,
    },
    /// A person forgot the password.
    PasswordReset {
        /// Where to choose a new one.
        link: String,
        /// Until when.
        until: Timestamp,
    },
}

impl Content {
    /// What kind of message says this.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Warning { .. } => MessageKind::Warning,
            Self::Recovery { .. } => MessageKind::Recovery,
            Self::Limit { .. } => MessageKind::Limit,
            Self::Held { .. } => MessageKind::Held,
            Self::NotTaken { .. } => MessageKind::NotTaken,
            Self::SourceFailing { .. } => MessageKind::SourceFailing,
            Self::SourceRecovered { .. } => MessageKind::SourceRecovered,
            Self::Test { .. } => MessageKind::Test,
            Self::Invitation { .. } => MessageKind::Invitation,
            Self::PasswordReset { .. } => MessageKind::PasswordReset,
        }
    }
}

/// Whether a recipient is a webhook: http or https, with a host, without credentials or a fragment.
#[must_use]
pub fn is_webhook(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
        && url.len() <= WEBHOOK_MAX
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && !url.contains(['@', '#'])
        && Url::parse(url).is_ok_and(|url| url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_a_plain_url() {
        assert!(
            is_webhook("https://hooks.example.com/x?y=1")
                && is_webhook("http://[2001:db8::1]:8080/")
        );
        for no in [
            "ftp://x.example",
            "https://",
            "https://user:pass@x.example",
            "x.example",
            "https://x.example/#y",
            "https://x .example",
        ] {
            assert!(!is_webhook(no), "{no}");
        }
    }
}
