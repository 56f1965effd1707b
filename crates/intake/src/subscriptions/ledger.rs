//! What a list held when it was fetched last, so that a fetch costs what changed: each IOC with a
//! number over all that the list said of it.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hasher as _},
    sync::{Arc, Mutex, OnceLock},
};

use iocast_domain::{
    id::IocId,
    ioc::{Enrichment, Sighting},
    source::Confidence,
    subscription::{Takes, lost_too_much},
    time::Timestamp,
};
use uuid::Uuid;

use crate::{AppError, AppResult};

/// Facts of a list that are kept; of a longer one nothing is remembered.
pub(super) const FACTS_MAX: usize = 2_000_000;
/// Bytes of a fact.
const LENGTH: usize = 24;

/// An IOC, and a number over what was said of it.
pub(crate) type Fact = (IocId, u64);

/// The fact of a sighting.
pub(crate) fn fact(id: IocId, sighting: &Sighting, confidence: Confidence) -> Fact {
    if is_plain(sighting) {
        // Most lists are of values alone, and have very many.
        return (id, u64::from(u8::from(confidence)));
    }
    let mut hasher = DefaultHasher::new();
    // With the confidence of the source: where that changes, its reports do.
    hasher.write(format!("{confidence:?} {sighting:?}").as_bytes());
    (id, hasher.finish())
}

/// Whether the list says nothing but the value.
fn is_plain(sighting: &Sighting) -> bool {
    let Sighting { indicator: _, first_seen, last_seen, confidence, whitelist, enrichment } =
        sighting;
    first_seen.is_none()
        && last_seen.is_none()
        && confidence.is_none()
        && whitelist.is_none()
        && *enrichment == Enrichment::default()
}

/// What a list held, and what it holds.
#[derive(Debug, Default)]
pub struct Ledger {
    /// In order.
    before: Vec<Fact>,
    now: Mutex<Seen>,
    listed: OnceLock<Listed>,
    options: LedgerOptions,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    facts: Vec<Fact>,
    /// The same by the section that it stands in, where there are sections.
    sections: HashMap<Arc<str>, Vec<Fact>>,
    /// IOCs that were taken back.
    revoked: HashSet<IocId>,
    /// There were more facts than are kept.
    truncated: bool,
}

/// What a list says of that which does not stand in the part that came.
#[derive(Clone, Debug, Default)]
pub(super) enum Stays {
    /// That it is gone: all of it came.
    #[default]
    Nothing,
    /// That it stays, unless it is taken back: what came is what is new.
    All,
    /// That these facts stay: they stand in sections that did not change.
    Sections(Vec<Fact>),
}

/// The file of an import that holds what was taken back.
pub(super) const REVOKED: &str = "revoked.json";

/// How a list is compared with what it held.
#[derive(Clone, Debug, Default)]
pub(super) struct LedgerOptions {
    /// It is whole.
    pub(super) full: bool,
    /// Everything in it is taken again, also what it said before.
    pub(super) renew: bool,
    /// What becomes of it if it lost more than half.
    pub(super) loss: Loss,
    /// What becomes of what did not come.
    pub(super) stays: Stays,
    /// Nothing in it is no fault: its protocol says so.
    pub(super) may_be_empty: bool,
    /// What is taken of it, at which time.
    pub(super) takes: Option<(Takes, Timestamp)>,
}

/// What becomes of a list that lost more than half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// It is refused.
    #[default]
    Refuse,
    /// A person said that it is right.
    Accept,
}

impl Ledger {
    /// From the bytes in which it was kept.
    pub(super) fn read(bytes: &[u8], options: LedgerOptions) -> Self {
        let mut before = facts(bytes);
        if !before.is_sorted() {
            // Of several sections.
            before.sort_unstable();
        }
        Self { before, options, ..Self::default() }
    }

    /// How many IOCs it held.
    pub(super) fn listed_before(&self) -> u64 {
        count(&self.before)
    }

    /// Whether it said the same of an IOC.
    pub(crate) fn knew(&self, fact: &Fact) -> bool {
        !self.options.renew && self.before.binary_search(fact).is_ok()
    }

    /// Whether an IOC is taken.
    pub(crate) fn takes(&self, sighting: &Sighting) -> bool {
        self.options.takes.as_ref().is_none_or(|(takes, now)| takes.take(sighting, *now))
    }

