//! Who publishes when: one publisher a group at a time, poked by changes and looked after by a
//! tick. Several groups are published at once, so that one that takes long does not hold back the
//! others.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    id::{AccountId, GroupId, IocId},
    time::{MINUTE, SECOND},
};
use uuid::Uuid;

use crate::{
    AppError, AppResult, Made, Publishing,
    job::{PublicationJob, Ready},
};

mod scheduler;
pub(crate) use self::scheduler::PublishScheduler;
use self::scheduler::{QueuedGroup, not_published, turns};

/// How long a claim is held at most, in microseconds of real time: a publisher that died holds a
/// group no longer. One that is slow and loses it writes nothing.
const CLAIM: i64 = 30 * SECOND;
/// How long writing a publication may take.
const WRITING: i64 = 5 * MINUTE;
/// How often a claim is renewed while its publication is being made.
const RENEWED_EVERY: Duration = Duration::from_secs(8);
/// How long the creator of a group waits for its first publication.
const FIRST_PUBLICATION: Duration = Duration::from_secs(60);
/// Batches of groups published at once by the tick, and beside them groups that take long.
const LANES: usize = 2;
const LARGE: usize = 2;
/// Groups of one account that are published together, at most.
const TOGETHER: usize = 32;
/// Pages of changes that are kept for the groups which look at them next.
const PAGES: usize = 8;

/// Of an account: the numbers between which IOCs changed, and where the page begins.
type PageKey = (AccountId, (i64, i64), Option<(i64, IocId)>);

impl Publishing {
    /// Waits until something changed that may have to be published.
    pub async fn changed(&self) {
        self.context.changed.notified().await;
    }

