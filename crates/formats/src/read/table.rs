//! Tables: any separator, titles and remarks above the header, a header in the words of any product,
//! or none.

use std::{
    io::{BufRead, Seek},
    sync::Arc,
};

use iocast_domain::{
    ioc::{Kind, Sighting},
    normalise,
    refang::without_hidden,
    time::clip,
};

use super::{
    Item, Options, Piece, ReadError, Rejected, Sink,
    fields::{Facts, Role, Said},
    guard,
    kinds::KindWord,
    list, misp, plain, send, unclean,
};

mod columns;
mod layout;
mod rows;

pub use self::columns::Columns;
pub(super) use self::layout::Layout;
use self::rows::Rows;

/// A row of a table.
#[derive(Debug)]
pub(super) struct Row {
    layout: Arc<Layout>,
    only_to_ids: bool,
    line: u64,
    cells: csv::ByteRecord,
}

pub(super) fn split<R: BufRead + Seek>(
    from: &mut R,
    options: Options,
    columns: Option<&Columns>,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    let (sample, whole) = plain::sample(from)?;
    guard::rewind(from)?;
    let layout = Layout::find(&sample, whole, columns).ok_or_else(|| {
        ReadError::Malformed(
            "No column of the table holds indicators. Name one `value` in the first line; for a list without a header send text/plain.".to_owned(),
        )
    })?;
    if let Some(name) = &layout.missing {
        return Err(ReadError::Malformed(format!(
            "The table has no column `{name}`, which is named for it. Its owner may have changed it: say again what its columns hold."
        )));
    }
    let layout = Arc::new(layout);
    let mut rows = Rows::new(from, &layout)?;
    let mut cells = csv::ByteRecord::new();
    while let Some(line) = rows.read(&mut cells)? {
        let only_to_ids = options.only_to_ids;
        let row = Row { layout: Arc::clone(&layout), only_to_ids, line, cells: cells.clone() };
        send(sink, Piece::Table(row))?;
    }
    Ok(())
}

impl Row {
    pub(super) fn weight(&self) -> usize {
        self.cells.as_slice().len() + self.cells.len() * size_of::<usize>()
    }

    pub(super) fn items(&self, sink: &mut dyn FnMut(Item)) {
        let cells: Vec<(Role, Said)> = self
            .layout
            .columns
            .iter()
            .zip(&self.cells)
            .filter_map(|(role, cell)| Some(((*role)?, Said::Cell(plain::text(cell).into_owned()))))
            .collect();
        // A remark between the rows, such as the count that ends a feed. A whole row may begin with
        // such a sign, too: `#a@evil.example`.
        let is_whole = self.cells.len() == self.layout.columns.len() && self.cells.len() > 1;
        if self.cells.get(0).is_none_or(|cell| cell.starts_with(b"#") && !is_whole)
            || self.cells.iter().all(<[u8]>::is_empty)
        {
            return;
        }
        indicators(self.line, &cells, self.only_to_ids, sink);
    }
}

