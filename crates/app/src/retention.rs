//! What is old is forgotten, so that a database does not grow for ever.

use iocast_context::AppResult;
use iocast_domain::time::{DAY, Timestamp};
use iocast_store::Old;

use crate::App;

/// Days for which keys and service tokens that were revoked or expired, and IOCs that a person
/// deleted, are known.
const KEPT: i64 = 400;

impl App {
    /// Forgets what is older than the settings say, and gives its room back.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn forget_old(&self) -> AppResult<()> {
        let settings = &self.context.settings;
        let before = |days: i64| self.context.now().plus(-days.saturating_mul(DAY));
        for account in self.accounts.account_list().await? {
            self.forget(&Old::Audit(account.id), before(settings.audit_kept_days)).await?;
        }
        self.forget(&Old::Outages, before(settings.outages_kept_days)).await?;
        self.forget(&Old::Keys, before(KEPT)).await?;
        // Sessions and service tokens run on the real clock, whatever the product's was moved to.
        let real_now = self.context.clock.real_now();
        self.forget(&Old::ServiceTokens, real_now.plus(-KEPT * DAY)).await?;
        self.forget(&Old::Sessions, real_now.plus(-DAY)).await?;
        self.forget(&Old::DeletedIocs, before(KEPT)).await?;
        while !self.context.is_closing() && self.context.store.give_room_back().await? {
            self.context.task_alive("prune");
        }
        Ok(())
    }

    async fn forget(&self, what: &Old, before: Timestamp) -> AppResult<()> {
        while !self.context.is_closing() {
            let txn = self.context.store.write().await?;
            let more = txn.forget_old(what, before).await?;
            txn.commit().await?;
            self.context.task_alive("prune");
            if !more {
                break;
            }
        }
        Ok(())
    }
}
