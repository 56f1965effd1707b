//! What a subscription may say.

use std::path::{Component, Path, PathBuf};

use iocast_domain::{
    problem::FieldError,
    subscription::{
        Access, Protocol, Schedule, SubscriptionOptions, Takes, checked_every, checked_grace,
    },
    time::Timestamp,
};
use iocast_formats::read::{Columns, Input};

use super::NewSubscription;
use crate::{AppError, AppResult, Fields};

/// Longest address, in characters.
const URL_MAX: usize = 2_000;
/// Longest name or secret, in characters.
const ACCESS_MAX: usize = 2_000;
/// Headers that iocast sets itself.
const OWN_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "accept-encoding",
    "if-none-match",
    "if-modified-since",
    "user-agent",
];
/// Longest PEM text, in bytes.
const PEM_MAX: usize = 64 * 1024;
/// Tags, at most.
const TAGS_MAX: usize = 50;
/// Longest tag, in characters.
const TAG_MAX: usize = 100;
/// Oldest IOCs that a filter may ask for, in days.
const AGE_MAX: u32 = 3_650;

/// What was checked of a subscription.
pub(super) struct Checked {
    pub(super) url: String,
    pub(super) every: i64,
    pub(super) grace: i64,
    pub(super) form: Option<String>,
    pub(super) access_name: String,
    pub(super) secret: Option<String>,
    /// The private key of the certificate.
    pub(super) key: Option<String>,
    pub(super) options: SubscriptionOptions,
}

/// Checks what a subscription is to be.
///
/// # Errors
/// All rules that it breaks.
pub(super) fn checked(
    new: &NewSubscription,
    now: Timestamp,
    folders: &[PathBuf],
) -> AppResult<Checked> {
    let mut fields = Fields::default();
    let url = fields.take(match new.protocol {
        Protocol::Folder => checked_folder(&new.url, folders),
        _ => checked_url("url", &new.url),
    });
    let every = fields.take(checked_every(new.every));
    let grace = fields.take(checked_grace(new.grace));
    let form = fields.take(checked_form(new.form.as_deref()));
    let access_name = fields.take(checked_name(new.access, new.access_name.as_deref()));
    let secret = fields.take(checked_secret(new.secret.as_deref()));
    let key = fields.take(checked_key(new.certificate_key.as_deref()));
    let mut options = fields.take(checked_options(new.access, &new.options));
    if let Some(cron) = new.cron.as_deref().filter(|cron| !cron.trim().is_empty()) {
        let schedule = fields.take(Schedule::parse(cron, new.time_zone.as_deref(), now));
        if let Some(options) = &mut options {
            options.schedule = schedule;
        }
    }
    // Names of columns are asked of a table only.
    let columns = options.as_ref().is_some_and(|options| options.columns.is_some());
    if columns && form.as_ref().is_some_and(|form| form.as_deref().unwrap_or("table") != "table") {
        fields.take::<()>(Err(FieldError::new(
            "columns",
            "columns_without_table",
            "Only a table has columns: say that the file is a table, or name none.",
        )));
    }
    let form = if columns { Some(Some("table".to_owned())) } else { form };
    let without = |field: &'static str, why: &str| Err(FieldError::new(field, "not_used", why));
    let filled =
        |text: &Option<String>| text.as_deref().is_some_and(|text| !text.trim().is_empty());
    if filled(&new.time_zone) && !filled(&new.cron) {
        fields.take::<()>(without("time_zone", "A time zone goes with times: give cron, too."));
    }
    if filled(&new.options.next_parameter) && !filled(&new.options.next_field) {
        fields.take::<()>(without(
            "next_parameter",
            "Say where the next page is named, too: next_field.",
        ));
    }
    if filled(&new.options.next_field) && new.protocol != Protocol::File {
        fields.take::<()>(without(
            "next_field",
            "Only a file comes in pages that name the next one.",
        ));
    }
    if columns && !matches!(new.protocol, Protocol::File | Protocol::Folder) {
        fields.take::<()>(without("columns", "Only files have columns."));
    }
    if new.protocol == Protocol::Folder && new.access != Access::None {
        fields.take::<()>(Err(FieldError::new(
            "access",
            "access_not_asked",
            "A folder asks for no access; leave it at none.",
        )));
    }
    if let (Some(Some(key)), Some(certificate)) =
        (&key, options.as_ref().and_then(|options| options.certificate.as_ref()))
    {
        let goes = iocast_fetch::check_identity(certificate, key);
        let wrong = |why: iocast_fetch::Failure| {
            FieldError::new("certificate_key", "pem_invalid", why.to_string())
        };
        fields.take(goes.map_err(wrong));
    }
    fields.done()?;
    let missing = || AppError::Invalid(Vec::new());
    Ok(Checked {
        url: url.ok_or_else(missing)?,
        every: every.ok_or_else(missing)?,
        grace: grace.ok_or_else(missing)?,
        form: form.ok_or_else(missing)?,
        access_name: access_name.ok_or_else(missing)?,
        secret: secret.flatten(),
        key: key.flatten(),
        options: options.ok_or_else(missing)?,
    })
}

