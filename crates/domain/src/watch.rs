//! The watchdog's judgement: which silence is an outage (design section 4, "Dot" and "Our downtime
//! is not their silence").

use serde::Serialize;

use crate::{
    id::{AccountId, DeviceId, OutageId},
    problem::FieldError,
    staleness::SILENT_AFTER,
    time::{HOUR, Timestamp},
};

/// A stretch of the product's time in which no web replica could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// What ended an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The device pulled.
    Pull,
    /// Somebody paused the device.
    Pause,
    /// Somebody allowed it a longer silence.
    Threshold,
}

/// A stretch of silence of one device that was noticed.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Id.
    pub id: OutageId,
    /// The account of the device.
    pub account_id: AccountId,
    /// The device.
    pub device_id: DeviceId,
    /// When silence began: the last pull, or the creation.
    pub began_at: Timestamp,
    /// When the watchdog noticed.
    pub noticed_at: Timestamp,
    /// When it ended, and by what.
    pub ended: Option<(Timestamp, EndedBy)>,
}

/// Hearts beat every few seconds; a pause longer than this, in microseconds, means that nobody
/// could answer.
pub const HEARTBEAT_MISSED: i64 = 60_000_000;

/// Shortest and longest threshold, in hours.
const HOURS: std::ops::RangeInclusive<i64> = 1..=720;

/// Reads a threshold in hours, into microseconds.
///
/// # Errors
/// As an error of the field `silent_after_hours`.
pub fn check_silent_after(hours: i64) -> Result<i64, FieldError> {
    if HOURS.contains(&hours) {
        Ok(hours * HOUR)
    } else {
        Err(FieldError::new(
            "silent_after_hours",
            "silent_after_out_of_range",
            "Give 1 to 720 hours (30 days).",
        ))
    }
}

/// The threshold that holds: the device's own, else the account's, else 48 h.
#[must_use]
pub fn threshold(device: Option<i64>, account: Option<i64>) -> i64 {
    device.or(account).unwrap_or(SILENT_AFTER)
}

/// Since when a device is silent: its last pull, or where there was none its creation; but not from
/// before it was watched.
#[must_use]
pub fn silent_since(
    last_pull_at: Option<Timestamp>,
    created_at: Timestamp,
    watched_since: Timestamp,
) -> Timestamp {
    last_pull_at.unwrap_or(created_at).max(watched_since)
}

/// How long a device that is silent since `since` could have pulled and did not, in microseconds:
/// gaps (oldest first) don't count, and a pull that a wrong clock put into the future is one just
/// now.
#[must_use]
pub fn silence(since: Timestamp, gaps: &[Gap], now: Timestamp) -> i64 {
    let (mut excused, mut covered) = (0, since);
    for gap in gaps {
        let (from, to) = (gap.from.max(covered), gap.to.min(now));
        if to > from {
            excused += to.since(from);
            covered = to;
        }
    }
    (now.since(since) - excused).max(0)
}

/// Whether that is an outage: *more than* the threshold.
#[must_use]
pub fn is_outage(since: Timestamp, threshold: i64, gaps: &[Gap], now: Timestamp) -> bool {
    silence(since, gaps, now) > threshold
}

