use super::super::tests::{sightings, values};
use super::super::{Input, Item, Options, ReadError, read};

#[test]
fn a_table_with_enrichment() {
    let text = "Value,Type,Severity,Tags,Malware families,Note\nevil.example,domain,High,a;b,Emotet|QakBot,x\n203.0.113.1,,,,,\nnodots,,,,,\nevil2.example,domain,awful,,,\n";
    let (found, rejected) = sightings(Input::Table, text).unwrap();
    assert_eq!(found[0].enrichment.malware_families.len(), 2);
    assert_eq!(
        found[0].enrichment.reported_severity.map(iocast_domain::ioc::Severity::word),
        Some("high")
    );
    assert_eq!(found.len(), 3);
    assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_cell_that_cannot_be_read_costs_the_cell() {
    let text = "value,first_seen,severity,confidence\nevil.example,soon,awful,7000\n";
    let mut remarks = Vec::new();
    let mut found = 0;
    read(Input::Table, &mut std::io::Cursor::new(text), Options::default(), &mut |item| {
        match item {
            Item::Remark(remark) => remarks.push(remark.reason),
            Item::Sighting(_) => found += 1,
            Item::Rejected(_) => {}
        }
        true
    })
    .unwrap();
    assert_eq!((found, remarks.len()), (1, 3), "{remarks:?}");
    assert!(remarks.iter().any(|r| r.contains("`awful`") && r.contains("low, medium or high")));
}

#[test]
fn one_bad_value_does_not_cost_the_others_of_its_cell() {
    let good = ["a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "44d88612fea8a8f36de82e1278abb02f"];
    for separator in [", ", ";", " | ", ","] {
        let cell = [good[0], "a94a8fe5", good[1]].join(separator);
        let (found, refused) = values(Input::Table, &format!("name;hash\nx;\"{cell}\"\n"));
        assert_eq!(found, [format!("sha1 {}", good[0]), format!("md5 {}", good[1])], "{cell}");
        let refused: Vec<_> = refused.iter().map(|r| (r.line, r.value.as_str())).collect();
        assert_eq!(refused, [(2, "a94a8fe5")], "{cell}");
    }
}

#[test]
fn layouts_in_use() {
    for (text, expected) in [
        ("sep=;\nvalue;type\na.example;domain\n", vec!["domain a.example"]),
        ("Indicators of 2026\n\nIOC;Type\na.example;domain\n", vec!["domain a.example"]),
        ("a.example;first\nb.example;second\n", vec!["domain a.example", "domain b.example"]),
        ("domain,a.example\nip,203.0.113.7\n", vec!["domain a.example", "ipv4 203.0.113.7"]),
        (
            "Indicator,Data\nsha1,a94a8fe5ccb19ba61c4c0873d391e987982fbbd3\n",
            vec!["sha1 a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"],
        ),
        (
            "# \"date\",\"url\",\"reference\"\n\"2026-01-01\", \"http://a.example/x,y\", \"https://b.example/\"\n",
            vec!["url http://a.example/x,y"],
        ),
        ("hosts\n\"a.example, b.example\"\n", vec!["domain a.example", "domain b.example"]),
        (
            "value,note\n#a@evil.example,x\nb.example,y\n# END 2 entries\n",
            vec!["email #a@evil.example", "domain b.example"],
        ),
        ("hosts\n\"a.example, nodots, b.example\"\n", vec!["domain a.example", "domain b.example"]),
        ("hosts\n\"see a.example, and more\"\n", vec![]),
        ("value\ra.example\rb.example\r", vec!["domain a.example", "domain b.example"]),
    ] {
        assert_eq!(values(Input::Table, text).0, expected, "{text}");
    }
}

#[test]
fn a_quote_without_end_is_told() {
    let text = format!("value\n\"evil.example\n{}", "more.example\n".repeat(200_000));
    let Err(ReadError::Malformed(message)) = sightings(Input::Table, &text) else {
        panic!("taken")
    };
    assert!(message.contains("closing quote"), "{message}");
}

#[test]
fn a_stray_quote_in_a_cell_is_part_of_it() {
    let text = format!(
        "value,note\nevil0.example,5\" disk\n{}",
        (1..100_000).map(|i| format!("evil{i}.example,a clean note\n")).collect::<String>()
    );
    let (found, rejected) = sightings(Input::Table, &text).unwrap();
    assert_eq!((found.len(), rejected.len()), (100_000, 0));
}

#[test]
fn a_row_without_end_is_told_before_it_is_held() {
    for row in
        [format!("value\n{}", "x".repeat(3_000_000)), format!("value\n{}", ",".repeat(50_000))]
    {
        let Err(ReadError::Malformed(message)) = sightings(Input::Table, &row) else {
            panic!("taken")
        };
        assert!(message.starts_with("The row at line 2"), "{message}");
    }
}

#[test]
fn a_table_without_indicators_says_what_to_do() {
    let Err(ReadError::Malformed(message)) = sightings(Input::Table, "name,age\nAda,36\n") else {
        panic!("taken")
    };
    assert!(message.contains("Name one `value`"), "{message}");
}
