//! The form of a configuration document.
//!
//! A part that the document leaves out is not managed by it: neither changed nor deleted. The same
//! goes for a field of an object that is there.

use std::collections::BTreeSet;

use iocast_domain::account::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

/// The form that this version reads and writes.
pub(super) const VERSION: u32 = 1;

/// What an account is set up to be. Objects are known by their names, ignoring case.
#[derive(Clone, Debug, Default, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The form of the document: 1.
    pub version: u32,
    /// The account itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountPart>,
    /// What is kept back from every device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsPart>,
    /// People, by e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people: Option<Vec<PersonPart>>,
    /// Sources with their subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<SourcePart>>,
    /// Devices with their groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DevicePart>>,
    /// Rules. Without this part, a new group gets a rule that sends everything its device takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RulePart>>,
}

/// Settings of the account.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountPart {
    /// Hours without a pull after which a device is silent: 1 to 720; 0: the usual 48.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_after_hours: Option<i64>,
    /// Where signed POSTs about silent devices, recoveries and full groups go; empty: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
}

/// The account's guards.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardsPart {
    /// Guards that are off; the others are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<BTreeSet<String>>,
    /// The account's own domains, addresses and networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<BTreeSet<String>>,
    /// What must never be blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<AllowPart>>,
}

/// An entry of the allow list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowPart {
    /// A domain (with all below it), an address or a network.
    pub value: String,
    /// Why it was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<iocast_domain::time::Timestamp>,
    /// It holds for what only the source with this name reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// It holds for the groups of the device with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A person.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonPart {
    /// E-mail address; the invitation of a new person goes there.
    pub email: String,
    /// `admin` or `analyst`.
    #[schema(value_type = String)]
    pub role: Role,
    /// Whether the person may sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Whether messages about silent devices and full groups go there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_alerts: Option<bool>,
}

/// A source.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourcePart {
    /// 1 to 100 characters.
    pub name: String,
    /// 1 (low), 2 (medium) or 3 (high); of a new source 2 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<i64>,
    /// Switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What it may claim, and for how long its IOCs stay, whole: as `limits` of `SourceIn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub limits: Option<Map<String, Value>>,
    /// What it fetches by itself, whole: as `SubscriptionIn`. A secret that is left out stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub subscription: Option<Map<String, Value>>,
}

/// A device.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePart {
    /// 1 to 50 letters, digits, spaces and underscores.
    pub name: String,
    /// Id of a device type; it can't be changed.
    pub device_type: String,
    /// The most IOCs of all its groups together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ioc_limit: Option<i64>,
    /// Served, only not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// All of its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Hours without a pull after which it is silent: 1 to 720; 0: as the account says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_after_hours: Option<i64>,
    /// Its groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupPart>>,
}

/// A group of a device.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupPart {
    /// 1 to 50 letters, digits, spaces and underscores.
    pub name: String,
    /// What it holds, where its device takes one kind a group; it can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The most IOCs it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Whether what another entry covers is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<bool>,
    /// Names of sources whose IOCs come first, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_priority: Option<Vec<String>>,
    /// Whether to write when the limit is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_on_limit: Option<bool>,
}

/// A rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RulePart {
    /// 1 to 13 letters, digits, spaces and underscores.
    pub name: String,
    /// Switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What it chooses, whole: as `CriteriaWire`, with the names of sources as `sources` in place
    /// of `source_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub criteria: Option<Map<String, Value>>,
    /// Where to: `Device/Group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
}
