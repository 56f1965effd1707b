//! What is old is forgotten, some rows at a time, and its room is given back.

use iocast_domain::{id::AccountId, time::Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait as _, QueryFilter, QuerySelect,
    Statement, sea_query::Expr,
};
use uuid::Uuid;

use crate::{
    Store, StoreResult, Txn,
    row::{audit, ioc, ioc_source, key, outage, outage_message, service_token, session},
    transaction::Write,
};

/// Rows that are forgotten in one transaction.
const AT_ONCE: u64 = 1_000;
/// Pages that are given back in one transaction.
const PAGES: u64 = 2_000;
/// Room is given back from this share of free pages on: one in so many.
const FREE_SHARE: u64 = 20;

/// What is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Old {
    /// Lines of the audit log of an account.
    Audit(AccountId),
    /// Outages that ended.
    Outages,
    /// Keys that were revoked or expired.
    Keys,
    /// Service tokens that were revoked or expired.
    ServiceTokens,
    /// Sessions that expired.
    Sessions,
    /// IOCs that a person deleted.
    DeletedIocs,
}

/// Some of the rows that are old.
async fn some<E: EntityTrait>(db: &Write, id: E::Column, is_old: Expr) -> StoreResult<Vec<Uuid>> {
    let find = E::find().select_only().column(id).filter(is_old).limit(AT_ONCE);
    Ok(find.into_tuple().all(db).await?)
}

async fn delete<E: EntityTrait>(db: &Write, column: E::Column, ids: &[Uuid]) -> StoreResult<()> {
    for ids in ids.chunks(AT_ONCE as usize / 2) {
        E::delete_many().filter(column.is_in(ids.iter().copied())).exec(db).await?;
    }
    Ok(())
}

impl Txn {
    /// Forgets some of what is older than a moment. Gives whether there may be more.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn forget_old(&self, what: &Old, before: Timestamp) -> StoreResult<bool> {
        let (db, before) = (&self.0, before.micros());
        let ids = match what {
            Old::Audit(account) => {
                let is_old =
                    audit::Column::AccountId.eq(account.as_str()).and(audit::Column::At.lt(before));
                let ids = some::<audit::Entity>(db, audit::Column::Id, is_old).await?;
                delete::<audit::Entity>(db, audit::Column::Id, &ids).await?;
                ids
            }
            Old::Outages => {
                let is_old = outage::Column::EndedAt.lt(before);
                let ids = some::<outage::Entity>(db, outage::Column::Id, is_old).await?;
                delete::<outage_message::Entity>(db, outage_message::Column::OutageId, &ids)
                    .await?;
                delete::<outage::Entity>(db, outage::Column::Id, &ids).await?;
                ids
            }
            Old::Keys => {
                let is_old =
                    key::Column::RevokedAt.lt(before).or(key::Column::ExpiresAt.lt(before));
                let ids = some::<key::Entity>(db, key::Column::Id, is_old).await?;
                delete::<key::Entity>(db, key::Column::Id, &ids).await?;
                ids
            }
            Old::ServiceTokens => {
                let is_old = service_token::Column::RevokedAt
                    .lt(before)
                    .or(service_token::Column::ExpiresAt.lt(before));
                let ids =
                    some::<service_token::Entity>(db, service_token::Column::Id, is_old).await?;
                delete::<service_token::Entity>(db, service_token::Column::Id, &ids).await?;
                ids
            }
            Old::Sessions => {
                let is_old = session::Column::ExpiresAt.lt(before);
                let ids = some::<session::Entity>(db, session::Column::Id, is_old).await?;
                delete::<session::Entity>(db, session::Column::Id, &ids).await?;
                ids
            }
            Old::DeletedIocs => {
                let is_old = ioc::Column::DeletedAt.lt(before);
                let ids = some::<ioc::Entity>(db, ioc::Column::Id, is_old).await?;
                delete::<ioc_source::Entity>(db, ioc_source::Column::IocId, &ids).await?;
                delete::<ioc::Entity>(db, ioc::Column::Id, &ids).await?;
                ids
            }
        };
        Ok(ids.len() as u64 == AT_ONCE)
    }
}

impl Store {
    /// Gives room of what was deleted back to the file system, some of it at a time, where much of
    /// the file is free. Gives whether there may be more. PostgreSQL does this by itself.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn give_room_back(&self) -> StoreResult<bool> {
        if !self.is_bundled() {
            return Ok(false);
        }
        let (all, free) = (self.figure("page_count").await?, self.figure("freelist_count").await?);
        if free < PAGES || free < all / FREE_SHARE {
            return Ok(false);
        }
        let txn = self.write().await?;
        // A file that was made before this was possible stays as large as it was.
        let give = format!("PRAGMA incremental_vacuum({PAGES})");
        txn.0.execute_raw(Statement::from_string(DbBackend::Sqlite, give)).await?;
        txn.commit().await?;
        Ok(self.figure("freelist_count").await? < free)
    }

    async fn figure(&self, pragma: &str) -> StoreResult<u64> {
        let ask = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {pragma}"));
        let row = self.reader().query_one_raw(ask).await?;
        let n: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(n).unwrap_or_default())
    }
}
