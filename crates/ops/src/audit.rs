//! The audit log is read.

use iocast_store::{AuditFilter, AuditLine, Page, PageOf};

use crate::{Actor, AppResult, Ops};

impl Ops {
    /// The audit log, newest first.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn audit_list(
        &self,
        actor: &Actor,
        filter: &AuditFilter,
        page: &Page,
    ) -> AppResult<PageOf<AuditLine>> {
        actor.may_write()?;
        Ok(self.context.store.read().audit_list(&actor.account_id, filter, page).await?)
    }
}
