use std::io::{Cursor, Write as _};

use super::*;

fn read_one(text: &str) -> Result<ListFile, String> {
    one(text.as_bytes())
}

#[test]
fn all_shapes_of_a_list() {
    let plain = r#"{"name":"Top","description":"d","version":20260801,"type":"hostname","matching_attributes":["domain"],"list":["a.example",7]}"#;
    let found = read_one(plain).unwrap();
    assert_eq!(found.entries, ["a.example", "7"]);
    assert_eq!((found.version, found.matching), (20_260_801, Matching::Hostname));
    let commented =
        r#"{"name":"Top","version":"3","type":["cidr"],"list":{"192.0.2.0/24":"office"}}"#;
    let found = read_one(commented).unwrap();
    assert_eq!((found.version, found.matching), (3, Matching::Cidr));
    assert_eq!(found.entries, ["192.0.2.0/24"]);
    let rest = r#"{"Warninglist":{"id":"1","name":"Top","type":"substring","version":"2","description":"d","enabled":true,"WarninglistEntry":[{"id":"1","value":"abc","warninglist_id":"1"}],"WarninglistType":[{"type":"url"}]}}"#;
    let found = read_one(rest).unwrap();
    assert_eq!(
        (found.entries.as_slice(), found.attributes.as_slice()),
        (["abc".to_owned()].as_slice(), ["url".to_owned()].as_slice())
    );
    assert_eq!(read_one(r#"{"name":"Top","list":[]}"#).unwrap().matching, Matching::Exact);
}

#[test]
fn what_is_no_list_says_why() {
    for (text, why) in [
        ("[]", "no warninglist"),
        (r#"{"name":"x"}"#, "no `list`"),
        (r#"{"list":["a"]}"#, "`name`"),
        (r#"{"name":"x","type":"fuzzy","list":[]}"#, "string, hostname"),
        (r#"{"name":"x","version":"new","list":[]}"#, "no version"),
        (r#"{"name":"x","list":["a""#, "no warninglist"),
    ] {
        let said = read_one(text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn an_archive_gives_each_of_its_lists() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [
        ("main/lists/top/list.json", r#"{"name":"Top","list":["a.example"]}"#),
        ("main/lists/bad/list.json", r#"{"name":"Bad","list":"#),
        ("main/schema.json", r#"{"$schema":"x"}"#),
        ("main/README.md", "hello"),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let mut found = Vec::new();
    read(zip.finish().unwrap(), &mut |list| {
        found.push(list.map(|list| list.name).map_err(|(name, _)| name));
        true
    })
    .unwrap();
    assert_eq!(found, [Ok("Top".to_owned()), Err("main/lists/bad/list.json".to_owned())]);
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_again(
        name in "[a-zA-Z][a-z \"\\\\é]{0,20}[a-z]",
        entries in proptest::collection::vec("\\PC{1,20}", 0..10),
        version in 0_i64..99_999_999,
    ) {
        let list = ListFile {
            name, description: "d".to_owned(), version, matching: Matching::Regex,
            attributes: vec!["url".to_owned()], entries,
        };
        let mut bytes = Vec::new();
        write(&list, &mut bytes).unwrap();
        proptest::prop_assert_eq!(one(bytes.as_slice()).unwrap(), list);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = read(Cursor::new(bytes), &mut |_| true);
    }
}
