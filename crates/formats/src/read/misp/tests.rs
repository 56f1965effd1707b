use std::io::Cursor;

use super::super::{
    Input, Options, read,
    tests::{sightings, values},
};

const EVENT: &str = r#"{"response":[{"Event":{"Attribute":[
        {"type":"domain|ip","category":"Network activity","value":"Evil.example|203.0.113.9","timestamp":"1700000000","to_ids":false},
        {"type":"link","category":"External analysis","value":"https://blog.example/x"},
        {"type":"url","category":"External analysis","value":"https://blog.example/y"},
        {"type":"threat-actor","category":"Attribution","value":"Sandworm"},
        {"type":"filename|sha1","category":"Payload delivery","value":"a.exe|DA39A3EE5E6B4B0D3255BFEF95601890AFD80709","to_ids":true,
         "Tag":[{"name":"misp:confidence-level=\"fairly-confident\""},{"name":"priority-level:high"}]},
        {"type":"regkey","category":"Persistence mechanism","value":"HKLM\\x"},
        {"type":"md5","value":"zz","category":"Payload delivery"},
        {"type":"domain","value":"gone.example","deleted":true},
        {"type":"ip-dst|port","value":"203.0.113.7|444","category":"Network activity","first_seen":"2021-02-03T00:00:00Z","last_seen":"2021-03-04"}],
        "Object":[{"name":"file","Attribute":[{"type":"sha256","value":"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855","category":"Payload delivery","timestamp":1600000000}]}],
        "info":"x","date":"2023-11-01","timestamp":1700000001,"threat_level_id":"2",
        "Tag":[{"name":"tlp:white"},{"name":"misp-galaxy:mitre-intrusion-set=\"APT28 - G0007\""},{"name":"misp-galaxy:malpedia=\"Emotet\""}]}}]}"#;

#[test]
fn an_event_with_objects_galaxies_and_composites() {
    let (found, rejected) = sightings(Input::Json, EVENT).unwrap();
    let value = |i: usize| found[i].indicator.clone().unwrap().1;
    assert_eq!(
        (0..found.len()).map(value).collect::<Vec<_>>(),
        [
            "evil.example",
            "203.0.113.9",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "203.0.113.7",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        ]
    );
    let first = &found[0];
    assert_eq!(first.first_seen.unwrap().day(), "2023-11-01");
    assert_eq!(first.last_seen, None);
    assert_eq!(first.enrichment.threat_actors.iter().collect::<Vec<_>>(), ["APT28", "Sandworm"]);
    assert_eq!(first.enrichment.malware_families.iter().collect::<Vec<_>>(), ["Emotet"]);
    assert_eq!(first.enrichment.system_tags.iter().collect::<Vec<_>>(), ["tlp:white"]);
    assert_eq!(first.enrichment.reported_severity.unwrap().word(), "medium");
    assert_eq!(
        (found[2].confidence.map(u8::from), found[2].enrichment.reported_severity.unwrap().word()),
        (Some(2), "high")
    );
    assert_eq!(found[3].last_seen.unwrap().day(), "2021-03-04");
    assert_eq!(found[4].first_seen.unwrap().day(), "2020-09-13");
    assert_eq!(rejected.iter().map(|r| r.value.as_str()).collect::<Vec<_>>(), ["HKLM\\x", "zz"]);
}

#[test]
fn only_to_ids_when_asked() {
    let mut found = 0;
    read(
        Input::Json,
        &mut Cursor::new(EVENT),
        Options { only_to_ids: true, ..Options::default() },
        &mut |_| {
            found += 1;
            true
        },
    )
    .unwrap();
    assert_eq!(found, 1);
    assert_eq!(values(Input::Json, r#"[{"Event":{"Attribute":[{"type":"domain","value":"a.example"}]}},{"Event":{"Attribute":null}}]"#).0.len(), 1);
}
