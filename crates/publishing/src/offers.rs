//! What a MISP was offered and did not take is offered again: it compares timestamps, and asks for
//! nothing that it believes to have. Why it may lack something is in the handbook: an import that
//! broke off, an edit on its side between a publication and its pull, a backup that was put back.

use std::collections::HashMap;

use iocast_domain::{
    message::NotTakenGroup,
    receipt::{OFFERED_AGAIN, OFFERED_FOR, PULL_ENDS},
    time::{SECOND, Timestamp},
};
use iocast_store::{EventReceipt, FileRef, Reader, Receipt, Txn};
use uuid::Uuid;

use crate::{AppResult, GroupNews, Publishing, misp_event};

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
            // Its pull goes on. What it fetches at pull after pull is closed all the same.
            let refused: Vec<EventReceipt> =
                fetched.values().filter(|event| event.is_refused(receipt)).copied().collect();
            let txn = self.context.store.write().await?;
            if !refused.is_empty() {
                let events: Vec<Uuid> = refused.iter().map(|event| event.event).collect();
                txn.parts_close(group, &events).await?;
            }
            txn.receipt_claim(receipt, now.plus(PULL_ENDS)).await?;
            let reported = self.report(&txn, receipt, refused, true).await?;
            txn.events_offered(reported).await?;
            txn.commit().await?;
            self.messages.wake();
            return Ok(0);
        }
        let Verdict { again, wrong, given_up, refused, waiting, doubtful, .. } =
            self.verdict(&read, receipt, &fetched, now).await?;
        let txn = self.context.store.write().await?;
        if !txn.receipt_claim(receipt, now.plus(OFFERED_FOR)).await? {
            // Another replica looks at it.
            return Ok(0);
        }
        let known = |event: &Uuid| {
            let never = || EventReceipt::never(client, group, *event);
            let known = fetched.get(event).copied().unwrap_or_else(never);
            EventReceipt { offered: known.offered + 1, ..known }
        };
        let corrected = wrong
            .iter()
            .map(known)
            .map(|known| EventReceipt { corrections: known.corrections + 1, ..known });
        let given_up = given_up.iter().map(known).collect();
        let given_up = self.report(&txn, receipt, given_up, false).await?;
        let fetches = refused.iter().filter_map(|event| fetched.get(event).copied()).collect();
        let fetches = self.report(&txn, receipt, fetches, true).await?;
        let offered = again.iter().map(known).chain(given_up).chain(fetches);
        txn.events_offered(offered.chain(corrected).collect()).await?;
        if again.is_empty() && wrong.is_empty() && waiting.is_empty() && !doubtful {
            txn.receipt_settled(receipt).await?;
        }
        txn.protections_due_now(vec![group], now).await?;
        txn.commit().await?;
        self.messages.wake();
        let offers: Vec<Uuid> = again.iter().chain(&wrong).chain(&waiting).copied().collect();
        if offers.is_empty() && refused.is_empty() {
            return Ok(0);
        }
        let txn = self.context.store.write().await?;
        if !offers.is_empty() {
            txn.parts_offer_again(group, &offers, now).await?;
        }
        if !refused.is_empty() {
            // It does not store them: IOCs that join come into other events.
            txn.parts_close(group, &refused).await?;
        }
        txn.commit().await?;
        let count = again.len() + wrong.len();
        if count > 0 {
            tracing::info!(group.id = %group, client.id = %client, "{count} events of group {group} are offered again to a MISP that lacks them, or may have stored them wrongly");
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

    /// The events of the last publication; none if that is the one that the client was given.
    async fn newest_events(
        &self,
        read: &Reader,
        receipt: &Receipt,
    ) -> AppResult<Option<HashMap<Uuid, Uuid>>> {
        let state = read.publish_state(receipt.group_id).await?;
        let newest = state.map_or(0, |state| state.publication);
        if newest == receipt.publication {
            return Ok(None);
        }
        Ok(Some(events(read.publication_files_of(receipt.group_id, newest).await?)))
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
        let listed = events(read.publication_files_of(group, receipt.publication).await?);
        // What was published since, it was not offered yet: it gets a manifest when it asks next.
        let newest: Option<HashMap<Uuid, Uuid>> = self.newest_events(read, receipt).await?;
        let was_offered = |event: Uuid, version: Uuid| {
            newest.as_ref().is_none_or(|newest| newest.get(&event) == Some(&version))
        };
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
            let lacks = known.is_none_or(|known| known.version != version && known.offered == 0);
            verdict.broke_off |= lacks && !is_waiting;
            match known.filter(|known| known.version == version) {
                Some(known) if known.is_refused(receipt) => verdict.refused.push(event),
                Some(known)
                    if known.mistaken
                        && known.offered == 0
                        && known.corrections < OFFERED_AGAIN =>
                {
                    // It stores the event: an edit takes back what the import may have attached.
                    if known.stored || receipt.asked_at() > known.fetched_at {
                        verdict.wrong.push(event);
                    } else {
                        verdict.doubtful = true;
                    }
                }
                Some(_) => {}
                None if is_waiting => verdict.waiting.push(event),
                None if !was_offered(event, version) => {}
                None if now.micros() - stamp * SECOND < OFFERED_FOR => {}
                None => match known.map_or(0, |known| known.offered) {
                    0 if known.is_none() && !imports => {}
                    offered if offered < OFFERED_AGAIN => verdict.again.push(event),
                    OFFERED_AGAIN => verdict.given_up.push(event),
                    _ => {}
                },
            }
        }
        // A pull that broke off: what was given last may be stored by half, too.
        let of_pull = |event: &&EventReceipt| event.fetched_at >= receipt.asked_at();
        let last = fetched.values().filter(of_pull).map(|event| event.fetched_at).max();
        if verdict.broke_off {
            let given_last = fetched.values().filter(|event| {
                Some(event.fetched_at) == last
                    && event.offered == 0
                    && event.corrections < OFFERED_AGAIN
                    && stamps.contains_key(&event.event)
                    && !verdict.again.contains(&event.event)
                    && !verdict.wrong.contains(&event.event)
            });
            verdict.wrong.extend(given_last.map(|event| event.event).collect::<Vec<_>>());
        }
        Ok(verdict)
    }
}

fn events(files: Option<Vec<FileRef>>) -> HashMap<Uuid, Uuid> {
    let files = files.unwrap_or_default();
    files.iter().filter_map(misp_event).collect()
}

/// What is to be done about events.
#[derive(Default)]
struct Verdict {
    /// They are offered again.
    again: Vec<Uuid>,
    /// They may be stored wrongly, and are offered again.
    wrong: Vec<Uuid>,
    /// They were, as often as may be, and nothing came of it.
    given_up: Vec<Uuid>,
    /// The client fetches them again and again.
    refused: Vec<Uuid>,
    /// They are to be offered again, and no publication did so yet.
    waiting: Vec<Uuid>,
    /// The last pull ended before its end, as far as can be seen.
    broke_off: bool,
    /// Of some it is not known yet whether they are stored, and it matters.
    doubtful: bool,
}
