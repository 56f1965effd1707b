//! How the tables keep up with the database: at the start, after a change of our own, and when
//! other replicas change something.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    device::Device,
    device_type::DeviceType,
    group::{Group, Truncation},
    id::{DeviceId, GroupId},
    time::MINUTE,
};
use iocast_store::{FileRef, GroupRow, Signal};

use super::{GroupFeed, Keys, bodies::cache_key, file};
use crate::{AppResult, Made, Serving};

/// Groups read together when other replicas published many.
const GROUPS_AT_ONCE: usize = 500;
/// After how long all groups are compared, in microseconds.
const COMPARED_EVERY: i64 = MINUTE;
/// Largest file that is read before it is served, in bytes: others take so long that devices would
/// wait for the news.
const BEFOREHAND: u64 = 16 << 20;

impl GroupFeed {
    fn of(
        row: &GroupRow,
        device_name: &str,
        device_type: &'static DeviceType,
        files: Vec<FileRef>,
    ) -> Self {
        let group = &row.group;
        Self {
            account_id: group.account_id.clone(),
            device_id: group.device_id,
            name: group.name.to_string(),
            device_name: device_name.to_owned(),
            device_type,
            created_at: group.created_at,
            publication: row.publication,
            serves: row.frozen.filter(|_| row.restored.is_none()).unwrap_or(row.publication),
            frozen: row.frozen,
            live: row.live,
            files: files
                .into_iter()
                .map(|f| file(group.id, device_type.format, f))
                .map(|(path, f)| (path, Arc::new(f)))
                .collect(),
        }
    }
}

impl Serving {
    /// Brings the key table up to date: with the keys that changed since, or with all.
    pub(crate) async fn sync_keys(&self) -> AppResult<()> {
        let _alone = self.feed.loading_keys.lock().await;
        let read = self.context.store.read();
        // The number first: what changes after it is read next time.
        let (known, version) =
            (self.feed.keys_version.load(Ordering::Relaxed), read.keys_version().await?);
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
        let read = self.context.store.read();
        let mut shares: Vec<Keys> =
            std::iter::repeat_with(Keys::new).take(self.feed.keys.len()).collect();
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

    /// Learns what other replicas published or changed, and repairs what a cancelled request left
    /// stale. The cost is that of what changed.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn follow(&self) -> AppResult<()> {
        self.sync_keys().await?;
        self.sync_groups().await?;
        self.feed_age(Duration::ZERO);
        Ok(())
    }

