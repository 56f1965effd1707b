use super::*;
use crate::{
    id::IocId,
    ioc::{Enrichment, State},
    time::Timestamp,
};

fn ioc(value: &str) -> Ioc {
    let (kind, value) = normalise::detect(value).unwrap();
    let at = Timestamp::from_micros(0);
    Ioc {
        id: IocId(uuid::Uuid::nil()),
        kind,
        value,
        first_seen: at,
        last_seen: at,
        state: State::Active,
        whitelist: Whitelist::Default,
        enrichment: Enrichment::default(),
    }
}

fn guard(guards: &Guards) -> Guard {
    Guard::of(guards, Arc::default())
}

fn allowed(values: &[&str]) -> Vec<AllowEntry> {
    let new = |value: &&str| NewAllow { value: (*value).to_owned(), ..NewAllow::default() };
    allow_list(values.iter().map(new)).unwrap()
}

#[test]
fn what_nobody_should_block_is_kept_back() {
    let guards = Guards {
        own: shields("own", ["corp.com", "81.2.0.0/16"]).unwrap(),
        allow: allowed(&["*.good.org", "5.6.7.8"]),
        ..Guards::default()
    };
    let cases = [
        ("10.1.2.3", Some(Refusal::PrivateAddress)),
        ("http://192.168.1.1/admin", Some(Refusal::PrivateAddress)),
        ("239.1.1.1", Some(Refusal::PrivateAddress)),
        ("192.0.0.0/8", Some(Refusal::PrivateAddress)),
        ("fe80::1", Some(Refusal::PrivateAddress)),
        ("64.0.0.0/7", Some(Refusal::WideNetwork)),
        ("2a00::/16", Some(Refusal::WideNetwork)),
        ("0.0.0.0/0", Some(Refusal::WideNetwork)),
        ("co.uk", Some(Refusal::PublicSuffix)),
        ("github.io", Some(Refusal::PublicSuffix)),
        ("8.8.8.8", Some(Refusal::PublicResolver)),
        ("8.8.8.0/24", Some(Refusal::PublicResolver)),
        ("www.corp.com", Some(Refusal::Own)),
        ("user@corp.com", Some(Refusal::Own)),
        ("https://u:p@www.corp.com:8443/x", Some(Refusal::Own)),
        ("81.2.3.4", Some(Refusal::Own)),
        ("81.0.0.0/8", Some(Refusal::Own)),
        ("a.good.org", Some(Refusal::Allowed)),
        ("5.6.7.8", Some(Refusal::Allowed)),
        ("evilcorp.com", None),
        ("81.3.0.1", None),
        ("http://corp.com.evil.net/", None),
        ("192.0.2.1", None),
        ("198.51.100.0/24", None),
        ("2001:db8::1", None),
        ("bad.example", None),
        ("x.github.io", None),
        ("d41d8cd98f00b204e9800998ecf8427e", None),
    ];
    for (value, why) in cases {
        assert_eq!(guard(&guards).refuse(&ioc(value), Judged::default()), why, "{value}");
    }
}

proptest::proptest! {
    /// Whatever the spelling, a guard says the same.
    #[test]
    fn every_spelling_gets_the_same_verdict(
        host in "(www\\.)?(corp\\.com|good\\.org|evil\\.net)|10\\.1\\.2\\.3|8\\.8\\.8\\.8|81\\.2\\.3\\.4",
        path in "/[a-z]{0,4}",
        way in 0_usize..9,
        capitals in proptest::collection::vec(proptest::bool::ANY, 16),
    ) {
        let guards = Guards { own: shields("own", ["corp.com", "81.2.0.0/16"]).unwrap(), allow: allowed(&["good.org"]), ..Guards::default() };
        let guard = guard(&guards);
        let mut spelled: String = host.chars().zip(capitals.iter().cycle()).map(|(c, up)| if *up { c.to_ascii_uppercase() } else { c }).collect();
        let address: Option<std::net::Ipv4Addr> = host.parse().ok();
        match (way, address) {
            (1, _) => spelled.push('.'),
            (2, None) => spelled = spelled.replace('.', "%2E"),
            (3, _) => spelled = spelled.replace('.', "[.]"),
            (4, _) => spelled.push_str(":80"),
            (5, Some(v4)) => spelled = u32::from(v4).to_string(),
            (6, Some(v4)) => spelled = format!("0x{:x}", u32::from(v4)),
            (7, Some(v4)) => spelled = format!("[::ffff:{v4}]"),
            (8, None) => spelled = spelled.replace('.', "\u{3002}"),
            _ => {}
        }
        let plain = guard.refuse(&ioc(&format!("http://{host}{path}")), Judged::default());
        for scheme in ["http", "HTTP", "hxxp"] {
            let text = format!("{scheme}://{spelled}{path}");
            let found = ioc(&text);
            proptest::prop_assert_eq!(guard.refuse(&found, Judged::default()), plain, "{}", text);
            proptest::prop_assert_eq!(&found.value, &format!("http://{host}{path}"), "{}", text);
        }
    }
}

