//! Pruning: deletes what exists and is not in the document.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Action, FieldChange,
    current::{folded, group_name},
    document::Document,
    plan::{Planner, Work, step},
};

impl Planner<'_> {
    /// Rules that the document does not name.
    pub(super) fn outdated_rules(&mut self, wanted: &Document, there: &Document) {
        let (true, Some(rules)) = (self.prune, &wanted.rules) else { return };
        let named: HashSet<String> = rules.iter().map(|of| folded(&of.name)).collect();
        for rule in there.rules.iter().flatten() {
            let name = folded(&rule.name);
            if let (false, Some(id)) = (named.contains(&name), self.ids.rules.get(&name)) {
                let work = Work::RuleDelete(*id);
                self.steps.push(step(Action::Delete, "rule", &rule.name, Vec::new(), work));
            }
        }
    }

    /// Devices and groups that the document does not name.
    pub(super) fn outdated_devices(&mut self, wanted: &Document, there: &Document) {
        let (true, Some(devices)) = (self.prune, &wanted.devices) else { return };
        for there in there.devices.iter().flatten() {
            let name = folded(&there.name);
            let Some(id) = self.ids.devices.get(&name) else { continue };
            let Some(device) = devices.iter().find(|of| folded(&of.name) == name) else {
                let groups: Vec<&str> =
                    there.groups.iter().flatten().map(|group| group.name.as_str()).collect();
                let lost = FieldChange {
                    field: "groups".to_owned(),
                    from: groups.into(),
                    to: Value::Null,
                };
                let work = Work::DeviceDelete(*id);
                self.steps.push(step(Action::Delete, "device", &there.name, vec![lost], work));
                continue;
            };
            let Some(groups) = &device.groups else { continue };
            let named: HashSet<String> = groups.iter().map(|of| folded(&of.name)).collect();
            for group in there.groups.iter().flatten() {
                let full = group_name(&there.name, &group.name);
                let id = self.ids.groups.get(&folded(&full));
                if let (false, Some(id)) = (named.contains(&folded(&group.name)), id) {
                    let work = Work::GroupDelete(*id);
                    self.steps.push(step(Action::Delete, "group", &full, Vec::new(), work));
                }
            }
        }
    }

    /// Sources go last: rules and groups name them until then.
    pub(super) fn outdated_sources(&mut self, wanted: &Document, there: &Document) {
        let (true, Some(sources)) = (self.prune, &wanted.sources) else { return };
        let named: HashSet<String> = sources.iter().map(|of| folded(&of.name)).collect();
        for source in there.sources.iter().flatten() {
            let name = folded(&source.name);
            let stays = named.contains(&name) || self.ids.own_sources.contains(&name);
            if let (false, Some(id)) = (stays, self.ids.sources.get(&name)) {
                let work = Work::SourceDelete(*id);
                self.steps.push(step(Action::Delete, "source", &source.name, Vec::new(), work));
            }
        }
    }
}
