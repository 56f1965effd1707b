//! Publications of several small groups of an account are read together and written in one
//! transaction: most of what a small one costs is asking the database and waiting for it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use iocast_domain::{
    device_type::Format,
    guard::Refusal,
    id::{AccountId, DeviceId, GroupId, IocId, PartId},
    member::MembershipState,
};
use iocast_formats::write::misp::SourceNames;
use iocast_store::{
    Before, FileRef, GroupRow, GroupUpdate, MemberRow, NewPublication, PartRow, PublicationLine,
    Reader, Txn, Withdrawal,
};
use uuid::Uuid;

use super::{PublicationJob, parts::Plan, shards};
use crate::{AppResult, Made, Publishing};

/// IOCs that changed, at most, where publications of several groups are made together: so many of
/// each group are in memory.
const FEW_CHANGES: usize = 500;
/// Members of a group that is published together with others, at most.
const SMALL: u32 = 2_000;

/// What is read before it is known whether something is to be published.
pub(crate) struct Beforehand {
    /// The group's parts, oldest first.
    pub(super) parts: Vec<PartRow>,
    /// Its members that are to be sent again.
    pub(super) to_resend: Vec<MemberRow>,
    /// How many IOCs it keeps back.
    pub(super) kept_back: u64,
    /// Which changed IOCs were looked up in all groups, and the rows that they have in this one.
    changed: Option<(Arc<HashSet<IocId>>, Vec<MemberRow>)>,
}

/// A publication that is made and not written yet.
pub(crate) struct Ready<'a> {
    pub(super) work: PublicationJob<'a>,
    pub(super) plan: Plan,
    pub(super) update: GroupUpdate,
    /// None if nothing that devices get is different.
    pub(super) files: Option<Vec<FileRef>>,
    /// Whether every IOC of the account was looked at.
    pub(super) from_scratch: bool,
    pub(super) refused: Vec<(IocId, Option<Refusal>)>,
    /// What the IOCs that it changes were before.
    pub(super) before: Vec<Before>,
    /// IOCs that a person takes out, with where they are.
    pub(super) withdrawn: Vec<(IocId, PartId)>,
}

