//! What clients fetched: who they are, and the last state of each group and event.

use iocast_domain::{
    id::{DeviceId, GroupId, IocId, KeyId},
    receipt::Fetched,
    time::Timestamp,
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::{
    Conn, StoreResult,
    row::{client, event_receipt, part, pull, receipt, withdrawal},
};

mod clients;
mod event;
mod events;
mod offers;
mod write;

pub use self::event::EventReceipt;
use self::event::to_event;

/// Most ids in one statement.
const IDS: usize = 1_000;
/// Clients kept for each device.
const CLIENTS_KEPT: u64 = 16;

/// A receiver behind a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// A keyed hash of the device and of what the client says of itself.
    pub id: Uuid,
    /// The device.
    pub device_id: DeviceId,
    /// The key that it used last.
    pub key_id: KeyId,
    /// `MISP-uuid`.
    pub misp_uuid: Option<String>,
    /// `MISP-version`.
    pub misp_version: Option<String>,
    /// `User-Agent`.
    pub user_agent: String,
    /// When it was first seen.
    pub first_at: Timestamp,
    /// When it was last seen, to some minutes.
    pub last_at: Timestamp,
}

/// Something that a client fetched, about to be written.
#[derive(Clone, Debug)]
pub struct NewReceipt {
    /// Who.
    pub client: Client,
    /// Of which group.
    pub group_id: GroupId,
    /// What.
    pub fetched: Fetched,
    /// When to look whether it took what it was offered; none where nothing can be done about it.
    pub check_at: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
}

/// What a client fetched last of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The client.
    pub client_id: Uuid,
    /// The group.
    pub group_id: GroupId,
    /// The publication whose entry document it was given whole.
    pub publication: i64,
    /// When.
    pub fetched_at: Timestamp,
    /// The publication that it showed to have, and when it last did.
    pub confirmed: Option<(i64, Timestamp)>,
    /// When to look whether it took what it was offered.
    pub check_at: Option<Timestamp>,
    /// When it first asked for this group.
    pub first_at: Timestamp,
}

impl Receipt {
    /// When the client last asked for the entry document.
    #[must_use]
    pub fn asked_at(&self) -> Timestamp {
        self.confirmed.map_or(self.fetched_at, |(_, at)| at.max(self.fetched_at))
    }
}

/// An IOC that a person took from a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The IOC.
    pub ioc_id: IocId,
    /// The group.
    pub group_id: GroupId,
    /// The first publication without it.
    pub publication: i64,
    /// The MISP event that says so.
    pub event: Option<Uuid>,
    /// When.
    pub at: Timestamp,
}

fn to_client(row: client::Model) -> Client {
    let client::Model {
        id,
        device_id,
        key_id,
        misp_uuid,
        misp_version,
        user_agent,
        first_at,
        last_at,
    } = row;
    Client {
        id,
        device_id: DeviceId(device_id),
        key_id: KeyId(key_id),
        misp_uuid,
        misp_version,
        user_agent,
        first_at: Timestamp::from_micros(first_at),
        last_at: Timestamp::from_micros(last_at),
    }
}

fn to_receipt(row: &receipt::Model) -> Receipt {
    Receipt {
        client_id: row.client_id,
        group_id: GroupId(row.group_id),
        publication: row.publication,
        fetched_at: Timestamp::from_micros(row.fetched_at),
        confirmed: row.confirmed.zip(row.confirmed_at.map(Timestamp::from_micros)),
        check_at: row.check_at.map(Timestamp::from_micros),
        first_at: Timestamp::from_micros(row.first_at),
    }
}

