//! From what people write to one spelling of each indicator (`misp-observed.md` section 5).
//!
//! Every function here either gives the one normal form, on which it is idempotent, or a reason for people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::ioc::Kind;

/// Longest indicator, in bytes of its normal form.
pub const VALUE_MAX: usize = 8_192;

/// Undoes the usual defanging: `hxxp`, `[.]`, `(dot)`, `[at]`, `[:]`, `[://]`.
#[must_use]
pub fn refang(text: &str) -> String {
    let mut text = text.to_owned();
    // Brackets may stand in brackets: as often as something changes, and each time it gets shorter.
    loop {
        let once = refang_once(&text);
        if once == text {
            return once;
        }
        text = once;
    }
}

fn refang_once(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find(['[', '(', '{']) {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let Some((replacement, length)) = bracketed(from) else {
            let mut chars = from.chars();
            out.extend(chars.next());
            rest = chars.as_str();
            continue;
        };
        out.push_str(replacement);
        rest = from.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    refang_scheme(out)
}

/// What `[dot]` and its like at the start of `from` stand for, and how many bytes they take.
fn bracketed(from: &str) -> Option<(&'static str, usize)> {
    let close = match from.as_bytes().first()? {
        b'[' => ']',
        b'(' => ')',
        _ => '}',
    };
    let end = from.char_indices().take(8).find(|(_, c)| *c == close)?.0;
    let replacement = match from.get(1..end)?.trim().to_ascii_lowercase().as_str() {
        "." | "dot" => ".",
        "@" | "at" => "@",
        ":" => ":",
        "://" => "://",
        "/" => "/",
        _ => return None,
    };
    Some((replacement, end + 1))
}

fn refang_scheme(text: String) -> String {
    let Some(colon) = text.find("://") else { return text };
    let (scheme, rest) = text.split_at(colon);
    let real = match scheme.to_ascii_lowercase().as_str() {
        "hxxp" | "hxtp" | "htxp" | "h**p" => "http",
        "hxxps" | "hxtps" | "htxps" | "h**ps" => "https",
        "fxp" => "ftp",
        "fxps" => "ftps",
        _ => return text,
    };
    format!("{real}{rest}")
}

/// Reads an indicator whose kind is known. For `Ipv4` and `Ipv6` the address itself decides which it is.
///
/// # Errors
/// The reason why it is not one.
pub fn of_kind(kind: Kind, text: &str) -> Result<(Kind, String), String> {
    let text = refang(text.trim());
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

/// Reads an indicator and finds out its kind, as on a line of a list: `ip:port` gives the IP, `host:port` the
/// domain, `host/path` a URL with `http://`.
///
/// # Errors
/// The reason why it is none.
pub fn detect(text: &str) -> Result<(Kind, String), String> {
    let text = refang(text.trim().trim_matches(['"', '\'', '`']));
    let text = text.trim();
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
            96 | 128 => return Err("SHA-384 and SHA-512 are not taken; give MD5, SHA-1 or SHA-256".to_owned()),
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
    if let Some(end) = text.find(['/', '?', '#']) {
        return if end == 0 { Err("there is a path but no host".to_owned()) } else { url(text).map(|v| (Kind::Url, v)) };
    }
    domain(without_port(text)).map(|v| (Kind::Domain, v))
}

/// `1.2.3.4`, `1.2.3.0/24`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]:443`; `None` if it is not shaped like an address.
fn ip_with_port(text: &str) -> Option<Result<(Kind, String), String>> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']')?;
        return (rest.is_empty() || port(rest.strip_prefix(':')?)).then(|| ip(address));
    }
    let block = text.split_once('/');
    if block.is_some_and(|(_, length)| length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let address = block.map_or(text, |(address, _)| address);
    let bare = without_port(address);
    let dotted = bare.split('.').count() == 4 && bare.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let colons = address.matches(':').count() >= 2 && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
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

/// An address or CIDR block: IPv6 compressed, `/32` and `/128` dropped, host bits of a block cleared.
///
/// # Errors
/// The reason why it is not one.
pub fn ip(text: &str) -> Result<(Kind, String), String> {
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let wrong = || format!("`{}` is not an IP address or CIDR block", crate::time::clip(text, 60));
    let kind = |address: IpAddr| if address.is_ipv4() { Kind::Ipv4 } else { Kind::Ipv6 };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((kind(address), spell(address)));
    }
    let net: IpNet = text.parse().ok().ok_or_else(wrong)?;
    let address = net.trunc().addr();
    let value = if net.prefix_len() == net.max_prefix_len() { spell(address) } else { format!("{}/{}", spell(address), net.prefix_len()) };
    Ok((kind(address), value))
}

