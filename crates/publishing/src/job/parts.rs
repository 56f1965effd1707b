//! Which events change, and their files.

use std::collections::{BTreeMap, HashMap, HashSet};

use iocast_domain::{
    id::{IocId, PartId},
    member::{LeaveReason, MembershipState, PART_MAX, SEALED_PART_REST, stamps},
};
use iocast_store::{MemberRow, NewBlob, PartRow};

use super::{MemberChanges, MembershipChange, PublicationJob, next_due};
use crate::AppResult;

mod lagging;
mod place;
mod render;
use self::lagging::Lagging;

/// What is to be written.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) members: Vec<MemberRow>,
    pub(super) forgotten: Vec<(PartId, Vec<IocId>)>,
    pub(super) resent: Vec<(PartId, Vec<IocId>)>,
    /// Parts that got new timestamps because a receiver lacks them.
    pub(super) offered: Vec<PartId>,
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
    /// Some MISPs have an older version.
    lagging: Option<Lagging>,
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
            lagging: None,
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
            && !self.row.pending
            && !self.row.offer_again
            && self.row.event.raw_len > 0
    }
}

impl Plan {
    /// Takes in what is to be written of a part.
    fn take(&mut self, part: Part) {
        let is_touched = part.fresh
            || part.keep
            || part.render
            || !part.changed.is_empty()
            || !part.expired.is_empty();
        self.members.extend(part.changed.into_values());
        if !part.resent.is_empty() {
            self.resent.push((part.row.id, part.resent));
        }
        if part.row.offer_again {
            self.offered.push(part.row.id);
        }
        if !part.expired.is_empty() {
            self.forgotten.push((part.row.id, part.expired));
        }
        if part.row.total == 0 && !part.fresh {
            self.emptied_parts.push(part.row.id);
            return;
        }
        if is_touched {
            self.changed_parts.push(part.row.clone());
        }
        self.all_parts.push(part.row);
    }
}

type Parts = BTreeMap<(String, u32), Part>;

