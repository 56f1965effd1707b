//! Hosts, in the one spelling that guards, rules, search and writers compare.
//!
//! A host comes in many spellings: `WWW.Corp.example.`, `corp%2Eexample`, `bücher.example`,
//! `2130706433`, `::ffff:127.0.0.1`. [`url::Host`] resolves them as browsers do; what is left of it
//! here is the name or the address that a device would meet.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};

use crate::ioc::Kind;

/// A name or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A domain or host name: lower case, punycode, without outer dots, of at least two labels.
    Name(String),
    /// An address. One that is mapped into IPv6 is the IPv4 address that it holds.
    Address(IpAddr),
}

impl fmt::Display for Host {
    /// As a URL writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

impl Host {
    /// Reads a host in any spelling.
    ///
    /// # Errors
    /// The reason why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{}` is not a domain: {why}", crate::time::clip(text, 60));
        let bare = text.strip_suffix('.').unwrap_or(text);
        match url::Host::parse(bare) {
            Ok(url::Host::Ipv4(v4)) => Ok(Self::Address(v4.into())),
            Ok(url::Host::Ipv6(v6)) => Ok(Self::Address(unmapped(v6))),
            Ok(url::Host::Domain(name)) => {
                // A dot may come out of another sign, such as the ideographic full stop.
                let name = name.strip_suffix('.').unwrap_or(&name);
                check(name).map_err(wrong)?;
                Ok(Self::Name(name.to_owned()))
            }
            Err(_) => Err(match check(&bare.to_ascii_lowercase()) {
                Err(why) => wrong(why),
                Ok(()) => wrong("it is not a valid international domain name"),
            }),
        }
    }
}

/// What names are made of.
fn check(name: &str) -> Result<(), &'static str> {
    if name.len() > 253 {
        return Err("it is longer than 253 characters");
    }
    let mut last = "";
    let mut labels = 0;
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err("its parts must have 1 to 63 characters");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err("only letters, digits, hyphens and underscores may stand in it");
        }
        last = label;
        labels += 1;
    }
    if labels < 2 {
        return Err("it has no dot");
    }
    if last.len() < 2 || last.contains('_') || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it does not end in a top-level domain");
    }
    Ok(())
}

/// An IPv6 address, or the IPv4 address that is mapped into it.
fn unmapped(address: Ipv6Addr) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

/// The text of a network; a single address has no prefix length.
#[must_use]
pub fn network_text(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// An address or network in text, in its one spelling: host bits cleared, mapped ones as IPv4.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().ok()?,
    };
    Some(match network.trunc() {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(IpNet::V6(v6), IpNet::V4),
            None => IpNet::V6(v6),
        },
        other => other,
    })
}

/// The host of an indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostOf<'a> {
    /// A name.
    Name(&'a str),
    /// An address or a network.
    Network(IpNet),
}

/// The host of an indicator in its one spelling; nothing for hashes. It splits, it does not parse:
/// the spelling tells where.
#[must_use]
pub fn host_of(kind: Kind, value: &str) -> Option<HostOf<'_>> {
    let host = match kind {
        Kind::Domain => return Some(HostOf::Name(value)),
        Kind::Ipv4 | Kind::Ipv6 => value,
        Kind::Email => value.rsplit_once('@')?.1,
        Kind::Url => {
            let (_, rest) = value.split_once("://")?;
            let authority = rest.get(..authority_end(rest))?;
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            match host.strip_prefix('[') {
                Some(v6) => v6.split_once(']')?.0,
                None => host.split_once(':').map_or(host, |(host, _)| host),
            }
        }
        Kind::Md5 | Kind::Sha1 | Kind::Sha256 => return None,
    };
    Some(network(host).map_or(HostOf::Name(host), HostOf::Network))
}

/// Where the authority of a URL ends, whose rest behind `://` this is. Browsers take `\` for `/`.
pub(crate) fn authority_end(rest: &str) -> usize {
    rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())
}

/// A name and all names above it: `a.b.c`, `b.c`, `c`.
pub fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above))
}

/// Whether a dotted word in prose is a domain: it ends in a listed public suffix and has a name
/// before it.
#[must_use]
pub fn has_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes()).is_some_and(|s| s.is_known() && s.as_bytes().len() < name.len())
}

/// Top-level names that no registry gives out: of special use (RFC 6761, 7686 and the like), or of
/// other roots that malware uses.
const SPECIAL: &[&str] = &[
    "arpa",
    "bazar",
    "bit",
    "coin",
    "emc",
    "example",
    "i2p",
    "internal",
    "invalid",
    "lib",
    "local",
    "localhost",
    "onion",
    "test",
];

