//! Whether devices have what their groups hold: who fetched what, beside what is published.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    account::{Account, Module},
    device::Device,
    device_type::Format,
    id::{DeviceId, GroupId},
    receipt::{
        ClientHas, GroupFacts, OFFERED_AGAIN, PULL_ENDS, Protection, Published, REFUSED_AFTER,
        protection,
    },
    time::Timestamp,
    watch::threshold,
};
use iocast_store::{Client, EventReceipt, GroupRow, PublicationLine, Receipt};
use uuid::Uuid;

use crate::{Accounts, Actor, AppError, AppResult};

mod verdicts;

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
    /// Refused events that list nothing but what was taken back: who refuses them lacks nothing.
    emptied: HashSet<Uuid>,
}

impl Holders {
    /// The clients of a device that count.
    pub(crate) fn clients(&self, device: DeviceId) -> &[Client] {
        self.clients.get(&device).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether clients of a device fetched other groups of it, and none of them this one.
    fn only_others(&self, device: DeviceId, group: GroupId) -> bool {
        let has = |of: &dyn Fn(GroupId) -> bool| {
            self.clients(device).iter().any(|client| {
                self.receipts.keys().any(|(id, group)| *id == client.id && of(*group))
            })
        };
        has(&|of| of != group) && !has(&|of| of == group)
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
        let receipt = self.receipt(client.id, group);
        let is_misp = client.misp_uuid.is_some();
        let count = |which: &dyn Fn(&EventReceipt) -> bool| {
            fetched.iter().filter(|event| which(event)).count() as u64
        };
        ClientHas {
            publication: receipt.map(|receipt| receipt.publication),
            fetched_at: receipt.map(Receipt::asked_at),
            events: count(&|event| is_current(&event)),
            // A script may fetch everything each time; a MISP fetches what it does not have.
            // What it refused in one version, it has not taken in the next one, either.
            refused: count(&|event| {
                is_misp
                    && published.contains_key(&event.event)
                    && receipt.is_some_and(|of| event.is_refused(of))
                    && !self.emptied.contains(&event.event)
            }),
            not_taken: count(&|event| {
                published.contains_key(&event.event)
                    && !is_current(&event)
                    && event.offered > OFFERED_AGAIN
            }),
        }
    }
}

/// The clients of one device that count, of all of them, the last seen first. A client without a
/// name of its own that was not seen since another one with its key or user agent began is gone: its
/// address, its key or its version changed. So is one that was there for one pull, beside others that
/// come back. Where none was seen lately, the last one counts.
fn counting(all: &[Client], since: Timestamp) -> Vec<Client> {
    let once = |client: &Client| client.last_at.since(client.first_at) < PULL_ENDS;
    let replaced = |old: &Client| {
        old.misp_uuid.is_none()
            && all.iter().filter(|new| new.id != old.id).any(|new| {
                let alike = new.misp_uuid.is_none()
                    && (new.key_id == old.key_id || new.user_agent == old.user_agent);
                (alike && new.first_at > old.last_at) || (once(old) && !once(new))
            })
    };
    let lately: Vec<Client> =
        all.iter().filter(|client| client.last_at >= since && !replaced(client)).cloned().collect();
    if lately.is_empty() { all.first().cloned().into_iter().collect() } else { lately }
}

impl Accounts {
    /// Who fetched what of these devices; of MISP events only what is `wanted`, or of all.
    pub(crate) async fn holders(
        &self,
        account: &Account,
        devices: &[Device],
        wanted: Option<&[Uuid]>,
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
        let fetched = match wanted {
            Some(events) => read.event_receipts_for(events).await?,
            None => read.event_receipts_of(&of_misp).await?,
        };
        for receipt in fetched {
            events.entry((receipt.client_id, receipt.group_id)).or_default().push(receipt);
        }
        Ok(Holders {
            clients,
            receipts: receipts.map(|r| ((r.client_id, r.group_id), r)).collect(),
            emptied: self.emptied(&events).await?,
            events,
        })
    }

    /// Which of the events that clients refuse list no IOC any more.
    async fn emptied(
        &self,
        fetched: &HashMap<(Uuid, GroupId), Vec<EventReceipt>>,
    ) -> AppResult<HashSet<Uuid>> {
        let refused: Vec<Uuid> = fetched
            .values()
            .flatten()
            .filter(|event| event.times >= REFUSED_AFTER)
            .map(|event| event.event)
            .collect();
        Ok(self.context.store.read().parts_emptied(&refused).await?.into_iter().collect())
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
        let holders = self.holders(account, devices, None).await?;
        let published = |row: &GroupRow| self.tables.events(row.group.id).into_iter().collect();
        self.judge(account, devices, groups, &holders, published).await
    }

    /// The same, of groups that publish these MISP events in these versions.
    async fn judge(
        &self,
        account: &Account,
        devices: &[Device],
        groups: &[GroupRow],
        holders: &Holders,
        mut published: impl FnMut(&GroupRow) -> HashMap<Uuid, Uuid>,
    ) -> AppResult<HashMap<GroupId, Vec<Protection>>> {
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
            let published = published(row);
            let facts = GroupFacts {
                published: lines.remove(&id).unwrap_or_default().into_iter().map(line).collect(),
                serves: serves(row),
                late_after: late_after(devices, account, device),
                events: published.len() as u64,
                left_out: row.cut.reasons.get("limit").copied().unwrap_or_default(),
                held: row.held.clone(),
                frozen: row.frozen,
                // A device that fetched another group of its own has not fetched this one.
                pulled: pulled.contains(&device) && !holders.only_others(device, id),
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
            emptied: self.emptied(&events).await?,
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

/// The publication that a group serves.
fn serves(row: &GroupRow) -> i64 {
    row.frozen.filter(|_| row.restored.is_none()).unwrap_or(row.publication)
}

/// Half the time after which a device is silent: until then it may not have been its turn.
fn late_after(devices: &[Device], account: &Account, id: DeviceId) -> i64 {
    let of = devices.iter().find(|device| device.id == id).and_then(|device| device.silent_after);
    threshold(of, account.silent_after) / 2
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
        const HOUR: i64 = 3_600;
        let moved =
            [client(2, "PAN", None, 6 * HOUR, 9 * HOUR), client(1, "PAN", None, HOUR, 5 * HOUR)];
        assert_eq!(ids(&moved, 0), [2]);
        let pair =
            [client(2, "PAN", None, 2 * HOUR, 9 * HOUR), client(1, "PAN", None, HOUR, 8 * HOUR)];
        assert_eq!(ids(&pair, 0), [2, 1], "two that pull side by side are two");
        let version = [
            client(2, "PAN 2", None, 6 * HOUR, 9 * HOUR),
            client(1, "PAN 1", None, HOUR, 5 * HOUR),
        ];
        assert_eq!(ids(&version, 0), [2], "the key is the same");
        let tried = [
            client(2, "curl", None, 6 * HOUR, 6 * HOUR + 60),
            client(1, "PAN", None, HOUR, 9 * HOUR),
        ];
        assert_eq!(ids(&tried, 0), [1], "somebody tried it for a minute");
        let beside = [
            client(2, "curl", None, 6 * HOUR, 6 * HOUR + 60),
            client(1, "MISP", Some("a"), HOUR, 9 * HOUR),
        ];
        assert_eq!(ids(&beside, 0), [1], "also beside a MISP");
        let misps = [
            client(2, "MISP", Some("b"), 6 * HOUR, 9 * HOUR),
            client(1, "MISP", Some("a"), HOUR, 5 * HOUR),
        ];
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
