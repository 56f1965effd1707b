//! Making one publication of one group (second journey of the design).
//!
//! [`choose`] finds who joins, stays and leaves; [`parts`] puts them into events and renders those
//! that changed; this module commits the result in one transaction. Cost follows what changed,
//! unless the group must reselect.

use std::{collections::HashMap, sync::Arc};

use iocast_domain::message::{FullGroup, HeldGroup};
use iocast_domain::{
    account::Account,
    device_type::DeviceType,
    group::{Boundary, Held, SHRINK_HOLD, Truncation, shrinks_too_much},
    guard::{Guard, Judged, Refusal},
    id::{IocId, PartId},
    ioc::Ioc,
    member::{LeaveReason, MembershipState, TOMBSTONE_KEPT},
    rule::{Criteria, EnabledSources, SourceRanks, may_leave},
    time::Timestamp,
};
use iocast_formats::write::{
    inert,
    list::{self, Scope},
    misp::{self, Orgc, SourceNames},
};
use iocast_store::{GroupRow, GroupUpdate, IocRow, MemberRow, PartRow, PublishState, Reader, Txn};
use uuid::Uuid;

use self::loaded::LoadedIocs;
use crate::{AppResult, GroupNews, Publishing};

mod aged;
mod blobs;
mod changes;
mod choose;
mod full;
mod kept;
mod loaded;
mod parts;
mod select;
mod shards;
mod together;
pub(crate) use self::together::{Beforehand, Ready};
use self::{
    blobs::{blob, files},
    changes::{MemberChanges, MembershipChange},
};

/// IOCs looked at together.
pub(crate) const PAGE: usize = 2_000;

/// What the rules, the device type and the guards say of an IOC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It belongs in.
    Wanted,
    /// It would belong in, were it not for this.
    Refused(Refusal),
    /// It does not belong in.
    Unchosen,
}

impl Verdict {
    const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Wanted | Self::Unchosen => None,
        }
    }
}

/// One publication in the making.
pub(crate) struct PublicationJob<'a> {
    service: &'a Arc<Publishing>,
    read: Reader,
    account: Arc<Account>,
    row: GroupRow,
    device_type: &'static DeviceType,
    device_name: String,
    rules: Vec<Criteria>,
    enabled: EnabledSources,
    names: SourceNames,
    ranks: SourceRanks,
    guard: Arc<Guard>,
    /// What a list says of the group.
    scope: Scope,
    state: PublishState,
    beforehand: Beforehand,
    target_seq: i64,
    now: Timestamp,
    /// Under which it is made, where other processes publish, too.
    claim: Option<Uuid>,
}

