//! The catalogue of device types. Adding a type with an existing format is one entry in [`CATALOGUE`].

use serde::Serialize;

use crate::ioc::Kind;

/// The form in which a device type takes its IOCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `manifest.json`, one JSON file an event, `hashes.csv`.
    MispFeed,
    /// The vendor's own API: iocast would have to push, which it does not do.
    VendorApi,
}

/// Who starts the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The device polls.
    Pull,
    /// The service would call the device.
    Push,
}

/// Where the device lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// Talks straight to the service.
    Cloud,
    /// Talks to a virtual appliance.
    OnPremises,
}

/// What one answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every IOC of the group each time.
    Full,
    /// What is new since the device last asked.
    NewOnly,
}

/// One line of a set-up form, in the vendor's own words. `{url}`, `{account_id}`, `{key}` and `{name}` stand for
/// the group URL, the account ID, an appliance or device key, and the device's name.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SetupField {
    /// The label in the vendor's form.
    pub label: &'static str,
    /// What to type or choose.
    pub value: &'static str,
}

/// The profile of a device type.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DeviceType {
    /// `[a-z0-9-]`.
    pub id: &'static str,
    /// The vendor's name.
    pub name: &'static str,
    /// Pull or push.
    pub method: Method,
    /// Why a push type can't be added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<&'static str>,
    /// Cloud or on-premises.
    pub location: Location,
    /// The kinds of IOC it takes; hash algorithms are kinds of their own.
    pub kinds: &'static [Kind],
    /// Whether one group may mix kinds.
    pub mixed_group: bool,
    /// The most IOCs a device may hold.
    pub max_iocs: u32,
    /// Feed format.
    pub format: Format,
    /// Full or new-only.
    pub delivery: Delivery,
    /// Whether the original product has this type.
    pub original: bool,
    /// The device's own set-up form.
    pub setup: &'static [SetupField],
    /// What to look at when it falls silent.
    pub checks: &'static [&'static str],
}

const MISP_CHECKS: &[&str] = &[
    "In MISP, Sync Actions > Feeds: is this feed enabled, and what does its last fetch say under Administration > Jobs?",
    "Does something fetch it at all? MISP fetches feeds when asked: by a scheduled task, or `cake Server fetchFeed` in cron.",
    "Are MISP's workers running (Administration > Server Settings & Maintenance > Workers, queue `default`)?",
    "Is the feed's user the account ID, and its password an appliance or device key that still works? The pull log says why one was refused.",
    "Does MISP's host reach iocast (DNS, proxy, firewall, certificate)? Try there: curl -u ACCOUNT_ID:KEY GROUP_URL/manifest.json",
];

const fn field(label: &'static str, value: &'static str) -> SetupField {
    SetupField { label, value }
}

/// Every device type iocast knows.
pub const CATALOGUE: &[DeviceType] = &[
    DeviceType {
        id: "misp",
        name: "MISP",
        method: Method::Pull,
        unsupported: None,
        location: Location::Cloud,
        kinds: Kind::ALL,
        mixed_group: true,
        max_iocs: 50_000,
        format: Format::MispFeed,
        delivery: Delivery::NewOnly,
        original: true,
        setup: &[
            field("Enabled", "yes"),
            field("Caching enabled", "yes"),
            field("Name", "{name}"),
            field("Provider", "iocast"),
            field("Input Source", "Network"),
            field("URL", "{url}"),
            field("Source Format", "MISP Feed"),
            field("Add Basic Auth: username", "{account_id}"),
            field("Add Basic Auth: password", "{key}"),
            field("Distribution", "Your organisation only"),
            field("then, in List Feeds", "Fetch all events"),
        ],
        checks: MISP_CHECKS,
    },
    DeviceType {
        id: "crowdstrike-falcon",
        name: "CrowdStrike Falcon Insight",
        method: Method::Push,
        unsupported: Some(
            "CrowdStrike takes IOCs only through its own API, and iocast does not push to outside services. Let a script pull a group and hand it on.",
        ),
        location: Location::Cloud,
        kinds: &[Kind::Domain, Kind::Ipv4, Kind::Ipv6, Kind::Md5, Kind::Sha256],
        mixed_group: true,
        max_iocs: 0,
        format: Format::VendorApi,
        delivery: Delivery::Full,
        original: true,
        setup: &[],
        checks: &[],
    },
    DeviceType {
        id: "office-365",
        name: "Microsoft Office 365",
        method: Method::Push,
        unsupported: Some(
            "Office 365 takes IOCs only through an Azure application, and iocast does not push to outside services. Let a script pull a group and hand it on.",
        ),
        location: Location::Cloud,
        kinds: &[Kind::Domain, Kind::Email],
        mixed_group: true,
        max_iocs: 1_000,
        format: Format::VendorApi,
        delivery: Delivery::Full,
        original: true,
        setup: &[],
        checks: &[],
    },
];

/// The device type with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static DeviceType> {
    CATALOGUE.iter().find(|t| t.id == id)
}

impl Format {
    /// The file below the group URL that a device asks for first, and whose complete transfer is a pull; empty where it
    /// is the group URL itself.
    #[must_use]
    pub const fn entry(self) -> &'static str {
        match self {
            Self::MispFeed => "manifest.json",
            Self::VendorApi => "",
        }
    }
}

impl DeviceType {
    /// Whether the type takes IOCs of this kind.
    #[must_use]
    pub fn takes(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sound() {
        for t in CATALOGUE {
            assert!(t.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", t.id);
            assert_eq!(CATALOGUE.iter().filter(|o| o.id == t.id).count(), 1, "{} is there twice", t.id);
            assert!(!t.kinds.is_empty(), "{} takes nothing", t.id);
            assert_eq!(t.method == Method::Push, t.unsupported.is_some(), "{}: push types say why not", t.id);
            assert!(t.method == Method::Push || (t.max_iocs > 0 && !t.setup.is_empty()), "{} lacks limit or form", t.id);
        }
        assert_eq!(find("misp").map(|t| (t.max_iocs, t.mixed_group)), Some((50_000, true)));
    }
}
