//! The watchdog: silence is noticed, told once, and over with the next pull.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    account::{Account, User},
    device::Device,
    id::{AccountId, DeviceId, LetterId, OutageId},
    letter::{LetterKind, LetterState},
    staleness::{SyncState, judge},
    time::{DAY, MINUTE, SECOND, Timestamp, clip, span_in_words},
    watch::{DIGEST_FROM, EndedBy, HEARTBEAT_MISSED, Outage, gap_found, is_outage, silence, silent_since, threshold},
};
use iocast_mail::{Content, SilentDevice, is_webhook};
use iocast_store::{OutageLetter, OutageRow, Page, PageOf, PullLine, StoreError, Txn};

use crate::{Actor, App, AppError, AppResult};

/// Real clock and steady clock this much apart within a tick: somebody set the clock, in microseconds.
const JUMP: i64 = MINUTE;
/// How long gaps are remembered: longer than any threshold, in microseconds.
const GAPS_KEPT: i64 = 366 * DAY;
/// Devices looked at in one query.
const LOOK: u64 = 1_000;
/// Within how long every replica writes the pulls that it noted, in microseconds.
const WRITTEN_WITHIN: i64 = 2 * SECOND;
const HEARTBEAT_AT: &str = "heartbeat";

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

/// An outage that ended.
struct Ended {
    outage: Outage,
    device: Device,
    at: Timestamp,
}

impl App {
    /// The dot of a device, in an account with this threshold.
    pub(crate) fn sync_state(&self, device: &Device, account: Option<i64>) -> SyncState {
        judge(device.last_pull_at, threshold(device.silent_after, account), &self.gaps.load(), self.now())
    }

