//! The TAXII servers: headers and statuses around what the app answers.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{Method, StatusCode, header},
    web,
};
use bytes::Bytes;
use iocast_app::{App, PullNote, TaxiiAnswer, TaxiiRequest};
use iocast_domain::device_type::Taxii;
use serde_json::json;

use crate::feed::{self, Delivery};

pub(crate) async fn v21(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    answer(request, app, Taxii::V21).await
}

pub(crate) async fn v20(request: HttpRequest, app: web::Data<App>) -> HttpResponse {
    answer(request, app, Taxii::V20).await
}

async fn answer(request: HttpRequest, app: web::Data<App>, version: Taxii) -> HttpResponse {
    let text = |name: header::HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let head = request.method() == Method::HEAD;
    if !head && request.method() != Method::GET {
        return refuse(
            version,
            StatusCode::FORBIDDEN,
            "Forbidden",
            "Collections are read only: iocast decides what is in them.",
        );
    }
    if !acceptable(version, text(header::ACCEPT)) {
        let description = "This server speaks TAXII with STIX; ask for its media types, for application/json or for */*.";
        return refuse(version, StatusCode::NOT_ACCEPTABLE, "Not acceptable", description);
    }
    let path: Vec<&str> = request
        .match_info()
        .get("path")
        .unwrap_or_default()
        .split('/')
        .filter(|p| !p.is_empty())
        .collect();
    let parameters = feed::parameters(request.query_string());
    let pairs: Vec<(&str, &str)> =
        parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let asked = TaxiiRequest {
        version,
        path: &path,
        parameters: &pairs,
        range: text(header::RANGE),
        authorization: text(header::AUTHORIZATION),
        api_key: text(feed::API_KEY),
    };
    let mut answer = app.serving.taxii(&asked).await;
    if let Some((device, group, sentence)) = answer.refused.take() {
        app.watch.pull_note(
            PullNote::Failed(device, group, sentence),
            feed::client(&request),
            answer.status,
            0,
        );
    }
    if answer.status >= 400 {
        app.watch.pull_refused(answer.status);
    }
    let mut reply = reply(version, &answer);
    let gzip = answer.body.len() > 1_000 && feed::accepts_gzip(text(header::ACCEPT_ENCODING));
    let body = if gzip { app.serving.gzip(answer.body).await } else { Ok(answer.body) };
    let Ok(body) = body else {
        return refuse(
            version,
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal error",
            "The page could not be compressed; the log says why.",
        );
    };
    if gzip {
        reply.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    feed::deliver(
        &request,
        reply,
        app,
        if head { Delivery::Head(body.len() as u64) } else { Delivery::Whole(body) },
        answer.pull.filter(|_| !head),
    )
}

/// The head of an answer.
fn reply(version: Taxii, answer: &TaxiiAnswer) -> HttpResponseBuilder {
    let mut reply = HttpResponse::build(
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    );
    reply
        .content_type(answer.content_type)
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "Accept-Encoding, Authorization"));
    match answer.status {
        401 => {
            reply.insert_header((header::WWW_AUTHENTICATE, feed::CHALLENGE));
        }
        503 => {
            reply.insert_header((header::RETRY_AFTER, 5));
        }
        _ => {}
    }
    if let Some((first, last)) = answer.added {
        reply
            .insert_header(("x-taxii-date-added-first", first.to_string()))
            .insert_header(("x-taxii-date-added-last", last.to_string()));
    }
    if let Some(range) = &answer.range {
        reply.insert_header((header::CONTENT_RANGE, range.as_str()));
    }
    if version == Taxii::V20 {
        reply.insert_header((header::ACCEPT_RANGES, "items"));
    }
    reply
}

fn refuse(version: Taxii, status: StatusCode, title: &str, description: &str) -> HttpResponse {
    let body = json!({ "title": title, "description": description, "error_id": crate::trace::request_id(), "http_status": status.as_u16().to_string() });
    let content_type = match version {
        Taxii::V20 => "application/vnd.oasis.taxii+json; version=2.0",
        Taxii::V21 => "application/taxii+json;version=2.1",
    };
    HttpResponse::build(status).content_type(content_type).body(Bytes::from(body.to_string()))
}

/// Whether a client takes what this server gives. Only what is plainly foreign is turned away:
/// clients in the field send the media types of STIX, of older versions and of plain JSON for the
/// same thing.
fn acceptable(version: Taxii, accept: Option<&str>) -> bool {
    let Some(accept) = accept.map(str::trim).filter(|a| !a.is_empty()) else { return true };
    accept.split(',').any(|range| {
        let mut pieces = range.split(';').map(|p| p.trim().to_ascii_lowercase());
        let kind = pieces.next().unwrap_or_default();
        let asked =
            pieces.find_map(|p| p.strip_prefix("version=").map(|v| v.trim_matches('"').to_owned()));
        let own = if version == Taxii::V20 { "2.0" } else { "2.1" };
        match kind.as_str() {
            "*/*"
            | "application/*"
            | "application/json"
            | "application/stix+json"
            | "application/vnd.oasis.stix+json" => true,
            "application/taxii+json" | "application/vnd.oasis.taxii+json" => {
                asked.is_none_or(|v| v == own)
            }
            _ => false,
        }
    })
}