#[test]
fn there_is_a_way_to_allow() {
    let always = Ioc { whitelist: Whitelist::AlwaysSent, ..ioc("10.0.0.1") };
    assert_eq!(Guard::default().refuse(&always, Judged::default()), None);
    let off = Guards { off: vec![Refusal::PrivateAddress], ..Guards::default() };
    let off = guard(&off);
    assert_eq!(off.refuse(&ioc("10.0.0.1"), Judged::default()), None);
    assert_eq!(off.refuse(&ioc("8.8.8.8"), Judged::default()), Some(Refusal::PublicResolver));
}

#[test]
fn tables_are_readable() {
    assert_eq!(RESOLVERS.count(), 43);
    assert!(shields("own", ["not a name"]).unwrap_err().message.contains("neither a domain"));
}

#[test]
fn an_entry_for_a_source_or_a_device_holds_only_there() {
    let (one, two) = (SourceId(uuid::Uuid::from_u128(1)), SourceId(uuid::Uuid::from_u128(2)));
    let device = DeviceId(uuid::Uuid::from_u128(3));
    let new = |value: &str| NewAllow { value: value.to_owned(), ..NewAllow::default() };
    let guards = Guards {
        allow: allow_list([
            NewAllow { source_id: Some(one), ..new("partner.org") },
            NewAllow { device_id: Some(device), ..new("5.6.7.8") },
        ])
        .unwrap(),
        ..Guards::default()
    };
    let guard = guard(&guards);
    let reported = |value: &str, by: &[SourceId]| {
        let mut ioc = ioc(value);
        ioc.enrichment.reports = by
            .iter()
            .map(|source_id| crate::ioc::Report {
                source_id: *source_id,
                confidence: crate::source::Confidence::LOW,
                reported_at: 0,
                first_at: 0,
                lifetime_days: None,
            })
            .collect();
        ioc
    };
    let on: EnabledSources = [one].into();
    let all = Judged::default();
    let only_one = Judged { enabled: Some(&on), ..all };
    assert_eq!(guard.refuse(&reported("a.partner.org", &[one]), all), Some(Refusal::Allowed));
    assert_eq!(guard.refuse(&reported("a.partner.org", &[one, two]), all), None);
    assert_eq!(
        guard.refuse(&reported("a.partner.org", &[one, two]), only_one),
        Some(Refusal::Allowed)
    );
    assert_eq!(guard.refuse(&reported("a.partner.org", &[]), all), None);
    let here = Judged { device: Some(device), ..all };
    assert_eq!(guard.refuse(&reported("5.6.7.8", &[two]), here), Some(Refusal::Allowed));
    assert_eq!(guard.refuse(&reported("5.6.7.8", &[two]), all), None);
}

#[test]
fn allow_entries_are_read_as_they_were_written() {
    let old = r#"{"allow":["good.org",{"value":"5.6.7.0/24","comment":"partner","expires_at":"2027-01-01T00:00:00Z"}]}"#;
    let guards: Guards = serde_json::from_str(old).unwrap();
    assert_eq!(guards.allow[0], allowed(&["good.org"])[0]);
    assert_eq!(guards.allow[1].comment.as_deref(), Some("partner"));
    assert_eq!(guards.next_end(), guards.allow[1].expires_at);
    let again: Guards = serde_json::from_str(&serde_json::to_string(&guards).unwrap()).unwrap();
    assert_eq!(again, guards);
}
