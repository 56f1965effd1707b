//! Imports as they are kept: what state one is in, and what taking it back does.

use serde::{Deserialize, Serialize};

use crate::ioc::words;

words! {
    /// What became of an import.
    ImportState {
        /// It is being read.
        Running = 1 "running",
        /// It was read, and waits for a person to take it or throw it away. Nothing is written.
        Review = 2 "review",
        /// Its IOCs are there.
        Done = 3 "done",
        /// It could not be read, or was cut off. Nothing was written.
        Failed = 4 "failed",
        /// A person stopped it or threw it away. Nothing was written.
        Discarded = 5 "discarded",
        /// It was taken back.
        Undone = 6 "undone",
    }
}

/// What taking an import back does, in IOCs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// Those that nobody reports any more: they leave all groups.
    pub removed: u64,
    /// Those that another source reports as well: only this report goes, and what the import added
    /// to them stays.
    pub shared: u64,
    /// Those that the source had reported before: they stay as they are.
    pub known: u64,
    /// Those that changed since: they stay as they are.
    pub changed: u64,
}

/// What a person wants of an IOC of an import in review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// It is taken.
    Take,
    /// It is left out.
    LeaveOut,
}
