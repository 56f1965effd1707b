//! What a subscription is to be, as programs and forms say it.

use std::collections::BTreeSet;

use iocast_app::{AppError, NewSubscription};
use iocast_domain::{
    ioc::Kind,
    source::Confidence,
    subscription::{Access, Coverage, Protocol, SubscriptionOptions, Takes},
    time::{HOUR, MINUTE},
    tlp::Tlp,
};
use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use crate::pages::visit::Form;

/// What a subscription is to be.
#[derive(Default, Deserialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SubscriptionIn {
    /// What is fetched: `file` (unless given), `misp_feed`, `taxii`, `threat_command` or `folder`.
    protocol: Option<String>,
    /// Where it lies: an address that begins with https:// or http://, without name and password; of
    /// a folder on the machine of iocast its path, such as `file:///srv/feeds/own`.
    #[validate(length(
        max = 2_000,
        code = "url_invalid",
        message = "Give an address of at most 2,000 characters."
    ))]
    #[schema(required = true)]
    url: String,
    /// What a file is, whatever its bytes look like: `json`, `table`, `list`, `report`, `html` or
    /// `openioc`. Without it, or with `auto`, iocast finds out.
    form: Option<String>,
    /// Minutes between two fetches: 5 to 43,200; 60 unless given.
    every_minutes: Option<i64>,
    /// `growing`: each fetch only adds. `full`: what is gone from it is reported by this source no
    /// more. Unless given, a file is growing and everything else is full.
    coverage: Option<String>,
    /// Hours for which what is gone from a full list stays: 0 (unless given) to 2,160.
    grace_hours: Option<i64>,
    /// How a fetch says who it is: `none` (unless given), `basic`, `bearer`, `header`, `query` or
    /// `oauth2` (client credentials).
    access: Option<String>,
    /// The user's name, or that of the header (such as `Auth-Key`) or parameter, or the client's id.
    access_name: Option<String>,
    /// The password, token or key. Without it, the stored one stays, for the same server and
    /// access.
    secret: Option<String>,
    /// Where the token of `oauth2` comes from.
    token_url: Option<String>,
    /// What that token is for.
    scope: Option<String>,
    /// Certificates (PEM) of those who sign for the server, in place of the public ones.
    ca: Option<String>,
    /// A certificate (PEM) that iocast shows to the server.
    certificate: Option<String>,
    /// The private key (PEM) of that certificate. Without it, the stored one stays, for the same
    /// server.
    certificate_key: Option<String>,
    /// Tags for all IOCs of the source.
    tags: BTreeSet<String>,
    /// Only IOCs of these kinds are taken; all if it is empty.
    kinds: Vec<String>,
    /// Only IOCs with one of these tags are taken; all if it is empty.
    only_tags: Vec<String>,
    /// IOCs marked more strictly are not taken: `clear`, `green`, `amber`, `amber_strict` or `red`.
    tlp_most: Option<String>,
    /// IOCs that the list itself is less sure of are not taken: 1 (low) to 3 (high). What says
    /// nothing of that is taken.
    min_confidence: Option<i64>,
    /// IOCs last seen more days ago are not taken: 1 to 3,650.
    max_age_days: Option<u32>,
    /// At which times it is fetched, in place of `every_minutes`: minute, hour, day of month, month and
    /// day of week, as cron takes them, at least five minutes apart.
    cron: Option<String>,
    /// The time zone of `cron`, such as `Europe/Berlin`; UTC unless given.
    time_zone: Option<String>,
    /// Of a file in JSON, where the address of the next page stands: names parted by dots, such as
    /// `meta.next`. Without it, `Link` with `rel="next"` is followed.
    next_field: Option<String>,
    /// The parameter that takes what stands there, where that is no address, such as `cursor`.
    next_parameter: Option<String>,
    /// What columns of a table hold, where that is not found by itself: lines of a name in the
    /// header, or a number from 1 on, with `value`, `kind`, `first_seen`, `last_seen`, `severity`,
    /// `confidence`, `score`, `tags`, `threat_actors`, `campaigns`, `malware_families`, `alert_id`,
    /// `hash`, a kind, or `ignore`: `Indicator = value`.
    columns: Option<String>,
    /// Whether it is paused.
    paused: bool,
}

/// The fields of a subscription that can be shown: all but its secrets.
pub(crate) const SUBSCRIPTION_FIELDS: [&str; 24] = [
    "protocol",
    "url",
    "form",
    "every_minutes",
    "coverage",
    "grace_hours",
    "access",
    "access_name",
    "token_url",
    "scope",
    "ca",
    "certificate",
    "tags",
    "kinds",
    "only_tags",
    "tlp_most",
    "min_confidence",
    "max_age_days",
    "cron",
    "time_zone",
    "next_field",
    "next_parameter",
    "columns",
    "paused",
];

