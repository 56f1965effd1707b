//! Values in the one form in which they are compared.

use std::collections::BTreeMap;

use iocast_app::{App, AppResult};
use iocast_domain::{
    device::check_labels,
    device_type::find,
    guard::{OwnName, Refusal},
    message::is_webhook,
    name::Name,
    problem::FieldError,
    source::parse_source_name,
    watch::check_silent_after,
};
use serde_json::{Map, Value};

use super::{
    current::{Ids, folded, group_name, names},
    document::{AccountPart, AllowPart, DevicePart, Document, GuardsPart, RulePart, SourcePart},
    values::keep_since,
};
/// Puts a document into that form, and collects what is wrong with it.
pub(super) struct Normal<'a> {
    pub(super) app: &'a App,
    sources: BTreeMap<String, String>,
    devices: BTreeMap<String, String>,
    groups: BTreeMap<String, String>,
    pub(super) wrong: Vec<FieldError>,
}

/// Names of the groups of a document.
fn group_names<'a>(devices: impl Iterator<Item = &'a DevicePart>) -> Vec<String> {
    let groups = devices.flat_map(|of| of.groups.iter().flatten().map(move |group| (of, group)));
    groups.map(|(of, group)| group_name(&of.name, &group.name)).collect()
}

impl<'a> Normal<'a> {
    /// Collects the names that exist after the document is applied: without those that pruning
    /// deletes, with those that the document adds.
    pub(super) fn of(
        app: &'a App,
        ids: &Ids,
        there: &Document,
        new: &Document,
        prune: bool,
    ) -> Self {
        let named = |of: &Document| -> (Vec<String>, Vec<String>) {
            let sources = of.sources.iter().flatten().map(|one| one.name.clone());
            let devices = of.devices.iter().flatten().map(|one| one.name.clone());
            (sources.collect(), devices.collect())
        };
        let ((there_sources, there_devices), (sources, devices)) = (named(there), named(new));
        let stay = |there: Vec<String>, part: bool, stays: &dyn Fn(&String) -> bool| {
            if prune && part { there.into_iter().filter(stays).collect() } else { there }
        };
        let mut kept = stay(there_sources, new.sources.is_some(), &|name| {
            ids.own_sources.contains(&folded(name))
        });
        kept.extend(ids.deleted_sources.iter().cloned());
        let kept_devices = stay(there_devices, new.devices.is_some(), &|_| false);
        // A device that the document names without its groups keeps them.
        let keeps_groups = |of: &&DevicePart| {
            let named =
                new.devices.iter().flatten().find(|one| folded(&one.name) == folded(&of.name));
            match (prune && new.devices.is_some(), named) {
                (false, _) => true,
                (true, None) => false,
                (true, Some(named)) => named.groups.is_none(),
            }
        };
        let kept_groups = group_names(there.devices.iter().flatten().filter(keeps_groups));
        let new_groups = group_names(new.devices.iter().flatten());
        let both = |there: Vec<String>, new: Vec<String>| {
            names(there.iter().map(String::as_str), new.iter().map(String::as_str))
        };
        Self {
            app,
            sources: both(kept, sources),
            devices: both(kept_devices, devices),
            groups: both(kept_groups, new_groups),
            wrong: Vec::new(),
        }
    }

    pub(super) fn wrong(&mut self, field: String, code: &str, message: impl Into<String>) {
        self.wrong.push(FieldError::new(&field, code, message));
    }

    pub(super) fn source(&mut self, field: &str, name: &str) -> String {
        if let Some(known) = self.sources.get(&folded(name)) {
            return known.clone();
        }
        let message = format!("There is no source `{name}`, and the document adds none.");
        self.wrong(field.to_owned(), "unknown", message);
        name.to_owned()
    }

    fn device(&mut self, field: &str, name: &str) -> String {
        if let Some(known) = self.devices.get(&folded(name)) {
            return known.clone();
        }
        let message = format!("There is no device `{name}`, and the document adds none.");
        self.wrong(field.to_owned(), "unknown", message);
        name.to_owned()
    }

    fn group(&mut self, field: &str, name: &str) -> String {
        if let Some(known) = self.groups.get(&folded(name)) {
            return known.clone();
        }
        let message = format!(
            "There is no group `{name}`, and the document adds none. Name a group as `Device/Group`."
        );
        self.wrong(field.to_owned(), "unknown", message);
        name.to_owned()
    }

