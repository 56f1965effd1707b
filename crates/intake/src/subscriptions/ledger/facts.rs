//! What a list says, in few bytes: each IOC with a number over all that is said of it and, where it
//! stands in a line of its own, a number over that line. What did not change is told by these
//! numbers, without reading it.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hasher as _},
};

use iocast_domain::{
    id::IocId,
    ioc::{Enrichment, Sighting},
    source::Confidence,
};
use uuid::Uuid;

/// Bytes of a fact.
const LENGTH: usize = 32;
/// Bytes of a fact without its line, as they were kept at first.
const LENGTH_FIRST: usize = 24;
/// The id with which facts begin that know their lines.
const MARK: [u8; 16] = [0xff; 16];
/// As how many facts a change counts, beside those in it: it has a row of its own.
const EACH: usize = 256;
/// Entries that are looked at around the place where one is expected.
const NEAR: usize = 32;

/// An IOC, and what a list says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fact {
    /// The IOC.
    pub(crate) id: IocId,
    /// A number over what is said of it.
    pub(crate) number: u64,
    /// A number over the line in which it stands; 0 where it has none of its own.
    pub(crate) line: u64,
}

impl Fact {
    /// The fact of a sighting, with the confidence of its source and the days for which the source
    /// has it stay.
    pub(crate) fn of(
        id: IocId,
        sighting: &Sighting,
        (confidence, lifetime): (Confidence, Option<u16>),
        line: u64,
    ) -> Self {
        let days = u64::from(lifetime.unwrap_or_default());
        if is_plain(sighting) {
            // Most lists are of values alone, and have very many.
            return Self { id, number: days << 8 | u64::from(u8::from(confidence)), line };
        }
        let mut hasher = DefaultHasher::new();
        // With the confidence of the source: where that changes, its reports do.
        hasher.write(format!("{confidence:?} {sighting:?}").as_bytes());
        if days > 0 {
            hasher.write_u64(days);
        }
        Self { id, number: hasher.finish(), line }
    }

    fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (id, rest) = bytes.split_at_mut(16);
        let (number, line) = rest.split_at_mut(8);
        id.copy_from_slice(self.id.0.as_bytes());
        number.copy_from_slice(&self.number.to_le_bytes());
        line.copy_from_slice(&self.line.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let line = rest.first_chunk::<8>().map_or(0, |line| u64::from_le_bytes(*line));
        Some(Self { id: IocId(Uuid::from_bytes(*id)), number: u64::from_le_bytes(*number), line })
    }
}

/// Whether a list says nothing but the value.
fn is_plain(sighting: &Sighting) -> bool {
    let Sighting { indicator: _, first_seen, last_seen, confidence, whitelist, enrichment } =
        sighting;
    first_seen.is_none()
        && last_seen.is_none()
        && confidence.is_none()
        && whitelist.is_none()
        && *enrichment == Enrichment::default()
}

/// What a mark says of the facts behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// They stand there.
    There = 0,
    /// They stand there no more.
    Gone = 1,
}

/// The mark before facts.
fn mark(says: Mark) -> Fact {
    Fact { id: IocId(Uuid::from_bytes(MARK)), number: says as u64, line: 0 }
}

/// The bytes in which facts are kept. Those of several lists may stand behind each other.
pub(in super::super) fn bytes(facts: &[Fact]) -> Vec<u8> {
    std::iter::once(&mark(Mark::There)).chain(facts).flat_map(Fact::bytes).collect()
}

/// The bytes of what changed, to stand behind those of what was there.
pub(super) fn changed_bytes(gone: &[Fact], new: &[Fact]) -> Vec<u8> {
    let mark = mark(Mark::Gone);
    let gone = std::iter::once(&mark).chain(gone).flat_map(Fact::bytes);
    gone.chain(bytes(new)).collect()
}

/// Whether facts are kept in the form that knows their lines.
pub(super) fn is_marked(bytes: &[u8]) -> bool {
    bytes.starts_with(&MARK)
}

/// Facts from the bytes in which they were kept, and how much of these is about changes: in facts.
pub(in super::super) fn facts(bytes: &[u8]) -> (Vec<Fact>, usize) {
    let length = if is_marked(bytes) { LENGTH } else { LENGTH_FIRST };
    let (mut there, mut gone) = (Vec::with_capacity(bytes.len() / length), Vec::new());
    let (mut says, mut changes) = (Mark::There, 0);
    for fact in bytes.chunks_exact(length).filter_map(Fact::read) {
        if *fact.id.0.as_bytes() == MARK {
            says = if fact.number == Mark::Gone as u64 { Mark::Gone } else { Mark::There };
            changes += usize::from(says == Mark::Gone) * EACH;
            continue;
        }
        changes += usize::from(changes > 0);
        if says == Mark::Gone { gone.push(fact) } else { there.push(fact) }
    }
    if !gone.is_empty() {
        take_out(&mut there, gone);
    }
    (there, changes)
}

/// Takes out facts that stand there no more, each as often as it went: one may have come back since.
fn take_out(there: &mut Vec<Fact>, mut gone: Vec<Fact>) {
    there.sort_unstable();
    gone.sort_unstable();
    let mut gone = gone.into_iter().peekable();
    there.retain(|fact| {
        while gone.next_if(|out| out < fact).is_some() {}
        gone.next_if_eq(fact).is_none()
    });
}

