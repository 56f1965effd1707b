//! Who stays when a group is over its limit (design section 4, "Over the limit").

use std::{cmp::Ordering, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::{
    id::IocId,
    ioc::{Ioc, Severity},
    rule::{EnabledSources, SourceRanks},
    time::DAY,
};

/// Characters of a value that its place in the order goes by: as many as the database keeps in an
/// index.
pub const VALUE_HEAD: usize = 250;

/// The value as far as the order goes by it.
#[must_use]
pub fn value_head(value: &str) -> &str {
    let end = if value.len() <= VALUE_HEAD { None } else { value.char_indices().nth(VALUE_HEAD) };
    end.and_then(|(at, _)| value.get(..at)).unwrap_or(value)
}

/// Where an IOC stands whatever the group: by severity, as far as its sources are trusted with it,
/// then by the UTC day on which it was last seen. The least goes first.
#[must_use]
pub fn precedence(ioc: &Ioc) -> i64 {
    // What is claimed weighs at most what its source is trusted with; what a person set weighs what
    // it says.
    let trusted = || {
        ioc.enrichment.reports.iter().map(|r| r.confidence.weight()).max().unwrap_or(Severity::Low)
    };
    let severity = ioc.enrichment.user_severity.unwrap_or_else(|| ioc.severity().min(trusted()));
    let below = i64::from(Severity::High.code() - severity.code());
    // Days are fewer than 2^31 for all times that there are in microseconds.
    (below << 32) + (1 << 31) - ioc.last_seen.micros().div_euclid(DAY)
}

/// The rank of the source that an IOC takes its place by: the best of those that are on and report
/// it.
#[must_use]
pub fn rank(ioc: &Ioc, ranks: &SourceRanks, enabled: &EnabledSources) -> u32 {
    let reported = ioc.enrichment.reports.iter().filter(|r| enabled.contains(&r.source_id));
    reported.filter_map(|r| ranks.get(&r.source_id).copied()).min().unwrap_or(UNRANKED)
}

/// The rank of an IOC that no source in the group's priority reports.
pub const UNRANKED: u32 = u32::MAX;

/// The place of an IOC in the order of a group; the least goes first: source priority, severity,
/// UTC day last seen, then value bytewise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The rank of its source.
    #[serde(rename = "r")]
    pub rank: u32,
    /// See [`precedence`].
    #[serde(rename = "p")]
    pub precedence: i64,
    /// The value.
    #[serde(rename = "v")]
    pub value: String,
    /// The IOC.
    #[serde(rename = "i")]
    pub id: IocId,
}

impl Place {
    /// Where `ioc` stands.
    #[must_use]
    pub fn of(ioc: &Ioc, ranks: &SourceRanks, enabled: &EnabledSources) -> Self {
        Self {
            rank: rank(ioc, ranks, enabled),
            precedence: precedence(ioc),
            value: ioc.value.clone(),
            id: ioc.id,
        }
    }