    /// Whether a file of an import says what was taken back.
    pub(crate) fn is_revoked(file: Option<&str>) -> bool {
        file == Some(REVOKED)
    }

    /// Takes in what is said of that which was taken back.
    pub(crate) fn revoke(&self, iocs: impl Iterator<Item = IocId>) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.revoked.extend(iocs);
    }

    /// Takes in what a part of the list says, which may have a name.
    pub(crate) fn see(&self, section: Option<&Arc<str>>, facts: Vec<Fact>) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.truncated |= now.facts.len() + facts.len() > FACTS_MAX;
        if now.truncated {
            return;
        }
        if let (Stays::Sections(_), Some(section)) = (&self.options.stays, section) {
            now.sections.entry(Arc::clone(section)).or_default().extend(&facts);
        }
        now.facts.extend(facts);
    }

    /// Whether nothing is known of what it held.
    pub(super) fn is_first(&self) -> bool {
        self.before.is_empty()
    }

    /// Whether everything in it is taken again.
    pub(super) fn is_renewed(&self) -> bool {
        self.options.renew
    }

    /// Whether it held an IOC.
    pub(crate) fn held(&self, id: IocId) -> bool {
        self.before.binary_search_by_key(&id, |(known, _)| *known).is_ok()
    }

    /// What the list says, once all of it was seen.
    pub(super) fn listed(&self) -> &Listed {
        self.listed.get_or_init(|| self.finish())
    }

    /// Refuses a list that is more likely broken than shorter.
    ///
    /// # Errors
    /// A sentence on what is wrong.
    pub(crate) fn check(&self) -> AppResult<()> {
        let (before, listed) = (self.listed_before(), self.listed().listed);
        let LedgerOptions { full, loss, may_be_empty, .. } = self.options;
        if full && !self.listed().is_whole {
            return Err(AppError::Malformed(format!(
                "The list has more than {FACTS_MAX} IOCs, too many for a whole list: let it only add (growing)."
            )));
        }
        // A list that only adds may have nothing to add.
        if listed == 0 && !may_be_empty && (full || before == 0) && loss == Loss::Refuse {
            return Err(AppError::Malformed("There is no IOC in it.".to_owned()));
        }
        if full && loss == Loss::Refuse && lost_too_much(before, listed) {
            return Err(AppError::Malformed(format!(
                "The list held {before} IOCs and holds {listed} now: it lost more than half at once. If that is right, fetch it now and accept the loss."
            )));
        }
        Ok(())
    }

    fn finish(&self) -> Listed {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Seen { mut facts, sections, revoked, mut truncated } = std::mem::take(&mut *now);
        match &self.options.stays {
            Stays::Nothing => {}
            Stays::Sections(others) => facts.extend(others),
            Stays::All => {
                let seen: HashSet<IocId> = facts.iter().map(|(id, _)| *id).collect();
                let stays = |(id, _): &&Fact| !seen.contains(id) && !revoked.contains(id);
                facts.extend(self.before.iter().filter(stays));
            }
        }
        facts.sort_unstable();
        facts.dedup();
        truncated |= facts.len() > FACTS_MAX;
        let is_whole = !truncated;
        let mut gone: HashSet<IocId> = self.before.iter().map(|(id, _)| *id).collect();
        for (id, _) in &facts {
            gone.remove(id);
        }
        let gone = if is_whole { gone.into_iter().collect() } else { Vec::new() };
        Listed { listed: count(&facts), facts, sections, is_whole, gone }
    }
}

fn bytes(facts: &[Fact]) -> Vec<u8> {
    let bytes = |(id, number): &Fact| {
        let mut bytes = [0; LENGTH];
        let (first, last) = bytes.split_at_mut(16);
        first.copy_from_slice(id.0.as_bytes());
        last.copy_from_slice(&number.to_le_bytes());
        bytes
    };
    facts.iter().flat_map(bytes).collect()
}

/// Facts from the bytes in which they were kept.
pub(super) fn facts(bytes: &[u8]) -> Vec<Fact> {
    let (facts, _) = bytes.as_chunks::<LENGTH>();
    let fact = |bytes: &[u8; LENGTH]| {
        let (id, number) = bytes.split_first_chunk::<16>()?;
        Some((IocId(Uuid::from_bytes(*id)), u64::from_le_bytes(number.try_into().ok()?)))
    };
    facts.iter().filter_map(fact).collect()
}

