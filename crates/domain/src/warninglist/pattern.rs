//! Regular expressions of warninglists: MISP writes them as PHP does, `/…/i`.

use regex::RegexBuilder;

/// Most bytes of memory of one regular expression.
const MEMORY: usize = 1 << 20;

/// The expression as the `regex` crate takes it.
///
/// # Errors
/// Why it can't be compared.
pub(super) fn of(entry: &str) -> Result<String, String> {
    let (pattern, flags) = bare(entry).unwrap_or((entry, ""));
    let mut taken = String::new();
    for flag in flags.chars() {
        match flag {
            'i' | 'm' | 's' | 'x' if !taken.contains(flag) => taken.push(flag),
            // Greed and further matches change nothing here; Unicode is on.
            'i' | 'm' | 's' | 'x' | 'u' | 'U' | 'g' | 'D' => {}
            other => return Err(format!("the flag `{other}` is unknown")),
        }
    }
    let built = if taken.is_empty() {
        pattern.to_owned()
    } else {
        // A remark in the expression must not take the bracket with it.
        let end = if taken.contains('x') { "\n" } else { "" };
        format!("(?{taken}:{pattern}{end})")
    };
    match RegexBuilder::new(&built).size_limit(MEMORY).build() {
        Ok(_) => Ok(built),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("the regular expression takes too much memory".to_owned())
        }
        Err(_) => Err(
            "the regular expression is invalid, or looks around or back, which takes unbounded time"
                .to_owned(),
        ),
    }
}

/// What stands between the delimiters, and the flags behind them.
fn bare(entry: &str) -> Option<(&str, &str)> {
    let open = entry.chars().next().filter(|c| !c.is_alphanumeric() && !matches!(c, '\\' | '^'))?;
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '<' => '>',
        other => other,
    };
    let (pattern, flags) = entry.get(open.len_utf8()..)?.rsplit_once(close)?;
    flags.chars().all(|c| c.is_ascii_alphabetic()).then_some((pattern, flags))
}
