//! Device types: what a device takes, in which form, and how it is told of its group.
//!
//! Adding a type with an existing format is one entry in [`CATALOGUE`].

use serde::{Deserialize, Serialize};

use crate::{
    guard::Refusal,
    ioc::{Kind, words},
    problem::FieldError,
};

mod catalogue;

pub use catalogue::CATALOGUE;

/// The form in which a device type takes its IOCs. All but the first two are lists: one document at
/// the group URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `manifest.json`, one JSON file an event, `hashes.csv`.
    MispFeed,
    /// One value a line, nothing else.
    PlainList,
    /// The same, with URLs as requests show them: without user, password and fragment.
    RequestedList,
    /// PAN-OS external dynamic list: URLs without scheme, domains bare.
    PanosEdl,
    /// Cisco security intelligence feed: values with `#` comments on lines of their own, `.md5`
    /// beside it.
    CiscoList,
    /// Check Point external IoC feed: seven columns, unique names.
    CheckPointCsv,
    /// F5 AFM feed list: `address,mask,BL,category`.
    F5FeedList,
    /// RouterOS commands for `/import`.
    MikrotikScript,
    /// nftables commands for `nft --file`.
    Nftables,
    /// Squid `dstdomain` list: a leading dot takes the subdomains in.
    SquidDomains,
    /// DNS response policy zone.
    Rpz,
    /// `/etc/hosts` lines.
    Hosts,
    /// dnsmasq configuration lines.
    Dnsmasq,
    /// unbound configuration lines.
    Unbound,
    /// Zeek intelligence framework, tab separated.
    ZeekIntel,
    /// Suricata dataset: one value a line, strings in base64.
    SuricataDataset,
    /// Splunk ES threat list with the columns of its kind.
    SplunkCsv,
    /// Microsoft Defender for Endpoint indicator import.
    DefenderCsv,
    /// All that is known of each IOC, a row each.
    Csv,
    /// All that is known of each IOC, one JSON document.
    Json,
    /// All that is known of each IOC, a JSON object a line.
    Ndjson,
    /// Carbon Black EDR feed: `feedinfo` and `reports`.
    CarbonBlackFeed,
    /// ArcSight event stream: IOCs added and deleted, oldest first.
    ArcsightEvents,
    /// STIX 2.1 bundle at the group URL, and a TAXII 2.1 collection too.
    StixBundle,
    /// TAXII 2.1 collection; the same as one bundle in `stix.json`.
    Taxii21,
    /// TAXII 2.0 collection of STIX 2.0; the same as one bundle in `stix.json`.
    Taxii20,
    /// The vendor's own API: iocast would have to push, which it does not do.
    VendorApi,
}

/// A version of TAXII, and with it of STIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taxii {
    /// TAXII 2.0 with STIX 2.0.
    V20,
    /// TAXII 2.1 with STIX 2.1.
    V21,
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

words! {
    /// What a group of a one-kind type holds.
    GroupKind {
        /// IPv4 and IPv6 addresses and networks.
        Ip = 1 "ip",
        /// Domains.
        Domain = 2 "domain",
        /// URLs.
        Url = 3 "url",
        /// E-mail addresses.
        Email = 4 "email",
        /// Hashes of every algorithm that the type takes.
        Hash = 5 "hash",
        /// MD5 hashes.
        Md5 = 6 "md5",
        /// SHA-256 hashes.
        Sha256 = 7 "sha256",
    }
}

impl GroupKind {
    /// Whether IOCs of this kind belong into such a group.
    #[must_use]
    pub const fn covers(self, kind: Kind) -> bool {
        match self {
            Self::Ip => matches!(kind, Kind::Ipv4 | Kind::Ipv6),
            Self::Domain => matches!(kind, Kind::Domain),
            Self::Url => matches!(kind, Kind::Url),
            Self::Email => matches!(kind, Kind::Email),
            Self::Hash => matches!(kind, Kind::Md5 | Kind::Sha1 | Kind::Sha256),
            Self::Md5 => matches!(kind, Kind::Md5),
            Self::Sha256 => matches!(kind, Kind::Sha256),
        }
    }
}

/// What a device's parser does not take although it takes the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grammar {
    /// Whether networks (CIDR blocks) are taken beside single addresses.
    pub networks: bool,
    /// The longest value, in bytes.
    pub longest: usize,
    /// Whether `*` and `^` are signs of the device's own, so that a value with one would mean
    /// something else.
    pub wildcards: bool,
    /// Whether URLs must be plain ASCII without blanks, quotes and commas.
    pub careful_urls: bool,
}

/// Takes every value that iocast holds.
pub(crate) const ANYTHING: Grammar = Grammar {
    networks: true,
    longest: crate::normalise::VALUE_MAX,
    wildcards: false,
    careful_urls: false,
};

