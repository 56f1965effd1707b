//! Members of groups, and the arithmetic of a MISP feed: parts, days, stamps (design section 4,
//! "MISP feed").

use uuid::Uuid;

use crate::{
    id::{AccountId, GroupId, IocId, PartId},
    time::{DAY, HOUR},
};

/// Most members of one part, tombstones counted.
pub const PART_MAX: u32 = 2_000;
/// How long a removed IOC stays listed as deleted, in microseconds.
pub const TOMBSTONE_KEPT: i64 = 30 * DAY;
/// How long a tombstone stays at most where a client that may hold the IOC did not fetch it yet, in
/// microseconds.
pub const TOMBSTONE_KEPT_FOR_ABSENT: i64 = 180 * DAY;
/// How often enrichment and removals may reach a sealed part, and how long a limit cut may be taken
/// back, in microseconds.
pub const SEALED_PART_REST: i64 = HOUR;

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipState {
    /// Listed.
    Live,
    /// Out of the group and out of the files, but receivers were not told to delete it yet.
    Leaving,
    /// Listed as deleted.
    Tombstone,
}

impl MembershipState {
    /// The number in which it is stored.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Live => 0,
            Self::Leaving => 1,
            Self::Tombstone => 2,
        }
    }

    /// The value stored as `code`.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Live),
            1 => Some(Self::Leaving),
            2 => Some(Self::Tombstone),
            _ => None,
        }
    }
}

/// Why a member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// The limit; may be taken back within the hour.
    OverLimit,
    /// No rule chooses it any more: retired, deleted, a rule or source changed.
    Unchosen,
    /// A person withdrew it: at once.
    Withdrawn,
    /// Sent again in a new part: at once.
    SentAgain,
    /// Another entry stands for it, in a group that collapses.
    Covered,
    /// An admin had the group go back to a publication without it: at once.
    RolledBack,
}

impl LeaveReason {
    /// The number in which it is stored.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::OverLimit => 1,
            Self::Unchosen => 2,
            Self::Withdrawn => 3,
            Self::SentAgain => 4,
            Self::Covered => 5,
            Self::RolledBack => 6,
        }
    }

    /// The value stored as `code`.
    #[must_use]
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::OverLimit),
            2 => Some(Self::Unchosen),
            3 => Some(Self::Withdrawn),
            4 => Some(Self::SentAgain),
            5 => Some(Self::Covered),
            6 => Some(Self::RolledBack),
            _ => None,
        }
    }

    /// When receivers may be told, in UTC microseconds: `left_at` is when it left, `next_change_at` when
    /// the part may change again, `sealed` whether the part is sealed.
    #[must_use]
    pub fn due(self, left_at: i64, next_change_at: i64, sealed: bool) -> i64 {
        match self {
            Self::Withdrawn | Self::SentAgain | Self::RolledBack => left_at,
            Self::OverLimit => {
                (left_at + SEALED_PART_REST).max(if sealed { next_change_at } else { left_at })
            }
            Self::Unchosen | Self::Covered if sealed => next_change_at.max(left_at),
            Self::Unchosen | Self::Covered => left_at,
        }
    }
}

/// The id, and so the event UUID, of a part: version 5 over account, group, day and number.
#[must_use]
pub fn part_id(account: &AccountId, group: GroupId, day: &str, number: u32) -> PartId {
    PartId(Uuid::new_v5(&account.namespace(), format!("event|{group}|{day}|{number}").as_bytes()))
}

/// The attribute UUID of an IOC in a part: version 5 over event and IOC, so that no two events
/// share one.
#[must_use]
pub fn attribute_uuid(part: PartId, ioc: IocId) -> Uuid {
    Uuid::new_v5(&part.0, ioc.0.as_bytes())
}

/// The name of an event: `<group> - <day>`, from part 2 on with ` (2)` behind.
#[must_use]
pub fn event_info(group_name: &str, day: &str, number: u32) -> String {
    if number <= 1 {
        format!("{group_name} - {day}")
    } else {
        format!("{group_name} - {day} ({number})")
    }
}

