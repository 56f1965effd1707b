//! Well-known public feeds: where each lies, what it holds, and what its owner asks of those who fetch
//! it. To add one, add an entry.

use crate::subscription::{Access, Coverage, Protocol};

/// A public feed.
#[derive(Clone, Copy, Debug)]
pub struct PublicFeed {
    /// Its word in the API.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its owner.
    pub provider: &'static str,
    /// Where its owner says more.
    pub page: &'static str,
    /// What is fetched.
    pub url: &'static str,
    /// How.
    pub protocol: Protocol,
    /// What it says of what it does not hold any more.
    pub coverage: Coverage,
    /// Minutes between two fetches that suit its owner.
    pub every_minutes: i64,
    /// What it holds.
    pub holds: &'static str,
    /// Who may use it for what.
    pub licence: &'static str,
    /// How a fetch says who it is.
    pub access: Access,
    /// The name of the header or parameter of that.
    pub access_name: &'static str,
}

/// The feed of this word.
#[must_use]
pub fn public_feed(id: &str) -> Option<&'static PublicFeed> {
    PUBLIC_FEEDS.iter().find(|feed| feed.id == id)
}

const fn open(
    id: &'static str,
    name: &'static str,
    provider: &'static str,
    page: &'static str,
    url: &'static str,
) -> PublicFeed {
    PublicFeed {
        id,
        name,
        provider,
        page,
        url,
        protocol: Protocol::File,
        coverage: Coverage::Full,
        every_minutes: 60,
        holds: "",
        licence: "",
        access: Access::None,
        access_name: "",
    }
}

