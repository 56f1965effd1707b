//! The TAXII servers: headers and statuses around what the app answers.

use actix_web::{
    HttpRequest, HttpResponse,
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
    let TaxiiAnswer { status, content_type, body, added, range, pull, refused } =
        app.serving.taxii(&asked).await;
    if let Some((device, group, sentence)) = refused {
        app.watch.pull_note(
            PullNote::Failed(device, group, sentence),
            feed::client(&request),
            status,
            0,
        );
    }
    if status >= 400 {
        app.watch.pull_refused(status);
    }
    let mut reply = HttpResponse::build(
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    );
    reply
        .content_type(content_type)
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "Accept-Encoding, Authorization"));
    match status {
        401 => {
            reply.insert_header((header::WWW_AUTHENTICATE, feed::CHALLENGE));
        }
        503 => {
            reply.insert_header((header::RETRY_AFTER, 5));
        }
        _ => {}
    }
    if let Some((first, last)) = added {
        reply
            .insert_header(("x-taxii-date-added-first", first.to_string()))
            .insert_header(("x-taxii-date-added-last", last.to_string()));
    }
    if let Some(range) = range {
        reply.insert_header((header::CONTENT_RANGE, range));
    }
    if version == Taxii::V20 {
        reply.insert_header((header::ACCEPT_RANGES, "items"));
    }
    let gzip = body.len() > 1_000 && feed::accepts_gzip(text(header::ACCEPT_ENCODING));
    let body = if gzip { app.serving.gzip(body).await } else { Ok(body) };
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
        pull.filter(|_| !head),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_foreign_is_turned_away() {
        for yes in [
            "",
            "*/*",
            "application/taxii+json;version=2.1",
            "application/taxii+json; version=\"2.1\"",
            "application/vnd.oasis.stix+json; version=2.0",
            "text/html, */*;q=0.1",
            "application/json",
        ] {
            assert!(acceptable(Taxii::V21, Some(yes)), "{yes}");
        }
        for no in ["text/html", "application/taxii+json;version=2.0", "image/png"] {
            assert!(!acceptable(Taxii::V21, Some(no)), "{no}");
        }
        assert!(
            acceptable(Taxii::V20, Some("application/vnd.oasis.taxii+json; version=2.0"))
                && acceptable(Taxii::V20, None)
        );
    }
}
