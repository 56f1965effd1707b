//! Letters: their kinds, what becomes of them, and when a failed one is tried again (design section 4, "Letters").

use serde::{Deserialize, Serialize};

use crate::time::{HOUR, MINUTE, Timestamp};

/// Why a letter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterKind {
    /// A device fell silent.
    Warning,
    /// It pulls again.
    Recovery,
    /// A group reached its limit.
    Limit,
    /// A publication is held, because it would lose too much.
    Held,
    /// Somebody wants to see whether mail arrives.
    Test,
    /// A person is invited.
    Invitation,
    /// A person forgot the password.
    PasswordReset,
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    /// To be handed over at its time.
    Due,
    /// Somebody is handing it over just now.
    Claimed,
    /// The mail server took it.
    Sent,
    /// Refused for good, or tried for too long.
    Dead,
    /// Its reason went away before it was handed over.
    Superseded,
    /// An administrator threw it away.
    Discarded,
}

impl LetterState {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Due, Self::Claimed, Self::Sent, Self::Dead, Self::Superseded, Self::Discarded];

    /// Its word, as on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Claimed => "claimed",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
            Self::Discarded => "discarded",
        }
    }

    /// Nothing happens to it any more by itself.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Due | Self::Claimed)
    }
}

/// The first and the longest pause between two tries, in microseconds.
const PAUSES: (i64, i64) = (MINUTE, 15 * MINUTE);
/// How long a letter is tried, in microseconds; a little over what is promised, so that a try falls behind it.
pub const TRIED_FOR: i64 = 72 * HOUR + PAUSES.1;

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The mail server took it.
    Taken,
    /// It may go better later.
    Failed,
    /// It never will.
    Refused,
}

/// What a letter is after its `attempts`th try: its state, and when it is due again.
///
/// `jitter` is a random number; it moves the pause by up to a fifth, so that letters which failed together don't come back
/// together.
#[must_use]
pub fn after_try(tried: Tried, attempts: u32, written_at: Timestamp, now: Timestamp, jitter: u16) -> (LetterState, Timestamp) {
    match tried {
        Tried::Taken => (LetterState::Sent, now),
        Tried::Refused => (LetterState::Dead, now),
        Tried::Failed if now.since(written_at) >= TRIED_FOR => (LetterState::Dead, now),
        Tried::Failed => {
            let (first, longest) = PAUSES;
            let pause = first.saturating_mul(1_i64.checked_shl(attempts.saturating_sub(1).min(10)).unwrap_or(1)).min(longest);
            let share = i64::from(jitter) * (pause / 5) / i64::from(u16::MAX);
            (LetterState::Due, now.plus(pause - share))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_grow_from_a_minute_to_a_quarter_of_an_hour() {
        let now = Timestamp::from_secs(1_800_000_000);
        let pause = |attempts| after_try(Tried::Failed, attempts, now, now, 0).1.since(now) / MINUTE;
        assert_eq!([1, 2, 3, 4, 5, 6, 400].map(pause), [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(after_try(Tried::Refused, 1, now, now, 0).0, LetterState::Dead);
        assert_eq!(after_try(Tried::Taken, 1, now, now, 0).0, LetterState::Sent);
    }

    proptest! {
        #[test]
        fn a_letter_is_tried_for_72_hours_and_then_dies(jitters in proptest::collection::vec(any::<u16>(), 1..8)) {
            let written = Timestamp::from_secs(1_800_000_000);
            let (mut now, mut attempts) = (written, 0);
            loop {
                attempts += 1;
                let (state, next) = after_try(Tried::Failed, attempts, written, now, jitters[attempts as usize % jitters.len()]);
                if state == LetterState::Dead {
                    break;
                }
                prop_assert!(next.since(now) >= PAUSES.0 * 4 / 5 && next.since(now) <= PAUSES.1);
                now = next;
            }
            prop_assert!(now.since(written) >= 72 * HOUR, "tried at least until {} h", now.since(written) / HOUR);
            prop_assert!(attempts < 500);
        }
    }
}
