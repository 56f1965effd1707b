//! `text/plain`: lists as people and programs keep them. A line holds a value and remarks, several
//! values, a label and a value, a range, or a line of another program's configuration.

use std::io::{BufRead, Seek};

use iocast_domain::{
    ioc::Kind,
    normalise,
    refang::{joined, without_hidden},
};

use super::{
    Item, Piece, ReadError, Rejected, Sink, guard,
    plain::{self, Line, each_line},
    send, unclean,
};

mod directives;
mod hosts;
mod words;

use self::directives::Directive;
pub(super) use self::words::{class, unbulleted, word};

/// A line of a list, and what is known of the whole list.
#[derive(Debug)]
pub(super) struct ListLine {
    pub(super) line: Line,
    pub(super) mixed_with: Mixed,
}

/// What else stands in a list, so that a bare name is no domain for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mixed {
    /// Nothing, or a few remarks.
    Nothing,
    /// Names of files: `setup.py` may be one of them.
    Files,
    /// Mostly words: a list of passwords holds `123456.com`, too.
    Words,
}

pub(super) fn split<R: BufRead + Seek>(from: &mut R, sink: Sink<'_>) -> Result<(), ReadError> {
    let (head, _) = plain::sample(from)?;
    guard::rewind(from)?;
    let mixed_with = mixed_with(&head);
    each_line(from, |line| send(sink, Piece::List(ListLine { line, mixed_with })))
}

/// What a line's values are given to: an indicator, or a text and why it is none.
type Give<'g> = &'g mut dyn FnMut(Result<(Kind, String), (String, String)>);

impl ListLine {
    pub(super) fn items(&self, sink: &mut dyn FnMut(Item)) {
        let Line { number, text, overlong } = &self.line;
        if *overlong {
            return sink(Rejected::item(*number, text, "the line is too long for an indicator"));
        }
        values(text, &mut |found| {
            sink(match found {
                Ok((Kind::Domain, name))
                    if self.mixed_with == Mixed::Files && is_perhaps_file(&name) =>
                {
                    Rejected::item(*number, &name, IS_FILE)
                }
                Ok((Kind::Domain | Kind::Email, name))
                    if self.mixed_with == Mixed::Words && !text.contains(['[', '(']) =>
                {
                    Rejected::item(*number, &name, IS_WORD)
                }
                Ok(indicator) => Item::found(indicator),
                Err((value, reason)) => Rejected::item(*number, &value, reason),
            });
        });
    }
}

const IS_FILE: &str = "this may be the name of a file, as others of this list are; if it is a domain, defang it (`[.]`) or import it with the kind `domain`";

const IS_WORD: &str = "most lines of this file are other words, so this is no domain for certain; if it is one, defang it (`[.]`) or import it with the kind `domain`";

/// Of how many lines it is told what a list is mixed with.
const LOOKED_AT: usize = 1_000;

fn mixed_with(head: &str) -> Mixed {
    let (mut entries, mut others, mut files) = (0, 0, false);
    for line in head.lines().take(LOOKED_AT) {
        let name = unbulleted(line.trim()).split(char::is_whitespace).next().unwrap_or_default();
        if name.is_empty() || is_remark(name) {
            continue;
        }
        let (mut any, mut refused) = (false, false);
        values(line, &mut |found| match found {
            Ok(_) => any = true,
            Err(_) => refused = true,
        });
        entries += usize::from(any);
        others += usize::from(refused && !any);
        files |= !name.contains(['/', ':', '@', '|'])
            && name.contains('.')
            && normalise::is_file_ending(&name.to_ascii_lowercase());
    }
    if others >= 50 && entries * 10 < others {
        Mixed::Words
    } else if files {
        Mixed::Files
    } else {
        Mixed::Nothing
    }
}

/// A name that may be a file's, outside a list of only domains. `.com` files are rare.
fn is_perhaps_file(name: &str) -> bool {
    !name.ends_with(".com")
        && name.matches('.').count() == 1
        && iocast_domain::host::is_file_or_domain(name)
}

/// Whether a line is one of another program's configuration of what is blocked.
pub(super) fn is_directive(text: &str) -> bool {
    directives::read(text).is_some() && !directives::is_answer(text)
}

/// The indicators of a line.
pub(super) fn values(text: &str, give: Give<'_>) {
    let text = without_hidden(text);
    let text = text.trim();
    if text.is_empty() || is_remark(text) {
        return;
    }
    if let Some(reason) = unclean(text) {
        return give(Err((text.to_owned(), reason.to_owned())));
    }
    match directives::read(text) {
        Some(Directive::Nothing) => return,
        Some(Directive::Refused(reason)) => return give(Err((text.to_owned(), reason.to_owned()))),
        Some(Directive::Values(values)) => {
            for value in values {
                one(&value, give);
            }
            return;
        }
        None => {}
    }
    let text = without_remark(unbulleted(text));
    if text.is_empty() {
        return;
    }
    if let Some(whole) = joined(text)
        && word(&whole, &mut |found| give(Ok(found))).is_ok()
    {
        return;
    }
    if hosts::names(text, give) {
        return;
    }
    pieces(text, give);
}

