//! Alerts, as far as they feed devices: listed, read, made, closed, rated, assigned, tagged, and
//! their IOCs blocked.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, patch, put, web};
use iocast_app::{AlertChange, AlertFilter, AlertQuery, App, AppError, IocEdit, NewAlert};
use iocast_domain::{
    alert::{Alert, AlertKind, AlertSource, AlertText, CloseReason, Closing},
    id::{AlertId, UserId},
    ioc::Severity,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Answer, Json, Params, Program, Refusal, capital, iso, type_word};

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

    /// A time as milliseconds since 1970, as older clients send it, or as ISO 8601.
    fn moment(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        match self.one(name).and_then(|text| text.parse::<i64>().ok()) {
            Some(millis) => Ok(Some(Timestamp::from_micros(millis.saturating_mul(1_000)))),
            None => self.time(name),
        }
    }
}

/// What the parameters of a list ask for; none where they ask for what no alert has here.
fn wanted(params: &Params) -> Result<Option<AlertQuery>, Refusal> {
    let filter = AlertFilter {
        kinds: params.words_as::<AlertKind>("alertType", TYPES)?,
        severities: params.words_as::<Severity>("severity", SEVERITIES)?,
        closed: params.flag("isClosed")?,
        found: (params.moment("foundDateFrom")?, params.moment("foundDateTo")?),
        updated: (params.moment("lastUpdatedFrom")?, params.moment("lastUpdatedTo")?),
    };
    // No alert is flagged here, none has assets of a company, and none is taken down.
    if params.flag("isFlagged")? == Some(true)
        || params.one("matchedAssetValue").is_some()
        || params.one("remediationStatus").is_some()
    {
        return Ok(None);
    }
    Ok(Some(AlertQuery {
        filter,
        source_types: params.words("sourceType"),
        networks: params.words("networkType"),
        published: (params.moment("sourceDateFrom")?, params.moment("sourceDateTo")?),
        assigned: params.flag("assigned")?,
        has_iocs: params.flag("hasIoc")?,
        after: None,
        limit: PAGE.0,
    }))
}

