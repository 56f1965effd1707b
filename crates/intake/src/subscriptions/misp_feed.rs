//! A MISP feed: `manifest.json` says which events there are and when each changed; only those that
//! changed are fetched, and each is compared with what it held before.

use std::{
    collections::{HashMap, HashSet},
    io::Cursor,
};

use iocast_fetch::{Failure, Request};
use iocast_formats::read::{Input, Options, form::Stated, read};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    bundle::Bundle,
    fetching::plain,
    ledger::{Stays, facts},
    upstream::{Came, Upstream, file_name, versions},
};

/// Events of a feed, at most.
const EVENTS_MAX: usize = 50_000;
/// Events that are fetched at once; the others follow.
const AT_ONCE: usize = 400;
/// Bytes of events that are fetched at once.
const BYTES: u64 = 64 << 20;
/// Bytes of the manifest.
const MANIFEST_BYTES: u64 = 64 << 20;
/// Longest version of an event, in bytes.
const VERSION_MAX: usize = 100;
/// Bytes of one event.
const EVENT_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Entry {
    timestamp: Value,
}

/// The files that did not come, by number, and the first reason.
#[derive(Default)]
struct Missing {
    count: u64,
    first: Option<String>,
}

/// Fetches events that changed; nothing if none did.
pub(super) fn fetch(upstream: &mut Upstream) -> Result<Option<Came>, Failure> {
    let base = base(&upstream.url);
    let request = Request {
        url: at(&base, &upstream.url, "manifest.json"),
        accept: "application/json, */*;q=0.1".to_owned(),
        etag: upstream.known.etag.clone(),
        last_modified: upstream.known.last_modified.clone(),
        most: upstream.most.min(MANIFEST_BYTES),
        ..Request::default()
    };
    let Some((head, body)) = upstream.get_bytes(request)? else { return Ok(None) };
    let sha256: String = Sha256::digest(&body).iter().map(|b| format!("{b:02x}")).collect();
    if upstream.known.sha256.as_deref() == Some(sha256.as_str()) {
        return Ok(None);
    }
    let manifest = manifest(&body)?;
    drop(body);
    let known = versions(&upstream.sections);
    let mut changed: Vec<(&String, &String)> = manifest
        .iter()
        .filter(|(name, version)| {
            upstream.all || known.get(name.as_str()) != Some(&version.as_str())
        })
        .collect();
    // Newest first: what matters most comes first.
    changed.sort_by(|(a, at), (b, before)| (before.len(), before, b).cmp(&(at.len(), at, a)));
    let gone: Vec<String> = known
        .keys()
        .filter(|name| !manifest.contains_key(**name))
        .map(|name| (*name).to_owned())
        .collect();
    let mut came = Came::new(None, head.bytes, Stated::Hint(Input::Json));
    came.all = upstream.all;
    let mut bundle = None;
    let mut missing = Missing::default();
    let bytes = BYTES.min(upstream.most / 2);
    for (asked, (name, version)) in changed.iter().enumerate() {
        if asked >= AT_ONCE || came.bytes > bytes || !upstream.has_time() {
            // Where none of them could be read, the same ones would be asked for again at once.
            came.more = !came.versions.is_empty();
            break;
        }
        let Some(event) = event(upstream, &base, name, &mut missing)? else { continue };
        let into = match &mut bundle {
            Some(bundle) => bundle,
            None => bundle.insert(Bundle::create(upstream)?),
        };
        into.add(&file_name(name), &event)?;
        came.bytes += event.len() as u64;
        // What it held is to be taken again.
        came.renews |= known.get(name.as_str()).is_some_and(|version| version.is_empty());
        came.versions.push(((*name).clone(), (*version).clone()));
    }
    came.gone = gone;
    came.missing = missing.sentence();
    came.stays = Stays::Sections(stays(upstream, &came));
    came.spooled = bundle.map(Bundle::finish).transpose()?;
    // While something is to come, the manifest is not the one that is known.
    if !came.more && came.missing.is_none() {
        came.sha256 = Some(sha256);
        came.etag = head.etag;
        came.last_modified = head.last_modified;
    }
    Ok(Some(came))
}

/// The folder of the feed.
fn base(url: &url::Url) -> url::Url {
    let mut base = url.clone();
    let path = base.path().trim_end_matches("manifest.json").trim_end_matches('/').to_owned();
    base.set_path(&format!("{path}/"));
    base
}

/// A file in it, with the parameters of the address.
fn at(base: &url::Url, url: &url::Url, name: &str) -> String {
    let mut at = base.clone();
    at.set_path(&format!("{}{name}", base.path()));
    at.set_query(url.query());
    at.to_string()
}

