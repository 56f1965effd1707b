//! What devices are served from follows what was committed.

use std::sync::Arc;

use iocast_domain::{
    device::Device,
    device_type::DeviceType,
    group::Group,
    id::{DeviceId, GroupId, KeyId},
    key::Key,
    receipt::Fetched,
};
use iocast_store::{BlobRef, FileRef, GroupRow};

use uuid::Uuid;

use crate::Answer;

/// A publication that was made.
#[derive(Debug)]
pub struct Made {
    /// The group, with what it serves now.
    pub row: GroupRow,
    /// Its device.
    pub device_name: String,
    /// The device's type.
    pub device_type: &'static DeviceType,
    /// The files of the publication.
    pub files: Vec<FileRef>,
}

/// The ETag of a file: of its plain bytes, without quotes.
#[must_use]
pub fn file_etag(file: &FileRef) -> String {
    etag_of(&file.segments)
}

/// The ETag of a file that consists of these pieces.
#[must_use]
pub fn etag_of(segments: &[BlobRef]) -> String {
    let mut etag = blake3::Hasher::new();
    for segment in segments {
        etag.update(segment.hash.as_bytes());
    }
    etag.finalize().to_hex().chars().take(32).collect()
}

/// The MISP event that a file is, and its version: what a MISP that has it need not fetch again.
#[must_use]
pub fn misp_event(file: &FileRef) -> Option<(Uuid, Uuid)> {
    let event = file.path.strip_suffix(".json")?.parse().ok()?;
    let version = file.version.clone().unwrap_or_else(|| file_etag(file));
    Some((event, version.parse().ok()?))
}

/// The tables in memory that devices are served from. Each change is made after its commit, and
/// before the answer to the request that asked for it.
pub trait Tables: Send + Sync {
    /// Serves a publication that was just made.
    fn serve(&self, made: Made) -> Answer<'_, ()>;

    /// Serves what a group last published, under its present names.
    fn load<'a>(&'a self, row: &'a GroupRow) -> Answer<'a, ()>;

    /// Knows a group from now on: until its first publication its URL answers 503, not 404.
    fn add<'a>(&'a self, group: &'a Group, device: &'a Device) -> Answer<'a, ()>;

    /// Serves these groups no more.
    fn remove(&self, groups: &[GroupId]);

    /// Brings the keys up to date.
    fn follow_keys(&self) -> Answer<'_, ()>;

    /// The MISP events that a group publishes now, and their versions; nothing of other formats.
    fn events(&self, group: GroupId) -> Vec<(Uuid, Uuid)>;

    /// The key of this hash, dead or alive.
    fn key(&self, hash: &[u8; 32]) -> Option<Arc<Key>>;
}

/// Who pulled what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pulled {
    /// The device.
    pub device_id: DeviceId,
    /// The group.
    pub group_id: GroupId,
    /// The key it used.
    pub key_id: KeyId,
    /// What it was given.
    pub fetched: Fetched,
}
