//! Devices, and the sums that their limits must keep.

use std::collections::BTreeSet;

use crate::{
    device_type::{DeviceType, Method},
    id::{AccountId, DeviceId, GroupId},
    name::Name,
    problem::FieldError,
    time::Timestamp,
};

/// Something that pulls.
#[derive(Clone, Debug)]
pub struct Device {
    /// Id.
    pub id: DeviceId,
    /// The account it belongs to.
    pub account_id: AccountId,
    /// Unique in the account, ignoring case.
    pub name: Name,
    /// From the catalogue.
    pub device_type: &'static DeviceType,
    /// The most IOCs that all of its groups may hold together.
    pub ioc_limit: u32,
    /// Served, only not watched.
    pub paused: bool,
    /// When a pause ends by itself; none where it does not, or where there is no pause.
    pub paused_until: Option<Timestamp>,
    /// What people sort devices by: a site, a team, an environment.
    pub labels: BTreeSet<String>,
    /// After how much silence it is told of, in microseconds; the account's threshold unless given.
    pub silent_after: Option<i64>,
    /// Since when it is watched: its creation, or the end of its last pause.
    pub watched_since: Timestamp,
    /// The last completed pull.
    pub last_pull_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Refuses types that iocast can't serve.
///
/// # Errors
/// The reason, as an error of the field `device_type`.
pub fn check_type(id: &str) -> Result<&'static DeviceType, FieldError> {
    let Some(device_type) = crate::device_type::find(id) else {
        let all: Vec<_> = crate::device_type::CATALOGUE
            .iter()
            .filter(|t| t.method == Method::Pull)
            .map(|t| t.id)
            .collect();
        return Err(FieldError::new(
            "device_type",
            "device_type_unknown",
            format!("There is no such device type; choose one of: {}.", all.join(", ")),
        ));
    };
    match device_type.unsupported {
        Some(reason) => Err(FieldError::new("device_type", "device_type_push", reason)),
        None => Ok(device_type),
    }
}

/// Most labels of one device.
pub const LABELS_MAX: usize = 10;
/// Longest label, in characters.
pub const LABEL_MAX: usize = 40;

/// Reads the labels of a device: letters, digits, spaces and `_-.:/`, each at most 40 characters,
/// trimmed and in lower case.
///
/// # Errors
/// The broken rule, as an error of the field `labels`.
pub fn check_labels<S: AsRef<str>>(labels: &[S]) -> Result<BTreeSet<String>, FieldError> {
    let mut found = BTreeSet::new();
    for label in labels {
        let label = label.as_ref().trim().to_lowercase();
        let is_fine = |c: char| c.is_alphanumeric() || " _-.:/".contains(c);
        if label.is_empty() || label.chars().count() > LABEL_MAX || !label.chars().all(is_fine) {
            return Err(FieldError::new(
                "labels",
                "label_invalid",
                format!(
                    "A label is 1 to {LABEL_MAX} letters, digits, spaces or _ - . : / such as `site: berlin`."
                ),
            ));
        }
        found.insert(label);
    }
    if found.len() > LABELS_MAX {
        return Err(FieldError::new(
            "labels",
            "too_many_labels",
            format!("Give at most {LABELS_MAX} labels."),
        ));
    }
    Ok(found)
}

/// Judges a device's limit: 1 to the type's maximum, and not below what its groups were given.
///
/// # Errors
/// Which number to change, as an error of the field `ioc_limit`.
pub fn check_device_limit(
    limit: i64,
    device_type: &DeviceType,
    groups: &[(GroupId, Name, u32)],
) -> Result<u32, FieldError> {
    let max = device_type.max_iocs;
    let limit = u32::try_from(limit).ok().filter(|l| (1..=max).contains(l)).ok_or_else(|| {
        FieldError::new(
            "ioc_limit",
            "limit_out_of_range",
            format!("Give a limit of 1 to {max}, the most a {} device holds.", device_type.name),
        )
    })?;
    let given: u64 = groups.iter().map(|(_, _, l)| u64::from(*l)).sum();
    if given > u64::from(limit) {
        return Err(FieldError::new(
            "ioc_limit",
            "limit_below_groups",
            format!(
                "Its groups were given {given} IOCs together. {}",
                which_to_shrink(groups, given - u64::from(limit))
            ),
        ));
    }
    Ok(limit)
}

