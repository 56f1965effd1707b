//! IOCs beside the boundary of a full group, one by one from an index.

use std::collections::VecDeque;

use iocast_domain::{guard::Refusal, id::IocId, rule::Criteria, selection::Place};
use iocast_store::{IocRow, Standpoint, Walk};

use super::super::{PAGE, PublicationJob, Verdict};
use crate::AppResult;

/// IOCs read at once at the boundary, at first.
const FIRST_STEP: u64 = 16;

/// A walk from the boundary over IOCs that did not change, some at a time.
pub(super) struct Steps<'w, 'a> {
    work: &'w PublicationJob<'a>,
    rules: Vec<&'w Criteria>,
    /// What is still to be walked through, the next one last.
    walks: Vec<Walk>,
    way: Way,
    at: Option<Standpoint>,
    ready: VecDeque<(Place, IocRow)>,
    step: u64,
    /// Those that came by and are kept back.
    pub(super) refused: Vec<(IocId, Option<Refusal>)>,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Members, the weakest first.
    Members,
    /// What else the group would take, best first.
    Behind,
}

impl<'w, 'a> Steps<'w, 'a> {
    pub(super) fn members(work: &'w PublicationJob<'a>, boundary: &Place) -> Self {
        // The one that holds the boundary comes by, too: ids are whole numbers.
        let id = IocId(uuid::Uuid::from_u128(boundary.id.0.as_u128().saturating_add(1)));
        let classes = work
            .classes(work.state.applied_seq)
            .into_iter()
            .filter(|(rank, _)| *rank <= boundary.rank);
        Self::of(
            work,
            Way::Members,
            boundary.rank,
            classes.collect(),
            Standpoint { id, ..Standpoint::from(boundary) },
        )
    }

    pub(super) fn behind(work: &'w PublicationJob<'a>, boundary: &Place) -> Self {
        let classes = work
            .classes(work.state.applied_seq)
            .into_iter()
            .rev()
            .filter(|(rank, _)| *rank >= boundary.rank);
        Self::of(work, Way::Behind, boundary.rank, classes.collect(), Standpoint::from(boundary))
    }

    fn of(
        work: &'w PublicationJob<'a>,
        way: Way,
        rank: u32,
        classes: Vec<(u32, Walk)>,
        at: Standpoint,
    ) -> Self {
        let rules = work.rules.iter().collect();
        // Where the source of the boundary is off by now, the next class is walked through as a
        // whole.
        let at = classes.last().is_some_and(|(first, _)| *first == rank).then_some(at);
        let walks = classes.into_iter().map(|(_, walk)| walk).collect();
        Self {
            work,
            rules,
            walks,
            way,
            at,
            ready: VecDeque::new(),
            step: FIRST_STEP,
            refused: Vec::new(),
        }
    }

    pub(super) async fn peek(&mut self) -> AppResult<Option<&Place>> {
        while self.ready.is_empty()
            && let Some(walk) = self.walks.last()
        {
            let page = match self.way {
                Way::Members => {
                    self.work
                        .read
                        .ioc_members_before(
                            walk,
                            self.work.row.group.id,
                            self.at.as_ref(),
                            self.step,
                        )
                        .await?
                }
                Way::Behind => {
                    self.work
                        .read
                        .ioc_behind(walk, &self.rules, self.at.as_ref(), self.step)
                        .await?
                }
            };
            if page.count() as u64 == self.step {
                self.at = page.last_place();
            } else {
                self.walks.pop();
                self.at = None;
            }
            self.step = (self.step * 4).min(PAGE as u64);
            for row in page.rows()? {
                let verdict = self.work.verdict(&row);
                let is_member = matches!(self.way, Way::Members);
                // A member that a rule drops because a day has passed leaves for that.
                if is_member && verdict == Verdict::Unchosen && self.work.goes_by_age() {
                    continue;
                }
                if verdict == Verdict::Wanted || is_member {
                    self.ready.push_back((self.work.place_of(&row.ioc), row));
                } else if verdict.refusal().is_some() {
                    self.refused.push((row.ioc.id, verdict.refusal()));
                }
            }
        }
        Ok(self.ready.front().map(|(place, _)| place))
    }

    pub(super) fn take(&mut self) -> Option<IocRow> {
        self.ready.pop_front().map(|(_, row)| row)
    }
}