/// The indicators of a row, or of a JSON object with such keys, and what is said of them.
pub(super) fn indicators(
    line: u64,
    cells: &[(Role, Said)],
    only_to_ids: bool,
    sink: &mut dyn FnMut(Item),
) {
    let mut facts = Facts::default();
    for (role, said) in cells.iter().filter(|(role, _)| !role.is_value()) {
        facts.take(*role, said);
    }
    facts.finish();
    if only_to_ids && facts.to_ids == Some(false) {
        return;
    }
    let first = |wanted: fn(Role) -> bool| {
        let said = cells.iter().find(|(role, _)| wanted(*role)).map(|(_, said)| said);
        said.and_then(|said| said.texts().first()).map_or("", |text| text.trim())
    };
    let kind_text = first(|role| role == Role::Kind);
    // An attribute of MISP that describes, and is no indicator.
    if facts.category.is_some() && misp::is_context(kind_text) {
        return;
    }
    let mut any = false;
    let of_values = cells.iter().filter(|(role, _)| role.is_value());
    for (role, text) in
        of_values.flat_map(|(role, said)| said.texts().iter().map(move |text| (*role, text)))
    {
        let text = without_hidden(text);
        let text = text.trim();
        if text.is_empty() || matches!(text, "-" | "N/A" | "n/a" | "None" | "null" | "NULL") {
            continue;
        }
        any = true;
        let kind = match role {
            Role::Of(kind) => KindWord::Kind(kind),
            Role::Hash => KindWord::Hash,
            _ => facts.kind,
        };
        let mut give = |found: (Kind, String)| {
            sink(Item::Sighting(Box::new(Sighting {
                indicator: Some(found),
                ..facts.sighting.clone()
            })));
        };
        for (text, reason) in values(kind, text, &mut give) {
            let reason = match facts.kind {
                KindWord::Untaken => {
                    format!("`{}` is not a kind of IOC that devices take", clip(kind_text, 40))
                }
                _ => reason,
            };
            sink(Rejected::item(line, text, reason));
        }
    }
    if !any {
        return sink(Rejected::item(line, "", "the row holds no indicator"));
    }
    let value = first(Role::is_value);
    for sentence in facts.left_out {
        sink(Item::Remark(Rejected::new(line, value, sentence)));
    }
}

/// The indicators of a cell. Gives what of it is none, with the reason.
fn values<'t>(
    kind: KindWord,
    text: &'t str,
    give: &mut dyn FnMut((Kind, String)),
) -> Vec<(&'t str, String)> {
    if let Some(reason) = unclean(text) {
        return vec![(text, reason.to_owned())];
    }
    let of_kind = match kind {
        KindWord::Untaken => return vec![(text, String::new())],
        KindWord::Second => text.rsplit_once('|').map(|(_, value)| normalise::certain(value)),
        KindWord::Both if text.contains('|') => {
            let half = |half: &'t str| match normalise::certain(half) {
                Ok(found) => {
                    give(found);
                    None
                }
                Err(reason) => Some((half, reason)),
            };
            return text.split('|').filter_map(half).collect();
        }
        KindWord::Kind(kind) => Some(normalise::of_hint(kind, text)),
        KindWord::Any | KindWord::Hash | KindWord::Both => None,
    };
    let reason = match of_kind {
        Some(Ok(found)) => {
            give(found);
            return Vec::new();
        }
        Some(Err(reason)) => Some(reason),
        None => None,
    };
    let whole = match list::word(text, give) {
        Ok(()) => return Vec::new(),
        Err(whole) => whole,
    };
    let Some(words) = several(text) else {
        return vec![(text, reason.unwrap_or(whole))];
    };
    let read = |word: &'t str| list::word(word, give).err().map(|reason| (word, reason));
    words.into_iter().filter_map(read).collect()
}

/// The values of a cell that holds several: all between blanks and commas, or some between commas,
/// semicolons, bars and line ends. One that is none does not cost the others, unless it may be a
/// sentence.
fn several(text: &str) -> Option<Vec<&str>> {
    let is = |word: &&str| list::word(word, &mut |_| {}).is_ok();
    let parts = |blanks: bool| -> Vec<&str> {
        let ends =
            |c: char| matches!(c, ',' | ';' | '|' | '\n' | '\r') || blanks && c.is_whitespace();
        text.split(ends).map(str::trim).filter(|part| !part.is_empty()).collect()
    };
    let words = parts(true);
    if words.len() < 2 {
        return None;
    }
    if words.iter().all(is) {
        return Some(words);
    }
    // One word between separators is a value; several words are a sentence.
    let listed = parts(false);
    let is_list =
        listed.iter().all(|part| !part.contains(char::is_whitespace)) && listed.iter().any(is);
    is_list.then_some(listed)
}

#[cfg(test)]
mod tests;
