//! How long an IOC counts.

use super::{Ioc, Report, State};
use crate::time::{DAY, Timestamp};

impl Ioc {
    /// How long it stays Active after it was last seen, in microseconds: the longest lifetime that
    /// a source which reports it has for its kind.
    #[must_use]
    pub fn lifetime(&self) -> i64 {
        let of_report = |report: &Report| {
            report.lifetime_days.map_or(self.kind.lifetime(), |days| i64::from(days) * DAY)
        };
        self.enrichment.reports.iter().map(of_report).max().unwrap_or(self.kind.lifetime())
    }

    /// When it retires unless it is seen again.
    #[must_use]
    pub fn retires_at(&self) -> Timestamp {
        self.last_seen.plus(self.lifetime())
    }

    /// Active while younger than its lifetime at `now`.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> State {
        if now >= self.retires_at() { State::Retired } else { State::Active }
    }
}
