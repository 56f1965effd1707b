//! The management API: one file a noun. Wire types stand beside the handlers that take and give
//! them.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web};
use iocast_app::{Actor, App, Idempotent, Known, PageOf};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::Problem;

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod configuration;
pub(crate) mod device_types;
pub(crate) mod devices;
pub(crate) mod emulator;
pub(crate) mod faults;
pub(crate) mod fleet;
pub(crate) mod groups;
pub(crate) mod guards;
pub(crate) mod health;
pub(crate) mod imports;
pub(crate) mod iocs;
pub(crate) mod keys;
pub(crate) mod outages;
pub(crate) mod outbox;
pub(crate) mod protection;
pub(crate) mod public_feeds;
pub(crate) mod quality;
pub(crate) mod receipts;
pub(crate) mod recordings;
pub(crate) mod rules;
pub(crate) mod scenarios;
pub(crate) mod search;
pub(crate) mod service_tokens;
pub(crate) mod sessions;
pub(crate) mod snapshots;
pub(crate) mod sources;
pub(crate) mod subscriptions;
pub(crate) mod warninglists;

/// Result of a handler.
pub(crate) type Answer = Result<HttpResponse, Problem>;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// Entries.
    pub(crate) items: Vec<T>,
    /// Pass it as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// Answers with a page, and names the next one in a `Link` header.
pub(crate) fn list<T: Serialize>(request: &HttpRequest, page: PageOf<T>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if let Some(next) = &page.next {
        let others: Vec<&str> = request
            .query_string()
            .split('&')
            .filter(|p| !p.is_empty() && !p.starts_with("cursor="))
            .collect();
        let query = others
            .into_iter()
            .map(str::to_owned)
            .chain([format!("cursor={}", encoded(next))])
            .collect::<Vec<_>>()
            .join("&");
        answer.insert_header((header::LINK, format!("<{}?{query}>; rel=\"next\"", request.path())));
    }
    answer.json(List { items: page.items, next_cursor: page.next })
}

/// A cursor as it stands in a URL.
fn encoded(cursor: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    cursor
        .bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A list that has no further pages.
pub(crate) fn whole<T: Serialize>(items: Vec<T>) -> HttpResponse {
    HttpResponse::Ok().json(List { items, next_cursor: None })
}

/// Answers a create. With an `Idempotency-Key`, the answer given before comes back to the same
/// request.
pub(crate) async fn create<T: Serialize>(
    request: &HttpRequest,
    app: &web::Data<App>,
    actor: &Actor,
    body: &[u8],
    status: StatusCode,
    make: impl Future<Output = Result<T, Problem>>,
    fetch: impl AsyncFnOnce(Uuid) -> Result<T, Problem>,
) -> Answer {
    let key = idempotency_key(request, |key, operation| Idempotent::new(key, operation, body))?;
    // What was made is its id; shown as it is now.
    let again = async |id: Value| fetch(serde_json::from_value(id).unwrap_or_default()).await;
    answer_once(app, actor, key, status, make, again).await
}

/// The `Idempotency-Key` of a request with the operation it is for.
pub(crate) fn idempotency_key<T>(
    request: &HttpRequest,
    make: impl FnOnce(&str, String) -> iocast_app::AppResult<T>,
) -> Result<Option<T>, Problem> {
    let Some(header) = request.headers().get("idempotency-key") else { return Ok(None) };
    let operation = format!("{} {}?{}", request.method(), request.path(), request.query_string());
    Ok(Some(make(header.to_str().unwrap_or_default(), operation)?))
}

pub(crate) async fn answer_once<T: Serialize>(
    app: &web::Data<App>,
    actor: &Actor,
    key: Option<Idempotent>,
    status: StatusCode,
    make: impl Future<Output = Result<T, Problem>>,
    again: impl AsyncFnOnce(Value) -> Result<T, Problem>,
) -> Answer {
    // The first answer was for somebody who may change things; so is a repeated one.
    actor.may_write()?;
    let replayed = |status| {
        HttpResponse::build(status)
            .insert_header(("idempotency-replayed", "true"))
            .content_type("application/json")
            .take()
    };
    if let Some(key) = &key {
        match app.context.idempotency_begin(actor, key).await? {
            Known::Reserved => {}
            Known::Answered(replay) => {
                return Ok(replayed(StatusCode::from_u16(replay.status).unwrap_or(status))
                    .body(replay.answer));
            }
            Known::Took(effect) => return Ok(replayed(status).json(again(effect).await?)),
        }
    }
    // A client that is cut off takes its handler with it; its key must not stay reserved.
    let mut reserved =
        key.clone().map(|key| Reserved { app: app.clone(), actor: actor.clone(), key: Some(key) });
    let outcome = make.await;
    if let Some(reserved) = &mut reserved {
        reserved.key = None;
    }
    let made = match (outcome, &key) {
        (Ok(made), _) => made,
        (Err(problem), None) => return Err(problem),
        (Err(problem), Some(key)) => {
            app.context.idempotency_release(actor, key).await?;
            return Err(problem);
        }
    };
    if let Some(key) = &key {
        let answer = serde_json::to_value(&made).map_err(|error| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
        })?;
        app.context.idempotency_keep(actor, key, status.as_u16(), &answer).await?;
    }
    Ok(HttpResponse::build(status).json(made))
}

/// A reserved key whose request is under way; dropped before it ended, it is given back.
struct Reserved {
    app: web::Data<App>,
    actor: Actor,
    key: Option<Idempotent>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let (app, actor) = (self.app.clone(), self.actor.clone());
        actix_web::rt::spawn(async move {
            if let Err(error) = app.context.idempotency_release(&actor, &key).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "The key of a request that was cut off could not be given back"
                );
            }
        });
    }
}

/// Tells null (`Some(None)`) from absent (`None`).
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}
