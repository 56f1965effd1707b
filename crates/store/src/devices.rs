//! Devices and their pulls.

use iocast_domain::{
    device::Device,
    device_type,
    id::{AccountId, DeviceId, GroupId},
    name::Name,
    time::{DAY, HOUR, Timestamp},
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, StoreError, StoreResult, Txn,
    error::corrupt,
    page::cursor,
    row::{device, key, pull, pull_hour},
};

/// Most ids in one statement.
const IDS: usize = 1_000;
/// Pulls kept for each device.
const PULLS_KEPT: u64 = 200;
/// Failures kept for each device.
const FAILURES_KEPT: u64 = 50;
/// How long hourly counts are kept, in microseconds.
const HOURS_KEPT: i64 = 90 * DAY;

/// A completed pull, about to be written.
#[derive(Clone, Debug)]
pub struct NewPull {
    /// A fresh id.
    pub id: Uuid,
    /// The device.
    pub device_id: DeviceId,
    /// The group that was pulled.
    pub group_id: GroupId,
    /// When the last byte was handed over.
    pub at: Timestamp,
    /// Client address.
    pub address: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// `MISP-version`.
    pub misp_version: Option<String>,
    /// `MISP-uuid`.
    pub misp_uuid: Option<String>,
    /// 200 or 304.
    pub status: u16,
    /// Body length.
    pub bytes: u64,
}

/// A line of the pull history.
#[derive(Clone, Debug)]
pub struct PullLine {
    /// The pull; `at` is the last of `count` like ones.
    pub pull: NewPull,
    /// The first of them.
    pub first_at: Timestamp,
    /// How many.
    pub count: u32,
    /// For a failure: why.
    pub reason: Option<String>,
}

pub(crate) fn to_device(row: device::Model) -> StoreResult<Device> {
    let device::Model { id, account_id, name, folded: _, device_type, ioc_limit, paused, last_pull_at, created_at, silent_after, watched_since } = row;
    Ok(Device {
        id: DeviceId(id),
        account_id: crate::accounts::account_id("devices", account_id)?,
        name: Name::parse(&name).map_err(|e| corrupt("devices", "name", e.message))?,
        device_type: device_type::find(&device_type).ok_or_else(|| corrupt("devices", "device_type", &device_type))?,
        ioc_limit: u32::try_from(ioc_limit).map_err(|e| corrupt("devices", "ioc_limit", e))?,
        paused,
        silent_after,
        watched_since: Timestamp::from_micros(watched_since),
        last_pull_at: last_pull_at.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(created_at),
    })
}

pub(crate) fn limit_column(limit: u32) -> StoreResult<i32> {
    i32::try_from(limit).map_err(|e| corrupt("devices", "ioc_limit", e))
}

pub(crate) fn to_line(row: pull::Model) -> PullLine {
    let pull::Model { id, device_id, group_id, failed: _, at, first_at, count, address, user_agent, misp_version, misp_uuid, status, bytes, reason } = row;
    PullLine {
        pull: NewPull {
            id,
            device_id: DeviceId(device_id),
            group_id: GroupId(group_id),
            at: Timestamp::from_micros(at),
            address,
            user_agent,
            misp_version,
            misp_uuid,
            status: u16::try_from(status).unwrap_or_default(),
            bytes: u64::try_from(bytes).unwrap_or_default(),
        },
        first_at: Timestamp::from_micros(first_at),
        count: u32::try_from(count).unwrap_or_default(),
        reason,
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// The devices of an account, by name.
    pub async fn device_list(&self, account: &AccountId, page: &Page) -> StoreResult<PageOf<Device>> {
        let mut find = device::Entity::find().filter(device::Column::AccountId.eq(account.as_str()));
        if let Some(after) = &page.after {
            find = find.filter(device::Column::Folded.gt(after.as_str()));
        }
        let rows = find.order_by_asc(device::Column::Folded).limit(page.limit + 1).all(&self.0).await?;
        Ok(PageOf::cut(rows.into_iter().map(to_device).collect::<StoreResult<_>>()?, page.limit, |d: &Device| d.name.folded()))
    }

    /// One device of an account.
    pub async fn device_fetch(&self, account: &AccountId, id: DeviceId) -> StoreResult<Option<Device>> {
        device::Entity::find_by_id(id.0).filter(device::Column::AccountId.eq(account.as_str())).one(&self.0).await?.map(to_device).transpose()
    }

    /// Those of these devices that are there.
    pub async fn device_fetch_many(&self, account: &AccountId, ids: &[DeviceId]) -> StoreResult<Vec<Device>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(IDS) {
            let of_chunk = device::Column::Id.is_in(chunk.iter().map(|d| d.0));
            for row in device::Entity::find().filter(device::Column::AccountId.eq(account.as_str())).filter(of_chunk).all(&self.0).await? {
                found.push(to_device(row)?);
            }
        }
        Ok(found)
    }

    /// The pulls and failures of a device, newest first.
    pub async fn pull_list(&self, device: DeviceId, page: &Page) -> StoreResult<PageOf<PullLine>> {
        let mut find = pull::Entity::find().filter(pull::Column::DeviceId.eq(device.0));
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            find = find.filter(pull::Column::At.lt(at).or(pull::Column::At.eq(at).and(pull::Column::Id.gt(id))));
        }
        let rows = find.order_by_desc(pull::Column::At).order_by_asc(pull::Column::Id).limit(page.limit + 1).all(&self.0).await?;
        Ok(PageOf::cut(rows, page.limit, |r| format!("{}.{}", r.at, r.id)).map(to_line))
    }
}

