//! The Integrations page: all devices at a glance, searched, filtered and sorted.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    str::FromStr,
};

use iocast_domain::{
    account::Module,
    device::Device,
    device_type::Location,
    id::DeviceId,
    receipt::Protection,
    staleness::{Reason, SyncState},
    time::{DAY, HOUR, Timestamp},
};

use crate::{Accounts, Actor, AppResult, DeviceView};

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

    fn of(device: &Device, sync: &SyncState) -> Self {
        match (device.paused, sync.reason) {
            (true, _) => Self::Paused,
            (_, Reason::NeverPulled) => Self::NotConnected,
            (_, Reason::Silent) => Self::Silent,
            (_, Reason::Synced) => Self::Synced,
        }
    }

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
        Condition::of(&self.device, &self.sync)
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
    /// The worst state of its groups: a code of [`Protection`].
    pub protection: Option<String>,
    /// With this label.
    pub label: Option<String>,
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
    /// The labels of all, and how many have each.
    pub labels: Vec<(String, usize)>,
    /// This page, from 1.
    pub page: usize,
    /// The last page.
    pub pages: usize,
}

impl Accounts {
    /// The devices of an account as the Integrations page shows them.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn overview(&self, actor: &Actor, query: &OverviewQuery) -> AppResult<Overview> {
        actor.may_read(Module::Automation)?;
        let (read, account) = (self.context.store.read(), self.account_fetch(actor).await?);
        // What orders and counts devices is read for all of them; their groups and pulls only for
        // the page that is shown.
        let mut lines: Vec<(Device, Condition)> = read
            .device_list_all(&actor.account_id)
            .await?
            .into_iter()
            .filter(|d| d.device_type.location == query.location)
            .map(|device| {
                let sync = self.context.sync_state(&device, account.silent_after);
                let condition = Condition::of(&device, &sync);
                (device, condition)
            })
            .collect();
        let all = lines.len();
        let conditions =
            Condition::ALL.map(|c| (c, lines.iter().filter(|(_, of)| *of == c).count())).to_vec();
        let mut labels: BTreeMap<String, usize> = BTreeMap::new();
        for label in lines.iter().flat_map(|(device, _)| &device.labels) {
            *labels.entry(label.clone()).or_default() += 1;
        }
        let named = match &query.text {
            Some(text) => Some(read.device_ids_named(&actor.account_id, text).await?),
            None => None,
        };
        let protected = match &query.protection {
            Some(state) => {
                let rank = Protection::CODES.iter().position(|code| code == state);
                let all = self.device_protections(actor).await?.into_iter();
                Some(
                    all.filter(|(_, of)| Some(*of) == rank)
                        .map(|(id, _)| id)
                        .collect::<HashSet<_>>(),
                )
            }
            None => None,
        };
        lines.retain(|(device, condition)| {
            protected.as_ref().is_none_or(|ids| ids.contains(&device.id))
                && named.as_ref().is_none_or(|ids| ids.contains(&device.id))
                && query.condition.is_none_or(|c| c == *condition)
                && query.label.as_ref().is_none_or(|label| device.labels.contains(label))
                && query.device_type.as_ref().is_none_or(|t| device.device_type.id == t)
        });
        let served = match query.order {
            DeviceOrder::Served => read.device_served(&actor.account_id).await?,
            _ => HashMap::new(),
        };
        sort(&mut lines, query.order, &served);
        if query.reversed {
            lines.reverse();
        }
        let found = lines.len();
        let pages = found.div_ceil(PER_PAGE).max(1);
        let page = query.page.clamp(1, pages);
        let shown: Vec<Device> = lines
            .into_iter()
            .skip((page - 1) * PER_PAGE)
            .take(PER_PAGE)
            .map(|(device, _)| device)
            .collect();
        let ids: Vec<DeviceId> = shown.iter().map(|d| d.id).collect();
        let mut days = self.days_of_pulls(&ids).await?;
        let rows = self.device_views(actor, shown).await?.into_iter().map(|d| {
            let of_device = days.remove(&d.device.id).unwrap_or_default();
            (d, of_device)
        });
        Ok(Overview {
            rows: rows.collect(),
            found,
            all,
            conditions,
            labels: labels.into_iter().collect(),
            page,
            pages,
        })
    }

    /// The worst state of the groups of each device of an account, as a place in
    /// [`Protection::CODES`]; devices without a publication are left out.
    ///
    /// # Errors
    /// If the account lacks the module.
    pub async fn device_protections(&self, actor: &Actor) -> AppResult<HashMap<DeviceId, usize>> {
        actor.may_read(Module::Automation)?;
        let mut worst: HashMap<DeviceId, usize> = HashMap::new();
        let all = self.context.store.read().device_protections(&actor.account_id).await?;
        for (device, state) in all {
            if let Some(rank) = Protection::CODES.iter().position(|code| *code == state) {
                let of_device = worst.entry(device).or_insert(rank);
                *of_device = rank.min(*of_device);
            }
        }
        Ok(worst)
    }

    /// The condition of every device of an account.
    ///
    /// # Errors
    /// If the account lacks the module.
    pub async fn device_conditions(
        &self,
        actor: &Actor,
    ) -> AppResult<HashMap<DeviceId, Condition>> {
        actor.may_read(Module::Automation)?;
        let account = self.account_fetch(actor).await?;
        let all = self.context.store.read().device_list_all(&actor.account_id).await?;
        let condition = |device: Device| {
            let sync = self.context.sync_state(&device, account.silent_after);
            (device.id, Condition::of(&device, &sync))
        };
        Ok(all.into_iter().map(condition).collect())
    }

    /// The last thirty days of pulls of some of the actor's devices, the oldest day first.
    pub(crate) async fn days_of_pulls(
        &self,
        devices: &[DeviceId],
    ) -> AppResult<HashMap<DeviceId, Vec<DayOfPulls>>> {
        let today = self.context.now().micros().div_euclid(DAY);
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
        for line in self.context.store.read().pull_days(devices, first * DAY / HOUR).await? {
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

    /// The conditions of the devices that a page shows, at most a hundred of them.
    ///
    /// # Errors
    /// If the account lacks the module.
    pub async fn conditions(
        &self,
        actor: &Actor,
        shown: &[DeviceId],
    ) -> AppResult<Vec<(DeviceId, String, Condition, Option<Timestamp>)>> {
        actor.may_read(Module::Automation)?;
        let account = self.account_fetch(actor).await?;
        let shown = shown.get(..PER_PAGE).unwrap_or(shown);
        let devices = self.context.store.read().device_fetch_many(&actor.account_id, shown).await?;
        Ok(devices
            .into_iter()
            .map(|device| {
                let sync = self.context.sync_state(&device, account.silent_after);
                let condition = Condition::of(&device, &sync);
                (device.id, device.name.to_string(), condition, sync.last_pull_at)
            })
            .collect())
    }
}

/// Sorts devices that come by name.
fn sort(lines: &mut [(Device, Condition)], order: DeviceOrder, served: &HashMap<DeviceId, u64>) {
    match order {
        DeviceOrder::Name => {}
        DeviceOrder::Condition => lines.sort_by_key(|(_, condition)| *condition),
        DeviceOrder::Type => lines.sort_by_key(|(d, _)| d.device_type.name),
        DeviceOrder::LastPull => lines.sort_by_key(|(d, _)| Reverse(d.last_pull_at)),
        DeviceOrder::Served => {
            lines.sort_by_key(|(d, _)| Reverse(served.get(&d.id).copied().unwrap_or_default()));
        }
    }
}
