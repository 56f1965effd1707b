//! What is kept back although a rule chose it: what a device can't take, and what no device should
//! be told to block.
//!
//! The guards are on unless an admin switches one off; whatever an admin marks "sent even if the
//! system would not" passes them all. Documentation networks and `example` names pass, since
//! fixtures use them.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use crate::host::{ancestors, network, network_text};
use crate::{
    host::{HostOf, host_of, is_public_suffix},
    id::{DeviceId, SourceId},
    ioc::{Ioc, Kind, Whitelist, words},
    normalise,
    problem::FieldError,
    rule::EnabledSources,
    special::{Networks, is_reserved},
    time::Timestamp,
    warninglist::Warninglists,
};

mod allow;
mod resolvers;
pub use self::allow::{AllowEntry, AllowScope, NewAllow, allow_list};
use self::resolvers::RESOLVERS;

words! {
    /// Why an IOC that rules choose is kept back from a group.
    Refusal {
        /// The type does not take its kind.
        Kind = 1 "kind",
        /// The type takes single addresses, and this is a network.
        Network = 2 "network",
        /// Longer than the type takes.
        TooLong = 3 "too_long",
        /// Holds a sign that means something else to the device.
        Sign = 4 "sign",
        /// Another entry of the group covers it.
        Covered = 5 "covered",
        /// The device would read it as an instruction: a comment, a directive, a reserved word.
        Reserved = 6 "reserved",
        /// A private, reserved or multicast address.
        PrivateAddress = 10 "private_address",
        /// A network wider than /8 (IPv4) or /32 (IPv6).
        WideNetwork = 11 "wide_network",
        /// A public suffix, under which anybody may have a name.
        PublicSuffix = 12 "public_suffix",
        /// A public DNS resolver.
        PublicResolver = 13 "public_resolver",
        /// The account's own domain or network.
        Own = 14 "own",
        /// On the account's allow list.
        Allowed = 15 "allowed",
        /// On a warninglist that withholds.
        Warninglist = 16 "warninglist",
    }
}

impl Refusal {
    /// The guards, which an admin may switch off.
    pub const GUARDS: &'static [Self] = &[
        Self::PrivateAddress,
        Self::WideNetwork,
        Self::PublicSuffix,
        Self::PublicResolver,
        Self::Own,
        Self::Allowed,
        Self::Warninglist,
    ];

    /// The reason, for one IOC or for many.
    #[must_use]
    pub const fn because(self) -> &'static str {
        match self {
            Self::Kind => "the device does not take this kind of IOC",
            Self::Network => "the device takes single addresses, not networks",
            Self::TooLong => "longer than the device accepts",
            Self::Sign => "a character in it means something else to the device",
            Self::Covered => "covered by another entry of the group",
            Self::Reserved => "the device would read it as an instruction of its own format",
            Self::PrivateAddress => "private, reserved or multicast address",
            Self::WideNetwork => "network wider than /8 (IPv4) or /32 (IPv6)",
            Self::PublicSuffix => "public suffix, under which anybody can register a name",
            Self::PublicResolver => "public DNS resolver",
            Self::Own => "the account's own domain or network",
            Self::Allowed => "on the account's allow list",
            Self::Warninglist => "on a warninglist that withholds",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Kind => "Use a device of another type.",
            Self::Network | Self::TooLong | Self::Sign | Self::Reserved => {
                "Use a device of another type, or import it in another form."
            }
            Self::Covered => {
                "Nothing is missing; switch off collapsing on the group to list them all."
            }
            Self::PrivateAddress
            | Self::WideNetwork
            | Self::PublicSuffix
            | Self::PublicResolver => {
                "To send one anyway, set its whitelist state to “always sent”; or switch this guard off under Settings."
            }
            Self::Own | Self::Allowed => {
                "To send one anyway, take it off the list under Settings, or set its whitelist state to “always sent”."
            }
            Self::Warninglist => {
                "To send one anyway, set its whitelist state to “always sent”; or let the list only warn, under Settings, Guards."
            }
        }
    }
}

/// A name or network that the account never wants blocked: a domain with all below it, an address,
/// or a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OwnName {
    /// A domain and everything below it.
    Domain(String),
    /// A network; an address is a network of one.
    Network(IpNet),
}

impl FromStr for OwnName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix("*.").unwrap_or(text);
        if let Some(network) = network(text) {
            return Ok(Self::Network(network));
        }
        normalise::domain(text).map(Self::Domain).map_err(|why| {
            format!(
                "`{}` is neither a domain nor an address or network: {why}",
                crate::time::clip(text, 60)
            )
        })
    }
}

impl TryFrom<String> for OwnName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<OwnName> for String {
    fn from(shield: OwnName) -> Self {
        match shield {
            OwnName::Domain(name) => name,
            OwnName::Network(network) => network_text(network),
        }
    }
}

/// The shortest prefix of an IPv4 network that is no [`Refusal::WideNetwork`].
pub const WIDEST_V4: u8 = 8;
/// The same for IPv6.
pub const WIDEST_V6: u8 = 32;

/// An account's guards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guards {
    /// Those that are switched off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<Refusal>,
    /// The account's own domains and networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<OwnName>,
    /// What else must never be blocked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AllowEntry>,
}

impl Guards {
    /// When the next entry of the allow list ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.allow.iter().filter_map(|entry| entry.expires_at).min()
    }
}

/// Most entries of one list.
pub const SHIELDS_MAX: usize = 10_000;

