//! Selecting from scratch: every IOC that a rule may choose is looked at, or, along the order in
//! which they compete, as many as have room.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    collapse::{Collapsed, collapse},
    group::Boundary,
    guard::Refusal,
    id::IocId,
    ioc::{Ioc, Kind},
    member::{LeaveReason, MembershipState},
    rule::Criteria,
    selection::{Place, Selection, UNRANKED},
    time::MINUTE,
};
use iocast_store::{IocPage, IocRow, MemberRow, Standpoint, Walk};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{LoadedIocs, MemberChanges, MembershipChange, PAGE, PublicationJob, Verdict};
use crate::{AppError, AppResult};

mod paged;
use self::paged::{give, paged};

/// IOCs behind the boundary of a full group that are counted at once; more are counted later, when
/// nothing waits for it.
const COUNTED_AT_ONCE: usize = 20_000;
/// After how long counting is tried again where it was broken off, in microseconds.
pub(super) const COUNT_AGAIN: i64 = 10 * MINUTE;
/// Every how many pages a count looks whether something is to be published.
const PAGES_BETWEEN: usize = 4;

/// In which order IOCs come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Best first: it ends where the room ends, or is given up where the group does not fill.
    Precedence,
    /// All of them, in order of change.
    Changes,
    /// The same only to count those that found no room: it makes way for whatever changes.
    Count,
}

type Pages = (mpsc::Receiver<JoinHandle<AppResult<Vec<IocRow>>>>, JoinHandle<()>);

impl PublicationJob<'_> {
    /// Looks at the IOCs of the account, and takes the first ones up to the limit.
    pub(super) async fn select_from_scratch(&self) -> AppResult<MemberChanges> {
        // What covers what is only known when all were seen.
        if !self.collapses()
            && !self.read.ioc_any_unplaced(&self.account.id).await?
            && let Some(choice) = self.select(Route::Precedence).await?
        {
            return Ok(choice);
        }
        self.select(Route::Changes)
            .await?
            .ok_or_else(|| AppError::internal(std::io::Error::other("a selection ended early")))
    }

    /// Counts what found no room in a full group; none if something is to be published before it
    /// ends.
    pub(super) async fn count(&self) -> AppResult<Option<MemberChanges>> {
        self.select(Route::Count).await
    }

    async fn select(&self, route: Route) -> AppResult<Option<MemberChanges>> {
        let mut scan = Scan::begin(self).await?;
        let (mut pages, reading) = match route {
            Route::Precedence => self.candidates_by_precedence(),
            Route::Changes | Route::Count => self.candidates(),
        };
        let (mut looked_at, mut closed_at, mut count) = (0, None, 0);
        while let Some(page) = pages.recv().await {
            let rows = page.await.map_err(AppError::internal)??;
            looked_at += rows.len();
            count += 1;
            let last = rows.last().map(|row| self.place_of(&row.ioc));
            rows.into_iter().for_each(|row| scan.look_at(row));
            match route {
                Route::Precedence => {
                    if closed_at.is_none()
                        && last.is_some_and(|last| scan.selection.is_closed_to(&last))
                    {
                        closed_at = Some(looked_at);
                    }
                    match closed_at {
                        Some(at) if looked_at > at + COUNTED_AT_ONCE => {
                            scan.count_at = Some(self.now.micros());
                            break;
                        }
                        // So many are not in that all may as well be read in the order in which
                        // they lie.
                        None if looked_at > 4 * self.limit() + COUNTED_AT_ONCE => return Ok(None),
                        _ => {}
                    }
                }
                Route::Count if count % PAGES_BETWEEN == 0 && self.is_overtaken().await? => {
                    return Ok(None);
                }
                Route::Changes | Route::Count => {}
            }
        }
        let complete = scan.count_at.is_none();
        drop(pages);
        // A reader that broke off must not look like the end.
        reading.await.map_err(AppError::internal)?;
        scan.members_not_seen(complete).await?;
        scan.finish().await.map(Some)
    }

    /// Whether something is to be published by now.
    async fn is_overtaken(&self) -> AppResult<bool> {
        let config =
            self.read.publish_state(self.row.group.id).await?.map(|state| state.config_version);
        Ok(config != Some(self.state.config_version)
            || self.read.account_seq(&self.account.id).await? > self.target_seq)
    }

    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.row.group.limit).unwrap_or(usize::MAX)
    }

    pub(super) fn place_of(&self, ioc: &Ioc) -> Place {
        Place::of(ioc, &self.ranks, &self.enabled)
    }

    /// Every IOC of the account that a rule may choose, some at a time; the next ones are read, and
    /// those after them fetched, while these are looked at.
    fn candidates(&self) -> Pages {
        let (read, account, to, rules) = (
            self.service.context.store.read(),
            self.account.id.clone(),
            self.target_seq,
            self.rules.clone(),
        );
        paged(async move |sender| {
            let rules: Vec<&Criteria> = rules.iter().collect();
            let mut after = None;
            loop {
                // What changes while the pages are read takes a number after the target, and is
                // looked at next time: nothing comes by twice.
                let page = read.ioc_candidates(&account, &rules, to, after, PAGE as u64).await;
                after =
                    page.as_ref().ok().filter(|page| page.count() == PAGE).and_then(IocPage::last);
                if !give(&sender, page).await || after.is_none() {
                    break;
                }
            }
        })
    }

    /// The same, best first.
    fn candidates_by_precedence(&self) -> Pages {
        let (read, classes, rules) =
            (self.service.context.store.read(), self.classes(self.target_seq), self.rules.clone());
        paged(async move |sender| {
            let rules: Vec<&Criteria> = rules.iter().collect();
            for (_, walk) in classes {
                let mut after: Option<Standpoint> = None;
                loop {
                    let page = read.ioc_behind(&walk, &rules, after.as_ref(), PAGE as u64).await;
                    let failed = page.is_err();
                    after = page
                        .as_ref()
                        .ok()
                        .filter(|page| page.count() == PAGE)
                        .and_then(IocPage::last_place);
                    if !give(&sender, page).await || failed {
                        return;
                    }
                    if after.is_none() {
                        break;
                    }
                }
            }
        })
    }

    /// The walks that come by all IOCs one after the other, best first, each with the rank of what
    /// it comes by: those of the sources in the group's priority, then all others.
    pub(super) fn classes(&self, to: i64) -> Vec<(u32, Walk)> {
        let account = &self.account.id;
        let mut before = Vec::new();
        let mut classes = Vec::new();
        for (source, rank) in self
            .row
            .group
            .source_priority
            .iter()
            .zip(0..)
            .filter(|(source, _)| self.enabled.contains(source))
        {
            classes.push((
                rank,
                Walk { account: account.clone(), source: Some(*source), but: before.clone(), to },
            ));
            before.push(*source);
        }
        classes.push((UNRANKED, Walk { account: account.clone(), source: None, but: before, to }));
        classes
    }
}