impl<'a> PublicationJob<'a> {
    /// Makes the publication ready to be written; none if it is held.
    pub(crate) async fn prepare(self) -> AppResult<Option<Ready<'a>>> {
        let mut choice = if self.is_kept() { self.keep().await? } else { self.choose().await? };
        let mut withdrawals_only = false;
        if self.must_hold(&choice) {
            let losses = choice.losses();
            choice.edits.retain(|(_, edit)| {
                matches!(edit, MembershipChange::Leave(LeaveReason::Withdrawn))
            });
            if choice.edits.is_empty() {
                self.hold(losses).await?;
                return Ok(None);
            }
            // What a person withdrew does not wait. The rest is looked at again right after, and
            // held then.
            choice = MemberChanges { edits: choice.edits, ..self.nothing() };
            withdrawals_only = true;
        }
        let withdrawn = choice.withdrawn();
        let before = if self.state.publication == 0 { Vec::new() } else { choice.before() };
        let refused = std::mem::take(&mut choice.refused);
        let from_scratch = choice.from_scratch;
        let boundary = choice.boundary.take();
        let plan = match list::writer(self.device_type.format) {
            Some(writer) => self.plan_list(writer, choice).await?,
            None => self.plan(choice).await?,
        };
        let ready = self.ready(plan, boundary, from_scratch, refused).await?;
        Ok(Some(Ready { before, withdrawn, ..ready }.only(withdrawals_only)))
    }

    /// Nothing changes: what found no room stays counted, and a full group is selected from scratch
    /// when it goes by its rules again.
    fn nothing(&self) -> MemberChanges {
        let limit_cut = self.state.cut.reasons.get("limit").copied().unwrap_or_default();
        MemberChanges { limit_cut, ..MemberChanges::default() }
    }

    /// The shrink guard: a loss of more than half at once is more often an accident than a wish.
    fn must_hold(&self, choice: &MemberChanges) -> bool {
        let expired = self.state.held.as_ref().is_some_and(|held| held.until <= self.now);
        shrinks_too_much(self.state.live, choice.losses()) && !self.state.let_through && !expired
    }

    /// Notes that a publication waits, and writes to the administrators once.
    async fn hold(&self, loses: u32) -> AppResult<()> {
        let group = &self.row.group;
        let since = self.state.held.as_ref().map_or(self.now, |held| held.since);
        let held = Held { since, until: since.plus(SHRINK_HOLD), live: self.state.live, loses };
        let txn = self.service.context.store.write().await?;
        if txn
            .publish_hold(group.id, self.claim, &held, self.target_seq, self.state.config_version)
            .await?
        {
            let news = HeldGroup {
                device: self.device_name.clone(),
                group: group.name.to_string(),
                live: held.live,
                loses,
                until: held.until,
                link: format!(
                    "{}/automation/groups/{}",
                    self.service.context.settings.public_url, group.id
                ),
            };
            self.service
                .messages
                .tell(
                    &txn,
                    &self.account,
                    &GroupNews::Held(group.id, news),
                    &format!("held:{}:{}", group.id, held.since.micros()),
                )
                .await?;
            txn.protections_due_now(vec![group.id], self.now).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    fn chosen(&self, ioc: &Ioc) -> bool {
        self.rules.iter().any(|criteria| criteria.choose(ioc, &self.enabled, self.now))
    }

    fn verdict(&self, row: &IocRow) -> Verdict {
        let ioc = &row.ioc;
        let other_kind = self
            .row
            .group
            .kind
            .is_some_and(|kind| self.device_type.takes(ioc.kind) && !kind.covers(ioc.kind));
        if row.deleted || !may_leave(ioc) || other_kind || !self.chosen(ioc) {
            return Verdict::Unchosen;
        }
        let refused = self
            .device_type
            .refuses(ioc.kind, &ioc.value)
            .or_else(|| self.reserved(ioc))
            .or_else(|| self.guard.refuse(ioc, self.judged()));
        refused.map_or(Verdict::Wanted, Verdict::Refused)
    }

    const fn judged(&self) -> Judged<'_> {
        Judged { device: Some(self.row.group.device_id), enabled: Some(&self.enabled) }
    }

    /// Whether the device would read an IOC as an instruction. Nothing that a person says of the
    /// IOC changes that.
    fn reserved(&self, ioc: &Ioc) -> Option<Refusal> {
        inert::refusal(self.device_type.format, ioc.kind, &ioc.value)
    }

    /// A number over all that receivers would see change.
    fn fingerprint(&self, ioc: &Ioc) -> i64 {
        match list::writer(self.device_type.format) {
            Some(writer) => shards::fingerprint(writer, self.device_type.format, &self.scope, ioc),
            None => misp::fingerprint(ioc, &self.names),
        }
    }

    fn orgc(&self) -> Orgc {
        Orgc {
            name: misp::storable(&self.account.name),
            uuid: Uuid::new_v5(&self.account.id.namespace(), b"orgc"),
        }
    }

    async fn ready(
        self,
        mut plan: parts::Plan,
        boundary: Option<Boundary>,
        from_scratch: bool,
        refused: Vec<(IocId, Option<Refusal>)>,
    ) -> AppResult<Ready<'a>> {
        let first = self.state.publication == 0;
        let publishes = first || plan.rendered;
        let number = self.state.publication + i64::from(publishes);
        let mut blobs = std::mem::take(&mut plan.blobs);
        let files = match list::writer(self.device_type.format) {
            _ if !publishes => Vec::new(),
            Some(writer) => {
                self.list_files(
                    writer,
                    &plan.all_parts,
                    plan.live,
                    plan.latest_stamp,
                    number,
                    &mut blobs,
                )
                .await?
            }
            None => files(&plan.all_parts, &mut blobs)?,
        };
        plan.blobs = blobs;
        let refused = self.news(from_scratch, refused);
        let not_for_device = self.kept_back(from_scratch, &refused).await?;
        let update = GroupUpdate {
            claim: self.claim,
            applied_config: self.state.config_version,
            applied_seq: self.target_seq.max(self.state.applied_seq),
            publication: number,
            live: plan.live,
            cut: Truncation::of(plan.limit_cut, not_for_device),
            due_at: [plan.due_at, boundary.as_ref().and_then(|b| b.count_at), self.next_day()]
                .into_iter()
                .flatten()
                .min(),
            latest_stamp: plan.latest_stamp,
            boundary,
            kept_at: (self.state.frozen, self.state.restored),
            restored: self.restored(number),
            aged_day: self.goes_by_age().then(|| self.today()),
            withdrawals_only: false,
        };
        Ok(Ready {
            work: self,
            plan,
            update,
            files: publishes.then_some(files),
            from_scratch,
            refused,
            before: Vec::new(),
            withdrawn: Vec::new(),
        })
    }

    /// Of the IOCs that were looked at, those whose reason to be kept back is not noted yet.
    fn news(
        &self,
        from_scratch: bool,
        refused: Vec<(IocId, Option<Refusal>)>,
    ) -> Vec<(IocId, Option<Refusal>)> {
        // Where nothing is kept back, nothing can be let go: most groups, and most changes.
        let quiet = refused.iter().all(|(_, r)| r.is_none());
        if !from_scratch && quiet && self.beforehand.kept_back == 0 { Vec::new() } else { refused }
    }

    /// How many IOCs are kept back once these are noted.
    async fn kept_back(
        &self,
        from_scratch: bool,
        news: &[(IocId, Option<Refusal>)],
    ) -> AppResult<u64> {
        let now = news.iter().filter(|(_, r)| r.is_some()).count() as u64;
        if from_scratch || news.is_empty() {
            return Ok(if from_scratch { now } else { self.beforehand.kept_back });
        }
        let before = self.beforehand.kept_back;
        let ids: Vec<IocId> = news.iter().map(|(id, _)| *id).collect();
        let renewed = self.read.refused_among(self.row.group.id, &ids).await?;
        Ok(before + now - renewed.min(before))
    }

    /// Tells people once that the group is full, and again only after it has fallen under 95 % of
    /// its limit.
    async fn tell_limit(&self, txn: &Txn, update: &GroupUpdate) -> AppResult<()> {
        let group = &self.row.group;
        let (live, limit) = (u64::from(update.live), u64::from(group.limit));
        if live * 100 < limit * 95 {
            if !self.state.limit_told {
                return Ok(());
            }
            txn.group_set_limit_told(group.id, false).await?;
        } else if group.notify_on_limit
            && live >= limit
            && txn.group_set_limit_told(group.id, true).await?
        {
            let news = FullGroup {
                device: self.device_name.clone(),
                group: group.name.to_string(),
                limit: group.limit,
                wanted: live + update.cut.reasons.get("limit").copied().unwrap_or(0),
                link: format!(
                    "{}/automation/integrations/{}",
                    self.service.context.settings.public_url, group.device_id
                ),
            };
            self.service
                .messages
                .tell(
                    txn,
                    &self.account,
                    &GroupNews::Full(news),
                    &format!("limit:{}:{}", group.id, update.publication),
                )
                .await?;
        }
        Ok(())
    }
}

/// When something is to be done next without a change: a rest ends, a cut becomes final, a
/// tombstone expires.
fn next_due(
    parts: &HashMap<PartId, &PartRow>,
    leaving: &[MemberRow],
    oldest_tombstone: Option<i64>,
    today: &str,
) -> Option<i64> {
    let rests = parts.values().filter(|p| p.pending).map(|p| p.next_change_at);
    let leaves =
        leaving.iter().filter(|m| m.standing == MembershipState::Leaving).filter_map(|m| {
            let part = parts.get(&m.part_id)?;
            Some(m.leave?.due(m.left_at?, part.next_change_at, part.sealed || part.day != today))
        });
    rests.chain(leaves).chain(oldest_tombstone.map(|at| at + TOMBSTONE_KEPT)).min()
}
