//! Pages for people: one file a place in the product. They show what the API gives, and act through
//! the same use cases.
//!
//! Every action is a form that works without script; it is sent to the page that shows it, and its
//! button says in `do` what is wanted. After a change the browser is sent on, and the next page
//! says what was done.

use actix_web::{
    Error, FromRequest as _, HttpRequest, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{StatusCode, header},
    middleware::Next,
    web,
};
use iocast_app::App;
use minijinja::context;
use utoipa::openapi::OpenApi;

use crate::{
    docs,
    extract::caller,
    problem::Problem,
    templates::{self, Asset},
};

pub(crate) mod alerts;
pub(crate) mod device;
pub(crate) mod emulator;
pub(crate) mod fetches;
pub(crate) mod fleet;
pub(crate) mod group;
pub(crate) mod guards;
pub(crate) mod help;
pub(crate) mod imports;
pub(crate) mod integrations;
pub(crate) mod iocs;
mod kept;
pub(crate) mod overview;
pub(crate) mod policy;
pub(crate) mod public_feeds;
pub(crate) mod quality;
pub(crate) mod search;
pub(crate) mod service_tokens;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod sign_in;
pub(crate) mod sources;
pub(crate) use self::view::{ago, query_encoded};

mod view;
pub(crate) mod visit;

/// The first page of a part of the product.
pub(crate) async fn first_of(request: HttpRequest) -> HttpResponse {
    visit::see_other(match request.path() {
        "/automation" => "/automation/integrations",
        "/tip" => "/tip/iocs",
        _ => "/settings/subscription",
    })
}

/// An error of a page stands in the frame, for whom has a session.
pub(crate) async fn in_frame<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let answer = next.call(request).await?;
    let problem = answer.response().error().and_then(|error| error.as_error::<visit::Failure>());
    let Some(problem) = problem.and_then(visit::Failure::shown) else {
        return Ok(answer.map_into_left_body());
    };
    let status = answer.status();
    let request = answer.request().clone();
    let Ok(visitor) = visit::PageContext::extract(&request).await else {
        return Ok(answer.map_into_left_body());
    };
    let page = visitor.page(status, "pages/problem.html", context! { problem });
    Ok(answer.into_response(page).map_into_right_body())
}

pub(crate) async fn asset(request: HttpRequest) -> HttpResponse {
    let Some(Asset { media_type, text, version }) =
        request.match_info().get("file").and_then(templates::asset)
    else {
        return HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("There is no such file.\n");
    };
    // Pages name the version: under that name it never changes.
    let named = request.query_string().strip_prefix("v=") == Some(version);
    let kept = (
        header::CACHE_CONTROL,
        if named { "public, max-age=31536000, immutable" } else { "no-cache" },
    );
    let etag = format!("\"{version}\"");
    if request
        .headers()
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return HttpResponse::NotModified()
            .insert_header(kept)
            .insert_header((header::ETAG, etag))
            .finish();
    }
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header(kept)
        .insert_header((header::ETAG, etag))
        .body(text)
}

/// Where a person chooses a password; the link in the message carries what it takes behind the `#`,
/// which no log sees.
pub(crate) async fn password() -> HttpResponse {
    view::page(StatusCode::OK, "pages/password.html", context! {})
}

/// Where a person asks for a message to choose a new password.
pub(crate) async fn forgotten(app: web::Data<App>) -> HttpResponse {
    view::page(
        StatusCode::OK,
        "pages/forgotten.html",
        context! { mail_off => app.watch.mail_goes_to() == "off", sent => false },
    )
}

/// The page for people that stands at a group URL.
pub(crate) fn feed(lines: &[String]) -> HttpResponse {
    view::page(StatusCode::OK, "pages/feed.html", context! { lines => view::value(lines) })
}

/// Where no route leads: problem details for programs, a page for people.
pub(crate) async fn nothing_here(
    request: HttpRequest,
    app: web::Data<App>,
    document: web::Data<OpenApi>,
) -> Result<HttpResponse, Problem> {
    caller(&request);
    let wants_html = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .is_some_and(|a| a.contains("text/html"));
    if wants_html {
        let (name, of_page) = ("pages/nothing_here.html", context! { path => request.path() });
        return Ok(match visit::PageContext::extract(&request).await {
            Ok(visitor) => visitor.page(StatusCode::NOT_FOUND, name, of_page),
            Err(_) => view::page(StatusCode::NOT_FOUND, name, of_page),
        });
    }
    let allowed = docs::methods(&document, request.path());
    if !allowed.is_empty()
        && (app.context.settings.emulator || !request.path().contains("/emulator/"))
    {
        return Err(Problem::wrong_method(request.method(), allowed.join(", ")));
    }
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this address; the endpoints are listed at /api/docs/.",
    ))
}
