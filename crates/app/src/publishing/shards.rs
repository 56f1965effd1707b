//! The document of a list format, in shards that are rendered and compressed on their own.
//!
//! In most lists an IOC stays in the shard that it joined, and who joins fills the gaps. A log is
//! kept in the order of changes: whatever changes goes to the end, and what leaves stands there as
//! removed for as long as a tombstone is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use iocast_domain::{
    account::Account,
    collapse::spanning,
    device_type::{Format, Taxii},
    group::Group,
    id::{IocId, PartId},
    ioc::Ioc,
    member::{LeaveReason, MembershipState, PART_MAX, TOMBSTONE_KEPT, part_id},
    time::Timestamp,
};
use iocast_formats::{
    gzip::{Segment, inflate_segment},
    write::{
        list::{Checksum, Entry, ListWriter, Scope, grown},
        misp::SourceNames,
        stix::{self, Threat, ThreatKind},
    },
};
use iocast_store::{BlobRef, FileRef, MemberRow, NewBlob, PartRow};
use tokio::task::JoinSet;

use super::{LoadedIocs, MemberChanges, MembershipChange, PublicationJob, blob, parts::Plan};
use crate::{AppError, AppResult};

/// Shards rendered at the same time.
const RENDERERS: usize = 2;
/// In microseconds.
const MILLISECOND: i64 = 1_000;
/// The number of the shard that holds no IOCs but what they point at.
const THREATS: u32 = 0;

/// A shard that is looked at.
struct Shard {
    row: PartRow,
    fresh: bool,
    /// Who joins, with what is already known of the row.
    joins: Vec<MemberRow>,
    /// Rows that change in place.
    changed: HashMap<IocId, MemberRow>,
    gone: HashSet<IocId>,
    /// Its entries were rendered again.
    rendered: bool,
}

impl Shard {
    /// Whether entries are only added, at the end: they have the latest stamp.
    fn only_grows(&self) -> bool {
        !self.fresh
            && !self.joins.is_empty()
            && self.changed.is_empty()
            && self.gone.is_empty()
            && self.row.event.raw_len > 0
    }

    fn touched(&self) -> bool {
        !self.joins.is_empty() || !self.changed.is_empty() || !self.gone.is_empty()
    }
}

type Shards = BTreeMap<u32, Shard>;

/// An entry of a shard that is rendered.
struct Written {
    ioc: Ioc,
    member: MemberRow,
    /// It is new, or changed.
    changed: bool,
}

/// A number over what receivers would see of an IOC. In a log, last seen counts only as far as it
/// moves the day on which the indicator runs out by a seventh of its kind's lifetime: a client is
/// not sent every sighting again.
pub(super) fn fingerprint(
    writer: &dyn ListWriter,
    format: Format,
    scope: &Scope,
    ioc: &Ioc,
) -> i64 {
    let start = Timestamp::from_micros(0);
    let mut seen = ioc.clone();
    if format.is_log() {
        let step = ioc.kind.lifetime() / 7;
        seen.last_seen = Timestamp::from_micros(ioc.last_seen.micros() / step * step);
        seen.first_seen = ioc.first_seen.min(ioc.last_seen);
    }
    let mut text = Vec::new();
    writer.entry(
        &Entry { ioc: &seen, joined_at: start, stamp: start, removed: false, reborn: false },
        scope,
        &mut text,
    );
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&text).as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// What the document says of the group.
pub(super) fn scope(
    account: &Account,
    group: &Group,
    names: &SourceNames,
    now: Timestamp,
) -> Scope {
    Scope {
        account: account.id.clone(),
        account_name: account.name.clone(),
        group: group.id,
        group_name: group.name.to_string(),
        kind: group.kind,
        created_at: group.created_at,
        publication: 0,
        published_at: now,
        live: 0,
        latest: now,
        names: names.clone(),
    }
}