fn spell(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::to_string(&v4),
        IpAddr::V6(v6) => Ipv6Addr::to_string(&v6),
    }
}

/// A domain or host name: lower case, punycode, without outer dots; at least two labels.
///
/// # Errors
/// The reason why it is not one.
pub fn domain(text: &str) -> Result<String, String> {
    let text = text.trim().trim_matches('.');
    if text.contains('*') {
        return Err("a pattern with `*` is not one indicator; list the names that were seen".to_owned());
    }
    let name = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(text).ok().ok_or_else(|| format!("`{}` is not a valid international domain name", crate::time::clip(text, 60)))?
    };
    let wrong = |why: &str| Err(format!("`{}` is not a domain: {why}", crate::time::clip(text, 60)));
    if name.len() > 253 {
        return wrong("it is longer than 253 characters");
    }
    let mut last = "";
    let mut labels = 0;
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return wrong("its parts must have 1 to 63 characters");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return wrong("only letters, digits, hyphens and underscores may stand in it");
        }
        last = label;
        labels += 1;
    }
    if labels < 2 {
        return wrong("it has no dot");
    }
    if last.len() < 2 || last.contains('_') || last.bytes().all(|b| b.is_ascii_digit()) {
        return wrong("it does not end in a top-level domain");
    }
    Ok(name)
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
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'(' | b')' | b',' | b';' | b':' | b'"' | b'\\' | b'@');
    if local.is_empty() || local.len() > 64 || !local.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(format!("{}@{}", local.to_ascii_lowercase(), domain(host)?))
}

/// A URL: case, port and fragment as they are, international hosts in punycode, blanks and non-ASCII
/// characters percent-encoded; `http://` in front where there is no scheme.
///
/// # Errors
/// The reason why it is not one.
pub fn url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let shown = || crate::time::clip(text, 60);
    if text.chars().any(char::is_control) {
        return Err("a URL can't hold line breaks or control characters".to_owned());
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme_ok =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !scheme_ok || scheme.len() > 20 {
        return Err(format!("`{}` is not a URL: it does not begin with a scheme such as http://", shown()));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let (name, port_part) = match host.rsplit_once(':') {
        Some((name, p)) if port(p) && !name.ends_with(':') => (name, Some(p)),
        _ => (host, None),
    };
    if name.is_empty() || name.contains('*') {
        return Err(format!("`{}` is not a URL: it names no host", shown()));
    }
    let name = if name.is_ascii() { name.to_owned() } else { domain(name)? };
    let mut value = format!("{scheme}://");
    if authority.contains('@') {
        encode(&mut value, user);
        value.push('@');
    }
    value.push_str(&name);
    if let Some(p) = port_part {
        value.push(':');
        value.push_str(p);
    }
    encode(&mut value, tail);
    if value.len() > VALUE_MAX {
        return Err(format!("the URL is longer than {VALUE_MAX} characters"));
    }
    match ::url::Url::parse(&value) {
        Ok(parsed) if parsed.host_str().is_some_and(|h| !h.is_empty()) => Ok(value),
        _ => Err(format!("`{}` is not a URL: its host is not valid", shown())),
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
        Err(format!("`{}` is not a {name} hash: it must be {length} hexadecimal digits", crate::time::clip(text, 70)))
    }
}

/// Whether a dotted word in prose is a domain: it ends in a listed public suffix and has a name before it.
#[must_use]
pub fn has_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes()).is_some_and(|s| s.is_known() && s.as_bytes().len() < name.len())
}