    /// Takes the place of `other` where that is better, as far as the value does not decide.
    pub fn rise_to(&mut self, other: &Self) {
        if other < self {
            self.rank = other.rank;
            self.precedence = other.precedence;
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |place: &Self| (place.rank, place.precedence);
        key(self)
            .cmp(&key(other))
            .then_with(|| value_head(&self.value).cmp(value_head(&other.value)))
            .then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Keeps the first `limit` places of any number offered, in memory bounded by `limit`.
#[derive(Debug)]
pub struct Selection {
    limit: usize,
    kept: BinaryHeap<Place>,
    cut: u64,
}

impl Selection {
    /// An empty selection.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: BinaryHeap::new(), cut: 0 }
    }

    /// Offers one IOC. Gives the one that is out of the running now: nobody yet, this one, or one
    /// that was offered before.
    pub fn offer(&mut self, place: Place) -> Option<IocId> {
        if self.kept.len() < self.limit {
            self.kept.push(place);
            return None;
        }
        self.cut += 1;
        if self.kept.peek().is_none_or(|last| place >= *last) {
            return Some(place.id);
        }
        let out = self.kept.pop().map(|last| last.id);
        self.kept.push(place);
        out
    }

    /// Whether an IOC at this place, and all that stand behind it, would find no room.
    #[must_use]
    pub fn is_closed_to(&self, place: &Place) -> bool {
        self.kept.len() >= self.limit && self.kept.peek().is_none_or(|last| place > last)
    }

    /// The ones that stay, best first, and how many were cut; `taken` of the limit's places are
    /// held by others. What finds no room because of those is cut as well.
    #[must_use]
    pub fn finish(self, taken: usize) -> (Vec<Place>, u64) {
        let mut kept = self.kept.into_sorted_vec();
        let room = self.limit.saturating_sub(taken);
        let without_room = kept.len().saturating_sub(room);
        kept.truncate(room);
        (kept, self.cut + without_room as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::SourceId,
        ioc::{Enrichment, Kind, Report, State, Whitelist},
        source::Confidence,
        time::Timestamp,
    };

    fn place(rank: u32, precedence: i64, value: &str, id: u128) -> Place {
        Place { rank, precedence, value: value.to_owned(), id: IocId(uuid::Uuid::from_u128(id)) }
    }

    fn ioc(severity: Severity, user: Option<Severity>, confidence: Confidence, seen: &str) -> Ioc {
        let reports = vec![Report {
            source_id: SourceId(uuid::Uuid::nil()),
            confidence,
            reported_at: 0,
            first_at: 0,
            lifetime_days: None,
        }];
        let at = Timestamp::parse(seen).unwrap();
        let enrichment = Enrichment {
            reported_severity: Some(severity),
            user_severity: user,
            reports,
            ..Enrichment::default()
        };
        let (state, whitelist) = (State::Active, Whitelist::Default);
        Ioc {
            id: IocId(uuid::Uuid::nil()),
            kind: Kind::Domain,
            value: "evil.net".to_owned(),
            first_seen: at,
            last_seen: at,
            state,
            whitelist,
            enrichment,
        }
    }

    #[test]
    fn priority_then_precedence_then_value() {
        let mut selection = Selection::new(4);
        for p in [
            place(1, 0, "a", 5),
            place(0, 9, "z", 4),
            place(0, 0, "b", 2),
            place(0, 0, "a", 1),
            place(0, -1, "z", 0),
            place(0, 5, "a", 3),
        ] {
            selection.offer(p);
        }
        assert!(
            selection.is_closed_to(&place(0, 5, "b", 0))
                && !selection.is_closed_to(&place(0, 4, "z", 9))
        );
        let (kept, cut) = selection.finish(0);
        assert_eq!(kept.iter().map(|p| p.id.0.as_u128()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(cut, 2);
    }

    #[test]
    fn severity_as_far_as_it_is_trusted_then_the_day() {
        let (low, high) = (Severity::Low, Severity::High);
        let order = [
            ioc(low, Some(high), Confidence::LOW, "2026-11-01"),
            ioc(high, None, Confidence::HIGH, "2026-10-31T23:59:59Z"),
            ioc(high, None, Confidence::MEDIUM, "2026-11-02"),
            ioc(high, None, Confidence::LOW, "2026-11-03"),
            ioc(low, None, Confidence::HIGH, "1970-01-01"),
        ];
        let places: Vec<i64> = order.iter().map(precedence).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        let hour = |seen| precedence(&ioc(low, None, Confidence::LOW, seen));
        assert_eq!(
            hour("2026-11-01T00:00:00Z"),
            hour("2026-11-01T23:59:59Z"),
            "an IOC that is seen again and again keeps its place for the day"
        );
    }

    #[test]
    fn a_value_counts_as_far_as_it_is_indexed() {
        let long = "é".repeat(VALUE_HEAD);
        assert_eq!(value_head(&format!("{long}x")), long);
        assert_eq!(value_head("evil.net"), "evil.net");
        assert!(place(0, 0, &format!("{long}z"), 1) < place(0, 0, &format!("{long}a"), 2));
    }

    proptest::proptest! {
        #[test]
        fn the_limit_is_never_exceeded_and_the_best_stay(limit in 0_usize..8, taken in 0_usize..10, seen in proptest::collection::vec(0_i64..5, 0..30)) {
            let mut all: Vec<Place> = seen.iter().enumerate().map(|(i, s)| place(0, *s, &format!("{i:03}"), i as u128)).collect();
            let mut selection = Selection::new(limit);
            let out: Vec<IocId> = all.iter().filter_map(|p| selection.offer(p.clone())).collect();
            proptest::prop_assert_eq!(out.len(), all.len().saturating_sub(limit));
            let (kept, cut) = selection.finish(taken);
            all.sort();
            let best: Vec<Place> = all.iter().take(limit.saturating_sub(taken)).cloned().collect();
            proptest::prop_assert_eq!(&kept, &best);
            proptest::prop_assert!(kept.iter().all(|place| !out.contains(&place.id)));
            proptest::prop_assert_eq!(usize::try_from(cut).unwrap(), all.len() - kept.len());
        }
    }
}
