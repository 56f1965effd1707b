//! What a publication looks at where it goes by what changed: the IOCs that changed since the last
//! one and, once a day where a rule goes by age, the members and those kept back that it chooses no
//! more.

use std::sync::Arc;

use iocast_domain::{id::IocId, rule::Criteria, time::DAY};
use iocast_store::{IocFilter, IocRow, Page};

use super::{PAGE, PublicationJob, Verdict};
use crate::AppResult;

/// How far what is to be looked at was read.
#[derive(Clone, Debug)]
pub(super) enum LookedAt {
    /// Changes, behind this one.
    Changes(Option<(i64, IocId)>),
    /// Members, behind this one.
    Members(Option<String>),
    /// IOCs that are kept back, behind this one.
    KeptBack(Option<IocId>),
    /// All of it.
    All,
}

impl LookedAt {
    pub(super) const BEGIN: Self = Self::Changes(None);
}

impl PublicationJob<'_> {
    /// The UTC day on which the publication is made, in days since 1970.
    pub(super) const fn today(&self) -> i64 {
        self.now.micros().div_euclid(DAY)
    }

    /// Whether a rule may drop an IOC because a day has passed.
    pub(super) fn goes_by_age(&self) -> bool {
        self.rules.iter().any(Criteria::go_by_age)
    }

    /// Whether members are to be judged by their age: nobody did on this day.
    pub(super) fn is_new_day(&self) -> bool {
        self.goes_by_age() && self.state.aged_day.is_none_or(|day| day < self.today())
    }

    /// When the next day begins, where that matters, in UTC microseconds.
    pub(super) fn next_day(&self) -> Option<i64> {
        self.goes_by_age().then(|| (self.today() + 1) * DAY)
    }

    /// The next IOCs that are to be looked at; none at the end.
    pub(super) async fn next_page(
        &self,
        done: &mut LookedAt,
    ) -> AppResult<Option<Arc<Vec<IocRow>>>> {
        loop {
            match done {
                LookedAt::Changes(after) => {
                    let span = (self.state.applied_seq, self.target_seq);
                    let scheduler = &self.service.scheduler;
                    let page =
                        scheduler.changed(&self.read, &self.account.id, span, *after).await?;
                    if let Some(last) = page.last() {
                        *done = LookedAt::Changes(Some((last.seq, last.ioc.id)));
                        return Ok(Some(page));
                    }
                    *done = if self.is_new_day() { LookedAt::Members(None) } else { LookedAt::All };
                }
                LookedAt::Members(after) => {
                    let filter = IocFilter::default();
                    let page = Page { limit: PAGE as u64, after: after.take() };
                    let members = self.read.member_list(self.row.group.id, &filter, &page).await?;
                    *done = match members.next {
                        Some(next) => LookedAt::Members(Some(next)),
                        None => LookedAt::KeptBack(None),
                    };
                    let ids: Vec<IocId> = members.items.iter().map(|of| of.ioc_id).collect();
                    if let Some(aged) = self.aged(&ids).await? {
                        return Ok(Some(aged));
                    }
                }
                LookedAt::KeptBack(after) => {
                    let group = self.row.group.id;
                    let ids = self.read.refused_ids(group, *after, PAGE as u64).await?;
                    *done = ids.last().map_or(LookedAt::All, |id| LookedAt::KeptBack(Some(*id)));
                    if let Some(aged) = self.aged(&ids).await? {
                        return Ok(Some(aged));
                    }
                }
                LookedAt::All => return Ok(None),
            }
        }
    }

    /// Of these IOCs, those that are chosen no more and did not change.
    async fn aged(&self, ids: &[IocId]) -> AppResult<Option<Arc<Vec<IocRow>>>> {
        let mut rows: Vec<IocRow> = self.read.ioc_fetch_many(ids).await?.into_values().collect();
        // What changed is looked at in any case, now or next time.
        rows.retain(|row| {
            row.seq <= self.state.applied_seq && self.verdict(row) == Verdict::Unchosen
        });
        rows.sort_by_key(|row| row.ioc.id);
        Ok((!rows.is_empty()).then(|| Arc::new(rows)))
    }
}
