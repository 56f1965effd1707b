//! From what people write to one spelling of each indicator (`misp-observed.md` section 5).
//!
//! Every function here either gives the one normal form, on which it is idempotent, or a reason for
//! people.

pub use crate::host::{has_public_suffix, is_certain_name, is_file_ending, reversed_host};
use crate::{
    host::{Host, authority_end, network, network_text},
    ioc::Kind,
    refang::refang,
};

mod certain;
mod ranges;
mod url;

pub use self::{certain::of_hint, ranges::range, url::url};
use self::{
    certain::{certain_email, certain_name, url_without_scheme},
    ranges::masked,
};

/// Longest indicator, in bytes of its normal form.
pub const VALUE_MAX: usize = 8_192;

/// Longest text that is looked at: an indicator, defanged at every character.
const RAW_MAX: usize = 3 * VALUE_MAX;

fn check_length(text: &str) -> Result<(), String> {
    if text.len() > RAW_MAX {
        Err(format!("the value is longer than {VALUE_MAX} characters"))
    } else {
        Ok(())
    }
}

/// Reads an indicator whose kind is known. For `Ipv4` and `Ipv6` the address itself decides which
/// it is.
///
/// # Errors
/// The reason why it is not one.
pub fn of_kind(kind: Kind, text: &str) -> Result<(Kind, String), String> {
    let text = text.trim();
    check_length(text)?;
    let text = refang(text);
    let value = match kind {
        Kind::Ipv4 | Kind::Ipv6 => return ip(&text),
        Kind::Domain => domain(&text)?,
        Kind::Url => url(&text)?,
        Kind::Email => email(&text)?,
        Kind::Md5 => hash(&text, 32, "MD5")?,
        Kind::Sha1 => hash(&text, 40, "SHA-1")?,
        Kind::Sha256 => hash(&text, 64, "SHA-256")?,
    };
    Ok((kind, value))
}

/// Reads an indicator and finds out its kind, as on a line of a list: `ip:port` gives the IP,
/// `host:port` the domain, `host/path` a URL with `http://`.
///
/// # Errors
/// The reason why it is none.
pub fn detect(text: &str) -> Result<(Kind, String), String> {
    read(text, Certainty::Shape)
}

/// As [`detect`], but only what is an indicator for certain: a name must be under a public suffix or
/// of special use, and a scheme must be one that is in use. What somebody sends to be stored is read
/// so; what is looked up need not be.
///
/// # Errors
/// What it looks like, and what to do.
pub fn certain(text: &str) -> Result<(Kind, String), String> {
    read(text, Certainty::Meaning)
}

/// How sure one must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// It has the shape of an indicator.
    Shape,
    /// It is one, and nothing else.
    Meaning,
}

/// Schemes of URLs in use.
const SCHEMES: &[&str] = &[
    "ftp",
    "ftps",
    "gopher",
    "http",
    "https",
    "imap",
    "irc",
    "ircs",
    "ldap",
    "ldaps",
    "mqtt",
    "nfs",
    "pop3",
    "rdp",
    "rtmp",
    "rtsp",
    "sftp",
    "smb",
    "smtp",
    "socks5",
    "ssh",
    "ssl",
    "stratum+tcp",
    "tcp",
    "telnet",
    "tftp",
    "tls",
    "udp",
    "vnc",
    "ws",
    "wss",
];

fn read(text: &str, certainty: Certainty) -> Result<(Kind, String), String> {
    let strict = certainty == Certainty::Meaning;
    let text = text.trim_matches(is_around);
    check_length(text)?;
    let text = refang(text);
    let text = text.trim_matches(is_around);
    if text.is_empty() {
        return Err("the value is empty".to_owned());
    }
    if text.chars().any(char::is_whitespace) {
        return Err("there is more than one word; write one value a line".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_hexdigit()) {
        match text.len() {
            32 => return of_kind(Kind::Md5, text),
            40 => return of_kind(Kind::Sha1, text),
            64 => return of_kind(Kind::Sha256, text),
            96 | 128 => {
                return Err(
                    "SHA-384 and SHA-512 are not taken; give MD5, SHA-1 or SHA-256".to_owned()
                );
            }
            _ => {}
        }
    }
    let text = without_service(text);
    if let Some((scheme, _)) = text.split_once("://") {
        if strict && !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(format!(
                "`{}` is no scheme that is known; write the URL with http:// or https://",
                crate::time::clip(scheme, 30)
            ));
        }
        return url(text).map(|v| (Kind::Url, v));
    }
    if text.contains('@') && !text.contains('/') {
        return match email(text) {
            Ok(address) if strict => certain_email(address),
            other => other,
        }
        .map(|v| (Kind::Email, v));
    }
    if let Some(block) = masked(text) {
        return ip(&block.to_string());
    }
    if let Some(found) = ip_with_port(text.strip_suffix('.').unwrap_or(text)) {
        return found;
    }
    if let Some(end) = text.find(['/', '?', '#', '\\']) {
        return if end == 0 {
            Err("there is a path but no host".to_owned())
        } else {
            if strict { url_without_scheme(text, end) } else { url(text) }.map(|v| (Kind::Url, v))
        };
    }
    let name = without_port(text);
    match Host::parse(name.trim_matches('.')) {
        // `1.2.3.0x4` is an address in disguise; a bare number is anything.
        Ok(Host::Address(address)) if name.split('.').count() == 4 => ip(&address.to_string()),
        _ if strict => domain(name).and_then(certain_name).map(|v| (Kind::Domain, v)),
        _ => domain(name).map(|v| (Kind::Domain, v)),
    }
}

