//! Texts, each with the lists that it is on. All lie in one buffer: millions of small allocations
//! would take more memory than the texts.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, iter};

use hashbrown::{HashTable, hash_table::Entry};

use super::Number;

/// Most bytes of all texts.
const TEXT_MAX: usize = 128 << 20;
/// What is said of what is too much.
const FULL: &str = "the lists that are on are too long together";
/// No further entry.
const END: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Key {
    start: u32,
    length: u16,
    list: Number,
    /// The same text on another list.
    next: u32,
}

/// A set of texts, each on some lists.
#[derive(Debug, Default)]
pub(super) struct Keys {
    text: String,
    keys: Vec<Key>,
    table: HashTable<u32>,
    hasher: RandomState,
}

fn text_of<'a>(text: &'a str, key: &Key) -> &'a str {
    let start = key.start as usize;
    text.get(start..start + usize::from(key.length)).unwrap_or_default()
}

impl Keys {
    /// Adds a text of a list; once is enough.
    pub(super) fn insert(&mut self, text: &str, list: Number) -> Result<(), String> {
        let (Ok(at), Ok(start), Ok(length)) = (
            u32::try_from(self.keys.len()),
            u32::try_from(self.text.len()),
            u16::try_from(text.len()),
        ) else {
            return Err(FULL.to_owned());
        };
        if self.of(text).any(|known| known == list) {
            return Ok(());
        }
        if self.text.len() > TEXT_MAX {
            return Err(FULL.to_owned());
        }
        let Self { text: all, keys, table, hasher } = self;
        let is_same =
            |key: &u32| keys.get(*key as usize).is_some_and(|key| text_of(all, key) == text);
        let hash_at = |key: &u32| {
            hasher
                .hash_one(keys.get(*key as usize).map(|key| text_of(all, key)).unwrap_or_default())
        };
        let mut new = Key { start, length, list, next: END };
        match table.entry(hasher.hash_one(text), is_same, hash_at) {
            Entry::Occupied(mut first) => {
                new.next = *first.get();
                if let Some(known) = keys.get(new.next as usize) {
                    new.start = known.start;
                }
                *first.get_mut() = at;
                keys.push(new);
            }
            Entry::Vacant(place) => {
                place.insert(at);
                all.push_str(text);
                keys.push(new);
            }
        }
        Ok(())
    }

    /// Bytes of memory that they take.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity()
            + self.keys.capacity() * size_of::<Key>()
            + self.table.allocation_size()
    }

    /// The lists that a text is on.
    pub(super) fn of(&self, text: &str) -> impl Iterator<Item = Number> + '_ {
        let is_same = |key: &u32| {
            self.keys.get(*key as usize).is_some_and(|key| text_of(&self.text, key) == text)
        };
        let first = if self.table.is_empty() {
            None
        } else {
            self.table.find(self.hasher.hash_one(text), is_same).copied()
        };
        let at = move |number: u32| self.keys.get(number as usize);
        iter::successors(first.and_then(at), move |key| at(key.next)).map(|key| key.list)
    }
}
