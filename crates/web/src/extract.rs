//! What handlers ask for in their signatures: a signed-in person, a checked body, an id, a page.

use std::{future::Future, net::SocketAddr, pin::Pin};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::{Method, StatusCode, header},
    web,
};
use iocast_app::{Actor, App, Caller, Page};
use iocast_domain::service_token::PREFIX;
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    problem::{Problem, ProblemField},
    scopes,
    trace::RequestId,
};

mod body;
pub(crate) use self::body::{Body, cut_off, drain, read_small, too_slow, uncompressed};

/// Most bytes of a JSON body, or of a form, of somebody who is signed in.
pub(crate) const BODY_MAX: usize = 1024 * 1024;
/// The same of anybody: an address, a password, a link.
pub(crate) const ANYBODY_MAX: usize = 8 * 1024;
type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// Where a request came from.
pub(crate) fn caller(request: &HttpRequest) -> Caller {
    let request_id =
        request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let key = request.headers().get("idempotency-key").filter(|_| request.method() == Method::POST);
    let idempotency_key = key.and_then(|k| k.to_str().ok()).map(str::to_owned);
    let known_browser = app(request)
        .ok()
        .and_then(|app| request.cookie(known_browser_name(&app)))
        .map(|cookie| cookie.value().to_owned());
    Caller { address: address(request), request_id, idempotency_key, known_browser }
}

/// The address that a request came from.
pub(crate) fn address(request: &HttpRequest) -> String {
    let asked_by = |peer: SocketAddr| match request
        .app_data::<web::Data<App>>()
        .map(|app| &app.context.settings.trusted_proxies)
    {
        Some(proxies) if !proxies.is_empty() => {
            let forwarded: Vec<&str> = request
                .headers()
                .get_all("x-forwarded-for")
                .filter_map(|v| v.to_str().ok())
                .collect();
            proxies.client(peer.ip(), &forwarded.join(","))
        }
        _ => peer.ip().to_canonical(),
    };
    request.peer_addr().map(|peer| asked_by(peer).to_string()).unwrap_or_default()
}

pub(crate) fn app(request: &HttpRequest) -> Result<web::Data<App>, Problem> {
    request.app_data::<web::Data<App>>().cloned().ok_or_else(|| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The application is not there.")
    })
}

/// The name of the session cookie: with the `__Host-` guard where the public URL is https.
pub(crate) fn cookie_name(app: &App) -> &'static str {
    if is_https(app) { "__Host-iocast" } else { "iocast" }
}

/// The name of the cookie by which a browser is known in which somebody signed in before.
pub(crate) fn known_browser_name(app: &App) -> &'static str {
    if is_https(app) { "__Host-iocast-known" } else { "iocast-known" }
}

pub(crate) fn is_https(app: &App) -> bool {
    app.context.settings.public_url.starts_with("https://")
}

/// A signed-in person, or a program with a service token.
pub(crate) struct Session(pub(crate) Actor);

impl FromRequest for Session {
    type Error = Problem;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let caller = caller(&request);
            let app = app(&request)?;
            let bearer = request
                .headers()
                .get(header::AUTHORIZATION)
                .map(|v| v.to_str().unwrap_or_default());
            let cookie = request.cookie(cookie_name(&app));
            // A program says who it is; a cookie may come along by itself.
            let token = match (bearer, cookie) {
                (Some(header), _) => match header.split_once(' ') {
                    Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                        let token = token.trim();
                        if token.starts_with(PREFIX) {
                            let actor = app.accounts.service_token_actor(token, caller).await?;
                            scopes::check(&request, &app, &actor).await?;
                            return Ok(Self(actor));
                        }
                        app.accounts.is_no_key(token)?;
                        token.to_owned()
                    }
                    _ => {
                        return Err(Problem::new(
                            StatusCode::UNAUTHORIZED,
                            "unauthenticated",
                            "This API takes Bearer tokens: a service token, or what POST /api/v1/sessions gives. Basic with account ID and appliance key is for group URLs only.",
                        ));
                    }
                },
                (None, Some(cookie)) => {
                    same_origin(&request, &app)?;
                    cookie.value().to_owned()
                }
                (None, None) => {
                    return Err(Problem::new(
                        StatusCode::UNAUTHORIZED,
                        "unauthenticated",
                        "Send a service token as Bearer, or sign in first: POST /api/v1/sessions with e-mail and password.",
                    ));
                }
            };
            Ok(Self(app.accounts.authenticate(&token, caller).await?))
        })
    }
}

/// Whether a form was sent from another site, as far as the browser says; where it says nothing,
/// the form's token decides.
pub(crate) fn foreign(request: &HttpRequest, app: &App) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        (None, Some("null") | None) => false,
        (None, Some(origin)) => {
            app.context.settings.public_url != origin && host_of(origin) != header("host")
        }
    }
}

/// Lets a request with the cookie change something only if it comes from our own pages.
fn same_origin(request: &HttpRequest, app: &App) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let ours = match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            app.context.settings.public_url == origin || host_of(origin) == header("host")
        }
        (None, None) => false,
    };
    if ours {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "A request with the session cookie must come from iocast's own pages; scripts send the token as Bearer.",
        ))
    }
}

fn host_of(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, host)| host)
}

/// An id in the path: what is no UUID is not there.
pub(crate) struct Id(pub(crate) Uuid);

impl FromRequest for Id {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        caller(request);
        std::future::ready(path_id(request, "id").map(Self))
    }
}

pub(crate) fn path_id(request: &HttpRequest, name: &str) -> Result<Uuid, Problem> {
    let text = request.match_info().get(name).unwrap_or_default();
    text.parse().map_err(|_: uuid::Error| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such object in this account: the id in the path is not a UUID.",
        )
    })
}

/// Query parameters, without unknown ones.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        caller(request);
        if request.query_string().contains("%00") {
            return std::future::ready(Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "query",
                "A query parameter can't hold NUL characters.",
            )));
        }
        let read = web::Query::<T>::from_query(request.query_string());
        std::future::ready(read.map(|q| Self(q.into_inner())).map_err(|e| {
            Problem::new(StatusCode::BAD_REQUEST, "query", format!("Invalid query parameter: {e}."))
        }))
    }
}

/// The part of a list that is wanted.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Entries at most: 1 to 1,000, 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl Paging {
    pub(crate) fn page(self) -> Result<Page, Problem> {
        page(self.limit, self.cursor)
    }
}

pub(crate) fn page(limit: Option<u64>, cursor: Option<String>) -> Result<Page, Problem> {
    let limit = limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(Problem::fields(vec![ProblemField {
            field: "limit".to_owned(),
            code: "limit_out_of_range".to_owned(),
            message: "Give a limit of 1 to 1,000 entries a page.".to_owned(),
        }]));
    }
    Ok(Page { limit, after: cursor })
}
