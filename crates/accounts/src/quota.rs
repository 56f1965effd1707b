//! A day's quota of questions.

use crate::{Accounts, Actor, AppResult};

/// How much of a day's quota is used.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Questions a day.
    pub total: u32,
    /// Questions left.
    pub remaining: u32,
}

impl Accounts {
    /// Asks a question of today's quota.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn quota_take(&self, actor: &Actor) -> AppResult<Option<Quota>> {
        let total = self.context.settings.api_enrichments_per_day;
        let txn = self.context.store.write().await?;
        let used = txn.quota_take(&actor.account_id, &self.context.now().day(), total).await?;
        txn.commit().await?;
        Ok(used.map(|used| Quota { total, remaining: total.saturating_sub(used) }))
    }

    /// What is left of today's quota.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn quota(&self, actor: &Actor) -> AppResult<Quota> {
        let total = self.context.settings.api_enrichments_per_day;
        let used = self
            .context
            .store
            .read()
            .quota_used(&actor.account_id, &self.context.now().day())
            .await?;
        Ok(Quota { total, remaining: total.saturating_sub(used) })
    }
}
