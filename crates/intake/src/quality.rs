//! How good sources are, counted once a day: what only one reports, what they share, who is first,
//! what is refused, and how much of it reaches groups.
//!
//! A count walks along the ids of IOCs in ranges that fit into memory, by indexes alone. It writes
//! nothing but the counts, and holds up nobody.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use iocast_domain::{
    account::Module,
    id::{AccountId, IocId, SourceId},
    quality::{Fate, Reported, SourceCounts, SourceDay, SourceTally},
    time::{DAY, MINUTE, Timestamp},
};
use iocast_store::{CountedSource, Handled, IdRange, Reader, id_ranges};
use serde::Deserialize;

use crate::{Actor, AppError, AppResult, Intake};

/// Reports, or members of groups, that are held in memory at once.
const AT_ONCE: u64 = 250_000;
/// How long a claim holds, in microseconds of the time that processes share.
const CLAIM: i64 = 30 * MINUTE;
/// Sources of which overlaps are kept: those that report most.
const COMPARED: usize = 100;
/// Days that are kept.
const DAYS_KEPT: i64 = 400;
/// Days over which refused lines are added up.
const REFUSED_DAYS: i64 = 30;
/// Imports that are read at once.
const IMPORTS: u64 = 1_000;
/// Days of one source in an answer.
const DAYS_SHOWN: u64 = DAYS_KEPT.unsigned_abs();

/// A source, and how good it is.
#[derive(Clone, Debug)]
pub struct RatedSource {
    /// The source.
    pub source_id: SourceId,
    /// Its name.
    pub name: String,
    /// Its reports count.
    pub enabled: bool,
    /// What was counted; nothing if it is newer than the count.
    pub counts: SourceCounts,
    /// What its imports met in the last 30 days.
    pub handled: Handled,
}

/// The sources of an account as they were counted last.
#[derive(Clone, Debug)]
pub struct SourceQuality {
    /// When; none if they never were.
    pub counted_at: Option<Timestamp>,
    /// The sources, by name.
    pub sources: Vec<RatedSource>,
    /// How many IOCs pairs of them share; pairs that share none are left out.
    pub overlaps: Vec<(SourceId, SourceId, u64)>,
}

/// The part of a report that is added up.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    rejected_count: u64,
}

const fn day_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(DAY)
}

impl Intake {
    /// The sources of the account as they were counted last.
    ///
    /// # Errors
    /// If the actor may not read.
    pub async fn source_quality(&self, actor: &Actor) -> AppResult<SourceQuality> {
        actor.may_read(Module::Tip)?;
        let read = self.context.store.read();
        let sources = read.source_list(&actor.account_id).await?;
        let ids: Vec<SourceId> = sources.iter().map(|of| of.id).collect();
        let last = read.source_count_last(&actor.account_id).await?;
        let since = day_of(self.context.now()) - REFUSED_DAYS;
        let mut counted: HashMap<SourceId, (SourceCounts, Handled)> = HashMap::new();
        for of in read.source_days_since(&ids, since).await? {
            let entry = counted.entry(of.source_id).or_default();
            entry.0 = of.day.counts;
            entry.1.handled += of.handled.handled;
            entry.1.refused += of.handled.refused;
        }
        let rated = sources.into_iter().map(|of| {
            let (counts, handled) = counted.remove(&of.id).unwrap_or_default();
            RatedSource { source_id: of.id, name: of.name, enabled: of.enabled, counts, handled }
        });
        Ok(SourceQuality {
            counted_at: last.and_then(|last| last.counted_at),
            sources: rated.collect(),
            overlaps: read.source_overlaps(&actor.account_id).await?,
        })
    }

    /// The days on which a source was counted, latest first.
    ///
    /// # Errors
    /// If there is no such source.
    pub async fn source_days(
        &self,
        actor: &Actor,
        source: SourceId,
    ) -> AppResult<Vec<CountedSource>> {
        self.source_fetch(actor, source).await?;
        Ok(self.context.store.read().source_days(source, DAYS_SHOWN).await?)
    }

    /// Counts the sources of the account now.
    ///
    /// # Errors
    /// If somebody counts them at the moment.
    pub async fn sources_count_now(self: &Arc<Self>, actor: &Actor) -> AppResult<SourceQuality> {
        actor.may_change(Module::Tip)?;
        let (intake, account) = (Arc::clone(self), actor.account_id.clone());
        // It goes on if the line of the client breaks.
        let counting =
            self.context.in_background(async move { intake.sources_count(&account).await });
        if !counting.await.map_err(AppError::internal)?? {
            return Err(AppError::Conflict {
                code: "being_counted",
                detail: "The sources are being counted at the moment; look again in a minute."
                    .to_owned(),
            });
        }
        self.source_quality(actor).await
    }

