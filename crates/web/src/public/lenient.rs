//! What production clients of the original send for one and the same thing: null for what is unset,
//! numbers as texts and with a fraction.

use iocast_domain::time::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// Null is what it would be without the field.
pub(super) fn null<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A whole number: `2`, `"2"` or `2.0`; none for null and an empty text.
pub(super) fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(from)?;
    let text = match &value {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    number(&text).map(Some).ok_or_else(|| D::Error::custom(format!("`{text}` is no whole number")))
}

/// A whole number, which may have a fraction of nothing.
pub(super) fn number(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    fraction.bytes().all(|digit| digit == b'0').then(|| whole.parse().ok()).flatten()
}

/// A time: ISO 8601, milliseconds since 1970, or `MM/DD/YYYY`.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    // From 1973 on: a smaller number is a day or a year, or counts seconds.
    if let Some(milliseconds) = number(text).filter(|n| *n >= 100_000_000_000) {
        return Ok(Timestamp::from_micros(milliseconds.saturating_mul(1_000)));
    }
    let parts: Vec<&str> = text.split('/').collect();
    let day = match parts.as_slice() {
        [month, day, year] => format!("{year}-{month:0>2}-{day:0>2}"),
        // A plus that was not escaped arrives as a blank.
        _ => text.replace(' ', "+"),
    };
    Timestamp::parse(&day).or_else(|_| Timestamp::parse(text))
}

/// `true`, `"true"`, `1`; null is false.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(flag),
        other => {
            let text = other.to_string();
            match text.trim_matches('"').to_ascii_lowercase().as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" | "" | "null" => Ok(false),
                _ => Err(D::Error::custom(format!("{text} is neither true nor false"))),
            }
        }
    }
}

/// What stands for a parameter that is not set.
pub(super) fn is_unset(text: &str) -> bool {
    matches!(text.trim(), "" | "null" | "None" | "undefined")
}
