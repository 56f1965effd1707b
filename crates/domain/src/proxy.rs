//! Proxies that are trusted to say who asked.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

use crate::guard::network;

/// Addresses and networks of proxies in front of iocast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl FromStr for Proxies {
    type Err = String;

    /// Addresses and networks, parted by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|e| !e.is_empty());
        entries
            .map(|entry| {
                network(entry)
                    .ok_or_else(|| format!("`{entry}` is neither an address nor a network"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Proxies {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|proxy| proxy.contains(&address.to_canonical()))
    }

    /// Who asked: the peer; where that is a trusted proxy, the last address in `X-Forwarded-For`
    /// that is none. What stands before it may have been made up by the client.
    #[must_use]
    pub fn client(&self, peer: IpAddr, forwarded_for: &str) -> IpAddr {
        let peer = peer.to_canonical();
        let trusted = |address: &IpAddr| self.contains(*address);
        if !trusted(&peer) {
            return peer;
        }
        let mut said = forwarded_for.rsplit(',').map_while(|part| {
            part.trim().trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|a| a.to_canonical())
        });
        said.find(|address| !trusted(address)).unwrap_or(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_say_counts() {
        let proxies: Proxies = "10.0.0.0/8, 2001:db8::1".parse().unwrap();
        let client =
            |peer: &str, said: &str| proxies.client(peer.parse().unwrap(), said).to_string();
        assert_eq!(
            client("192.0.2.9", "198.51.100.1"),
            "192.0.2.9",
            "a stranger may say what he likes"
        );
        assert_eq!(client("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.0.0.2"),
            "198.51.100.1",
            "what stands further left may be made up"
        );
        assert_eq!(client("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "198.51.100.1, rubbish"), "10.0.0.1");
        assert_eq!(client("2001:db8::1", "2001:db8::7"), "2001:db8::7");
        assert_eq!(client("::ffff:10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert!("10.0.0.0/8, proxy".parse::<Proxies>().is_err());
    }
}