/// What stands in one list of facts and not in the other. Both are in order.
pub(super) fn without(list: &[Fact], other: &[Fact]) -> Vec<Fact> {
    let mut other = other.iter().peekable();
    let is_out = |fact: &&Fact| {
        while other.next_if(|there| there < fact).is_some() {}
        other.peek() != Some(fact)
    };
    list.iter().filter(is_out).copied().collect()
}

/// Where the facts of lines are, by the number over the line. Most lines have one fact.
#[derive(Debug, Default)]
pub(super) struct Lines {
    first: HashMap<u64, u32>,
    others: HashMap<u64, Vec<u32>>,
}

impl Lines {
    pub(super) fn of(facts: &[Fact]) -> Self {
        let first = HashMap::with_capacity(facts.len());
        let mut lines = Self { first, others: HashMap::new() };
        let of_line = facts.iter().zip(0..).filter(|(fact, _)| fact.line != 0);
        for (fact, place) in of_line {
            match lines.first.entry(fact.line) {
                Entry::Vacant(free) => drop(free.insert(place)),
                Entry::Occupied(_) => lines.others.entry(fact.line).or_default().push(place),
            }
        }
        lines
    }

    pub(super) fn places(&self, line: u64) -> impl Iterator<Item = u32> {
        let others = self.others.get(&line).into_iter().flatten();
        self.first.get(&line).into_iter().chain(others).copied()
    }
}

/// The place of the first entry whose key is not lower, in a list that is in order of its keys and
/// whose keys lie evenly between 0 and the highest number, as those of ids and hashes do.
pub(super) fn place<T>(list: &[T], key: u64, of: impl Fn(&T) -> u64) -> usize {
    let length = list.len() as u128;
    // It is lower than the length.
    let expected = usize::try_from((u128::from(key) * length) >> 64).unwrap_or_default();
    let (mut from, mut to, mut step) = (expected, expected, NEAR);
    while from > 0 && list.get(from).is_none_or(|entry| of(entry) >= key) {
        from = from.saturating_sub(step);
        step *= 4;
    }
    step = NEAR;
    while to < list.len() && list.get(to).is_some_and(|entry| of(entry) < key) {
        to = to.saturating_add(step).min(list.len());
        step *= 4;
    }
    let between = list.get(from..to).unwrap_or_default();
    from + between.partition_point(|entry| of(entry) < key)
}

/// The first bits of an id. Those of ids that are made of values lie evenly.
pub(super) fn key(id: IocId) -> u64 {
    u64::from_be_bytes(*id.0.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_back_with_and_without_lines() {
        let fact = |n: u128| Fact { id: IocId(Uuid::from_u128(n)), number: 7, line: n as u64 };
        let (one, two) = ([fact(1), fact(2)], [fact(3)]);
        let read = |bytes: &[u8]| facts(bytes).0;
        assert_eq!(read(&[bytes(&one), bytes(&two)].concat()), [fact(1), fact(2), fact(3)]);
        assert_eq!((read(&bytes(&[])), read(&[])), (vec![], vec![]));
        let first: Vec<u8> = one.iter().flat_map(|fact| fact.bytes()[..24].to_vec()).collect();
        assert_eq!(read(&first), one.map(|fact| Fact { line: 0, ..fact }));
    }

    proptest::proptest! {
        #[test]
        fn changes_stand_behind_what_was_there(
            states in proptest::collection::vec(proptest::collection::btree_set(0..20_u128, 0..12), 1..6)
        ) {
            let list = |of: &std::collections::BTreeSet<u128>| {
                let fact = |n: &u128| Fact { id: IocId(Uuid::from_u128(*n)), number: 1, line: 2 };
                of.iter().map(fact).collect::<Vec<_>>()
            };
            let mut kept = bytes(&list(&states[0]));
            for pair in states.windows(2) {
                let (before, now) = (list(&pair[0]), list(&pair[1]));
                kept.extend(changed_bytes(&without(&before, &now), &without(&now, &before)));
            }
            let (mut found, _) = facts(&kept);
            found.sort_unstable();
            proptest::prop_assert_eq!(found, list(states.last().unwrap()));
        }
    }

    #[test]
    fn a_place_is_found_wherever_keys_lie() {
        let evenly: Vec<u64> = (0..1_000).map(|n| n * (u64::MAX / 1_000)).collect();
        let crowded: Vec<u64> = (0..1_000).map(|n| n / 3).collect();
        let high: Vec<u64> = (0..1_000).map(|n| u64::MAX - 1_000 + n).collect();
        for list in [evenly, crowded, high, vec![5], Vec::new()] {
            let wanted = list.iter().copied().chain([0, 1, 5, 6, 333, 334, u64::MAX / 2, u64::MAX]);
            for key in wanted.collect::<Vec<_>>() {
                let right = list.partition_point(|entry| *entry < key);
                assert_eq!(place(&list, key, |entry| *entry), right, "{key}");
            }
        }
    }
}