/// Whether a field of a subscription says what holds without it.
pub(crate) fn is_usual(protocol: &str, field: &str, value: &serde_json::Value) -> bool {
    let coverage = if protocol == "file" { "growing" } else { "full" };
    match field {
        "protocol" => *value == "file",
        "every_minutes" => *value == 60,
        "grace_hours" => *value == 0,
        "access" => *value == "none",
        "coverage" => *value == coverage,
        "form" => *value == "auto",
        "time_zone" => *value == "UTC",
        _ => false,
    }
}

fn word<T: std::str::FromStr<Err = String>>(
    field: &str,
    word: Option<&str>,
    otherwise: T,
) -> Result<T, AppError> {
    word.filter(|word| !word.is_empty()).map_or(Ok(otherwise), |word| {
        word.parse()
            .map_err(|why| AppError::field(field, "word_unknown", format!("{field}: {why}.")))
    })
}

fn level(confidence: i64) -> Result<Confidence, AppError> {
    let level = u8::try_from(confidence).ok().and_then(|level| Confidence::try_from(level).ok());
    level.ok_or_else(|| {
        AppError::field(
            "min_confidence",
            "confidence_out_of_range",
            "Give a confidence of 1 (low), 2 (medium) or 3 (high).",
        )
    })
}

impl SubscriptionIn {
    pub(crate) fn checked(self) -> Result<NewSubscription, AppError> {
        let protocol = word("protocol", self.protocol.as_deref(), Protocol::File)?;
        let usual = match protocol {
            Protocol::File => Coverage::Growing,
            Protocol::MispFeed | Protocol::Taxii | Protocol::ThreatCommand | Protocol::Folder => {
                Coverage::Full
            }
        };
        let tlp_most = self.tlp_most.filter(|word| !word.is_empty());
        let tlp_most = tlp_most.map(|text| word("tlp_most", Some(&text), Tlp::Red)).transpose()?;
        let kind = |text: &String| word("kinds", Some(text), Kind::Domain);
        let takes = Takes {
            kinds: self.kinds.iter().map(kind).collect::<Result<_, _>>()?,
            tags: self.only_tags,
            tlp_most,
            min_confidence: self.min_confidence.map(level).transpose()?,
            max_age_days: self.max_age_days,
        };
        Ok(NewSubscription {
            protocol,
            coverage: word("coverage", self.coverage.as_deref(), usual)?,
            access: word("access", self.access.as_deref(), Access::None)?,
            url: self.url,
            form: self.form,
            every: self.every_minutes.unwrap_or(60).saturating_mul(MINUTE),
            grace: self.grace_hours.unwrap_or(0).saturating_mul(HOUR),
            access_name: self.access_name,
            secret: self.secret,
            certificate_key: self.certificate_key,
            paused: self.paused,
            cron: self.cron,
            time_zone: self.time_zone,
            options: SubscriptionOptions {
                takes,
                tags: self.tags,
                token_url: self.token_url,
                scope: self.scope,
                ca: self.ca,
                certificate: self.certificate,
                schedule: None,
                next_field: self.next_field,
                next_parameter: self.next_parameter,
                columns: self.columns,
            },
        })
    }
}

/// A subscription as the body of `PUT /sources/{id}/subscription` says it.
///
/// # Errors
/// If it is not such a body, or a word in it is not known.
pub fn subscription_of(body: &str) -> Result<NewSubscription, AppError> {
    let given: SubscriptionIn =
        serde_json::from_str(body).map_err(|error| AppError::Malformed(format!("{error}.")))?;
    given.checked()
}

/// What a page's form says.
pub(crate) fn of_form(form: &Form) -> Result<NewSubscription, AppError> {
    let words = |name: &str| -> Vec<String> {
        let words = form.text(name).split(['\n', ',']).map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let days = form.number("max_age_days")?;
    SubscriptionIn {
        protocol: form.maybe("protocol"),
        url: form.text("url").to_owned(),
        form: form.maybe("form"),
        every_minutes: form.number("every_minutes")?,
        coverage: form.maybe("coverage"),
        grace_hours: form.number("grace_hours")?,
        access: form.maybe("access"),
        access_name: form.maybe("access_name"),
        secret: form.maybe("secret"),
        token_url: form.maybe("token_url"),
        scope: form.maybe("scope"),
        ca: form.maybe("ca"),
        certificate: form.maybe("certificate"),
        certificate_key: form.maybe("certificate_key"),
        tags: words("tags").into_iter().collect(),
        kinds: form.all("kinds").map(str::to_owned).collect(),
        only_tags: words("only_tags"),
        tlp_most: form.maybe("tlp_most"),
        min_confidence: form.number("min_confidence")?,
        // Too many are refused with the bounds.
        max_age_days: days.map(|days| u32::try_from(days).unwrap_or(u32::MAX)),
        cron: form.maybe("cron"),
        time_zone: form.maybe("time_zone"),
        next_field: form.maybe("next_field"),
        next_parameter: form.maybe("next_parameter"),
        columns: form.maybe("columns"),
        paused: form.on("paused"),
    }
    .checked()
}
