//! The events that changed are rendered.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    id::{IocId, PartId},
    ioc::Ioc,
    member::{MembershipState, attribute_uuid, event_info},
};
use iocast_formats::{
    gzip::{Segment, inflate_segment},
    write::misp::{
        EventHead, ListedTags, Member, Orgc, Published, SourceNames, both_grown, event,
        exclusive_tags, fingerprint, listed_tags,
    },
};
use iocast_store::{BlobRef, MemberRow, NewBlob, PartRow};
use tokio::task::JoinSet;

use super::{
    super::{LoadedIocs, PublicationJob, blob},
    Part, Parts, Plan,
};
use crate::{AppError, AppResult, etag_of};

/// Events rendered at the same time.
const RENDERERS: usize = 2;

impl PublicationJob<'_> {
    /// Renders the parts whose files change, a few at a time, off the threads that answer requests.
    pub(super) async fn render(
        &self,
        parts: &mut Parts,
        with_leaving: &HashSet<PartId>,
        loaded: &mut LoadedIocs,
        plan: &mut Plan,
    ) -> AppResult<()> {
        let mut rendering = JoinSet::new();
        let mut done = Vec::new();
        let keys: Vec<_> =
            parts.iter().filter(|(_, p)| p.render).map(|(key, _)| key.clone()).collect();
        plan.rendered = !keys.is_empty();
        for key in keys {
            let Some(part) = parts.get_mut(&key) else { continue };
            let grows = part.only_joined()
                && !with_leaving.contains(&part.row.id)
                && !self.is_change_lacking(part.row.id, part.lagging).await?;
            let published = if grows { self.published(&part.row).await? } else { None };
            let job = self.job(part, published, loaded).await?;
            if rendering.len() >= RENDERERS {
                done.extend(rendering.join_next().await);
            }
            rendering.spawn_blocking(move || job.run().map(|result| (key, result)));
        }
        while let Some(next) = rendering.join_next().await {
            done.push(next);
        }
        for result in done {
            let (key, rendered) = result.map_err(AppError::internal)??;
            let Some(part) = parts.get_mut(&key) else { continue };
            part.row.manifest_entry = rendered.manifest_entry;
            let before = || etag_of(std::slice::from_ref(&part.row.event));
            part.row.version = if part.stamp {
                Some(etag_of(std::slice::from_ref(&rendered.event)))
            } else {
                Some(part.row.version.clone().unwrap_or_else(before))
            };
            part.row.event = rendered.event;
            part.row.first = rendered.first;
            part.row.hashes = rendered.hashes;
            part.changed.extend(rendered.joined.into_iter().map(|m| (m.ioc_id, m)));
            plan.blobs.extend(rendered.blobs);
        }
        Ok(())
    }

    /// The files of a part as they are published; none if they are to be rendered from scratch.
    async fn published(&self, row: &PartRow) -> AppResult<Option<PublishedFiles>> {
        let pieces = [&row.event, &row.hashes].into_iter().chain(&row.first);
        let hashes: Vec<String> = pieces.map(|piece| piece.hash.clone()).collect();
        let blobs = self.read.blob_fetch(self.row.group.id, &hashes).await?;
        let segment = |of: &BlobRef| {
            let data = blobs.get(&of.hash)?.clone();
            Some(Segment { data, crc: of.crc, raw_len: of.raw_len })
        };
        let first = row.first.as_ref().map(segment);
        let (Some(event), Some(hashes), None | Some(Some(_))) =
            (segment(&row.event), segment(&row.hashes), &first)
        else {
            return Ok(None);
        };
        let inflate = move || {
            let hashes = inflated(&hashes)?;
            let Some(whole) = Published::of(inflated(&event)?, hashes.clone()) else {
                return Ok(None);
            };
            let Some(first) = first.flatten() else { return Ok(Some((whole, None))) };
            Ok(Published::of(inflated(&first)?, hashes).map(|first| (whole, Some(first))))
        };
        tokio::task::spawn_blocking(inflate).await.map_err(AppError::internal)?
    }

    /// The lines of `hashes.csv` of a part, as they are published.
    pub(super) async fn hashes(&self, row: &PartRow) -> AppResult<Vec<u8>> {
        let BlobRef { hash, crc, raw_len, .. } = &row.hashes;
        let data =
            self.read.blob_fetch(self.row.group.id, std::slice::from_ref(hash)).await?.remove(hash);
        let Some(data) = data else { return Ok(Vec::new()) };
        inflated(&Segment { data, crc: *crc, raw_len: *raw_len })
    }

    /// Gathers what a part's files are made of, and settles its members' stamps. Where a part that
    /// is published grows, those who are in it already need not be looked at.
    async fn job(
        &self,
        part: &mut Part,
        published: Option<PublishedFiles>,
        loaded: &mut LoadedIocs,
    ) -> AppResult<Job> {
        let known = part.fresh || published.is_some();
        let mut members =
            if known { Vec::new() } else { self.read.member_of_part(part.row.id).await? };
        members.retain(|m| !part.expired.contains(&m.ioc_id));
        let iocs = self
            .load(loaded, members.iter().map(|m| m.ioc_id).chain(part.joins.iter().copied()))
            .await?;
        for member in &mut members {
            self.settle(part, member, &iocs);
        }
        if part.stamp {
            part.row.pending = false;
        }
        let now = self.now.micros();
        let joined = members.len();
        members.extend(std::mem::take(&mut part.joins).into_iter().map(|ioc_id| MemberRow {
            part_id: part.row.id,
            ioc_id,
            standing: MembershipState::Live,
            joined_at: now,
            stamp: part.row.stamp,
            fingerprint: 0,
            pending: false,
            left_at: None,
            leave: None,
            resend: false,
            readded: false,
            merged_prefix: None,
        }));
        let before = if known { None } else { self.before(part).await? };
        Ok(Job {
            row: part.row.clone(),
            members,
            joined,
            iocs,
            published,
            before,
            returned: part.returned.clone(),
            orgc: self.orgc(),
            names: self.names.clone(),
        })
    }

    /// A member as the next version of its part lists it.
    fn settle(&self, part: &mut Part, member: &mut MemberRow, iocs: &HashMap<IocId, Ioc>) {
        let now = self.now.micros();
        if let Some(changed) = part.changed.get(&member.ioc_id) {
            *member = changed.clone();
        }
        // A client that fetches the part again gets everything that may be sent.
        let ripe = part.stamp
            && member
                .leave
                .zip(member.left_at)
                .is_some_and(|(leave, at)| leave.due(at, at, false) <= now);
        let due = member.standing == MembershipState::Leaving
            && (ripe || part.due.contains(&member.ioc_id));
        if due {
            member.standing = MembershipState::Tombstone;
            member.left_at = Some(now);
        }
        // A receiver that lacks the event compares the timestamp of each attribute, too.
        let is_lacking = part.lagging.is_some_and(|lagging| lagging.lacks_change_of(member));
        if part.stamp && (member.pending || due || part.row.offer_again || is_lacking) {
            member.pending = false;
            member.stamp = part.row.stamp;
            if let Some(ioc) = iocs.get(&member.ioc_id) {
                member.fingerprint = fingerprint(ioc, &self.names);
            }
            part.changed.insert(member.ioc_id, member.clone());
        }
    }

    /// The event as it was published last.
    async fn before(&self, part: &Part) -> AppResult<Option<Segment>> {
        let event = &part.row.event;
        if event.raw_len == 0 {
            return Ok(None);
        }
        let hash = std::slice::from_ref(&event.hash);
        let data = self.read.blob_fetch(self.row.group.id, hash).await?.remove(&event.hash);
        Ok(data.map(|data| Segment { data, crc: event.crc, raw_len: event.raw_len }))
    }
}

