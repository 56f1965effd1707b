//! Collapsing: what another entry of a group covers takes up no room. An address lies within a network, a name below a domain.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::{
    guard::{ancestors, network},
    id::IocId,
    ioc::Kind,
    selection::Place,
};

/// Parts candidates into those that stand for themselves and those that another candidate covers. Who covers takes the
/// best place of all that it stands for, so that the limit cuts nothing of it before its turn.
#[must_use]
pub fn collapse(candidates: Vec<(Kind, Place)>) -> (Vec<Place>, Vec<IocId>) {
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut networks: HashMap<IpNet, usize> = HashMap::new();
    // Widths that occur, widest first.
    let mut widths: Vec<(bool, u8)> = Vec::new();
    for (i, (kind, place)) in candidates.iter().enumerate() {
        match kind {
            Kind::Domain => _ = names.insert(place.value().to_owned(), i),
            Kind::Ipv4 | Kind::Ipv6 => {
                if let Some(network) = network(place.value()) {
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
        Kind::Domain => ancestors(value).filter_map(|name| names.get(name).copied()).last().filter(|by| *by != i),
        Kind::Ipv4 | Kind::Ipv6 => {
            let own = network(value)?;
            let wider = widths.iter().filter(|(v6, width)| *v6 == is_v6(&own) && *width < own.prefix_len());
            wider.filter_map(|(_, width)| networks.get(&IpNet::new(own.addr(), *width).ok()?.trunc()).copied()).next()
        }
        _ => None,
    };
    let by: Vec<Option<usize>> = candidates.iter().enumerate().map(|(i, (kind, place))| coverer(i, *kind, place.value())).collect();
    let mut places: Vec<Place> = candidates.into_iter().map(|(_, place)| place).collect();
    let mut covered = Vec::new();
    for (i, by) in by.iter().enumerate() {
        let (Some(by), Some(place)) = (by, places.get(i).cloned()) else { continue };
        covered.push(place.id);
        if let Some(wider) = places.get_mut(*by) {
            wider.rise_to(&place);
        }
    }
    let mut stands = by.iter().map(Option::is_none);
    places.retain(|_| stands.next().unwrap_or(true));
    (places, covered)
}

fn is_v6(network: &IpNet) -> bool {
    matches!(network, IpNet::V6(_))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        let ioc = Ioc { id, kind, value, first_seen: at, last_seen: at, state: State::Active, whitelist: Whitelist::Default, enrichment };
        (kind, Place::of(&ioc, &SourceRanks::new(), &EnabledSources::new()))
    }

    fn kept(values: &[&str]) -> Vec<String> {
        collapse(values.iter().map(|v| place(v, Severity::Low)).collect()).0.iter().map(|p| p.value().to_owned()).collect()
    }

    #[test]
    fn what_is_covered_is_left_out() {
        assert_eq!(kept(&["a.b.evil.net", "evil.net", "b.evil.net", "devil.net"]), ["evil.net", "devil.net"]);
        assert_eq!(
            kept(&["192.0.2.1", "192.0.2.0/24", "192.0.2.128/25", "192.0.3.1", "2001:db8::1", "2001:db8::/32"]),
            ["192.0.2.0/24", "192.0.3.1", "2001:db8::/32"]
        );
        assert_eq!(kept(&["http://evil.net/a", "evil.net"]), ["http://evil.net/a", "evil.net"], "a URL is not a name");
    }

    #[test]
    fn who_covers_rises() {
        let (places, covered) = collapse(vec![place("evil.net", Severity::Low), place("a.evil.net", Severity::High), place("zzz.net", Severity::Medium)]);
        let (evil, other) = (&places[0], &places[1]);
        assert!(evil < other, "what stands for something of high severity comes before medium");
        assert_eq!(covered.len(), 1);
    }

    proptest! {
        #[test]
        fn every_candidate_is_kept_or_covered_by_one_that_is(names in proptest::collection::hash_set("([a-c]\\.){0,3}[a-c]\\.net", 0..30)) {
            let candidates: Vec<_> = names.iter().map(|n| place(n, Severity::Low)).collect();
            let (places, covered) = collapse(candidates);
            let kept: HashSet<&str> = places.iter().map(Place::value).collect();
            prop_assert_eq!(kept.len() + covered.len(), names.len());
            for name in &names {
                let standing = ancestors(name).filter(|a| kept.contains(a)).count();
                prop_assert_eq!(standing, 1, "{}", name);
            }
        }
    }
}
