//! `text/csv` with a header that names at least a `value` column.

use std::{io::BufRead, sync::Arc};

use iocast_domain::{
    ioc::{Kind, Sighting, label},
    normalise,
    source::Confidence,
    time::Timestamp,
};

use super::{Item, Piece, ReadError, Rejected, Sink, send, unclean};

/// The columns that are read; others are passed over.
const COLUMNS: &[(&str, &[&str])] = &[
    ("value", &["value", "indicator", "ioc"]),
    ("kind", &["kind", "type"]),
    ("first_seen", &["first_seen", "firstseen"]),
    ("last_seen", &["last_seen", "lastseen"]),
    ("severity", &["severity"]),
    ("confidence", &["confidence"]),
    ("score", &["score"]),
    ("alert_id", &["alert_id"]),
    ("user_tags", &["user_tags", "tags"]),
    ("system_tags", &["system_tags"]),
    ("threat_actors", &["threat_actors"]),
    ("campaigns", &["campaigns"]),
    ("malware_families", &["malware_families"]),
];

/// A row of a table.
#[derive(Debug)]
pub(super) struct Row {
    /// What each of its cells is.
    columns: Arc<[Option<&'static str>]>,
    cells: csv::ByteRecord,
}

/// Longest row, in bytes.
const ROW_MAX: usize = 1 << 20;
/// Most cells of a row.
const CELLS_MAX: usize = 10_000;

/// The rows of a table, one at a time, none of which takes more memory than [`ROW_MAX`]: a file may
/// have no line end at all.
struct Rows<'r, R> {
    from: &'r mut R,
    core: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<'r, R: BufRead> Rows<'r, R> {
    fn new(from: &'r mut R) -> Self {
        Self { from, core: csv_core::Reader::new(), text: vec![0; 4_096], ends: vec![0; 64] }
    }

    /// Reads the next row; false at the end.
    fn read(&mut self, row: &mut csv::ByteRecord) -> Result<bool, ReadError> {
        let (mut written, mut cells) = (0, 0);
        let line = self.core.line();
        loop {
            let input = self.from.fill_buf()?;
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
                csv_core::ReadRecordResult::End => return Ok(false),
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
        let mut position = csv::Position::new();
        position.set_line(line);
        row.set_position(Some(position));
        Ok(true)
    }
}

pub(super) fn split(from: &mut impl BufRead, sink: Sink<'_>) -> Result<(), ReadError> {
    let mut rows = Rows::new(from);
    let mut header = csv::ByteRecord::new();
    rows.read(&mut header)?;
    let columns: Arc<[_]> = header.iter().map(|h| column(&String::from_utf8_lossy(h))).collect();
    if !columns.contains(&Some("value")) {
        return Err(ReadError::Malformed(
            "The first line must name the columns, and one of them must be `value`; for a list without a header send text/plain.".to_owned(),
        ));
    }
    let mut cells = csv::ByteRecord::new();
    while rows.read(&mut cells)? {
        send(sink, Piece::Csv(Row { columns: Arc::clone(&columns), cells: cells.clone() }))?;
    }
    Ok(())
}

impl Row {
    pub(super) fn weight(&self) -> usize {
        self.cells.as_slice().len() + self.cells.len() * size_of::<usize>()
    }

    pub(super) fn items(&self, sink: &mut dyn FnMut(Item)) {
        let line = self.cells.position().map_or(0, csv::Position::line);
        let cells: Vec<(&str, String)> = self
            .columns
            .iter()
            .zip(&self.cells)
            .filter_map(|(c, cell)| Some(((*c)?, String::from_utf8_lossy(cell).into_owned())))
            .collect();
        let value =
            cells.iter().find(|(c, _)| *c == "value").map(|(_, v)| v.as_str()).unwrap_or_default();
        if value.is_empty() && self.cells.iter().all(<[u8]>::is_empty) {
            return;
        }
        let read = match cells.iter().find_map(|(_, v)| unclean(v)) {
            Some(reason) => Err(reason.to_owned()),
            None => sighting(&cells, value),
        };
        sink(match read {
            Ok(sighting) => Item::Sighting(Box::new(sighting)),
            Err(reason) => Rejected::item(line, value, reason),
        });
    }
}

fn column(header: &str) -> Option<&'static str> {
    let name =
        header.trim_start_matches('\u{feff}').trim().to_ascii_lowercase().replace([' ', '-'], "_");
    COLUMNS.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(column, _)| *column)
}

