//! The Traffic Light Protocol: how far an IOC may be passed on.

use serde::{Deserialize, Serialize};

use crate::ioc::words;

words! {
    /// A mark, least strict first.
    Tlp {
        /// No limit. TLP 1.0 calls it white.
        Clear = 1 "clear",
        /// Within the community.
        Green = 2 "green",
        /// Within the organisation and its clients.
        Amber = 3 "amber",
        /// Within the organisation.
        AmberStrict = 4 "amber_strict",
        /// For the eyes and ears of individual recipients only.
        Red = 5 "red",
    }
}

impl Tlp {
    /// The mark that a tag is.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let (prefix, mark) = tag.trim().split_once(':')?;
        if !prefix.eq_ignore_ascii_case("tlp") {
            return None;
        }
        match mark.trim().to_ascii_lowercase().as_str() {
            "clear" | "white" => Some(Self::Clear),
            "green" => Some(Self::Green),
            "amber" => Some(Self::Amber),
            "amber+strict" | "amber_strict" => Some(Self::AmberStrict),
            "red" => Some(Self::Red),
            // `tlp:unclear`, `tlp:ex:chr` and others: nobody knows how far.
            _ => Some(Self::Red),
        }
    }

    /// The strictest of the marks among these tags.
    pub fn strictest<'t>(tags: impl Iterator<Item = &'t str>) -> Option<Self> {
        tags.filter_map(Self::of_tag).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_marks() {
        let of = |tags: &[&str]| Tlp::strictest(tags.iter().copied());
        assert_eq!(of(&["phishing"]), None);
        assert_eq!(of(&["tlp:white", "TLP:GREEN"]), Some(Tlp::Green));
        assert_eq!(of(&["tlp:amber+strict", "tlp:amber"]), Some(Tlp::AmberStrict));
        assert_eq!(of(&["tlp:unclear"]), Some(Tlp::Red));
    }
}
