//! The words of a line of prose, without the punctuation and mark-up around them.

use super::super::kinds;

#[derive(Debug)]
pub(super) struct Word<'l> {
    pub(super) text: &'l str,
    /// Set apart from the text: between backticks or brackets, in bold, in a table, behind a label.
    pub(super) marked: bool,
    /// Between backticks: set as code.
    pub(super) quoted: bool,
    /// The target of a link: followed by `[`, as in AsciiDoc, or within `](…)`, as in Markdown.
    pub(super) link: bool,
}

pub(super) fn words(line: &str) -> Vec<Word<'_>> {
    let mut out = Vec::new();
    let in_table = line.contains('|') || line.contains('\t');
    let mut labelled = false;
    for (i, span) in line.split('`').enumerate() {
        let quoted = i % 2 == 1;
        for raw in span.split(|c: char| {
            c.is_whitespace()
                || matches!(c, '|' | '"' | '<' | '>' | '“' | '”' | '‘' | '’' | '«' | '»' | '→')
        }) {
            for piece in pieces(raw) {
                word(piece, quoted, in_table || quoted || labelled, &mut out);
            }
            if !raw.is_empty() {
                // `domain: evil.example`.
                labelled = raw.strip_suffix([':', '=']).is_some_and(kinds::is_word);
            }
        }
    }
    out
}

/// Commas and semicolons separate words, except inside the braces of a range such as `{1,30}` and
/// inside URLs.
fn pieces(text: &str) -> Vec<&str> {
    if text.contains('{') || text.contains("//") {
        vec![text.trim_end_matches(';')]
    } else {
        text.split([',', ';']).collect()
    }
}

fn word<'l>(piece: &'l str, quoted: bool, marked: bool, out: &mut Vec<Word<'l>>) {
    // `[evil[.]example](https://blog.example/)`: the text of the link, and where it leads.
    if let Some((text, target)) = piece.split_once("](") {
        let text = text.strip_prefix('[').unwrap_or(text);
        if text.contains("[.]") || text.contains("hxxp") {
            word(text, quoted, true, out);
        }
        let target = target.split_once(')').map_or(target, |(target, _)| target);
        out.push(Word { text: target, marked, quoted, link: true });
        return;
    }
    if let Some(begin) = scheme(piece) {
        let (before, text) = piece.split_at(begin);
        return url(without_closer(before, text), quoted, marked, out);
    }
    let mut text = piece
        .trim_matches(|c: char| matches!(c, ',' | '!' | '\'' | '+' | '_' | '=' | '•' | '·'))
        .trim_end_matches([':', '.', '?'])
        .trim_start_matches('/');
    // An address that Markdown would take for something else: `\user@evil.example`.
    if text.contains('@') {
        text = text.trim_start_matches('\\');
    }
    // A bullet that sticks to what follows it: `-203[.]0.113[.]7`.
    if let Some(rest) = text.strip_prefix(['-', '–', '—'])
        && rest.contains(['[', '(', '{'])
    {
        text = rest;
    }
    let bare = unbalanced(unlabelled(unwrapped(text)));
    let marked = marked || bare.len() < text.len();
    if bare.contains(['.', ']', ')', '}', '@', ':']) || bare.len() >= 32 {
        out.push(Word { text: bare, marked, quoted, link: false });
    }
}

/// Without the mark that closes what was opened before: `+http://evil.example/+` of AsciiDoc.
fn without_closer<'l>(before: &str, text: &'l str) -> &'l str {
    let closer = match before.chars().next_back() {
        Some('+') => '+',
        Some('~') => '~',
        Some('{') => '}',
        Some('[') => ']',
        _ => return text,
    };
    text.trim_end_matches([',', '.', ';']).trim_end_matches(closer)
}

/// Schemes that begin a URL in prose, as far as a word is searched for them.
const SCHEMES: &[&str] = &[
    "hxxp", "http", "hxtp", "htxp", "meow", "fxp", "ftp", "sftp", "ws", "wss", "ldap", "ldaps",
    "smb", "tcp", "udp",
];

