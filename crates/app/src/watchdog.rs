//! The watchdog: silence is noticed, told once, and over with the next pull.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    account::{Account, User},
    device::Device,
    id::{AccountId, DeviceId, OutageId},
    letter::LetterKind,
    staleness::{SyncState, judge},
    time::{DAY, MINUTE, SECOND, Timestamp, span_in_words},
    watch::{HEARTBEAT_MISSED, Outage, gap_found, is_outage, silent_since, threshold},
};
use iocast_mail::is_webhook;
use iocast_store::{OutageRow, Page, PageOf, StoreError, Txn};

use crate::{Actor, App, AppError, AppResult};

/// Real clock and steady clock this much apart within a tick: somebody set the clock, in
/// microseconds.
const JUMP: i64 = MINUTE;
/// How long gaps are remembered: longer than any threshold, in microseconds.
const GAPS_KEPT: i64 = 366 * DAY;
/// Devices looked at in one query.
const LOOK: u64 = 1_000;
/// Outages that are opened in one transaction.
const TOGETHER: usize = 500;
/// Within how long every replica writes the pulls that it noted, in microseconds.
const WRITTEN_WITHIN: i64 = 2 * SECOND;
const HEARTBEAT_AT: &str = "heartbeat";
/// The same by the database's clock: those of two replicas may differ.
const HEARTBEAT_SHARED: &str = "heartbeat_shared";

/// A sign of life: steady time, and real minus steady, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    steady: i64,
    apart: i64,
}

/// What a look around found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Outages that were opened.
    pub outages: u64,
    /// Letters that were written.
    pub letters: u64,
}

impl App {
    /// The dot of a device, in an account with this threshold.
    pub(crate) fn sync_state(&self, device: &Device, account: Option<i64>) -> SyncState {
        judge(
            device.last_pull_at,
            threshold(device.silent_after, account),
            &self.gaps.load(),
            self.judged_now(),
        )
    }

