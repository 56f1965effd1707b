//! Who is in, by what changed where the group has room. A full group goes by `full`, a group that is looked at as a whole by `select`.

use std::collections::HashSet;

use iocast_domain::{
    collapse::spanning,
    device_type::Format,
    id::IocId,
    member::{Leave, Standing},
    rule::may_leave,
};
use iocast_store::{IocRow, MemberRow};

use super::{Choice, Edit, Verdict, Work};
use crate::AppResult;

impl Work<'_> {
    /// Decides who joins, stays and leaves.
    pub(super) async fn choose(&self) -> AppResult<Choice> {
        let mut choice = match self.choose_incrementally().await? {
            Some(choice) => choice,
            None => self.choose_anew().await?,
        };
        self.choose_again(&mut choice).await?;
        Ok(choice)
    }

    /// Goes by what changed; none if everything is to be looked at.
    async fn choose_incrementally(&self) -> AppResult<Option<Choice>> {
        let reconfigured = self.state.applied_config < self.state.config_version;
        let full = self.state.cut.reasons.contains_key("limit");
        match &self.state.boundary {
            _ if reconfigured => Ok(None),
            None if full => Ok(None),
            None => self.choose_changed().await,
            Some(boundary) => self.choose_full(boundary).await,
        }
    }

    /// Looks only at what changed; none if the limit would be exceeded.
    async fn choose_changed(&self) -> AppResult<Option<Choice>> {
        let mut choice = Choice::default();
        let mut after = None;
        let mut growth: i64 = 0;
        loop {
            let page = self.app.publisher.changed(&self.read, &self.account.id, (self.state.applied_seq, self.target_seq), after).await?;
            let Some(last) = page.last() else {
                // Who joins or leaves a group that collapses may cover others, or have covered them.
                let moved = !choice.joins.is_empty() || choice.edits.iter().any(|(_, edit)| !matches!(edit, Edit::Refresh(..)));
                return Ok((!(moved && self.collapses())).then_some(choice));
            };
            after = Some((last.seq, last.ioc.id));
            let ids: Vec<IocId> = page.iter().map(|r| r.ioc.id).collect();
            let members = self.members_of(&ids).await?;
            for row in page.iter() {
                let rows = members.get(&row.ioc.id).map(Vec::as_slice).unwrap_or_default();
                let current = rows.iter().find(|m| m.standing != Standing::Tombstone);
                let verdict = self.verdict(row);
                choice.refused.push((row.ioc.id, verdict.refusal()));
                let wanted = verdict == Verdict::Wanted;
                match (current, wanted) {
                    (None, false) => {}
                    (None, true) => {
                        growth += 1;
                        choice.comes_back(row.ioc.id, rows);
                        choice.joins.push(row.ioc.id);
                        choice.hand.keep(row.ioc.clone());
                    }
                    (Some(member), _) => {
                        if let Some(edit) = self.edit(member, row, wanted, member.span) {
                            growth += match (member.standing, edit) {
                                (Standing::Live, Edit::Leave(_)) => -1,
                                (_, Edit::Return) => 1,
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

    /// What becomes of a member whose IOC was looked at, and that stands for a network as wide as `span` if it stays;
    /// nothing if all stays.
    pub(super) fn edit(&self, member: &MemberRow, row: &IocRow, wanted: bool, span: Option<u8>) -> Option<Edit> {
        // What an earlier version sent although it is an instruction goes as fast as what a person forbids.
        let whitelisted = !may_leave(&row.ioc) || self.reserved(&row.ioc).is_some();
        match (member.standing, wanted) {
            (Standing::Live, true) if span.is_none() => Some(Edit::Refresh(self.fingerprint(&row.ioc), None)),
            (Standing::Live, true) => Some(Edit::Refresh(self.fingerprint(&spanning(row.ioc.clone(), span)), span)),
            (Standing::Live, false) => Some(Edit::Leave(if whitelisted { Leave::Whitelisted } else { Leave::Unchosen })),
            (Standing::Leaving, true) => Some(Edit::Return),
            (Standing::Leaving, false) if whitelisted => Some(Edit::Leave(Leave::Whitelisted)),
            _ => None,
        }
    }

    /// Whether what another entry covers is left out.
    pub(super) fn collapses(&self) -> bool {
        // Squid takes no name beside its parent.
        self.row.group.collapse || self.device_type.format == Format::SquidDomains
    }

    /// Has the members that a person marked leave their part and join a new one.
    async fn choose_again(&self, choice: &mut Choice) -> AppResult<()> {
        let leaving: HashSet<IocId> = choice.edits.iter().filter(|(_, e)| matches!(e, Edit::Leave(_))).map(|(m, _)| m.ioc_id).collect();
        let marked: Vec<MemberRow> = self.beforehand.to_resend.iter().filter(|m| !leaving.contains(&m.ioc_id)).cloned().collect();
        let ids: HashSet<IocId> = marked.iter().map(|m| m.ioc_id).collect();
        choice.edits.retain(|(m, _)| !ids.contains(&m.ioc_id));
        let ids: Vec<IocId> = ids.into_iter().collect();
        for (id, rows) in self.read.member_of_iocs(self.row.group.id, &ids).await? {
            choice.comes_back(id, &rows);
        }
        for member in marked {
            choice.joins.push(member.ioc_id);
            if let Some(span) = member.span.filter(|_| !choice.anew) {
                choice.spans.insert(member.ioc_id, span);
            }
            choice.edits.push((member, Edit::Leave(Leave::SentAgain)));
        }
        Ok(())
    }
}