/// A text that is to be one indicator.
fn one(text: &str, give: Give<'_>) {
    if let Err(reason) = word(text, &mut |found| give(Ok(found))) {
        give(Err((text.to_owned(), reason)));
    }
}

/// Lines that say something about the list.
fn is_remark(text: &str) -> bool {
    text.starts_with(['#', ';', '!'])
        || text.starts_with("//")
        || text.starts_with("@@")
        || text.starts_with("[Adblock")
        || (text.starts_with('[')
            && text.ends_with(']')
            && !text.contains(['.', ':'])
            && text.len() > 2)
        || text.bytes().all(|b| matches!(b, b'-' | b'=' | b'*' | b'_' | b'~'))
}

/// The line up to a mark that begins a remark. Inside a URL such a sign is part of it, so it must
/// follow a blank.
fn without_remark(line: &str) -> &str {
    let mut blank = false;
    for (at, c) in line.char_indices() {
        let rest = line.get(at..).unwrap_or_default();
        if blank && (matches!(c, '#' | ';' | '!') || rest.starts_with("// ") || rest == "//") {
            return line.get(..at).unwrap_or_default().trim_end();
        }
        blank = c.is_whitespace();
    }
    line.trim_end()
}

/// Values between commas and semicolons; what follows the first may be a remark on it.
fn pieces(text: &str, give: Give<'_>) {
    let mut first: Option<Kind> = None;
    for piece in words::pieces(text) {
        let piece = piece.trim();
        if piece.is_empty() {
            continue;
        }
        match first {
            None => match columns(piece, give) {
                Some(kind) => first = Some(kind),
                // The whole line was refused.
                None => return,
            },
            Some(kind) => also(kind, piece, give),
        }
    }
}

/// A further value of a line: taken where it is of the first one's kind, else a remark.
fn also(first: Kind, text: &str, give: Give<'_>) {
    if text.contains(char::is_whitespace) {
        return;
    }
    let mut found = Vec::new();
    if word(text, &mut |indicator| found.push(indicator)).is_ok() {
        found
            .into_iter()
            .filter(|(kind, _)| class(*kind) == class(first))
            .for_each(|indicator| give(Ok(indicator)));
    } else if text.contains("[.]") {
        // Somebody meant it.
        one(text, give);
    }
}

/// Words of a line: a value and remarks, a label and a value, an address and its mask or port.
/// Gives the kind of the first indicator; nothing where the line was refused.
fn columns(text: &str, give: Give<'_>) -> Option<Kind> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let rest: Vec<&str> = words.take(64).collect();
    let mut kind = None;
    let mut took = |found: (Kind, String)| {
        kind = kind.or(Some(found.0));
        give(Ok(found));
    };
    let Some(second) = rest.first() else {
        return match word(first, &mut took) {
            Ok(()) => kind,
            Err(reason) => {
                give(Err((first.to_owned(), reason)));
                None
            }
        };
    };
    // `198.51.100.64 255.255.255.192`, `203.0.113.1 - 203.0.113.7`, `http:// evil.example`.
    let together = match *second {
        "-" | "–" | "to" => rest
            .get(1)
            .map(|last| format!("{first}-{last}"))
            .filter(|range| normalise::range(range).is_some()),
        mask if mask.starts_with("255.") => Some(format!("{first}/{mask}")),
        _ if first.ends_with("://") => Some(format!("{first}{second}")),
        _ => None,
    };
    if together.is_some_and(|text| word(&text, &mut took).is_ok()) {
        return kind;
    }
    match word(first, &mut took) {
        Ok(()) => {
            let all_are = kind.is_some_and(|kind| rest.iter().all(|text| words::is(kind, text)));
            if all_are {
                rest.iter().for_each(|text| one(text, give));
            }
            kind
        }
        Err(reason) => {
            let value = words::labelled(text).or_else(|| words::only_hash(text));
            if value.is_some_and(|value| word(value, &mut took).is_ok()) {
                return kind;
            }
            let reason = if value.is_some() || text.contains("[.]") && rest.len() < 4 {
                reason
            } else {
                "there is more than one word, and the first is no indicator; write one value a line, or import the file as a report".to_owned()
            };
            give(Err((text.to_owned(), reason)));
            None
        }
    }
}

#[cfg(test)]
mod tests;
