//! Whether a value stands for itself in a format, and for nothing else: no comment, no directive,
//! no reserved word.
//!
//! A value is checked by its own grammar when it comes in. What its signs and words mean to a
//! device is another question, and each format has its own answer here. There is no default: a new
//! format does not compile until it has one.

use iocast_domain::{
    device_type::Format,
    guard::{Refusal, network},
    ioc::Kind,
};

use super::list::without_scheme;

/// Longest line that Suricata reads, in bytes, without the line end.
const SURICATA_LINE: usize = 1_022;
/// Names that every host gives itself.
const LOOPBACK: [&str; 4] = [
    "localhost.localdomain",
    "localhost6.localdomain6",
    "localhost4.localdomain4",
    "broadcasthost",
];

/// Why a value can't be written in a format; nothing where it can.
#[must_use]
pub fn refusal(format: Format, kind: Kind, value: &str) -> Option<Refusal> {
    let good = match format {
        Format::PlainList | Format::RequestedList | Format::CiscoList => {
            is_plain(value) && (kind != Kind::Url || is_plain_authority(value))
        }
        Format::PanosEdl => {
            is_plain(written_without_scheme(kind, value))
                && (kind != Kind::Url || is_plain_authority(value))
        }
        Format::CheckPointCsv | Format::SplunkCsv => {
            !value.contains([',', '"']) && !is_formula(value)
        }
        Format::Csv | Format::DefenderCsv => !is_formula(value),
        Format::F5FeedList | Format::MikrotikScript | Format::Nftables => network(value).is_some(),
        Format::Rpz => match kind {
            // Whatever it is called, what ends in `.rpz-…` is a trigger of another kind.
            Kind::Domain => {
                is_name(value)
                    && !value.rsplit('.').next().is_some_and(|last| last.starts_with("rpz-"))
            }
            _ => network(value).is_some_and(|network| network.prefix_len() > 0),
        },
        Format::Hosts => {
            is_name(value) && !is_local(value) && value.split('.').all(is_letter_digit_label)
        }
        Format::SquidDomains | Format::Dnsmasq | Format::Unbound => {
            is_name(value) && !is_local(value)
        }
        Format::ZeekIntel => {
            let written = written_without_scheme(kind, value);
            is_plain(written) && !has_hex_escape(written)
        }
        Format::SuricataDataset => match kind {
            Kind::Domain | Kind::Url | Kind::Email => {
                written_without_scheme(kind, value).len().div_ceil(3) * 4 <= SURICATA_LINE
            }
            _ => true,
        },
        Format::CarbonBlackFeed => {
            matches!(kind, Kind::Domain | Kind::Ipv4 | Kind::Ipv6 | Kind::Md5 | Kind::Sha256)
        }
        // Values are strings of a grammar that has none but strings, and are escaped.
        Format::Json
        | Format::Ndjson
        | Format::ArcsightEvents
        | Format::StixBundle
        | Format::Taxii21
        | Format::Taxii20
        | Format::MispFeed => true,
        Format::VendorApi => true,
    };
    (!good).then_some(Refusal::Reserved)
}

fn written_without_scheme(kind: Kind, value: &str) -> &str {
    if kind == Kind::Url { without_scheme(value) } else { value }
}

/// A line that no device takes for a comment, a section, an exception, a quoted text or an option.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '[')
        && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether what stands before a URL's path holds no sign that means "any" or ends a word.
fn is_plain_authority(url: &str) -> bool {
    let rest = without_scheme(url);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    authority.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'.' | b'-' | b'_' | b':' | b'@' | b'%' | b'~' | b'[' | b']')
    })
}

/// A cell that a spreadsheet would calculate.
#[must_use]
pub fn is_formula(text: &str) -> bool {
    text.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r', '\0', '＝', '＋', '－', '＠'])
}

fn is_name(value: &str) -> bool {
    value.contains('.')
        && value.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_')
        })
}

fn is_local(name: &str) -> bool {
    LOOPBACK.contains(&name) || name.rsplit('.').next() == Some("localhost")
}

/// Resolvers that read hosts files leave out names with other labels, and say nothing.
fn is_letter_digit_label(label: &str) -> bool {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    end(label.chars().next()) && end(label.chars().next_back())
}

/// `\x41`, which Zeek reads as the byte.
fn has_hex_escape(text: &str) -> bool {
    text.match_indices("\\x").any(|(at, _)| {
        text.get(at + 2..at + 4).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use iocast_domain::normalise::detect;

    use super::*;

    #[test]
    fn directives_of_each_format_are_refused() {
        for (format, text) in [
            (Format::Rpz, "8.0.0.0.127.rpz-client-ip"),
            (Format::Rpz, "1.0.0.0.128.rpz-ip"),
            (Format::Rpz, "ns1.x.example.rpz-nsdname"),
            (Format::Rpz, "1.zz.rpz-nsip"),
            (Format::Rpz, "x.RPZ-Passthru"),
            (Format::Rpz, "::/0"),
            (Format::PlainList, "#x@evil.example"),
            (Format::PlainList, "!x@evil.example"),
            (Format::PlainList, "=x@evil.example"),
            (Format::PlainList, "-x.evil.example"),
            (Format::PlainList, "http://*@evil.example/"),
            (Format::PanosEdl, "http://;x@evil.example/"),
            (Format::PanosEdl, "http://*@evil.co.uk/"),
            (Format::CiscoList, "http://a*b@evil.example/"),
            (Format::ZeekIntel, "#x@evil.example"),
            (Format::ZeekIntel, "http://evil.example/\\x41"),
            (Format::Csv, "=1+1@evil.example"),
            (Format::DefenderCsv, "-x.evil.example"),
            (Format::SplunkCsv, "http://evil.example/a,8.8.8.8,90"),
            (Format::CheckPointCsv, "http://evil.example/\"x"),
            (Format::Hosts, "localhost.localdomain"),
            (Format::Hosts, "x.localhost"),
            (Format::Hosts, "_dmarc.evil.example"),
            (Format::Dnsmasq, "x.localhost"),
            (Format::Unbound, "localhost.localdomain"),
        ] {
            let (kind, value) = detect(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(
                refusal(format, kind, &value),
                Some(Refusal::Reserved),
                "{format:?}: {value}"
            );
        }
        for (format, text) in [
            (Format::Rpz, "evil.example"),
            (Format::Rpz, "rpz-ip.evil.example"),
            (Format::Rpz, "192.0.2.0/24"),
            (Format::PlainList, "_dmarc.evil.example"),
            (Format::PlainList, "x+y@evil.example"),
            (Format::PlainList, "http://u:p@evil.example/a*b"),
            (Format::ZeekIntel, "http://evil.example/a\\b"),
            (Format::Json, "#x@evil.example"),
            (Format::Hosts, "www.evil.example"),
        ] {
            let (kind, value) = detect(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(refusal(format, kind, &value), None, "{format:?}: {value}");
        }
    }
}
