//! What a list holds is written down, and what it has not held for long enough is removed.

use std::sync::Arc;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    subscription::{Coverage, Protocol, Subscription},
};
use iocast_store::{Section, Txn};

use super::{
    Ledger,
    ledger::Kept,
    outcome::remember,
    upstream::{Came, file_name},
};
use crate::{AppResult, Intake};

/// Links of a source that are read at once.
const LINKS: u64 = 10_000;

impl Intake {
    /// The subscription, if it still fetches the same in the same way. Nobody changes it until the
    /// transaction ends.
    async fn still(
        &self,
        txn: &Txn,
        account: &AccountId,
        of: &Subscription,
    ) -> AppResult<Option<Subscription>> {
        txn.account_lock(account).await?;
        let current = txn.subscription_fetch(of.source_id).await?;
        // An undo, or another confidence, has all of it be taken again.
        let same =
            |now: &Subscription| now.fetches_the_same(of) && now.progress.same_body(&of.progress);
        Ok(current.filter(same))
    }

    /// Writes down what the list holds now, and removes what is gone for long enough. Gives how
    /// many IOCs it removed.
    pub(super) async fn keep_list(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
        ledger: &Ledger,
        came: &Came,
    ) -> AppResult<u64> {
        let (source, now, listed) = (of.source_id, self.context.now(), ledger.listed());
        let is_full = of.coverage == Coverage::Full;
        // Once all of it is known for the first time.
        let is_new = of.progress.sha256.is_none() && came.sha256.is_some();
        let is_all = !came.more && came.missing.is_none();
        let unknown = if is_full && (is_new || ledger.is_first()) && is_all {
            self.not_listed(source, ledger).await?
        } else {
            Vec::new()
        };
        let txn = self.context.store.write().await?;
        let Some(mut current) = self.still(&txn, account, of).await? else { return Ok(0) };
        if of.protocol == Protocol::MispFeed {
            let section = |(name, version): &(String, String)| Section {
                name: name.clone(),
                version: version.clone(),
                data: listed.section_bytes(&file_name(name)),
            };
            if came.all {
                // Those that did not come are to come, too.
                txn.subscription_sections_stale(source).await?;
            }
            txn.subscription_sections_forget(source, Some(&came.gone)).await?;
            txn.subscription_sections_put(source, came.versions.iter().map(section).collect())
                .await?;
        } else {
            match ledger.kept() {
                Kept::Same => {}
                Kept::All(bytes) => txn.subscription_ledger_put(source, &bytes).await?,
                Kept::Changes(bytes) => txn.subscription_ledger_add(source, &bytes).await?,
            }
        }
        if is_full {
            let missing = txn.subscription_missing(source, now).await?;
            let back: Vec<IocId> = missing.into_iter().filter(|id| listed.holds(*id)).collect();
            txn.subscription_missing_forget(source, &back).await?;
            txn.subscription_missing_put(source, &listed.gone, now).await?;
            txn.subscription_missing_put(source, &unknown, now).await?;
        }
        // With what it holds: after a kill in between, an older body would look unchanged.
        remember(&mut current, came, listed.listed);
        txn.subscription_put(account, &current).await?;
        txn.commit().await?;
        self.remove_missing(account, of).await
    }

    /// What a source reports and its list does not hold, where it is not known what the list held
    /// before.
    async fn not_listed(&self, source: SourceId, ledger: &Ledger) -> AppResult<Vec<IocId>> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let ids = self.context.store.read().source_ioc_ids(source, after, LINKS).await?;
            let Some(last) = ids.last() else { return Ok(found) };
            after = Some(*last);
            found.extend(ids.into_iter().map(IocId).filter(|id| !ledger.listed().holds(*id)));
        }
    }

    /// Removes what a full list has not held for the time of grace.
    pub(super) async fn remove_missing(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
    ) -> AppResult<u64> {
        if of.coverage != Coverage::Full {
            return Ok(0);
        }
        let source = of.source_id;
        let still = self.context.store.read().subscription_fetch(source).await?;
        if !still.is_some_and(|now| now.fetches_the_same(of)) {
            return Ok(0);
        }
        let since = self.context.now().plus(-of.grace);
        let due = self.context.store.read().subscription_missing(source, since).await?;
        let done = self.reports_remove(account, source, &due).await?;
        if !done.is_empty() {
            let txn = self.context.store.write().await?;
            txn.subscription_missing_forget(source, &done).await?;
            txn.commit().await?;
        }
        Ok(done.len() as u64)
    }
}
