//! IOCs: walked through, looked up by value, exported, enriched.

use actix_web::{HttpRequest, HttpResponse, get, web};
use iocast_app::{App, IocQuery, WalkQuery, Walked};
use std::sync::Arc;

use iocast_domain::{
    id::SourceId,
    ioc::{Kind, Severity, State, Whitelist},
    normalise::detect,
    rule::EnabledSources,
    score::score,
    source::Source,
    time::Timestamp,
};
use serde::Serialize;
use serde_json::{Number, json};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Params, Program, Refusal, capital, iso, kinds_of, type_word};

mod first;
use self::first::sources;
pub(super) use self::first::{all, known_of, value_of};
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
/// Which IOCs. Lists of words are repeated (`type=Domains&type=Urls`), indexed (`type[0]=Domains`) or
/// behind commas.
/// A parameter that is not known is refused.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the parameters; Params reads them")]
pub(crate) struct IocFilters {
    /// `IpAddresses`, `Urls`, `Domains`, `Hashes` or `Emails`.
    #[param(rename = "type")]
    kind: Option<Vec<String>>,
    /// `High`, `Medium`, `Low` or `PendingEnrichment`, which none is here.
    severity: Option<Vec<String>>,
    /// `Active` or `Retired`.
    status: Option<Vec<String>>,
    /// Reported by one of these.
    source_ids: Option<Vec<String>>,
    /// The same.
    source_id: Option<String>,
    /// Whether a person set it to never sent.
    whitelisted: Option<bool>,
    /// ISO 8601, or milliseconds since 1970.
    first_seen_from: Option<String>,
    /// As above.
    first_seen_to: Option<String>,
    /// As above.
    last_seen_from: Option<String>,
    /// As above.
    last_seen_to: Option<String>,
    /// As above.
    last_updated_to: Option<String>,
    /// No IOC has one here: none is found.
    kill_chain_phases: Option<Vec<String>>,
    /// No IOC has one here: none is found.
    enterprise_tactics: Option<Vec<String>>,
    /// No IOC has one here: none is found.
    geolocation: Option<Vec<String>>,
    /// No IOC has one here: none is found.
    sub_type: Option<Vec<String>>,
    /// Of the app that asks; changes nothing.
    sync_id: Option<String>,
}

/// The part of a list of IOCs.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the parameters; Params reads them")]
pub(crate) struct IocPart {
    /// ISO 8601; of this time or later, within the last six months.
    last_updated_from: String,
    /// IOCs at most: 1 to 1000, 1000 unless given.
    limit: Option<u64>,
    /// `nextOffset` of the page before.
    offset: Option<String>,
}

/// IOCs on a page at most, and unless given.
pub(super) const PAGE: u64 = 1_000;

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
    /// 0 to 100: what its sources say, or else iocast's own.
    #[schema(value_type = f64)]
    score: Number,
    first_seen: String,
    last_seen: String,
    last_update_date: String,
    /// The country of an address: of those only, and not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    geolocation: Option<&'static str>,
    whitelisted: bool,
    tags: Vec<String>,
    related_malware: Vec<String>,
    related_campaigns: Vec<String>,
    related_threat_actors: Vec<String>,
    reported_feeds: Vec<FeedOut>,
}

/// A score as a number: 85 and not 85.0, which clients with strict types refuse.
fn shown(score: f64) -> Number {
    #[expect(clippy::cast_possible_truncation, reason = "0 to 100")]
    let whole = || Number::from(score as i64);
    if score.fract() == 0.0 { whole() } else { Number::from_f64(score).unwrap_or_else(whole) }
}

fn list(of: &std::collections::BTreeSet<String>) -> Vec<String> {
    of.iter().cloned().collect()
}

impl ThreatCommandIoc {
    /// An IOC as it is now.
    fn of(walked: Walked, now: Timestamp) -> Self {
        let Walked { ioc, updated_at, feeds } = walked;
        let enabled: EnabledSources = feeds.iter().map(|(source, _)| source.id).collect();
        let own = f64::from(score(&ioc, &enabled, now));
        let severity = capital(ioc.severity().word());
        let enrichment = ioc.enrichment;
        Self {
            value: ioc.value,
            kind: type_word(ioc.kind),
            status: capital(ioc.state.word()),
            severity,
            score: shown(enrichment.score.unwrap_or(own)),
            first_seen: iso(ioc.first_seen),
            last_seen: iso(ioc.last_seen),
            last_update_date: iso(updated_at),
            geolocation: matches!(ioc.kind, Kind::Ipv4 | Kind::Ipv6).then_some(""),
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

/// Which IOCs the parameters of a list ask for. None where they ask for what no IOC has.
fn filter(params: &Params) -> Result<Option<IocQuery>, Refusal> {
    params.check(FILTERS)?;
    let kinds = params.read("type", kinds_of, "IpAddresses, Urls, Domains, Hashes, Emails")?;
    let pending = |text: &str| text.eq_ignore_ascii_case("PendingEnrichment");
    let severities = params.read(
        "severity",
        |text| if pending(text) { Some(None) } else { text.parse::<Severity>().ok().map(Some) },
        "High, Medium, Low, PendingEnrichment",
    )?;
    let states = params.read("status", |text| text.parse::<State>().ok(), "Active, Retired")?;
    let source = |text: &str| text.parse().ok().map(SourceId);
    let mut sources = params.read("sourceIds", source, "the ids of sources")?;
    sources.extend(params.read("sourceId", source, "the ids of sources")?);
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
    if params.one("lastUpdatedFrom").is_none() {
        return Err(Refusal::unprocessable(
            "lastUpdatedFrom is needed: a time such as 2026-11-01T00:00:00.000Z.",
        ));
    }
    walk(params)
}

/// The same; of all that is served unless it says from when.
fn walk(params: &Params) -> Result<Option<WalkQuery>, Refusal> {
    let updated_from = params.time("lastUpdatedFrom")?;
    let limit = match params.one("limit") {
        None => PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=PAGE).contains(n))
            .ok_or_else(|| Refusal::unprocessable("limit is 1 to 1000."))?,
    };
    let Some(filter) = filter(params)? else { return Ok(None) };
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
    let now = app.context.now();
    Ok(HttpResponse::Ok().json(IocsOut {
        content: page.iocs.into_iter().map(|of| ThreatCommandIoc::of(of, now)).collect(),
        next_offset: page.next,
    }))
}

/// The IOCs in order of their last change.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(IocPart, IocFilters),
    responses((status = 200, body = IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v3/iocs")]
pub(crate) async fn list_v3(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    page(&request, &app, &program).await
}

/// The same in its older version.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(IocPart, IocFilters),
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
        Some(walked) => HttpResponse::Ok().json(ThreatCommandIoc::of(walked, app.context.now())),
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
    let ioc = ThreatCommandIoc::of(walked, app.context.now());
    Ok(HttpResponse::Ok().json(json!({
        "Value": ioc.value, "Type": ioc.kind, "Score": ioc.score, "Severity": ioc.severity, "Status": ioc.status, "Whitelist": ioc.whitelisted,
        "FirstSeen": ioc.first_seen, "LastSeen": ioc.last_seen, "LastUpdate": ioc.last_update_date, "Sources": sources, "SystemTags": system_tags,
        "Tags": ioc.tags, "RelatedMalware": ioc.related_malware, "RelatedCampaigns": ioc.related_campaigns, "RelatedThreatActors": ioc.related_threat_actors,
    })))
}
