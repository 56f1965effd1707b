//! Devices.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    device::Device,
    device_type,
    id::{AccountId, DeviceId},
    name::Name,
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Set,
    sea_query::{Expr, ExprTrait as _, Query},
};

use crate::{
    Conn, Page, PageOf, StoreError, StoreResult, Txn,
    error::{corrupt, readable},
    named::containing,
    row::{device, group, pull, pull_hour},
};

/// Most ids in one statement.
const IDS: usize = 1_000;

pub(crate) fn to_device(row: device::Model) -> StoreResult<Device> {
    let device::Model {
        id,
        account_id,
        name,
        folded: _,
        device_type,
        ioc_limit,
        paused,
        last_pull_at,
        created_at,
        silent_after,
        watched_since,
        labels,
        paused_until,
    } = row;
    Ok(Device {
        id: DeviceId(id),
        account_id: crate::accounts::account_id("devices", account_id)?,
        name: Name::parse(&name).map_err(|e| corrupt("devices", "name", e.message))?,
        device_type: device_type::find(&device_type)
            .ok_or_else(|| corrupt("devices", "device_type", &device_type))?,
        ioc_limit: u32::try_from(ioc_limit).map_err(|e| corrupt("devices", "ioc_limit", e))?,
        paused,
        paused_until: paused_until.map(Timestamp::from_micros),
        labels: serde_json::from_str(&labels).map_err(|e| corrupt("devices", "labels", e))?,
        silent_after,
        watched_since: Timestamp::from_micros(watched_since),
        last_pull_at: last_pull_at.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(created_at),
    })
}

pub(crate) fn limit_column(limit: u32) -> StoreResult<i32> {
    i32::try_from(limit).map_err(|e| corrupt("devices", "ioc_limit", e))
}

impl<C: ConnectionTrait> Conn<C> {
    /// The devices of an account, by name.
    pub async fn device_list(
        &self,
        account: &AccountId,
        page: &Page,
    ) -> StoreResult<PageOf<Device>> {
        let mut find =
            device::Entity::find().filter(device::Column::AccountId.eq(account.as_str()));
        if let Some(after) = &page.after {
            find = find.filter(device::Column::Folded.gt(after.as_str()));
        }
        let rows =
            find.order_by_asc(device::Column::Folded).limit(page.limit + 1).all(&self.0).await?;
        Ok(PageOf::cut(
            rows.into_iter().map(to_device).collect::<StoreResult<_>>()?,
            page.limit,
            |d: &Device| d.name.folded(),
        ))
    }

    /// All devices of an account, by name.
    pub async fn device_list_all(&self, account: &AccountId) -> StoreResult<Vec<Device>> {
        let (mut all, mut page) = (Vec::new(), Page::first(IDS as u64));
        loop {
            let PageOf { items, next } = self.device_list(account, &page).await?;
            all.extend(items);
            page.after = next;
            if page.after.is_none() {
                return Ok(all);
            }
        }
    }

    /// The devices of an account with a name, or a group with a name, that contains `text`,
    /// ignoring case.
    pub async fn device_ids_named(
        &self,
        account: &AccountId,
        text: &str,
    ) -> StoreResult<HashSet<DeviceId>> {
        let named = containing(text);
        let by_group = Query::select()
            .column(group::Column::DeviceId)
            .from(group::Entity)
            .and_where(group::Column::AccountId.eq(account.as_str()))
            .and_where(Expr::col(group::Column::Folded).like(named.clone()))
            .take();
        let ids: Vec<uuid::Uuid> = device::Entity::find()
            .select_only()
            .column(device::Column::Id)
            .filter(device::Column::AccountId.eq(account.as_str()))
            .filter(
                Expr::col(device::Column::Folded)
                    .like(named)
                    .or(device::Column::Id.in_subquery(by_group)),
            )
            .into_tuple()
            .all(&self.0)
            .await?;
        Ok(ids.into_iter().map(DeviceId).collect())
    }

    /// How many IOCs the groups of each device of an account hold.
    pub async fn device_served(&self, account: &AccountId) -> StoreResult<HashMap<DeviceId, u64>> {
        let counted: Vec<(uuid::Uuid, i64)> = group::Entity::find()
            .select_only()
            .column(group::Column::DeviceId)
            .column_as(Expr::cust("CAST(SUM(live) AS BIGINT)"), "served")
            .filter(group::Column::AccountId.eq(account.as_str()))
            .group_by(group::Column::DeviceId)
            .into_tuple()
            .all(&self.0)
            .await?;
        let whole = |n: i64| u64::try_from(n).unwrap_or_default();
        Ok(counted.into_iter().map(|(id, n)| (DeviceId(id), whole(n))).collect())
    }

