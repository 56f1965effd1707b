//! The watchdog: silence is noticed, told once, and over with the next pull.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use iocast_domain::{
    account::{Account, User},
    device::Device,
    id::{AccountId, DeviceId, OutageId},
    message::{MessageKind, is_webhook},
    time::{SECOND, span_in_words},
    watch::{Outage, is_outage, silent_since, threshold},
};
use iocast_store::{OutageRow, Page, PageOf, StoreError, Txn};

use crate::{Actor, AppError, AppResult, Watch};

mod heartbeat;
pub(crate) use self::heartbeat::Beat;
use self::heartbeat::JUMP;

/// Devices looked at in one query.
const LOOK: u64 = 1_000;
/// Outages that are opened in one transaction.
const TOGETHER: usize = 500;
/// Within how long every replica writes the pulls that it noted, in microseconds.
const WRITTEN_WITHIN: i64 = 2 * SECOND;
/// What a look around found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Outages that were opened.
    pub outages: u64,
    /// Messages that were written.
    pub messages: u64,
}

impl Watch {
    /// One tick: a sign of life, and a look around. If the real clock went otherwise than the
    /// steady one (see [`Self::heartbeat`]), somebody set it, and nobody is judged by it this time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn watch(&self, steady: Duration) -> AppResult<Watched> {
        let jump = self.heartbeat(steady).await?;
        if jump.abs() > JUMP {
            let (way, by) = (if jump > 0 { "forward" } else { "back" }, span_in_words(jump.abs()));
            tracing::warn!("The clock jumped {way} by {by}: devices are judged at the next tick");
            return Ok(Watched::default());
        }
        if !self.context.settings.role.works() {
            return Ok(Watched::default());
        }
        if !self.context.settings.role.answers() && self.nobody_answers().await? {
            tracing::warn!("No web replica is up; devices are not judged until one is");
            return Ok(Watched::default());
        }
        // What is noted here, and may still wait to be written by another replica, is a pull before
        // anybody is judged.
        self.pulls_flush().await?;
        self.watch_tick(WRITTEN_WITHIN).await
    }

    /// Looks for devices that were silent for `grace` microseconds longer than they may; in one
    /// transaction an account it opens their outages and writes the messages. An account that fails
    /// is logged and looked at again at the next tick; it does not hold back the others.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn watch_tick(&self, grace: i64) -> AppResult<Watched> {
        let mut watched = Watched::default();
        for (account, devices) in self.silent(grace).await? {
            // The transaction stays short: pulls are written between two of them.
            for some in devices.chunks(TOGETHER) {
                match self.open_outages(&account, some, grace).await {
                    Ok(opened) => {
                        watched.outages += opened.outages;
                        watched.messages += opened.messages;
                    }
                    Err(error) => {
                        tracing::error!(account.id = %account, error = &error as &dyn std::error::Error, "Could not queue alerts for account {account}; it is tried again at the next tick");
                    }
                }
            }
        }
        for account in self.context.store.read().account_list_untold().await? {
            match self.warn_late(&account).await {
                Ok(messages) => watched.messages += messages,
                Err(error) => {
                    tracing::error!(account.id = %account, error = &error as &dyn std::error::Error, "The open outages of account {account} could not be mailed; it is tried again");
                }
            }
        }
        Ok(watched)
    }

    /// The devices that are silent for longer than they may be, by account.
    async fn silent(&self, grace: i64) -> AppResult<BTreeMap<AccountId, Vec<DeviceId>>> {
        let now = self.context.judged_now();
        let gaps = self.context.downtime.gaps();
        let mut silent: BTreeMap<AccountId, Vec<DeviceId>> = BTreeMap::new();
        let mut thresholds: BTreeMap<AccountId, Option<i64>> = BTreeMap::new();
        let mut after = None;
        loop {
            let (some, next) = self
                .context
                .store
                .read()
                .device_maybe_silent(now.plus(-grace), after, LOOK)
                .await?;
            for device in &some {
                let since =
                    silent_since(device.last_pull_at, device.created_at, device.watched_since);
                let of_account = match thresholds.get(&device.account_id) {
                    Some(known) => *known,
                    None => {
                        let account =
                            match self.context.store.read().account_fetch(&device.account_id).await
                            {
                                // The administrators hear of it when its outages are written.
                                Err(StoreError::Corrupt { .. }) => None,
                                account => account?,
                            };
                        let known = account.and_then(|a| a.silent_after);
                        thresholds.insert(device.account_id.clone(), known);
                        known
                    }
                };
                if is_outage(since, threshold(device.silent_after, of_account) + grace, &gaps, now)
                {
                    silent.entry(device.account_id.clone()).or_default().push(device.id);
                }
            }
            after = next;
            if after.is_none() {
                return Ok(silent);
            }
        }
    }

    /// Warns of the open outages that began while no administrator got alerts, once one does; a
    /// transaction for each page of outages. Gives how many messages.
    async fn warn_late(&self, account_id: &AccountId) -> AppResult<u64> {
        if self.post.is_off()
            || !self.context.store.read().user_list(account_id).await?.iter().any(User::gets_alerts)
        {
            return Ok(0);
        }
        let (mut messages, mut page) = (0, Page { limit: LOOK, after: None });
        loop {
            let txn = self.context.store.write().await?;
            txn.account_lock(account_id).await?;
            let Some(account) = txn.account_fetch(account_id).await? else { return Ok(messages) };
            let recipients = self.alerted(&txn, &account).await?;
            if recipients.iter().all(|recipient| is_webhook(recipient)) {
                return Ok(messages);
            }
            let PageOf { items, next } =
                txn.outage_list(account_id, None, Some(true), &page).await?;
            let ids: Vec<DeviceId> = items.iter().map(|row| row.outage.device_id).collect();
            let devices: HashMap<DeviceId, Device> = txn
                .device_fetch_many(account_id, &ids)
                .await?
                .into_iter()
                .map(|device| (device.id, device))
                .collect();
            let told = |row: &OutageRow| {
                row.messages.iter().any(|message| {
                    message.kind == MessageKind::Warning && !is_webhook(&message.recipient)
                })
            };
            let untold = items.into_iter().filter(|row| !told(row));
            let open: Vec<(Outage, Device)> = untold
                .filter_map(|row| {
                    Some((row.outage.clone(), devices.get(&row.outage.device_id)?.clone()))
                })
                .collect();
            let written = self.warnings(&txn, &account, &recipients, &open).await?;
            if next.is_none() {
                // Only now has everybody been told. After a crash before this, the next tick begins
                // again and skips what was written.
                txn.account_set_nobody_told(account_id, false).await?;
            }
            txn.commit().await?;
            messages += written;
            self.tally.watched(Watched { outages: 0, messages: written });
            self.messages_wait();
            page.after = next;
            if page.after.is_none() {
                break;
            }
        }
        tracing::info!(account.id = %account_id, "Account {account_id} has an administrator who gets alerts again: {messages} messages about open outages were written");
        Ok(messages)
    }

    /// Opens the outages of these devices that are silent, with the warnings of them, in one
    /// transaction.
    async fn open_outages(
        &self,
        account_id: &AccountId,
        devices: &[DeviceId],
        grace: i64,
    ) -> AppResult<Watched> {
        let (now, gaps) = (self.context.judged_now(), self.context.downtime.gaps());
        let txn = self.context.store.write().await?;
        // Nobody learns in between that somebody gets alerts again.
        txn.account_lock(account_id).await?;
        // Locked before they are read again: a pull that is being written either is seen here, or
        // sees the outage.
        txn.device_lock_many(devices).await?;
        let Some(account) = txn.account_fetch(account_id).await? else {
            return Ok(Watched::default());
        };
        let mut opened: Vec<(Outage, Device)> = Vec::new();
        for device in txn.device_fetch_many(account_id, devices).await? {
            let since = silent_since(device.last_pull_at, device.created_at, device.watched_since);
            if device.paused
                || !is_outage(
                    since,
                    threshold(device.silent_after, account.silent_after) + grace,
                    &gaps,
                    now,
                )
            {
                continue;
            }
            let id = OutageId::random(&*self.context.entropy);
            let outage = Outage {
                id,
                account_id: account_id.clone(),
                device_id: device.id,
                began_at: since,
                noticed_at: now,
                ended: None,
            };
            if let Some(id) = txn.outage_insert(&outage).await? {
                opened.push((Outage { id, ..outage }, device));
            }
        }
        if opened.is_empty() {
            return Ok(Watched::default());
        }
        let watchdog = Actor::watchdog(account_id.clone());
        let recipients = self.alerted_or_told(&txn, &watchdog, &account).await?;
        let messages = self.warnings(&txn, &account, &recipients, &opened).await?;
        for (outage, device) in &opened {
            let detail = serde_json::json!({ "name": device.name.as_str(), "silent_since": outage.began_at, "told": recipients.len() });
            self.context.audit(&txn, &watchdog, "device.silent", &device.id, &detail).await?;
        }
        txn.commit().await?;
        tracing::warn!(account.id = %account_id, "{} devices of account {account_id} fell silent", opened.len());
        let opened = Watched { outages: opened.len() as u64, messages };
        self.tally.watched(opened);
        self.messages_wait();
        Ok(opened)
    }

    /// Who gets the account's alerts. That nobody does is told once.
    async fn alerted_or_told(
        &self,
        txn: &Txn,
        watchdog: &Actor,
        account: &Account,
    ) -> AppResult<Vec<String>> {
        let recipients = self.alerted(txn, account).await?;
        // A program that is told is no administrator.
        let nobody =
            recipients.iter().all(|recipient| is_webhook(recipient)) && !self.post.is_off();
        if txn.account_set_nobody_told(&account.id, nobody).await? && nobody {
            tracing::warn!(account.id = %account.id, "Account {} has no active administrator with mail alerts on: nobody is told", account.id);
            self.context.audit(txn, watchdog, "alerts.nobody", &account.id, &()).await?;
        }
        Ok(recipients)
    }

    /// The outages of the account, or of one device; newest first.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn outage_list(
        &self,
        actor: &Actor,
        device: Option<DeviceId>,
        open: Option<bool>,
        page: &Page,
    ) -> AppResult<PageOf<OutageRow>> {
        actor.may_read(iocast_domain::account::Module::Automation)?;
        let read = self.context.store.read();
        if let Some(device) = device {
            read.device_fetch(&actor.account_id, device)
                .await?
                .ok_or(AppError::NotFound("device"))?;
        }
        let mut outages = read.outage_list(&actor.account_id, device, open, page).await?;
        if actor.may_write().is_err() {
            // Such addresses often carry a secret.
            let messages = outages.items.iter_mut().flat_map(|row| &mut row.messages);
            messages
                .filter(|message| is_webhook(&message.recipient))
                .for_each(|message| "webhook".clone_into(&mut message.recipient));
        }
        Ok(outages)
    }
}
