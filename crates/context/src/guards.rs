//! The guards of accounts, ready to judge: made once for each version, as warninglists are long.

use std::sync::{Arc, PoisonError};

use iocast_domain::{
    account::Account,
    guard::Guard,
    id::AccountId,
    warninglist::{Builder, ListMatch, ListMode, Warninglist, Warninglists},
};
use tokio::sync::Mutex;

use crate::{AppError, AppResult, Context};

/// Bytes of memory of all guards that are kept.
const MEMORY: usize = 256 << 20;
/// Most guards that are kept.
const KEPT: usize = 1_000;
/// Bytes of guards without warninglists, roughly.
const SMALL: usize = 4_096;

/// Guards that were made, the latest used last.
#[derive(Debug, Default)]
pub(crate) struct GuardCache {
    made: std::sync::Mutex<Vec<Made>>,
    /// One is made at a time: two would take the memory twice.
    making: Mutex<()>,
}

#[derive(Debug)]
struct Made {
    account: AccountId,
    version: i64,
    guard: Arc<Guard>,
}

impl GuardCache {
    fn with<R>(&self, work: impl FnOnce(&mut Vec<Made>) -> R) -> R {
        work(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self, account: &Account) -> Option<Arc<Guard>> {
        self.with(|made| {
            let at = made.iter().position(|made| made.account == account.id)?;
            let found = made.remove(at);
            if found.version != account.guards_version {
                return None;
            }
            let guard = Arc::clone(&found.guard);
            made.push(found);
            Some(guard)
        })
    }

    /// Keeps one, in place of those that were used longest ago. It is kept however large it is.
    fn keep(&self, account: &Account, guard: Arc<Guard>) {
        self.with(|made| {
            made.retain(|made| made.account != account.id);
            made.push(Made { account: account.id.clone(), version: account.guards_version, guard });
            let mut left = MEMORY;
            let room = made.iter().rev().take_while(|made| {
                let has_room = left > 0;
                left = left.saturating_sub(SMALL + made.guard.lists().memory());
                has_room
            });
            let kept = room.count().min(KEPT);
            made.drain(..made.len() - kept);
        });
    }
}

impl Context {
    /// The guards of an account, with the warninglists that are on.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn guard(&self, account: &Account) -> AppResult<Arc<Guard>> {
        if let Some(guard) = self.guards.get(account) {
            return Ok(guard);
        }
        let making = self.guards.making.lock().await;
        if let Some(guard) = self.guards.get(account) {
            return Ok(guard);
        }
        let lists = Arc::new(self.warninglists_on(account).await?);
        let guard = Arc::new(Guard::of(&account.guards, lists));
        self.guards.keep(account, Arc::clone(&guard));
        drop(making);
        Ok(guard)
    }

    async fn warninglists_on(&self, account: &Account) -> AppResult<Warninglists> {
        let read = self.store.read();
        let lists = read.warninglist_list(&account.id).await?.into_iter();
        let mut lists: Vec<Warninglist> = lists.filter(|list| list.mode != ListMode::Off).collect();
        // What all share goes first to those that withhold.
        lists.sort_by_key(|list| list.mode != ListMode::Withhold);
        let mut builder = Builder::default();
        for list in lists {
            let (list_id, list_left_out) = (list.id, list.left_out.count);
            let body = read.warninglist_body(list.id).await?;
            let add = move || {
                let Warninglist { id, name, mode, attributes, matching, .. } = list;
                let body = String::from_utf8_lossy(&body);
                let left_out =
                    builder.add(ListMatch { id, name, mode }, &attributes, matching, body.lines());
                (builder, left_out.count)
            };
            let (known, id) = (list_left_out, list_id);
            let (built, left_out) = self.spawn_blocking(add).await.map_err(AppError::internal)?;
            builder = built;
            if left_out > known {
                tracing::warn!(account.id = %account.id, "Warninglist {id} of account {}: {} entries have no room beside the other lists", account.id, left_out - known);
            }
        }
        let finish = self.spawn_blocking(|| builder.finish());
        let (made, trouble) = finish.await.map_err(AppError::internal)?;
        if let Some(trouble) = trouble {
            tracing::warn!(account.id = %account.id, "Warninglists of account {}: {trouble}", account.id);
        }
        Ok(made)
    }
}
