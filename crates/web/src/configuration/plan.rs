//! What has to be done so that an account is what a document says.

use std::collections::HashSet;

use iocast_app::{AppError, AppResult};
use iocast_domain::{
    account::Role,
    id::{DeviceId, GroupId, RuleId, SourceId, UserId},
    problem::FieldError,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Action, Change, FieldChange,
    current::{Ids, fields, folded, group_name},
    document::{
        AccountPart, AllowPart, DevicePart, Document, GroupPart, GuardsPart, PersonPart, RulePart,
        SourcePart,
    },
};

/// One thing to be done, as people read it and as it is done.
pub(super) struct Step {
    pub(super) change: Change,
    pub(super) work: Work,
}

/// What is done. A part that changes something holds only the fields that differ.
pub(super) enum Work {
    Account(AccountPart),
    Guards(GuardsPart),
    Allow { add: Vec<AllowPart>, remove: Vec<AllowPart> },
    Invite(PersonPart),
    Person(UserId, PersonPart),
    SourceAdd(SourcePart),
    SourceChange(SourceId, SourcePart),
    Subscribe(String, Map<String, Value>),
    SourceDelete(SourceId),
    DeviceAdd(DevicePart),
    DeviceChange(DeviceId, DevicePart),
    DeviceDelete(DeviceId),
    GroupAdd { device: String, group: GroupPart, default_rule: bool },
    GroupChange(GroupId, GroupPart),
    GroupDelete(GroupId),
    RuleAdd(RulePart),
    RuleChange(RuleId, RulePart),
    RuleDelete(RuleId),
}

/// The fields of the wanted object that differ from the existing one.
fn differences(
    wanted: &impl Serialize,
    there: &impl Serialize,
    not: &[&str],
) -> AppResult<Vec<FieldChange>> {
    let there = fields(there)?;
    let mut differ = Vec::new();
    for (field, to) in fields(wanted)? {
        let from = there.get(&field).cloned().unwrap_or_default();
        if !not.contains(&field.as_str()) && from != to {
            differ.push(FieldChange { field, from, to });
        }
    }
    Ok(differ)
}

/// A part with only some of its fields.
fn only<T: Serialize + DeserializeOwned>(
    of: &T,
    keys: &[&str],
    changed: &[FieldChange],
) -> AppResult<T> {
    let all = fields(of)?;
    let kept = all.into_iter().filter(|(name, _)| {
        keys.contains(&name.as_str()) || changed.iter().any(|change| change.field == *name)
    });
    serde_json::from_value(Value::Object(kept.collect())).map_err(AppError::internal)
}

/// What is added, field by field.
fn added(of: &impl Serialize, not: &[&str]) -> AppResult<Vec<FieldChange>> {
    differences(of, &Map::new(), not)
}

pub(super) fn step(
    action: Action,
    what: &'static str,
    name: &str,
    fields: Vec<FieldChange>,
    work: Work,
) -> Step {
    Step { change: Change { action, what, name: name.to_owned(), fields }, work }
}