fn sighting(cells: &[(&str, String)], value: &str) -> Result<Sighting, String> {
    let mut sighting = Sighting::default();
    let mut kind: Option<Kind> = None;
    for (column, cell) in cells.iter().filter(|(_, cell)| !cell.is_empty()) {
        let labels = || cell.split([';', '|']).filter_map(label);
        let enrichment = &mut sighting.enrichment;
        match *column {
            "kind" => kind = super::json::kind_word(cell)?,
            "first_seen" => sighting.first_seen = Some(Timestamp::parse(cell)?),
            "last_seen" => sighting.last_seen = Some(Timestamp::parse(cell)?),
            "severity" => enrichment.reported_severity = Some(cell.parse()?),
            "confidence" => {
                sighting.confidence = Some(
                    cell.parse::<u8>()
                        .ok()
                        .and_then(|c| Confidence::try_from(c).ok())
                        .ok_or("confidence is 1, 2 or 3")?,
                );
            }
            "score" => {
                enrichment.score = Some(super::json::score(
                    cell.parse().ok().ok_or("score is a number of 0 to 100")?,
                )?);
            }
            "alert_id" => enrichment.alert_id = label(cell),
            "user_tags" => enrichment.user_tags.extend(labels()),
            "system_tags" => enrichment.system_tags.extend(labels()),
            "threat_actors" => enrichment.threat_actors.extend(labels()),
            "campaigns" => enrichment.campaigns.extend(labels()),
            "malware_families" => enrichment.malware_families.extend(labels()),
            _ => {}
        }
    }
    sighting.indicator = Some(match kind {
        Some(kind) => normalise::of_kind(kind, value)?,
        None => normalise::detect(value)?,
    });
    if sighting.first_seen.zip(sighting.last_seen).is_some_and(|(first, last)| first > last) {
        return Err("first_seen is later than last_seen".to_owned());
    }
    Ok(sighting)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sightings, values};
    use super::super::{Input, ReadError};

    #[test]
    fn a_table_with_enrichment() {
        let text = "Value,Type,Severity,Tags,Malware families,Note\nevil.example,domain,High,a;b,Emotet|QakBot,x\n203.0.113.1,,,,,\nnodots,,,,,\nevil2.example,domain,awful,,,\n";
        let (found, rejected) = sightings(Input::Csv, text).unwrap();
        assert_eq!(found[0].enrichment.malware_families.len(), 2);
        assert_eq!(
            found[0].enrichment.reported_severity.map(iocast_domain::ioc::Severity::word),
            Some("high")
        );
        assert_eq!(found.len(), 2);
        assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [4, 5]);
        assert!(rejected[1].reason.contains("low, medium, high"));
    }

    #[test]
    fn a_quote_without_end_is_told() {
        let text = format!("value\n\"evil.example\n{}", "more.example\n".repeat(200_000));
        let Err(ReadError::Malformed(message)) = sightings(Input::Csv, &text) else {
            panic!("taken")
        };
        assert!(message.contains("closing quote"), "{message}");
    }

    #[test]
    fn a_stray_quote_in_a_cell_is_part_of_it() {
        let text = format!(
            "value,note\nevil0.example,5\" disk\n{}",
            (1..100_000).map(|i| format!("evil{i}.example,a clean note\n")).collect::<String>()
        );
        let (found, rejected) = sightings(Input::Csv, &text).unwrap();
        assert_eq!((found.len(), rejected.len()), (100_000, 0));
    }

    #[test]
    fn a_row_without_end_is_told_before_it_is_held() {
        for row in
            [format!("value\n{}", "x".repeat(3_000_000)), format!("value\n{}", ",".repeat(50_000))]
        {
            let Err(ReadError::Malformed(message)) = sightings(Input::Csv, &row) else {
                panic!("taken")
            };
            assert!(message.starts_with("The row at line 2"), "{message}");
        }
    }

    #[test]
    fn a_table_without_a_header_says_what_to_do() {
        let Err(ReadError::Malformed(message)) =
            sightings(Input::Csv, "evil.example\nevil2.example\n")
        else {
            panic!("taken")
        };
        assert!(message.contains("text/plain"));
        assert_eq!(values(Input::Csv, "value\nevil.example\n").0, ["domain evil.example"]);
    }
}
