//! Alerts, as far as they feed devices: listed, read, made, closed, rated, assigned, tagged, and
//! their IOCs blocked.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, web};
use iocast_app::{AlertFilter, AlertQuery, App};
use iocast_domain::{
    alert::{Alert, AlertKind, AlertText, Closing},
    id::AlertId,
    ioc::Severity,
    time::Timestamp,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Params, Program, Refusal, capital, iso};

mod change;
mod types;
pub(crate) use self::change::{
    add, add_tag, assign, block, blocked, close, remove_tag, reopen, set_severity, unassign,
};
pub(super) use self::types::subtypes;

/// What a list may be asked for.
const FILTERS: &[&str] = &[
    "alertType",
    "severity",
    "sourceType",
    "networkType",
    "foundDateFrom",
    "foundDateTo",
    "sourceDateFrom",
    "sourceDateTo",
    "lastUpdatedFrom",
    "lastUpdatedTo",
    "assigned",
    "isFlagged",
    "isClosed",
    "hasIoc",
    "tags",
    "matchedAssetValue",
    "remediationStatus",
    "enterpriseTactics",
    "geolocation",
    "assetTags",
];
/// Which alerts. Lists of words are repeated, indexed or behind commas. A parameter that is not known
/// is refused.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes the parameters; Params reads them")]
pub(crate) struct AlertFilters {
    /// `AttackIndication`, `DataLeakage`, `Phishing`, `BrandSecurity`, `ExploitableData` or `vip`.
    alert_type: Option<Vec<String>>,
    /// `High`, `Medium` or `Low`.
    severity: Option<Vec<String>>,
    /// Such as `Paste Site`.
    source_type: Option<Vec<String>>,
    /// `ClearWeb` or `DarkWeb`.
    network_type: Option<Vec<String>>,
    /// Milliseconds since 1970, or ISO 8601.
    found_date_from: Option<String>,
    /// As above.
    found_date_to: Option<String>,
    /// As above.
    source_date_from: Option<String>,
    /// As above.
    source_date_to: Option<String>,
    /// As above.
    last_updated_from: Option<String>,
    /// As above.
    last_updated_to: Option<String>,
    /// Whether a person looks after it.
    assigned: Option<bool>,
    /// None is flagged here.
    is_flagged: Option<bool>,
    /// Whether it is closed.
    is_closed: Option<bool>,
    /// Whether it has IOCs.
    has_ioc: Option<bool>,
    /// With one of these tags.
    tags: Option<Vec<String>>,
    /// No alert has one here: none is found.
    matched_asset_value: Option<Vec<String>>,
    /// No alert has one here: none is found.
    remediation_status: Option<Vec<String>>,
    /// No alert has one here: none is found.
    enterprise_tactics: Option<Vec<String>>,
    /// No alert has one here: none is found.
    geolocation: Option<Vec<String>>,
    /// No alert has one here: none is found.
    asset_tags: Option<Vec<String>>,
    /// Of the app that asks; changes nothing.
    sync_id: Option<String>,
}

/// What an alert is called that says nothing of itself.
const OTHER: &str = "Other";
/// Alerts on a page of the list with offset, at most and unless given.
const PAGE: (usize, usize) = (1_000, 50);
const TYPES: &str = "AttackIndication, DataLeakage, Phishing, BrandSecurity, ExploitableData, vip";
const SEVERITIES: &str = "High, Medium, Low";
const REASONS: &str = "ProblemSolved, InformationalOnly, ProblemWeAreAlreadyAwareOf, CompanyOwnedDomain, LegitimateApplication/Profile, \
                       NotRelatedToMyCompany, FalsePositive, Other";

/// A word of the original, with or without the blanks that people write into it.
fn word<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.replace(' ', "").parse().ok()
}

fn unknown() -> Refusal {
    Refusal::text(StatusCode::NOT_FOUND, "AlertDoesNotExist")
}

fn id_of(text: &str) -> Result<AlertId, Refusal> {
    text.parse().map_err(|_none| unknown())
}

