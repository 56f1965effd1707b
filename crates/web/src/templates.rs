//! Pages and what they load, from `web-templates/`: compiled in, and overridden by a folder of the
//! operator's.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{LazyLock, OnceLock},
};

use iocast_domain::time::Timestamp;
use minijinja::{
    Environment, Error, ErrorKind, State, UndefinedBehavior, Value, syntax::SyntaxConfig,
    value::ValueKind,
};

use crate::pages::ago;

macro_rules! files {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../../web-templates/", $name)))),+] };
}

/// Every template: name and text.
const TEMPLATES: &[(&str, &str)] = files![
    "parts/frame.html",
    "parts/form.html",
    "parts/chart.html",
    "parts/count.html",
    "parts/found.html",
    "parts/hits.html",
    "parts/ioc_search.html",
    "parts/import.html",
    "parts/report.html",
    "pages/alert.html",
    "pages/alerts.html",
    "pages/audit.html",
    "pages/blocklist.html",
    "pages/device.html",
    "pages/device_table.html",
    "pages/emulator.html",
    "pages/feed.html",
    "pages/fetches.html",
    "pages/public_feeds.html",
    "pages/quality.html",
    "pages/file.html",
    "pages/forgotten.html",
    "pages/group.html",
    "pages/import.html",
    "pages/imports.html",
    "pages/integrations.html",
    "pages/ioc.html",
    "pages/iocs.html",
    "pages/compare.html",
    "pages/guards.html",
    "pages/warninglists.html",
    "pages/help.html",
    "pages/mail.html",
    "pages/new_device.html",
    "pages/nothing_here.html",
    "pages/overview.html",
    "pages/password.html",
    "pages/policy.html",
    "pages/problem.html",
    "pages/profile.html",
    "pages/rule.html",
    "pages/search.html",
    "pages/service_tokens.html",
    "pages/setup.html",
    "pages/kept.html",
    "pages/sign_in.html",
    "pages/source.html",
    "pages/sources.html",
    "pages/subscription.html",
    "pages/users.html",
];

/// What pages load.
const ASSETS: &[(&str, &str)] = files![
    "assets/style.css",
    "assets/early.js",
    "assets/iocast.js",
    "assets/password.js",
    "assets/import.js",
    "assets/lists.js",
    "assets/htmx.min.js",
    "assets/icon.svg"
];

static OURS: LazyLock<Result<Environment<'static>, Error>> = LazyLock::new(|| {
    environment(TEMPLATES.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())))
});
static OVERRIDDEN: OnceLock<Overridden> = OnceLock::new();

struct Overridden {
    templates: Environment<'static>,
    assets: Vec<(&'static str, String)>,
}

fn environment(
    templates: impl Iterator<Item = (String, String)>,
) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_function("asset", asset_url);
    environment.add_function("version", || env!("CARGO_PKG_VERSION"));
    environment.add_filter("when", when);
    environment
        .add_filter("exact", |iso: Value| text_of(&iso, iocast_domain::time::Timestamp::minute));
    environment.add_filter("n", grouped);
    environment.add_filter("bytes", bytes);
    environment.add_filter("query", |text: &str| crate::pages::query_encoded(text));
    environment.add_filter("plain", plain);
    environment.add_filter("words", |text: &str| text.replace('_', " "));
    environment.add_filter("kind_words", kind_words);
    for (name, text) in templates {
        environment.add_template_owned(name, text)?;
    }
    Ok(environment)
}

/// What a group of one kind holds, in words.
fn kind_words(kind: &str) -> String {
    match kind {
        "ip" => "IP addresses and networks",
        "domain" => "domains",
        "url" => "URLs",
        "email" => "e-mail addresses",
        "hash" => "file hashes",
        "md5" => "MD5 hashes",
        "sha256" => "SHA-256 hashes",
        other => other,
    }
    .to_owned()
}

