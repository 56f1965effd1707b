//! An import becomes visible: counted, promoted, merged again with what others changed.

use std::collections::HashSet;

use iocast_domain::{id::IocId, import::ImportState};
use iocast_store::{StageCounts, Txn};

use super::{
    Import, ImportReport, OVERTAKEN_ROUNDS, Parsed, Sightings, Trust, kept_report, stopped,
    unreadable,
};
use crate::{AppError, AppResult};

impl Import<'_> {
    /// Makes everything on the stage seen. `seen` is the account's number before staging began:
    /// what others changed since is merged again, while everybody else may write.
    pub(super) async fn promote(&mut self, mut seen: i64) -> AppResult<()> {
        let account = &self.actor.account_id;
        let mut round = 0;
        loop {
            let now_seen = self.intake.context.store.read().account_seq(account).await?;
            if now_seen > seen {
                self.source = self
                    .intake
                    .context
                    .store
                    .read()
                    .source_fetch(account, self.source.id)
                    .await?
                    .ok_or(AppError::NotFound("source"))?;
                let overtaken = self
                    .intake
                    .context
                    .store
                    .read()
                    .stage_overtaken(self.id, account, seen)
                    .await?;
                self.restage(None, &overtaken).await?;
                seen = now_seen;
            }
            let txn = self.intake.context.store.write().await?;
            // The number first: it locks the account's row, so that nobody changes an IOC from here
            // on.
            let seq = txn.account_next_seq(account, || self.intake.context.now()).await?;
            self.source = txn
                .source_fetch(account, self.source.id)
                .await?
                .ok_or(AppError::NotFound("source"))?;
            let overtaken = if seq > seen + 1 {
                txn.stage_overtaken(self.id, account, seen).await?
            } else {
                Vec::new()
            };
            if overtaken.is_empty() || round == OVERTAKEN_ROUNDS {
                // Others were quicker each time: they wait for once.
                // The body is read once more, which may take long between two statements.
                txn.may_idle().await?;
                self.restage(Some(&txn), &overtaken).await?;
                return self.promote_in(txn, seq).await;
            }
            round += 1;
        }
    }

    /// Makes everything on the stage seen, under one change number.
    async fn promote_in(&mut self, txn: Txn, seq: i64) -> AppResult<()> {
        let account = &self.actor.account_id;
        let counts = txn.stage_counts(self.id).await?;
        self.count_in(counts);
        let order = self.order.of_rows();
        let by = (self.source.id, self.now);
        txn.promote_staging(self.id, account, by, seq, &counts, order).await?;
        let ImportReport { accepted, updated, unchanged, rejected_count, ignored, .. } =
            self.report;
        let detail = serde_json::json!({
            "source": self.source.name,
            "accepted": accepted,
            "updated": updated,
            "unchanged": unchanged,
            "rejected": rejected_count,
            "ignored": ignored.sentences(),
            "restore": self.request.trust == Trust::Restore,
        });
        self.intake.context.audit(&txn, self.actor, "ioc.import", &self.source.id, &detail).await?;
        self.report.left_out = self.left_out.len() as u64;
        if let Some(record) = self.record {
            let (now, report) = (self.intake.context.now(), kept_report(&self.report)?);
            let (from, to) = (ImportState::Running, ImportState::Done);
            if !txn.import_settle(record, from, to, now, Some(seq), &report, None).await? {
                return Err(stopped());
            }
            // What was kept for a review.
            txn.import_end(record.0).await?;
        }
        if let Some(alert) = self.alert {
            self.intake.alert_write(&txn, self.actor, alert, seq).await?;
        }
        self.intake.context.idempotency_effect(&txn, self.actor, &self.report).await?;
        Ok(txn.commit().await?)
    }

    /// Reads the body once more for these IOCs alone, and puts them on the stage again: in the
    /// transaction `within`, or in short ones.
    async fn restage(&mut self, within: Option<&Txn>, overtaken: &[IocId]) -> AppResult<()> {
        if overtaken.is_empty() {
            return Ok(());
        }
        match within {
            Some(txn) => txn.stage_take_off(self.id, overtaken).await?,
            None => {
                let txn = self.intake.context.store.write().await?;
                self.intake.context.idempotency_alive(&txn, self.actor).await?;
                txn.stage_take_off(self.id, overtaken).await?;
                txn.commit().await?;
            }
        }
        let overtaken: HashSet<IocId> = overtaken.iter().copied().collect();
        let (mut batches, reading) = self.read();
        while let Some(batch) = batches.recv().await {
            // Refused lines were counted the first time.
            let Parsed { mut sightings, mut ids, .. } = batch.await.map_err(AppError::internal)?;
            sightings.retain(|(id, _)| overtaken.contains(id));
            ids.retain(|id| overtaken.contains(id));
            if ids.is_empty() {
                continue;
            }
            match within {
                Some(txn) => self.stage_batch_again(txn, sightings, &ids).await?,
                None => {
                    let txn = self.intake.context.store.write().await?;
                    self.stage_batch_again(&txn, sightings, &ids).await?;
                    txn.commit().await?;
                }
            }
        }
        reading.await.map_err(AppError::internal)?.map_err(unreadable)
    }

    async fn stage_batch_again(
        &mut self,
        txn: &Txn,
        sightings: Sightings,
        ids: &[IocId],
    ) -> AppResult<()> {
        let (staged, known) = self.known(txn, ids).await?;
        let merged = self.merged(self.merging(sightings, staged, known)).await?;
        Ok(txn.stage_put_many(self.id, merged.write, self.alive_until()).await?)
    }

    pub(super) async fn count(&mut self) -> AppResult<()> {
        self.count_in(self.intake.context.store.read().stage_counts(self.id).await?);
        Ok(())
    }

    pub(super) fn count_in(&mut self, counts: StageCounts) {
        let StageCounts { accepted, retired, updated, unchanged } = counts;
        self.report.accepted = accepted;
        self.report.retired = retired;
        self.report.updated = updated;
        self.report.unchanged = unchanged + self.known_same.len() as u64;
    }
}
