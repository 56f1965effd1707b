//! Does what a plan says, through the services that pages and API use.

use iocast_app::{
    Actor, App, AppError, AppResult, DevicePatch, GroupPatch, GuardsPatch, NewDevice, NewGroup,
    NewRule, NewSource, RulePatch, SourcePatch, UserPatch,
};
use iocast_domain::{
    guard::NewAllow,
    id::{DeviceId, GroupId, SourceId},
    rule::Criteria,
    source::{SourceKind, SourceLimits},
};
use serde_json::{Map, Value};

use super::{
    MadeGroup,
    current::{Ids, folded, group_name},
    document::{AllowPart, DevicePart, GroupPart, PersonPart, RulePart, SourcePart},
    plan::Work,
};
use crate::api::{rules::CriteriaWire, sources::LimitsWire, subscriptions::SubscriptionIn};

/// Does the steps of a plan one after the other.
pub(super) struct Worker<'a> {
    pub(super) app: &'a App,
    pub(super) actor: &'a Actor,
    pub(super) ids: Ids,
    pub(super) groups: Vec<MadeGroup>,
}

fn read<T: serde::de::DeserializeOwned>(fields: Map<String, Value>) -> AppResult<T> {
    serde_json::from_value(fields.into()).map_err(AppError::internal)
}

fn limits(fields: Option<Map<String, Value>>) -> AppResult<Option<SourceLimits>> {
    fields.map(|fields| read::<LimitsWire>(fields).map(SourceLimits::from)).transpose()
}

/// Hours of which 0 means "as usual".
fn hours(of: Option<i64>) -> Option<Option<i64>> {
    of.map(|hours| Some(hours).filter(|hours| *hours != 0))
}

