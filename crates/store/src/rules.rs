//! IOC management rules.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    alert::{AlertCriteria, AlertKind},
    id::{AccountId, GroupId, RuleId, SourceId},
    ioc::{Kind, Severity},
    name::Name,
    rule::{Criteria, Rule, StateFilter},
    source::Confidence,
    time::Timestamp,
    tlp::Tlp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Set,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Conn, StoreResult, Txn,
    error::{corrupt, readable},
    row::{rule, rule_group},
};

/// Criteria as they are stored: apart from what the API takes and what rules are judged by, so that
/// each may change alone. A field that a newer version wrote is not passed over: without it the
/// rule would choose more than somebody wanted.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredCriteria {
    kinds: Vec<Kind>,
    severities: Vec<Severity>,
    source_ids: Vec<SourceId>,
    min_confidence: Option<Confidence>,
    tags: Vec<String>,
    state: StateFilter,
    first_seen_from: Option<Timestamp>,
    first_seen_to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tlp_most: Option<Tlp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_sources: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age_days: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_score: Option<u8>,
    blocklist: bool,
    alerts: Option<StoredAlerts>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredAlerts {
    types: Vec<AlertKind>,
    severities: Vec<Severity>,
    past: bool,
    since: Option<Timestamp>,
}

impl From<Criteria> for StoredCriteria {
    fn from(criteria: Criteria) -> Self {
        let Criteria {
            kinds,
            severities,
            source_ids,
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts,
        } = criteria;
        let alerts = alerts.map(|AlertCriteria { types, severities, past, since }| StoredAlerts {
            types,
            severities,
            past,
            since,
        });
        Self {
            kinds,
            severities,
            source_ids,
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts,
        }
    }
}

impl From<StoredCriteria> for Criteria {
    fn from(stored: StoredCriteria) -> Self {
        let StoredCriteria {
            kinds,
            severities,
            source_ids,
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts,
        } = stored;
        let alerts = alerts.map(|StoredAlerts { types, severities, past, since }| AlertCriteria {
            types,
            severities,
            past,
            since,
        });
        Self {
            kinds,
            severities,
            source_ids,
            min_confidence,
            tags,
            state,
            first_seen_from,
            first_seen_to,
            tlp_most,
            min_sources,
            max_age_days,
            min_score,
            blocklist,
            alerts,
        }
    }
}

fn to_rule(row: rule::Model, group_ids: Vec<GroupId>) -> StoreResult<Rule> {
    let rule::Model { id, account_id, name, folded: _, enabled, criteria, created_at } = row;
    Ok(Rule {
        id: RuleId(id),
        account_id: crate::accounts::account_id("rules", account_id)?,
        name: Name::parse_rule(&name).map_err(|e| corrupt("rules", "name", e.message))?,
        enabled,
        criteria: serde_json::from_str::<StoredCriteria>(&criteria)
            .map(Into::into)
            .map_err(|e| corrupt("rules", "criteria", e))?,
        group_ids,
        created_at: Timestamp::from_micros(created_at),
    })
}

