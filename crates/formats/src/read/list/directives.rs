//! Lines of other programs' configuration that name what they block: adblock, dnsmasq, unbound,
//! zone files (RPZ), nftables, ipset, RouterOS, and feed lists of F5.

/// What such a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Directive {
    /// It blocks nothing: a header, an exception.
    Nothing,
    /// It blocks these.
    Values(Vec<String>),
    /// It says something that an indicator can't.
    Refused(&'static str),
}

use Directive::{Nothing, Refused, Values};

/// Reads a line as one of a configuration; nothing where it is none.
pub(super) fn read(text: &str) -> Option<Directive> {
    let first = *text.as_bytes().first()?;
    match first {
        b'|' => Some(adblock(text)),
        b'$' | b'@' => zone_head(text),
        b':' | b'/' => routeros(text),
        _ if text.contains('#') && is_cosmetic(text) => {
            Some(Refused("a rule that hides parts of pages names no host to block"))
        }
        _ => dnsmasq(text)
            .or_else(|| unbound(text))
            .or_else(|| zone(text))
            .or_else(|| packet_filter(text))
            .or_else(|| feed_list(text)),
    }
}

/// `||evil.example^$third-party`, `|http://evil.example/x|`.
fn adblock(text: &str) -> Directive {
    let rule = text.trim_start_matches('|');
    let rule = rule.split(['^', '$', '|']).next().unwrap_or_default();
    if rule.contains('*') {
        return Refused("a pattern with `*` is not one indicator; list the names that were seen");
    }
    Values(vec![rule.to_owned()])
}

/// `example.com##.banner`.
fn is_cosmetic(text: &str) -> bool {
    ["##", "#@#", "#?#", "#$#"].iter().any(|mark| {
        // An e-mail address may hold the same: `a##b@evil.example`.
        text.split_once(mark)
            .is_some_and(|(_, what)| !what.contains('@') || what.contains(['[', '"']))
    })
}

/// `address=/evil.example/0.0.0.0`, `server=/evil.example/`, `local=/evil.example/`.
fn dnsmasq(text: &str) -> Option<Directive> {
    let (keyword, rest) = text.split_once("=/")?;
    if !matches!(keyword.trim(), "address" | "server" | "local") {
        return None;
    }
    let mut names: Vec<&str> = rest.split('/').collect();
    // Behind the last slash stands where the names lead.
    let _target = names.pop();
    let names: Vec<String> = names
        .into_iter()
        .filter(|name| !name.is_empty() && *name != "#")
        .map(str::to_owned)
        .collect();
    Some(if names.is_empty() { Nothing } else { Values(names) })
}

/// `local-zone: "evil.example." always_nxdomain`, `local-data: "evil.example A 0.0.0.0"`.
fn unbound(text: &str) -> Option<Directive> {
    if text == "server:" {
        return Some(Nothing);
    }
    let (keyword, rest) = text.split_once(':')?;
    match keyword.trim() {
        "local-zone" | "local-data" => {}
        "local-data-ptr" => return Some(Nothing),
        _ => return None,
    }
    let mut words = rest.split_whitespace();
    let name = words.next()?.trim_matches('"');
    if words.next().is_some_and(|kind| matches!(kind, "transparent" | "typetransparent")) {
        return Some(Nothing);
    }
    Some(Values(vec![name.to_owned()]))
}

/// `$TTL 300`, `@ IN SOA …`.
fn zone_head(text: &str) -> Option<Directive> {
    let word = text.split_whitespace().next()?;
    matches!(word, "$TTL" | "$ORIGIN" | "$INCLUDE" | "@").then_some(Nothing)
}

/// A record of a zone: `evil.example CNAME .`, `32.7.113.0.203.rpz-ip CNAME .`.
fn zone(text: &str) -> Option<Directive> {
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    let of_type = words.iter().skip(1).position(|word| {
        matches!(
            word.to_ascii_uppercase().as_str(),
            "CNAME" | "A" | "AAAA" | "SOA" | "NS" | "TXT" | "DNAME"
        )
    })? + 1;
    let between = words.get(1..of_type)?;
    let plain = between
        .iter()
        .all(|word| word.eq_ignore_ascii_case("IN") || word.bytes().all(|b| b.is_ascii_digit()));
    let (name, record) = (words.first()?, words.get(of_type)?.to_ascii_uppercase());
    if !plain || words.len() < of_type + 2 || text.ends_with('.') && record == "A" {
        return None;
    }
    if matches!(record.as_str(), "SOA" | "NS" | "TXT")
        || words.get(of_type + 1).is_some_and(|target| target.starts_with("rpz-passthru"))
    {
        return Some(Nothing);
    }
    // A wildcard stands beside the name itself.
    if name.starts_with("*.") {
        return Some(Nothing);
    }
    if let Some(address) = name.strip_suffix(".rpz-ip") {
        return Some(
            backwards(address).map_or(
                Refused("this is no address as response policy zones write it"),
                |address| Values(vec![address]),
            ),
        );
    }
    if [".rpz-client-ip", ".rpz-nsdname", ".rpz-nsip"].iter().any(|end| name.ends_with(end)) {
        return Some(Refused("a rule about clients or name servers is not an indicator"));
    }
    Some(Values(vec![name.trim_end_matches('.').to_owned()]))
}

