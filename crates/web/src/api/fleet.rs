//! Many devices with one call.

use actix_web::{HttpResponse, post, web};
use iocast_app::{App, AppError, FleetAdded, FleetChange, FleetChanged, FleetRow};
use iocast_domain::{id::DeviceId, time::Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use validator::Validate;

use super::Answer;
use crate::{
    csv,
    extract::{Body, Session},
    problem::Problem,
};

/// Devices to be added.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetIn {
    /// 1 to 500 of them.
    devices: Vec<FleetRowIn>,
    /// Only checks them: nothing is added.
    #[serde(default)]
    check: bool,
}

/// A device to be added, with its groups.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetRowIn {
    /// 1 to 50 letters, digits, spaces and underscores.
    name: String,
    /// Id of a device type.
    device_type: String,
    /// The type's maximum unless given.
    #[serde(default)]
    ioc_limit: Option<i64>,
    /// Groups to be made; each gets an equal part of the device's limit, and a rule that sends
    /// everything that it takes.
    #[serde(default)]
    groups: Vec<FleetGroupIn>,
    /// Labels: at most 10.
    #[serde(default)]
    labels: Vec<String>,
}

/// A group to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetGroupIn {
    /// 1 to 50 letters, digits, spaces and underscores.
    name: String,
    /// What it holds, where its device takes one kind a group; the type's usual one unless given.
    #[serde(default)]
    kind: Option<String>,
}

/// What came of devices that were to be added.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetOut {
    /// How many were added.
    pub(crate) added: usize,
    /// How many have a problem.
    pub(crate) failed: usize,
    /// Each of them, in the order in which they were given.
    pub(crate) items: Vec<FleetItemOut>,
}

/// What came of a device that was to be added.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetItemOut {
    /// Its place, from 1; of a table its line.
    line: u64,
    /// Its name as it was given.
    name: String,
    /// Its id; null where it was not added.
    device_id: Option<String>,
    /// The groups that were made.
    groups: Vec<FleetGroupOut>,
    /// The key that opens them. It is shown this once.
    key: Option<String>,
    /// Why it was not added, or what is missing; null where all is well.
    problem: Option<String>,
}

/// A group that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetGroupOut {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// What the device pulls.
    url: String,
}

impl From<Vec<FleetAdded>> for FleetOut {
    fn from(all: Vec<FleetAdded>) -> Self {
        let item = |of: FleetAdded| FleetItemOut {
            line: of.line,
            name: of.name,
            device_id: of.device.map(|id| id.to_string()),
            groups: of
                .groups
                .into_iter()
                .map(|g| FleetGroupOut { id: g.id.to_string(), name: g.name, url: g.url })
                .collect(),
            key: of.key,
            problem: of.problem,
        };
        Self {
            added: all.iter().filter(|of| of.device.is_some()).count(),
            failed: all.iter().filter(|of| of.problem.is_some()).count(),
            items: all.into_iter().map(item).collect(),
        }
    }
}

impl FleetOut {
    /// What devices need, as a table: name, groups, URLs and key.
    pub(crate) fn table(&self) -> String {
        let mut table = csv::line(&["name", "group", "url", "key"]);
        for item in &self.items {
            for group in &item.groups {
                let key = item.key.as_deref().unwrap_or_default();
                table += &csv::line(&[&item.name, &group.name, &group.url, key]);
            }
        }
        table
    }
}

/// A change to many devices: exactly one of its fields beside `ids`.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetChangeIn {
    /// 1 to 500 devices.
    ids: Vec<Uuid>,
    /// True pauses them, false has them watched again.
    #[serde(default)]
    paused: Option<bool>,
    /// When the pause ends by itself; only with `paused`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_until: Option<Timestamp>,
    /// Labels to be added.
    #[serde(default)]
    add_labels: Option<Vec<String>>,
    /// Labels to be taken away.
    #[serde(default)]
    remove_labels: Option<Vec<String>>,
    /// Their limit.
    #[serde(default)]
    ioc_limit: Option<i64>,
    /// Hours without a pull after which they are silent: 1 to 720; 0 goes back to the account's.
    #[serde(default)]
    silent_after_hours: Option<i64>,
    /// Makes another key for each; those that it has go on working.
    #[serde(default)]
    new_key: Option<bool>,
}

