//! Addresses that mean something of their own: one table, from IANA's special-purpose registries
//! (RFC 6890 and its successors), for all who ask.

use std::{net::IpAddr, str::FromStr, sync::LazyLock};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixSet;

use crate::host::network;

/// What a network of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Not part of the public internet.
    Reserved,
    /// For examples in documents. Feeds carry it: it blocks nothing.
    Documentation,
}

const TABLE: &[(&str, Use)] = &[
    ("0.0.0.0/8", Use::Reserved),
    ("10.0.0.0/8", Use::Reserved),
    ("100.64.0.0/10", Use::Reserved),
    ("127.0.0.0/8", Use::Reserved),
    ("169.254.0.0/16", Use::Reserved),
    ("172.16.0.0/12", Use::Reserved),
    ("192.0.0.0/24", Use::Reserved),
    ("192.0.2.0/24", Use::Documentation),
    ("192.88.99.0/24", Use::Reserved),
    ("192.168.0.0/16", Use::Reserved),
    ("198.18.0.0/15", Use::Reserved),
    ("198.51.100.0/24", Use::Documentation),
    ("203.0.113.0/24", Use::Documentation),
    ("224.0.0.0/3", Use::Reserved),
    ("::/96", Use::Reserved),
    ("::ffff:0:0:0/96", Use::Reserved),
    ("64:ff9b:1::/48", Use::Reserved),
    ("100::/64", Use::Reserved),
    ("2001::/23", Use::Reserved),
    ("2001:db8::/32", Use::Documentation),
    ("3fff::/20", Use::Documentation),
    ("5f00::/16", Use::Reserved),
    ("fc00::/7", Use::Reserved),
    ("fe80::/10", Use::Reserved),
    ("ff00::/8", Use::Reserved),
];

/// Networks among which one look-up takes as long however many there are.
#[derive(Clone, Debug, Default)]
pub struct Networks(JointPrefixSet<IpNet>);

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut set = JointPrefixSet::default();
        for network in networks {
            set.insert(network.trunc());
        }
        Self(set)
    }
}

impl FromStr for Networks {
    type Err = String;

    /// Addresses and networks, parted by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                network(entry)
                    .ok_or_else(|| format!("`{entry}` is neither an address nor a network"))
            })
            .collect()
    }
}

impl Networks {
    /// Whether one of them and this one share an address.
    #[must_use]
    pub fn overlap(&self, network: &IpNet) -> bool {
        self.0.get_spm(network).is_some() || self.0.children(network).next().is_some()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn table(wanted: impl Fn(Use) -> bool) -> Networks {
    TABLE
        .iter()
        .filter(|(_, of)| wanted(*of))
        .filter_map(|(text, _)| text.parse::<IpNet>().ok())
        .collect()
}

static RESERVED: LazyLock<Networks> = LazyLock::new(|| table(|of| of == Use::Reserved));
static SPECIAL: LazyLock<Networks> = LazyLock::new(|| table(|_| true));

/// Whether a network holds an address that no device should block: private, reserved, multicast.
#[must_use]
pub fn is_reserved(network: &IpNet) -> bool {
    RESERVED.overlap(network)
}

/// Whether an address is one of the public internet. One that holds another (mapped, NAT64, 6to4)
/// is what it holds.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    let v6 = match address {
        IpAddr::V4(_) => return !SPECIAL.overlap(&IpNet::from(address)),
        IpAddr::V6(v6) => v6,
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let held = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public(IpAddr::from([a, b, c, d]))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => held(g, h),
        (0x2002, ..) => held(b, c),
        // Only 2000::/3 is given out.
        _ => a & 0xe000 == 0x2000 && !SPECIAL.overlap(&IpNet::from(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        assert_eq!(SPECIAL.count(), TABLE.len());
    }

    #[test]
    fn special_addresses_are_not_public() {
        for special in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in
            ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_overlap_is_found_both_ways() {
        let networks: Networks = ["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        for (network, hit) in [
            ("10.1.0.0/16", true),
            ("10.0.0.0/7", true),
            ("0.0.0.0/0", true),
            ("203.0.113.9/32", true),
            ("203.0.114.0/24", false),
            ("2001:db8:1::/48", true),
            ("::/0", true),
            ("2002::/16", false),
        ] {
            assert_eq!(networks.overlap(&network.parse().unwrap()), hit, "{network}");
        }
    }
}
