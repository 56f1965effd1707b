//! What an account is set up to be now, as a document, and the ids behind its names.

use std::collections::{BTreeMap, HashMap, HashSet};

use iocast_app::{
    ALERT_SOURCE, Actor, App, AppError, AppResult, DeviceView, Page, SubscriptionView,
};
use iocast_domain::{
    account::Module,
    guard::AllowEntry,
    id::{DeviceId, GroupId, RuleId, SourceId, UserId},
    rule::Rule,
    source::{Source, SourceKind},
    time::HOUR,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    document::{
        AccountPart, AllowPart, DevicePart, Document, GroupPart, GuardsPart, PersonPart, RulePart,
        SourcePart, VERSION,
    },
    values::{limits_part, subscription, without_empty},
};
use crate::api::{
    rules::CriteriaWire,
    subscriptions::{SUBSCRIPTION_FIELDS, SubscriptionOut},
};

/// Devices that are read at once.
const DEVICES: u64 = 1_000;

/// Ids by names, which are compared ignoring case.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) people: HashMap<String, UserId>,
    pub(super) sources: HashMap<String, SourceId>,
    /// Sources that iocast made by itself: of alerts, and of documents that were handed in. They
    /// are never deleted because a document does not name them.
    pub(super) own_sources: HashSet<String>,
    /// Those of documents, which are no configuration.
    pub(super) document_sources: HashSet<String>,
    /// Names that stand for deleted sources which rules still ask for. Without them such a rule
    /// would take what all sources report.
    pub(super) deleted_sources: Vec<String>,
    pub(super) devices: HashMap<String, DeviceId>,
    /// By `device/group`.
    pub(super) groups: HashMap<String, GroupId>,
    pub(super) rules: HashMap<String, RuleId>,
}

/// A name as it is compared.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// The name of a group among all of the account.
pub(super) fn group_name(device: &str, group: &str) -> String {
    format!("{}/{}", device.trim(), group.trim())
}