async fn ids(request: &HttpRequest, app: &App, program: &Program) -> Answer {
    let mut ids: Vec<String> = Vec::new();
    if let Some(mut query) = wanted(&Params::of(request)?)? {
        // A page at a time: of all that are found only their ids are kept.
        loop {
            let page = app.alert_list(&program.0, &query).await?;
            ids.extend(page.iter().map(|alert| alert.id.as_str().to_owned()));
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
    Ok(HttpResponse::Ok().json(ids))
}

/// The ids of alerts, oldest change first. 204 for none.
#[utoipa::path(
    tag = "Threat Command: alerts",
    params(
        ("alertType" = Option<String>, Query, description = "Repeated, indexed or behind commas"), ("severity" = Option<String>, Query),
        ("sourceType" = Option<String>, Query), ("networkType" = Option<String>, Query),
        ("foundDateFrom" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601"), ("foundDateTo" = Option<String>, Query),
        ("sourceDateFrom" = Option<String>, Query), ("sourceDateTo" = Option<String>, Query),
        ("assigned" = Option<bool>, Query), ("isFlagged" = Option<bool>, Query), ("isClosed" = Option<bool>, Query), ("hasIoc" = Option<bool>, Query)
    ),
    responses((status = 200, body = Vec<String>), (status = 204), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/data/alerts/alerts-list")]
pub(crate) async fn list_v1(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    ids(&request, &app, &program).await
}

/// The same.
#[utoipa::path(
    tag = "Threat Command: alerts",
    params(("alertType" = Option<String>, Query), ("severity" = Option<String>, Query), ("isClosed" = Option<bool>, Query), ("hasIoc" = Option<bool>, Query)),
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
    params(
        ("lastUpdatedFrom" = Option<String>, Query), ("lastUpdatedTo" = Option<String>, Query), ("alertType" = Option<String>, Query),
        ("severity" = Option<String>, Query), ("isClosed" = Option<bool>, Query), ("hasIoc" = Option<bool>, Query),
        ("limit" = Option<u64>, Query, description = "1 to 1000; 50 unless given"), ("offset" = Option<String>, Query, description = "nextOffset of the page before")
    ),
    responses((status = 200, body = UpdatesOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/data/alerts/update-alerts")]
pub(crate) async fn updated(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    let params = Params::of(&request)?;
    let limit = match params.one("limit") {
        None => PAGE.1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=PAGE.0).contains(n))
            .ok_or_else(|| Refusal::unprocessable("limit is 1 to 1000."))?,
    };
    let place = |text: &str| {
        text.split_once("::")
            .and_then(|(at, id)| Some((Timestamp::parse(at).ok()?, id.parse().ok()?)))
    };
    let after = params
        .one("offset")
        .map(|text| {
            place(text).ok_or_else(|| {
                Refusal::unprocessable("offset is the nextOffset of the page before.")
            })
        })
        .transpose()?;
    let mut found = match wanted(&params)? {
        Some(query) => {
            app.alert_list(&program.0, &AlertQuery { after, limit: limit + 1, ..query }).await?
        }
        None => Vec::new(),
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next_offset =
        found.last().filter(|_| more).map(|last| format!("{}::{}", last.updated_at, last.id));
    let content = found
        .into_iter()
        .map(|alert| UpdatedOut { id: alert.id.to_string(), updated_at: iso(alert.updated_at) })
        .collect();
    Ok(HttpResponse::Ok().json(UpdatesOut { content, next_offset }))
}

/// An alert in the original's words.
fn complete(alert: Alert) -> Value {
    let Alert { id, kind, severity, found_at, received_at: _, updated_at, text } = alert;
    let AlertText { title, description, sub_type, source, tags, assignees, closing, iocs } = text;
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
            "Source": { "Type": source.kind, "URL": source.url, "Email": "", "NetworkType": source.network, "Date": source.date.map(iso) },
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
    Ok(HttpResponse::Ok().json(complete(app.alert_fetch(&program.0, &id_of(&id)?).await?)))
}

/// Where an alert was found.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AlertSourceIn {
    #[serde(rename = "Type")]
    kind: String,
    /// `ClearWeb` or `DarkWeb`.
    network_type: String,
    #[serde(rename = "URL")]
    url: Option<String>,
    /// ISO 8601, or empty.
    date: Option<String>,
}

/// What an alert says.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AlertDetailsIn {
    title: String,
    #[serde(default)]
    description: String,
    /// `AttackIndication`, `DataLeakage`, `Phishing`, `BrandSecurity`, `ExploitableData` or `vip`.
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(default)]
    sub_type: String,
    /// `High`, `Medium` or `Low`.
    severity: String,
    #[serde(default)]
    source: AlertSourceIn,
    /// IOCs that came up in it, by value.
    #[serde(default)]
    related_iocs: Vec<String>,
    #[serde(default)]
    #[schema(ignore)]
    images: Vec<Value>,
}

/// An alert to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AlertIn {
    /// ISO 8601; now unless given.
    found_date: Option<String>,
    details: AlertDetailsIn,
    /// IOCs that came up in it, by value; the same as in the details, where the original shows them
    /// too.
    #[serde(default)]
    related_iocs: Vec<String>,
}

fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, Refusal> {
    let read = |text: String| {
        Timestamp::parse(&text)
            .map_err(|message| Refusal::unprocessable(format!("{name}: {message}")))
    };
    text.filter(|text| !text.is_empty()).map(read).transpose()
}

/// Makes an alert; answers its id as text.
#[utoipa::path(tag = "Threat Command: alerts", request_body = AlertIn, responses((status = 200, body = String, content_type = "text/plain"), (status = 401), (status = 422), (status = 501)), security(("basic" = [])))]
#[put("/v1/data/alerts/add-alert")]
pub(crate) async fn add(app: web::Data<App>, program: Program, body: Json<AlertIn>) -> Answer {
    let AlertIn { found_date, details, mut related_iocs } = body.0;
    let AlertDetailsIn {
        title,
        description,
        kind,
        sub_type,
        severity,
        source,
        related_iocs: more,
        images,
    } = details;
    if !images.is_empty() {
        return Err(Refusal::text(
            StatusCode::NOT_IMPLEMENTED,
            "iocast keeps no screenshots: leave Images out.",
        ));
    }
    related_iocs.extend(more);
    let kind = kind.as_deref().and_then(word).ok_or_else(|| {
        Refusal::unprocessable(format!("Type is one of {TYPES}; scenarios are not known here."))
    })?;
    let severity = severity
        .parse()
        .map_err(|_none| Refusal::unprocessable(format!("Severity is one of {SEVERITIES}.")))?;
    let AlertSourceIn { kind: source_kind, network_type, url, date } = source;
    let source = AlertSource {
        kind: source_kind,
        network: network_type,
        url: url.unwrap_or_default(),
        date: time("Source.Date", date)?,
    };
    let new = NewAlert {
        id: None,
        kind,
        severity,
        found_at: time("FoundDate", found_date)?,
        title,
        description,
        sub_type,
        source,
        iocs: related_iocs,
    };
    let id = app.into_inner().alert_add(&program.0, new).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(id.to_string()))
}

