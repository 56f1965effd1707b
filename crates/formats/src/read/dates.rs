//! Points in time as feeds and spreadsheets write them.

use chrono::{NaiveDate, NaiveDateTime};
use iocast_domain::time::Timestamp;

/// Days with a time of day.
const TIMES: &[&str] = &[
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y %H:%M",
    "%a %b %d %H:%M:%S %Y",
];

/// Days. Where day and month can't be told apart, the month comes first.
const DAYS: &[&str] = &[
    "%Y%m%d",
    "%Y/%m/%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%b %d %Y",
];

/// Reads a point in time; times without an offset are taken as UTC.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = Timestamp::parse(text) {
        return Some(time);
    }
    if text.len() > 40 {
        return None;
    }
    let bare = ["UTC", "GMT", "Z"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone))
        .map_or(text, str::trim_end);
    if let Some(time) = epoch(bare) {
        return Some(time);
    }
    // `2026-11-27 10:11:12+00:00`.
    let with_t = bare.replacen(' ', "T", 1);
    [bare, with_t.as_str()]
        .into_iter()
        .find_map(|text| Timestamp::parse(text).ok())
        .or_else(|| {
            let rfc = chrono::DateTime::parse_from_rfc2822(text).ok()?;
            Some(Timestamp::from_micros(rfc.timestamp_micros()))
        })
        .or_else(|| {
            TIMES.iter().find_map(|format| NaiveDateTime::parse_from_str(bare, format).ok()).map(of)
        })
        .or_else(|| {
            DAYS.iter()
                .find_map(|format| NaiveDate::parse_from_str(bare, format).ok())
                .and_then(|day| day.and_hms_opt(0, 0, 0))
                .map(of)
        })
        .filter(|time| (Timestamp::default()..Timestamp::from_secs(253_402_300_800)).contains(time))
}

fn of(time: NaiveDateTime) -> Timestamp {
    Timestamp::from_micros(time.and_utc().timestamp_micros())
}

/// Seconds, milliseconds or microseconds since 1970; a number of eight digits is a day.
fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    Some(match whole.len() {
        9 | 10 => Timestamp::from_secs(number),
        13 => Timestamp::from_micros(number.checked_mul(1_000)?),
        16 => Timestamp::from_micros(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_use() {
        for (text, expected) in [
            ("2026-11-01 10:11:12 UTC", "2026-11-01T10:11:12Z"),
            ("2019-04-01 03:13:20Z", "2019-04-01T03:13:20Z"),
            ("11/01/2026", "2026-11-01T00:00:00Z"),
            ("27/11/2026", "2026-11-27T00:00:00Z"),
            ("11/27/2026 10:11", "2026-11-27T10:11:00Z"),
            ("1761955200", "2025-11-01T00:00:00Z"),
            ("1761955200000", "2025-11-01T00:00:00Z"),
            ("20261101", "2026-11-01T00:00:00Z"),
            ("Nov 01, 2026", "2026-11-01T00:00:00Z"),
            ("2026-11-27 10:11:12+00:00", "2026-11-27T10:11:12Z"),
            ("2026-11-01T10:11:12+02:00", "2026-11-01T08:11:12Z"),
            ("2026-11-01 10:11", "2026-11-01T10:11:00Z"),
            ("Fri, 27 Nov 2026 10:11:12 +0000", "2026-11-27T10:11:12Z"),
        ] {
            assert_eq!(parse(text).map(Timestamp::seconds).as_deref(), Some(expected), "{text}");
        }
        for text in ["awful", "12", "2026-13-01", "99/99/2026", "1", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
