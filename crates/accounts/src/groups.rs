//! IOC groups.

use std::{collections::HashMap, sync::Arc};

use iocast_domain::{
    account::Module,
    device::{Device, check_group_limit},
    device_type::check_group_kind,
    group::Group,
    guard::Refusal,
    id::{AccountId, DeviceId, GroupId, RuleId, SourceId},
    name::Name,
    problem::FieldError,
    rule::{Criteria, Rule, StateFilter},
};
use iocast_store::{GroupRow, PublicationLine, Txn};

use crate::{Accounts, Actor, AppError, AppResult, Fields, GroupView, taken};

mod members;
pub use self::members::{GroupIoc, SendAgain};

/// A group to be made.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// At most 50 letters, digits, spaces, underscores.
    pub name: String,
    /// What it holds, where its device takes one kind a group; the type's usual one unless given.
    pub kind: Option<String>,
    /// What the device has left unless given.
    pub limit: Option<i64>,
    /// Whether what another entry covers is left out.
    pub collapse: bool,
    /// Best first.
    pub source_priority: Vec<SourceId>,
    /// Whether to write when the limit is reached.
    pub notify_on_limit: bool,
    /// Whether to make a rule that sends everything the type takes.
    pub default_rule: bool,
}

/// What may be changed of a group.
#[derive(Clone, Debug, Default)]
pub struct GroupPatch {
    /// New name; events already begun keep the old one.
    pub name: Option<String>,
    /// New limit.
    pub limit: Option<i64>,
    /// Whether what another entry covers is left out.
    pub collapse: Option<bool>,
    /// New priority.
    pub source_priority: Option<Vec<SourceId>>,
    /// New notice.
    pub notify_on_limit: Option<bool>,
}

/// A group with its history.
#[derive(Clone, Debug)]
pub struct GroupDetail {
    /// The group.
    pub view: GroupView,
    /// How many IOCs that rules choose are kept back, and why.
    pub refused: Vec<(Refusal, u64)>,
    /// Its last publications, newest first.
    pub publications: Vec<PublicationLine>,
}

