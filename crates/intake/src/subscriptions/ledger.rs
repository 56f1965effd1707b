//! What a list held when it was fetched last, so that a fetch costs what changed: each IOC with a
//! number over all that the list said of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use iocast_domain::{
    id::IocId,
    ioc::Sighting,
    subscription::{Takes, lost_too_much},
    time::Timestamp,
};

use crate::{AppError, AppResult};

mod facts;

pub(crate) use self::facts::Fact;
pub(super) use self::facts::facts;
use self::facts::{Lines, bytes, changed_bytes, is_marked, key, place, without};

/// Facts of a list that are kept; of a longer one nothing is remembered.
pub(super) const FACTS_MAX: usize = 2_000_000;
/// What a list held, and what it holds.
#[derive(Debug, Default)]
pub struct Ledger {
    /// In order.
    before: Vec<Fact>,
    /// It was kept in the form that knows no lines.
    is_first_form: bool,
    /// How many facts were kept as changes of it.
    changes: usize,
    /// Where the facts of its lines are.
    lines: Lines,
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
    /// Objects that came, taken back or not: what they said before holds no more.
    objects: HashSet<u64>,
    /// There were more facts than are kept.
    truncated: bool,
}

/// What a list says of that which does not stand in the part that came.
#[derive(Clone, Debug, Default)]
pub(super) enum Stays {
    /// That it is gone: all of it came.
    #[default]
    Nothing,
    /// That it stays, unless it is taken back, or stands in an object that came: what came is what
    /// is new.
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
    /// What it says is known by the STIX objects that say it.
    pub(super) by_objects: bool,
    /// It says what was taken back, in a file of its own.
    pub(super) revokes: bool,
    /// It is a folder of files.
    pub(super) is_folder: bool,
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
        let (mut before, changes) = facts(bytes);
        if !before.is_sorted() {
            // Of several sections.
            before.sort_unstable();
        }
        let lines = if options.renew { Lines::default() } else { Lines::of(&before) };
        let is_first_form = !is_marked(bytes);
        Self { before, is_first_form, changes, lines, options, ..Self::default() }
    }

    /// How many IOCs it held.
    pub(super) fn listed_before(&self) -> u64 {
        count(&self.before)
    }

    /// Whether it said the same of an IOC.
    pub(crate) fn knew(&self, fact: &Fact) -> bool {
        if self.options.renew {
            return false;
        }
        let from = place(&self.before, key(fact.id), |known| key(known.id));
        let behind = self.before.get(from..).unwrap_or_default().iter();
        behind
            .take_while(|known| known.id <= fact.id)
            .any(|known| (known.id, known.number) == (fact.id, fact.number))
    }

    /// The facts of a line that it had, too; none if it had not.
    pub(crate) fn of_line(&self, line: u64) -> impl Iterator<Item = &Fact> {
        let places = self.lines.places(line);
        places.filter_map(|place| self.before.get(usize::try_from(place).ok()?))
    }

    /// Whether an IOC is taken.
    pub(crate) fn takes(&self, sighting: &Sighting) -> bool {
        self.options.takes.as_ref().is_none_or(|(takes, now)| takes.take(sighting, *now))
    }

    /// Whether a file of an import says what was taken back.
    pub(crate) fn is_revoked(&self, file: Option<&str>) -> bool {
        self.options.revokes && file == Some(REVOKED)
    }

    /// Whether it is a folder of files.
    pub(crate) fn is_folder(&self) -> bool {
        self.options.is_folder
    }

    /// Whether what it says is known by the STIX objects that say it.
    pub(crate) fn goes_by_objects(&self) -> bool {
        self.options.by_objects
    }

    /// Notes that an object came.
    pub(crate) fn touch(&self, object: u64) {
        self.now().objects.insert(object);
    }

    /// Forgets what was seen: the list is read from its beginning.
    pub(crate) fn begin_again(&self) {
        *self.now() = Seen::default();
    }

    fn now(&self) -> MutexGuard<'_, Seen> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes in what is said of that which was taken back.
    pub(crate) fn revoke(&self, iocs: impl Iterator<Item = IocId>) {
        self.now().revoked.extend(iocs);
    }

    /// Takes in what a part of the list says, which may have a name.
    pub(crate) fn see(&self, section: Option<&Arc<str>>, facts: Vec<Fact>) {
        let mut now = self.now();
        now.truncated |= now.facts.len() + facts.len() > FACTS_MAX;
        if now.truncated {
            return;
        }
        if let (Stays::Sections(_), Some(section)) = (&self.options.stays, section) {
            now.sections.entry(Arc::clone(section)).or_default().extend(&facts);
        }
        now.facts.extend(facts);
    }

    /// What is to be kept of what it holds now.
    pub(super) fn kept(&self) -> Kept {
        let listed = self.listed();
        if !listed.is_whole {
            return Kept::All(Vec::new());
        }
        let gone = without(&self.before, &listed.facts);
        let new = without(&listed.facts, &self.before);
        if gone.is_empty() && new.is_empty() {
            return Kept::Same;
        }
        // Once changes are many, all of it takes less room; behind the first form stands nothing.
        if self.is_first_form
            || self.before.is_empty()
            || self.changes + gone.len() + new.len() > self.before.len() / 4
        {
            return Kept::All(bytes(&listed.facts));
        }
        Kept::Changes(changed_bytes(&gone, &new))
    }

    /// Whether nothing is known of what it held.
    pub(super) fn is_first(&self) -> bool {
        self.before.is_empty()
    }

    /// Whether it held an IOC.
    pub(crate) fn held(&self, id: IocId) -> bool {
        holds(&self.before, id)
    }

    /// The IOCs that it held, each once.
    pub(crate) fn ids(&self) -> Vec<IocId> {
        self.before.chunk_by(|a, b| a.id == b.id).filter_map(|of| Some(of.first()?.id)).collect()
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
        let seen = std::mem::take(&mut *self.now());
        let Seen { mut facts, sections, revoked, mut objects, mut truncated } = seen;
        // What is no object is known by its IOCs.
        objects.remove(&0);
        match &self.options.stays {
            Stays::Nothing => {}
            Stays::Sections(others) => facts.extend(others),
            Stays::All => {
                let seen: HashSet<IocId> = facts.iter().map(|fact| fact.id).collect();
                let stays = |of: &&Fact| match of.line {
                    0 => !seen.contains(&of.id) && !revoked.contains(&of.id),
                    object => !objects.contains(&object),
                };
                facts.extend(self.before.iter().filter(stays));
            }
        }
        facts.sort_unstable();
        facts.dedup();
        truncated |= facts.len() > FACTS_MAX;
        let is_whole = !truncated;
        let gone = if is_whole { gone(&self.before, &facts) } else { Vec::new() };
        Listed { listed: count(&facts), facts, sections, is_whole, gone }
    }
}