/// Reads a list of domains, addresses and networks, one an entry; blank ones are left out.
///
/// # Errors
/// The first entry that is none, as an error of `field`.
pub fn shields<'a>(
    field: &str,
    entries: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<OwnName>, FieldError> {
    let mut shields = Vec::new();
    for entry in entries.into_iter().map(str::trim).filter(|e| !e.is_empty()) {
        let shield =
            entry.parse().map_err(|why: String| FieldError::new(field, "entry_invalid", why))?;
        if !shields.contains(&shield) {
            shields.push(shield);
        }
        if shields.len() > SHIELDS_MAX {
            return Err(FieldError::new(
                field,
                "too_many",
                format!("Give at most {SHIELDS_MAX} entries."),
            ));
        }
    }
    Ok(shields)
}

/// The entries of a list, so that one look-up takes as long however many there are.
#[derive(Clone, Debug, Default)]
struct Shields {
    names: HashSet<String>,
    /// What blocking would block a name too.
    above: HashSet<String>,
    networks: Networks,
}

impl Shields {
    fn of<'a>(list: impl IntoIterator<Item = &'a OwnName>) -> Self {
        let mut shields = Self::default();
        let mut networks = Vec::new();
        for shield in list {
            match shield {
                OwnName::Network(network) => networks.push(*network),
                OwnName::Domain(name) => {
                    shields.above.extend(ancestors(name).map(str::to_owned));
                    shields.names.insert(name.clone());
                }
            }
        }
        shields.networks = networks.into_iter().collect();
        shields
    }

    fn hold(&self, kind: Kind, host: &HostOf<'_>) -> bool {
        match host {
            HostOf::Network(network) => self.networks.overlap(network),
            HostOf::Name(name) => {
                ancestors(name).any(|name| self.names.contains(name))
                    || (kind == Kind::Domain && self.above.contains(*name))
            }
        }
    }
}

/// An account's guards, ready to judge.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    off: Vec<Refusal>,
    own: Shields,
    /// The allow list, by what it is for.
    allow: HashMap<AllowScope, Shields>,
    lists: Arc<Warninglists>,
}

/// For which device an IOC is judged, and whose reports count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged<'a> {
    /// The device; none where no device is meant.
    pub device: Option<DeviceId>,
    /// The sources that are on; none where all count.
    pub enabled: Option<&'a EnabledSources>,
}

impl Guard {
    /// Makes them ready.
    #[must_use]
    pub fn of(guards: &Guards, lists: Arc<Warninglists>) -> Self {
        let mut allow: HashMap<AllowScope, Vec<&OwnName>> = HashMap::new();
        for entry in &guards.allow {
            allow.entry(entry.scope).or_default().push(&entry.value);
        }
        Self {
            off: guards.off.clone(),
            own: Shields::of(&guards.own),
            allow: allow.into_iter().map(|(scope, list)| (scope, Shields::of(list))).collect(),
            lists,
        }
    }

    /// The warninglists that are on.
    #[must_use]
    pub fn lists(&self) -> &Warninglists {
        &self.lists
    }

    /// Why an IOC should not be blocked; nothing where it may be.
    #[must_use]
    pub fn refuse(&self, ioc: &Ioc, judged: Judged<'_>) -> Option<Refusal> {
        if ioc.whitelist == Whitelist::AlwaysSent {
            return None;
        }
        self.by_host(ioc, judged).or_else(|| {
            let is_on = !self.off.contains(&Refusal::Warninglist);
            (is_on && self.lists.withhold(ioc.kind, &ioc.value)).then_some(Refusal::Warninglist)
        })
    }

    fn by_host(&self, ioc: &Ioc, judged: Judged<'_>) -> Option<Refusal> {
        let host = host_of(ioc.kind, &ioc.value)?;
        let (name, network) = match &host {
            HostOf::Name(name) => (Some(*name), None),
            HostOf::Network(network) => (None, Some(network)),
        };
        let judged = [
            (Refusal::WideNetwork, network.is_some_and(is_wide)),
            (Refusal::PrivateAddress, network.is_some_and(is_reserved)),
            (Refusal::PublicResolver, network.is_some_and(|n| RESOLVERS.overlap(n))),
            (Refusal::PublicSuffix, ioc.kind == Kind::Domain && name.is_some_and(is_public_suffix)),
            (Refusal::Own, self.own.hold(ioc.kind, &host)),
            (Refusal::Allowed, self.is_allowed(ioc, &host, judged)),
        ];
        judged
            .into_iter()
            .find(|(guard, hit)| *hit && !self.off.contains(guard))
            .map(|(guard, _)| guard)
    }

    fn is_allowed(&self, ioc: &Ioc, host: &HostOf<'_>, judged: Judged<'_>) -> bool {
        if self.allow.is_empty() {
            return false;
        }
        let holds = |scope: AllowScope| {
            self.allow.get(&scope).is_some_and(|shields| shields.hold(ioc.kind, host))
        };
        let counts =
            |source: &SourceId| judged.enabled.is_none_or(|enabled| enabled.contains(source));
        // What another source reports, too, is blocked on the word of that one.
        let mut sources = ioc.enrichment.reports.iter().map(|r| r.source_id).filter(counts);
        let by_sources = sources.next().is_some_and(|first| {
            holds(AllowScope::Source(first))
                && sources.all(|source| holds(AllowScope::Source(source)))
        });
        by_sources
            || holds(AllowScope::Account)
            || judged.device.is_some_and(|device| holds(AllowScope::Device(device)))
    }
}

fn is_wide(network: &IpNet) -> bool {
    network.prefix_len() < if network.max_prefix_len() == 32 { WIDEST_V4 } else { WIDEST_V6 }
}

#[cfg(test)]
mod tests;