/// Pulls of a device on a UTC day.
#[derive(Clone, Copy, Debug)]
pub struct PullDay {
    /// The device.
    pub device_id: DeviceId,
    /// Days since 1970.
    pub day: i64,
    /// Completed pulls.
    pub pulls: u64,
    /// Refused ones.
    pub failures: u64,
}

impl<C: ConnectionTrait> Conn<C> {
    /// Pulls by day of these devices, since an hour (hours since 1970).
    pub async fn pull_days(&self, devices: &[DeviceId], since: i64) -> StoreResult<Vec<PullDay>> {
        let mut found = Vec::new();
        for chunk in devices.chunks(IDS) {
            // The whole expression in text: two bound numbers would be two expressions to PostgreSQL.
            let day = || Expr::cust("\"hour\" / 24");
            let rows: Vec<(Uuid, i64, i64, i64)> = pull_hour::Entity::find()
                .select_only()
                .column(pull_hour::Column::DeviceId)
                .expr_as(day(), "day")
                .expr_as(pull_hour::Column::Pulls.sum(), "pulls")
                .expr_as(pull_hour::Column::Failures.sum(), "failures")
                .filter(pull_hour::Column::DeviceId.is_in(chunk.iter().map(|d| d.0)))
                .filter(pull_hour::Column::Hour.gte(since))
                .group_by(pull_hour::Column::DeviceId)
                .group_by(day())
                .into_tuple()
                .all(&self.0)
                .await?;
            let count = |n: i64| u64::try_from(n).unwrap_or_default();
            found.extend(rows.into_iter().map(|(device, day, pulls, failures)| PullDay {
                device_id: DeviceId(device),
                day,
                pulls: count(pulls),
                failures: count(failures),
            }));
        }
        Ok(found)
    }
}

impl Txn {
    /// Writes a new device.
    pub async fn device_insert(&self, new: &Device) -> StoreResult<()> {
        self.device_row(new)?.insert(&self.0).await?;
        Ok(())
    }

    /// Writes a device's name, limit and pause.
    pub async fn device_update(&self, changed: &Device) -> StoreResult<()> {
        let mut row = self.device_row(changed)?;
        row.last_pull_at = sea_orm::ActiveValue::NotSet;
        row.update(&self.0).await?;
        Ok(())
    }

    fn device_row(&self, device: &Device) -> StoreResult<device::ActiveModel> {
        let Device { id, account_id, name, device_type, ioc_limit, paused, silent_after, watched_since, last_pull_at, created_at } = device;
        Ok(device::ActiveModel {
            id: Set(id.0),
            account_id: Set(account_id.to_string()),
            name: Set(name.to_string()),
            folded: Set(name.folded()),
            device_type: Set(device_type.id.to_owned()),
            ioc_limit: Set(limit_column(*ioc_limit)?),
            paused: Set(*paused),
            last_pull_at: Set(last_pull_at.map(Timestamp::micros)),
            created_at: Set(created_at.micros()),
            silent_after: Set(*silent_after),
            watched_since: Set(watched_since.micros()),
        })
    }

    /// Deletes a device with its keys and pulls. Its groups must be gone.
    pub async fn device_delete(&self, account: &AccountId, id: DeviceId) -> StoreResult<()> {
        device::Entity::delete_many().filter(device::Column::Id.eq(id.0)).filter(device::Column::AccountId.eq(account.as_str())).exec(&self.0).await?;
        key::Entity::delete_many().filter(key::Column::DeviceId.eq(id.0)).exec(&self.0).await?;
        pull::Entity::delete_many().filter(pull::Column::DeviceId.eq(id.0)).exec(&self.0).await?;
        pull_hour::Entity::delete_many().filter(pull_hour::Column::DeviceId.eq(id.0)).exec(&self.0).await?;
        Ok(())
    }

