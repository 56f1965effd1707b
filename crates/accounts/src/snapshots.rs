//! A group's publications: compared, frozen, rolled back to, held and let through; and what a group
//! keeps back.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    guard::Refusal,
    id::{GroupId, IocId},
    ioc::Ioc,
    warninglist::ListMatch,
};
use iocast_store::{Page, PageOf};

use crate::{Accounts, Actor, AppError, AppResult};

/// An IOC that a group keeps back.
#[derive(Clone, Debug)]
pub struct RefusedIoc {
    /// The IOC.
    pub ioc: Ioc,
    /// Why.
    pub refusal: Refusal,
    /// The warninglists that it is on.
    pub lists: Vec<ListMatch>,
}

impl Accounts {
    /// Keeps a group at one of its publications, whatever its rules say from now on; or, with none
    /// given, has it go by its rules again. Going back is a publication of its own, so that clients
    /// which follow dates and numbers go back, too; what was withdrawn since stays out of it. Gives
    /// whether there is something to publish.
    ///
    /// # Errors
    /// If the group or the publication is not there.
    pub async fn group_freeze(
        self: &Arc<Self>,
        actor: &Actor,
        id: GroupId,
        publication: Option<i64>,
    ) -> AppResult<bool> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        let there = || AppError::NotFound("group");
        txn.group_fetch(&actor.account_id, id).await?.ok_or_else(there)?;
        // The group's row is locked from here on: the publisher throws away old publications no
        // more, and nobody else freezes it.
        txn.group_freeze(id, publication).await?;
        let row = txn.group_fetch(&actor.account_id, id).await?.ok_or_else(there)?;
        // What a kept group let pass is looked at once it goes by its rules again.
        let by_rules = row.restored.is_some().then_some(None);
        let republishes = match publication {
            Some(number) => {
                txn.publication_files_of(id, number)
                    .await?
                    .ok_or(AppError::NotFound("publication"))?;
                // An earlier version did not note what its publications changed: then the files of
                // that one are served as they were.
                let known = txn.publication_before(id, number).await?.is_some();
                if known { Some(Some(0)) } else { by_rules }
            }
            None => by_rules,
        };
        if let Some(restored) = republishes {
            txn.group_republish(id, restored, self.context.now()).await?;
        }
        self.context
            .audit(
                &txn,
                actor,
                if publication.is_some() { "group.freeze" } else { "group.thaw" },
                &id,
                &serde_json::json!({ "publication": publication }),
            )
            .await?;
        txn.protections_due_now(vec![id], self.context.now()).await?;
        txn.commit().await?;
        Ok(republishes.is_some())
    }

    /// Serves what a group is to serve now.
    ///
    /// # Errors
    /// If the group is not there.
    pub async fn group_serve(&self, actor: &Actor, id: GroupId) -> AppResult<()> {
        let row = self
            .context
            .store
            .read()
            .group_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("group"))?;
        self.tables.load(&row).await
    }

    /// Lets a publication through that is held because it would lose too much.
    ///
    /// # Errors
    /// If the group is not there, or nothing of it is held.
    pub async fn group_let_through(self: &Arc<Self>, actor: &Actor, id: GroupId) -> AppResult<()> {
        actor.may_change(Module::Automation)?;
        let txn = self.context.store.write().await?;
        let row =
            txn.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        if !txn.group_let_through(id, self.context.now()).await? {
            return Err(AppError::Conflict {
                code: "nothing_held",
                detail:
                    "Nothing of this group is held now; its last publication is what it serves."
                        .to_owned(),
            });
        }
        self.context
            .audit(&txn, actor, "group.let_through", &id, &serde_json::json!({ "held": row.held }))
            .await?;
        Ok(txn.commit().await?)
    }

    /// What a group keeps back, by IOC id.
    ///
    /// # Errors
    /// If the group is not there.
    pub async fn group_refused(
        &self,
        actor: &Actor,
        id: GroupId,
        reason: Option<Refusal>,
        page: &Page,
    ) -> AppResult<PageOf<RefusedIoc>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        read.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        let refused = read.refused_list(id, reason, page).await?;
        let ids: Vec<IocId> = refused.items.iter().map(|(ioc, _)| *ioc).collect();
        let mut iocs = read.ioc_fetch_many(&ids).await?;
        let guard = self.guard_of(actor).await?;
        let refused_ioc = |(id, refusal): (IocId, Refusal)| {
            let ioc = iocs.remove(&id)?.ioc;
            let lists = guard.lists().matches(ioc.kind, &ioc.value);
            Some(RefusedIoc { ioc, refusal, lists })
        };
        let items = refused.items.into_iter().filter_map(refused_ioc).collect();
        Ok(PageOf { items, next: refused.next })
    }
}
