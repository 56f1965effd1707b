//! Who is in a full group after some IOCs changed. Every member stands before the group's boundary,
//! and whatever else it would take behind it: those that changed are placed again, and only as many
//! of the others are read as move over the boundary.

use std::collections::{HashMap, VecDeque};

use iocast_domain::{
    group::Boundary,
    id::IocId,
    ioc::State,
    member::{LeaveReason, MembershipState},
    rule::may_leave,
    selection::{Place, Selection},
};
use iocast_store::{IocRow, MemberRow};

use super::{
    MemberChanges, MembershipChange, PublicationJob, Verdict, aged::LookedAt, select::COUNT_AGAIN,
};
use crate::AppResult;

mod steps;
use self::steps::Steps;

impl PublicationJob<'_> {
    /// Goes by what changed; none if the group has to be selected from scratch.
    pub(super) async fn select_full(
        &self,
        boundary: &Boundary,
    ) -> AppResult<Option<MemberChanges>> {
        if self.collapses() || self.read.ioc_any_unplaced(&self.account.id).await? {
            return Ok(None);
        }
        let mut count_at = boundary.count_at;
        if self.target_seq <= self.state.applied_seq
            && count_at.is_some_and(|at| at <= self.now.micros())
        {
            if let Some(choice) = self.count().await? {
                return Ok(Some(choice));
            }
            count_at = Some(self.now.micros() + COUNT_AGAIN);
        } else if self.is_new_day() {
            // What waits behind the boundary grew older, too.
            count_at = count_at.or(Some(self.now.micros() + COUNT_AGAIN));
        }
        let mut changed = Changed::of(self).await?;
        let place = match changed.settle(self, &boundary.place).await? {
            Settled::Full(place) => Some(place),
            Settled::HasRoom => None,
            Settled::Unclear => return Ok(None),
        };
        let mut choice = changed.choice;
        choice.boundary = place.map(|place| Boundary { place, count_at });
        Ok(Some(choice))
    }
}

/// An IOC that changed and that the group would take.
struct Contender {
    /// Its rows in the group.
    rows: Vec<MemberRow>,
    /// What becomes of it as a member, if it stays.
    edit: Option<MembershipChange>,
    /// It came after the last publication.
    new: bool,
}

impl Contender {
    fn current(&self) -> Option<&MemberRow> {
        self.rows.iter().find(|m| m.standing != MembershipState::Tombstone)
    }
}

/// How full a group is after what changed.
enum Settled {
    /// Something finds no room; this is the new boundary.
    Full(Place),
    /// All that it would take are in.
    HasRoom,
    /// The members are not where the boundary says: the group has to be selected from scratch.
    Unclear,
}

/// What changed since the last publication.
struct Changed {
    choice: MemberChanges,
    contenders: HashMap<IocId, Contender>,
    /// The places of those, best first.
    places: Vec<Place>,
    /// Live members among all that changed.
    live: usize,
    /// How many more find no room than before, or fewer, as far as that is known.
    queue: i64,
    /// Some of those that changed find no room.
    some_lose: bool,
}

impl Changed {
    async fn of(work: &PublicationJob<'_>) -> AppResult<Self> {
        let mut this = Self {
            choice: MemberChanges::default(),
            contenders: HashMap::new(),
            places: Vec::new(),
            live: 0,
            queue: 0,
            some_lose: false,
        };
        // More than have room need not be kept.
        let mut selection = Selection::new(work.limit());
        let mut done = LookedAt::BEGIN;
        while let Some(page) = work.next_page(&mut done).await? {
            let ids: Vec<IocId> = page.iter().map(|r| r.ioc.id).collect();
            let mut members = work.read.member_of_iocs(work.row.group.id, &ids).await?;
            for row in page.iter() {
                let rows = members.remove(&row.ioc.id).unwrap_or_default();
                if let Some(out) =
                    this.look_at(work, row, rows).and_then(|place| selection.offer(place))
                {
                    this.loses(out);
                }
            }
        }
        this.places = selection.finish(0).0;
        Ok(this)
    }

    /// Gives the place of an IOC that the group would take.
    fn look_at(
        &mut self,
        work: &PublicationJob<'_>,
        row: &IocRow,
        rows: Vec<MemberRow>,
    ) -> Option<Place> {
        let verdict = work.verdict(row);
        let wanted = verdict == Verdict::Wanted;
        self.choice.refused.push((row.ioc.id, verdict.refusal()));
        let new = row.first_seq > work.state.applied_seq;
        let contender = Contender { rows, edit: None, new };
        let current = contender.current();
        self.live += usize::from(current.is_some_and(|m| m.standing == MembershipState::Live));
        let edit = current.and_then(|member| work.edit(member, row, wanted, None));
        if wanted {
            if current.is_none() {
                self.choice.loaded.keep(row.ioc.clone());
            }
            self.contenders.insert(row.ioc.id, Contender { edit, ..contender });
            return Some(work.place_of(&row.ioc));
        }
        match (current, edit) {
            (Some(member), Some(edit)) => self.choice.edits.push((member.clone(), edit)),
            // What is not sent any more most likely found no room before.
            (None, _)
                if !new
                    && (row.deleted || !may_leave(&row.ioc) || row.ioc.state == State::Retired) =>
            {
                self.queue -= 1;
            }
            _ => {}
        }
        None
    }

