//! When nobody could answer, and by how much this server's clock is wrong: silence is judged with
//! both in mind.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use arc_swap::ArcSwap;
use iocast_domain::watch::Gap;

/// What the last sign of life found.
#[derive(Debug, Default)]
pub struct Downtime {
    gaps: ArcSwap<Vec<Gap>>,
    clock_ahead: AtomicI64,
}

impl Downtime {
    /// The times in which no device could pull.
    #[must_use]
    pub fn gaps(&self) -> Arc<Vec<Gap>> {
        self.gaps.load_full()
    }

    /// Replaces them.
    pub fn set_gaps(&self, gaps: Vec<Gap>) {
        self.gaps.store(Arc::new(gaps));
    }

    /// By how much this server's clock is ahead of the database's, in microseconds; 0 if they agree
    /// well enough.
    #[must_use]
    pub fn clock_ahead(&self) -> i64 {
        self.clock_ahead.load(Ordering::Relaxed)
    }

    /// Notes it, and gives what was noted before.
    pub fn set_clock_ahead(&self, ahead: i64) -> i64 {
        self.clock_ahead.swap(ahead, Ordering::Relaxed)
    }
}