/// The IOCs of facts that are in order.
fn count(facts: &[Fact]) -> u64 {
    facts.chunk_by(|a, b| a.id == b.id).count() as u64
}

/// Whether an IOC is among facts that are in order.
fn holds(facts: &[Fact], id: IocId) -> bool {
    let from = place(facts, key(id), |known| key(known.id));
    let behind = facts.get(from..).unwrap_or_default().iter();
    behind.take_while(|known| known.id <= id).any(|known| known.id == id)
}

/// IOCs that were there before and are not now. Both are in order.
fn gone(before: &[Fact], now: &[Fact]) -> Vec<IocId> {
    let mut now = now.iter().map(|fact| fact.id).peekable();
    let mut gone = Vec::new();
    for same in before.chunk_by(|a, b| a.id == b.id) {
        let Some(Fact { id, .. }) = same.first() else { continue };
        while now.next_if(|there| there < id).is_some() {}
        if now.peek() != Some(id) {
            gone.push(*id);
        }
    }
    gone
}

/// What is to be kept of what a list holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// What is kept already.
    Same,
    /// These bytes, in place of what is kept.
    All(Vec<u8>),
    /// These bytes, behind what is kept.
    Changes(Vec<u8>),
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
    /// The bytes in which what one section says is kept.
    pub(super) fn section_bytes(&self, name: &str) -> Vec<u8> {
        let mut facts = self.sections.get(name).cloned().unwrap_or_default();
        facts.sort_unstable();
        facts.dedup();
        bytes(&facts)
    }

    /// Whether an IOC is in it.
    pub(super) fn holds(&self, id: IocId) -> bool {
        holds(&self.facts, id)
    }
}

#[cfg(test)]
mod tests;
