//! What the vendor's app for Splunk asks for: the same, wrapped in `content` and in camelCase.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, post, web};
use iocast_app::{App, IocQuery, WalkQuery};
use iocast_domain::ioc::Whitelist;
use serde_json::{Map, Value, json};

use super::super::{
    Answer, Json, Params, Program, Refusal, account, alerts,
    bulk_edit::{self, CommentIn, TagIn, WhitelistIn},
    iocs, iso, sources,
};

/// Alerts on a page, at most.
const ALERTS: usize = 10_000;

fn wrapped(content: impl serde::Serialize) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "content": content }))
}

/// A name as this app reads it: `IsClosed` is `isClosed`, `URL` is `url`.
fn camel(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_uppercase()) {
        return name.to_ascii_lowercase();
    }
    let mut letters = name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// The same value, its names as this app reads them.
fn in_camel_case(value: Value) -> Value {
    match value {
        Value::Object(of) => {
            let pairs = of.into_iter().map(|(name, value)| (camel(&name), in_camel_case(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Array(of) => of.into_iter().map(in_camel_case).collect(),
        other => other,
    }
}

/// Which modules the account has; without it the app collects nothing.
#[utoipa::path(tag = "Threat Command: Splunk", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/apps/splunk/system-modules")]
pub(crate) async fn system_modules(program: Program) -> Answer {
    Ok(wrapped(account::modules(&program)))
}

/// The people of the account.
#[utoipa::path(
    tag = "Threat Command: Splunk",
    params(("userType" = Option<String>, Query, description = "Admin or Analyst"), ("userEmail" = Option<String>, Query), ("userId" = Option<String>, Query)),
    responses((status = 200, body = Vec<account::ThreatCommandUser>), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/apps/splunk/account/users-details")]
pub(crate) async fn users(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    account::people(&request, &app, &program).await
}

/// The IOCs in order of their last change.
#[utoipa::path(
    tag = "Threat Command: Splunk",
    params(iocs::IocPart, iocs::IocFilters),
    responses((status = 200, body = iocs::IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/app/splunk/iocs")]
pub(crate) async fn list(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    iocs::page(&request, &app, &program).await
}

/// The sources by category.
#[utoipa::path(tag = "Threat Command: Splunk", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/apps/splunk/iocs/sources")]
pub(crate) async fn feeds(app: web::Data<App>, program: Program) -> Answer {
    Ok(wrapped(sources::listed(&app, &program).await?))
}

/// Alerts in order of their last change, page by page.
#[utoipa::path(
    tag = "Threat Command: Splunk",
    params(alerts::AlertFilters, ("limit" = Option<u64>, Query, description = "1 to 10000; 50 unless given"), ("offset" = Option<String>, Query, description = "nextOffset of the page before")),
    responses((status = 200, body = alerts::UpdatesOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v1/apps/splunk/alerts/list")]
pub(crate) async fn alert_list(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    Ok(HttpResponse::Ok().json(alerts::updates(&request, &app, &program, ALERTS).await?))
}

/// Everything about an alert.
#[utoipa::path(tag = "Threat Command: Splunk", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 401), (status = 404)), security(("basic" = [])))]
#[get("/v1/apps/splunk/alerts/complete-alert/{id}")]
pub(crate) async fn alert(app: web::Data<App>, program: Program, id: web::Path<String>) -> Answer {
    Ok(wrapped(in_camel_case(alerts::whole(&app, &program, &id).await?)))
}

/// Adds user tags. `TagExist` where all were there.
#[utoipa::path(tag = "Threat Command: Splunk", request_body = Vec<TagIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/iocs/tags/batch")]
pub(crate) async fn tags(app: web::Data<App>, program: Program, body: Json<Vec<TagIn>>) -> Answer {
    bulk_edit::add_tags(&app, &program, body.0).await
}

/// Adds comments.
#[utoipa::path(tag = "Threat Command: Splunk", request_body = Vec<CommentIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/iocs/comments/batch")]
pub(crate) async fn comments(
    app: web::Data<App>,
    program: Program,
    body: Json<Vec<CommentIn>>,
) -> Answer {
    bulk_edit::add_comments(&app, &program, body.0).await
}

/// What is known of a value. It counts for the day's quota.
#[utoipa::path(tag = "Threat Command: Splunk", params(("value" = String, Path)), responses((status = 200, body = Object), (status = 400), (status = 401)), security(("basic" = [])))]
#[get("/v1/apps/splunk/iocs/investigate/{value:.*}")]
pub(crate) async fn investigate(
    app: web::Data<App>,
    program: Program,
    request: HttpRequest,
    value: web::Path<String>,
) -> Answer {
    let value = iocs::value_of(&request, "/iocs/investigate/", value.into_inner());
    match iocs::known_of(&app, &program, &value).await? {
        Ok(data) => Ok(wrapped(in_camel_case(data))),
        Err(("QuotaExceeded", reason)) => {
            Err(Refusal::named(StatusCode::BAD_REQUEST, "quota exceeded", reason))
        }
        Err((_, reason)) => {
            Err(Refusal::named(StatusCode::BAD_REQUEST, "Investigation failed", reason))
        }
    }
}

/// Whitelists IOCs, or says that they are sent whatever the system thinks.
#[utoipa::path(tag = "Threat Command: Splunk", request_body = WhitelistIn, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v2/app/splunk/iocs/whitelist")]
pub(crate) async fn whitelist(
    app: web::Data<App>,
    program: Program,
    body: Json<WhitelistIn>,
) -> Answer {
    bulk_edit::set_whitelist(&app, &program, body.0).await
}

/// The IOCs that people whitelisted, in order of their last change.
#[utoipa::path(
    tag = "Threat Command: Splunk",
    params(("whitelisted" = Option<bool>, Query, description = "true unless given"), ("updatedAfter" = Option<String>, Query, description = "Those that changed at this time or later"), ("offset" = Option<String>, Query)),
    responses((status = 200, body = Object), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/app/splunk/iocs/whitelist")]
pub(crate) async fn whitelisted(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    let params = Params::of(&request)?;
    params.check(&["whitelisted", "updatedAfter"])?;
    let state = if params.flag("whitelisted")?.unwrap_or(true) {
        Whitelist::NeverSent
    } else {
        Whitelist::AlwaysSent
    };
    let query = WalkQuery {
        updated_from: params.time("updatedAfter")?,
        offset: params.one("offset").filter(|text| *text != "0").map(str::to_owned),
        limit: iocs::PAGE,
        filter: IocQuery { whitelist: vec![state], ..IocQuery::default() },
        ..WalkQuery::default()
    };
    let page = app.intake.ioc_walk(&program.0, &query).await?;
    let content: Vec<Value> = page
        .iocs
        .into_iter()
        .map(|of| json!({ "value": of.ioc.value, "whitelisted": state == Whitelist::NeverSent, "updateDate": iso(of.updated_at) }))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "content": content, "nextOffset": page.next })))
}

/// The app says how far it read: there is nothing to do with it here.
#[utoipa::path(tag = "Threat Command: Splunk", request_body = Object, responses((status = 200, body = Object), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/iocs/sync/report")]
pub(crate) async fn iocs_read(_program: Program, _report: Json<Value>) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}

/// The app says how far it read: there is nothing to do with it here.
#[utoipa::path(tag = "Threat Command: Splunk", request_body = Object, responses((status = 200, body = Object), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/alerts/sync-report")]
pub(crate) async fn alerts_read(_program: Program, _report: Json<Value>) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}

/// The app says how far it read: there is nothing to do with it here.
#[utoipa::path(tag = "Threat Command: Splunk", request_body = Object, responses((status = 200, body = Object), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/cves/sync-report")]
pub(crate) async fn cves_read(_program: Program, _report: Json<Value>) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "success": true })))
}

/// Vulnerabilities are not kept here: none is listed, whatever is asked for.
#[utoipa::path(tag = "Threat Command: Splunk", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/apps/splunk/cves/get-cves-list")]
pub(crate) async fn cves(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "content": [], "nextOffset": null })))
}
