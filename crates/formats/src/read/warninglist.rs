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
    version: Option<Loose>,
    #[serde(default, rename = "type")]
    matching: Option<Word>,
    #[serde(default)]
    matching_attributes: Vec<String>,
    #[serde(default, alias = "WarninglistEntry")]
    list: Option<Entries>,
    #[serde(default, rename = "WarninglistType")]
    types: Vec<TypeRow>,
    /// The list is inside.
    #[serde(default, rename = "Warninglist")]
    inner: Option<Box<Self>>,
}

#[derive(Deserialize)]
struct TypeRow {
    #[serde(rename = "type")]
    word: String,
}

/// A number, or text that is one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
}

/// A word, or a list of which the first one counts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    One(String),
    Many(Vec<String>),
}

/// Entries: texts, numbers, objects with a `value`, or an object of values with their comments.
#[derive(Default)]
struct Entries(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Number(serde_json::Number),
    Row { value: String },
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
        while let Some(entry) = seq.next_element::<Entry>()? {
            all.push(match entry {
                Entry::Text(text) => text,
                Entry::Number(number) => number.to_string(),
                Entry::Row { value } => value,
            });
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
    let version = match raw.version {
        None => 1,
        Some(Loose::Number(number)) => number,
        Some(Loose::Text(text)) => text
            .parse()
            .map_err(|_| format!("`{}` is no version: give a number.", clip(&text, 40)))?,
    };
    let word = match raw.matching {
        None => Matching::Exact.word().to_owned(),
        Some(Word::One(word)) => word,
        Some(Word::Many(words)) => words.into_iter().next().unwrap_or_default(),
    };
    let mut attributes = raw.matching_attributes;
    attributes.extend(types.into_iter().chain(raw.types).map(|row| row.word));
    Ok(ListFile {
        name: name.to_owned(),
        description: clip(raw.description.trim(), 1_000),
        version,
        matching: word.parse().map_err(|why| format!("The `type` {why}."))?,
        attributes: attributes.iter().map(|word| clip(word, 60)).take(200).collect(),
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
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    fn read_one(text: &str) -> Result<ListFile, String> {
        one(text.as_bytes())
    }

    #[test]
    fn all_shapes_of_a_list() {
        let plain = r#"{"name":"Top","description":"d","version":20260801,"type":"hostname","matching_attributes":["domain"],"list":["a.example",7]}"#;
        let found = read_one(plain).unwrap();
        assert_eq!(found.entries, ["a.example", "7"]);
        assert_eq!((found.version, found.matching), (20_260_801, Matching::Hostname));
        let commented =
            r#"{"name":"Top","version":"3","type":["cidr"],"list":{"192.0.2.0/24":"office"}}"#;
        let found = read_one(commented).unwrap();
        assert_eq!((found.version, found.matching), (3, Matching::Cidr));
        assert_eq!(found.entries, ["192.0.2.0/24"]);
        let rest = r#"{"Warninglist":{"id":"1","name":"Top","type":"substring","version":"2","description":"d","enabled":true,"WarninglistEntry":[{"id":"1","value":"abc","warninglist_id":"1"}],"WarninglistType":[{"type":"url"}]}}"#;
        let found = read_one(rest).unwrap();
        assert_eq!(
            (found.entries.as_slice(), found.attributes.as_slice()),
            (["abc".to_owned()].as_slice(), ["url".to_owned()].as_slice())
        );
        assert_eq!(read_one(r#"{"name":"Top","list":[]}"#).unwrap().matching, Matching::Exact);
    }

    #[test]
    fn what_is_no_list_says_why() {
        for (text, why) in [
            ("[]", "no warninglist"),
            (r#"{"name":"x"}"#, "no `list`"),
            (r#"{"list":["a"]}"#, "`name`"),
            (r#"{"name":"x","type":"fuzzy","list":[]}"#, "string, hostname"),
            (r#"{"name":"x","version":"new","list":[]}"#, "no version"),
            (r#"{"name":"x","list":["a""#, "no warninglist"),
        ] {
            let said = read_one(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn an_archive_gives_each_of_its_lists() {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in [
            ("main/lists/top/list.json", r#"{"name":"Top","list":["a.example"]}"#),
            ("main/lists/bad/list.json", r#"{"name":"Bad","list":"#),
            ("main/schema.json", r#"{"$schema":"x"}"#),
            ("main/README.md", "hello"),
        ] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        let mut found = Vec::new();
        read(zip.finish().unwrap(), &mut |list| {
            found.push(list.map(|list| list.name).map_err(|(name, _)| name));
            true
        })
        .unwrap();
        assert_eq!(found, [Ok("Top".to_owned()), Err("main/lists/bad/list.json".to_owned())]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(
            name in "[a-zA-Z][a-z \"\\\\é]{0,20}[a-z]",
            entries in proptest::collection::vec("\\PC{1,20}", 0..10),
            version in 0_i64..99_999_999,
        ) {
            let list = ListFile {
                name, description: "d".to_owned(), version, matching: Matching::Regex,
                attributes: vec!["url".to_owned()], entries,
            };
            let mut bytes = Vec::new();
            write(&list, &mut bytes).unwrap();
            proptest::prop_assert_eq!(one(bytes.as_slice()).unwrap(), list);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = read(Cursor::new(bytes), &mut |_| true);
        }
    }
}
