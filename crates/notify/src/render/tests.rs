use iocast_domain::message::SilentDevice;

use super::*;

fn device(name: &str) -> SilentDevice {
    SilentDevice {
        name: name.into(),
        type_name: "MISP".into(),
        since: Timestamp::parse("2026-11-03T10:00:00Z").unwrap(),
        until: Some(Timestamp::parse("2026-11-06T10:00:00Z").unwrap()),
        silence: "2 days".into(),
        never_pulled: false,
        watched_again: false,
        last_pull: None,
        last_client: Some("192.0.2.7, <script>alert(1)</script>".into()),
        last_error: None,
        protection: None,
        link: "https://iocast.example/x".into(),
        checks: vec!["Is the feed enabled?".into()],
    }
}

fn full(wanted: u64) -> FullGroup {
    FullGroup {
        device: "Lab MISP".into(),
        group: "Perimeter".into(),
        limit: 10,
        wanted,
        link: "https://iocast.example/x".into(),
    }
}

fn held() -> HeldGroup {
    let until = Timestamp::parse("2026-11-03T10:00:00Z").unwrap();
    HeldGroup {
        device: "Lab MISP".into(),
        group: "Perimeter".into(),
        live: 100,
        loses: 60,
        until,
        link: "https://iocast.example/x".into(),
    }
}

fn every() -> Vec<Content> {
    let until = Timestamp::parse("2026-11-03T10:00:00Z").unwrap();
    let link = || "https://iocast.example/x".to_owned();
    vec![
        Content::Warning { devices: vec![device("Lab MISP")], more: 0 },
        Content::Warning {
            devices: (0..7).map(|n| device(&format!("MISP {n}"))).collect(),
            more: 30,
        },
        Content::Recovery { devices: vec![device("Lab MISP")], more: 0 },
        Content::Recovery {
            devices: (0..7).map(|n| device(&format!("MISP {n}"))).collect(),
            more: 1,
        },
        Content::Limit { groups: vec![full(12)], more: 0 },
        Content::Limit { groups: vec![full(12), full(10)], more: 2 },
        Content::Held { groups: vec![held()], more: 0 },
        Content::Held { groups: vec![held(), held()], more: 0 },
        Content::Test { asked_by: "admin@example.com".into() },
        Content::Invitation { invited_by: "admin@example.com".into(), link: link(), until },
        Content::PasswordReset { link: link(), until },
    ]
}

#[test]
fn every_message_renders_and_nasty_names_inject_nothing() {
    for content in every() {
        for account in [
            "Acme",
            "</p><script>alert(1)</script>",
            "a\r\nBcc: x@example.com",
            "Müller & Söhne",
            "{{ 7 * 7 }}",
        ] {
            let message = render(&content, account, "https://iocast.example").unwrap();
            assert!(
                message.subject.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
                "{}",
                message.subject
            );
            assert!(
                !message.html.contains("<script>") && !message.text.contains("&amp;"),
                "{}",
                message.html
            );
            assert!(
                message.text.contains(account) && !message.text.contains("49"),
                "{}",
                message.text
            );
            assert!(
                message.text.contains("https://iocast.example")
                    && message.html.contains("https:&#x2f;&#x2f;iocast.example")
            );
        }
    }
}

#[test]
fn a_digest_counts_what_it_does_not_list() {
    let message = render(
        &Content::Warning { devices: vec![device("A"), device("B")], more: 40 },
        "Acme",
        "https://iocast.example",
    )
    .unwrap();
    assert_eq!(message.subject, "[iocast] 42 devices are silent (Acme)");
    assert!(
        message.text.contains("42 devices")
            && message.text.contains("and 40 more")
            && message.html.contains("and 40 more"),
        "{}",
        message.text
    );
}

#[test]
fn a_warning_says_what_happened_and_since_when() {
    let message = render(
        &Content::Warning { devices: vec![device("Lab MISP")], more: 0 },
        "Acme",
        "https://iocast.example",
    )
    .unwrap();
    assert_eq!(message.subject, "[iocast] Lab MISP is silent (Acme)");
    for said in [
        "2026-11-03 10:00 UTC",
        "2 days",
        "192.0.2.7",
        "Is the feed enabled?",
        "https://iocast.example/x",
    ] {
        assert!(message.text.contains(said), "{said} in {}", message.text);
    }
}
