//! Messages: their kinds, what becomes of them, and when a failed one is tried again (design section
//! 4, "Messages").

use serde::{Deserialize, Serialize};

use crate::time::{HOUR, MINUTE, Timestamp};

/// Why a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// A device fell silent.
    Warning,
    /// It pulls again.
    Recovery,
    /// A group reached its limit.
    Limit,
    /// A publication is held, because it would lose too much.
    Held,
    /// A MISP does not take events of a group.
    NotTaken,
    /// A source fetches nothing any more.
    SourceFailing,
    /// It fetches again.
    SourceRecovered,
    /// Somebody wants to see whether mail arrives.
    Test,
    /// A person is invited.
    Invitation,
    /// A person forgot the password.
    PasswordReset,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
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

impl MessageState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Due, Self::Claimed, Self::Sent, Self::Dead, Self::Superseded, Self::Discarded];

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
/// How long a message is tried, in microseconds; a little over what is promised, so that a try falls
/// behind it.
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

/// What a message is after its `attempts`th try: its state, and when it is due again.
///
/// `jitter` is a random number; it moves the pause by up to a fifth, so that messages which failed
/// together don't come back together.
#[must_use]
pub fn after_try(
    tried: Tried,
    attempts: u32,
    written_at: Timestamp,
    now: Timestamp,
    jitter: u16,
) -> (MessageState, Timestamp) {
    match tried {
        Tried::Taken => (MessageState::Sent, now),
        Tried::Refused => (MessageState::Dead, now),
        Tried::Failed if now.since(written_at) >= TRIED_FOR => (MessageState::Dead, now),
        Tried::Failed => {
            let (first, longest) = PAUSES;
            let pause = first
                .saturating_mul(1_i64.checked_shl(attempts.saturating_sub(1).min(10)).unwrap_or(1))
                .min(longest);
            let share = i64::from(jitter) * (pause / 5) / i64::from(u16::MAX);
            (MessageState::Due, now.plus(pause - share))
        }
    }
}

/// Messages of one kind that a person gets one by one within [`GATHERED_FOR`]; more come in a
/// digest.
pub const SINGLES: usize = 3;
/// How long a digest gathers after the message before it, in microseconds.
pub const GATHERED_FOR: i64 = 5 * MINUTE;

/// Messages of one kind that a person was written within [`GATHERED_FOR`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Lately {
    /// How many, without the digest that is open.
    pub written: usize,
    /// One of them is a digest, or one is open.
    pub digest: bool,
    /// When the last one was written.
    pub last: Option<Timestamp>,
}

/// When a digest of `more` new messages goes out; `None` if they are few enough to go out one by
/// one, now.
#[must_use]
pub fn digest_at(lately: Lately, more: usize, now: Timestamp) -> Option<Timestamp> {
    if !lately.digest && lately.written + more <= SINGLES {
        return None;
    }
    Some(lately.last.map_or(now, |last| last.plus(GATHERED_FOR).max(now)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_grow_from_a_minute_to_a_quarter_of_an_hour() {
        let now = Timestamp::from_secs(1_800_000_000);
        let pause =
            |attempts| after_try(Tried::Failed, attempts, now, now, 0).1.since(now) / MINUTE;
        assert_eq!([1, 2, 3, 4, 5, 6, 400].map(pause), [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(after_try(Tried::Refused, 1, now, now, 0).0, MessageState::Dead);
        assert_eq!(after_try(Tried::Taken, 1, now, now, 0).0, MessageState::Sent);
    }

    #[test]
    fn a_few_messages_go_out_one_by_one_and_many_in_one() {
        let now = Timestamp::from_secs(1_800_000_000);
        let lately = |written, digest, ago: Option<i64>| Lately {
            written,
            digest,
            last: ago.map(|ago| now.plus(-ago)),
        };
        assert_eq!(digest_at(Lately::default(), SINGLES, now), None);
        assert_eq!(
            digest_at(Lately::default(), SINGLES + 1, now),
            Some(now),
            "many at once don't wait"
        );
        assert_eq!(digest_at(lately(2, false, Some(MINUTE)), 1, now), None);
        assert_eq!(digest_at(lately(3, false, Some(MINUTE)), 1, now), Some(now.plus(4 * MINUTE)));
        assert_eq!(
            digest_at(lately(1, true, Some(MINUTE)), 1, now),
            Some(now.plus(4 * MINUTE)),
            "after a digest comes a digest"
        );
        assert_eq!(
            digest_at(lately(0, true, None), 1, now),
            Some(now),
            "one that is overdue takes in what is new"
        );
    }

    proptest! {
        /// However events come, a person gets at most three single messages before the first
        /// digest, and digests five minutes apart.
        #[test]
        fn a_storm_is_a_few_messages(pauses in proptest::collection::vec(0_i64..90, 1..200)) {
            let mut now = Timestamp::from_secs(1_800_000_000);
            let begin = now;
            let mut written: Vec<(Timestamp, bool)> = Vec::new();
            let mut open: Option<Timestamp> = None;
            for pause in pauses {
                now = now.plus(pause * 1_000_000);
                if let Some(due) = open.filter(|due| *due <= now) {
                    written.push((due, true));
                    open = None;
                }
                let recent: Vec<_> = written.iter().filter(|(at, _)| now.since(*at) < GATHERED_FOR).collect();
                let lately = Lately { written: recent.len(), digest: open.is_some() || recent.iter().any(|(_, d)| *d), last: recent.last().map(|(at, _)| *at) };
                match digest_at(lately, 1, now) {
                    None => written.push((now, false)),
                    Some(due) => open = open.or(Some(due)),
                }
                prop_assert!(open.is_none_or(|due| due.since(now) <= GATHERED_FOR), "nobody waits longer");
            }
            let windows = usize::try_from(now.since(begin) / GATHERED_FOR).unwrap() + 1;
            prop_assert!(written.len() <= SINGLES * windows, "{written:?}");
        }

        #[test]
        fn a_message_is_tried_for_72_hours_and_then_dies(jitters in proptest::collection::vec(any::<u16>(), 1..8)) {
            let written = Timestamp::from_secs(1_800_000_000);
            let (mut now, mut attempts) = (written, 0);
            loop {
                attempts += 1;
                let (state, next) = after_try(Tried::Failed, attempts, written, now, jitters[attempts as usize % jitters.len()]);
                if state == MessageState::Dead {
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
