//! The Threat Command REST API under `/public`, as its clients know it: names, codes and quirks are
//! the original's, odd as some are. Where the original's answer is not known, it is one that its
//! clients take.

use std::fmt;

use actix_web::{
    Error, FromRequest, HttpRequest, HttpResponse, ResponseError,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{StatusCode, Uri, header},
    middleware::Next,
    web,
};
use futures_util::{StreamExt as _, future::LocalBoxFuture};
use iocast_app::{Actor, App, AppError};
use iocast_domain::{ioc::Kind, time::Timestamp};
use serde::de::DeserializeOwned;

use crate::extract::caller;

pub(crate) mod account;
pub(crate) mod alerts;
pub(crate) mod bulk_edit;
pub(crate) mod iocs;
mod lenient;
pub(crate) mod partners;
pub(crate) mod sources;

/// Most bytes of a body.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// What handlers give.
pub(crate) type Answer = Result<HttpResponse, Refusal>;

/// How the original refuses: a status, and most often a bare code as text.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: String,
    json: bool,
    retry_after: Option<u64>,
}

impl Refusal {
    /// A bare code or a sentence.
    pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), json: false, retry_after: None }
    }

    /// A parameter or body that breaks a rule.
    pub(crate) fn unprocessable(sentence: impl Into<String>) -> Self {
        Self::text(StatusCode::UNPROCESSABLE_ENTITY, sentence)
    }

    /// Whether it says that something in the body can't be done.
    pub(crate) fn is_about_the_body(&self) -> bool {
        matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
    }

    /// `{"error": {"name", "message"}}`.
    pub(crate) fn named(status: StatusCode, name: &str, message: &str) -> Self {
        let body = serde_json::json!({ "error": { "name": name, "message": message } }).to_string();
        Self { status, body, json: true, retry_after: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status);
        if self.status == StatusCode::UNAUTHORIZED {
            answer.insert_header((
                header::WWW_AUTHENTICATE,
                "Basic realm=\"iocast\", charset=\"UTF-8\"",
            ));
        }
        if let Some(seconds) = self.retry_after {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        answer
            .content_type(if self.json { "application/json" } else { "text/plain; charset=utf-8" })
            .body(self.body.clone())
    }
}

impl From<AppError> for Refusal {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Invalid(fields) => match fields.first() {
                Some(first) if first.code == "InvalidIocValue" => {
                    Self::named(StatusCode::BAD_REQUEST, "InvalidIocValue", &first.message)
                }
                _ => Self::unprocessable(
                    fields.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join(" "),
                ),
            },
            AppError::Malformed(sentence) => Self::unprocessable(sentence),
            AppError::NotFound("source") => Self::text(StatusCode::NOT_FOUND, "SourceDoesNotExist"),
            AppError::NotFound("alert") => Self::text(StatusCode::NOT_FOUND, "AlertDoesNotExist"),
            AppError::NotFound(what) => {
                Self::text(StatusCode::NOT_FOUND, format!("There is no such {what}."))
            }
            AppError::Conflict { detail, .. } => Self::text(StatusCode::CONFLICT, detail),
            AppError::Unauthenticated(sentence) => Self::text(StatusCode::UNAUTHORIZED, sentence),
            error @ (AppError::Forbidden | AppError::NoModule(_)) => {
                Self::text(StatusCode::FORBIDDEN, error.to_string())
            }
            AppError::Throttled { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::text(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many calls in this minute; see Retry-After.",
                )
            },
            AppError::TooLarge(sentence) => Self::text(StatusCode::PAYLOAD_TOO_LARGE, sentence),
            error @ AppError::OtherSecrets => {
                Self::text(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            AppError::Unavailable(sentence) => Self {
                retry_after: Some(5),
                ..Self::text(StatusCode::SERVICE_UNAVAILABLE, sentence)
            },
            AppError::Internal(error) => {
                tracing::error!(
                    error = &*error as &dyn std::error::Error,
                    "A call of the REST API failed"
                );
                Self::text(StatusCode::INTERNAL_SERVER_ERROR, "GeneralError")
            }
        }
    }
}

/// A program that showed account ID and API key.
pub(crate) struct Program(pub(crate) Actor);

impl FromRequest for Program {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let Some(app) = request.app_data::<web::Data<App>>() else {
                return Err(Refusal::text(StatusCode::INTERNAL_SERVER_ERROR, "GeneralError"));
            };
            let text = |name: header::HeaderName| {
                request.headers().get(name).and_then(|v| v.to_str().ok())
            };
            let actor = app
                .accounts
                .api_authenticate(text(header::AUTHORIZATION), caller(&request))
                .await?;
            let named = request.headers().get("account-id").map(|id| id.as_bytes().trim_ascii());
            if named
                .is_some_and(|id| !id.eq_ignore_ascii_case(actor.account_id.as_str().as_bytes()))
            {
                // Sub-accounts are the original's; answering for the main account would be
                // answering for another customer.
                return Err(Refusal::text(
                    StatusCode::BAD_REQUEST,
                    "The Account-Id header names another account than this one. iocast has no sub-accounts: leave it out, or send the account's own ID.",
                ));
            }
            Ok(Self(actor))
        })
    }
}

