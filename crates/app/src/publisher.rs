//! Who publishes when: one publisher a group at a time, poked by changes and looked after by a tick.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use iocast_domain::{
    id::{AccountId, GroupId},
    time::{MINUTE, Timestamp},
};

use crate::{App, AppError, AppResult, publishing::Work};

/// How long a claim is held at most, in microseconds of real time: a publisher that died holds a group no longer.
const CLAIM: i64 = 5 * MINUTE;
/// How long the creator of a group waits for its first publication.
const FIRST_PUBLICATION: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Desk {
    /// One lock a group, so that this process never publishes a group twice at once.
    locks: Mutex<HashMap<GroupId, Arc<tokio::sync::Mutex<()>>>>,
    /// Since when groups have been seen waiting, in real time.
    waiting: Mutex<HashMap<GroupId, Timestamp>>,
    /// Publications made since the start.
    made: AtomicU64,
    /// What they took together, in microseconds.
    took: AtomicI64,
}

/// What the publisher did since the start.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Publications.
    pub made: u64,
    /// What they took together, in microseconds.
    pub took: i64,
}

impl Desk {
    fn waits(&self, groups: &[(AccountId, GroupId)], now: Timestamp) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = groups.iter().map(|(_, id)| (*id, waiting.get(id).copied().unwrap_or(now))).collect();
    }

    fn published(&self, id: GroupId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Microseconds that the group which waits longest has been seen waiting.
    pub(crate) fn lag(&self, now: Timestamp) -> i64 {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().map(|since| now.since(*since)).max().unwrap_or(0)
    }

    pub(crate) fn so_far(&self) -> Published {
        Published { made: self.made.load(Ordering::Relaxed), took: self.took.load(Ordering::Relaxed) }
    }

    fn of(&self, id: GroupId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }
}

impl App {
    /// Takes back the claims of a process that was killed. On PostgreSQL they run out by themselves: another replica may
    /// hold one.
    pub(crate) async fn release_claims(&self) -> AppResult<()> {
        if self.store.is_bundled() {
            let txn = self.store.write().await?;
            txn.publish_release_all().await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Waits until something changed that may have to be published.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Publishes every group with something to publish. Gives how many publications were made. A group that fails
    /// is logged and tried again at the next tick; it does not hold back the others. With `wait`, groups that are being
    /// published just now are waited for, and looked at again.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn publish_due(self: &Arc<Self>, wait: bool) -> AppResult<u64> {
        let mut made = 0;
        let due = self.store.read().publish_due(self.now()).await?;
        self.publisher.waits(&due, self.clock.real_now());
        for (account, group) in due {
            if self.is_closing() {
                break;
            }
            match self.publish_group(&account, group, wait).await {
                Ok(true) => {
                    made += 1;
                    self.publisher.published(group);
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(group.id = %group, error = &error as &dyn std::error::Error, "Group {group} could not be published; it is tried again");
                }
            }
        }
        Ok(made)
    }

    /// Publishes one group and waits until its present state stands, whoever publishes it.
    pub(crate) async fn publish_now(self: &Arc<Self>, account: &AccountId, id: GroupId) -> AppResult<()> {
        let wait = async {
            loop {
                // On a task of its own: a caller that gives up must not leave the work half done and the group claimed.
                let (app, account) = (Arc::clone(self), account.clone());
                tokio::spawn(async move { app.publish_group(&account, id, true).await }).await.map_err(AppError::internal)??;
                match self.store.read().publish_state(id).await? {
                    // What is held waits for an admin, not for us.
                    Some(state) if state.held.is_some() && !state.let_through => return Ok(()),
                    Some(state) if state.publication == 0 || state.applied_config < state.config_version => tokio::time::sleep(Duration::from_millis(50)).await,
                    _ => return Ok(()),
                }
            }
        };
        let late = || AppError::Unavailable("The IOC group was saved, but is still being built; its URL answers 503 until it is whole.".to_owned());
        tokio::time::timeout(FIRST_PUBLICATION, wait).await.map_err(|_elapsed| late())?
    }

    /// Publishes one group if this process gets hold of it. Gives whether a publication was made.
    /// With `wait` it waits for somebody in this process who publishes it just now.
    async fn publish_group(self: &Arc<Self>, account: &AccountId, id: GroupId, wait: bool) -> AppResult<bool> {
        let lock = self.publisher.of(id);
        let Some(_alone) = (if wait { Some(lock.lock().await) } else { lock.try_lock().ok() }) else { return Ok(false) };
        let token = self.entropy.uuid();
        let now = self.clock.real_now();
        let txn = self.store.write().await?;
        if !txn.publish_claim(id, token, now, now.plus(CLAIM)).await? {
            return Ok(false);
        }
        txn.commit().await?;
        let result = self.publish_claimed(account, id, token).await;
        if !matches!(result, Ok(true)) {
            let txn = self.store.write().await?;
            txn.publish_release(id, token).await?;
            txn.commit().await?;
        }
        result
    }

    async fn publish_claimed(self: &Arc<Self>, account: &AccountId, id: GroupId, token: uuid::Uuid) -> AppResult<bool> {
        let Some(work) = Work::begin(self, account, id, token).await? else { return Ok(false) };
        let begun = self.clock.real_now();
        let published = work.run().await?;
        if published {
            self.publisher.made.fetch_add(1, Ordering::Relaxed);
            self.publisher.took.fetch_add(self.clock.real_now().since(begun).max(0), Ordering::Relaxed);
        }
        if published && let Some(row) = self.store.read().group_fetch(account, id).await? {
            self.feed_load_group(&row).await?;
            tracing::info!(group.id = %id, group.publication = row.publication, group.live = row.live, "Group {id} published {} IOCs as number {}", row.live, row.publication);
        }
        Ok(published)
    }
}
