//! The OpenAPI document and the page to try it; all assets are compiled in.

use actix_web::{App, HttpRequest, HttpResponse, http::header, web};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_actix_web::AppExt as _;
use utoipa_swagger_ui::{Config, serve};

use crate::routes;

#[derive(OpenApi)]
#[openapi(
    info(title = "iocast management API", description = "Devices, IOC groups, rules, sources and IOCs. Sign in at `POST /api/v1/sessions` and send the token as Bearer. Errors are problem details (RFC 9457) with a stable `code`.", license(name = "Apache-2.0")),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("iocast"))));
        components.add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
        let none: [&str; 0] = [];
        document.security = Some(vec![SecurityRequirement::new("token", none), SecurityRequirement::new("cookie", none)]);
    }
}

/// The document, made from the routes.
pub(crate) fn document() -> openapi::OpenApi {
    let (_, document) = App::new().into_utoipa_app().openapi(Document::openapi()).configure(routes::api).configure(routes::public).split_for_parts();
    document
}

/// The methods that the document knows for a path, in capitals.
pub(crate) fn methods(document: &openapi::OpenApi, path: &str) -> Vec<&'static str> {
    let fits = |pattern: &str| {
        let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(w), Some(g)) if w == g || (w.starts_with('{') && !g.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let mut methods = Vec::new();
    for (_, item) in document.paths.paths.iter().filter(|(pattern, _)| fits(pattern)) {
        let known = [("GET", &item.get), ("POST", &item.post), ("PUT", &item.put), ("PATCH", &item.patch), ("DELETE", &item.delete)];
        methods.extend(known.iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| *name));
    }
    methods
}

pub(crate) async fn openapi_json(document: web::Data<openapi::OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(document.get_ref())
}

/// Swagger UI sets styles of its own; nothing else of the page may.
const UI_POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

pub(crate) async fn ui(request: HttpRequest) -> HttpResponse {
    let file = request.match_info().get("file").unwrap_or_default();
    if file.is_empty() && !request.path().ends_with('/') {
        return HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/api/docs/")).finish();
    }
    let config = std::sync::Arc::new(Config::from("/api/openapi.json").use_base_layout());
    match serve(file, config) {
        Ok(Some(found)) => {
            HttpResponse::Ok().content_type(found.content_type).insert_header((header::CONTENT_SECURITY_POLICY, UI_POLICY)).body(found.bytes.into_owned())
        }
        _ => HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body("There is no such file."),
    }
}