    /// Devices of all accounts whose pause has ended by itself.
    pub async fn device_pauses_ended(&self, now: Timestamp) -> StoreResult<Vec<Device>> {
        let rows = device::Entity::find()
            .filter(device::Column::PausedUntil.lte(now.micros()))
            .limit(IDS as u64)
            .all(&self.0)
            .await?;
        Ok(readable(rows.into_iter().map(to_device).collect::<Vec<_>>(), |device| device))
    }

    /// One device of an account.
    pub async fn device_fetch(
        &self,
        account: &AccountId,
        id: DeviceId,
    ) -> StoreResult<Option<Device>> {
        device::Entity::find_by_id(id.0)
            .filter(device::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_device)
            .transpose()
    }

    /// The device of an account that has this name.
    pub async fn device_by_name(
        &self,
        account: &AccountId,
        name: &Name,
    ) -> StoreResult<Option<Device>> {
        device::Entity::find()
            .filter(device::Column::AccountId.eq(account.as_str()))
            .filter(device::Column::Folded.eq(name.folded()))
            .one(&self.0)
            .await?
            .map(to_device)
            .transpose()
    }

    /// Those of these devices that are there.
    pub async fn device_fetch_many(
        &self,
        account: &AccountId,
        ids: &[DeviceId],
    ) -> StoreResult<Vec<Device>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(IDS) {
            let of_chunk = device::Column::Id.is_in(chunk.iter().map(|d| d.0));
            let rows = device::Entity::find()
                .filter(device::Column::AccountId.eq(account.as_str()))
                .filter(of_chunk)
                .all(&self.0)
                .await?;
            found.extend(readable(rows, to_device));
        }
        Ok(found)
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// Some devices, of any account.
    pub async fn device_fetch_some(&self, ids: &[DeviceId]) -> StoreResult<Vec<Device>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(IDS) {
            let rows = device::Entity::find()
                .filter(device::Column::Id.is_in(chunk.iter().map(|d| d.0)))
                .all(&self.0)
                .await?;
            found.extend(readable(rows, to_device));
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
        let Device {
            id,
            account_id,
            name,
            device_type,
            ioc_limit,
            paused,
            paused_until,
            labels,
            silent_after,
            watched_since,
            last_pull_at,
            created_at,
        } = device;
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
            labels: Set(serde_json::to_string(labels).map_err(|e| corrupt("devices", "labels", e))?),
            paused_until: Set(paused_until.map(Timestamp::micros)),
        })
    }

    /// Deletes a device with its keys and pulls. Its groups must be gone.
    pub async fn device_delete(&self, account: &AccountId, id: DeviceId) -> StoreResult<()> {
        device::Entity::delete_many()
            .filter(device::Column::Id.eq(id.0))
            .filter(device::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        self.key_delete_of(id).await?;
        self.clients_delete_of(id).await?;
        pull::Entity::delete_many().filter(pull::Column::DeviceId.eq(id.0)).exec(&self.0).await?;
        pull_hour::Entity::delete_many()
            .filter(pull_hour::Column::DeviceId.eq(id.0))
            .exec(&self.0)
            .await?;
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

    /// Moves the last pulls that are later than `now` to `now`. Gives of how many devices.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn device_pulls_end_at(&self, now: Timestamp) -> StoreResult<u64> {
        let ahead = device::Entity::update_many()
            .col_expr(device::Column::LastPullAt, Expr::value(now.micros()))
            .filter(device::Column::LastPullAt.gt(now.micros()));
        Ok(ahead.exec(&self.0).await?.rows_affected)
    }

    /// As [`Txn::device_lock`], for many.
    pub async fn device_lock_many(&self, ids: &[DeviceId]) -> StoreResult<()> {
        for chunk in ids.chunks(IDS) {
            let of_chunk = device::Column::Id.is_in(chunk.iter().map(|d| d.0));
            device::Entity::update_many()
                .col_expr(device::Column::IocLimit, Expr::col(device::Column::IocLimit))
                .filter(of_chunk)
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }
}

impl From<StoreError> for std::io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
