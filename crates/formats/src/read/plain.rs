//! Text of an import: lines whatever ends them, in any encoding that analysts' files have.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read, Write},
};

use super::{ReadError, form::Encoding};

/// Longest line that is looked at, in bytes.
const LINE_MAX: usize = 64 * 1024;
/// How much of the beginning is looked at to find out what a file is.
pub(super) const SAMPLE: usize = 64 * 1024;

/// A line without its end.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) text: String,
    /// Only its beginning is here.
    pub(super) overlong: bool,
}

/// UTF-8, or where it is not, the bytes as Windows-1252, which holds Latin-1.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

/// The beginning of an import, and whether it is all of it. The reader stands behind it.
pub(super) fn sample(from: &mut impl BufRead) -> Result<(String, bool), ReadError> {
    let mut bytes = Vec::new();
    from.by_ref().take(SAMPLE as u64).read_to_end(&mut bytes)?;
    let whole = bytes.len() < SAMPLE;
    Ok((beginning(&bytes), whole))
}

/// Text whose last character may have been cut.
pub(super) fn beginning(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => {
            text(bytes.get(..error.valid_up_to()).unwrap_or_default()).into_owned()
        }
        _ => text(bytes).into_owned(),
    }
}

/// Takes the next line, without its end, as far as `keep` lets it; gives what it was, or nothing at
/// the end. A line ends with a line feed, a carriage return, or both.
fn next_line(from: &mut impl BufRead, mut keep: impl FnMut(&[u8])) -> Result<bool, ReadError> {
    let mut any = false;
    loop {
        let buffer = from.fill_buf().map_err(ReadError::Io)?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|b| matches!(b, b'\n' | b'\r'));
        keep(buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default());
        let Some(end) = end else {
            let length = buffer.len();
            from.consume(length);
            continue;
        };
        let carriage_return = buffer.get(end) == Some(&b'\r');
        from.consume(end + 1);
        if carriage_return && from.fill_buf().map_err(ReadError::Io)?.first() == Some(&b'\n') {
            from.consume(1);
        }
        return Ok(true);
    }
}

/// Hands out lines, in bounded memory.
pub(super) fn each_line(
    from: &mut impl BufRead,
    mut each: impl FnMut(Line) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let mut overlong = false;
        let more = next_line(from, |piece| {
            if line.len() + piece.len() <= LINE_MAX {
                line.extend_from_slice(piece);
            } else {
                overlong = true;
            }
        })?;
        if !more {
            return Ok(());
        }
        number += 1;
        let decoded = text(&line);
        let decoded = if number == 1 { decoded.trim_start_matches('\u{feff}') } else { &decoded };
        each(Line { number, text: decoded.to_owned(), overlong })?;
    }
}

/// Passes over lines.
pub(super) fn skip_lines(from: &mut impl BufRead, lines: u64) -> Result<(), ReadError> {
    for _ in 0..lines {
        next_line(from, |_| {})?;
    }
    Ok(())
}

/// Writes text in another encoding as UTF-8.
pub(super) fn transcode(
    encoding: Encoding,
    from: &mut impl Read,
    to: &mut impl Write,
) -> io::Result<()> {
    let mut decoder = match encoding {
        Encoding::Utf16Le => encoding_rs::UTF_16LE,
        Encoding::Utf16Be => encoding_rs::UTF_16BE,
    }
    .new_decoder_with_bom_removal();
    let mut bytes = vec![0; 64 * 1024];
    let mut text = String::with_capacity(256 * 1024);
    loop {
        let read = from.read(&mut bytes)?;
        text.clear();
        // There is room: a byte becomes at most three.
        let (_, _, _) =
            decoder.decode_to_string(bytes.get(..read).unwrap_or_default(), &mut text, read == 0);
        to.write_all(text.as_bytes())?;
        if read == 0 {
            return Ok(());
        }
    }
}
