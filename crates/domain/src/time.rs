//! Points in time, and the clock and random numbers that are handed in as arguments.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds in one second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in one minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in one hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds in one day.
pub const DAY: i64 = 24 * HOUR;

/// A point in time: UTC microseconds since 1970, the form in which every time is stored.
///
/// On the wire it is an RFC 3339 string with six decimals and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From UTC microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From UTC seconds since 1970.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(SECOND))
    }

    /// As people read it: `2026-11-03 10:00 UTC`.
    #[must_use]
    pub fn minute(self) -> String {
        let text: String = self.to_string().chars().take(16).collect();
        format!("{} UTC", text.replace('T', " "))
    }

    /// UTC microseconds since 1970.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole UTC seconds since 1970, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// This time moved by `micros`.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC day, `YYYY-MM-DD`.
    #[must_use]
    pub fn day(self) -> String {
        self.utc().format("%Y-%m-%d").to_string()
    }

    /// `2026-07-01T12:00:00Z`.
    #[must_use]
    pub fn seconds(self) -> String {
        self.utc().format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// ISO 8601 with three decimals and Z, as Threat Command writes it.
    #[must_use]
    pub fn millis(self) -> String {
        self.utc().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    /// `Mon Jul 29 2019 13:11:29 GMT+0000 (Coordinated Universal Time)`, as a browser writes it.
    #[must_use]
    pub fn written_out(self) -> String {
        self.utc().format("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)").to_string()
    }

    /// ISO 8601 with six decimals and a numeric offset, as MISP's `first_seen` wants it.
    #[must_use]
    pub fn misp(self) -> String {
        self.utc().to_rfc3339_opts(SecondsFormat::Micros, false)
    }

    /// Reads RFC 3339, `YYYY-MM-DD`, and both forms without an offset (taken as UTC).
    ///
    /// # Errors
    /// A sentence that names the accepted forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let naive =
            |format| chrono::NaiveDateTime::parse_from_str(text, format).map(|t| t.and_utc()).ok();
        let date = || {
            chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()?
                .and_hms_opt(0, 0, 0)
                .map(|t| t.and_utc())
        };
        DateTime::parse_from_rfc3339(text)
            .map(|t| t.to_utc())
            .ok()
            .or_else(|| {
                DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z").map(|t| t.to_utc()).ok()
            })
            .or_else(|| naive("%Y-%m-%dT%H:%M:%S%.f"))
            .or_else(|| naive("%Y-%m-%d %H:%M:%S%.f"))
            .or_else(date)
            .filter(|t| (1970..=9999).contains(&chrono::Datelike::year(t)))
            .map(|t| Self(t.timestamp_micros()))
            .ok_or_else(|| {
                format!(
                    "`{}` is not a time; write it as 2026-11-01 or 2026-11-01T10:11:12Z",
                    clip(text, 40)
                )
            })
    }

    fn utc(self) -> DateTime<Utc> {
        Utc.timestamp_micros(self.0).single().unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// How long ago something was, in words: `2 days`, `1 hour`, `40 seconds`.
#[must_use]
pub fn span_in_words(micros: i64) -> String {
    let (n, unit) = match micros.max(0) {
        m if m >= 2 * DAY => (m / DAY, "day"),
        m if m >= HOUR => (m / HOUR, "hour"),
        m if m >= MINUTE => (m / MINUTE, "minute"),
        m => (m / SECOND, "second"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// Reads a span such as `49h`, `5m`, `1d 2h` or `30s`, into microseconds.
///
/// # Errors
/// A sentence that names the accepted form.
pub fn parse_span(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("`{}` is not a span of time; write it as 49h, 5m or 1d 2h", clip(text, 40));
    let mut total: i64 = 0;
    let mut parts = 0;
    for part in text.split_whitespace() {
        let split = part.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, unit) = part.split_at(split);
        let unit = match unit {
            "d" => DAY,
            "h" => HOUR,
            "m" => MINUTE,
            "s" => SECOND,
            _ => return Err(wrong()),
        };
        let n: i64 = digits.parse().ok().ok_or_else(wrong)?;
        total = n.checked_mul(unit).and_then(|m| total.checked_add(m)).ok_or_else(wrong)?;
        parts += 1;
    }
    if parts == 0 { Err(wrong()) } else { Ok(total) }
}

/// The first `max` characters of `text`, with an ellipsis where something was cut.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// The clock, handed in so that tests and the emulator can move it.
pub trait Clock: Send + Sync {
    /// The product's time: what every judgement about devices and IOCs is made with.
    fn now(&self) -> Timestamp;
    /// The real time: sessions and login throttles run on it.
    fn real_now(&self) -> Timestamp;
    /// The real time as the database that replicas share tells it; another than `database` only
    /// where tests move the clock of the whole world.
    fn shared_now(&self, database: Timestamp) -> Timestamp {
        database
    }
    /// Moves the product's time forward by `micros`, where the clock can be moved (emulator,
    /// tests).
    fn advance(&self, micros: i64);
}

/// Random numbers, handed in for the same reason.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// A fresh random UUID (version 4).
    fn uuid(&self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_misp_takes() {
        let ten = Timestamp::parse("2025-09-01T10:00:00Z").unwrap();
        for text in [
            "2025-09-01T10:00:00",
            "2025-09-01T12:00:00+02:00",
            "2025-09-01T10:00:00+0000",
            "2025-09-01 10:00:00",
            "2025-09-01T10:00:00.000000",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap(), ten, "{text}");
        }
        assert_eq!(
            Timestamp::parse("2025-09-01").unwrap().to_string(),
            "2025-09-01T00:00:00.000000Z"
        );
        assert!(Timestamp::parse("1756684800").unwrap_err().contains("2026-11-01"));
        assert_eq!(ten.misp(), "2025-09-01T10:00:00.000000+00:00");
    }

    #[test]
    fn spans_are_read_and_told() {
        assert_eq!(parse_span("49h").unwrap(), 49 * HOUR);
        assert_eq!(parse_span("1d 2h").unwrap(), 26 * HOUR);
        for bad in ["", "h", "5", "5x", "-1h", "99999999999999999999d"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
        assert_eq!(span_in_words(2 * DAY), "2 days");
        assert_eq!(span_in_words(HOUR), "1 hour");
    }
}
