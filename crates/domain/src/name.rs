//! Names of devices, groups and rules (design section 4, "Names").

use std::fmt;

use crate::problem::FieldError;

/// Longest device or group name, in characters.
pub const NAME_MAX: usize = 50;
/// Characters that an error names.
const WRONG_SHOWN: usize = 10;
/// Longest rule name, in characters.
pub const RULE_NAME_MAX: usize = 13;

/// A device, group or rule name: ASCII letters, digits, spaces and underscores, trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Reads a device or group name of 1 to 50 characters.
    ///
    /// # Errors
    /// The broken rule, as an error of the field `name`.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        Self::parse_to(text, NAME_MAX)
    }

    /// Reads a rule name of 1 to 13 characters.
    ///
    /// # Errors
    /// The broken rule, as an error of the field `name`.
    pub fn parse_rule(text: &str) -> Result<Self, FieldError> {
        Self::parse_to(text, RULE_NAME_MAX)
    }

    fn parse_to(text: &str, max: usize) -> Result<Self, FieldError> {
        let text = text.trim_matches([' ', '\t']);
        let wrong = |code: &str, message: String| Err(FieldError::new("name", code, message));
        if text.is_empty() {
            return wrong(
                "name_empty",
                format!("Give a name of 1 to {max} letters, digits, spaces or underscores."),
            );
        }
        let mut wrong_ones: Vec<char> = Vec::new();
        for c in text.chars().filter(|c| !(c.is_ascii_alphanumeric() || *c == ' ' || *c == '_')) {
            if !wrong_ones.contains(&c) && wrong_ones.len() < WRONG_SHOWN {
                wrong_ones.push(c);
            }
        }
        if !wrong_ones.is_empty() {
            let shown: Vec<String> =
                wrong_ones.iter().map(|c| c.escape_debug().to_string()).collect();
            return wrong(
                "name_bad_character",
                format!(
                    "The name may hold only ASCII letters, digits, spaces and underscores; take out {}.",
                    shown.join(" ")
                ),
            );
        }
        let length = text.chars().count();
        if length > max {
            return wrong(
                "name_too_long",
                format!("The name has {length} characters; shorten it to at most {max}."),
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as typed, trimmed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names are compared: lower case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// A rule name made from this one: its first 13 characters, from the second such rule on with a
    /// number behind.
    #[must_use]
    pub fn to_rule_name(&self, number: u32) -> Self {
        let behind = if number < 2 { String::new() } else { format!(" {number}") };
        let first: String =
            self.0.chars().take(RULE_NAME_MAX.saturating_sub(behind.len())).collect();
        Self(format!("{}{behind}", first.trim_end()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower case letters, digits and underscores, beginning with a letter: a name that every device's
/// configuration takes.
#[must_use]
pub fn slug(name: &str) -> String {
    let slug: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    if slug.starts_with(|c: char| c.is_ascii_lowercase()) { slug } else { format!("list_{slug}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_letters_digits_spaces_underscores() {
        assert_eq!(Name::parse("  MISP_1 lab ").unwrap().as_str(), "MISP_1 lab");
        assert!(Name::parse(&"x".repeat(50)).is_ok());
        assert_eq!(Name::parse(&"x".repeat(51)).unwrap_err().code, "name_too_long");
        assert_eq!(Name::parse("   ").unwrap_err().code, "name_empty");
        for bad in ["a-b", "é", "a\u{0}b", "<b>", "a\nb", "a.b"] {
            assert_eq!(Name::parse(bad).unwrap_err().code, "name_bad_character", "{bad}");
        }
        let all = Name::parse("a-b.c-d/e").unwrap_err().message;
        assert!(all.ends_with("take out - . /."), "{all}");
    }

    #[test]
    fn a_rule_is_named_after_its_group() {
        let group = Name::parse("Perimeter firewalls").unwrap();
        assert_eq!(group.to_rule_name(1).as_str(), "Perimeter fir");
        assert_eq!(group.to_rule_name(2).as_str(), "Perimeter f 2");
        assert_eq!(group.to_rule_name(u32::MAX).as_str(), "Pe 4294967295");
        assert!(
            [1, 2, 12, 100_000]
                .iter()
                .all(|n| Name::parse_rule(group.to_rule_name(*n).as_str()).is_ok())
        );
    }
}