impl PublicationJob<'_> {
    /// Puts the choice into shards and renders those that change.
    pub(super) async fn plan_list(
        &self,
        writer: &'static dyn ListWriter,
        choice: MemberChanges,
    ) -> AppResult<Plan> {
        let is_log = self.device_type.format.is_log();
        // Whole milliseconds, which is as fine as STIX 2.0 goes, and each publication its own.
        let now = (self.now.micros() + MILLISECOND - 1) / MILLISECOND * MILLISECOND;
        let stamp =
            now.max(self.state.latest_stamp.map_or(i64::MIN, |latest| latest + MILLISECOND));
        let mut shards: Shards = self
            .beforehand
            .parts
            .iter()
            .cloned()
            .map(|row| {
                (
                    row.number,
                    Shard {
                        row,
                        fresh: false,
                        joins: Vec::new(),
                        changed: HashMap::new(),
                        gone: HashSet::new(),
                        rendered: false,
                    },
                )
            })
            .collect();
        let numbers: HashMap<PartId, u32> =
            shards.iter().map(|(number, s)| (s.row.id, *number)).collect();
        let mut plan = Plan {
            limit_cut: choice.limit_cut,
            added: count(choice.joins.len()),
            ..Plan::default()
        };
        let MemberChanges { joins, mut loaded, edits, reborn, spans, .. } = choice;
        let mut joins = self.joining(joins, &reborn, &spans, stamp);
        self.edit_shards(&mut shards, &numbers, edits, &mut joins, stamp, &mut plan);
        if is_log {
            self.expire(&mut shards, &numbers, &mut plan).await?;
        }
        if is_log {
            self.in_order(&loaded, &mut joins).await?;
        }
        self.place_list(&mut shards, joins, is_log);
        if shards.values().any(Shard::touched) {
            plan.latest_stamp = Some(stamp);
        } else {
            plan.latest_stamp = self.state.latest_stamp;
        }
        let threats = self.render_list(writer, &mut shards, &mut loaded, &mut plan).await?;
        for (_, shard) in shards {
            if shard.row.total == 0 && shard.row.number != THREATS {
                if !shard.fresh {
                    plan.emptied_parts.push(shard.row.id);
                }
                continue;
            }
            if shard.fresh || shard.rendered {
                plan.changed_parts.push(shard.row.clone());
            }
            plan.all_parts.push(shard.row);
        }
        if let Some(version) = self.device_type.format.taxii() {
            self.list_threats(version, stamp, threats, &mut plan)?;
        }
        plan.live = plan.all_parts.iter().map(|p| p.live).sum();
        Ok(plan)
    }

    /// Whose ids order what changes together; for a log that is no TAXII collection, either will
    /// do.
    fn version(&self) -> Taxii {
        self.device_type.format.taxii().unwrap_or(Taxii::V21)
    }

    /// Rows for those who join.
    fn joining(
        &self,
        joins: Vec<IocId>,
        reborn: &HashSet<IocId>,
        spans: &HashMap<IocId, u8>,
        stamp: i64,
    ) -> Vec<MemberRow> {
        let row = |ioc_id: IocId| MemberRow {
            part_id: PartId(uuid::Uuid::nil()),
            ioc_id,
            standing: MembershipState::Live,
            joined_at: self.now.micros(),
            stamp,
            fingerprint: 0,
            dirty: false,
            left_at: None,
            leave: None,
            resend: false,
            reborn: reborn.contains(&ioc_id),
            span: spans.get(&ioc_id).copied(),
        };
        joins.into_iter().map(row).collect()
    }

    /// Applies what happens to members: in place, or in a log by moving them to the end.
    fn edit_shards(
        &self,
        shards: &mut Shards,
        numbers: &HashMap<PartId, u32>,
        edits: Vec<(MemberRow, MembershipChange)>,
        joins: &mut Vec<MemberRow>,
        stamp: i64,
        plan: &mut Plan,
    ) {
        let is_log = self.device_type.format.is_log();
        let mut moving: Vec<MemberRow> = Vec::new();
        let joining: HashMap<IocId, usize> =
            joins.iter().enumerate().map(|(at, member)| (member.ioc_id, at)).collect();
        for (mut member, edit) in edits {
            let Some(shard) = numbers.get(&member.part_id).and_then(|n| shards.get_mut(n)) else {
                continue;
            };
            let mut leaves = |member: &MemberRow| {
                shard.gone.insert(member.ioc_id);
                shard.row.live = shard.row.live.saturating_sub(1);
                shard.row.total = shard.row.total.saturating_sub(1);
            };
            match edit {
                MembershipChange::Refresh(new, _) if new == member.fingerprint => {}
                MembershipChange::Refresh(new, span) => {
                    member.fingerprint = new;
                    member.span = span;
                    member.stamp = stamp;
                    if is_log {
                        leaves(&member);
                        moving.push(member);
                    } else {
                        shard.changed.insert(member.ioc_id, member);
                    }
                }
                MembershipChange::Leave(LeaveReason::SentAgain) => {
                    leaves(&member);
                    // It stays what it was: the same indicator with a new date, at the end.
                    if let Some(again) =
                        joining.get(&member.ioc_id).and_then(|at| joins.get_mut(*at))
                    {
                        again.joined_at = member.joined_at;
                        again.reborn = member.reborn;
                    }
                    plan.added = plan.added.saturating_sub(1);
                }
                MembershipChange::Leave(leave) => {
                    leaves(&member);
                    plan.removed += 1;
                    if is_log {
                        member.standing = MembershipState::Tombstone;
                        member.left_at = Some(self.now.micros());
                        member.leave = Some(leave);
                        member.stamp = stamp;
                        moving.push(member);
                    }
                }
                // Members of a list leave at once; none is ever on its way out.
                MembershipChange::Return => {}
            }
        }
        joins.extend(moving);
    }

    /// Sorts changes by indicator id, whatever shard they are in.
    async fn in_order(&self, loaded: &LoadedIocs, joins: &mut [MemberRow]) -> AppResult<()> {
        let (version, namespace) = (self.version(), self.account.id.namespace());
        let ids: Vec<IocId> = joins.iter().map(|m| m.ioc_id).collect();
        // An IOC that was not removed before has one indicator, whenever it joined.
        let of = |ioc: &Ioc| stix::indicator_uuid(version, &namespace, ioc, self.now, false);
        let mut keys = self.summaries(loaded, &ids, of).await?;
        let reborn: HashMap<IocId, Timestamp> = joins
            .iter()
            .filter(|m| m.reborn)
            .map(|m| (m.ioc_id, Timestamp::from_micros(m.joined_at)))
            .collect();
        let ids: Vec<IocId> = reborn.keys().copied().collect();
        keys.extend(
            self.summaries(loaded, &ids, |ioc| {
                stix::indicator_uuid(
                    version,
                    &namespace,
                    ioc,
                    reborn.get(&ioc.id).copied().unwrap_or(self.now),
                    true,
                )
            })
            .await?,
        );
        joins.sort_by_key(|m| keys.get(&m.ioc_id).copied());
        Ok(())
    }

    /// Forgets removals that are old enough, and finds out when the next ones will be.
    async fn expire(
        &self,
        shards: &mut Shards,
        numbers: &HashMap<PartId, u32>,
        plan: &mut Plan,
    ) -> AppResult<()> {
        let group = self.row.group.id;
        let now = self.now.micros();
        let mut oldest = self.read.member_oldest_tombstone(group).await?;
        if oldest.is_some_and(|at| at + TOMBSTONE_KEPT <= now) {
            let all = self.read.member_standing(group, &[MembershipState::Tombstone]).await?;
            let (expired, kept): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|m| m.left_at.is_none_or(|at| at + TOMBSTONE_KEPT <= now));
            oldest = kept.iter().filter_map(|m| m.left_at).min();
            for member in expired {
                if let Some(shard) = numbers.get(&member.part_id).and_then(|n| shards.get_mut(n)) {
                    shard.gone.insert(member.ioc_id);
                    shard.row.total = shard.row.total.saturating_sub(1);
                }
            }
        }
        let oldest = oldest.or_else(|| (plan.removed > 0).then_some(now));
        plan.due_at = oldest.map(|at| at + TOMBSTONE_KEPT);
        Ok(())
    }

    /// Puts those who join into shards: into the gaps, or in a log behind all others.
    fn place_list(&self, shards: &mut Shards, joins: Vec<MemberRow>, is_log: bool) {
        let account = &self.account.id;
        let last = shards.keys().next_back().copied().unwrap_or(THREATS);
        let mut free: Vec<u32> = shards
            .iter()
            .filter(|(n, s)| **n != THREATS && s.row.total < PART_MAX && (!is_log || **n == last))
            .map(|(n, _)| *n)
            .collect();
        free.reverse();
        let mut next = last + 1;
        for mut member in joins {
            let number = match free.last() {
                Some(number) => *number,
                None => {
                    free.push(next);
                    next += 1;
                    next - 1
                }
            };
            let shard = shards.entry(number).or_insert_with(|| {
                let row = PartRow::empty(
                    part_id(account, self.row.group.id, "", number),
                    "",
                    number,
                    self.row.group.name.as_str(),
                );
                Shard {
                    row,
                    fresh: true,
                    joins: Vec::new(),
                    changed: HashMap::new(),
                    gone: HashSet::new(),
                    rendered: false,
                }
            });
            member.part_id = shard.row.id;
            shard.row.total += 1;
            shard.row.live += u32::from(member.standing == MembershipState::Live);
            if shard.row.total >= PART_MAX {
                free.pop();
            }
            shard.joins.push(member);
        }
    }

    /// Renders the shards whose entries change, off the threads that answer requests.
    /// Gives what the entries that were written point at, where the list keeps that.
    async fn render_list(
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
                            m.reborn,
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
                ioc: spanning(iocs.get(&member.ioc_id)?.clone(), member.span),
                member,
                changed,
            })
        };
        Ok(all.into_iter().filter_map(entry).collect())
    }

    /// Keeps the list of malware families, threat actors and campaigns that indicators point at.
    fn list_threats(
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
            .map(|(kind, name)| Threat { kind, name, stamp })
            .collect();
        if new.is_empty() {
            if let Some(row) = row {
                plan.all_parts.insert(0, row);
            }
            return Ok(());
        }
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
    pub(super) async fn list_files(
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
        }];
        if self.device_type.format == Format::CiscoList {
            let sum = self.checksum(&segments, blobs).await?;
            files.push(FileRef {
                path: "md5".to_owned(),
                segments: vec![blob(sum.as_bytes(), blobs)?],
                before: None,
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
            reborn: m.reborn,
        }),
    )
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
