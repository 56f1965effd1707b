//! IOC management rules.

use iocast_domain::{
    account::Module,
    id::{GroupId, RuleId, SourceId},
    name::Name,
    problem::FieldError,
    rule::{Criteria, EnabledSources, Rule},
};
use iocast_store::Txn;

use crate::{Accounts, Actor, AppError, AppResult, Fields, taken};

/// A rule to be made.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// At most 13 letters, digits, spaces, underscores.
    pub name: String,
    /// Switched on?
    pub enabled: bool,
    /// What it chooses.
    pub criteria: Criteria,
    /// Where to.
    pub group_ids: Vec<GroupId>,
}

/// What may be changed of a rule.
#[derive(Clone, Debug, Default)]
pub struct RulePatch {
    /// New name.
    pub name: Option<String>,
    /// On or off.
    pub enabled: Option<bool>,
    /// New criteria, whole.
    pub criteria: Option<Criteria>,
    /// New groups, whole.
    pub group_ids: Option<Vec<GroupId>>,
}

/// Most sources that a rule may ask for.
const SOURCES_MOST: u8 = 50;
/// Oldest IOCs that a rule may ask for, in days.
const AGE_MOST: u16 = 3_650;
/// Most IOCs that are looked at one by one to count what a rule chooses.
const LOOKED_AT: u64 = 20_000;

/// What criteria choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// IOCs.
    pub iocs: u64,
    /// There may be more: only the latest were looked at.
    pub at_least: bool,
}

impl Accounts {
    async fn check_rule(
        &self,
        txn: &Txn,
        actor: &Actor,
        before: Option<&Rule>,
        rule: &Rule,
        fields: &mut Fields,
    ) -> AppResult<()> {
        // What was named before may be gone by now; that is no reason to refuse another change.
        let named = |id: &SourceId| before.is_some_and(|b| b.criteria.source_ids.contains(id));
        let new: Vec<SourceId> =
            rule.criteria.source_ids.iter().copied().filter(|id| !named(id)).collect();
        fields.take(self.check_sources(txn, actor, "source_ids", &new).await?);
        for id in
            rule.group_ids.iter().filter(|id| before.is_none_or(|b| !b.group_ids.contains(id)))
        {
            let there = txn.group_fetch(&actor.account_id, *id).await?.is_some();
            fields.take(there.then_some(()).ok_or_else(|| {
                FieldError::new("group_ids", "group_unknown", format!("There is no IOC group {id}; list them with their devices at GET /api/v1/devices."))
            }));
        }
        if rule.criteria.min_sources.is_some_and(|count| !(1..=SOURCES_MOST).contains(&count)) {
            fields.take::<()>(Err(FieldError::new(
                "min_sources",
                "sources_out_of_range",
                "Give 1 to 50 sources.",
            )));
        }
        if rule.criteria.max_age_days.is_some_and(|days| !(1..=AGE_MOST).contains(&days)) {
            fields.take::<()>(Err(FieldError::new(
                "max_age_days",
                "age_out_of_range",
                "Give 1 to 3,650 days.",
            )));
        }
        if rule.criteria.min_score.is_some_and(|score| !(1..=100).contains(&score)) {
            fields.take::<()>(Err(FieldError::new(
                "min_score",
                "score_out_of_range",
                "Give a score of 1 to 100.",
            )));
        }
        if let (Some(from), Some(to)) = (rule.criteria.first_seen_from, rule.criteria.first_seen_to)
            && from >= to
        {
            fields.take::<()>(Err(FieldError::new(
                "first_seen_to",
                "window_empty",
                "The window is empty: first_seen_to must be later than first_seen_from.",
            )));
        }
        Ok(())
    }

    /// An alert policy acts on alerts that come from now on, unless it says otherwise.
    fn dated(&self, criteria: Criteria) -> Criteria {
        Criteria {
            alerts: criteria.alerts.map(|alerts| alerts.from_now(self.context.now())),
            ..criteria
        }
    }

    /// Makes a rule.
    ///
    /// # Errors
    /// If a field breaks a rule.
    pub async fn rule_create(&self, actor: &Actor, new: NewRule) -> AppResult<Rule> {
        actor.may_change(Module::Automation)?;
        let NewRule { name, enabled, criteria, mut group_ids } = new;
        group_ids.sort_unstable();
        group_ids.dedup();
        let mut fields = Fields::default();
        let name = fields.take(Name::parse_rule(&name));
        let placeholder = Name::parse_rule("rule")?;
        let criteria = self.dated(criteria);
        let rule = Rule {
            id: RuleId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            name: name.unwrap_or(placeholder),
            enabled,
            criteria,
            group_ids,
            created_at: self.context.now(),
        };
        let txn = self.context.store.write().await?;
        self.check_rule(&txn, actor, None, &rule, &mut fields).await?;
        fields.done()?;
        txn.rule_insert(&rule).await.map_err(|e| taken(e, "name", "a rule"))?;
        txn.group_reconfigure(&rule.group_ids).await?;
        self.context.audit(&txn, actor, "rule.create", &rule.id, &shown(&rule)).await?;
        self.context.idempotency_effect(&txn, actor, &rule.id).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(rule)
    }

