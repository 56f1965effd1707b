//! API, appliance and device keys.

use iocast_domain::{
    id::{AccountId, DeviceId, KeyId},
    key::{Key, KeyKind},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};

use crate::{
    Conn, Signal, StoreResult, Txn,
    accounts::account_id,
    error::corrupt,
    row::{key, setting},
};

/// Keys read together.
const SOME: u64 = 2_000;
/// The setting that counts changes of keys.
const VERSION: &str = "keys_version";

const KINDS: [(i16, KeyKind); 3] = [(1, KeyKind::Api), (2, KeyKind::Appliance), (3, KeyKind::Device)];

fn kind_code(kind: KeyKind) -> i16 {
    KINDS.iter().find(|(_, k)| *k == kind).map_or(0, |(code, _)| *code)
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn to_key(row: key::Model) -> StoreResult<Key> {
    let key::Model { id, account_id: account, kind, device_id, prefix, hash, created_at, expires_at, revoked_at, last_used_at } = row;
    Ok(Key {
        id: KeyId(id),
        account_id: account_id("keys", account)?,
        kind: KINDS.iter().find(|(code, _)| *code == kind).map(|(_, k)| *k).ok_or_else(|| corrupt("keys", "kind", kind))?,
        device_id: device_id.map(DeviceId),
        prefix,
        hash: unhex(&hash).ok_or_else(|| corrupt("keys", "hash", "not 64 hexadecimal digits"))?,
        created_at: Timestamp::from_micros(created_at),
        expires_at: expires_at.map(Timestamp::from_micros),
        revoked_at: revoked_at.map(Timestamp::from_micros),
        last_used_at: last_used_at.map(Timestamp::from_micros),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// Some of all accounts' keys by id, behind the one that is given; none at the end. What the feed's key table is made of:
    /// rows as the driver holds them take several times the room of keys, so that all are never read together.
    pub async fn key_some(&self, after: Option<KeyId>) -> StoreResult<Vec<Key>> {
        let find = key::Entity::find().order_by_asc(key::Column::Id).limit(SOME);
        let find = if let Some(after) = after { find.filter(key::Column::Id.gt(after.0)) } else { find };
        find.all(&self.0).await?.into_iter().map(to_key).collect()
    }

    /// A number that grows with every change of a key.
    pub async fn keys_version(&self) -> StoreResult<i64> {
        Ok(self.setting_fetch(VERSION).await?.and_then(|v| v.parse().ok()).unwrap_or(0))
    }

    /// The keys of an account, or of one of its devices; newest first.
    pub async fn key_list(&self, account: &AccountId, device: Option<DeviceId>) -> StoreResult<Vec<Key>> {
        let mut find = key::Entity::find().filter(key::Column::AccountId.eq(account.as_str()));
        find = match device {
            Some(device) => find.filter(key::Column::DeviceId.eq(device.0)),
            None => find.filter(key::Column::DeviceId.is_null()),
        };
        find.order_by_desc(key::Column::CreatedAt).order_by_desc(key::Column::Id).all(&self.0).await?.into_iter().map(to_key).collect()
    }

    /// One key of an account.
    pub async fn key_fetch(&self, account: &AccountId, id: KeyId) -> StoreResult<Option<Key>> {
        key::Entity::find_by_id(id.0).filter(key::Column::AccountId.eq(account.as_str())).one(&self.0).await?.map(to_key).transpose()
    }
}

impl Txn {
    /// Writes a new key.
    pub async fn key_insert(&self, new: &Key) -> StoreResult<()> {
        let Key { id, account_id, kind, device_id, prefix, hash, created_at, expires_at, revoked_at, last_used_at } = new;
        key::ActiveModel {
            id: Set(id.0),
            account_id: Set(account_id.to_string()),
            kind: Set(kind_code(*kind)),
            device_id: Set(device_id.map(|d| d.0)),
            prefix: Set(prefix.clone()),
            hash: Set(hex(hash)),
            created_at: Set(created_at.micros()),
            expires_at: Set(expires_at.map(Timestamp::micros)),
            revoked_at: Set(revoked_at.map(Timestamp::micros)),
            last_used_at: Set(last_used_at.map(Timestamp::micros)),
        }
        .insert(&self.0)
        .await?;
        self.keys_moved().await
    }

    /// Has every replica read the keys again.
    pub(crate) async fn keys_moved(&self) -> StoreResult<()> {
        let row = setting::ActiveModel { name: Set(VERSION.to_owned()), value: Set("1".to_owned()) };
        let next = Expr::cust("CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)");
        let count = OnConflict::column(setting::Column::Name).value(setting::Column::Value, next).to_owned();
        setting::Entity::insert(row).on_conflict(count).exec_without_returning(&self.0).await?;
        self.tell(Signal::Keys).await
    }

    /// Sets when a key ends by itself.
    pub async fn key_set_expiry(&self, account: &AccountId, id: KeyId, at: Timestamp) -> StoreResult<()> {
        self.key_set(account, id, key::Column::ExpiresAt, at).await
    }

    /// Revokes a key.
    pub async fn key_revoke(&self, account: &AccountId, id: KeyId, at: Timestamp) -> StoreResult<()> {
        self.key_set(account, id, key::Column::RevokedAt, at).await
    }

    async fn key_set(&self, account: &AccountId, id: KeyId, column: key::Column, at: Timestamp) -> StoreResult<()> {
        key::Entity::update_many()
            .col_expr(column, Expr::value(at.micros()))
            .filter(key::Column::Id.eq(id.0))
            .filter(key::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        self.keys_moved().await
    }
}
