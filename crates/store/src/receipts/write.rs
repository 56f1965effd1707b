//! Receipts are written in the batches in which pulls are.

use std::collections::{BTreeMap, BTreeSet};

use iocast_domain::{
    id::{DeviceId, GroupId},
    receipt::Fetched,
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Set,
    sea_query::{CaseStatement, Expr, OnConflict},
};
use uuid::Uuid;

use super::{CLIENTS_KEPT, Client, IDS, NewReceipt, Withdrawal};
use crate::{
    StoreResult, Txn,
    row::{client, event_receipt, part, receipt, withdrawal},
};

/// Rows in one statement.
pub(super) const ROWS: usize = 500;

impl Txn {
    /// Writes what clients fetched. Of each client and group, and of each client and event, the
    /// last state is kept. Rows are written in one order everywhere, so that two replicas do not
    /// wait for each other. Gives the clients that were not known before.
    pub async fn receipts_put(&self, all: &[NewReceipt]) -> StoreResult<BTreeSet<Uuid>> {
        let new = self.clients_put(all).await?;
        let (mut whole, mut same, mut checks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut events: BTreeMap<(Uuid, Uuid), (GroupId, Uuid, Timestamp, i32)> = BTreeMap::new();
        for NewReceipt { client, group_id, fetched, count, check_at, at } in all {
            let key = (client.id, group_id.0);
            checks.extend(check_at.map(|check_at| (key, check_at)));
            match fetched {
                Fetched::Whole(publication) => drop(whole.insert(key, (*publication, *at))),
                Fetched::Same(publication) => drop(same.insert(key, (*publication, *at))),
                Fetched::Part => {}
                Fetched::Event(event, version) => {
                    let place =
                        events.entry((client.id, *event)).or_insert((*group_id, *version, *at, 0));
                    if place.1 != *version {
                        *place = (*group_id, *version, *at, 0);
                    }
                    let count = i32::try_from(*count).unwrap_or(i32::MAX);
                    (place.2, place.3) = (*at, place.3.saturating_add(count));
                }
            }
        }
        self.whole_put(&whole).await?;
        self.same_put(&same).await?;
        self.events_put(&events).await?;
        for ((client, group), at) in checks {
            self.receipt_check(client, GroupId(group), at).await?;
        }
        Ok(new)
    }

    async fn clients_put(&self, all: &[NewReceipt]) -> StoreResult<BTreeSet<Uuid>> {
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
        for device in with_new {
            self.clients_keep(device).await?;
        }
        Ok(ids.into_iter().filter(|id| !known.contains(id)).collect())
    }

    /// Forgets the clients of a device that were not seen for longest, beyond those that are kept.
    async fn clients_keep(&self, device: DeviceId) -> StoreResult<()> {
        let of_device = || client::Column::DeviceId.eq(device.0);
        if client::Entity::find().filter(of_device()).count(&self.0).await? <= CLIENTS_KEPT {
            return Ok(());
        }
        let oldest: Vec<Uuid> = client::Entity::find()
            .select_only()
            .column(client::Column::Id)
            .filter(of_device())
            .order_by_desc(client::Column::LastAt)
            .order_by_asc(client::Column::Id)
            .offset(CLIENTS_KEPT)
            .limit(IDS as u64)
            .into_tuple()
            .all(&self.0)
            .await?;
        self.clients_forget(&oldest).await
    }

    async fn clients_forget(&self, ids: &[Uuid]) -> StoreResult<()> {
        for chunk in ids.chunks(IDS) {
            receipt::Entity::delete_many()
                .filter(receipt::Column::ClientId.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
            event_receipt::Entity::delete_many()
                .filter(event_receipt::Column::ClientId.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
            client::Entity::delete_many()
                .filter(client::Column::Id.is_in(chunk.iter().copied()))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    async fn whole_put(&self, all: &BTreeMap<(Uuid, Uuid), (i64, Timestamp)>) -> StoreResult<()> {
        let row = |((client, group), (publication, at)): (&(Uuid, Uuid), &(i64, Timestamp))| {
            receipt::ActiveModel {
                client_id: Set(*client),
                group_id: Set(*group),
                publication: Set(*publication),
                fetched_at: Set(at.micros()),
                confirmed: Set(None),
                confirmed_at: Set(None),
                check_at: Set(None),
            }
        };
        let over = OnConflict::columns([receipt::Column::ClientId, receipt::Column::GroupId])
            .update_columns([receipt::Column::Publication, receipt::Column::FetchedAt])
            .to_owned();
        self.receipt_rows(all.iter().map(row).collect(), over).await
    }

    /// A client that shows the ETag of a publication has it, whatever it was given by whom.
    async fn same_put(&self, all: &BTreeMap<(Uuid, Uuid), (i64, Timestamp)>) -> StoreResult<()> {
        let row = |((client, group), (publication, at)): (&(Uuid, Uuid), &(i64, Timestamp))| {
            receipt::ActiveModel {
                client_id: Set(*client),
                group_id: Set(*group),
                publication: Set(*publication),
                fetched_at: Set(at.micros()),
                confirmed: Set(Some(*publication)),
                confirmed_at: Set(Some(at.micros())),
                check_at: Set(None),
            }
        };
        let over = OnConflict::columns([receipt::Column::ClientId, receipt::Column::GroupId])
            .update_columns([
                receipt::Column::Publication,
                receipt::Column::Confirmed,
                receipt::Column::ConfirmedAt,
            ])
            .to_owned();
        self.receipt_rows(all.iter().map(row).collect(), over).await
    }

    async fn receipt_rows(
        &self,
        rows: Vec<receipt::ActiveModel>,
        over: OnConflict,
    ) -> StoreResult<()> {
        for chunk in rows.chunks(ROWS) {
            receipt::Entity::insert_many(chunk.iter().cloned())
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    async fn events_put(
        &self,
        all: &BTreeMap<(Uuid, Uuid), (GroupId, Uuid, Timestamp, i32)>,
    ) -> StoreResult<()> {
        let there = |column| Expr::col((event_receipt::Entity, column));
        let new = |column| Expr::col(("excluded", column));
        let again = CaseStatement::new()
            .case(
                there(event_receipt::Column::Version).eq(new(event_receipt::Column::Version)),
                there(event_receipt::Column::Times).add(new(event_receipt::Column::Times)),
            )
            .finally(new(event_receipt::Column::Times));
        let over =
            OnConflict::columns([event_receipt::Column::ClientId, event_receipt::Column::Event])
                .value(event_receipt::Column::Times, again)
                .update_columns([
                    event_receipt::Column::Version,
                    event_receipt::Column::FetchedAt,
                    event_receipt::Column::Offered,
                ])
                .to_owned();
        let rows: Vec<event_receipt::ActiveModel> = all
            .iter()
            .map(|((client, event), (group, version, at, times))| event_receipt::ActiveModel {
                client_id: Set(*client),
                event: Set(*event),
                group_id: Set(group.0),
                version: Set(*version),
                fetched_at: Set(at.micros()),
                times: Set(*times),
                offered: Set(0),
            })
            .collect();
        for chunk in rows.chunks(ROWS) {
            event_receipt::Entity::insert_many(chunk.iter().cloned())
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Notes that a client has these events of a group: it showed that it has what was published
    /// before anybody noted who fetched what.
    pub async fn events_adopt(
        &self,
        client: Uuid,
        group: GroupId,
        events: &[(Uuid, Uuid)],
        at: Timestamp,
    ) -> StoreResult<()> {
        let all =
            events.iter().map(|(event, version)| ((client, *event), (group, *version, at, 1)));
        self.events_put(&all.collect()).await
    }

    /// Forgets the clients of a device that is deleted.
    pub(crate) async fn clients_delete_of(&self, device: DeviceId) -> StoreResult<()> {
        let ids: Vec<Uuid> =
            self.clients_of(&[device]).await?.into_iter().map(|client| client.id).collect();
        self.clients_forget(&ids).await
    }

    /// Forgets who fetched a group that is deleted, and what was withdrawn from it.
    pub(crate) async fn receipts_delete_of_group(&self, group: GroupId) -> StoreResult<()> {
        receipt::Entity::delete_many()
            .filter(receipt::Column::GroupId.eq(group.0))
            .exec(&self.0)
            .await?;
        withdrawal::Entity::delete_many()
            .filter(withdrawal::Column::GroupId.eq(group.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets who fetched the events of a group, which are found by its parts.
    pub(crate) async fn event_receipts_delete_of_group(&self, group: GroupId) -> StoreResult<()> {
        let parts = part::Entity::find()
            .select_only()
            .column(part::Column::Id)
            .filter(part::Column::GroupId.eq(group.0))
            .into_query();
        event_receipt::Entity::delete_many()
            .filter(event_receipt::Column::Event.in_subquery(parts))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets clients that were not seen since, and withdrawals from before, some at a time. Gives
    /// whether there may be more.
    pub async fn receipts_prune(&self, before: Timestamp) -> StoreResult<bool> {
        let silent: Vec<Uuid> = client::Entity::find()
            .select_only()
            .column(client::Column::Id)
            .filter(client::Column::LastAt.lt(before.micros()))
            .limit(IDS as u64)
            .into_tuple()
            .all(&self.0)
            .await?;
        self.clients_forget(&silent).await?;
        withdrawal::Entity::delete_many()
            .filter(withdrawal::Column::At.lt(before.micros()))
            .exec(&self.0)
            .await?;
        Ok(silent.len() == IDS)
    }

    /// Notes from which publication on groups are without an IOC that a person withdrew.
    pub async fn withdrawals_put(&self, all: &[Withdrawal]) -> StoreResult<()> {
        let over = OnConflict::columns([withdrawal::Column::IocId, withdrawal::Column::GroupId])
            .update_columns([
                withdrawal::Column::Publication,
                withdrawal::Column::Event,
                withdrawal::Column::At,
            ])
            .to_owned();
        for chunk in all.chunks(ROWS) {
            let rows = chunk.iter().map(|new| withdrawal::ActiveModel {
                ioc_id: Set(new.ioc_id.0),
                group_id: Set(new.group_id.0),
                publication: Set(new.publication),
                event: Set(new.event),
                at: Set(new.at.micros()),
            });
            withdrawal::Entity::insert_many(rows)
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
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
