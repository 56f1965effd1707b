//! Prose: reports as analysts write them. What is defanged is an indicator; a live link is a
//! reference, unless it stands alone below a heading that says "indicators".

use std::io::BufRead;

use iocast_domain::refang::without_hidden;

use super::{
    Item, Options, Piece, ReadError, Rejected, Sink, list, plain::Line, plain::each_line, send,
};

mod meaning;
mod words;

use self::meaning::meaning;
use self::words::words;

/// A line of prose.
#[derive(Debug)]
pub(super) struct Prose {
    line: Line,
    section: Section,
    /// The line before is text that goes on here.
    goes_on: bool,
    options: Options,
}

/// In what a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Text,
    /// A block of code.
    Code,
    /// Below a heading that says that indicators follow.
    Indicators,
}

pub(super) fn split(
    from: &mut impl BufRead,
    options: Options,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    let mut code: Option<String> = None;
    let mut below = Section::Text;
    // A hash may be broken over two lines.
    let mut held: Option<Prose> = None;
    let mut goes_on = false;
    each_line(from, |line| {
        if let Some(fence) = fence(line.text.trim()).filter(|_| !line.overlong) {
            code = match code.take() {
                Some(open) if open == fence => None,
                Some(open) => Some(open),
                None => Some(fence.to_owned()),
            };
            return Ok(());
        }
        below = heading(&line.text).unwrap_or(below);
        let section = if code.is_some() { Section::Code } else { below };
        let follows = goes_on;
        goes_on = is_unfinished(&line.text);
        let mut next = Prose { line, section, goes_on: follows, options };
        if let Some(mut before) = held.take() {
            join_broken(&mut before.line, &mut next.line);
            send(sink, Piece::Report(before))?;
        }
        held = Some(next);
        Ok(())
    })?;
    held.map_or(Ok(()), |last| send(sink, Piece::Report(last)))
}

/// A line of text whose sentence goes on in the next: `it is described at`.
fn is_unfinished(line: &str) -> bool {
    let line = line.trim_end();
    line.ends_with(char::is_alphanumeric) && line.split_whitespace().count() >= 5
}

/// A line that opens or closes a block of code: AsciiDoc's `----` and `....`, Markdown's three
/// backticks.
fn fence(line: &str) -> Option<&str> {
    if line.starts_with("```") {
        return Some("```");
    }
    let all = |c: char| line.len() >= 4 && line.chars().all(|l| l == c);
    (all('-') || all('.')).then_some(line)
}

/// What follows a line, if it is a heading: marked as one, in capitals, or ending with a colon.
fn heading(line: &str) -> Option<Section> {
    let line = line.trim();
    let marked = line.starts_with('#') || line.starts_with("==") || line.starts_with("**");
    let bare = line.trim_matches(['#', '=', '*', '_', ' ', ':']);
    let few = bare.split_whitespace().count() <= 8 && bare.len() <= 80;
    let capitals = bare.chars().any(char::is_alphabetic) && !bare.chars().any(char::is_lowercase);
    if !few || bare.is_empty() || bare.contains(['.', '/', '@', '[']) {
        return None;
    }
    let digits = bare.bytes().filter(u8::is_ascii_digit).count();
    if !(marked || line.ends_with(':') || capitals && digits * 3 < bare.len()) {
        return None;
    }
    let words = bare.to_lowercase();
    let any = |list: &[&str]| list.iter().any(|word| words.contains(word));
    Some(if any(&["reference", "further reading", "read more", "see also", "sources", "about"]) {
        Section::Text
    } else if any(&[
        "indicator",
        "ioc",
        "url",
        "domain",
        "c2",
        "c&c",
        "network",
        "hash",
        "payload",
        "download",
        "sender",
        "infrastructure",
        "address",
        "host",
        "sample",
        "landing",
        "phishing",
        "server",
    ]) {
        Section::Indicators
    } else {
        Section::Text
    })
}

/// A hash that was broken over two lines moves to the first of them as a whole.
fn join_broken(first: &mut Line, second: &mut Line) {
    let end = first.text.trim_end();
    let tail = end.rsplit(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    let begin = second.text.trim_start();
    let head = begin.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    let whole = matches!(tail.len() + head.len(), 32 | 40 | 64);
    let is_hash = |part: &str| matches!(part.len(), 32 | 40 | 64);
    let labelled = || {
        let before = end.get(..end.len() - tail.len()).unwrap_or_default().to_ascii_lowercase();
        tail.len() == 32 && (before.contains("sha256") || before.contains("sha-256"))
    };
    if !whole || tail.len() < 8 || head.len() < 4 {
        return;
    }
    if (is_hash(tail) || is_hash(head)) && !labelled() {
        return;
    }
    let joined = format!("{end}{head}");
    let rest = begin.get(head.len()..).unwrap_or_default().to_owned();
    first.text = joined;
    second.text = rest;
}

impl Prose {
    /// By what it may become: an IOC every few messages.
    pub(super) fn weight(&self) -> usize {
        self.line.text.len() * 64
    }

    pub(super) fn items(&self, sink: &mut dyn FnMut(Item)) {
        let Line { number, text, overlong } = &self.line;
        if *overlong {
            return sink(Rejected::item(*number, text, "the line is too long for prose"));
        }
        let text = undone(&without_hidden(text));
        let bare = list::unbulleted(text.trim());
        // One word and nothing else: an entry of a list.
        let alone = !bare.contains(char::is_whitespace);
        let lower = text.to_lowercase();
        let context = Context {
            in_code: self.section == Section::Code,
            listed: alone && self.section == Section::Indicators && !self.goes_on,
            live_links: self.options.live_links,
            heading: is_heading(&text) && self.section != Section::Code,
            certificate: ["thumbprint", "serial number"].iter().any(|word| lower.contains(word)),
        };
        for word in words(&text) {
            if let Some(item) = meaning(&word, context, *number) {
                sink(item);
            }
        }
    }
}

/// A line that is marked as a heading.
fn is_heading(text: &str) -> bool {
    let marks = text.trim_start_matches(['#', '=']);
    let level = text.len() - marks.len();
    (1..=6).contains(&level) && marks.starts_with(' ')
}

/// In what a word stands.
#[derive(Clone, Copy, Debug)]
struct Context {
    in_code: bool,
    /// Alone on its line, below a heading that says that indicators follow.
    listed: bool,
    /// The one who imports wants live links as well.
    live_links: bool,
    /// In a heading.
    heading: bool,
    /// On a line that names a certificate.
    certificate: bool,
}

/// With entities of HTML undone, and dots and at signs in brackets without blanks around them.
fn undone(text: &str) -> String {
    let mut text = text.to_owned();
    if text.contains('&') {
        for (entity, plain) in [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&nbsp;", " "),
            ("&amp;", "&"),
        ] {
            text = text.replace(entity, plain);
        }
    }
    for (apart, together) in
        [(" [.] ", "[.]"), (" (.) ", "(.)"), (" [dot] ", "[dot]"), (" [@] ", "[@]")]
    {
        if text.contains(apart) {
            text = text.replace(apart, together);
        }
    }
    text
}

#[cfg(test)]
mod tests;
