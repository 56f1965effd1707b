//! The first version of the API, CSV, enrichment and rescans.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, post, web};
use iocast_app::{App, WalkQuery, Walked};
use iocast_domain::{
    id::{AccountId, SourceId},
    ioc::Kind,
    normalise::detect,
    time::Timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    super::{Answer, Params, Program, Refusal, type_word},
    IocFilters, PAGE, ThreatCommandIoc, by_value, filter, list, walk,
};

/// An IOC as version 1 wrote it: one source, the severity nested.
fn first_version(account: &AccountId, walked: Walked, now: Timestamp) -> Value {
    let (id, domain) =
        (walked.ioc.id, matches!(walked.ioc.kind, Kind::Domain).then(|| walked.ioc.value.clone()));
    let (source_id, source_name, confidence) = surest(&walked, &[]);
    let ioc = ThreatCommandIoc::of(walked, now);
    json!({
        "_id": id, "AccountID": account, "SourceID": source_id, "Source": { "Name": source_name, "Confidence": confidence },
        "Type": ioc.kind, "Value": ioc.value, "Domain": domain, "Status": ioc.status, "Severity": { "Value": ioc.severity, "Score": ioc.score },
        "FirstSeen": ioc.first_seen, "LastSeen": ioc.last_seen, "Flags": { "IsInAlexa": false }, "Enrichment": { "Status": "Done", "Data": {} },
    })
}

/// The source that is surest, of those that were asked for where it is one of them: id, name and
/// confidence.
fn surest(walked: &Walked, asked: &[SourceId]) -> (String, String, u8) {
    let source =
        walked.feeds.iter().max_by_key(|(source, level)| (asked.contains(&source.id), *level));
    source.map_or_else(
        || ("none".to_owned(), "No active source".to_owned(), 1),
        |(source, level)| (source.id.to_string(), source.name.clone(), *level),
    )
}