pub(super) fn same_origin(one: &str, other: &str) -> bool {
    let origin = |text: &str| url::Url::parse(text).map(|url| url.origin()).ok();
    origin(one).is_some_and(|of| origin(other) == Some(of))
}

fn checked_url(field: &str, url: &str) -> Result<String, FieldError> {
    let url = url.trim();
    let wrong = |why: &str| Err(FieldError::new(field, "url_invalid", why));
    if url.chars().count() > URL_MAX {
        return wrong("Give an address of at most 2,000 characters.");
    }
    let Ok(parsed) = url::Url::parse(url) else {
        return wrong("Give a whole address, such as https://example.com/list.txt.");
    };
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return wrong("Give an address that begins with https:// or http://.");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return wrong("Leave name and password out of the address; give them as access.");
    }
    Ok(parsed.to_string())
}

fn checked_form(form: Option<&str>) -> Result<Option<String>, FieldError> {
    match form {
        None | Some("" | "auto") => Ok(None),
        Some(word) if Input::from_word(word).is_some() => Ok(Some(word.to_owned())),
        Some(_) => Err(FieldError::new(
            "form",
            "form_invalid",
            "form is one of auto, json, table, list, report, html, openioc.",
        )),
    }
}

fn checked_name(access: Access, name: Option<&str>) -> Result<String, FieldError> {
    let name = name.unwrap_or_default().trim();
    let wrong = |why: &str| Err(FieldError::new("access_name", "access_name_invalid", why));
    let is_token = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match access {
        Access::None | Access::Bearer => Ok(String::new()),
        Access::OAuth2 if name.is_empty() || name.chars().count() > ACCESS_MAX => {
            wrong("Give the client's id.")
        }
        Access::Basic if name.chars().count() > ACCESS_MAX || name.contains(':') => {
            wrong("A user name has no colon.")
        }
        Access::Header if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => {
            wrong("iocast sets this header itself; give the name of another one.")
        }
        Access::Header if !is_token(name) => {
            wrong("Give the name of the header, such as Auth-Key.")
        }
        Access::Query if !is_token(name) => wrong("Give the name of the parameter, such as key."),
        Access::Basic | Access::Header | Access::Query | Access::OAuth2 => Ok(name.to_owned()),
    }
}

fn checked_secret(secret: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(secret) = secret.map(str::trim).filter(|secret| !secret.is_empty()) else {
        return Ok(None);
    };
    if secret.chars().count() > ACCESS_MAX || secret.chars().any(char::is_control) {
        return Err(FieldError::new(
            "secret",
            "secret_invalid",
            "Give a secret of at most 2,000 characters, in one line.",
        ));
    }
    Ok(Some(secret.to_owned()))
}

/// Checks a private key in PEM.
fn checked_key(key: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(key) = key.map(str::trim).filter(|key| !key.is_empty()) else { return Ok(None) };
    if key.len() > PEM_MAX || !key.contains("PRIVATE KEY") {
        return Err(FieldError::new(
            "certificate_key",
            "pem_invalid",
            "Give the private key as PEM: -----BEGIN PRIVATE KEY-----.",
        ));
    }
    Ok(Some(key.to_owned()))
}

