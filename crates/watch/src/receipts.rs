//! What each client fetched is written with its pulls.

use std::collections::HashSet;

use iocast_context::Secrets;
use iocast_domain::{
    id::{DeviceId, GroupId},
    receipt::{Fetched, OFFERED_FOR},
    time::{MINUTE, SECOND, Timestamp},
};
use iocast_store::{Client as Receiver, NewReceipt, Txn};
use quick_cache::sync::Cache;
use uuid::Uuid;

use crate::{
    AppResult, Pulled, Watch,
    pulls::{Client, Note, PullNote, Times},
};

/// Receipts of which it is remembered that they are written.
const REMEMBERED: usize = 150_000;
/// After how long what is written already is written again, so that it shows who was seen last, in
/// seconds.
const WRITTEN_EVERY: i64 = 10 * MINUTE / SECOND;

/// Receipts that are in the database: a client that polls and is told each time that there is
/// nothing new costs no write. There may be very many, so each is kept in few bytes.
pub(crate) struct Written(Cache<u128, Known>);

/// A pull that is in the database.
#[derive(Clone, Copy, Debug)]
struct Known {
    publication: i64,
    /// In seconds.
    at: u32,
    kind: u8,
}

impl Default for Written {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

/// A client of a group. The id of a client is a keyed hash: nobody chooses one that meets another.
fn key(client: Uuid, group: GroupId) -> u128 {
    client.as_u128() ^ group.0.as_u128().rotate_left(64)
}

impl Known {
    fn of(fetched: Fetched, at: Timestamp) -> Option<Self> {
        let (kind, publication) = match fetched {
            Fetched::Whole(publication) => (0, publication),
            Fetched::Same(publication) => (1, publication),
            Fetched::Rest(publication) => (2, publication),
            Fetched::Part => (3, 0),
            Fetched::Event { .. } => return None,
        };
        Some(Self { publication, at: u32::try_from(at.secs()).ok()?, kind })
    }
}

impl Written {
    fn is_written(&self, receipt: &NewReceipt) -> bool {
        let known = self.0.get(&key(receipt.client.id, receipt.group_id));
        let now = Known::of(receipt.fetched, receipt.at);
        known.zip(now).is_some_and(|(known, now)| {
            known.kind == now.kind
                && known.publication == now.publication
                && i64::from(known.at.abs_diff(now.at)) < WRITTEN_EVERY
        })
    }

