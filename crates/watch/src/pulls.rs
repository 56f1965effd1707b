//! Pulls: noted in memory when the last byte is handed over, written in batches.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use iocast_domain::{
    account::Module,
    id::{DeviceId, GroupId},
    time::Timestamp,
};
use iocast_store::{NewPull, Page, PageOf, PullLine};

use crate::{Actor, AppError, AppResult, Pulled, Watch, receipts::header};

/// How long a pull that is being sent is waited for, where somebody waits.
const PATIENCE_STEP: Duration = Duration::from_millis(10);
const PATIENCE_STEPS: u32 = 100;
/// Different notes kept when the database is away; beyond that new ones are dropped.
const NOTES_MAX: usize = 100_000;
/// Notes in one transaction: others write between two of them.
const WRITTEN_TOGETHER: usize = 5_000;

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// Address.
    pub address: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// `MISP-version`.
    pub misp_version: Option<String>,
    /// `MISP-uuid`.
    pub misp_uuid: Option<String>,
}

/// Something that a device did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PullNote {
    /// It pulled.
    Done(Pulled),
    /// It was refused, for a reason.
    Failed(DeviceId, GroupId, String),
}

/// What is alike is one note: a device that polls a thousand times between two batches costs one
/// line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Note {
    pub(crate) what: PullNote,
    pub(crate) client: Client,
    status: u16,
    bytes: u64,
}

impl Note {
    fn is_event(&self) -> bool {
        matches!(&self.what, PullNote::Done(pulled) if !pulled.fetched.is_pull())
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    first_at: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) count: u32,
}

/// How many pulls ended how since the start.
#[derive(Debug, Default)]
pub(crate) struct Pulls([AtomicU64; 6]);

impl Pulls {
    /// The answers that are told apart.
    const STATUSES: [u16; 6] = [200, 304, 400, 401, 404, 503];

