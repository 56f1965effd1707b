//! The words in which products name kinds of indicators.

use iocast_domain::ioc::Kind;

use super::fields::folded;

/// What a word says of the value beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum KindWord {
    /// Nothing that is known here: the value itself says what it is.
    #[default]
    Any,
    /// It is of this kind. For addresses the value says which of the two.
    Kind(Kind),
    /// A hash; its length says which.
    Hash,
    /// A name and a value behind `|`, as MISP writes them.
    Second,
    /// Two values with `|` between them.
    Both,
    /// Something that devices don't take.
    Untaken,
}

/// Artefacts that devices don't take.
const UNTAKEN: &[&str] = &[
    "cve",
    "vulnerability",
    "mutex",
    "yara",
    "yararule",
    "filepath",
    "filename",
    "filenames",
    "path",
    "regkey",
    "registry",
    "registrykey",
    "regkeyvalue",
    "useragent",
    "ja3",
    "ja3s",
    "ja3fingerprintmd5",
    "jarm",
    "jarmfingerprint",
    "imphash",
    "ssdeep",
    "tlsh",
    "authentihash",
    "asn",
    "as",
    "certificate",
    "x509fingerprintsha1",
    "certhash",
    "certificatethumbprint",
    "sha512",
    "sha384",
    "sha224",
    "filenamesha512",
    "btc",
    "bitcoin",
    "bitcoinaddress",
    "xmr",
    "process",
    "processname",
    "commandline",
    "service",
    "port",
    "sigma",
    "snort",
    "pdb",
    "windowsservicename",
    "namedpipe",
    "phonenumber",
    "urlpath",
    "uripath",
    "subject",
    "emailsubject",
    "emailattachment",
];

/// What a word of a `type` column says.
pub(super) fn word(text: &str) -> KindWord {
    let folded = folded(text);
    let bare = ["intel", "networktraffic", "network"]
        .iter()
        .find_map(|prefix| folded.strip_prefix(prefix).filter(|rest| !rest.is_empty()))
        .unwrap_or(&folded);
    match bare {
        "ip" | "ips" | "ipaddress" | "ipaddresses" | "ipv4" | "ipv4addr" | "ipv4address"
        | "ipv4cidr" | "ipv4s" | "ipdst" | "ipsrc" | "ipdstport" | "ipsrcport" | "ipport"
        | "address" | "addresses" | "addr" | "cidr" | "subnet" | "network" | "netblock"
        | "iprange" | "sourceip" | "destinationip" | "remoteip" | "serverip" | "hostip" | "ip4" => {
            KindWord::Kind(Kind::Ipv4)
        }
        "ipv6" | "ipv6addr" | "ipv6address" | "ipv6cidr" | "ipv6s" | "ip6" => {
            KindWord::Kind(Kind::Ipv6)
        }
        "domain" | "domains" | "domainname" | "domainnames" | "hostname" | "hostnames" | "host"
        | "hosts" | "fqdn" | "fqdns" | "dns" | "dnsname" | "hostnameport" | "dnsrequest" => {
            KindWord::Kind(Kind::Domain)
        }
        "url" | "urls" | "uri" | "uris" | "urlvalue" => KindWord::Kind(Kind::Url),
        "email" | "emails" | "emailaddr" | "emailaddress" | "emailaddresses" | "emailsrc"
        | "emaildst" | "emailreplyto" | "sender" | "mailfrom" | "mail" | "emailsender" => {
            KindWord::Kind(Kind::Email)
        }
        "md5" | "md5hash" | "md5s" | "filehashmd5" | "filemd5" | "hashmd5" | "md5sum"
        | "malwaresamplemd5" | "md5checksum" => KindWord::Kind(Kind::Md5),
        "sha1" | "sha1hash" | "sha1s" | "filehashsha1" | "filesha1" | "hashsha1" | "sha1sum"
        | "sha1checksum" => KindWord::Kind(Kind::Sha1),
        "sha256" | "sha256hash" | "sha256s" | "filehashsha256" | "filesha256" | "hashsha256"
        | "sha256sum" | "sha256checksum" => KindWord::Kind(Kind::Sha256),
        "hash" | "hashes" | "file" | "filehash" | "filehashes" | "checksum" | "sample" => {
            KindWord::Hash
        }
        "filenamemd5" | "filenamesha1" | "filenamesha256" | "malwaresample" => KindWord::Second,
        "domainip" => KindWord::Both,
        other if UNTAKEN.contains(&other) => KindWord::Untaken,
        _ => KindWord::Any,
    }
}

/// Whether a word names a kind of indicator or artefact: what stands in a `type` column.
pub(super) fn is_word(text: &str) -> bool {
    word(text) != KindWord::Any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_products() {
        for (text, expected) in [
            ("ip-dst|port", KindWord::Kind(Kind::Ipv4)),
            ("ip:port", KindWord::Kind(Kind::Ipv4)),
            ("Intel::ADDR", KindWord::Kind(Kind::Ipv4)),
            ("IpAddresses", KindWord::Kind(Kind::Ipv4)),
            ("ipv6-addr", KindWord::Kind(Kind::Ipv6)),
            ("Domain Name", KindWord::Kind(Kind::Domain)),
            ("FileHash-SHA256", KindWord::Kind(Kind::Sha256)),
            ("Intel::FILE_HASH", KindWord::Hash),
            ("filename|sha256", KindWord::Second),
            ("domain|ip", KindWord::Both),
            ("CVE", KindWord::Untaken),
            ("file_path", KindWord::Untaken),
            ("something", KindWord::Any),
        ] {
            assert_eq!(word(text), expected, "{text}");
        }
    }
}
