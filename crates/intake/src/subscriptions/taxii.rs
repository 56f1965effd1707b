//! A collection of a TAXII server: objects that were added since the last fetch, page by page.

use std::{collections::HashMap, fmt::Write as _};

use iocast_domain::time::{DAY, Timestamp};
use iocast_fetch::{Failure, Head, Request};
use iocast_formats::read::{Input, form::Stated};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    bundle::Bundle,
    fetching::plain,
    ledger::{REVOKED, Stays},
    upstream::{Came, Upstream},
};

/// Objects of a page.
const PAGE: usize = 1_000;
/// Pages that are fetched at once; the others follow.
const PAGES: usize = 200;
/// Bytes of pages that are fetched at once.
const BYTES: u64 = 64 << 20;
/// Bytes of one page.
const PAGE_BYTES: u64 = 64 << 20;
/// Bytes of one object; a longer one holds a file.
const OBJECT_BYTES: usize = 512 * 1024;
/// Longest name of a next page, in bytes.
const NEXT_MAX: usize = 1_000;
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
    /// After when objects were added that are asked for; nothing for all of them.
    after: Option<String>,
    /// Of a fetch that ended early: the next page, and when the last object was added so far.
    rest: Option<(String, Option<String>)>,
    /// The UTC day on which all objects were last asked for, in days since 1970.
    whole: Option<i64>,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut parts = text.split('\n');
        let version = if parts.next()? == "2.0" { Version::V20 } else { Version::V21 };
        let after = parts.next().and_then(given);
        let (next, last) = (parts.next().and_then(given), parts.next().and_then(given));
        let whole = parts.next().and_then(|day| day.parse().ok());
        Some(Self { version, after, rest: next.map(|next| (next, last)), whole })
    }

    fn text(&self) -> String {
        let version = if self.version == Version::V20 { "2.0" } else { "2.1" };
        let mut text = format!("{version}\n{}", self.after.as_deref().unwrap_or_default());
        let rest = self.rest.as_ref().map(|(next, last)| (next.as_str(), last.as_deref()));
        if rest.is_some() || self.whole.is_some() {
            let (next, last) = rest.unwrap_or_default();
            let _ = write!(text, "\n{next}\n{}", last.unwrap_or_default());
        }
        if let Some(day) = self.whole {
            let _ = write!(text, "\n{day}");
        }
        text
    }

    /// From where on a fetch reads. 2.0 does not say of an object when its last version was added:
    /// servers give what changed or was revoked only to those who ask for all objects, which is
    /// done once a day.
    fn begin(known: Option<Self>, now: Timestamp) -> Self {
        let today = now.micros().div_euclid(DAY);
        let start = Self { version: Version::V21, after: None, rest: None, whole: Some(today) };
        match known {
            None => start,
            Some(known) if known.version == Version::V20 && known.rest.is_none() => {
                let after = known.after.filter(|_| known.whole == Some(today));
                Self { version: known.version, after, ..start }
            }
            Some(known) => known,
        }
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
#[derive(Default, Deserialize)]
#[serde(default)]
struct Peek {
    id: Option<String>,
    revoked: Value,
    valid_until: Option<String>,
}

/// Objects that came: of each its last version.
#[derive(Default)]
struct Objects {
    list: Vec<(String, bool)>,
    places: HashMap<String, usize>,
    /// Those that are too long to be read.
    left_out: u64,
}

impl Objects {
    fn take(&mut self, json: &str, now: Timestamp) -> Result<(), Failure> {
        if json.len() > OBJECT_BYTES {
            self.left_out += 1;
            return Ok(());
        }
        let Peek { id, revoked, valid_until } = serde_json::from_str(json).map_err(no_object)?;
        let ended = valid_until.and_then(|until| Timestamp::parse(&until).ok());
        let is_out = revoked == Value::Bool(true) || ended.is_some_and(|until| until <= now);
        let json = if is_out { not_revoked(json)? } else { json.to_owned() };
        let known = id.as_ref().and_then(|id| self.places.get(id)).copied();
        if let Some(known) = known.and_then(|place| self.list.get_mut(place)) {
            *known = (json, is_out);
            return Ok(());
        }
        self.places.extend(id.map(|id| (id, self.list.len())));
        self.list.push((json, is_out));
        Ok(())
    }

    /// A bundle of those that hold, or of those that are out.
    fn bundle(&self, out: bool) -> Option<String> {
        let some: Vec<&str> =
            self.list.iter().filter(|(_, is)| *is == out).map(|(json, _)| json.as_str()).collect();
        let begin =
            r#"{"type":"bundle","id":"bundle--00000000-0000-4000-8000-000000000000","objects":["#;
        (!some.is_empty()).then(|| format!("{begin}{}]}}", some.join(",")))
    }
}

/// A fetch under way.
struct Reading<'u> {
    upstream: &'u Upstream,
    url: url::Url,
    /// From where on it reads.
    from: Cursor,
    now: Timestamp,
    /// When the last object was added that came.
    added: Option<String>,
    objects: Objects,
    bytes: u64,
    pages: usize,
}

