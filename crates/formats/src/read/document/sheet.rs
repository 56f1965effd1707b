//! Spreadsheets, a table of each sheet.

use std::io::{Cursor, Read, Write};

use calamine::{Data, DataRef, Reader as _, Sheets, open_workbook_auto_from_rs};

use super::{Outputs, whole};
use crate::read::{Input, ReadError, unpack::Unpacked};

/// Columns that are read of a row.
const COLUMNS_MAX: u32 = 500;

type Bytes<'a> = Cursor<&'a [u8]>;

pub(super) fn extract<W: Write>(
    from: &mut impl Read,
    outputs: &mut Outputs<'_, W>,
) -> Result<Vec<String>, ReadError> {
    let bytes = whole(from)?;
    let broken = || {
        ReadError::Malformed("The file is an Office document that can't be read: it is broken, has a password, or is of an old kind; save it as XLSX, DOCX, CSV or text.".to_owned())
    };
    let mut book: Sheets<Bytes<'_>> =
        open_workbook_auto_from_rs(Cursor::new(bytes.as_slice())).map_err(|_| broken())?;
    let mut left_out = Vec::new();
    let names = book.sheet_names();
    for name in &names {
        let to = outputs.open(Unpacked { name: Some(name.clone()), form: Some(Input::Table) })?;
        let mut rows = Rows::new(to);
        if sheet(&mut book, name, &mut rows)?.is_none() {
            left_out.push(format!("Sheet {name} can't be read."));
        }
        rows.end()?;
    }
    if left_out.len() == names.len() { Err(broken()) } else { Ok(left_out) }
}

/// Writes the cells of a sheet; nothing where it can't be read.
fn sheet<W: Write>(
    book: &mut Sheets<Bytes<'_>>,
    name: &str,
    rows: &mut Rows<W>,
) -> Result<Option<()>, ReadError> {
    // A cell at a time, where that can be had: a single one far out would make a table of billions.
    if let Sheets::Xlsx(book) = book {
        let Ok(mut cells) = book.worksheet_cells_reader(name) else { return Ok(None) };
        loop {
            match cells.next_cell() {
                Ok(Some(cell)) => rows.put(cell.get_position(), &shown_ref(cell.get_value()))?,
                Ok(None) => return Ok(Some(())),
                Err(_) => return Ok(None),
            }
        }
    }
    let Ok(range) = book.worksheet_range(name) else { return Ok(None) };
    for (row, column, value) in range.used_cells() {
        let place =
            (u32::try_from(row).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX));
        rows.put(place, &shown(value))?;
    }
    Ok(Some(()))
}

fn shown_ref(value: &DataRef<'_>) -> String {
    shown(&Data::from(value.clone()))
}

fn shown(value: &Data) -> String {
    match value {
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => number.to_string(),
        Data::Bool(yes) => yes.to_string(),
        Data::DateTime(time) => match time.as_datetime() {
            Some(time) => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            None => time.as_f64().to_string(),
        },
        Data::Error(_) | Data::Empty => String::new(),
    }
}

/// Cells that come in order become lines of CSV.
struct Rows<W: Write> {
    to: csv::Writer<W>,
    row: u32,
    cells: Vec<String>,
}

impl<W: Write> Rows<W> {
    fn new(to: W) -> Self {
        let to = csv::WriterBuilder::new().flexible(true).from_writer(to);
        Self { to, row: 0, cells: Vec::new() }
    }

    fn put(&mut self, (row, column): (u32, u32), text: &str) -> Result<(), ReadError> {
        if row != self.row {
            self.line()?;
            self.row = row;
        }
        if column < COLUMNS_MAX && !text.is_empty() {
            while self.cells.len() <= column as usize {
                self.cells.push(String::new());
            }
            if let Some(cell) = self.cells.last_mut() {
                cell.push_str(text);
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<(), ReadError> {
        if !self.cells.is_empty() {
            self.to.write_record(&self.cells).map_err(std::io::Error::from)?;
            self.cells.clear();
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), ReadError> {
        self.line()?;
        Ok(self.to.flush()?)
    }
}
