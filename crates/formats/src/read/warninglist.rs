//! Warninglists in the forms in which MISP gives them: the file of a list, what its REST interface
//! answers, and ZIP archives with many of them.

use std::{
    fmt,
    io::{self, BufReader, Read, Seek},
};

use iocast_domain::{
    time::clip,
    warninglist::{ENTRIES_MAX, ListFile, Matching, NAME_MAX},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::unpack::FILES_MAX;

/// Most bytes of one list.
const LIST_MAX: u64 = 128 << 20;
/// Most bytes of all lists of an archive.
const ALL_MAX: u64 = 512 << 20;

/// What a file holds: a list, or the name of a file and why it is none.
pub type OneFile = Result<ListFile, (String, String)>;

/// A list, as its file or the REST interface has it.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    version: Few,
    #[serde(default, rename = "type")]
    matching: Few,
    #[serde(default)]
    matching_attributes: Few,
    #[serde(default, alias = "WarninglistEntry")]
    list: Option<Entries>,
    #[serde(default, rename = "WarninglistType")]
    types: Few,
    /// The list is inside.
    #[serde(default, rename = "Warninglist")]
    inner: Option<Box<Self>>,
}

/// Most attribute types.
const FEW: usize = 200;

/// The first words of a list, each a text, a number, or an object with a `value` or a `type`. What
/// follows is passed over: nothing of it is kept.
#[derive(Default)]
struct Few(Vec<String>);

impl<'de> Deserialize<'de> for Few {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OfFew)
    }
}

struct OfFew;

impl<'de> Visitor<'de> for OfFew {
    type Value = Few;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word, or a list of words")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Few, E> {
        Ok(Few(vec![text.to_owned()]))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Few, E> {
        Ok(Few(vec![number.to_string()]))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Few, E> {
        Ok(Few(vec![number.to_string()]))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Few, E> {
        Ok(Few::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few, A::Error> {
        let mut all = Vec::new();
        while all.len() < FEW {
            let Some(Entry(word)) = seq.next_element()? else { return Ok(Few(all)) };
            all.push(word);
        }
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Few(all))
    }
}

/// Entries: texts, numbers, objects with a `value`, or an object of values with their comments.
#[derive(Default)]
struct Entries(Vec<String>);

/// An entry: a text, a number, or an object with a `value` or a `type`.
struct Entry(String);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OfEntry)
    }
}

struct OfEntry;

