//! Pages: their text, read as a report. Where links lead to, scripts, styles and comments are left
//! out.
//!
//! One pass over the bytes, whatever is nested in what: parsers that build a tree take quadratic time
//! for some hundred thousand open elements or attributes, and a page may come from anybody.

use std::io::{BufRead, Cursor, Read};

use super::{Options, ReadError, Sink, plain, report};

/// Longest page, in bytes.
const PAGE_MAX: u64 = 16 << 20;

pub(super) fn split(
    from: &mut impl BufRead,
    options: Options,
    sink: Sink<'_>,
) -> Result<(), ReadError> {
    let mut page = Vec::new();
    from.by_ref().take(PAGE_MAX + 1).read_to_end(&mut page)?;
    if page.len() as u64 > PAGE_MAX {
        return Err(ReadError::Malformed(
            "The page is longer than 16 MiB; save it as text, and import that.".to_owned(),
        ));
    }
    let text = text_of(&plain::text(&page));
    report::split(&mut Cursor::new(text), options, sink)
}

/// Elements whose content is no text.
const NO_TEXT: &[&str] = &["script", "style", "template", "svg", "noscript"];

/// Elements inside a line of text: `<b>evil</b>[.]example` is one word.
const INLINE: &[&str] = &[
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "em", "font", "i", "ins", "kbd",
    "mark", "s", "samp", "small", "span", "strong", "sub", "sup", "tt", "u", "var", "wbr",
];

/// The text of a page; elements that stand for themselves are on lines of their own.
fn text_of(page: &str) -> String {
    let mut out = String::with_capacity(page.len() / 2);
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        let (text, tag) = rest.split_at(open);
        push(&mut out, text);
        if let Some(comment) = tag.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
            continue;
        }
        let name = name_of(tag);
        if name.is_empty() && !tag.starts_with("<!") && !tag.starts_with("<?") {
            // `a < b` is text.
            out.push('<');
            rest = tag.get(1..).unwrap_or_default();
            continue;
        }
        rest = tag.get(end_of(tag)..).unwrap_or_default();
        if NO_TEXT.contains(&name.as_str()) && !tag.starts_with("</") {
            rest = behind(rest, &name);
        }
        if !INLINE.contains(&name.as_str()) {
            out.push('\n');
        }
    }
    push(&mut out, rest);
    out
}

/// The name of the element that a tag opens or closes, in lower case.
fn name_of(tag: &str) -> String {
    tag.trim_start_matches(['<', '/'])
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .take(20)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Where a tag ends: behind the first `>` that is not in quotes.
fn end_of(tag: &str) -> usize {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (byte, quote) {
            (b'>', None) => return at + 1,
            (b'"' | b'\'', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    // A quote that is never closed: the tag ends at the first `>`.
    tag.find('>').map_or(tag.len(), |at| at + 1)
}

/// What follows the end of an element whose content is passed over.
fn behind<'p>(rest: &'p str, name: &str) -> &'p str {
    let mut from = 0;
    while let Some(at) = rest.get(from..).and_then(|rest| rest.find("</")) {
        let tag = rest.get(from + at..).unwrap_or_default();
        if name_of(tag) == name {
            return tag.get(end_of(tag)..).unwrap_or_default();
        }
        from += at + 2;
    }
    ""
}

/// Text with its entities undone. Line ends of the source are blanks.
fn push(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '\n', '\r']) {
        let (before, here) = rest.split_at(at);
        out.push_str(before);
        if !here.starts_with('&') {
            out.push(' ');
            rest = here.get(1..).unwrap_or_default();
            continue;
        }
        let end = here.bytes().take(12).position(|b| b == b';');
        match end.and_then(|end| Some((entity(here.get(1..end)?)?, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = here.get(end + 1..).unwrap_or_default();
            }
            None => {
                out.push('&');
                rest = here.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
}

/// The character of an entity, of those that stand in indicators and around them.
fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" | "ensp" | "emsp" | "thinsp" => ' ',
        "period" => '.',
        "colon" => ':',
        "sol" => '/',
        "commat" => '@',
        "lsqb" | "lbrack" => '[',
        "rsqb" | "rbrack" => ']',
        "lpar" => '(',
        "rpar" => ')',
        "num" => '#',
        "shy" | "zwnj" | "zwj" => '\u{ad}',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Input, tests::values};

    #[test]
    fn the_text_of_a_page() {
        let page = "<html><head><link href=\"https://fonts.example.com/css\"><style>a{}</style></head><body>\
            <p>The C2 was <code>evil-one[.]com</code>&nbsp;and <b>evil-two</b>[.]com.</p>\
            <table><tr><td>203.0.113[.]7</td><td>9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08</td></tr>\
            <tr><td>hxxps://evil-three[.]com/a?b=1&amp;c=2</td><td>098f6bcd4621d373cade4e832627b4f6<br>5d41402abc4b2a76b9719d911017c592</td></tr></table>\
            <a href=\"https://blog.example.com/post\">post</a><script src=\"https://cdn.example.com/x.js\">var a = 'evil-four[.]com';</script></body></html>";
        let (mut found, rejected) = values(Input::Html, page);
        found.sort();
        assert_eq!(
            found,
            [
                "domain evil-one.com",
                "domain evil-two.com",
                "ipv4 203.0.113.7",
                "md5 098f6bcd4621d373cade4e832627b4f6",
                "md5 5d41402abc4b2a76b9719d911017c592",
                "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "url https://evil-three.com/a?b=1&c=2",
            ]
        );
        assert_eq!(rejected, []);
    }

    #[test]
    fn broken_pages_are_read_as_far_as_they_go() {
        for (page, expected) in [
            ("<p>evil-a[.]com<p>evil-b[.]com", vec!["domain evil-a.com", "domain evil-b.com"]),
            ("<p title=\"x>evil-a[.]com</p>", vec!["domain evil-a.com"]),
            ("<p>1 < 2, evil&#91;.&#x5d;com", vec!["domain evil.com"]),
            ("<script>evil-a[.]com", vec![]),
            ("<!-- evil-a[.]com", vec![]),
            ("<p>evil-a[.]com <", vec!["domain evil-a.com"]),
        ] {
            assert_eq!(values(Input::Html, page).0, expected, "{page}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_page_stops_the_reader(page in "[<>/!a-c&;#x\"'= \\-\n]{0,80}") {
            super::text_of(&page);
        }
    }
}
