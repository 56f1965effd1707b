use std::io::Cursor;

use iocast_domain::{
    id::IocId,
    ioc::{Enrichment, Report, State, Whitelist},
    source::Confidence,
    time::Timestamp,
};

use proptest::strategy::Strategy;

use super::{words::looks_like_tag, *};
use crate::read::{Input, Item, Options, read};

pub(super) fn ioc(kind: Kind, value: &str, enrichment: Enrichment) -> Ioc {
    let seen = Timestamp::parse("2026-11-01T10:11:12.123456Z").unwrap();
    Ioc {
        id: IocId(Uuid::new_v5(&Uuid::NAMESPACE_OID, value.as_bytes())),
        kind,
        value: value.into(),
        first_seen: seen,
        last_seen: seen,
        state: State::Active,
        whitelist: Whitelist::Default,
        enrichment,
    }
}

#[test]
fn no_source_speaks_for_iocast() {
    for tag in [
        "iocast:severity=\"high\"",
        "IOCAST:source=\"Trusted\"",
        "Iocast:x",
        "misp:confidence-level=\"completely-confident\"",
        "MISP:Confidence-Level=\"x\"",
    ] {
        assert!(!looks_like_tag(tag), "{tag}");
    }
    assert!(looks_like_tag("tlp:amber+strict") && looks_like_tag("misp:tool=\"x\""));
}

pub(super) fn rich() -> (Enrichment, SourceNames) {
    let source = SourceId(Uuid::from_u128(7));
    let set = |s: &str| BTreeSet::from([s.to_owned()]);
    let enrichment = Enrichment {
        reports: vec![Report {
            source_id: source,
            confidence: Confidence::MEDIUM,
            reported_at: 0,
            first_at: 0,
            lifetime_days: None,
        }],
        user_tags: set("mine"),
        system_tags: BTreeSet::from(["tlp:amber".to_owned(), "phishing kit".to_owned()]),
        threat_actors: set("APT28"),
        campaigns: set("Summer"),
        malware_families: set("Emotet"),
        alert_id: Some("64f0c0ffee".into()),
        score: Some(85.5),
        reported_severity: Some(Severity::High),
        ..Enrichment::default()
    };
    (enrichment, SourceNames::from([(source, "Feed \u{1f41b} One".to_owned())]))
}