    /// One that changed finds no room.
    fn loses(&mut self, id: IocId) {
        let Some(contender) = self.contenders.remove(&id) else { return };
        self.some_lose = true;
        self.choice.loaded.drop(&id);
        match contender.current() {
            Some(member) if member.standing == MembershipState::Live => {
                self.choice
                    .edits
                    .push((member.clone(), MembershipChange::Leave(LeaveReason::OverLimit)));
                self.queue += 1;
            }
            Some(_) => {}
            None => self.queue += i64::from(contender.new),
        }
    }

    /// One that changed has room.
    fn stays(&mut self, id: IocId) {
        let Some(contender) = self.contenders.remove(&id) else { return };
        match (contender.current(), contender.edit) {
            (Some(member), edit) => {
                self.choice.edits.extend(edit.map(|edit| (member.clone(), edit)));
            }
            (None, _) => {
                self.choice.comes_back(id, &contender.rows);
                self.choice.joins.push(id);
                self.queue -= i64::from(!contender.new);
            }
        }
    }

    /// Decides who has room.
    async fn settle(&mut self, work: &PublicationJob<'_>, boundary: &Place) -> AppResult<Settled> {
        let unchanged =
            usize::try_from(work.state.live).unwrap_or(usize::MAX).saturating_sub(self.live);
        let behind = self.places.split_off(self.places.partition_point(|place| place <= boundary));
        let mut before = std::mem::take(&mut self.places);
        let taken = unchanged + before.len();
        // Those that lost already may stand before the old boundary: then it has to come nearer.
        let settled = if taken > work.limit() || (taken == work.limit() && self.some_lose) {
            for place in behind {
                self.loses(place.id);
            }
            self.make_room(work, boundary, &mut before, taken - work.limit()).await?
        } else {
            self.fill_up(work, boundary, behind.into(), work.limit() - taken).await?
        };
        for place in before {
            self.stays(place.id);
        }
        let waiting = work
            .state
            .cut
            .reasons
            .get("limit")
            .copied()
            .unwrap_or(0)
            .saturating_add_signed(self.queue);
        // As long as there is a boundary, something stands behind it.
        self.choice.limit_cut =
            if matches!(settled, Settled::Full(_)) { waiting.max(1) } else { 0 };
        Ok(settled)
    }

    /// Has the weakest `surplus` leave, of those that changed and those that did not.
    async fn make_room(
        &mut self,
        work: &PublicationJob<'_>,
        boundary: &Place,
        before: &mut Vec<Place>,
        surplus: usize,
    ) -> AppResult<Settled> {
        let mut members = Steps::members(work, boundary);
        let mut out = Vec::new();
        for _ in 0..surplus {
            let weakest = members.peek().await?;
            match (before.last(), weakest) {
                (None, None) => return Ok(Settled::Unclear),
                (Some(changed), weakest) if weakest.is_none_or(|weakest| changed > weakest) => {
                    self.loses(changed.id);
                    before.pop();
                }
                _ => out.extend(members.take().map(|row| row.ioc.id)),
            }
        }
        let weakest = members.peek().await?.max(before.last()).cloned();
        for (_, rows) in work.read.member_of_iocs(work.row.group.id, &out).await? {
            let live = rows.into_iter().find(|m| m.standing == MembershipState::Live);
            self.choice.edits.extend(
                live.map(|member| (member, MembershipChange::Leave(LeaveReason::OverLimit))),
            );
            self.queue += 1;
        }
        Ok(weakest.map_or(Settled::Unclear, Settled::Full))
    }

    /// Has the next ones behind the boundary join, of those that changed and those that did not.
    async fn fill_up(
        &mut self,
        work: &PublicationJob<'_>,
        boundary: &Place,
        mut behind: VecDeque<Place>,
        room: usize,
    ) -> AppResult<Settled> {
        let mut queue = Steps::behind(work, boundary);
        let mut last = boundary.clone();
        let mut joining = Vec::new();
        for _ in 0..room {
            let next = queue.peek().await?;
            match behind.front() {
                Some(changed) if next.is_none_or(|next| changed < next) => {
                    last = changed.clone();
                    self.stays(changed.id);
                    behind.pop_front();
                }
                _ => match (next.cloned(), queue.take()) {
                    (Some(place), Some(row)) => {
                        last = place;
                        joining.push(row);
                    }
                    _ => break,
                },
            }
        }
        let more = self.some_lose || !behind.is_empty() || queue.peek().await?.is_some();
        for place in behind {
            self.loses(place.id);
        }
        self.choice.refused.append(&mut queue.refused);
        let ids: Vec<IocId> = joining.iter().map(|row| row.ioc.id).collect();
        let mut rows = work.read.member_of_iocs(work.row.group.id, &ids).await?;
        for row in joining {
            let rows = rows.remove(&row.ioc.id).unwrap_or_default();
            let contender = Contender { rows, edit: Some(MembershipChange::Return), new: false };
            match contender.current().map(|m| m.standing) {
                // It is in already, which no boundary allows.
                Some(MembershipState::Live) => return Ok(Settled::Unclear),
                Some(_) => self.queue -= 1,
                None => self.choice.loaded.keep(row.ioc.clone()),
            }
            self.contenders.insert(row.ioc.id, contender);
            self.stays(row.ioc.id);
        }
        Ok(if more { Settled::Full(last) } else { Settled::HasRoom })
    }
}