impl PublicationJob<'_> {
    /// Puts the choice into events and renders those that change.
    pub(super) async fn plan(&self, choice: MemberChanges) -> AppResult<Plan> {
        let (today, now) = (self.now.day(), self.now.micros());
        let MemberChanges { joins, mut loaded, edits, tombstone_parts, limit_cut, .. } = choice;
        let mut plan = Plan { limit_cut, added: count(joins.len()), ..Plan::default() };
        let (mut parts, leaving, mut oldest) = self.what_waits(edits, &today).await?;
        let open = self.open_part(&parts, &today);
        let layers = self.without_twins(open, joins, &loaded).await?;
        self.place(&mut parts, layers, &tombstone_parts, &today);
        for part in parts.values_mut() {
            self.judge(part, &mut plan);
        }
        self.find_lagging(&mut parts).await?;
        let mut latest = self.state.latest_stamp;
        let how_many = parts.values().filter(|p| p.stamp).count();
        for (part, stamp) in
            parts.values_mut().filter(|p| p.stamp).zip(stamps(how_many, self.now.secs(), latest))
        {
            part.row.stamp = stamp;
            part.row.next_change_at = now + SEALED_PART_REST;
            latest = Some(stamp);
        }
        let with_leaving = leaving.iter().map(|m| m.part_id).collect();
        self.render(&mut parts, &with_leaving, &mut loaded, &mut plan).await?;
        let mut still_leaving: Vec<MemberRow> = leaving;
        for part in parts.into_values() {
            still_leaving
                .retain(|m| m.part_id != part.row.id || !part.changed.contains_key(&m.ioc_id));
            still_leaving.extend(
                part.changed.values().filter(|m| m.standing == MembershipState::Leaving).cloned(),
            );
            if part.changed.values().any(|m| m.standing == MembershipState::Tombstone) {
                oldest = Some(oldest.map_or(now, |at| at.min(now)));
            }
            plan.take(part);
        }
        let by_id: HashMap<PartId, &PartRow> = plan.all_parts.iter().map(|p| (p.id, p)).collect();
        plan.due_at = next_due(&by_id, &still_leaving, oldest, &today);
        plan.live = plan.all_parts.iter().map(|p| p.live).sum();
        plan.latest_stamp = latest;
        Ok(plan)
    }

    /// The group's parts, each with what changes in it and what waited: cuts that became final,
    /// tombstones that expired. With them who is leaving, and when the oldest tombstone became one.
    async fn what_waits(
        &self,
        edits: Vec<(MemberRow, MembershipChange)>,
        today: &str,
    ) -> AppResult<(Parts, Vec<MemberRow>, Option<i64>)> {
        let now = self.now.micros();
        let rows = self.beforehand.parts.iter().cloned();
        let mut parts: Parts =
            rows.map(|row| ((row.day.clone(), row.number), Part::of(row, false, today))).collect();
        let keys: HashMap<PartId, (String, u32)> =
            parts.iter().map(|(key, p)| (p.row.id, key.clone())).collect();
        let edited: HashSet<(PartId, IocId)> =
            edits.iter().map(|(m, _)| (m.part_id, m.ioc_id)).collect();
        for (member, edit) in edits {
            if let Some(part) = keys.get(&member.part_id).and_then(|key| parts.get_mut(key)) {
                part.edits.push((member, edit));
            }
        }
        let (group, states) = (self.row.group.id, [MembershipState::Leaving]);
        let mut leaving = self.read.member_standing(group, &states).await?;
        leaving.retain(|m| !edited.contains(&(m.part_id, m.ioc_id)));
        for member in &leaving {
            let Some(part) = keys.get(&member.part_id).and_then(|key| parts.get_mut(key)) else {
                continue;
            };
            let is_due = member.leave.zip(member.left_at).is_some_and(|(leave, at)| {
                leave.due(at, part.row.next_change_at, part.sealed) <= now
            });
            if is_due {
                part.due.insert(member.ioc_id);
            }
        }
        let (oldest, expired) = self.expired().await?;
        for member in expired {
            if let Some(part) = keys.get(&member.part_id).and_then(|key| parts.get_mut(key)) {
                part.expired.push(member.ioc_id);
            }
        }
        Ok((parts, leaving, oldest))
    }

    /// Decides what of a part's edits reaches receivers now, and what waits.
    fn judge(&self, part: &mut Part, plan: &mut Plan) {
        let now = self.now.micros();
        let rested = part.row.next_change_at <= now;
        let sealed = part.sealed;
        for (mut member, edit) in std::mem::take(&mut part.edits) {
            member.resend = false;
            match edit {
                MembershipChange::Refresh(new, _)
                    if !sealed || (new != member.fingerprint && rested) =>
                {
                    member.fingerprint = new;
                    member.pending = true;
                    part.stamp = true;
                }
                MembershipChange::Refresh(new, _) if new != member.fingerprint => {
                    member.pending = true;
                    part.row.pending = true;
                }
                MembershipChange::Refresh(..) => continue,
                MembershipChange::SeenAgain => {
                    member.pending = true;
                    part.stamp |= !sealed || rested;
                    part.row.pending |= sealed && !rested;
                }
                MembershipChange::Return => {
                    member.standing = MembershipState::Live;
                    member.left_at = None;
                    member.leave = None;
                    member.pending = true;
                    // A receiver that has it never heard that it was gone; one that has not waits
                    // for the next rest.
                    part.stamp |= !sealed || rested;
                    part.row.pending |= sealed && !rested;
                    part.render = true;
                    part.returned.insert(member.ioc_id);
                    part.row.live += 1;
                    plan.added += 1;
                }
                MembershipChange::Leave(leave) => self.leave(part, &mut member, leave, plan),
            }
            part.changed.insert(member.ioc_id, member);
        }
        let flush = part.row.pending && rested;
        part.stamp |=
            flush || part.row.offer_again || !part.due.is_empty() || !part.joins.is_empty();
        part.render |= part.stamp || !part.expired.is_empty();
        part.row.total =
            part.row.total.saturating_sub(count(part.expired.len())) + count(part.joins.len());
        part.row.live += count(part.joins.len());
        part.row.sealed |= part.row.total >= PART_MAX;
    }

    /// A member leaves its part: at once, or with the next version of the part.
    fn leave(&self, part: &mut Part, member: &mut MemberRow, leave: LeaveReason, plan: &mut Plan) {
        let now = self.now.micros();
        let left_at = if member.standing == MembershipState::Live {
            now
        } else {
            member.left_at.unwrap_or(now)
        };
        if member.standing == MembershipState::Live {
            part.row.live = part.row.live.saturating_sub(1);
            plan.removed += 1;
        }
        let told = leave.due(left_at, part.row.next_change_at, part.sealed) <= now;
        member.standing = if told { MembershipState::Tombstone } else { MembershipState::Leaving };
        member.left_at = Some(if told { now } else { left_at });
        member.leave = Some(leave);
        member.pending = told;
        part.stamp |= told;
        part.render = true;
        if leave == LeaveReason::SentAgain {
            part.resent.push(member.ioc_id);
            plan.removed = plan.removed.saturating_sub(1);
            plan.added = plan.added.saturating_sub(1);
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
