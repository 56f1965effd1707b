//! From what people write to one spelling of each indicator (`misp-observed.md` section 5).
//!
//! Every function here either gives the one normal form, on which it is idempotent, or a reason for
//! people.

pub use crate::host::{has_public_suffix, reversed_host};
use crate::{
    host::{Host, authority_end, network, network_text},
    ioc::Kind,
    refang::refang,
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
    if text.contains("://") {
        return url(text).map(|v| (Kind::Url, v));
    }
    if text.contains('@') && !text.contains('/') {
        return email(text).map(|v| (Kind::Email, v));
    }
    if let Some(found) = ip_with_port(text) {
        return found;
    }
    if let Some(end) = text.find(['/', '?', '#', '\\']) {
        return if end == 0 {
            Err("there is a path but no host".to_owned())
        } else {
            url(text).map(|v| (Kind::Url, v))
        };
    }
    let name = without_port(text);
    match Host::parse(name.trim_matches('.')) {
        // `1.2.3.0x4` is an address in disguise; a bare number is anything.
        Ok(Host::Address(address)) if name.split('.').count() == 4 => ip(&address.to_string()),
        _ => domain(name).map(|v| (Kind::Domain, v)),
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
    let found = network(text).ok_or_else(|| {
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

/// A URL: scheme and host in their one spelling, without a default port; path, query and fragment
/// as they are, but blanks and non-ASCII characters percent-encoded; `http://` in front where there
/// is no scheme.
///
/// # Errors
/// The reason why it is not one.
pub fn url(text: &str) -> Result<String, String> {
    let text = text.trim();
    check_length(text)?;
    let wrong = |why: &str| Err(format!("`{}` is not a URL: {why}", crate::time::clip(text, 60)));
    if text.chars().any(char::is_control) {
        return Err("a URL can't hold line breaks or control characters".to_owned());
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !scheme_ok || scheme.len() > 20 {
        return wrong("it does not begin with a scheme such as http://");
    }
    let scheme = scheme.to_ascii_lowercase();
    let (authority, tail) = rest.split_at(authority_end(rest));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (name, port_part) = match host.rsplit_once(':') {
        Some((name, "")) if !name.ends_with(':') => (name, ""),
        Some((name, p)) if port(p) && !name.ends_with(':') => (name, p),
        _ => (host, ""),
    };
    if name.is_empty() || name.contains('*') {
        return wrong("it names no host");
    }
    let Ok(host) = Host::parse(name) else {
        return wrong("its host is neither a domain nor an IP address");
    };
    let mut value = format!("{scheme}://");
    if !user.is_empty() {
        encode(&mut value, user);
        value.push('@');
    }
    value.push_str(&host.to_string());
    match port_part.parse::<u16>() {
        Ok(port) if Some(port) != default_port(&scheme) => value.push_str(&format!(":{port}")),
        Err(_) if !port_part.is_empty() => return wrong("its port is not a number up to 65535"),
        _ => {}
    }
    encode(&mut value, tail);
    if value.len() > VALUE_MAX {
        return Err(format!("the URL is longer than {VALUE_MAX} characters"));
    }
    // What others would read in it must be what we read.
    match ::url::Url::parse(&value) {
        Ok(parsed)
            if parsed.host_str().is_some_and(|h| h.eq_ignore_ascii_case(&host.to_string())) =>
        {
            Ok(value)
        }
        _ => wrong("it can be read in more than one way"),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "ftp" => Some(21),
        _ => None,
    }
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

fn encode(out: &mut String, text: &str) {
    for c in text.chars() {
        if c == ' ' || !c.is_ascii() {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
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
