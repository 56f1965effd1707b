//! Finds out how a table is laid out: separator, header, and what its columns hold.

use super::{
    super::{
        fields::{Role, role},
        kinds, list,
    },
    Columns,
};

/// Separators that are tried; among equals, the last one counts.
const SEPARATORS: &[u8] = b"|\t;,";
/// How many lines may stand above the header.
const ABOVE_MAX: usize = 40;
/// How many rows are looked at.
const ROWS_MAX: usize = 60;

/// How a table is laid out.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Layout {
    pub(super) separator: u8,
    /// Lines before the first row.
    pub(super) above: u64,
    /// Blanks stand between separators and quotes.
    pub(super) blanks: bool,
    pub(super) columns: Vec<Option<Role>>,
    /// A header names the columns.
    pub(in super::super) named: bool,
    /// A column that a person named and that is not there.
    pub(super) missing: Option<String>,
}

impl Layout {
    /// How many columns it has.
    pub(in super::super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// From the beginning of a table; `whole` if there is no more. Nothing where no column holds
    /// indicators.
    pub(in super::super) fn find(
        sample: &str,
        whole: bool,
        said: Option<&Columns>,
    ) -> Option<Self> {
        let mut lines: Vec<&str> = lines(sample);
        if !whole && lines.len() > 1 {
            // The last one is cut.
            lines.pop();
        }
        let given = lines.first().and_then(|line| {
            let sign = line.trim().trim_matches('"').strip_prefix("sep=")?;
            sign.bytes().next().or(Some(b'\t'))
        });
        let begin = usize::from(given.is_some());
        let separators: Vec<u8> = given.map_or_else(|| SEPARATORS.to_vec(), |sign| vec![sign]);
        let headed = header(&lines, begin, &separators, said);
        let (separator, above, names, mut columns) = match headed {
            Some(Header { separator, line, names, columns }) => {
                (separator, line + 1, names, columns)
            }
            None => (common(&lines, begin, &separators)?, begin, Vec::new(), Vec::new()),
        };
        let blanks = blanks(&lines, above, separator);
        let rows: Vec<Vec<String>> = lines
            .iter()
            .skip(above)
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
            .take(ROWS_MAX)
            .map(|line| cells(line, separator))
            .collect();
        let named = !columns.is_empty();
        if named {
            judge_named(&mut columns, &rows);
        } else {
            columns = by_content(&rows);
        }
        let mut missing = None;
        if let Some(said) = said {
            missing = said.missing(&names, columns.len()).map(str::to_owned);
            said.apply(&names, &mut columns);
        }
        let has_values = columns.iter().flatten().any(|role| role.is_value());
        (has_values || missing.is_some()).then(|| Self {
            separator,
            above: u64::try_from(above).unwrap_or(u64::MAX),
            blanks,
            columns,
            named,
            missing,
        })
    }
}

/// Lines, whatever ends them.
fn lines(text: &str) -> Vec<&str> {
    let text = text.trim_start_matches('\u{feff}');
    if text.contains('\n') {
        text.split('\n').map(|line| line.trim_end_matches('\r')).collect()
    } else {
        text.split('\r').collect()
    }
}

/// The cells of a line. Quoted line ends don't matter here: a sample is looked at.
fn cells(line: &str, separator: u8) -> Vec<String> {
    let mut out = Vec::new();
    let (mut cell, mut in_quotes) = (String::new(), false);
    for c in line.chars() {
        match c {
            '"' => in_quotes = !in_quotes,
            c if c == char::from(separator) && !in_quotes => {
                out.push(std::mem::take(&mut cell).trim().to_owned());
            }
            c => cell.push(c),
        }
    }
    out.push(cell.trim().to_owned());
    out
}

fn is_indicator(text: &str) -> bool {
    list::word(text, &mut |_| {}).is_ok()
}

/// The header of a table.
struct Header {
    separator: u8,
    line: usize,
    /// What the columns are called.
    names: Vec<String>,
    /// What they hold by that.
    columns: Vec<Option<Role>>,
}

/// The header, where there is one.
fn header(
    lines: &[&str],
    begin: usize,
    separators: &[u8],
    said: Option<&Columns>,
) -> Option<Header> {
    let by_person = |cell: &String| said.and_then(|said| said.by_name(cell));
    for (at, line) in lines.iter().enumerate().skip(begin).take(ABOVE_MAX) {
        let commented = line.starts_with('#');
        let bare = line.trim_start_matches('#').trim_start_matches("fields").trim_start();
        let best = separators
            .iter()
            .map(|separator| (*separator, cells(bare, *separator)))
            .filter(|(_, cells)| cells.len() > 1 || !commented)
            .map(|(separator, cells)| {
                let of_cell = |cell| by_person(cell).unwrap_or_else(|| role(cell));
                let roles: Vec<_> = cells.iter().map(of_cell).collect();
                (roles.iter().flatten().count(), separator, cells, roles)
            })
            .max_by_key(|(known, _, cells, _)| (*known, cells.len()));
        let Some((known, separator, cells, roles)) = best else { continue };
        let holds = |wanted: fn(Role) -> bool| roles.iter().flatten().any(|role| wanted(*role));
        let enough = known >= 2 || !commented && known * 2 >= cells.len();
        let is_header = enough
            && (holds(Role::is_value) || holds(|role| role == Role::Kind) && cells.len() > 1)
            || cells.iter().any(|cell| by_person(cell).is_some());
        if is_header && !cells.iter().any(|cell| is_indicator(cell)) {
            return Some(Header { separator, line: at, names: cells, columns: roles });
        }
        // Rows have begun.
        if !commented && cells.iter().any(|cell| is_indicator(cell)) {
            return None;
        }
    }
    None
}

/// The separator that cuts most lines into the same number of cells.
fn common(lines: &[&str], begin: usize, separators: &[u8]) -> Option<u8> {
    let rows: Vec<&&str> = lines
        .iter()
        .skip(begin)
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .take(ROWS_MAX)
        .collect();
    let widths = |separator: u8| -> Option<usize> {
        let widths: Vec<usize> = rows.iter().map(|row| cells(row, separator).len()).collect();
        let first = *widths.first()?;
        let same = widths.iter().filter(|width| **width == first).count();
        (first > 1 && same * 10 >= widths.len() * 9).then_some(first)
    };
    separators
        .iter()
        .filter_map(|separator| Some((widths(*separator)?, *separator)))
        .max_by_key(|(width, _)| *width)
        .map(|(_, separator)| separator)
        .or_else(|| rows.first().and(separators.last().copied()))
}

fn blanks(lines: &[&str], above: usize, separator: u8) -> bool {
    let sign = format!("{} \"", char::from(separator));
    lines.iter().skip(above).any(|line| line.contains(&sign))
}

/// How many cells of a column are filled, are indicators, are kind words.
fn counts(rows: &[Vec<String>], column: usize) -> (usize, usize, usize) {
    let cells = || rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty());
    (
        cells().count(),
        cells().filter(|cell| is_indicator(cell)).count(),
        cells().filter(|cell| kinds::is_word(cell)).count(),
    )
}

