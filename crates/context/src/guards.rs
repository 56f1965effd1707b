//! The guards of accounts, ready to judge: made once for each version, as warninglists are long.

use std::sync::Arc;

use iocast_domain::{
    account::Account,
    guard::Guard,
    id::AccountId,
    warninglist::{Builder, ListMatch, ListMode, Warninglist, Warninglists},
};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::Mutex;

use crate::{AppError, AppResult, Context};

/// Bytes of memory of all guards that are kept.
const MEMORY: u64 = 256 << 20;
/// Guards that the cache is laid out for.
const KEPT: usize = 64;
/// Bytes of guards without warninglists, roughly.
const SMALL: u64 = 4_096;

type Made = (i64, Arc<Guard>);

#[derive(Clone, Debug)]
struct ByMemory;

impl Weighter<AccountId, Made> for ByMemory {
    fn weight(&self, _: &AccountId, (_, guard): &Made) -> u64 {
        SMALL + guard.lists().memory() as u64
    }
}

/// Guards that were made.
#[derive(Debug)]
pub(crate) struct GuardCache {
    made: Cache<AccountId, Made, ByMemory>,
    /// One is made at a time: two would take the memory twice.
    making: Mutex<()>,
}

impl Default for GuardCache {
    fn default() -> Self {
        Self { made: Cache::with_weighter(KEPT, MEMORY, ByMemory), making: Mutex::default() }
    }
}

impl Context {
    /// The guards of an account, with the warninglists that are on.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn guard(&self, account: &Account) -> AppResult<Arc<Guard>> {
        let kept = || {
            let (version, guard) = self.guards.made.get(&account.id)?;
            (version == account.guards_version).then_some(guard)
        };
        if let Some(guard) = kept() {
            return Ok(guard);
        }
        let making = self.guards.making.lock().await;
        if let Some(guard) = kept() {
            return Ok(guard);
        }
        let lists = Arc::new(self.warninglists_on(account).await?);
        let guard = Arc::new(Guard::of(&account.guards, lists));
        self.guards.made.insert(account.id.clone(), (account.guards_version, Arc::clone(&guard)));
        drop(making);
        Ok(guard)
    }

    async fn warninglists_on(&self, account: &Account) -> AppResult<Warninglists> {
        let read = self.store.read();
        let lists = read.warninglist_list(&account.id).await?.into_iter();
        let lists: Vec<Warninglist> = lists.filter(|list| list.mode != ListMode::Off).collect();
        let mut builder = Builder::default();
        for list in lists {
            let body = read.warninglist_body(list.id).await?;
            let add = move || {
                let Warninglist { id, name, mode, attributes, matching, .. } = list;
                let body = String::from_utf8_lossy(&body);
                builder.add(ListMatch { id, name, mode }, &attributes, matching, body.lines());
                builder
            };
            builder = self.spawn_blocking(add).await.map_err(AppError::internal)?;
        }
        let finish = self.spawn_blocking(|| builder.finish());
        let (made, trouble) = finish.await.map_err(AppError::internal)?;
        if let Some(trouble) = trouble {
            tracing::warn!(account.id = %account.id, "Warninglists of account {}: {trouble}", account.id);
        }
        Ok(made)
    }
}