    /// Begins to publish every group with something to publish, a few at a time, and comes back
    /// when all are begun: what takes long goes on behind it, and the next changes of other groups
    /// do not wait for it. A group that fails is logged and tried again at the next tick.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn publish_due(self: &Arc<Self>) -> AppResult<()> {
        let mut due = self.context.store.read().publish_due(self.context.now()).await?;
        self.scheduler.waits(&due, self.context.clock.real_now());
        self.scheduler.without_queued(&mut due);
        for (account, groups) in turns(due) {
            let Ok(lane) = Arc::clone(&self.scheduler.lanes).acquire_owned().await else { break };
            if self.context.is_closing() {
                break;
            }
            // A round over very many groups takes as long as it takes; each that is begun is a sign
            // of life.
            self.context.task_alive("publish");
            let service = Arc::clone(self);
            tokio::spawn(async move {
                let (published, others) = service.publish_some(&account, groups).await;
                let queued = service.scheduler.queue(others);
                service.finished(published);
                // What takes long is in no lane: small publications, such as those of a
                // withdrawal, do not wait behind it.
                drop(lane);
                service.publish_large(&account, queued).await;
            });
        }
        self.scheduler.pages.clear();
        Ok(())
    }

    /// Publishes every group with something to publish, and waits until each is done, in whichever
    /// process. Gives how many publications were made.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn publish_all(self: &Arc<Self>) -> AppResult<u64> {
        let mut made = 0;
        for (account, group) in self.context.store.read().publish_due(self.context.now()).await? {
            if self.context.is_closing() {
                break;
            }
            made += u64::from(self.publish_and_tell(&account, group, true).await);
        }
        self.scheduler.pages.clear();
        Ok(made)
    }

    /// Whether publishing goes on: false where lanes are busy and none has finished anything since
    /// this was last asked.
    #[must_use]
    pub fn publisher_moves(&self) -> bool {
        self.scheduler.moves()
    }

    /// Waits until no group is being published by the tick.
    pub async fn publisher_rests(&self) {
        // They are never closed.
        let _all = self.scheduler.lanes.acquire_many(LANES as u32).await;
        let _large = self.scheduler.large.acquire_many(LARGE as u32).await;
    }

    async fn publish_and_tell(
        self: &Arc<Self>,
        account: &AccountId,
        group: GroupId,
        wait: bool,
    ) -> bool {
        match self.publish_group(account, group, wait).await {
            Ok(published) => {
                if published {
                    self.scheduler.published(group);
                }
                published
            }
            Err(error) => {
                not_published(group, &error);
                false
            }
        }
    }

    /// Publishes one group and waits until its present state stands, in whichever process.
    ///
    /// # Errors
    /// If it can't be made, or not in time.
    pub async fn publish_now(self: &Arc<Self>, account: &AccountId, id: GroupId) -> AppResult<()> {
        let wait = async {
            loop {
                // On a task of its own: a caller that gives up must not leave the work half done
                // and the group claimed; and not on a thread that answers requests.
                let (service, account) = (Arc::clone(self), account.clone());
                if self
                    .context
                    .in_background(async move { service.publish_group(&account, id, true).await })
                    .await
                    .map_err(AppError::internal)??
                {
                    return Ok(());
                }
                match self.context.store.read().publish_state(id).await? {
                    // What is held waits for an admin, not for us.
                    Some(state) if state.held.is_some() && !state.let_through => return Ok(()),
                    Some(state)
                        if state.publication == 0
                            || state.applied_config < state.config_version =>
                    {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    _ => return Ok(()),
                }
            }
        };
        let late = || {
            AppError::Unavailable("The IOC group was saved, but is still being built; its URL answers 503 until the first publication is ready.".to_owned())
        };
        tokio::time::timeout(FIRST_PUBLICATION, wait).await.map_err(|_elapsed| late())?
    }

    /// Publishes those of some groups of an account that are small, together. Groups that somebody
    /// is at are left to them. Gives whether a publication was made, and which groups are left.
    async fn publish_some(
        self: &Arc<Self>,
        account: &AccountId,
        groups: Vec<GroupId>,
    ) -> (bool, Vec<GroupId>) {
        match self.publish_small(account, &groups).await {
            Ok(done) => (done.published, done.others),
            // One of them may be what fails: each is tried by itself.
            Err(error) => {
                tracing::warn!(account.id = %account, error = &error as &dyn std::error::Error, "{} groups could not be published together; they are published one by one", groups.len());
                let mut published = false;
                for group in groups {
                    published |= self.publish_and_tell(account, group, false).await;
                }
                (published, Vec::new())
            }
        }
    }

    /// Publishes groups one by one.
    async fn publish_large(self: &Arc<Self>, account: &AccountId, groups: Vec<QueuedGroup>) {
        for group in groups {
            let Ok(_one) = self.scheduler.large.acquire().await else { break };
            if self.context.is_closing() {
                break;
            }
            let published = self.publish_and_tell(account, group.id(), false).await;
            drop(group);
            self.finished(published);
        }
    }

    fn finished(&self, published: bool) {
        if published {
            // Something may have changed while it was made.
            self.context.changed.notify_one();
        }
        self.scheduler.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes the small ones among some groups together.
    async fn publish_small(
        self: &Arc<Self>,
        account: &AccountId,
        groups: &[GroupId],
    ) -> AppResult<Together> {
        let alone: Vec<_> = groups
            .iter()
            .filter_map(|id| Some((*id, self.scheduler.of(*id).try_lock_owned().ok()?)))
            .collect();
        let ids: Vec<GroupId> = alone.iter().map(|(id, _)| *id).collect();
        if self.context.store.is_bundled() {
            return self.publish_together(account, &ids, None).await;
        }
        let token = self.context.entropy.uuid();
        let claimed = self.claim(&ids, token).await?;
        // They are small: the claim is not renewed, and lasts for many times what they take.
        let result = self.publish_together(account, &claimed, Some(token)).await;
        self.release(&claimed, token).await?;
        result
    }

    async fn publish_together(
        self: &Arc<Self>,
        account: &AccountId,
        ids: &[GroupId],
        claim: Option<Uuid>,
    ) -> AppResult<Together> {
        let begun = self.context.clock.real_now();
        let (mut done, mut ready) = (Together::default(), Vec::new());
        for work in PublicationJob::begin(self, account, ids, claim).await? {
            let id = work.id();
            if !work.is_small() {
                done.others.push(id);
                continue;
            }
            match work.prepare().await {
                Ok(made) => ready.extend(made),
                Err(error) => not_published(id, &error),
            }
        }
        let made = Ready::write(self, ready).await?;
        let each = self.context.clock.real_now().since(begun).max(0)
            / i64::try_from(made.len().max(1)).unwrap_or(1);
        for made in made {
            done.published = true;
            self.scheduler.published(made.row.group.id);
            self.serve(made, each).await?;
        }
        Ok(done)
    }

    /// Serves a publication that was made.
    async fn serve(&self, made: Made, took: i64) -> AppResult<()> {
        self.scheduler.durations.observe(took as f64 / SECOND as f64);
        let (id, live, publication) = (made.row.group.id, made.row.live, made.row.publication);
        self.tables.serve(made).await?;
        tracing::info!(group.id = %id, group.publication = publication, group.live = live, "Group {id} published {live} IOCs as number {publication}");
        Ok(())
    }

    /// Claims groups, so that no other process publishes them. Gives those that it got.
    async fn claim(&self, ids: &[GroupId], token: Uuid) -> AppResult<Vec<GroupId>> {
        let now = self.context.store.shared_now(self.context.clock.real_now()).await?;
        let txn = self.context.store.write().await?;
        let mut claimed = Vec::with_capacity(ids.len());
        for id in ids {
            if txn.publish_claim(*id, token, self.scheduler.left(*id), now, now.plus(CLAIM)).await?
            {
                // Until it is known to be given back: the database may go away at any moment, and
                // hold the group for a claim of nobody.
                self.scheduler.leave(*id, Some(token));
                claimed.push(*id);
            }
        }
        txn.commit().await?;
        Ok(claimed)
    }

    /// Gives claims back; a publication that was written gave its own back already.
    async fn release(&self, ids: &[GroupId], token: Uuid) -> AppResult<()> {
        let txn = self.context.store.write().await?;
        for id in ids {
            txn.publish_release(*id, token).await?;
        }
        txn.commit().await?;
        for id in ids {
            self.scheduler.leave(*id, None);
        }
        Ok(())
    }

    /// Publishes one group if this process gets hold of it. Gives whether a publication was made.
    /// With `wait` it waits for somebody in this process who publishes it just now.
    async fn publish_group(
        self: &Arc<Self>,
        account: &AccountId,
        id: GroupId,
        wait: bool,
    ) -> AppResult<bool> {
        let lock = self.scheduler.of(id);
        let Some(_alone) = (if wait { Some(lock.lock().await) } else { lock.try_lock().ok() })
        else {
            return Ok(false);
        };
        // Nobody else publishes on the bundled database: the lock is enough.
        if self.context.store.is_bundled() {
            return self.publish_claimed(account, id, None).await;
        }
        let token = self.context.entropy.uuid();
        if self.claim(&[id], token).await?.is_empty() {
            return Ok(false);
        }
        let result = self.publish_claimed(account, id, Some(token)).await;
        if matches!(result, Ok(true)) {
            self.scheduler.leave(id, None);
        } else {
            self.release(&[id], token).await?;
        }
        result
    }

    /// Holds a claim for a while from now on. False if another process holds the group.
    async fn extend_claim(&self, id: GroupId, token: Uuid, span: i64) -> AppResult<bool> {
        let until = self.context.store.shared_now(self.context.clock.real_now()).await?.plus(span);
        let txn = self.context.store.write().await?;
        let held = txn.publish_renew(id, token, until).await?;
        txn.commit().await?;
        Ok(held)
    }

    /// Holds a claim for as long as the work takes. Returns once another process holds it.
    async fn renew_claim(&self, id: GroupId, token: Uuid) -> AppResult<()> {
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            match self.extend_claim(id, token, CLAIM).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // The claim lasts for several renewals; the work itself will say what is wrong.
                Err(error) => {
                    tracing::warn!(group.id = %id, error = &error as &dyn std::error::Error, "The claim of group {id} could not be renewed; it is tried again");
                }
            }
        }
    }

    async fn publish_claimed(
        self: &Arc<Self>,
        account: &AccountId,
        id: GroupId,
        claim: Option<Uuid>,
    ) -> AppResult<bool> {
        let Some(work) = PublicationJob::begin(self, account, &[id], claim).await?.pop() else {
            return Ok(false);
        };
        let begun = self.context.clock.real_now();
        let renewed = async {
            match claim {
                Some(token) => self.renew_claim(id, token).await,
                None => std::future::pending().await,
            }
        };
        let ready = tokio::select! {
            ready = work.prepare() => ready?,
            lost = renewed => return lost.map(|()| false),
        };
        // While it is written the group's row is locked, and no renewal gets through.
        if let Some(token) = claim
            && !self.extend_claim(id, token, WRITING).await?
        {
            return Ok(false);
        }
        let made = Ready::write(self, ready.into_iter().collect()).await?.pop();
        let Some(made) = made else { return Ok(false) };
        self.serve(made, self.context.clock.real_now().since(begun).max(0)).await?;
        Ok(true)
    }
}

/// What came of publishing some groups together.
#[derive(Default)]
struct Together {
    /// A publication was made.
    published: bool,
    /// Groups that are to be published by themselves.
    others: Vec<GroupId>,
}
