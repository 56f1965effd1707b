//! What an account is set up to be now, as a document, and the ids behind its names.

use std::collections::{BTreeMap, HashMap, HashSet};

use iocast_app::{
    ALERT_SOURCE, Actor, App, AppError, AppResult, DeviceView, Page, SubscriptionView,
};
use iocast_domain::{
    account::Module,
    guard::{AllowEntry, Guards},
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

/// Reads all of an account, as far as its modules go.
pub(super) async fn current(app: &App, actor: &Actor) -> AppResult<(Document, Ids)> {
    let mut names = Names::default();
    let account = app.accounts.account_fetch(actor).await?;
    let people = people(app, actor, &mut names).await?;
    let has_tip = actor.modules.has(Module::Tip);
    let sources = if has_tip { Some(sources(app, actor, &mut names).await?) } else { None };
    let (devices, rules, guards) = if actor.modules.has(Module::Automation) {
        let devices = devices(app, actor, &mut names).await?;
        let rules = rules(app, actor, &mut names).await?;
        (Some(devices), Some(rules), Some(guards_part(account.guards, &names)))
    } else {
        (None, None, None)
    };
    let document = Document {
        version: VERSION,
        account: Some(AccountPart {
            silent_after_hours: Some(account.silent_after.map_or(0, |micros| micros / HOUR)),
            webhook_url: Some(account.webhook_url.unwrap_or_default()),
        }),
        guards,
        people: Some(people),
        sources,
        devices,
        rules,
    };
    Ok((document, names.ids))
}

/// Names by ids, and the other way round.
#[derive(Default)]
struct Names {
    ids: Ids,
    sources: HashMap<SourceId, String>,
    devices: HashMap<DeviceId, String>,
    groups: HashMap<GroupId, String>,
}

async fn people(app: &App, actor: &Actor, names: &mut Names) -> AppResult<Vec<PersonPart>> {
    let mut people = Vec::new();
    for user in app.accounts.user_list(actor).await? {
        names.ids.people.insert(folded(&user.email), user.id);
        people.push(PersonPart {
            email: user.email,
            role: user.role,
            active: Some(user.active),
            mail_alerts: Some(user.mail_alerts),
        });
    }
    Ok(people)
}

async fn sources(app: &App, actor: &Actor, names: &mut Names) -> AppResult<Vec<SourcePart>> {
    let mut subscriptions = HashMap::new();
    for view in app.intake.subscription_list(actor).await? {
        subscriptions.insert(view.subscription.source_id, subscription_part(view)?);
    }
    let mut sources = Vec::new();
    for source in app.intake.source_list(actor).await? {
        names.ids.sources.insert(folded(&source.name), source.id);
        names.sources.insert(source.id, source.name.clone());
        let is_document = source.kind == SourceKind::Document;
        if is_document {
            names.ids.document_sources.insert(folded(&source.name));
        }
        if is_document || source.name == ALERT_SOURCE {
            names.ids.own_sources.insert(folded(&source.name));
        }
        let subscription = subscriptions.remove(&source.id);
        sources.push(source_part(source, subscription)?);
    }
    Ok(sources)
}

async fn devices(app: &App, actor: &Actor, names: &mut Names) -> AppResult<Vec<DevicePart>> {
    let mut devices = Vec::new();
    let mut page = Page { limit: DEVICES, after: None };
    loop {
        let some = app.accounts.device_list(actor, &page).await?;
        for view in some.items {
            let name = view.device.name.to_string();
            names.ids.devices.insert(folded(&name), view.device.id);
            for group in &view.groups {
                let full = group_name(&name, group.row.group.name.as_str());
                names.ids.groups.insert(folded(&full), group.row.group.id);
                names.groups.insert(group.row.group.id, full);
            }
            names.devices.insert(view.device.id, name);
            devices.push(device_part(view, &names.sources));
        }
        page.after = some.next;
        if page.after.is_none() {
            return Ok(devices);
        }
    }
}

async fn rules(app: &App, actor: &Actor, names: &mut Names) -> AppResult<Vec<RulePart>> {
    let mut rules = Vec::new();
    for rule in app.accounts.rule_list(actor).await? {
        names.ids.rules.insert(folded(rule.name.as_str()), rule.id);
        for id in &rule.criteria.source_ids {
            if !names.sources.contains_key(id) {
                let name = format!("deleted source {id}");
                names.ids.sources.insert(folded(&name), *id);
                names.ids.deleted_sources.push(name.clone());
                names.sources.insert(*id, name);
            }
        }
        rules.push(rule_part(rule, &names.sources, &names.groups)?);
    }
    Ok(rules)
}

fn guards_part(guards: Guards, names: &Names) -> GuardsPart {
    let allow = guards.allow.into_iter();
    let allow = allow.filter_map(|entry| allow_part(entry, &names.sources, &names.devices));
    GuardsPart {
        off: Some(guards.off.iter().map(|guard| guard.word().to_owned()).collect()),
        own: Some(guards.own.into_iter().map(String::from).collect()),
        allow: Some(allow.collect()),
    }
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

/// Existing and new names: as written, by the folded form in which they are compared.
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