    pub(crate) fn remember(&self, written: Vec<NewReceipt>) {
        for NewReceipt { client, group_id, fetched, at, .. } in written {
            if let Some(known) = Known::of(fetched, at).filter(|_| fetched.is_pull()) {
                self.0.insert(key(client.id, group_id), known);
            }
        }
    }
}

/// Who fetched something: a MISP names itself; others are told apart by key, address and user
/// agent, of which only a keyed hash is kept.
#[must_use]
pub fn receiver(secrets: &Secrets, device: DeviceId, client: &Client, pulled: &Pulled) -> Uuid {
    let who = match &client.misp_uuid {
        Some(uuid) => format!("misp {uuid}"),
        None => format!("{} {} {}", pulled.key_id, client.address, client.user_agent),
    };
    let hash = secrets.hash(&format!("client {device} {who}"));
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Uuid::from_bytes(id)
}

impl Watch {
    /// Whether the MISP that asks for an event never had it, as far as is known. Where receipts
    /// can't be read, it may have had it.
    pub async fn is_first_fetch(&self, pulled: &Pulled, client: &Client) -> bool {
        self.has_no_receipt(pulled, client).await.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "Receipts could not be read: a MISP gets the whole file of an event"
            );
            false
        })
    }

    async fn has_no_receipt(&self, pulled: &Pulled, client: &Client) -> AppResult<bool> {
        let (Fetched::Event { event, .. }, Some(misp)) = (pulled.fetched, &client.misp_uuid) else {
            return Ok(false);
        };
        let id = receiver(&self.context.secrets, pulled.device_id, client, pulled);
        let read = self.context.store.read();
        if read.event_receipt(id, event).await?.is_some_and(|receipt| receipt.is_fetched()) {
            return Ok(false);
        }
        // One that pulled before anybody noted who fetched what, or that was forgotten, may have
        // it.
        let (device, group, now) = (pulled.device_id, pulled.group_id, self.context.now());
        Ok(!read.clients_known(&[id]).await?.is_empty()
            || read.misp_pulled_before(device, group, &header(misp), now).await?.is_none())
    }

    /// Writes what was fetched, and gives what was not written already.
    pub(crate) async fn receipts_write(
        &self,
        txn: &Txn,
        notes: &[(Note, Times)],
    ) -> AppResult<Vec<NewReceipt>> {
        let mut new: Vec<NewReceipt> =
            notes.iter().filter_map(|(note, times)| self.receipt(note, times)).collect();
        new.retain(|receipt| !self.receipts.is_written(receipt));
        if new.is_empty() {
            return Ok(new);
        }
        let mut first = txn.receipts_put(&new).await?;
        for receipt in &new {
            if first.remove(&(receipt.client.id, receipt.group_id)) {
                self.adopt(txn, receipt).await?;
            }
        }
        Ok(new)
    }

    /// A MISP that pulled before anybody noted who fetched what has what it was given then: all
    /// events that are older than that pull.
    async fn adopt(&self, txn: &Txn, first: &NewReceipt) -> AppResult<()> {
        let NewReceipt { client, group_id, fetched, at, .. } = first;
        let (Some(misp), Fetched::Whole(publication) | Fetched::Same(publication)) =
            (&client.misp_uuid, fetched)
        else {
            return Ok(());
        };
        let events = self.tables.events(*group_id);
        if events.is_empty() {
            return Ok(());
        }
        let pulled = txn.misp_pulled_before(client.device_id, *group_id, misp, *at).await?;
        // Who shows the manifest's ETag without a line in the log was here long ago.
        let until = match (pulled, fetched) {
            (Some(pulled), _) => pulled,
            (None, Fetched::Same(_)) => *at,
            (None, _) => return Ok(()),
        };
        let old: HashSet<Uuid> = txn
            .part_stamps(*group_id)
            .await?
            .into_iter()
            .filter(|(_, stamp, _)| stamp * SECOND <= until.micros())
            .map(|(event, ..)| event)
            .collect();
        let events: Vec<_> = events.into_iter().filter(|(event, _)| old.contains(event)).collect();
        Ok(txn.events_adopt(client.id, *group_id, &events, (*publication, until)).await?)
    }

    fn receipt(&self, note: &Note, times: &Times) -> Option<NewReceipt> {
        let PullNote::Done(pulled) = &note.what else { return None };
        let client = Receiver {
            id: receiver(&self.context.secrets, pulled.device_id, &note.client, pulled),
            device_id: pulled.device_id,
            key_id: pulled.key_id,
            misp_uuid: note.client.misp_uuid.as_deref().map(header),
            misp_version: note.client.misp_version.as_deref().map(header),
            user_agent: header(&note.client.user_agent),
            first_at: times.at,
            last_at: times.at,
        };
        // A MISP that was given a manifest or an event should have what it was offered an hour
        // later. Others are not known to keep anything.
        let takes_events = client.misp_uuid.is_some()
            && match pulled.fetched {
                Fetched::Event { .. } => true,
                Fetched::Whole(_) => !self.tables.events(pulled.group_id).is_empty(),
                Fetched::Same(_) | Fetched::Rest(_) | Fetched::Part => false,
            };
        Some(NewReceipt {
            check_at: takes_events.then(|| times.at.plus(OFFERED_FOR)),
            client,
            group_id: pulled.group_id,
            fetched: pulled.fetched,
            at: times.at,
        })
    }
}

/// A header as it is kept.
pub(crate) fn header(text: &str) -> String {
    iocast_domain::time::clip(&text.replace(char::is_control, " "), 200)
}
