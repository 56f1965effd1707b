//! Undoing what people do to indicators so that nobody clicks on them.

use std::borrow::Cow;

/// How far in front of a closing bracket the opening one may stand, in characters.
const REACH: usize = 8;

/// Undoes the usual defanging: `hxxp`, `[.]`, `(dot)`, `[at]`, `[:]`, `[://]`, one in another too;
/// half of a pair of brackets (`[.`, `.]`), `\.`, full stops of other scripts, broken schemes
/// (`hxxp//`, `http:\\`) and schemes given twice. Marks that nobody sees are dropped.
///
/// One pass, and at each closing bracket a look at the few characters before it: linear, whatever
/// stands there.
#[must_use]
pub fn refang(text: &str) -> String {
    let text = without_hidden(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = match c {
            // Full stops of other scripts, which browsers take for dots.
            '\u{3002}' | '\u{ff0e}' | '\u{ff61}' => '.',
            c => c,
        };
        if c == '.' {
            without_backslashes(&mut out);
        }
        out.push(c);
        let open = match c {
            ']' => '[',
            ')' => '(',
            '}' => '{',
            '>' => '<',
            _ => continue,
        };
        undo_bracket(&mut out, open);
    }
    refang_scheme(undo_halves(out))
}

/// Replaces what stands in brackets at the end of the text, where it is a sign that people put there.
fn undo_bracket(out: &mut String, open: char) {
    let before = out.get(..out.len() - 1).unwrap_or_default();
    let Some((start, _)) = before.char_indices().rev().take(REACH).find(|(_, c)| *c == open) else {
        return;
    };
    let inner = before.get(start + 1..).unwrap_or_default().trim();
    let replacement = match inner.to_ascii_lowercase().as_str() {
        "." | "dot" => ".",
        "@" | "at" => "@",
        ":" => ":",
        "://" => "://",
        "/" => "/",
        "tt" if matches!(before.get(..start), Some("h" | "H")) => "tt",
        "http" if start == 0 => "http",
        "https" if start == 0 => "https",
        _ => return,
    };
    out.truncate(start);
    if replacement == "." {
        without_backslashes(out);
    }
    out.push_str(replacement);
}

/// A dot that is escaped, as in patterns: `evil\.example`.
fn without_backslashes(out: &mut String) {
    let kept = out.trim_end_matches('\\').len();
    out.truncate(kept);
}

/// `a[.b` and `a.]b`: one bracket of a pair was lost.
fn undo_halves(text: String) -> String {
    if !text.contains("[.") && !text.contains(".]") {
        return text;
    }
    let chars: Vec<char> = text.chars().collect();
    let is_letter = |at: Option<usize>| {
        at.and_then(|at| chars.get(at)).is_some_and(|c: &char| c.is_alphanumeric())
    };
    let is_dot = |at: Option<usize>| at.and_then(|at| chars.get(at)) == Some(&'.');
    chars
        .iter()
        .enumerate()
        .filter(|(at, c)| {
            let (before, after) = (at.checked_sub(1), Some(at + 1));
            match c {
                '[' => !(is_letter(before) && is_dot(after) && is_letter(Some(at + 2))),
                ']' => !(is_letter(after) && is_dot(before) && is_letter(at.checked_sub(2))),
                _ => true,
            }
        })
        .map(|(_, c)| *c)
        .collect()
}

/// Without zero-width blanks, soft hyphens, byte order marks and marks of direction: they come along
/// when text is copied from a page, and no device sees them.
#[must_use]
pub fn without_hidden(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| !is_hidden(*c)).collect())
}

fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'
            ..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// Schemes as people write them, without what separates them from the host, and what they stand for.
const SCHEMES: &[(&str, &str)] = &[
    ("hxxps", "https"),
    ("hxxp", "http"),
    ("hxtps", "https"),
    ("hxtp", "http"),
    ("htxps", "https"),
    ("htxp", "http"),
    ("h**ps", "https"),
    ("h**p", "http"),
    ("h__ps", "https"),
    ("h__p", "http"),
    ("_https_", "https"),
    ("_http_", "http"),
    ("meows", "https"),
    ("meow", "http"),
    ("https", "https"),
    ("http", "http"),
    ("fxps", "ftps"),
    ("fxp", "ftp"),
    ("ftx", "ftp"),
];

/// What separates a scheme from the host, spelt right or not.
const SEPARATORS: &[&str] = &["://", ":\\\\", ":/", ":\\", "//"];

/// The scheme that stands at the beginning, and what follows it.
fn scheme(text: &str) -> Option<(&'static str, &str)> {
    let (real, rest) = SCHEMES.iter().find_map(|(written, real)| {
        let begin = text.get(..written.len())?;
        begin.eq_ignore_ascii_case(written).then(|| (*real, text.get(written.len()..)))
    })?;
    let rest = rest?;
    let separator = SEPARATORS.iter().find(|separator| rest.starts_with(**separator))?;
    let rest = rest.get(separator.len()..)?;
    // `http:///host` and `https://` alone name no host.
    (!rest.is_empty() && !rest.starts_with(['/', '\\', ':'])).then_some((real, rest))
}

