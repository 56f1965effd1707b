//! Who stays when a group is over its limit (design section 4, "Over the limit").

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::{
    id::IocId,
    ioc::{Ioc, Severity},
    rule::{EnabledSources, SourceRanks},
    time::Timestamp,
};

/// The place of an IOC in the queue; the least goes first: source priority, severity, last seen, then value bytewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    source_rank: u32,
    severity: Severity,
    last_seen: Timestamp,
    value: String,
    /// The IOC.
    pub id: IocId,
}

impl Place {
    /// Where `ioc` stands.
    #[must_use]
    pub fn of(ioc: &Ioc, ranks: &SourceRanks, enabled: &EnabledSources) -> Self {
        let source_rank =
            ioc.enrichment.reports.iter().filter(|r| enabled.contains(&r.source_id)).filter_map(|r| ranks.get(&r.source_id).copied()).min().unwrap_or(u32::MAX);
        // What is claimed weighs at most what its source is trusted with; what a person set weighs what it says.
        let trusted = ioc.enrichment.reports.iter().filter(|r| enabled.contains(&r.source_id)).map(|r| r.confidence.weight()).max();
        let severity = ioc.enrichment.user_severity.unwrap_or_else(|| ioc.severity().min(trusted.unwrap_or(Severity::Low)));
        Self { source_rank, severity, last_seen: ioc.last_seen, value: ioc.value.clone(), id: ioc.id }
    }

    /// The IOC's value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Takes the place of `other` where that is better, as far as the value does not decide.
    pub fn rise_to(&mut self, other: &Self) {
        if other < self {
            self.source_rank = other.source_rank;
            self.severity = other.severity;
            self.last_seen = other.last_seen;
        }
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.source_rank
            .cmp(&other.source_rank)
            .then(other.severity.cmp(&self.severity))
            .then(other.last_seen.cmp(&self.last_seen))
            .then(self.value.as_bytes().cmp(other.value.as_bytes()))
            .then(self.id.cmp(&other.id))
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

    /// Offers one IOC. Gives the one that is out of the running now: nobody yet, this one, or one that was offered before.
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

    /// The ones that stay, best first, and how many were cut; `taken` of the limit's places are held by others. Who finds no
    /// room because of those is cut as well: as long as something is cut, everything is looked at again.
    #[must_use]
    pub fn finish(self, taken: usize) -> (Vec<IocId>, u64) {
        let mut kept: Vec<IocId> = self.kept.into_sorted_vec().into_iter().map(|p| p.id).collect();
        let room = self.limit.saturating_sub(taken);
        let without_room = kept.len().saturating_sub(room);
        kept.truncate(room);
        (kept, self.cut + without_room as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_then_severity_then_last_seen_then_value() {
        let place = |rank, severity, seen, value: &str, id| Place {
            source_rank: rank,
            severity,
            last_seen: Timestamp::from_secs(seen),
            value: value.to_owned(),
            id: IocId(uuid::Uuid::from_u128(id)),
        };
        let mut selection = Selection::new(4);
        for p in [
            place(1, Severity::High, 9, "a", 5),
            place(0, Severity::Low, 1, "z", 4),
            place(0, Severity::High, 1, "b", 2),
            place(0, Severity::High, 1, "a", 1),
            place(0, Severity::High, 2, "z", 0),
            place(0, Severity::Medium, 9, "a", 3),
        ] {
            selection.offer(p);
        }
        let (kept, cut) = selection.finish(0);
        assert_eq!(kept.iter().map(|id| id.0.as_u128()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(cut, 2);
    }

    proptest::proptest! {
        #[test]
        fn the_limit_is_never_exceeded_and_the_best_stay(limit in 0_usize..8, taken in 0_usize..10, seen in proptest::collection::vec(0_i64..5, 0..30)) {
            let place = |i: usize, seen: i64| Place { source_rank: 0, severity: Severity::Low, last_seen: Timestamp::from_secs(seen), value: format!("{i:03}"), id: IocId(uuid::Uuid::from_u128(i as u128)) };
            let mut all: Vec<Place> = seen.iter().enumerate().map(|(i, s)| place(i, *s)).collect();
            let mut selection = Selection::new(limit);
            let out: Vec<IocId> = all.iter().filter_map(|p| selection.offer(p.clone())).collect();
            proptest::prop_assert_eq!(out.len(), all.len().saturating_sub(limit));
            let (kept, cut) = selection.finish(taken);
            all.sort();
            let best: Vec<IocId> = all.iter().take(limit.saturating_sub(taken)).map(|p| p.id).collect();
            proptest::prop_assert_eq!(&kept, &best);
            proptest::prop_assert!(kept.iter().all(|id| !out.contains(id)));
            proptest::prop_assert_eq!(usize::try_from(cut).unwrap(), all.len() - kept.len());
        }
    }
}
