//! Readers: bytes of an import into sightings, with a reason for each line refused. Memory is
//! bounded whatever the size.
//!
//! [`split`] takes the bytes apart, one after the other; what each piece means ([`Raw::items`]) can
//! be found out on any thread.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, BufRead, Seek},
};

use iocast_domain::{
    ioc::{Kind, Sighting},
    time::clip,
};

mod dates;
pub mod document;
mod fields;
pub mod form;
mod guard;
mod html;
mod json;
mod kinds;
mod list;
mod misp;
mod named_table;
mod openioc;
mod plain;
mod report;
mod stix;
mod table;
pub mod unpack;
pub mod warninglist;

use list::ListLine;
pub use named_table::{NamedTable, named_table};
pub use table::Columns;

/// The form of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// JSON of any known shape: our own, MISP, STIX, exports of other products.
    Json,
    /// A table.
    Table,
    /// Values, one or several a line.
    List,
    /// Prose.
    Report,
    /// A page, read as prose.
    Html,
    /// OpenIOC, in XML.
    #[serde(rename = "openioc")]
    OpenIoc,
}

impl Input {
    /// Every form.
    pub const ALL: &'static [Self] =
        &[Self::Json, Self::Table, Self::List, Self::Report, Self::Html, Self::OpenIoc];

    /// The form named by a `Content-Type`, parameters ignored.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<form::Stated> {
        use form::Stated::{Chosen, Hint, Nothing};
        let essence =
            content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json"
            | "application/x-ndjson"
            | "application/stix+json"
            | "application/taxii+json" => Some(Hint(Self::Json)),
            "text/csv" | "text/tab-separated-values" => Some(Hint(Self::Table)),
            "text/plain" => Some(Hint(Self::List)),
            "text/html" => Some(Hint(Self::Html)),
            "application/xml" | "text/xml" => Some(Hint(Self::OpenIoc)),
            "text/markdown" => Some(Hint(Self::Report)),
            "text/vnd.iocast.report" => Some(Chosen(Self::Report)),
            "application/octet-stream" | "application/gzip" | "application/zip" => Some(Nothing),
            _ => None,
        }
    }

    /// The word for it in the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Table => "table",
            Self::List => "list",
            Self::Report => "report",
            Self::Html => "html",
            Self::OpenIoc => "openioc",
        }
    }

    /// The form of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|input| input.word() == word)
    }

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Table => "a table",
            Self::List => "a list",
            Self::Report => "a report",
            Self::Html => "a page (HTML)",
            Self::OpenIoc => "OpenIOC",
        }
    }
}

/// What the caller wants of a reader.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Of MISP attributes, only those that are marked `to_ids`.
    pub only_to_ids: bool,
    /// Of reports, links that are not defanged as well.
    pub live_links: bool,
    /// Of STIX, what was merely observed as well.
    pub observables: bool,
}

/// One thing found in an import.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// An indicator.
    Sighting(Box<Sighting>),
    /// Something that is none.
    Rejected(Rejected),
    /// Something that was left out of an indicator, which was taken.
    Remark(Rejected),
}

impl Item {
    fn found(indicator: (Kind, String)) -> Self {
        Self::Sighting(Box::new(Sighting { indicator: Some(indicator), ..Sighting::default() }))
    }

    fn found_with(indicator: (Kind, String), facts: &Sighting) -> Self {
        Self::Sighting(Box::new(Sighting { indicator: Some(indicator), ..facts.clone() }))
    }
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejected {
    /// Line in a text, or place in a list; from 1.
    pub line: u64,
    /// The value, clipped.
    pub value: String,
    /// Why, for people.
    pub reason: String,
}

impl Rejected {
    fn new(line: u64, value: &str, reason: impl Into<String>) -> Self {
        Self { line, value: clip(value, 120), reason: reason.into() }
    }

    fn item(line: u64, value: &str, reason: impl Into<String>) -> Item {
        Item::Rejected(Self::new(line, value, reason))
    }
}

/// Why an import can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not in the form they claim.
    #[error("{0}")]
    Malformed(String),
    /// The bytes could not be fetched.
    #[error("reading the import")]
    Io(#[source] io::Error),
    /// The receiver of the items gave up.
    #[error("the import was stopped")]
    Stopped,
}

impl From<serde_json::Error> for ReadError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() {
            Self::from(io::Error::from(error))
        } else {
            Self::Malformed(format!("The JSON is broken: {error}."))
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        // What our own bounds say; everything else is the file's fault, not the sender's.
        if error.kind() == io::ErrorKind::InvalidData {
            Self::Malformed(format!("The import can't be read: {error}."))
        } else {
            Self::Io(error)
        }
    }
}

