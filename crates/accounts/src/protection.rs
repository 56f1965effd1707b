//! Whether devices have what their groups hold: who fetched what, beside what is published.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    account::{Account, Module},
    device::Device,
    device_type::Format,
    id::{DeviceId, GroupId},
    receipt::{
        ClientHas, GroupFacts, OFFERED_AGAIN, Protection, Published, REFUSED_AFTER, protection,
    },
    time::Timestamp,
    watch::threshold,
};
use iocast_store::{Client, EventReceipt, GroupRow, PublicationLine, Receipt};
use uuid::Uuid;

use crate::{Accounts, Actor, AppError, AppResult};

/// A client with what it has of each group of its device.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// The client.
    pub client: Client,
    /// Whether it counts: it was seen within the time after which the device would be silent, and
    /// no other took its place.
    pub counts: bool,
    /// What it fetched of each group.
    pub groups: Vec<(Receipt, ClientHas)>,
}

/// Who fetched what of some devices.
pub(crate) struct Holders {
    /// The clients that count, by device.
    clients: HashMap<DeviceId, Vec<Client>>,
    receipts: HashMap<(Uuid, GroupId), Receipt>,
    events: HashMap<(Uuid, GroupId), Vec<EventReceipt>>,
}

impl Holders {
    /// The clients of a device that count.
    pub(crate) fn clients(&self, device: DeviceId) -> &[Client] {
        self.clients.get(&device).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn receipt(&self, client: Uuid, group: GroupId) -> Option<&Receipt> {
        self.receipts.get(&(client, group))
    }

    pub(crate) fn event(&self, client: Uuid, group: GroupId, event: Uuid) -> Option<&EventReceipt> {
        self.events.get(&(client, group))?.iter().find(|receipt| receipt.event == event)
    }

    /// What a client has of a group that publishes these events.
    fn has(&self, client: &Client, group: GroupId, published: &HashMap<Uuid, Uuid>) -> ClientHas {
        let fetched = self.events.get(&(client.id, group)).map(Vec::as_slice).unwrap_or_default();
        let is_current =
            |receipt: &&EventReceipt| published.get(&receipt.event) == Some(&receipt.version);
        ClientHas {
            publication: self.receipt(client.id, group).map(|receipt| receipt.publication),
            events: fetched.iter().filter(is_current).count() as u64,
            refused: fetched
                .iter()
                .filter(is_current)
                // A script may fetch everything each time; a MISP fetches what it does not have.
                .filter(|receipt| client.misp_uuid.is_some() && receipt.times >= REFUSED_AFTER)
                .count() as u64,
            not_taken: fetched
                .iter()
                .filter(|receipt| !is_current(receipt) && receipt.offered >= OFFERED_AGAIN)
                .filter(|receipt| published.contains_key(&receipt.event))
                .count() as u64,
        }
    }
}

/// The clients of one device that count, of all of them, the last seen first. A client without a
/// name of its own that was not seen since another one with its key and user agent began is gone:
/// its address changed. Where none was seen lately, the last one counts.
fn counting(all: &[Client], since: Timestamp) -> Vec<Client> {
    let replaced = |old: &Client| {
        old.misp_uuid.is_none()
            && all.iter().any(|new| {
                new.id != old.id
                    && new.misp_uuid.is_none()
                    && (new.key_id, &new.user_agent) == (old.key_id, &old.user_agent)
                    && new.first_at > old.last_at
            })
    };
    let lately: Vec<Client> =
        all.iter().filter(|client| client.last_at >= since && !replaced(client)).cloned().collect();
    if lately.is_empty() { all.first().cloned().into_iter().collect() } else { lately }
}

impl Accounts {
    /// Who fetched what of these devices.
    pub(crate) async fn holders(
        &self,
        account: &Account,
        devices: &[Device],
    ) -> AppResult<Holders> {
        let read = self.context.store.read();
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut of_device: HashMap<DeviceId, Vec<Client>> = HashMap::new();
        for client in read.clients_of(&ids).await? {
            of_device.entry(client.device_id).or_default().push(client);
        }
        let (now, mut clients) = (self.context.now(), HashMap::new());
        let (mut all, mut of_misp) = (Vec::new(), Vec::new());
        for device in devices {
            let known = of_device.remove(&device.id).unwrap_or_default();
            let since = now.plus(-threshold(device.silent_after, account.silent_after));
            let counting = counting(&known, since);
            let ids = counting.iter().map(|client| client.id);
            if device.device_type.format == Format::MispFeed {
                of_misp.extend(ids.clone());
            }
            all.extend(ids);
            clients.insert(device.id, counting);
        }
        let receipts = read.receipts_of(&all).await?.into_iter();
        let mut events: HashMap<(Uuid, GroupId), Vec<EventReceipt>> = HashMap::new();
        for receipt in read.event_receipts_of(&of_misp).await? {
            events.entry((receipt.client_id, receipt.group_id)).or_default().push(receipt);
        }
        Ok(Holders {
            clients,
            receipts: receipts.map(|r| ((r.client_id, r.group_id), r)).collect(),
            events,
        })
    }

