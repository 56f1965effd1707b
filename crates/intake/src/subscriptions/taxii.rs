//! A collection of a TAXII server: objects that were added since the last fetch, page by page.

use std::fmt::Write as _;

use iocast_fetch::{Failure, Head, Request};
use iocast_formats::read::{Input, form::Stated};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    fetching::plain,
    ledger::{REVOKED, Stays},
    upstream::{Bundle, Came, Upstream},
};

/// Objects of a page.
const PAGE: usize = 1_000;
/// Pages that are fetched at once; the others follow.
const PAGES: usize = 200;
/// Bytes of pages that are fetched at once.
const BYTES: u64 = 64 << 20;
/// Bytes of one page.
const PAGE_BYTES: u64 = 64 << 20;
/// How 2.1 is asked for.
const TAXII_21: &str = "application/taxii+json;version=2.1";
/// How 2.0 is asked for.
const TAXII_20: &str = "application/vnd.oasis.stix+json; version=2.0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V20,
    V21,
}

/// Where the next fetch goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor {
    version: Version,
    /// When the last object was added that is known; nothing if the server does not say so.
    added: Option<String>,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        let (version, added) = text.split_once(' ')?;
        let version = if version == "2.0" { Version::V20 } else { Version::V21 };
        Some(Self { version, added: Some(added.to_owned()).filter(|added| !added.is_empty()) })
    }

    fn text(&self) -> String {
        let version = if self.version == Version::V20 { "2.0" } else { "2.1" };
        format!("{version} {}", self.added.as_deref().unwrap_or_default())
    }
}

/// What a page holds.
#[derive(Deserialize)]
struct Envelope<'e> {
    #[serde(default)]
    more: bool,
    #[serde(default)]
    next: Option<String>,
    #[serde(default, borrow)]
    objects: Vec<&'e RawValue>,
}

/// What is looked at of an object before it is read.
#[derive(Deserialize)]
struct Peek {
    #[serde(default)]
    revoked: Value,
}

/// Objects as they lie in a bundle.
#[derive(Default)]
struct Objects {
    text: String,
    count: usize,
}

impl Objects {
    fn push(&mut self, json: &str) {
        let begin = if self.count == 0 {
            r#"{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000000","objects":["#
        } else {
            ","
        };
        let _ = write!(self.text, "{begin}{json}");
        self.count += 1;
    }

    fn finish(mut self) -> Option<String> {
        self.text.push_str("]}");
        (self.count > 0).then_some(self.text)
    }
}

/// A fetch under way.
struct Reading<'u> {
    upstream: &'u Upstream,
    url: url::Url,
    /// From where on it reads.
    from: Cursor,
    /// How far it came.
    added: Option<String>,
    live: Objects,
    revoked: Objects,
    bytes: u64,
    pages: usize,
}

/// Fetches what was added; nothing if nothing was.
pub(super) fn fetch(upstream: &Upstream) -> Result<Option<Came>, Failure> {
    let known = upstream.known.cursor.as_deref().and_then(Cursor::read);
    let is_first = known.as_ref().is_none_or(|cursor| cursor.added.is_none());
    let mut reading = Reading {
        upstream,
        url: objects(&upstream.url),
        from: known.clone().unwrap_or(Cursor { version: Version::V21, added: None }),
        added: None,
        live: Objects::default(),
        revoked: Objects::default(),
        bytes: 0,
        pages: 0,
    };
    let more = match reading.read() {
        // An old server knows only 2.0, and says so in several ways.
        Err(Failure { status: Some(406 | 415), .. }) if known.is_none() => {
            reading.from.version = Version::V20;
            reading.read()?
        }
        other => other?,
    };
    let Reading { from, added, live, revoked, bytes, .. } = reading;
    if more && added.is_none() {
        return Err(plain(
            "The collection has more objects than are fetched at once, and the server does not say when they were added (X-TAXII-Date-Added-Last), so that the rest could not follow.",
        ));
    }
    let mut came = Came::new(None, bytes, Stated::Hint(Input::Json));
    came.more = more;
    // The first time, what came is all that there is.
    came.stays = if is_first && !more { Stays::Nothing } else { Stays::All };
    let cursor = Cursor { added: added.or_else(|| from.added.clone()), version: from.version };
    came.cursor = Some(cursor.text());
    let mut bundle: Option<Bundle> = None;
    for (name, objects) in [("objects.json", live), (REVOKED, revoked)] {
        let Some(text) = objects.finish() else { continue };
        let into = match &mut bundle {
            Some(bundle) => bundle,
            None => bundle.insert(Bundle::create(upstream)?),
        };
        into.add(name, text.as_bytes())?;
    }
    came.spooled = bundle.map(Bundle::finish).transpose()?;
    let is_known = upstream.known.cursor == came.cursor && upstream.known.sha256.is_some();
    if came.spooled.is_none() && is_known {
        return Ok(None);
    }
    // There is no body to compare: the cursor says whether something is new.
    came.sha256 = Some(String::new()).filter(|_| !more);
    Ok(Some(came))
}

/// Where the objects of a collection are.
fn objects(url: &url::Url) -> url::Url {
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/').trim_end_matches("/objects").to_owned();
    url.set_path(&format!("{path}/objects/"));
    url
}

