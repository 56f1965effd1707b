//! IOC groups.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::StatusCode, patch, post, web};
use iocast_app::{
    App, GroupDetail, GroupIoc, GroupPatch, GroupView, IocQuery, NewGroup, PublicationLine,
    SendAgain,
};
use iocast_domain::{
    device_type::GroupKind,
    group::Truncation,
    id::{DeviceId, GroupId, IocId, SourceId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::{
    Answer, List,
    protection::ProtectionOut,
    snapshots::{HeldOut, ReasonOut},
    whole,
};
use crate::{
    extract::{Body, Id, Paging, Query, Session},
    problem::Problem,
};

/// A group to be made.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupIn {
    /// 1 to 50 letters, digits, spaces and underscores.
    name: String,
    /// What it holds (`ip`, `domain`, …) where its device takes one kind a group; the type's usual
    /// one unless given.
    #[serde(default)]
    kind: Option<String>,
    /// What the device has left unless given.
    #[serde(default)]
    limit: Option<i64>,
    /// Whether to leave out what another entry covers: addresses within a listed network, names
    /// below a listed domain.
    #[serde(default)]
    collapse: bool,
    /// Sources whose IOCs come first when the limit bites, best first.
    #[serde(default)]
    #[validate(length(max = 1000, code = "too_many", message = "Name at most 1,000 sources."))]
    source_priority: Vec<Uuid>,
    /// Whether to write when the limit is reached.
    #[serde(default)]
    notify_on_limit: bool,
    /// Whether to make a rule that sends everything the type takes; true unless given.
    #[serde(default = "yes")]
    default_rule: bool,
}

fn yes() -> bool {
    true
}

/// What may be changed of a group.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupPatchIn {
    /// New name; events already begun keep the old one.
    #[serde(default)]
    name: Option<String>,
    /// New limit.
    #[serde(default)]
    limit: Option<i64>,
    /// Whether to leave out what another entry covers.
    #[serde(default)]
    collapse: Option<bool>,
    /// New priority, whole.
    #[serde(default)]
    #[validate(length(max = 1000, code = "too_many", message = "Name at most 1,000 sources."))]
    source_priority: Option<Vec<Uuid>>,
    /// New notice.
    #[serde(default)]
    notify_on_limit: Option<bool>,
}

/// What to send again; nothing given: everything.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendAgainIn {
    /// What this event holds.
    #[serde(default)]
    event: Option<Uuid>,
    /// This IOC.
    #[serde(default)]
    ioc_id: Option<Uuid>,
}

/// How many IOCs go out again.
#[derive(Serialize, ToSchema)]
pub(crate) struct SendAgainOut {
    /// IOCs.
    iocs: u64,
}

/// Eligible IOCs that are left out.
#[derive(Serialize, ToSchema)]
pub(crate) struct CutOut {
    /// All together.
    count: u64,
    /// Reason (`limit`, `not_for_device`) → count. Over the `limit`: counted when the group is
    /// selected as a whole, and kept up by what changes. Where more than 20,000 find no room it is
    /// a lower bound until the rest was counted in the background.
    reasons: BTreeMap<String, u64>,
}

impl From<&Truncation> for CutOut {
    fn from(cut: &Truncation) -> Self {
        Self { count: cut.total(), reasons: cut.reasons.clone() }
    }
}

/// A publication in a group's history.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicationOut {
    /// From 1.
    number: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// IOCs in it.
    iocs: u32,
    /// IOCs that joined.
    added: u32,
    /// IOCs that left.
    removed: u32,
}

