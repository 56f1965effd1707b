//! Which rules choose an IOC, and why others do not.

use std::collections::BTreeMap;

use iocast_domain::{
    id::GroupId,
    ioc::Ioc,
    rule::{EnabledSources, Rule},
    time::Timestamp,
};
use iocast_store::Reader;

use super::{LISTED, RuleNotMet};
use crate::{Actor, AppResult};

/// The sources of the account that are on.
pub(super) async fn enabled(read: &Reader, actor: &Actor) -> AppResult<EnabledSources> {
    let sources = read.source_list(&actor.account_id).await?;
    Ok(sources.into_iter().filter(|source| source.enabled).map(|source| source.id).collect())
}

/// The rules that feed groups to which no rule sends an IOC, and why they do not choose it.
pub(super) fn not_met(
    rules: &[Rule],
    ioc: &Ioc,
    enabled: &EnabledSources,
    (now, chosen): (Timestamp, &BTreeMap<GroupId, Vec<String>>),
) -> Vec<RuleNotMet> {
    let mut found = Vec::new();
    for rule in rules {
        let groups = rule.group_ids.iter().filter(|group| !chosen.contains_key(group)).count();
        let not_met = rule.criteria.why_not(ioc, enabled, now);
        if groups > 0 && (not_met.is_some() || !rule.enabled) {
            found.push(RuleNotMet {
                rule_id: rule.id,
                rule: rule.name.to_string(),
                not_met: not_met.filter(|_| rule.enabled),
                groups: groups as u64,
            });
        }
        if found.len() == LISTED {
            break;
        }
    }
    found
}

/// The rules that choose an IOC, by group.
pub(super) fn choose(
    rules: &[Rule],
    ioc: &Ioc,
    enabled: &EnabledSources,
    now: Timestamp,
) -> BTreeMap<GroupId, Vec<String>> {
    let mut chosen: BTreeMap<GroupId, Vec<String>> = BTreeMap::new();
    let chooses = |rule: &&Rule| rule.enabled && rule.criteria.choose(ioc, enabled, now);
    for rule in rules.iter().filter(chooses) {
        for group in &rule.group_ids {
            chosen.entry(*group).or_default().push(rule.name.to_string());
        }
    }
    chosen
}
