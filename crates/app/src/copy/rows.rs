//! Rows as lines of JSON.

use iocast_formats::backup::{bytes_of, text_of};
use iocast_store::Cell;
use serde::{Serialize, Serializer, ser::SerializeSeq as _};
use serde_json::Value;

/// A row as it is written.
pub(super) struct Line<'a>(pub(super) &'a [Cell]);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut row = to.serialize_seq(Some(self.0.len()))?;
        for cell in self.0 {
            match cell {
                Cell::Bool(of) => row.serialize_element(of)?,
                Cell::Small(of) => row.serialize_element(of)?,
                Cell::Int(of) => row.serialize_element(of)?,
                Cell::Big(of) => row.serialize_element(of)?,
                Cell::Text(of) => row.serialize_element(of)?,
                Cell::Bytes(of) => row.serialize_element(&of.as_deref().map(text_of))?,
                Cell::Uuid(of) => row.serialize_element(&of.map(|id| id.to_string()))?,
            }
        }
        row.end()
    }
}

/// What each column of a table holds, by one of its rows.
pub(super) fn kinds(row: &[Cell]) -> impl Iterator<Item = String> {
    row.iter().map(|cell| {
        let word = match cell {
            Cell::Bool(_) => "bool",
            Cell::Small(_) => "small",
            Cell::Int(_) => "int",
            Cell::Big(_) => "big",
            Cell::Text(_) => "text",
            Cell::Bytes(_) => "bytes",
            Cell::Uuid(_) => "uuid",
        };
        word.to_owned()
    })
}

/// A row as it is read; none where it does not match its columns.
pub(super) fn cells(line: &[u8], columns: &[(String, String)]) -> Option<Vec<Cell>> {
    let values: Vec<Value> = serde_json::from_slice(line).ok()?;
    if values.len() != columns.len() {
        return None;
    }
    values.into_iter().zip(columns).map(|(value, (_, kind))| cell(value, kind)).collect()
}

fn cell(value: Value, kind: &str) -> Option<Cell> {
    let is_null = value.is_null();
    let int = || value.as_i64();
    let text = || value.as_str();
    Some(match kind {
        "bool" if is_null => Cell::Bool(None),
        "bool" => Cell::Bool(Some(value.as_bool()?)),
        "small" if is_null => Cell::Small(None),
        "small" => Cell::Small(Some(i16::try_from(int()?).ok()?)),
        "int" if is_null => Cell::Int(None),
        "int" => Cell::Int(Some(i32::try_from(int()?).ok()?)),
        "big" if is_null => Cell::Big(None),
        "big" => Cell::Big(Some(int()?)),
        "text" if is_null => Cell::Text(None),
        "text" => Cell::Text(Some(text()?.to_owned())),
        "bytes" if is_null => Cell::Bytes(None),
        "bytes" => Cell::Bytes(Some(bytes_of(text()?)?)),
        "uuid" if is_null => Cell::Uuid(None),
        "uuid" => Cell::Uuid(Some(text()?.parse().ok()?)),
        _ => return None,
    })
}
