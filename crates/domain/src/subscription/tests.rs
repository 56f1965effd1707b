use super::*;

fn subscription() -> Subscription {
    Subscription {
        source_id: SourceId(uuid::Uuid::nil()),
        protocol: Protocol::File,
        url: String::new(),
        form: None,
        every: HOUR,
        coverage: Coverage::Full,
        grace: 0,
        access: Access::None,
        access_name: String::new(),
        secret: Vec::new(),
        tls_key: Vec::new(),
        paused: false,
        options: SubscriptionOptions::default(),
        progress: FetchProgress::default(),
    }
}

#[test]
fn it_waits_longer_after_each_failure_and_never_longer_than_its_pause() {
    let now = Timestamp::from_micros(0);
    let mut of = subscription();
    let mut waits = Vec::new();
    for failures in [0, 1, 2, 5, 6, 40] {
        of.progress.failures = failures;
        waits.push(of.after_failure(now, None, 0.0).micros() / MINUTE);
    }
    assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
    assert_eq!(of.after_failure(now, Some(3 * HOUR), 0.0).micros(), 3 * HOUR);
    assert_eq!(of.after_failure(now, Some(30 * DAY), 0.0).micros(), DAY);
    assert_eq!(of.after_success(now, 0.5).micros(), HOUR + 3 * MINUTE);
}

#[test]
fn a_schedule_says_when_it_is_fetched() {
    let now = Timestamp::parse("2026-11-30T10:20:00Z").unwrap();
    let mut of = subscription();
    of.options.schedule = Some(Schedule::parse("0 */6 * * *", None, now).unwrap());
    let noon = Timestamp::parse("2026-11-30T12:00:00Z").unwrap();
    assert_eq!(of.after_success(now, 0.0), noon);
    assert_eq!(of.after_success(now, 1.0), noon.plus(MINUTE));
    of.progress.failures = 40;
    assert_eq!(of.after_failure(now, None, 0.0), noon);
    of.progress.failing_since = Some(now);
    assert!(!of.is_out(now.plus(11 * HOUR)) && of.is_out(now.plus(12 * HOUR)));
}

#[test]
fn how_fresh_it_is() {
    let mut of = subscription();
    let at = |hours: i64| Timestamp::from_micros(hours * HOUR);
    assert_eq!(of.freshness(at(0)), Freshness::NeverFetched);
    of.progress.ok_at = Some(at(1));
    of.progress.next_at = at(2);
    assert_eq!(of.freshness(at(2)), Freshness::Fresh);
    assert_eq!(of.freshness(at(4)), Freshness::Failing);
    of.progress.failures = 1;
    assert_eq!(of.freshness(at(2)), Freshness::Failing);
    of.paused = true;
    assert_eq!(of.freshness(at(2)), Freshness::Paused);
}

#[test]
fn people_are_written_to_after_three_failures_and_twice_the_pause() {
    let mut of = subscription();
    let at = |minutes: i64| Timestamp::from_micros(minutes * MINUTE);
    of.progress.failures = 3;
    of.progress.failing_since = Some(at(0));
    assert!(!of.is_out(at(119)) && of.is_out(at(120)));
    of.every = 5 * MINUTE;
    assert!(!of.is_out(at(59)) && of.is_out(at(60)));
    of.progress.failures = 2;
    assert!(!of.is_out(at(600)));
}

#[test]
fn a_list_that_lost_more_than_half_is_not_believed() {
    assert!(!lost_too_much(19, 0) && !lost_too_much(20, 10));
    assert!(lost_too_much(20, 9) && lost_too_much(1_000, 0));
}

#[test]
fn retry_after_is_read() {
    let now = Timestamp::parse("2026-11-30T10:00:00Z").unwrap();
    assert_eq!(retry_after("120", now), Some(120 * SECOND));
    assert_eq!(retry_after("Mon, 30 Nov 2026 10:00:30 GMT", now), Some(30 * SECOND));
    assert_eq!(retry_after("Mon, 30 Nov 2026 09:00:00 GMT", now), Some(0));
    assert_eq!(retry_after("soon", now), None);
}
