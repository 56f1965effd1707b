//! Which events change, and their files.

use std::collections::{BTreeMap, HashMap, HashSet};

use iocast_domain::{
    id::{IocId, PartId},
    ioc::Ioc,
    member::{
        self, LeaveReason, MembershipState, OpenPart, PART_MAX, SEALED_PART_REST, TOMBSTONE_KEPT,
        attribute_uuid, event_info, part_id, stamps,
    },
};
use iocast_formats::{
    gzip::{Segment, inflate_segment},
    write::misp::{
        EventHead, ListedTags, Member, Orgc, Published, SourceNames, event, exclusive_tags,
        fingerprint, grown, listed_tags,
    },
};
use iocast_store::{BlobRef, MemberRow, NewBlob, PartRow};
use tokio::task::JoinSet;

use super::{LoadedIocs, MemberChanges, MembershipChange, PublicationJob, blob, next_due};
use crate::{AppError, AppResult};

/// Events rendered at the same time.
const RENDERERS: usize = 2;

/// What is to be written.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) members: Vec<MemberRow>,
    pub(super) forgotten: Vec<(PartId, Vec<IocId>)>,
    pub(super) resent: Vec<(PartId, Vec<IocId>)>,
    pub(super) changed_parts: Vec<PartRow>,
    pub(super) emptied_parts: Vec<PartId>,
    pub(super) all_parts: Vec<PartRow>,
    pub(super) blobs: Vec<NewBlob>,
    /// At least one file changed.
    pub(super) rendered: bool,
    pub(super) live: u32,
    pub(super) added: u32,
    pub(super) removed: u32,
    pub(super) limit_cut: u64,
    pub(super) due_at: Option<i64>,
    pub(super) latest_stamp: Option<i64>,
}

/// An event that is looked at.
struct Part {
    row: PartRow,
    fresh: bool,
    /// Takes no more members, and changes at most hourly.
    sealed: bool,
    edits: Vec<(MemberRow, MembershipChange)>,
    due: HashSet<IocId>,
    expired: Vec<IocId>,
    returned: HashSet<IocId>,
    resent: Vec<IocId>,
    joins: Vec<IocId>,
    /// Its row changes although its files do not.
    keep: bool,
    /// Members that changed, to be written.
    changed: HashMap<IocId, MemberRow>,
    /// Its files change.
    render: bool,
    /// Receivers are to fetch it again.
    stamp: bool,
}

impl Part {
    fn of(row: PartRow, fresh: bool, today: &str) -> Self {
        let sealed = row.sealed || row.day != today;
        Self {
            row,
            fresh,
            sealed,
            edits: Vec::new(),
            due: HashSet::new(),
            expired: Vec::new(),
            returned: HashSet::new(),
            resent: Vec::new(),
            joins: Vec::new(),
            keep: false,
            changed: HashMap::new(),
            render: false,
            stamp: false,
        }
    }
}

impl Part {
    /// Whether members join a part that is published, and nothing else about it changes.
    fn only_joined(&self) -> bool {
        let nobody_else = self.changed.is_empty()
            && self.due.is_empty()
            && self.expired.is_empty()
            && self.returned.is_empty()
            && self.resent.is_empty();
        !self.fresh
            && !self.joins.is_empty()
            && nobody_else
            && !self.row.dirty
            && self.row.event.raw_len > 0
    }
}

type Parts = BTreeMap<(String, u32), Part>;

