//! Devices.

use std::{collections::HashMap, sync::Arc};

use iocast_domain::{
    account::{Account, Module},
    device::{Device, check_device_limit, check_labels, check_type},
    id::{DeviceId, GroupId},
    name::Name,
    receipt::Protection,
    staleness::SyncState,
    time::{DAY, HOUR, Timestamp},
    watch::check_silent_after,
};
use iocast_store::{GroupRow, Page, PageOf};

use iocast_context::Who;

use crate::{Accounts, Actor, AppError, AppResult, Fields, taken};

/// Longest pause that ends by itself, in microseconds.
const PAUSE_MAX: i64 = 366 * DAY;

/// A device to be added.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// At most 50 letters, digits, spaces, underscores.
    pub name: String,
    /// From the catalogue.
    pub device_type: String,
    /// The type's maximum unless given.
    pub ioc_limit: Option<i64>,
    /// Labels.
    pub labels: Vec<String>,
}

/// What may be changed of a device.
#[derive(Clone, Debug, Default)]
pub struct DevicePatch {
    /// New name.
    pub name: Option<String>,
    /// New limit.
    pub ioc_limit: Option<i64>,
    /// Pause or resume watching.
    pub paused: Option<bool>,
    /// When the pause ends by itself; `None` inside keeps it until somebody ends it.
    pub paused_until: Option<Option<Timestamp>>,
    /// New labels, all of them.
    pub labels: Option<Vec<String>>,
    /// Labels to be added to those that it has.
    pub add_labels: Vec<String>,
    /// Labels to be taken from those that it has.
    pub remove_labels: Vec<String>,
    /// Hours without a pull after which it is silent; `None` inside goes back to the account's
    /// threshold.
    pub silent_after_hours: Option<Option<i64>>,
}

/// A group as its device shows it.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// The group and what it serves.
    pub row: GroupRow,
    /// The group URL.
    pub url: String,
    /// Whether the device has what it holds, the most urgent first; nothing before its first
    /// publication.
    pub protection: Vec<Protection>,
}

/// A device with all that a person wants to see of it.
#[derive(Clone, Debug)]
pub struct DeviceView {
    /// The device.
    pub device: Device,
    /// The dot.
    pub sync: SyncState,
    /// Its groups, by name.
    pub groups: Vec<GroupView>,
}

impl Accounts {
    pub(crate) async fn group_views(
        &self,
        account: &Account,
        devices: &[Device],
        groups: Vec<GroupRow>,
    ) -> AppResult<Vec<GroupView>> {
        let mut known = self.protections(account, devices, &groups).await?;
        let view = |row: GroupRow| GroupView {
            url: self.context.group_url(row.group.id),
            protection: known.remove(&row.group.id).unwrap_or_default(),
            row,
        };
        Ok(groups.into_iter().map(view).collect())
    }

    async fn device_view(
        &self,
        device: Device,
        groups: Vec<GroupRow>,
        account: &Account,
    ) -> AppResult<DeviceView> {
        let groups = self.group_views(account, std::slice::from_ref(&device), groups).await?;
        let sync = self.context.sync_state(&device, account.silent_after);
        Ok(DeviceView { sync, groups, device })
    }

    /// Adds a device.
    ///
    /// # Errors
    /// If a field breaks a rule, or the type is one that would need a push.
    pub async fn device_create(&self, actor: &Actor, new: NewDevice) -> AppResult<DeviceView> {
        actor.may_change(Module::Automation)?;
        let mut fields = Fields::default();
        let name = fields.take(Name::parse(&new.name));
        let device_type = fields.take(check_type(&new.device_type));
        let limit = device_type.and_then(|t| {
            fields.take(check_device_limit(new.ioc_limit.unwrap_or(i64::from(t.max_iocs)), t, &[]))
        });
        let labels = fields.take(check_labels(&new.labels)).unwrap_or_default();
        fields.done()?;
        let (Some(name), Some(device_type), Some(ioc_limit)) = (name, device_type, limit) else {
            return Err(AppError::Invalid(Vec::new()));
        };
        let now = self.context.now();
        let device = Device {
            id: DeviceId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            name,
            device_type,
            ioc_limit,
            paused: false,
            paused_until: None,
            labels,
            silent_after: None,
            watched_since: now,
            last_pull_at: None,
            created_at: now,
        };
        let txn = self.context.store.write().await?;
        txn.device_insert(&device).await.map_err(|e| taken(e, "name", "a device"))?;
        self.context.audit(
            &txn,
            actor,
            "device.create",
            &device.id,
            &serde_json::json!({ "name": device.name.as_str(), "device_type": device_type.id, "ioc_limit": ioc_limit, "labels": device.labels }),
        )
        .await?;
        self.context.idempotency_effect(&txn, actor, &device.id).await?;
        txn.commit().await?;
        self.device_view(device, Vec::new(), &self.account_fetch(actor).await?).await
    }

