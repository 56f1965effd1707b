//! The dot: when a device counts as silent (design section 4, "Dot").

use serde::{Deserialize, Serialize};

use crate::{
    time::{HOUR, Timestamp},
    watch::{Gap, is_outage},
};

/// Silence longer than this is an outage, unless an account or device says otherwise: 48 h, in
/// microseconds.
pub const SILENT_AFTER: i64 = 48 * HOUR;

/// The colour of the dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dot {
    /// No pull yet, or silent.
    Red,
    /// Pulls arrive.
    Green,
}

/// The word beside the dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No pull since the device was made.
    NeverPulled,
    /// The last pull is recent enough.
    Synced,
    /// The last pull is too long ago.
    Silent,
}

/// A device's state of synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncState {
    /// Colour.
    pub dot: Dot,
    /// Word.
    pub reason: Reason,
    /// The last pull.
    pub last_pull_at: Option<Timestamp>,
    /// While silent: since when nothing was pulled.
    pub silent_since: Option<Timestamp>,
}

/// Judges a device at `now`: silent is *more than* `threshold` microseconds since its last pull, in
/// which it could have pulled.
#[must_use]
pub fn judge(
    last_pull_at: Option<Timestamp>,
    threshold: i64,
    gaps: &[Gap],
    now: Timestamp,
) -> SyncState {
    let (dot, reason, silent_since) = match last_pull_at {
        None => (Dot::Red, Reason::NeverPulled, None),
        Some(at) if is_outage(at, threshold, gaps, now) => (Dot::Red, Reason::Silent, Some(at)),
        Some(_) => (Dot::Green, Reason::Synced, None),
    };
    SyncState { dot, reason, last_pull_at, silent_since }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_48_hours_is_still_green() {
        let pulled = Timestamp::from_secs(1_700_000_000);
        let at =
            |offset| judge(Some(pulled), SILENT_AFTER, &[], pulled.plus(SILENT_AFTER + offset));
        assert_eq!(at(-1).dot, Dot::Green);
        assert_eq!(at(0).dot, Dot::Green);
        assert_eq!(
            (at(1).dot, at(1).reason, at(1).silent_since),
            (Dot::Red, Reason::Silent, Some(pulled))
        );
        assert_eq!(judge(None, SILENT_AFTER, &[], pulled).reason, Reason::NeverPulled);
    }
}
