//! How pages are put together: templates, their filters, and what is said once on the next page.

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::Cookie,
    http::{StatusCode, header},
};
use iocast_domain::time::{SECOND, Timestamp, span_in_words};
use minijinja::{Value, value::Serde};
use serde::Serialize;

use super::visit::brief_cookie;
use crate::templates;

/// Renders a page.
pub(crate) fn page(status: StatusCode, name: &str, context: Value) -> HttpResponse {
    match templates::render(name, context) {
        Ok(html) => HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "The page {name} could not be rendered"
            );
            HttpResponse::InternalServerError()
                .content_type("text/plain; charset=utf-8")
                .body("This page could not be rendered; the log says why.")
        }
    }
}

/// A text as it stands in a query.
pub(crate) fn query_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Anything that can be serialised, for a template.
pub(crate) fn value(of: impl Serialize) -> Value {
    Value::from(Serde(of))
}

/// This page with a parameter of its query set.
pub(crate) fn with_query(request: &HttpRequest, name: &str, value: &str) -> String {
    let others = url::form_urlencoded::parse(request.query_string().as_bytes())
        .filter(|(key, _)| key != name);
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(others).append_pair(name, value);
    format!("{}?{}", request.path(), query.finish())
}

/// Another address with the query of this page, but for some parameters.
pub(crate) fn at_query(request: &HttpRequest, path: &str, without: &[&str]) -> String {
    let others = url::form_urlencoded::parse(request.query_string().as_bytes())
        .filter(|(key, value)| !without.contains(&&**key) && !value.is_empty());
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The same in another order.
pub(crate) fn sorted(request: &HttpRequest, path: &str, without: &[&str], by: &str) -> String {
    let at = at_query(request, path, without);
    let joint = if at.contains('?') { '&' } else { '?' };
    format!("{at}{joint}sort={by}")
}

/// How long ago something was.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at) {
        span if span < 0 => format!("in {}", span_in_words(-span)),
        span if span < 10 * SECOND => "just now".to_owned(),
        span => format!("{} ago", span_in_words(span)),
    }
}

/// What was just done, said on the next page and then forgotten.
pub(crate) struct Flash(pub(crate) String);

impl Flash {
    const fn cookie(https: bool) -> &'static str {
        if https { "__Host-iocast-said" } else { "iocast-said" }
    }

    pub(crate) fn of(request: &HttpRequest, https: bool) -> Option<Self> {
        let cookie = request.cookie(Self::cookie(https))?;
        let text = url::form_urlencoded::parse(cookie.value().as_bytes()).next()?.0.into_owned();
        (!text.is_empty()).then_some(Self(text))
    }

    pub(crate) fn set(&self, answer: &mut HttpResponse, https: bool) {
        add(answer, &brief_cookie(Self::cookie(https), query_encoded(&self.0), https));
    }

    pub(crate) fn clear(answer: &mut HttpResponse, https: bool) {
        let mut cookie = Cookie::build(Self::cookie(https), "").path("/").secure(https).finish();
        cookie.make_removal();
        add(answer, &cookie);
    }
}

fn add(answer: &mut HttpResponse, cookie: &Cookie<'_>) {
    if let Ok(value) = cookie.to_string().parse() {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Whether this leads to a place of ours and nowhere else. Browsers take tabs and line ends out of
/// addresses, and a backslash for a slash.
pub(crate) fn is_place(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(|c: char| c == '\\' || c.is_control())
}

/// Tells one version of what a form changes from another, so that nobody overwrites what somebody
/// else saved since.
pub(crate) fn stamp(of: &impl serde::Serialize) -> String {
    // The same on every replica, whatever compiled it.
    uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_OID,
        serde_json::to_string(of).unwrap_or_default().as_bytes(),
    )
    .simple()
    .to_string()
}