/// A selection in the making.
struct Scan<'w, 'a> {
    work: &'w PublicationJob<'a>,
    /// Members, live ones and those on their way out.
    current: HashMap<IocId, MemberRow>,
    /// Live members that were not looked at. Those whose IOC changes during the selection stay, and
    /// take up room, until next time.
    unseen: HashSet<IocId>,
    visited: HashSet<IocId>,
    selection: Selection,
    /// What becomes of members, if they have room.
    edits: HashMap<IocId, MembershipChange>,
    eligible: HashSet<IocId>,
    refused: Vec<(IocId, Option<Refusal>)>,
    loaded: LoadedIocs,
    /// Where what others cover is left out: all that are wanted, and the members, until all were
    /// seen.
    candidates: Vec<(Kind, Place)>,
    members: Vec<(IocRow, bool)>,
    /// Not all that found no room were counted.
    count_at: Option<i64>,
}

impl<'w, 'a> Scan<'w, 'a> {
    async fn begin(work: &'w PublicationJob<'a>) -> AppResult<Self> {
        let standing = work
            .read
            .member_standing(work.row.group.id, &[MembershipState::Live, MembershipState::Leaving])
            .await?;
        let current: HashMap<IocId, MemberRow> =
            standing.into_iter().map(|m| (m.ioc_id, m)).collect();
        Ok(Self {
            unseen: current
                .values()
                .filter(|m| m.standing == MembershipState::Live)
                .map(|m| m.ioc_id)
                .collect(),
            current,
            work,
            visited: HashSet::new(),
            selection: Selection::new(work.limit()),
            edits: HashMap::new(),
            eligible: HashSet::new(),
            refused: Vec::new(),
            loaded: LoadedIocs::default(),
            candidates: Vec::new(),
            members: Vec::new(),
            count_at: None,
        })
    }

