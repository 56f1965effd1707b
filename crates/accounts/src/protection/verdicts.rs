//! The last verdict on each group is kept and counted, for monitoring and for messages: whatever
//! may change it has the group looked at within a minute.

use std::collections::{BTreeMap, HashMap};

use iocast_context::misp_event;
use iocast_domain::{
    account::Account,
    device::Device,
    device_type::Format,
    id::{AccountId, DeviceId, GroupId},
    receipt::Protection,
    time::Timestamp,
    watch::threshold,
};
use iocast_store::{GroupRow, NewProtection, ProtectionRow};
use uuid::Uuid;

use super::{Holders, late_after, serves};
use crate::{Accounts, AppResult};

/// Groups that are looked at together.
const ROUND: u64 = 200;

impl Accounts {
    /// Gives a verdict on each group that is due.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn protections_tick(&self) -> AppResult<()> {
        while !self.context.is_closing() {
            let now = self.context.now();
            let due = self.context.store.read().protections_due(now, ROUND).await?;
            let is_last = (due.len() as u64) < ROUND;
            if !due.is_empty() {
                let verdicts = self.verdicts(due, now).await?;
                let txn = self.context.store.write().await?;
                txn.protections_put(verdicts).await?;
                txn.commit().await?;
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    async fn verdicts(
        &self,
        due: Vec<ProtectionRow>,
        now: Timestamp,
    ) -> AppResult<Vec<NewProtection>> {
        let ids: Vec<GroupId> = due.iter().map(|row| row.group_id).collect();
        let mut of_account: BTreeMap<AccountId, Vec<GroupRow>> = BTreeMap::new();
        for row in self.context.store.read().group_fetch_many(&ids).await? {
            of_account.entry(row.group.account_id.clone()).or_default().push(row);
        }
        let mut found = HashMap::new();
        for (account, groups) in of_account {
            found.extend(self.verdicts_of(&account, &groups, now).await?);
        }
        let verdict = |before: ProtectionRow| {
            let (state, due_at) = found.remove(&before.group_id).unzip();
            NewProtection { before, state, due_at: due_at.flatten() }
        };
        Ok(due.into_iter().map(verdict).collect())
    }

    /// The most urgent word for each of these groups, and when time alone may change it.
    async fn verdicts_of(
        &self,
        account: &AccountId,
        groups: &[GroupRow],
        now: Timestamp,
    ) -> AppResult<HashMap<GroupId, (&'static str, Option<Timestamp>)>> {
        let read = self.context.store.read();
        let Some(account) = read.account_fetch(account).await? else { return Ok(HashMap::new()) };
        let mut ids: Vec<DeviceId> = groups.iter().map(|row| row.group.device_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let devices = read.device_fetch_many(&account.id, &ids).await?;
        let holders = self.holders(&account, &devices, None).await?;
        let mut published = self.published(&devices, groups).await?;
        let events = |row: &GroupRow| published.remove(&row.group.id).unwrap_or_default();
        let all = self.judge(&account, &devices, groups, &holders, events).await?;
        let verdict = |row: &GroupRow| {
            let (id, device) = (row.group.id, row.group.device_id);
            let of_group = all.get(&id).map(Vec::as_slice).unwrap_or_default();
            let device = devices.iter().find(|of| of.id == device);
            let again = device.and_then(|device| next(of_group, &account, device, &holders, now));
            (id, (of_group.first().map_or("", |first| first.code()), again))
        };
        Ok(groups.iter().map(verdict).collect())
    }

    /// The MISP events that groups publish, and their versions, by what the database says: this
    /// process may serve none of them.
    async fn published(
        &self,
        devices: &[Device],
        groups: &[GroupRow],
    ) -> AppResult<HashMap<GroupId, HashMap<Uuid, Uuid>>> {
        let is_misp = |row: &&GroupRow| {
            let mut of = devices.iter().filter(|device| device.id == row.group.device_id);
            of.any(|device| device.device_type.format == Format::MispFeed)
        };
        let mut found = HashMap::new();
        for row in groups.iter().filter(is_misp) {
            let read = self.context.store.read();
            let files = read.publication_files_of(row.group.id, serves(row)).await?;
            let events = files.unwrap_or_default().iter().filter_map(misp_event).collect();
            found.insert(row.group.id, events);
        }
        Ok(found)
    }
}

/// When time alone may change the verdict: what is lacking is lacking for long, or a client was
/// silent for so long that it counts no more.
fn next(
    of_group: &[Protection],
    account: &Account,
    device: &Device,
    holders: &Holders,
    now: Timestamp,
) -> Option<Timestamp> {
    let late_after = late_after(std::slice::from_ref(device), account, device.id);
    let late = of_group.iter().filter_map(|of| match of {
        Protection::Behind { since, .. } => Some(since.plus(late_after + 1)),
        _ => None,
    });
    let counts_for = threshold(device.silent_after, account.silent_after);
    let silent = holders.clients(device.id).iter().map(|of| of.last_at.plus(counts_for + 1));
    late.chain(silent).filter(|at| *at > now).min()
}