impl Worker<'_> {
    fn source(&self, name: &str) -> AppResult<SourceId> {
        self.ids.sources.get(&folded(name)).copied().ok_or(AppError::NotFound("source"))
    }

    fn device(&self, name: &str) -> AppResult<DeviceId> {
        self.ids.devices.get(&folded(name)).copied().ok_or(AppError::NotFound("device"))
    }

    fn sources(&self, names: &[String]) -> AppResult<Vec<SourceId>> {
        names.iter().map(|name| self.source(name)).collect()
    }

    fn groups_of(&self, names: &[String]) -> AppResult<Vec<GroupId>> {
        let one = |name: &String| {
            self.ids.groups.get(&folded(name)).copied().ok_or(AppError::NotFound("group"))
        };
        names.iter().map(one).collect()
    }

    fn criteria(&self, mut fields: Map<String, Value>) -> AppResult<Criteria> {
        let names = fields.remove("sources").unwrap_or_else(|| Value::Array(Vec::new()));
        let names: Vec<String> = serde_json::from_value(names).map_err(AppError::internal)?;
        let criteria = Criteria::from(read::<CriteriaWire>(fields)?);
        Ok(Criteria { source_ids: self.sources(&names)?.into_iter().collect(), ..criteria })
    }

    /// Does one of them.
    pub(super) async fn work(&mut self, work: Work) -> AppResult<()> {
        let (app, actor) = (self.app, self.actor);
        match work {
            Work::Account(part) => {
                let webhook = part.webhook_url.map(|url| Some(url).filter(|url| !url.is_empty()));
                let silent = hours(part.silent_after_hours);
                app.accounts.account_update(actor, silent, webhook).await?;
            }
            Work::Guards(part) => {
                let list = |of: Option<std::collections::BTreeSet<String>>| {
                    of.map(|all| all.into_iter().collect())
                };
                let patch = GuardsPatch { off: list(part.off), own: list(part.own), allow: None };
                app.accounts.guards_update(actor, patch).await?;
            }
            Work::Allow { add, remove } => self.allow(add, remove).await?,
            Work::Invite(person) => self.invite(person).await?,
            Work::Person(id, person) => {
                app.accounts.user_update(actor, id, person_patch(&person)).await?;
            }
            Work::SourceAdd(part) => self.source_add(part).await?,
            Work::SourceChange(id, part) => {
                let patch = SourcePatch {
                    name: Some(part.name),
                    confidence: part.confidence,
                    enabled: part.enabled,
                    limits: limits(part.limits)?,
                };
                app.intake.source_update(actor, id, patch).await?;
            }
            Work::Subscribe(source, fields) => {
                let new = read::<SubscriptionIn>(fields)?.checked()?;
                app.intake.subscription_put(actor, self.source(&source)?, new).await?;
            }
            Work::SourceDelete(id) => app.intake.source_delete(actor, id).await?,
            Work::DeviceAdd(part) => self.device_add(part).await?,
            Work::DeviceChange(id, part) => {
                let name = Some(part.name.clone());
                app.accounts.device_update(actor, id, device_patch(name, part)).await?;
            }
            Work::DeviceDelete(id) => app.accounts.device_delete(actor, id).await?,
            Work::GroupAdd { device, group, default_rule } => {
                self.group_add(&device, group, default_rule).await?;
            }
            Work::GroupChange(id, part) => {
                let priority = part.source_priority.as_deref();
                let patch = GroupPatch {
                    name: Some(part.name.clone()),
                    limit: part.limit,
                    collapse: part.collapse,
                    source_priority: priority.map(|names| self.sources(names)).transpose()?,
                    notify_on_limit: part.notify_on_limit,
                };
                app.accounts.group_update(actor, id, patch).await?;
            }
            Work::GroupDelete(id) => app.accounts.group_delete(actor, id).await?,
            Work::RuleAdd(part) => self.rule_add(part).await?,
            Work::RuleChange(id, part) => {
                let patch = RulePatch {
                    name: Some(part.name),
                    enabled: part.enabled,
                    criteria: part.criteria.map(|fields| self.criteria(fields)).transpose()?,
                    group_ids: part.groups.map(|names| self.groups_of(&names)).transpose()?,
                };
                app.accounts.rule_update(actor, id, patch).await?;
            }
            Work::RuleDelete(id) => app.accounts.rule_delete(actor, id).await?,
        }
        Ok(())
    }

    async fn allow(&self, add: Vec<AllowPart>, remove: Vec<AllowPart>) -> AppResult<()> {
        let entry = |of: AllowPart| -> AppResult<NewAllow> {
            Ok(NewAllow {
                value: of.value,
                comment: of.comment,
                expires_at: of.expires_at,
                source_id: of.source.map(|name| self.source(&name)).transpose()?,
                device_id: of.device.map(|name| self.device(&name)).transpose()?,
            })
        };
        let add = add.into_iter().map(entry).collect::<AppResult<_>>()?;
        let remove = remove.into_iter().map(entry).collect::<AppResult<_>>()?;
        self.app.accounts.allow_change(self.actor, add, remove).await?;
        Ok(())
    }

    async fn invite(&self, person: PersonPart) -> AppResult<()> {
        let accounts = &self.app.accounts;
        let user = accounts.user_invite(self.actor, &person.email, person.role).await?;
        if person.active.is_some() || person.mail_alerts.is_some() {
            accounts.user_update(self.actor, user.id, person_patch(&person)).await?;
        }
        Ok(())
    }

    async fn source_add(&mut self, part: SourcePart) -> AppResult<()> {
        let new = NewSource {
            name: part.name,
            confidence: part.confidence.unwrap_or(2),
            enabled: part.enabled.unwrap_or(true),
            kind: SourceKind::Feed,
            description: String::new(),
            limits: limits(part.limits)?.unwrap_or_default(),
        };
        let source = self.app.intake.source_create(self.actor, new).await?;
        self.ids.sources.insert(folded(&source.name), source.id);
        Ok(())
    }

    async fn device_add(&mut self, part: DevicePart) -> AppResult<()> {
        let new = NewDevice {
            name: part.name.clone(),
            device_type: part.device_type.clone(),
            ioc_limit: part.ioc_limit,
            labels: part.labels.clone().unwrap_or_default(),
        };
        let made = self.app.accounts.device_create(self.actor, new).await?;
        let id = made.device.id;
        self.ids.devices.insert(folded(made.device.name.as_str()), id);
        if part.paused == Some(true) || part.silent_after_hours.is_some_and(|hours| hours != 0) {
            let rest = DevicePart { ioc_limit: None, labels: None, ..part };
            self.app.accounts.device_update(self.actor, id, device_patch(None, rest)).await?;
        }
        Ok(())
    }

    async fn group_add(
        &mut self,
        device: &str,
        group: GroupPart,
        default_rule: bool,
    ) -> AppResult<()> {
        let id = self.device(device)?;
        let name = group_name(device, &group.name);
        let new = NewGroup {
            source_priority: self.sources(&group.source_priority.unwrap_or_default())?,
            name: group.name,
            kind: group.kind,
            limit: group.limit,
            collapse: group.collapse.unwrap_or_default(),
            notify_on_limit: group.notify_on_limit.unwrap_or_default(),
            default_rule,
        };
        let made = self.app.group_create(self.actor, id, new).await?;
        self.ids.groups.insert(folded(&name), made.view.row.group.id);
        self.groups.push(MadeGroup { name, url: made.view.url });
        Ok(())
    }

    async fn rule_add(&mut self, part: RulePart) -> AppResult<()> {
        let new = NewRule {
            name: part.name,
            enabled: part.enabled.unwrap_or(true),
            criteria: self.criteria(part.criteria.unwrap_or_default())?,
            group_ids: self.groups_of(&part.groups.unwrap_or_default())?,
        };
        let rule = self.app.accounts.rule_create(self.actor, new).await?;
        self.ids.rules.insert(folded(rule.name.as_str()), rule.id);
        Ok(())
    }
}

fn person_patch(of: &PersonPart) -> UserPatch {
    UserPatch { role: Some(of.role), active: of.active, mail_alerts: of.mail_alerts }
}

fn device_patch(name: Option<String>, part: DevicePart) -> DevicePatch {
    DevicePatch {
        name,
        ioc_limit: part.ioc_limit,
        paused: part.paused,
        labels: part.labels,
        silent_after_hours: hours(part.silent_after_hours),
        ..DevicePatch::default()
    }
}