/// What came of a change to many devices.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetChangedOut {
    /// How many were changed.
    pub(crate) changed: usize,
    /// How many were not.
    pub(crate) failed: usize,
    /// Each of them, in the order in which they were given.
    pub(crate) items: Vec<FleetChangedItemOut>,
}

/// What came of a device of many.
#[derive(Serialize, ToSchema)]
pub(crate) struct FleetChangedItemOut {
    /// The device.
    device_id: String,
    /// Its name; empty where there is no such device.
    name: String,
    /// The key that was made. It is shown this once.
    key: Option<String>,
    /// Why it was not changed; null where it was.
    problem: Option<String>,
}

impl From<Vec<FleetChanged>> for FleetChangedOut {
    fn from(all: Vec<FleetChanged>) -> Self {
        let failed = all.iter().filter(|of| of.problem.is_some()).count();
        let item = |of: FleetChanged| FleetChangedItemOut {
            device_id: of.id.to_string(),
            name: of.name,
            key: of.key,
            problem: of.problem,
        };
        Self { changed: all.len() - failed, failed, items: all.into_iter().map(item).collect() }
    }
}

fn change(of: FleetChangeIn) -> Result<FleetChange, AppError> {
    let FleetChangeIn {
        ids: _,
        paused,
        paused_until,
        add_labels,
        remove_labels,
        ioc_limit,
        silent_after_hours,
        new_key,
    } = of;
    let asked = [
        paused.map(|paused| match paused {
            true => FleetChange::Pause(paused_until),
            false => FleetChange::Resume,
        }),
        add_labels.map(FleetChange::AddLabels),
        remove_labels.map(FleetChange::RemoveLabels),
        ioc_limit.map(FleetChange::Limit),
        silent_after_hours.map(|hours| FleetChange::SilentAfter(Some(hours).filter(|h| *h != 0))),
        new_key.filter(|new| *new).map(|_| FleetChange::NewKey),
    ];
    let mut asked = asked.into_iter().flatten();
    match (asked.next(), asked.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(AppError::field(
            "ids",
            "one_change",
            "Give exactly one of paused, add_labels, remove_labels, ioc_limit, silent_after_hours and new_key.",
        )),
    }
}

/// Add many devices, each with its groups and a key. One that can't be added leaves the others
/// alone.
#[utoipa::path(tag = "devices", request_body = FleetIn, responses((status = 200, body = FleetOut), (status = 422, body = Problem)))]
#[post("/devices/batch")]
pub(crate) async fn add(app: web::Data<App>, session: Session, body: Body<FleetIn>) -> Answer {
    let FleetIn { devices, check } = body.value;
    let row = |(place, of): (usize, FleetRowIn)| FleetRow {
        line: place as u64 + 1,
        name: of.name,
        device_type: of.device_type,
        ioc_limit: of.ioc_limit,
        groups: of.groups.into_iter().map(|g| (g.name, g.kind)).collect(),
        labels: of.labels,
    };
    let rows = devices.into_iter().enumerate().map(row).collect();
    let all = app.accounts.devices_add(&session.0, rows, check).await?;
    Ok(HttpResponse::Ok().json(FleetOut::from(all)))
}

/// Change many devices in one way.
#[utoipa::path(tag = "devices", request_body = FleetChangeIn, responses((status = 200, body = FleetChangedOut), (status = 422, body = Problem)))]
#[post("/devices/changes")]
pub(crate) async fn update(
    app: web::Data<App>,
    session: Session,
    body: Body<FleetChangeIn>,
) -> Answer {
    let ids: Vec<DeviceId> = body.value.ids.iter().copied().map(DeviceId).collect();
    let change = change(body.value)?;
    let all = app.accounts.devices_change(&session.0, &ids, &change).await?;
    Ok(HttpResponse::Ok().json(FleetChangedOut::from(all)))
}