/// A record that blocks nothing, as name servers answer with: it may stand in any text.
pub(super) fn is_answer(text: &str) -> bool {
    !text.starts_with(['@', '$', '*']) && zone(text) == Some(Nothing)
}

/// `32.7.113.0.203`: the length of the prefix, then the parts of the address, last one first.
fn backwards(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = text.split('.').collect();
    let length = parts.remove(0);
    parts.reverse();
    let address = if parts.len() == 4 && !parts.contains(&"zz") {
        parts.join(".")
    } else {
        let joined = parts.join(":");
        match joined.as_str() {
            "zz" => "::".to_owned(),
            _ => joined.replace(":zz:", "::").replace(":zz", "::").replace("zz:", "::"),
        }
    };
    address.parse::<std::net::IpAddr>().ok()?;
    Some(format!("{address}/{length}"))
}

/// nftables and ipset: `add element inet t ipv4 { 203.0.113.7 }`, `add blocked 203.0.113.7`.
fn packet_filter(text: &str) -> Option<Directive> {
    let mut words = text.split_whitespace();
    match (words.next()?, words.next()) {
        ("add", Some("element")) => {
            let inside = text.split_once('{')?.1.split_once('}')?.0;
            let values = inside.split(',').filter_map(|element| element.split_whitespace().next());
            Some(Values(values.map(str::to_owned).collect()))
        }
        (
            "add" | "delete" | "create" | "flush" | "destroy",
            Some("table" | "set" | "chain" | "rule" | "ruleset"),
        ) => Some(Nothing),
        ("create", Some(_)) => Some(Nothing),
        ("add", Some(_)) => Some(Values(vec![words.next()?.split(',').next()?.to_owned()])),
        _ => None,
    }
}

/// RouterOS: `… firewall address-list add list=x address=203.0.113.7 …`.
fn routeros(text: &str) -> Option<Directive> {
    if !text.contains("address-list") {
        return None;
    }
    let address = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("address="))
        .filter(|_| text.contains("address-list add"));
    Some(address.map_or(Nothing, |address| Values(vec![address.to_owned()])))
}

/// F5: `203.0.113.0,24,BL,additional`.
fn feed_list(text: &str) -> Option<Directive> {
    let mut cells = text.split(',');
    let (address, mask, list) = (cells.next()?, cells.next()?, cells.next()?);
    match list {
        "BL" => {
            Some(Values(vec![format!("{address}/{}", if mask.is_empty() { "32" } else { mask })]))
        }
        "WL" => Some(Nothing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_programs() {
        for (line, values) in [
            ("||evil.example^$third-party", vec!["evil.example"]),
            ("address=/a.example/b.example/0.0.0.0", vec!["a.example", "b.example"]),
            ("server=/a.example/", vec!["a.example"]),
            ("local-zone: \"a.example.\" always_nxdomain", vec!["a.example."]),
            ("a.example CNAME .", vec!["a.example"]),
            ("a.example. 300 IN CNAME .", vec!["a.example"]),
            ("32.7.113.0.203.rpz-ip CNAME .", vec!["203.0.113.7/32"]),
            ("48.zz.db8.2001.rpz-ip CNAME .", vec!["2001:db8::/48"]),
            ("add element inet t ipv4 { 203.0.113.7 }", vec!["203.0.113.7"]),
            ("add blocked 203.0.113.7 timeout 0", vec!["203.0.113.7"]),
            ("203.0.113.0,24,BL,additional", vec!["203.0.113.0/24"]),
            (
                ":do { /ip firewall address-list add list=x address=203.0.113.7 comment=iocast } on-error={}",
                vec!["203.0.113.7"],
            ),
        ] {
            let values = values.into_iter().map(str::to_owned).collect();
            assert_eq!(read(line), Some(Values(values)), "{line}");
        }
        for line in [
            "$TTL 300",
            "@ IN NS localhost.",
            "*.a.example CNAME .",
            "server:",
            "address=/#/0.0.0.0",
        ] {
            assert_eq!(read(line), Some(Nothing), "{line}");
        }
        for line in
            ["evil.example", "203.0.113.7 9", "evil.example # a remark", "http://evil.example/a=/b"]
        {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