    /// Writes that this server could answer just now, which also proves that the database takes writes. A long pause since
    /// the last such sign of any replica is a gap in which no device could pull. `steady` is the time since this server
    /// began, on a clock that nobody sets. Gives by how much the real clock went otherwise since the last sign, in
    /// microseconds.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn heartbeat(&self, steady: Duration) -> AppResult<i64> {
        let (now, real_now) = (self.now(), self.clock.real_now());
        let steady = i64::try_from(steady.as_micros()).unwrap_or(i64::MAX);
        let beat = Beat { steady, apart: real_now.micros() - steady };
        let before = *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner);
        let jump = before.map_or(0, |before| beat.apart - before.apart);
        // A process that could answer all the time knows that there was no gap. What another replica's clock says then is that the
        // two clocks differ.
        let was_there = before.is_some_and(|before| jump.abs() <= JUMP && steady - before.steady <= HEARTBEAT_MISSED);
        let txn = self.store.write().await?;
        let last: Option<i64> = txn.setting_fetch(HEARTBEAT_AT).await?.and_then(|at| at.parse().ok());
        // A process that answers nobody can't say when nobody could answer.
        let answers = self.settings.role.answers();
        let gap = last.filter(|_| answers && !was_there).and_then(|last| gap_found(real_now.micros() - last, now));
        let known = txn.gap_list(now.plus(-GAPS_KEPT)).await?;
        let set_back = jump < -JUMP || (!was_there && last.is_some_and(|last| last - real_now.micros() > JUMP));
        let set_right = answers && (set_back || known.iter().any(|gap| gap.to.since(now) > JUMP));
        if set_right {
            // A clock was set back, ours or another replica's. If it was ahead before, the gap that it made was none.
            txn.gap_end_at(now).await?;
            // A pull that was noted in the future would keep its device green until that time, however long it is silent.
            let moved = txn.device_pulls_end_at(now).await?;
            if moved > 0 {
                tracing::warn!("{moved} devices pulled at a time that is still to come: their last pull counts as of now");
            }
        }
        if let Some(gap) = gap {
            txn.gap_insert(gap, now.plus(-GAPS_KEPT)).await?;
        }
        if answers {
            txn.setting_put(HEARTBEAT_AT, &real_now.micros().to_string()).await?;
        }
        // The list was read before it was changed, if it was.
        let gaps = if set_right || gap.is_some() { txn.gap_list(now.plus(-GAPS_KEPT)).await? } else { known };
        txn.commit().await?;
        if answers {
            self.is_written(real_now).await?;
        }
        if let Some(gap) = gap {
            let long = span_in_words(gap.to.since(gap.from));
            tracing::warn!("No iocast could answer for {long}: the devices' deadlines move by as much");
        }
        self.gaps.store(Arc::new(gaps));
        self.last_heartbeat.store(real_now.micros(), Ordering::Relaxed);
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat);
        Ok(jump)
    }

    /// Reads the sign of life on another connection than wrote it: one whose writes arrive nowhere would find it all the same.
    async fn is_written(&self, at: Timestamp) -> AppResult<()> {
        let found: Option<i64> = self.store.read().setting_fetch(HEARTBEAT_AT).await?.and_then(|at| at.parse().ok());
        let before = self.last_heartbeat.load(Ordering::Relaxed);
        // Another replica may have written its own since, by a clock that is behind ours.
        if found == Some(at.micros()) || (!self.store.is_bundled() && found.is_some_and(|found| found != before)) {
            return Ok(());
        }
        Err(AppError::Unavailable("The database acknowledges writes and does not keep them.".to_owned()))
    }

    /// One tick: a sign of life, and a look around. If the real clock went otherwise than the steady one (see
    /// [`Self::heartbeat`]), somebody set it, and nobody is judged by it this time.
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
            tracing::warn!("No iocast answers requests just now: devices are judged when one does again");
            return Ok(Watched::default());
        }
        // What is noted here, and may still wait to be written by another replica, is a pull before anybody is judged.
        self.pulls_flush().await?;
        self.watch_tick(WRITTEN_WITHIN).await
    }

    /// Whether no process that answers requests gave a sign of life lately: then devices are silent because they must be.
    async fn nobody_answers(&self) -> AppResult<bool> {
        let last: Option<i64> = self.store.read().setting_fetch(HEARTBEAT_AT).await?.and_then(|at| at.parse().ok());
        Ok(last.is_none_or(|last| self.clock.real_now().micros() - last > HEARTBEAT_MISSED))
    }

    /// Looks for devices that were silent for `grace` microseconds longer than they may; in one transaction an account it opens
    /// their outages and writes the letters. An account that fails is logged and looked at again at the next tick; it does
    /// not hold back the others.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn watch_tick(&self, grace: i64) -> AppResult<Watched> {
        let now = self.now();
        let gaps = self.gaps.load_full();
        let mut silent: BTreeMap<AccountId, Vec<DeviceId>> = BTreeMap::new();
        let mut thresholds: BTreeMap<AccountId, Option<i64>> = BTreeMap::new();
        let mut after = None;
        loop {
            let (some, next) = self.store.read().device_maybe_silent(now.plus(-grace), after, LOOK).await?;
            for device in &some {
                let since = silent_since(device.last_pull_at, device.created_at, device.watched_since);
                let of_account = match thresholds.get(&device.account_id) {
                    Some(known) => *known,
                    None => {
                        let account = match self.store.read().account_fetch(&device.account_id).await {
                            // It is told of when its outages are written.
                            Err(StoreError::Corrupt { .. }) => None,
                            account => account?,
                        };
                        let known = account.and_then(|a| a.silent_after);
                        thresholds.insert(device.account_id.clone(), known);
                        known
                    }
                };
                if is_outage(since, threshold(device.silent_after, of_account) + grace, &gaps, now) {
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
            match self.open_outages(&account, &devices, grace).await {
                Ok(opened) => {
                    watched.outages += opened.outages;
                    watched.letters += opened.letters;
                }
                Err(error) => {
                    tracing::error!(account.id = %account, error = &error as &dyn std::error::Error, "Silent devices of account {account} could not be told of; it is tried again");
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

    /// Warns of the open outages that began while no administrator got alerts, once one does. Gives how many letters.
    async fn warn_late(&self, account_id: &AccountId) -> AppResult<u64> {
        if self.post.is_off() || !self.store.read().user_list(account_id).await?.iter().any(User::gets_alerts) {
            return Ok(0);
        }
        let txn = self.store.write().await?;
        let Some(account) = txn.account_fetch(account_id).await? else { return Ok(0) };
        let recipients = self.alerted(&txn, &account).await?;
        // Another replica may have written the letters.
        if recipients.iter().all(|recipient| is_webhook(recipient)) || !txn.account_set_nobody_told(account_id, false).await? {
            return Ok(0);
        }
        let (mut letters, mut page) = (0, Page { limit: LOOK, after: None });
        loop {
            let PageOf { items, next } = txn.outage_list(account_id, None, Some(true), &page).await?;
            let ids: Vec<DeviceId> = items.iter().map(|row| row.outage.device_id).collect();
            let devices: HashMap<DeviceId, Device> = txn.device_fetch_many(account_id, &ids).await?.into_iter().map(|device| (device.id, device)).collect();
            let told = |row: &OutageRow| row.letters.iter().any(|letter| letter.kind == LetterKind::Warning && !is_webhook(&letter.recipient));
            let untold = items.into_iter().filter(|row| !told(row));
            let open: Vec<(Outage, Device)> = untold.filter_map(|row| Some((row.outage.clone(), devices.get(&row.outage.device_id)?.clone()))).collect();
            letters += self.warnings(&txn, &account, &recipients, &open).await?;
            page.after = next;
            if page.after.is_none() {
                break;
            }
        }
        txn.commit().await?;
        tracing::info!(account.id = %account_id, "Account {account_id} has an administrator who gets alerts again: {letters} letters about open outages were written");
        self.tally.watched(Watched { outages: 0, letters });
        self.letters_wait();
        Ok(letters)
    }

    async fn open_outages(&self, account_id: &AccountId, devices: &[DeviceId], grace: i64) -> AppResult<Watched> {
        let (now, gaps) = (self.now(), self.gaps.load_full());
        let txn = self.store.write().await?;
        // Locked before they are read again: a pull that is being written either is seen here, or sees the outage.
        txn.device_lock_many(devices).await?;
        let Some(account) = txn.account_fetch(account_id).await? else { return Ok(Watched::default()) };
        let mut opened: Vec<(Outage, Device)> = Vec::new();
        for device in txn.device_fetch_many(account_id, devices).await? {
            let since = silent_since(device.last_pull_at, device.created_at, device.watched_since);
            if device.paused || !is_outage(since, threshold(device.silent_after, account.silent_after) + grace, &gaps, now) {
                continue;
            }
            let id = OutageId::random(&*self.entropy);
            let outage = Outage { id, account_id: account_id.clone(), device_id: device.id, began_at: since, noticed_at: now, ended: None };
            if txn.outage_insert(&outage).await? {
                opened.push((outage, device));
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
    async fn alerted_or_told(&self, txn: &Txn, watchdog: &Actor, account: &Account) -> AppResult<Vec<String>> {
        let recipients = self.alerted(txn, account).await?;
        // A program that is told is no administrator.
        let nobody = recipients.iter().all(|recipient| is_webhook(recipient)) && !self.post.is_off();
        if txn.account_set_nobody_told(&account.id, nobody).await? && nobody {
            tracing::warn!(account.id = %account.id, "Account {} has no active administrator with mail alerts on: nobody is told", account.id);
            self.audit(txn, watchdog, "alerts.nobody", &account.id, &()).await?;
        }
        Ok(recipients)
    }

    async fn warnings(&self, txn: &Txn, account: &Account, recipients: &[String], opened: &[(Outage, Device)]) -> AppResult<u64> {
        let many = opened.len() >= DIGEST_FROM;
        let mut told = Vec::with_capacity(opened.len());
        for (outage, device) in opened {
            told.push((outage.id, self.silent_device(txn, outage, device, None, !many).await?));
        }
        let mut letters = 0;
        for recipient in recipients {
            letters += self.tell(txn, account, LetterKind::Warning, recipient, &told, None).await?;
        }
        Ok(letters)
    }

    /// Writes one person letters about outages: one each, or one for many. Gives how many letters.
    async fn tell(
        &self,
        txn: &Txn,
        account: &Account,
        kind: LetterKind,
        recipient: &str,
        outages: &[(OutageId, SilentDevice)],
        after: Option<LetterId>,
    ) -> AppResult<u64> {
        let size = if outages.len() >= DIGEST_FROM { outages.len() } else { 1 };
        let mut written = 0;
        for some in outages.chunks(size) {
            let devices = some.iter().map(|(_, device)| device.clone()).collect();
            let content = if kind == LetterKind::Warning { Content::Warning(devices) } else { Content::Recovery(devices) };
            let mut letter = self.letter(account, kind, recipient, &content)?;
            letter.after_letter = after;
            let mut fresh = false;
            for (outage, _) in some {
                fresh |= txn.outage_letter_insert(*outage, recipient, kind, letter.id).await?;
            }
            if fresh {
                txn.letter_insert(&letter).await?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// A device as a letter tells of it. The last client and error are left out where many are told of together.
    async fn silent_device(&self, txn: &Txn, outage: &Outage, device: &Device, until: Option<Timestamp>, fully: bool) -> AppResult<SilentDevice> {
        let (last, failed) = if fully { (txn.pull_last(device.id, false).await?, txn.pull_last(device.id, true).await?) } else { (None, None) };
        let groupless = fully && until.is_none() && txn.group_list(&device.account_id, Some(device.id)).await?.is_empty();
        let no_group = groupless.then_some("It has no IOC group, so there is nothing for it to pull: open the device, make one, and type its URL in.");
        let gaps = if until.is_some() { Vec::new() } else { self.gaps.load().to_vec() };
        Ok(SilentDevice {
            name: device.name.to_string(),
            type_name: device.device_type.name.to_owned(),
            since: outage.began_at,
            until,
            silence: span_in_words(silence(outage.began_at, &gaps, until.unwrap_or(outage.noticed_at))),
            never_pulled: until.is_none() && device.last_pull_at.is_none(),
            watched_again: device.watched_since == outage.began_at && device.created_at < device.watched_since,
            last_pull: device.last_pull_at,
            last_client: last.as_ref().map(client),
            last_error: failed
                .filter(|f| f.pull.at >= outage.began_at)
                .and_then(|f| Some(format!("{} at {}, from {}", f.reason.as_ref()?, f.pull.at.minute(), client(&f)))),
            link: format!("{}/automation/integrations/{}", self.settings.public_url, device.id),
            checks: no_group.into_iter().chain(device.device_type.checks.iter().copied()).map(str::to_owned).collect(),
        })
    }

    /// Ends the outages of devices that pulled, in the transaction that writes the pulls. Everyone who got the warning gets a letter.
    pub(crate) async fn outages_pulled(&self, txn: &Txn, pulls: &HashMap<DeviceId, Timestamp>) -> AppResult<()> {
        let devices: Vec<DeviceId> = pulls.keys().copied().collect();
        let mut ended: BTreeMap<AccountId, Vec<Ended>> = BTreeMap::new();
        for outage in txn.outage_open(&devices).await? {
            let Some(at) = pulls.get(&outage.device_id).copied().filter(|at| *at > outage.began_at) else { continue };
            let device = match txn.device_fetch(&outage.account_id, outage.device_id).await {
                Ok(Some(device)) => device,
                Ok(None) => continue,
                Err(error @ StoreError::Corrupt { .. }) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "A device that pulled can't be read; its outage stays open");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if txn.outage_end(outage.id, at, EndedBy::Pull).await? {
                ended.entry(outage.account_id.clone()).or_default().push(Ended { outage, device, at });
            }
        }
        for (account_id, ended) in ended {
            match self.recovered(txn, &account_id, &ended).await {
                // One account that can't be read does not keep the pulls of all others from being written.
                Err(error) if error.is_corrupt() => {
                    tracing::error!(account.id = %account_id, error = &error as &dyn std::error::Error, "Recovered devices of account {account_id} could not be told of");
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn recovered(&self, txn: &Txn, account_id: &AccountId, ended: &[Ended]) -> AppResult<()> {
        let Some(account) = txn.account_fetch(account_id).await? else { return Ok(()) };
        self.recoveries(txn, &account, ended).await?;
        let watchdog = Actor::watchdog(account_id.clone());
        for Ended { outage, device, at } in ended {
            let detail = serde_json::json!({ "name": device.name.as_str(), "silent_since": outage.began_at, "pulled_at": at });
            self.audit(txn, &watchdog, "device.recovered", &device.id, &detail).await?;
        }
        self.letters_wait();
        Ok(())
    }

    async fn recoveries(&self, txn: &Txn, account: &Account, ended: &[Ended]) -> AppResult<()> {
        let many = ended.len() >= DIGEST_FROM;
        let alerted = self.alerted(txn, account).await?;
        // One letter for those whose warning went out, and one for each warning that is still on its way, to follow it.
        let mut told: BTreeMap<(String, Option<LetterId>), Vec<(OutageId, SilentDevice)>> = BTreeMap::new();
        let mut needed = HashMap::new();
        for Ended { outage, device, at } in ended {
            let warnings = self.take_back(txn, outage.id, &mut needed).await?;
            for (warning, recipient, fate) in warnings.into_iter().filter(|(_, recipient, _)| alerted.contains(recipient)) {
                let device = self.silent_device(txn, outage, device, Some(*at), !many).await?;
                let after = match fate {
                    Fate::Sent => None,
                    Fate::OnItsWay => Some(warning),
                };
                told.entry((recipient, after)).or_default().push((outage.id, device));
            }
        }
        for ((recipient, after), outages) in told {
            self.tell(txn, account, LetterKind::Recovery, &recipient, &outages, after).await?;
        }
        Ok(())
    }

    /// Takes back the warnings of an outage that are not on their way, and gives those that are or were. `needed` remembers of
    /// which letters another outage is still open.
    async fn take_back(&self, txn: &Txn, outage: OutageId, needed: &mut HashMap<LetterId, bool>) -> AppResult<Vec<(LetterId, String, Fate)>> {
        let mut gone = Vec::new();
        for OutageLetter { id, kind, recipient, state, maybe_sent } in txn.outage_letters(outage).await? {
            if kind != LetterKind::Warning {
                continue;
            }
            match state {
                LetterState::Sent => gone.push((id, recipient, Fate::Sent)),
                LetterState::Claimed => gone.push((id, recipient, Fate::OnItsWay)),
                LetterState::Due => {
                    // One that may have arrived is sent until the mail server says so: its reader waits for the end of it.
                    let open = match needed.entry(id) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(place) => *place.insert(txn.letter_has_open_outage(id).await?),
                    };
                    if maybe_sent || open || !txn.letter_move(id, &[LetterState::Due], LetterState::Superseded, self.now()).await? {
                        gone.push((id, recipient, Fate::OnItsWay));
                    }
                }
                LetterState::Dead | LetterState::Superseded | LetterState::Discarded => {}
            }
        }
        Ok(gone)
    }

    /// Ends the outage of a device that is paused: nobody watches it, and nobody is told.
    pub(crate) async fn outage_paused(&self, txn: &Txn, device: DeviceId) -> AppResult<()> {
        for outage in txn.outage_open(&[device]).await? {
            txn.outage_end(outage.id, self.now(), EndedBy::Pause).await?;
            for (letter, _, _) in self.take_back(txn, outage.id, &mut HashMap::new()).await? {
                // Nobody is told any more, even of one that may have arrived.
                if !txn.letter_has_open_outage(letter).await? {
                    txn.letter_move(letter, &[LetterState::Due], LetterState::Superseded, self.now()).await?;
                }
            }
        }
        Ok(())
    }

    /// The outages of the account, or of one device; newest first.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn outage_list(&self, actor: &Actor, device: Option<DeviceId>, open: Option<bool>, page: &Page) -> AppResult<PageOf<OutageRow>> {
        actor.may_read(iocast_domain::account::Module::Automation)?;
        let read = self.store.read();
        if let Some(device) = device {
            read.device_fetch(&actor.account_id, device).await?.ok_or(AppError::NotFound("device"))?;
        }
        let mut outages = read.outage_list(&actor.account_id, device, open, page).await?;
        if actor.may_write().is_err() {
            // Such addresses often carry a secret.
            let letters = outages.items.iter_mut().flat_map(|row| &mut row.letters);
            letters.filter(|letter| is_webhook(&letter.recipient)).for_each(|letter| "webhook".clone_into(&mut letter.recipient));
        }
        Ok(outages)
    }
}

/// What became of a warning whose outage ended.
enum Fate {
    Sent,
    OnItsWay,
}

/// Who pulled: address and what it calls itself. A letter's reader must not find a link in it.
fn client(line: &PullLine) -> String {
    let agent = clip(&line.pull.user_agent.replace("://", "[:]//").replace("www.", "www[.]"), 100);
    if agent.is_empty() { line.pull.address.clone() } else { format!("{}, {agent}", line.pull.address) }
}
