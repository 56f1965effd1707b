//! The document of a list format, in shards that are rendered and compressed on their own.
//!
//! In most lists an IOC stays in the shard that it joined, and who joins fills the gaps. A log is
//! kept in the order of changes: whatever changes goes to the end, and what leaves stands there as
//! removed for as long as a tombstone is kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use iocast_domain::{
    account::Account,
    device_type::{Format, Taxii},
    group::Group,
    id::{IocId, PartId},
    ioc::Ioc,
    member::{LeaveReason, MembershipState, PART_MAX, TOMBSTONE_KEPT, part_id},
    time::Timestamp,
};
use iocast_formats::write::{
    list::{Entry, ListWriter, Scope},
    misp::SourceNames,
};
use iocast_store::{MemberRow, PartRow};

use super::{MemberChanges, MembershipChange, PublicationJob, parts::Plan};
use crate::AppResult;

mod order;
mod render;
use self::render::{MILLISECOND, THREATS};

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
    /// As it was published.
    fn of(row: PartRow) -> Self {
        Self {
            row,
            fresh: false,
            joins: Vec::new(),
            changed: HashMap::new(),
            gone: HashSet::new(),
            rendered: false,
        }
    }

    /// Lists it in the next publication, or forgets it where nothing is left in it.
    fn list(self, plan: &mut Plan) {
        if self.row.total == 0 && self.row.number != THREATS {
            if !self.fresh {
                plan.emptied_parts.push(self.row.id);
            }
            return;
        }
        if self.fresh || self.rendered {
            plan.changed_parts.push(self.row.clone());
        }
        plan.all_parts.push(self.row);
    }

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
        let step = ioc.lifetime() / 7;
        seen.last_seen = Timestamp::from_micros(ioc.last_seen.micros() / step * step);
        seen.first_seen = ioc.first_seen.min(ioc.last_seen);
    }
    let mut text = Vec::new();
    writer.entry(
        &Entry { ioc: &seen, joined_at: start, stamp: start, removed: false, readded: false },
        scope,
        &mut text,
    );
    if format.taxii().is_some() {
        // It rises when collections are dated otherwise than before.
        text.push(b'1');
    }
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
        let whole = |at: i64| (at + MILLISECOND - 1) / MILLISECOND * MILLISECOND;
        // What stands in every collection is as old as the group.
        let before = self.state.latest_stamp.unwrap_or(self.row.group.created_at.micros());
        let stamp = whole(self.now.micros().max(before + MILLISECOND));
        let parts = self.beforehand.parts.iter().cloned();
        let mut shards: Shards = parts.map(|row| (row.number, Shard::of(row))).collect();
        let numbers: HashMap<PartId, u32> =
            shards.iter().map(|(number, s)| (s.row.id, *number)).collect();
        let mut plan = Plan {
            limit_cut: choice.limit_cut,
            added: count(choice.joins.len()),
            ..Plan::default()
        };
        let MemberChanges { joins, mut loaded, edits, readded, merged_prefixes, .. } = choice;
        let mut joins = self.joining(joins, &readded, &merged_prefixes, stamp);
        self.edit_shards(&mut shards, &numbers, edits, &mut joins, stamp, &mut plan);
        if is_log {
            self.expire(&mut shards, &numbers, &mut plan).await?;
        }
        let mut latest = stamp;
        if is_log {
            self.in_order(&loaded, &mut joins).await?;
            latest = self.stamp_each(&mut joins, stamp);
        }
        self.place_list(&mut shards, joins, is_log);
        if shards.values().any(Shard::touched) {
            plan.latest_stamp = Some(latest);
        } else {
            plan.latest_stamp = self.state.latest_stamp;
        }
        let threats = self.render_list(writer, &mut shards, &mut loaded, &mut plan).await?;
        shards.into_values().for_each(|shard| shard.list(&mut plan));
        if let Some(version) = self.device_type.format.taxii() {
            self.list_threats(version, latest + self.step(), threats, &mut plan)?;
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
        readded: &HashSet<IocId>,
        merged_prefixes: &HashMap<IocId, u8>,
        stamp: i64,
    ) -> Vec<MemberRow> {
        let row = |ioc_id: IocId| MemberRow {
            part_id: PartId(uuid::Uuid::nil()),
            ioc_id,
            standing: MembershipState::Live,
            joined_at: self.now.micros(),
            stamp,
            fingerprint: 0,
            pending: false,
            left_at: None,
            leave: None,
            resend: false,
            readded: readded.contains(&ioc_id),
            merged_prefix: merged_prefixes.get(&ioc_id).copied(),
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
                MembershipChange::Refresh(new, merged_prefix) => {
                    member.fingerprint = new;
                    member.merged_prefix = merged_prefix;
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
                        again.readded = member.readded;
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
                // Members of a list leave at once, none is ever on its way out, and what lists say
                // of last seen is in their fingerprints.
                MembershipChange::Return | MembershipChange::SeenAgain => {}
            }
        }
        joins.extend(moving);
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
                Shard { fresh: true, ..Shard::of(row) }
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
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