/// An address with the service behind it, as firewalls and scanners write it: `tcp://host:port`,
/// `host:443/tcp`, `host|443`.
fn without_service(text: &str) -> &str {
    for scheme in ["tcp://", "udp://", "tls://", "ssl://"] {
        if let Some(rest) = text
            .get(..scheme.len())
            .filter(|begin| begin.eq_ignore_ascii_case(scheme))
            .and_then(|_| text.get(scheme.len()..))
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest))
            .filter(|rest| !rest.contains(['/', '?', '#']))
        {
            return rest;
        }
    }
    if text.contains("://") {
        return text;
    }
    for protocol in ["/tcp", "/udp"] {
        if let Some(host) = text.strip_suffix(protocol)
            && without_port(host) != host
        {
            return host;
        }
    }
    match text.rsplit_once('|') {
        Some((host, port_part))
            if !host.contains('/') && (port_part.is_empty() || port(port_part)) =>
        {
            host
        }
        _ => text,
    }
}

/// What stands around a value in prose and tables: quotation marks and blanks, in any order.
fn is_around(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`')
}

/// `1.2.3.4`, `1.2.3.0/24`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]:443`; `None` if it is not
/// shaped like an address.
fn ip_with_port(text: &str) -> Option<Result<(Kind, String), String>> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        return (rest.is_empty() || port(rest.strip_prefix(':')?)).then(|| ip(address));
    }
    let block = text.split_once('/');
    if block
        .is_some_and(|(_, length)| length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()))
    {
        return None;
    }
    let address = block.map_or(text, |(address, _)| address);
    let bare = without_port(address);
    let dotted =
        bare.split('.').count() == 4 && bare.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let colons = address.matches(':').count() >= 2
        && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
    match (dotted, colons, block) {
        (true, _, None) => Some(ip(bare)),
        (true, _, Some(_)) if bare == address => Some(ip(text)),
        (_, true, _) => Some(ip(text)),
        _ => None,
    }
}

fn port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, p)) if port(p) => host,
        _ => text,
    }
}

/// An address or CIDR block: IPv6 compressed, mapped IPv4 as IPv4, `/32` and `/128` dropped, host
/// bits of a block cleared.
///
/// # Errors
/// The reason why it is not one.
pub fn ip(text: &str) -> Result<(Kind, String), String> {
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    // As in a sentence: `203.0.113.7.`
    let text = text.strip_suffix('.').unwrap_or(text);
    let found = network(text).or_else(|| masked(text)).ok_or_else(|| {
        format!("`{}` is not an IP address or CIDR block", crate::time::clip(text, 60))
    })?;
    let kind = if found.addr().is_ipv4() { Kind::Ipv4 } else { Kind::Ipv6 };
    Ok((kind, network_text(found)))
}

/// A domain or host name: lower case, punycode, without outer dots; at least two labels.
///
/// # Errors
/// The reason why it is not one.
pub fn domain(text: &str) -> Result<String, String> {
    let text = text.trim().trim_matches('.');
    if text.contains('*') {
        return Err(
            "a pattern with `*` is not one indicator; list the names that were seen".to_owned()
        );
    }
    match Host::parse(text)? {
        Host::Name(name) => Ok(name),
        Host::Address(address) => Err(format!(
            "`{}` is not a domain: it is the IP address {address}",
            crate::time::clip(text, 60)
        )),
    }
}

/// An e-mail address in lower case.
///
/// # Errors
/// The reason why it is not one.
pub fn email(text: &str) -> Result<String, String> {
    let text = text.trim();
    // `Bad Guy <bad@evil.example>`.
    let text = text
        .strip_suffix('>')
        .and_then(|inner| inner.rsplit_once('<'))
        .map_or(text, |(_, address)| address.trim());
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    let wrong = || format!("`{}` is not an e-mail address", crate::time::clip(text, 60));
    let (local, host) = text.rsplit_once('@').ok_or_else(wrong)?;
    let plain = |b: u8| {
        b.is_ascii_graphic()
            && !matches!(b, b'<' | b'>' | b'(' | b')' | b',' | b';' | b':' | b'"' | b'\\' | b'@')
    };
    if local.is_empty() || local.len() > 64 || !local.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(format!("{}@{}", local.to_ascii_lowercase(), domain(host)?))
}

/// The beginning of a value, as far as it can be put into the one spelling: what is searched for by
/// prefix.
#[must_use]
pub fn prefix(text: &str) -> String {
    let text = refang(text.get(..text.floor_char_boundary(RAW_MAX)).unwrap_or_default().trim());
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, tail) = rest.split_at(authority_end(rest));
            let (user, host) =
                authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
            let at = if user.is_empty() { "" } else { "@" };
            format!(
                "{}://{user}{at}{}{tail}",
                scheme.to_ascii_lowercase(),
                host.to_ascii_lowercase()
            )
        }
        None => text.to_ascii_lowercase(),
    }
}

fn hash(text: &str, length: usize, name: &str) -> Result<String, String> {
    if text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "`{}` is not a {name} hash: it must be {length} hexadecimal digits",
            crate::time::clip(text, 70)
        ))
    }
}

#[cfg(test)]
mod tests;