async fn change(
    app: &App,
    program: &Program,
    id: &str,
    change: AlertChange,
) -> Result<bool, Refusal> {
    Ok(app.alert_change(&program.0, &id_of(id)?, change).await?)
}

/// The answer to a change.
async fn changed(app: &App, program: &Program, id: &str, to: AlertChange) -> Answer {
    change(app, program, id, to).await?;
    Ok(HttpResponse::Ok().finish())
}

/// How an alert is closed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CloseIn {
    reason: String,
    #[serde(default)]
    free_text: Option<String>,
    /// Only where the reason is `FalsePositive`.
    #[serde(default)]
    is_hidden: bool,
    /// 0 to 5.
    #[serde(default)]
    rate: Option<u8>,
}

/// Closes an alert; what was sent for it stays where it is.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), request_body = CloseIn, responses((status = 200), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[patch("/v1/data/alerts/close-alert/{id}")]
pub(crate) async fn close(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<CloseIn>,
) -> Answer {
    let CloseIn { reason, free_text, is_hidden: hidden, rate } = body.0;
    let reason: CloseReason = word(&reason)
        .ok_or_else(|| Refusal::unprocessable(format!("Reason is one of {REASONS}.")))?;
    if hidden && reason != CloseReason::FalsePositive {
        return Err(Refusal::unprocessable("IsHidden goes only with the reason FalsePositive."));
    }
    if rate.is_some_and(|rate| rate > 5) {
        return Err(Refusal::unprocessable("Rate is 0 to 5."));
    }
    changed(
        &app,
        &program,
        &id,
        AlertChange::Close(Closing { reason, text: free_text.unwrap_or_default(), hidden, rate }),
    )
    .await
}

/// Opens an alert again.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), responses((status = 200), (status = 401), (status = 404)), security(("basic" = [])))]
#[patch("/v1/data/alerts/reopen-alert/{id}")]
pub(crate) async fn reopen(app: web::Data<App>, program: Program, id: web::Path<String>) -> Answer {
    changed(&app, &program, &id, AlertChange::Reopen).await
}

/// A severity.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AlertSeverityIn {
    /// `High`, `Medium` or `Low`.
    severity: String,
}

/// Says how bad an alert is; alert policies go by it.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), request_body = AlertSeverityIn, responses((status = 200), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[patch("/v1/data/alerts/change-severity/{id}")]
pub(crate) async fn set_severity(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<AlertSeverityIn>,
) -> Answer {
    let severity = body
        .0
        .severity
        .parse()
        .map_err(|_none| Refusal::unprocessable(format!("Severity is one of {SEVERITIES}.")))?;
    changed(&app, &program, &id, AlertChange::Severity(severity)).await
}

/// A person of the account.
#[derive(Deserialize, ToSchema)]
pub(crate) struct AssigneeIn {
    /// `_id` of users-details.
    #[serde(rename = "AssigneeID")]
    assignee_id: String,
}

/// Has a person look after an alert. `InvalidAssigneeID` where there is no such person.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), request_body = AssigneeIn, responses((status = 200), (status = 400), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[patch("/v1/data/alerts/assign-alert/{id}")]
pub(crate) async fn assign(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<AssigneeIn>,
) -> Answer {
    let nobody = || Refusal::text(StatusCode::BAD_REQUEST, "InvalidAssigneeID");
    let user = body.0.assignee_id.parse().map(UserId).map_err(|_none| nobody())?;
    match app.alert_change(&program.0, &id_of(&id)?, AlertChange::Assign(user)).await {
        Err(AppError::NotFound("user")) => Err(nobody()),
        done => done.map(|_| HttpResponse::Ok().finish()).map_err(Into::into),
    }
}