/// An IOC group.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupOut {
    /// Id.
    id: String,
    /// Its device.
    device_id: String,
    /// Name.
    name: String,
    /// Paste this into the device.
    url: String,
    /// What it holds, where its device takes one kind a group; else null.
    kind: Option<&'static str>,
    /// The most IOCs it holds.
    limit: u32,
    /// Whether what another entry covers is left out.
    collapse: bool,
    /// Sources whose IOCs come first, best first.
    source_priority: Vec<String>,
    /// Whether to write when the limit is reached.
    notify_on_limit: bool,
    /// IOCs that it serves now.
    published: u32,
    /// Number of the publication that it serves now.
    publication: i64,
    /// Eligible IOCs that are left out.
    cut: CutOut,
    /// Why IOCs that rules choose are not for this device (only where one group is asked for).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_for_device: Vec<ReasonOut>,
    /// A publication that waits because it would lose too much at once; null where none does.
    held: Option<HeldOut>,
    /// The publication that it is kept at, less what was withdrawn since; null where it goes by its
    /// rules.
    frozen: Option<i64>,
    /// Whether the device has what it holds, the most urgent first; empty before its first
    /// publication.
    protection: Vec<ProtectionOut>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Its last publications, newest first (only where one group is asked for).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publications: Vec<PublicationOut>,
}

impl From<GroupView> for GroupOut {
    fn from(view: GroupView) -> Self {
        let GroupView { row, url, protection } = view;
        let group = row.group;
        Self {
            id: group.id.to_string(),
            device_id: group.device_id.to_string(),
            name: group.name.to_string(),
            url,
            kind: group.kind.map(GroupKind::word),
            limit: group.limit,
            collapse: group.collapse,
            source_priority: group.source_priority.iter().map(ToString::to_string).collect(),
            notify_on_limit: group.notify_on_limit,
            published: row.live,
            publication: row.publication,
            cut: CutOut::from(&row.cut),
            not_for_device: Vec::new(),
            held: row.held.map(|h| HeldOut {
                since: h.since,
                until: h.until,
                iocs: h.live,
                would_lose: h.loses,
            }),
            frozen: row.frozen,
            protection: protection.into_iter().map(ProtectionOut::from).collect(),
            created_at: group.created_at,
            publications: Vec::new(),
        }
    }
}

impl From<GroupDetail> for GroupOut {
    fn from(detail: GroupDetail) -> Self {
        let line = |l: PublicationLine| PublicationOut {
            number: l.number,
            created_at: l.created_at,
            iocs: l.live,
            added: l.added,
            removed: l.removed,
        };
        let not_for_device = detail.refused.into_iter().map(ReasonOut::from).collect();
        Self {
            publications: detail.publications.into_iter().map(line).collect(),
            not_for_device,
            ..Self::from(detail.view)
        }
    }
}

/// An IOC in a group.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupIocOut {
    /// Id.
    id: String,
    /// Kind.
    kind: &'static str,
    /// Normalised value.
    value: String,
    /// Severity that counts.
    severity: &'static str,
    /// Last seen.
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// Since when it is in the group.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// UUID of the event it is in.
    event: String,
    /// Why it is in: names of the rules that choose it.
    rules: Vec<String>,
}

impl From<GroupIoc> for GroupIocOut {
    fn from(of: GroupIoc) -> Self {
        let GroupIoc { ioc, since, event, rules } = of;
        Self {
            id: ioc.id.to_string(),
            kind: ioc.kind.word(),
            severity: ioc.severity().word(),
            value: ioc.value,
            last_seen: ioc.last_seen,
            since,
            event: event.to_string(),
            rules,
        }
    }
}

/// Make a group on a device. Answers when its first publication stands.
#[utoipa::path(tag = "groups", request_body = GroupIn, params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)), responses((status = 201, body = GroupOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[post("/devices/{id}/groups")]
pub(crate) async fn create(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<GroupIn>,
) -> Answer {
    let GroupIn { name, kind, limit, collapse, source_priority, notify_on_limit, default_rule } =
        body.value;
    let source_priority = source_priority.into_iter().map(SourceId).collect();
    let new =
        NewGroup { name, kind, limit, collapse, source_priority, notify_on_limit, default_rule };
    let make =
        async { Ok(GroupOut::from(app.group_create(&session.0, DeviceId(id.0), new).await?)) };
    let made =
        async |id| Ok(GroupOut::from(app.accounts.group_fetch(&session.0, GroupId(id)).await?));
    super::create(&request, &app, &session.0, &body.bytes, StatusCode::CREATED, make, made).await
}