impl<'a> PublicationJob<'a> {
    /// Reads what there is to know of some groups of an account. Groups that are gone are left out.
    pub(crate) async fn begin(
        service: &'a Arc<Publishing>,
        account_id: &AccountId,
        ids: &[GroupId],
        claim: Option<Uuid>,
    ) -> AppResult<Vec<Self>> {
        let read = service.context.store.read();
        // The states first: what is configured after them is newer than what they say, and looked
        // at again.
        let rows = read.groups_to_publish(account_id, ids).await?;
        let ids: Vec<GroupId> = rows.iter().map(|(row, _)| row.group.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // Then the number, before all that it counts: what changes after it is seen again next
        // time, never missed.
        let Some((account, target_seq)) = read.account_with_seq(account_id).await? else {
            return Ok(Vec::new());
        };
        let of: HashSet<DeviceId> = rows.iter().map(|(row, _)| row.group.device_id).collect();
        let of: Vec<DeviceId> = of.into_iter().collect();
        let devices: HashMap<DeviceId, _> = read
            .device_fetch_some(&of)
            .await?
            .into_iter()
            .map(|device| (device.id, device))
            .collect();
        let now = service.context.now();
        let sources: Vec<_> =
            read.source_list(account_id).await?.into_iter().filter(|s| s.enabled).collect();
        let names: SourceNames = sources.iter().map(|s| (s.id, s.name.clone())).collect();
        let mut rules = read.rule_feeding(&ids).await?;
        let seqs: HashSet<i64> = rows.iter().map(|(_, state)| state.applied_seq).collect();
        let mut beforehand =
            Beforehand::read(service, &read, account_id, &ids, seqs, target_seq).await?;
        let guard = service.context.guard(&account).await?;
        let account = Arc::new(account);
        let mut works = Vec::with_capacity(rows.len());
        for (row, state) in rows {
            let id = row.group.id;
            let Some((device, beforehand)) =
                devices.get(&row.group.device_id).zip(beforehand.remove(&id))
            else {
                continue;
            };
            works.push(Self {
                service,
                read: service.context.store.read(),
                device_type: device.device_type,
                device_name: device.name.to_string(),
                rules: rules.remove(&id).unwrap_or_default(),
                enabled: sources.iter().map(|s| s.id).collect(),
                scope: shards::scope(&account, &row.group, &names, now),
                names: names.clone(),
                ranks: row
                    .group
                    .source_priority
                    .iter()
                    .zip(0..)
                    .map(|(id, rank)| (*id, rank))
                    .collect(),
                guard: Arc::clone(&guard),
                account: Arc::clone(&account),
                row,
                state,
                beforehand,
                target_seq,
                now,
                claim,
            });
        }
        Ok(works)
    }

    /// Whether it may be made and written together with others: nothing large can come of it.
    pub(crate) fn is_small(&self) -> bool {
        let by_changes = self.state.publication > 0
            && self.state.applied_config == self.state.config_version
            && self.state.boundary.is_none()
            // A full group without a boundary is selected from scratch.
            && !self.state.cut.reasons.contains_key("limit");
        by_changes
            && self.state.live <= SMALL
            && !self.collapses()
            && self.beforehand.changed.is_some()
    }

    pub(crate) const fn id(&self) -> GroupId {
        self.row.group.id
    }

    /// All rows of some IOCs in the group, tombstones too.
    pub(super) async fn members_of(
        &self,
        ids: &[IocId],
    ) -> AppResult<HashMap<IocId, Vec<MemberRow>>> {
        match &self.beforehand.changed {
            Some((looked_up, rows)) if ids.iter().all(|id| looked_up.contains(id)) => {
                let mut found: HashMap<IocId, Vec<MemberRow>> = HashMap::new();
                for row in rows.iter().filter(|row| ids.contains(&row.ioc_id)) {
                    found.entry(row.ioc_id).or_default().push(row.clone());
                }
                Ok(found)
            }
            _ => Ok(self.read.member_of_iocs(self.row.group.id, ids).await?),
        }
    }
}

impl Beforehand {
    async fn read(
        service: &Publishing,
        read: &Reader,
        account: &AccountId,
        groups: &[GroupId],
        seqs: HashSet<i64>,
        target_seq: i64,
    ) -> AppResult<HashMap<GroupId, Self>> {
        let mut parts = read.part_list(groups).await?;
        let mut to_resend = read.member_to_resend(groups).await?;
        let kept_back = read.refused_totals(groups).await?;
        let mut looked_up = HashSet::new();
        // A single group looks at its changes only if it goes by them.
        for seq in if groups.len() > 1 { seqs } else { HashSet::new() } {
            looked_up.extend(
                service
                    .scheduler
                    .changed(read, account, (seq, target_seq), None)
                    .await?
                    .iter()
                    .map(|row| row.ioc.id),
            );
        }
        let few = groups.len() > 1 && looked_up.len() <= FEW_CHANGES;
        let ids: Vec<IocId> = looked_up.iter().copied().collect();
        let mut rows = if few && !ids.is_empty() {
            read.member_of_iocs_in(groups, &ids).await?
        } else {
            HashMap::new()
        };
        let looked_up = Arc::new(looked_up);
        let of = |group: &GroupId| {
            let beforehand = Self {
                parts: parts.remove(group).unwrap_or_default(),
                to_resend: to_resend.remove(group).unwrap_or_default(),
                kept_back: kept_back.get(group).copied().unwrap_or_default(),
                changed: few
                    .then(|| (Arc::clone(&looked_up), rows.remove(group).unwrap_or_default())),
            };
            (*group, beforehand)
        };
        Ok(groups.iter().map(of).collect())
    }
}

impl Ready<'_> {
    /// Whether it only takes out what was withdrawn: the changes that were looked at are looked at
    /// again.
    pub(super) fn only(mut self, withdrawals: bool) -> Self {
        if withdrawals {
            let state = &self.work.state;
            self.update.applied_config = state.applied_config;
            self.update.applied_seq = state.applied_seq;
            self.update.aged_day = state.aged_day;
            self.update.withdrawals_only = true;
        }
        self
    }

