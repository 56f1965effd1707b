//! Things said of IOCs: tags, severity, comments, whitelist, remediation blocklist. All or nothing.

use actix_web::{HttpResponse, delete, http::StatusCode, patch, post, web};
use iocast_app::{App, IocEdit};
use iocast_domain::{
    ioc::{Severity, Whitelist},
    normalise::detect,
    time::clip,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Answer, Json, Program, Refusal};

/// Says it; where nothing changed by that, the original's code for it.
async fn bulk_edit(
    app: &App,
    program: &Program,
    all: Vec<(String, IocEdit)>,
    unchanged: Option<&str>,
) -> Result<(), Refusal> {
    if all.is_empty() {
        return Err(Refusal::unprocessable("Name at least one IOC."));
    }
    let said = app.intake.ioc_bulk_edit(&program.0, all).await?;
    match unchanged {
        Some(code) if said.changed == 0 => Err(Refusal::text(StatusCode::BAD_REQUEST, code)),
        _ => Ok(()),
    }
}

fn success() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "success": true }))
}

/// A tag for an IOC.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagIn {
    ioc_value: String,
    tag: String,
}

/// Adds user tags. `TagExist` where all were there.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = Vec<TagIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/iocs/tags")]
pub(crate) async fn tags(app: web::Data<App>, program: Program, body: Json<Vec<TagIn>>) -> Answer {
    add_tags(&app, &program, body.0).await
}

pub(super) async fn add_tags(app: &App, program: &Program, body: Vec<TagIn>) -> Answer {
    // The original refuses what is no IOC as a body that breaks a rule.
    if let Some(wrong) = body.iter().find(|one| detect(&one.ioc_value).is_err()) {
        let value = clip(&wrong.ioc_value, 200);
        return Err(Refusal::unprocessable(format!("`{value}` is no IOC.")));
    }
    bulk_edit(
        app,
        program,
        body.into_iter().map(|t| (t.ioc_value, IocEdit::Tag(t.tag))).collect(),
        Some("TagExist"),
    )
    .await?;
    Ok(success())
}

/// A severity for an IOC.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeverityIn {
    ioc_value: String,
    /// `High`, `Medium` or `Low`.
    severity: String,
}

async fn set_severity(app: &App, program: &Program, body: Vec<SeverityIn>) -> Answer {
    let values: Vec<String> = body.iter().map(|one| one.ioc_value.clone()).collect();
    let mut all = Vec::with_capacity(body.len());
    for one in body {
        let wanted: Severity = one
            .severity
            .parse()
            .map_err(|_none| Refusal::unprocessable("severity is one of High, Medium, Low."))?;
        all.push((one.ioc_value, IocEdit::Severity(wanted)));
    }
    match bulk_edit(app, program, all, Some("SeverityNotChanged")).await {
        Ok(()) => Ok(HttpResponse::Ok().json(json!({ "content": { "success": true } }))),
        // Odd as it is: a change that failed is told with 200.
        Err(refusal) if refusal.is_about_the_body() => {
            let mut unknown = Vec::new();
            for value in values {
                let is_known = detect(&value).is_ok()
                    && app.intake.ioc_by_value(&program.0, &value).await?.is_some();
                if !is_known {
                    unknown.push(value);
                }
            }
            let reason = if unknown.is_empty() {
                refusal.to_string()
            } else {
                format!("Invalid IOC values - {}", unknown.join(", "))
            };
            Ok(HttpResponse::Ok()
                .json(json!({ "content": { "success": false, "reason": reason } })))
        }
        Err(refusal) => Err(refusal),
    }
}

/// Sets severities. `SeverityNotChanged` where all were so.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = Vec<SeverityIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[patch("/v2/iocs/severity")]
pub(crate) async fn severity(
    app: web::Data<App>,
    program: Program,
    body: Json<Vec<SeverityIn>>,
) -> Answer {
    set_severity(&app, &program, body.0).await
}

/// The same; clients of the original use either verb.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = Vec<SeverityIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v2/iocs/severity")]
pub(crate) async fn severity_posted(
    app: web::Data<App>,
    program: Program,
    body: Json<Vec<SeverityIn>>,
) -> Answer {
    set_severity(&app, &program, body.0).await
}