impl PublicationJob<'_> {
    /// Puts the choice into events and renders those that change.
    pub(super) async fn plan(&self, choice: MemberChanges) -> AppResult<Plan> {
        let today = self.now.day();
        let now = self.now.micros();
        let group = self.row.group.id;
        let mut parts: Parts = self
            .beforehand
            .parts
            .iter()
            .cloned()
            .map(|row| ((row.day.clone(), row.number), Part::of(row, false, &today)))
            .collect();
        let keys: HashMap<PartId, (String, u32)> =
            parts.iter().map(|(key, p)| (p.row.id, key.clone())).collect();
        let part_of = |parts: &mut Parts, id: PartId, each: &mut dyn FnMut(&mut Part)| {
            if let Some(part) = keys.get(&id).and_then(|key| parts.get_mut(key)) {
                each(part);
            }
        };
        let MemberChanges { joins, mut loaded, edits, tombstone_parts, limit_cut, .. } = choice;
        let edited: HashSet<(PartId, IocId)> =
            edits.iter().map(|(m, _)| (m.part_id, m.ioc_id)).collect();
        let mut plan = Plan { limit_cut, added: count(joins.len()), ..Plan::default() };
        for (member, edit) in edits {
            part_of(&mut parts, member.part_id, &mut |part| {
                part.edits.push((member.clone(), edit));
            });
        }
        // What waited: cuts that became final, tombstones that expired.
        let mut leaving = self.read.member_standing(group, &[MembershipState::Leaving]).await?;
        leaving.retain(|m| !edited.contains(&(m.part_id, m.ioc_id)));
        for member in &leaving {
            part_of(&mut parts, member.part_id, &mut |part| {
                if member.leave.zip(member.left_at).is_some_and(|(leave, at)| {
                    leave.due(at, part.row.rested_at, part.sealed) <= now
                }) {
                    part.due.insert(member.ioc_id);
                }
            });
        }
        let mut oldest = self.read.member_oldest_tombstone(group).await?;
        if oldest.is_some_and(|at| at + TOMBSTONE_KEPT <= now) {
            let tombstones =
                self.read.member_standing(group, &[MembershipState::Tombstone]).await?;
            let (expired, kept): (Vec<_>, Vec<_>) = tombstones
                .into_iter()
                .partition(|m| m.left_at.is_none_or(|at| at + TOMBSTONE_KEPT <= now));
            oldest = kept.iter().filter_map(|m| m.left_at).min();
            for member in expired {
                part_of(&mut parts, member.part_id, &mut |part| part.expired.push(member.ioc_id));
            }
        }
        self.place(&mut parts, joins, &tombstone_parts, &today);
        for part in parts.values_mut() {
            self.judge(part, &mut plan);
        }
        let mut latest = self.state.latest_stamp;
        let how_many = parts.values().filter(|p| p.stamp).count();
        for (part, stamp) in
            parts.values_mut().filter(|p| p.stamp).zip(stamps(how_many, self.now.secs(), latest))
        {
            part.row.stamp = stamp;
            part.row.rested_at = now + SEALED_PART_REST;
            latest = Some(stamp);
        }
        let with_leaving = leaving.iter().map(|m| m.part_id).collect();
        self.render(&mut parts, &with_leaving, &mut loaded, &mut plan).await?;
        let mut still_leaving: Vec<MemberRow> = leaving;
        for part in parts.into_values() {
            let touched = part.fresh
                || part.keep
                || part.render
                || !part.changed.is_empty()
                || !part.expired.is_empty();
            still_leaving
                .retain(|m| m.part_id != part.row.id || !part.changed.contains_key(&m.ioc_id));
            still_leaving.extend(
                part.changed.values().filter(|m| m.standing == MembershipState::Leaving).cloned(),
            );
            if part.changed.values().any(|m| m.standing == MembershipState::Tombstone) {
                oldest = Some(oldest.map_or(now, |at| at.min(now)));
            }
            plan.members.extend(part.changed.into_values());
            if !part.resent.is_empty() {
                plan.resent.push((part.row.id, part.resent));
            }
            if !part.expired.is_empty() {
                plan.forgotten.push((part.row.id, part.expired));
            }
            if part.row.total == 0 && !part.fresh {
                plan.emptied_parts.push(part.row.id);
                continue;
            }
            if touched {
                plan.changed_parts.push(part.row.clone());
            }
            plan.all_parts.push(part.row);
        }
        let by_id: HashMap<PartId, &PartRow> = plan.all_parts.iter().map(|p| (p.id, p)).collect();
        plan.due_at = next_due(&by_id, &still_leaving, oldest, &today);
        plan.live = plan.all_parts.iter().map(|p| p.live).sum();
        plan.latest_stamp = latest;
        Ok(plan)
    }

    /// Puts those who join into the day's open part and new ones behind it.
    fn place(
        &self,
        parts: &mut Parts,
        joins: Vec<IocId>,
        tombstone_parts: &HashSet<PartId>,
        today: &str,
    ) {
        let last = parts
            .iter()
            .filter(|((day, _), _)| day == today)
            .map(|((_, number), p)| (*number, p))
            .next_back();
        let last_number = last.map_or(0, |(number, _)| number);
        let open = last
            .filter(|(_, p)| !p.sealed)
            .map(|(number, p)| OpenPart { number, total: p.row.total });
        let avoid_open =
            last.is_some_and(|(_, p)| tombstone_parts.contains(&p.row.id)) && !joins.is_empty();
        let placed = member::place(joins.len(), open.as_ref(), last_number, avoid_open);
        if avoid_open && let Some(part) = parts.get_mut(&(today.to_owned(), last_number)) {
            part.row.sealed = true;
            part.keep = true;
        }
        let mut joins = joins.into_iter();
        for (number, how_many) in placed {
            let part = parts.entry((today.to_owned(), number)).or_insert_with(|| {
                let row = PartRow::empty(
                    part_id(&self.account.id, self.row.group.id, today, number),
                    today,
                    number,
                    self.row.group.name.as_str(),
                );
                Part::of(row, true, today)
            });
            part.joins.extend(joins.by_ref().take(how_many));
        }
    }

    /// Decides what of a part's edits reaches receivers now, and what waits.
    fn judge(&self, part: &mut Part, plan: &mut Plan) {
        let now = self.now.micros();
        let rested = part.row.rested_at <= now;
        let (sealed, rested_at) = (part.sealed, part.row.rested_at);
        for (mut member, edit) in std::mem::take(&mut part.edits) {
            member.resend = false;
            match edit {
                MembershipChange::Refresh(new, _)
                    if !sealed || (new != member.fingerprint && rested) =>
                {
                    member.fingerprint = new;
                    member.dirty = true;
                    part.stamp = true;
                }
                MembershipChange::Refresh(new, _) if new != member.fingerprint => {
                    member.dirty = true;
                    part.row.dirty = true;
                }
                MembershipChange::Refresh(..) => continue,
                MembershipChange::Return => {
                    member.standing = MembershipState::Live;
                    member.left_at = None;
                    member.leave = None;
                    member.dirty = true;
                    // A receiver that has it never heard that it was gone; one that has not waits
                    // for the next rest.
                    part.stamp |= !sealed || rested;
                    part.row.dirty |= sealed && !rested;
                    part.render = true;
                    part.returned.insert(member.ioc_id);
                    part.row.live += 1;
                    plan.added += 1;
                }
                MembershipChange::Leave(leave) => {
                    let left_at = if member.standing == MembershipState::Live {
                        now
                    } else {
                        member.left_at.unwrap_or(now)
                    };
                    if member.standing == MembershipState::Live {
                        part.row.live = part.row.live.saturating_sub(1);
                        plan.removed += 1;
                    }
                    let told = leave.due(left_at, rested_at, sealed) <= now;
                    member.standing =
                        if told { MembershipState::Tombstone } else { MembershipState::Leaving };
                    member.left_at = Some(if told { now } else { left_at });
                    member.leave = Some(leave);
                    member.dirty = told;
                    part.stamp |= told;
                    part.render = true;
                    if leave == LeaveReason::SentAgain {
                        part.resent.push(member.ioc_id);
                        plan.removed = plan.removed.saturating_sub(1);
                        plan.added = plan.added.saturating_sub(1);
                    }
                }
            }
            part.changed.insert(member.ioc_id, member);
        }
        let flush = part.row.dirty && rested;
        part.stamp |= flush || !part.due.is_empty() || !part.joins.is_empty();
        part.render |= part.stamp || !part.expired.is_empty();
        part.row.total =
            part.row.total.saturating_sub(count(part.expired.len())) + count(part.joins.len());
        part.row.live += count(part.joins.len());
        part.row.sealed |= part.row.total >= PART_MAX;
    }

    /// Renders the parts whose files change, a few at a time, off the threads that answer requests.
    async fn render(
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
            let grows = part.only_joined() && !with_leaving.contains(&part.row.id);
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
            part.row.event = rendered.event;
            part.row.hashes = rendered.hashes;
            part.changed.extend(rendered.joined.into_iter().map(|m| (m.ioc_id, m)));
            plan.blobs.extend(rendered.blobs);
        }
        Ok(())
    }

    /// The files of a part as they are published; none if they are to be rendered from scratch.
    async fn published(&self, row: &PartRow) -> AppResult<Option<Published>> {
        let hashes = [row.event.hash.clone(), row.hashes.hash.clone()];
        let mut blobs = self.read.blob_fetch(self.row.group.id, &hashes).await?;
        let mut segment = |of: &BlobRef| {
            Some(Segment { data: blobs.remove(&of.hash)?, crc: of.crc, raw_len: of.raw_len })
        };
        let Some((event, hashes)) = segment(&row.event).zip(segment(&row.hashes)) else {
            return Ok(None);
        };
        let inflate =
            move || Ok::<_, AppError>(Published::of(inflated(&event)?, inflated(&hashes)?));
        tokio::task::spawn_blocking(inflate).await.map_err(AppError::internal)?
    }

    /// Gathers what a part's files are made of, and settles its members' stamps. Where a part that
    /// is published grows, those who are in it already need not be looked at.
    async fn job(
        &self,
        part: &mut Part,
        published: Option<Published>,
        loaded: &mut LoadedIocs,
    ) -> AppResult<Job> {
        let known = part.fresh || published.is_some();
        let mut members =
            if known { Vec::new() } else { self.read.member_of_part(part.row.id).await? };
        members.retain(|m| !part.expired.contains(&m.ioc_id));
        let iocs = self
            .load(loaded, members.iter().map(|m| m.ioc_id).chain(part.joins.iter().copied()))
            .await?;
        let now = self.now.micros();
        for member in &mut members {
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
            if part.stamp && (member.dirty || due) {
                member.dirty = false;
                member.stamp = part.row.stamp;
                if let Some(ioc) = iocs.get(&member.ioc_id) {
                    member.fingerprint = fingerprint(ioc, &self.names);
                }
                part.changed.insert(member.ioc_id, member.clone());
            }
        }
        if part.stamp {
            part.row.dirty = false;
        }
        let joined = members.len();
        members.extend(std::mem::take(&mut part.joins).into_iter().map(|ioc_id| MemberRow {
            part_id: part.row.id,
            ioc_id,
            standing: MembershipState::Live,
            joined_at: now,
            stamp: part.row.stamp,
            fingerprint: 0,
            dirty: false,
            left_at: None,
            leave: None,
            resend: false,
            reborn: false,
            span: None,
        }));
        let before = if known || part.row.event.raw_len == 0 {
            None
        } else {
            let hash = &part.row.event.hash;
            let data = self
                .read
                .blob_fetch(self.row.group.id, std::slice::from_ref(hash))
                .await?
                .remove(hash);
            data.map(|data| Segment {
                data,
                crc: part.row.event.crc,
                raw_len: part.row.event.raw_len,
            })
        };
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
}

/// Everything that rendering one event needs.
struct Job {
    row: PartRow,
    members: Vec<MemberRow>,
    /// From which of them on they are new.
    joined: usize,
    iocs: HashMap<IocId, Ioc>,
    /// What the members are added to.
    published: Option<Published>,
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
            Some(published) => grown(&head, &self.orgc, published, &members, &self.names),
            None => event(&head, &self.orgc, &members, &self.names, &listed),
        };
        let file = file.map_err(AppError::internal)?;
        let mut blobs = Vec::new();
        // An event without attributes is not listed: MISP refuses it at every pull.
        let manifest_entry = if members.is_empty() { String::new() } else { file.manifest_entry };
        let (event, hashes) = (blob(&file.json, &mut blobs)?, blob(&file.hashes, &mut blobs)?);
        let mut joined = self.members.split_off(self.joined);
        for member in &mut joined {
            member.fingerprint = file.fingerprints.get(&member.ioc_id).copied().unwrap_or(0);
        }
        Ok(Rendered { manifest_entry, event, hashes, blobs, joined })
    }
}

fn inflated(segment: &Segment) -> AppResult<Vec<u8>> {
    inflate_segment(segment).map_err(AppError::internal)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