impl Accounts {
    /// Makes a group; until its first publication its URL answers 503.
    ///
    /// # Errors
    /// If the device is not there, or a field breaks a rule.
    pub async fn group_create(
        self: &Arc<Self>,
        actor: &Actor,
        device_id: DeviceId,
        new: NewGroup,
    ) -> AppResult<GroupId> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        txn.device_lock(&actor.account_id, device_id).await?;
        let device = txn
            .device_fetch(&actor.account_id, device_id)
            .await?
            .ok_or(AppError::NotFound("device"))?;
        let siblings = limits(&txn.group_list(&actor.account_id, Some(device_id)).await?, None);
        let mut fields = Fields::default();
        let name = fields.take(Name::parse(&new.name));
        let kind = fields.take(check_group_kind(device.device_type, new.kind.as_deref())).flatten();
        let limit = fields.take(check_group_limit(new.limit, device.ioc_limit, &siblings));
        fields
            .take(self.check_sources(&txn, actor, "source_priority", &new.source_priority).await?);
        fields.done()?;
        let (Some(name), Some(limit)) = (name, limit) else {
            return Err(AppError::Invalid(Vec::new()));
        };
        let group = Group {
            id: GroupId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            device_id,
            name: name.clone(),
            kind,
            limit,
            collapse: new.collapse,
            source_priority: new.source_priority,
            notify_on_limit: new.notify_on_limit,
            created_at: self.context.now(),
        };
        txn.group_insert(&group).await.map_err(|e| taken(e, "name", "a group on this device"))?;
        self.context.audit(
            &txn,
            actor,
            "group.create",
            &group.id,
            &serde_json::json!({ "name": name.as_str(), "device_id": device_id, "kind": kind, "limit": limit, "collapse": new.collapse }),
        )
        .await?;
        if new.default_rule {
            self.rule_for_all(&txn, actor, &group, &device).await?;
        }
        self.context.idempotency_effect(&txn, actor, &group.id).await?;
        txn.commit().await?;
        self.tables.add(&group, &device).await?;
        Ok(group.id)
    }

    /// Has a new group hold everything that its device takes.
    async fn rule_for_all(
        &self,
        txn: &Txn,
        actor: &Actor,
        group: &Group,
        device: &Device,
    ) -> AppResult<()> {
        let rule = Rule {
            id: RuleId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            name: self.free_rule_name(txn, &actor.account_id, &group.name).await?,
            enabled: true,
            criteria: Criteria {
                kinds: device.device_type.kinds_of_group(group.kind),
                state: StateFilter::Active,
                ..Criteria::default()
            },
            group_ids: vec![group.id],
            created_at: self.context.now(),
        };
        txn.rule_insert(&rule).await?;
        let made = serde_json::json!({ "name": rule.name.as_str(), "group_id": group.id });
        self.context.audit(txn, actor, "rule.create", &rule.id, &made).await
    }

    /// The names of groups of the account, each behind that of its device.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn group_names(
        &self,
        actor: &Actor,
        ids: &[GroupId],
    ) -> AppResult<HashMap<GroupId, String>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let mut rows = read.group_fetch_many(ids).await?;
        rows.retain(|row| row.group.account_id == actor.account_id);
        let devices: Vec<DeviceId> = rows.iter().map(|row| row.group.device_id).collect();
        let devices = read.device_fetch_many(&actor.account_id, &devices).await?;
        let name = |row: &GroupRow| {
            let device = devices.iter().find(|device| device.id == row.group.device_id)?;
            Some((row.group.id, format!("{} > {}", device.name, row.group.name)))
        };
        Ok(rows.iter().filter_map(name).collect())
    }

    /// The groups of a device, by name.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn group_list(&self, actor: &Actor, device: DeviceId) -> AppResult<Vec<GroupView>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let of = read
            .device_fetch(&actor.account_id, device)
            .await?
            .ok_or(AppError::NotFound("device"))?;
        let rows = read.group_list(&actor.account_id, Some(device)).await?;
        self.group_views(&self.account_fetch(actor).await?, &[of], rows).await
    }

    /// One group.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn group_fetch(&self, actor: &Actor, id: GroupId) -> AppResult<GroupDetail> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let row =
            read.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        let device = read
            .device_fetch(&actor.account_id, row.group.device_id)
            .await?
            .ok_or(AppError::NotFound("device"))?;
        let account = self.account_fetch(actor).await?;
        let view = self
            .group_views(&account, &[device], vec![row])
            .await?
            .pop()
            .ok_or(AppError::NotFound("group"))?;
        Ok(GroupDetail {
            view,
            refused: read.refused_counts(id).await?,
            publications: read.publication_list(id).await?,
        })
    }

    /// Changes a group.
    ///
    /// # Errors
    /// If it is not there, or a field breaks a rule.
    pub async fn group_update(
        &self,
        actor: &Actor,
        id: GroupId,
        patch: GroupPatch,
    ) -> AppResult<GroupDetail> {
        actor.may_change(Module::Automation)?;
        let GroupPatch { name, limit, collapse, source_priority, notify_on_limit } = patch;
        let txn = self.context.store.write().await?;
        let there =
            txn.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        txn.device_lock(&actor.account_id, there.group.device_id).await?;
        // Read again: somebody else may have changed it while the lock was waited for.
        let row =
            txn.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        let before = row.group.clone();
        let device = txn
            .device_fetch(&actor.account_id, before.device_id)
            .await?
            .ok_or(AppError::NotFound("device"))?;
        let siblings = limits(&txn.group_list(&actor.account_id, Some(device.id)).await?, Some(id));
        let mut after = before.clone();
        let mut fields = Fields::default();
        if let Some(name) = name.and_then(|n| fields.take(Name::parse(&n))) {
            after.name = name;
        }
        if let Some(limit) =
            limit.and_then(|l| fields.take(check_group_limit(Some(l), device.ioc_limit, &siblings)))
        {
            after.limit = limit;
        }
        if let Some(priority) = source_priority {
            let new: Vec<SourceId> = priority
                .iter()
                .copied()
                .filter(|id| !before.source_priority.contains(id))
                .collect();
            fields.take(self.check_sources(&txn, actor, "source_priority", &new).await?);
            after.source_priority = priority;
        }
        after.collapse = collapse.unwrap_or(before.collapse);
        after.notify_on_limit = notify_on_limit.unwrap_or(before.notify_on_limit);
        fields.done()?;
        txn.group_update(&after).await.map_err(|e| taken(e, "name", "a group on this device"))?;
        // Some formats name the group in each entry.
        let reselect = after.name != before.name
            || after.limit != before.limit
            || after.collapse != before.collapse
            || after.source_priority != before.source_priority;
        if reselect {
            txn.group_reconfigure(&[id]).await?;
        }
        let shown = |g: &Group| serde_json::json!({ "name": g.name.as_str(), "limit": g.limit, "collapse": g.collapse, "source_priority": g.source_priority, "notify_on_limit": g.notify_on_limit });
        self.context
            .audit(
                &txn,
                actor,
                "group.update",
                &id,
                &serde_json::json!({ "before": shown(&before), "after": shown(&after) }),
            )
            .await?;
        txn.commit().await?;
        if reselect {
            self.context.changed.notify_one();
        }
        self.tables.load(&GroupRow { group: after, ..row }).await?;
        self.group_fetch(actor, id).await
    }

    /// Deletes a group: its URL answers 404 from now on.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn group_delete(&self, actor: &Actor, id: GroupId) -> AppResult<()> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        let row =
            txn.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        txn.group_delete(&actor.account_id, id).await?;
        self.context
            .audit(
                &txn,
                actor,
                "group.delete",
                &id,
                &serde_json::json!({ "name": row.group.name.as_str() }),
            )
            .await?;
        txn.commit().await?;
        self.tables.remove(&[id]);
        Ok(())
    }

    /// A name for a group's own rule that no rule has. Very many groups may share a name: the
    /// number behind it is looked for from the last one on, in steps that double, and then between
    /// the last two.
    async fn free_rule_name(
        &self,
        txn: &Txn,
        account: &AccountId,
        group: &Name,
    ) -> AppResult<Name> {
        let taken =
            async |number: u32| txn.rule_is_named(account, &group.to_rule_name(number)).await;
        let key = (account.clone(), group.to_rule_name(1).folded());
        let mut last_taken = self.rule_numbers.get(&key).unwrap_or(0);
        let (mut free, mut step) = (last_taken + 1, 1_u32);
        while taken(free).await? {
            (last_taken, free, step) = (free, free.saturating_add(step), step.saturating_mul(2));
        }
        while free - last_taken > 1 {
            let middle = last_taken + (free - last_taken) / 2;
            if taken(middle).await? { last_taken = middle } else { free = middle }
        }
        self.rule_numbers.insert(key, free);
        Ok(group.to_rule_name(free))
    }

    /// Whether all these sources are the account's.
    pub(crate) async fn check_sources(
        &self,
        txn: &Txn,
        actor: &Actor,
        field: &str,
        ids: &[SourceId],
    ) -> AppResult<Result<(), FieldError>> {
        for id in ids {
            if txn.source_fetch(&actor.account_id, *id).await?.is_none() {
                return Ok(Err(FieldError::new(
                    field,
                    "source_unknown",
                    format!("There is no source {id}; list the sources at GET /api/v1/sources."),
                )));
            }
        }
        Ok(Ok(()))
    }
}

fn limits(groups: &[GroupRow], except: Option<GroupId>) -> Vec<(GroupId, Name, u32)> {
    groups
        .iter()
        .filter(|g| Some(g.group.id) != except)
        .map(|g| (g.group.id, g.group.name.clone(), g.group.limit))
        .collect()
}
