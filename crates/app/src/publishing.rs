//! Making one publication of one group (second journey of the design).
//!
//! [`choose`] finds who joins, stays and leaves; [`parts`] puts them into events and renders those that changed;
//! this module commits the result in one transaction. Cost follows what changed, unless the group must reselect.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use iocast_domain::{
    account::Account,
    device_type::DeviceType,
    id::{AccountId, GroupId, PartId},
    ioc::Ioc,
    member::{Leave, Standing, TOMBSTONE_KEPT},
    rule::{EnabledSources, Rule, SourceRanks, may_leave},
    time::Timestamp,
};
use iocast_formats::{
    gzip,
    write::misp::{self, Orgc, SourceNames},
};
use iocast_mail::Content;
use iocast_store::{BlobRef, FileRef, GroupRow, GroupUpdate, IocRow, MemberRow, NewBlob, PartRow, PublicationLine, PublishState, Reader, Txn};
use uuid::Uuid;

use crate::{App, AppError, AppResult};

mod choose;
mod parts;

/// What happens to a member.
#[derive(Clone, Copy, Debug)]
enum Edit {
    /// Its IOC changed; this is the fingerprint of what receivers would see.
    Refresh(i64),
    /// It leaves.
    Leave(Leave),
    /// It was leaving and comes back before receivers were told.
    Return,
}

/// Who joins, stays and leaves.
#[derive(Debug, Default)]
struct Choice {
    joins: Vec<Ioc>,
    edits: Vec<(MemberRow, Edit)>,
    /// Parts that hold a tombstone of somebody who joins.
    tombstone_parts: HashSet<PartId>,
    cut: iocast_domain::group::Cut,
}

/// One publication in the making.
pub(crate) struct Work<'a> {
    app: &'a Arc<App>,
    read: Reader,
    account: Account,
    row: GroupRow,
    device_type: &'static DeviceType,
    device_name: String,
    rules: Vec<Rule>,
    enabled: EnabledSources,
    names: SourceNames,
    ranks: SourceRanks,
    state: PublishState,
    target_seq: i64,
    now: Timestamp,
    claim: Uuid,
}

impl<'a> Work<'a> {
    /// Reads what there is to know; nothing if the group is gone.
    pub(crate) async fn begin(app: &'a Arc<App>, account_id: &AccountId, id: GroupId, claim: Uuid) -> AppResult<Option<Self>> {
        let read = app.store.read();
        // The number first: what changes after it is seen again next time, never missed.
        let target_seq = read.account_seq(account_id).await?;
        // Then the state: what is configured after it is newer than what it says, and looked at again.
        let Some(state) = read.publish_state(id).await? else { return Ok(None) };
        let (Some(account), Some(row)) = (read.account_fetch(account_id).await?, read.group_fetch(account_id, id).await?) else { return Ok(None) };
        let Some(device) = read.device_fetch(account_id, row.group.device_id).await? else { return Ok(None) };
        let sources: Vec<_> = read.source_list(account_id).await?.into_iter().filter(|s| s.enabled).collect();
        let ranks = row.group.source_priority.iter().zip(0..).map(|(id, rank)| (*id, rank)).collect();
        Ok(Some(Self {
            app,
            rules: read.rule_feeding(id).await?,
            read,
            account,
            row,
            device_type: device.device_type,
            device_name: device.name.to_string(),
            enabled: sources.iter().map(|s| s.id).collect(),
            names: sources.into_iter().map(|s| (s.id, s.name)).collect(),
            ranks,
            state,
            target_seq,
            now: app.now(),
            claim,
        }))
    }

    /// Makes the publication. Gives whether there was anything to publish.
    pub(crate) async fn run(self) -> AppResult<bool> {
        let choice = self.choose().await?;
        let plan = self.plan(choice).await?;
        self.commit(plan).await
    }

    fn chosen(&self, ioc: &Ioc) -> bool {
        self.rules.iter().any(|rule| rule.criteria.choose(ioc, &self.enabled))
    }

    fn wants(&self, row: &IocRow) -> bool {
        !row.deleted && may_leave(&row.ioc) && self.device_type.takes(row.ioc.kind) && self.chosen(&row.ioc)
    }

    fn orgc(&self) -> Orgc {
        Orgc { name: self.account.name.clone(), uuid: Uuid::new_v5(&self.account.id.namespace(), b"orgc") }
    }

