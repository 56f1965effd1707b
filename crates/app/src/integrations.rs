//! The Integrations page: all devices at a glance, searched, filtered and sorted.

use std::{cmp::Reverse, collections::HashMap, str::FromStr};

use iocast_domain::{
    device_type::Location,
    id::DeviceId,
    staleness::Reason,
    time::{DAY, HOUR, Timestamp},
};

use crate::{Actor, App, AppResult, DeviceView};

/// Days of pulls that are shown.
pub const DAYS: i64 = 30;
/// Devices on one page.
const PER_PAGE: usize = 100;

/// The word beside the dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It is silent for longer than its threshold.
    Silent,
    /// It never pulled.
    NotConnected,
    /// It is served, only not watched.
    Paused,
    /// It pulls.
    Synced,
}

impl Condition {
    /// All of them, the worst first.
    pub const ALL: [Self; 4] = [Self::Silent, Self::NotConnected, Self::Paused, Self::Synced];

    /// As it stands in a URL.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::NotConnected => "not_connected",
            Self::Paused => "paused",
            Self::Synced => "synced",
        }
    }

    /// As people read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Silent => "Silent",
            Self::NotConnected => "Not connected yet",
            Self::Paused => "Paused",
            Self::Synced => "Synced",
        }
    }
}

impl FromStr for Condition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|c| c.code() == text).ok_or(())
    }
}

impl DeviceView {
    /// The word beside its dot.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match (self.device.paused, self.sync.reason) {
            (true, _) => Condition::Paused,
            (_, Reason::NeverPulled) => Condition::NotConnected,
            (_, Reason::Silent) => Condition::Silent,
            (_, Reason::Synced) => Condition::Synced,
        }
    }

    /// IOCs that its groups serve now.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.groups.iter().map(|g| u64::from(g.row.live)).sum()
    }
}

/// By what the devices are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceOrder {
    /// Name.
    #[default]
    Name,
    /// The worst first.
    Condition,
    /// Device type.
    Type,
    /// Last pull, the latest first.
    LastPull,
    /// IOCs served, the most first.
    Served,
}

impl FromStr for DeviceOrder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "name" => Self::Name,
            "state" => Self::Condition,
            "type" => Self::Type,
            "last_pull" => Self::LastPull,
            "iocs" => Self::Served,
            _ => return Err(()),
        })
    }
}

/// Which devices are wanted.
#[derive(Clone, Debug)]
pub struct OverviewQuery {
    /// The tab.
    pub location: Location,
    /// A piece of the name of the device or of one of its groups, ignoring case.
    pub text: Option<String>,
    /// This condition only.
    pub condition: Option<Condition>,
    /// This type only.
    pub device_type: Option<String>,
    /// Order.
    pub order: DeviceOrder,
    /// The other way round.
    pub reversed: bool,
    /// From 1.
    pub page: usize,
}

/// Pulls on one UTC day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayOfPulls {
    /// Its first moment.
    pub day: Timestamp,
    /// Completed ones.
    pub pulls: u64,
    /// Refused ones.
    pub failures: u64,
}

/// A page of devices.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The devices with their last thirty days, the oldest day first.
    pub rows: Vec<(DeviceView, Vec<DayOfPulls>)>,
    /// How many fit the query.
    pub found: usize,
    /// How many the tab has in all.
    pub all: usize,
    /// How many of all are in which condition.
    pub conditions: Vec<(Condition, usize)>,
    /// This page, from 1.
    pub page: usize,
    /// The last page.
    pub pages: usize,
}

