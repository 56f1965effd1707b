//! A group that an admin keeps at one of its publications: that one is restored once, and from then
//! on only what is withdrawn leaves.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    collapse::with_merged_prefix,
    id::IocId,
    ioc::Ioc,
    member::{LeaveReason, MembershipState},
    rule::may_leave,
    selection::Selection,
};
use iocast_store::{Before, IocRow, MemberRow};

use super::{MemberChanges, MembershipChange, PAGE, PublicationJob};
use crate::AppResult;

impl PublicationJob<'_> {
    /// Whether the group does not go by its rules.
    pub(super) const fn is_kept(&self) -> bool {
        self.state.frozen.is_some() && self.state.restored.is_some()
    }

    /// The publication that restores the one that the group is kept at, once `number` is made.
    pub(super) fn restored(&self, number: i64) -> Option<i64> {
        self.state.restored.map(|restored| if restored == 0 { number } else { restored })
    }

    /// Restores the publication that the group is kept at, unless that was done before, and takes
    /// out what was withdrawn since.
    pub(super) async fn keep(&self) -> AppResult<MemberChanges> {
        let mut choice = self.nothing();
        if let Some(number) = self.state.frozen.filter(|_| self.state.restored == Some(0)) {
            let before = self.read.publication_before(self.row.group.id, number).await?;
            choice.limit_cut = 0;
            for some in before.unwrap_or_default().chunks(PAGE) {
                self.restore(some, &mut choice).await?;
            }
        }
        self.withdraw_changed(&mut choice).await?;
        if self.state.applied_config < self.state.config_version {
            self.withdraw_forbidden(&mut choice).await?;
        }
        self.cut_to_limit(&mut choice).await?;
        self.resend_marked(&mut choice).await?;
        Ok(choice)
    }

    /// Makes IOCs what they were in the group.
    async fn restore(&self, before: &[Before], choice: &mut MemberChanges) -> AppResult<()> {
        let ids: Vec<IocId> = before.iter().map(|(id, _)| *id).collect();
        let mut members = self.read.member_of_iocs(self.row.group.id, &ids).await?;
        let mut iocs = self.read.ioc_fetch_many(&ids).await?;
        for (id, was) in before {
            let rows = members.remove(id).unwrap_or_default();
            let Some(row) = iocs.remove(id) else { continue };
            let current = rows.iter().find(|m| m.standing != MembershipState::Tombstone);
            match (was, current) {
                (None, Some(member)) if member.standing == MembershipState::Live => {
                    let leave = MembershipChange::Leave(LeaveReason::RolledBack);
                    choice.edits.push((member.clone(), leave));
                }
                (None, _) => {}
                (Some(_), _) if self.is_withdrawn(&row) => {}
                (Some(merged_prefix), None) => {
                    choice.comes_back(*id, &rows);
                    choice.joins.push(*id);
                    choice
                        .merged_prefixes
                        .extend(merged_prefix.map(|merged_prefix| (*id, merged_prefix)));
                    choice.loaded.keep(row.ioc);
                }
                (Some(_), Some(member)) if member.standing == MembershipState::Leaving => {
                    choice.edits.push((member.clone(), MembershipChange::Return));
                }
                (Some(merged_prefix), Some(member)) if member.merged_prefix != *merged_prefix => {
                    choice.edits.push((member.clone(), self.refresh(row.ioc, *merged_prefix)));
                }
                (Some(_), Some(_)) => {}
            }
        }
        Ok(())
    }

    fn refresh(&self, ioc: Ioc, merged_prefix: Option<u8>) -> MembershipChange {
        MembershipChange::Refresh(
            self.fingerprint(&with_merged_prefix(ioc, merged_prefix)),
            merged_prefix,
        )
    }

    /// Whether an IOC must not come back: a person took it back, a guard keeps it from all devices,
    /// or the device would read it as an instruction.
    fn is_withdrawn(&self, row: &IocRow) -> bool {
        row.deleted
            || !may_leave(&row.ioc)
            || self.reserved(&row.ioc).is_some()
            || self.guard.refuse(&row.ioc, self.judged()).is_some()
    }

    /// The limit may be lower than it was: those that come first stay.
    async fn cut_to_limit(&self, choice: &mut MemberChanges) -> AppResult<()> {
        let leaving: HashSet<IocId> = choice
            .edits
            .iter()
            .filter(|(member, edit)| {
                member.standing == MembershipState::Live
                    && matches!(edit, MembershipChange::Leave(_))
            })
            .map(|(member, _)| member.ioc_id)
            .collect();
        let returning = choice
            .edits
            .iter()
            .filter(|(_, edit)| matches!(edit, MembershipChange::Return))
            .count();
        let live = usize::try_from(self.state.live).unwrap_or(usize::MAX);
        if live + returning + choice.joins.len() <= self.limit() + leaving.len() {
            return Ok(());
        }
        let group = self.row.group.id;
        let members = self.read.member_standing(group, &[MembershipState::Live]).await?;
        let mut stay: HashMap<IocId, Option<MemberRow>> = members
            .into_iter()
            .filter(|member| !leaving.contains(&member.ioc_id))
            .map(|member| (member.ioc_id, Some(member)))
            .collect();
        let returns = choice.edits.iter().filter(|(_, e)| matches!(e, MembershipChange::Return));
        stay.extend(returns.map(|(member, _)| (member.ioc_id, None)));
        stay.extend(choice.joins.iter().map(|id| (*id, None)));
        let ids: Vec<IocId> = stay.keys().copied().collect();
        let mut selection = Selection::new(self.limit());
        let places = self.summaries(&choice.loaded, &ids, |ioc| self.place_of(ioc)).await?;
        let mut out: HashSet<IocId> = HashSet::new();
        for place in places.into_values() {
            out.extend(selection.offer(place));
        }
        choice.limit_cut += out.len() as u64;
        choice.joins.retain(|id| !out.contains(id));
        choice.edits.retain(|(member, _)| !out.contains(&member.ioc_id));
        for id in out {
            choice.loaded.drop(&id);
            let leave = MembershipChange::Leave(LeaveReason::OverLimit);
            choice.edits.extend(stay.remove(&id).flatten().map(|member| (member, leave)));
        }
        Ok(())
    }

    /// Takes out members that must not be in since the guards changed.
    async fn withdraw_forbidden(&self, choice: &mut MemberChanges) -> AppResult<()> {
        let group = self.row.group.id;
        let edited: HashSet<IocId> = choice.edits.iter().map(|(m, _)| m.ioc_id).collect();
        let mut members = self.read.member_standing(group, &[MembershipState::Live]).await?;
        members.retain(|member| !edited.contains(&member.ioc_id));
        for some in members.chunks(PAGE) {
            let ids: Vec<IocId> = some.iter().map(|member| member.ioc_id).collect();
            let iocs = self.read.ioc_fetch_many(&ids).await?;
            let forbidden = some.iter().filter(|member| {
                iocs.get(&member.ioc_id).is_some_and(|row| self.is_withdrawn(row))
            });
            let leave = MembershipChange::Leave(LeaveReason::Withdrawn);
            choice.edits.extend(forbidden.map(|member| (member.clone(), leave)));
        }
        Ok(())
    }

    /// Takes out members that were withdrawn after the change number which the group last applied.
    async fn withdraw_changed(&self, choice: &mut MemberChanges) -> AppResult<()> {
        let numbers = (self.state.applied_seq, self.target_seq);
        let mut after = None;
        loop {
            let page = self
                .service
                .scheduler
                .changed(&self.read, &self.account.id, numbers, after)
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.seq, last.ioc.id));
            let withdrawn: Vec<IocId> = page
                .iter()
                .filter(|row| row.deleted || !may_leave(&row.ioc))
                .map(|row| row.ioc.id)
                .collect();
            if withdrawn.is_empty() {
                continue;
            }
            let mut members = self.members_of(&withdrawn).await?;
            let edited: HashSet<IocId> = choice.edits.iter().map(|(m, _)| m.ioc_id).collect();
            for id in withdrawn.iter().filter(|id| !edited.contains(id)) {
                let rows = members.remove(id).unwrap_or_default();
                let there = rows.into_iter().find(|m| m.standing != MembershipState::Tombstone);
                let leave = MembershipChange::Leave(LeaveReason::Withdrawn);
                choice.edits.extend(there.map(|member| (member, leave)));
            }
        }
    }
}
