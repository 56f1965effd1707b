use super::*;

#[test]
fn ranges_say_whether_something_is_left() {
    for (range, cut) in [
        ("items 0-99/250", true),
        ("items 0-99/100", false),
        ("items=200-249/250", false),
        ("items 0-99/*", true),
        ("bytes 0-1", false),
    ] {
        assert_eq!(is_cut(range), cut, "{range}");
    }
}

#[test]
fn a_cursor_is_read_back() {
    let at = || Some("2026-11-30T10:00:00.000001Z".to_owned());
    let rests = [None, Some(("a b".to_owned(), None)), Some(("1000".to_owned(), at()))];
    for after in [None, at()] {
        for version in [Version::V20, Version::V21] {
            for rest in rests.clone() {
                for whole in [None, Some(20_000)] {
                    let (after, rest) = (after.clone(), rest.clone());
                    let cursor = Cursor { version, after, rest, whole };
                    assert_eq!(Cursor::read(&cursor.text()), Some(cursor));
                }
            }
        }
    }
}

#[test]
fn the_last_version_of_an_object_holds() {
    let now = Timestamp::parse("2026-11-30").unwrap();
    let mut objects = Objects::default();
    for json in [
        r#"{"type":"indicator","id":"indicator--1","name":"first"}"#,
        r#"{"type":"indicator","id":"indicator--2","valid_until":"2026-11-29T00:00:00Z"}"#,
        r#"{"type":"indicator","id":"indicator--1","name":"last","revoked":true}"#,
    ] {
        objects.take(json, now).unwrap();
    }
    assert_eq!(objects.bundle(false), None);
    let out = objects.bundle(true).unwrap();
    assert!(out.contains("last") && !out.contains("first") && out.contains("indicator--2"));
    assert!(!out.contains("valid_until") && !out.contains("revoked"));
}

#[test]
fn objects_lie_behind_their_collection() {
    for given in
        ["https://h.example/c/1", "https://h.example/c/1/", "https://h.example/c/1/objects/"]
    {
        assert_eq!(
            objects(&url::Url::parse(given).unwrap()).as_str(),
            "https://h.example/c/1/objects/"
        );
    }
}
