//! Readers: bytes of an import into sightings, with a reason for each line refused. Memory is bounded whatever the size.

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
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
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
        if error.is_io() { Self::from(io::Error::from(error)) } else { Self::Malformed(format!("The JSON is broken: {error}.")) }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        // What our own bounds say; everything else is the file's fault, not the sender's.
        if error.kind() == io::ErrorKind::InvalidData { Self::Malformed(format!("The import can't be read: {error}.")) } else { Self::Io(error) }
    }
}

/// Receives what a reader finds; `false` stops it.
pub type Sink<'a> = &'a mut dyn FnMut(Item) -> bool;

/// Reads a whole import.
///
/// # Errors
/// [`ReadError::Malformed`] says what to mend. What was given to `sink` before is then to be thrown away.
pub fn read<R: BufRead + Seek>(input: Input, from: &mut R, options: Options, sink: Sink<'_>) -> Result<(), ReadError> {
    match input {
        Input::Json => json::read(from, options, sink),
        Input::Csv => csv::read(from, sink),
        Input::List => list::read(from, sink),
        Input::Report => report::read(from, sink),
    }
}

fn send(sink: Sink<'_>, item: Item) -> Result<(), ReadError> {
    if sink(item) { Ok(()) } else { Err(ReadError::Stopped) }
}

/// Longest line that is looked at, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// Hands out lines without their ends, in bounded memory: an overlong line arrives as `Err(its beginning)`.
fn each_line(from: &mut impl BufRead, mut each: impl FnMut(u64, Result<&str, &str>) -> Result<(), ReadError>) -> Result<(), ReadError> {
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
        each(number, if overlong { Err(text) } else { Ok(text) })?;
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

    pub(super) fn sightings(input: Input, text: &str) -> Result<(Vec<Sighting>, Vec<Rejected>), ReadError> {
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
