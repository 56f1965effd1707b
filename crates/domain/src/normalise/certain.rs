//! What is an indicator for certain, as opposed to something that has the shape of one.

use super::{certain, of_kind, url, without_port};
use crate::{
    host::{Host, is_certain_name, is_file_ending},
    ioc::Kind,
};

/// Reads an indicator that somebody says is of a kind. Where it is not, but is one of another kind
/// for certain, the value decides: `203.0.113.7:443` is no address, and names one.
///
/// # Errors
/// The reason why it is none.
pub fn of_hint(kind: Kind, text: &str) -> Result<(Kind, String), String> {
    let read = of_kind(kind, text).and_then(|(kind, value)| match kind {
        Kind::Domain if is_file_ending(&value) => Err(looks_like_file(&value)),
        _ => Ok((kind, value)),
    });
    let why = match read {
        Ok(found) => return Ok(found),
        Err(why) => why,
    };
    match certain(text) {
        // `http://evil.example/` where a name was promised.
        Ok((Kind::Url, url)) if kind == Kind::Domain => Ok(bare_host(&url)
            .and_then(|host| of_kind(Kind::Domain, host).ok())
            .unwrap_or((Kind::Url, url))),
        Ok(found) => Ok(found),
        Err(_) => Err(why),
    }
}

/// The host of a URL that has nothing behind it.
fn bare_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    (!host.contains(['/', '?', '#', '@', ':', '\\'])).then_some(host)
}

/// A name that is a domain for certain: under a public suffix, or of special use.
pub(super) fn certain_name(name: String) -> Result<String, String> {
    if is_certain_name(&name) {
        return Ok(name);
    }
    Err(if is_file_ending(&name) {
        looks_like_file(&name)
    } else {
        format!(
            "`{}` ends in no known top-level domain; if it is a name of your network, import it with the kind `domain`",
            crate::time::clip(&name, 60)
        )
    })
}

fn looks_like_file(name: &str) -> String {
    format!(
        "`{}` looks like the name of a file; give its hash (MD5, SHA-1, SHA-256)",
        crate::time::clip(name, 60)
    )
}

/// A URL without a scheme whose host ends at `end`: the host must be one for certain, or `and/or`
/// would be a URL.
pub(super) fn url_without_scheme(text: &str, end: usize) -> Result<String, String> {
    let (host, rest) = text.split_at(end);
    let bare = without_port(host.rsplit_once('@').map_or(host, |(_, host)| host));
    let found = match Host::parse(bare) {
        Ok(Host::Address(_)) => bare.contains('.') || bare.contains(':'),
        Ok(Host::Name(name)) => is_certain_name(&name),
        Err(_) => false,
    };
    if found {
        return url(text);
    }
    let text = crate::time::clip(text, 60);
    Err(if rest.starts_with('/') {
        format!("`{text}` is not a URL: `{}` is no host", crate::time::clip(bare, 40))
    } else {
        format!("`{text}` is not an indicator")
    })
}

/// An e-mail address whose host is a domain for certain.
pub(super) fn certain_email(address: String) -> Result<String, String> {
    match address.rsplit_once('@') {
        Some((_, host)) if is_certain_name(host) => Ok(address),
        _ => Err(format!(
            "`{}` ends in no known top-level domain; if it is an address of your network, import it with the kind `email`",
            crate::time::clip(&address, 60)
        )),
    }
}