fn manifest(body: &[u8]) -> Result<HashMap<String, String>, Failure> {
    let no_feed = || {
        plain(
            "The answer is no manifest of a MISP feed. Give the address of the folder in which manifest.json lies.",
        )
    };
    let text = std::str::from_utf8(body).map_err(|_| no_feed())?;
    // PHP writes an empty map as a list.
    if text.trim() == "[]" {
        return Ok(HashMap::new());
    }
    let found: HashMap<String, Entry> = serde_json::from_str(text).map_err(|_| no_feed())?;
    if found.len() > EVENTS_MAX {
        return Err(plain(format!(
            "The feed has {} events; {EVENTS_MAX} are the most that are followed.",
            found.len()
        )));
    }
    let entry = |(name, entry): (String, Entry)| {
        // A name becomes a part of an address.
        let id: Uuid = name.parse().ok()?;
        let version = match entry.timestamp {
            Value::String(text) => text,
            other => other.to_string(),
        };
        if version.is_empty() || version.len() > VERSION_MAX || version.contains('\0') {
            return None;
        }
        (id.hyphenated().to_string() == name.to_ascii_lowercase()).then_some((name, version))
    };
    Ok(found.into_iter().filter_map(entry).collect())
}

/// One event; nothing if the feed does not have it, or it can't be read. A feed that is just being
/// written is such a feed.
fn event(
    upstream: &Upstream,
    base: &url::Url,
    name: &str,
    missing: &mut Missing,
) -> Result<Option<Vec<u8>>, Failure> {
    let request = Request {
        url: at(base, &upstream.url, &file_name(name)),
        accept: "application/json, */*;q=0.1".to_owned(),
        most: upstream.most.min(EVENT_BYTES),
        ..Request::default()
    };
    let body = match upstream.get_bytes(request) {
        Ok(found) => found.map(|(_, body)| body).unwrap_or_default(),
        // The server answered, and not with this event.
        Err(Failure { status: Some(_), why, .. }) => {
            missing.add(name, &why);
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    // One that can't be read would hold up all others.
    let options = Options::default();
    match read(Input::Json, &mut Cursor::new(&body), options, &mut |_| true) {
        Ok(()) => Ok(Some(body)),
        Err(error) => {
            missing.add(name, &error.to_string());
            Ok(None)
        }
    }
}

impl Missing {
    fn add(&mut self, name: &str, why: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{name}.json: {why}"));
    }

    fn sentence(self) -> Option<String> {
        let Self { count, first } = self;
        let events = if count == 1 { "event" } else { "events" };
        Some(format!("{count} {events} could not be read, tried again next time. {}", first?))
    }
}

/// What stands in events that neither came nor are gone.
fn stays(upstream: &mut Upstream, came: &Came) -> Vec<super::ledger::Fact> {
    let others: HashSet<&str> =
        came.versions.iter().map(|(name, _)| name).chain(&came.gone).map(String::as_str).collect();
    let sections = std::mem::take(&mut upstream.sections);
    let stay = sections.iter().filter(|section| !others.contains(section.name.as_str()));
    stay.flat_map(|section| facts(&section.data).0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_events_and_nothing_else() {
        let text = r#"{"5f0b5c4e-0000-4000-8000-000000000001": {"timestamp": "1700000000", "info": "a"},
            "5f0b5c4e-0000-4000-8000-000000000002": {"timestamp": 1700000001},
            "../../secrets": {"timestamp": "1"}}"#;
        let mut found: Vec<_> = manifest(text.as_bytes()).unwrap().into_iter().collect();
        found.sort();
        let versions: Vec<_> = found.iter().map(|(_, version)| version.as_str()).collect();
        assert_eq!(versions, ["1700000000", "1700000001"]);
        assert!(manifest(b"[]").unwrap().is_empty());
        assert!(manifest(b"<html>").unwrap_err().why.contains("manifest.json"));
    }

    #[test]
    fn files_lie_in_the_folder_of_the_feed() {
        for (given, file) in [
            ("https://example.com/feed", "https://example.com/feed/a.json"),
            ("https://example.com/feed/", "https://example.com/feed/a.json"),
            ("https://example.com/feed/manifest.json", "https://example.com/feed/a.json"),
            ("https://example.com/feed?key=1", "https://example.com/feed/a.json?key=1"),
        ] {
            let url = url::Url::parse(given).unwrap();
            assert_eq!(at(&base(&url), &url, "a.json"), file);
        }
    }
}
