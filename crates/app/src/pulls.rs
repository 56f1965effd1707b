//! Pulls: noted in memory when the last byte is handed over, written in batches.

use std::sync::{Mutex, PoisonError};

use iocast_domain::{
    id::{DeviceId, GroupId},
    time::{Timestamp, clip},
};
use iocast_store::{FailedPull, NewPull, Page, PageOf, PullLine, Txn};

use crate::{Actor, App, AppError, AppResult, feed::Pulled};

/// Notes kept when the database is away; beyond that the oldest are dropped.
const NOTES_MAX: usize = 100_000;

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
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
#[derive(Clone, Debug)]
pub enum PullNote {
    /// It pulled.
    Done(Pulled),
    /// It was refused, for a reason.
    Failed(DeviceId, GroupId, String),
}

#[derive(Clone, Debug)]
struct Note {
    what: PullNote,
    client: Client,
    at: Timestamp,
    status: u16,
    bytes: u64,
}

#[derive(Default)]
pub(crate) struct Notes(Mutex<Vec<Note>>);

impl App {
    /// Notes what a device did. Never waits.
    pub fn pull_note(&self, what: PullNote, client: Client, status: u16, bytes: u64) {
        let at = self.now();
        let mut notes = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() >= NOTES_MAX {
            notes.remove(0);
        }
        notes.push(Note { what, client, at, status, bytes });
    }

    /// Writes the notes. If the database is away they are kept for the next time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn pulls_flush(&self) -> AppResult<()> {
        let notes = std::mem::take(&mut *self.notes.0.lock().unwrap_or_else(PoisonError::into_inner));
        if notes.is_empty() {
            return Ok(());
        }
        let written = self.pulls_write(&notes).await;
        if written.is_err() {
            let mut later = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
            later.splice(0..0, notes);
        }
        written
    }

    async fn pulls_write(&self, notes: &[Note]) -> AppResult<()> {
        let txn = self.store.write().await?;
        for note in notes {
            self.pull_write(&txn, note).await?;
        }
        Ok(txn.commit().await?)
    }

    async fn pull_write(&self, txn: &Txn, note: &Note) -> AppResult<()> {
        let (device_id, group_id) = match &note.what {
            PullNote::Done(pulled) => (pulled.device_id, pulled.group_id),
            PullNote::Failed(device, group, _) => (*device, *group),
        };
        let header = |text: &str| clip(&text.replace(char::is_control, " "), 200);
        let pull = NewPull {
            id: self.entropy.uuid(),
            device_id,
            group_id,
            at: note.at,
            address: note.client.address.clone(),
            user_agent: header(&note.client.user_agent),
            misp_version: note.client.misp_version.as_deref().map(header),
            misp_uuid: note.client.misp_uuid.as_deref().map(header),
            status: note.status,
            bytes: note.bytes,
        };
        match &note.what {
            PullNote::Done(pulled) => {
                txn.pull_insert(&pull).await?;
                txn.key_used(pulled.key_id, note.at).await?;
            }
            PullNote::Failed(_, _, reason) => txn.pull_failure_insert(&FailedPull { pull, reason: reason.clone() }).await?,
        }
        Ok(())
    }

    /// The pull history of a device, newest first.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn pull_list(&self, actor: &Actor, device: DeviceId, page: &Page) -> AppResult<PageOf<PullLine>> {
        let read = self.store.read();
        read.device_fetch(&actor.account_id, device).await?.ok_or(AppError::NotFound("device"))?;
        Ok(read.pull_list(device, page).await?)
    }
}