/// One IOC as the first version writes it.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(("iocValue" = String, Query)),
    responses((status = 200, body = Object), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/iocs/ioc-by-value")]
pub(crate) async fn by_value_v1(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    Ok(match by_value(&request, &app, &program).await? {
        Some(walked) => {
            HttpResponse::Ok().json(first_version(&program.0.account_id, walked, app.context.now()))
        }
        None => HttpResponse::NoContent().finish(),
    })
}

/// All IOCs that fit, as the first version writes them. 204 for none; it has no pages, so that of
/// more than 10,000 none is given.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(IocFilters),
    responses((status = 200, body = Vec<Object>), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/iocs/complete-iocs-list")]
pub(crate) async fn list_v1(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    let found = all(&Params::of(&request)?, &app, &program).await?;
    if found.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    let now = app.context.now();
    let of = |walked| first_version(&program.0.account_id, walked, now);
    Ok(HttpResponse::Ok().json(found.into_iter().map(of).collect::<Vec<_>>()))
}

/// All IOCs that the parameters of a list without pages ask for.
pub(in super::super) async fn all(
    params: &Params,
    app: &App,
    program: &Program,
) -> Result<Vec<Walked>, Refusal> {
    const MOST: u64 = 10_000;
    let Some(filter) = filter(params)? else { return Ok(Vec::new()) };
    let query = WalkQuery { filter, limit: MOST, ..WalkQuery::default() };
    let found = app.intake.ioc_walk(&program.0, &query).await?;
    if found.next.is_some() {
        return Err(Refusal::unprocessable(
            "There are more than 10,000 such IOCs: ask for fewer, or walk through the pages of /public/v3/iocs.",
        ));
    }
    Ok(found.iocs)
}

pub(super) fn sources(walked: &Walked) -> Vec<Value> {
    walked
        .feeds
        .iter()
        .map(|(source, level)| json!({ "Name": source.name, "ConfidenceLevel": level }))
        .collect()
}

/// Clients read the first ten by their place; the others are ours.
const COLUMNS: [&str; 18] = [
    "ID",
    "Value",
    "Type",
    "First Seen",
    "Last Seen",
    "Severity",
    "Source ID",
    "Source Name",
    "Source Confidence",
    "Source Severity",
    "Status",
    "Score",
    "Last Update",
    "Whitelisted",
    "Tags",
    "Malware",
    "Campaigns",
    "Threat Actors",
];

/// Every IOC as a table, streamed.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(("lastUpdatedFrom" = Option<String>, Query, description = "Those that changed in the last six months unless given"), IocFilters, ("encloseValueWithQuotes" = Option<bool>, Query, description = "Every cell is quoted, whatever it says")),
    responses((status = 200, body = String, content_type = "text/csv"), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1-1/iocs/iocs-details-csv")]
pub(crate) async fn csv(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    let query = walk(&Params::of(&request)?)?;
    let first = query.map(|query| WalkQuery { limit: PAGE, ..query });
    Ok(crate::csv::streamed("iocs.csv", &COLUMNS, first, move |query| {
        let (app, actor) = (app.clone(), program.0.clone());
        async move {
            let page = app.intake.ioc_walk(&actor, &query).await?;
            let now = app.context.now();
            let lines = page
                .iocs
                .into_iter()
                .map(|walked| row(walked, &query.filter.sources, now))
                .collect();
            Ok((lines, page.next.map(|offset| WalkQuery { offset: Some(offset), ..query })))
        }
    }))
}

/// A line of the table, with the source that was asked for, or else the surest.
fn row(walked: Walked, asked: &[SourceId], now: Timestamp) -> String {
    let id = walked.ioc.id.to_string();
    let (first_seen, last_seen) = (walked.ioc.first_seen, walked.ioc.last_seen);
    let (source_id, source_name, confidence) = surest(&walked, asked);
    let ioc = ThreatCommandIoc::of(walked, now);
    crate::csv::line(&[
        id,
        ioc.value.clone(),
        ioc.kind.to_owned(),
        first_seen.written_out(),
        last_seen.written_out(),
        ioc.severity.clone(),
        source_id,
        source_name,
        confidence.to_string(),
        ioc.severity.clone(),
        ioc.status.clone(),
        ioc.score.to_string(),
        ioc.last_update_date.clone(),
        ioc.whitelisted.to_string(),
        ioc.tags.join(";"),
        ioc.related_malware.join(";"),
        ioc.related_campaigns.join(";"),
        ioc.related_threat_actors.join(";"),
    ])
}

/// What is known of a value. It counts for the day's quota.
#[utoipa::path(
    tag = "Threat Command: IOCs",
    params(("value" = String, Path)),
    responses((status = 200, body = Object), (status = 401)), security(("basic" = []))
)]
#[get("/v1/iocs/enrich/{value:.*}")]
pub(crate) async fn enrich(
    app: web::Data<App>,
    program: Program,
    request: HttpRequest,
    value: web::Path<String>,
) -> Answer {
    let value = value_of(&request, "/iocs/enrich/", value.into_inner());
    enriched(&app, &program, value).await
}

/// The value behind a path. Clients send URLs as they are, with their query: those are taken as
/// they were sent. Others are unescaped.
pub(in super::super) fn value_of(request: &HttpRequest, behind: &str, plain: String) -> String {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    match target.split_once(behind) {
        Some((_, value)) if value.contains("://") => value.to_owned(),
        _ => plain,
    }
}

/// What is known of a value, as the answer of the asynchronous call.
async fn enriched(app: &App, program: &Program, value: String) -> Answer {
    let known = known_of(app, program, &value).await?;
    Ok(HttpResponse::Ok().json(match known {
        Ok(data) => json!({ "OriginalValue": value, "Status": "Done", "Data": data }),
        Err((status, reason)) => {
            json!({ "OriginalValue": value, "Status": status, "FailedReason": reason })
        }
    }))
}

/// What is known of a value; else a status and why.
pub(in super::super) async fn known_of(
    app: &App,
    program: &Program,
    value: &str,
) -> Result<Result<Value, (&'static str, &'static str)>, Refusal> {
    let Ok((kind, normal)) = detect(value) else {
        return Ok(Err(("Invalid", "The value is no IOC.")));
    };
    let Some(_) = app.accounts.quota_take(&program.0).await? else {
        let reason = "The quota of the day is used up; see /public/v1/iocs/quota.";
        return Ok(Err(("QuotaExceeded", reason)));
    };
    let known = app.intake.ioc_by_value(&program.0, &normal).await?;
    let mut data = json!({
        "Value": normal, "Type": type_word(kind), "Sources": [], "SystemTags": [], "Tags": [], "Status": "Active", "IsKnownIoc": false,
        "RelatedMalwares": [], "RelatedThreatActors": [], "RelatedCampaigns": [], "FirstSeen": null, "LastSeen": null, "UpdateDate": null,
        "Whitelisted": false, "Severity": { "Value": "Low", "Score": null, "Origin": "system" },
        // Others look these up; iocast tells what it was told.
        "DnsRecords": [], "Resolutions": [], "Subdomains": [], "Antivirus": {},
        "AntivirusDetectedEngines": "0/0", "AntivirusTotalEngines": 0, "AntivirusDetections": [], "AntivirusDetectionRatio": "0%",
        "Whois": {
            "Current": {
                "RegistrationDetails": { "CreatedDate": null, "UpdatedDate": null, "ExpiresDate": null, "Statuses": [], "NameServers": [] },
                "Registrant": {}, "Administrative": {}, "Technical": {}, "Registrar": {},
            },
            "History": [],
        },
        "RelatedHashes": { "downloaded": [], "communicating": [], "referencing": [] },
    });
    let of_kind = match kind {
        // Clients drop an empty list and then look for it.
        Kind::Domain => {
            json!({ "DnsRecords": [{ "Type": "TXT", "Value": "iocast looks up no DNS records" }] })
        }
        Kind::Ipv4 | Kind::Ipv6 => json!({ "IpDetails": { "ASN": "", "Country": "" } }),
        Kind::Md5 => json!({ "RelatedHashes": [{ "Type": "MD5", "Value": normal }] }),
        Kind::Sha1 => json!({ "RelatedHashes": [{ "Type": "SHA1", "Value": normal }] }),
        Kind::Sha256 => json!({ "RelatedHashes": [{ "Type": "SHA256", "Value": normal }] }),
        Kind::Url | Kind::Email => json!({}),
    };
    if let (Value::Object(data), Value::Object(of_kind)) = (&mut data, of_kind) {
        data.extend(of_kind);
    }
    if let Some(walked) = known {
        let sources = sources(&walked);
        let system_tags = list(&walked.ioc.enrichment.system_tags);
        let origin = if walked.ioc.enrichment.user_severity.is_some() { "user" } else { "system" };
        let ioc = ThreatCommandIoc::of(walked, app.context.now());
        let more = json!({
            "Sources": sources, "SystemTags": system_tags, "Tags": ioc.tags, "Status": ioc.status, "IsKnownIoc": true, "RelatedMalwares": ioc.related_malware,
            "RelatedThreatActors": ioc.related_threat_actors, "RelatedCampaigns": ioc.related_campaigns, "FirstSeen": ioc.first_seen,
            "LastSeen": ioc.last_seen, "UpdateDate": ioc.last_update_date, "Whitelisted": ioc.whitelisted,
            "Severity": { "Value": ioc.severity, "Score": ioc.score, "Origin": origin },
        });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
    }
    Ok(Ok(data))
}

/// How much of the day's quota is left.
#[utoipa::path(tag = "Threat Command: IOCs", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/iocs/quota")]
pub(crate) async fn quota(app: web::Data<App>, program: Program) -> Answer {
    let quota = app.accounts.quota(&program.0).await?;
    Ok(HttpResponse::Ok().json(json!({ "EnrichIocsQuota": { "TimePeriod": app.context.now().day(), "Total": quota.total, "Remaining": quota.remaining } })))
}

/// An IOC to be looked at again.
#[derive(Deserialize, ToSchema)]
pub(crate) struct RescanIn {
    #[serde(rename = "IocValue")]
    ioc_value: String,
}

/// Asks for a value to be looked at again. There is nobody to ask: what is known is known at once.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = RescanIn, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/iocs/rescan")]
pub(crate) async fn rescan(program: Program, body: super::super::Json<RescanIn>) -> Answer {
    let (kind, value) = detect(&body.0.ioc_value).map_err(|_none| {
        Refusal::named(StatusCode::BAD_REQUEST, "InvalidIocValue", "The value is no IOC.")
    })?;
    let task = iocast_domain::ioc::ioc_id(&program.0.account_id, kind, &value);
    Ok(HttpResponse::Ok().json(json!({ "TaskId": task.to_string(), "Status": "Done" })))
}

/// What became of it.
#[utoipa::path(tag = "Threat Command: IOCs", params(("task" = uuid::Uuid, Path)), responses((status = 200, body = Object), (status = 401), (status = 404)), security(("basic" = [])))]
#[get("/v1/iocs/rescan/status/{task}")]
pub(crate) async fn rescan_status(_program: Program, task: web::Path<String>) -> Answer {
    let task: uuid::Uuid = task
        .parse()
        .map_err(|_none| Refusal::text(StatusCode::NOT_FOUND, "There is no such task."))?;
    Ok(HttpResponse::Ok().json(json!({ "TaskId": task.to_string(), "Status": "Done" })))
}