/// The groups of a device, by name.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path)), responses((status = 200, body = List<GroupOut>), (status = 404, body = Problem)))]
#[get("/devices/{id}/groups")]
pub(crate) async fn list(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(whole(
        app.accounts
            .group_list(&session.0, DeviceId(id.0))
            .await?
            .into_iter()
            .map(GroupOut::from)
            .collect(),
    ))
}

/// One group.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path)), responses((status = 200, body = GroupOut), (status = 404, body = Problem)))]
#[get("/groups/{id}")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session, id: Id) -> Answer {
    Ok(HttpResponse::Ok()
        .json(GroupOut::from(app.accounts.group_fetch(&session.0, GroupId(id.0)).await?)))
}

/// Change a group.
#[utoipa::path(tag = "groups", request_body = GroupPatchIn, params(("id" = Uuid, Path)), responses((status = 200, body = GroupOut), (status = 404, body = Problem), (status = 422, body = Problem)))]
#[patch("/groups/{id}")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<GroupPatchIn>,
) -> Answer {
    let GroupPatchIn { name, limit, collapse, source_priority, notify_on_limit } = body.value;
    let source_priority = source_priority.map(|ids| ids.into_iter().map(SourceId).collect());
    let patch = GroupPatch { name, limit, collapse, source_priority, notify_on_limit };
    Ok(HttpResponse::Ok()
        .json(GroupOut::from(app.accounts.group_update(&session.0, GroupId(id.0), patch).await?)))
}

/// Delete a group: its URL answers 404 from now on.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path)), responses((status = 204), (status = 404, body = Problem)))]
#[delete("/groups/{id}")]
pub(crate) async fn delete(app: web::Data<App>, session: Session, id: Id) -> Answer {
    app.accounts.group_delete(&session.0, GroupId(id.0)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What a group holds, by IOC id.
#[utoipa::path(tag = "groups", params(("id" = Uuid, Path), Paging), responses((status = 200, body = List<GroupIocOut>), (status = 404, body = Problem)))]
#[get("/groups/{id}/iocs")]
pub(crate) async fn iocs(
    request: HttpRequest,
    app: web::Data<App>,
    session: Session,
    id: Id,
    paging: Query<Paging>,
) -> Answer {
    Ok(super::list(
        &request,
        app.accounts
            .group_iocs(&session.0, GroupId(id.0), &IocQuery::default(), &paging.0.page()?)
            .await?
            .map(GroupIocOut::from),
    ))
}

/// Put IOCs into new events, for a MISP that deleted them or lost an import halfway. 409 for types
/// that fetch the whole list each time.
#[utoipa::path(tag = "groups", request_body = SendAgainIn, params(("id" = Uuid, Path)), responses((status = 200, body = SendAgainOut), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
#[post("/groups/{id}/send-again")]
pub(crate) async fn send_again(
    app: web::Data<App>,
    session: Session,
    id: Id,
    body: Body<SendAgainIn>,
) -> Answer {
    let what = match (body.value.event, body.value.ioc_id) {
        (None, None) => SendAgain::All,
        (Some(event), None) => SendAgain::Event(event),
        (None, Some(ioc)) => SendAgain::Ioc(IocId(ioc)),
        (Some(_), Some(_)) => {
            return Err(iocast_app::AppError::field(
                "ioc_id",
                "one_of",
                "Give an event or an IOC, not both.",
            )
            .into());
        }
    };
    let sent = app.group_send_again(&session.0, GroupId(id.0), what).await?;
    Ok(HttpResponse::Ok().json(SendAgainOut { iocs: sent }))
}
