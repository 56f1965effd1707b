//! Alerts are added and changed.

use actix_web::{HttpResponse, get, http::StatusCode, patch, put, web};
use iocast_app::{AlertChange, App, AppError, IocEdit, NewAlert};
use iocast_domain::{
    alert::{AlertKind, AlertSource, CloseReason, Closing},
    id::UserId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    super::{Answer, Json, Program, Refusal, lenient, type_word},
    OTHER, REASONS, SEVERITIES, TYPES, id_of, word,
};

/// Where an alert was found.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AlertSourceIn {
    #[serde(rename = "Type", deserialize_with = "lenient::null")]
    kind: String,
    /// `ClearWeb` or `DarkWeb`.
    #[serde(deserialize_with = "lenient::null")]
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
    #[serde(default, deserialize_with = "lenient::null")]
    description: String,
    /// `AttackIndication`, `DataLeakage`, `Phishing`, `BrandSecurity`, `ExploitableData` or `vip`.
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "lenient::null")]
    sub_type: String,
    /// `High`, `Medium` or `Low`.
    severity: String,
    #[serde(default, deserialize_with = "lenient::null")]
    source: AlertSourceIn,
    /// IOCs that came up in it, by value.
    #[serde(default, deserialize_with = "lenient::null")]
    related_iocs: Vec<String>,
    /// They are not kept; the answer's header `X-Left-Out` says so.
    #[serde(default, deserialize_with = "lenient::null")]
    #[schema(value_type = Vec<Object>)]
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
    #[serde(default, deserialize_with = "lenient::null")]
    related_iocs: Vec<String>,
    /// Instead of `Type` and `SubType`: the alert is an attack indication of this subtype.
    scenario: Option<String>,
}

fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, Refusal> {
    let read = |text: String| {
        lenient::time(&text).map_err(|message| Refusal::unprocessable(format!("{name}: {message}")))
    };
    text.filter(|text| !text.is_empty()).map(read).transpose()
}

/// Makes an alert; answers its id as text.
#[utoipa::path(tag = "Threat Command: alerts", request_body = AlertIn, responses((status = 200, body = String, content_type = "text/plain"), (status = 401), (status = 422)), security(("basic" = [])))]
#[put("/v1/data/alerts/add-alert")]
pub(crate) async fn add(app: web::Data<App>, program: Program, body: Json<AlertIn>) -> Answer {
    let AlertIn { found_date, details, mut related_iocs, scenario } = body.0;
    let AlertDetailsIn {
        title,
        description,
        kind,
        mut sub_type,
        severity,
        source,
        related_iocs: more,
        images,
    } = details;
    related_iocs.extend(more);
    let kind = match (kind, scenario) {
        // What a scenario stands for is not known here: it is kept as the subtype.
        (None, Some(scenario)) if !scenario.is_empty() => {
            sub_type = scenario;
            Some(AlertKind::AttackIndication)
        }
        (kind, _) => kind.as_deref().and_then(word),
    };
    let kind = kind.ok_or_else(|| Refusal::unprocessable(format!("Type is one of {TYPES}.")))?;
    let severity = severity
        .parse()
        .map_err(|_none| Refusal::unprocessable(format!("Severity is one of {SEVERITIES}.")))?;
    let AlertSourceIn { kind: mut source_kind, network_type, url, date } = source;
    for text in [&mut sub_type, &mut source_kind] {
        if text.is_empty() {
            OTHER.clone_into(text);
        }
    }
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
    let id = app.intake.alert_add(&program.0, new).await?;
    let mut answer = HttpResponse::Ok();
    if !images.is_empty() {
        answer.insert_header(("x-left-out", "Images"));
    }
    Ok(answer.content_type("text/plain; charset=utf-8").body(id.to_string()))
}

async fn change(
    app: &App,
    program: &Program,
    id: &str,
    change: AlertChange,
) -> Result<bool, Refusal> {
    Ok(app.intake.alert_change(&program.0, &id_of(id)?, change).await?)
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
    #[serde(default, deserialize_with = "lenient::flag")]
    is_hidden: bool,
    /// 0 to 5.
    #[serde(default, deserialize_with = "lenient::whole")]
    rate: Option<i64>,
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
    let rate = match rate.map(u8::try_from) {
        None => None,
        Some(Ok(rate @ 0..=5)) => Some(rate),
        Some(_) => return Err(Refusal::unprocessable("Rate is 0 to 5.")),
    };
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
    match app.intake.alert_change(&program.0, &id_of(&id)?, AlertChange::Assign(user)).await {
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
    let iocs = app.intake.alert_blocklist(&program.0, &id_of(&id)?).await?;
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
    app.intake.alert_fetch(&program.0, &id_of(&id)?).await?;
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
    app.intake.ioc_bulk_edit(&program.0, all).await?;
    Ok(HttpResponse::Ok().finish())
}
