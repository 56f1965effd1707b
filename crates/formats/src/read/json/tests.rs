use super::super::{
    Input, ReadError,
    tests::{sightings, values},
};

#[test]
fn our_own_list_and_bare_values() {
    let text = r#"[{"value":"Evil[.]example","severity":"high","user_tags":["a"],"confidence":3,"score":85.5},
            "203.0.113.1", {"value":"x"}, {"value":"evil2.example","colour":"red"}, {"kind":"ip","value":"2001:db8::1"},
            {"value":"evil3.example","confidence":4}, {"value":"evil4.example","first_seen":"2026-02-01","last_seen":"2026-01-01"}]"#;
    let (found, rejected) = values(Input::Json, text);
    assert_eq!(
        found,
        [
            "domain evil.example",
            "ipv4 203.0.113.1",
            "domain evil2.example",
            "ipv6 2001:db8::1",
            "domain evil3.example",
            "domain evil4.example"
        ]
    );
    assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [3]);
    assert!(values(Input::Json, r#"{"iocs":[{"value":"evil.example"}]}"#).0.len() == 1);
    assert!(values(Input::Json, "[]").0.is_empty());
}

#[test]
fn our_own_list_and_events_in_one() {
    let text = r#"["evil.example", {"value":"evil2.example"}, {"Event":{"Attribute":[{"type":"domain","value":"evil3.example"}],
            "Tag":[{"name":"tlp:red"}]}}, "x", {"value":"evil4.example"}]"#;
    let (found, rejected) = sightings(Input::Json, text).unwrap();
    let values: Vec<_> = found.iter().map(|s| s.indicator.clone().unwrap().1).collect();
    assert_eq!(values, ["evil.example", "evil2.example", "evil3.example", "evil4.example"]);
    assert!(
        found[2].enrichment.system_tags.contains("tlp:red"),
        "what holds for the event stands behind its attributes"
    );
    assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [4]);
}

#[test]
fn what_a_pulse_says_holds_for_its_indicators() {
    let text = r#"{"count": 2, "results": [
        {"id": "1", "name": "One", "author_name": "x", "adversary": "Fin Seven",
         "indicators": [{"id": 7, "indicator": "a.example", "type": "hostname"}],
         "tags": ["stealer"], "malware_families": [{"id": "Qakbot", "display_name": "Qakbot - S1"}]},
        {"id": "2", "name": "Two", "tlp": "green", "adversary": "", "tags": [],
         "indicators": [{"indicator": "b.example", "type": "domain"}, {"indicator": "c.example", "type": "domain"}],
         "malware_families": ["Emotet"]}
    ]}"#;
    let (found, rejected) = sightings(Input::Json, text).unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    let said: Vec<_> = found
        .iter()
        .map(|sighting| {
            let e = &sighting.enrichment;
            let join = |set: &std::collections::BTreeSet<String>| {
                set.iter().cloned().collect::<Vec<_>>().join(",")
            };
            (
                sighting.indicator.clone().unwrap().1,
                join(&e.threat_actors),
                join(&e.malware_families),
            )
        })
        .collect();
    let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        said,
        [
            owned("a.example", "Fin Seven", "Qakbot - S1"),
            owned("b.example", "", "Emotet"),
            owned("c.example", "", "Emotet"),
        ]
    );
    assert!(found[0].enrichment.user_tags.contains("stealer"), "{:?}", found[0].enrichment);
}

#[test]
fn what_is_too_much_for_memory_is_refused() {
    let long = format!("[\"{}\"]", "a".repeat(3 << 20));
    let wide = format!("[{{\"value\":[{}1]}}]", "1,".repeat(200_000));
    let events = format!("[{}{{\"Event\":{{}}}}]", "{\"Event\":{}},".repeat(30_000));
    let hollow = format!("[{{\"value\":[{}1]}}]", "[],{},".repeat(100_000));
    let pulse = r#"{"tags":["x"],"indicators":[]},"#;
    let pulses = format!("[{}{}]", pulse.repeat(30_000), pulse.trim_end_matches(','));
    for text in [long, wide, hollow, events, pulses] {
        let Err(ReadError::Malformed(message)) = sightings(Input::Json, &text) else {
            panic!("taken")
        };
        assert!(message.contains("more than") || message.contains("longer than"), "{message}");
    }
}

#[test]
fn broken_json_says_where() {
    for text in [
        "",
        "{",
        "[{\"value\":",
        "nonsense",
        "{\"a\":1}",
        "{}",
        "3",
        "[\"evil.example\"] x",
        "[[[[",
        "\"evil.example\"",
    ] {
        let Err(ReadError::Malformed(message)) = sightings(Input::Json, text) else {
            panic!("{text} was taken")
        };
        assert!(message.contains("line 1") || message.contains("MISP"), "{text}: {message}");
    }
    assert!(sightings(Input::Json, &"[".repeat(100_000)).is_err());
}
