//! Service tokens.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, post, web};
use iocast_app::{App, AppError, MadeServiceToken, NewServiceToken, ServiceTokenView};
use iocast_domain::{
    id::{DeviceId, ServiceTokenId, SourceId},
    service_token::{Limit, Scope},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::{Answer, List, keys::RotateIn, whole};
use crate::{
    extract::{Body, Id, Session},
    problem::Problem,
};

/// A service token to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceTokenIn {
    /// Which program uses it; 1 to 80 characters.
    name: String,
    /// `read`: reads all but what only administrators see (people, messages, the audit log).
    /// `devices`: also changes devices with their groups and keys, and rules. `intake`: also changes
    /// sources and IOCs, and imports. `admin`: everything that an administrator may, but for service
    /// tokens, API keys and people.
    #[schema(value_type = String)]
    scope: Scope,
    /// Only this device, with its groups and keys.
    #[serde(default)]
    device_id: Option<Uuid>,
    /// Only this source, with its imports and its subscription.
    #[serde(default)]
    source_id: Option<Uuid>,
    /// Days until it expires, 1 to 3,650; null or absent: it does not.
    #[serde(default)]
    expires_in_days: Option<i64>,
}

/// A service token; the secret is shown once, when it is made.
#[derive(Serialize, ToSchema)]
pub(crate) struct ServiceTokenOut {
    /// Id.
    id: String,
    /// Which program uses it.
    name: String,
    /// `read`, `devices`, `intake` or `admin`.
    #[schema(value_type = String)]
    scope: Scope,
    /// The only device that it is for.
    device_id: Option<String>,
    /// The only source that it is for.
    source_id: Option<String>,
    /// The first characters of the secret.
    prefix: String,
    /// Whether it opens anything now.
    active: bool,
    /// Who made it.
    made_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it expires.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// The token that took its place; it works beside it until it expires.
    replaced_by: Option<String>,
    /// When it was last used, to five minutes.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The secret, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<ServiceTokenView> for ServiceTokenOut {
    fn from(view: ServiceTokenView) -> Self {
        let ServiceTokenView { token, refusal } = view;
        let (device_id, source_id) = match token.limit {
            Some(Limit::Device(id)) => (Some(id.to_string()), None),
            Some(Limit::Source(id)) => (None, Some(id.to_string())),
            None => (None, None),
        };
        Self {
            id: token.id.to_string(),
            name: token.name,
            scope: token.scope,
            device_id,
            source_id,
            prefix: token.prefix,
            active: refusal.is_none(),
            made_by: token.made_by,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            replaced_by: token.replaced_by.map(|id| id.to_string()),
            last_used_at: token.last_used_at,
            secret: None,
        }
    }
}

impl From<MadeServiceToken> for ServiceTokenOut {
    fn from(made: MadeServiceToken) -> Self {
        Self { secret: Some(made.secret), ..Self::from(made.view) }
    }
}

/// The one thing that a token is for.
pub(crate) fn limit(device: Option<Uuid>, source: Option<Uuid>) -> Result<Option<Limit>, AppError> {
    match (device, source) {
        (Some(_), Some(_)) => Err(AppError::field(
            "source_id",
            "one_limit",
            "Limit a token to a device or to a source, not to both.",
        )),
        (Some(id), None) => Ok(Some(Limit::Device(DeviceId(id)))),
        (None, Some(id)) => Ok(Some(Limit::Source(SourceId(id)))),
        (None, None) => Ok(None),
    }
}

/// Make a service token.
#[utoipa::path(tag = "service tokens", request_body = ServiceTokenIn, params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = ServiceTokenOut), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/service-tokens")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    body: Body<ServiceTokenIn>,
) -> Answer {
    let ServiceTokenIn { name, scope, device_id, source_id, expires_in_days: days } = body.value;
    let limit = limit(device_id, source_id)?;
    let new = NewServiceToken { name, scope, limit, days };
    let make = async {
        Ok(ServiceTokenOut::from(app.accounts.service_token_create(&session.0, new).await?))
    };
    let made = async |id| {
        let found = app.accounts.service_token_fetch(&session.0, ServiceTokenId(id)).await?;
        Ok(ServiceTokenOut::from(found))
    };
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The account's service tokens, newest first.
#[utoipa::path(tag = "service tokens", responses((status = 200, body = List<ServiceTokenOut>), (status = 403, body = Problem)))]
#[get("/service-tokens")]
pub(crate) async fn list(app: web::Data<App>, session: Session) -> Answer {
    let all = app.accounts.service_token_list(&session.0).await?;
    Ok(whole(all.into_iter().map(ServiceTokenOut::from).collect()))
}

/// The service token of this request: what it may do and until when.
#[utoipa::path(tag = "service tokens", responses((status = 200, body = ServiceTokenOut), (status = 404, body = Problem)))]
#[get("/service-tokens/current")]
pub(crate) async fn current(app: web::Data<App>, session: Session) -> Answer {
    let token = session.0.service_token().ok_or(AppError::NotFound("service token"))?;
    let found = app.accounts.service_token_fetch(&session.0, token.id).await?;
    Ok(HttpResponse::Ok().json(ServiceTokenOut::from(found)))
}

/// Make a new token with the same name, scope and life; the old one works until the overlap ends.
#[utoipa::path(tag = "service tokens", request_body = RotateIn, params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = ServiceTokenOut), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/service-tokens/{id}/rotate")]
pub(crate) async fn rotate(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<RotateIn>,
) -> Answer {
    let (id, overlap) = (ServiceTokenId(id.0), body.value.overlap_hours());
    let make = async {
        let made = app.accounts.service_token_rotate(&session.0, id, overlap).await?;
        Ok(ServiceTokenOut::from(made))
    };
    let made = async |id| {
        let found = app.accounts.service_token_fetch(&session.0, ServiceTokenId(id)).await?;
        Ok(ServiceTokenOut::from(found))
    };
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// Revoke a service token at once.
#[utoipa::path(tag = "service tokens", params(("id" = Uuid, Path)), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
#[delete("/service-tokens/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.accounts.service_token_revoke(&session.0, ServiceTokenId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}
