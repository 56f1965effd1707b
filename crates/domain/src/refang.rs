//! Undoing what people do to indicators so that nobody clicks on them.

/// How far in front of a closing bracket the opening one may stand, in characters.
const REACH: usize = 8;

/// Undoes the usual defanging: `hxxp`, `[.]`, `(dot)`, `[at]`, `[:]`, `[://]`, one in another too.
///
/// One pass, and at each closing bracket a look at the few characters before it: linear, whatever
/// stands there.
#[must_use]
pub fn refang(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(c);
        let open = match c {
            ']' => '[',
            ')' => '(',
            '}' => '{',
            _ => continue,
        };
        let inner_end = out.len() - 1;
        let before = out.get(..inner_end).unwrap_or_default();
        let Some((start, _)) = before.char_indices().rev().take(REACH).find(|(_, c)| *c == open)
        else {
            continue;
        };
        let replacement = match before
            .get(start + 1..)
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "." | "dot" => ".",
            "@" | "at" => "@",
            ":" => ":",
            "://" => "://",
            "/" => "/",
            _ => continue,
        };
        out.truncate(start);
        out.push_str(replacement);
    }
    refang_scheme(out)
}

fn refang_scheme(text: String) -> String {
    let Some(colon) = text.find("://") else { return text };
    let (scheme, rest) = text.split_at(colon);
    let real = match scheme.to_ascii_lowercase().as_str() {
        "hxxp" | "hxtp" | "htxp" | "h**p" => "http",
        "hxxps" | "hxtps" | "htxps" | "h**ps" => "https",
        "fxp" => "ftp",
        "fxps" => "ftps",
        _ => return text,
    };
    format!("{real}{rest}")
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
            ("hxxps[:]//a{.}b", "https://a.b"),
            ("hxxp[://]a", "http://a"),
            ("a[at]b(dot)c", "a@b.c"),
            ("a[x]b", "a[x]b"),
            ("]]]", "]]]"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(refang(text), plain, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn refanging_twice_changes_nothing(text in "[a-z.\\[\\](){}:/@ ]{0,40}") {
            let once = refang(&text);
            proptest::prop_assert_eq!(refang(&once), once.clone(), "{}", text);
        }
    }
}