    /// The rules of the account, by name.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn rule_list(&self, actor: &Actor) -> AppResult<Vec<Rule>> {
        actor.may_read(Module::Automation)?;
        Ok(self.context.store.read().rule_list(&actor.account_id).await?)
    }

    /// One rule.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn rule_fetch(&self, actor: &Actor, id: RuleId) -> AppResult<Rule> {
        actor.may_read(Module::Automation)?;
        self.context
            .store
            .read()
            .rule_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("rule"))
    }

    /// How many IOCs criteria choose now, before the limits of groups and devices.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn rule_count(&self, actor: &Actor, criteria: &Criteria) -> AppResult<Chosen> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let enabled: EnabledSources = read
            .source_list(&actor.account_id)
            .await?
            .into_iter()
            .filter(|s| s.enabled)
            .map(|s| s.id)
            .collect();
        let wanted =
            |id: &SourceId| criteria.source_ids.is_empty() || criteria.source_ids.contains(id);
        let sources: Vec<SourceId> = enabled.iter().copied().filter(wanted).collect();
        let Criteria { tags, min_confidence, alerts, tlp_most, min_sources, .. } = criteria;
        if tags.is_empty()
            && min_confidence.is_none()
            && alerts.is_none()
            && tlp_most.is_none()
            && min_sources.is_none_or(|count| count <= 1)
            && !criteria.go_by_age()
        {
            // The remediation blocklist is no column: what is on it comes on top.
            return Ok(Chosen {
                iocs: read.ioc_count(&actor.account_id, criteria, &sources).await?,
                at_least: criteria.blocklist,
            });
        }
        // Tags, alerts, reports and scores are no columns: the latest are looked at one by one.
        let now = self.context.now();
        let latest = read.ioc_choosable(&actor.account_id, criteria, &sources, LOOKED_AT).await?;
        let at_least = criteria.blocklist || latest.len() as u64 == LOOKED_AT;
        Ok(Chosen {
            iocs: latest.iter().filter(|row| criteria.choose(&row.ioc, &enabled, now)).count()
                as u64,
            at_least,
        })
    }

    /// Changes; the groups that it fed or feeds reselect.
    ///
    /// # Errors
    /// If it is not there, or a field breaks a rule.
    pub async fn rule_update(
        &self,
        actor: &Actor,
        id: RuleId,
        patch: RulePatch,
    ) -> AppResult<Rule> {
        actor.may_change(Module::Automation)?;
        let RulePatch { name, enabled, criteria, group_ids } = patch;
        let txn = self.context.store.write().await?;
        // Nobody changes it between reading and writing.
        txn.account_lock(&actor.account_id).await?;
        let before =
            txn.rule_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("rule"))?;
        let mut after = before.clone();
        let mut fields = Fields::default();
        if let Some(name) = name.and_then(|n| fields.take(Name::parse_rule(&n))) {
            after.name = name;
        }
        after.enabled = enabled.unwrap_or(before.enabled);
        after.criteria = criteria.map_or(after.criteria, |criteria| self.dated(criteria));
        after.group_ids = group_ids.unwrap_or(after.group_ids);
        after.group_ids.sort_unstable();
        after.group_ids.dedup();
        self.check_rule(&txn, actor, Some(&before), &after, &mut fields).await?;
        fields.done()?;
        txn.rule_update(&after).await.map_err(|e| taken(e, "name", "a rule"))?;
        let touched: Vec<GroupId> =
            before.group_ids.iter().chain(&after.group_ids).copied().collect();
        txn.group_reconfigure(&touched).await?;
        self.context
            .audit(
                &txn,
                actor,
                "rule.update",
                &id,
                &serde_json::json!({ "before": shown(&before), "after": shown(&after) }),
            )
            .await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(after)
    }

    /// Deletes a rule; the groups that it fed reselect.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn rule_delete(&self, actor: &Actor, id: RuleId) -> AppResult<()> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        // Nobody changes it between reading and writing.
        txn.account_lock(&actor.account_id).await?;
        let rule =
            txn.rule_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("rule"))?;
        txn.rule_delete(&actor.account_id, id).await?;
        txn.group_reconfigure(&rule.group_ids).await?;
        self.context.audit(&txn, actor, "rule.delete", &id, &shown(&rule)).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(())
    }
}

fn shown(rule: &Rule) -> serde_json::Value {
    serde_json::json!({ "name": rule.name.as_str(), "enabled": rule.enabled, "criteria": rule.criteria, "group_ids": rule.group_ids })
}
