//! `Idempotency-Key`: the answer to a create or an import, kept for a day, comes back to the same
//! request.

use std::path::PathBuf;

use iocast_domain::time::{DAY, MINUTE};
use iocast_store::{StoreError, Stored, Txn};
use serde::Serialize;
use serde_json::Value;

use crate::{Actor, AppError, AppResult, Context};

/// A request that may have been made before.
#[derive(Clone, Debug)]
pub struct Idempotent {
    /// The key that the client chose.
    pub key: String,
    /// Method and path.
    pub operation: String,
    /// Hash of the body.
    pub body_hash: String,
}

/// The kept answer.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Status.
    pub status: u16,
    /// Body, secrets left out.
    pub answer: String,
}

/// Longest key, in characters.
const KEY_MAX: usize = 200;
/// After how long a request that brought nothing about is taken for cut off, in microseconds.
const CUT_OFF: i64 = 15 * MINUTE;

impl Idempotent {
    /// Checks the key and hashes the body.
    ///
    /// # Errors
    /// If the key is empty, too long, or not printable ASCII.
    pub fn new(key: &str, operation: String, body: &[u8]) -> AppResult<Self> {
        Self::hashed(key, operation, blake3::hash(body))
    }

    /// As [`Idempotent::new`], for a body that was spooled.
    ///
    /// # Errors
    /// As there, or if the file can't be read.
    pub async fn of_file(key: &str, operation: String, path: PathBuf) -> AppResult<Self> {
        let hash = tokio::task::spawn_blocking(move || {
            let mut hasher = blake3::Hasher::new();
            std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
            Ok::<_, std::io::Error>(hasher.finalize())
        });
        Self::hashed(
            key,
            operation,
            hash.await.map_err(AppError::internal)?.map_err(AppError::internal)?,
        )
    }

    fn hashed(key: &str, operation: String, hash: blake3::Hash) -> AppResult<Self> {
        if key.is_empty()
            || key.len() > KEY_MAX
            || !key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        {
            return Err(AppError::Malformed(format!(
                "Idempotency-Key must be 1 to {KEY_MAX} printable ASCII characters."
            )));
        }
        Ok(Self { key: key.to_owned(), operation, body_hash: hash.to_hex().to_string() })
    }
}

/// What is known of a request with a key.
#[derive(Clone, Debug)]
pub enum Known {
    /// It was made before; this was the answer.
    Answered(Replay),
    /// It was made before and brought this about, but was cut off before it was answered.
    Took(Value),
    /// It is new, and its key is now reserved: keep the answer, or release the key.
    Reserved,
}

impl Context {
    /// Looks up a request, and reserves its key if it is new.
    ///
    /// # Errors
    /// If the key was used for another request, or the same request is being carried out just now.
    pub async fn idempotency_begin(&self, actor: &Actor, request: &Idempotent) -> AppResult<Known> {
        let now = self.now();
        let since = now.plus(-DAY);
        let txn = self.store.write().await?;
        if let Some(stored) = txn.idempotency_fetch(&actor.account_id, &request.key, since).await? {
            if stored.status != 0
                || !stored.answer.is_empty()
                || stored.created_at > now.plus(-CUT_OFF)
            {
                return known(stored, request);
            }
            txn.idempotency_release(&actor.account_id, &request.key).await?;
        }
        let stored = Stored {
            operation: request.operation.clone(),
            body_hash: request.body_hash.clone(),
            status: 0,
            answer: String::new(),
            created_at: now,
        };
        match txn.idempotency_reserve(&actor.account_id, &request.key, &stored, since).await {
            Ok(()) => {
                txn.commit().await?;
                Ok(Known::Reserved)
            }
            Err(StoreError::Duplicate(_)) => Err(under_way()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what the actor's request brings about, in the transaction that does it: the id
    /// of what was made. A kill before the answer then loses nothing.
    pub async fn idempotency_effect(
        &self,
        txn: &Txn,
        actor: &Actor,
        effect: &impl Serialize,
    ) -> AppResult<()> {
        if let Some(key) = &actor.caller.idempotency_key {
            let effect = serde_json::to_string(effect).map_err(AppError::internal)?;
            txn.idempotency_effect(&actor.account_id, key, &effect).await?;
        }
        Ok(())
    }

    /// Says that the actor's request is still being carried out.
    pub async fn idempotency_alive(&self, txn: &Txn, actor: &Actor) -> AppResult<()> {
        if let Some(key) = &actor.caller.idempotency_key {
            txn.idempotency_alive(&actor.account_id, key, self.now()).await?;
        }
        Ok(())
    }

    /// Gives the keys of a killed server's requests back. On PostgreSQL they are given back after a
    /// quarter of an hour: another replica may be at one.
    pub async fn idempotency_forget_cut_off(&self) -> AppResult<()> {
        if self.store.is_bundled() {
            let txn = self.store.write().await?;
            txn.idempotency_release_all().await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Keeps the answer, secrets left out.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn idempotency_keep(
        &self,
        actor: &Actor,
        request: &Idempotent,
        status: u16,
        answer: &Value,
    ) -> AppResult<()> {
        let mut answer = answer.clone();
        if let Some(object) = answer.as_object_mut() {
            object.remove("secret");
        }
        let txn = self.store.write().await?;
        txn.idempotency_keep(&actor.account_id, &request.key, status, &answer.to_string()).await?;
        Ok(txn.commit().await?)
    }

    /// Gives the key of a failed request back, unless it brought something about.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn idempotency_release(&self, actor: &Actor, request: &Idempotent) -> AppResult<()> {
        let txn = self.store.write().await?;
        txn.idempotency_release(&actor.account_id, &request.key).await?;
        Ok(txn.commit().await?)
    }
}

fn known(stored: Stored, request: &Idempotent) -> AppResult<Known> {
    if stored.operation != request.operation || stored.body_hash != request.body_hash {
        return Err(AppError::field(
            "Idempotency-Key",
            "idempotency_key_reused",
            "This Idempotency-Key was used for another request; choose a new key for a new request.",
        ));
    }
    match stored {
        Stored { status: 0, answer, .. } if answer.is_empty() => Err(under_way()),
        Stored { status: 0, answer, .. } => {
            Ok(Known::Took(serde_json::from_str(&answer).map_err(AppError::internal)?))
        }
        Stored { status, answer, .. } => Ok(Known::Answered(Replay { status, answer })),
    }
}

fn under_way() -> AppError {
    AppError::Conflict {
        code: "idempotency_under_way",
        detail:
            "A request with this Idempotency-Key is being carried out; try again in a few seconds."
                .to_owned(),
    }
}