    /// Names that come twice.
    fn once<'b>(&mut self, part: &str, names: impl Iterator<Item = &'b str>) {
        let mut seen = std::collections::HashSet::new();
        let twice: Vec<&str> = names.filter(|name| !seen.insert(folded(name))).collect();
        for name in twice {
            self.wrong(part.to_owned(), "twice", format!("`{name}` stands in it twice."));
        }
    }

    /// The document in the form in which it is compared.
    pub(super) fn document(
        &mut self,
        mut document: Document,
        there: &Document,
    ) -> AppResult<Document> {
        self.once("people", document.people.iter().flatten().map(|of| of.email.as_str()));
        self.once("sources", document.sources.iter().flatten().map(|of| of.name.as_str()));
        self.once("devices", document.devices.iter().flatten().map(|of| of.name.as_str()));
        self.once("rules", document.rules.iter().flatten().map(|of| of.name.as_str()));
        if let Some(account) = &mut document.account {
            self.account(account);
        }
        if let Some(guards) = &mut document.guards {
            self.guards(guards);
        }
        for person in document.people.iter_mut().flatten() {
            person.email = folded(&person.email);
            if !person.email.contains('@') {
                let message = format!("`{}` is no e-mail address.", person.email);
                self.wrong("people".to_owned(), "email_invalid", message);
            }
        }
        for source in document.sources.iter_mut().flatten() {
            self.source_part(source)?;
        }
        for device in document.devices.iter_mut().flatten() {
            self.device_part(device);
        }
        for rule in document.rules.iter_mut().flatten() {
            let of = |one: &&RulePart| folded(&one.name) == folded(&rule.name);
            let before = there.rules.iter().flatten().find(of).and_then(|of| of.criteria.as_ref());
            self.rule_part(rule, before)?;
        }
        Ok(document)
    }

    fn account(&mut self, account: &mut AccountPart) {
        if let Some(hours) = account.silent_after_hours {
            self.hours("account.silent_after_hours", hours);
        }
        if let Some(url) = &mut account.webhook_url {
            *url = url.trim().to_owned();
            if !url.is_empty() && !is_webhook(url) {
                let message = "Give an http or https URL of at most 250 characters, without credentials or a fragment.";
                self.wrong("account.webhook_url".to_owned(), "webhook_url_invalid", message);
            }
        }
    }

    /// Hours of which 0 means "as usual".
    fn hours(&mut self, field: &str, hours: i64) {
        if hours != 0
            && let Err(error) = check_silent_after(hours)
        {
            self.wrong(field.to_owned(), &error.code, error.message);
        }
    }

    fn guards(&mut self, guards: &mut GuardsPart) {
        for word in guards.off.iter().flatten() {
            let guard = word.parse::<Refusal>().ok().filter(|of| Refusal::GUARDS.contains(of));
            if guard.is_none() {
                let message = format!("There is no guard `{word}`.");
                self.wrong("guards.off".to_owned(), "guard_unknown", message);
            }
        }
        if let Some(own) = &mut guards.own {
            *own = std::mem::take(own)
                .into_iter()
                .map(|text| self.own_name("guards.own", text))
                .collect();
        }
        if let Some(entries) = &mut guards.allow {
            // An entry that is over is as if it did not stand there.
            let now = self.app.context.now();
            entries.retain(|entry| entry.expires_at.is_none_or(|at| at > now));
            for entry in entries.iter_mut() {
                self.allow(entry);
            }
            let keys: Vec<String> = entries.iter().map(AllowPart::key).collect();
            self.once("guards.allow", keys.iter().map(String::as_str));
        }
    }

    fn source_part(&mut self, source: &mut SourcePart) -> AppResult<()> {
        let at = format!("sources.{}", source.name);
        match parse_source_name(&source.name) {
            Ok(name) => source.name = name,
            Err(error) => self.wrong(format!("{at}.name"), &error.code, error.message),
        }
        if source.confidence.is_some_and(|level| !(1..=3).contains(&level)) {
            let message = "Give a confidence of 1 (low), 2 (medium) or 3 (high).";
            self.wrong(format!("{at}.confidence"), "confidence_out_of_range", message);
        }
        if let Some(limits) = source.limits.take() {
            source.limits = self.limits(&at, limits)?;
        }
        if let Some(fields) = source.subscription.take() {
            source.subscription = self.subscription(&at, fields)?;
        }
        Ok(())
    }

    fn name(&mut self, at: &str, name: &mut String, read: fn(&str) -> Result<Name, FieldError>) {
        match read(name) {
            Ok(read) => *name = read.to_string(),
            Err(error) => self.wrong(format!("{at}.name"), &error.code, error.message),
        }
    }

    fn device_part(&mut self, device: &mut DevicePart) {
        let at = format!("devices.{}", device.name);
        self.name(&at, &mut device.name, Name::parse);
        self.once(&at, device.groups.iter().flatten().map(|of| of.name.as_str()));
        let device_type = find(&device.device_type);
        if device_type.is_none() {
            let message = format!(
                "There is no device type `{}`; GET /api/v1/device-types lists them.",
                device.device_type
            );
            self.wrong(format!("{at}.device_type"), "device_type_unknown", message);
        }
        if device.ioc_limit.is_some_and(|limit| limit < 1) {
            let message = "Give a limit of at least 1.";
            self.wrong(format!("{at}.ioc_limit"), "limit_out_of_range", message);
        }
        if let Some(hours) = device.silent_after_hours {
            self.hours(&format!("{at}.silent_after_hours"), hours);
        }
        if let Some(labels) = &mut device.labels {
            match check_labels(labels) {
                Ok(checked) => *labels = checked.into_iter().collect(),
                Err(error) => self.wrong(format!("{at}.labels"), &error.code, error.message),
            }
        }
        let mut given = 0;
        for group in device.groups.iter_mut().flatten() {
            let at = format!("{at}.{}", group.name);
            self.name(&at, &mut group.name, Name::parse);
            if let Some(kind) = &mut group.kind {
                *kind = folded(kind);
            }
            if group.limit.is_some_and(|limit| limit < 1) {
                let message = "Give a limit of at least 1.";
                self.wrong(format!("{at}.limit"), "limit_out_of_range", message);
            }
            given += group.limit.unwrap_or_default().max(0);
            for name in group.source_priority.iter_mut().flatten() {
                *name = self.source(&format!("{at}.source_priority"), name);
            }
        }
        if let Some(limit) = device.ioc_limit.filter(|limit| given > *limit) {
            let message = format!(
                "Its groups get {given} IOCs together, more than the {limit} of the device."
            );
            self.wrong(format!("{at}.ioc_limit"), "limit_below_groups", message);
        }
    }

    fn rule_part(
        &mut self,
        rule: &mut RulePart,
        before: Option<&Map<String, Value>>,
    ) -> AppResult<()> {
        let at = format!("rules.{}", rule.name);
        self.name(&at, &mut rule.name, Name::parse_rule);
        if let Some(criteria) = rule.criteria.take() {
            rule.criteria = self.criteria(&format!("{at}.criteria"), criteria)?;
            if let Some(criteria) = &mut rule.criteria {
                keep_since(criteria, before);
            }
        }
        if let Some(groups) = &mut rule.groups {
            for name in groups.iter_mut() {
                *name = self.group(&format!("{at}.groups"), name);
            }
            groups.sort();
            groups.dedup();
        }
        Ok(())
    }

    fn own_name(&mut self, field: &str, text: String) -> String {
        match text.parse::<OwnName>() {
            Ok(name) => name.into(),
            Err(why) => {
                self.wrong(field.to_owned(), "invalid", format!("{why}."));
                text
            }
        }
    }

    fn allow(&mut self, entry: &mut AllowPart) {
        entry.value = self.own_name("guards.allow", std::mem::take(&mut entry.value));
        let comment = entry.comment.take().map(|text| text.trim().to_owned());
        entry.comment = comment.filter(|text| !text.is_empty());
        if entry.source.is_some() && entry.device.is_some() {
            let message = "An entry holds for a source or for a device, not for both.";
            self.wrong("guards.allow".to_owned(), "one_scope", message);
        }
        if let Some(name) = &entry.source {
            entry.source = Some(self.source("guards.allow", name));
        }
        if let Some(name) = &entry.device {
            entry.device = Some(self.device("guards.allow", name));
        }
    }
}
