//! The IOCs of a Threat Command account, by its API: those that changed since the last fetch, page by
//! page. What is retired or whitelisted there is reported by this source no more.

use std::collections::HashMap;

use iocast_domain::time::{DAY, Timestamp};
use iocast_fetch::{Failure, Request};
use iocast_formats::read::{Input, form::Stated};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    bundle::Bundle,
    fetching::plain,
    ledger::{REVOKED, Stays},
    upstream::{Came, Upstream},
};

/// IOCs of a page; the API gives no more.
const PAGE: usize = 1_000;
/// Pages that are fetched at once; the others follow.
const PAGES: usize = 200;
/// Bytes of IOCs that are fetched at once.
const BYTES: usize = 64 << 20;
/// Bytes of one page.
const PAGE_BYTES: u64 = 32 << 20;
/// The API goes back so far.
const WINDOW: i64 = 180 * DAY;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    content: Vec<Ioc>,
    #[serde(default)]
    next_offset: Value,
}

/// An IOC of the API. What it lacks may be missing or null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Ioc {
    value: String,
    status: Option<String>,
    severity: Option<String>,
    first_seen: Option<String>,
    last_seen: Option<String>,
    last_update_date: Option<String>,
    whitelisted: Option<bool>,
    tags: Option<Vec<String>>,
    related_malware: Option<Vec<String>>,
    related_campaigns: Option<Vec<String>>,
    related_threat_actors: Option<Vec<String>>,
    reported_feeds: Option<Vec<Feed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feed {
    #[serde(default)]
    confidence_level: Value,
}

impl Ioc {
    /// Whether the account sends it to no device.
    fn is_out(&self) -> bool {
        let retired = self.status.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("retired"));
        retired || self.whitelisted == Some(true)
    }

    /// It in the form of our own JSON.
    fn own(self) -> Value {
        let severity = self.severity.filter(|word| {
            ["high", "medium", "low"].iter().any(|known| word.eq_ignore_ascii_case(known))
        });
        let levels = self.reported_feeds.into_iter().flatten();
        let confidence = levels.filter_map(|feed| feed.confidence_level.as_i64()).max();
        let mut own = json!({
            "value": self.value,
            "system_tags": self.tags.unwrap_or_default(),
            "malware_families": self.related_malware.unwrap_or_default(),
            "campaigns": self.related_campaigns.unwrap_or_default(),
            "threat_actors": self.related_threat_actors.unwrap_or_default(),
        });
        let more = [
            ("severity", severity.map(|word| Value::from(word.to_ascii_lowercase()))),
            ("first_seen", self.first_seen.map(Value::from)),
            ("last_seen", self.last_seen.map(Value::from)),
            ("confidence", confidence.filter(|level| (1..=3).contains(level)).map(Value::from)),
        ];
        if let Value::Object(fields) = &mut own {
            let given = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
            fields.extend(given.map(|(name, value)| (name.to_owned(), value)));
        }
        own
    }
}

/// IOCs that came, each in the form of our own JSON, and whether it is out.
#[derive(Default)]
struct Iocs {
    list: Vec<(String, bool)>,
    places: HashMap<String, usize>,
    bytes: usize,
}

impl Iocs {
    /// Takes one in: what came last of a value holds.
    fn take(&mut self, ioc: Ioc) {
        let (value, is_out) = (ioc.value.clone(), ioc.is_out());
        let json = ioc.own().to_string();
        self.bytes += json.len() + value.len();
        match self.places.get(&value).and_then(|place| self.list.get_mut(*place)) {
            Some(known) => *known = (json, is_out),
            None => {
                self.places.insert(value, self.list.len());
                self.list.push((json, is_out));
            }
        }
    }

    fn array(&self, out: bool) -> Option<String> {
        let some: Vec<&str> =
            self.list.iter().filter(|(_, is)| *is == out).map(|(json, _)| json.as_str()).collect();
        (!some.is_empty()).then(|| format!("[{}]", some.join(",")))
    }
}