pub(super) fn render(
    members: &[Member<'_>],
    names: &SourceNames,
    listed: &ListedTags,
) -> RenderedEvent {
    let head = EventHead {
        id: PartId(Uuid::from_u128(1)),
        info: "G - 2026-11-01",
        group_name: "G",
        day: "2026-11-01",
        stamp: 1_793_527_872,
    };
    event(&head, &Orgc { name: "Acme".into(), uuid: Uuid::from_u128(2) }, members, names, listed)
        .unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let (enrichment, names) = rich();
    let iocs = [
        ioc(Kind::Domain, "evil.example", enrichment.clone()),
        ioc(Kind::Url, "http://evil.example/A\"b", enrichment.clone()),
        ioc(Kind::Ipv6, "2001:db8::/32", enrichment.clone()),
        ioc(Kind::Email, "a@evil.example", Enrichment::default()),
    ];
    let members: Vec<_> =
        iocs.iter().map(|ioc| Member { ioc, stamp: 5, tombstone: false }).collect();
    let file = render(&members, &names, &ListedTags::new());
    let mut back = Vec::new();
    read(Input::Json, &mut Cursor::new(&file.json), Options::default(), &mut |item| {
        let Item::Sighting(s) = item else { panic!("{item:?}") };
        back.push(*s);
        true
    })
    .unwrap();
    for (ioc, seen) in iocs.iter().zip(&back) {
        assert_eq!(
            seen.indicator.as_ref().map(|(k, v)| (*k, v.as_str())),
            Some((ioc.kind, ioc.value.as_str()))
        );
        assert_eq!((seen.first_seen, seen.last_seen), (Some(ioc.first_seen), Some(ioc.last_seen)));
    }
    let expected = Enrichment { reports: Vec::new(), score: None, ..enrichment };
    assert_eq!(back[0].enrichment, expected);
    assert_eq!(back[0].confidence, Some(Confidence::MEDIUM));
    assert_eq!(file.hashes.split(|b| *b == b'\n').count(), 6);
    assert!(String::from_utf8_lossy(&file.json).contains("Severity: low (not rated)"));
}

#[test]
fn a_replaced_tag_is_listed_as_deleted_and_stays_so() {
    let (mut enrichment, names) = rich();
    let before = ioc(Kind::Domain, "evil.example", enrichment.clone());
    let first =
        render(&[Member { ioc: &before, stamp: 5, tombstone: false }], &names, &ListedTags::new());
    enrichment.user_severity = Some(Severity::Low);
    let after = ioc(Kind::Domain, "evil.example", enrichment);
    assert_ne!(fingerprint(&before, &names), fingerprint(&after, &names));
    let second = render(
        &[Member { ioc: &after, stamp: 6, tombstone: false }],
        &names,
        &listed_tags(&first.json).unwrap(),
    );
    let third = render(
        &[Member { ioc: &after, stamp: 6, tombstone: false }],
        &names,
        &listed_tags(&second.json).unwrap(),
    );
    let gone = r##"{"name":"iocast:severity=\"high\"","colour":"#c62828","deleted":true}"##;
    assert!(!String::from_utf8_lossy(&first.json).contains(gone));
    assert!(String::from_utf8_lossy(&second.json).contains(gone));
    assert_eq!(second.json, third.json);
}

#[test]
fn text_is_what_misp_can_store() {
    let (mut enrichment, mut names) = rich();
    for name in names.values_mut() {
        *name = "Bug \u{1f41b} hunters".into();
    }
    enrichment.threat_actors.insert("\u{20bb7}野".repeat(200));
    enrichment.alert_id = Some("a\u{1f41b}".into());
    let bug = ioc(Kind::Domain, "evil.example", enrichment);
    let file =
        render(&[Member { ioc: &bug, stamp: 5, tombstone: false }], &names, &ListedTags::new());
    let text = String::from_utf8(file.json.clone()).unwrap();
    assert!(text.chars().all(|c| c <= '\u{ffff}'), "{text}");
    let listed = listed_tags(&file.json).unwrap();
    let tags: Vec<&String> = listed.values().flatten().collect();
    assert!(tags.iter().all(|tag| tag.len() <= 255), "{tags:?}");
    assert!(tags.iter().any(|tag| *tag == "iocast:source=\"Bug \u{fffd} hunters\""), "{tags:?}");
    assert!(tags.iter().any(|tag| *tag == "iocast:alert-id=\"a\u{fffd}\""), "{tags:?}");
    assert_eq!(storable("plain ü 野"), "plain ü 野");
}

/// MISP compares tags without case, attaches first and detaches then.
#[test]
fn a_tag_in_another_case_is_no_other_tag() {
    let (mut enrichment, names) = rich();
    enrichment.system_tags =
        ["TLP:AMBER", "tlp:amber", "ÜBER:tag", "über:tag"].map(str::to_owned).into();
    let before = ioc(Kind::Domain, "evil.example", enrichment.clone());
    let first =
        render(&[Member { ioc: &before, stamp: 5, tombstone: false }], &names, &ListedTags::new());
    let spelled = |file: &RenderedEvent, word: &str| {
        let text = String::from_utf8_lossy(&file.json).to_lowercase();
        text.matches(word).count()
    };
    assert_eq!((spelled(&first, "tlp:amber"), spelled(&first, "über")), (1, 1));
    enrichment.system_tags = BTreeSet::from(["tlp:amber".to_owned()]);
    let after = ioc(Kind::Domain, "evil.example", enrichment);
    let listed = listed_tags(&first.json).unwrap();
    let second = render(&[Member { ioc: &after, stamp: 6, tombstone: false }], &names, &listed);
    assert_eq!(spelled(&second, "tlp:amber"), 1);
    let text = String::from_utf8_lossy(&second.json).into_owned();
    assert!(text.contains(r##"{"name":"tlp:amber","colour":"#ffc000"}"##), "{text}");
}

#[test]
fn every_tag_has_a_colour() {
    let (enrichment, names) = rich();
    let one = ioc(Kind::Domain, "evil.example", enrichment);
    let file =
        render(&[Member { ioc: &one, stamp: 5, tombstone: false }], &names, &ListedTags::new());
    let event: serde_json::Value = serde_json::from_slice(&file.json).unwrap();
    for tag in event["Event"]["Attribute"][0]["Tag"].as_array().unwrap() {
        let colour = tag["colour"].as_str().unwrap();
        assert!(colour.len() == 7 && u32::from_str_radix(&colour[1..], 16).is_ok(), "{tag}");
    }
}

#[test]
fn a_tombstone_says_deleted_and_leaves_the_hashes() {
    let gone = ioc(Kind::Domain, "gone.example", rich().0);
    let file =
        render(&[Member { ioc: &gone, stamp: 9, tombstone: true }], &rich().1, &ListedTags::new());
    let text = String::from_utf8_lossy(&file.json).into_owned();
    assert!(
        text.contains("\"deleted\":true")
            && !text.contains("\"deleted\":false")
            && file.hashes.is_empty()
    );
    let all = manifest([(PartId(Uuid::from_u128(1)), file.manifest_entry.as_str())]);
    let read: Manifest = serde_json::from_slice(&all).unwrap();
    assert_eq!(read[&Uuid::from_u128(1)]["timestamp"], 1_793_527_872);
    assert_eq!(manifest([]), b"{}");
}

fn label_text() -> impl Strategy<Value = BTreeSet<String>> {
    // Of those that differ in case alone, MISP keeps one.
    proptest::collection::btree_set("[A-Za-z][A-Za-z0-9 _.ü-]{0,18}[A-Za-z0-9]", 0..4).prop_map(
        |all| {
            let by_case: BTreeMap<String, String> =
                all.into_iter().map(|label| (label.to_lowercase(), label)).collect();
            by_case.into_values().collect()
        },
    )
}

proptest::proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        host in "[a-z0-9]{1,10}", path in "[A-Za-z0-9\\\\\"'<>&]{0,12}", first in 0_i64..1_700_000_000_000_000, span in 0_i64..50_000_000_000_000,
        user in label_text(), system in label_text(), actors in label_text(), campaigns in label_text(), families in label_text(),
        alert in proptest::option::of("[0-9a-f]{24}"), severity in proptest::option::of(0_usize..3), level in 1_u8..=3,
    ) {
        let (_, names) = rich();
        let source = *names.keys().next().unwrap();
        let enrichment = Enrichment {
            reports: vec![Report { source_id: source, confidence: Confidence::try_from(level).unwrap(), reported_at: 0 , first_at: 0, lifetime_days: None}],
            user_tags: user, system_tags: system, threat_actors: actors, campaigns, malware_families: families, alert_id: alert,
            reported_severity: severity.map(|i| Severity::ALL[i]),
            ..Enrichment::default()
        };
        let mut one = ioc(Kind::Url, &format!("http://{host}.example/{path}"), enrichment.clone());
        one.first_seen = Timestamp::from_micros(1_000_000 + first);
        one.last_seen = one.first_seen.plus(span);
        let file = render(&[Member { ioc: &one, stamp: 5, tombstone: false }], &names, &ListedTags::new());
        let mut back = Vec::new();
        read(Input::Json, &mut Cursor::new(&file.json), Options::default(), &mut |item| {
            back.push(item);
            true
        }).unwrap();
        let Some(Item::Sighting(seen)) = back.pop() else { panic!("{back:?}") };
        proptest::prop_assert_eq!(seen.indicator, Some((one.kind, one.value)));
        proptest::prop_assert_eq!((seen.first_seen, seen.last_seen), (Some(one.first_seen), Some(one.last_seen)));
        // What nobody rated goes out as low, and can only come back so.
        let rated = enrichment.reported_severity.or(Some(Severity::Low));
        proptest::prop_assert_eq!(seen.enrichment, Enrichment { reports: Vec::new(), reported_severity: rated, ..enrichment });
        proptest::prop_assert_eq!(seen.confidence.map(u8::from), Some(level));
    }
}