/// The gap that a heartbeat finds when the one before was `missed` microseconds of real time ago;
/// `now` is the product's time.
#[must_use]
pub fn gap_found(missed: i64, now: Timestamp) -> Option<Gap> {
    (missed > HEARTBEAT_MISSED).then(|| Gap { from: now.plus(-missed), to: now })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{DAY, MINUTE};

    const T: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn gap(from: i64, to: i64) -> Gap {
        Gap { from: T.plus(from), to: T.plus(to) }
    }

    #[test]
    fn more_than_48_hours_is_silent_and_exactly_48_is_not() {
        let outage = |silent: i64| is_outage(T, threshold(None, None), &[], T.plus(silent));
        assert!(!outage(48 * HOUR - 1_000));
        assert!(!outage(48 * HOUR));
        assert!(outage(48 * HOUR + 1_000));
        assert!(outage(48 * HOUR + 1));
    }

    #[test]
    fn a_device_that_never_pulled_counts_from_its_creation_and_one_that_was_paused_from_its_resumption()
     {
        assert_eq!(silent_since(None, T, T), T);
        assert_eq!(silent_since(Some(T.plus(5)), T, T), T.plus(5));
        assert_eq!(silent_since(Some(T.plus(5)), T, T.plus(DAY)), T.plus(DAY));
    }

    #[test]
    fn the_device_s_threshold_goes_before_the_account_s() {
        assert_eq!(
            (threshold(Some(1), Some(2)), threshold(None, Some(2)), threshold(None, None)),
            (1, 2, SILENT_AFTER)
        );
        assert_eq!(check_silent_after(1).unwrap(), HOUR);
        assert_eq!(check_silent_after(720).unwrap(), 30 * DAY);
        assert!(
            check_silent_after(0).is_err()
                && check_silent_after(721).is_err()
                && check_silent_after(i64::MAX).is_err()
        );
    }

    #[test]
    fn our_downtime_moves_the_deadline() {
        let now = T.plus(48 * HOUR + 49 * HOUR);
        assert!(!is_outage(T, SILENT_AFTER, &[gap(HOUR, 50 * HOUR)], now));
        assert!(is_outage(T, SILENT_AFTER, &[gap(HOUR, 50 * HOUR)], now.plus(1)));
        // Only what lies in the silence counts: a gap before it, one that began before it, one that
        // has not ended.
        assert_eq!(
            silence(
                T,
                &[gap(-2 * HOUR, -HOUR), gap(-MINUTE, MINUTE), gap(HOUR, 9 * HOUR)],
                T.plus(2 * HOUR)
            ),
            HOUR - MINUTE
        );
        assert_eq!(gap_found(HEARTBEAT_MISSED, T), None);
        assert_eq!(gap_found(HEARTBEAT_MISSED + 1, T), Some(gap(-HEARTBEAT_MISSED - 1, 0)));
    }

    #[test]
    fn a_pull_in_the_future_is_one_just_now() {
        assert_eq!(silence(T.plus(DAY), &[], T), 0);
    }

    #[test]
    fn daylight_saving_changes_nothing() {
        // Berlin, 2026-10-25 03:00 becomes 02:00; New York, 2026-11-01; Berlin again in March.
        // Times are UTC throughout.
        for begin in
            ["2026-10-24T12:00:00+02:00", "2026-10-31T12:00:00-04:00", "2027-03-27T12:00:00+01:00"]
        {
            let pulled = Timestamp::parse(begin).unwrap();
            assert!(!is_outage(pulled, SILENT_AFTER, &[], pulled.plus(48 * HOUR)), "{begin}");
            assert!(
                is_outage(pulled, SILENT_AFTER, &[], pulled.plus(48 * HOUR + 1_000)),
                "{begin}"
            );
        }
        // 49 h on the wall of Berlin are 48 h where the clock goes forward.
        let (from, to) = (
            Timestamp::parse("2027-03-27T12:00:00+01:00").unwrap(),
            Timestamp::parse("2027-03-29T13:00:00+02:00").unwrap(),
        );
        assert!(!is_outage(from, SILENT_AFTER, &[], to));
    }

    proptest! {
        #[test]
        fn gaps_only_ever_spare(since in 0..1_000_i64, gaps in proptest::collection::vec((0..1_000_i64, 0..300_i64), 0..6), now in 0..1_000_i64) {
            // A clock that was set back and forth makes gaps that overlap.
            let mut gaps: Vec<Gap> = gaps.into_iter().map(|(from, long)| gap(from, from + long)).collect();
            gaps.sort_by_key(|g| g.from);
            // Minute by minute, the slow way.
            let spent = (since..now).filter(|m| !gaps.iter().any(|g| (g.from..g.to).contains(&T.plus(*m)))).count();
            prop_assert_eq!(silence(T.plus(since), &gaps, T.plus(now)), i64::try_from(spent).unwrap());
        }
    }
}