/// Checks what is said of few subscriptions.
fn checked_options(
    access: Access,
    options: &SubscriptionOptions,
) -> Result<SubscriptionOptions, FieldError> {
    let SubscriptionOptions {
        takes,
        tags,
        token_url,
        scope,
        ca,
        certificate,
        schedule: _,
        next_field,
        next_parameter,
        columns,
    } = options;
    let Takes { kinds, tags: only, tlp_most, min_confidence, max_age_days } = takes;
    if max_age_days.is_some_and(|days| days == 0 || days > AGE_MAX) {
        return Err(FieldError::new("max_age_days", "age_out_of_range", "Give 1 to 3,650 days."));
    }
    let token_url = if access == Access::OAuth2 {
        Some(checked_url("token_url", token_url.as_deref().unwrap_or_default())?)
    } else {
        None
    };
    Ok(SubscriptionOptions {
        takes: Takes {
            kinds: kinds.clone(),
            tags: checked_tags("only_tags", only.iter())?,
            tlp_most: *tlp_most,
            min_confidence: *min_confidence,
            max_age_days: *max_age_days,
        },
        tags: checked_tags("tags", tags.iter())?.into_iter().collect(),
        scope: scope.clone().filter(|scope| token_url.is_some() && !scope.trim().is_empty()),
        token_url,
        ca: checked_certificate("ca", ca.as_deref())?,
        certificate: checked_certificate("certificate", certificate.as_deref())?,
        schedule: None,
        next_field: checked_word("next_field", next_field.as_deref())?,
        next_parameter: checked_word("next_parameter", next_parameter.as_deref())?,
        columns: checked_columns(columns.as_deref())?,
    })
}

/// A folder of the machine that iocast runs on, under one that the operator allows.
fn checked_folder(url: &str, allowed: &[PathBuf]) -> Result<String, FieldError> {
    let wrong = |why: &str| FieldError::new("url", "url_invalid", why);
    let parsed = url::Url::parse(url.trim());
    let path = parsed.as_ref().ok().and_then(|url| url.to_file_path().ok());
    let (Ok(parsed), Some(path)) = (parsed, path) else {
        return Err(wrong("Give the folder as an address, such as file:///srv/feeds/own."));
    };
    if !is_under(&path, allowed) {
        return Err(wrong(
            "This folder is not allowed: the operator names folders that may be read in the setting `fetch_folders`.",
        ));
    }
    Ok(parsed.to_string())
}

/// Whether a path lies in one of some folders, or is one of them, as written.
pub(super) fn is_under(path: &Path, folders: &[PathBuf]) -> bool {
    let is_plain = path.components().all(|part| part != Component::ParentDir);
    is_plain && folders.iter().any(|folder| path.starts_with(folder))
}

fn checked_word(field: &str, word: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(word) = word.map(str::trim).filter(|word| !word.is_empty()) else { return Ok(None) };
    if word.chars().count() > TAG_MAX || word.chars().any(char::is_control) {
        return Err(FieldError::new(field, "word_invalid", "Give at most 100 characters."));
    }
    Ok(Some(word.to_owned()))
}

fn checked_columns(text: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<Columns>() {
        Ok(_) => Ok(Some(text.replace('\r', ""))),
        Err(why) => Err(FieldError::new("columns", "columns_invalid", why)),
    }
}

fn checked_tags<'t>(
    field: &str,
    tags: impl Iterator<Item = &'t String>,
) -> Result<Vec<String>, FieldError> {
    let mut found: Vec<String> =
        tags.map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
    found.sort();
    found.dedup();
    let is_long = |tag: &String| tag.chars().count() > TAG_MAX || tag.chars().any(char::is_control);
    if found.len() > TAGS_MAX || found.iter().any(is_long) {
        return Err(FieldError::new(
            field,
            "tags_invalid",
            "Give at most 50 tags of at most 100 characters.",
        ));
    }
    Ok(found)
}

fn checked_certificate(field: &str, pem: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(pem) = pem.map(str::trim).filter(|pem| !pem.is_empty()) else { return Ok(None) };
    if pem.len() > PEM_MAX || iocast_fetch::check_certificates(pem).is_err() {
        return Err(FieldError::new(
            field,
            "pem_invalid",
            "Give certificates as PEM: -----BEGIN CERTIFICATE-----.",
        ));
    }
    Ok(Some(pem.to_owned()))
}
