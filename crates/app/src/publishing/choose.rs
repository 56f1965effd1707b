//! Who is in: by what changed, or by selecting anew.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    group::Cut,
    id::IocId,
    member::{Leave, Standing},
    rule::may_leave,
    selection::{Place, Selection},
};
use iocast_formats::write::misp::fingerprint;
use iocast_store::{IocRow, MemberRow};

use super::{Choice, Edit, Work};
use crate::AppResult;

/// IOCs looked at together.
const PAGE: u64 = 2_000;

impl Work<'_> {
    /// Decides who joins, stays and leaves.
    pub(super) async fn choose(&self) -> AppResult<Choice> {
        let at_limit = self.state.cut.reasons.contains_key("limit");
        let reconfigured = self.state.applied_config < self.state.config_version;
        let incremental = if at_limit || reconfigured { None } else { self.choose_changed().await? };
        let mut choice = match incremental {
            Some(choice) => choice,
            None => self.choose_anew().await?,
        };
        self.choose_again(&mut choice).await?;
        Ok(choice)
    }

    /// Looks only at what changed; none if the limit would be exceeded.
    async fn choose_changed(&self) -> AppResult<Option<Choice>> {
        let mut choice = Choice { cut: self.state.cut.clone(), ..Choice::default() };
        let mut after = None;
        let mut growth: i64 = 0;
        loop {
            let page = self.read.ioc_changed(&self.account.id, self.state.applied_seq, self.target_seq, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(Some(choice)) };
            after = Some((last.seq, last.ioc.id));
            let ids: Vec<IocId> = page.iter().map(|r| r.ioc.id).collect();
            let members = self.read.member_of_iocs(self.row.group.id, &ids).await?;
            for row in page {
                let rows = members.get(&row.ioc.id).map(Vec::as_slice).unwrap_or_default();
                let current = rows.iter().find(|m| m.standing != Standing::Tombstone);
                let wanted = self.wants(&row);
                match (current, wanted) {
                    (None, false) => {}
                    (None, true) => {
                        growth += 1;
                        choice.tombstone_parts.extend(rows.iter().map(|m| m.part_id));
                        choice.joins.push(row.ioc);
                    }
                    (Some(member), _) => {
                        if let Some(edit) = self.edit(member, &row, wanted) {
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

    /// What becomes of a member whose IOC was looked at; nothing if all stays.
    fn edit(&self, member: &MemberRow, row: &IocRow, wanted: bool) -> Option<Edit> {
        let whitelisted = !may_leave(&row.ioc);
        match (member.standing, wanted) {
            (Standing::Live, true) => Some(Edit::Refresh(fingerprint(&row.ioc, &self.names))),
            (Standing::Live, false) => Some(Edit::Leave(if whitelisted { Leave::Whitelisted } else { Leave::Unchosen })),
            (Standing::Leaving, true) => Some(Edit::Return),
            (Standing::Leaving, false) if whitelisted => Some(Edit::Leave(Leave::Whitelisted)),
            _ => None,
        }
    }

    /// Looks at every IOC of the account, and takes the first ones up to the limit.
    async fn choose_anew(&self) -> AppResult<Choice> {
        let group = self.row.group.id;
        let current: HashMap<IocId, MemberRow> =
            self.read.member_standing(group, &[Standing::Live, Standing::Leaving]).await?.into_iter().map(|m| (m.ioc_id, m)).collect();
        // Members whose IOC changes meanwhile: they stay, and take up room, until they are looked at next time.
        let mut unseen: HashSet<IocId> = current.values().filter(|m| m.standing == Standing::Live).map(|m| m.ioc_id).collect();
        let mut selection = Selection::new(usize::try_from(self.row.group.limit).unwrap_or(usize::MAX));
        let mut edits: HashMap<IocId, Edit> = HashMap::new();
        let mut eligible: HashSet<IocId> = HashSet::new();
        let mut not_for_device = 0_u64;
        let mut after = None;
        loop {
            // What changes while the pages are read takes a number after the target, and is looked at next time: nothing
            // comes by twice.
            let page = self.read.ioc_changed(&self.account.id, -1, self.target_seq, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.seq, last.ioc.id));
            for row in page {
                let wanted = self.wants(&row);
                if wanted {
                    selection.offer(Place::of(&row.ioc, &self.ranks, &self.enabled));
                } else if !row.deleted && may_leave(&row.ioc) && !self.device_type.takes(row.ioc.kind) && self.chosen(&row.ioc) {
                    not_for_device += 1;
                }
                let Some(member) = current.get(&row.ioc.id) else { continue };
                unseen.remove(&row.ioc.id);
                if wanted {
                    eligible.insert(row.ioc.id);
                }
                let changed = row.seq > self.state.applied_seq;
                let visible = |edit: &Edit| !matches!(edit, Edit::Refresh(new) if !changed && *new == member.fingerprint);
                match self.edit(member, &row, wanted).filter(visible) {
                    Some(edit) => edits.insert(row.ioc.id, edit),
                    None => edits.remove(&row.ioc.id),
                };
            }
        }
        let (kept, limit_cut) = selection.finish(unseen.len());
        let keep: HashSet<IocId> = kept.iter().copied().collect();
        let mut choice = Choice { cut: cut(limit_cut, not_for_device), ..Choice::default() };
        let joining: Vec<IocId> = kept.into_iter().filter(|id| !current.contains_key(id)).collect();
        for (id, member) in current {
            let edit = match (member.standing, keep.contains(&id)) {
                // Eligible, but others come first.
                (Standing::Live, false) if eligible.contains(&id) => Some(Edit::Leave(Leave::Cut)),
                (Standing::Leaving, false) if eligible.contains(&id) => None,
                _ if unseen.contains(&id) => None,
                _ => edits.get(&id).copied(),
            };
            choice.edits.extend(edit.map(|e| (member, e)));
        }
        let mut iocs = self.read.ioc_fetch_many(&joining).await?;
        choice.tombstone_parts.extend(self.read.member_of_iocs(group, &joining).await?.into_values().flatten().map(|m| m.part_id));
        choice.joins.extend(joining.iter().filter_map(|id| iocs.remove(id)).filter(|row| self.wants(row)).map(|row| row.ioc));
        Ok(choice)
    }

    /// Has the members that a person marked leave their part and join a new one.
    async fn choose_again(&self, choice: &mut Choice) -> AppResult<()> {
        let leaving: HashSet<IocId> = choice.edits.iter().filter(|(_, e)| matches!(e, Edit::Leave(_))).map(|(m, _)| m.ioc_id).collect();
        let marked: Vec<MemberRow> = self.read.member_to_resend(self.row.group.id).await?.into_iter().filter(|m| !leaving.contains(&m.ioc_id)).collect();
        let ids: HashSet<IocId> = marked.iter().map(|m| m.ioc_id).collect();
        choice.edits.retain(|(m, _)| !ids.contains(&m.ioc_id));
        let ids: Vec<IocId> = ids.into_iter().collect();
        let iocs = self.read.ioc_fetch_many(&ids).await?;
        choice.tombstone_parts.extend(self.read.member_of_iocs(self.row.group.id, &ids).await?.into_values().flatten().map(|m| m.part_id));
        for member in marked {
            if let Some(row) = iocs.get(&member.ioc_id) {
                choice.joins.push(row.ioc.clone());
                choice.edits.push((member, Edit::Leave(Leave::SentAgain)));
            }
        }
        Ok(())
    }
}

fn cut(limit: u64, not_for_device: u64) -> Cut {
    let reasons = [("limit", limit), ("not_for_device", not_for_device)];
    Cut { reasons: reasons.into_iter().filter(|(_, n)| *n > 0).map(|(r, n)| (r.to_owned(), n)).collect() }
}
