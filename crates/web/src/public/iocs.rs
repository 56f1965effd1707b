//! IOCs: walked through, looked up by value, exported, enriched.

use actix_web::{HttpRequest, HttpResponse, get, web};
use iocast_app::{App, IocQuery, WalkQuery, Walked};
use std::sync::Arc;

use iocast_domain::{
    id::SourceId,
    ioc::{Kind, Severity, State, Whitelist},
    normalise::detect,
    source::Source,
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Params, Program, Refusal, capital, iso, kinds_of, type_word};

mod first;
use self::first::sources;
pub(super) use self::first::{all, enriched, value_of};
pub(crate) use self::first::{by_value_v1, csv, enrich, list_v1, quota, rescan, rescan_status};

/// What a list may be asked for.
const FILTERS: &[&str] = &[
    "type",
    "severity",
    "status",
    "sourceId",
    "sourceIds",
    "whitelisted",
    "firstSeenFrom",
    "firstSeenTo",
    "lastSeenFrom",
    "lastSeenTo",
    "lastUpdatedFrom",
    "lastUpdatedTo",
    "killChainPhases",
    "enterpriseTactics",
    "geolocation",
    "subType",
];
/// IOCs on a page at most, and unless given.
const PAGE: u64 = 1_000;

/// A source that reported an IOC.
#[derive(Serialize, ToSchema)]
struct FeedOut {
    id: String,
    name: String,
    /// 1 to 3.
    #[serde(rename = "confidenceLevel")]
    confidence_level: u8,
}

/// An IOC.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThreatCommandIoc {
    value: String,
    /// `IpAddresses`, `Urls`, `Domains`, `Hashes` or `Emails`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `Active` or `Retired`.
    status: String,
    /// `High`, `Medium` or `Low`.
    severity: String,
    /// 0 to 100, or null.
    score: Option<f64>,
    first_seen: String,
    last_seen: String,
    last_update_date: String,
    whitelisted: bool,
    tags: Vec<String>,
    related_malware: Vec<String>,
    related_campaigns: Vec<String>,
    related_threat_actors: Vec<String>,
    reported_feeds: Vec<FeedOut>,
}

fn list(of: &std::collections::BTreeSet<String>) -> Vec<String> {
    of.iter().cloned().collect()
}

impl From<Walked> for ThreatCommandIoc {
    fn from(walked: Walked) -> Self {
        let Walked { ioc, updated_at, feeds } = walked;
        let severity = capital(ioc.severity().word());
        let enrichment = ioc.enrichment;
        Self {
            value: ioc.value,
            kind: type_word(ioc.kind),
            status: capital(ioc.state.word()),
            severity,
            score: enrichment.score,
            first_seen: iso(ioc.first_seen),
            last_seen: iso(ioc.last_seen),
            last_update_date: iso(updated_at),
            whitelisted: ioc.whitelist == Whitelist::NeverSent,
            tags: list(&enrichment.user_tags),
            related_malware: list(&enrichment.malware_families),
            related_campaigns: list(&enrichment.campaigns),
            related_threat_actors: list(&enrichment.threat_actors),
            reported_feeds: reported_feeds(feeds, enrichment.blocklisted),
        }
    }
}

/// The feeds that count, as the original names them. Clients take the first one without looking
/// whether there is one: an IOC whose sources are all off or deleted has one that says so.
fn reported_feeds(feeds: Vec<(Arc<Source>, u8)>, is_blocked: bool) -> Vec<FeedOut> {
    let named = |id: &str, name: &str, confidence_level| FeedOut {
        id: id.to_owned(),
        name: name.to_owned(),
        confidence_level,
    };
    let own = feeds.into_iter().map(|(of, level)| named(&of.id.to_string(), &of.name, level));
    let mut all: Vec<FeedOut> = own.collect();
    if is_blocked {
        all.push(named("remediation-blocklist", "Remediation Blocklist", 3));
    }
    if all.is_empty() {
        all.push(named("none", "No active source", 1));
    }
    all
}

/// A page of IOCs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IocsOut {
    content: Vec<ThreatCommandIoc>,
    /// To be sent as `offset` for the next page; null at the end.
    next_offset: Option<String>,
}

/// Which IOCs the parameters of a list ask for, sources by the name that they have there. None
/// where they ask for what no IOC has.
fn filter(params: &Params, sources: &str) -> Result<Option<IocQuery>, Refusal> {
    params.check(FILTERS)?;
    let kinds = params.read("type", kinds_of, "IpAddresses, Urls, Domains, Hashes, Emails")?;
    let pending = |text: &str| text.eq_ignore_ascii_case("PendingEnrichment");
    let severities = params.read(
        "severity",
        |text| if pending(text) { Some(None) } else { text.parse::<Severity>().ok().map(Some) },
        "High, Medium, Low, PendingEnrichment",
    )?;
    let states = params.read("status", |text| text.parse::<State>().ok(), "Active, Retired")?;
    let sources =
        params.read(sources, |text| text.parse().ok().map(SourceId), "the ids of sources")?;
    // Every IOC here is rated, and none has a kill chain phase.
    let none_has = ["killChainPhases", "enterpriseTactics", "geolocation", "subType"];
    if (!severities.is_empty() && severities.iter().all(Option::is_none))
        || params.asks_for_nothing(&none_has)
    {
        return Ok(None);
    }
    Ok(Some(IocQuery {
        kinds: kinds.into_iter().flatten().collect(),
        severities: severities.into_iter().flatten().collect(),
        state: if states.len() == 1 { states.first().copied() } else { None },
        whitelist: match params.flag("whitelisted")? {
            Some(true) => vec![Whitelist::NeverSent],
            Some(false) => vec![Whitelist::Default, Whitelist::AlwaysSent],
            None => Vec::new(),
        },
        sources,
        first_seen: (params.time("firstSeenFrom")?, params.time("firstSeenTo")?),
        last_seen: (params.time("lastSeenFrom")?, params.time("lastSeenTo")?),
        ..IocQuery::default()
    }))
}