/// Names are words of people: where a column `Indicator` holds kinds and the next one the values, the
/// cells decide.
fn judge_named(columns: &mut [Option<Role>], rows: &[Vec<String>]) {
    let mut kinds = None;
    for (at, column) in columns.iter_mut().enumerate() {
        let (filled, indicators, words) = counts(rows, at);
        match column {
            Some(Role::Value) if filled > 0 && words == filled && indicators == 0 => {
                *column = Some(Role::Kind);
                kinds = Some(at);
            }
            Some(Role::Kind) if filled > 0 && indicators * 2 > filled => {
                *column = Some(Role::Value);
            }
            _ => {}
        }
    }
    let has_values = |columns: &[Option<Role>]| columns.iter().flatten().any(|r| r.is_value());
    if !has_values(columns) {
        let next = kinds.map(|at| at + 1).filter(|at| *at < columns.len());
        let by_content = || {
            (0..columns.len()).find(|at| {
                let (filled, indicators, _) = counts(rows, *at);
                columns.get(*at) != Some(&Some(Role::Reference))
                    && indicators > 0
                    && indicators * 2 >= filled
            })
        };
        if let Some(column) = next.or_else(by_content).and_then(|at| columns.get_mut(at)) {
            *column = Some(Role::Value);
        }
    }
    // Where a column is for indicators of any kind, others only describe them.
    let general: Vec<usize> = (0..columns.len())
        .filter(|at| columns.get(*at) == Some(&Some(Role::Value)))
        .filter(|at| rows.is_empty() || counts(rows, *at).1 > 0)
        .collect();
    if let Some(first) = general.first() {
        for (at, column) in columns.iter_mut().enumerate() {
            if at != *first && column.is_some_and(Role::is_value) {
                *column = None;
            }
        }
    }
}

/// Without a header: columns of indicators and of kind words. Links count only where nothing stands
/// before them: they may lead to where it was written about.
fn by_content(rows: &[Vec<String>]) -> Vec<Option<Role>> {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0).min(200);
    let mut columns = vec![None; width];
    let mut any = false;
    for (at, column) in columns.iter_mut().enumerate() {
        let (filled, indicators, words) = counts(rows, at);
        let links = rows
            .iter()
            .filter_map(|row| row.get(at))
            .filter(|cell| cell.contains("://") || cell.contains('/'))
            .count();
        if filled > 0 && words == filled {
            *column = Some(Role::Kind);
        } else if indicators > 0 && indicators * 10 >= filled * 6 && (!any || links * 2 < filled) {
            *column = Some(Role::Value);
            any = true;
        }
    }
    columns
}