/// One line of a set-up form, in the vendor's own words. These stand for what only the account
/// knows: `{name}` a name for the feed, `{list}` the same in lower case letters, digits and
/// underscores, `{url}` the group URL, `{account_id}` the account ID, `{key}` an appliance or
/// device key, `{secret_url}` the group URL with both in it, `{host}` and `{path}` the two halves
/// of the group URL, `{kind}` and `{fortinet_kind}` what the group holds in PAN-OS's and FortiOS's
/// words, `{root}` the TAXII API root, `{discovery}` the TAXII discovery URL, and `{collection}`
/// the TAXII collection's id.
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
    /// What one group may hold, the usual one first; empty where a group may mix all kinds.
    pub group_kinds: &'static [GroupKind],
    /// What its parser leaves out of these kinds.
    #[serde(skip)]
    pub grammar: Grammar,
    /// The most IOCs a device may hold.
    pub max_iocs: u32,
    /// Feed format.
    pub format: Format,
    /// Full or new-only.
    pub delivery: Delivery,
    /// Whether the original product has this type.
    pub original: bool,
    /// The device's own set-up form, or the commands to type.
    pub setup: &'static [SetupField],
    /// What to look at when it falls silent.
    pub checks: &'static [&'static str],
}

/// The device type with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static DeviceType> {
    CATALOGUE.iter().find(|t| t.id == id)
}

impl Format {
    /// Whether a device of this format fetches what changed since it last did. Every other one
    /// fetches the whole list each time.
    #[must_use]
    pub const fn delivers_changes(self) -> bool {
        matches!(
            self,
            Self::MispFeed
                | Self::ArcsightEvents
                | Self::StixBundle
                | Self::Taxii21
                | Self::Taxii20
        )
    }

    /// The file below the group URL that a device asks for first, and whose complete transfer is a
    /// pull; empty where it is the group URL itself.
    #[must_use]
    pub const fn entry(self) -> &'static str {
        match self {
            Self::MispFeed => "manifest.json",
            Self::Taxii21 | Self::Taxii20 => "stix.json",
            _ => "",
        }
    }

    /// Whether the changes of a group are kept in their order, removals too, as TAXII clients and
    /// event streams need it.
    #[must_use]
    pub const fn is_log(self) -> bool {
        matches!(self, Self::ArcsightEvents) || self.taxii().is_some()
    }

    /// The TAXII version at whose server a group is a collection.
    #[must_use]
    pub const fn taxii(self) -> Option<Taxii> {
        match self {
            Self::StixBundle | Self::Taxii21 => Some(Taxii::V21),
            Self::Taxii20 => Some(Taxii::V20),
            _ => None,
        }
    }
}

impl DeviceType {
    /// Whether a collapsing group may give adjacent networks as one: the device takes networks, and
    /// is told nothing of an entry but its value, so that nothing else is lost.
    #[must_use]
    pub const fn merges_networks(&self) -> bool {
        let value_only = matches!(
            self.format,
            Format::PlainList
                | Format::RequestedList
                | Format::PanosEdl
                | Format::CiscoList
                | Format::F5FeedList
                | Format::MikrotikScript
                | Format::Nftables
                | Format::Rpz
        );
        value_only && self.grammar.networks
    }

    /// Whether the type takes IOCs of this kind.
    #[must_use]
    pub fn takes(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether one group may mix kinds.
    #[must_use]
    pub const fn mixed_group(&self) -> bool {
        self.group_kinds.is_empty()
    }

    /// The kinds that a group of this type takes.
    #[must_use]
    pub fn kinds_of_group(&self, group: Option<GroupKind>) -> Vec<Kind> {
        self.kinds.iter().copied().filter(|k| group.is_none_or(|g| g.covers(*k))).collect()
    }

    /// Why the device can't take an IOC; nothing where it can.
    #[must_use]
    pub fn refuses(&self, kind: Kind, value: &str) -> Option<Refusal> {
        let Grammar { networks, longest, wildcards, careful_urls } = self.grammar;
        if !self.takes(kind) {
            return Some(Refusal::Kind);
        }
        let is_network = matches!(kind, Kind::Ipv4 | Kind::Ipv6) && value.contains('/');
        if is_network && !networks {
            return Some(Refusal::Network);
        }
        if value.len() > longest {
            return Some(Refusal::TooLong);
        }
        let odd = (wildcards && value.contains(['*', '^']))
            || (careful_urls
                && value
                    .contains(|c: char| !c.is_ascii_graphic() || matches!(c, '"' | '\'' | ',')));
        (kind == Kind::Url && odd).then_some(Refusal::Sign)
    }
}

/// What a new group of the type holds: what was asked for, or the type's usual kind.
///
/// # Errors
/// Which kinds there are, as an error of the field `kind`.
pub fn check_group_kind(
    device_type: &DeviceType,
    asked: Option<&str>,
) -> Result<Option<GroupKind>, FieldError> {
    let kinds = device_type.group_kinds;
    let all = || kinds.iter().map(|k| k.word()).collect::<Vec<_>>().join(", ");
    match asked.map(str::trim).filter(|k| !k.is_empty()) {
        None => Ok(kinds.first().copied()),
        Some(_) if kinds.is_empty() => Err(FieldError::new(
            "kind",
            "kind_not_needed",
            format!(
                "A group of a {} mixes all kinds; leave `kind` out and narrow the rule instead.",
                device_type.name
            ),
        )),
        Some(word) => kinds
            .iter()
            .copied()
            .find(|k| k.word().eq_ignore_ascii_case(word))
            .map(Some)
            .ok_or_else(|| {
                let word = crate::time::clip(word, 40);
                FieldError::new(
                    "kind",
                    "kind_not_taken",
                    format!(
                        "A {} takes groups of one kind, one of: {}; `{word}` is none of them.",
                        device_type.name,
                        all()
                    ),
                )
            }),
    }
}

#[cfg(test)]
mod tests;
