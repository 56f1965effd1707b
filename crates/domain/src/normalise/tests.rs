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
        ("hXXps[:]//Evil.example/A?b=C#d", Kind::Url, "https://evil.example/A?b=C#d"),
        ("HTTP://EVIL.example.:80/Z", Kind::Url, "http://evil.example/Z"),
        ("https://evil.example:0443", Kind::Url, "https://evil.example"),
        ("http://evil.example:/x", Kind::Url, "http://evil.example/x"),
        ("http://1572395042/", Kind::Url, "http://93.184.216.34/"),
        ("http://0x7f000001/hex", Kind::Url, "http://127.0.0.1/hex"),
        ("http://corp%2Eexample/", Kind::Url, "http://corp.example/"),
        ("http://evil.example\\@corp.example/", Kind::Url, "http://evil.example\\@corp.example/"),
        ("http://[::ffff:203.0.113.7]/x", Kind::Url, "http://203.0.113.7/x"),
        ("::ffff:203.0.113.7", Kind::Ipv4, "203.0.113.7"),
        ("::ffff:203.0.113.0/120", Kind::Ipv4, "203.0.113.0/24"),
        ("1.2.3.0x4", Kind::Ipv4, "1.2.3.4"),
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
        "http://localhost/x",
        "http://;x.example/",
        "http://a=b.example/",
        "http://evil.example:99999/",
        "1572395042",
    ] {
        let reason = detect(text).unwrap_err();
        assert!(reason.len() > 15, "{text}: {reason}");
    }
    assert!(
        of_kind(Kind::Domain, "1.2.3.4").is_err() && of_kind(Kind::Domain, "0x7f000001").is_err()
    );
    for text in
        ["kernel32.dll", "and/or", "HTTP/1.1", "N/A", "dc01.corp", "x@y.corp", "ttp://a.example/x"]
    {
        assert!(certain(text).unwrap_err().len() > 15, "{text}");
    }
    assert!(detect(&"[".repeat(1_000_000)).unwrap_err().contains("longer"));
    assert!(of_kind(Kind::Sha256, "abc").unwrap_err().contains("64"));
}

#[test]
fn a_stated_kind_is_a_hint() {
    for (kind, text, found) in [
        (Kind::Ipv4, "203.0.113.7:443", (Kind::Ipv4, "203.0.113.7")),
        (Kind::Domain, "http://evil.example/", (Kind::Domain, "evil.example")),
        (Kind::Domain, "http://evil.example/x", (Kind::Url, "http://evil.example/x")),
        (Kind::Domain, "dc01.corp", (Kind::Domain, "dc01.corp")),
        (Kind::Url, "203.0.113.7/x", (Kind::Url, "http://203.0.113.7/x")),
        (Kind::Email, "Bad Guy <bad@evil.example>", (Kind::Email, "bad@evil.example")),
    ] {
        assert_eq!(of_hint(kind, text), Ok((found.0, found.1.to_owned())), "{text}");
    }
    assert!(of_hint(Kind::Domain, "kernel32.dll").unwrap_err().contains("file"));
}

#[test]
fn ranges_and_masks_are_blocks() {
    for (text, blocks) in [
        ("203.0.113.16-203.0.113.31", vec!["203.0.113.16/28"]),
        ("198.51.100.5 - 198.51.100.6", vec!["198.51.100.5", "198.51.100.6"]),
        ("192.0.2.1-192.0.2.1", vec!["192.0.2.1"]),
        ("2001:db8::10-2001:db8::13", vec!["2001:db8::10/126"]),
    ] {
        let found: Vec<String> =
            range(text).unwrap().unwrap().into_iter().map(|(_, value)| value).collect();
        assert_eq!(found, blocks, "{text}");
    }
    assert!(range("203.0.113.9-203.0.113.1").unwrap().is_err());
    assert!(range("evil-one.example").is_none());
    assert_eq!(detect("203.0.113.0/255.255.255.0"), Ok((Kind::Ipv4, "203.0.113.0/24".to_owned())));
}

proptest::proptest! {
    #[test]
    fn normalising_twice_changes_nothing(text in ".{0,60}") {
        if let Ok((kind, value)) = detect(&text) {
            proptest::prop_assert_eq!(of_kind(kind, &value), Ok((kind, value.clone())));
            proptest::prop_assert_eq!(detect(&value), Ok((kind, value)));
        }
        if let Ok((kind, value)) = certain(&text) {
            proptest::prop_assert_eq!(certain(&value), Ok((kind, value)));
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

/// Found by fuzzing: blanks between quotation marks hid some of them, and the value had another
/// spelling when it was read again.
#[test]
fn quotation_marks_and_blanks_are_trimmed_together() {
    for text in ["evil.example/a", "' \" evil.example/a ' ` ", "evil.example/a"] {
        assert_eq!(detect(text), Ok((Kind::Url, "http://evil.example/a".to_owned())), "{text}");
    }
    assert!(detect("' ' '").is_err());
}