/// Anything as the fields of an object.
pub(super) fn fields(of: &impl Serialize) -> AppResult<Map<String, Value>> {
    match serde_json::to_value(of).map_err(AppError::internal)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// Reads all of an account.
pub(super) async fn current(app: &App, actor: &Actor) -> AppResult<(Document, Ids)> {
    let mut ids = Ids::default();
    let account = app.accounts.account_fetch(actor).await?;
    let mut people = Vec::new();
    for user in app.accounts.user_list(actor).await? {
        ids.people.insert(folded(&user.email), user.id);
        people.push(PersonPart {
            email: user.email,
            role: user.role,
            active: Some(user.active),
            mail_alerts: Some(user.mail_alerts),
        });
    }
    let mut subscriptions = HashMap::new();
    let tip = actor.modules.has(Module::Tip);
    let automation = actor.modules.has(Module::Automation);
    let views = if tip { app.intake.subscription_list(actor).await? } else { Vec::new() };
    for view in views {
        let source = view.subscription.source_id;
        let all = fields(&SubscriptionOut::from(view))?;
        let given =
            all.into_iter().filter(|(name, _)| SUBSCRIPTION_FIELDS.contains(&name.as_str()));
        subscriptions.insert(source, subscription(given.collect()));
    }
    let mut source_names = HashMap::new();
    let mut sources = Vec::new();
    let listed = if tip { app.intake.source_list(actor).await? } else { Vec::new() };
    for source in listed {
        ids.sources.insert(folded(&source.name), source.id);
        source_names.insert(source.id, source.name.clone());
        let is_document = source.kind == SourceKind::Document;
        if is_document {
            ids.document_sources.insert(folded(&source.name));
        }
        if is_document || source.name == ALERT_SOURCE {
            ids.own_sources.insert(folded(&source.name));
        }
        let subscription = subscriptions.remove(&source.id);
        sources.push(source_part(source, subscription)?);
    }
    let (mut devices, mut device_names) = (Vec::new(), HashMap::new());
    let mut group_names = HashMap::new();
    let mut page = Page { limit: DEVICES, after: None };
    while automation {
        let some = app.accounts.device_list(actor, &page).await?;
        for view in some.items {
            let name = view.device.name.to_string();
            ids.devices.insert(folded(&name), view.device.id);
            for group in &view.groups {
                let full = group_name(&name, group.row.group.name.as_str());
                ids.groups.insert(folded(&full), group.row.group.id);
                group_names.insert(group.row.group.id, full);
            }
            device_names.insert(view.device.id, name);
            devices.push(device_part(view, &source_names));
        }
        page.after = some.next;
        if page.after.is_none() {
            break;
        }
    }
    let (mut rules, mut deleted) = (Vec::new(), HashMap::new());
    let listed = if automation { app.accounts.rule_list(actor).await? } else { Vec::new() };
    for rule in listed {
        ids.rules.insert(folded(rule.name.as_str()), rule.id);
        for id in rule.criteria.source_ids.iter().filter(|id| !source_names.contains_key(*id)) {
            let name = format!("deleted source {id}");
            ids.sources.insert(folded(&name), *id);
            ids.deleted_sources.push(name.clone());
            deleted.insert(*id, name);
        }
        source_names.extend(std::mem::take(&mut deleted));
        rules.push(rule_part(rule, &source_names, &group_names)?);
    }
    let guards = account.guards;
    let allow = guards
        .allow
        .into_iter()
        .filter_map(|entry| allow_part(entry, &source_names, &device_names));
    let document = Document {
        version: VERSION,
        account: Some(AccountPart {
            silent_after_hours: Some(account.silent_after.map_or(0, |micros| micros / HOUR)),
            webhook_url: Some(account.webhook_url.unwrap_or_default()),
        }),
        guards: automation.then(|| GuardsPart {
            off: Some(guards.off.iter().map(|guard| guard.word().to_owned()).collect()),
            own: Some(guards.own.into_iter().map(String::from).collect()),
            allow: Some(allow.collect()),
        }),
        people: Some(people),
        sources: tip.then_some(sources),
        devices: automation.then_some(devices),
        rules: automation.then_some(rules),
    };
    Ok((document, ids))
}

/// A subscription, by the fields that are not as usual.
pub(super) fn subscription_part(view: SubscriptionView) -> AppResult<Map<String, Value>> {
    let all = fields(&SubscriptionOut::from(view))?;
    let given = all.into_iter().filter(|(name, _)| SUBSCRIPTION_FIELDS.contains(&name.as_str()));
    Ok(subscription(given.collect()))
}

fn source_part(source: Source, subscription: Option<Map<String, Value>>) -> AppResult<SourcePart> {
    Ok(SourcePart {
        name: source.name,
        confidence: Some(u8::from(source.confidence).into()),
        enabled: Some(source.enabled),
        limits: Some(limits_part(source.limits)?),
        subscription,
    })
}

fn device_part(view: DeviceView, sources: &HashMap<SourceId, String>) -> DevicePart {
    let DeviceView { device, groups, .. } = view;
    let group = |of: iocast_app::GroupView| {
        let group = of.row.group;
        GroupPart {
            name: group.name.to_string(),
            kind: group.kind.map(|kind| kind.word().to_owned()),
            limit: Some(group.limit.into()),
            collapse: Some(group.collapse),
            source_priority: Some(
                group.source_priority.iter().filter_map(|id| sources.get(id).cloned()).collect(),
            ),
            notify_on_limit: Some(group.notify_on_limit),
        }
    };
    DevicePart {
        name: device.name.to_string(),
        device_type: device.device_type.id.to_owned(),
        ioc_limit: Some(device.ioc_limit.into()),
        paused: Some(device.paused),
        labels: Some(device.labels.into_iter().collect()),
        silent_after_hours: Some(device.silent_after.map_or(0, |micros| micros / HOUR)),
        groups: Some(groups.into_iter().map(group).collect()),
    }
}

fn rule_part(
    rule: Rule,
    sources: &HashMap<SourceId, String>,
    groups: &HashMap<GroupId, String>,
) -> AppResult<RulePart> {
    let mut named: Vec<String> =
        rule.criteria.source_ids.iter().filter_map(|id| sources.get(id).cloned()).collect();
    named.sort();
    let mut criteria = without_empty(fields(&CriteriaWire::from(rule.criteria))?);
    criteria.remove("source_ids");
    // With past alerts, the time from which on others count says nothing.
    if let Some(Value::Object(alerts)) = criteria.get_mut("alerts")
        && alerts.get("past").and_then(Value::as_bool) == Some(true)
    {
        alerts.remove("since");
    }
    if !named.is_empty() {
        criteria.insert("sources".to_owned(), named.into());
    }
    let mut groups: Vec<String> =
        rule.group_ids.iter().filter_map(|id| groups.get(id).cloned()).collect();
    groups.sort();
    Ok(RulePart {
        name: rule.name.to_string(),
        enabled: Some(rule.enabled),
        criteria: Some(criteria),
        groups: Some(groups),
    })
}

/// An entry; none where what it holds for is deleted: without that it would hold everywhere.
fn allow_part(
    entry: AllowEntry,
    sources: &HashMap<SourceId, String>,
    devices: &HashMap<DeviceId, String>,
) -> Option<AllowPart> {
    let (source, device) = entry.scope.ids();
    Some(AllowPart {
        value: entry.value.into(),
        comment: entry.comment,
        expires_at: entry.expires_at,
        source: match source {
            Some(id) => Some(sources.get(&id)?.clone()),
            None => None,
        },
        device: match device {
            Some(id) => Some(devices.get(&id)?.clone()),
            None => None,
        },
    })
}

/// Names as they are written, by how they are compared: of what is there, and of what the document
/// adds.
pub(super) fn names<'a>(
    there: impl Iterator<Item = &'a str>,
    new: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for name in there.chain(new) {
        all.entry(folded(name)).or_insert_with(|| name.trim().to_owned());
    }
    all
}
