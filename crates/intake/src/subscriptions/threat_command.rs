//! The IOCs of a Threat Command account, by its API: those that changed since the last fetch, page by
//! page. What is retired or whitelisted there is reported by this source no more.

use iocast_domain::time::{DAY, Timestamp};
use iocast_fetch::{Failure, Request};
use iocast_formats::read::{Input, form::Stated};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    fetching::plain,
    ledger::{REVOKED, Stays},
    upstream::{Bundle, Came, Upstream},
};

/// IOCs of a page; the API gives no more.
const PAGE: usize = 1_000;
/// Pages that are fetched at once; the others follow.
const PAGES: usize = 200;
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

/// Fetches IOCs that changed; nothing if none did.
pub(super) fn fetch(upstream: &Upstream, now: Timestamp) -> Result<Option<Came>, Failure> {
    let from = upstream.known.cursor.clone().unwrap_or_else(|| now.plus(-WINDOW).to_string());
    let is_first = upstream.known.cursor.is_none();
    let (mut live, mut revoked) = (Vec::new(), Vec::new());
    let mut came = Came::new(None, 0, Stated::Chosen(Input::Json));
    let mut last = from.clone();
    let mut offset = None;
    for nth in 1.. {
        let page = page(upstream, &from, offset.as_deref(), &mut came.bytes)?;
        let count = page.content.len();
        for ioc in page.content {
            if let Some(at) = ioc.last_update_date.as_ref().filter(|at| **at > last) {
                last.clone_from(at);
            }
            if ioc.is_out() {
                revoked.push(ioc.own());
            } else {
                live.push(ioc.own());
            }
        }
        offset = match page.next_offset {
            Value::String(next) if !next.is_empty() && count > 0 => Some(next),
            _ => None,
        };
        if offset.is_none() {
            break;
        }
        if nth >= PAGES || !upstream.has_time() {
            came.more = true;
            break;
        }
    }
    if came.more && last == from {
        return Err(plain(
            "The account has more IOCs of one moment than are fetched at once, so that the rest could not follow.",
        ));
    }
    let is_known = upstream.known.sha256.is_some() && live.is_empty() && revoked.is_empty();
    if is_known {
        return Ok(None);
    }
    let mut bundle: Option<Bundle> = None;
    for (name, iocs) in [("iocs.json", live), (REVOKED, revoked)] {
        if iocs.is_empty() {
            continue;
        }
        let into = match &mut bundle {
            Some(bundle) => bundle,
            None => bundle.insert(Bundle::create(upstream)?),
        };
        let text = serde_json::to_vec(&iocs).map_err(|error| plain(error.to_string()))?;
        into.add(name, &text)?;
    }
    came.spooled = bundle.map(Bundle::finish).transpose()?;
    came.stays = if is_first && !came.more { Stays::Nothing } else { Stays::All };
    came.cursor = Some(last);
    came.sha256 = Some(String::new()).filter(|_| !came.more);
    Ok(Some(came))
}

fn page(
    upstream: &Upstream,
    from: &str,
    offset: Option<&str>,
    bytes: &mut u64,
) -> Result<Page, Failure> {
    let mut url = upstream.url.clone();
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/iocs") {
        url.set_path(&format!("{path}/public/v3/iocs"));
    }
    url.query_pairs_mut()
        .append_pair("lastUpdatedFrom", from)
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