/// The stamps of `count` parts that change together at `now` (UTC seconds): consecutive seconds
/// that end now, and later than every stamp the group gave before (`latest`).
pub fn stamps(count: usize, now: i64, latest: Option<i64>) -> impl Iterator<Item = i64> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let first = (now - count + 1).max(latest.map_or(i64::MIN, |l| l + 1));
    (0..count).map(move |i| first + i)
}

/// An existing part, as far as placing new members needs it.
#[derive(Clone, Debug)]
pub struct OpenPart {
    /// The part's number within its day.
    pub number: u32,
    /// Members in it, tombstones counted.
    pub total: u32,
}

/// How many of `joining` go into the open part and into how many new ones. `open` is the day's
/// unsealed part, `last_number` the day's highest part number (0 for none), `avoid_open` whether
/// one of them has its tombstone there. Gives (part number, how many), in order.
#[must_use]
pub fn place(
    joining: usize,
    open: Option<&OpenPart>,
    last_number: u32,
    avoid_open: bool,
) -> Vec<(u32, usize)> {
    let mut left = joining;
    let mut placed = Vec::new();
    if let Some(part) = open.filter(|_| !avoid_open) {
        let room = usize::try_from(PART_MAX.saturating_sub(part.total)).unwrap_or(0);
        let take = room.min(left);
        if take > 0 {
            placed.push((part.number, take));
            left -= take;
        }
    }
    let mut number = last_number;
    while left > 0 {
        number += 1;
        let take = left.min(PART_MAX as usize);
        placed.push((number, take));
        left -= take;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_up_to_2000_and_number_on() {
        assert_eq!(place(50_000, None, 0, false).len(), 25);
        assert_eq!(place(2_001, None, 0, false), [(1, 2_000), (2, 1)]);
        let open = OpenPart { number: 3, total: 1_990 };
        assert_eq!(place(15, Some(&open), 3, false), [(3, 10), (4, 5)]);
        assert_eq!(place(15, Some(&open), 3, true), [(4, 15)]);
        assert!(place(0, Some(&open), 3, false).is_empty());
    }

    #[test]
    fn stamps_end_now_and_only_grow() {
        assert_eq!(stamps(3, 100, None).collect::<Vec<_>>(), [98, 99, 100]);
        assert_eq!(stamps(3, 100, Some(100)).collect::<Vec<_>>(), [101, 102, 103]);
        assert_eq!(stamps(1, 100, Some(40)).collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn a_cut_waits_an_hour_and_a_whitelisting_does_not_wait() {
        assert_eq!(LeaveReason::OverLimit.due(10, 0, false), 10 + HOUR);
        assert_eq!(LeaveReason::Withdrawn.due(10, 99, true), 10);
        assert_eq!(LeaveReason::Unchosen.due(10, 99, true), 99);
        assert_eq!(LeaveReason::Unchosen.due(10, 99, false), 10);
    }

    proptest::proptest! {
        #[test]
        fn stamps_are_distinct_and_later_than_all_before(rounds in proptest::collection::vec((1_usize..40, 0_i64..30), 1..20)) {
            let (mut now, mut latest) = (1_000_i64, None);
            for (count, wait) in rounds {
                now += wait;
                for stamp in stamps(count, now, latest).collect::<Vec<_>>() {
                    proptest::prop_assert!(latest.is_none_or(|l| stamp > l));
                    latest = Some(stamp);
                }
            }
        }

        #[test]
        fn everybody_gets_a_place_and_no_part_overflows(joining in 0_usize..9_000, total in 0_u32..=2_000, avoid: bool) {
            let open = OpenPart { number: 4, total };
            let placed = place(joining, Some(&open), 4, avoid);
            proptest::prop_assert_eq!(placed.iter().map(|(_, n)| n).sum::<usize>(), joining);
            for (number, n) in placed {
                let before = if number == 4 { total } else { 0 };
                proptest::prop_assert!(before + u32::try_from(n).unwrap() <= PART_MAX && (number > 4 || (number == 4 && !avoid)));
            }
        }
    }
}
