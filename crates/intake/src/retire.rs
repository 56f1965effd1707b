//! IOCs retire, and get their place in the order of selection.

use std::collections::{BTreeMap, HashSet};

use iocast_domain::{
    id::{AccountId, IocId},
    time::HOUR,
};

use crate::{AppResult, Intake};

/// IOCs whose places are written in one transaction: others wait for it some milliseconds.
const PLACED_AT_ONCE: u64 = 500;
/// How long an IOC waits for the fetch of a list that it is on, in microseconds.
const WAITS: i64 = HOUR;
/// IOCs that retire in one round.
const RETIRE_AT_ONCE: u64 = 5_000;

impl Intake {
    /// Retires the IOCs that were not seen for longer than their kind's lifetime. Gives how many.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn retire_tick(&self) -> AppResult<u64> {
        let mut retired = 0;
        while !self.context.is_closing() {
            let now = self.context.now();
            let due = self.context.store.read().ioc_due_to_retire(now, RETIRE_AT_ONCE).await?;
            if due.is_empty() {
                break;
            }
            let mut by_account: BTreeMap<AccountId, Vec<IocId>> = BTreeMap::new();
            for (account, id) in due {
                by_account.entry(account).or_default().push(id);
            }
            for (account, ids) in by_account {
                let ids = self.keep_listed(&account, ids).await?;
                if ids.is_empty() {
                    continue;
                }
                let txn = self.context.store.write().await?;
                let seq = txn.account_next_seq(&account, || self.context.now()).await?;
                txn.ioc_retire(&ids, seq, now).await?;
                txn.commit().await?;
                retired += ids.len() as u64;
            }
            self.context.changed.notify_one();
        }
        Ok(retired)
    }

    /// What a list holds was seen when the list was fetched last: an IOC that stays in it is not
    /// written at each fetch, but here, once in its lifetime. Gives those that are in none.
    async fn keep_listed(&self, account: &AccountId, ids: Vec<IocId>) -> AppResult<Vec<IocId>> {
        let now = self.context.now();
        let (mut seen, mut waiting) = (BTreeMap::new(), Vec::new());
        for (of, brought) in self.context.store.read().subscribed(account, &ids).await? {
            let Some(at) = of.progress.ok_at else { continue };
            let ledger = self.ledger_of(of.source_id).await?;
            let is_due = !of.paused && of.progress.next_at <= now;
            for id in brought.into_iter().filter(|id| ledger.held(*id)) {
                let known = seen.entry(id).or_insert(at);
                *known = at.max(*known);
                if is_due {
                    waiting.push(id);
                }
            }
        }
        if seen.is_empty() {
            return Ok(ids);
        }
        let txn = self.context.store.write().await?;
        let seq = txn.account_next_seq(account, || self.context.now()).await?;
        let listed: Vec<IocId> = seen.keys().copied().collect();
        let mut kept = HashSet::new();
        for (id, mut row) in txn.ioc_fetch_many(&listed).await? {
            let Some(at) = seen.get(&id).copied() else { continue };
            if !row.deleted && at > row.ioc.last_seen && at.plus(row.ioc.lifetime()) > now {
                row.ioc.last_seen = at;
                txn.ioc_update(account, &row, seq).await?;
                kept.insert(id);
            }
        }
        // The fetch that is about to be made decides.
        waiting.retain(|id| !kept.contains(id));
        txn.ioc_postpone(&waiting, now.plus(WAITS)).await?;
        txn.commit().await?;
        kept.extend(waiting);
        Ok(ids.into_iter().filter(|id| !kept.contains(id)).collect())
    }

    /// Writes the places of IOCs that an earlier version wrote without one, some at a time. Until
    /// all are written, the full groups of their account are selected from scratch.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn places_tick(&self) -> AppResult<()> {
        for account in self.context.store.read().account_list().await? {
            let mut written = 0;
            while !self.context.is_closing()
                && self.context.store.read().ioc_any_unplaced(&account.id).await?
            {
                let txn = self.context.store.write().await?;
                written += txn.ioc_place_some(&account.id, PLACED_AT_ONCE).await?;
                txn.commit().await?;
                self.context.task_alive("places");
            }
            if written > 0 {
                tracing::info!(account.id = %account.id, "The places of {written} IOCs of account {} were written", account.id);
            }
        }
        Ok(())
    }
}
