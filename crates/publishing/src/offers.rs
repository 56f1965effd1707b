//! What a MISP was offered and did not take is offered again: it compares timestamps, and asks for
//! nothing that it believes to have. Why it may lack something is in the handbook: an import that
//! broke off, an edit on its side between a publication and its pull, a backup that was put back.

use std::collections::HashMap;

use iocast_domain::{
    receipt::{OFFERED_AGAIN, OFFERED_FOR, PULL_ENDS},
    time::{SECOND, Timestamp},
};
use iocast_store::{EventReceipt, Reader, Receipt};
use uuid::Uuid;

use crate::{AppResult, Publishing, file_etag, misp_event};

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
        let (client, group) = (receipt.client_id, receipt.group_id);
        let read = self.context.store.read();
        let fetched: HashMap<Uuid, EventReceipt> = read
            .event_receipts_of(&[client])
            .await?
            .into_iter()
            .filter(|receipt| receipt.group_id == group)
            .map(|receipt| (receipt.event, receipt))
            .collect();
        let last = fetched.values().map(|receipt| receipt.fetched_at).max();
        let quiet_since = last.map_or(receipt.asked_at(), |last| last.max(receipt.asked_at()));
        if now.since(quiet_since) < PULL_ENDS {
            // Its pull goes on.
            let txn = self.context.store.write().await?;
            txn.receipt_claim(receipt, now.plus(PULL_ENDS)).await?;
            txn.commit().await?;
            return Ok(0);
        }
        let Verdict { again, given_up, refused, waiting } =
            self.verdict(&read, receipt, &fetched, now).await?;
        let txn = self.context.store.write().await?;
        if !txn.receipt_claim(receipt, now.plus(OFFERED_FOR)).await? {
            // Another replica looks at it.
            return Ok(0);
        }
        let offered = again.iter().chain(&given_up).map(|event| {
            let known = fetched.get(event).copied();
            let never = EventReceipt {
                client_id: client,
                group_id: group,
                event: *event,
                version: Uuid::nil(),
                publication: 0,
                fetched_at: Timestamp::from_micros(0),
                times: 0,
                offered: 0,
            };
            let known = known.unwrap_or(never);
            EventReceipt { offered: known.offered + 1, ..known }
        });
        txn.events_offered(offered.collect()).await?;
        if again.is_empty() && waiting.is_empty() {
            txn.receipt_settled(receipt).await?;
        }
        txn.commit().await?;
        let offers: Vec<Uuid> = again.iter().chain(&waiting).copied().collect();
        if offers.is_empty() && refused.is_empty() {
            return Ok(0);
        }
        let txn = self.context.store.write().await?;
        // What it fetches at pull after pull it does not store: IOCs that join come into other events.
        txn.parts_offer_again(group, &offers, &refused, now).await?;
        txn.commit().await?;
        if !again.is_empty() {
            tracing::info!(group.id = %group, client.id = %client, "A MISP lacks {} events of group {group} that it was offered; they are offered again", again.len());
        }
        Ok(again.len() as u64)
    }

    /// What is to be done about the events that a client was offered.
    async fn verdict(
        &self,
        read: &Reader,
        receipt: &Receipt,
        fetched: &HashMap<Uuid, EventReceipt>,
        now: Timestamp,
    ) -> AppResult<Verdict> {
        let group = receipt.group_id;
        // What the manifest listed that it was given. One that is not kept any more is followed by
        // others, which it will ask for.
        let listed: HashMap<Uuid, Uuid> = read
            .publication_files_of(group, receipt.publication)
            .await?
            .unwrap_or_default()
            .into_iter()
            .filter_map(|file| misp_event(&file.path, &file_etag(&file)))
            .collect();
        let stamps: HashMap<Uuid, (i64, bool)> = read
            .part_stamps(group)
            .await?
            .into_iter()
            .map(|(event, stamp, again)| (event, (stamp, again)))
            .collect();
        // A manifest alone may have been a preview, of which nothing else was wanted.
        let imports = fetched.values().any(|event| event.fetched_at >= receipt.fetched_at);
        let mut verdict = Verdict::default();
        for (event, version) in listed {
            let Some((stamp, is_waiting)) = stamps.get(&event).copied() else { continue };
            let known = fetched.get(&event);
            match known.filter(|known| known.version == version) {
                Some(known) => {
                    if known.is_refused(receipt) {
                        verdict.refused.push(event);
                    }
                }
                None if is_waiting => verdict.waiting.push(event),
                None if now.micros() - stamp * SECOND < OFFERED_FOR => {}
                None => match known.map_or(0, |known| known.offered) {
                    0 if known.is_none() && !imports => {}
                    offered if offered < OFFERED_AGAIN => verdict.again.push(event),
                    OFFERED_AGAIN => verdict.given_up.push(event),
                    _ => {}
                },
            }
        }
        Ok(verdict)
    }
}

/// What is to be done about events.
#[derive(Default)]
struct Verdict {
    /// They are offered again.
    again: Vec<Uuid>,
    /// They were, as often as may be, and nothing came of it.
    given_up: Vec<Uuid>,
    /// The client fetches them again and again.
    refused: Vec<Uuid>,
    /// They are to be offered again, and no publication did so yet.
    waiting: Vec<Uuid>,
}
