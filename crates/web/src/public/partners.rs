//! Paths under which the vendor's own apps for other products ask for the same, and small lists of
//! words that clients fill their forms with.

use actix_web::{HttpRequest, HttpResponse, get, web};
use iocast_app::{App, Walked};
use iocast_domain::alert::AlertKind;
use serde_json::{Map, json};

use super::{Answer, Params, Program, Refusal, alerts, iocs};

pub(crate) mod splunk;

/// The IOCs, as the vendor's package for Elastic asks for them.
#[utoipa::path(
    tag = "Threat Command: partners",
    params(iocs::IocPart, iocs::IocFilters),
    responses((status = 200, body = iocs::IocsOut), (status = 401), (status = 422)), security(("basic" = []))
)]
#[get("/v2/app/elastic/iocs")]
pub(crate) async fn elastic(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    iocs::page(&request, &app, &program).await
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

/// Which types alerts have, each with its subtypes. Any other text is taken as one.
#[utoipa::path(tag = "Threat Command: alerts", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/data/alerts/types-subtypes-relations")]
pub(crate) async fn types(_program: Program) -> Answer {
    let all =
        AlertKind::ALL.iter().map(|kind| (kind.word().to_owned(), json!(alerts::subtypes(*kind))));
    Ok(HttpResponse::Ok().json(all.collect::<Map<_, _>>()))
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
#[utoipa::path(tag = "Threat Command: IOCs", params(iocs::IocFilters), responses((status = 200, body = Vec<Object>), (status = 204), (status = 401), (status = 422)), security(("basic" = [])))]
#[get("/v1/iocs/iocs-values-list")]
pub(crate) async fn values(request: HttpRequest, app: web::Data<App>, program: Program) -> Answer {
    let found = iocs::all(&Params::of(&request)?, &app, &program).await?;
    if found.is_empty() {
        return Ok(HttpResponse::NoContent().finish());
    }
    let one = |walked: Walked| json!({ "_id": walked.ioc.id, "Value": walked.ioc.value });
    Ok(HttpResponse::Ok().json(found.into_iter().map(one).collect::<Vec<_>>()))
}

/// Vulnerabilities are not kept here: none is listed, whatever is asked for.
#[utoipa::path(tag = "Threat Command: partners", responses((status = 200, body = Object), (status = 401)), security(("basic" = [])))]
#[get("/v1/cves/get-cves-list")]
pub(crate) async fn cves(_program: Program) -> Result<HttpResponse, Refusal> {
    Ok(HttpResponse::Ok().json(json!({ "content": [], "nextOffset": null })))
}