/// Judges a group's limit: at least 1, and not more than what the device's other groups leave.
/// `None` asks for all that is left.
///
/// # Errors
/// Which group to shrink, as an error of the field `limit`.
pub fn check_group_limit(
    limit: Option<i64>,
    device_limit: u32,
    others: &[(GroupId, Name, u32)],
) -> Result<u32, FieldError> {
    let given: u64 = others.iter().map(|(_, _, l)| u64::from(*l)).sum();
    let left = u64::from(device_limit).saturating_sub(given);
    let over = |wanted: u64| {
        FieldError::new(
            "limit",
            "limit_exceeds_device",
            format!(
                "The device holds {device_limit} IOCs and its other groups were given {given}, so {left} are left. {}",
                which_to_shrink(others, wanted.saturating_sub(left))
            ),
        )
    };
    match limit {
        None if left == 0 => Err(over(1)),
        None => Ok(u32::try_from(left).unwrap_or(device_limit)),
        Some(wanted) => {
            let wanted = u32::try_from(wanted).ok().filter(|w| *w > 0).ok_or_else(|| {
                FieldError::new(
                    "limit",
                    "limit_out_of_range",
                    format!("Give a limit of 1 to {device_limit}, the device's limit."),
                )
            })?;
            if u64::from(wanted) > left { Err(over(u64::from(wanted))) } else { Ok(wanted) }
        }
    }
}

/// Names the largest group, the first one to give something back.
fn which_to_shrink(groups: &[(GroupId, Name, u32)], by: u64) -> String {
    match groups.iter().max_by_key(|(_, _, limit)| *limit) {
        Some((_, name, limit)) => {
            format!("Shrink the group `{name}` (limit {limit}) or another one, by {by} in all.")
        }
        None => "Lower the number.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, limit: u32) -> (GroupId, Name, u32) {
        (GroupId(uuid::Uuid::nil()), Name::parse(name).unwrap(), limit)
    }

    #[test]
    fn limits_add_up_and_the_error_says_which_group_to_shrink() {
        let misp = check_type("misp").unwrap();
        assert_eq!(check_device_limit(50_000, misp, &[]).unwrap(), 50_000);
        assert_eq!(check_device_limit(50_001, misp, &[]).unwrap_err().code, "limit_out_of_range");
        assert_eq!(check_device_limit(0, misp, &[]).unwrap_err().code, "limit_out_of_range");
        let groups = [group("Small", 10), group("Large", 90)];
        assert!(
            check_device_limit(99, misp, &groups)
                .unwrap_err()
                .message
                .contains("`Large` (limit 90)")
        );
        assert_eq!(check_group_limit(None, 150, &groups).unwrap(), 50);
        assert_eq!(check_group_limit(Some(50), 150, &groups).unwrap(), 50);
        let error = check_group_limit(Some(51), 150, &groups).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.message.contains("`Large`")),
            ("limit_exceeds_device", true)
        );
        assert_eq!(check_group_limit(None, 100, &groups).unwrap_err().code, "limit_exceeds_device");
        assert_eq!(check_group_limit(Some(-1), 100, &[]).unwrap_err().code, "limit_out_of_range");
    }

    #[test]
    fn labels_are_short_and_alike() {
        let labels = check_labels(&[" Site: Berlin ", "site: berlin", "DMZ"]).unwrap();
        assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["dmz", "site: berlin"]);
        assert_eq!(check_labels(&["a;b"]).unwrap_err().code, "label_invalid");
        assert_eq!(check_labels(&[""]).unwrap_err().code, "label_invalid");
        assert_eq!(check_labels(&["x".repeat(41)]).unwrap_err().code, "label_invalid");
        let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        assert_eq!(check_labels(&many).unwrap_err().code, "too_many_labels");
    }

    #[test]
    fn push_types_are_refused_with_the_reason() {
        assert_eq!(check_type("office-365").unwrap_err().code, "device_type_push");
        assert_eq!(check_type("toaster").unwrap_err().code, "device_type_unknown");
    }
}
