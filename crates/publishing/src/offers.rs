//! What a MISP was offered and did not take is offered again: it compares timestamps, and asks for
//! nothing that it believes to have. Why it may lack something is in the handbook: an import that
//! broke off, an edit on its side between a publication and its pull, a backup that was put back.

use std::collections::HashMap;

use iocast_domain::{
    receipt::{OFFERED_AGAIN, OFFERED_FOR, REFUSED_AFTER},
    time::{SECOND, Timestamp},
};
use iocast_store::{EventReceipt, Receipt};
use uuid::Uuid;

use crate::{AppResult, Publishing};

/// Clients that are looked at in one round.
const ROUND: u64 = 200;

impl Publishing {
    /// Looks at the clients that were given a manifest or an event an hour ago. Gives how many
    /// events are offered again.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn offers_tick(&self) -> AppResult<u64> {
        let mut offered = 0;
        while !self.context.is_closing() {
            let now = self.context.now();
            let due = self.context.store.read().receipts_to_check(now, ROUND).await?;
            for receipt in &due {
                offered += self.offer_again(receipt, now).await?;
            }
            if (due.len() as u64) < ROUND {
                break;
            }
        }
        if offered > 0 {
            self.context.changed.notify_one();
        }
        Ok(offered)
    }

    async fn offer_again(&self, receipt: &Receipt, now: Timestamp) -> AppResult<u64> {
        let Receipt { client_id, group_id, fetched_at, confirmed, .. } = *receipt;
        let read = self.context.store.read();
        let fetched: HashMap<Uuid, EventReceipt> = read
            .event_receipts_of(&[client_id])
            .await?
            .into_iter()
            .filter(|receipt| receipt.group_id == group_id)
            .map(|receipt| (receipt.event, receipt))
            .collect();
        let stamps: HashMap<Uuid, i64> = read.part_stamps(group_id).await?.into_iter().collect();
        let asked = confirmed.map_or(fetched_at, |(_, at)| at.max(fetched_at));
        let (mut lacking, mut refused) = (Vec::new(), Vec::new());
        for (event, version) in self.tables.events(group_id) {
            let known = fetched.get(&event);
            if let Some(known) = known.filter(|known| known.version == version) {
                if known.times >= REFUSED_AFTER {
                    refused.push(event);
                }
            } else if stamps.get(&event).is_some_and(|stamp| stamp * SECOND <= asked.micros()) {
                // It was in a manifest that the client was given, or has.
                lacking.push((event, known.map_or(0, |known| known.offered)));
            }
        }
        let again: Vec<Uuid> = lacking
            .iter()
            .filter(|(_, offered)| *offered < OFFERED_AGAIN)
            .map(|(event, _)| *event)
            .collect();
        let next = (!again.is_empty()).then(|| now.plus(OFFERED_FOR));
        let txn = self.context.store.write().await?;
        if !again.is_empty() {
            txn.events_offer_again(client_id, group_id, &again, now).await?;
            tracing::info!(group.id = %group_id, client.id = %client_id, "A MISP lacks {} events of group {group_id} that it was offered; they are offered again", again.len());
        }
        // What it fetches again and again it does not store: IOCs that join come into other events.
        txn.parts_seal(&refused).await?;
        txn.receipt_checked(client_id, group_id, next).await?;
        txn.commit().await?;
        Ok(again.len() as u64)
    }
}
