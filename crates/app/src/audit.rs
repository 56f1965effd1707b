//! The audit log: every change, by whom, from where, in the same transaction.

use std::fmt::Display;

use iocast_store::{AuditFilter, AuditLine, Page, PageOf, Txn};
use serde::Serialize;

use crate::{Actor, App, AppError, AppResult};

impl App {
    /// Writes a line; `detail` holds no secrets.
    pub(crate) async fn audit(
        &self,
        txn: &Txn,
        actor: &Actor,
        action: &str,
        object: &impl Display,
        detail: &impl Serialize,
    ) -> AppResult<()> {
        let line = AuditLine {
            id: self.entropy.uuid(),
            account_id: actor.account_id.clone(),
            at: self.now(),
            actor: actor.name().to_owned(),
            action: action.to_owned(),
            object: object.to_string(),
            detail: serde_json::to_string(detail).map_err(AppError::internal)?,
            address: actor.caller.address.clone(),
            request_id: actor.caller.request_id.clone(),
        };
        Ok(txn.audit_insert(&line).await?)
    }

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
        Ok(self.store.read().audit_list(&actor.account_id, filter, page).await?)
    }
}
