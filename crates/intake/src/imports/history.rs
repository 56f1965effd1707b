//! Imports that were made: listed, looked at, stopped, forgotten.

use std::sync::Arc;

use iocast_domain::{account::Module, id::ImportId, import::ImportState, time::DAY};
use iocast_store::{ImportFilter, ImportLine, Page, PageOf};

use super::ImportView;
use crate::{Actor, AppError, AppResult, Intake};

/// How long refused lines are kept, in microseconds.
const LINES_KEPT: i64 = 30 * DAY;
/// How long an import is kept, in microseconds. Then it can't be undone any more.
const KEPT: i64 = 400 * DAY;
/// How long it is kept what fetches of subscriptions did, in microseconds.
const FETCHES_KEPT: i64 = 90 * DAY;

impl Intake {
    /// The imports of the account, newest first.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn import_list_page(
        &self,
        actor: &Actor,
        filter: &ImportFilter,
        page: &Page,
    ) -> AppResult<PageOf<ImportView>> {
        actor.may_read(Module::Tip)?;
        let found = self.context.store.read().import_list(&actor.account_id, filter, page).await?;
        let PageOf { items, next } = found;
        let items = items.into_iter().map(ImportView::try_from).collect::<AppResult<_>>()?;
        Ok(PageOf { items, next })
    }

    /// One import.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn import_fetch(&self, actor: &Actor, id: ImportId) -> AppResult<ImportView> {
        actor.may_read(Module::Tip)?;
        let found = self.context.store.read().import_fetch(&actor.account_id, id).await?;
        found.ok_or(AppError::NotFound("import"))?.try_into()
    }

    /// Refused lines of an import, from number `from` on.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn import_lines(
        &self,
        actor: &Actor,
        id: ImportId,
        from: u64,
        limit: u64,
    ) -> AppResult<Vec<ImportLine>> {
        self.import_fetch(actor, id).await?;
        Ok(self.context.store.read().import_lines(id, from, limit).await?)
    }

    /// Stops an import that is being read, or throws away one that waits for a review.
    ///
    /// # Errors
    /// If it is neither.
    pub async fn import_discard(self: &Arc<Self>, actor: &Actor, id: ImportId) -> AppResult<()> {
        actor.may_change(Module::Tip)?;
        let view = self.import_fetch(actor, id).await?;
        let txn = self.context.store.write().await?;
        let discarded = ImportState::Discarded;
        if !txn.import_turn(id, ImportState::Review, discarded).await?
            && !txn.import_turn(id, ImportState::Running, discarded).await?
        {
            return Err(AppError::Conflict {
                code: "import_ended",
                detail: "This import has ended; undo it to take its IOCs back.".to_owned(),
            });
        }
        txn.import_end(id.0).await?;
        let detail = serde_json::json!({ "source": view.source_name, "file": view.file_name });
        self.context.audit(&txn, actor, "import.discard", &id, &detail).await?;
        txn.commit().await?;
        self.clear_in_background(id.0);
        Ok(())
    }

    /// Forgets an import that took nothing.
    pub(crate) async fn import_forget(&self, id: Option<ImportId>) -> AppResult<()> {
        let Some(id) = id else { return Ok(()) };
        loop {
            let txn = self.context.store.write().await?;
            let forgotten = txn.import_lines_forget(id).await?;
            if forgotten == 0 {
                txn.import_record_forget(id).await?;
            }
            txn.commit().await?;
            if forgotten == 0 {
                return Ok(());
            }
        }
    }

    /// Forgets refused lines after 30 days, bodies that wait for nobody, and imports after 400
    /// days.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn imports_prune(&self) -> AppResult<()> {
        let now = self.context.now();
        let old = now.plus(-LINES_KEPT);
        while let Some(id) = self.context.store.read().import_with_lines(old).await? {
            let txn = self.context.store.write().await?;
            txn.import_lines_forget(id).await?;
            txn.commit().await?;
            if self.context.is_closing() {
                return Ok(());
            }
        }
        while !self.context.is_closing() {
            let txn = self.context.store.write().await?;
            let forgotten = txn.import_bodies_forget().await?;
            txn.commit().await?;
            if forgotten == 0 {
                break;
            }
        }
        let txn = self.context.store.write().await?;
        txn.import_records_forget(now.plus(-KEPT)).await?;
        txn.fetches_forget(now.plus(-FETCHES_KEPT)).await?;
        Ok(txn.commit().await?)
    }
}
