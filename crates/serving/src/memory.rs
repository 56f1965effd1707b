//! How well what devices are served from is known.

use std::sync::atomic::Ordering;

use iocast_domain::time::SECOND;

use crate::Serving;

/// For so long, in microseconds, the tables that devices are served from count as fresh.
const FRESH: i64 = 10 * SECOND;

/// How well what devices are served from is known to be the last state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The database was asked just now.
    Fresh,
    /// The database is away: devices get the last publication that was seen, and keys that worked
    /// then work.
    Old,
    /// The database has been away for longer than the setting allows: every device is refused.
    Stale,
}

impl Serving {
    /// How well what devices are served from is known to be the last state.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let age = self.memory_age();
        match () {
            () if age < FRESH => Memory::Fresh,
            () if age
                < i64::try_from(self.context.settings.without_database.as_micros())
                    .unwrap_or(i64::MAX) =>
            {
                Memory::Old
            }
            () => Memory::Stale,
        }
    }

    /// Microseconds since the tables that devices are served from were last compared with the
    /// database.
    #[must_use]
    pub fn memory_age(&self) -> i64 {
        self.memory_age.load(Ordering::Relaxed)
    }
}