/// Fetches what was added; nothing if nothing was.
pub(super) fn fetch(upstream: &Upstream, now: Timestamp) -> Result<Option<Came>, Failure> {
    let known = upstream.known.cursor.as_deref().and_then(Cursor::read);
    let from = Cursor::begin(known.clone(), now);
    // All that there is comes at once.
    let is_whole = from.after.is_none() && from.rest.is_none();
    let mut reading = Reading::begin(upstream, from.clone(), now);
    let rest = match reading.read() {
        // An old server knows only 2.0, and says so in several ways.
        Err(Failure { status: Some(406 | 415), .. }) if known.is_none() => {
            reading.from.version = Version::V20;
            reading.read()?
        }
        // The server does not know any more where the next page is.
        Err(Failure { status: Some(400 | 404 | 422), .. }) if from.rest.is_some() => {
            let after = from.rest.and_then(|(_, last)| last).or(from.after);
            let from = Cursor { after, rest: None, ..from };
            reading = Reading::begin(upstream, from, now);
            reading.read()?
        }
        other => other?,
    };
    let Reading { from, added, objects, bytes, .. } = reading;
    let more = rest.is_some();
    let mut came = Came::new(None, bytes, Stated::Hint(Input::Json));
    came.more = more;
    came.stays = if is_whole && !more { Stays::Nothing } else { Stays::All };
    let cursor = match rest {
        Some(next) => Cursor { rest: Some((next, added)), ..from },
        None => Cursor { after: added.or_else(|| from.after.clone()), rest: None, ..from },
    };
    if more && known.as_ref() == Some(&cursor) {
        return Err(plain("The server gives the same objects again and again."));
    }
    came.cursor = Some(cursor.text());
    let left_out = objects.left_out;
    came.missing = (left_out > 0).then(|| format!("{left_out} objects are too long to be read."));
    let mut bundle: Option<Bundle> = None;
    for (name, out) in [("objects.json", false), (REVOKED, true)] {
        let Some(text) = objects.bundle(out) else { continue };
        let into = match &mut bundle {
            Some(bundle) => bundle,
            None => bundle.insert(Bundle::create(upstream)?),
        };
        into.add(name, text.as_bytes())?;
    }
    came.spooled = bundle.map(Bundle::finish).transpose()?;
    let is_known = upstream.known.cursor == came.cursor && upstream.known.sha256.is_some();
    if came.spooled.is_none() && is_known && !is_whole {
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

impl<'u> Reading<'u> {
    fn begin(upstream: &'u Upstream, from: Cursor, now: Timestamp) -> Self {
        Self {
            upstream,
            url: objects(&upstream.url),
            added: from.rest.as_ref().and_then(|(_, last)| last.clone()),
            from,
            now,
            objects: Objects::default(),
            bytes: 0,
            pages: 0,
        }
    }

    /// Reads pages. Gives where the next one is, where there are more than are fetched at once.
    fn read(&mut self) -> Result<Option<String>, Failure> {
        let mut next = self.from.rest.as_ref().map(|(next, _)| next.clone());
        let most = BYTES.min(self.upstream.most / 2);
        loop {
            let request = self.request(next.as_deref());
            let found = match self.upstream.get_bytes(request) {
                Ok(found) => found,
                // Behind the last object of 2.0.
                Err(Failure { status: Some(416), .. }) if self.from.version == Version::V20 => {
                    return Ok(None);
                }
                Err(failure) => return Err(self.explained(failure)),
            };
            let Some((head, body)) = found else { return Ok(None) };
            let before = self.objects.list.len();
            let following = self.take(&head, &body, next.as_deref())?;
            self.pages += 1;
            if following.is_none() {
                return Ok(None);
            }
            // Some servers name all pages the same.
            if following == next && self.objects.list.len() == before {
                return Err(plain("The server gives the same page again and again."));
            }
            next = following;
            if self.pages >= PAGES || self.bytes > most || !self.upstream.has_time() {
                return Ok(next);
            }
        }
    }

    fn request(&self, next: Option<&str>) -> Request {
        let mut url = self.url.clone();
        let mut headers = Vec::new();
        let has = |url: &url::Url, name: &str| url.query_pairs().any(|(key, _)| key == name);
        if let Some(after) = self.from.after.as_deref()
            && !has(&url, "added_after")
        {
            url.query_pairs_mut().append_pair("added_after", after);
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
                let start: usize = next.and_then(|start| start.parse().ok()).unwrap_or_default();
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

    /// Takes in a page. Gives where the next one is.
    fn take(
        &mut self,
        head: &Head,
        body: &[u8],
        this: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let page: Envelope<'_> = serde_json::from_slice(body).map_err(|_| {
            plain("The answer holds no STIX objects. Give the address of a collection, as the server's list of collections says it.")
        })?;
        for object in &page.objects {
            self.objects.take(object.get(), self.now)?;
        }
        self.bytes += head.bytes;
        if let Some(last) = &head.last_added {
            self.added = Some(last.clone());
        }
        let count = page.objects.len();
        match self.from.version {
            _ if count == 0 => Ok(None),
            Version::V21 if !page.more => Ok(None),
            Version::V21 => match page.next {
                Some(next) if next.len() <= NEXT_MAX && !next.contains(['\n', '\0']) => {
                    Ok(Some(next))
                }
                _ => {
                    Err(plain("The server says that there are more objects, and not where (next)."))
                }
            },
            Version::V20 => {
                let start: usize = this.and_then(|start| start.parse().ok()).unwrap_or_default();
                let is_cut = head.range.as_deref().is_some_and(is_cut);
                Ok(is_cut.then(|| (start + count).to_string()))
            }
        }
    }

    fn explained(&self, failure: Failure) -> Failure {
        if failure.status == Some(404) && self.from.rest.is_none() {
            let why =
                format!("{} Give the address of a collection: …/collections/<id>/.", failure.why);
            return Failure { why, ..failure };
        }
        failure
    }
}

fn no_object(_: serde_json::Error) -> Failure {
    plain("The answer holds something that is no STIX object.")
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
    let mut object: serde_json::Map<String, Value> =
        serde_json::from_str(json).map_err(no_object)?;
    object.remove("revoked");
    object.remove("valid_until");
    serde_json::to_string(&object).map_err(no_object)
}

#[cfg(test)]
mod tests;