    /// Writes publications of groups of one account in one transaction. Left out are those of
    /// groups that somebody else took over, or that were deleted, and those that would send out
    /// what was taken back since they were made: these are made again.
    pub(crate) async fn write(service: &Publishing, all: Vec<Self>) -> AppResult<Vec<Made>> {
        let Some(account) = all.first().map(|ready| Arc::clone(&ready.work.account)) else {
            return Ok(Vec::new());
        };
        let since = all.iter().map(|ready| ready.work.target_seq).min().unwrap_or_default();
        let txn = service.context.store.write().await?;
        // What was taken back does not get out even once.
        let withdrawn: HashSet<IocId> =
            txn.ioc_withdrawn(&account.id, since).await?.into_iter().collect();
        let mut written = Vec::with_capacity(all.len());
        for ready in all {
            let sends_withdrawn = ready
                .plan
                .members
                .iter()
                .any(|m| m.standing == MembershipState::Live && withdrawn.contains(&m.ioc_id));
            if !sends_withdrawn && txn.publish_settle(ready.work.id(), &ready.update).await? {
                written.push(ready);
            }
        }
        let (mut members, mut parts, mut publications) = (Vec::new(), Vec::new(), Vec::new());
        for ready in &mut written {
            let id = ready.work.id();
            ready.write_rare(&txn).await?;
            members.extend(
                std::mem::take(&mut ready.plan.members).into_iter().map(|member| (id, member)),
            );
            parts.extend(
                std::mem::take(&mut ready.plan.changed_parts).into_iter().map(|part| (id, part)),
            );
            publications.extend(ready.publication());
        }
        txn.member_put_many(members).await?;
        txn.part_put_many(&parts).await?;
        let frozen = if publications.is_empty() {
            HashMap::new()
        } else {
            txn.publication_insert(publications).await?
        };
        for ready in &written {
            ready.work.tell_limit(&txn, &ready.update).await?;
        }
        let moved = written.iter().filter(|ready| ready.moves_protection());
        let moved = moved.map(|ready| ready.work.id()).collect();
        txn.protections_due_now(moved, service.context.now()).await?;
        txn.commit().await?;
        Ok(written.into_iter().filter_map(|ready| ready.made(&frozen)).collect())
    }

    /// What few publications have to write.
    async fn write_rare(&self, txn: &Txn) -> AppResult<()> {
        for (part, iocs) in &self.plan.forgotten {
            txn.member_delete_many(*part, iocs).await?;
        }
        for (part, iocs) in &self.plan.resent {
            txn.member_resent(*part, iocs).await?;
        }
        if !self.plan.offered.is_empty() {
            txn.parts_offered(&self.plan.offered).await?;
        }
        if self.from_scratch || !self.refused.is_empty() {
            txn.refused_put_many(self.work.id(), self.from_scratch, &self.refused).await?;
        }
        for part in &self.plan.emptied_parts {
            txn.part_delete(*part).await?;
        }
        if !self.withdrawn.is_empty() {
            txn.withdrawals_put(&self.withdrawals()).await?;
        }
        Ok(())
    }

    /// Whether a verdict on what the device has may be another one from now on.
    fn moves_protection(&self) -> bool {
        self.files.is_some()
            || self.work.state.held.is_some()
            || self.update.cut != self.work.row.cut
    }

    fn withdrawals(&self) -> Vec<Withdrawal> {
        let is_misp = self.work.device_type.format == Format::MispFeed;
        let withdrawal = |(ioc_id, part): &(IocId, PartId)| Withdrawal {
            ioc_id: *ioc_id,
            group_id: self.work.id(),
            publication: self.update.publication,
            event: is_misp.then_some(part.0),
            at: self.work.now,
        };
        self.withdrawn.iter().map(withdrawal).collect()
    }

    fn publication(&mut self) -> Option<NewPublication> {
        let files = self.files.clone()?;
        let (plan, update) = (&mut self.plan, &self.update);
        let line = PublicationLine {
            number: update.publication,
            created_at: self.work.now,
            live: plan.live,
            added: plan.added,
            removed: plan.removed,
        };
        Some(NewPublication {
            group: self.work.id(),
            line,
            seq: update.applied_seq,
            files,
            blobs: std::mem::take(&mut plan.blobs),
            before: std::mem::take(&mut self.before),
        })
    }

    fn made(self, frozen: &HashMap<GroupId, i64>) -> Option<Made> {
        let Self { work, update, files, .. } = self;
        let served_as_files = frozen.get(&work.id()).copied();
        let frozen = served_as_files.or(work.row.frozen);
        let restored = update.restored.filter(|_| served_as_files.is_none());
        let row = GroupRow {
            live: update.live,
            cut: update.cut,
            publication: update.publication,
            frozen,
            restored,
            held: None,
            ..work.row
        };
        Some(Made {
            row,
            device_name: work.device_name,
            device_type: work.device_type,
            files: files?,
        })
    }
}