/// Endings of files that are no top-level domains.
const FILE_ENDINGS: &[&str] = &[
    "7z", "apk", "asp", "aspx", "bak", "bat", "bin", "bmp", "c", "cfg", "chm", "class", "cmd",
    "conf", "cpl", "cpp", "cs", "css", "csv", "dat", "db", "dex", "dll", "dmg", "doc", "docm",
    "docx", "dot", "dotm", "elf", "eml", "exe", "gif", "gz", "h", "hta", "htm", "html", "ico",
    "img", "inf", "ini", "iso", "jar", "java", "jpeg", "jpg", "js", "jse", "json", "jsp", "key",
    "ko", "lnk", "log", "lua", "macho", "msi", "msix", "ocx", "odt", "pcap", "pdb", "pdf", "pem",
    "php", "pif", "plist", "png", "ppt", "pptm", "pptx", "ps1", "psm1", "rar", "rb", "reg", "rtf",
    "scr", "sct", "sqlite", "svg", "swf", "sys", "tar", "tgz", "tmp", "torrent", "ts", "txt",
    "url", "vb", "vba", "vbe", "vbs", "vhd", "vhdx", "war", "wav", "wsf", "xll", "xls", "xlsb",
    "xlsm", "xlsx", "xml", "xz", "yaml", "yar", "yara", "yml", "zst",
];

/// Top-level domains that are also the endings of files.
const BOTH: &[&str] = &[
    "app", "cab", "com", "dev", "link", "md", "mov", "one", "pl", "pm", "ps", "py", "rs", "sh",
    "so", "zip",
];

/// Whether a name is a domain for certain, as opposed to a dotted word: it is a public suffix or
/// under one, or of special use.
#[must_use]
pub fn is_certain_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    SPECIAL.contains(&last) || psl::suffix(name.as_bytes()).is_some_and(|s| s.is_known())
}

/// Whether a name ends as files do, and as no domain does.
#[must_use]
pub fn is_file_ending(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    FILE_ENDINGS.contains(&last) && !is_certain_name(name)
}

/// Whether a name may be that of a file as well as a domain: `setup.py`, `invoice.zip`.
#[must_use]
pub fn is_file_or_domain(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    BOTH.contains(&last)
}

/// Whether anybody may have a name under this one.
#[must_use]
pub fn is_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes())
        .is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == name.as_bytes())
}

/// The part of an IOC that is searched by domain suffix: its host, labels reversed
/// (`com.example.evil.`). `None` for kinds without a host name.
#[must_use]
pub fn reversed_host(kind: Kind, value: &str) -> Option<String> {
    let Some(HostOf::Name(host)) = host_of(kind, value) else { return None };
    if host.len() > 253 {
        return None;
    }
    let mut reversed: String = host.rsplit('.').collect::<Vec<_>>().join(".");
    reversed.push('.');
    Some(reversed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_host() {
        for (text, host) in [
            ("WWW.Corp.Example", "www.corp.example"),
            ("corp.example.", "corp.example"),
            ("corp%2Eexample", "corp.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("ｃorp。example", "corp.example"),
            ("2130706433", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("_dmarc.corp.example", "_dmarc.corp.example"),
        ] {
            let parsed = Host::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(parsed.to_string(), host, "{text}");
            assert_eq!(Host::parse(host), Ok(parsed), "{host} again");
        }
        for text in [
            "http",
            "localhost",
            "a..b.com",
            "evil.123",
            "a.b_c",
            "x y.com",
            "a;b.com",
            "\"a.com",
            "*.evil.com",
            ".",
            "",
            "xn--.com",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mapped_networks_are_ipv4() {
        for (text, net) in [
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("203.0.113.9/24", "203.0.113.0/24"),
            ("2001:db8::5/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), net, "{text}");
        }
    }

    #[test]
    fn hosts_are_reversed_for_suffix_search() {
        assert_eq!(
            reversed_host(Kind::Domain, "a.evil.example").as_deref(),
            Some("example.evil.a.")
        );
        assert_eq!(
            reversed_host(Kind::Url, "http://u@evil.example:81/x").as_deref(),
            Some("example.evil.")
        );
        assert_eq!(reversed_host(Kind::Url, "http://203.0.113.7/x"), None);
        assert_eq!(reversed_host(Kind::Url, "http://[2001:db8::1]:81/x"), None);
        assert_eq!(reversed_host(Kind::Email, "a@evil.example").as_deref(), Some("example.evil."));
    }
}