/// A comment on an IOC.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommentIn {
    ioc_value: String,
    comment: String,
}

/// Adds comments.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = Vec<CommentIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/iocs/comments")]
pub(crate) async fn comments(
    app: web::Data<App>,
    program: Program,
    body: Json<Vec<CommentIn>>,
) -> Answer {
    add_comments(&app, &program, body.0).await
}

pub(super) async fn add_comments(app: &App, program: &Program, body: Vec<CommentIn>) -> Answer {
    let all = body.into_iter().map(|c| (c.ioc_value, IocEdit::Comment(c.comment))).collect();
    bulk_edit(app, program, all, None).await?;
    Ok(success())
}

/// Whether an IOC is sent.
#[derive(Deserialize, ToSchema)]
pub(crate) struct WhitelistOne {
    value: String,
    /// True: never sent. False: sent even if the system would not.
    whitelisted: bool,
}

/// Whether IOCs are sent.
#[derive(Deserialize, ToSchema)]
pub(crate) struct WhitelistIn {
    iocs: Vec<WhitelistOne>,
}

/// Whitelists IOCs, or says that they are sent whatever the system thinks.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = WhitelistIn, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v2/iocs/user-whitelist")]
pub(crate) async fn whitelist(
    app: web::Data<App>,
    program: Program,
    body: Json<WhitelistIn>,
) -> Answer {
    set_whitelist(&app, &program, body.0).await
}

pub(super) async fn set_whitelist(app: &App, program: &Program, body: WhitelistIn) -> Answer {
    let state =
        |whitelisted| if whitelisted { Whitelist::NeverSent } else { Whitelist::AlwaysSent };
    // What the account does not have yet is known from then on, so that it is never sent.
    let values: Vec<&str> = body.iocs.iter().map(|one| one.value.as_str()).collect();
    app.intake.iocs_known(&program.0, &values).await?;
    bulk_edit(
        app,
        program,
        body.iocs
            .into_iter()
            .map(|i| (i.value, IocEdit::Whitelist(state(i.whitelisted))))
            .collect(),
        None,
    )
    .await?;
    Ok(success())
}

/// IOCs by value.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ValuesIn {
    iocs: Vec<String>,
}

/// Leaves it to the system again whether IOCs are sent.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = ValuesIn, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[delete("/v2/iocs/user-whitelist")]
pub(crate) async fn unwhitelist(
    app: web::Data<App>,
    program: Program,
    body: Json<ValuesIn>,
) -> Answer {
    let all = body.0.iocs.into_iter().map(|v| (v, IocEdit::Whitelist(Whitelist::Default)));
    take_back(&app, &program, all.collect()).await
}

/// Takes back what was said; of what is not there, nothing was.
async fn take_back(app: &App, program: &Program, all: Vec<(String, IocEdit)>) -> Answer {
    let mut there = Vec::with_capacity(all.len());
    for (value, edit) in all {
        if app.intake.ioc_by_value(&program.0, &value).await?.is_some() {
            there.push((value, edit));
        }
    }
    if !there.is_empty() {
        bulk_edit(app, program, there, None).await?;
    }
    Ok(success())
}

/// Puts IOCs on the remediation blocklist: rules that take it choose them.
/// `IocBlocklistStatusNotChanged` where all were on it.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = ValuesIn, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/iocs/blocklist")]
pub(crate) async fn blocklist(
    app: web::Data<App>,
    program: Program,
    body: Json<ValuesIn>,
) -> Answer {
    let all = body.0.iocs.into_iter().map(|v| (v, IocEdit::Blocklist(true))).collect();
    bulk_edit(&app, &program, all, Some("IocBlocklistStatusNotChanged")).await?;
    Ok(success())
}

/// Takes IOCs off the remediation blocklist.
#[utoipa::path(tag = "Threat Command: IOCs", request_body = ValuesIn, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[delete("/v1/iocs/blocklist")]
pub(crate) async fn unblocklist(
    app: web::Data<App>,
    program: Program,
    body: Json<ValuesIn>,
) -> Answer {
    let all = body.0.iocs.into_iter().map(|v| (v, IocEdit::Blocklist(false))).collect();
    take_back(&app, &program, all).await
}
