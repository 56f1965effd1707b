//! Pages of long lists: an opaque cursor over the order in which they are listed.

use crate::{StoreError, StoreResult};

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct Page {
    /// Entries at most.
    pub limit: u64,
    /// Where the last page ended.
    pub after: Option<String>,
}

impl Page {
    /// The first page of so many entries.
    #[must_use]
    pub const fn first(limit: u64) -> Self {
        Self { limit, after: None }
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct PageOf<T> {
    /// Entries.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

impl<T> PageOf<T> {
    /// Cuts a result that was fetched with one entry too many.
    pub(crate) fn cut(mut items: Vec<T>, limit: u64, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if items.len() <= limit {
            return Self { items, next: None };
        }
        items.truncate(limit);
        let next = items.last().map(cursor);
        Self { items, next }
    }

    /// The same page of something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> PageOf<U> {
        PageOf { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

/// Splits a cursor `number.uuid`.
pub(crate) fn cursor(text: &str) -> StoreResult<(i64, uuid::Uuid)> {
    let split = || {
        let (number, id) = text.split_once('.')?;
        Some((number.parse().ok()?, id.parse().ok()?))
    };
    split().ok_or(StoreError::Cursor)
}
