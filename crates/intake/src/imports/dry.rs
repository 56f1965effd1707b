//! What an import would do, found out in memory: nothing is written, and nothing waits for the disk.

use std::collections::HashMap;

use iocast_domain::{
    id::{IocId, SourceId},
    ioc::{Change, Ioc, State},
};
use iocast_store::{StageCounts, Staged};

use super::{
    Import, ImportReport, PreviewRow, Progress,
    merge::{Parsed, merge_all, unreadable},
};
use crate::{AppError, AppResult};

/// IOCs of which something is new that are kept in memory; of more, the stage of an import is used.
const ROWS_MAX: usize = 20_000;

/// IOCs that are shown as they would be.
const SHOWN: usize = 20;

/// How far it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dry {
    /// To the end.
    Counted,
    /// There is too much for memory.
    TooMuch,
}

impl Import<'_> {
    /// Reads the body, and counts what it would do.
    pub(super) async fn count_in_memory(&mut self, progress: Progress<'_>) -> AppResult<Dry> {
        let before = self.report.clone();
        let (mut batches, reading) = self.read();
        let mut rows: HashMap<IocId, Staged> = HashMap::new();
        let mut handled = 0;
        while let Some(batch) = batches.recv().await {
            let Parsed { sightings, ids, items, rejected, remarks, ignored } =
                batch.await.map_err(AppError::internal)?;
            handled += items;
            self.reject(rejected);
            self.remark(remarks);
            self.report.ignored.add(ignored);
            let known = self.intake.context.store.read().ioc_fetch_many(&ids).await?;
            let staged: HashMap<IocId, Staged> =
                ids.iter().filter_map(|id| Some((*id, rows.get(id)?.clone()))).collect();
            // In the order in which they stand in the file.
            let room = SHOWN.saturating_sub(self.report.preview.len());
            let mut first: Vec<IocId> = Vec::new();
            for (id, _) in &sightings {
                if first.len() >= room * 4 {
                    break;
                }
                if !first.contains(id) {
                    first.push(*id);
                }
            }
            let (source, now) = (self.source.clone(), self.now);
            let merging = self
                .intake
                .context
                .spawn_blocking(move || merge_all(sightings, &staged, known, &source, now));
            let (changed, same) = merging.await.map_err(AppError::internal)?;
            let of = |id: &IocId| changed.iter().find(|row| row.ioc.id == *id);
            let shown = first.iter().filter_map(of).take(room);
            self.report.preview.extend(shown.map(|row| preview(row, self.source.id)));
            for row in changed {
                self.known_same.remove(&row.ioc.id);
                rows.insert(row.ioc.id, row);
            }
            self.known_same.extend(same);
            progress(handled);
            if rows.len() > ROWS_MAX {
                // Said again by the one that reads it from the beginning.
                let preview = std::mem::take(&mut self.report.preview);
                self.report = ImportReport { preview, ..before };
                self.known_same.clear();
                self.lines.clear();
                if let Some(ledger) = &self.request.ledger {
                    ledger.begin_again();
                }
                return Ok(Dry::TooMuch);
            }
        }
        reading.await.map_err(AppError::internal)?.map_err(unreadable)?;
        self.count_in(counts(rows.values()));
        Ok(Dry::Counted)
    }
}

fn preview(row: &Staged, source: SourceId) -> PreviewRow {
    let Ioc { kind, value, first_seen, last_seen, enrichment, .. } = &row.ioc;
    let report = enrichment.reports.iter().find(|report| report.source_id == source);
    PreviewRow {
        kind: *kind,
        value: value.clone(),
        is_new: row.change == Change::Accepted,
        first_seen: *first_seen,
        last_seen: *last_seen,
        severity: row.ioc.severity(),
        confidence: report.map(|report| report.confidence),
        tags: enrichment.user_tags.iter().chain(&enrichment.system_tags).cloned().collect(),
    }
}

fn counts<'r>(rows: impl Iterator<Item = &'r Staged>) -> StageCounts {
    let mut counts = StageCounts::default();
    for row in rows {
        match row.change {
            Change::Accepted => {
                counts.accepted += 1;
                counts.retired += u64::from(row.ioc.state == State::Retired);
            }
            Change::Updated => counts.updated += 1,
            Change::Unchanged => counts.unchanged += 1,
        }
    }
    counts
}
