//! The rows of a table, one at a time, none of which takes more memory than a bound: a file may have
//! no line end at all.

use std::io::BufRead;

use super::{
    super::{ReadError, plain},
    Layout,
};

/// Longest row, in bytes.
const ROW_MAX: usize = 1 << 20;
/// Most cells of a row.
const CELLS_MAX: usize = 10_000;

pub(super) struct Rows<'r, R> {
    from: Unblanked<'r, R>,
    core: csv_core::Reader,
    /// Lines above the rows.
    above: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<'r, R: BufRead> Rows<'r, R> {
    /// Stands behind the header.
    pub(super) fn new(from: &'r mut R, layout: &Layout) -> Result<Self, ReadError> {
        plain::skip_lines(from, layout.above)?;
        Ok(Self {
            from: Unblanked::new(from, layout),
            core: csv_core::ReaderBuilder::new().delimiter(layout.separator).build(),
            above: layout.above,
            text: vec![0; 4_096],
            ends: vec![0; 64],
        })
    }

    /// Reads the next row and gives its line; nothing at the end.
    pub(super) fn read(&mut self, row: &mut csv::ByteRecord) -> Result<Option<u64>, ReadError> {
        let (mut written, mut cells) = (0, 0);
        let line = self.above + self.core.line();
        loop {
            let input = self.from.fill()?;
            let (text, ends) = (
                self.text.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(cells..).unwrap_or_default(),
            );
            let (result, read, out, ended) = self.core.read_record(input, text, ends);
            self.from.consume(read);
            written += out;
            cells += ended;
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::OutputFull if written < ROW_MAX => {
                    self.text.resize((self.text.len() * 2).min(ROW_MAX), 0);
                }
                csv_core::ReadRecordResult::OutputFull => {
                    return Err(ReadError::Malformed(format!(
                        "The row at line {line} is longer than 1 MiB; a closing quote or a line end may be missing."
                    )));
                }
                csv_core::ReadRecordResult::OutputEndsFull if cells < CELLS_MAX => {
                    self.ends.resize((self.ends.len() * 2).min(CELLS_MAX), 0);
                }
                csv_core::ReadRecordResult::OutputEndsFull => {
                    return Err(ReadError::Malformed(format!(
                        "The row at line {line} has more than {CELLS_MAX} cells; is the file a table?"
                    )));
                }
                csv_core::ReadRecordResult::End => return Ok(None),
                csv_core::ReadRecordResult::Record => break,
            }
        }
        row.clear();
        let mut start = 0;
        for end in self.ends.iter().take(cells) {
            row.push_field(self.text.get(start..*end).unwrap_or_default());
            start = *end;
        }
        row.trim();
        Ok(Some(line))
    }
}

/// Drops blanks between a separator and a quote, where a table has them: the quote would be taken
/// for text.
struct Unblanked<'r, R> {
    from: &'r mut R,
    /// Nothing where the table has none, and the bytes pass as they are.
    separator: Option<u8>,
    held: Vec<u8>,
    at: usize,
    in_quotes: bool,
    behind_separator: bool,
}

impl<'r, R: BufRead> Unblanked<'r, R> {
    fn new(from: &'r mut R, layout: &Layout) -> Self {
        Self {
            from,
            separator: layout.blanks.then_some(layout.separator),
            held: Vec::new(),
            at: 0,
            in_quotes: false,
            behind_separator: false,
        }
    }

    fn fill(&mut self) -> Result<&[u8], ReadError> {
        let Some(separator) = self.separator else { return Ok(self.from.fill_buf()?) };
        while self.at >= self.held.len() {
            self.held.clear();
            self.at = 0;
            let input = self.from.fill_buf()?;
            if input.is_empty() {
                break;
            }
            let length = input.len();
            for byte in input {
                if *byte == b' ' && self.behind_separator {
                    continue;
                }
                self.in_quotes ^= *byte == b'"';
                self.behind_separator = *byte == separator && !self.in_quotes;
                self.held.push(*byte);
            }
            self.from.consume(length);
        }
        Ok(self.held.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, read: usize) {
        if self.separator.is_some() {
            self.at += read;
        } else {
            self.from.consume(read);
        }
    }
}
