//! The OpenAPI document and the page to try it; all assets are compiled in.

use actix_web::{
    App, HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self, RefOr,
        security::{
            ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
        },
    },
};
use utoipa_actix_web::AppExt as _;
use utoipa_swagger_ui::{Config, Url, serve};

use crate::{enums, examples, routes};

pub(crate) mod threat_command;

#[derive(OpenApi)]
#[openapi(
    info(title = "iocast", description = include_str!("docs.md"), license(name = "Apache-2.0")),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components
            .add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme(
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("iocast"))),
        );
        components
            .add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
        let none: [&str; 0] = [];
        document.security = Some(vec![
            SecurityRequirement::new("token", none),
            SecurityRequirement::new("cookie", none),
        ]);
    }
}

/// The document, made from the routes.
pub(crate) fn document() -> openapi::OpenApi {
    let (_, mut document) = App::new()
        .into_utoipa_app()
        .openapi(Document::openapi())
        .configure(routes::api)
        .configure(routes::public)
        .split_for_parts();
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
            &mut item.head,
        ];
        for operation in operations.into_iter().flatten() {
            refusals(path, operation);
            describe(operation);
        }
        for (method, operation) in [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ] {
            if let Some(operation) = operation {
                operation.operation_id = Some(operation_id(method, path));
            }
        }
    }
    let without = examples::add(&mut document);
    debug_assert!(without.is_empty(), "examples of no call: {without:?}");
    let missing = enums::add(&mut document);
    debug_assert!(missing.is_empty(), "words of no field: {missing:?}");
    document
}

/// The same document for the place where it is served: it can be saved, and still says where the
/// calls go.
pub(crate) fn document_at(public_url: &str) -> openapi::OpenApi {
    let mut document = document();
    document.servers = Some(vec![openapi::Server::new("/"), openapi::Server::new(public_url)]);
    document
}

/// A name of its own for each call, as generated clients need it: `get_devices_id_pulls`.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// Describes responses that have no description of their own: OpenAPI requires one.
fn describe(operation: &mut openapi::path::Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let status = StatusCode::from_bytes(status.as_bytes()).ok();
            let reason = status.and_then(|status| status.canonical_reason());
            reason.unwrap_or("Response").clone_into(&mut response.description);
        }
    }
}

/// How any call may be refused, said once for all of them.
fn refusals(path: &str, operation: &mut openapi::path::Operation) {
    /// What a request can break before it reaches the call, and what can be in its way.
    const ANY: [(&str, &str); 9] = [
        ("400", "The request is not readable"),
        ("401", "Nobody is signed in, or the credentials are wrong"),
        ("403", "Forbidden"),
        ("404", "There is no such thing in this account"),
        ("409", "Something is in the way"),
        ("413", "The body is too large"),
        ("422", "A field breaks a rule"),
        ("429", "Too many calls; see Retry-After"),
        ("503", "The database does not answer; see Retry-After"),
    ];
    let management = path.starts_with("/api/");
    let responses = &mut operation.responses.responses;
    if management && operation.request_body.is_some() {
        responses
            .entry("415".to_owned())
            .or_insert_with(|| openapi::Response::new("The Content-Type is not taken").into());
    }
    for (status, description) in ANY {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| openapi::Response::new(description).into());
    }
    let readiness = path == "/api/v1/ready";
    let refused = responses
        .iter_mut()
        .filter(|(status, _)| status.starts_with('4') || status.starts_with('5'));
    for response in refused.filter(|(status, _)| !(readiness && *status == "503")).filter_map(
        |(_, response)| match response {
            RefOr::T(response) => Some(response),
            RefOr::Ref(_) => None,
        },
    ) {
        response.content.clear();
        if management {
            let problem =
                openapi::Content::new(Some(RefOr::Ref(openapi::Ref::from_schema_name("Problem"))));
            response.content.insert("application/problem+json".to_owned(), problem.into());
        } else {
            // A bare code or a sentence; for values that are no IOC `{"error": {"name",
            // "message"}}`.
            response.content.insert(
                "text/plain".to_owned(),
                openapi::Content::new(None::<RefOr<openapi::Schema>>).into(),
            );
            response.content.insert(
                "application/json".to_owned(),
                openapi::Content::new(None::<RefOr<openapi::Schema>>).into(),
            );
        }
    }
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
        let known = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        methods.extend(
            known.iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| *name),
        );
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
        return HttpResponse::PermanentRedirect()
            .insert_header((header::LOCATION, "/api/docs/"))
            .finish();
    }
    let config = std::sync::Arc::new(
        Config::new([
            Url::with_primary("Management and Threat Command", "/api/openapi.json", true),
            Url::new("Threat Command alone", "/api/threat-command.json"),
        ])
        // Groups of calls are closed at first, and found by their names.
        .doc_expansion("none")
        .filter(true)
        .deep_linking(true),
    );
    match serve(file, config) {
        Ok(Some(found)) => HttpResponse::Ok()
            .content_type(found.content_type)
            .insert_header((header::CONTENT_SECURITY_POLICY, UI_POLICY))
            .body(found.bytes.into_owned()),
        _ => HttpResponse::NotFound()
            .content_type("text/plain; charset=utf-8")
            .body("There is no such file."),
    }
}
