//! How good sources are: what only they report, how much they share, who is first.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// Counts about the IOCs that one source reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// IOCs that it reports.
    pub iocs: u64,
    /// Those that no other source reports.
    pub only: u64,
    /// Those that others report as well, where iocast knows when each report came first.
    pub timed: u64,
    /// Of those, the ones that it reported before all others.
    pub first: u64,
    /// Those that a person said are never sent: false positives.
    pub never_sent: u64,
    /// Those that some group keeps back: guards, device types, what another entry covers.
    pub kept_back: u64,
    /// Those that are in a group, and so on their way to a device.
    pub in_groups: u64,
    /// Of those, the ones that a device fetched.
    pub fetched: u64,
}

/// One report of an IOC: by which source, and when it came first, where that is known.
pub type Reported = (usize, Option<i64>);

/// What is known of an IOC, beside who reports it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// A person said that it is never sent.
    pub never_sent: bool,
    /// Some group keeps it back.
    pub kept_back: bool,
    /// Some group holds it.
    pub in_groups: bool,
    /// Some device fetched it.
    pub fetched: bool,
}

/// Counts of all sources of an account. Sources are numbered from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// By number.
    pub sources: Vec<SourceCounts>,
    /// How many IOCs two sources share, by their numbers, the smaller one first.
    pub overlaps: BTreeMap<(usize, usize), u64>,
}

impl SourceTally {
    /// For so many sources.
    #[must_use]
    pub fn new(sources: usize) -> Self {
        Self { sources: vec![SourceCounts::default(); sources], overlaps: BTreeMap::new() }
    }

    /// Counts one IOC. Each source reports it once, in order of their numbers.
    pub fn add(&mut self, reports: &[Reported], fate: Fate) {
        let first = first_of(reports);
        for (at, (source, _)) in reports.iter().enumerate() {
            let Some(counts) = self.sources.get_mut(*source) else { continue };
            counts.iocs += 1;
            counts.only += u64::from(reports.len() == 1);
            counts.timed += u64::from(first.is_some());
            counts.first += u64::from(first == Some(*source));
            counts.never_sent += u64::from(fate.never_sent);
            counts.kept_back += u64::from(fate.kept_back);
            counts.in_groups += u64::from(fate.in_groups);
            counts.fetched += u64::from(fate.fetched);
            for (other, _) in reports.iter().skip(at + 1) {
                *self.overlaps.entry((*source, *other)).or_default() += 1;
            }
        }
    }
}

/// Who reported an IOC first; nobody if it has one report, if the time of one is not known, or if
/// two came in the same import batch.
fn first_of(reports: &[Reported]) -> Option<usize> {
    if reports.len() < 2 {
        return None;
    }
    let mut timed =
        reports.iter().map(|(source, at)| Some(((*at)?, *source))).collect::<Option<Vec<_>>>()?;
    timed.sort_unstable();
    match timed.as_slice() {
        [(first, source), (second, _), ..] if first < second => Some(*source),
        _ => None,
    }
}

/// A source on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceDay {
    /// When it was counted.
    pub counted_at: Timestamp,
    /// What was counted.
    pub counts: SourceCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sources_share_and_who_is_first() {
        let mut tally = SourceTally::new(3);
        tally.add(&[(0, Some(10))], Fate { in_groups: true, ..Fate::default() });
        tally.add(&[(0, Some(10)), (1, Some(20))], Fate { never_sent: true, ..Fate::default() });
        tally.add(&[(0, Some(30)), (1, Some(20)), (2, Some(25))], Fate::default());
        tally.add(&[(0, None), (2, Some(20))], Fate { kept_back: true, ..Fate::default() });
        tally.add(&[(1, Some(5)), (2, Some(5))], Fate::default());
        let [a, b, c] = tally.sources.as_slice() else { panic!("three sources") };
        assert_eq!((a.iocs, a.only, a.timed, a.first), (4, 1, 2, 1));
        assert_eq!((b.iocs, b.only, b.timed, b.first), (3, 0, 2, 1));
        assert_eq!((c.iocs, c.only, c.timed, c.first), (3, 0, 1, 0));
        assert_eq!((a.never_sent, b.never_sent, c.never_sent), (1, 1, 0));
        assert_eq!((a.kept_back, c.kept_back, a.in_groups, b.in_groups), (1, 1, 1, 0));
        let shared: Vec<_> = tally.overlaps.into_iter().collect();
        assert_eq!(shared, [((0, 1), 2), ((0, 2), 2), ((1, 2), 2)]);
    }

    proptest::proptest! {
        #[test]
        fn each_ioc_is_of_one_source_or_shared(
            iocs in proptest::collection::vec(
                proptest::collection::btree_map(0_usize..5, proptest::option::of(0_i64..4), 1..5),
                0..60,
            ),
        ) {
            let mut tally = SourceTally::new(5);
            for reports in &iocs {
                let reports: Vec<Reported> = reports.iter().map(|(s, at)| (*s, *at)).collect();
                tally.add(&reports, Fate::default());
            }
            let all = |of: fn(&SourceCounts) -> u64| tally.sources.iter().map(of).sum::<u64>();
            let pairs: u64 =
                iocs.iter().map(|r| (r.len() * (r.len() - 1) / 2) as u64).sum();
            proptest::prop_assert_eq!(all(|c| c.iocs), iocs.iter().map(|r| r.len() as u64).sum::<u64>());
            proptest::prop_assert_eq!(tally.overlaps.values().sum::<u64>(), pairs);
            proptest::prop_assert!(all(|c| c.first) <= iocs.len() as u64);
            for counts in &tally.sources {
                proptest::prop_assert!(counts.first <= counts.timed);
                proptest::prop_assert!(counts.timed + counts.only <= counts.iocs);
            }
        }
    }
}