    async fn sync_groups(&self) -> AppResult<()> {
        let read = self.context.store.read();
        let now = self.context.clock.real_now().micros();
        // An earlier version beside this one publishes without saying so: now and then all are
        // compared.
        let compare = !self.context.store.is_bundled()
            && now - self.feed.compared_at.load(Ordering::Relaxed) > COMPARED_EVERY;
        // The number first: what changes after it is read next time.
        let (known, version) =
            (self.feed.feeds_version.load(Ordering::Relaxed), read.feeds_version().await?);
        if known == version && !compare {
            return Ok(());
        }
        match read.feed_changes(known, version).await? {
            Some(changed) if !compare => {
                let changed: Vec<GroupId> = changed.into_iter().collect();
                for some in changed.chunks(GROUPS_AT_ONCE) {
                    let rows = read.group_fetch_many(some).await?;
                    let there: HashSet<GroupId> = rows.iter().map(|row| row.group.id).collect();
                    let gone: Vec<GroupId> =
                        some.iter().copied().filter(|id| !there.contains(id)).collect();
                    self.feed_drop_groups(&gone);
                    self.feed_load_groups(&rows).await?;
                }
            }
            _ => {
                self.compare_groups().await?;
                self.feed.compared_at.store(now, Ordering::Relaxed);
            }
        }
        self.feed.feeds_version.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// Compares all groups with the database.
    async fn compare_groups(&self) -> AppResult<()> {
        let read = self.context.store.read();
        // What is known first: a group that is made while this is read is in none of both, and not
        // taken for deleted.
        let known: Vec<GroupId> = self
            .feed
            .groups
            .iter()
            .flat_map(|share| share.load().keys().copied().collect::<Vec<_>>())
            .collect();
        let numbers = read.publication_numbers().await?;
        let differs = |id: &GroupId, n: &(i64, Option<i64>)| {
            self.feed.group(*id).is_none_or(|g| (g.publication, g.frozen) != *n)
        };
        let behind: Vec<GroupId> =
            numbers.iter().filter(|(id, n)| differs(id, n)).map(|(id, _)| *id).collect();
        for some in behind.chunks(GROUPS_AT_ONCE) {
            self.feed_load_groups(&read.group_fetch_many(some).await?).await?;
        }
        let gone: Vec<GroupId> = known.into_iter().filter(|id| !numbers.contains_key(id)).collect();
        self.feed_drop_groups(&gone);
        Ok(())
    }

    /// Says how long ago the tables that devices are served from were last compared with the
    /// database.
    pub fn feed_age(&self, age: Duration) {
        self.memory_age
            .store(i64::try_from(age.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Waits until another replica says that it changed what devices get.
    pub async fn feed_changed(&self) {
        self.feed.changed.notified().await;
    }

    /// Hears what other replicas say, for as long as the database answers. On the bundled database
    /// there is none.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn feed_listen(&self) -> AppResult<()> {
        let Some(mut signals) = self.context.store.signals().await? else {
            return std::future::pending().await;
        };
        loop {
            match signals.next().await? {
                Some(Signal::Keys | Signal::Feed) => self.feed.changed.notify_one(),
                Some(Signal::Changes) => self.context.changed.notify_one(),
                // The line was cut: what was said since is looked up.
                None => {
                    self.feed.changed.notify_one();
                    self.context.changed.notify_one();
                }
            }
        }
    }

    /// Serves what a group last published.
    pub(crate) async fn feed_load_group(&self, row: &GroupRow) -> AppResult<()> {
        self.feed_load_groups(std::slice::from_ref(row)).await
    }

    /// Serves what some groups last published, unless that is served already.
    async fn feed_load_groups(&self, rows: &[GroupRow]) -> AppResult<()> {
        let read = self.context.store.read();
        let of: BTreeSet<DeviceId> = rows.iter().map(|row| row.group.device_id).collect();
        let of: Vec<DeviceId> = of.into_iter().collect();
        let devices: HashMap<DeviceId, Device> = read
            .device_fetch_some(&of)
            .await?
            .into_iter()
            .map(|device| (device.id, device))
            .collect();
        let rows: Vec<&GroupRow> = rows
            .iter()
            .filter(|row| {
                devices.get(&row.group.device_id).is_some_and(|device| !self.is_served(row, device))
            })
            .collect();
        let ids: Vec<GroupId> = rows.iter().map(|row| row.group.id).collect();
        let mut served = read.publication_served(&ids).await?;
        for row in rows {
            let Some(device) = devices.get(&row.group.device_id) else { continue };
            let (publication, files) = served.remove(&row.group.id).unwrap_or_default();
            let row = GroupRow { publication, ..row.clone() };
            self.feed_serve(
                row.group.id,
                GroupFeed::of(&row, device.name.as_str(), device.device_type, files),
            )
            .await?;
        }
        Ok(())
    }

    /// Serves a publication that was just made.
    pub(crate) async fn feed_serve_made(&self, made: Made) -> AppResult<()> {
        let Made { row, device_name, device_type, files } = made;
        if row.frozen.is_some() && row.restored.is_none() {
            return self.feed_load_group(&row).await;
        }
        self.feed_serve(row.group.id, GroupFeed::of(&row, &device_name, device_type, files)).await
    }

    /// Knows a group from now on: until its first publication its URL answers 503, not 404.
    pub(crate) async fn feed_serve_new(&self, group: &Group, device: &Device) -> AppResult<()> {
        let row = GroupRow {
            group: group.clone(),
            live: 0,
            cut: Truncation::default(),
            publication: 0,
            frozen: None,
            restored: None,
            held: None,
        };
        self.feed_serve(
            group.id,
            GroupFeed::of(&row, device.name.as_str(), device.device_type, Vec::new()),
        )
        .await
    }

    fn is_served(&self, row: &GroupRow, device: &Device) -> bool {
        let like = |feed: &GroupFeed| {
            (feed.publication, feed.frozen, feed.live) == (row.publication, row.frozen, row.live)
        };
        let called = |feed: &GroupFeed| {
            feed.name == row.group.name.as_str() && feed.device_name == device.name.as_str()
        };
        self.feed.group(row.group.id).is_some_and(|feed| like(&feed) && called(&feed))
    }

    async fn feed_serve(&self, id: GroupId, feed: GroupFeed) -> AppResult<()> {
        // What takes the place of something is in memory before it is served: the database may
        // leave at that moment, and what was served until then must not be lost with it.
        if !self.context.store.is_bundled() && self.feed.group(id).is_some() {
            for file in feed.files.values().filter(|file| {
                file.gzip_len() <= BEFOREHAND && self.feed.bodies.peek(&cache_key(file)).is_none()
            }) {
                if self.feed_gzip(file).await.is_err() {
                    // It was replaced just now, or the database left; only then all stays as it is.
                    self.context.store.ping().await?;
                    break;
                }
            }
        }
        self.feed.edit(id, |groups| {
            // Two that load at once may end in the wrong order.
            if groups.get(&id).is_none_or(|there| there.publication <= feed.publication) {
                let now = Arc::new(feed);
                // What it serves no more would only take up room.
                for old in
                    groups.insert(id, Arc::clone(&now)).iter().flat_map(|old| old.files.values())
                {
                    if !now.files.values().any(|file| file.etag == old.etag) {
                        old.forms()
                            .for_each(|form| drop(self.feed.bodies.remove(&cache_key(form))));
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