impl Reading<'_> {
    /// Reads pages. Gives whether there are more.
    fn read(&mut self) -> Result<bool, Failure> {
        let (mut next, mut start) = (None, 0);
        loop {
            let request = self.request(next.as_deref(), start);
            let found = match self.upstream.get_bytes(request) {
                Ok(found) => found,
                // Behind the last object of 2.0.
                Err(Failure { status: Some(416), .. }) if self.from.version == Version::V20 => {
                    return Ok(false);
                }
                Err(failure) => return Err(self.explained(failure)),
            };
            let Some((head, body)) = found else { return Ok(false) };
            let (more, objects, following) = self.take(&head, &body)?;
            self.pages += 1;
            start += objects;
            next = following;
            if !more || objects == 0 {
                return Ok(false);
            }
            let enough = self.pages >= PAGES || self.bytes > BYTES || !self.upstream.has_time();
            if enough {
                return Ok(true);
            }
            if self.from.version == Version::V21 && next.is_none() {
                return Err(plain(
                    "The server says that there are more objects, and not where (next).",
                ));
            }
        }
    }

    fn request(&self, next: Option<&str>, start: usize) -> Request {
        let mut url = self.url.clone();
        let mut headers = Vec::new();
        let has = |url: &url::Url, name: &str| url.query_pairs().any(|(key, _)| key == name);
        if let Some(added) = self.from.added.as_deref()
            && !has(&url, "added_after")
        {
            url.query_pairs_mut().append_pair("added_after", added);
        }
        let accept = match self.from.version {
            Version::V21 => {
                if !has(&url, "limit") {
                    url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
                }
                if let Some(next) = next {
                    url.query_pairs_mut().append_pair("next", next);
                }
                TAXII_21
            }
            Version::V20 => {
                let range = format!("items={start}-{}", start + PAGE - 1);
                headers.push(("range".to_owned(), range));
                TAXII_20
            }
        };
        Request {
            url: url.to_string(),
            accept: accept.to_owned(),
            headers,
            most: self.upstream.most.min(PAGE_BYTES),
            ..Request::default()
        }
    }

    /// Takes in a page. Gives whether there are more, how many objects it had, and where the next
    /// one is.
    fn take(&mut self, head: &Head, body: &[u8]) -> Result<(bool, usize, Option<String>), Failure> {
        let page: Envelope<'_> = serde_json::from_slice(body).map_err(|_| {
            plain("The answer holds no STIX objects. Give the address of a collection, as the server's list of collections says it.")
        })?;
        for object in &page.objects {
            let peek: Peek = serde_json::from_str(object.get())
                .map_err(|_| plain("The answer holds something that is no STIX object."))?;
            match peek.revoked {
                Value::Bool(true) => self.revoked.push(&not_revoked(object.get())?),
                _ => self.live.push(object.get()),
            }
        }
        self.bytes += head.bytes;
        if let Some(last) = &head.last_added {
            self.added = Some(last.clone());
        }
        let more = match self.from.version {
            Version::V21 => page.more,
            Version::V20 => head.range.as_deref().is_some_and(is_cut),
        };
        Ok((more, page.objects.len(), page.next))
    }

    fn explained(&self, failure: Failure) -> Failure {
        if matches!(failure.status, Some(404)) {
            let why =
                format!("{} Give the address of a collection: …/collections/<id>/.", failure.why);
            return Failure { why, ..failure };
        }
        failure
    }
}

/// Whether `items 0-99/250` leaves something.
fn is_cut(range: &str) -> bool {
    let numbers =
        range.trim().strip_prefix("items").map(|rest| rest.trim_start_matches(['=', ' ']));
    let parts = numbers.and_then(|rest| {
        let (span, total) = rest.split_once('/')?;
        let (_, last) = span.split_once('-')?;
        Some((last.trim().parse::<u64>().ok()?, total.trim().to_owned()))
    });
    // Where the total is not known, the next page tells.
    parts.is_some_and(|(last, total)| total.parse::<u64>().map_or(true, |total| last + 1 < total))
}

/// An object without the mark that it is taken back, so that the values in it are read.
fn not_revoked(json: &str) -> Result<String, Failure> {
    let unreadable = |_| plain("The answer holds something that is no STIX object.");
    let mut object: serde_json::Map<String, Value> =
        serde_json::from_str(json).map_err(unreadable)?;
    object.remove("revoked");
    object.remove("valid_until");
    serde_json::to_string(&object).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_whether_something_is_left() {
        for (range, cut) in [
            ("items 0-99/250", true),
            ("items 0-99/100", false),
            ("items=200-249/250", false),
            ("items 0-99/*", true),
            ("bytes 0-1", false),
        ] {
            assert_eq!(is_cut(range), cut, "{range}");
        }
    }

    #[test]
    fn a_cursor_is_read_back() {
        for added in [None, Some("2026-11-30T10:00:00.000001Z".to_owned())] {
            for version in [Version::V20, Version::V21] {
                let cursor = Cursor { version, added: added.clone() };
                assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
            }
        }
    }

    #[test]
    fn objects_lie_behind_their_collection() {
        for given in
            ["https://h.example/c/1", "https://h.example/c/1/", "https://h.example/c/1/objects/"]
        {
            assert_eq!(
                objects(&url::Url::parse(given).unwrap()).as_str(),
                "https://h.example/c/1/objects/"
            );
        }
    }
}
