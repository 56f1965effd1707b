//! How the tables keep up with the database: at the start, after a change of our own, and when other replicas change something.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    device::Device,
    id::{DeviceId, GroupId},
};
use iocast_store::{GroupRow, Signal};

use super::{GroupFeed, Keys, bodies::cache_key, file};
use crate::{App, AppResult};

/// Groups read together when other replicas published many.
const GROUPS_AT_ONCE: usize = 500;
/// Largest file that is read before it is served, in bytes: others take so long that devices would wait for the news.
const BEFOREHAND: u64 = 16 << 20;

impl App {
    /// Brings the key table up to date: with the keys that changed since, or with all.
    pub(crate) async fn feed_follow_keys(&self) -> AppResult<()> {
        let _alone = self.feed.loading_keys.lock().await;
        let read = self.store.read();
        // The number first: what changes after it is read next time.
        let (known, version) = (self.feed.keys_version.load(Ordering::Relaxed), read.keys_version().await?);
        if known == version {
            return Ok(());
        }
        match read.key_changes(known, version).await? {
            Some(changed) => {
                for (hash, key) in changed {
                    let share = self.feed.keys_like(&hash);
                    let mut keys = Keys::clone(&share.load());
                    match key {
                        Some(key) => keys.insert(hash, Arc::new(key)),
                        None => keys.remove(&hash),
                    };
                    share.store(Arc::new(keys));
                }
            }
            None => self.feed_load_keys().await?,
        }
        self.feed.keys_version.store(version, Ordering::Relaxed);
        Ok(())
    }

    async fn feed_load_keys(&self) -> AppResult<()> {
        let read = self.store.read();
        let mut shares: Vec<Keys> = std::iter::repeat_with(Keys::new).take(self.feed.keys.len()).collect();
        let mut some = read.key_some(None).await?;
        while let Some(last) = some.last().map(|key| key.id) {
            for key in some {
                let [first, ..] = key.hash;
                if let Some(share) = shares.get_mut(usize::from(first)) {
                    share.insert(key.hash, Arc::new(key));
                }
            }
            some = read.key_some(Some(last)).await?;
        }
        for (share, new) in self.feed.keys.iter().zip(shares) {
            share.store(Arc::new(new));
        }
        Ok(())
    }

    /// Learns what other replicas published or changed, and mends what a cancelled request left stale. The cost is one
    /// short query and the numbers of all publications, whatever there is.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn feed_follow(&self) -> AppResult<()> {
        self.clock_follow().await?;
        let read = self.store.read();
        self.feed_follow_keys().await?;
        // What is known first: a group that is made meanwhile is in none of both, and not taken for deleted.
        let known: Vec<GroupId> = self.feed.groups.iter().flat_map(|share| share.load().keys().copied().collect::<Vec<_>>()).collect();
        let numbers = read.publication_numbers().await?;
        let differs = |id: &GroupId, n: &(i64, Option<i64>)| self.feed.group(*id).is_none_or(|g| (g.publication, g.frozen) != *n);
        let behind: Vec<GroupId> = numbers.iter().filter(|(id, n)| differs(id, n)).map(|(id, _)| *id).collect();
        for some in behind.chunks(GROUPS_AT_ONCE) {
            self.feed_load_groups(&read.group_fetch_many(some).await?).await?;
        }
        let gone: Vec<GroupId> = known.into_iter().filter(|id| !numbers.contains_key(id)).collect();
        if !gone.is_empty() {
            self.feed_drop_groups(&gone);
        }
        self.feed_age(Duration::ZERO);
        Ok(())
    }

    /// Says how long ago the tables that devices are served from were last compared with the database.
    pub fn feed_age(&self, age: Duration) {
        self.memory_age.store(i64::try_from(age.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Waits until another replica says that it changed what devices get.
    pub async fn feed_changed(&self) {
        self.feed.changed.notified().await;
    }

    /// Hears what other replicas say, for as long as the database answers. On the bundled database there is none.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn feed_listen(&self) -> AppResult<()> {
        let Some(mut signals) = self.store.signals().await? else { return std::future::pending().await };
        loop {
            match signals.next().await? {
                Some(Signal::Keys | Signal::Feed) => self.feed.changed.notify_one(),
                Some(Signal::Changes) => self.changed.notify_one(),
                // The line was cut: whatever was said meanwhile is looked up.
                None => {
                    self.feed.changed.notify_one();
                    self.changed.notify_one();
                }
            }
        }
    }

    /// Serves what a group last published.
    pub(crate) async fn feed_load_group(&self, row: &GroupRow) -> AppResult<()> {
        self.feed_load_groups(std::slice::from_ref(row)).await
    }

    /// Serves what some groups last published.
    async fn feed_load_groups(&self, rows: &[GroupRow]) -> AppResult<()> {
        let read = self.store.read();
        let (ids, of): (Vec<GroupId>, Vec<DeviceId>) = rows.iter().map(|row| (row.group.id, row.group.device_id)).unzip();
        let devices: HashMap<DeviceId, Device> = read.device_fetch_some(&of).await?.into_iter().map(|device| (device.id, device)).collect();
        let mut served = read.publication_served(&ids).await?;
        for row in rows {
            let group = &row.group;
            let Some(device) = devices.get(&group.device_id) else { continue };
            let (publication, files) = served.remove(&group.id).unwrap_or_default();
            let feed = GroupFeed {
                account_id: group.account_id.clone(),
                device_id: group.device_id,
                name: group.name.to_string(),
                device_name: device.name.to_string(),
                device_type: device.device_type,
                created_at: group.created_at,
                publication,
                frozen: row.frozen,
                live: row.live,
                files: files.into_iter().map(|f| file(group.id, device.device_type.format, f)).map(|(path, f)| (path, Arc::new(f))).collect(),
            };
            self.feed_serve(group.id, feed).await?;
        }
        Ok(())
    }

    async fn feed_serve(&self, id: GroupId, feed: GroupFeed) -> AppResult<()> {
        // What takes the place of something is in memory before it is served: the database may leave at that moment, and what
        // was served until then must not be lost with it.
        if !self.store.is_bundled() && self.feed.group(id).is_some() {
            for file in feed.files.values().filter(|file| file.gzip_len() <= BEFOREHAND && self.feed.bodies.peek(&cache_key(file)).is_none()) {
                if self.feed_gzip(file).await.is_err() {
                    // It was replaced just now, or the database left; only then all stays as it is.
                    self.store.ping().await?;
                    break;
                }
            }
        }
        self.feed.edit(id, |groups| {
            // Two that load at once may end in the wrong order.
            if groups.get(&id).is_none_or(|there| there.publication <= feed.publication) {
                let now = Arc::new(feed);
                // What it serves no more would only take up room.
                for old in groups.insert(id, Arc::clone(&now)).iter().flat_map(|old| old.files.values()) {
                    if !now.files.values().any(|file| file.etag == old.etag) {
                        self.feed.bodies.remove(&cache_key(old));
                    }
                }
            }
        });
        self.feed.keep(id);
        Ok(())
    }

    /// Serves a group no more.
    pub(crate) fn feed_drop_groups(&self, ids: &[GroupId]) {
        for id in ids {
            self.feed.edit(*id, |groups| drop(groups.remove(id)));
        }
    }
}