fn to_withdrawal(row: &withdrawal::Model) -> Withdrawal {
    Withdrawal {
        ioc_id: IocId(row.ioc_id),
        group_id: GroupId(row.group_id),
        publication: row.publication,
        event: row.event,
        at: Timestamp::from_micros(row.at),
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// The clients of these devices, the one that was seen last first.
    pub async fn clients_of(&self, devices: &[DeviceId]) -> StoreResult<Vec<Client>> {
        let mut found = Vec::new();
        for chunk in devices.chunks(IDS) {
            let rows = client::Entity::find()
                .filter(client::Column::DeviceId.is_in(chunk.iter().map(|device| device.0)))
                .order_by_desc(client::Column::LastAt)
                .order_by_asc(client::Column::Id)
                .all(&self.0)
                .await?;
            found.extend(rows.into_iter().map(to_client));
        }
        Ok(found)
    }

    /// Which of these clients are known.
    pub async fn clients_known(&self, ids: &[Uuid]) -> StoreResult<Vec<Client>> {
        let mut found = Vec::new();
        for chunk in ids.chunks(IDS) {
            let rows = client::Entity::find()
                .filter(client::Column::Id.is_in(chunk.iter().copied()))
                .all(&self.0)
                .await?;
            found.extend(rows.into_iter().map(to_client));
        }
        Ok(found)
    }

    /// What these clients fetched of groups.
    pub async fn receipts_of(&self, clients: &[Uuid]) -> StoreResult<Vec<Receipt>> {
        let mut found = Vec::new();
        for chunk in clients.chunks(IDS) {
            let rows = receipt::Entity::find()
                .filter(receipt::Column::ClientId.is_in(chunk.iter().copied()))
                .all(&self.0)
                .await?;
            found.extend(rows.iter().map(to_receipt));
        }
        Ok(found)
    }

    /// The MISP events that these clients fetched.
    pub async fn event_receipts_of(&self, clients: &[Uuid]) -> StoreResult<Vec<EventReceipt>> {
        let mut found = Vec::new();
        for chunk in clients.chunks(IDS) {
            let rows = event_receipt::Entity::find()
                .filter(event_receipt::Column::ClientId.is_in(chunk.iter().copied()))
                .all(&self.0)
                .await?;
            found.extend(rows.iter().map(to_event));
        }
        Ok(found)
    }

    /// What a client fetched of a MISP event.
    pub async fn event_receipt(
        &self,
        client: Uuid,
        event: Uuid,
    ) -> StoreResult<Option<EventReceipt>> {
        let row = event_receipt::Entity::find_by_id((client, event)).one(&self.0).await?;
        Ok(row.as_ref().map(to_event))
    }

    /// What the MISPs of a device that were seen since last fetched of these events.
    pub async fn events_fetched(
        &self,
        device: DeviceId,
        events: &[Uuid],
        since: Timestamp,
    ) -> StoreResult<Vec<EventReceipt>> {
        let clients: Vec<Uuid> = client::Entity::find()
            .select_only()
            .column(client::Column::Id)
            .filter(client::Column::DeviceId.eq(device.0))
            .filter(client::Column::MispUuid.is_not_null())
            .filter(client::Column::LastAt.gte(since.micros()))
            .into_tuple()
            .all(&self.0)
            .await?;
        let mut found = Vec::new();
        if clients.is_empty() {
            return Ok(found);
        }
        for chunk in events.chunks(IDS) {
            let rows = event_receipt::Entity::find()
                .filter(event_receipt::Column::ClientId.is_in(clients.iter().copied()))
                .filter(event_receipt::Column::Event.is_in(chunk.iter().copied()))
                .filter(event_receipt::Column::Publication.gt(0_i64))
                .all(&self.0)
                .await?;
            found.extend(rows.iter().map(to_event));
        }
        Ok(found)
    }

    /// Who fetched one of these MISP events.
    pub async fn event_receipts_for(&self, events: &[Uuid]) -> StoreResult<Vec<EventReceipt>> {
        let mut found = Vec::new();
        for chunk in events.chunks(IDS) {
            let rows = event_receipt::Entity::find()
                .filter(event_receipt::Column::Event.is_in(chunk.iter().copied()))
                .all(&self.0)
                .await?;
            found.extend(rows.iter().map(to_event));
        }
        Ok(found)
    }

    /// Receipts of clients of which it is time to look whether they took what they were offered.
    pub async fn receipts_to_check(&self, now: Timestamp, limit: u64) -> StoreResult<Vec<Receipt>> {
        let rows = receipt::Entity::find()
            .filter(receipt::Column::CheckAt.lte(now.micros()))
            .order_by_asc(receipt::Column::CheckAt)
            .limit(limit)
            .all(&self.0)
            .await?;
        Ok(rows.iter().map(to_receipt).collect())
    }

    /// When a MISP last pulled a group before this moment, by the pull log.
    pub async fn misp_pulled_before(
        &self,
        device: DeviceId,
        group: GroupId,
        misp_uuid: &str,
        before: Timestamp,
    ) -> StoreResult<Option<Timestamp>> {
        let last = pull::Entity::find()
            .filter(pull::Column::DeviceId.eq(device.0))
            .filter(pull::Column::GroupId.eq(group.0))
            .filter(pull::Column::MispUuid.eq(misp_uuid))
            .filter(pull::Column::Failed.eq(false))
            .filter(pull::Column::Events.eq(0))
            .filter(pull::Column::FirstAt.lt(before.micros()))
            .order_by_desc(pull::Column::FirstAt)
            .one(&self.0)
            .await?;
        // A line that goes on was begun before.
        Ok(last.map(|line| {
            Timestamp::from_micros(line.first_at.max(line.at.min(before.micros() - 1)))
        }))
    }

    /// When each MISP event of a group got its timestamp, in UTC seconds, and whether it is to get
    /// another one.
    pub async fn part_stamps(&self, group: GroupId) -> StoreResult<Vec<(Uuid, i64, bool)>> {
        Ok(part::Entity::find()
            .select_only()
            .columns([part::Column::Id, part::Column::Stamp, part::Column::OfferAgain])
            .filter(part::Column::GroupId.eq(group.0))
            .into_tuple()
            .all(&self.0)
            .await?)
    }

    /// Which of these MISP events list no IOC any more, but for those that were taken back.
    pub async fn parts_emptied(&self, events: &[Uuid]) -> StoreResult<Vec<Uuid>> {
        let mut found = Vec::new();
        for chunk in events.chunks(IDS) {
            let emptied = part::Entity::find()
                .select_only()
                .column(part::Column::Id)
                .filter(part::Column::Id.is_in(chunk.iter().copied()))
                .filter(part::Column::Live.eq(0));
            found.extend(emptied.into_tuple::<Uuid>().all(&self.0).await?);
        }
        Ok(found)
    }

    /// The groups from which a person took an IOC, the last one first.
    pub async fn withdrawals_of(&self, ioc: IocId) -> StoreResult<Vec<Withdrawal>> {
        let rows = withdrawal::Entity::find()
            .filter(withdrawal::Column::IocId.eq(ioc.0))
            .order_by_desc(withdrawal::Column::At)
            .order_by_asc(withdrawal::Column::GroupId)
            .all(&self.0)
            .await?;
        Ok(rows.iter().map(to_withdrawal).collect())
    }
}
