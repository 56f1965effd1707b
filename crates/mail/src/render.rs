//! What letters say: subject, text and HTML from `web-templates/mail`, compiled in.

use std::sync::LazyLock;

use iocast_domain::time::{Timestamp, clip};
use minijinja::{
    Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde,
};
use serde::{Deserialize, Serialize};

/// A device in a letter about silence.
#[derive(Clone, Debug, Serialize)]
pub struct SilentDevice {
    /// Its name.
    pub name: String,
    /// Its type, in the vendor's words.
    pub type_name: String,
    /// Since when nothing was pulled.
    pub since: Timestamp,
    /// When it pulled again, in a letter that says so.
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

/// Why a letter is written, with everything that it says. Where it is about many, the first are
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

/// A letter's words.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// One line of plain ASCII.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

const TEMPLATES: &[(&str, &str)] = &[
    ("frame.html", include_str!("../../../web-templates/mail/frame.html")),
    ("others.html", include_str!("../../../web-templates/mail/others.html")),
    ("warning.txt", include_str!("../../../web-templates/mail/warning.txt")),
    ("warning.html", include_str!("../../../web-templates/mail/warning.html")),
    ("recovery.txt", include_str!("../../../web-templates/mail/recovery.txt")),
    ("recovery.html", include_str!("../../../web-templates/mail/recovery.html")),
    ("limit.txt", include_str!("../../../web-templates/mail/limit.txt")),
    ("limit.html", include_str!("../../../web-templates/mail/limit.html")),
    ("held.txt", include_str!("../../../web-templates/mail/held.txt")),
    ("held.html", include_str!("../../../web-templates/mail/held.html")),
    ("test.txt", include_str!("../../../web-templates/mail/test.txt")),
    ("test.html", include_str!("../../../web-templates/mail/test.html")),
    ("invitation.txt", include_str!("../../../web-templates/mail/invitation.txt")),
    ("invitation.html", include_str!("../../../web-templates/mail/invitation.html")),
    ("password_reset.txt", include_str!("../../../web-templates/mail/password_reset.txt")),
    ("password_reset.html", include_str!("../../../web-templates/mail/password_reset.html")),
];

static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .keep_trailing_newline(true)
                .build()?,
        );
        environment.add_filter("utc", |time: String| {
            Timestamp::parse(&time).map_or(time, Timestamp::minute)
        });
        for (name, text) in TEMPLATES {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    });

/// A name as it may stand in a subject: printable ASCII, clipped.
fn plain(name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    clip(&ascii, 60).replace('…', "...")
}

/// Renders a letter to the people of `account`.
///
/// # Errors
/// If a template is broken.
pub fn render(
    content: &Content,
    account: &str,
    public_url: &str,
) -> Result<Rendered, minijinja::Error> {
    let of = plain(account);
    let (name, subject, values) = match content {
        Content::Warning { devices, more } => (
            "warning",
            about(
                devices,
                *more,
                |d| format!("{} is silent", plain(&d.name)),
                "devices are silent",
                &of,
            ),
            context! { devices => Value::from(Serde(devices)), more },
        ),
        Content::Recovery { devices, more } => (
            "recovery",
            about(
                devices,
                *more,
                |d| format!("{} pulls again", plain(&d.name)),
                "devices pull again",
                &of,
            ),
            context! { devices => Value::from(Serde(devices)), more },
        ),
        Content::Limit { groups, more } => (
            "limit",
            about(
                groups,
                *more,
                |g| format!("{} on {} reached its limit", plain(&g.group), plain(&g.device)),
                "IOC groups reached their limit",
                &of,
            ),
            context! { groups => Value::from(Serde(groups)), more },
        ),
        Content::Held { groups, more } => (
            "held",
            about(
                groups,
                *more,
                |g| format!("{} on {} is held back", plain(&g.group), plain(&g.device)),
                "IOC groups are held back",
                &of,
            ),
            context! { groups => Value::from(Serde(groups)), more },
        ),
        Content::Test { asked_by } => {
            ("test", format!("Test letter ({of})"), context! { asked_by })
        }
        Content::Invitation { invited_by, link, until } => (
            "invitation",
            format!("You are invited to {of}"),
            context! { invited_by, link, until => until.to_string() },
        ),
        Content::PasswordReset { link, until } => (
            "password_reset",
            format!("A new password for {of}"),
            context! { link, until => until.to_string() },
        ),
    };
    let environment = ENVIRONMENT
        .as_ref()
        .map_err(|error| minijinja::Error::new(error.kind(), error.to_string()))?;
    let values = context! { account, public_url, ..values };
    Ok(Rendered {
        subject: format!("[iocast] {subject}"),
        text: environment.get_template(&format!("{name}.txt"))?.render(&values)?,
        html: environment.get_template(&format!("{name}.html"))?.render(&values)?,
    })
}

/// The same for a program, as JSON; nothing for letters that only people get.
#[must_use]
pub fn payload(
    content: &Content,
    account_id: &str,
    account: &str,
    at: Timestamp,
) -> Option<String> {
    let (kind, data) = match content {
        Content::Warning { devices, more } => {
            ("device.silent", serde_json::json!({ "devices": devices, "more": more }))
        }
        Content::Recovery { devices, more } => {
            ("device.recovered", serde_json::json!({ "devices": devices, "more": more }))
        }
        Content::Limit { groups, .. } => {
            let FullGroup { device, group, limit, wanted, link } = groups.first()?;
            (
                "group.limit_reached",
                serde_json::json!({ "device": device, "group": group, "limit": limit, "wanted": wanted, "link": link }),
            )
        }
        Content::Held { groups, .. } => {
            let HeldGroup { device, group, live, loses, until, link } = groups.first()?;
            (
                "group.publication_held",
                serde_json::json!({ "device": device, "group": group, "iocs": live, "would_lose": loses, "until": until, "link": link }),
            )
        }
        Content::Test { .. } | Content::Invitation { .. } | Content::PasswordReset { .. } => {
            return None;
        }
    };
    Some(serde_json::json!({ "type": kind, "timestamp": at, "account_id": account_id, "account": account, "data": data }).to_string())
}

/// A subject: about the one thing, or about how many.
fn about<T>(
    things: &[T],
    more: u64,
    one: impl Fn(&T) -> String,
    many: &str,
    account: &str,
) -> String {
    match (things, more) {
        ([thing], 0) => format!("{} ({account})", one(thing)),
        _ => format!("{} {many} ({account})", things.len() as u64 + more),
    }
}

#[cfg(test)]
mod tests;