/// The part of an IOC that is searched by domain suffix: its host, labels reversed (`com.example.evil.`).
/// `None` for kinds without a host name.
#[must_use]
pub fn reversed_host(kind: Kind, value: &str) -> Option<String> {
    let host = match kind {
        Kind::Domain => value,
        Kind::Email => value.rsplit_once('@')?.1,
        Kind::Url => {
            let rest = value.split_once("://")?.1;
            let authority = rest.split(['/', '?', '#']).next()?;
            let host = authority.rsplit('@').next()?;
            without_port(host)
        }
        _ => return None,
    };
    let host = host.trim_matches('.').to_ascii_lowercase();
    if host.len() > 253 || ip(&host).is_ok() {
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
    fn misps_table_of_rewritings() {
        for (text, kind, value) in [
            ("EVIL.Example.COM", Kind::Domain, "evil.example.com"),
            (" evil[.]example[.]com. ", Kind::Domain, "evil.example.com"),
            ("evil(dot)example{.}com", Kind::Domain, "evil.example.com"),
            ("bücher.example", Kind::Domain, "xn--bcher-kva.example"),
            ("_dmarc.evil.example", Kind::Domain, "_dmarc.evil.example"),
            ("evil.example:8080", Kind::Domain, "evil.example"),
            ("hxxp://evil[.]example.com/x", Kind::Url, "http://evil.example.com/x"),
            ("hXXps[:]//Evil.example/A?b=C#d", Kind::Url, "https://Evil.example/A?b=C#d"),
            ("evil.example/path", Kind::Url, "http://evil.example/path"),
            ("203.0.113.7:8080/a", Kind::Url, "http://203.0.113.7:8080/a"),
            ("http://bücher.example/ä", Kind::Url, "http://xn--bcher-kva.example/%C3%A4"),
            ("http://user:pw@evil.example:81/", Kind::Url, "http://user:pw@evil.example:81/"),
            ("http://[2001:db8::1]:8080/x", Kind::Url, "http://[2001:db8::1]:8080/x"),
            ("2001:DB8:0:0:0:0:0:2", Kind::Ipv6, "2001:db8::2"),
            ("[2001:db8::5]:443", Kind::Ipv6, "2001:db8::5"),
            ("2001:db8::/32", Kind::Ipv6, "2001:db8::/32"),
            ("203.0.113.5/32", Kind::Ipv4, "203.0.113.5"),
            ("203.0.113.5/24", Kind::Ipv4, "203.0.113.0/24"),
            ("5[.]101.6.132", Kind::Ipv4, "5.101.6.132"),
            ("203.0.113.7:444", Kind::Ipv4, "203.0.113.7"),
            ("Bad[at]Evil[.]example", Kind::Email, "bad@evil.example"),
            ("D41D8CD98F00B204E9800998ECF8427E", Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
        ] {
            assert_eq!(detect(text), Ok((kind, value.to_owned())), "{text}");
            assert_eq!(of_kind(kind, value), Ok((kind, value.to_owned())), "{value} again");
        }
    }

    #[test]
    fn what_is_no_indicator_is_refused_with_a_reason() {
        for text in [
            "nodots",
            "203.0.113.001",
            "999.1.1.1",
            "abc",
            "*.evil.example",
            "a..b.com",
            "two words.com",
            "http://",
            "x@y",
            "1.2.3",
            "/etc/passwd",
            "evil.123",
            "a.b_c",
        ] {
            let reason = detect(text).unwrap_err();
            assert!(reason.len() > 15, "{text}: {reason}");
        }
        assert!(of_kind(Kind::Domain, "1.2.3.4").is_err());
        assert!(of_kind(Kind::Sha256, "abc").unwrap_err().contains("64"));
    }

    #[test]
    fn hosts_are_reversed_for_suffix_search() {
        assert_eq!(reversed_host(Kind::Domain, "a.evil.example").as_deref(), Some("example.evil.a."));
        assert_eq!(reversed_host(Kind::Url, "http://u@Evil.example:80/x").as_deref(), Some("example.evil."));
        assert_eq!(reversed_host(Kind::Url, "http://203.0.113.7/x"), None);
        assert_eq!(reversed_host(Kind::Email, "a@evil.example").as_deref(), Some("example.evil."));
    }

    proptest::proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in ".{0,60}") {
            if let Ok((kind, value)) = detect(&text) {
                proptest::prop_assert_eq!(of_kind(kind, &value), Ok((kind, value.clone())));
                proptest::prop_assert_eq!(detect(&value), Ok((kind, value)));
            }
        }

        #[test]
        fn normalising_twice_changes_nothing_of_what_looks_like_one(
            text in "(hxxps?(://|\\[:\\]//))?([a-zA-Z0-9_ü-]{1,8}(\\.|\\[\\.\\]|\\(dot\\))){1,3}[a-z]{2,4}(:[0-9]{1,5})?(/[A-Za-z0-9%\\[\\]().,ü ]{0,12})?|[0-9]{1,3}(\\[?\\.\\]?[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9a-fA-F:]{2,30}(/[0-9]{1,3})?|[A-Za-z.+]{1,8}(@|\\[at\\])[a-z]{1,8}\\.[a-z]{2,3}|[0-9a-fA-F]{32}|[0-9A-F]{64}",
        ) {
            if let Ok((kind, value)) = detect(&text) {
                proptest::prop_assert_eq!(of_kind(kind, &value), Ok((kind, value.clone())));
                proptest::prop_assert!(value.len() <= VALUE_MAX && !value.chars().any(char::is_whitespace), "{}", value);
                proptest::prop_assert!(kind == Kind::Url || value == value.to_lowercase(), "{}", value);
            }
        }
    }
}
