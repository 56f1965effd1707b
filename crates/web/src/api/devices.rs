//! Devices and their pulls.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, patch, post, web};
use iocast_app::{App, DevicePatch, DeviceView, GroupView, NewDevice, PullLine};
use iocast_domain::{
    id::DeviceId,
    staleness::{Dot, Reason},
    time::{HOUR, Timestamp},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use super::{Answer, List, given, groups::GroupOut, protection::ProtectionOut};
use crate::{
    extract::{Body, Id, Paging, Query, Session},
    problem::Problem,
};

/// A device to be added.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceIn {
    /// 1 to 50 letters, digits, spaces and underscores.
    name: String,
    /// Id of a device type.
    device_type: String,
    /// The type's maximum unless given.
    #[serde(default)]
    ioc_limit: Option<i64>,
    /// Labels by which devices are found: at most 10, each 1 to 40 letters, digits, spaces or
    /// `_-.:/`, kept in lower case.
    #[serde(default)]
    labels: Vec<String>,
}

/// What may be changed of a device.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DevicePatchIn {
    /// New name.
    #[serde(default)]
    name: Option<String>,
    /// New limit.
    #[serde(default)]
    ioc_limit: Option<i64>,
    /// A paused device keeps its feed but is not monitored.
    #[serde(default)]
    paused: Option<bool>,
    /// When the pause ends by itself; null keeps it until somebody ends it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_until: Option<Option<Timestamp>>,
    /// All of its labels.
    #[serde(default)]
    labels: Option<Vec<String>>,
    /// Hours without a pull after which it is silent: 1 to 720; null goes back to the account's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    silent_after_hours: Option<Option<i64>>,
}

/// The dot.
#[derive(Serialize, ToSchema)]
pub(crate) struct SyncOut {
    /// `red` or `green`.
    #[schema(value_type = String)]
    status: Dot,
    /// `never_pulled`, `synced` or `silent`.
    #[schema(value_type = String)]
    reason: Reason,
    /// The last completed pull.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_pull_at: Option<Timestamp>,
    /// While silent: since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    silent_since: Option<Timestamp>,
}

/// A device.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceOut {
    /// Id.
    id: String,
    /// Name.
    name: String,
    /// Id of its type.
    device_type: &'static str,
    /// The most IOCs of all its groups together.
    ioc_limit: u32,
    /// Served, only not watched.
    paused: bool,
    /// When the pause ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_until: Option<Timestamp>,
    /// Labels, in order.
    labels: Vec<String>,
    /// Hours without a pull after which it is silent; null where the account's threshold applies.
    silent_after_hours: Option<i64>,
    /// The dot.
    sync: SyncOut,
    /// Whether it has what its groups hold: the most urgent of all its groups; null before the
    /// first publication.
    protection: Option<ProtectionOut>,
    /// Its groups, by name.
    groups: Vec<GroupOut>,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<DeviceView> for DeviceOut {
    fn from(view: DeviceView) -> Self {
        let DeviceView { device, sync, groups } = view;
        Self {
            id: device.id.to_string(),
            name: device.name.to_string(),
            device_type: device.device_type.id,
            ioc_limit: device.ioc_limit,
            paused: device.paused,
            paused_until: device.paused_until,
            labels: device.labels.into_iter().collect(),
            silent_after_hours: device.silent_after.map(|micros| micros / HOUR),
            sync: SyncOut {
                status: sync.dot,
                reason: sync.reason,
                last_pull_at: sync.last_pull_at,
                silent_since: sync.silent_since,
            },
            protection: groups
                .iter()
                .flat_map(|group| group.protection.first())
                .min()
                .map(|worst| ProtectionOut::from(*worst)),
            groups: groups.into_iter().map(|view: GroupView| GroupOut::from(view)).collect(),
            created_at: device.created_at,
        }
    }
}

