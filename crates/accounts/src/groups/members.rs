//! What a group holds, and sending it again.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    id::{GroupId, IocId, PartId},
    ioc::Ioc,
    rule::{EnabledSources, Rule},
    time::Timestamp,
};
use iocast_store::{IocFilter, Page, PageOf};
use uuid::Uuid;

use crate::{Accounts, Actor, AppError, AppResult};

/// An IOC in a group.
#[derive(Clone, Debug)]
pub struct GroupIoc {
    /// The IOC.
    pub ioc: Ioc,
    /// Since when it is in the group.
    pub since: Timestamp,
    /// The event it is in.
    pub event: Uuid,
    /// Why: the rules that choose it.
    pub rules: Vec<String>,
}

/// What to send again, in new events.
#[derive(Clone, Copy, Debug)]
pub enum SendAgain {
    /// Everything in the group.
    All,
    /// What one event holds.
    Event(Uuid),
    /// One IOC.
    Ioc(IocId),
}

impl Accounts {
    /// The IOCs that a group holds and serves, by id.
    ///
    /// # Errors
    /// If the group is not there.
    pub async fn group_iocs(
        &self,
        actor: &Actor,
        id: GroupId,
        filter: &IocFilter,
        page: &Page,
    ) -> AppResult<PageOf<GroupIoc>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        read.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        let rules: Vec<Rule> = read
            .rule_list(&actor.account_id)
            .await?
            .into_iter()
            .filter(|r| r.enabled && r.group_ids.contains(&id))
            .collect();
        let enabled: EnabledSources = read
            .source_list(&actor.account_id)
            .await?
            .into_iter()
            .filter(|s| s.enabled)
            .map(|s| s.id)
            .collect();
        let now = self.context.now();
        let members = read.member_list(id, filter, page).await?;
        let ids: Vec<IocId> = members.items.iter().map(|m| m.ioc_id).collect();
        let mut iocs = read.ioc_fetch_many(&ids).await?;
        let items = members
            .items
            .into_iter()
            .filter_map(|m| {
                let ioc = iocs.remove(&m.ioc_id)?.ioc;
                let rules = rules
                    .iter()
                    .filter(|r| r.criteria.choose(&ioc, &enabled, now))
                    .map(|r| r.name.to_string())
                    .collect();
                Some(GroupIoc {
                    rules,
                    since: Timestamp::from_micros(m.joined_at),
                    event: m.part_id.0,
                    ioc,
                })
            })
            .collect();
        Ok(PageOf { items, next: members.next })
    }

    /// Marks IOCs to be put into new events, for a MISP that deleted them or lost an import halfway. Gives how
    /// many.
    ///
    /// # Errors
    /// If the group is not there, or holds nothing of the kind.
    pub async fn group_send_again(
        self: &Arc<Self>,
        actor: &Actor,
        id: GroupId,
        what: SendAgain,
    ) -> AppResult<u64> {
        actor.may_change(Module::Automation)?;
        let (part, ioc) = match what {
            SendAgain::All => (None, None),
            SendAgain::Event(event) => (Some(PartId(event)), None),
            SendAgain::Ioc(ioc) => (None, Some(ioc)),
        };
        let txn = self.context.store.write().await?;
        let row =
            txn.group_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("group"))?;
        let device = txn
            .device_fetch(&actor.account_id, row.group.device_id)
            .await?
            .ok_or(AppError::NotFound("device"))?;
        if !device.device_type.format.delivers_changes() {
            let detail = format!(
                "{} fetches the whole list with each pull, so there is nothing to send again.",
                device.device_type.name
            );
            return Err(AppError::Conflict { code: "nothing_to_send_again", detail });
        }
        // The group's row before its members', in the order in which the publisher locks them.
        txn.group_reconfigure(&[id]).await?;
        let marked = txn.member_mark_resend(id, part, ioc).await?;
        if marked == 0 && !matches!(what, SendAgain::All) {
            return Err(AppError::NotFound("event or IOC of this group"));
        }
        self.context
            .audit(
                &txn,
                actor,
                "group.send_again",
                &id,
                &serde_json::json!({ "event": part, "ioc_id": ioc, "iocs": marked }),
            )
            .await?;
        txn.commit().await?;
        Ok(marked)
    }
}