/// What the parameters of a list with pages ask for.
fn wanted(params: &Params) -> Result<Option<WalkQuery>, Refusal> {
    let updated_from = params.time("lastUpdatedFrom")?;
    if updated_from.is_none() {
        return Err(Refusal::unprocessable(
            "lastUpdatedFrom is needed: a time such as 2026-11-01T00:00:00.000Z.",
        ));
    }
    let limit = match params.one("limit") {
        None => PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=PAGE).contains(n))
            .ok_or_else(|| Refusal::unprocessable("limit is 1 to 1000."))?,
    };
    let Some(filter) = filter(params, "sourceIds")? else { return Ok(None) };
    Ok(Some(WalkQuery {
        updated_from,
        updated_to: params.time("lastUpdatedTo")?,
        filter,
        limit,
        // A number of entries is the beginning, or nothing that anybody was given.
        offset: params.one("offset").filter(|text| *text != "0").map(str::to_owned),
    }))
}

pub(super) async fn page(request: &HttpRequest, app: &App, program: &Program) -> Answer {
    let Some(query) = wanted(&Params::of(request)?)? else {
        return Ok(HttpResponse::Ok().json(IocsOut { content: Vec::new(), next_offset: None }));
    };
    let page = app.intake.ioc_walk(&program.0, &query).await?;
    Ok(HttpResponse::Ok().json(IocsOut {
        content: page.iocs.into_iter().map(ThreatCommandIoc::from).collect(),
        next_offset: page.next,
    }))
}

/// The IOCs in order of their last change.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(
        ("lastUpdatedFrom" = String, Query, description = "ISO 8601; of this time or later, within the last six months"),
        ("lastUpdatedTo" = Option<String>, Query), ("lastSeenFrom" = Option<String>, Query), ("lastSeenTo" = Option<String>, Query),
        ("firstSeenFrom" = Option<String>, Query), ("firstSeenTo" = Option<String>, Query),
        ("type" = Option<Vec<String>>, Query, description = "IpAddresses, Urls, Domains, Hashes, Emails; repeated, or as type[0]="),
        ("severity" = Option<Vec<String>>, Query, description = "High, Medium, Low, PendingEnrichment"),
        ("status" = Option<String>, Query, description = "Active or Retired"), ("whitelisted" = Option<bool>, Query),
        ("sourceIds" = Option<Vec<String>>, Query), ("killChainPhases" = Option<Vec<String>>, Query),
        ("limit" = Option<u64>, Query, description = "1 to 1000"), ("offset" = Option<String>, Query, description = "nextOffset of the page before")
    ),
    responses((status = 200, body = IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v3/iocs")]
pub(crate) async fn list_v3(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    page(&request, &app, &program).await
}

/// The same in its older version.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(("lastUpdatedFrom" = String, Query), ("limit" = Option<u64>, Query), ("offset" = Option<String>, Query)),
    responses((status = 200, body = IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/iocs")]
pub(crate) async fn list_v2(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    page(&request, &app, &program).await
}

async fn by_value(
    request: &HttpRequest,
    app: &App,
    program: &Program,
) -> Result<Option<Walked>, Refusal> {
    let params = Params::of(request)?;
    let value =
        params.raw("iocValue").ok_or_else(|| Refusal::unprocessable("iocValue is needed."))?;
    // The original knows no e-mail addresses here, and has nothing to say of what is no IOC.
    match detect(value) {
        Err(_) | Ok((Kind::Email, _)) => Ok(None),
        Ok(_) => Ok(app.intake.ioc_by_value(&program.0, value).await?),
    }
}

/// One IOC. 204 for one that is not known.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(("iocValue" = String, Query)),
    responses((status = 200, body = ThreatCommandIoc), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v3/iocs/ioc-by-value")]
pub(crate) async fn by_value_v3(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    Ok(match by_value(&request, &app, &program).await? {
        Some(walked) => HttpResponse::Ok().json(ThreatCommandIoc::from(walked)),
        None => HttpResponse::NoContent().finish(),
    })
}

/// One IOC as the older version writes it.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(("iocValue" = String, Query)),
    responses((status = 200, body = Object), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/iocs/ioc-by-value")]
pub(crate) async fn by_value_v2(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    let Some(walked) = by_value(&request, &app, &program).await? else {
        return Ok(HttpResponse::NoContent().finish());
    };
    let (sources, system_tags) = (sources(&walked), list(&walked.ioc.enrichment.system_tags));
    let ioc = ThreatCommandIoc::from(walked);
    Ok(HttpResponse::Ok().json(json!({
        "Value": ioc.value, "Type": ioc.kind, "Score": ioc.score, "Severity": ioc.severity, "Status": ioc.status, "Whitelist": ioc.whitelisted,
        "FirstSeen": ioc.first_seen, "LastSeen": ioc.last_seen, "LastUpdate": ioc.last_update_date, "Sources": sources, "SystemTags": system_tags,
        "Tags": ioc.tags, "RelatedMalware": ioc.related_malware, "RelatedCampaigns": ioc.related_campaigns, "RelatedThreatActors": ioc.related_threat_actors,
    })))
}
