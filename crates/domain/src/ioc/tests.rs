use super::*;
use crate::source::SourceLimits;

fn seen(first: Option<&str>, last: Option<&str>) -> Sighting {
    let time = |t: &str| Timestamp::parse(t).unwrap();
    Sighting { first_seen: first.map(time), last_seen: last.map(time), ..Sighting::default() }
}

#[test]
fn a_sighting_revives_and_an_old_one_does_not_age() {
    let now = Timestamp::parse("2026-11-01").unwrap();
    let source = SourceId(Uuid::nil());
    let id = IocId(Uuid::nil());
    let add = |known, sighting: &Sighting, now| {
        merge(
            known,
            id,
            Kind::Ipv4,
            "203.0.113.5".to_owned(),
            sighting.clone(),
            Reporter { source, confidence: Confidence::MEDIUM, limits: &SourceLimits::default() },
            now,
        )
    };
    let (old, change) = add(None, &seen(None, Some("2026-01-01")), now);
    assert_eq!((old.state, change), (State::Retired, Change::Accepted));
    let (again, change) = add(Some(old.clone()), &seen(None, Some("2025-01-01")), now);
    assert_eq!(
        (again.last_seen, again.first_seen.day().as_str(), change),
        (old.last_seen, "2025-01-01", Change::Updated)
    );
    let (revived, change) = add(Some(again), &seen(None, None), now);
    assert_eq!((revived.state, change), (State::Active, Change::Updated));
    let (_, change) = add(Some(revived), &seen(None, None), now.plus(DAY));
    assert_eq!(change, Change::Unchanged);
}

#[test]
fn ages_are_threat_commands() {
    let now = Timestamp::parse("2026-11-01").unwrap();
    let source = SourceId(Uuid::nil());
    let (ioc, _) = merge(
        None,
        IocId(Uuid::nil()),
        Kind::Ipv4,
        "x".to_owned(),
        seen(None, None),
        Reporter { source, confidence: Confidence::LOW, limits: &SourceLimits::default() },
        now,
    );
    assert_eq!(ioc.state_at(now.plus(14 * DAY - 1)), State::Active);
    assert_eq!(ioc.state_at(now.plus(14 * DAY)), State::Retired);
}

#[test]
fn the_longest_lifetime_of_its_sources_counts() {
    let now = Timestamp::parse("2026-11-01").unwrap();
    let report = |known, number: u128, days: Option<u16>| {
        let limits = SourceLimits { lifetime_days: days, ..SourceLimits::default() };
        let by = Reporter {
            source: SourceId(Uuid::from_u128(number)),
            confidence: Confidence::LOW,
            limits: &limits,
        };
        merge(known, IocId(Uuid::nil()), Kind::Ipv4, "x".to_owned(), seen(None, None), by, now)
    };
    let (short, _) = report(None, 1, Some(2));
    assert_eq!(short.retires_at(), now.plus(2 * DAY));
    let (longer, change) = report(Some(short.clone()), 1, Some(5));
    assert_eq!((longer.retires_at(), change), (now.plus(5 * DAY), Change::Updated));
    let (usual, _) = report(Some(short), 2, None);
    assert_eq!(usual.retires_at(), now.plus(14 * DAY));
}