    /// Writes that this server could answer just now, which also proves that the database takes
    /// writes. A long pause since the last such sign of any replica is a gap in which no device
    /// could pull. `steady` is the time since this server began, on a clock that nobody sets. Gives
    /// by how much the real clock went otherwise since the last sign, in microseconds.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn heartbeat(&self, steady: Duration) -> AppResult<i64> {
        let real_now = self.clock.real_now();
        let shared = self.shared_now().await?;
        self.note_clock_ahead(real_now.since(shared));
        let now = self.judged_now();
        let steady = i64::try_from(steady.as_micros()).unwrap_or(i64::MAX);
        let beat = Beat { steady, apart: real_now.micros() - steady };
        let before = *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner);
        let jump = before.map_or(0, |before| beat.apart - before.apart);
        // A process that could answer all the time knows that there was no gap. What another
        // replica's clock says then is that the two clocks differ.
        let was_there = before
            .is_some_and(|before| jump.abs() <= JUMP && steady - before.steady <= HEARTBEAT_MISSED);
        let txn = self.store.write().await?;
        let last: Option<i64> =
            txn.setting_fetch(HEARTBEAT_AT).await?.and_then(|at| at.parse().ok());
        // A process that answers nobody can't say when nobody could answer.
        let answers = self.settings.role.answers();
        let last_shared: Option<i64> =
            txn.setting_fetch(HEARTBEAT_SHARED).await?.and_then(|at| at.parse().ok());
        // Another replica wrote the last sign by its own clock. Ours alone tells only how far ours
        // was set.
        let missed = match last_shared.filter(|_| jump.abs() <= JUMP) {
            Some(last) => Some(shared.micros() - last),
            None => last.map(|last| real_now.micros() - last),
        };
        let gap =
            missed.filter(|_| answers && !was_there).and_then(|missed| gap_found(missed, now));
        let known = txn.gap_list(now.plus(-GAPS_KEPT)).await?;
        let ahead_of_us = last_shared
            .map(|last| last - shared.micros())
            .or_else(|| last.map(|last| last - real_now.micros()));
        let set_back =
            jump < -JUMP || (!was_there && ahead_of_us.is_some_and(|ahead| ahead > JUMP));
        let set_right = answers && (set_back || known.iter().any(|gap| gap.to.since(now) > JUMP));
        if set_right {
            // A clock was set back, ours or another replica's. If it was ahead before, the gap that
            // it made was none.
            txn.gap_end_at(now).await?;
            // A pull that was noted in the future would keep its device green until that time,
            // however long it is silent.
            let moved = txn.device_pulls_end_at(now).await?;
            if moved > 0 {
                tracing::warn!(
                    "{moved} devices pulled at a time that is still to come: their last pull counts as of now"
                );
            }
        }
        if let Some(gap) = gap {
            txn.gap_insert(gap, now.plus(-GAPS_KEPT)).await?;
        }
        if answers {
            txn.setting_put(HEARTBEAT_AT, &real_now.micros().to_string()).await?;
            txn.setting_put(HEARTBEAT_SHARED, &shared.micros().to_string()).await?;
        }
        // The list was read before it was changed, if it was.
        let gaps = if set_right || gap.is_some() {
            txn.gap_list(now.plus(-GAPS_KEPT)).await?
        } else {
            known
        };
        txn.commit().await?;
        if answers {
            self.is_written(real_now).await?;
        }
        if let Some(gap) = gap {
            let long = span_in_words(gap.to.since(gap.from));
            tracing::warn!(
                "The service was down for {long}; device deadlines are extended by that"
            );
        }
        self.gaps.store(Arc::new(gaps));
        self.last_heartbeat.store(real_now.micros(), Ordering::Relaxed);
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat);
        Ok(jump)
    }

    /// Reads the sign of life on another connection than wrote it: one whose writes arrive nowhere
    /// would find it all the same.
    async fn is_written(&self, at: Timestamp) -> AppResult<()> {
        let found: Option<i64> =
            self.store.read().setting_fetch(HEARTBEAT_AT).await?.and_then(|at| at.parse().ok());
        let before = self.last_heartbeat.load(Ordering::Relaxed);
        // Another replica may have written its own since, by a clock that is behind ours.
        if found == Some(at.micros())
            || (!self.store.is_bundled() && found.is_some_and(|found| found != before))
        {
            return Ok(());
        }
        Err(AppError::Unavailable(
            "The database acknowledges writes and does not keep them.".to_owned(),
        ))
    }

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
        if !self.settings.role.works() {
            return Ok(Watched::default());
        }
        if !self.settings.role.answers() && self.nobody_answers().await? {
            tracing::warn!("No web replica is up; devices are not judged until one is");
            return Ok(Watched::default());
        }
        // What is noted here, and may still wait to be written by another replica, is a pull before
        // anybody is judged.
        self.pulls_flush().await?;
        self.watch_tick(WRITTEN_WITHIN).await
    }

    /// Whether no process that answers requests gave a sign of life lately: then devices are silent
    /// because they must be.
    async fn nobody_answers(&self) -> AppResult<bool> {
        let last: Option<i64> =
            self.store.read().setting_fetch(HEARTBEAT_SHARED).await?.and_then(|at| at.parse().ok());
        let shared = self.shared_now().await?;
        Ok(last.is_none_or(|last| shared.micros() - last > HEARTBEAT_MISSED))
    }

    /// The real time, the same for all replicas.
    async fn shared_now(&self) -> AppResult<Timestamp> {
        let ours = self.clock.real_now();
        if self.store.is_bundled() {
            return Ok(ours);
        }
        Ok(self.clock.shared_now(self.store.shared_now(ours).await?))
    }

    /// Notes by how much this server's clock is ahead of the database's, in microseconds, and says
    /// when that is too much.
    fn note_clock_ahead(&self, ahead: i64) {
        // To the second: asking the database takes its time.
        let ahead = if ahead.abs() > JUMP {
            (ahead + ahead.signum() * SECOND / 2) / SECOND * SECOND
        } else {
            0
        };
        let before = self.clock_ahead.swap(ahead, Ordering::Relaxed);
        if ahead != 0 && before == 0 {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            tracing::warn!(
                "This server's clock is {} {way} the database's. Set it right: devices are judged by the database's clock",
                span_in_words(ahead.abs())
            );
        }
    }

    /// The product's time, whatever is wrong with this server's clock.
    pub(crate) fn judged_now(&self) -> Timestamp {
        self.now().plus(-self.clock_ahead.load(Ordering::Relaxed))
    }

    /// Looks for devices that were silent for `grace` microseconds longer than they may; in one
    /// transaction an account it opens their outages and writes the letters. An account that fails
    /// is logged and looked at again at the next tick; it does not hold back the others.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn watch_tick(&self, grace: i64) -> AppResult<Watched> {
        let now = self.judged_now();
        let gaps = self.gaps.load_full();
        let mut silent: BTreeMap<AccountId, Vec<DeviceId>> = BTreeMap::new();
        let mut thresholds: BTreeMap<AccountId, Option<i64>> = BTreeMap::new();
        let mut after = None;
        loop {
            let (some, next) =
                self.store.read().device_maybe_silent(now.plus(-grace), after, LOOK).await?;
            for device in &some {
                let since =
                    silent_since(device.last_pull_at, device.created_at, device.watched_since);
                let of_account = match thresholds.get(&device.account_id) {
                    Some(known) => *known,
                    None => {
                        let account =
                            match self.store.read().account_fetch(&device.account_id).await {
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
                break;
            }
        }
        let mut watched = Watched::default();
        for (account, devices) in silent {
            // The transaction stays short: pulls are written between two of them.
            for some in devices.chunks(TOGETHER) {
                match self.open_outages(&account, some, grace).await {
                    Ok(opened) => {
                        watched.outages += opened.outages;
                        watched.letters += opened.letters;
                    }
                    Err(error) => {
                        tracing::error!(account.id = %account, error = &error as &dyn std::error::Error, "Could not queue alerts for account {account}; it is tried again at the next tick");
                    }
                }
            }
        }
        for account in self.store.read().account_list_untold().await? {
            match self.warn_late(&account).await {
                Ok(letters) => watched.letters += letters,
                Err(error) => {
                    tracing::error!(account.id = %account, error = &error as &dyn std::error::Error, "The open outages of account {account} could not be mailed; it is tried again");
                }
            }
        }
        Ok(watched)
    }

    /// Warns of the open outages that began while no administrator got alerts, once one does; a
    /// transaction for each page of outages. Gives how many letters.
    async fn warn_late(&self, account_id: &AccountId) -> AppResult<u64> {
        if self.post.is_off()
            || !self.store.read().user_list(account_id).await?.iter().any(User::gets_alerts)
        {
            return Ok(0);
        }
        let (mut letters, mut page) = (0, Page { limit: LOOK, after: None });
        loop {
            let txn = self.store.write().await?;
            txn.account_lock(account_id).await?;
            let Some(account) = txn.account_fetch(account_id).await? else { return Ok(letters) };
            let recipients = self.alerted(&txn, &account).await?;
            if recipients.iter().all(|recipient| is_webhook(recipient)) {
                return Ok(letters);
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
                row.letters.iter().any(|letter| {
                    letter.kind == LetterKind::Warning && !is_webhook(&letter.recipient)
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
            letters += written;
            self.tally.watched(Watched { outages: 0, letters: written });
            self.letters_wait();
            page.after = next;
            if page.after.is_none() {
                break;
            }
        }
        tracing::info!(account.id = %account_id, "Account {account_id} has an administrator who gets alerts again: {letters} letters about open outages were written");
        Ok(letters)
    }

    /// Opens the outages of these devices that are silent, with the warnings of them, in one
    /// transaction.
    async fn open_outages(
        &self,
        account_id: &AccountId,
        devices: &[DeviceId],
        grace: i64,
    ) -> AppResult<Watched> {
        let (now, gaps) = (self.judged_now(), self.gaps.load_full());
        let txn = self.store.write().await?;
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
            let id = OutageId::random(&*self.entropy);
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
        let letters = self.warnings(&txn, &account, &recipients, &opened).await?;
        for (outage, device) in &opened {
            let detail = serde_json::json!({ "name": device.name.as_str(), "silent_since": outage.began_at, "told": recipients.len() });
            self.audit(&txn, &watchdog, "device.silent", &device.id, &detail).await?;
        }
        txn.commit().await?;
        tracing::warn!(account.id = %account_id, "{} devices of account {account_id} fell silent", opened.len());
        let opened = Watched { outages: opened.len() as u64, letters };
        self.tally.watched(opened);
        self.letters_wait();
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
            self.audit(txn, watchdog, "alerts.nobody", &account.id, &()).await?;
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
        let read = self.store.read();
        if let Some(device) = device {
            read.device_fetch(&actor.account_id, device)
                .await?
                .ok_or(AppError::NotFound("device"))?;
        }
        let mut outages = read.outage_list(&actor.account_id, device, open, page).await?;
        if actor.may_write().is_err() {
            // Such addresses often carry a secret.
            let letters = outages.items.iter_mut().flat_map(|row| &mut row.letters);
            letters
                .filter(|letter| is_webhook(&letter.recipient))
                .for_each(|letter| "webhook".clone_into(&mut letter.recipient));
        }
        Ok(outages)
    }
}
