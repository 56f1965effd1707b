//! Readers: bytes of an import into sightings, with a reason for each line refused. Memory is
//! bounded whatever the size.
//!
//! [`split`] takes the bytes apart, one after the other; what each piece means ([`Raw::items`]) can
//! be found out on any thread.

use std::io::{self, BufRead, Seek};

use iocast_domain::{ioc::Sighting, time::clip};

mod csv;
mod guard;
mod json;
mod list;
mod misp;
mod report;

/// The form of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Our own list, or MISP events, told apart by shape.
    Json,
    /// A table with a header.
    Csv,
    /// One value a line.
    List,
    /// Prose.
    Report,
}

impl Input {
    /// The form named by a `Content-Type`, parameters ignored.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence =
            content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Some(Self::Json),
            "text/csv" => Some(Self::Csv),
            "text/plain" => Some(Self::List),
            "text/vnd.iocast.report" => Some(Self::Report),
            _ => None,
        }
    }

    /// The form that a file's name suggests.
    #[must_use]
    pub fn from_file_name(name: &str) -> Self {
        match name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "csv" => Self::Csv,
            _ => Self::List,
        }
    }
}

/// What the caller wants of a reader.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Of MISP attributes, only those that are marked `to_ids`.
    pub only_to_ids: bool,
}

/// One thing found in an import.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// An indicator.
    Sighting(Box<Sighting>),
    /// Something that is none.
    Rejected(Rejected),
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Rejected {
    /// Line in a text, or place in a list; from 1.
    pub line: u64,
    /// The value, clipped.
    pub value: String,
    /// Why, for people.
    pub reason: String,
}

impl Rejected {
    fn item(line: u64, value: &str, reason: impl Into<String>) -> Item {
        Item::Rejected(Self { line, value: clip(value, 120), reason: reason.into() })
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
    Csv(csv::Row),
    List(Line),
    Report(report::Prose),
}

impl Raw {
    /// What it holds, in order: nothing, one indicator or refusal, or several.
    pub fn items(self, sink: &mut dyn FnMut(Item)) {
        match self.0 {
            Piece::Json(piece) => piece.items(sink),
            Piece::Csv(row) => row.items(sink),
            Piece::List(line) => list::items(&line, sink),
            Piece::Report(prose) => prose.items(sink),
        }
    }

    /// About how many bytes it takes, or what it becomes.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.0 {
            Piece::Json(piece) => piece.weight(),
            Piece::Csv(row) => row.weight(),
            Piece::List(line) => line.text.len(),
            Piece::Report(prose) => prose.weight(),
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
    match input {
        Input::Json => json::split(from, options, sink),
        Input::Csv => csv::split(from, sink),
        Input::List => each_line(from, |line| send(sink, Piece::List(line))),
        Input::Report => report::split(from, sink),
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

/// A line without its end.
#[derive(Debug)]
struct Line {
    /// From 1.
    number: u64,
    text: String,
    /// Only its beginning is here.
    overlong: bool,
}

/// Longest line that is looked at, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// Hands out lines, in bounded memory.
fn each_line(
    from: &mut impl BufRead,
    mut each: impl FnMut(Line) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let mut overlong = false;
        let mut read = 0;
        loop {
            let buffer = from.fill_buf().map_err(ReadError::Io)?;
            if buffer.is_empty() {
                break;
            }
            let (piece, ended) = match buffer.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), false),
            };
            if line.len() + piece <= LINE_MAX {
                line.extend_from_slice(buffer.get(..piece).unwrap_or_default());
            } else {
                overlong = true;
            }
            from.consume(piece);
            read += piece;
            if ended {
                break;
            }
        }
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        each(Line { number, text: text.to_owned(), overlong })?;
    }
}

/// What is said of a value with a NUL or a byte that is not UTF-8 in it.
fn unclean(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        Some("it holds a NUL byte")
    } else if text.contains('\u{fffd}') {
        Some("it is not UTF-8; save the file as UTF-8")
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
