//! What a full list does not hold any more: reported by its source no more, once a time of grace
//! is over.

use std::sync::Arc;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::{Change, State},
};
use iocast_store::{IocRow, Staged};
use uuid::Uuid;

use crate::{AppResult, Intake};

/// IOCs that are read and staged together.
const BATCH: usize = 2_000;

impl Intake {
    /// Takes the reports of a source off IOCs, under one change number, so that the guard against
    /// shrinking sees all of it. Gives those that are done; others changed at the same moment.
    pub(super) async fn reports_remove(
        self: &Arc<Self>,
        account: &AccountId,
        source: SourceId,
        iocs: &[IocId],
    ) -> AppResult<Vec<IocId>> {
        if iocs.is_empty() {
            return Ok(Vec::new());
        }
        let stage = self.context.entropy.uuid();
        let txn = self.context.store.write().await?;
        txn.import_begin(stage, account, self.alive_until()).await?;
        txn.commit().await?;
        let done = self.reports_removed(account, source, iocs, stage).await;
        if done.is_err() {
            let txn = self.context.store.write().await?;
            txn.import_end(stage).await?;
            txn.commit().await?;
        }
        self.context.changed.notify_one();
        self.clear_in_background(stage);
        done
    }

    async fn reports_removed(
        &self,
        account: &AccountId,
        source: SourceId,
        iocs: &[IocId],
        stage: Uuid,
    ) -> AppResult<Vec<IocId>> {
        let seen = self.context.store.read().account_seq(account).await?;
        let mut rows = 0;
        for some in iocs.chunks(BATCH) {
            let found = self.context.store.read().ioc_fetch_many(some).await?;
            let staged: Vec<Staged> =
                found.into_values().filter_map(|row| without(row, source)).collect();
            rows += staged.len() as u64;
            let write = self.context.store.stage_write(account, stage, &staged)?;
            let txn = self.context.store.write().await?;
            txn.stage_put_many(stage, write, self.alive_until()).await?;
            txn.commit().await?;
        }
        let txn = self.context.store.write().await?;
        // From here on nobody changes an IOC.
        let number = txn.account_next_seq(account, || self.context.now()).await?;
        let overtaken = txn.stage_overtaken(stage, account, seen).await?;
        txn.stage_take_off(stage, &overtaken).await?;
        rows = rows.saturating_sub(overtaken.len() as u64);
        txn.promote_undo(stage, account, source, number, rows).await?;
        txn.commit().await?;
        Ok(iocs.iter().copied().filter(|id| !overtaken.contains(id)).collect())
    }
}

/// An IOC without the report of a source; nothing if there is none.
fn without(row: IocRow, source: SourceId) -> Option<Staged> {
    let IocRow { mut ioc, created_at, deleted, .. } = row;
    let before = ioc.enrichment.reports.len();
    ioc.enrichment.reports.retain(|report| report.source_id != source);
    if deleted || ioc.enrichment.reports.len() == before {
        return None;
    }
    if ioc.enrichment.reports.is_empty() {
        ioc.state = State::Retired;
    }
    Some(Staged { ioc, created_at, change: Change::Updated })
}
