use super::super::{
    Input,
    tests::{sightings, values},
};

const BUNDLE: &str = r#"{"type":"bundle","id":"bundle--1","objects":[
  {"type":"indicator","id":"indicator--1","pattern":"[domain-name:value='a.example']","valid_from":"2026-01-02T00:00:00Z","confidence":80,
   "object_marking_refs":["marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"],"labels":["malicious-activity"]},
  {"type":"indicator","id":"indicator--2","pattern":"[domain-name:value='gone.example']","revoked":true},
  {"type":"indicator","id":"indicator--3","pattern":"rule x { }","pattern_type":"yara"},
  {"type":"domain-name","id":"domain-name--4","value":"observed.example"},
  {"type":"malware","id":"malware--5","name":"SomeRAT"},
  {"type":"intrusion-set","id":"intrusion-set--6","name":"APT0"},
  {"type":"relationship","id":"relationship--7","relationship_type":"indicates","source_ref":"indicator--1","target_ref":"malware--5"},
  {"type":"relationship","id":"relationship--8","relationship_type":"indicates","source_ref":"indicator--1","target_ref":"intrusion-set--6"},
  {"type":"sighting","id":"sighting--9","sighting_of_ref":"indicator--1","last_seen":"2026-03-04T00:00:00Z"}]}"#;

#[test]
fn a_bundle_with_what_it_says_of_its_indicators() {
    let (found, rejected) = sightings(Input::Json, BUNDLE).unwrap();
    assert_eq!(found.len(), 1);
    let only = &found[0];
    assert_eq!(only.indicator.as_ref().unwrap().1, "a.example");
    assert!(only.enrichment.malware_families.contains("SomeRAT"));
    assert!(only.enrichment.threat_actors.contains("APT0"));
    assert!(only.enrichment.system_tags.contains("tlp:red"));
    assert_eq!(only.confidence.map(u8::from), Some(3));
    assert_eq!(
        only.last_seen.map(iocast_domain::time::Timestamp::seconds).as_deref(),
        Some("2026-03-04T00:00:00Z")
    );
    assert_eq!(rejected.len(), 2);
    for why in ["yara", "with observables"] {
        assert!(rejected.iter().any(|r| r.reason.contains(why)), "{rejected:?}");
    }
}

#[test]
fn envelopes_and_single_objects() {
    let envelope = r#"{"more":false,"objects":[{"type":"indicator","id":"indicator--1","pattern":"[ipv4-addr:value='203.0.113.7']"}]}"#;
    assert_eq!(values(Input::Json, envelope).0, ["ipv4 203.0.113.7"]);
    let one =
        r#"{"type":"indicator","id":"indicator--1","pattern":"[ipv4-addr:value='203.0.113.7']"}"#;
    assert_eq!(values(Input::Json, one).0, ["ipv4 203.0.113.7"]);
}

#[test]
fn what_was_observed_is_taken_by_choice() {
    let bundle = r#"{"type":"bundle","id":"bundle--1","objects":[
        {"type":"domain-name","id":"domain-name--1","value":"seen.example"},
        {"type":"file","id":"file--1","hashes":{"MD5":"d41d8cd98f00b204e9800998ecf8427e","SHA-512":"x"}},
        {"type":"observed-data","id":"observed-data--1","objects":{"0":{"type":"ipv4-addr","value":"203.0.113.5"},"1":{"type":"process","pid":1}}}]}"#;
    use super::super::{Item, Options};
    let read = |observables| {
        let options = Options { observables, ..Options::default() };
        let (mut found, mut refused) = (Vec::new(), 0);
        super::super::read(
            super::super::Input::Json,
            &mut std::io::Cursor::new(bundle.as_bytes()),
            options,
            &mut |item| {
                match item {
                    Item::Sighting(sighting) => found.extend(sighting.indicator.map(|(_, v)| v)),
                    Item::Rejected(rejected) => {
                        assert!(rejected.reason.contains("with observables"));
                        refused += 1;
                    }
                    Item::Remark(_) => {}
                }
                true
            },
        )
        .unwrap();
        (found, refused)
    };
    assert_eq!(read(false), (Vec::new(), 3));
    let all = ["seen.example", "d41d8cd98f00b204e9800998ecf8427e", "203.0.113.5"];
    assert_eq!(read(true), (all.map(str::to_owned).to_vec(), 0));
}