/// A piece of an import as it stands there: a line, a row, an element of a list.
#[derive(Debug)]
pub struct Raw(Piece);

#[derive(Debug)]
enum Piece {
    Json(json::Piece),
    Table(table::Row),
    List(ListLine),
    Report(report::Prose),
    OpenIoc(openioc::Entry),
}

impl Raw {
    /// What it holds, in order: nothing, one indicator or refusal, or several.
    pub fn items(self, sink: &mut dyn FnMut(Item)) {
        match self.0 {
            Piece::Json(piece) => piece.items(sink),
            Piece::Table(row) => row.items(sink),
            Piece::List(line) => line.items(sink),
            Piece::Report(prose) => prose.items(sink),
            Piece::OpenIoc(entry) => entry.items(sink),
        }
    }

    /// A number over all that decides what it says, and over `seed`; none of what is long, or
    /// depends on more.
    #[must_use]
    pub fn number(&self, seed: u64) -> Option<u64> {
        let Piece::List(line) = &self.0 else { return None };
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        line.mixed_with.hash(&mut hasher);
        line.line.text.hash(&mut hasher);
        Some(hasher.finish().max(1))
    }

    /// A number over the id of the STIX object that it is.
    #[must_use]
    pub fn object(&self) -> Option<u64> {
        let Piece::Json(piece) = &self.0 else { return None };
        let mut hasher = DefaultHasher::new();
        piece.object_id()?.hash(&mut hasher);
        Some(hasher.finish().max(1))
    }

    /// About how many bytes it takes, or what it becomes.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.0 {
            Piece::Json(piece) => piece.weight(),
            Piece::Table(row) => row.weight(),
            Piece::List(line) => line.line.text.len(),
            Piece::Report(prose) => prose.weight(),
            Piece::OpenIoc(entry) => entry.weight(),
        }
    }
}

/// Receives the pieces; `false` stops the reader.
pub type Sink<'a> = &'a mut dyn FnMut(Raw) -> bool;

/// Takes a whole import apart.
///
/// # Errors
/// [`ReadError::Malformed`] says what to fix. What was given to `sink` before is then to be thrown
/// away.
pub fn split<R: BufRead + Seek>(
    input: Input,
    from: &mut R,
    options: Options,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    split_by(input, from, options, None, sink)
}

/// As [`split`], where a person says what the columns of a table hold.
///
/// # Errors
/// As [`split`].
pub fn split_by<R: BufRead + Seek>(
    input: Input,
    from: &mut R,
    options: Options,
    columns: Option<&Columns>,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    match input {
        Input::Json => json::split(from, options, sink),
        Input::Table => table::split(from, options, columns, sink),
        Input::List => list::split(from, sink),
        Input::Report => report::split(from, options, sink),
        Input::Html => html::split(from, options, sink),
        Input::OpenIoc => openioc::split(from, sink),
    }
}

/// Reads a whole import, one piece after the other.
///
/// # Errors
/// As [`split`].
pub fn read<R: BufRead + Seek>(
    input: Input,
    from: &mut R,
    options: Options,
    sink: &mut dyn FnMut(Item) -> bool,
) -> Result<(), ReadError> {
    split(input, from, options, &mut |raw| {
        let mut goes_on = true;
        raw.items(&mut |item| goes_on = goes_on && sink(item));
        goes_on
    })
}

fn send(sink: Sink<'_>, piece: Piece) -> Result<(), ReadError> {
    if sink(Raw(piece)) { Ok(()) } else { Err(ReadError::Stopped) }
}

/// What is said of a value with a NUL or a byte that is not UTF-8 in it.
fn unclean(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        Some("it holds a NUL byte")
    } else if text.contains('\u{fffd}') {
        Some("it holds characters that could not be read; save the file as UTF-8")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    pub(super) fn sightings(
        input: Input,
        text: &str,
    ) -> Result<(Vec<Sighting>, Vec<Rejected>), ReadError> {
        let (mut found, mut rejected) = (Vec::new(), Vec::new());
        read(input, &mut Cursor::new(text.as_bytes()), Options::default(), &mut |item| {
            match item {
                Item::Sighting(s) => found.push(*s),
                Item::Rejected(r) => rejected.push(r),
                Item::Remark(_) => {}
            }
            true
        })?;
        Ok((found, rejected))
    }

    pub(super) fn values(input: Input, text: &str) -> (Vec<String>, Vec<Rejected>) {
        let (found, rejected) = sightings(input, text).unwrap();
        let word = |s: Sighting| s.indicator.map(|(k, v)| format!("{} {v}", k.word())).unwrap();
        (found.into_iter().map(word).collect(), rejected)
    }
}
