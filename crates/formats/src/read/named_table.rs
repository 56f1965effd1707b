//! A table whose first line names its columns.

use std::collections::BTreeMap;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTable {
    /// What separates its cells.
    pub separator: u8,
    /// Its lines: the number of each, and its cells by the names of their columns, in lower case
    /// with `_` for blanks. What stands behind the last named column is left out.
    pub lines: Vec<(u64, BTreeMap<String, String>)>,
}

/// Reads a table: comma, semicolon or tab, whichever its first line has most of.
///
/// # Errors
/// Where the table breaks off.
pub fn named_table(text: &str) -> Result<NamedTable, String> {
    // With other line ends, numbers of lines would be off by one.
    let text = text.trim_start_matches('\u{feff}').trim_start().replace("\r\n", "\n");
    let head = text.lines().next().unwrap_or_default();
    let separator = [b'\t', b';', b',']
        .into_iter()
        .max_by_key(|at| head.bytes().filter(|b| b == at).count())
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(text.as_bytes());
    let name = |name: &str| name.to_lowercase().replace([' ', '-'], "_");
    let names: Vec<String> =
        reader.headers().map_err(|e| e.to_string())?.iter().map(name).collect();
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |(at, name): (usize, &String)| {
            (name.clone(), record.get(at).unwrap_or_default().to_owned())
        };
        lines.push((line, names.iter().enumerate().map(cell).collect()));
    }
    Ok(NamedTable { separator, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_separates_cells_and_names_columns() {
        for (text, separator) in [
            ("\u{feff}Name,Device Type\r\n\"a, b\",misp\r\n", b','),
            ("Name;Device-Type\n\"a, b\";misp\n", b';'),
            ("name\tdevice_type\na, b\tmisp\tmore\n", b'\t'),
        ] {
            let table = named_table(text).unwrap();
            assert_eq!(table.separator, separator, "{text}");
            let (line, cells) = &table.lines[0];
            assert_eq!((*line, cells.len()), (2, 2), "{text}");
            assert_eq!((cells["name"].as_str(), cells["device_type"].as_str()), ("a, b", "misp"));
        }
        assert!(named_table("").unwrap().lines.is_empty());
        let short = named_table("name,device_type,labels\na\n").unwrap();
        assert_eq!(short.lines[0].1["labels"], "");
    }
}
