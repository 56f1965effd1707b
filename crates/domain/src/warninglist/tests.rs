use super::*;
use crate::host::network;

fn list(name: &str, mode: ListMode) -> ListMatch {
    ListMatch { id: WarninglistId(uuid::Uuid::nil()), name: name.to_owned(), mode }
}

fn built(lists: &[(&str, Matching, &[&str], &[&str])]) -> Warninglists {
    let mut builder = Builder::default();
    for (name, matching, attributes, entries) in lists {
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let left_out = builder.add(
            list(name, ListMode::Withhold),
            &owned(attributes),
            *matching,
            entries.iter().copied(),
        );
        assert_eq!(left_out, LeftOut::default(), "{name}");
    }
    let (made, trouble) = builder.finish();
    assert_eq!(trouble, None);
    made
}

fn names(lists: &Warninglists, kind: Kind, value: &str) -> Vec<String> {
    lists.matches(kind, value).into_iter().map(|list| list.name).collect()
}

#[test]
fn each_way_of_comparing() {
    let lists = built(&[
        (
            "values",
            Matching::Exact,
            &["hostname", "md5", "url"],
            &[
                "Top.example",
                "44D88612FEA8A8F36DE82E1278ABB02F",
                "HTTPS://Shop.example:443/Basket",
                "bücher.example",
            ],
        ),
        (
            "hosts",
            Matching::Hostname,
            &["hostname", "url"],
            &[".Update.vendor.example", "*.cdn.example"],
        ),
        (
            "networks",
            Matching::Cidr,
            &["ip-dst", "url"],
            &["198.51.100.0/24", "2001:db8::/40", "203.0.113.7"],
        ),
        (
            "parts",
            Matching::Substring,
            &["domain", "email-src"],
            &["Mail-in.", "@throwaway.example"],
        ),
        ("patterns", Matching::Regex, &["email-src"], &["/^(abuse|soc)@.*\\..*$/i"]),
        ("any hosts", Matching::Hostname, &[], &["anywhere.example"]),
        ("anything", Matching::Exact, &[], &["all@kinds.example", "198.51.100.9"]),
    ]);
    let cases: &[(Kind, &str, &[&str])] = &[
        (Kind::Domain, "top.example", &["values"]),
        (Kind::Domain, "www.top.example", &[]),
        (Kind::Md5, "44d88612fea8a8f36de82e1278abb02f", &["values"]),
        (Kind::Url, "https://shop.example/Basket", &["values"]),
        (Kind::Url, "https://shop.example/basket", &[]),
        (Kind::Url, "https://top.example/", &[]),
        (Kind::Domain, "xn--bcher-kva.example", &["values"]),
        (Kind::Domain, "update.vendor.example", &["hosts"]),
        (Kind::Domain, "a.update.vendor.example", &["hosts"]),
        (Kind::Domain, "noupdate.vendor.example", &[]),
        // To block it would block the update server.
        (Kind::Domain, "vendor.example", &["hosts"]),
        (Kind::Url, "http://vendor.example/x", &[]),
        (Kind::Url, "http://a.cdn.example/x", &["hosts"]),
        (Kind::Email, "me@cdn.example", &[]),
        (Kind::Email, "me@anywhere.example", &[]),
        (Kind::Ipv4, "198.51.100.9", &["anything", "networks"]),
        (Kind::Ipv4, "198.51.0.0/16", &["networks"]),
        (Kind::Ipv4, "203.0.113.8", &[]),
        (Kind::Ipv6, "2001:db8:1::1", &["networks"]),
        (Kind::Url, "http://203.0.113.7:8080/a", &["networks"]),
        (Kind::Domain, "xmail-in.example", &["parts"]),
        (Kind::Email, "bob@throwaway.example", &["parts"]),
        (Kind::Url, "http://mail-in.example/", &[]),
        (Kind::Email, "abuse@vendor.example", &["patterns"]),
        (Kind::Email, "abuser@vendor.example", &[]),
        (Kind::Email, "all@kinds.example", &["anything"]),
    ];
    for (kind, value, expected) in cases {
        assert_eq!(&names(&lists, *kind, value), expected, "{kind:?} {value}");
        assert_eq!(lists.withhold(*kind, value), !expected.is_empty(), "{kind:?} {value}");
    }
}

