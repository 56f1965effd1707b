//! What the MISPs of a device last fetched, and what follows from it for events that change: which
//! tombstones may be forgotten, and which attributes need a new timestamp with their event.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    id::PartId,
    member::{MembershipState, TOMBSTONE_KEPT, TOMBSTONE_KEPT_FOR_ABSENT},
    time::{DAY, SECOND, Timestamp},
};
use iocast_store::{EventReceipt, MemberRow, PartRow};
use uuid::Uuid;

use super::{super::PublicationJob, Parts};
use crate::{AppResult, etag_of};

/// Some MISPs have an older version of an event: when the first and the last of them fetched it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lagging {
    first: Timestamp,
    last: Timestamp,
}

impl Lagging {
    /// Whether one of them may have an attribute, and not its last change. It takes the change only
    /// with a timestamp that is later than what an analyst may have done to the attribute since.
    pub(super) const fn lacks_change_of(self, member: &MemberRow) -> bool {
        member.joined_at <= self.last.micros() && (member.stamp + 1) * SECOND > self.first.micros()
    }
}

impl PublicationJob<'_> {
    /// Finds out which events that change are older in some MISP than they were published last.
    pub(super) async fn find_lagging(&self, parts: &mut Parts) -> AppResult<()> {
        let changing: Vec<Uuid> = parts
            .values()
            .filter(|part| part.stamp && !part.fresh)
            .map(|part| part.row.id.0)
            .collect();
        let fetched = self.fetched(&changing).await?;
        for part in parts.values_mut().filter(|part| part.stamp) {
            let lagging = fetched
                .get(&part.row.id.0)
                .into_iter()
                .flatten()
                .filter(|receipt| version(&part.row) != Some(receipt.version));
            part.lagging = lagging.fold(None, |lagging: Option<Lagging>, receipt| {
                let at = receipt.fetched_at;
                Some(lagging.map_or(Lagging { first: at, last: at }, |lagging| Lagging {
                    first: lagging.first.min(at),
                    last: lagging.last.max(at),
                }))
            });
        }
        Ok(())
    }

    /// Whether some MISP may lack the last change of a member that it has.
    pub(super) async fn is_change_lacking(
        &self,
        part: PartId,
        lagging: Option<Lagging>,
    ) -> AppResult<bool> {
        let Some(lagging) = lagging else { return Ok(false) };
        let members = self.read.member_of_part(part).await?;
        Ok(members.iter().any(|member| lagging.lacks_change_of(member)))
    }

    /// The tombstones that every client had time to fetch, and when the oldest of the others
    /// became one, or would have so that it is looked at in time.
    ///
    /// A tombstone is forgotten after [`TOMBSTONE_KEPT`], or, where a MISP that was seen lately may
    /// have its event in an older version, after [`TOMBSTONE_KEPT_FOR_ABSENT`]: a MISP that comes back
    /// after two months must still be told what to delete.
    pub(super) async fn expired(&self) -> AppResult<(Option<i64>, Vec<MemberRow>)> {
        let (group, now) = (self.row.group.id, self.now.micros());
        let oldest = self.read.member_oldest_tombstone(group).await?;
        if oldest.is_none_or(|at| at + TOMBSTONE_KEPT > now) {
            return Ok((oldest, Vec::new()));
        }
        let tombstones = self.read.member_standing(group, &[MembershipState::Tombstone]).await?;
        let (ripe, kept): (Vec<_>, Vec<_>) = tombstones
            .into_iter()
            .partition(|m| m.left_at.is_none_or(|at| at + TOMBSTONE_KEPT <= now));
        let events: HashSet<Uuid> = ripe.iter().map(|m| m.part_id.0).collect();
        let fetched = self.fetched(&events.into_iter().collect::<Vec<_>>()).await?;
        let asked_at = self.asked_at(&fetched).await?;
        // What was only looked at is not stored: it is, once the MISP pulls without asking for it.
        let is_stored = |of: &EventReceipt| {
            asked_at.get(&of.client_id).is_some_and(|asked_at| *asked_at > of.fetched_at)
        };
        let parts = self.beforehand.parts.iter();
        let lacking: HashSet<Uuid> = parts
            // One that is offered again is about to have another version.
            .filter(|part| {
                let mut fetched = fetched.get(&part.id.0).into_iter().flatten();
                fetched.any(|of| {
                    part.offer_again || version(part) != Some(of.version) || !is_stored(of)
                })
            })
            .map(|part| part.id.0)
            .collect();
        let (waiting, expired): (Vec<_>, Vec<_>) = ripe.into_iter().partition(|m| {
            lacking.contains(&m.part_id.0)
                && m.left_at.is_some_and(|at| at + TOMBSTONE_KEPT_FOR_ABSENT > now)
        });
        // Those that wait are looked at again a day later.
        let again = (!waiting.is_empty()).then_some(now + DAY - TOMBSTONE_KEPT);
        Ok((kept.iter().filter_map(|m| m.left_at).chain(again).min(), expired))
    }

    /// When the clients among these last asked for the manifest.
    async fn asked_at(
        &self,
        fetched: &HashMap<Uuid, Vec<EventReceipt>>,
    ) -> AppResult<HashMap<Uuid, Timestamp>> {
        let clients: HashSet<Uuid> = fetched.values().flatten().map(|of| of.client_id).collect();
        let receipts = self.read.receipts_of(&clients.into_iter().collect::<Vec<_>>()).await?;
        let of_group = receipts.iter().filter(|receipt| receipt.group_id == self.row.group.id);
        Ok(of_group.map(|receipt| (receipt.client_id, receipt.asked_at())).collect())
    }

    /// What the MISPs of the device that were seen lately last fetched of events.
    async fn fetched(&self, events: &[Uuid]) -> AppResult<HashMap<Uuid, Vec<EventReceipt>>> {
        let since = self.now.plus(-TOMBSTONE_KEPT_FOR_ABSENT);
        let mut found: HashMap<Uuid, Vec<EventReceipt>> = HashMap::new();
        if !events.is_empty() {
            let device = self.row.group.device_id;
            for receipt in self.read.events_fetched(device, events, since).await? {
                found.entry(receipt.event).or_default().push(receipt);
            }
        }
        Ok(found)
    }
}

/// The version of an event that MISPs were offered last.
fn version(part: &PartRow) -> Option<Uuid> {
    let etag = || etag_of(std::slice::from_ref(&part.event));
    part.version.clone().unwrap_or_else(etag).parse().ok()
}
