//! Finds what stands at one place in JSON, without keeping the rest.

use std::{fmt, io};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The text or number behind some names, one within the other; none if it is something else or is
/// not there.
///
/// # Errors
/// If it is no JSON.
pub(super) fn named(
    names: &[&str],
    from: &mut impl io::Read,
) -> serde_json::Result<Option<String>> {
    let mut reader = serde_json::Deserializer::from_reader(from);
    let found = At(names).deserialize(&mut reader)?;
    reader.end()?;
    Ok(found.filter(|text| !text.is_empty()))
}

#[derive(Clone, Copy)]
struct At<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((wanted, within)) if *wanted == name => {
                    found = map.next_value_seed(At(within))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.0.is_empty().then(|| number.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_names_is_found() {
        let of = |names: &[&str], text: &str| named(names, &mut text.as_bytes());
        let text = r#"{"a": [1, {"next": "no"}], "meta": {"next": "/p?2", "n": 7}, "next": null}"#;
        assert_eq!(of(&["meta", "next"], text).unwrap().as_deref(), Some("/p?2"));
        assert_eq!(of(&["meta", "n"], text).unwrap().as_deref(), Some("7"));
        for names in [&["next"][..], &["meta"], &["a", "next"], &["meta", "next", "x"], &["none"]] {
            assert_eq!(of(names, text).unwrap(), None, "{names:?}");
        }
        assert!(of(&["a"], "{\"a\": 1").is_err() && of(&["a"], "<html>").is_err());
    }
}
