//! What messages say: subject, text and HTML from `web-templates/mail`, compiled in.

use std::{collections::BTreeMap, sync::LazyLock};

use iocast_domain::{
    message::{Content, FailingSource, FullGroup, HeldGroup, NotTakenGroup, SilentDevice},
    time::{Timestamp, clip},
};
use minijinja::{
    Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde,
};
use serde::Serialize;

/// A message's words.
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
    ("not_taken.txt", include_str!("../../../web-templates/mail/not_taken.txt")),
    ("not_taken.html", include_str!("../../../web-templates/mail/not_taken.html")),
    ("source_failing.txt", include_str!("../../../web-templates/mail/source_failing.txt")),
    ("source_failing.html", include_str!("../../../web-templates/mail/source_failing.html")),
    ("source_recovered.txt", include_str!("../../../web-templates/mail/source_recovered.txt")),
    ("source_recovered.html", include_str!("../../../web-templates/mail/source_recovered.html")),
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
        environment.add_filter("protection", |code: String| protection(&code));
        for (name, text) in TEMPLATES {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    });

/// Whether a device has what its group holds, by the code of that.
fn protection(code: &str) -> &'static str {
    match code {
        "never_fetched" => "none fetched yet",
        "refused" => "the device does not store what it fetches",
        "not_taken" => "some not taken by the device",
        "late" => "what was published long ago is lacking",
        "partly_fetched" => "fetched in part",
        "empty" => "the group is empty",
        "shrunk" => "the group has shrunk",
        "held" => "a publication is held",
        "frozen" => "the group is frozen",
        "at_limit" => "the group is at its limit",
        "behind" => "what was published since is lacking",
        "complete" => "all fetched",
        _ => "not known",
    }
}

/// A name as it may stand in a subject: printable ASCII, clipped.
fn plain(name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
    clip(&ascii, 60).replace('…', "...")
}

/// Renders a message to the people of `account`.
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
        Content::Warning { devices, more } => {
            let one = |d: &SilentDevice| format!("{} is silent", plain(&d.name));
            listed("warning", "devices", devices, *more, one, "devices are silent", &of)
        }
        Content::Recovery { devices, more } => {
            let one = |d: &SilentDevice| format!("{} pulls again", plain(&d.name));
            listed("recovery", "devices", devices, *more, one, "devices pull again", &of)
        }
        Content::Limit { groups, more } => {
            let one = |g: &FullGroup| {
                format!("{} on {} reached its limit", plain(&g.group), plain(&g.device))
            };
            listed("limit", "groups", groups, *more, one, "IOC groups reached their limit", &of)
        }
        Content::Held { groups, more } => {
            let one =
                |g: &HeldGroup| format!("{} on {} is held back", plain(&g.group), plain(&g.device));
            listed("held", "groups", groups, *more, one, "IOC groups are held back", &of)
        }
        Content::NotTaken { groups, more } => {
            let one = |g: &NotTakenGroup| {
                format!("MISP does not take {} from {}", plain(&g.group), plain(&g.device))
            };
            let many = "IOC groups are not taken by MISP";
            listed("not_taken", "groups", groups, *more, one, many, &of)
        }
        Content::SourceFailing { sources, more } => {
            let one = |s: &FailingSource| format!("Source {} can't fetch", plain(&s.source));
            listed("source_failing", "sources", sources, *more, one, "sources can't fetch", &of)
        }
        Content::SourceRecovered { sources, more } => {
            let one = |s: &FailingSource| format!("Source {} fetches again", plain(&s.source));
            listed("source_recovered", "sources", sources, *more, one, "sources fetch again", &of)
        }
        Content::Test { asked_by } => {
            ("test", format!("Test message ({of})"), context! { asked_by })
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

/// The same for a program, as JSON; nothing for messages that only people get.
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
        Content::NotTaken { groups, .. } => {
            let NotTakenGroup { device, group, misp, events, refused, link } = groups.first()?;
            let reason = if *refused { "refused" } else { "not_fetched" };
            (
                "group.events_not_taken",
                serde_json::json!({ "device": device, "group": group, "misp_uuid": misp, "events": events, "reason": reason, "link": link }),
            )
        }
        Content::SourceFailing { sources, more } => {
            ("source.failing", serde_json::json!({ "sources": sources, "more": more }))
        }
        Content::SourceRecovered { sources, more } => {
            ("source.recovered", serde_json::json!({ "sources": sources, "more": more }))
        }
        Content::Test { .. } | Content::Invitation { .. } | Content::PasswordReset { .. } => {
            return None;
        }
    };
    Some(serde_json::json!({ "type": kind, "timestamp": at, "account_id": account_id, "account": account, "data": data }).to_string())
}

/// A message about things of one kind: its template, its subject and what it says.
fn listed<T: Serialize>(
    template: &'static str,
    things_are: &'static str,
    things: &[T],
    more: u64,
    one: impl Fn(&T) -> String,
    many: &str,
    account: &str,
) -> (&'static str, String, Value) {
    let subject = about(things, more, one, many, account);
    let values =
        BTreeMap::from([(things_are, Value::from(Serde(things))), ("more", Value::from(more))]);
    (template, subject, Value::from(values))
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
