//! Who is in, by what changed where the group has room. A full group goes by `full`, a group that
//! is looked at as a whole by `select`.

use std::collections::HashSet;

use iocast_domain::{
    collapse::with_merged_prefix,
    device_type::Format,
    id::IocId,
    ioc::Ioc,
    member::{LeaveReason, MembershipState},
    rule::may_leave,
    time::{DAY, SECOND},
};
use iocast_formats::write::list;
use iocast_store::{IocRow, MemberRow};

use super::{MemberChanges, MembershipChange, PublicationJob, Verdict, aged::LookedAt};
use crate::AppResult;

impl PublicationJob<'_> {
    /// Decides who joins, stays and leaves.
    pub(super) async fn choose(&self) -> AppResult<MemberChanges> {
        let mut choice = match self.select_incrementally().await? {
            Some(choice) => choice,
            None => self.select_from_scratch().await?,
        };
        self.resend_marked(&mut choice).await?;
        Ok(choice)
    }

    /// Goes by what changed; none if everything is to be looked at.
    async fn select_incrementally(&self) -> AppResult<Option<MemberChanges>> {
        let reconfigured = self.state.applied_config < self.state.config_version;
        let full = self.state.cut.reasons.contains_key("limit");
        match &self.state.boundary {
            _ if reconfigured => Ok(None),
            None if full => Ok(None),
            None => self.select_changed().await,
            Some(boundary) => self.select_full(boundary).await,
        }
    }

    /// Looks only at what changed; none if the limit would be exceeded.
    async fn select_changed(&self) -> AppResult<Option<MemberChanges>> {
        let mut choice = MemberChanges::default();
        let mut done = LookedAt::BEGIN;
        let mut growth: i64 = 0;
        loop {
            let Some(page) = self.next_page(&mut done).await? else {
                // Who joins or leaves a group that collapses may cover others, or have covered
                // them.
                let moved = !choice.joins.is_empty()
                    || choice.edits.iter().any(|(_, edit)| {
                        !matches!(edit, MembershipChange::Refresh(..) | MembershipChange::SeenAgain)
                    });
                return Ok((!(moved && self.collapses())).then_some(choice));
            };
            let ids: Vec<IocId> = page.iter().map(|r| r.ioc.id).collect();
            let members = self.members_of(&ids).await?;
            for row in page.iter() {
                let rows = members.get(&row.ioc.id).map(Vec::as_slice).unwrap_or_default();
                let current = rows.iter().find(|m| m.standing != MembershipState::Tombstone);
                let verdict = self.verdict(row);
                choice.refused.push((row.ioc.id, verdict.refusal()));
                let wanted = verdict == Verdict::Wanted;
                match (current, wanted) {
                    (None, false) => {}
                    (None, true) => {
                        growth += 1;
                        choice.comes_back(row.ioc.id, rows);
                        choice.joins.push(row.ioc.id);
                        choice.loaded.keep(row.ioc.clone());
                    }
                    (Some(member), _) => {
                        if let Some(edit) = self.edit(member, row, wanted, member.merged_prefix) {
                            growth += match (member.standing, edit) {
                                (MembershipState::Live, MembershipChange::Leave(_)) => -1,
                                (_, MembershipChange::Return) => 1,
                                _ => 0,
                            };
                            choice.edits.push((member.clone(), edit));
                        }
                    }
                }
            }
            if i64::from(self.state.live) + growth > i64::from(self.row.group.limit) {
                return Ok(None);
            }
        }
    }

    /// What becomes of a member whose IOC was looked at, and that stands for a network as wide as
    /// `merged_prefix` if it stays; nothing if all stays.
    pub(super) fn edit(
        &self,
        member: &MemberRow,
        row: &IocRow,
        wanted: bool,
        merged_prefix: Option<u8>,
    ) -> Option<MembershipChange> {
        // What an earlier version sent although it is an instruction goes as fast as what a person
        // withdraws.
        let withdrawn = row.deleted || !may_leave(&row.ioc) || self.reserved(&row.ioc).is_some();
        match (member.standing, wanted) {
            (MembershipState::Live, true) if merged_prefix.is_none() => {
                let new = self.fingerprint(&row.ioc);
                let seen_again = new == member.fingerprint && self.is_seen_again(member, &row.ioc);
                Some(if seen_again {
                    MembershipChange::SeenAgain
                } else {
                    MembershipChange::Refresh(new, None)
                })
            }
            (MembershipState::Live, true) => Some(MembershipChange::Refresh(
                self.fingerprint(&with_merged_prefix(row.ioc.clone(), merged_prefix)),
                merged_prefix,
            )),
            (MembershipState::Live, false) => Some(MembershipChange::Leave(if withdrawn {
                LeaveReason::Withdrawn
            } else {
                LeaveReason::Unchosen
            })),
            (MembershipState::Leaving, true) => Some(MembershipChange::Return),
            (MembershipState::Leaving, false) if withdrawn => {
                Some(MembershipChange::Leave(LeaveReason::Withdrawn))
            }
            _ => None,
        }
    }

    /// Whether a MISP has a date of last seen that is a week old or older. That alone does not
    /// change an event more often.
    fn is_seen_again(&self, member: &MemberRow, ioc: &Ioc) -> bool {
        list::writer(self.device_type.format).is_none()
            && ioc.last_seen.micros() - member.stamp * SECOND >= 7 * DAY
    }

    /// Whether what another entry covers is left out.
    pub(super) fn collapses(&self) -> bool {
        // Squid takes no name beside its parent.
        self.row.group.collapse || self.device_type.format == Format::SquidDomains
    }

    /// Has the members that a person marked leave their part and join a new one.
    pub(super) async fn resend_marked(&self, choice: &mut MemberChanges) -> AppResult<()> {
        let leaving: HashSet<IocId> = choice
            .edits
            .iter()
            .filter(|(_, e)| matches!(e, MembershipChange::Leave(_)))
            .map(|(m, _)| m.ioc_id)
            .collect();
        let marked: Vec<MemberRow> = self
            .beforehand
            .to_resend
            .iter()
            .filter(|m| !leaving.contains(&m.ioc_id))
            .cloned()
            .collect();
        let ids: HashSet<IocId> = marked.iter().map(|m| m.ioc_id).collect();
        choice.edits.retain(|(m, _)| !ids.contains(&m.ioc_id));
        let ids: Vec<IocId> = ids.into_iter().collect();
        for (id, rows) in self.read.member_of_iocs(self.row.group.id, &ids).await? {
            choice.comes_back(id, &rows);
        }
        for member in marked {
            choice.joins.push(member.ioc_id);
            if let Some(merged_prefix) = member.merged_prefix.filter(|_| !choice.from_scratch) {
                choice.merged_prefixes.insert(member.ioc_id, merged_prefix);
            }
            choice.edits.push((member, MembershipChange::Leave(LeaveReason::SentAgain)));
        }
        Ok(())
    }
}