impl Params {
    /// A list of words: repeated, indexed or behind commas.
    fn words(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn words_as<T: std::str::FromStr>(&self, name: &str, allowed: &str) -> Result<Vec<T>, Refusal> {
        self.words(name)
            .iter()
            .map(|text| {
                word(text)
                    .ok_or_else(|| Refusal::unprocessable(format!("{name} is one of {allowed}.")))
            })
            .collect()
    }
}

/// What the parameters of a list ask for; none where they ask for what no alert has here.
fn wanted(params: &Params) -> Result<Option<AlertQuery>, Refusal> {
    params.check(FILTERS)?;
    let filter = AlertFilter {
        kinds: params.words_as::<AlertKind>("alertType", TYPES)?,
        severities: params.words_as::<Severity>("severity", SEVERITIES)?,
        closed: params.flag("isClosed")?,
        found: (params.time("foundDateFrom")?, params.time("foundDateTo")?),
        updated: (params.time("lastUpdatedFrom")?, params.time("lastUpdatedTo")?),
    };
    // No alert is flagged here, none has assets of a company, and none is taken down.
    let none_has =
        ["matchedAssetValue", "remediationStatus", "enterpriseTactics", "geolocation", "assetTags"];
    if params.flag("isFlagged")? == Some(true) || params.asks_for_nothing(&none_has) {
        return Ok(None);
    }
    Ok(Some(AlertQuery {
        filter,
        tags: params.words("tags"),
        source_types: params.words("sourceType"),
        networks: params.words("networkType"),
        published: (params.time("sourceDateFrom")?, params.time("sourceDateTo")?),
        assigned: params.flag("assigned")?,
        has_iocs: params.flag("hasIoc")?,
        after: None,
        limit: PAGE.0,
    }))
}

pub(super) async fn ids(request: &HttpRequest, app: &App, program: &Program) -> Answer {
    let mut ids: Vec<String> = Vec::new();
    let params = Params::of(request)?;
    // A client that asks by the day found goes on from the last one that it was given.
    let by_day = params.one("foundDateFrom").is_some();
    let mut days = Vec::new();
    if let Some(mut query) = wanted(&params)? {
        // A page at a time: of all that are found only their ids are kept.
        loop {
            let page = app.intake.alert_list(&program.0, &query).await?;
            ids.extend(page.iter().map(|alert| alert.id.as_str().to_owned()));
            days.extend(page.iter().map(|alert| alert.found_at));
            match page.last() {
                Some(last) if page.len() == query.limit => {
                    query.after = Some((last.updated_at, last.id.clone()));
                }
                _ => break,
            }
        }
    }
    if ids.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    if by_day {
        let mut found: Vec<_> = days.into_iter().zip(ids).collect();
        found.sort();
        ids = found.into_iter().map(|(_, id)| id).collect();
    }
    Ok(HttpResponse::Ok().json(ids))
}

/// The ids of alerts, oldest change first. 204 for none.
#[utoipa::path(
    tag = "Threat Command: alerts",
    params(AlertFilters),
    responses((status = 200, body = Vec<String>), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/data/alerts/alerts-list")]
pub(crate) async fn list_v1(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    ids(&request, &app, &program).await
}

/// The same.
#[utoipa::path(
    tag = "Threat Command: alerts",
    params(AlertFilters),
    responses((status = 200, body = Vec<String>), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/data/alerts/alerts-list")]
pub(crate) async fn list_v2(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    ids(&request, &app, &program).await
}

/// An alert that changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct UpdatedOut {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "updateDate")]
    updated_at: String,
}

/// A page of alerts that changed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdatesOut {
    content: Vec<UpdatedOut>,
    /// To be sent as `offset` for the next page; null at the end.
    next_offset: Option<String>,
}

/// Alerts in order of their last change, page by page.
#[utoipa::path(
    tag = "Threat Command: alerts",
    params(AlertFilters, ("limit" = Option<u64>, Query, description = "1 to 1000; 50 unless given"), ("offset" = Option<String>, Query, description = "nextOffset of the page before")),
    responses((status = 200, body = UpdatesOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/data/alerts/update-alerts")]
pub(crate) async fn updated(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(updates(&request, &app, &program, PAGE.0).await?))
}

/// A page of alerts in order of their last change.
pub(super) async fn updates(
    request: &HttpRequest,
    app: &App,
    program: &Program,
    most: usize,
) -> Result<UpdatesOut, Refusal> {
    let params = Params::of(request)?;
    let limit = match params.one("limit") {
        None => PAGE.1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(|| Refusal::unprocessable(format!("limit is 1 to {most}.")))?,
    };
    // A number of entries is the beginning, or nothing that anybody was given.
    let offset = params.one("offset").filter(|text| *text != "0");
    let place = |text: &str| {
        text.split_once("::")
            .and_then(|(at, id)| Some((Timestamp::parse(at).ok()?, id.parse().ok()?)))
    };
    let after = offset
        .map(|text| {
            place(text).ok_or_else(|| {
                Refusal::unprocessable("offset is the nextOffset of the page before.")
            })
        })
        .transpose()?;
    let mut found = match wanted(&params)? {
        Some(query) => {
            app.intake
                .alert_list(&program.0, &AlertQuery { after, limit: limit + 1, ..query })
                .await?
        }
        None => Vec::new(),
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next_offset =
        found.last().filter(|_| more).map(|last| format!("{}::{}", iso(last.updated_at), last.id));
    let content = found
        .into_iter()
        .map(|alert| UpdatedOut { id: alert.id.to_string(), updated_at: iso(alert.updated_at) })
        .collect();
    Ok(UpdatesOut { content, next_offset })
}

/// An alert in the original's words.
fn complete(alert: Alert) -> Value {
    let Alert { id, kind, severity, found_at, received_at: _, updated_at, text } = alert;
    let AlertText { title, description, sub_type, source, tags, assignees, closing, iocs } = text;
    // Clients take these two for filled.
    let known = |text: String| if text.is_empty() { OTHER.to_owned() } else { text };
    let (sub_type, source_kind) = (known(sub_type), known(source.kind));
    let mut source = json!({
        "Type": source_kind, "URL": source.url, "Email": "", "NetworkType": source.network, "Date": source.date.map(iso),
    });
    if let Value::Object(of) = &mut source {
        of.retain(|_, value| !value.is_null());
    }
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|t| json!({ "_id": t.id, "Name": t.name, "CreatedBy": t.by }))
        .collect();
    let closed = match &closing {
        None => json!({ "IsClosed": false }),
        Some(Closing { reason, text, hidden: _, rate }) => {
            json!({ "IsClosed": true, "Reason": reason, "FreeText": text, "Rate": rate })
        }
    };
    json!({
        "_id": id,
        "Assets": [],
        "Assignees": assignees,
        "Details": {
            "Type": kind, "SubType": sub_type, "Title": title, "Description": description, "Severity": capital(severity.word()), "Images": [],
            "Source": source,
            "Tags": tags,
        },
        "FoundDate": iso(found_at),
        "UpdateDate": iso(updated_at),
        "TakedownStatus": "NotSent",
        "IsFlagged": false,
        "IsHidden": closing.is_some_and(|c| c.hidden),
        "Closed": closed,
        "RelatedIocs": iocs.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
        "RelatedThreatIDs": [],
    })
}

/// Everything about an alert.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 401), (status = 404)), security(("basic" = [])))]
#[get("/v1/data/alerts/get-complete-alert/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, program: Program, id: web::Path<String>) -> Answer {
    one(&app, &program, &id).await
}

pub(super) async fn one(app: &App, program: &Program, id: &str) -> Answer {
    Ok(HttpResponse::Ok().json(whole(app, program, id).await?))
}

/// All of an alert.
pub(super) async fn whole(app: &App, program: &Program, id: &str) -> Result<Value, Refusal> {
    Ok(complete(app.intake.alert_fetch(&program.0, &id_of(id)?).await?))
}
