//! The catalogue.

use actix_web::get;
use iocast_domain::{
    device_type::{CATALOGUE, DeviceType},
    ioc::Kind,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Answer, List, whole};
use crate::{extract::Session, problem::Problem};

/// A line of the device's own set-up form.
#[derive(Serialize, ToSchema)]
pub(crate) struct SetupOut {
    /// The label in the vendor's form.
    label: &'static str,
    /// What to type; `{url}`, `{account_id}`, `{key}`, `{name}` and the like stand for the group
    /// URL and so on.
    value: &'static str,
}

/// A device type.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceTypeOut {
    /// Id, for `device_type` of a device.
    id: &'static str,
    /// The vendor's name.
    name: &'static str,
    /// `pull` or `push`.
    #[schema(value_type = String)]
    method: iocast_domain::device_type::Method,
    /// Why it can't be added; null where it can.
    unsupported: Option<&'static str>,
    /// `cloud` or `on_premises`.
    #[schema(value_type = String)]
    location: iocast_domain::device_type::Location,
    /// The kinds of IOC it takes.
    kinds: Vec<&'static str>,
    /// Whether one group may mix kinds.
    mixed_group: bool,
    /// Where it may not: what one group may hold, the usual one first.
    group_kinds: Vec<&'static str>,
    /// The most IOCs a device holds.
    max_iocs: u32,
    /// Feed format.
    #[schema(value_type = String)]
    format: iocast_domain::device_type::Format,
    /// `full` or `new_only`.
    #[schema(value_type = String)]
    delivery: iocast_domain::device_type::Delivery,
    /// Whether the original product has this type.
    original: bool,
    /// The device's own set-up form, in the vendor's words and order.
    setup: Vec<SetupOut>,
    /// What to look at when it falls silent.
    checks: Vec<&'static str>,
}

impl From<&DeviceType> for DeviceTypeOut {
    fn from(of: &DeviceType) -> Self {
        let DeviceType {
            id,
            name,
            method,
            unsupported,
            location,
            kinds,
            group_kinds,
            grammar: _,
            max_iocs,
            format,
            delivery,
            original,
            setup,
            checks,
        } = *of;
        let kinds = kinds.iter().copied().map(Kind::word).collect();
        let setup = setup.iter().map(|f| SetupOut { label: f.label, value: f.value }).collect();
        let (mixed_group, group_kinds) =
            (of.mixed_group(), group_kinds.iter().map(|k| k.word()).collect());
        Self {
            id,
            name,
            method,
            unsupported,
            location,
            kinds,
            mixed_group,
            group_kinds,
            max_iocs,
            format,
            delivery,
            original,
            setup,
            checks: checks.to_vec(),
        }
    }
}

/// The device types that iocast knows.
#[utoipa::path(tag = "devices", responses((status = 200, body = List<DeviceTypeOut>), (status = 401, body = Problem)))]
#[get("/device-types")]
pub(crate) async fn list(_session: Session) -> Answer {
    Ok(whole(CATALOGUE.iter().map(DeviceTypeOut::from).collect()))
}
