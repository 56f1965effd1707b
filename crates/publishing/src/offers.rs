//! What a MISP was offered and did not take is offered again: it compares timestamps, and asks for
//! nothing that it believes to have. Why it may lack something is in the handbook: an import that
//! broke off, an edit on its side between a publication and its pull, a backup that was put back.

use std::collections::HashMap;

use iocast_domain::{
    message::NotTakenGroup,
    receipt::{LEFT_FOR, OFFERED_AGAIN, OFFERED_FOR, PULL_ENDS},
    time::Timestamp,
};
use iocast_store::{EventReceipt, Receipt, Txn};
use uuid::Uuid;

use self::verdict::Verdict;
use crate::{AppResult, GroupNews, Publishing};

mod verdict;

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
            let mut failed = None;
            for receipt in &due {
                // One client with which something is wrong must not keep it from the others.
                match self.offer_again(receipt, now).await {
                    Ok(count) => offered += count,
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                self.context.changed.notify_one();
                return Err(error);
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
            self.close_refused(receipt, &fetched, now).await?;
            return Ok(0);
        }
        let verdict = self.verdict(&read, receipt, &fetched, now).await?;
        if !self.note(receipt, &fetched, &verdict, now).await? {
            // Another replica looks at it.
            return Ok(0);
        }
        self.offer(receipt, &verdict, now).await
    }

    /// The client's pull goes on. What it fetches at pull after pull is closed all the same.
    async fn close_refused(
        &self,
        receipt: &Receipt,
        fetched: &HashMap<Uuid, EventReceipt>,
        now: Timestamp,
    ) -> AppResult<()> {
        let refused: Vec<EventReceipt> =
            fetched.values().filter(|event| event.is_refused(receipt)).copied().collect();
        let txn = self.context.store.write().await?;
        if !refused.is_empty() {
            let events: Vec<Uuid> = refused.iter().map(|event| event.event).collect();
            txn.parts_close(receipt.group_id, &events).await?;
        }
        txn.receipt_claim(receipt, now.plus(PULL_ENDS)).await?;
        let reported = self.report(&txn, receipt, refused, true).await?;
        txn.events_offered(reported).await?;
        txn.commit().await?;
        self.messages.wake();
        Ok(())
    }

    /// Notes what is offered again and what was given up, and tells people. Gives false where
    /// another replica took the turn.
    async fn note(
        &self,
        receipt: &Receipt,
        fetched: &HashMap<Uuid, EventReceipt>,
        of: &Verdict,
        now: Timestamp,
    ) -> AppResult<bool> {
        let (client, group) = (receipt.client_id, receipt.group_id);
        let txn = self.context.store.write().await?;
        let is_done = of.offers().next().is_none() && !of.doubtful;
        // One that asks for the manifest alone is looked at again for as long as it does.
        let is_left = of.undecided && now.since(receipt.asked_at()) < 2 * LEFT_FOR;
        let next = if is_done { LEFT_FOR / 4 } else { OFFERED_FOR };
        if !txn.receipt_claim(receipt, now.plus(next)).await? {
            return Ok(false);
        }
        let known = |event: &Uuid| {
            let never = || EventReceipt::never(client, group, *event);
            let known = fetched.get(event).copied().unwrap_or_else(never);
            EventReceipt { offered: known.offered + 1, ..known }
        };
        let corrected = of
            .wrong
            .iter()
            .map(known)
            .map(|known| EventReceipt { corrections: known.corrections + 1, ..known });
        // Filters of a feed keep out each new event, too: people hear of it once.
        let given_up = of.given_up.iter().map(known).map(|known| EventReceipt {
            offered: known.offered.max(OFFERED_AGAIN + 1),
            reported: known.reported || of.is_known,
            ..known
        });
        let given_up = self.report(&txn, receipt, given_up.collect(), false).await?;
        let refused = of.refused.iter().filter_map(|event| fetched.get(event).copied()).collect();
        let refused = self.report(&txn, receipt, refused, true).await?;
        let offered = of.again.iter().map(known).chain(given_up).chain(refused);
        txn.events_offered(offered.chain(corrected).collect()).await?;
        if is_done && !is_left {
            txn.receipt_settled(receipt).await?;
        }
        txn.protections_due_now(vec![group], now).await?;
        txn.commit().await?;
        self.messages.wake();
        Ok(true)
    }

    /// Has the next publication offer events again, and closes those that are refused. Gives how
    /// many are offered.
    async fn offer(&self, receipt: &Receipt, of: &Verdict, now: Timestamp) -> AppResult<u64> {
        let group = receipt.group_id;
        let offers: Vec<Uuid> = of.offers().collect();
        if offers.is_empty() && of.refused.is_empty() {
            return Ok(0);
        }
        let txn = self.context.store.write().await?;
        if !offers.is_empty() {
            txn.parts_offer_again(group, &offers, now).await?;
        }
        if !of.refused.is_empty() {
            // It does not store them: IOCs that join come into other events.
            txn.parts_close(group, &of.refused).await?;
        }
        txn.commit().await?;
        let count = of.again.len() + of.wrong.len();
        if count > 0 {
            tracing::info!(group.id = %group, client.id = %receipt.client_id, "{count} events of group {group} are offered again to a MISP that lacks them, or may have stored them wrongly");
        }
        Ok(count as u64)
    }

    /// Tells people once that a MISP does not take events, and whether it fetches them all the same.
    /// Gives the events with that noted.
    async fn report(
        &self,
        txn: &Txn,
        receipt: &Receipt,
        events: Vec<EventReceipt>,
        refused: bool,
    ) -> AppResult<Vec<EventReceipt>> {
        let new = events.iter().filter(|event| !event.reported).count();
        if new > 0 {
            self.tell_not_taken(txn, receipt, (new as u64, refused)).await?;
        }
        Ok(events.into_iter().map(|event| EventReceipt { reported: true, ..event }).collect())
    }

    async fn tell_not_taken(
        &self,
        txn: &Txn,
        receipt: &Receipt,
        (events, refused): (u64, bool),
    ) -> AppResult<()> {
        let groups = txn.group_fetch_many(&[receipt.group_id]).await?;
        let clients = txn.clients_known(&[receipt.client_id]).await?;
        let (Some(row), Some(client)) = (groups.into_iter().next(), clients.into_iter().next())
        else {
            return Ok(());
        };
        let group = row.group;
        let Some(account) = txn.account_fetch(&group.account_id).await? else { return Ok(()) };
        let Some(device) = txn.device_fetch(&account.id, group.device_id).await? else {
            return Ok(());
        };
        let why = if refused { "refused" } else { "not_fetched" };
        let now = self.context.now().micros();
        let subject = format!("{why}:{}:{}:{now}", group.id, client.id);
        let news = NotTakenGroup {
            device: device.name.to_string(),
            group: group.name.to_string(),
            misp: client.misp_uuid.unwrap_or_default(),
            events,
            refused,
            link: format!("{}/automation/groups/{}", self.context.settings.public_url, group.id),
        };
        self.messages.tell(txn, &account, &GroupNews::NotTaken(news), &subject).await
    }
}
