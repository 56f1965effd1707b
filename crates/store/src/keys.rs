//! API, appliance and device keys.

use std::collections::{BTreeSet, HashMap};

use iocast_domain::{
    id::{AccountId, DeviceId, KeyId},
    key::{Key, KeyKind},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, QuerySelect, Set, sea_query::Expr,
};

use crate::{
    Conn, Signal, StoreResult, Txn,
    accounts::account_id,
    error::corrupt,
    row::{key, key_change},
};

/// Keys read together.
const SOME: u64 = 2_000;
/// Changes of keys that are remembered: a replica that is further behind reads all keys.
const CHANGES: i64 = 1_000;
/// Changed keys that are read one by one.
const HASHES: u64 = 5_000;
/// The setting that counts changes of keys.
const VERSION: &str = "keys_version";

const KINDS: [(i16, KeyKind); 3] =
    [(1, KeyKind::Api), (2, KeyKind::Appliance), (3, KeyKind::Device)];

fn kind_code(kind: KeyKind) -> i16 {
    KINDS.iter().find(|(_, k)| *k == kind).map_or(0, |(code, _)| *code)
}

pub(crate) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn to_key(row: key::Model) -> StoreResult<Key> {
    let key::Model {
        id,
        account_id: account,
        kind,
        device_id,
        prefix,
        hash,
        created_at,
        expires_at,
        revoked_at,
        last_used_at,
    } = row;
    Ok(Key {
        id: KeyId(id),
        account_id: account_id("keys", account)?,
        kind: KINDS
            .iter()
            .find(|(code, _)| *code == kind)
            .map(|(_, k)| *k)
            .ok_or_else(|| corrupt("keys", "kind", kind))?,
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
    /// Some of all accounts' keys by id, behind the one that is given; none at the end. What the
    /// feed's key table is made of: rows as the driver holds them take several times the room of
    /// keys, so that all are never read together.
    pub async fn key_some(&self, after: Option<KeyId>) -> StoreResult<Vec<Key>> {
        let find = key::Entity::find().order_by_asc(key::Column::Id).limit(SOME);
        let find =
            if let Some(after) = after { find.filter(key::Column::Id.gt(after.0)) } else { find };
        find.all(&self.0).await?.into_iter().map(to_key).collect()
    }

    /// A number that grows with every change of a key.
    pub async fn keys_version(&self) -> StoreResult<i64> {
        self.version(VERSION).await
    }

    /// What changed of keys behind the number `since` up to `until`: the hash of each, and the key
    /// if it is still there. Nothing where that can't be told, or is so much that all are better
    /// read again.
    pub async fn key_changes(
        &self,
        since: i64,
        until: i64,
    ) -> StoreResult<Option<Vec<([u8; 32], Option<Key>)>>> {
        if since < 0 || !(1..=CHANGES).contains(&(until - since)) {
            return Ok(None);
        }
        let between =
            key_change::Column::Version.gt(since).and(key_change::Column::Version.lte(until));
        let rows = key_change::Entity::find()
            .filter(between)
            .order_by_asc(key_change::Column::Version)
            .limit(HASHES)
            .all(&self.0)
            .await?;
        let versions: BTreeSet<i64> = rows.iter().map(|row| row.version).collect();
        // An older iocast on the same database counts, and does not write down what.
        if rows.len() as u64 == HASHES || versions.len() as i64 != until - since {
            return Ok(None);
        }
        let hashes: BTreeSet<String> = rows.into_iter().map(|row| row.hash).collect();
        let mut keys = HashMap::new();
        for row in key::Entity::find().filter(key::Column::Hash.is_in(&hashes)).all(&self.0).await?
        {
            let key = to_key(row)?;
            keys.insert(key.hash, key);
        }
        let hashes = hashes.iter().filter_map(|hash| unhex(hash));
        Ok(Some(hashes.map(|hash| (hash, keys.remove(&hash))).collect()))
    }

    /// The keys of an account, or of one of its devices; newest first.
    pub async fn key_list(
        &self,
        account: &AccountId,
        device: Option<DeviceId>,
    ) -> StoreResult<Vec<Key>> {
        let mut find = key::Entity::find().filter(key::Column::AccountId.eq(account.as_str()));
        find = match device {
            Some(device) => find.filter(key::Column::DeviceId.eq(device.0)),
            None => find.filter(key::Column::DeviceId.is_null()),
        };
        find.order_by_desc(key::Column::CreatedAt)
            .order_by_desc(key::Column::Id)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_key)
            .collect()
    }

    /// One key of an account.
    pub async fn key_fetch(&self, account: &AccountId, id: KeyId) -> StoreResult<Option<Key>> {
        key::Entity::find_by_id(id.0)
            .filter(key::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_key)
            .transpose()
    }
}

impl Txn {
    /// Writes a new key.
    pub async fn key_insert(&self, new: &Key) -> StoreResult<()> {
        let Key {
            id,
            account_id,
            kind,
            device_id,
            prefix,
            hash,
            created_at,
            expires_at,
            revoked_at,
            last_used_at,
        } = new;
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
        self.keys_moved(vec![hex(hash)]).await
    }

    /// Deletes the keys of a device.
    pub(crate) async fn key_delete_of(&self, device: DeviceId) -> StoreResult<()> {
        let of_device = key::Column::DeviceId.eq(device.0);
        let hashes: Vec<String> = key::Entity::find()
            .select_only()
            .column(key::Column::Hash)
            .filter(of_device.clone())
            .into_tuple()
            .all(&self.0)
            .await?;
        key::Entity::delete_many().filter(of_device).exec(&self.0).await?;
        if hashes.is_empty() { Ok(()) } else { self.keys_moved(hashes).await }
    }

    /// Has every replica read the keys with these hashes again.
    async fn keys_moved(&self, hashes: Vec<String>) -> StoreResult<()> {
        let version = self.next_version(VERSION).await?;
        for chunk in hashes.chunks(SOME as usize) {
            let rows = chunk.iter().map(|hash| key_change::ActiveModel {
                version: Set(version),
                hash: Set(hash.clone()),
            });
            key_change::Entity::insert_many(rows).exec_without_returning(&self.0).await?;
        }
        key_change::Entity::delete_many()
            .filter(key_change::Column::Version.lte(version - CHANGES))
            .exec(&self.0)
            .await?;
        self.notify(Signal::Keys).await
    }

    /// Sets when a key ends by itself.
    pub async fn key_set_expiry(
        &self,
        account: &AccountId,
        id: KeyId,
        at: Timestamp,
    ) -> StoreResult<()> {
        self.key_set(account, id, key::Column::ExpiresAt, at).await
    }

    /// Revokes a key.
    pub async fn key_revoke(
        &self,
        account: &AccountId,
        id: KeyId,
        at: Timestamp,
    ) -> StoreResult<()> {
        self.key_set(account, id, key::Column::RevokedAt, at).await
    }

    async fn key_set(
        &self,
        account: &AccountId,
        id: KeyId,
        column: key::Column,
        at: Timestamp,
    ) -> StoreResult<()> {
        let Some(Key { hash, .. }) = self.key_fetch(account, id).await? else { return Ok(()) };
        key::Entity::update_many()
            .col_expr(column, Expr::value(at.micros()))
            .filter(key::Column::Id.eq(id.0))
            .filter(key::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        self.keys_moved(vec![hex(&hash)]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        Key {
            id: KeyId(uuid::Uuid::from_u128(n.into())),
            account_id: "6f9619ff8b86d01bb42d00cf".parse().unwrap(),
            kind: KeyKind::Appliance,
            device_id: None,
            prefix: "iak_".to_owned(),
            hash: [n; 32],
            created_at: Timestamp::from_secs(1_800_000_000),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    /// A change costs what changed, however many keys there are.
    #[tokio::test]
    async fn a_replica_reads_the_keys_that_changed() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = crate::Store::open(None, folder.path()).await.unwrap();
        let write = async |keys: &[Key]| {
            let txn = store.write().await.unwrap();
            for key in keys {
                txn.key_insert(key).await.unwrap();
            }
            txn.commit().await.unwrap();
            store.read().keys_version().await.unwrap()
        };
        let changes = async |since, until| {
            let changed = store.read().key_changes(since, until).await.unwrap();
            changed.map(|changed| {
                changed
                    .into_iter()
                    .map(|(hash, key)| (hash[0], key.is_some_and(|key| key.revoked_at.is_none())))
                    .collect::<Vec<_>>()
            })
        };
        let first = write(&(0..50).map(key).collect::<Vec<_>>()).await;
        let second = write(&[key(100), key(101)]).await;
        assert_eq!(changes(first, second).await, Some(vec![(100, true), (101, true)]));
        let txn = store.write().await.unwrap();
        txn.key_revoke(&key(7).account_id, key(7).id, Timestamp::from_secs(1_800_000_001))
            .await
            .unwrap();
        txn.commit().await.unwrap();
        let third = store.read().keys_version().await.unwrap();
        assert_eq!(changes(second, third).await, Some(vec![(7, false)]));
        assert_eq!(changes(-1, third).await, None, "one that just started reads all");
        // An earlier version counts without saying what changed.
        let txn = store.write().await.unwrap();
        txn.setting_put(VERSION, &(third + 1).to_string()).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(changes(third, third + 1).await, None);
        assert_eq!(changes(third, third + 2_000).await, None, "far behind, it reads all");
    }
}
