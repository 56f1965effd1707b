//! Service tokens.

use iocast_domain::{
    id::{AccountId, DeviceId, ServiceTokenId, SourceId},
    service_token::{Limit, Scope, ServiceToken},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Set, sea_query::Expr,
};

use crate::{
    Conn, StoreResult, Txn,
    accounts::account_id,
    error::corrupt,
    keys::{hex, unhex},
    row::service_token,
};

/// Most tokens of an account that are listed.
const LISTED: u64 = 1_000;

fn code(scope: Scope) -> i16 {
    match scope {
        Scope::Read => 1,
        Scope::Devices => 2,
        Scope::Intake => 3,
        Scope::Admin => 4,
    }
}

fn to_token(row: service_token::Model) -> StoreResult<ServiceToken> {
    let service_token::Model {
        id,
        account_id: account,
        name,
        scope,
        device_id,
        source_id,
        prefix,
        hash,
        made_by,
        created_at,
        expires_at,
        revoked_at,
        last_used_at,
        days,
        replaced_by,
    } = row;
    let (device, source) = (device_id.map(DeviceId), source_id.map(SourceId));
    Ok(ServiceToken {
        id: ServiceTokenId(id),
        account_id: account_id("service_tokens", account)?,
        name,
        scope: Scope::ALL
            .into_iter()
            .find(|one| code(*one) == scope)
            .ok_or_else(|| corrupt("service_tokens", "scope", scope))?,
        limit: device.map(Limit::Device).or(source.map(Limit::Source)),
        prefix,
        hash: unhex(&hash)
            .ok_or_else(|| corrupt("service_tokens", "hash", "not 64 hexadecimal digits"))?,
        made_by,
        created_at: Timestamp::from_micros(created_at),
        expires_at: expires_at.map(Timestamp::from_micros),
        revoked_at: revoked_at.map(Timestamp::from_micros),
        last_used_at: last_used_at.map(Timestamp::from_micros),
        days,
        replaced_by: replaced_by.map(ServiceTokenId),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// The service tokens of an account: those that were not revoked first, then newest first.
    pub async fn service_token_list(&self, account: &AccountId) -> StoreResult<Vec<ServiceToken>> {
        service_token::Entity::find()
            .filter(service_token::Column::AccountId.eq(account.as_str()))
            .order_by_desc(service_token::Column::RevokedAt.is_null())
            .order_by_desc(service_token::Column::CreatedAt)
            .order_by_desc(service_token::Column::Id)
            .limit(LISTED)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_token)
            .collect()
    }

    /// One service token of an account.
    pub async fn service_token_fetch(
        &self,
        account: &AccountId,
        id: ServiceTokenId,
    ) -> StoreResult<Option<ServiceToken>> {
        service_token::Entity::find_by_id(id.0)
            .filter(service_token::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_token)
            .transpose()
    }

    /// The service token with this hash.
    pub async fn service_token_by_hash(
        &self,
        hash: &[u8; 32],
    ) -> StoreResult<Option<ServiceToken>> {
        service_token::Entity::find()
            .filter(service_token::Column::Hash.eq(hex(hash)))
            .one(&self.0)
            .await?
            .map(to_token)
            .transpose()
    }
}

impl Txn {
    /// Adds a service token.
    pub async fn service_token_insert(&self, token: &ServiceToken) -> StoreResult<()> {
        let (device_id, source_id) = match token.limit {
            Some(Limit::Device(id)) => (Some(id.0), None),
            Some(Limit::Source(id)) => (None, Some(id.0)),
            None => (None, None),
        };
        let row = service_token::ActiveModel {
            id: Set(token.id.0),
            account_id: Set(token.account_id.to_string()),
            name: Set(token.name.clone()),
            scope: Set(code(token.scope)),
            device_id: Set(device_id),
            source_id: Set(source_id),
            prefix: Set(token.prefix.clone()),
            hash: Set(hex(&token.hash)),
            made_by: Set(token.made_by.clone()),
            created_at: Set(token.created_at.micros()),
            expires_at: Set(token.expires_at.map(Timestamp::micros)),
            revoked_at: Set(token.revoked_at.map(Timestamp::micros)),
            last_used_at: Set(token.last_used_at.map(Timestamp::micros)),
            days: Set(token.days),
            replaced_by: Set(token.replaced_by.map(|id| id.0)),
        };
        row.insert(&self.0).await?;
        Ok(())
    }

    /// Notes that another service token takes the place of one, which expires at `at`.
    pub async fn service_token_replaced(
        &self,
        id: ServiceTokenId,
        by: ServiceTokenId,
        at: Timestamp,
    ) -> StoreResult<()> {
        service_token::Entity::update_many()
            .col_expr(service_token::Column::ReplacedBy, Expr::value(by.0))
            .filter(service_token::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        self.service_token_set(id, service_token::Column::ExpiresAt, at).await
    }

    /// Revokes a service token.
    pub async fn service_token_revoke(&self, id: ServiceTokenId, at: Timestamp) -> StoreResult<()> {
        self.service_token_set(id, service_token::Column::RevokedAt, at).await
    }

    /// Notes that a service token was used.
    pub async fn service_token_used(&self, id: ServiceTokenId, at: Timestamp) -> StoreResult<()> {
        self.service_token_set(id, service_token::Column::LastUsedAt, at).await
    }

    async fn service_token_set(
        &self,
        id: ServiceTokenId,
        column: service_token::Column,
        at: Timestamp,
    ) -> StoreResult<()> {
        service_token::Entity::update_many()
            .col_expr(column, Expr::value(at.micros()))
            .filter(service_token::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
