//! What waits to be published, and who is at it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use iocast_domain::{
    id::{AccountId, GroupId, IocId},
    time::Timestamp,
};
use iocast_store::{IocRow, Reader};
use prometheus_client::metrics::histogram::Histogram;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{LANES, LARGE, PAGES, PageKey, TOGETHER};
use crate::{AppError, AppResult, job::PAGE};

/// The bounds of the histogram of publications, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

pub(crate) struct PublishScheduler {
    /// One lock a group, so that this process never publishes a group twice at once.
    locks: Mutex<HashMap<GroupId, Arc<tokio::sync::Mutex<()>>>>,
    /// Claims that could not be given back, because the database was away.
    left: Mutex<HashMap<GroupId, Vec<Uuid>>>,
    /// Since when groups have been seen waiting, in real time.
    waiting: Mutex<HashMap<GroupId, Timestamp>>,
    /// What publications took since the start.
    pub(crate) durations: Histogram,
    /// Groups that lanes are done with since the start, and how many of them were seen.
    pub(super) finished: AtomicU64,
    seen_finished: AtomicU64,
    /// One permit a lane.
    pub(super) lanes: Arc<Semaphore>,
    /// Groups that take long wait here, each once.
    queued: Arc<Mutex<HashSet<GroupId>>>,
    /// One permit for each that is published at once.
    pub(super) large: Semaphore,
    /// What changed, for all groups that have to look at it.
    pub(super) pages: Cache<PageKey, Arc<Vec<IocRow>>>,
}

/// A group that waits for its turn.
pub(super) struct QueuedGroup {
    id: GroupId,
    queued: Arc<Mutex<HashSet<GroupId>>>,
}

impl QueuedGroup {
    pub(super) const fn id(&self) -> GroupId {
        self.id
    }
}

impl Drop for QueuedGroup {
    fn drop(&mut self) {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Default for PublishScheduler {
    fn default() -> Self {
        Self {
            locks: Mutex::default(),
            left: Mutex::default(),
            waiting: Mutex::default(),
            durations: Histogram::new(SECONDS),
            finished: AtomicU64::default(),
            seen_finished: AtomicU64::default(),
            lanes: Arc::new(Semaphore::new(LANES)),
            queued: Arc::default(),
            large: Semaphore::new(LARGE),
            pages: Cache::new(PAGES),
        }
    }
}

impl PublishScheduler {
    pub(super) fn waits(&self, groups: &[(AccountId, GroupId)], now: Timestamp) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting =
            groups.iter().map(|(_, id)| (*id, waiting.get(id).copied().unwrap_or(now))).collect();
    }

    pub(super) fn published(&self, id: GroupId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Microseconds that the group which waits longest has been seen waiting.
    pub(crate) fn lag(&self, now: Timestamp) -> i64 {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|since| now.since(*since))
            .max()
            .unwrap_or(0)
    }

    /// Groups that were seen waiting.
    pub(crate) fn waiting_count(&self) -> u64 {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// A page of what changed between two numbers. Very many groups look at the same changes one
    /// after the other: they are read once. A page that was read a moment ago is as good as one
    /// read now: what changed since has a greater number.
    pub(crate) async fn changed(
        &self,
        read: &Reader,
        account: &AccountId,
        (from, to): (i64, i64),
        after: Option<(i64, IocId)>,
    ) -> AppResult<Arc<Vec<IocRow>>> {
        let key = (account.clone(), (from, to), after);
        let page =
            async { read.ioc_changed(account, from, to, after, PAGE as u64).await.map(Arc::new) };
        Ok(self.pages.get_or_insert_async(&key, page).await?)
    }

    pub(super) fn left(&self, id: GroupId) -> Vec<Uuid> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
            .unwrap_or_default()
    }

    /// Whether publishing goes on, as seen since this was last asked: something was finished, or
    /// there is nothing to do.
    pub(super) fn moves(&self) -> bool {
        let finished = self.finished.load(Ordering::Relaxed);
        self.seen_finished.swap(finished, Ordering::Relaxed) != finished
            || (self.lanes.available_permits() == LANES && self.large.available_permits() == LARGE)
    }

    /// Has groups wait for their turn; those that wait already are left out.
    pub(super) fn queue(&self, groups: Vec<GroupId>) -> Vec<QueuedGroup> {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        groups
            .into_iter()
            .filter(|id| queued.insert(*id))
            .map(|id| QueuedGroup { id, queued: Arc::clone(&self.queued) })
            .collect()
    }

    /// Leaves out groups that wait for their turn: they are published as they are then.
    pub(super) fn without_queued(&self, groups: &mut Vec<(AccountId, GroupId)>) {
        let queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|(_, id)| !queued.contains(id));
    }

    pub(super) fn leave(&self, id: GroupId, claim: Option<Uuid>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match claim {
            // Which of them holds the group is not known where a commit failed.
            Some(claim) => left.entry(id).or_default().push(claim),
            None => drop(left.remove(&id)),
        }
    }

    pub(super) fn of(&self, id: GroupId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default())
    }
}

/// Groups of one account at a time, some together; accounts take turns, so that one with very many
/// groups does not hold back the others.
pub(super) fn turns(due: Vec<(AccountId, GroupId)>) -> Vec<(AccountId, Vec<GroupId>)> {
    let mut of_account: HashMap<AccountId, usize> = HashMap::new();
    let mut turns: Vec<(usize, AccountId, Vec<GroupId>)> = Vec::new();
    for (account, group) in due {
        match turns.last_mut() {
            Some((_, of, groups)) if *of == account && groups.len() < TOGETHER => {
                groups.push(group);
            }
            _ => {
                let turn = of_account.entry(account.clone()).or_default();
                turns.push((*turn, account, vec![group]));
                *turn += 1;
            }
        }
    }
    turns.sort_by_key(|(turn, ..)| *turn);
    turns.into_iter().map(|(_, account, groups)| (account, groups)).collect()
}

/// Says that a group could not be published.
pub(super) fn not_published(id: GroupId, error: &AppError) {
    tracing::error!(group.id = %id, error = error as &dyn std::error::Error, "Group {id} could not be published; it is tried again");
}
