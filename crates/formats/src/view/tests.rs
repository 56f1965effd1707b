use std::{collections::BTreeSet, net::IpAddr};

use proptest::prelude::*;

use super::*;

fn view(query: &[(&str, &str)], text: &str) -> String {
    let view = View::parse(Format::PlainList, query.iter().copied()).unwrap().unwrap();
    String::from_utf8(view.apply(Format::PlainList, Document { text, before: 0 }).0).unwrap()
}

#[test]
fn what_xsoar_and_minemeld_users_ask_for() {
    let ips = "192.0.2.0\n192.0.2.1\n192.0.2.2/31\n198.51.100.7\n";
    assert_eq!(view(&[("n", "2"), ("s", "1")], ips), "192.0.2.1\n192.0.2.2/31\n");
    assert_eq!(view(&[("tr", "1")], ips), "192.0.2.0-192.0.2.3\n198.51.100.7\n");
    assert_eq!(view(&[("tr", "2")], ips), "192.0.2.0/30\n198.51.100.7\n");
    let urls = "http://a.example:8080/x?y=1\nhttps://b*c.example/\nb.example\n";
    assert_eq!(view(&[("sp", ""), ("pr", "")], urls), "a.example/x?y=1\nb*c.example/\nb.example\n");
    assert_eq!(view(&[("v", "panosurl")], urls), "a.example:8080/x?y=1\nb.example/\n");
    assert_eq!(view(&[("v", "panosurl"), ("di", "")], urls), "a.example:8080/x?y=1\nb.example/\n");
    assert_eq!(view(&[("v", "mwg")], "a.example\n"), "type=string\n\"a.example\" \"iocast\"\n");
    assert_eq!(
        view(&[("v", "proxysg"), ("cd", "bad")], "a.example\n"),
        "define category bad\na.example\nend\n"
    );
    assert_eq!(view(&[("v", "csv")], "a.example\n"), "indicator\na.example\n");
    assert_eq!(
        view(&[("v", "json")], "a.example\n192.0.2.1\n"),
        "[{\"indicator\":\"a.example\",\"value\":{\"type\":\"domain\"}},{\"indicator\":\"192.0.2.1\",\"value\":{\"type\":\"IPv4\"}}]\n"
    );
    assert_eq!(view(&[("n", "0")], ips), "");
}

#[test]
fn what_cannot_be_is_refused() {
    for (query, format, said) in [
        (("n", "many"), Format::PlainList, "`n` must be"),
        (("tr", "3"), Format::PlainList, "`tr` must be"),
        (("v", "xml"), Format::PlainList, "`v` must be one of"),
        (("v", "csv"), Format::Rpz, "plain lists"),
        (("n", "1"), Format::Taxii21, "whole or nothing"),
        (("after", "2026-01-01T00:00:00Z"), Format::Csv, "event streams"),
    ] {
        let why = View::parse(format, [query]).unwrap_err();
        assert!(why.contains(said), "{why}");
    }
    assert_eq!(View::parse(Format::PlainList, [("key", "x")]), Ok(None));
    assert_eq!(View::parse(Format::ArcsightEvents, [("after", "$START_AT_TIME")]), Ok(None));
}

#[test]
fn joined_entries_keep_their_frame() {
    let text = "{\"events\":[\n{\"at\":\"2026-01-01T00:00:00.000000Z\",\"v\":1},\n{\"at\":\"2026-01-02T00:00:00.000000Z\",\"v\":2}\n],\"next\":\"x\"}\n";
    let view = View::parse(Format::ArcsightEvents, [("after", "2026-01-01T00:00:00.000000Z")])
        .unwrap()
        .unwrap();
    let out =
        String::from_utf8(view.apply(Format::ArcsightEvents, Document { text, before: 12 }).0)
            .unwrap();
    assert_eq!(
        out,
        "{\"events\":[\n{\"at\":\"2026-01-02T00:00:00.000000Z\",\"v\":2}\n],\"next\":\"x\"}\n"
    );
}

proptest! {
    /// Networks and ranges hold exactly the addresses that the list held.
    #[test]
    fn collapsing_loses_and_adds_no_address(last in proptest::collection::btree_set(0u8..40, 0..30)) {
        let text: String = last.iter().map(|n| format!("192.0.2.{n}\n")).collect();
        let networks: BTreeSet<u8> = view(&[("tr", "2")], &text).lines().flat_map(|l| network(l).unwrap().hosts().chain([network(l).unwrap().network(), network(l).unwrap().broadcast()]).map(last_octet).collect::<Vec<_>>()).collect();
        prop_assert_eq!(&networks, &last);
        let ranges: BTreeSet<u8> = view(&[("tr", "1")], &text).lines().flat_map(|l| {
            let (a, b) = l.split_once('-').unwrap_or((l, l));
            last_octet(a.parse().unwrap())..=last_octet(b.parse().unwrap())
        }).collect();
        prop_assert_eq!(&ranges, &last);
    }
}

fn last_octet(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => 0,
    }
}
