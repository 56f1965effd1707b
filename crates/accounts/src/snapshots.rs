//! A group's publications: compared, frozen, rolled back to, held and let through; and what a group
//! keeps back.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    guard::{Guards, Refusal, shields},
    id::{GroupId, IocId},
    ioc::Ioc,
};
use iocast_store::{Page, PageOf};

use crate::{Accounts, Actor, AppError, AppResult, Fields};

/// An IOC that a group keeps back.
#[derive(Clone, Debug)]
pub struct RefusedIoc {
    /// The IOC.
    pub ioc: Ioc,
    /// Why.
    pub refusal: Refusal,
}

/// New guards of an account.
#[derive(Clone, Debug, Default)]
pub struct GuardsPatch {
    /// Those that are switched off, by their words.
    pub off: Option<Vec<String>>,
    /// The account's own domains and networks.
    pub own: Option<Vec<String>>,
    /// What else must never be blocked.
    pub allow: Option<Vec<String>>,
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
        let items = refused
            .items
            .into_iter()
            .filter_map(|(id, refusal)| {
                iocs.remove(&id).map(|row| RefusedIoc { ioc: row.ioc, refusal })
            })
            .collect();
        Ok(PageOf { items, next: refused.next })
    }

    /// The account's guards.
    ///
    /// # Errors
    /// If the account is gone.
    pub async fn guards(&self, actor: &Actor) -> AppResult<Guards> {
        Ok(self.account_fetch(actor).await?.guards)
    }

    /// Changes the account's guards; its groups are looked at again.
    ///
    /// # Errors
    /// If an entry is neither a domain nor an address or network, or a guard is unknown.
    pub async fn guards_update(&self, actor: &Actor, patch: GuardsPatch) -> AppResult<Guards> {
        actor.may_change(Module::Automation)?;
        let mut fields = Fields::default();
        let guard =
            |word: &String| word.parse::<Refusal>().ok().filter(|r| Refusal::GUARDS.contains(r));
        let unknown = |word: &String| {
            let all: Vec<_> = Refusal::GUARDS.iter().map(|g| g.word()).collect();
            iocast_domain::problem::FieldError::new(
                "off",
                "guard_unknown",
                format!(
                    "There is no guard `{}`; there are {}.",
                    iocast_domain::time::clip(word, 40),
                    all.join(", ")
                ),
            )
        };
        let off = patch.off.and_then(|words| {
            fields.take(
                words
                    .iter()
                    .map(|w| guard(w).ok_or_else(|| unknown(w)))
                    .collect::<Result<Vec<_>, _>>(),
            )
        });
        let mut list = |field: &str, entries: Option<Vec<String>>| {
            entries.and_then(|e| fields.take(shields(field, e.iter().map(String::as_str))))
        };
        let own = list("own", patch.own);
        let allow = list("allow", patch.allow);
        fields.done()?;
        let txn = self.context.store.write().await?;
        let before = txn
            .account_fetch(&actor.account_id)
            .await?
            .ok_or(AppError::NotFound("account"))?
            .guards;
        let mut after = before.clone();
        if let Some(off) = off {
            after.off = off;
            after.off.sort_unstable();
            after.off.dedup();
        }
        after.own = own.unwrap_or(after.own);
        after.allow = allow.unwrap_or(after.allow);
        if after != before {
            txn.account_set_guards(&actor.account_id, &after).await?;
            txn.group_reconfigure_account(&actor.account_id).await?;
            self.context
                .audit(
                    &txn,
                    actor,
                    "guards.update",
                    &actor.account_id,
                    &serde_json::json!({ "before": before, "after": after }),
                )
                .await?;
            txn.commit().await?;
            self.context.changed.notify_one();
        }
        Ok(after)
    }
}