    /// Locks the device's row, so that two edits of limits can't pass each other.
    pub async fn device_lock(&self, account: &AccountId, id: DeviceId) -> StoreResult<()> {
        device::Entity::update_many()
            .col_expr(device::Column::IocLimit, Expr::col(device::Column::IocLimit))
            .filter(device::Column::Id.eq(id.0))
            .filter(device::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// As [`Txn::device_lock`], for many.
    pub async fn device_lock_many(&self, ids: &[DeviceId]) -> StoreResult<()> {
        for chunk in ids.chunks(IDS) {
            let of_chunk = device::Column::Id.is_in(chunk.iter().map(|d| d.0));
            device::Entity::update_many().col_expr(device::Column::IocLimit, Expr::col(device::Column::IocLimit)).filter(of_chunk).exec(&self.0).await?;
        }
        Ok(())
    }

    /// Writes a line of the pull history, and with a pull moves the device's last one. 304s like the ones before are
    /// counted with them.
    pub async fn pull_insert(&self, line: &PullLine) -> StoreResult<()> {
        let PullLine { pull: new, first_at, count, reason } = line;
        let failed = reason.is_some();
        let times = i32::try_from(*count).unwrap_or(i32::MAX);
        if !failed {
            device::Entity::update_many()
                .col_expr(device::Column::LastPullAt, Expr::value(new.at.micros()))
                .filter(device::Column::Id.eq(new.device_id.0))
                .filter(device::Column::LastPullAt.is_null().or(device::Column::LastPullAt.lt(new.at.micros())))
                .exec(&self.0)
                .await?;
        }
        let last = pull::Entity::find()
            .filter(pull::Column::DeviceId.eq(new.device_id.0))
            .filter(pull::Column::Failed.eq(failed))
            .order_by_desc(pull::Column::At)
            .limit(1)
            .one(&self.0)
            .await?;
        let alike = last.filter(|l| {
            new.status == 304
                && l.status == 304
                && l.group_id == new.group_id.0
                && l.address == new.address
                && l.user_agent == new.user_agent
                && l.misp_uuid == new.misp_uuid
                && l.misp_version == new.misp_version
        });
        match alike {
            Some(last) => {
                let mut row = pull::ActiveModel { id: Set(last.id), ..Default::default() };
                row.at = Set(new.at.micros());
                row.count = Set(last.count.saturating_add(times));
                row.update(&self.0).await?;
            }
            None => self.pull_row(line, *first_at, times).await?,
        }
        if failed { self.pull_count(new.device_id, new.at, 0, times).await } else { self.pull_count(new.device_id, new.at, times, 0).await }
    }

    async fn pull_row(&self, line: &PullLine, first_at: Timestamp, times: i32) -> StoreResult<()> {
        let NewPull { id, device_id, group_id, at, address, user_agent, misp_version, misp_uuid, status, bytes } = line.pull.clone();
        let failed = line.reason.is_some();
        let row = pull::ActiveModel {
            id: Set(id),
            device_id: Set(device_id.0),
            group_id: Set(group_id.0),
            failed: Set(failed),
            at: Set(at.micros()),
            first_at: Set(first_at.micros()),
            count: Set(times),
            address: Set(address),
            user_agent: Set(user_agent),
            misp_version: Set(misp_version),
            misp_uuid: Set(misp_uuid),
            status: Set(i16::try_from(status).unwrap_or_default()),
            bytes: Set(i64::try_from(bytes).unwrap_or(i64::MAX)),
            reason: Set(line.reason.clone()),
        };
        pull::Entity::insert(row).exec_without_returning(&self.0).await?;
        let kept = if failed { FAILURES_KEPT } else { PULLS_KEPT };
        let oldest = pull::Entity::find()
            .filter(pull::Column::DeviceId.eq(device_id.0))
            .filter(pull::Column::Failed.eq(failed))
            .order_by_desc(pull::Column::At)
            .offset(kept)
            .limit(1)
            .one(&self.0)
            .await?;
        if let Some(oldest) = oldest {
            pull::Entity::delete_many()
                .filter(pull::Column::DeviceId.eq(device_id.0))
                .filter(pull::Column::Failed.eq(failed))
                .filter(pull::Column::At.lte(oldest.at))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    async fn pull_count(&self, device: DeviceId, at: Timestamp, pulls: i32, failures: i32) -> StoreResult<()> {
        let hour = at.micros().div_euclid(HOUR);
        let row = pull_hour::ActiveModel { device_id: Set(device.0), hour: Set(hour), pulls: Set(pulls), failures: Set(failures) };
        let add = |column: pull_hour::Column, by: i32| Expr::col((pull_hour::Entity, column)).add(by);
        let count = OnConflict::columns([pull_hour::Column::DeviceId, pull_hour::Column::Hour])
            .value(pull_hour::Column::Pulls, add(pull_hour::Column::Pulls, pulls))
            .value(pull_hour::Column::Failures, add(pull_hour::Column::Failures, failures))
            .to_owned();
        pull_hour::Entity::insert(row).on_conflict(count).exec_without_returning(&self.0).await?;
        pull_hour::Entity::delete_many()
            .filter(pull_hour::Column::DeviceId.eq(device.0))
            .filter(pull_hour::Column::Hour.lt(hour - HOURS_KEPT / HOUR))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}

impl From<StoreError> for std::io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
