//! What stands under a key, and whether it is a list of indicators.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
    value::MapAccessDeserializer,
};

use super::{
    super::{fields, guard},
    Level, Pass, Place, each,
};

/// What a key of an object says of what stands under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A MISP event.
    Event,
    /// The attributes of a MISP event whose other keys stand beside it.
    Unwrapped,
    /// The objects of a STIX bundle.
    Bundle,
    /// Things, if it is a list; a further wrapping, if it is an object.
    Things,
    /// Indicators of the kind that the key names, if it is a list.
    Values,
    /// A field of this object.
    Field,
}

/// Wrappings of answers and exports.
const WRAPPINGS: &[&str] = &[
    "response",
    "iocs",
    "items",
    "data",
    "indicators",
    "results",
    "result",
    "value",
    "values",
    "resources",
    "records",
    "events",
    "reports",
    "pulses",
    "signatures",
    "observables",
    "content",
    "hits",
    "attributes",
];

/// Lists inside an element of a list.
const INNER: &[&str] = &["iocs", "indicators"];

/// Whether the indicators of a pulse (AlienVault OTX) stand under a key: what its object says of
/// itself holds for all of them.
pub(super) fn is_pulse(key: &str, own: &guard::Written) -> bool {
    let of_pulse = |key: &str| {
        matches!(key, "author_name" | "adversary" | "tlp" | "TLP" | "tags" | "malware_families")
    };
    key == "indicators" && own.names(of_pulse)
}

/// `named` where the object is a wrapping, and no element of a list.
pub(super) fn meaning(key: &str, named: bool, own: &guard::Written) -> Meaning {
    let has_value = || own.names(|key| key == "value" || key == "type");
    match key {
        "Event" if !has_value() => Meaning::Event,
        "Attribute" | "Object" if !has_value() => Meaning::Unwrapped,
        "objects" => Meaning::Bundle,
        _ if named && (WRAPPINGS.contains(&key) || key.bytes().all(|b| b.is_ascii_digit())) => {
            Meaning::Things
        }
        _ if !named && INNER.contains(&key) => Meaning::Things,
        _ if named && fields::role(key).is_some_and(fields::Role::is_value) => Meaning::Values,
        _ => Meaning::Field,
    }
}

/// Reads what stands under a key: gives true if it was a list of things, which were handed on, and
/// otherwise writes it down as a field of the object.
pub(super) struct Under<'u, 'a, 's> {
    pub(super) pass: &'u mut Pass<'a, 's>,
    pub(super) own: &'u mut guard::Written,
    pub(super) key: &'u str,
    pub(super) what: Meaning,
}

impl<'de> DeserializeSeed<'de> for Under<'_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        if self.what == Meaning::Field {
            self.own.entry(self.key, deserializer)?;
            return Ok(false);
        }
        deserializer.deserialize_any(self)
    }
}

impl Under<'_, '_, '_> {
    fn field<'de, E: serde::de::Error>(
        self,
        value: impl IntoDeserializer<'de, E>,
    ) -> Result<bool, E> {
        self.own.entry(self.key, value.into_deserializer())?;
        Ok(false)
    }
}

impl<'de> Visitor<'de> for Under<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<bool, E> {
        self.field(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<bool, E> {
        self.field(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<bool, E> {
        self.field(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<bool, E> {
        self.field(value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        self.field(text)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<bool, A::Error> {
        each(self.pass, seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        match self.what {
            Meaning::Things => Level { pass: self.pass, place: Place::Wrapped }.visit_map(map),
            // What STIX 2.0 observed lies by number in an object.
            Meaning::Bundle => {
                self.own.entry(self.key, MapAccessDeserializer::new(map))?;
                Ok(false)
            }
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(false)
            }
        }
    }
}
