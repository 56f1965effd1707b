//! How the backups went that iocast makes by itself.

use iocast_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The setting of the database that says so.
pub const LAST_BACKUP: &str = "backup_last";

/// How the last backups went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastBackup {
    /// When the last one was complete.
    pub done_at: Option<Timestamp>,
    /// Its file.
    pub file: Option<String>,
    /// Its bytes.
    pub bytes: u64,
    /// Why the last try failed; none if it did not.
    pub error: Option<String>,
    /// Since when backups are to be made.
    pub since: Option<Timestamp>,
    /// When the last try began.
    pub tried_at: Option<Timestamp>,
    /// Until then no other process makes one, in microseconds; 0 where none is being made.
    pub claimed_until: i64,
    /// From one to the next, in microseconds.
    pub every: i64,
    /// The process that tried last.
    pub by: String,
}

impl LastBackup {
    /// Whether somebody has to look: the last try failed, or none was made for twice the time.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        let late = |at: Timestamp| now.since(at) > self.every.saturating_mul(2);
        self.error.is_some() || self.done_at.or(self.since).is_some_and(late)
    }

    /// Whether it is time for one, for a process: its own claim is one of before a restart.
    #[must_use]
    pub fn is_due(&self, process: &str, (now, every, retry): (Timestamp, i64, i64)) -> bool {
        if self.by != process && now.micros() < self.claimed_until {
            return false;
        }
        match (self.done_at, &self.error, self.tried_at) {
            (Some(done), None, _) => now.since(done) >= every,
            (_, _, Some(tried)) => now.since(tried) >= retry.min(every),
            (_, _, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use iocast_domain::time::{DAY, HOUR};

    use super::*;

    #[test]
    fn a_backup_is_due_once_its_time_has_come() {
        let at = |hours: i64| Timestamp::from_micros(1_000 * DAY + hours * HOUR);
        let due = |of: &LastBackup, who: &str, hours| of.is_due(who, (at(hours), DAY, HOUR));
        let mut last = LastBackup { every: DAY, ..LastBackup::default() };
        assert!(due(&last, "a", 0));
        last = LastBackup {
            since: Some(at(0)),
            tried_at: Some(at(0)),
            claimed_until: at(6).micros(),
            by: "a".to_owned(),
            ..last
        };
        assert!(!due(&last, "b", 1) && due(&last, "b", 6), "another one is at it");
        assert!(!due(&last, "a", 0) && due(&last, "a", 1), "a restart tries again within the hour");
        assert!(!last.is_late(at(47)) && last.is_late(at(49)), "no backup was ever made");
        last = LastBackup { done_at: Some(at(0)), claimed_until: 0, ..last };
        assert!(!due(&last, "b", 23) && due(&last, "b", 24));
        last.error = Some("full".to_owned());
        assert!(last.is_late(at(1)) && due(&last, "b", 1));
    }
}
