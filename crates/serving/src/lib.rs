//! What devices are served: the tables in memory, bodies, views and TAXII pages.
//!
//! [`Serving::feed_open`] never waits: it finds the group in its table, checks the key by a keyed
//! hash, compares the ETag, and answers 304 or a body. Publications, keys and groups arrive
//! through [`iocast_context::Tables`], after the commit that made them.

use std::sync::{Arc, atomic::AtomicI64};

use iocast_context::{
    Actor, Answer, AppError, AppResult, Context, Credentials, Made, Pulled, Tables, file_etag,
    misp_event, shown,
};
use iocast_domain::{device::Device, group::Group, id::GroupId, key::Key};
use iocast_store::GroupRow;
use uuid::Uuid;

mod compare;
mod feed;
mod memory;
mod permits;
mod taxii;

pub use self::{
    feed::{FeedAnswer, FeedBody, FeedFile, FeedRequest, File},
    memory::Memory,
    taxii::{PAGE_MAX, TaxiiAnswer, TaxiiRequest},
};

/// Serves devices.
pub struct Serving {
    context: Arc<Context>,
    feed: feed::Feed,
    /// Microseconds since the tables were last compared with the database.
    memory_age: AtomicI64,
    /// For views, filters and pages, which cost much.
    permits: permits::Permits,
}

impl Serving {
    /// With empty tables.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            feed: feed::Feed::new(context.settings.cache_bytes),
            context,
            memory_age: AtomicI64::new(0),
            permits: permits::Permits::default(),
        }
    }

    /// What is kept ready in memory: a name, bytes, entries.
    #[must_use]
    pub fn kept(&self) -> [(&'static str, u64, u64); 2] {
        self.feed.kept()
    }

    /// Groups and keys that devices are served by.
    #[must_use]
    pub fn known(&self) -> (u64, u64) {
        self.feed.known()
    }
}

impl Tables for Serving {
    fn serve(&self, made: Made) -> Answer<'_, ()> {
        Box::pin(self.feed_serve_made(made))
    }

    fn load<'a>(&'a self, row: &'a GroupRow) -> Answer<'a, ()> {
        Box::pin(self.feed_load_group(row))
    }

    fn add<'a>(&'a self, group: &'a Group, device: &'a Device) -> Answer<'a, ()> {
        Box::pin(self.feed_serve_new(group, device))
    }

    fn remove(&self, groups: &[GroupId]) {
        self.feed_drop_groups(groups);
    }

    fn follow_keys(&self) -> Answer<'_, ()> {
        Box::pin(self.sync_keys())
    }

    fn events(&self, group: GroupId) -> Vec<(Uuid, Uuid)> {
        self.feed.group(group).map(|group| group.events()).unwrap_or_default()
    }

    fn key(&self, hash: &[u8; 32]) -> Option<Arc<Key>> {
        self.feed.key(hash)
    }
}
