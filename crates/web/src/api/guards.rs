//! The account's guards: what is kept back from every device, and the allow list.

use actix_web::{HttpResponse, get, patch, post, web};
use iocast_app::{App, GuardsPatch};
use iocast_domain::{
    guard::{AllowEntry, Guards, NewAllow, Refusal},
    id::{DeviceId, SourceId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::Answer;
use crate::{
    extract::{Body, Session},
    problem::Problem,
};

/// The account's guards.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuardsOut {
    /// Every guard, and whether it is on.
    guards: Vec<GuardOut>,
    /// The account's own domains and networks.
    own: Vec<String>,
    /// What else must never be blocked.
    allow: Vec<AllowOut>,
}

/// One guard.
#[derive(Serialize, ToSchema)]
pub(crate) struct GuardOut {
    /// Its word.
    guard: &'static str,
    /// Whether it is on.
    on: bool,
    /// What it keeps back: "…, because they are …".
    because: &'static str,
}

impl From<Guards> for GuardsOut {
    fn from(of: Guards) -> Self {
        let Guards { off, own, allow } = of;
        let guards = Refusal::GUARDS
            .iter()
            .map(|g| GuardOut { guard: g.word(), on: !off.contains(g), because: g.because() })
            .collect();
        Self {
            guards,
            own: own.into_iter().map(String::from).collect(),
            allow: allow.into_iter().map(AllowOut::from).collect(),
        }
    }
}

/// New guards; what is left out stays.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardsIn {
    /// Those that are to be off, whole; the others are on.
    #[serde(default)]
    #[validate(length(max = 100, code = "too_many", message = "Give at most 100 guards."))]
    off: Option<Vec<String>>,
    /// The account's own domains (with all below them), addresses and networks, whole.
    #[serde(default)]
    own: Option<Vec<String>>,
    /// What must never be blocked, whole.
    #[serde(default)]
    allow: Option<Vec<AllowIn>>,
}

/// An entry of the allow list.
#[derive(Serialize, ToSchema)]
pub(crate) struct AllowOut {
    /// A domain (with all below it), an address or a network.
    value: String,
    /// Why it was added.
    comment: Option<String>,
    /// When it ends, and is taken off the list.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// It holds for what only this source reports.
    source_id: Option<String>,
    /// It holds for the groups of this device.
    device_id: Option<String>,
}

impl From<AllowEntry> for AllowOut {
    fn from(of: AllowEntry) -> Self {
        let AllowEntry { value, comment, expires_at, scope } = of;
        let (source_id, device_id) = scope.ids();
        Self {
            value: value.into(),
            comment,
            expires_at,
            source_id: source_id.map(|id| id.to_string()),
            device_id: device_id.map(|id| id.to_string()),
        }
    }
}

/// An entry of the allow list: a value alone, or with what is said of it.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum AllowIn {
    /// A domain (with all below it), an address or a network.
    Value(String),
    /// The same with more.
    Entry(AllowEntryIn),
}

/// An entry of the allow list. Without a source and a device it holds everywhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowEntryIn {
    /// A domain (with all below it), an address or a network.
    value: String,
    /// Why it is added; at most 500 characters.
    #[serde(default)]
    comment: Option<String>,
    /// When it ends, and is taken off the list.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// It is to hold for what only this source reports.
    #[serde(default)]
    source_id: Option<Uuid>,
    /// It is to hold for the groups of this device.
    #[serde(default)]
    device_id: Option<Uuid>,
}

impl From<AllowIn> for NewAllow {
    fn from(of: AllowIn) -> Self {
        match of {
            AllowIn::Value(value) => Self { value, ..Self::default() },
            AllowIn::Entry(AllowEntryIn { value, comment, expires_at, source_id, device_id }) => {
                Self {
                    value,
                    comment,
                    expires_at,
                    source_id: source_id.map(SourceId),
                    device_id: device_id.map(DeviceId),
                }
            }
        }
    }
}

/// Entries to add to the allow list, and to take off it.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowChangeIn {
    /// Entries to add, each in place of that for the same value and scope.
    #[serde(default)]
    add: Vec<AllowIn>,
    /// Entries to take off; value and scope say which.
    #[serde(default)]
    remove: Vec<AllowIn>,
}

/// The account's guards: what is kept back from every device.
#[utoipa::path(tag = "account", responses((status = 200, body = GuardsOut), (status = 401, body = Problem)))]
#[get("/account/guards")]
pub(crate) async fn fetch(app: web::Data<App>, session: Session) -> Answer {
    Ok(HttpResponse::Ok().json(GuardsOut::from(app.accounts.guards(&session.0).await?)))
}

/// Change the account's guards; its groups are looked at again.
#[utoipa::path(tag = "account", request_body = GuardsIn, responses((status = 200, body = GuardsOut), (status = 403, body = Problem), (status = 422, body = Problem)))]
#[patch("/account/guards")]
pub(crate) async fn update(app: web::Data<App>, session: Session, body: Body<GuardsIn>) -> Answer {
    let GuardsIn { off, own, allow } = body.value;
    let allow = allow.map(|all| all.into_iter().map(NewAllow::from).collect());
    let guards = app.accounts.guards_update(&session.0, GuardsPatch { off, own, allow }).await?;
    Ok(HttpResponse::Ok().json(GuardsOut::from(guards)))
}

/// Add entries to the allow list, and take others off it; the account's groups are looked at again.
#[utoipa::path(tag = "account", request_body = AllowChangeIn, responses((status = 200, body = GuardsOut), (status = 403, body = Problem), (status = 422, body = Problem)))]
#[post("/account/guards/allow")]
pub(crate) async fn allow_change(
    app: web::Data<App>,
    session: Session,
    body: Body<AllowChangeIn>,
) -> Answer {
    let AllowChangeIn { add, remove } = body.value;
    let all = |list: Vec<AllowIn>| list.into_iter().map(NewAllow::from).collect();
    let guards = app.accounts.allow_change(&session.0, all(add), all(remove)).await?;
    Ok(HttpResponse::Ok().json(GuardsOut::from(guards)))
}