#[test]
fn a_list_that_only_warns_withholds_nothing() {
    let mut builder = Builder::default();
    for (name, mode) in [("one", ListMode::Warn), ("two", ListMode::Withhold)] {
        let entries: &[&str] =
            if name == "one" { &["a.example", "b.example"] } else { &["b.example"] };
        builder.add(list(name, mode), &[], Matching::Exact, entries.iter().copied());
    }
    let (lists, _) = builder.finish();
    assert_eq!(names(&lists, Kind::Domain, "a.example"), ["one"]);
    assert!(!lists.withhold(Kind::Domain, "a.example"));
    assert_eq!(names(&lists, Kind::Domain, "b.example"), ["one", "two"]);
    assert!(lists.withhold(Kind::Domain, "b.example"));
}

#[test]
fn what_can_not_be_compared_is_named() {
    let mut builder = Builder::default();
    let mut left_out = |matching, entries: &[&str]| {
        builder.add(list("x", ListMode::Warn), &[], matching, entries.iter().copied())
    };
    let found = left_out(Matching::Cidr, &["192.0.2.0/33", "192.0.2.1", ""]);
    assert_eq!(found.count, 2);
    assert!(found.first[0].contains("192.0.2.0/33"), "{found:?}");
    let found = left_out(Matching::Regex, &["/a(?=b)/", "/(/", "/a{1000}{1000}{1000}/", "/ok/i"]);
    assert_eq!(found.count, 3, "{found:?}");
    assert_eq!(left_out(Matching::Substring, &["ab", "abc"]).count, 1);
    assert_eq!(
        left_out(Matching::Hostname, &["*.", "a.example", "a b.example", "a..example"]).count,
        3
    );
    assert_eq!(left_out(Matching::Exact, &[&"a".repeat(3_000)]).count, 1);
}

#[test]
fn attribute_types_name_kinds() {
    let kinds =
        |words: &[&str]| kinds_of(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    assert_eq!(kinds(&["ip-dst|port"]), [Kind::Ipv4, Kind::Ipv6]);
    assert_eq!(kinds(&["domain|ip"]), [Kind::Domain, Kind::Ipv4, Kind::Ipv6]);
    assert_eq!(kinds(&["filename|md5", "whois-registrant-email"]), [Kind::Email, Kind::Md5]);
    assert_eq!(kinds(&["phone-number", "x509-fingerprint-sha1"]), []);
    assert_eq!(kinds(&["ALL"]).len(), Kind::ALL.len());
}

proptest::proptest! {
    /// One structure for all lists says what a walk over each entry would say.
    #[test]
    fn as_one_by_one(
        hosts in proptest::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,2}\\.example", 0..20),
        networks in proptest::collection::vec((0_u8..4, 0_u8..4, 8_u8..=32), 0..20),
        name in "[ab]{1,2}(\\.[ab]{1,2}){0,3}\\.example",
        address in (0_u8..4, 0_u8..4, 8_u8..=32),
    ) {
        let net = |(a, b, length): (u8, u8, u8)| {
            network(&format!("45.{a}.{b}.0/{length}")).unwrap()
        };
        let texts: Vec<String> = networks.iter().map(|n| net(*n).to_string()).collect();
        let mut builder = Builder::default();
        builder.add(list("hosts", ListMode::Warn), &[], Matching::Hostname, hosts.iter().map(String::as_str));
        builder.add(list("networks", ListMode::Warn), &[], Matching::Cidr, texts.iter().map(String::as_str));
        let (lists, _) = builder.finish();
        let under = |a: &str, b: &str| a == b || a.strip_suffix(b).is_some_and(|a| a.ends_with('.'));
        let listed = hosts.iter().any(|host| under(&name, host) || under(host, &name));
        proptest::prop_assert_eq!(!names(&lists, Kind::Domain, &name).is_empty(), listed);
        let asked = net(address);
        let listed = networks.iter().map(|n| net(*n)).any(|n| n.contains(&asked) || asked.contains(&n));
        let value = crate::host::network_text(asked);
        proptest::prop_assert_eq!(!names(&lists, Kind::Ipv4, &value).is_empty(), listed);
    }
}
