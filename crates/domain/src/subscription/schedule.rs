//! When a list is fetched, where that is said as by cron: at certain times of a day in a time zone.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use super::EVERY_MIN;
use crate::{problem::FieldError, time::Timestamp};

/// Longest expression, in characters.
const LENGTH_MAX: usize = 100;
/// Times that are looked at to find out how close together they are.
const LOOKED_AT: usize = 100;

/// Times at which a list is fetched.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    text: String,
    zone: Tz,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for Schedule {}

impl Schedule {
    /// Reads five fields (minute, hour, day of month, month, day of week) and the name of a time
    /// zone such as `Europe/Berlin`; without one it is UTC. Checks that times come, and that they
    /// leave as much time as a pause between two fetches.
    ///
    /// # Errors
    /// The broken rule, as an error of `cron` or `time_zone`.
    pub fn parse(text: &str, zone: Option<&str>, now: Timestamp) -> Result<Self, FieldError> {
        let schedule = Self::read(text, zone)?;
        let times = schedule.after(now, LOOKED_AT);
        if times.is_empty() {
            return Err(wrong("There is no such day; give one that comes."));
        }
        let is_close = |(one, other): (&Timestamp, &Timestamp)| other.since(*one) < EVERY_MIN;
        if times.iter().zip(times.iter().skip(1)).any(is_close) {
            return Err(wrong("Leave at least 5 minutes between two fetches."));
        }
        Ok(schedule)
    }

    /// As [`Schedule::parse`], without looking at the times.
    ///
    /// # Errors
    /// The broken rule, as an error of `cron` or `time_zone`.
    pub fn read(text: &str, zone: Option<&str>) -> Result<Self, FieldError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.chars().count() > LENGTH_MAX {
            return Err(wrong("Give at most 100 characters."));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&text).map_err(|_| {
            wrong("Give minute, hour, day of month, month and day of week, as cron takes them: `15 */4 * * *`.")
        })?;
        let zone = zone.map(str::trim).filter(|zone| !zone.is_empty()).unwrap_or("UTC");
        let zone = Tz::from_str(zone).map_err(|_| {
            FieldError::new(
                "time_zone",
                "time_zone_unknown",
                "Give a time zone by its name in the IANA database, such as Europe/Berlin.",
            )
        })?;
        Ok(Self { cron, text, zone })
    }

    /// Its five fields.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of its time zone.
    #[must_use]
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The next time after `now`, if one comes.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let now = DateTime::<Utc>::from_timestamp_micros(now.micros())?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&now, false).ok()?;
        Some(Timestamp::from_micros(next.timestamp_micros()))
    }

    /// The next times, at most so many.
    fn after(&self, now: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(now), |last| self.next(*last)).take(count).collect()
    }
}

fn wrong(why: &str) -> FieldError {
    FieldError::new("cron", "cron_invalid", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn it_goes_by_the_clocks_of_its_time_zone() {
        let now = at("2026-10-24T12:00:00Z");
        let berlin = Schedule::parse("30  2 * * *", Some("Europe/Berlin"), now).unwrap();
        assert_eq!((berlin.text(), berlin.zone()), ("30 2 * * *", "Europe/Berlin"));
        // Clocks go back on the 25th of October: half past two comes twice, and is taken once.
        let times: Vec<String> = berlin.after(now, 3).into_iter().map(Timestamp::seconds).collect();
        assert_eq!(times, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]);
        let utc = Schedule::parse("0 */6 * * 1-5", None, now).unwrap();
        assert_eq!(utc.next(now), Some(at("2026-10-26T00:00:00Z")));
    }

    #[test]
    fn what_no_cron_takes_is_refused_with_what_to_give() {
        let now = at("2026-10-24T12:00:00Z");
        let of = |text: &str, zone| Schedule::parse(text, zone, now).unwrap_err();
        for wrong in ["", "hourly", "61 * * * *", "* * * *", "0 0 2 * * *", "0 0 31 2 *"] {
            assert_eq!(of(wrong, None).field, "cron", "{wrong}");
        }
        assert!(of("*/4 * * * *", None).message.contains("5 minutes"));
        assert_eq!(of("0 * * * *", Some("Mars/Base")).field, "time_zone");
        assert!(Schedule::parse("*/5 * * * *", Some(" "), now).is_ok());
    }
}