fn rule_row(of: &Rule) -> StoreResult<rule::ActiveModel> {
    let Rule { id, account_id, name, enabled, criteria, group_ids: _, created_at } = of;
    Ok(rule::ActiveModel {
        id: Set(id.0),
        account_id: Set(account_id.to_string()),
        name: Set(name.to_string()),
        folded: Set(name.folded()),
        enabled: Set(*enabled),
        criteria: Set(serde_json::to_string(&StoredCriteria::from(criteria.clone()))
            .map_err(|e| corrupt("rules", "criteria", e))?),
        created_at: Set(created_at.micros()),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// What rules that are on ask for and that go by age, each with its account.
    pub async fn rules_by_age(&self) -> StoreResult<Vec<(AccountId, Criteria)>> {
        let named = Condition::any()
            .add(rule::Column::Criteria.contains("max_age_days"))
            .add(rule::Column::Criteria.contains("min_score"));
        let rows = rule::Entity::find()
            .filter(rule::Column::Enabled.eq(true))
            .filter(named)
            .all(&self.0)
            .await?;
        let mut found = Vec::new();
        for row in rows {
            let account = crate::accounts::account_id("rules", row.account_id.clone())?;
            let rule = to_rule(row, Vec::new())?;
            if rule.criteria.go_by_age() {
                found.push((account, rule.criteria));
            }
        }
        Ok(found)
    }

    async fn rules_with_groups(
        &self,
        rows: Vec<rule::Model>,
    ) -> StoreResult<Vec<StoreResult<Rule>>> {
        let ids: Vec<Uuid> = rows.iter().map(|r| r.id).collect();
        let mut groups: HashMap<Uuid, Vec<GroupId>> = HashMap::new();
        for some in ids.chunks(1_000) {
            let of = rule_group::Column::RuleId.is_in(some.iter().copied());
            for link in rule_group::Entity::find()
                .filter(of)
                .order_by_asc(rule_group::Column::GroupId)
                .all(&self.0)
                .await?
            {
                groups.entry(link.rule_id).or_default().push(GroupId(link.group_id));
            }
        }
        let read = |row: rule::Model| {
            let ids = groups.remove(&row.id).unwrap_or_default();
            to_rule(row, ids)
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// The rules of an account, by name. One that can't be read, say of a newer version, is told in
    /// the log and left out.
    pub async fn rule_list(&self, account: &AccountId) -> StoreResult<Vec<Rule>> {
        let rows = rule::Entity::find()
            .filter(rule::Column::AccountId.eq(account.as_str()))
            .order_by_asc(rule::Column::Folded)
            .all(&self.0)
            .await?;
        Ok(readable(self.rules_with_groups(rows).await?, |rule| rule))
    }

    /// One rule of an account.
    pub async fn rule_fetch(&self, account: &AccountId, id: RuleId) -> StoreResult<Option<Rule>> {
        let rows = rule::Entity::find_by_id(id.0)
            .filter(rule::Column::AccountId.eq(account.as_str()))
            .all(&self.0)
            .await?;
        self.rules_with_groups(rows).await?.pop().transpose()
    }

    /// Whether a rule of an account has this name.
    pub async fn rule_is_named(&self, account: &AccountId, name: &Name) -> StoreResult<bool> {
        let find = rule::Entity::find()
            .filter(rule::Column::AccountId.eq(account.as_str()))
            .filter(rule::Column::Folded.eq(name.folded()));
        Ok(find
            .select_only()
            .column(rule::Column::Id)
            .into_tuple::<Uuid>()
            .one(&self.0)
            .await?
            .is_some())
    }

    /// What the rules that feed each of some groups and are on choose. If one can't be read there
    /// is no answer: without it its groups would lose IOCs.
    pub async fn rule_feeding(
        &self,
        groups: &[GroupId],
    ) -> StoreResult<HashMap<GroupId, Vec<Criteria>>> {
        let linked: Vec<(Uuid, Uuid)> = rule_group::Entity::find()
            .select_only()
            .column(rule_group::Column::RuleId)
            .column(rule_group::Column::GroupId)
            .filter(rule_group::Column::GroupId.is_in(groups.iter().map(|g| g.0)))
            .into_tuple()
            .all(&self.0)
            .await?;
        let ids: HashSet<Uuid> = linked.iter().map(|(rule, _)| *rule).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut criteria = HashMap::with_capacity(ids.len());
        for some in ids.chunks(1_000) {
            let of = rule::Column::Id.is_in(some.iter().copied());
            for row in rule::Entity::find()
                .filter(of)
                .filter(rule::Column::Enabled.eq(true))
                .all(&self.0)
                .await?
            {
                criteria.insert(row.id, to_rule(row, Vec::new())?.criteria);
            }
        }
        let mut found: HashMap<GroupId, Vec<Criteria>> = HashMap::with_capacity(groups.len());
        for (rule, group) in linked {
            found.entry(GroupId(group)).or_default().extend(criteria.get(&rule).cloned());
        }
        Ok(found)
    }
}

impl Txn {
    /// Writes a new rule.
    pub async fn rule_insert(&self, new: &Rule) -> StoreResult<()> {
        rule_row(new)?.insert(&self.0).await?;
        self.rule_link(new).await
    }

    /// Writes a changed rule.
    pub async fn rule_update(&self, changed: &Rule) -> StoreResult<()> {
        rule_row(changed)?.update(&self.0).await?;
        rule_group::Entity::delete_many()
            .filter(rule_group::Column::RuleId.eq(changed.id.0))
            .exec(&self.0)
            .await?;
        self.rule_link(changed).await
    }

    /// Deletes a rule.
    pub async fn rule_delete(&self, account: &AccountId, id: RuleId) -> StoreResult<()> {
        rule::Entity::delete_many()
            .filter(rule::Column::Id.eq(id.0))
            .filter(rule::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        rule_group::Entity::delete_many()
            .filter(rule_group::Column::RuleId.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    async fn rule_link(&self, of: &Rule) -> StoreResult<()> {
        for group in &of.group_ids {
            rule_group::ActiveModel { rule_id: Set(of.id.0), group_id: Set(group.0) }
                .insert(&self.0)
                .await?;
        }
        Ok(())
    }
}
