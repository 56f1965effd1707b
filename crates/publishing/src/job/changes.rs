//! Who joins, stays and leaves.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    group::Boundary,
    guard::Refusal,
    id::{IocId, PartId},
    member::{LeaveReason, MembershipState},
};
use iocast_store::{Before, MemberRow};

use super::loaded::LoadedIocs;

/// What happens to a member.
#[derive(Clone, Copy, Debug)]
pub(super) enum MembershipChange {
    /// Its IOC changed; this is the fingerprint of what receivers would see, and the network it
    /// stands for.
    Refresh(i64, Option<u8>),
    /// It was seen long after receivers were last told.
    SeenAgain,
    /// It leaves.
    Leave(LeaveReason),
    /// It was leaving and comes back before receivers were told.
    Return,
}

/// Who joins, stays and leaves.
#[derive(Debug, Default)]
pub(super) struct MemberChanges {
    pub(super) joins: Vec<IocId>,
    /// Those of them that are loaded.
    pub(super) loaded: LoadedIocs,
    pub(super) edits: Vec<(MemberRow, MembershipChange)>,
    /// Parts that hold a tombstone of somebody who joins.
    pub(super) tombstone_parts: HashSet<PartId>,
    /// Those who join and are listed as deleted.
    pub(super) readded: HashSet<IocId>,
    /// Those who join and stand for a wider network than their own: its prefix length.
    pub(super) merged_prefixes: HashMap<IocId, u8>,
    /// IOCs for which there was no room.
    pub(super) limit_cut: u64,
    /// Where the room ends.
    pub(super) boundary: Option<Boundary>,
    /// Whether every IOC of the account was looked at.
    pub(super) from_scratch: bool,
    /// Why IOCs that were looked at are kept back; nothing for those that are not.
    pub(super) refused: Vec<(IocId, Option<Refusal>)>,
}

impl MemberChanges {
    /// Somebody joins whose rows in the group are these.
    pub(super) fn comes_back(&mut self, id: IocId, rows: &[MemberRow]) {
        self.tombstone_parts.extend(rows.iter().map(|m| m.part_id));
        if rows.iter().any(|m| m.standing == MembershipState::Tombstone) {
            self.readded.insert(id);
        }
    }

    /// What the IOCs that are changed were before.
    pub(super) fn before(&self) -> Vec<Before> {
        let joined = self.joins.iter().map(|id| (*id, None));
        let edited = self.edits.iter().filter_map(|(member, edit)| match edit {
            MembershipChange::Leave(LeaveReason::SentAgain) => {
                Some((member.ioc_id, Some(member.merged_prefix)))
            }
            MembershipChange::Leave(_) if member.standing == MembershipState::Live => {
                Some((member.ioc_id, Some(member.merged_prefix)))
            }
            MembershipChange::Refresh(_, merged_prefix)
                if *merged_prefix != member.merged_prefix =>
            {
                Some((member.ioc_id, Some(member.merged_prefix)))
            }
            MembershipChange::Return => Some((member.ioc_id, None)),
            MembershipChange::Leave(_)
            | MembershipChange::Refresh(..)
            | MembershipChange::SeenAgain => None,
        });
        // One that is sent again leaves and joins: it was in.
        let before: HashMap<IocId, Option<Option<u8>>> = joined.chain(edited).collect();
        before.into_iter().collect()
    }

    /// Those whom a person takes out, with where they are.
    pub(super) fn withdrawn(&self) -> Vec<(IocId, PartId)> {
        let withdrawn = self
            .edits
            .iter()
            .filter(|(_, edit)| matches!(edit, MembershipChange::Leave(LeaveReason::Withdrawn)));
        withdrawn.map(|(member, _)| (member.ioc_id, member.part_id)).collect()
    }

    /// How many would leave that nobody asked to leave: a whitelisted IOC must go, and the limit is
    /// an admin's word.
    pub(super) fn losses(&self) -> u32 {
        let lost = self.edits.iter().filter(|(m, edit)| {
            m.standing == MembershipState::Live
                && matches!(edit, MembershipChange::Leave(LeaveReason::Unchosen))
        });
        u32::try_from(lost.count()).unwrap_or(u32::MAX)
    }
}
