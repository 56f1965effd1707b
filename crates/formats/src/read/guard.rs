//! Bounds on what one element of an import may hold, so that memory stays bounded whatever is sent.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Longest quoted text, in bytes.
const QUOTED_MAX: usize = 1 << 20;
/// The most that one element may weigh when it is held in memory, in bytes.
const ELEMENT_MAX: usize = 4 << 20;
/// What a value weighs beyond its text.
const NODE: usize = 64;

/// Passes bytes on, and refuses a quoted text without end before anybody holds it in memory.
pub(super) struct Quoted<'r, R> {
    inner: &'r mut R,
    in_quotes: bool,
    escaped: bool,
    length: usize,
}

impl<'r, R: BufRead> Quoted<'r, R> {
    pub(super) fn json(inner: &'r mut R) -> Self {
        Self { inner, in_quotes: false, escaped: false, length: 0 }
    }

    fn watch(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_quotes => self.escaped = true,
                b'"' => {
                    self.in_quotes = !self.in_quotes;
                    self.length = 0;
                }
                _ => {}
            }
            if self.in_quotes {
                self.length += 1;
            }
        }
        if self.length > QUOTED_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a quoted text is longer than 1 MiB; a closing quote may be missing",
            ));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Quoted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.watch(buffer.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}

/// Back to the beginning.
pub(super) fn rewind<R: BufRead + Seek>(from: &mut R) -> io::Result<()> {
    from.seek(SeekFrom::Start(0)).map(drop)
}

/// Reads one element into memory, up to a weight.
pub(super) struct Element {
    left: usize,
}

impl Element {
    pub(super) fn new() -> Self {
        Self { left: ELEMENT_MAX }
    }

    /// What was read so far, in bytes.
    pub(super) fn weight(&self) -> usize {
        ELEMENT_MAX - self.left
    }
}

impl<'de> DeserializeSeed<'de> for &mut Element {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Element {
    fn weigh<E: serde::de::Error>(&mut self, weight: usize) -> Result<(), E> {
        self.left = self
            .left
            .checked_sub(weight + NODE)
            .ok_or_else(|| E::custom("one element holds more than 4 MiB"))?;
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Element {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.weigh(text.len())?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(&mut *self)? {
            self.weigh::<A::Error>(0)?;
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.weigh::<A::Error>(key.len())?;
            let value = map.next_value_seed(&mut *self)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Writes one element down as JSON again, up to the same weight, to be understood elsewhere:
/// nothing of it is in memory but one text.
pub(super) struct Written {
    json: Vec<u8>,
    /// Keys of the object that was begun.
    keys: Vec<String>,
    element: Element,
}

impl Written {
    fn new() -> Self {
        Self { json: Vec::with_capacity(256), keys: Vec::new(), element: Element::new() }
    }

    /// The object that was begun, which ends here.
    pub(super) fn into_json(mut self) -> Vec<u8> {
        self.json.push(b'}');
        self.json
    }

    /// An object whose entries come one by one.
    pub(super) fn object_begins() -> Self {
        let mut written = Self::new();
        written.json.push(b'{');
        written
    }

    /// An entry of the object that was begun.
    pub(super) fn entry<'de, D: Deserializer<'de>>(
        &mut self,
        key: &str,
        value: D,
    ) -> Result<(), D::Error> {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        self.put(key)?;
        self.json.push(b':');
        self.keys.push(key.to_owned());
        (&mut *self).deserialize(value)
    }

    /// Whether the object that was begun has a key like that.
    pub(super) fn names(&self, is: impl Fn(&str) -> bool) -> bool {
        self.keys.iter().any(|key| is(key))
    }

    /// The first key of the object that was begun.
    pub(super) fn first_key(&self) -> Option<&str> {
        self.keys.first().map(String::as_str)
    }

    /// The object that was begun, so far.
    pub(super) fn to_value(&self) -> Value {
        let json = [self.json.as_slice(), b"}"].concat();
        serde_json::from_slice(&json).unwrap_or_default()
    }

    /// The same, where nothing follows.
    pub(super) fn into_value(self) -> Value {
        serde_json::from_slice(&self.into_json()).unwrap_or_default()
    }

    /// An object whose first key was read already.
    fn object<'de, A: MapAccess<'de>>(&mut self, first: &str, mut map: A) -> Result<(), A::Error> {
        self.json.push(b'{');
        self.put(first)?;
        loop {
            self.json.push(b':');
            map.next_value_seed(&mut *self)?;
            self.json.push(b',');
            if map.next_key_seed(&mut *self)?.is_none() {
                break;
            }
        }
        self.json.pop();
        self.json.push(b'}');
        Ok(())
    }

    fn put<E: serde::de::Error>(&mut self, value: impl serde::Serialize) -> Result<(), E> {
        let before = self.json.len();
        serde_json::to_writer(&mut self.json, &value).map_err(E::custom)?;
        self.element.weigh(self.json.len() - before)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Written {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Written {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.put(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.put(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.put(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // What holds nothing weighs something, too.
        self.element.weigh(0)?;
        self.json.push(b'[');
        let mut empty = true;
        while seq.next_element_seed(&mut *self)?.is_some() {
            self.json.push(b',');
            empty = false;
        }
        if !empty {
            self.json.pop();
        }
        self.json.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.element.weigh(0)?;
        match map.next_key::<String>()? {
            Some(first) => self.object(&first, map),
            None => {
                self.json.extend_from_slice(b"{}");
                Ok(())
            }
        }
    }
}