impl<'de> Visitor<'de> for OfEntry {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, or an object with a `value`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Entry, E> {
        Ok(Entry(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Entry, E> {
        Ok(Entry(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Entry, E> {
        Ok(Entry(number.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut value = None;
        while let Some(key) = map.next_key::<String>()? {
            if matches!(key.as_str(), "value" | "type") {
                value = Some(map.next_value::<String>()?);
            } else {
                map.next_value::<de::IgnoredAny>()?;
            }
        }
        value.map(Entry).ok_or_else(|| de::Error::missing_field("value"))
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OfEntries)
    }
}

struct OfEntries;

impl<'de> Visitor<'de> for OfEntries {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
        let mut all = Vec::new();
        while let Some(Entry(entry)) = seq.next_element()? {
            all.push(entry);
            bounded(&all)?;
        }
        Ok(Entries(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut all = Vec::new();
        while let Some((value, _)) = map.next_entry::<String, de::IgnoredAny>()? {
            all.push(value);
            bounded(&all)?;
        }
        Ok(Entries(all))
    }
}

fn bounded<E: de::Error>(all: &[String]) -> Result<(), E> {
    if all.len() as u64 > ENTRIES_MAX {
        return Err(E::custom(format!("a list has at most {ENTRIES_MAX} entries")));
    }
    Ok(())
}

/// Reads a file that holds one list, or a ZIP archive of files. Gives each to `each`, until that
/// says to stop. Of an archive, files that hold no list are left out, unless they are called
/// `list.json`.
///
/// # Errors
/// A sentence, if the file can't be read at all.
pub fn read<R: Read + Seek>(
    mut from: R,
    each: &mut dyn FnMut(OneFile) -> bool,
) -> Result<(), String> {
    from.rewind().map_err(broken)?;
    let mut magic = [0; 4];
    let got = from.read(&mut magic).map_err(broken)?;
    from.rewind().map_err(broken)?;
    match magic.get(..got) {
        Some([b'P', b'K', 3, 4]) => return zip(from, each),
        Some([0x1f, 0x8b, ..]) => {
            let packed = flate2::read::MultiGzDecoder::new(from);
            each(Ok(one(packed.take(LIST_MAX))?));
        }
        _ => {
            each(Ok(one(from.take(LIST_MAX))?));
        }
    }
    Ok(())
}

fn broken(error: impl fmt::Display) -> String {
    format!("The file can't be read: {error}.")
}

fn zip<R: Read + Seek>(from: R, each: &mut dyn FnMut(OneFile) -> bool) -> Result<(), String> {
    let mut archive = zip::ZipArchive::new(from).map_err(broken)?;
    if archive.len() > FILES_MAX {
        return Err(format!("The archive holds more than {FILES_MAX} files; give it in parts."));
    }
    let mut left = ALL_MAX;
    for at in 0..archive.len() {
        let file = archive.by_index(at).map_err(broken)?;
        let name = file.name().map_err(broken)?.into_owned();
        if !file.is_file() || !name.ends_with(".json") || name.starts_with("__MACOSX/") {
            continue;
        }
        left = left.checked_sub(file.size()).ok_or_else(|| {
            format!("The archive would become larger than {} MiB; give it in parts.", ALL_MAX >> 20)
        })?;
        // What it says of its size is not believed.
        let most = file.size().min(LIST_MAX);
        let found = match one(file.take(most)) {
            Ok(list) => Ok(list),
            Err(why) if name.rsplit('/').next() == Some("list.json") => Err((name, why)),
            Err(_) => continue,
        };
        if !each(found) {
            break;
        }
    }
    Ok(())
}

/// Reads one list.
///
/// # Errors
/// A sentence on what is wrong.
pub fn one(from: impl Read) -> Result<ListFile, String> {
    let raw: Raw = serde_json::from_reader(BufReader::new(from)).map_err(|error| {
        if error.is_io() {
            return broken(error);
        }
        format!("This is no warninglist: {error}. Give the JSON of a list, as MISP has it.")
    })?;
    list_of(raw)
}

fn list_of(raw: Raw) -> Result<ListFile, String> {
    let outer = raw;
    let (mut raw, list, types) = match outer.inner {
        Some(inner) => (*inner, outer.list, outer.types),
        None => {
            let mut raw = outer;
            let (list, types) = (raw.list.take(), std::mem::take(&mut raw.types));
            (raw, list, types)
        }
    };
    let list = list.or_else(|| raw.list.take());
    let Some(Entries(entries)) = list else {
        return Err("This is no warninglist: it has no `list` of entries.".to_owned());
    };
    let name = raw.name.trim();
    if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(format!("A warninglist has a `name` of 1 to {NAME_MAX} characters."));
    }
    let version = match raw.version.0.first() {
        None => 1,
        Some(text) => text
            .parse()
            .map_err(|_| format!("`{}` is no version: give a number.", clip(text, 40)))?,
    };
    let word =
        raw.matching.0.into_iter().next().unwrap_or_else(|| Matching::Exact.word().to_owned());
    let mut attributes = raw.matching_attributes.0;
    attributes.extend(types.0.into_iter().chain(raw.types.0));
    Ok(ListFile {
        name: name.to_owned(),
        description: clip(raw.description.trim(), 1_000),
        version,
        matching: word.parse().map_err(|why| format!("The `type` {why}."))?,
        attributes: attributes.iter().map(|word| clip(word, 60)).take(FEW).collect(),
        entries,
    })
}

/// A list as MISP has it in a file.
#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    description: &'a str,
    version: i64,
    #[serde(rename = "type")]
    matching: Matching,
    matching_attributes: &'a [String],
    list: &'a [String],
}

/// Writes a list as MISP has it in a file.
///
/// # Errors
/// If it can't be written.
pub fn write(list: &ListFile, to: &mut dyn io::Write) -> io::Result<()> {
    let ListFile { name, description, version, matching, attributes, entries } = list;
    let written = Written {
        name,
        description,
        version: *version,
        matching: *matching,
        matching_attributes: attributes,
        list: entries,
    };
    serde_json::to_writer(to, &written).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
