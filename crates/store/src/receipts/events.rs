//! Which MISP events clients fetched, and what follows from the order in which they did.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use iocast_domain::{
    id::GroupId,
    receipt::{Fetched, REFUSED_AFTER},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{EventReceipt, IDS, NewReceipt, event::SURE_AFTER, write::ROWS};
use crate::{
    StoreResult, Txn,
    row::{event_receipt, part, receipt},
};

impl Txn {
    /// A MISP begins a pull, and the one before it began at this moment: what it fetched earlier
    /// and did not ask for at that one is stored.
    pub(super) async fn events_stored(
        &self,
        client: Uuid,
        group: GroupId,
        before: Timestamp,
        asked: Vec<Uuid>,
    ) -> StoreResult<()> {
        event_receipt::Entity::update_many()
            .col_expr(event_receipt::Column::Stored, Expr::value(true))
            .filter(event_receipt::Column::ClientId.eq(client))
            .filter(event_receipt::Column::GroupId.eq(group.0))
            .filter(event_receipt::Column::Stored.eq(false))
            .filter(event_receipt::Column::Publication.gt(0_i64))
            .filter(event_receipt::Column::FetchedAt.lt(before.micros()))
            .filter(event_receipt::Column::Event.is_not_in(asked))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes which events were fetched, each with when its client had last asked for the manifest.
    pub(super) async fn events_follow(
        &self,
        all: &[(&NewReceipt, Option<Timestamp>)],
    ) -> StoreResult<()> {
        let of: BTreeSet<Uuid> = all.iter().map(|(new, _)| new.client.id).collect();
        let of: Vec<Uuid> = of.into_iter().collect();
        let events: BTreeSet<Uuid> = all.iter().filter_map(|(new, _)| new.event()).collect();
        let events: Vec<Uuid> = events.into_iter().collect();
        let mut known: HashMap<(Uuid, Uuid), EventReceipt> = HashMap::new();
        for chunk in events.chunks(IDS) {
            for row in event_receipt::Entity::find()
                .filter(event_receipt::Column::ClientId.is_in(of.iter().copied()))
                .filter(event_receipt::Column::Event.is_in(chunk.iter().copied()))
                .all(&self.0)
                .await?
            {
                known.insert((row.client_id, row.event), super::to_event(&row));
            }
        }
        let mut changed = self.events_broken_off(all, &mut known).await?;
        for (new, asked_at) in all {
            let Fetched::Event { event, version, publication, body } = new.fetched else {
                continue;
            };
            let key = (new.client.id, event);
            let before = known
                .get(&key)
                .copied()
                .unwrap_or_else(|| EventReceipt::never(new.client.id, new.group_id, event));
            // Of two that were given at one moment, the later publication is the last.
            if (before.fetched_at, before.publication) > (new.at, publication) {
                continue;
            }
            known.insert(key, before.follow((version, publication, body), new.at, *asked_at));
            changed.insert(key);
        }
        let rows: Vec<EventReceipt> =
            changed.iter().filter_map(|key| known.get(key).copied()).collect();
        // What is refused is closed at once: IOCs that join must not be lost in it.
        for row in rows.iter().filter(|row| row.times >= REFUSED_AFTER) {
            self.receipt_due(row.client_id, row.group_id, row.fetched_at).await?;
        }
        let given = [
            event_receipt::Column::Version,
            event_receipt::Column::Publication,
            event_receipt::Column::FetchedAt,
            event_receipt::Column::Times,
            event_receipt::Column::Offered,
            event_receipt::Column::Stored,
            event_receipt::Column::Mistaken,
            event_receipt::Column::PulledAt,
            event_receipt::Column::Reported,
            event_receipt::Column::Versions,
        ];
        self.event_rows(rows, &given).await
    }

    /// A MISP that asks for an event which it was offered at the pull before, and did not ask for
    /// then, broke that pull off: of what it fetched last, it may have stored half. Gives which
    /// those are.
    async fn events_broken_off(
        &self,
        all: &[(&NewReceipt, Option<Timestamp>)],
        known: &mut HashMap<(Uuid, Uuid), EventReceipt>,
    ) -> StoreResult<BTreeSet<(Uuid, Uuid)>> {
        let mut pulls: BTreeMap<(Uuid, GroupId, i64), Vec<Uuid>> = BTreeMap::new();
        for (new, asked_at) in all.iter().filter(|(new, _)| new.client.misp_uuid.is_some()) {
            if let Some((event, asked_at)) = new.event().zip(*asked_at) {
                let pull = (new.client.id, new.group_id, asked_at.micros());
                pulls.entry(pull).or_default().push(event);
            }
        }
        let mut broken_off = BTreeSet::new();
        for ((client, group, asked_at), events) in pulls {
            let last = event_receipt::Entity::find()
                .filter(event_receipt::Column::ClientId.eq(client))
                .filter(event_receipt::Column::GroupId.eq(group.0))
                .filter(event_receipt::Column::FetchedAt.lt(asked_at))
                .filter(event_receipt::Column::PulledAt.lt(asked_at))
                .filter(event_receipt::Column::PulledAt.gt(0_i64))
                .order_by_desc(event_receipt::Column::FetchedAt)
                .one(&self.0)
                .await?;
            let Some(last) = last.as_ref().map(super::to_event) else { continue };
            let at_that_pull = |event: &Uuid| {
                known.get(&(client, *event)).is_some_and(|of| of.pulled_at == last.pulled_at)
            };
            let others: Vec<Uuid> =
                events.into_iter().filter(|event| !at_that_pull(event)).collect();
            let known_version =
                |event: &Uuid| known.get(&(client, *event)).map(|of| of.version.to_string());
            if self.were_offered(&others, &last, known_version).await? {
                let of_last = event_receipt::Entity::find()
                    .filter(event_receipt::Column::ClientId.eq(client))
                    .filter(event_receipt::Column::GroupId.eq(group.0))
                    .filter(event_receipt::Column::FetchedAt.eq(last.fetched_at.micros()));
                for row in of_last.all(&self.0).await? {
                    let key = (client, row.event);
                    known.entry(key).or_insert_with(|| super::to_event(&row)).mistaken = true;
                    broken_off.insert(key);
                }
            }
        }
        Ok(broken_off)
    }

    /// Whether one of these events was offered at the pull at which `last` was fetched, in another
    /// version than the client has.
    async fn were_offered(
        &self,
        events: &[Uuid],
        last: &EventReceipt,
        known_version: impl Fn(&Uuid) -> Option<String>,
    ) -> StoreResult<bool> {
        let as_they_are = part::Entity::find()
            .select_only()
            .column(part::Column::Id)
            .filter(part::Column::Id.is_in(events.iter().copied()))
            .filter(part::Column::Stamp.lte(last.pulled_at.secs()));
        if as_they_are.into_tuple::<Uuid>().one(&self.0).await?.is_some() {
            return Ok(true);
        }
        if events.is_empty() {
            return Ok(false);
        }
        // They changed since then.
        let files = self.publication_files_of(last.group_id, last.publication).await?;
        let files = files.unwrap_or_default();
        let offered: HashMap<&str, &str> = files
            .iter()
            .filter_map(|file| Some((file.path.strip_suffix(".json")?, file.version.as_deref()?)))
            .collect();
        Ok(events.iter().any(|event| {
            let version = offered.get(event.to_string().as_str()).map(|v| v.parse::<Uuid>());
            let known = known_version(event);
            matches!(version, Some(Ok(version)) if known != Some(version.to_string()))
        }))
    }

    async fn receipt_due(&self, client: Uuid, group: GroupId, at: Timestamp) -> StoreResult<()> {
        receipt::Entity::update_many()
            .col_expr(receipt::Column::CheckAt, Expr::value(at.micros()))
            .filter(receipt::Column::ClientId.eq(client))
            .filter(receipt::Column::GroupId.eq(group.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes event receipts. Of those that are there, these columns change.
    pub(super) async fn event_rows(
        &self,
        mut rows: Vec<EventReceipt>,
        change: &[event_receipt::Column],
    ) -> StoreResult<()> {
        rows.sort_unstable_by_key(|row| (row.client_id, row.event));
        let mut over =
            OnConflict::columns([event_receipt::Column::ClientId, event_receipt::Column::Event]);
        if change.is_empty() {
            over.do_nothing();
        } else {
            over.update_columns(change.iter().copied());
        }
        for chunk in rows.chunks(ROWS) {
            event_receipt::Entity::insert_many(chunk.iter().map(event_row))
                .on_conflict(over.clone())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Notes that a client has these events: it had them before anybody noted who fetched what.
    pub async fn events_adopt(
        &self,
        client: Uuid,
        group: GroupId,
        events: &[(Uuid, Uuid)],
        (publication, at): (i64, Timestamp),
    ) -> StoreResult<()> {
        let adopted = |(event, version): &(Uuid, Uuid)| EventReceipt {
            version: *version,
            publication,
            fetched_at: at,
            times: 1,
            stored: true,
            versions: SURE_AFTER,
            ..EventReceipt::never(client, group, *event)
        };
        self.event_rows(events.iter().map(adopted).collect(), &[]).await
    }
}

impl NewReceipt {
    pub(super) fn event(&self) -> Option<Uuid> {
        if let Fetched::Event { event, .. } = self.fetched { Some(event) } else { None }
    }
}

fn event_row(of: &EventReceipt) -> event_receipt::ActiveModel {
    let EventReceipt {
        client_id,
        group_id,
        event,
        version,
        publication,
        fetched_at,
        times,
        offered,
        stored,
        mistaken,
        pulled_at,
        corrections,
        reported,
        versions,
    } = *of;
    event_receipt::ActiveModel {
        client_id: Set(client_id),
        event: Set(event),
        group_id: Set(group_id.0),
        version: Set(version),
        publication: Set(publication),
        fetched_at: Set(fetched_at.micros()),
        times: Set(i32::try_from(times).unwrap_or(i32::MAX)),
        offered: Set(i32::try_from(offered).unwrap_or(i32::MAX)),
        stored: Set(stored),
        mistaken: Set(mistaken),
        pulled_at: Set(pulled_at.micros()),
        corrections: Set(i32::try_from(corrections).unwrap_or(i32::MAX)),
        reported: Set(reported),
        versions: Set(i32::try_from(versions).unwrap_or(i32::MAX)),
    }
}
