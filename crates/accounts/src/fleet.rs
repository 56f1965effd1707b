//! Many devices at once: added from a table, and changed together. Each device succeeds or fails on
//! its own, and says so.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use iocast_domain::{
    device::{Device, check_device_limit, check_labels, check_type},
    device_type::check_group_kind,
    id::{DeviceId, GroupId},
    key::KeyKind,
    name::Name,
    problem::FieldError,
    time::Timestamp,
};

use crate::{Accounts, Actor, AppError, AppResult, DevicePatch, NewDevice, NewGroup};

/// Most devices that are changed or added with one call.
pub const FLEET_MAX: usize = 500;
/// Most groups of a device of a table.
const GROUPS_MAX: usize = 20;
/// The columns of the table, in the order in which they are exported.
pub const COLUMNS: [&str; 5] = ["name", "device_type", "ioc_limit", "groups", "labels"];

/// A device of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetRow {
    /// Its line, from 1.
    pub line: u64,
    /// Name.
    pub name: String,
    /// Id of its type.
    pub device_type: String,
    /// The type's maximum unless given.
    pub ioc_limit: Option<i64>,
    /// The groups to be made: a name each, and what the group holds where its device takes one kind
    /// a group.
    pub groups: Vec<(String, Option<String>)>,
    /// Labels.
    pub labels: Vec<String>,
}

/// A group that was made for a device of a table.
#[derive(Clone, Debug)]
pub struct FleetGroup {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// What the device pulls.
    pub url: String,
}

/// What came of a device of a table.
#[derive(Clone, Debug)]
pub struct FleetAdded {
    /// Its line.
    pub line: u64,
    /// Its name as it was given.
    pub name: String,
    /// The device; none where it was only checked, or could not be added.
    pub device: Option<DeviceId>,
    /// The groups that were made.
    pub groups: Vec<FleetGroup>,
    /// The key that opens them: this is the only time that it is shown.
    pub key: Option<String>,
    /// Why it could not be added, or what is missing.
    pub problem: Option<String>,
}

/// A change to many devices.
#[derive(Clone, Debug)]
pub enum FleetChange {
    /// They are not watched, until a moment or until somebody watches them again.
    Pause(Option<Timestamp>),
    /// They are watched again.
    Resume,
    /// They get labels.
    AddLabels(Vec<String>),
    /// They lose labels.
    RemoveLabels(Vec<String>),
    /// They get this limit.
    Limit(i64),
    /// They are silent after so many hours; none goes back to the account's.
    SilentAfter(Option<i64>),
    /// Each gets another key; those that it has go on working.
    NewKey,
}

/// What came of a device of many.
#[derive(Clone, Debug)]
pub struct FleetChanged {
    /// The device.
    pub id: DeviceId,
    /// Its name; empty where there is no such device.
    pub name: String,
    /// The key that was made.
    pub key: Option<String>,
    /// Why it was not changed.
    pub problem: Option<String>,
}

