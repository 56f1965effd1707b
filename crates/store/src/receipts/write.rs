//! Receipts are written in the batches in which pulls are.

use std::collections::{BTreeMap, BTreeSet};

use iocast_domain::{id::GroupId, receipt::Fetched, time::Timestamp};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Set, sea_query::OnConflict,
};
use uuid::Uuid;

use super::{NewReceipt, Receipt, Withdrawal};
use crate::{
    StoreResult, Txn,
    row::{event_receipt, part, receipt, withdrawal},
};

/// Rows in one statement.
pub(super) const ROWS: usize = 500;

impl Txn {
    /// Writes what clients fetched, given in order of time. Of each client and group, and of each
    /// client and event, the last state is kept. Rows are written in one order everywhere (clients,
    /// receipts, events, each by its key), so that two replicas do not wait for each other. Gives
    /// of which groups clients have a receipt for the first time.
    pub async fn receipts_put(&self, all: &[NewReceipt]) -> StoreResult<BTreeSet<(Uuid, GroupId)>> {
        let crowded = self.clients_put(all).await?;
        let ids: BTreeSet<Uuid> = all.iter().map(|new| new.client.id).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut receipts: BTreeMap<(Uuid, GroupId), Receipt> = self
            .receipts_of(&ids)
            .await?
            .into_iter()
            .map(|receipt| ((receipt.client_id, receipt.group_id), receipt))
            .collect();
        let known: BTreeSet<(Uuid, GroupId)> = receipts.keys().copied().collect();
        let had: BTreeMap<(Uuid, GroupId), i64> =
            receipts.iter().map(|(key, receipt)| (*key, receipt.publication)).collect();
        let (mut changed, mut events) = (BTreeSet::new(), Vec::new());
        let mut pulled = BTreeMap::new();
        // Of one moment, the manifest was given first.
        let mut in_order: Vec<&NewReceipt> = all.iter().collect();
        in_order.sort_by_key(|new| (new.at, new.event().is_some()));
        for new in in_order {
            let key = (new.client.id, new.group_id);
            match (new.fetched, receipts.get_mut(&key)) {
                (Fetched::Event { .. }, there) => {
                    events.push((new, there.as_ref().map(|receipt| receipt.asked_at())));
                    if let Some(receipt) = there.filter(|receipt| receipt.check_at.is_none()) {
                        receipt.check_at = new.check_at;
                        changed.insert(key);
                    }
                }
                (Fetched::Part, _) | (Fetched::Rest(_), None) => {}
                (_, Some(receipt)) => {
                    let before = receipt.asked_at();
                    if receipt.follow(new) {
                        changed.insert(key);
                        if new.client.misp_uuid.is_some() {
                            // What it asks for from now on, it asks for at this pull.
                            let asked = events
                                .iter()
                                .filter(|(event, _): &&(&NewReceipt, _)| event.client.id == key.0)
                                .filter_map(|(event, _)| event.event())
                                .collect();
                            pulled.insert(key, (before, asked));
                        }
                    }
                }
                (Fetched::Whole(publication) | Fetched::Same(publication), None) => {
                    let confirmed = matches!(new.fetched, Fetched::Same(_));
                    receipts.insert(
                        key,
                        Receipt {
                            client_id: new.client.id,
                            group_id: new.group_id,
                            publication,
                            fetched_at: new.at,
                            confirmed: confirmed.then_some((publication, new.at)),
                            check_at: new.check_at,
                            first_at: new.at,
                        },
                    );
                    changed.insert(key);
                }
            }
        }
        let rows = changed.iter().filter_map(|key| receipts.get(key)).map(receipt_row).collect();
        self.receipt_rows(rows).await?;
        for ((client, group), (before, asked)) in pulled {
            self.events_stored(client, group, before, asked).await?;
        }
        self.events_follow(&events).await?;
        self.clients_keep(&crowded).await?;
        let moved = changed
            .iter()
            .filter(|key| receipts.get(key).map(|of| of.publication) != had.get(key).copied())
            .map(|(_, group)| *group)
            .chain(events.iter().map(|(event, _)| event.group_id))
            .collect();
        let at = all.iter().map(|new| new.at).max().unwrap_or_default();
        self.protections_due_now(moved, at).await?;
        Ok(changed.difference(&known).copied().collect())
    }

    async fn receipt_rows(&self, rows: Vec<receipt::ActiveModel>) -> StoreResult<()> {
        let over = OnConflict::columns([receipt::Column::ClientId, receipt::Column::GroupId])
            .update_columns([
                receipt::Column::Publication,
                receipt::Column::FetchedAt,
                receipt::Column::Confirmed,
                receipt::Column::ConfirmedAt,
                receipt::Column::CheckAt,
            ])
            .to_owned();
        for chunk in rows.chunks(ROWS) {
            receipt::Entity::insert_many(chunk.iter().cloned())
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
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

impl Receipt {
    /// Follows what a client did; gives whether that says anything new. What arrives late changes
    /// nothing.
    fn follow(&mut self, new: &NewReceipt) -> bool {
        // Of two that were given at one moment, the later publication is the last.
        let is_late =
            |publication: i64| (new.at, publication) < (self.asked_at(), self.publication);
        match new.fetched {
            Fetched::Whole(publication)
            | Fetched::Rest(publication)
            | Fetched::Same(publication)
                if is_late(publication) =>
            {
                return false;
            }
            Fetched::Whole(publication) | Fetched::Rest(publication) => {
                (self.publication, self.fetched_at) = (publication, new.at);
            }
            // Who shows the ETag of a publication has it, whatever it was given by whom.
            Fetched::Same(publication) => {
                if self.publication != publication {
                    (self.publication, self.fetched_at) = (publication, new.at);
                }
                self.confirmed = Some((publication, new.at));
            }
            Fetched::Part | Fetched::Event { .. } => return false,
        }
        self.check_at = self.check_at.or(new.check_at);
        true
    }
}

fn receipt_row(of: &Receipt) -> receipt::ActiveModel {
    let Receipt { client_id, group_id, publication, fetched_at, confirmed, check_at, first_at } =
        *of;
    receipt::ActiveModel {
        client_id: Set(client_id),
        group_id: Set(group_id.0),
        publication: Set(publication),
        fetched_at: Set(fetched_at.micros()),
        confirmed: Set(confirmed.map(|(publication, _)| publication)),
        confirmed_at: Set(confirmed.map(|(_, at)| at.micros())),
        check_at: Set(check_at.map(Timestamp::micros)),
        first_at: Set(first_at.micros()),
    }
}