    fn look_at(&mut self, row: IocRow) {
        let (work, id) = (self.work, row.ioc.id);
        let verdict = work.verdict(&row);
        if let Some(refusal) = verdict.refusal() {
            self.refused.push((id, Some(refusal)));
        }
        let wanted = verdict == Verdict::Wanted;
        let mut joins = wanted;
        if wanted {
            let place = work.place_of(&row.ioc);
            if work.collapses() {
                self.candidates.push((row.ioc.kind, place));
            } else if let Some(out) = self.selection.offer(place) {
                joins = out != id;
                self.loaded.drop(&out);
            }
        }
        if self.current.contains_key(&id) {
            self.visited.insert(id);
            self.member(row, wanted);
        } else if joins {
            self.loaded.keep(row.ioc);
        }
    }

    fn member(&mut self, row: IocRow, wanted: bool) {
        self.unseen.remove(&row.ioc.id);
        if self.work.collapses() {
            self.members.push((row, wanted));
        } else {
            self.judge(&row, wanted, &Collapsed::default());
        }
    }

    /// What becomes of a member that was looked at.
    fn judge(&mut self, row: &IocRow, wanted: bool, collapsed: &Collapsed) {
        let (work, id) = (self.work, row.ioc.id);
        let Some(member) = self.current.get(&id) else { return };
        let covered = wanted && collapsed.covered.contains(&id);
        let wanted = wanted && !covered;
        if wanted {
            self.eligible.insert(id);
        }
        let changed = row.seq > work.state.applied_seq;
        let visible = |edit: &MembershipChange| !matches!(edit, MembershipChange::Refresh(new, _) if !changed && *new == member.fingerprint);
        let edit = work.edit(member, row, wanted, collapsed.merged_prefixes.get(&id).copied()).map(
            |edit| match edit {
                MembershipChange::Leave(LeaveReason::Unchosen) if covered => {
                    MembershipChange::Leave(LeaveReason::Covered)
                }
                other => other,
            },
        );
        match edit.filter(visible) {
            Some(edit) => self.edits.insert(id, edit),
            None => self.edits.remove(&id),
        };
    }

    /// Members that did not come by: no rule chooses them any more, or the walk ended before them.
    async fn members_not_seen(&mut self, complete: bool) -> AppResult<()> {
        let others: Vec<IocId> =
            self.current.keys().filter(|id| !self.visited.contains(id)).copied().collect();
        for some in others.chunks(PAGE) {
            for row in self
                .work
                .read
                .ioc_fetch_many(some)
                .await?
                .into_values()
                .filter(|row| row.seq <= self.work.target_seq)
            {
                let wanted = !complete && self.work.verdict(&row) == Verdict::Wanted;
                self.member(row, wanted);
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> AppResult<MemberChanges> {
        let work = self.work;
        let mut merged_prefixes = HashMap::new();
        if work.collapses() {
            let mut collapsed =
                collapse(std::mem::take(&mut self.candidates), work.device_type.merges_networks());
            for place in std::mem::take(&mut collapsed.places) {
                if let Some(out) = self.selection.offer(place) {
                    self.loaded.drop(&out);
                }
            }
            for id in &collapsed.covered {
                self.loaded.drop(id);
                self.refused.push((*id, Some(Refusal::Covered)));
            }
            for (row, wanted) in std::mem::take(&mut self.members) {
                self.judge(&row, wanted, &collapsed);
            }
            merged_prefixes = collapsed.merged_prefixes;
        }
        let Self { current, unseen, selection, edits, eligible, refused, loaded, count_at, .. } =
            self;
        let (kept, limit_cut) = selection.finish(unseen.len());
        let full = limit_cut > 0 && !work.collapses();
        let boundary =
            kept.last().filter(|_| full).map(|place| Boundary { place: place.clone(), count_at });
        let keep: HashSet<IocId> = kept.iter().map(|place| place.id).collect();
        let joins: Vec<IocId> =
            kept.into_iter().map(|place| place.id).filter(|id| !current.contains_key(id)).collect();
        let mut choice = MemberChanges {
            limit_cut,
            refused,
            from_scratch: true,
            merged_prefixes,
            loaded,
            boundary,
            ..MemberChanges::default()
        };
        for (id, member) in current {
            let edit = match (member.standing, keep.contains(&id)) {
                // Eligible, but others come first.
                (MembershipState::Live, false) if eligible.contains(&id) => {
                    Some(MembershipChange::Leave(LeaveReason::OverLimit))
                }
                (MembershipState::Leaving, false) if eligible.contains(&id) => None,
                _ if unseen.contains(&id) => None,
                _ => edits.get(&id).copied(),
            };
            choice.edits.extend(edit.map(|e| (member, e)));
        }
        for (id, rows) in work.read.member_of_iocs(work.row.group.id, &joins).await? {
            choice.comes_back(id, &rows);
        }
        choice.joins = joins;
        Ok(choice)
    }
}
