//! What is read is merged with what is known, on all cores.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    hash::{DefaultHasher, Hasher as _},
    io::BufReader,
    num::NonZero,
    sync::Arc,
};

use iocast_domain::{
    id::IocId,
    ioc::{Enrichment, Sighting, ioc_id_in, merge},
    source::{Confidence, Source, SourceLimits},
    time::Timestamp,
};
use iocast_formats::read::{Columns, Item, Options, Raw, ReadError, Rejected, split_by};
use iocast_store::{IocRow, PromoteOrder, StageWrite, Staged};
use uuid::Uuid;

use super::{BATCH, Ignored, Sightings, Trust, WEIGHT, documents::Document};
use crate::{
    AppError,
    subscriptions::{Fact, Ledger},
};

/// Things that are met, with nothing new among them, before a sign of life is written.
const QUIET: u64 = 100_000;

/// The first bits of an id: very many of them take little room, and few ids share one.
pub(super) fn mark(id: IocId) -> u32 {
    let [a, b, c, d, ..] = *id.0.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// What is found in some pieces of a body.
pub(super) struct Parsed {
    pub(super) sightings: Sightings,
    /// The IOCs that are sighted, each once, in order.
    pub(super) ids: Vec<IocId>,
    /// How many things were met.
    pub(super) items: u64,
    pub(super) rejected: Vec<Rejected>,
    /// Fields that were left out.
    pub(super) remarks: Vec<Rejected>,
    pub(super) ignored: Ignored,
}

/// How far a body is trusted.
#[derive(Clone)]
pub(super) struct Trusted {
    pub(super) trust: Trust,
    pub(super) confidence: Confidence,
    pub(super) limits: SourceLimits,
}

impl Trusted {
    /// A number over all that, beside the line itself, decides what a line says.
    pub(super) fn seed(&self, also: &Enrichment) -> u64 {
        let mut hasher = DefaultHasher::new();
        let said = format!("{} {:?} {also:?}", env!("CARGO_PKG_VERSION"), self.confidence);
        hasher.write(said.as_bytes());
        if !self.limits.is_none() {
            hasher.write(format!("{:?}", self.limits).as_bytes());
        }
        hasher.finish()
    }

    /// Takes out of a sighting what is for people to decide, and caps what it claims.
    fn apply(&self, sighting: &mut Sighting, ignored: &mut Ignored) {
        let severity = &mut sighting.enrichment.reported_severity;
        if let Some(most) = self.limits.severity_most.filter(|most| *severity > Some(*most)) {
            *severity = Some(most);
            ignored.severity += 1;
        }
        if sighting.confidence.is_some_and(|claimed| claimed > self.confidence) {
            sighting.confidence = Some(self.confidence);
            ignored.confidence += 1;
        }
        if self.trust == Trust::Restore {
            return;
        }
        if sighting.whitelist.take().is_some() {
            ignored.whitelist += 1;
        }
        if !sighting.enrichment.user_tags.is_empty() {
            let tags = std::mem::take(&mut sighting.enrichment.user_tags);
            sighting.enrichment.system_tags.extend(tags);
            ignored.user_tags += 1;
        }
    }
}

impl Parsed {
    pub(super) fn of(
        pieces: Vec<Raw>,
        file: Option<&Arc<str>>,
        also: &Enrichment,
        trusted: &Trusted,
        namespace: &Uuid,
        ledger: Option<(&Ledger, u64)>,
    ) -> Self {
        let mut sightings = Vec::with_capacity(pieces.len());
        let (mut items, mut ignored) = (0, Ignored::default());
        let (mut rejected, mut remarks) = (Vec::new(), Vec::new());
        // Of several files, the reason says which.
        let in_file = |mut line: Rejected| {
            if let Some(file) = file {
                line.reason = format!("{file}: {}", line.reason);
            }
            line
        };
        let (mut lines, mut facts) = (Vec::new(), Vec::new());
        for piece in pieces {
            let object = ledger.filter(|(ledger, _)| ledger.goes_by_objects());
            let line = match (ledger, object) {
                (Some(_), Some((ledger, _))) => {
                    let object = piece.object().unwrap_or_default();
                    ledger.touch(object);
                    object
                }
                (Some((_, seed)), None) => piece.number(seed).unwrap_or_default(),
                (None, _) => 0,
            };
            if let Some((ledger, _)) = ledger.filter(|_| line != 0 && object.is_none()) {
                let before = facts.len();
                facts.extend(ledger.of_line(line));
                if facts.len() > before {
                    // It says what it said when it was read last.
                    items += (facts.len() - before) as u64;
                    continue;
                }
            }
            let refused = rejected.len() + remarks.len();
            let first = sightings.len();
            piece.items(&mut |item| {
                items += 1;
                match item {
                    Item::Sighting(mut sighting) => {
                        trusted.apply(&mut sighting, &mut ignored);
                        sighting.enrichment.absorb(also);
                        if let Some((kind, value)) = &sighting.indicator {
                            sightings.push((ioc_id_in(namespace, *kind, value), sighting));
                        }
                    }
                    Item::Rejected(line) => rejected.push(in_file(line)),
                    Item::Remark(line) => remarks.push(in_file(line)),
                }
            });
            // What is refused of a line is said each time.
            let is_whole = refused == rejected.len() + remarks.len() || object.is_some();
            let line = if is_whole { line } else { 0 };
            lines.resize(sightings.len().max(first), line);
        }
        let mut parsed = Self { sightings, ids: Vec::new(), items, rejected, remarks, ignored };
        if let Some((ledger, _)) = ledger {
            parsed.leave_out_known(file, ledger, trusted, &lines, facts);
        }
        parsed.ids = parsed.sightings.iter().map(|(id, _)| *id).collect();
        parsed.ids.sort_unstable();
        parsed.ids.dedup();
        parsed
    }
}

impl Parsed {
    /// Whether so little of it is to be merged that more may go with it.
    pub(super) fn is_small(&self) -> bool {
        self.sightings.len() < BATCH / 4 && self.items < QUIET && self.rejected.len() < BATCH
    }

    /// Takes in what comes behind it.
    pub(super) fn join(&mut self, more: Self) {
        let Self { sightings, ids, items, rejected, remarks, ignored } = more;
        self.sightings.extend(sightings);
        self.ids.extend(ids);
        self.ids.sort_unstable();
        self.ids.dedup();
        self.items += items;
        self.rejected.extend(rejected);
        self.remarks.extend(remarks);
        self.ignored.add(ignored);
    }
}

impl Parsed {
    /// Takes out what a person unselected.
    pub(super) fn leave_out(&mut self, ids: &HashSet<IocId>) {
        if !ids.is_empty() {
            self.sightings.retain(|(id, _)| !ids.contains(id));
            self.ids.retain(|id| !ids.contains(id));
        }
    }
}

impl Parsed {
    /// Takes out what a list said before in the same way, and notes all that it says: of each
    /// sighting, with its line, and the facts of lines that did not change.
    fn leave_out_known(
        &mut self,
        file: Option<&Arc<str>>,
        ledger: &Ledger,
        trusted: &Trusted,
        lines: &[u64],
        mut facts: Vec<Fact>,
    ) {
        let mut lines = lines.iter().copied();
        if ledger.is_revoked(file.map(AsRef::as_ref)) {
            let revoked = self.sightings.drain(..);
            // What an object holds is known by the object.
            ledger.revoke(
                revoked.filter(|_| lines.next().unwrap_or_default() == 0).map(|(id, _)| id),
            );
            return;
        }
        let mut not_taken = Vec::new();
        self.sightings.retain(|(id, sighting)| {
            let line = lines.next().unwrap_or_default();
            if !ledger.takes(sighting) {
                not_taken.extend((line == 0).then_some(*id));
                return false;
            }
            let kind = sighting.indicator.as_ref().map(|(kind, _)| *kind);
            let lifetime = kind.and_then(|kind| trusted.limits.lifetime(kind));
            let fact = Fact::of(*id, sighting, (trusted.confidence, lifetime), line);
            facts.push(fact);
            !ledger.knew(&fact)
        });
        ledger.see(file, facts);
        ledger.revoke(not_taken.into_iter());
    }
}

/// What comes of a batch.
pub(super) struct Merged {
    /// What changes, by id.
    pub(super) rows: Vec<Staged>,
    /// The same, ready to be written.
    pub(super) write: StageWrite,
    /// Those that are known, and about which nothing new is said.
    pub(super) same: Vec<IocId>,
}

pub(super) fn merge_all(
    mut sightings: Sightings,
    staged: &HashMap<IocId, Staged>,
    mut known: HashMap<IocId, IocRow>,
    source: &Source,
    now: Timestamp,
) -> (Vec<Staged>, Vec<IocId>) {
    // Deleted by a person, or taken back with the only import that brought it, and reported again:
    // it starts afresh.
    known.retain(|_, row| !row.deleted && row.ioc.was_reported_or_decided());
    for row in known.values_mut() {
        row.ioc.forget_unreported();
    }
    // Those of one IOC stay in the order in which they came.
    sightings.sort_by_key(|(id, _)| *id);
    let (mut rows, mut same) = (Vec::with_capacity(sightings.len()), Vec::new());
    let mut sightings = sightings.into_iter().peekable();
    while let Some((id, first)) = sightings.next() {
        let mut earlier = staged.get(&id).cloned();
        let before = staged.get(&id).map(|s| &s.ioc).or_else(|| known.get(&id).map(|k| &k.ioc));
        let others = std::iter::from_fn(|| sightings.next_if(|(other, _)| *other == id))
            .map(|(_, other)| other);
        for mut sighting in std::iter::once(first).chain(others) {
            let Some((kind, value)) = sighting.indicator.take() else { continue };
            let (base, created_at, change) = match (earlier, known.get(&id)) {
                (Some(Staged { ioc, created_at, change }), _) => {
                    (Some(ioc), created_at, Some(change))
                }
                (None, Some(row)) => (Some(row.ioc.clone()), row.created_at, None),
                (None, None) => (None, now.micros(), None),
            };
            let (ioc, changed) = merge(base, id, kind, value, *sighting, source.into(), now);
            // Within one import an IOC counts once, by the most that happened to it.
            let change = change.map_or(changed, |earlier| earlier.min(changed));
            earlier = Some(Staged { ioc, created_at, change });
        }
        match earlier {
            Some(row) if before != Some(&row.ioc) => rows.push(row),
            Some(_) if !staged.contains_key(&id) => same.push(id),
            _ => {}
        }
    }
    (rows, same)
}

/// Whether values come in some order: sorted lists do, from one batch to the next.
#[derive(Default)]
pub(super) struct Order {
    batches: usize,
    /// Batches whose values all lie before or behind those of the batch before.
    apart: usize,
    last: Option<(String, String)>,
}

impl Order {
    pub(super) fn see(&mut self, rows: &[Staged]) {
        let values = || rows.iter().map(|row| row.ioc.value.as_str());
        let Some((low, high)) = values().min().zip(values().max()) else { return };
        let apart = self
            .last
            .as_ref()
            .is_none_or(|(before, until)| low > until.as_str() || high < before.as_str());
        self.batches += 1;
        self.apart += usize::from(apart);
        self.last = Some((low.to_owned(), high.to_owned()));
    }

    pub(super) fn of_rows(&self) -> PromoteOrder {
        if 4 * self.apart >= 3 * self.batches { PromoteOrder::AsStaged } else { PromoteOrder::ById }
    }
}

/// Number of parser threads.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

pub(super) fn split_document(
    document: &Document,
    options: Options,
    columns: Option<&Columns>,
    give: &impl Fn(Vec<Raw>, Option<Arc<str>>) -> bool,
) -> Result<(), ReadError> {
    let Document { path, file: name, out_of: _, input } = document;
    let file = File::open(path).map_err(ReadError::Io)?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut weight = 0;
    let mut from = BufReader::with_capacity(256 * 1024, file);
    split_by(*input, &mut from, options, columns, &mut |raw| {
        weight += raw.weight();
        batch.push(raw);
        if batch.len() < BATCH && weight < WEIGHT {
            return true;
        }
        weight = 0;
        give(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)), name.clone())
    })?;
    if give(batch, name.clone()) { Ok(()) } else { Err(ReadError::Stopped) }
}

pub(super) fn unreadable(error: ReadError) -> AppError {
    match error {
        ReadError::Malformed(message) => AppError::Malformed(message),
        other => AppError::internal(other),
    }
}
