//! URLs in their one spelling.

use super::{VALUE_MAX, check_length, port};
use crate::host::{Host, authority_end};

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