/// Collects steps.
pub(super) struct Planner<'a> {
    pub(super) ids: &'a Ids,
    pub(super) prune: bool,
    /// The person who asks; nobody takes away their own access.
    me: Option<String>,
    /// Sources whose stored secrets are not those of the document, by folded name.
    new_secrets: HashSet<String>,
    pub(super) steps: Vec<Step>,
    pub(super) wrong: Vec<FieldError>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        ids: &'a Ids,
        prune: bool,
        me: Option<String>,
        new_secrets: HashSet<String>,
    ) -> Self {
        Self { ids, prune, me, new_secrets, steps: Vec::new(), wrong: Vec::new() }
    }

    /// The steps, in an order in which each can be done.
    pub(super) fn plan(mut self, wanted: &Document, there: &Document) -> AppResult<Vec<Step>> {
        self.account(wanted, there)?;
        self.allow(wanted, there, false);
        self.people(wanted, there)?;
        self.outdated_devices(wanted, there);
        self.sources(wanted, there)?;
        self.devices(wanted, there)?;
        self.rules(wanted, there)?;
        // Only now: what replaces them chooses IOCs already.
        self.outdated_rules(wanted, there);
        self.allow(wanted, there, true);
        self.outdated_sources(wanted, there);
        if self.wrong.is_empty() { Ok(self.steps) } else { Err(AppError::Invalid(self.wrong)) }
    }

    fn fixed(&mut self, field: String, what: &str, from: &str, to: &str) {
        let message = format!(
            "The {what} can't be changed from `{from}` to `{to}`; delete the object first, or give the new one another name."
        );
        self.wrong.push(FieldError::new(&field, "fixed", message));
    }

    fn account(&mut self, wanted: &Document, there: &Document) -> AppResult<()> {
        if let (Some(wanted), Some(there)) = (&wanted.account, &there.account) {
            let differ = differences(wanted, there, &[])?;
            if !differ.is_empty() {
                let part = only(wanted, &[], &differ)?;
                self.steps.push(step(Action::Update, "account", "", differ, Work::Account(part)));
            }
        }
        if let (Some(wanted), Some(there)) = (&wanted.guards, &there.guards) {
            let differ = differences(wanted, there, &["allow"])?;
            if !differ.is_empty() {
                let part = only(wanted, &[], &differ)?;
                self.steps.push(step(Action::Update, "guards", "", differ, Work::Guards(part)));
            }
        }
        Ok(())
    }

    fn people(&mut self, wanted: &Document, there: &Document) -> AppResult<()> {
        let Some(people) = &wanted.people else { return Ok(()) };
        let known = there.people.iter().flatten();
        // Administrators first: the last one can't be demoted before the next one exists.
        let mut people: Vec<&PersonPart> = people.iter().collect();
        people.sort_by_key(|of| of.role != Role::Admin || of.active == Some(false));
        for person in people.iter().copied() {
            let found = known.clone().find(|of| folded(&of.email) == person.email);
            match (found, self.ids.people.get(&person.email)) {
                (Some(there), Some(id)) => {
                    let differ = differences(person, there, &["email"])?;
                    if !differ.is_empty() {
                        let work = Work::Person(*id, person.clone());
                        self.steps.push(step(Action::Update, "person", &there.email, differ, work));
                    }
                }
                _ => {
                    let fields = added(person, &["email"])?;
                    let work = Work::Invite(person.clone());
                    self.steps.push(step(Action::Create, "person", &person.email, fields, work));
                }
            }
        }
        if self.prune {
            let named: HashSet<&str> = people.iter().map(|of| of.email.as_str()).collect();
            for there in known {
                let email = folded(&there.email);
                let is_out = !named.contains(email.as_str()) && there.active == Some(true);
                if !is_out || self.me.as_deref() == Some(email.as_str()) {
                    continue;
                }
                if let Some(id) = self.ids.people.get(&email) {
                    let part = PersonPart { active: Some(false), ..there.clone() };
                    let differ = differences(&part, there, &["email"])?;
                    let work = Work::Person(*id, part);
                    self.steps.push(step(Action::Update, "person", &there.email, differ, work));
                }
            }
        }
        Ok(())
    }

    fn sources(&mut self, wanted: &Document, there: &Document) -> AppResult<()> {
        let not = ["name", "subscription"];
        for source in wanted.sources.iter().flatten() {
            let name = folded(&source.name);
            let found = there.sources.iter().flatten().find(|of| folded(&of.name) == name);
            match (found, self.ids.sources.get(&name)) {
                (Some(there), Some(id)) => {
                    let differ = differences(source, there, &["subscription"])?;
                    if !differ.is_empty() {
                        let part = only(source, &["name"], &differ)?;
                        let part = SourcePart { subscription: None, ..part };
                        let work = Work::SourceChange(*id, part);
                        self.steps.push(step(Action::Update, "source", &there.name, differ, work));
                    }
                }
                _ => {
                    let fields = added(source, &not)?;
                    let work = Work::SourceAdd(source.clone());
                    self.steps.push(step(Action::Create, "source", &source.name, fields, work));
                }
            }
            let before = found.and_then(|of| of.subscription.clone());
            self.subscription(source, before)?;
        }
        Ok(())
    }

    /// Secrets are compared where they are kept, and never shown.
    fn subscription(
        &mut self,
        source: &SourcePart,
        before: Option<Map<String, Value>>,
    ) -> AppResult<()> {
        let Some(wanted) = &source.subscription else { return Ok(()) };
        let secrets = ["secret", "certificate_key"];
        let mut shown = wanted.clone();
        shown.retain(|name, _| !secrets.contains(&name.as_str()));
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let there = before.unwrap_or_default();
        let mut differ = differences(&shown, &there, &[])?;
        for (field, from) in there.iter().filter(|(name, _)| !shown.contains_key(*name)) {
            let (field, from) = (field.clone(), from.clone());
            differ.push(FieldChange { field, from, to: Value::Null });
        }
        if self.new_secrets.contains(&folded(&source.name)) {
            let (field, hidden) = ("secret".to_owned(), Value::from("(hidden)"));
            differ.push(FieldChange { field, from: hidden.clone(), to: hidden });
        }
        if !differ.is_empty() {
            let work = Work::Subscribe(source.name.clone(), wanted.clone());
            self.steps.push(step(action, "subscription", &source.name, differ, work));
        }
        Ok(())
    }

    fn devices(&mut self, wanted: &Document, there: &Document) -> AppResult<()> {
        let default_rule = wanted.rules.is_none();
        let not = ["device_type", "groups"];
        for device in wanted.devices.iter().flatten() {
            let name = folded(&device.name);
            let found = there.devices.iter().flatten().find(|of| folded(&of.name) == name);
            let (Some(there), Some(id)) = (found, self.ids.devices.get(&name).copied()) else {
                let fields = added(device, &["name", "groups"])?;
                let part = DevicePart { groups: None, ..device.clone() };
                let work = Work::DeviceAdd(part);
                self.steps.push(step(Action::Create, "device", &device.name, fields, work));
                for group in device.groups.iter().flatten() {
                    self.group_add(&device.name, group, default_rule)?;
                }
                continue;
            };
            if there.device_type != device.device_type {
                let field = format!("devices.{}.device_type", device.name);
                self.fixed(field, "device type", &there.device_type, &device.device_type);
            }
            let differ = differences(device, there, &not)?;
            let change = if differ.is_empty() {
                None
            } else {
                let part = only(device, &["name", "device_type"], &differ)?;
                let work = Work::DeviceChange(id, DevicePart { groups: None, ..part });
                Some(step(Action::Update, "device", &there.name, differ, work))
            };
            // Room is made before it is used, and used no more before it is taken away.
            let grows = device.ioc_limit > there.ioc_limit;
            let (first, last) = if grows { (change, None) } else { (None, change) };
            self.steps.extend(first);
            self.groups(device, there, default_rule)?;
            self.steps.extend(last);
        }
        Ok(())
    }

    fn group_add(&mut self, device: &str, group: &GroupPart, default_rule: bool) -> AppResult<()> {
        let fields = added(group, &["name"])?;
        let full = group_name(device, &group.name);
        let work = Work::GroupAdd { device: device.to_owned(), group: group.clone(), default_rule };
        self.steps.push(step(Action::Create, "group", &full, fields, work));
        Ok(())
    }

    fn groups(
        &mut self,
        device: &DevicePart,
        there: &DevicePart,
        default_rule: bool,
    ) -> AppResult<()> {
        let (mut shrink, mut grow) = (Vec::new(), Vec::new());
        let mut new = Vec::new();
        for group in device.groups.iter().flatten() {
            let full = group_name(&device.name, &group.name);
            let found =
                there.groups.iter().flatten().find(|of| folded(&of.name) == folded(&group.name));
            let (Some(there), Some(id)) = (found, self.ids.groups.get(&folded(&full))) else {
                new.push(group);
                continue;
            };
            if group.kind.is_some() && group.kind != there.kind {
                let kind = |of: &GroupPart| of.kind.clone().unwrap_or_else(|| "all".to_owned());
                let field = format!("devices.{}.{}.kind", device.name, group.name);
                self.fixed(field, "kind of a group", &kind(there), &kind(group));
            }
            let differ = differences(group, there, &["kind"])?;
            if differ.is_empty() {
                continue;
            }
            let work = Work::GroupChange(*id, only(group, &["name"], &differ)?);
            let step = step(Action::Update, "group", &full, differ, work);
            if group.limit < there.limit { shrink.push(step) } else { grow.push(step) }
        }
        self.steps.extend(shrink);
        for group in new {
            self.group_add(&device.name, group, default_rule)?;
        }
        self.steps.extend(grow);
        Ok(())
    }

    fn rules(&mut self, wanted: &Document, there: &Document) -> AppResult<()> {
        for rule in wanted.rules.iter().flatten() {
            let name = folded(&rule.name);
            let found = there.rules.iter().flatten().find(|of| folded(&of.name) == name);
            match (found, self.ids.rules.get(&name)) {
                (Some(there), Some(id)) => {
                    let differ = differences(rule, there, &[])?;
                    if !differ.is_empty() {
                        let work = Work::RuleChange(*id, only(rule, &["name"], &differ)?);
                        self.steps.push(step(Action::Update, "rule", &there.name, differ, work));
                    }
                }
                _ => {
                    let fields = added(rule, &["name"])?;
                    let work = Work::RuleAdd(rule.clone());
                    self.steps.push(step(Action::Create, "rule", &rule.name, fields, work));
                }
            }
        }
        Ok(())
    }
}