/// Takes templates and assets from `folder` where it has them; the others stay ours.
///
/// # Errors
/// If a file can't be read, or is no template.
pub(crate) fn override_from(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such folder"));
    }
    let text = |name: &str, ours: &str| match std::fs::read_to_string(folder.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ours.to_owned()),
        read => read,
    };
    let templates: io::Result<Vec<(String, String)>> =
        TEMPLATES.iter().map(|(name, ours)| Ok(((*name).to_owned(), text(name, ours)?))).collect();
    let assets: io::Result<Vec<(&'static str, String)>> =
        ASSETS.iter().map(|(name, ours)| Ok((*name, text(name, ours)?))).collect();
    let templates = environment(templates?.into_iter())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{error:#}")))?;
    // A second server in this process has the same templates.
    let _ = OVERRIDDEN.set(Overridden { templates, assets: assets? });
    Ok(())
}

/// Renders a page.
pub(crate) fn render(name: &str, context: Value) -> Result<String, Error> {
    match (OVERRIDDEN.get(), &*OURS) {
        (Some(overridden), _) => overridden.templates.get_template(name)?.render(context),
        (None, Ok(ours)) => ours.get_template(name)?.render(context),
        (None, Err(error)) => Err(Error::new(error.kind(), error.to_string())),
    }
}

/// Something that pages load.
#[derive(Clone, Copy)]
pub(crate) struct Asset {
    pub(crate) media_type: &'static str,
    pub(crate) text: &'static str,
    /// Another one for another text.
    pub(crate) version: &'static str,
}

/// The versions of all assets: pages name them, so that no browser shows a new page with an old
/// script.
static VERSIONS: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let version = |name: &str| {
        uuid::Uuid::new_v5(
            &uuid::Uuid::NAMESPACE_OID,
            text_of_asset(name).unwrap_or_default().as_bytes(),
        )
        .simple()
        .to_string()
    };
    ASSETS.iter().map(|(name, _)| (*name, version(name))).collect()
});

fn text_of_asset(name: &str) -> Option<&'static str> {
    let ours = ASSETS.iter().find(|(n, _)| *n == name)?;
    Some(
        OVERRIDDEN
            .get()
            .and_then(|o| o.assets.iter().find(|(n, _)| *n == name))
            .map_or(ours.1, |(_, text)| text.as_str()),
    )
}

/// Where a page finds an asset.
fn asset_url(file: &str) -> Result<String, Error> {
    let version = VERSIONS.get(format!("assets/{file}").as_str());
    version
        .map(|version| format!("/assets/{file}?v={version}"))
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("there is no asset {file}")))
}

/// Something that pages load, by its name.
pub(crate) fn asset(file: &str) -> Option<Asset> {
    let name = format!("assets/{file}");
    let text = text_of_asset(&name)?;
    let media_type = match file.rsplit_once('.')?.1 {
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    Some(Asset { media_type, text, version: VERSIONS.get(name.as_str())? })
}

fn text_of(iso: &Value, shown: impl Fn(Timestamp) -> String) -> String {
    iso.as_str().and_then(|text| Timestamp::parse(text).ok()).map(shown).unwrap_or_default()
}

/// A time, relative to the product's, with the exact one on hover or focus; `never` for none.
fn when(state: &State<'_, '_>, iso: Value) -> Result<Value, Error> {
    let Some(text) = iso.as_str() else { return Ok(Value::from("never")) };
    let wrong = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    let at = Timestamp::parse(text).map_err(wrong)?;
    let now = state
        .lookup("now")
        .and_then(|now| now.as_str().and_then(|n| Timestamp::parse(n).ok()))
        .unwrap_or(at);
    Ok(Value::from_safe_string(format!(
        "<time class=\"when\" datetime=\"{at}\" data-exact=\"{exact}\">{ago}<span class=\"aside\">, {exact}</span></time>",
        exact = at.minute(),
        ago = ago(at, now),
    )))
}

/// A number with a mark between thousands.
pub(crate) fn number(number: u64) -> String {
    grouped(Value::from(number))
}

fn grouped(number: Value) -> String {
    let digits = number.to_string();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return digits;
    }
    let first = digits.len() % 3;
    let mut grouped = String::from(digits.get(..first).unwrap_or_default());
    for (place, digit) in digits.chars().skip(first).enumerate() {
        if place % 3 == 0 && !grouped.is_empty() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A value of the audit log for people.
fn plain(value: Value) -> String {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => "none".to_owned(),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if value.len() == Some(0) => {
            "none".to_owned()
        }
        ValueKind::Bool => if value.is_true() { "yes" } else { "no" }.to_owned(),
        ValueKind::Seq | ValueKind::Iterable => match value.try_iter() {
            Ok(items) => items.map(plain).collect::<Vec<_>>().join(", "),
            Err(_) => value.to_string(),
        },
        ValueKind::Map => {
            let set = |v: &Value| {
                !matches!(v.kind(), ValueKind::None | ValueKind::Undefined) && v.len() != Some(0)
            };
            let pair = |key: Value| {
                Some((key.to_string(), value.get_item(&key).ok()?)).filter(|(_, v)| set(v))
            };
            let pairs = value
                .try_iter()
                .into_iter()
                .flatten()
                .filter_map(pair)
                .map(|(key, v)| format!("{}: {}", key.replace('_', " "), plain(v)));
            pairs.collect::<Vec<_>>().join("; ")
        }
        _ => value.to_string(),
    }
}

/// A size for people.
fn bytes(size: u64) -> String {
    match size {
        s if s >= 1 << 30 => format!("{} GiB", s >> 30),
        s if s >= 10 << 20 => format!("{} MiB", s >> 20),
        s if s >= 10 << 10 => format!("{} KiB", s >> 10),
        s => format!("{s} bytes"),
    }
}