/// A JSON body. Fields that the original may know and we don't are let through.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let mut payload = payload.take();
        Box::pin(async move {
            let mut bytes = Vec::new();
            while let Some(chunk) = payload.next().await {
                let chunk =
                    chunk.map_err(|_cut| Refusal::unprocessable("The body was cut off."))?;
                if bytes.len() + chunk.len() > BODY_MAX {
                    return Err(Refusal::text(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "The body is larger than 16 MiB; send it in pieces.",
                    ));
                }
                bytes.extend_from_slice(&chunk);
            }
            // PostgreSQL stores no NUL; where it came from a device it is no text at all.
            if bytes.contains(&0) || bytes.windows(6).any(|six| six == b"\\u0000") {
                return Err(Refusal::unprocessable("Leave NUL characters out of the body."));
            }
            serde_json::from_slice(&bytes).map(Self).map_err(|error| {
                Refusal::unprocessable(format!("The body is not what this call takes: {error}."))
            })
        })
    }
}

/// The query of a request, by name; of `type[0]=` and `type[]=` the name is `type`.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn of(request: &HttpRequest) -> Result<Self, Refusal> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_broken| Refusal::unprocessable("The query is not readable."))?
            .into_inner();
        let bare = |(name, value): (String, String)| {
            (name.split('[').next().unwrap_or_default().to_owned(), value)
        };
        Ok(Self(pairs.into_iter().map(bare).collect()))
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is_set = move |(n, v): &&(String, String)| n == name && !lenient::is_unset(v);
        self.0.iter().filter(is_set).map(|(_, v)| v.as_str())
    }

    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// A parameter as it is, which may be a word that stands for what is not set.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, v)| n == name && !v.is_empty());
        found.map(|(_, v)| v.as_str())
    }

    /// Every value of a parameter, read: repeated or behind commas.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
        allowed: &str,
    ) -> Result<Vec<T>, Refusal> {
        let one = |text: &str| {
            read(text).ok_or_else(|| Refusal::unprocessable(format!("{name} is one of {allowed}.")))
        };
        let words = self.all(name).flat_map(|text| text.split(',')).map(str::trim);
        words.filter(|text| !text.is_empty()).map(one).collect()
    }

    /// A parameter that is set and that nobody here knows: it may be a filter of the original, and
    /// what is not filtered must not pass for filtered.
    pub(crate) fn unknown(&self, known: &[&str]) -> Option<&str> {
        let is_known = |name: &str| known.contains(&name) || HARMLESS.contains(&name);
        let unknown = self.0.iter().find(|(name, v)| !lenient::is_unset(v) && !is_known(name));
        unknown.map(|(name, _)| name.as_str())
    }

    /// Refuses a filter that nobody here knows.
    pub(crate) fn check(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.unknown(known) {
            None => Ok(()),
            Some(name) => Err(Refusal::unprocessable(format!(
                "iocast does not know the parameter {name}, and would answer more than was asked for: leave it out."
            ))),
        }
    }

    /// One of several words, of which none has an alert or IOC here.
    pub(crate) fn asks_for_nothing(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.one(name).is_some())
    }

    /// A time: ISO 8601, or milliseconds since 1970 and `MM/DD/YYYY` as older clients send it.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let read = |text: &str| {
            lenient::time(text)
                .map_err(|message| Refusal::unprocessable(format!("{name}: {message}")))
        };
        self.one(name).map(read).transpose()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.one(name) {
            None => Ok(None),
            Some(text) => text
                .to_ascii_lowercase()
                .parse()
                .map(Some)
                .map_err(|_neither| Refusal::unprocessable(format!("{name} is true or false."))),
        }
    }
}

/// Parameters that narrow nothing: whatever they say, the answer is right.
const HARMLESS: &[&str] = &[
    "limit",
    "offset",
    "syncId",
    "sort",
    "sortBy",
    "order",
    "orderBy",
    "appName",
    "version",
    "encloseValueWithQuotes",
    "_",
];

/// ISO 8601 with milliseconds and Z, as the original writes times.
pub(crate) fn iso(at: Timestamp) -> String {
    at.millis()
}

/// The original's word for a kind.
pub(crate) const fn type_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Domain => "Domains",
        Kind::Url => "Urls",
        Kind::Email => "Emails",
        Kind::Ipv4 | Kind::Ipv6 => "IpAddresses",
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 => "Hashes",
    }
}

/// The kinds behind the original's word, ignoring case.
pub(crate) fn kinds_of(word: &str) -> Option<Vec<Kind>> {
    let kinds: Vec<Kind> = Kind::ALL
        .iter()
        .copied()
        .filter(|kind| type_word(*kind).eq_ignore_ascii_case(word))
        .collect();
    (!kinds.is_empty()).then_some(kinds)
}

/// A word with a capital, as the original writes `High` and `Active`.
pub(crate) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The original takes a slash behind a path, and two before it.
pub(crate) async fn without_slash<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let path = request.path();
    // Behind these stands a value, which may end with one.
    let is_value = ["/enrich/", "/investigate/"].iter().any(|of| path.contains(of));
    let bare = path.strip_prefix('/').filter(|of| of.starts_with("/public/")).unwrap_or(path);
    let bare = bare.strip_suffix('/').filter(|_| !is_value).unwrap_or(bare);
    if bare.len() < path.len() && bare.starts_with("/public/") {
        let query = Some(request.query_string()).filter(|query| !query.is_empty());
        let bare = query.map_or_else(|| bare.to_owned(), |query| format!("{bare}?{query}"));
        if let Ok(uri) = bare.parse::<Uri>() {
            request.match_info_mut().get_mut().update(&uri);
            request.head_mut().uri = uri;
        }
    }
    next.call(request).await
}

/// What the original does and we don't.
pub(crate) async fn not_here(request: HttpRequest, _program: Program) -> Answer {
    let path = request.path();
    Err(Refusal::text(
        StatusCode::NOT_IMPLEMENTED,
        format!(
            "iocast does not emulate {path}: it emulates sources, IOCs, alerts as far as they feed devices, and devices; see /api/docs for what is there."
        ),
    ))
}