    /// Whether the devices of these groups have what they hold, by group.
    pub(crate) async fn protections(
        &self,
        account: &Account,
        devices: &[Device],
        groups: &[GroupRow],
    ) -> AppResult<HashMap<GroupId, Vec<Protection>>> {
        if groups.is_empty() {
            return Ok(HashMap::new());
        }
        let holders = self.holders(account, devices).await?;
        let ids: Vec<GroupId> = groups.iter().map(|row| row.group.id).collect();
        let mut lines = self.context.store.read().publication_lists(&ids).await?;
        let pulled: HashSet<DeviceId> = devices
            .iter()
            .filter(|device| device.last_pull_at.is_some())
            .map(|device| device.id)
            .collect();
        let now = self.context.now();
        let of_group = |row: &GroupRow| {
            let (id, device) = (row.group.id, row.group.device_id);
            let published: HashMap<Uuid, Uuid> = self.tables.events(id).into_iter().collect();
            let facts = GroupFacts {
                published: lines.remove(&id).unwrap_or_default().into_iter().map(line).collect(),
                events: published.len() as u64,
                left_out: row.cut.reasons.get("limit").copied().unwrap_or_default(),
                held: row.held.clone(),
                frozen: row.frozen,
                pulled: pulled.contains(&device),
                clients: holders
                    .clients(device)
                    .iter()
                    .map(|client| holders.has(client, id, &published))
                    .collect(),
            };
            (id, protection(&facts, now))
        };
        Ok(groups.iter().map(of_group).collect())
    }

    /// The clients behind a device, the last seen first, and what each has.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn device_clients(&self, actor: &Actor, id: DeviceId) -> AppResult<Vec<ClientView>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        let device =
            read.device_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("device"))?;
        let groups = read.group_list(&actor.account_id, Some(id)).await?;
        let account = self.account_fetch(actor).await?;
        let all = read.clients_of(&[id]).await?;
        let ids: Vec<Uuid> = all.iter().map(|client| client.id).collect();
        let since = self.context.now().plus(-threshold(device.silent_after, account.silent_after));
        let counting: HashSet<Uuid> =
            counting(&all, since).into_iter().map(|client| client.id).collect();
        let receipts = read.receipts_of(&ids).await?.into_iter();
        let mut events: HashMap<(Uuid, GroupId), Vec<EventReceipt>> = HashMap::new();
        for receipt in read.event_receipts_of(&ids).await? {
            events.entry((receipt.client_id, receipt.group_id)).or_default().push(receipt);
        }
        let holders = Holders {
            clients: HashMap::new(),
            receipts: receipts.map(|r| ((r.client_id, r.group_id), r)).collect(),
            events,
        };
        let published: HashMap<GroupId, HashMap<Uuid, Uuid>> = groups
            .iter()
            .map(|row| (row.group.id, self.tables.events(row.group.id).into_iter().collect()))
            .collect();
        let view = |client: Client| {
            let of_groups = groups.iter().filter_map(|row| {
                let receipt = holders.receipt(client.id, row.group.id)?;
                let published = published.get(&row.group.id)?;
                Some((*receipt, holders.has(&client, row.group.id, published)))
            });
            ClientView {
                counts: counting.contains(&client.id),
                groups: of_groups.collect(),
                client,
            }
        };
        Ok(all.into_iter().map(view).collect())
    }
}

fn line(of: PublicationLine) -> Published {
    let PublicationLine { number, created_at, live, added, removed } = of;
    Published { number, at: created_at, live, changed: added.saturating_add(removed) }
}

#[cfg(test)]
mod tests {
    use iocast_domain::id::KeyId;

    use super::*;

    fn client(id: u128, agent: &str, misp: Option<&str>, first: i64, last: i64) -> Client {
        Client {
            id: Uuid::from_u128(id),
            device_id: DeviceId(Uuid::nil()),
            key_id: KeyId(Uuid::nil()),
            misp_uuid: misp.map(str::to_owned),
            misp_version: None,
            user_agent: agent.to_owned(),
            first_at: Timestamp::from_secs(first),
            last_at: Timestamp::from_secs(last),
        }
    }

    fn ids(all: &[Client], since: i64) -> Vec<u128> {
        counting(all, Timestamp::from_secs(since)).iter().map(|c| c.id.as_u128()).collect()
    }

    #[test]
    fn a_client_whose_address_changed_counts_no_more() {
        let moved = [client(2, "PAN", None, 60, 90), client(1, "PAN", None, 10, 50)];
        assert_eq!(ids(&moved, 0), [2]);
        let pair = [client(2, "PAN", None, 20, 90), client(1, "PAN", None, 10, 80)];
        assert_eq!(ids(&pair, 0), [2, 1], "two that pull side by side are two");
        let other = [client(2, "curl", None, 60, 90), client(1, "PAN", None, 10, 50)];
        assert_eq!(ids(&other, 0), [2, 1]);
        let misps = [client(2, "MISP", Some("b"), 60, 90), client(1, "MISP", Some("a"), 10, 50)];
        assert_eq!(ids(&misps, 0), [2, 1], "each MISP names itself");
    }

    #[test]
    fn where_nobody_was_seen_lately_the_last_one_counts() {
        let old = [client(2, "A", None, 20, 90), client(1, "B", None, 10, 80)];
        assert_eq!(ids(&old, 85), [2]);
        assert_eq!(ids(&old, 500), [2]);
        assert_eq!(ids(&[], 500), [] as [u128; 0]);
    }
}
