//! An import is read, merged and staged.

use std::{collections::HashMap, sync::Arc};

use iocast_domain::id::IocId;
use iocast_formats::read::{Raw, ReadError, Rejected};
use iocast_store::{IocRow, StageWrite, Staged, Txn};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Import, ImportRequest, LINES_MAX, Progress, REJECTED_MAX, Sightings, TOGETHER, lines,
    merge::{Merged, Parsed, Trusted, cores, mark, merge_all, split_document, unreadable},
};
use crate::{AppError, AppResult};

impl Import<'_> {
    /// Reads the body and lays what it says on the stage.
    pub(super) async fn stage(&mut self, progress: Progress<'_>) -> AppResult<()> {
        let (mut batches, reading) = self.read();
        let mut next = batches.recv().await;
        if next.is_none() {
            // It can't be read at all: nothing was written.
            return reading.await.map_err(AppError::internal)?.map_err(unreadable);
        }
        let mut handled = 0;
        // What is being merged, and not laid on the stage yet.
        let mut merging: Option<JoinHandle<AppResult<Merged>>> = None;
        let mut open: Option<(Txn, u32)> = None;
        while let Some(batch) = next {
            let mut parsed = batch.await.map_err(AppError::internal)?;
            // Of a list that says little new, what is new of several batches goes together.
            while parsed.is_small() && open.is_none() {
                let Some(more) = batches.recv().await else { break };
                parsed.join(more.await.map_err(AppError::internal)?);
                progress(handled + parsed.items);
            }
            let Parsed { sightings, ids, items, rejected, remarks, ignored } = parsed;
            handled += items;
            self.reject(rejected);
            self.remark(remarks);
            self.report.ignored.add(ignored);
            let (txn, nth) = match open.take() {
                Some(open) => open,
                None => (self.intake.context.store.write().await?, 1),
            };
            // Read by the one who writes: what was just written is in its cache, and a reader
            // would fetch it again.
            let (mut staged, known) = self.known(&txn, &ids).await?;
            let before = match merging.take() {
                Some(merging) => Some(self.merged(merging).await?),
                None => None,
            };
            let overlay = before
                .iter()
                .flat_map(|before| &before.rows)
                .filter(|row| ids.binary_search(&row.ioc.id).is_ok());
            staged.extend(overlay.map(|row| (row.ioc.id, row.clone())));
            merging = Some(self.merging(sightings, staged, known));
            // One in which nothing is new is a sign of life, too.
            if let Some(before) = before {
                self.intake.context.idempotency_alive(&txn, self.actor).await?;
                txn.stage_put_many(self.id, before.write, self.alive_until()).await?;
            }
            self.write_lines(&txn, handled).await?;
            progress(handled);
            // What is read already goes into the same write, so far as that holds nobody up: each
            // write syncs the disk, and lays down again most pages of an index whose keys are
            // spread evenly.
            next = match batches.try_recv() {
                Ok(batch) if nth < TOGETHER && batch.is_finished() => {
                    open = Some((txn, nth + 1));
                    Some(batch)
                }
                ready => {
                    txn.commit().await?;
                    match ready {
                        Ok(batch) => Some(batch),
                        Err(_) => batches.recv().await,
                    }
                }
            };
        }
        let last = match merging {
            Some(merging) => self.merged(merging).await?.write,
            None => StageWrite::default(),
        };
        let txn = self.intake.context.store.write().await?;
        txn.stage_put_many(self.id, last, self.alive_until()).await?;
        self.write_lines(&txn, handled).await?;
        txn.commit().await?;
        reading.await.map_err(AppError::internal)?.map_err(unreadable)
    }

    /// Takes the body apart on one thread; what the pieces mean is found out on all of them, and
    /// comes in order. They are not threads of the one that answers this request: those are few.
    pub(super) fn read(
        &self,
    ) -> (mpsc::Receiver<JoinHandle<Parsed>>, JoinHandle<Result<(), ReadError>>) {
        let (sender, batches) = mpsc::channel(cores());
        let left_out = Arc::clone(&self.left_out);
        let ImportRequest { options, also, ledger, columns, .. } = self.request.clone();
        let (also, namespace) = (Arc::new(also), self.namespace);
        let documents = Arc::clone(&self.documents.list);
        let trusted = Trusted {
            trust: self.request.trust,
            confidence: self.source.confidence,
            limits: self.source.limits.clone(),
        };
        let seed = trusted.seed(&also);
        let give = move |pieces: Vec<Raw>, file: Option<Arc<str>>| {
            let (also, left_out) = (Arc::clone(&also), Arc::clone(&left_out));
            let trusted = trusted.clone();
            let ledger = ledger.clone();
            sender
                .blocking_send(tokio::task::spawn_blocking(move || {
                    let ledger = ledger.as_deref().map(|ledger| (ledger, seed));
                    let file = file.as_ref();
                    let mut parsed = Parsed::of(pieces, file, &also, &trusted, &namespace, ledger);
                    parsed.leave_out(&left_out);
                    parsed
                }))
                .is_ok()
        };
        (
            batches,
            self.intake.context.spawn_blocking(move || {
                let columns = columns.as_deref();
                let mut each = documents.iter();
                each.try_for_each(|document| split_document(document, options, columns, &give))
            }),
        )
    }

    pub(super) fn reject(&mut self, rejected: Vec<Rejected>) {
        self.report.rejected_count += rejected.len() as u64;
        self.keep_lines(&rejected, false);
        let room = REJECTED_MAX.saturating_sub(self.report.rejected.len());
        self.report.rejected.extend(rejected.into_iter().take(room));
    }

    pub(super) fn remark(&mut self, remarks: Vec<Rejected>) {
        self.report.remarks_count += remarks.len() as u64;
        self.keep_lines(&remarks, true);
        let room = REJECTED_MAX.saturating_sub(self.report.remarks.len());
        self.report.remarks.extend(remarks.into_iter().take(room));
    }

    /// Has refused lines be written down with the next write, if they were not when this was
    /// reviewed.
    fn keep_lines(&mut self, rejected: &[Rejected], remark: bool) {
        if self.record.is_some_and(|record| record.0 == self.id) {
            let room = LINES_MAX.saturating_sub(self.lines_kept + self.lines.len());
            self.lines.extend(lines(rejected, remark).take(room));
        }
    }

    /// Writes down what was refused lately, and how far this is.
    async fn write_lines(&mut self, txn: &Txn, handled: u64) -> AppResult<()> {
        let Some(record) = self.record else { return Ok(()) };
        let lines = std::mem::take(&mut self.lines);
        txn.import_lines_put(record, self.lines_kept, &lines).await?;
        self.lines_kept += lines.len();
        Ok(txn.import_handled(record, handled).await?)
    }

    /// What of these IOCs is on the stage, and what is known of them.
    pub(super) async fn known(
        &self,
        txn: &Txn,
        ids: &[IocId],
    ) -> AppResult<(HashMap<IocId, Staged>, HashMap<IocId, IocRow>)> {
        let maybe_staged: Vec<IocId> =
            ids.iter().copied().filter(|id| self.staged.contains(&mark(*id))).collect();
        Ok((txn.stage_fetch_many(self.id, &maybe_staged).await?, txn.ioc_fetch_many(ids).await?))
    }

    /// Merges sightings with what is on the stage or, where nothing is, with what is known, beside
    /// other work.
    pub(super) fn merging(
        &self,
        sightings: Sightings,
        staged: HashMap<IocId, Staged>,
        known: HashMap<IocId, IocRow>,
    ) -> JoinHandle<AppResult<Merged>> {
        let (source, now) = (self.source.clone(), self.now);
        let (store, import) = (self.intake.context.store.clone(), self.id);
        let account = self.actor.account_id.clone();
        self.intake.context.spawn_blocking(move || {
            let (rows, same) = merge_all(sightings, &staged, known, &source, now);
            Ok(Merged { write: store.stage_write(&account, import, &rows)?, rows, same })
        })
    }

    /// What is to be laid on the stage; what says nothing new is counted.
    pub(super) async fn merged(
        &mut self,
        merging: JoinHandle<AppResult<Merged>>,
    ) -> AppResult<Merged> {
        let mut merged = merging.await.map_err(AppError::internal)??;
        self.order.see(&merged.rows);
        for row in &merged.rows {
            self.known_same.remove(&row.ioc.id);
            self.staged.insert(mark(row.ioc.id));
        }
        self.known_same.extend(std::mem::take(&mut merged.same));
        Ok(merged)
    }
}