    /// Counts the sources of accounts that were not counted today, and forgets old days.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn quality_tick(&self) -> AppResult<()> {
        let today = day_of(self.context.now());
        let real_now = self.context.store.shared_now(self.context.clock.real_now()).await?;
        let due = self.context.store.read().source_counts_due(today, real_now).await?;
        if due.is_empty() {
            return Ok(());
        }
        for account in due {
            if self.context.is_closing() {
                return Ok(());
            }
            if let Err(error) = self.sources_count(&account).await {
                tracing::warn!(account.id = %account, error = &error as &dyn std::error::Error, "The sources of account {account} could not be counted; it is tried again");
            }
            self.context.task_alive("quality");
        }
        let txn = self.context.store.write().await?;
        txn.source_days_prune(today - DAYS_KEPT).await?;
        Ok(txn.commit().await?)
    }

    /// Counts the sources of an account; false if somebody else does.
    async fn sources_count(&self, account: &AccountId) -> AppResult<bool> {
        let real_now = self.context.store.shared_now(self.context.clock.real_now()).await?;
        let txn = self.context.store.write().await?;
        if !txn.source_count_claim(account, real_now, real_now.plus(CLAIM)).await? {
            return Ok(false);
        }
        txn.commit().await?;
        let counted = self.sources_counted(account).await;
        if counted.is_err() {
            let txn = self.context.store.write().await?;
            txn.source_count_release(account).await?;
            txn.commit().await?;
        }
        counted.map(|()| true)
    }

    async fn sources_counted(&self, account: &AccountId) -> AppResult<()> {
        let now = self.context.now();
        let read = self.context.store.read();
        let sources: Vec<SourceId> =
            read.source_list(account).await?.into_iter().map(|of| of.id).collect();
        let mut tally = SourceTally::new(sources.len());
        let size = read.source_count_size(account, &sources).await?;
        for range in id_ranges(size, AT_ONCE) {
            count_range(&read, account, &sources, range, &mut tally).await?;
            self.context.task_alive("quality");
        }
        let mut handled = self.handled_since(&read, account, now).await?;
        let counted: Vec<CountedSource> = sources
            .iter()
            .zip(&tally.sources)
            .map(|(source, counts)| CountedSource {
                source_id: *source,
                day: SourceDay { counted_at: now, counts: *counts },
                handled: handled.remove(source).unwrap_or_default(),
            })
            .collect();
        let overlaps = compared(&tally, &sources);
        let txn = self.context.store.write().await?;
        txn.source_count_put(account, day_of(now), now, &counted, &overlaps).await?;
        Ok(txn.commit().await?)
    }

    /// What imports met since the last count, by source.
    async fn handled_since(
        &self,
        read: &Reader,
        account: &AccountId,
        now: Timestamp,
    ) -> AppResult<HashMap<SourceId, Handled>> {
        let last = read.source_count_last(account).await?;
        let from = last.map_or(Timestamp::from_micros(0), |last| last.imports_until);
        let from = from.max(now.plus(-REFUSED_DAYS * DAY));
        let (mut found, mut after) = (HashMap::<SourceId, Handled>::new(), None);
        loop {
            let page = read.imports_taken_between(account, (from, now), after, IMPORTS).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.place);
            for import in page {
                let report: Refused = serde_json::from_str(&import.report).unwrap_or_default();
                let of = found.entry(import.source_id).or_default();
                of.handled += import.handled;
                of.refused += report.rejected_count;
            }
        }
    }
}

/// Counts the IOCs of a range.
async fn count_range(
    read: &Reader,
    account: &AccountId,
    sources: &[SourceId],
    range: IdRange,
    tally: &mut SourceTally,
) -> AppResult<()> {
    let mut reports: Vec<(IocId, Reported)> = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let of_source = read.source_reports(*source, range).await?;
        reports.extend(of_source.into_iter().map(|(id, at)| (id, (number, at))));
    }
    if reports.is_empty() {
        return Ok(());
    }
    // Sources come in order, and stay so within an IOC.
    reports.sort_by_key(|(id, _)| *id);
    let set = |ids: Vec<IocId>| ids.into_iter().collect::<HashSet<_>>();
    let never_sent = set(read.never_sent_between(account, range).await?);
    let kept_back = set(read.kept_back_between(account, range).await?);
    let in_groups = set(read.in_groups_between(account, range).await?);
    let fetched = read.fetched_between(account, range).await?;
    for of_ioc in reports.chunk_by(|(one, _), (other, _)| one == other) {
        let Some((id, _)) = of_ioc.first() else { continue };
        let reported: Vec<Reported> = of_ioc.iter().map(|(_, report)| *report).collect();
        let fate = Fate {
            never_sent: never_sent.contains(id),
            kept_back: kept_back.contains(id),
            in_groups: in_groups.contains(id),
            fetched: fetched.contains(id),
        };
        tally.add(&reported, fate);
    }
    Ok(())
}

/// The overlaps of the sources that report most.
fn compared(tally: &SourceTally, sources: &[SourceId]) -> Vec<(SourceId, SourceId, u64)> {
    let mut largest: Vec<usize> = (0..sources.len()).collect();
    largest.sort_by_key(|at| std::cmp::Reverse(tally.sources.get(*at).map(|of| of.iocs)));
    largest.truncate(COMPARED);
    let kept: BTreeMap<usize, SourceId> =
        largest.into_iter().filter_map(|at| Some((at, *sources.get(at)?))).collect();
    tally
        .overlaps
        .iter()
        .filter_map(|((a, b), iocs)| Some((*kept.get(a)?, *kept.get(b)?, *iocs)))
        .collect()
}
