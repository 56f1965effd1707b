//! API, appliance and device keys.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, post, web};
use iocast_app::{App, KeyView, NewKey};
use iocast_domain::{
    id::{DeviceId, KeyId},
    key::KeyKind,
    time::{HOUR, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{Answer, List, whole};
use crate::{
    extract::{Body, Id, Session, path_id},
    problem::Problem,
};

/// A key to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyIn {
    /// `api` or `appliance`.
    #[schema(value_type = String)]
    kind: AccountKeyKind,
}

/// The kinds of key that belong to the whole account.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AccountKeyKind {
    Api,
    Appliance,
}

/// Nothing needs to be said of a device key.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceKeyIn {}

/// How to rotate.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateIn {
    /// How long the old key works beside the new one: 24 unless given, 0 to 720.
    #[serde(default)]
    #[validate(range(
        min = 0,
        max = 720,
        code = "overlap_out_of_range",
        message = "Give an overlap of 0 to 720 hours."
    ))]
    overlap_hours: Option<i64>,
}

impl RotateIn {
    pub(crate) const fn overlap_hours(&self) -> Option<i64> {
        self.overlap_hours
    }
}

/// A key; the secret is shown once, when it is made.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyOut {
    /// Id.
    id: String,
    /// `api`, `appliance` or `device`.
    #[schema(value_type = String)]
    kind: KeyKind,
    /// For a device key: the device.
    device_id: Option<String>,
    /// The first characters of the secret.
    prefix: String,
    /// Whether it opens anything now.
    active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its overlap ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When it last opened something.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// The secret, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<KeyView> for KeyOut {
    fn from(view: KeyView) -> Self {
        let KeyView { key, refusal } = view;
        Self {
            id: key.id.to_string(),
            kind: key.kind,
            device_id: key.device_id.map(|d| d.to_string()),
            prefix: key.prefix,
            active: refusal.is_none(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
            secret: None,
        }
    }
}

impl From<NewKey> for KeyOut {
    fn from(new: NewKey) -> Self {
        Self { secret: Some(new.secret), ..Self::from(new.view) }
    }
}

/// Make an API or appliance key.
#[utoipa::path(tag = "keys", request_body = KeyIn, params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = KeyOut), (status = 422, body = Problem)))]
#[post("/keys")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    body: Body<KeyIn>,
) -> Answer {
    let kind = match body.value.kind {
        AccountKeyKind::Api => KeyKind::Api,
        AccountKeyKind::Appliance => KeyKind::Appliance,
    };
    let make = async { Ok(KeyOut::from(app.accounts.key_create(&session.0, kind, None).await?)) };
    let made = async |id| Ok(KeyOut::from(app.accounts.key_fetch(&session.0, KeyId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The account's API and appliance keys, newest first.
#[utoipa::path(tag = "keys", responses((status = 200, body = List<KeyOut>)))]
#[get("/keys")]
pub(crate) async fn list(app: web::Data<App>, session: Session) -> Answer {
    Ok(whole(
        app.accounts.key_list(&session.0, None).await?.into_iter().map(KeyOut::from).collect(),
    ))
}

/// Make a new key of the same kind; the old one works until the overlap ends.
#[utoipa::path(tag = "keys", request_body = RotateIn, params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = KeyOut), (status = 404, body = Problem), (status = 409, body = Problem)))]
#[post("/keys/{id}/rotate")]
pub(crate) async fn rotate(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<RotateIn>,
) -> Answer {
    let overlap = body.value.overlap_hours.map(|h| h.saturating_mul(HOUR));
    let make = async {
        Ok(KeyOut::from(app.accounts.key_rotate(&session.0, KeyId(id.0), overlap).await?))
    };
    let made = async |id| Ok(KeyOut::from(app.accounts.key_fetch(&session.0, KeyId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// Revoke a key at once.
#[utoipa::path(tag = "keys", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/keys/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.accounts.key_revoke(&session.0, None, KeyId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Make a key that opens only this device's groups.
#[utoipa::path(tag = "keys", request_body = DeviceKeyIn, params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = KeyOut), (status = 404, body = Problem)))]
#[post("/devices/{id}/keys")]
pub(crate) async fn create_for_device(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<DeviceKeyIn>,
) -> Answer {
    let DeviceKeyIn {} = body.value;
    let make = async {
        Ok(KeyOut::from(
            app.accounts.key_create(&session.0, KeyKind::Device, Some(DeviceId(id.0))).await?,
        ))
    };
    let made = async |id| Ok(KeyOut::from(app.accounts.key_fetch(&session.0, KeyId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The keys of a device, newest first.
#[utoipa::path(tag = "keys", params(("id" = Uuid, Path)), responses((status = 200, body = List<KeyOut>), (status = 404, body = Problem)))]
#[get("/devices/{id}/keys")]
pub(crate) async fn list_of_device(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(whole(
        app.accounts
            .key_list(&session.0, Some(DeviceId(id.0)))
            .await?
            .into_iter()
            .map(KeyOut::from)
            .collect(),
    ))
}

/// Revoke a key of a device at once.
#[utoipa::path(tag = "keys", params(("id" = Uuid, Path), ("key_id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/devices/{id}/keys/{key_id}")]
pub(crate) async fn delete_of_device(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
) -> Answer {
    let key = KeyId(path_id(&request, "key_id")?);
    app.accounts.key_revoke(&session.0, Some(DeviceId(id.0)), key).await?;
    Ok(HttpResponse::NoContent().finish())
}
