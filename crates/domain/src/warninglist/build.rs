//! Lists are added one by one; then their automata are made.

use aho_corasick::AhoCorasick;
use regex::RegexSetBuilder;

use super::{
    LeftOut, ListMatch, Matching, Number, On, REGEX_MEMORY, Warninglists, kinds_of, pattern,
};
use crate::{
    host::{ancestors, network},
    normalise,
    time::clip,
};

/// Longest entry, in bytes.
const ENTRY_MAX: usize = 2_048;
/// Shortest substring: a shorter one is in nearly every value.
const SUBSTRING_MIN: usize = 3;
/// Most bytes of all substrings: an automaton takes some twenty bytes for each.
const SUBSTRINGS_MAX: usize = 1 << 20;
/// Most regular expressions of all lists.
const REGEXES_MAX: usize = 1_000;

/// [`Warninglists`] in the making.
#[derive(Debug, Default)]
pub struct Builder {
    made: Warninglists,
    substrings: (Vec<String>, Vec<Number>, usize),
    regexes: (Vec<String>, Vec<Number>),
    /// Regular expressions that were tried: one that can't be taken costs as much as one that can.
    tried: usize,
}

impl Builder {
    /// Adds a list. Gives the entries that can't be compared.
    pub fn add<'a>(
        &mut self,
        list: ListMatch,
        attributes: &[String],
        matching: Matching,
        entries: impl IntoIterator<Item = &'a str>,
    ) -> LeftOut {
        let mut left_out = LeftOut::default();
        let Ok(number) = Number::try_from(self.made.lists.len()) else { return left_out };
        self.made.lists.push(On { matched: list, kinds: kinds_of(attributes) });
        for entry in entries {
            let entry = entry.trim();
            if let Err(why) = self.entry(number, matching, entry) {
                left_out.note(format!("`{}`: {why}", clip(entry, 80)));
            }
        }
        left_out
    }

    fn entry(&mut self, number: Number, matching: Matching, entry: &str) -> Result<(), String> {
        if entry.is_empty() {
            return Err("the entry is empty".to_owned());
        }
        if entry.len() > ENTRY_MAX {
            return Err(format!("an entry has at most {ENTRY_MAX} bytes"));
        }
        match matching {
            Matching::Exact => self.made.values.insert(&whole(entry), number)?,
            Matching::Hostname => {
                let name = host_name(entry);
                if !is_name(&name) {
                    return Err("this is no host name".to_owned());
                }
                for above in ancestors(&name).skip(1) {
                    self.made.above.insert(above, number)?;
                }
                self.made.hosts.insert(&name, number)?;
            }
            Matching::Cidr => {
                let network = network(entry)
                    .ok_or("this is neither an address nor a network such as 192.0.2.0/24")?;
                let lists = self.made.networks.entry(network).or_default();
                if !lists.contains(&number) {
                    lists.push(number);
                }
            }
            Matching::Substring => {
                let (texts, numbers, bytes) = &mut self.substrings;
                if entry.chars().count() < SUBSTRING_MIN {
                    return Err(format!("a substring has at least {SUBSTRING_MIN} characters"));
                }
                if *bytes + entry.len() > SUBSTRINGS_MAX {
                    return Err(format!(
                        "all substrings together have at most {} MiB",
                        SUBSTRINGS_MAX >> 20
                    ));
                }
                *bytes += entry.len();
                texts.push(entry.to_ascii_lowercase());
                numbers.push(number);
            }
            Matching::Regex => {
                self.tried += 1;
                if self.tried > REGEXES_MAX {
                    return Err(format!(
                        "all lists together have at most {REGEXES_MAX} regular expressions"
                    ));
                }
                self.regexes.0.push(pattern::of(entry)?);
                self.regexes.1.push(number);
            }
        }
        Ok(())
    }

    /// Makes them ready. Those of which an automaton would take too much memory are left out, which
    /// the sentence says.
    #[must_use]
    pub fn finish(self) -> (Warninglists, Option<String>) {
        let Self {
            mut made,
            substrings: (texts, of_texts, _),
            regexes: (mut patterns, of_patterns),
            ..
        } = self;
        let mut trouble = None;
        if !texts.is_empty() {
            match AhoCorasick::new(&texts) {
                Ok(automaton) => made.substrings = Some((automaton, of_texts)),
                Err(why) => trouble = Some(format!("The substrings are left out: {why}.")),
            }
        }
        // Those of lists that withhold come first, and are left out last.
        while !patterns.is_empty() {
            match RegexSetBuilder::new(&patterns).size_limit(REGEX_MEMORY).build() {
                Ok(set) => {
                    made.regexes = Some((set, of_patterns));
                    break;
                }
                Err(why) => {
                    trouble = Some(format!("Some regular expressions are left out: {why}."));
                    patterns.truncate(patterns.len() / 2);
                }
            }
        }
        (made, trouble)
    }
}

/// A whole value, in the spelling of IOCs.
fn whole(entry: &str) -> String {
    if entry.contains("://") {
        return normalise::url(entry).unwrap_or_else(|_| entry.to_owned());
    }
    if entry.is_ascii() { entry.to_ascii_lowercase() } else { host_name(entry) }
}

/// A host name, in the spelling of IOCs. Names of one part are left as they are: a list may hold a
/// top-level domain.
fn host_name(entry: &str) -> String {
    let bare = entry.strip_prefix("*.").unwrap_or(entry).trim_matches('.');
    if bare.is_ascii() {
        return bare.to_ascii_lowercase();
    }
    normalise::domain(bare).unwrap_or_else(|_| bare.to_lowercase())
}

/// Whether this may be the name of a host: one part is enough.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