/// An event as it was published, and the file for a MISP that never had it.
type PublishedFiles = (Published, Option<Published>);

/// Everything that rendering one event needs.
struct Job {
    row: PartRow,
    members: Vec<MemberRow>,
    /// From which of them on they are new.
    joined: usize,
    iocs: HashMap<IocId, Ioc>,
    /// What the members are added to.
    published: Option<PublishedFiles>,
    /// The event as it was published, where it is rendered from scratch.
    before: Option<Segment>,
    /// Members that the version before did not list: what it was listed with is not known any more.
    returned: HashSet<IocId>,
    orgc: Orgc,
    names: SourceNames,
}

struct Rendered {
    manifest_entry: String,
    event: BlobRef,
    first: Option<BlobRef>,
    hashes: BlobRef,
    blobs: Vec<NewBlob>,
    /// Those who joined.
    joined: Vec<MemberRow>,
}

impl Job {
    fn run(mut self) -> AppResult<Rendered> {
        let mut listed = match &self.before {
            Some(segment) => listed_tags(&inflated(segment)?).map_err(AppError::internal)?,
            None => ListedTags::new(),
        };
        for ioc in &self.returned {
            listed.entry(attribute_uuid(self.row.id, *ioc)).or_insert_with(exclusive_tags);
        }
        let shown = self.members.iter().filter(|m| m.standing != MembershipState::Leaving);
        let members: Vec<Member<'_>> = shown
            .filter_map(|m| {
                self.iocs.get(&m.ioc_id).map(|ioc| Member {
                    ioc,
                    stamp: m.stamp,
                    tombstone: m.standing == MembershipState::Tombstone,
                })
            })
            .collect();
        let info = event_info(&self.row.group_name, &self.row.day, self.row.number);
        let head = EventHead {
            id: self.row.id,
            info: &info,
            group_name: &self.row.group_name,
            day: &self.row.day,
            stamp: self.row.stamp,
        };
        let file = match &self.published {
            Some((whole, first)) => {
                both_grown(&head, &self.orgc, (whole, first.as_ref()), &members, &self.names)
            }
            None => event(&head, &self.orgc, &members, &self.names, &listed),
        };
        let file = file.map_err(AppError::internal)?;
        let mut blobs = Vec::new();
        // An event without attributes is not listed: MISP refuses it at every pull.
        let manifest_entry = if members.is_empty() { String::new() } else { file.manifest_entry };
        let (event, hashes) = (blob(&file.json, &mut blobs)?, blob(&file.hashes, &mut blobs)?);
        let first = file.first.map(|first| blob(&first, &mut blobs)).transpose()?;
        let mut joined = self.members.split_off(self.joined);
        for member in &mut joined {
            member.fingerprint = file.fingerprints.get(&member.ioc_id).copied().unwrap_or(0);
        }
        Ok(Rendered { manifest_entry, event, first, hashes, blobs, joined })
    }
}

fn inflated(segment: &Segment) -> AppResult<Vec<u8>> {
    inflate_segment(segment).map_err(AppError::internal)
}
