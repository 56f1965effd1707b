//! Clients are written, and forgotten.

use std::collections::{BTreeMap, BTreeSet};

use iocast_domain::{id::DeviceId, time::Timestamp};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::OnConflict,
};
use uuid::Uuid;

use super::{CLIENTS_KEPT, Client, IDS, NewReceipt, write::ROWS};
use crate::{
    StoreResult, Txn,
    row::{client, event_receipt, receipt, withdrawal},
};

impl Txn {
    /// Writes who clients are. Gives the devices that have new ones.
    pub(super) async fn clients_put(&self, all: &[NewReceipt]) -> StoreResult<Vec<DeviceId>> {
        let mut clients: BTreeMap<Uuid, Client> = BTreeMap::new();
        for NewReceipt { client, at, .. } in all {
            let first_at = clients.get(&client.id).map_or(*at, |known| known.first_at);
            clients.insert(client.id, Client { first_at, last_at: *at, ..client.clone() });
        }
        let ids: Vec<Uuid> = clients.keys().copied().collect();
        let known: BTreeSet<Uuid> =
            self.clients_known(&ids).await?.into_iter().map(|client| client.id).collect();
        let rows: Vec<client::ActiveModel> = clients.values().map(to_row).collect();
        let over = OnConflict::column(client::Column::Id)
            .update_columns([
                client::Column::KeyId,
                client::Column::MispVersion,
                client::Column::LastAt,
            ])
            .to_owned();
        for chunk in rows.chunks(ROWS) {
            client::Entity::insert_many(chunk.iter().cloned())
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        let with_new: BTreeSet<DeviceId> = clients
            .values()
            .filter(|client| !known.contains(&client.id))
            .map(|client| client.device_id)
            .collect();
        Ok(with_new.into_iter().collect())
    }

    /// Forgets the clients of these devices that were not seen for longest, beyond those that are
    /// kept.
    pub(super) async fn clients_keep(&self, devices: &[DeviceId]) -> StoreResult<()> {
        for chunk in devices.chunks(IDS) {
            let crowded: Vec<Uuid> = client::Entity::find()
                .select_only()
                .column(client::Column::DeviceId)
                .filter(client::Column::DeviceId.is_in(chunk.iter().map(|device| device.0)))
                .group_by(client::Column::DeviceId)
                .having(client::Column::Id.count().gt(CLIENTS_KEPT as i64))
                .into_tuple()
                .all(&self.0)
                .await?;
            for device in crowded {
                let oldest: Vec<Uuid> = client::Entity::find()
                    .select_only()
                    .column(client::Column::Id)
                    .filter(client::Column::DeviceId.eq(device))
                    .order_by_desc(client::Column::LastAt)
                    .order_by_asc(client::Column::Id)
                    .offset(CLIENTS_KEPT)
                    .limit(IDS as u64)
                    .into_tuple()
                    .all(&self.0)
                    .await?;
                self.clients_forget(&oldest).await?;
            }
        }
        Ok(())
    }

    async fn clients_forget(&self, ids: &[Uuid]) -> StoreResult<()> {
        for chunk in ids.chunks(IDS) {
            client::Entity::delete_many()
                .filter(client::Column::Id.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
            receipt::Entity::delete_many()
                .filter(receipt::Column::ClientId.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
            event_receipt::Entity::delete_many()
                .filter(event_receipt::Column::ClientId.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Forgets the clients of a device that is deleted.
    pub(crate) async fn clients_delete_of(&self, device: DeviceId) -> StoreResult<()> {
        let ids: Vec<Uuid> =
            self.clients_of(&[device]).await?.into_iter().map(|client| client.id).collect();
        self.clients_forget(&ids).await
    }

    /// Forgets clients that were not seen since, and withdrawals from before, some at a time. Gives
    /// whether there may be more.
    pub async fn receipts_prune(
        &self,
        seen_before: Timestamp,
        withdrawn_before: Timestamp,
    ) -> StoreResult<bool> {
        let silent: Vec<Uuid> = client::Entity::find()
            .select_only()
            .column(client::Column::Id)
            .filter(client::Column::LastAt.lt(seen_before.micros()))
            .limit(IDS as u64)
            .into_tuple()
            .all(&self.0)
            .await?;
        self.clients_forget(&silent).await?;
        withdrawal::Entity::delete_many()
            .filter(withdrawal::Column::At.lt(withdrawn_before.micros()))
            .exec(&self.0)
            .await?;
        Ok(silent.len() == IDS)
    }
}

fn to_row(of: &Client) -> client::ActiveModel {
    let Client { id, device_id, key_id, misp_uuid, misp_version, user_agent, first_at, last_at } =
        of.clone();
    client::ActiveModel {
        id: Set(id),
        device_id: Set(device_id.0),
        key_id: Set(key_id.0),
        misp_uuid: Set(misp_uuid),
        misp_version: Set(misp_version),
        user_agent: Set(user_agent),
        first_at: Set(first_at.micros()),
        last_at: Set(last_at.micros()),
    }
}
