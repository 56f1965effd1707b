//! One number from 0 to 100 for how much an IOC counts now: how sure its sources are, how many
//! report it, how bad it is, and how long ago it was seen.

use crate::{
    ioc::{Ioc, Severity},
    rule::EnabledSources,
    time::{DAY, Timestamp},
};

/// Points for each source beyond the first.
const EACH_SOURCE: i64 = 5;
/// Points for sources beyond the first, at most.
const SOURCES_MOST: i64 = 10;

/// The score of an IOC on the UTC day of `now`, from 0 to 100. It begins with the surest report (40,
/// 60 or 80 points), gets 5 points for each further source up to 10, and 10 or 5 points for a
/// severity of high or medium. A lower score that a source gave takes its place: what a file claims
/// weighs no more than its source is trusted with. From the day on which the IOC was last seen it
/// falls evenly, to 0 at the end of its lifetime. Reports of sources that are off don't count; without any, the
/// score is 0.
#[must_use]
pub fn score(ioc: &Ioc, enabled: &EnabledSources, now: Timestamp) -> u8 {
    let counts = || ioc.enrichment.reports.iter().filter(|of| enabled.contains(&of.source_id));
    let Some(surest) = counts().map(|of| u8::from(of.confidence)).max() else { return 0 };
    let others = i64::try_from(counts().count()).unwrap_or(i64::MAX) - 1;
    let severity = match ioc.severity() {
        Severity::High => 10,
        Severity::Medium => 5,
        Severity::Low => 0,
    };
    let counted = 20
        + 20 * i64::from(surest)
        + others.saturating_mul(EACH_SOURCE).min(SOURCES_MOST)
        + severity;
    #[expect(clippy::cast_possible_truncation, reason = "0 to 100")]
    let given = ioc.enrichment.score.map(|score| score.clamp(0.0, 100.0).round() as i64);
    let begins = given.map_or(counted, |given| given.min(counted));
    let lifetime = ioc.lifetime() / DAY;
    let left = lifetime - age_days(ioc, now);
    u8::try_from((begins * left.clamp(0, lifetime) / lifetime.max(1)).clamp(0, 100)).unwrap_or(0)
}

/// UTC days since an IOC was last seen.
#[must_use]
pub const fn age_days(ioc: &Ioc, now: Timestamp) -> i64 {
    let age = now.micros().div_euclid(DAY) - ioc.last_seen.micros().div_euclid(DAY);
    if age < 0 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{IocId, SourceId},
        ioc::{Enrichment, Kind, Report, State, Whitelist},
        source::Confidence,
    };

    fn ioc(reports: &[u8], severity: Severity, seen: Timestamp) -> Ioc {
        let report = |(at, confidence): (usize, &u8)| Report {
            source_id: SourceId(uuid::Uuid::from_u128(at as u128)),
            confidence: Confidence::try_from(*confidence).unwrap(),
            reported_at: 0,
            first_at: 0,
            lifetime_days: None,
        };
        Ioc {
            id: IocId(uuid::Uuid::nil()),
            kind: Kind::Ipv4,
            value: "203.0.113.7".to_owned(),
            first_seen: seen,
            last_seen: seen,
            state: State::Active,
            whitelist: Whitelist::Default,
            enrichment: Enrichment {
                reports: reports.iter().enumerate().map(report).collect(),
                user_severity: Some(severity),
                ..Enrichment::default()
            },
        }
    }

    #[test]
    fn it_begins_with_confidence_sources_and_severity_and_falls_to_nothing() {
        let seen = Timestamp::parse("2026-11-01T15:00:00Z").unwrap();
        let on: EnabledSources = (0..4).map(|at| SourceId(uuid::Uuid::from_u128(at))).collect();
        let at = |days: i64| seen.plus(days * DAY);
        let of =
            |reports: &[u8], severity, days| score(&ioc(reports, severity, seen), &on, at(days));
        assert_eq!(of(&[1], Severity::Low, 0), 40);
        assert_eq!(of(&[3], Severity::High, 0), 90);
        assert_eq!(of(&[1, 3, 2, 2], Severity::High, 0), 100);
        assert_eq!(of(&[3], Severity::High, 7), 45);
        assert_eq!((of(&[3], Severity::High, 13), of(&[3], Severity::High, 14)), (6, 0));
        assert_eq!(of(&[3], Severity::High, -3), 90);
        assert_eq!(score(&ioc(&[3], Severity::High, seen), &EnabledSources::new(), seen), 0);
        let mut given = ioc(&[3], Severity::High, seen);
        given.enrichment.score = Some(28.0);
        assert_eq!((score(&given, &on, seen), score(&given, &on, at(7))), (28, 14));
        given.enrichment.score = Some(100.0);
        assert_eq!(score(&given, &on, seen), 90, "a file claims no more than its source may");
        // The day counts, not the hour: all IOCs of a day fall at midnight UTC.
        let of_one = ioc(&[3], Severity::High, seen);
        let (late, midnight) = (seen.plus(DAY * 3 / 8 - 1), seen.plus(DAY * 3 / 8));
        assert_eq!((score(&of_one, &on, late), score(&of_one, &on, midnight)), (90, 83));
    }

    proptest::proptest! {
        #[test]
        fn it_never_rises_without_a_change(
            reports in proptest::collection::vec(1_u8..=3, 1..5),
            day in 0_i64..400,
        ) {
            let seen = Timestamp::parse("2026-11-01").unwrap();
            let on: EnabledSources =
                (0..5).map(|at| SourceId(uuid::Uuid::from_u128(at))).collect();
            let of = |day: i64| score(&ioc(&reports, Severity::Medium, seen), &on, seen.plus(day * DAY));
            proptest::prop_assert!(of(day) >= of(day + 1));
            proptest::prop_assert!(of(day) <= 100);
        }
    }
}
