//! Patterns of STIX that say "one of these values": comparisons for equality, joined by OR.

/// A path of an object and the value that it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) path: String,
    pub(super) value: String,
}

const JOINED: &str = "a pattern that joins conditions with AND or FOLLOWEDBY is more than one indicator, and is not taken";
const COMPARED: &str =
    "a pattern that compares with other words than `=` and `IN` is not one value, and is not taken";
const BROKEN: &str = "this is no pattern that can be read";

/// Longest pattern that is read, in bytes.
const LENGTH_MAX: usize = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    ListOpen,
    ListClose,
    Comma,
    Equals,
    Other,
    Word(String),
    Text(String),
}

/// The comparisons of a pattern.
pub(super) fn comparisons(pattern: &str) -> Result<Vec<Comparison>, &'static str> {
    if pattern.len() > LENGTH_MAX {
        return Err("a pattern of more than 256 KiB is not read");
    }
    let tokens = tokens(pattern)?;
    let mut out = Vec::new();
    let mut inside = false;
    let mut rest = tokens.iter();
    while let Some(token) = rest.next() {
        match token {
            Token::Open => inside = true,
            Token::Close => inside = false,
            // Groups of comparisons, and what qualifies an observation in time.
            Token::ListOpen | Token::ListClose => {}
            Token::Word(word) if word.eq_ignore_ascii_case("OR") => {}
            Token::Word(word)
                if ["AND", "FOLLOWEDBY"].iter().any(|w| word.eq_ignore_ascii_case(w)) =>
            {
                return Err(JOINED);
            }
            _ if !inside => {}
            Token::Word(word) if word.eq_ignore_ascii_case("NOT") => return Err(COMPARED),
            Token::Word(path) => match rest.next() {
                Some(Token::Equals) => match rest.next() {
                    Some(Token::Text(value)) => {
                        out.push(Comparison { path: path.clone(), value: value.clone() });
                    }
                    _ => return Err(COMPARED),
                },
                Some(Token::Word(word)) if word.eq_ignore_ascii_case("IN") => {
                    for token in rest.by_ref() {
                        match token {
                            Token::Text(value) => {
                                out.push(Comparison { path: path.clone(), value: value.clone() });
                            }
                            Token::ListClose => break,
                            Token::ListOpen | Token::Comma => {}
                            _ => return Err(BROKEN),
                        }
                    }
                }
                Some(Token::Word(_) | Token::Other) => return Err(COMPARED),
                _ => return Err(BROKEN),
            },
            _ => return Err(BROKEN),
        }
    }
    if out.is_empty() { Err(BROKEN) } else { Ok(out) }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut out = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(match c {
            c if c.is_whitespace() => continue,
            '[' => Token::Open,
            ']' => Token::Close,
            '(' => Token::ListOpen,
            ')' => Token::ListClose,
            ',' => Token::Comma,
            '=' => Token::Equals,
            '!' | '<' | '>' => {
                if chars.peek() == Some(&'=') {
                    chars.next();
                }
                Token::Other
            }
            '\'' => Token::Text(quoted(&mut chars)?),
            c => {
                let mut word = String::from(c);
                while let Some(next) = chars.peek().copied() {
                    match next {
                        '\'' if word.ends_with('.') => {
                            chars.next();
                            word.push_str(&quoted(&mut chars)?);
                        }
                        // An index of a list: `refs[*]`.
                        '[' => {
                            word.push(next);
                            chars.next();
                            for inner in chars.by_ref() {
                                word.push(inner);
                                if inner == ']' {
                                    break;
                                }
                            }
                        }
                        next if next.is_alphanumeric() || matches!(next, '-' | '_' | ':' | '.') => {
                            word.push(next);
                            chars.next();
                        }
                        _ => break,
                    }
                }
                Token::Word(word)
            }
        });
    }
    Ok(out)
}

/// A text up to its closing quote.
fn quoted(chars: &mut impl Iterator<Item = char>) -> Result<String, &'static str> {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\'' => return Ok(text),
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    Err(BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_and_lists() {
        for (pattern, values) in [
            ("[domain-name:value='a.example']", vec![("domain-name:value", "a.example")]),
            (
                "[ipv4-addr:value = '203.0.113.7' OR ipv4-addr:value = '203.0.113.8']",
                vec![("ipv4-addr:value", "203.0.113.7"), ("ipv4-addr:value", "203.0.113.8")],
            ),
            (
                "[url:value = 'http://a.example/it\\'s'] OR [domain-name:value IN ('b.example', 'c.example')]",
                vec![
                    ("url:value", "http://a.example/it's"),
                    ("domain-name:value", "b.example"),
                    ("domain-name:value", "c.example"),
                ],
            ),
            ("[file:hashes.'SHA-256' = 'ab']", vec![("file:hashes.SHA-256", "ab")]),
            (
                "[domain-name:value = 'a.example'] START t'2020-01-01T00:00:00Z' STOP t'2021-01-01T00:00:00Z'",
                vec![("domain-name:value", "a.example")],
            ),
            ("[a:b[*].value = 'x']", vec![("a:b[*].value", "x")]),
        ] {
            let read: Vec<_> = comparisons(pattern)
                .unwrap()
                .into_iter()
                .map(|Comparison { path, value }| (path, value))
                .collect();
            let values: Vec<_> =
                values.into_iter().map(|(p, v)| (p.to_owned(), v.to_owned())).collect();
            assert_eq!(read, values, "{pattern}");
        }
    }

    #[test]
    fn what_is_not_a_set_of_values_is_refused() {
        for (pattern, reason) in [
            ("[a:value = 'x' AND b:value = 'y']", JOINED),
            ("[a:value = 'x'] FOLLOWEDBY [b:value = 'y']", JOINED),
            ("[a:value LIKE '%x']", COMPARED),
            ("[a:value != 'x']", COMPARED),
            ("[NOT a:value = 'x']", COMPARED),
            ("[a:number = 7]", COMPARED),
            ("nonsense", BROKEN),
            ("['", BROKEN),
            ("[]", BROKEN),
        ] {
            assert_eq!(comparisons(pattern), Err(reason), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_stops_the_reader(pattern in "[\\[\\]()'=:a-z.\\\\ ORIN,*]{0,60}") {
            let _ = comparisons(&pattern);
        }
    }
}