/// Fetches IOCs that changed; nothing if none did.
pub(super) fn fetch(upstream: &Upstream, now: Timestamp) -> Result<Option<Came>, Failure> {
    let known = upstream.known.cursor.as_deref().and_then(|text| Timestamp::parse(text).ok());
    let from = known.unwrap_or_else(|| now.plus(-WINDOW));
    let mut iocs = Iocs::default();
    let mut came = Came::new(None, 0, Stated::Chosen(Input::Json));
    let mut last = from;
    let mut offset = None;
    let most = usize::try_from(upstream.most / 2).unwrap_or(usize::MAX).min(BYTES);
    for nth in 1.. {
        let page = page(upstream, from, offset.as_deref(), &mut came.bytes)?;
        let count = page.content.len();
        for ioc in page.content {
            // What lies ahead of our clock would hide what comes until then.
            let at = ioc.last_update_date.as_deref().and_then(|at| Timestamp::parse(at).ok());
            last = last.max(at.unwrap_or(last).min(now));
            iocs.take(ioc);
        }
        offset = match page.next_offset {
            Value::String(next) if !next.is_empty() && count > 0 => Some(next),
            _ => None,
        };
        if offset.is_none() {
            break;
        }
        if nth >= PAGES || iocs.bytes > most || !upstream.has_time() {
            came.more = true;
            break;
        }
    }
    if came.more && last == from {
        return Err(plain(
            "The account has more IOCs of one moment than are fetched at once, so that the rest could not follow.",
        ));
    }
    if upstream.known.sha256.is_some() && iocs.list.is_empty() {
        return Ok(None);
    }
    let mut bundle: Option<Bundle> = None;
    for (name, out) in [("iocs.json", false), (REVOKED, true)] {
        let Some(text) = iocs.array(out) else { continue };
        let into = match &mut bundle {
            Some(bundle) => bundle,
            None => bundle.insert(Bundle::create(upstream)?),
        };
        into.add(name, text.as_bytes())?;
    }
    came.spooled = bundle.map(Bundle::finish).transpose()?;
    // The API gives no more than half a year: what is older stays until it is out.
    came.stays = Stays::All;
    came.cursor = Some(last.to_string());
    came.sha256 = Some(String::new()).filter(|_| !came.more);
    Ok(Some(came))
}

fn page(
    upstream: &Upstream,
    from: Timestamp,
    offset: Option<&str>,
    bytes: &mut u64,
) -> Result<Page, Failure> {
    let mut url = upstream.url.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/iocs") {
        url.set_path(&format!("{path}/public/v3/iocs"));
    }
    url.query_pairs_mut()
        .append_pair("lastUpdatedFrom", &from.to_string())
        .append_pair("limit", &PAGE.to_string());
    if let Some(offset) = offset {
        url.query_pairs_mut().append_pair("offset", offset);
    }
    let request = Request {
        url: url.to_string(),
        accept: "application/json".to_owned(),
        most: upstream.most.min(PAGE_BYTES),
        ..Request::default()
    };
    let Some((head, body)) = upstream.get_bytes(request)? else {
        return Ok(Page { content: Vec::new(), next_offset: Value::Null });
    };
    *bytes += head.bytes;
    serde_json::from_slice(&body).map_err(|_| {
        plain("The answer holds no IOCs of Threat Command. Give the address of its API, such as https://api.ti.insight.rapid7.com.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ioc_is_put_in_our_own_form() {
        let ioc: Ioc = serde_json::from_value(json!({
            "value": "evil.example", "type": "Domains", "status": "Active", "severity": "PendingEnrichment",
            "score": null, "firstSeen": "2026-11-01T00:00:00.000Z", "whitelisted": false, "tags": null,
            "relatedMalware": ["sodinokibi"], "reportedFeeds": [{"id": "1", "confidenceLevel": 2}, {"confidenceLevel": 3}],
        }))
        .unwrap();
        assert!(!ioc.is_out());
        let own = ioc.own();
        assert_eq!(
            (&own["confidence"], &own["malware_families"]),
            (&json!(3), &json!(["sodinokibi"]))
        );
        assert_eq!((own.get("severity"), own.get("last_seen")), (None, None));
        let retired = Ioc { status: Some("Retired".to_owned()), ..Ioc::default() };
        assert!(retired.is_out());
    }
}
