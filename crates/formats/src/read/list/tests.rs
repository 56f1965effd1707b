use super::super::Input;
use super::super::tests::values;

#[test]
fn lists_as_people_keep_them() {
    let text = "\u{feff}# Copyright\r\n\r\nEvil.example  # seen 2025-01-18\n203.0.113.7:8080\nevil.example:443\nevil.example/a.php#x\n/only/a/path\n\"quoted.example\"\nnodots\n";
    let (found, rejected) = values(Input::List, text);
    assert_eq!(
        found,
        [
            "domain evil.example",
            "ipv4 203.0.113.7",
            "domain evil.example",
            "url http://evil.example/a.php#x",
            "domain quoted.example"
        ]
    );
    assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [7, 9]);
}

#[test]
fn what_stands_around_a_value() {
    for (line, expected) in [
        ("evil.example ; a remark", vec!["domain evil.example"]),
        ("evil.example // a remark", vec!["domain evil.example"]),
        ("1. evil.example", vec!["domain evil.example"]),
        ("-203[.]0.113[.]7", vec!["ipv4 203.0.113.7"]),
        (
            "a.example, b.example,c.example",
            vec!["domain a.example", "domain b.example", "domain c.example"],
        ),
        ("http://a.example/x?a=1,2", vec!["url http://a.example/x?a=1,2"]),
        (
            "http://a.example/x,http://b.example/y",
            vec!["url http://a.example/x", "url http://b.example/y"],
        ),
        (
            "098f6bcd4621d373cade4e832627b4f6;See https://blog.example/x",
            vec!["md5 098f6bcd4621d373cade4e832627b4f6"],
        ),
        (
            "098f6bcd4621d373cade4e832627b4f6  invoice.exe",
            vec!["md5 098f6bcd4621d373cade4e832627b4f6"],
        ),
        (
            "invoice.exe: 098f6bcd4621d373cade4e832627b4f6",
            vec!["md5 098f6bcd4621d373cade4e832627b4f6"],
        ),
        (
            "MD5 (a.exe) = 098f6bcd4621d373cade4e832627b4f6",
            vec!["md5 098f6bcd4621d373cade4e832627b4f6"],
        ),
        (
            "SHA256 hash: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            vec!["sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        ),
        ("Domain - evil.example", vec!["domain evil.example"]),
        ("203.0.113.16-203.0.113.31", vec!["ipv4 203.0.113.16/28"]),
        ("198.51.100.64 255.255.255.192", vec!["ipv4 198.51.100.64/26"]),
        ("127.0.0.1 a.example b.example # c", vec!["domain a.example", "domain b.example"]),
        ("ZXZpbC5leGFtcGxl", vec!["domain evil.example"]),
        ("tcp://203.0.113.7:4444", vec!["ipv4 203.0.113.7"]),
        ("203.0.113.7 8080", vec!["ipv4 203.0.113.7"]),
    ] {
        assert_eq!(values(Input::List, line).0, expected, "{line}");
    }
}

#[test]
fn an_endless_line_is_refused_in_bounded_memory() {
    let text = format!("{}\nevil.example", "a".repeat(300_000));
    let (found, rejected) = values(Input::List, &text);
    assert_eq!((found.len(), rejected.len()), (1, 1));
}
