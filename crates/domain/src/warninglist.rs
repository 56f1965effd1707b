//! Warninglists: values that are known to be harmless or shared, such as the addresses of a content
//! network, in the form that MISP gives them.
//!
//! [`Warninglists`] holds the lists of an account that are on, so that one look-up takes as long
//! however long the lists are: sets for whole values and host names, a prefix trie for networks,
//! one automaton for substrings and one for regular expressions.

use aho_corasick::AhoCorasick;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use regex::RegexSet;
use serde::{Deserialize, Serialize};

use crate::{
    host::{HostOf, ancestors, host_of},
    id::WarninglistId,
    ioc::{Kind, words},
    time::Timestamp,
};

mod build;
mod keys;
mod pattern;

pub use self::build::Builder;
use self::keys::Keys;

words! {
    /// How the entries of a warninglist are compared.
    Matching {
        /// The whole value.
        Exact = 1 "string",
        /// A host name and all names below it, also as the host of a URL.
        Hostname = 2 "hostname",
        /// A part of the value.
        Substring = 3 "substring",
        /// A network: what shares an address with it.
        Cidr = 4 "cidr",
        /// A regular expression.
        Regex = 5 "regex",
    }
}

words! {
    /// What a warninglist does.
    ListMode {
        /// Nothing: it is only kept.
        Off = 1 "off",
        /// IOCs on it are marked, and sent.
        Warn = 2 "warn",
        /// IOCs on it are sent to no device.
        Withhold = 3 "withhold",
    }
}

/// A warninglist, without its entries.
#[derive(Clone, Debug)]
pub struct Warninglist {
    /// Its id.
    pub id: WarninglistId,
    /// Its name; one of an account.
    pub name: String,
    /// What its maker says of it.
    pub description: String,
    /// Its version.
    pub version: i64,
    /// How its entries are compared.
    pub matching: Matching,
    /// The attribute types of MISP that it is for.
    pub attributes: Vec<String>,
    /// What it does.
    pub mode: ListMode,
    /// Entries that are compared.
    pub entries: u64,
    /// Entries that can't be.
    pub left_out: LeftOut,
    /// The SHA-256 hash of its file, in hexadecimal.
    pub sha256: String,
    /// When it was last given.
    pub updated_at: Timestamp,
}

/// A warninglist as its file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFile {
    /// Its name.
    pub name: String,
    /// What its maker says of it.
    pub description: String,
    /// Its version; 1 where none is named.
    pub version: i64,
    /// How its entries are compared.
    pub matching: Matching,
    /// The attribute types of MISP that it is for; empty: all.
    pub attributes: Vec<String>,
    /// The entries.
    pub entries: Vec<String>,
}

/// Entries of a list that can't be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// Why, of the first ones.
    pub first: Vec<String>,
}

impl LeftOut {
    /// Counts one, and keeps why of the first ones.
    pub fn note(&mut self, why: String) {
        self.count += 1;
        if self.first.len() < LEFT_OUT_SHOWN {
            self.first.push(why);
        }
    }
}

/// Sentences on entries that can't be compared.
const LEFT_OUT_SHOWN: usize = 20;
/// Longest name of a list, in characters.
pub const NAME_MAX: usize = 200;
/// Most lists of an account.
pub const LISTS_MAX: usize = 500;
/// Most entries of the lists of an account that are on.
pub const ENTRIES_MAX: u64 = 2_000_000;
/// Most bytes of memory of all regular expressions.
const REGEX_MEMORY: usize = 4 << 20;

/// Bytes that a network takes in the trie, with its lists.
const NETWORK_MEMORY: usize = 120;

/// The kinds of IOC that attribute types of MISP stand for.
#[must_use]
pub fn kinds_of(attributes: &[String]) -> Vec<Kind> {
    if attributes.is_empty() || attributes.iter().any(|word| word == "ALL") {
        return Kind::ALL.to_vec();
    }
    let covers = |kind: Kind| {
        attributes.iter().flat_map(|word| word.split('|')).any(|word| match kind {
            Kind::Domain => matches!(word, "domain" | "hostname"),
            Kind::Url => matches!(word, "url" | "uri" | "link"),
            Kind::Email => word.starts_with("email") || word.ends_with("email"),
            Kind::Ipv4 | Kind::Ipv6 => matches!(word, "ip" | "ip-src" | "ip-dst"),
            Kind::Md5 | Kind::Sha1 | Kind::Sha256 => word == kind.word(),
        })
    };
    Kind::ALL.iter().copied().filter(|kind| covers(*kind)).collect()
}