fn refang_scheme(text: String) -> String {
    let Some((mut real, mut rest)) = scheme(&text) else { return text };
    // `https://hxxp://host`: the inner one was meant.
    while let Some((inner, behind)) = scheme(rest) {
        (real, rest) = (inner, behind);
    }
    // `hxxp:\\host\path`.
    let backslashes = text
        .split(['/', '\\'])
        .next()
        .and_then(|scheme| text.get(scheme.len()..))
        .is_some_and(|separator| separator.starts_with("\\\\"));
    if backslashes {
        format!("{real}://{}", rest.replace('\\', "/"))
    } else {
        format!("{real}://{rest}")
    }
}

/// A whole line of words in which dots and at signs are set apart or spelt out: `evil [.] example`,
/// `203 . 0 . 113 . 7`, `bad AT evil DOT example`.
#[must_use]
pub fn joined(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().take(64).collect();
    if words.len() < 3 || words.len().is_multiple_of(2) || words.len() == 64 {
        return None;
    }
    let mut out = String::new();
    for (place, word) in words.iter().enumerate() {
        if place % 2 == 0 {
            out.push_str(word);
            continue;
        }
        let bare = word.trim_matches(['[', ']', '(', ')', '{', '}', '<', '>']);
        out.push(match bare.to_ascii_lowercase().as_str() {
            "." | "dot" => '.',
            "@" | "at" => '@',
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_brackets() {
        for (text, plain) in [
            ("a[.]b", "a.b"),
            ("a[[.]]b", "a.b"),
            ("a([dot])b", "a.b"),
            ("a[ DOT ]b", "a.b"),
            ("a<.>b", "a.b"),
            ("hxxps[:]//a{.}b", "https://a.b"),
            ("hxxp[://]a", "http://a"),
            ("a[at]b(dot)c", "a@b.c"),
            ("a[x]b", "a[x]b"),
            ("]]]", "]]]"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("a[.b", "a.b"),
            ("a.]b", "a.b"),
            ("203[.0[.113.]5", "203.0.113.5"),
            ("a\\.b", "a.b"),
            ("203\u{3002}0\u{ff0e}113.7", "203.0.113.7"),
            ("evil\u{200b}.exam\u{ad}ple", "evil.example"),
            ("http://a.b/x.php[.]", "http://a.b/x.php."),
        ] {
            assert_eq!(refang(text), plain, "{text}");
        }
    }

    #[test]
    fn schemes_as_people_break_them() {
        for (text, plain) in [
            ("hXXp://a.b/x", "http://a.b/x"),
            ("hxxp:\\\\a.b\\x", "http://a.b/x"),
            ("http:\\\\a.b/x", "http://a.b/x"),
            ("hxxp//a.b/x", "http://a.b/x"),
            ("http//a.b/x", "http://a.b/x"),
            ("hxxp:/a.b/x", "http://a.b/x"),
            ("https://hxxp://a.b/x", "http://a.b/x"),
            ("http://http://a.b/x", "http://a.b/x"),
            ("http://http//a.b/x", "http://a.b/x"),
            ("meow://a.b/x", "http://a.b/x"),
            ("fxp://a.b/x", "ftp://a.b/x"),
            ("sftp://a.b/x", "sftp://a.b/x"),
            ("hxxp[:][/][/]a[.]b[/]x", "http://a.b/x"),
            ("h[tt]p://a.b/x", "http://a.b/x"),
            ("[http]://a.b/x", "http://a.b/x"),
            ("_http_://a.b/x", "http://a.b/x"),
            ("http://a.b\\x", "http://a.b\\x"),
            ("http:///a.b", "http:///a.b"),
            ("https.example", "https.example"),
            ("a.b/x?u=http://c.d", "a.b/x?u=http://c.d"),
        ] {
            assert_eq!(refang(text), plain, "{text}");
        }
    }

    #[test]
    fn words_set_apart_are_joined() {
        for (line, whole) in [
            ("evil [.] example", Some("evil.example")),
            ("203 . 0 . 113 . 7", Some("203.0.113.7")),
            ("bad AT evil DOT example", Some("bad@evil.example")),
            ("two words", None),
            ("three plain words", None),
            ("evil.example", None),
        ] {
            assert_eq!(joined(line).as_deref(), whole, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn refanging_twice_changes_nothing(text in "(hxxp|http|meow)?[a-z.\\[\\](){}:/@ \\\\]{0,40}") {
            let once = refang(&text);
            proptest::prop_assert_eq!(refang(&once), once.clone(), "{}", text);
        }
    }
}
