//! Around every request: an id, a log line without secrets, and the headers that keep browsers
//! safe.

use std::time::{Duration, Instant};

use actix_web::{
    Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use iocast_app::App;

use crate::{extract::address, metrics::RequestDurations};

tokio::task_local! {
    /// The id of the request that is being answered.
    static CURRENT: String;
}

/// Headers of every answer.
pub const SECURITY_HEADERS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
];

/// The id of the present request.
pub(crate) fn request_id() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// The id kept with a request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// A HEAD is a GET whose body is not sent: it is answered by the same route, and the server leaves
/// the body out. Feeds have their own way, so that no body is made for it.
pub(crate) async fn head_as_get<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let own = ["/feeds/", "/taxii", "/public/"];
    if request.method() == Method::HEAD
        && !own.iter().any(|place| request.path().starts_with(place))
    {
        request.head_mut().method = Method::GET;
    }
    next.call(request).await
}

/// The trace that a request belongs to, where its caller names one (W3C Trace Context:
/// `00-<trace>-<parent>-<flags>`).
fn trace_id(request: &HttpRequest) -> Option<String> {
    let given = request.headers().get("traceparent")?.to_str().ok()?;
    let mut parts = given.split('-').skip(1);
    let (trace, parent) = (parts.next()?, parts.next()?);
    let hex = |part: &str, len| {
        part.len() == len
            && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && part.bytes().any(|b| b != b'0')
    };
    (hex(trace, 32) && hex(parent, 16)).then(|| trace.to_owned())
}

/// Notes an answer in the metrics and, where `log` lets the target `access` through, in the log:
/// without the query, which may hold a key.
pub(crate) fn answered(request: &HttpRequest, status: u16, took: Duration, id: &str) {
    let path = request.path();
    if let Some(durations) = request.app_data::<web::Data<RequestDurations>>() {
        durations.note(path, took);
    }
    if tracing::enabled!(target: "access", tracing::Level::INFO) {
        let (method, address, trace) = (request.method(), address(request), trace_id(request));
        let milliseconds = took.as_secs_f64() * 1e3;
        tracing::info!(
            target: "access",
            { request.id = id, trace.id = trace, client.address = address, http.method = %method, http.path = path, http.status = status, http.ms = milliseconds },
            "{method} {path} answered {status}"
        );
    }
}

pub(crate) async fn around<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    use actix_web::HttpMessage as _;
    let id = request
        .app_data::<web::Data<App>>()
        .map(|app| app.context.request_id())
        .unwrap_or_default();
    request.extensions_mut().insert(RequestId(id.clone()));
    let closing = request.app_data::<web::Data<App>>().cloned();
    let begun = Instant::now();
    let mut answer = CURRENT.scope(id.clone(), next.call(request)).await?;
    if closing.is_some_and(|app| app.context.is_closing())
        || crate::feed::is_in_the_way(answer.request())
    {
        // A client that keeps the connection busy would delay the shutdown; its next request goes
        // to another replica.
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if answer.request().app_config().secure() {
        // A browser that came by HTTPS once uses it for a year.
        answer.headers_mut().insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    answered(answer.request(), answer.status().as_u16(), begun.elapsed(), &id);
    let headers = answer.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    Ok(answer)
}