/// Nobody looks after an alert any more.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), responses((status = 200), (status = 401), (status = 404)), security(("basic" = [])))]
#[patch("/v1/data/alerts/unassign-alert/{id}")]
pub(crate) async fn unassign(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
) -> Answer {
    changed(&app, &program, &id, AlertChange::Unassign).await
}

/// A tag.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagNameIn {
    tag_name: String,
}

/// Tags an alert. `TagExist` where it carries the tag.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), request_body = TagNameIn, responses((status = 200), (status = 400), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[patch("/v1/data/alerts/add-tag/{id}")]
pub(crate) async fn add_tag(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<TagNameIn>,
) -> Answer {
    match change(&app, &program, &id, AlertChange::Tag(body.0.tag_name)).await? {
        true => Ok(HttpResponse::Ok().finish()),
        false => Err(Refusal::text(StatusCode::BAD_REQUEST, "TagExist")),
    }
}

/// The id of a tag.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TagIdIn {
    #[serde(rename = "TagID")]
    tag_id: String,
}

/// Takes a tag from an alert. `InvalidTagID` where it does not carry it.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), request_body = TagIdIn, responses((status = 200), (status = 400), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[patch("/v1/data/alerts/remove-tag/{id}")]
pub(crate) async fn remove_tag(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<TagIdIn>,
) -> Answer {
    let none = || Refusal::text(StatusCode::BAD_REQUEST, "InvalidTagID");
    let tag = body.0.tag_id.parse().map_err(|_none| none())?;
    match change(&app, &program, &id, AlertChange::Untag(tag)).await? {
        true => Ok(HttpResponse::Ok().finish()),
        false => Err(none()),
    }
}

/// Whether an IOC is on the remediation blocklist.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BlockedOut {
    #[serde(rename = "Type")]
    kind: &'static str,
    value: String,
    /// `Sent` or `NotSent`.
    status: &'static str,
}

/// The IOCs of an alert, and whether each is on the remediation blocklist.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), responses((status = 200, body = Vec<BlockedOut>), (status = 401), (status = 404)), security(("basic" = [])))]
#[get("/v1/data/alerts/blocklist-status/{id}")]
pub(crate) async fn blocked(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
) -> Answer {
    let iocs = app.alert_blocklist(&program.0, &id_of(&id)?).await?;
    let one = |(kind, value, on)| BlockedOut {
        kind: type_word(kind),
        value,
        status: if on { "Sent" } else { "NotSent" },
    };
    Ok(HttpResponse::Ok().json(iocs.into_iter().map(one).collect::<Vec<_>>()))
}

/// Whether an IOC shall be on the remediation blocklist.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BlockIn {
    value: String,
    /// `Sent` or `NotSent`.
    blocklist_status: String,
}

/// Which IOCs shall be on the remediation blocklist.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BlocksIn {
    iocs: Vec<BlockIn>,
}

/// Puts IOCs of an alert on the remediation blocklist, or takes them off; all or nothing.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), request_body = BlocksIn, responses((status = 200), (status = 400), (status = 401), (status = 404), (status = 422)), security(("basic" = [])))]
#[patch("/v1/data/alerts/change-iocs-blocklist-status/{id}")]
pub(crate) async fn block(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
    body: Json<BlocksIn>,
) -> Answer {
    app.alert_fetch(&program.0, &id_of(&id)?).await?;
    let mut all = Vec::with_capacity(body.0.iocs.len());
    for BlockIn { value, blocklist_status } in body.0.iocs {
        let on = match blocklist_status.replace(' ', "").to_lowercase().as_str() {
            "sent" => true,
            "notsent" => false,
            _ => return Err(Refusal::unprocessable("BlocklistStatus is Sent or NotSent.")),
        };
        all.push((value, IocEdit::Blocklist(on)));
    }
    if all.is_empty() {
        return Err(Refusal::unprocessable("Name at least one IOC."));
    }
    app.ioc_bulk_edit(&program.0, all).await?;
    Ok(HttpResponse::Ok().finish())
}
