//! Collapsing: what another entry of a group covers takes up no room. An address lies within a
//! network, a name below a domain; and where a device takes networks and is told nothing else,
//! adjacent ones are one.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use crate::{
    guard::{WIDEST_V4, WIDEST_V6, ancestors, network},
    id::IocId,
    ioc::{Ioc, Kind},
    selection::Place,
};

/// What is left of a group's candidates.
#[derive(Debug, Default)]
pub struct Collapsed {
    /// Those that stand in the list. Who stands for others takes the best place of them all, so
    /// that the limit cuts nothing of it before its turn.
    pub places: Vec<Place>,
    /// Those that another one stands for.
    pub covered: HashSet<IocId>,
    /// Those that stand for a wider network than their own, with its prefix length. Each is the one
    /// whose address the network begins with, so that the entry stays the same IOC while the
    /// network grows and shrinks behind it.
    pub merged_prefixes: HashMap<IocId, u8>,
}

/// Parts candidates into those that stand for themselves and those that another candidate covers;
/// with `merge`, two networks that make up a wider one are one entry too. No address is lost, and
/// none is added.
#[must_use]
pub fn collapse(candidates: Vec<(Kind, Place)>, merge: bool) -> Collapsed {
    let mut collapsed = cover(candidates);
    if merge {
        merge_adjacent(&mut collapsed);
    }
    collapsed
}

/// The IOC as its entry tells it: where it stands for a wider network, that network is its value.
#[must_use]
pub fn with_merged_prefix(mut ioc: Ioc, merged_prefix: Option<u8>) -> Ioc {
    if let Some(length) = merged_prefix {
        let address = ioc.value.split('/').next().unwrap_or_default();
        ioc.value = format!("{address}/{length}");
    }
    ioc
}

fn merge_adjacent(collapsed: &mut Collapsed) {
    let mut networks: Vec<(IpNet, usize)> = collapsed
        .places
        .iter()
        .enumerate()
        .filter_map(|(i, place)| Some((network(place.value.as_str())?, i)))
        .collect();
    networks.sort_unstable();
    let mut merged: Vec<(IpNet, usize)> = Vec::new();
    for mut next in networks {
        while let Some((lower, first)) = merged.last().copied()
            && let Some(both) = union(&lower, &next.0)
        {
            merged.pop();
            let Some(absorbed) = collapsed.places.get(next.1).cloned() else { break };
            collapsed.covered.insert(absorbed.id);
            if let Some(place) = collapsed.places.get_mut(first) {
                place.rise_to(&absorbed);
                collapsed.merged_prefixes.insert(place.id, both.prefix_len());
            }
            next = (both, first);
        }
        merged.push(next);
    }
    let Collapsed { places, covered, merged_prefixes } = collapsed;
    places.retain(|place| !covered.contains(&place.id));
    merged_prefixes.retain(|id, _| !covered.contains(id));
}

/// The network that two halves make up. None is wider than what the guard lets through.
fn union(lower: &IpNet, upper: &IpNet) -> Option<IpNet> {
    let widest = if is_v6(lower) { WIDEST_V6 } else { WIDEST_V4 };
    let wider = lower.supernet().filter(|w| w.prefix_len() >= widest)?;
    (lower != upper && upper.supernet() == Some(wider)).then_some(wider)
}

fn cover(candidates: Vec<(Kind, Place)>) -> Collapsed {
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut networks: HashMap<IpNet, usize> = HashMap::new();
    // Widths that occur, widest first.
    let mut widths: Vec<(bool, u8)> = Vec::new();
    for (i, (kind, place)) in candidates.iter().enumerate() {
        match kind {
            Kind::Domain => _ = names.insert(place.value.as_str().to_owned(), i),
            Kind::Ipv4 | Kind::Ipv6 => {
                if let Some(network) = network(place.value.as_str()) {
                    networks.insert(network, i);
                    widths.push((is_v6(&network), network.prefix_len()));
                }
            }
            _ => {}
        }
    }
    widths.sort_unstable();
    widths.dedup();
    let coverer = |i: usize, kind: Kind, value: &str| match kind {
        // The last one found is the one furthest up.
        Kind::Domain => ancestors(value)
            .filter_map(|name| names.get(name).copied())
            .last()
            .filter(|by| *by != i),
        Kind::Ipv4 | Kind::Ipv6 => {
            let own = network(value)?;
            let wider =
                widths.iter().filter(|(v6, width)| *v6 == is_v6(&own) && *width < own.prefix_len());
            wider
                .filter_map(|(_, width)| {
                    networks.get(&IpNet::new(own.addr(), *width).ok()?.trunc()).copied()
                })
                .next()
        }
        _ => None,
    };
    let by: Vec<Option<usize>> = candidates
        .iter()
        .enumerate()
        .map(|(i, (kind, place))| coverer(i, *kind, place.value.as_str()))
        .collect();
    let mut places: Vec<Place> = candidates.into_iter().map(|(_, place)| place).collect();
    let mut covered = HashSet::new();
    for (i, by) in by.iter().enumerate() {
        let (Some(by), Some(place)) = (by, places.get(i).cloned()) else { continue };
        covered.insert(place.id);
        if let Some(wider) = places.get_mut(*by) {
            wider.rise_to(&place);
        }
    }
    let mut stands = by.iter().map(Option::is_none);
    places.retain(|_| stands.next().unwrap_or(true));
    Collapsed { places, covered, merged_prefixes: HashMap::new() }
}