impl App {
    /// The devices of an account as the Integrations page shows them.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn overview(&self, actor: &Actor, query: &OverviewQuery) -> AppResult<Overview> {
        let mut devices: Vec<DeviceView> = self
            .device_list_all(actor)
            .await?
            .into_iter()
            .filter(|d| d.device.device_type.location == query.location)
            .collect();
        let all = devices.len();
        let conditions = Condition::ALL
            .map(|c| (c, devices.iter().filter(|d| d.condition() == c).count()))
            .to_vec();
        devices.retain(|d| query.wants(d));
        sort(&mut devices, query.order);
        if query.reversed {
            devices.reverse();
        }
        let found = devices.len();
        let pages = found.div_ceil(PER_PAGE).max(1);
        let page = query.page.clamp(1, pages);
        let rows: Vec<DeviceView> =
            devices.into_iter().skip((page - 1) * PER_PAGE).take(PER_PAGE).collect();
        let ids: Vec<DeviceId> = rows.iter().map(|d| d.device.id).collect();
        let mut days = self.days_of_pulls(&ids).await?;
        let rows = rows.into_iter().map(|d| {
            let of_device = days.remove(&d.device.id).unwrap_or_default();
            (d, of_device)
        });
        Ok(Overview { rows: rows.collect(), found, all, conditions, page, pages })
    }

    /// The last thirty days of pulls of some of the actor's devices, the oldest day first.
    pub(crate) async fn days_of_pulls(
        &self,
        devices: &[DeviceId],
    ) -> AppResult<HashMap<DeviceId, Vec<DayOfPulls>>> {
        let today = self.now().micros().div_euclid(DAY);
        let first = today - DAYS + 1;
        let empty = || {
            (first..=today)
                .map(|d| DayOfPulls {
                    day: Timestamp::from_micros(d * DAY),
                    ..DayOfPulls::default()
                })
                .collect()
        };
        let mut found: HashMap<DeviceId, Vec<DayOfPulls>> =
            devices.iter().map(|d| (*d, empty())).collect();
        for line in self.store.read().pull_days(devices, first * DAY / HOUR).await? {
            let place = usize::try_from(line.day - first).ok();
            if let Some(day) = found
                .get_mut(&line.device_id)
                .zip(place)
                .and_then(|(days, place)| days.get_mut(place))
            {
                (day.pulls, day.failures) = (line.pulls, line.failures);
            }
        }
        Ok(found)
    }

    /// The last thirty days of pulls of one device, the oldest day first.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn device_days(&self, actor: &Actor, device: DeviceId) -> AppResult<Vec<DayOfPulls>> {
        self.device_fetch(actor, device).await?;
        Ok(self.days_of_pulls(&[device]).await?.remove(&device).unwrap_or_default())
    }

    /// How every device of the account is, for pages that follow it.
    ///
    /// # Errors
    /// If the account lacks the module.
    pub async fn conditions(
        &self,
        actor: &Actor,
    ) -> AppResult<Vec<(DeviceId, String, Condition, Option<Timestamp>)>> {
        let devices = self.device_list_all(actor).await?;
        Ok(devices
            .into_iter()
            .map(|d| (d.device.id, d.device.name.to_string(), d.condition(), d.sync.last_pull_at))
            .collect())
    }
}

impl OverviewQuery {
    fn wants(&self, view: &DeviceView) -> bool {
        let text = self.text.as_ref().map(|t| t.to_lowercase());
        let named = |t: &String| {
            view.device.name.folded().contains(t)
                || view.groups.iter().any(|g| g.row.group.name.folded().contains(t))
        };
        text.as_ref().is_none_or(named)
            && self.condition.is_none_or(|c| view.condition() == c)
            && self.device_type.as_ref().is_none_or(|t| view.device.device_type.id == t)
    }
}

fn sort(devices: &mut [DeviceView], order: DeviceOrder) {
    let name = |d: &DeviceView| d.device.name.folded();
    match order {
        DeviceOrder::Name => devices.sort_by_cached_key(name),
        DeviceOrder::Condition => devices.sort_by_cached_key(|d| (d.condition(), name(d))),
        DeviceOrder::Type => devices.sort_by_cached_key(|d| (d.device.device_type.name, name(d))),
        DeviceOrder::LastPull => {
            devices.sort_by_cached_key(|d| (Reverse(d.sync.last_pull_at), name(d)));
        }
        DeviceOrder::Served => devices.sort_by_cached_key(|d| (Reverse(d.served()), name(d))),
    }
}
