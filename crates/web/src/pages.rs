//! Pages for people.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use iocast_app::App;
use minijinja::{Value, context};
use utoipa::openapi::OpenApi;

use crate::{
    docs,
    extract::{Id, caller},
    problem::Problem,
    templates,
};

fn page(status: StatusCode, name: &str, context: Value) -> HttpResponse {
    match templates::render(name, context) {
        Ok(html) => HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "The page {name} could not be rendered");
            HttpResponse::InternalServerError().content_type("text/plain; charset=utf-8").body("This page could not be rendered; the log says why.")
        }
    }
}

pub(crate) async fn start(app: web::Data<App>) -> HttpResponse {
    page(StatusCode::OK, "pages/start.html", context! { version => env!("CARGO_PKG_VERSION"), emulator => app.settings.emulator })
}

pub(crate) async fn asset(request: HttpRequest) -> HttpResponse {
    match request.match_info().get("file") {
        Some("style.css") => {
            HttpResponse::Ok().content_type("text/css; charset=utf-8").insert_header((header::CACHE_CONTROL, "max-age=3600")).body(templates::STYLE)
        }
        Some("password.js") => HttpResponse::Ok()
            .content_type("text/javascript; charset=utf-8")
            .insert_header((header::CACHE_CONTROL, "max-age=3600"))
            .body(templates::PASSWORD_SCRIPT),
        _ => HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("There is no such file.\n"),
    }
}

/// Where the links in letters lead. It shows nothing that is not in the link itself.
pub(crate) async fn device(id: Id) -> HttpResponse {
    page(StatusCode::OK, "pages/device.html", context! { id => id.0.to_string() })
}

/// Where a person chooses a password; the link in the letter carries what it takes behind the `#`, which no log sees.
pub(crate) async fn password() -> HttpResponse {
    page(StatusCode::OK, "pages/password.html", context! {})
}

/// Where no route leads: problem details for programs, a page for people.
pub(crate) async fn nothing_here(request: HttpRequest, app: web::Data<App>, document: web::Data<OpenApi>) -> Result<HttpResponse, Problem> {
    caller(&request);
    let wants_html = request.headers().get(header::ACCEPT).and_then(|a| a.to_str().ok()).is_some_and(|a| a.contains("text/html"));
    if wants_html {
        return Ok(page(StatusCode::NOT_FOUND, "pages/nothing_here.html", context! { path => request.path() }));
    }
    let allowed = docs::methods(&document, request.path());
    if !allowed.is_empty() && (app.settings.emulator || !request.path().contains("/emulator/")) {
        return Err(Problem::wrong_method(request.method(), allowed.join(", ")));
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address; the endpoints are listed at /api/docs/."))
}
