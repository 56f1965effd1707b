//! Values of a list in other shapes: categories, networks as ranges.

use std::net::IpAddr;

use iocast_domain::{ioc::Kind, normalise, time::Timestamp};
use ipnet::IpNet;
use serde_json::json;

/// The types of list that a web gateway knows, but the one that reads patterns.
pub(super) const GATEWAY_TYPES: [&str; 7] =
    ["string", "applcontrol", "dimension", "category", "ip", "mediatype", "number"];

/// Longest name of a category.
const CATEGORY_MAX: usize = 64;

pub(super) fn category(value: &str) -> Result<String, String> {
    let good = !value.is_empty()
        && value.len() <= CATEGORY_MAX
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if good {
        Ok(value.to_owned())
    } else {
        Err(format!(
            "`cd` and `t` take up to {CATEGORY_MAX} letters, digits, hyphens and underscores."
        ))
    }
}

/// MineMeld's item: the indicator and what it is.
pub(super) fn item(value: &str) -> serde_json::Value {
    let kind = match normalise::detect(value) {
        Ok((Kind::Ipv4, _)) => "IPv4",
        Ok((Kind::Ipv6, _)) => "IPv6",
        Ok((Kind::Domain, _)) => "domain",
        Ok((Kind::Email, _)) => "email-addr",
        Ok((Kind::Md5, _)) => "md5",
        Ok((Kind::Sha1, _)) => "sha1",
        Ok((Kind::Sha256, _)) => "sha256",
        Ok((Kind::Url, _)) | Err(_) => "URL",
    };
    json!({ "indicator": value, "value": { "type": kind } })
}

/// When an event of the stream happened: `at` is its first field.
pub(super) fn event_time(line: &str) -> Option<Timestamp> {
    Timestamp::parse(line.strip_prefix("{\"at\":\"")?.split('"').next()?).ok()
}

pub(super) fn without_port(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(s, rest)| (s, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    };
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

/// What PAN-OS takes as it is: `*` and `^` mean "any" to it.
pub(super) fn is_panos_url(url: &str) -> bool {
    !url.is_empty() && url.is_ascii() && url.len() <= 255 && !url.contains(['*', '^'])
}

/// Addresses that touch, as `first-last`.
pub(super) fn ranges(networks: &[IpNet]) -> Vec<String> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let mut out: Vec<(IpAddr, IpAddr)> = Vec::new();
    for network in IpNet::aggregate(&networks.to_vec()) {
        let (first, last) = (network.network(), network.broadcast());
        match out.last_mut() {
            Some((_, end))
                if end.is_ipv4() == first.is_ipv4()
                    && number(*end).checked_add(1) == Some(number(first)) =>
            {
                *end = last;
            }
            _ => out.push((first, last)),
        }
    }
    out.into_iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect()
}
