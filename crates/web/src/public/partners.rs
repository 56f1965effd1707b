//! Paths under which the vendor's own apps for other products ask for the same, and small lists of
//! words that clients fill their forms with.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use iocast_app::App;
use iocast_domain::alert::AlertKind;
use serde_json::json;

use super::{
    Answer, Json, Params, Program, Refusal, alerts,
    bulk_edit::{self, CommentIn, TagIn},
    iocs, sources,
};

/// The IOCs, as the vendor's package for Elastic asks for them.
#[utoipa::path(
    tag = "Threat Command: partners",
    params(("lastUpdatedFrom" = String, Query), ("limit" = Option<u64>, Query), ("offset" = Option<String>, Query), ("syncId" = Option<String>, Query)),
    responses((status = 200, body = iocs::IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/app/elastic/iocs")]
pub(crate) async fn elastic(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    iocs::page(&request, &app, &program).await
}

/// The IOCs, as the vendor's app for Splunk asks for them.
#[utoipa::path(
    tag = "Threat Command: partners",
    params(("lastUpdatedFrom" = String, Query), ("limit" = Option<u64>, Query), ("offset" = Option<String>, Query), ("syncId" = Option<String>, Query)),
    responses((status = 200, body = iocs::IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/app/splunk/iocs")]
pub(crate) async fn splunk(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    iocs::page(&request, &app, &program).await
}

/// The sources, as the vendor's app for Splunk asks for them.
#[utoipa::path(tag = "Threat Command: partners", responses((status = 200, body = sources::SourcesOut), (status = 401)), security(("basic" = [])))]
#[get("/v1/apps/splunk/iocs/sources")]
pub(crate) async fn splunk_sources(app: web::Data<App>, program: Program) -> Answer {
    sources::listed(&app, &program).await
}

/// The ids of alerts, as the vendor's app for Splunk asks for them.
#[utoipa::path(tag = "Threat Command: partners", responses((status = 200, body = Vec<String>), (status = 204), (status = 401), (status = 422)), security(("basic" = [])))]
#[get("/v1/apps/splunk/alerts/list")]
pub(crate) async fn splunk_alerts(
    request: HttpRequest,
    app: web::Data<App>,
    program: Program,
) -> Answer {
    alerts::ids(&request, &app, &program).await
}

/// Everything about an alert, as the vendor's app for Splunk asks for it.
#[utoipa::path(tag = "Threat Command: partners", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 401), (status = 404)), security(("basic" = [])))]
#[get("/v1/apps/splunk/alerts/complete-alert/{id}")]
pub(crate) async fn splunk_alert(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
) -> Answer {
    alerts::one(&app, &program, &id).await
}

/// Adds user tags, as the vendor's app for Splunk does.
#[utoipa::path(tag = "Threat Command: partners", request_body = Vec<TagIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/iocs/tags/batch")]
pub(crate) async fn splunk_tags(
    app: web::Data<App>,
    program: Program,
    body: Json<Vec<TagIn>>,
) -> Answer {
    bulk_edit::add_tags(&app, &program, body.0).await
}

/// Adds comments, as the vendor's app for Splunk does.
#[utoipa::path(tag = "Threat Command: partners", request_body = Vec<CommentIn>, responses((status = 200, body = Object), (status = 400), (status = 401), (status = 422)), security(("basic" = [])))]
#[post("/v1/apps/splunk/iocs/comments/batch")]
pub(crate) async fn splunk_comments(
    app: web::Data<App>,
    program: Program,
    body: Json<Vec<CommentIn>>,
) -> Answer {
    bulk_edit::add_comments(&app, &program, body.0).await
}

/// What is known of a value, as the vendor's app for Splunk asks for it.
#[utoipa::path(tag = "Threat Command: partners", params(("value" = String, Path)), responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/apps/splunk/iocs/investigate/{value:.*}")]
pub(crate) async fn splunk_investigate(
    app: web::Data<App>,
    program: Program,
    request: HttpRequest,
    value: web::Path<String>,
) -> Answer {
    let value = iocs::value_of(&request, "/iocs/investigate/", value.into_inner());
    iocs::enriched(&app, &program, value).await
}

/// Credits for takedowns: none is used here.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/account/used-credits")]
pub(crate) async fn used_credits(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "Takedowns": { "Used": 0, "Remaining": 0, "Total": 0 } })))
}

/// Assets that are watched: none here.
#[utoipa::path(tag = "Threat Command: account", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/account/used-assets")]
pub(crate) async fn used_assets(_program: Program) -> Answer {
    Ok(HttpResponse::Ok().json(json!({ "AssetsCount": 0, "AssetsLimit": 0 })))
}

/// Whether an alert's site is taken down: iocast takes none down.
#[utoipa::path(tag = "Threat Command: alerts", params(("id" = String, Path)), responses((status = 200, body = String, content_type = "text/plain"), (status = 401), (status = 404)), security(("basic" = [])))]
#[get("/v1/data/alerts/takedown-status/{id}")]
pub(crate) async fn takedown_status(
    app: web::Data<App>,
    program: Program,
    id: web::Path<String>,
) -> Answer {
    alerts::one(&app, &program, &id).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("NotSent"))
}

/// Which types alerts have. Subtypes are not known here: any text is taken.
#[utoipa::path(tag = "Threat Command: alerts", responses((status = 200, body = Vec<Object>), (status = 401)), security(("basic" = [])))]
#[get("/v1/data/alerts/types-subtypes-relations")]
pub(crate) async fn types(_program: Program) -> Answer {
    let all: Vec<_> =
        AlertKind::ALL.iter().map(|kind| json!({ "Type": kind.word(), "SubTypes": [] })).collect();
    Ok(HttpResponse::Ok().json(all))
}

/// In which kinds of places alerts are found, as the alerts of the account say.
#[utoipa::path(tag = "Threat Command: alerts", responses((status = 200, body = Vec<String>), (status = 401)), security(("basic" = [])))]
#[get("/v1/data/alerts/source-types")]
pub(crate) async fn source_types(_program: Program) -> Answer {
    let known = [
        "Application Store",
        "Black Market",
        "Hacking Forum",
        "Instant Message",
        "Paste Site",
        "Social Media",
        "Web Page",
        "WHOIS servers",
        "Other",
    ];
    Ok(HttpResponse::Ok().json(known))
}

/// The values of the IOCs that are asked for. 204 for none; it has no pages, so that of more than
/// 10,000 none is given.
#[utoipa::path(tag = "Threat Command: IOCs", params(("type" = Option<Vec<String>>, Query), ("severity" = Option<Vec<String>>, Query)), responses((status = 200, body = Vec<String>), (status = 204), (status = 401), (status = 422)), security(("basic" = [])))]
#[get("/v1/iocs/iocs-values-list")]
pub(crate) async fn values(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    let found = iocs::all(&Params::of(&request)?, &app, &program).await?;
    if found.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    let values: Vec<String> = found.into_iter().map(|walked| walked.ioc.value).collect();
    Ok(HttpResponse::Ok().json(values))
}

/// Vulnerabilities are not kept here: none is listed, whatever is asked for.
#[utoipa::path(tag = "Threat Command: partners", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/cves/get-cves-list")]
pub(crate) async fn cves(_program: Program) -> Result<HttpResponse, Refusal> {
    Ok(HttpResponse::Ok().json(json!({ "content": [], "nextOffset": null })))
}
