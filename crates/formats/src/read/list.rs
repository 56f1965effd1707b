//! `text/plain`: one value a line, `#` comments.

use iocast_domain::{ioc::Sighting, normalise};

use super::{Item, Line, Rejected, unclean};

pub(super) fn items(line: &Line, sink: &mut dyn FnMut(Item)) {
    let Line { number, text, overlong } = line;
    if *overlong {
        return sink(Rejected::item(*number, text, "the line is too long for an indicator"));
    }
    let value = without_comment(text);
    if value.is_empty() {
        return;
    }
    let found = match unclean(value) {
        Some(reason) => Err(reason.to_owned()),
        None => normalise::detect(value),
    };
    sink(match found {
        Ok(indicator) => {
            Item::Sighting(Box::new(Sighting { indicator: Some(indicator), ..Sighting::default() }))
        }
        Err(reason) => Rejected::item(*number, value, reason),
    });
}

/// The line up to a `#` that begins it or follows a blank: a `#` inside a URL is part of it.
fn without_comment(line: &str) -> &str {
    let line = line.trim();
    let comment = line.char_indices().find(|(at, c)| {
        *c == '#'
            && line.get(..*at).is_none_or(|b| b.is_empty() || b.ends_with(char::is_whitespace))
    });
    comment.map_or(line, |(at, _)| line.get(..at).unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::tests::values;

    #[test]
    fn lists_as_people_keep_them() {
        let text = "\u{feff}# Copyright\r\n\r\nEvil.example  # seen 2025-01-18\n203.0.113.7:8080\nevil.example:443\nevil.example/a.php#x\n/only/a/path\n\"quoted.example\"\nnodots\n";
        let (found, rejected) = values(Input::List, text);
        assert_eq!(
            found,
            [
                "domain evil.example",
                "ipv4 203.0.113.7",
                "domain evil.example",
                "url http://evil.example/a.php#x",
                "domain quoted.example"
            ]
        );
        assert_eq!(rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn an_endless_line_is_refused_in_bounded_memory() {
        let text = format!("{}\nevil.example", "a".repeat(300_000));
        let (found, rejected) = values(Input::List, &text);
        assert_eq!((found.len(), rejected.len()), (1, 1));
    }
}