/// Where the first URL of a word begins.
fn scheme(text: &str) -> Option<usize> {
    // Once for the word: what is asked at each letter must not look through all of it.
    let has_whole = text.contains("://");
    let colon = |rest: &str| {
        let rest = rest.strip_prefix(['s', 'S']).unwrap_or(rest);
        ["://", "[:]//", "[://]", "(:)//", ":\\\\", "[:][/][/]", "[:]\\\\"]
            .iter()
            .any(|separator| rest.starts_with(separator))
            || (rest.starts_with("//") && !has_whole)
            || rest.starts_with(":/") && !rest.starts_with(":///")
    };
    let mut before_letter = false;
    for (at, c) in text.char_indices() {
        let begins = !before_letter && c.is_ascii_alphabetic();
        before_letter = c.is_ascii_alphanumeric();
        if !begins {
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        let found = SCHEMES.iter().any(|scheme| {
            rest.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
                && rest.get(scheme.len()..).is_some_and(colon)
        });
        if found {
            return Some(at);
        }
    }
    None
}

/// A URL, cut where it ends.
fn url<'l>(text: &'l str, quoted: bool, marked: bool, out: &mut Vec<Word<'l>>) {
    let mut text = text;
    let mut link = false;
    if let Some(open) = link_text(text) {
        (text, link) = (text.get(..open).unwrap_or_default(), true);
    }
    for end in ["'", "&&", "%%", "](", "\\n", "\\r"] {
        text = text.split(end).next().unwrap_or_default();
    }
    if let Some((before, after)) = text.rsplit_once(',')
        && (after.is_empty() || is_date(after))
    {
        text = before;
    }
    text = unbalanced(text);
    text = text.trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_']);
    text = unbalanced(text);
    out.push(Word { text, marked, quoted, link });
}

/// A day or a number behind a comma is another cell.
fn is_date(text: &str) -> bool {
    text.len() >= 6 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'T'))
}

/// Without emphasis and whole brackets around it: `**evil.example**`, `[evil.example]`.
fn unwrapped(text: &str) -> &str {
    let mut text = text.trim_end_matches('*');
    let bare = text.trim_start_matches('*');
    // The star of a wildcard (`*.evil.example`) is not emphasis.
    let stars = text.len() - bare.len();
    text = text
        .get(if bare.starts_with(['.', '[']) && stars == 1 { 0 } else { stars }..)
        .unwrap_or_default();
    for (open, close) in [('[', ']'), ('{', '}'), ('<', '>')] {
        if let Some(inner) = text.strip_prefix(open).and_then(|t| t.strip_suffix(close))
            && !inner.contains([open, close])
        {
            text = inner;
        }
    }
    text
}

/// Without the word before it that says what it is: `MD5:…`, `ip=…`.
fn unlabelled(text: &str) -> &str {
    match text.split_once(['=', ':']) {
        Some((label, rest))
            if !rest.is_empty()
                && (kinds::is_word(label)
                    || matches!(label.to_ascii_lowercase().as_str(), "c2" | "cc" | "ioc")) =>
        {
            rest
        }
        _ => text,
    }
}

/// Where the text of an AsciiDoc link begins: `https://host/path[text`, but not the `[` of `[.]`.
fn link_text(text: &str) -> Option<usize> {
    text.contains("://").then(|| {
        text.char_indices().filter(|(_, c)| *c == '[').map(|(at, _)| at).find(|at| {
            let inner = text.get(at + 1..).unwrap_or_default();
            at.checked_sub(1).and_then(|b| text.as_bytes().get(b)).is_some_and(|b| *b != b'/')
                && !inner.starts_with(['.', ':', '@', '/'])
                && !inner.get(..4).is_some_and(|d| d.eq_ignore_ascii_case("dot]"))
        })
    })?
}

/// Drops brackets that were opened or closed outside the word: `(evil.example)`.
fn unbalanced(text: &str) -> &str {
    let text = match text.strip_prefix('(') {
        Some(inner) if !inner.starts_with('.') => inner,
        _ => text,
    };
    let opens = text.matches('(').count();
    let closes = text.matches(')').count();
    if closes <= opens {
        return text;
    }
    // What stands behind a bracket that closes too much is not part of the word.
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => {
                return text.get(..at).unwrap_or_default().trim_end_matches(['.', ',']);
            }
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}
