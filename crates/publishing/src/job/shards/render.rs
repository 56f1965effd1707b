//! The shards that changed are rendered, and joined into files.

use std::collections::{BTreeSet, HashMap, HashSet};

use iocast_domain::{
    collapse::with_merged_prefix,
    device_type::{Format, Taxii},
    member::{MembershipState, part_id},
    time::Timestamp,
};
use iocast_formats::{
    gzip::{Segment, inflate_segment},
    write::{
        list::{Checksum, Entry, ListWriter, Scope, grown},
        stix::{self, Threat, ThreatKind},
    },
};
use iocast_store::{BlobRef, FileRef, MemberRow, NewBlob, PartRow};
use tokio::task::JoinSet;

use super::{
    super::{LoadedIocs, PublicationJob, blob, parts::Plan},
    Shard, Shards, Written, fingerprint,
};
use crate::{AppError, AppResult};

/// Shards rendered at the same time.
const RENDERERS: usize = 2;

/// In microseconds.
pub(super) const MILLISECOND: i64 = 1_000;

/// Microseconds between the dates of two indicators of STIX 2.1.
pub(super) const BETWEEN_DATES: i64 = 64;

/// The number of the shard that holds no IOCs but what they point at.
pub(super) const THREATS: u32 = 0;

impl PublicationJob<'_> {
    /// Renders the shards whose entries change, off the threads that answer requests.
    /// Gives what the entries that were written point at, where the list keeps that.
    pub(super) async fn render_list(
        &self,
        writer: &'static dyn ListWriter,
        shards: &mut Shards,
        loaded: &mut LoadedIocs,
        plan: &mut Plan,
    ) -> AppResult<BTreeSet<(ThreatKind, String)>> {
        let mut rendering = JoinSet::new();
        let mut done = Vec::new();
        for (number, shard) in shards.iter_mut().filter(|(_, s)| s.touched()) {
            plan.rendered = true;
            shard.rendered = true;
            let before =
                if shard.only_grows() { self.published_shard(&shard.row).await? } else { None };
            let mut entries = self.entries(shard, before.is_some(), loaded).await?;
            if !shard.gone.is_empty() {
                plan.forgotten.push((shard.row.id, shard.gone.iter().copied().collect()));
            }
            if rendering.len() >= RENDERERS {
                done.extend(rendering.join_next().await);
            }
            let (number, scope, version, format) =
                (*number, self.scope.clone(), self.version(), self.device_type.format);
            rendering.spawn_blocking(move || {
                entries.sort_by_cached_key(|e| {
                    let m = &e.member;
                    (
                        m.stamp,
                        stix::indicator_uuid(
                            version,
                            &scope.account.namespace(),
                            &e.ioc,
                            Timestamp::from_micros(m.joined_at),
                            m.readded,
                        ),
                    )
                });
                let before = before
                    .map(|segment| inflate_segment(&segment))
                    .transpose()
                    .map_err(AppError::internal)?;
                let bytes = shard_bytes(writer, &scope, before.unwrap_or_default(), &entries);
                let mut blobs = Vec::new();
                let reference = blob(&bytes, &mut blobs)?;
                let mut threats = BTreeSet::new();
                let mut members = Vec::new();
                for Written { ioc, mut member, .. } in entries.into_iter().filter(|e| e.changed) {
                    if member.standing == MembershipState::Live {
                        member.fingerprint = fingerprint(writer, format, &scope, &ioc);
                    }
                    if format.taxii().is_some() {
                        threats.extend(
                            stix::threats(&ioc).map(|(kind, name)| (kind, name.to_owned())),
                        );
                    }
                    members.push(member);
                }
                Ok::<_, AppError>((number, reference, blobs, members, threats))
            });
        }
        let mut pointed_at = BTreeSet::new();
        while let Some(next) = rendering.join_next().await {
            done.push(next);
        }
        for result in done {
            let (number, reference, blobs, members, threats) =
                result.map_err(AppError::internal)??;
            if let Some(shard) = shards.get_mut(&number) {
                shard.row.event = reference;
            }
            plan.blobs.extend(blobs);
            plan.members.extend(members);
            pointed_at.extend(threats);
        }
        Ok(pointed_at)
    }

    /// The entries of a shard as they are published.
    async fn published_shard(&self, row: &PartRow) -> AppResult<Option<Segment>> {
        let BlobRef { hash, crc, raw_len, .. } = &row.event;
        let data =
            self.read.blob_fetch(self.row.group.id, std::slice::from_ref(hash)).await?.remove(hash);
        Ok(data.map(|data| Segment { data, crc: *crc, raw_len: *raw_len }))
    }

    /// What a shard holds from now on; of one that grows, what is added.
    async fn entries(
        &self,
        shard: &mut Shard,
        grows: bool,
        loaded: &mut LoadedIocs,
    ) -> AppResult<Vec<Written>> {
        let mut members = if shard.fresh || grows {
            Vec::new()
        } else {
            self.read.member_of_part(shard.row.id).await?
        };
        members.retain(|m| !shard.gone.contains(&m.ioc_id));
        let stay = members.into_iter().map(|m| match shard.changed.remove(&m.ioc_id) {
            Some(changed) => (changed, true),
            None => (m, false),
        });
        // Who was here and comes back into the same shard is not gone.
        let all: Vec<(MemberRow, bool)> =
            stay.chain(shard.joins.drain(..).map(|m| (m, true))).collect();
        let iocs = self.load(loaded, all.iter().map(|(m, _)| m.ioc_id)).await?;
        // Who comes back into a log is in it twice: as removed, and as here again.
        let entry = |(member, changed): (MemberRow, bool)| {
            Some(Written {
                ioc: with_merged_prefix(iocs.get(&member.ioc_id)?.clone(), member.merged_prefix),
                member,
                changed,
            })
        };
        Ok(all.into_iter().filter_map(entry).collect())
    }

    /// Keeps the list of malware families, threat actors and campaigns that indicators point at.
    pub(super) fn list_threats(
        &self,
        version: Taxii,
        stamp: i64,
        wanted: BTreeSet<(ThreatKind, String)>,
        plan: &mut Plan,
    ) -> AppResult<()> {
        let there = plan.all_parts.iter().position(|p| p.number == THREATS);
        let row = there.map(|i| plan.all_parts.remove(i));
        let mut threats: Vec<Threat> = row
            .as_ref()
            .map(|r| serde_json::from_str(&r.manifest_entry))
            .transpose()
            .map_err(AppError::internal)?
            .unwrap_or_default();
        let known: HashSet<(ThreatKind, String)> =
            threats.iter().map(|t| (t.kind, t.name.clone())).collect();
        let new: Vec<Threat> = wanted
            .into_iter()
            .filter(|threat| !known.contains(threat))
            .zip((stamp..).step_by(self.step() as usize))
            .map(|((kind, name), stamp)| Threat { kind, name, stamp })
            .collect();
        if new.is_empty() {
            if let Some(row) = row {
                plan.all_parts.insert(0, row);
            }
            return Ok(());
        }
        plan.latest_stamp = new.last().map(|threat| threat.stamp).or(plan.latest_stamp);
        threats.extend(new);
        let id = part_id(&self.account.id, self.row.group.id, "", THREATS);
        let mut row =
            row.unwrap_or_else(|| PartRow::empty(id, "", THREATS, self.row.group.name.as_str()));
        let lines: Vec<String> =
            threats.iter().map(|t| stix::threat(version, &self.scope, t).to_string()).collect();
        row.event = blob(lines.join(",\n").as_bytes(), &mut plan.blobs)?;
        row.manifest_entry = serde_json::to_string(&threats).map_err(AppError::internal)?;
        plan.changed_parts.retain(|p| p.number != THREATS);
        plan.changed_parts.push(row.clone());
        plan.all_parts.insert(0, row);
        Ok(())
    }

    /// The document, and its checksum where the device asks for one.
    pub(in crate::job) async fn list_files(
        &self,
        writer: &dyn ListWriter,
        parts: &[PartRow],
        live: u32,
        latest: Option<i64>,
        number: i64,
        blobs: &mut Vec<NewBlob>,
    ) -> AppResult<Vec<FileRef>> {
        let latest = Timestamp::from_micros(latest.unwrap_or(self.now.micros()));
        let scope = Scope { latest, publication: number, live, ..self.scope.clone() };
        let mut head = Vec::new();
        writer.head(&scope, &mut head);
        let mut tail = Vec::new();
        writer.tail(&scope, &mut tail);
        // A bundle begins with objects of its own, which the first shard follows.
        let mut apart = head.ends_with(b"}");
        let between = blob(writer.between(), blobs)?;
        let mut segments: Vec<BlobRef> = Vec::new();
        if !head.is_empty() {
            segments.push(blob(&head, blobs)?);
        }
        for part in parts.iter().filter(|p| p.event.raw_len > 0) {
            if apart && between.raw_len > 0 {
                segments.push(between.clone());
            }
            apart = true;
            segments.push(part.event.clone());
        }
        if !tail.is_empty() {
            segments.push(blob(&tail, blobs)?);
        }
        let mut files = vec![FileRef {
            path: self.device_type.format.entry().to_owned(),
            segments: segments.clone(),
            before: Some(head.len() as u64),
            first: None,
            version: None,
        }];
        if self.device_type.format == Format::CiscoList {
            let sum = self.checksum(&segments, blobs).await?;
            files.push(FileRef {
                path: "md5".to_owned(),
                segments: vec![blob(sum.as_bytes(), blobs)?],
                before: None,
                first: None,
                version: None,
            });
        }
        Ok(files)
    }

    /// The MD5 of the plain document, over pieces that are new and pieces that are stored.
    async fn checksum(&self, segments: &[BlobRef], blobs: &[NewBlob]) -> AppResult<String> {
        let new: HashMap<&str, &[u8]> =
            blobs.iter().map(|b| (b.hash.as_str(), b.data.as_slice())).collect();
        let mut sum = Checksum::default();
        for segment in segments {
            let stored = match new.get(segment.hash.as_str()) {
                Some(data) => data.to_vec(),
                None => {
                    let found = self
                        .read
                        .blob_fetch(self.row.group.id, std::slice::from_ref(&segment.hash))
                        .await?;
                    found.into_values().next().ok_or_else(|| {
                        AppError::Unavailable("A piece of the list is gone; try again.".to_owned())
                    })?
                }
            };
            let piece = Segment { data: stored, crc: segment.crc, raw_len: segment.raw_len };
            sum.add(&inflate_segment(&piece).map_err(AppError::internal)?);
        }
        Ok(sum.finish())
    }
}

fn shard_bytes(
    writer: &dyn ListWriter,
    scope: &Scope,
    before: Vec<u8>,
    entries: &[Written],
) -> Vec<u8> {
    grown(
        writer,
        scope,
        before,
        entries.iter().map(|Written { ioc, member: m, .. }| Entry {
            ioc,
            joined_at: Timestamp::from_micros(m.joined_at),
            stamp: Timestamp::from_micros(m.stamp),
            removed: m.standing == MembershipState::Tombstone,
            readded: m.readded,
        }),
    )
}
