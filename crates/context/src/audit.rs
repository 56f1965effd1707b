//! The audit log: every change, by whom, from where, in the same transaction.

use std::fmt::Display;

use iocast_store::{AuditLine, Txn};
use serde::Serialize;

use crate::{Actor, AppError, AppResult, Context};

impl Context {
    /// Writes a line; `detail` holds no secrets.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn audit(
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
}