/// The IOCs of facts that are in order.
fn count(facts: &[Fact]) -> u64 {
    facts.chunk_by(|(a, _), (b, _)| a == b).count() as u64
}

/// What a list says.
#[derive(Debug)]
pub(super) struct Listed {
    /// In order, each once.
    pub(super) facts: Vec<Fact>,
    /// Those of the sections that came, by section.
    pub(super) sections: HashMap<Arc<str>, Vec<Fact>>,
    /// All of them were kept.
    pub(super) is_whole: bool,
    /// IOCs in it.
    pub(super) listed: u64,
    /// IOCs that were in it before.
    pub(super) gone: Vec<IocId>,
}

impl Listed {
    /// The bytes in which it is kept.
    pub(super) fn bytes(&self) -> Vec<u8> {
        if self.is_whole { bytes(&self.facts) } else { Vec::new() }
    }

    /// The same of one section.
    pub(super) fn section_bytes(&self, name: &str) -> Vec<u8> {
        let mut facts = self.sections.get(name).cloned().unwrap_or_default();
        facts.sort_unstable();
        facts.dedup();
        bytes(&facts)
    }

    /// Whether an IOC is in it.
    pub(super) fn holds(&self, id: IocId) -> bool {
        self.facts.binary_search_by_key(&id, |(known, _)| *known).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> IocId {
        IocId(Uuid::from_u128(n))
    }

    #[test]
    fn a_ledger_tells_what_is_new_changed_and_gone() {
        let first = Ledger::read(&[], LedgerOptions::default());
        first.see(None, vec![(id(2), 7), (id(1), 5), (id(1), 6)]);
        first.see(None, vec![(id(3), 9)]);
        let listed = first.listed();
        assert_eq!((listed.listed, listed.gone.len(), listed.is_whole), (3, 0, true));
        let second = Ledger::read(&listed.bytes(), LedgerOptions::default());
        assert_eq!(second.listed_before(), 3);
        assert!(second.knew(&(id(1), 6)) && second.knew(&(id(3), 9)));
        assert!(!second.knew(&(id(3), 8)) && !second.knew(&(id(4), 9)));
        second.see(None, vec![(id(1), 5), (id(4), 1)]);
        let listed = second.listed();
        let mut gone = listed.gone.clone();
        gone.sort_unstable();
        assert_eq!((listed.listed, gone), (2, vec![id(2), id(3)]));
        assert!(listed.holds(id(4)) && !listed.holds(id(2)));
    }

    fn ids(facts: &[Fact]) -> Vec<IocId> {
        facts.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn what_is_new_leaves_the_rest_and_takes_back_what_it_names() {
        let before = bytes(&[(id(1), 5), (id(2), 5), (id(3), 5)]);
        let options = LedgerOptions { full: true, stays: Stays::All, ..LedgerOptions::default() };
        let ledger = Ledger::read(&before, options);
        ledger.see(None, vec![(id(2), 6), (id(4), 5)]);
        ledger.revoke([id(3), id(4)].into_iter());
        let listed = ledger.listed();
        assert_eq!(listed.facts, [(id(1), 5), (id(2), 6), (id(4), 5)]);
        assert_eq!(listed.gone, [id(3)]);
    }

    #[test]
    fn sections_that_did_not_change_stay() {
        // 1 stands in two sections, of which one changes.
        let before = bytes(&[(id(1), 5), (id(3), 5), (id(1), 5), (id(2), 5)]);
        let stays = Stays::Sections(vec![(id(1), 5), (id(2), 5)]);
        let options = LedgerOptions { full: true, stays, ..LedgerOptions::default() };
        let ledger = Ledger::read(&before, options);
        ledger.see(Some(&"a.json".into()), vec![(id(4), 5)]);
        let listed = ledger.listed();
        assert_eq!(ids(&listed.facts), [id(1), id(2), id(4)]);
        assert_eq!(listed.gone, [id(3)]);
        assert_eq!(ids(&facts(&listed.section_bytes("a.json"))), [id(4)]);
        assert!(listed.section_bytes("b.json").is_empty());
    }
}