/// A list that an IOC is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListMatch {
    /// The list.
    pub id: WarninglistId,
    /// Its name.
    pub name: String,
    /// What it does.
    pub mode: ListMode,
}

#[derive(Debug)]
struct On {
    matched: ListMatch,
    kinds: Vec<Kind>,
}

/// The number of a list among those that are on.
type Number = u16;

/// The warninglists of an account that are on.
#[derive(Debug, Default)]
pub struct Warninglists {
    lists: Vec<On>,
    /// Whole values.
    values: Keys,
    /// Host names, which stand for all names below them.
    hosts: Keys,
    /// Names above those: to block them would block what is listed.
    above: Keys,
    networks: JointPrefixMap<IpNet, Vec<Number>>,
    substrings: Option<(AhoCorasick, Vec<Number>)>,
    regexes: Option<(RegexSet, Vec<Number>)>,
}

impl Warninglists {
    /// Bytes of memory that they take, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let networks = self.networks.len() * NETWORK_MEMORY;
        let substrings = self.substrings.as_ref().map_or(0, |(made, _)| made.memory_usage());
        let regexes = self.regexes.as_ref().map_or(0, |_| REGEX_MEMORY);
        let keys: usize = [&self.values, &self.hosts, &self.above].map(Keys::memory).iter().sum();
        keys + networks + substrings + regexes
    }

    /// Whether none is on.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The lists that a value is on, by name.
    #[must_use]
    pub fn matches(&self, kind: Kind, value: &str) -> Vec<ListMatch> {
        let mut found = Vec::new();
        self.visit(kind, value, &mut |list| {
            if !found.contains(list) {
                found.push(list.clone());
            }
            false
        });
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Whether a list keeps a value from all devices.
    #[must_use]
    pub fn withhold(&self, kind: Kind, value: &str) -> bool {
        let any = self.lists.iter().any(|list| list.matched.mode == ListMode::Withhold);
        any && self.visit(kind, value, &mut |list| list.mode == ListMode::Withhold)
    }

    /// Comes by lists that a value is on, some more than once, until `stop` says so. Gives whether
    /// it did.
    fn visit(&self, kind: Kind, value: &str, stop: &mut dyn FnMut(&ListMatch) -> bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut met = |number: Number| {
            self.lists
                .get(usize::from(number))
                .is_some_and(|list| list.kinds.contains(&kind) && stop(&list.matched))
        };
        let lower = value.to_ascii_lowercase();
        if self.values.of(value).any(&mut met)
            || (kind != Kind::Url && lower != value && self.values.of(&lower).any(&mut met))
        {
            return true;
        }
        let by_host = match host_of(kind, value) {
            // Of an address, the name behind the @ is no host that is met.
            Some(HostOf::Name(name)) if kind != Kind::Email => {
                ancestors(name).any(|name| self.hosts.of(name).any(&mut met))
                    || (kind == Kind::Domain && self.above.of(name).any(&mut met))
            }
            Some(HostOf::Network(network)) => {
                let over = self.networks.cover(&network).map(|(_, lists)| lists);
                let under = self.networks.children(&network).map(|(_, lists)| lists);
                over.chain(under).any(|lists| lists.iter().copied().any(&mut met))
            }
            Some(HostOf::Name(_)) | None => false,
        };
        if by_host {
            return true;
        }
        if let Some((automaton, numbers)) = &self.substrings {
            let mut parts = automaton.find_overlapping_iter(&lower);
            if parts
                .any(|part| numbers.get(part.pattern().as_usize()).copied().is_some_and(&mut met))
            {
                return true;
            }
        }
        self.regexes.as_ref().is_some_and(|(set, numbers)| {
            set.matches(value).iter().any(|at| numbers.get(at).copied().is_some_and(&mut met))
        })
    }
}

#[cfg(test)]
mod tests;
