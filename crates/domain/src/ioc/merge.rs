//! What is known of an IOC, and what is reported: merged.

use super::{Enrichment, Ioc, Kind, Report, State, Whitelist};
use crate::{
    id::{IocId, SourceId},
    source::{Confidence, Source, SourceLimits},
    time::Timestamp,
};

/// An IOC as a reader found it, before it meets what is already known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sighting {
    /// What it is and its normalised value.
    pub indicator: Option<(Kind, String)>,
    /// First seen, where the input says so.
    pub first_seen: Option<Timestamp>,
    /// Last seen, where the input says so; without it the sighting is now.
    pub last_seen: Option<Timestamp>,
    /// The confidence of this report, where it has its own.
    pub confidence: Option<Confidence>,
    /// What people said about sending it, where the input says so.
    pub whitelist: Option<Whitelist>,
    /// Tags, actors, families and the rest; `reports` stays empty.
    pub enrichment: Enrichment,
}

/// What an import did to one IOC, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not there before.
    Accepted,
    /// It was there, and something about it changed.
    Updated,
    /// It was there; at most it was seen again.
    Unchanged,
}

/// Who reports an IOC.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// The source.
    pub source: SourceId,
    /// The confidence of its reports unless they bring their own.
    pub confidence: Confidence,
    /// For how long its IOCs stay.
    pub limits: &'a SourceLimits,
}

impl<'a> From<&'a Source> for Reporter<'a> {
    fn from(source: &'a Source) -> Self {
        Self { source: source.id, confidence: source.confidence, limits: &source.limits }
    }
}

/// Makes one IOC of a sighting and what was known before. The order of sightings doesn't matter for
/// anything but the alert ID and a source's confidence, where the later word counts.
pub fn merge(
    known: Option<Ioc>,
    id: IocId,
    kind: Kind,
    value: String,
    seen: Sighting,
    by: Reporter<'_>,
    now: Timestamp,
) -> (Ioc, Change) {
    let Reporter { source, confidence: default_confidence, limits } = by;
    let last_seen = seen.last_seen.map_or(now, |t| t.min(now));
    let first_seen = seen.first_seen.map_or(last_seen, |t| t.min(last_seen));
    let confidence = seen.confidence.unwrap_or(default_confidence);
    let report = Report {
        source_id: source,
        confidence,
        reported_at: now.micros(),
        first_at: now.micros(),
        lifetime_days: limits.lifetime(kind),
    };
    let Some(before) = known else {
        let mut enrichment = Enrichment { reports: vec![report], ..Enrichment::default() };
        enrichment.absorb(&seen.enrichment);
        let whitelist = seen.whitelist.unwrap_or(Whitelist::Default);
        let mut ioc = Ioc {
            id,
            kind,
            value,
            first_seen,
            last_seen,
            state: State::Active,
            whitelist,
            enrichment,
        };
        ioc.state = ioc.state_at(now);
        return (ioc, Change::Accepted);
    };
    let mut after = before.clone();
    // An undated sighting says "there now", not "first there now": it only moves first seen where
    // nothing was known.
    if seen.first_seen.is_some() || seen.last_seen.is_some() {
        after.first_seen = after.first_seen.min(first_seen);
    }
    after.last_seen = after.last_seen.max(last_seen);
    if let Some(whitelist) = seen.whitelist {
        after.whitelist = whitelist;
    }
    after.enrichment.absorb(&seen.enrichment);
    let reports = &mut after.enrichment.reports;
    match reports.iter_mut().find(|r| r.source_id == source) {
        Some(known) => {
            known.confidence = confidence;
            known.lifetime_days = report.lifetime_days;
        }
        None => reports.push(report),
    }
    reports.sort_by_key(|r| r.source_id);
    after.state = after.state_at(now);
    let dated = seen.last_seen.is_some() && after.last_seen != before.last_seen;
    let same = after.first_seen == before.first_seen
        && after.state == before.state
        && after.whitelist == before.whitelist
        && after.enrichment == before.enrichment;
    let change = if same && !dated { Change::Unchanged } else { Change::Updated };
    if let Some(report) = after.enrichment.reports.iter_mut().find(|r| r.source_id == source)
        && (change == Change::Updated
            || after.last_seen != before.last_seen
            // Said a second time, it does not rest on one import any more, which may be undone.
            || report.reported_at == report.first_at)
    {
        report.reported_at = now.micros();
    }
    (after, change)
}

/// Makes one IOC of two rows of the same thing, which earlier versions kept under two spellings.
/// `id` and `value` are those of the one spelling. What a person forbade stays forbidden; what is
/// always sent must have been so under every spelling.
#[must_use]
pub fn unite(known: Option<Ioc>, twin: Ioc, id: IocId, kind: Kind, value: String) -> Ioc {
    let Some(known) = known else { return Ioc { id, kind, value, ..twin } };
    let Ioc { id: _, kind: _, value: _, first_seen, last_seen, state, whitelist, enrichment } =
        twin;
    let whitelist = match (known.whitelist, whitelist) {
        (Whitelist::NeverSent, _) | (_, Whitelist::NeverSent) => Whitelist::NeverSent,
        (Whitelist::AlwaysSent, Whitelist::AlwaysSent) => Whitelist::AlwaysSent,
        _ => Whitelist::Default,
    };
    Ioc {
        id,
        kind,
        value,
        first_seen: known.first_seen.min(first_seen),
        last_seen: known.last_seen.max(last_seen),
        state: if known.state == State::Active || state == State::Active {
            State::Active
        } else {
            State::Retired
        },
        whitelist,
        enrichment: known.enrichment.united(enrichment),
    }
}
