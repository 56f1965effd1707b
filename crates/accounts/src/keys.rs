//! API, appliance and device keys: made, listed, rotated with an overlap, revoked.

use std::fmt;

use iocast_domain::{
    account::Module,
    id::{DeviceId, KeyId},
    key::{Key, KeyKind},
    time::{DAY, HOUR, Timestamp},
};
use iocast_store::Txn;

use crate::{Accounts, Actor, AppError, AppResult, random_hex};

/// How long the old key works beside the new one unless said otherwise, in microseconds.
const OVERLAP: i64 = DAY;
/// Longest overlap, in microseconds.
const OVERLAP_MAX: i64 = 30 * DAY;

/// A key without its secret.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The key.
    pub key: Key,
    /// Why it opens nothing; none while it works.
    pub refusal: Option<String>,
}

/// A new key: the only time that its secret is shown.
#[derive(Clone)]
pub struct NewKey {
    /// The key.
    pub view: KeyView,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKey(…)")
    }
}

/// An API key may do what an administrator may, and does not expire.
fn may_make(actor: &Actor, kind: KeyKind) -> AppResult<()> {
    match kind {
        KeyKind::Api => actor.may_give_access(),
        KeyKind::Appliance | KeyKind::Device => actor.may_write(),
    }
}

impl Accounts {
    /// Makes a key in a transaction.
    pub(crate) async fn key_write(
        &self,
        txn: &Txn,
        actor: &Actor,
        kind: KeyKind,
        device_id: Option<DeviceId>,
    ) -> AppResult<(Key, String)> {
        let secret = match kind {
            KeyKind::Api => random_hex(&*self.context.entropy, 64),
            KeyKind::Appliance => format!("iak_{}", random_hex(&*self.context.entropy, 32)),
            KeyKind::Device => format!("idk_{}", random_hex(&*self.context.entropy, 32)),
        };
        let key = Key {
            id: KeyId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            kind,
            device_id,
            prefix: secret.chars().take(10).collect(),
            hash: self.context.secrets.hash(&secret),
            created_at: self.context.now(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        txn.key_insert(&key).await?;
        self.context
            .audit(
                txn,
                actor,
                "key.create",
                &key.id,
                &serde_json::json!({ "kind": kind, "prefix": key.prefix, "device_id": device_id }),
            )
            .await?;
        self.context.idempotency_effect(txn, actor, &key.id).await?;
        Ok((key, secret))
    }

    fn key_view(&self, key: Key) -> KeyView {
        KeyView { refusal: key.refusal(self.context.now()), key }
    }

    /// Makes an API or appliance key, or with a device a key of that device.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn key_create(
        &self,
        actor: &Actor,
        kind: KeyKind,
        device: Option<DeviceId>,
    ) -> AppResult<NewKey> {
        may_make(actor, kind)?;
        if device.is_some() {
            actor.may_read(Module::Automation)?;
        }
        let txn = self.context.store.write().await?;
        if let Some(device) = device {
            txn.device_fetch(&actor.account_id, device)
                .await?
                .ok_or(AppError::NotFound("device"))?;
        }
        let (key, secret) = self.key_write(&txn, actor, kind, device).await?;
        txn.commit().await?;
        self.tables.follow_keys().await?;
        Ok(NewKey { view: self.key_view(key), secret })
    }

    /// The account's keys, or those of a device; newest first.
    ///
    /// # Errors
    /// If the device is not there.
    pub async fn key_list(
        &self,
        actor: &Actor,
        device: Option<DeviceId>,
    ) -> AppResult<Vec<KeyView>> {
        let read = self.context.store.read();
        if let Some(device) = device {
            read.device_fetch(&actor.account_id, device)
                .await?
                .ok_or(AppError::NotFound("device"))?;
        }
        Ok(read
            .key_list(&actor.account_id, device)
            .await?
            .into_iter()
            .map(|k| self.key_view(k))
            .collect())
    }

    /// One key of the account.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn key_fetch(&self, actor: &Actor, id: KeyId) -> AppResult<KeyView> {
        Ok(self.key_view(
            self.context
                .store
                .read()
                .key_fetch(&actor.account_id, id)
                .await?
                .ok_or(AppError::NotFound("key"))?,
        ))
    }

    /// Makes a new key of the same kind; the old one works until the overlap (in microseconds, 24 h
    /// unless given) ends.
    ///
    /// # Errors
    /// If the key is not there, or does not work any more.
    pub async fn key_rotate(
        &self,
        actor: &Actor,
        id: KeyId,
        overlap: Option<i64>,
    ) -> AppResult<NewKey> {
        actor.may_write()?;
        let overlap = overlap.unwrap_or(OVERLAP);
        if !(0..=OVERLAP_MAX).contains(&overlap) {
            return Err(AppError::field(
                "overlap_hours",
                "overlap_out_of_range",
                format!("Give an overlap of 0 to {} hours.", OVERLAP_MAX / HOUR),
            ));
        }
        let txn = self.context.store.write().await?;
        let old = txn.key_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("key"))?;
        may_make(actor, old.kind)?;
        let now = self.context.now();
        if let Some(refusal) = old.refusal(now) {
            return Err(AppError::Conflict {
                code: "key_dead",
                detail: format!("This {refusal}; make a new key instead."),
            });
        }
        let (key, secret) = self.key_write(&txn, actor, old.kind, old.device_id).await?;
        let until =
            old.expires_at.map_or(now.plus(overlap), |at: Timestamp| at.min(now.plus(overlap)));
        txn.key_set_expiry(&actor.account_id, id, until).await?;
        self.context
            .audit(
                &txn,
                actor,
                "key.rotate",
                &id,
                &serde_json::json!({ "new": key.id, "old_works_until": until }),
            )
            .await?;
        txn.commit().await?;
        self.tables.follow_keys().await?;
        Ok(NewKey { view: self.key_view(key), secret })
    }

    /// Revokes a key at once. With a device, only a key of that device.
    ///
    /// # Errors
    /// If the key is not there.
    pub async fn key_revoke(
        &self,
        actor: &Actor,
        device: Option<DeviceId>,
        id: KeyId,
    ) -> AppResult<()> {
        actor.may_write()?;
        let txn = self.context.store.write().await?;
        let key = txn
            .key_fetch(&actor.account_id, id)
            .await?
            .filter(|k| device.is_none() || k.device_id == device)
            .ok_or(AppError::NotFound("key"))?;
        if key.revoked_at.is_none() {
            txn.key_revoke(&actor.account_id, id, self.context.now()).await?;
            self.context
                .audit(
                    &txn,
                    actor,
                    "key.revoke",
                    &id,
                    &serde_json::json!({ "kind": key.kind, "prefix": key.prefix }),
                )
                .await?;
            txn.commit().await?;
            self.tables.follow_keys().await?;
        }
        Ok(())
    }
}