fn is_v6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::AccountId,
        ioc::{Enrichment, Ioc, Severity, State, Whitelist, ioc_id},
        normalise,
        rule::{EnabledSources, SourceRanks},
        time::Timestamp,
    };

    fn place(value: &str, severity: Severity) -> (Kind, Place) {
        let (kind, value) = normalise::detect(value).unwrap();
        let account: AccountId = "0123456789abcdef01234567".parse().unwrap();
        let at = Timestamp::from_secs(0);
        let enrichment = Enrichment { reported_severity: Some(severity), ..Enrichment::default() };
        let id = ioc_id(&account, kind, &value);
        let ioc = Ioc {
            id,
            kind,
            value,
            first_seen: at,
            last_seen: at,
            state: State::Active,
            whitelist: Whitelist::Default,
            enrichment,
        };
        (kind, Place::of(&ioc, &SourceRanks::new(), &EnabledSources::new()))
    }

    fn kept(values: &[&str]) -> Vec<String> {
        collapse(values.iter().map(|v| place(v, Severity::Low)).collect(), false)
            .places
            .iter()
            .map(|p| p.value.clone())
            .collect()
    }

    /// What the entries say when adjacent networks are merged.
    fn merged(values: &[&str]) -> Vec<String> {
        let Collapsed { places, merged_prefixes, .. } =
            collapse(values.iter().map(|v| place(v, Severity::Low)).collect(), true);
        let shown = |p: &Place| {
            merged_prefixes.get(&p.id).map_or_else(
                || p.value.clone(),
                |l| format!("{}/{l}", p.value.split('/').next().unwrap_or_default()),
            )
        };
        places.iter().map(shown).collect()
    }

    #[test]
    fn adjacent_networks_are_one() {
        assert_eq!(
            merged(&["192.0.2.1", "192.0.2.0", "192.0.2.2/31", "192.0.2.5", "192.0.2.6"]),
            ["192.0.2.0/30", "192.0.2.5", "192.0.2.6"]
        );
        assert_eq!(
            merged(&["192.0.2.4", "192.0.2.0/30", "192.0.2.5", "192.0.2.6/31", "192.0.2.7"]),
            ["192.0.2.0/29"],
            "what is covered is not needed twice"
        );
        assert_eq!(
            merged(&["2001:db8::", "2001:db8::1", "0.0.0.0", "evil.net"]),
            ["2001:db8::/127", "0.0.0.0", "evil.net"]
        );
        assert_eq!(
            merged(&["44.0.0.0/8", "45.0.0.0/8"]),
            ["44.0.0.0/8", "45.0.0.0/8"],
            "no wider than the guard lets through"
        );
    }

    #[test]
    fn what_is_covered_is_left_out() {
        assert_eq!(
            kept(&["a.b.evil.net", "evil.net", "b.evil.net", "devil.net"]),
            ["evil.net", "devil.net"]
        );
        assert_eq!(
            kept(&[
                "192.0.2.1",
                "192.0.2.0/24",
                "192.0.2.128/25",
                "192.0.3.1",
                "2001:db8::1",
                "2001:db8::/32"
            ]),
            ["192.0.2.0/24", "192.0.3.1", "2001:db8::/32"]
        );
        assert_eq!(
            kept(&["http://evil.net/a", "evil.net"]),
            ["http://evil.net/a", "evil.net"],
            "a URL is not a name"
        );
    }

    #[test]
    fn who_covers_rises() {
        let of = |values: [(&str, Severity); 3]| {
            collapse(values.iter().map(|(v, s)| place(v, *s)).collect(), true)
        };
        let Collapsed { places, covered, .. } = of([
            ("evil.net", Severity::Low),
            ("a.evil.net", Severity::High),
            ("zzz.net", Severity::Medium),
        ]);
        let (evil, other) = (&places[0], &places[1]);
        assert!(evil < other, "what stands for something of high severity comes before medium");
        assert_eq!(covered.len(), 1);
        let Collapsed { places, .. } = of([
            ("192.0.2.0", Severity::Low),
            ("192.0.2.9", Severity::Medium),
            ("192.0.2.1", Severity::High),
        ]);
        assert!(
            places[0] < places[1] && places[0].value == "192.0.2.0",
            "so does the first half of a pair"
        );
    }

    proptest! {
        #[test]
        fn every_candidate_is_kept_or_covered_by_one_that_is(names in proptest::collection::hash_set("([a-c]\\.){0,3}[a-c]\\.net", 0..30)) {
            let candidates: Vec<_> = names.iter().map(|n| place(n, Severity::Low)).collect();
            let Collapsed { places, covered, .. } = collapse(candidates, true);
            let kept: HashSet<&str> = places.iter().map(|p| p.value.as_str()).collect();
            prop_assert_eq!(kept.len() + covered.len(), names.len());
            for name in &names {
                let standing = ancestors(name).filter(|a| kept.contains(a)).count();
                prop_assert_eq!(standing, 1, "{}", name);
            }
        }

        #[test]
        fn merging_loses_and_adds_no_address(blocks in proptest::collection::hash_set((0u8..64, 28u8..=32), 0..30)) {
            let values: BTreeSet<String> = blocks.iter().map(|(n, l)| normalise::ip(&format!("192.0.2.{n}/{l}")).unwrap().1).collect();
            let addresses = |text: &str| network(text).map(|n| n.network()..=n.broadcast()).unwrap();
            let spread = |values: &[String]| -> BTreeSet<String> {
                let last = |ip: std::net::IpAddr| ip.to_string().rsplit('.').next().unwrap().parse::<u8>().unwrap();
                values.iter().flat_map(|v| { let r = addresses(v); last(*r.start())..=last(*r.end()) }).map(|n| n.to_string()).collect()
            };
            let all: Vec<String> = values.into_iter().collect();
            let entries = merged(&all.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(spread(&entries), spread(&all));
            let least = IpNet::aggregate(&all.iter().filter_map(|v| network(v)).collect());
            prop_assert_eq!(entries.len(), least.len(), "no list is shorter: {:?}", entries);
        }
    }
}