    fn count(&self, status: u16) {
        if let Some((count, _)) = self.0.iter().zip(Self::STATUSES).find(|(_, s)| *s == status) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Vec<(u16, u64)> {
        Self::STATUSES
            .into_iter()
            .zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
            .collect()
    }
}

/// Held while the body of a pull is being sent.
#[derive(Debug)]
pub struct PullUnderWay(Arc<AtomicUsize>);

impl Drop for PullUnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(crate) struct Notes {
    noted: Mutex<HashMap<Note, Times>>,
    /// How many found no room since the start.
    dropped: AtomicU64,
}

impl Notes {
    fn add(&self, note: Note, times: Times) {
        let mut notes = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let there = notes.len();
        match notes.entry(note) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.first_at = known.first_at.min(times.first_at);
                known.at = known.at.max(times.at);
                known.count = known.count.saturating_add(times.count);
            }
            Entry::Vacant(place) if there < NOTES_MAX => {
                place.insert(times);
            }
            Entry::Vacant(_) => {
                if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        "{NOTES_MAX} pulls wait to be written because the database is away; further ones are not noted"
                    );
                }
            }
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Watch {
    /// Notes what a device did. Never waits.
    pub fn pull_note(&self, what: PullNote, client: Client, status: u16, bytes: u64) {
        if matches!(&what, PullNote::Done(pulled) if pulled.fetched.is_pull()) {
            self.pulls.count(status);
        }
        let at = self.context.now();
        self.notes.add(Note { what, client, status, bytes }, Times { first_at: at, at, count: 1 });
    }

    /// Counts an answer to a device that was refused, known or not.
    pub fn pull_refused(&self, status: u16) {
        self.pulls.count(status);
    }

    /// The body of a pull is being sent: it is noted before what this gives is dropped.
    pub fn pull_begins(&self) -> PullUnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        PullUnderWay(Arc::clone(&self.under_way))
    }

    /// Waits for the pulls that are being sent, for a moment, and writes all that were noted.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pulls_end(&self) -> AppResult<()> {
        for _ in 0..PATIENCE_STEPS {
            if self.under_way.load(Ordering::Relaxed) == 0 {
                break;
            }
            tokio::time::sleep(PATIENCE_STEP).await;
        }
        self.pulls_flush().await
    }

    /// Writes the notes. If the database is away they are kept for the next time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pulls_flush(&self) -> AppResult<()> {
        let notes =
            std::mem::take(&mut *self.notes.noted.lock().unwrap_or_else(PoisonError::into_inner));
        if notes.is_empty() {
            return Ok(());
        }
        // Noted by a clock that was set back since, or is wrong: no pull lies in the future, where
        // it would hide the silence after it.
        let (now, ahead) = (self.context.now(), self.context.downtime.clock_ahead());
        let right = |at: Timestamp| at.min(now).plus(-ahead);
        let mut in_order: Vec<(Note, Times)> = notes
            .into_iter()
            .map(|(note, times)| {
                (note, Times { first_at: right(times.first_at), at: right(times.at), ..times })
            })
            .collect();
        // Of one moment, the manifest was given before its events.
        in_order.sort_by_key(|(note, times)| (times.at, note.is_event()));
        while !in_order.is_empty() {
            let some = in_order.len().min(WRITTEN_TOGETHER);
            if let Err(error) = self.pulls_write(in_order.get(..some).unwrap_or_default()).await {
                for (note, times) in in_order {
                    let again = Times {
                        first_at: times.first_at.plus(ahead),
                        at: times.at.plus(ahead),
                        ..times
                    };
                    self.notes.add(note, again);
                }
                return Err(error);
            }
            in_order.drain(..some);
        }
        Ok(())
    }

    async fn pulls_write(&self, notes: &[(Note, Times)]) -> AppResult<()> {
        let txn = self.context.store.write().await?;
        let mut pulled = HashMap::new();
        let mut keys = HashMap::new();
        for (note, times) in notes {
            if let PullNote::Done(pull) = &note.what
                && pull.fetched.is_pull()
            {
                // In order of time: the last one stays.
                pulled.insert(pull.device_id, times.at);
                keys.insert(pull.key_id, times.at);
            }
        }
        // The devices' rows before the keys', in the order in which a device is deleted.
        let lines: Vec<PullLine> = notes
            .iter()
            .filter(|(note, _)| !note.is_event())
            .map(|(note, times)| self.line(note, *times))
            .chain(self.event_lines(notes))
            .collect();
        txn.pull_insert_many(&lines).await?;
        txn.keys_used(keys).await?;
        self.outages_pulled(&txn, &pulled).await?;
        let written = self.receipts_write(&txn, notes).await?;
        txn.commit().await?;
        self.receipts.remember(written);
        Ok(())
    }

    fn line(&self, note: &Note, times: Times) -> PullLine {
        let (device_id, group_id, reason) = match &note.what {
            PullNote::Done(pulled) => (pulled.device_id, pulled.group_id, None),
            PullNote::Failed(device, group, reason) => (*device, *group, Some(reason.clone())),
        };
        let pull = NewPull {
            id: self.context.entropy.uuid(),
            device_id,
            group_id,
            at: times.at,
            address: note.client.address.clone(),
            user_agent: header(&note.client.user_agent),
            misp_version: note.client.misp_version.as_deref().map(header),
            misp_uuid: note.client.misp_uuid.as_deref().map(header),
            status: note.status,
            bytes: note.bytes,
        };
        PullLine { pull, first_at: times.first_at, count: times.count, reason, events: 0 }
    }

    /// MISP events that were fetched, those of one client and group together.
    fn event_lines(&self, notes: &[(Note, Times)]) -> Vec<PullLine> {
        let mut lines: Vec<PullLine> = Vec::new();
        let mut at: HashMap<(GroupId, &Client), usize> = HashMap::new();
        for (note, times) in notes.iter().filter(|(note, _)| note.is_event()) {
            let line = self.line(note, *times);
            let place = *at.entry((line.pull.group_id, &note.client)).or_insert(lines.len());
            match lines.get_mut(place) {
                Some(before) => {
                    before.pull.at = line.pull.at;
                    before.pull.bytes += line.pull.bytes;
                    before.count = before.count.saturating_add(line.count);
                    before.events = before.count;
                }
                None => lines.push(PullLine { events: line.count, ..line }),
            }
        }
        lines
    }

    /// The pull history of a device, newest first.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn pull_list(
        &self,
        actor: &Actor,
        device: DeviceId,
        page: &Page,
    ) -> AppResult<PageOf<PullLine>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        read.device_fetch(&actor.account_id, device).await?.ok_or(AppError::NotFound("device"))?;
        Ok(read.pull_list(device, page).await?)
    }

    /// The last request for a group of a device that was refused.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn last_refusal(
        &self,
        actor: &Actor,
        device: DeviceId,
    ) -> AppResult<Option<PullLine>> {
        actor.may_read(Module::Automation)?;
        let read = self.context.store.read();
        read.device_fetch(&actor.account_id, device).await?.ok_or(AppError::NotFound("device"))?;
        Ok(read.pull_last(device, true).await?)
    }
}