    /// The devices of the account, by name.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn device_list(&self, actor: &Actor, page: &Page) -> AppResult<PageOf<DeviceView>> {
        actor.may_read(Module::Automation)?;
        let PageOf { items, next } =
            self.context.store.read().device_list(&actor.account_id, page).await?;
        Ok(PageOf { items: self.device_views(actor, items).await?, next })
    }

    /// All devices of the account, by name.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn device_list_all(&self, actor: &Actor) -> AppResult<Vec<DeviceView>> {
        actor.may_read(Module::Automation)?;
        let devices = self.context.store.read().device_list_all(&actor.account_id).await?;
        self.device_views(actor, devices).await
    }

    pub(crate) async fn device_views(
        &self,
        actor: &Actor,
        devices: Vec<Device>,
    ) -> AppResult<Vec<DeviceView>> {
        let account = self.account_fetch(actor).await?;
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let rows = self.context.store.read().group_list_of(&actor.account_id, &ids).await?;
        let mut groups: HashMap<DeviceId, Vec<GroupView>> = HashMap::new();
        for view in self.group_views(&account, &devices, rows).await? {
            groups.entry(view.row.group.device_id).or_default().push(view);
        }
        let view = |device: Device| DeviceView {
            sync: self.context.sync_state(&device, account.silent_after),
            groups: groups.remove(&device.id).unwrap_or_default(),
            device,
        };
        Ok(devices.into_iter().map(view).collect())
    }

    /// One device.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn device_fetch(&self, actor: &Actor, id: DeviceId) -> AppResult<DeviceView> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let device =
            read.device_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("device"))?;
        let groups = read.group_list(&actor.account_id, Some(id)).await?;
        self.device_view(device, groups, &self.account_fetch(actor).await?).await
    }

    /// Changes a device.
    ///
    /// # Errors
    /// If it is not there, or a field breaks a rule.
    pub async fn device_update(
        self: &Arc<Self>,
        actor: &Actor,
        id: DeviceId,
        patch: DevicePatch,
    ) -> AppResult<DeviceView> {
        actor.may_change(Module::Automation)?;
        self.device_changed(actor, id, patch).await
    }

    /// A device as a patch makes it.
    fn patched(
        &self,
        before: &Device,
        groups: &[GroupRow],
        patch: DevicePatch,
    ) -> AppResult<Device> {
        let DevicePatch {
            name,
            ioc_limit,
            paused,
            paused_until,
            labels,
            add_labels,
            remove_labels,
            silent_after_hours,
        } = patch;
        let mut after = before.clone();
        let mut fields = Fields::default();
        if let Some(name) = name.and_then(|n| fields.take(Name::parse(&n))) {
            after.name = name;
        }
        let limits: Vec<(GroupId, Name, u32)> =
            groups.iter().map(|g| (g.group.id, g.group.name.clone(), g.group.limit)).collect();
        if let Some(limit) =
            ioc_limit.and_then(|l| fields.take(check_device_limit(l, before.device_type, &limits)))
        {
            after.ioc_limit = limit;
        }
        match silent_after_hours {
            Some(Some(hours)) => after.silent_after = fields.take(check_silent_after(hours)),
            Some(None) => after.silent_after = None,
            None => {}
        }
        if let Some(labels) = labels.and_then(|all| fields.take(check_labels(&all))) {
            after.labels = labels;
        }
        if !add_labels.is_empty() || !remove_labels.is_empty() {
            let gone = fields.take(check_labels(&remove_labels)).unwrap_or_default();
            let kept = after.labels.difference(&gone).chain(&add_labels).cloned();
            let all: Vec<String> = kept.collect();
            after.labels = fields.take(check_labels(&all)).unwrap_or_default();
        }
        after.paused = paused.unwrap_or(before.paused);
        if let Some(until) = paused_until {
            let now = self.context.now();
            if until.is_some_and(|until| until <= now || until > now.plus(PAUSE_MAX)) {
                return Err(AppError::field(
                    "paused_until",
                    "time_out_of_range",
                    "Give a time that is still to come, at most 366 days from now; without one, the pause lasts until somebody ends it.",
                ));
            }
            after.paused_until = until;
        }
        if !after.paused {
            after.paused_until = None;
        }
        if before.paused && !after.paused {
            after.watched_since = self.context.judged_now();
        }
        fields.done()?;
        Ok(after)
    }

    /// Changes a device, for whom may.
    pub(crate) async fn device_changed(
        &self,
        actor: &Actor,
        id: DeviceId,
        patch: DevicePatch,
    ) -> AppResult<DeviceView> {
        let txn = self.context.store.write().await?;
        txn.device_lock(&actor.account_id, id).await?;
        let before =
            txn.device_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("device"))?;
        let groups = txn.group_list(&actor.account_id, Some(id)).await?;
        // A pause that a person changed since is not over.
        let is_over = before.paused_until.is_some_and(|until| until <= self.context.now());
        if matches!(actor.who, Who::Itself(_)) && !is_over {
            return self.device_view(before, groups, &self.account_fetch(actor).await?).await;
        }
        let after = self.patched(&before, &groups, patch)?;
        txn.device_update(&after).await.map_err(|e| taken(e, "name", "a device"))?;
        if after.name != before.name {
            txn.device_renamed(&groups.iter().map(|row| row.group.id).collect::<Vec<_>>()).await?;
        }
        if after.paused && !before.paused {
            self.outage_paused(&txn, id).await?;
        }
        let account =
            txn.account_fetch(&actor.account_id).await?.ok_or(AppError::NotFound("account"))?;
        if after.silent_after != before.silent_after {
            self.outages_allowed(&txn, &account, &[id]).await?;
        }
        let shown = |d: &Device| serde_json::json!({ "name": d.name.as_str(), "ioc_limit": d.ioc_limit, "paused": d.paused, "paused_until": d.paused_until, "labels": d.labels, "silent_after_hours": d.silent_after.map(|s| s / HOUR) });
        self.context
            .audit(
                &txn,
                actor,
                "device.update",
                &id,
                &serde_json::json!({ "before": shown(&before), "after": shown(&after) }),
            )
            .await?;
        txn.commit().await?;
        if after.name != before.name {
            // Its groups' pages and collections say whose they are.
            for row in &groups {
                self.tables.load(row).await?;
            }
        }
        self.device_view(after, groups, &account).await
    }

    /// Deletes a device with its groups, keys and history.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn device_delete(&self, actor: &Actor, id: DeviceId) -> AppResult<()> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        txn.device_lock(&actor.account_id, id).await?;
        let device =
            txn.device_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("device"))?;
        let mut groups: Vec<GroupId> = txn
            .group_list(&actor.account_id, Some(id))
            .await?
            .into_iter()
            .map(|g| g.group.id)
            .collect();
        // In the order in which everybody locks their rows.
        groups.sort_unstable();
        for group in &groups {
            txn.group_delete(&actor.account_id, *group).await?;
        }
        txn.outage_delete_of(id).await?;
        txn.device_delete(&actor.account_id, id).await?;
        self.context
            .audit(
                &txn,
                actor,
                "device.delete",
                &id,
                &serde_json::json!({ "name": device.name.as_str(), "groups": groups }),
            )
            .await?;
        txn.commit().await?;
        self.tables.remove(&groups);
        self.tables.follow_keys().await
    }
}