/// Every feed, by name.
pub const PUBLIC_FEEDS: &[PublicFeed] = &[
    PublicFeed {
        holds: "IP addresses that attacked in the last 48 hours",
        licence: "no licence stated; at your own risk",
        ..open(
            "blocklist-de",
            "blocklist.de, all",
            "blocklist.de, Germany",
            "https://www.blocklist.de/en/export.html",
            "https://lists.blocklist.de/lists/all.txt",
        )
    },
    PublicFeed {
        protocol: Protocol::MispFeed,
        every_minutes: 360,
        holds: "events of public reports",
        licence: "free for any use at your own risk; not for sale",
        ..open(
            "botvrij-osint",
            "Botvrij.eu",
            "Botvrij.eu, Netherlands",
            "https://www.botvrij.eu/",
            "https://www.botvrij.eu/data/feed-osint",
        )
    },
    PublicFeed {
        every_minutes: 5,
        holds: "domains that steal data from people in Poland",
        licence: "free to use for everyone",
        ..open(
            "cert-pl",
            "CERT Polska warning list",
            "CERT Polska",
            "https://cert.pl/en/warning-list/",
            "https://hole.cert.pl/domains/v2/domains.txt",
        )
    },
    PublicFeed {
        every_minutes: 360,
        holds: "IP addresses that attack sensors",
        licence: "free, for any use",
        ..open(
            "cins-army",
            "CINS Army",
            "Sentinel IPS",
            "https://cinsscore.com/",
            "https://cinsscore.com/list/ci-badguys.txt",
        )
    },
    PublicFeed {
        protocol: Protocol::MispFeed,
        every_minutes: 360,
        holds: "events of public reports, with actors and families",
        licence: "no licence stated; each event says how far it may be passed on",
        ..open(
            "circl-osint",
            "CIRCL OSINT",
            "CIRCL, Luxembourg",
            "https://www.circl.lu/doc/misp/feed-osint/",
            "https://www.circl.lu/doc/misp/feed-osint",
        )
    },
    PublicFeed {
        every_minutes: 360,
        holds: "IP addresses that try passwords over SSH",
        licence: "non-commercial use only; not to be passed on without permission",
        ..open(
            "dataplane-ssh",
            "DataPlane.org, SSH passwords",
            "DataPlane.org",
            "https://dataplane.org/",
            "https://dataplane.org/sshpwauth.txt",
        )
    },
    PublicFeed {
        every_minutes: 720,
        holds: "IP addresses of compromised hosts",
        licence: "BSD 3-Clause, as the ET Open rules",
        ..open(
            "et-compromised",
            "Emerging Threats, compromised hosts",
            "Proofpoint Emerging Threats",
            "https://rules.emergingthreats.net/",
            "https://rules.emergingthreats.net/blockrules/compromised-ips.txt",
        )
    },
    PublicFeed {
        holds: "IP addresses of botnet command servers",
        licence: "CC0: any use",
        ..open(
            "feodo-ips",
            "Feodo Tracker",
            "abuse.ch",
            "https://feodotracker.abuse.ch/blocklist/",
            "https://feodotracker.abuse.ch/downloads/ipblocklist.csv",
        )
    },
    PublicFeed {
        every_minutes: 1440,
        holds: "networks and IP addresses of several lists, few false positives",
        licence: "each list in it has terms of its own",
        ..open(
            "firehol-level1",
            "FireHOL level 1",
            "FireHOL",
            "https://iplists.firehol.org/?ipset=firehol_level1",
            "https://raw.githubusercontent.com/firehol/blocklist-ipsets/master/firehol_level1.netset",
        )
    },
    PublicFeed {
        holds: "IP addresses that attack",
        licence: "not to be reproduced or published again",
        ..open(
            "greensnow",
            "GreenSnow",
            "GreenSnow",
            "https://greensnow.co/",
            "https://blocklist.greensnow.co/greensnow.txt",
        )
    },
    PublicFeed {
        every_minutes: 1440,
        holds: "IP addresses that stand on three or more public lists",
        licence: "Unlicense: any use",
        ..open(
            "ipsum-3",
            "IPsum, level 3",
            "stamparm",
            "https://github.com/stamparm/ipsum",
            "https://raw.githubusercontent.com/stamparm/ipsum/master/levels/3.txt",
        )
    },
    PublicFeed {
        coverage: Coverage::Growing,
        holds: "SHA-256 hashes of malware",
        licence: "fair use is free; commercial use may need a subscription",
        ..open(
            "bazaar-sha256",
            "MalwareBazaar, last 48 hours",
            "abuse.ch",
            "https://bazaar.abuse.ch/export/",
            "https://bazaar.abuse.ch/export/txt/sha256/recent/",
        )
    },
    PublicFeed {
        every_minutes: 720,
        holds: "phishing URLs",
        licence: "non-commercial use only; not to be passed on",
        ..open(
            "openphish",
            "OpenPhish community",
            "OpenPhish",
            "https://openphish.com/phishing_feeds.html",
            "https://raw.githubusercontent.com/openphish/public_feed/refs/heads/main/feed.txt",
        )
    },
    PublicFeed {
        every_minutes: 1440,
        holds: "domains of phishing pages",
        licence: "MIT",
        ..open(
            "phishing-database",
            "Phishing.Database, active domains",
            "Phishing.Database",
            "https://github.com/Phishing-Database/Phishing.Database",
            "https://raw.githubusercontent.com/Phishing-Database/Phishing.Database/master/phishing-domains-ACTIVE.txt",
        )
    },
    PublicFeed {
        every_minutes: 720,
        holds: "networks that are leased or stolen for crime",
        licence: "free for any use; name Spamhaus where you pass it on",
        ..open(
            "spamhaus-drop",
            "Spamhaus DROP",
            "The Spamhaus Project",
            "https://www.spamhaus.org/blocklists/do-not-route-or-peer/",
            "https://www.spamhaus.org/drop/drop.txt",
        )
    },
    PublicFeed {
        every_minutes: 1440,
        holds: "domains of stalkerware",
        licence: "CC BY 4.0: any use, with credit",
        ..open(
            "stalkerware",
            "Stalkerware indicators",
            "Echap",
            "https://github.com/AssoEchap/stalkerware-indicators",
            "https://raw.githubusercontent.com/AssoEchap/stalkerware-indicators/master/generated/hosts",
        )
    },
    PublicFeed {
        protocol: Protocol::MispFeed,
        holds: "IOCs of malware with families, an event a day",
        licence: "fair use is free; commercial use may need a subscription",
        ..open(
            "threatfox-misp",
            "ThreatFox (MISP)",
            "abuse.ch",
            "https://threatfox.abuse.ch/export/",
            "https://threatfox.abuse.ch/downloads/misp",
        )
    },
    PublicFeed {
        coverage: Coverage::Growing,
        every_minutes: 15,
        holds: "URLs that give out malware",
        licence: "fair use is free; commercial use may need a subscription",
        access: Access::Query,
        access_name: "auth-key",
        ..open(
            "urlhaus-recent",
            "URLhaus, last 30 days",
            "abuse.ch",
            "https://urlhaus.abuse.ch/api/",
            "https://urlhaus-api.abuse.ch/files/exports/recent.csv",
        )
    },
    PublicFeed {
        every_minutes: 15,
        holds: "URLs that give out malware at the moment",
        licence: "fair use is free; commercial use may need a subscription",
        access: Access::Query,
        access_name: "auth-key",
        ..open(
            "urlhaus-online",
            "URLhaus, online now",
            "abuse.ch",
            "https://urlhaus.abuse.ch/api/",
            "https://urlhaus-api.abuse.ch/files/exports/csv_online.csv",
        )
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{subscription::checked_every, time::MINUTE};

    #[test]
    fn entries_are_whole() {
        let ids: HashSet<&str> = PUBLIC_FEEDS.iter().map(|feed| feed.id).collect();
        assert_eq!(ids.len(), PUBLIC_FEEDS.len());
        let names: Vec<String> = PUBLIC_FEEDS.iter().map(|feed| feed.name.to_lowercase()).collect();
        assert!(names.is_sorted(), "{names:?}");
        for feed in PUBLIC_FEEDS {
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(!feed.id.is_empty() && feed.id.chars().all(is_word), "{feed:?}");
            for text in [feed.name, feed.provider, feed.holds, feed.licence] {
                assert!(!text.trim().is_empty() && text.trim() == text, "{feed:?}");
            }
            for address in [feed.page, feed.url] {
                let url = url::Url::parse(address).unwrap();
                assert!(
                    url.scheme() == "https" && url.query().is_none_or(|_| address == feed.page)
                );
            }
            assert!(checked_every(feed.every_minutes * MINUTE).is_ok(), "{feed:?}");
            assert_eq!(feed.access == Access::None, feed.access_name.is_empty(), "{feed:?}");
        }
    }
}