/// Why something was refused, in one sentence.
fn sentence(error: &AppError) -> String {
    match error {
        AppError::Invalid(fields) => {
            fields.iter().map(|of| of.message.clone()).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A line of a table: its number, and its cells by the names of their columns, in lower case with
/// `_` for blanks.
pub type NamedLine = (u64, BTreeMap<String, String>);

/// Takes the lines of a table for devices. `comma` says that a comma may stand within a cell.
///
/// # Errors
/// If a column that is needed lacks, or the table is empty or too long.
pub fn fleet_rows(lines: Vec<NamedLine>, comma: bool) -> AppResult<Vec<FleetRow>> {
    let wrong = |message: String| AppError::field("table", "table_unreadable", message);
    let mut rows = Vec::new();
    for (line, cells) in lines {
        let cell = |names: &[&str]| -> &str {
            names.iter().find_map(|name| cells.get(*name)).map_or("", String::as_str)
        };
        let has = |names: &[&str]| names.iter().any(|name| cells.contains_key(*name));
        if !has(&["name"]) || !has(&["device_type", "type"]) {
            return Err(wrong(format!(
                "The first line has to name the columns, at least name and device_type; all are: {}.",
                COLUMNS.join(", ")
            )));
        }
        if cells.values().all(String::is_empty) {
            continue;
        }
        let limit = cell(&["ioc_limit", "limit"]);
        let ioc_limit = match limit.replace([',', '_', '\'', ' '], "").as_str() {
            "" => None,
            digits => Some(
                digits
                    .parse()
                    .map_err(|_| wrong(format!("Line {line}: {limit} is no number of IOCs.")))?,
            ),
        };
        let several = |text: &str| -> Vec<String> {
            let split = text.split(|c| c == ';' || c == '|' || (comma && c == ','));
            split.map(str::trim).filter(|of| !of.is_empty()).map(str::to_owned).collect()
        };
        let group = |text: String| match text.split_once('=') {
            Some((name, kind)) => (name.trim().to_owned(), Some(kind.trim().to_owned())),
            None => (text, None),
        };
        rows.push(FleetRow {
            line,
            name: cell(&["name"]).to_owned(),
            device_type: cell(&["device_type", "type"]).to_owned(),
            ioc_limit,
            groups: several(cell(&["groups", "group"])).into_iter().map(group).collect(),
            labels: several(cell(&["labels", "label"])),
        });
        if rows.len() > FLEET_MAX {
            return Err(wrong(format!("Give at most {FLEET_MAX} devices at once.")));
        }
    }
    if rows.is_empty() {
        return Err(wrong(format!(
            "The table has no device. The first line has to name the columns ({}), and each further line is a device.",
            COLUMNS.join(", ")
        )));
    }
    Ok(rows)
}

/// What is wrong with a device before it is added.
fn check(row: &FleetRow) -> Vec<FieldError> {
    let mut wrong: Vec<FieldError> = Name::parse(&row.name).err().into_iter().collect();
    match check_type(&row.device_type) {
        Err(error) => wrong.push(error),
        Ok(of) => {
            let limit = row.ioc_limit.unwrap_or(i64::from(of.max_iocs));
            wrong.extend(check_device_limit(limit, of, &[]).err());
            let kinds = row.groups.iter();
            wrong.extend(kinds.filter_map(|(_, kind)| check_group_kind(of, kind.as_deref()).err()));
            let most = GROUPS_MAX.min(usize::try_from(limit).unwrap_or(0));
            if row.groups.len() > most {
                let message = format!("Give at most {most} groups to a device with this limit.");
                wrong.push(FieldError::new("groups", "too_many_groups", message));
            }
        }
    }
    let names: HashSet<String> =
        row.groups.iter().map(|(name, _)| name.trim().to_lowercase()).collect();
    if names.len() < row.groups.len() {
        let message = "Two of its groups have the same name.";
        wrong.push(FieldError::new("groups", "name_taken", message));
    }
    wrong.extend(row.groups.iter().filter_map(|(name, _)| Name::parse(name).err()));
    wrong.extend(check_labels(&row.labels).err());
    wrong
}

impl Accounts {
    /// Adds the devices of a table, each with its groups and a key for them; or only checks them.
    /// A device that can't be added leaves the others alone.
    ///
    /// # Errors
    /// If the actor may not add devices, or there are too many.
    pub async fn devices_add(
        self: &Arc<Self>,
        actor: &Actor,
        rows: Vec<FleetRow>,
        only_check: bool,
    ) -> AppResult<Vec<FleetAdded>> {
        actor.may_change(iocast_domain::account::Module::Automation)?;
        if rows.len() > FLEET_MAX {
            let message = format!("Give at most {FLEET_MAX} devices at once.");
            return Err(AppError::field("devices", "too_many_devices", message));
        }
        let taken: HashSet<String> = self
            .context
            .store
            .read()
            .device_list_all(&actor.account_id)
            .await?
            .into_iter()
            .map(|device| device.name.folded())
            .collect();
        let mut seen = taken;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let mut wrong = check(&row);
            let folded = row.name.trim().to_lowercase();
            if !folded.is_empty() && !seen.insert(folded) {
                let message = format!("There is a device called {} already.", row.name);
                wrong.push(FieldError::new("name", "name_taken", message));
            }
            let mut added = FleetAdded {
                line: row.line,
                name: row.name.clone(),
                device: None,
                groups: Vec::new(),
                key: None,
                problem: None,
            };
            if !wrong.is_empty() {
                added.problem = Some(sentence(&AppError::Invalid(wrong)));
            } else if !only_check && let Err(error) = self.device_add(actor, row, &mut added).await
            {
                added.problem = Some(sentence(&error));
            }
            all.push(added);
        }
        Ok(all)
    }

    async fn device_add(
        self: &Arc<Self>,
        actor: &Actor,
        row: FleetRow,
        added: &mut FleetAdded,
    ) -> AppResult<()> {
        let FleetRow { name, device_type, ioc_limit, groups, labels, .. } = row;
        let new = NewDevice { name, device_type, ioc_limit, labels };
        let device = self.device_create(actor, new).await?.device;
        added.device = Some(device.id);
        let mut left = u64::from(device.ioc_limit);
        let mut open = groups.len() as u64;
        for (name, kind) in groups {
            // Each takes its part of the device's limit.
            let limit = left / open.max(1);
            (left, open) = (left - limit, open - 1);
            let new = NewGroup {
                name: name.clone(),
                kind,
                limit: i64::try_from(limit).ok(),
                collapse: false,
                source_priority: Vec::new(),
                notify_on_limit: false,
                default_rule: true,
            };
            let id = self.group_create(actor, device.id, new).await?;
            added.groups.push(FleetGroup { id, name, url: self.context.group_url(id) });
        }
        if !added.groups.is_empty() {
            let made = self.key_create(actor, KeyKind::Device, Some(device.id)).await?;
            added.key = Some(made.secret);
        }
        Ok(())
    }

    /// Changes many devices. Each is changed on its own.
    ///
    /// # Errors
    /// If the actor may not change devices, or there are too many.
    pub async fn devices_change(
        self: &Arc<Self>,
        actor: &Actor,
        ids: &[DeviceId],
        change: &FleetChange,
    ) -> AppResult<Vec<FleetChanged>> {
        actor.may_change(iocast_domain::account::Module::Automation)?;
        if ids.is_empty() {
            return Err(AppError::field("ids", "nothing_chosen", "Choose at least one device."));
        }
        if ids.len() > FLEET_MAX {
            let message = format!("Choose at most {FLEET_MAX} devices at once.");
            return Err(AppError::field("ids", "too_many_devices", message));
        }
        let mut all = Vec::with_capacity(ids.len());
        let devices = self.context.store.read().device_fetch_many(&actor.account_id, ids).await?;
        let mut seen = HashSet::new();
        for id in ids.iter().filter(|id| seen.insert(**id)) {
            let Some(device) = devices.iter().find(|device| device.id == *id) else {
                let problem = Some("There is no such device.".to_owned());
                all.push(FleetChanged { id: *id, name: String::new(), key: None, problem });
                continue;
            };
            let (key, problem) = match self.device_change(actor, device, change).await {
                Ok(key) => (key, None),
                Err(error) => (None, Some(sentence(&error))),
            };
            all.push(FleetChanged { id: *id, name: device.name.to_string(), key, problem });
        }
        Ok(all)
    }

    async fn device_change(
        self: &Arc<Self>,
        actor: &Actor,
        device: &Device,
        change: &FleetChange,
    ) -> AppResult<Option<String>> {
        let mut patch = DevicePatch::default();
        match change {
            FleetChange::Pause(until) => {
                patch.paused = Some(true);
                patch.paused_until = Some(*until);
            }
            FleetChange::Resume => patch.paused = Some(false),
            FleetChange::AddLabels(labels) => patch.add_labels.clone_from(labels),
            FleetChange::RemoveLabels(labels) => patch.remove_labels.clone_from(labels),
            FleetChange::Limit(limit) => patch.ioc_limit = Some(*limit),
            FleetChange::SilentAfter(hours) => patch.silent_after_hours = Some(*hours),
            FleetChange::NewKey => {
                let made = self.key_create(actor, KeyKind::Device, Some(device.id)).await?;
                return Ok(Some(made.secret));
            }
        }
        self.device_update(actor, device.id, patch).await?;
        Ok(None)
    }

    /// Watches devices again whose pause has ended by itself.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pauses_tick(self: &Arc<Self>) -> AppResult<()> {
        while !self.context.is_closing() {
            let now = self.context.now();
            let ended = self.context.store.read().device_pauses_ended(now).await?;
            if ended.is_empty() {
                return Ok(());
            }
            for device in ended {
                let actor = Actor::watchdog(device.account_id.clone());
                let patch = DevicePatch { paused: Some(false), ..DevicePatch::default() };
                match self.device_changed(&actor, device.id, patch).await {
                    // Somebody deleted it at this moment.
                    Ok(_) | Err(AppError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_device_is_said_before_it_is_added() {
        let row = FleetRow {
            name: "a-b".to_owned(),
            device_type: "toaster".to_owned(),
            labels: vec!["a;b".to_owned()],
            ..FleetRow::default()
        };
        let codes: Vec<String> = check(&row).into_iter().map(|e| e.code).collect();
        assert_eq!(codes, ["name_bad_character", "device_type_unknown", "label_invalid"]);
    }
}