/// A pull, or several like ones, or a refused one.
#[derive(Serialize, ToSchema)]
pub(crate) struct PullOut {
    /// When, or when the last of them.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When the first of them.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    /// How many.
    count: u32,
    /// The group.
    group_id: String,
    /// Client address.
    address: String,
    /// `User-Agent`.
    user_agent: String,
    /// `MISP-version`.
    misp_version: Option<String>,
    /// `MISP-uuid`.
    misp_uuid: Option<String>,
    /// HTTP status.
    status: u16,
    /// Body length.
    bytes: u64,
    /// For a refused one: why.
    reason: Option<String>,
    /// MISP events that were fetched; then it is no pull, and `bytes` are those of all of them.
    events: u32,
}

impl From<PullLine> for PullOut {
    fn from(line: PullLine) -> Self {
        let PullLine { pull, first_at, count, reason, events } = line;
        Self {
            at: pull.at,
            first_at,
            count,
            group_id: pull.group_id.to_string(),
            address: pull.address,
            user_agent: pull.user_agent,
            misp_version: pull.misp_version,
            misp_uuid: pull.misp_uuid,
            status: pull.status,
            bytes: pull.bytes,
            reason,
            events,
        }
    }
}

/// Add a device.
#[utoipa::path(tag = "devices", request_body = DeviceIn, params(("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = DeviceOut), (status = 422, body = Problem)))]
#[post("/devices")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    body: Body<DeviceIn>,
) -> Answer {
    let DeviceIn { name, device_type, ioc_limit, labels } = body.value;
    let make = async {
        Ok(DeviceOut::from(
            app.accounts
                .device_create(&session.0, NewDevice { name, device_type, ioc_limit, labels })
                .await?,
        ))
    };
    let made =
        async |id| Ok(DeviceOut::from(app.accounts.device_fetch(&session.0, DeviceId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The devices, by name.
#[utoipa::path(tag = "devices", params(Paging), responses((status = 200, body = List<DeviceOut>)))]
#[get("/devices")]
pub(crate) async fn list(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    paging: Query<Paging>,
) -> Answer {
    Ok(super::list(
        &request,
        app.accounts.device_list(&session.0, &paging.0.page()?).await?.map(DeviceOut::from),
    ))
}

/// One device.
#[utoipa::path(tag = "devices", params(("id" = Uuid, Path)), responses((status = 200, body = DeviceOut), (status = 404, body = Problem)))]
#[get("/devices/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok()
        .json(DeviceOut::from(app.accounts.device_fetch(&session.0, DeviceId(id.0)).await?)))
}

/// Change a device.
#[utoipa::path(tag = "devices", request_body = DevicePatchIn, params(("id" = Uuid, Path)), responses((status = 200, body = DeviceOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[patch("/devices/{id}")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<DevicePatchIn>,
) -> Answer {
    let DevicePatchIn { name, ioc_limit, paused, paused_until, labels, silent_after_hours } =
        body.value;
    let view = app
        .accounts
        .device_update(
            &session.0,
            DeviceId(id.0),
            DevicePatch {
                name,
                ioc_limit,
                paused,
                paused_until,
                labels,
                silent_after_hours,
                ..DevicePatch::default()
            },
        )
        .await?;
    Ok(HttpResponse::Ok().json(DeviceOut::from(view)))
}

/// Delete a device with its groups, keys and history.
#[utoipa::path(tag = "devices", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/devices/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.accounts.device_delete(&session.0, DeviceId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The pulls of a device, refused ones too; newest first.
#[utoipa::path(tag = "devices", params(("id" = Uuid, Path), Paging), responses((status = 200, body = List<PullOut>), (status = 404, body = Problem)))]
#[get("/devices/{id}/pulls")]
pub(crate) async fn pulls(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    paging: Query<Paging>,
) -> Answer {
    Ok(super::list(
        &request,
        app.watch
            .pull_list(&session.0, DeviceId(id.0), &paging.0.page()?)
            .await?
            .map(PullOut::from),
    ))
}