    async fn commit(self, plan: parts::Plan) -> AppResult<bool> {
        let id = self.row.group.id;
        let first = self.state.publication == 0;
        let publishes = first || plan.rendered;
        let number = self.state.publication + i64::from(publishes);
        let mut blobs = plan.blobs;
        let files = if publishes { files(&plan.all_parts, &mut blobs)? } else { Vec::new() };
        let update = GroupUpdate {
            claim: self.claim,
            applied_config: self.state.config_version,
            applied_seq: self.target_seq.max(self.state.applied_seq),
            publication: number,
            live: plan.live,
            cut: plan.cut,
            due_at: plan.due_at,
            latest_stamp: plan.latest_stamp,
        };
        let txn = self.app.store.write().await?;
        if !txn.publish_settle(id, &update).await? {
            // Somebody else took the group over, or it was deleted: nothing of this is written.
            return Ok(false);
        }
        txn.member_put_many(id, &plan.members).await?;
        for (part, iocs) in &plan.resent {
            txn.member_resent(*part, iocs).await?;
        }
        for (part, iocs) in &plan.forgotten {
            txn.member_delete_many(*part, iocs).await?;
        }
        txn.part_put_many(id, &plan.changed_parts).await?;
        for part in &plan.emptied_parts {
            txn.part_delete(*part).await?;
        }
        if publishes {
            let line = PublicationLine { number, created_at: self.now, live: plan.live, added: plan.added, removed: plan.removed };
            txn.publication_insert(id, &line, update.applied_seq, &files, blobs).await?;
        }
        self.tell_limit(&txn, &update).await?;
        txn.commit().await?;
        Ok(publishes)
    }

    /// Tells people once that the group is full, and again only after it has fallen under 95 % of its limit.
    async fn tell_limit(&self, txn: &Txn, update: &GroupUpdate) -> AppResult<()> {
        let group = &self.row.group;
        let (live, limit) = (u64::from(update.live), u64::from(group.limit));
        if live * 100 < limit * 95 {
            txn.group_set_limit_told(group.id, false).await?;
        } else if group.notify_on_limit && live >= limit && txn.group_set_limit_told(group.id, true).await? {
            let content = Content::Limit {
                device: self.device_name.clone(),
                group: group.name.to_string(),
                limit: group.limit,
                wanted: live + update.cut.reasons.get("limit").copied().unwrap_or(0),
                link: format!("{}/automation/integrations/{}", self.app.settings.public_url, group.device_id),
            };
            self.app.limit_letters(txn, &self.account, &content, &format!("limit:{}:{}", group.id, update.publication)).await?;
        }
        Ok(())
    }
}

/// The files of a MISP feed over its parts, oldest first: an event without attributes is not listed.
fn files(parts: &[PartRow], blobs: &mut Vec<NewBlob>) -> AppResult<Vec<FileRef>> {
    let listed: Vec<&PartRow> = parts.iter().filter(|p| !p.manifest_entry.is_empty()).collect();
    let manifest = misp::manifest(listed.iter().map(|p| (p.id, p.manifest_entry.as_str())));
    let mut files = vec![FileRef { path: "manifest.json".to_owned(), segments: vec![blob(&manifest, blobs)?] }];
    let hashes = listed.iter().map(|p| p.hashes.clone()).filter(|h| h.raw_len > 0).collect();
    files.push(FileRef { path: "hashes.csv".to_owned(), segments: hashes });
    files.extend(listed.iter().map(|p| FileRef { path: format!("{}.json", p.id), segments: vec![p.event.clone()] }));
    Ok(files)
}

/// Compresses a piece and names it by its content.
fn blob(raw: &[u8], blobs: &mut Vec<NewBlob>) -> AppResult<BlobRef> {
    let segment = gzip::segment(raw).map_err(AppError::internal)?;
    let hash = blake3::hash(&segment.data).to_hex().to_string();
    let reference = BlobRef { hash: hash.clone(), crc: segment.crc, raw_len: segment.raw_len, len: segment.data.len() as u64 };
    blobs.push(NewBlob { hash, data: segment.data });
    Ok(reference)
}

/// When something is to be done next without a change: a rest ends, a cut becomes final, a tombstone expires.
fn next_due(parts: &HashMap<PartId, &PartRow>, leaving: &[MemberRow], oldest_tombstone: Option<i64>, today: &str) -> Option<i64> {
    let rests = parts.values().filter(|p| p.dirty).map(|p| p.rested_at);
    let leaves = leaving.iter().filter(|m| m.standing == Standing::Leaving).filter_map(|m| {
        let part = parts.get(&m.part_id)?;
        Some(m.leave?.due(m.left_at?, part.rested_at, part.sealed || part.day != today))
    });
    rests.chain(leaves).chain(oldest_tombstone.map(|at| at + TOMBSTONE_KEPT)).min()
}
