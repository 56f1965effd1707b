//! What the columns of a table hold, where a person said so.

use std::str::FromStr;

use iocast_domain::ioc::Kind;

use super::super::fields::{Role, folded};

/// Most columns that are named.
const MOST: usize = 100;
/// Words for what a column may hold.
const WORDS: &[(&str, Option<Role>)] = &[
    ("value", Some(Role::Value)),
    ("hash", Some(Role::Hash)),
    ("kind", Some(Role::Kind)),
    ("first_seen", Some(Role::FirstSeen)),
    ("last_seen", Some(Role::LastSeen)),
    ("severity", Some(Role::Severity)),
    ("confidence", Some(Role::Confidence)),
    ("score", Some(Role::Score)),
    ("tags", Some(Role::SystemTags)),
    ("threat_actors", Some(Role::Actors)),
    ("campaigns", Some(Role::Campaigns)),
    ("malware_families", Some(Role::Families)),
    ("alert_id", Some(Role::AlertId)),
    ("ignore", None),
];

/// What columns hold, each by its name in the header or by its number from 1 on: lines such as
/// `Indicator = value`, `3 = last_seen` or `Notes = ignore`. What is said here counts for more than
/// what the table looks like; other columns are found by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<(String, Option<Role>)>);

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty());
        let columns = lines.map(line).collect::<Result<Vec<_>, _>>()?;
        if columns.len() > MOST {
            return Err(format!("Name at most {MOST} columns."));
        }
        Ok(Self(columns))
    }
}

fn line(line: &str) -> Result<(String, Option<Role>), String> {
    let Some((name, word)) = line.rsplit_once('=') else {
        return Err(format!("`{line}` names no column; write `Indicator = value`."));
    };
    let (name, word) = (folded(name), word.trim().to_ascii_lowercase());
    if name.is_empty() {
        return Err(format!("`{line}` names no column; write `Indicator = value`."));
    }
    let known = WORDS.iter().find(|(known, _)| *known == word).map(|(_, role)| *role);
    let kind = || word.parse::<Kind>().ok().map(|kind| Some(Role::Of(kind)));
    match known.or_else(kind) {
        Some(role) => Ok((name, role)),
        None => {
            let words = WORDS.iter().map(|(word, _)| *word);
            let all: Vec<&str> = words.chain(Kind::ALL.iter().map(|kind| kind.word())).collect();
            Err(format!(
                "`{word}` is nothing that a column holds. It is one of {}.",
                all.join(", ")
            ))
        }
    }
}

impl Columns {
    /// What a column of this name holds, where it is named.
    pub(super) fn by_name(&self, name: &str) -> Option<Option<Role>> {
        let name = folded(name);
        if name.bytes().all(|b| b.is_ascii_digit()) {
            // A number says which column it is.
            return None;
        }
        self.0.iter().find(|(known, _)| *known == name).map(|(_, role)| *role)
    }

    /// The first one that a table with these names and so many columns does not have.
    pub(super) fn missing(&self, names: &[String], columns: usize) -> Option<&str> {
        let names: Vec<String> = names.iter().map(|name| folded(name)).collect();
        let is_there = |key: &str| match key.parse::<usize>() {
            Ok(number) => (1..=columns).contains(&number),
            Err(_) => names.iter().any(|name| name == key),
        };
        self.0.iter().map(|(key, _)| key.as_str()).find(|key| !is_there(key))
    }

    /// Sets those that are given by number, and keeps other columns from being taken for values
    /// where it is said which ones hold them.
    pub(super) fn apply(&self, names: &[String], columns: &mut [Option<Role>]) {
        let by_number = |at: usize| {
            let number = (at + 1).to_string();
            self.0.iter().find(|(known, _)| *known == number).map(|(_, role)| *role)
        };
        let says_values = self.0.iter().any(|(_, role)| role.is_some_and(Role::is_value));
        for (at, column) in columns.iter_mut().enumerate() {
            let said = names.get(at).and_then(|name| self.by_name(name)).or_else(|| by_number(at));
            match said {
                Some(role) => *column = role,
                None if says_values && column.is_some_and(Role::is_value) => *column = None,
                None => {}
            }
        }
    }
}
