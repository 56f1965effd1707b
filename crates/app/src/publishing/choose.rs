//! Who is in: by what changed, or by selecting anew.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    collapse::{Collapsed, collapse, spanning},
    device_type::Format,
    guard::Refusal,
    id::IocId,
    member::{Leave, Standing},
    rule::{Criteria, may_leave},
    selection::{Place, Selection},
};
use iocast_store::{IocPage, IocRow, MemberRow};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Choice, Edit, Hand, Verdict, Work};
use crate::{AppError, AppResult};

/// IOCs looked at together.
pub(crate) const PAGE: usize = 2_000;

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
        let mut choice = Choice { limit_cut: self.state.cut.reasons.get("limit").copied().unwrap_or(0), ..Choice::default() };
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
            let members = self.read.member_of_iocs(self.row.group.id, &ids).await?;
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
    fn edit(&self, member: &MemberRow, row: &IocRow, wanted: bool, span: Option<u8>) -> Option<Edit> {
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
        let mut refused: Vec<(IocId, Option<Refusal>)> = Vec::new();
        let mut candidates = Vec::new();
        let mut members_looked_at = Vec::new();
        let mut visited: HashSet<IocId> = HashSet::new();
        let mut spans = HashMap::new();
        let mut hand = Hand::default();
        let (mut pages, reading) = self.candidates();
        while let Some(page) = pages.recv().await {
            for row in page.await.map_err(AppError::internal)?? {
                let verdict = self.verdict(&row);
                if let Some(refusal) = verdict.refusal() {
                    refused.push((row.ioc.id, Some(refusal)));
                }
                let mut joins = false;
                if verdict == Verdict::Wanted {
                    let place = Place::of(&row.ioc, &self.ranks, &self.enabled);
                    let out = if self.collapses() {
                        candidates.push((row.ioc.kind, place));
                        None
                    } else {
                        selection.offer(place)
                    };
                    joins = out != Some(row.ioc.id);
                    out.iter().for_each(|id| hand.drop(id));
                }
                if let Some(member) = current.get(&row.ioc.id) {
                    unseen.remove(&row.ioc.id);
                    visited.insert(row.ioc.id);
                    members_looked_at.push((row, member, verdict == Verdict::Wanted));
                } else if joins {
                    hand.keep(row.ioc);
                }
            }
            if !self.collapses() {
                self.look_at(std::mem::take(&mut members_looked_at), &Collapsed::default(), &mut eligible, &mut edits);
            }
        }
        // A reader that broke off must not look like the end.
        reading.await.map_err(AppError::internal)?;
        // Members that no rule chooses any more did not come by.
        let others: Vec<IocId> = current.keys().filter(|id| !visited.contains(id)).copied().collect();
        for some in others.chunks(PAGE) {
            for row in self.read.ioc_fetch_many(some).await?.into_values() {
                let Some(member) = current.get(&row.ioc.id).filter(|_| row.seq <= self.target_seq) else { continue };
                unseen.remove(&row.ioc.id);
                members_looked_at.push((row, member, false));
            }
            if !self.collapses() {
                self.look_at(std::mem::take(&mut members_looked_at), &Collapsed::default(), &mut eligible, &mut edits);
            }
        }
        if self.collapses() {
            let mut collapsed = collapse(candidates, self.device_type.merges_networks());
            let out: Vec<IocId> = std::mem::take(&mut collapsed.places).into_iter().filter_map(|place| selection.offer(place)).collect();
            out.iter().chain(&collapsed.covered).for_each(|id| hand.drop(id));
            refused.extend(collapsed.covered.iter().map(|id| (*id, Some(Refusal::Covered))));
            self.look_at(members_looked_at, &collapsed, &mut eligible, &mut edits);
            spans = collapsed.spans;
        }
        let (kept, limit_cut) = selection.finish(unseen.len());
        let keep: HashSet<IocId> = kept.iter().copied().collect();
        let mut choice = Choice { limit_cut, refused, anew: true, spans, hand, ..Choice::default() };
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
        for (id, rows) in self.read.member_of_iocs(group, &joining).await? {
            choice.comes_back(id, &rows);
        }
        choice.joins = joining;
        Ok(choice)
    }

    /// Every IOC of the account that a rule may choose, some at a time; the next ones are read, and those after them fetched,
    /// while these are looked at.
    fn candidates(&self) -> (mpsc::Receiver<JoinHandle<AppResult<Vec<IocRow>>>>, JoinHandle<()>) {
        let (sender, pages) = mpsc::channel(1);
        let (read, account, to) = (self.app.store.read(), self.account.id.clone(), self.target_seq);
        let rules: Vec<Criteria> = self.rules.iter().map(|rule| rule.criteria.clone()).collect();
        let reading = tokio::spawn(async move {
            let rules: Vec<&Criteria> = rules.iter().collect();
            let mut after = None;
            loop {
                // What changes while the pages are read takes a number after the target, and is looked at next time: nothing
                // comes by twice.
                let page = read.ioc_candidates(&account, &rules, to, after, PAGE as u64).await;
                after = page.as_ref().ok().filter(|page| page.count() == PAGE).and_then(IocPage::last);
                if sender.send(tokio::task::spawn_blocking(move || Ok(page?.rows()?))).await.is_err() || after.is_none() {
                    break;
                }
            }
        });
        (pages, reading)
    }

    /// Whether what another entry covers is left out.
    fn collapses(&self) -> bool {
        // Squid takes no name beside its parent.
        self.row.group.collapse || self.device_type.format == Format::SquidDomains
    }

    /// What becomes of members that were looked at.
    fn look_at(&self, members: Vec<(IocRow, &MemberRow, bool)>, collapsed: &Collapsed, eligible: &mut HashSet<IocId>, edits: &mut HashMap<IocId, Edit>) {
        for (row, member, wanted) in members {
            let covered = wanted && collapsed.covered.contains(&row.ioc.id);
            let wanted = wanted && !covered;
            if wanted {
                eligible.insert(row.ioc.id);
            }
            let changed = row.seq > self.state.applied_seq;
            let visible = |edit: &Edit| !matches!(edit, Edit::Refresh(new, _) if !changed && *new == member.fingerprint);
            let edit = self.edit(member, &row, wanted, collapsed.spans.get(&row.ioc.id).copied()).map(|edit| match edit {
                Edit::Leave(Leave::Unchosen) if covered => Edit::Leave(Leave::Covered),
                other => other,
            });
            match edit.filter(visible) {
                Some(edit) => edits.insert(row.ioc.id, edit),
                None => edits.remove(&row.ioc.id),
            };
        }
    }

    /// Has the members that a person marked leave their part and join a new one.
    async fn choose_again(&self, choice: &mut Choice) -> AppResult<()> {
        let leaving: HashSet<IocId> = choice.edits.iter().filter(|(_, e)| matches!(e, Edit::Leave(_))).map(|(m, _)| m.ioc_id).collect();
        let marked: Vec<MemberRow> = self.read.member_to_resend(self.row.group.id).await?.into_iter().filter(|m| !leaving.contains(&m.ioc_id)).collect();
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
