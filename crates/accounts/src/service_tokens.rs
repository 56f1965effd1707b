//! Service tokens: made, listed, rotated with an overlap, revoked, and what they open.

use std::fmt;

use iocast_context::Who;
use iocast_domain::{
    id::{GroupId, ImportId, ServiceTokenId},
    name::Name,
    service_token::{Limit, PREFIX, Scope, ServiceToken, check_limit, check_name},
    time::{DAY, HOUR, MINUTE, Timestamp},
};
use iocast_store::Txn;

use crate::{Accounts, Actor, AppError, AppResult, Caller, random_hex};

/// Longest life of a token, in days.
const DAYS_MAX: i64 = 3_650;
/// Longest overlap of a rotation, in hours.
const OVERLAP_MAX: i64 = 720;
/// How often it is written that a token is used.
const USED_EVERY: i64 = 5 * MINUTE;
/// Most tokens of an account that work.
const TOKENS_MAX: usize = 500;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewServiceToken {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// The one thing that it is for.
    pub limit: Option<Limit>,
    /// Days until it expires; none: it does not.
    pub days: Option<i64>,
}

/// A token without its secret.
#[derive(Clone, Debug)]
pub struct ServiceTokenView {
    /// The token.
    pub token: ServiceToken,
    /// Why it opens nothing; none while it works.
    pub refusal: Option<String>,
}

/// A new token: the only time that its secret is shown.
#[derive(Clone)]
pub struct MadeServiceToken {
    /// The token.
    pub view: ServiceTokenView,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for MadeServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeServiceToken(…)")
    }
}

impl Accounts {
    /// Sessions and service tokens run on the real clock, whatever the product's was moved to.
    fn token_now(&self) -> Timestamp {
        self.context.clock.real_now()
    }

    fn token_view(&self, token: ServiceToken) -> ServiceTokenView {
        ServiceTokenView { refusal: token.refusal(self.token_now()), token }
    }

    async fn token_write(
        &self,
        txn: &Txn,
        actor: &Actor,
        new: NewServiceToken,
    ) -> AppResult<(ServiceToken, String)> {
        let now = self.token_now();
        // One change of tokens at a time: none is made beside a rotation or a revocation.
        txn.account_lock(&actor.account_id).await?;
        let all = txn.service_token_list(&actor.account_id).await?;
        if all.iter().filter(|token| token.refusal(now).is_none()).count() >= TOKENS_MAX {
            return Err(AppError::Conflict {
                code: "too_many_service_tokens",
                detail: format!(
                    "An account has at most {TOKENS_MAX} service tokens that work; revoke one first."
                ),
            });
        }
        let secret = format!("{PREFIX}{}", random_hex(&*self.context.entropy, 40));
        let token = ServiceToken {
            id: ServiceTokenId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            name: new.name,
            scope: new.scope,
            limit: new.limit,
            prefix: secret.chars().take(10).collect(),
            hash: self.context.secrets.hash(&secret),
            made_by: actor.name().to_owned(),
            created_at: now,
            expires_at: new.days.map(|days| now.plus(days.saturating_mul(DAY))),
            revoked_at: None,
            last_used_at: None,
            days: new.days,
            replaced_by: None,
        };
        txn.service_token_insert(&token).await?;
        let change = serde_json::json!({
            "name": token.name,
            "scope": token.scope,
            "prefix": token.prefix,
            "expires_at": token.expires_at,
        });
        self.context.audit(txn, actor, "service_token.create", &token.id, &change).await?;
        self.context.idempotency_effect(txn, actor, &token.id).await?;
        Ok((token, secret))
    }

    /// The limit to the device or the source with a name.
    ///
    /// # Errors
    /// If both are named, or none has that name.
    pub async fn limit_named(
        &self,
        actor: &Actor,
        device: Option<&str>,
        source: Option<&str>,
    ) -> AppResult<Option<Limit>> {
        let (account, read) = (&actor.account_id, self.context.store.read());
        match (device, source) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(AppError::field(
                "source",
                "one_limit",
                "Limit a token to a device or to a source, not to both.",
            )),
            (Some(text), None) => {
                let unknown = || AppError::field("device", "unknown", "No device has this name.");
                let name = Name::parse(text).map_err(|_no_name| unknown())?;
                let found = read.device_by_name(account, &name).await?.ok_or_else(unknown)?;
                Ok(Some(Limit::Device(found.id)))
            }
            (None, Some(name)) => {
                let unknown = || AppError::field("source", "unknown", "No source has this name.");
                let found = read.source_by_name(account, name).await?.ok_or_else(unknown)?;
                Ok(Some(Limit::Source(found.id)))
            }
        }
    }

    /// What a token is for, in a word or the name of the device or source.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn limit_name(&self, actor: &Actor, limit: Limit) -> AppResult<String> {
        let (account, read) = (&actor.account_id, self.context.store.read());
        let name = match limit {
            Limit::Device(id) => read.device_fetch(account, id).await?.map(|d| d.name.to_string()),
            Limit::Source(id) => read.source_fetch(account, id).await?.map(|s| s.name),
        };
        let what = match limit {
            Limit::Device(_) => "device",
            Limit::Source(_) => "source",
        };
        Ok(name
            .map_or_else(|| format!("a {what} that was deleted"), |name| format!("{what} {name}")))
    }

    /// Makes a service token.
    ///
    /// # Errors
    /// If its name, life or limit can't be, or what it is for is not there.
    pub async fn service_token_create(
        &self,
        actor: &Actor,
        new: NewServiceToken,
    ) -> AppResult<MadeServiceToken> {
        actor.may_give_access()?;
        let name = check_name(&new.name).map_err(|error| AppError::Invalid(vec![error]))?;
        check_limit(new.scope, new.limit).map_err(|error| AppError::Invalid(vec![error]))?;
        if new.days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
            return Err(AppError::field(
                "expires_in_days",
                "days_out_of_range",
                "Give 1 to 3650 days, or none for a token that does not expire.",
            ));
        }
        let txn = self.context.store.write().await?;
        match new.limit {
            Some(Limit::Device(id)) => {
                let found = txn.device_fetch(&actor.account_id, id).await?;
                found.map(drop).ok_or(AppError::NotFound("device"))?;
            }
            Some(Limit::Source(id)) => {
                let found = txn.source_fetch(&actor.account_id, id).await?;
                found.map(drop).ok_or(AppError::NotFound("source"))?;
            }
            None => {}
        }
        let (token, secret) =
            self.token_write(&txn, actor, NewServiceToken { name, ..new }).await?;
        txn.commit().await?;
        Ok(MadeServiceToken { view: self.token_view(token), secret })
    }

    /// The account's service tokens, newest first.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn service_token_list(&self, actor: &Actor) -> AppResult<Vec<ServiceTokenView>> {
        actor.may_give_access()?;
        let all = self.context.store.read().service_token_list(&actor.account_id).await?;
        Ok(all.into_iter().map(|token| self.token_view(token)).collect())
    }

    /// One service token of the account.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn service_token_fetch(
        &self,
        actor: &Actor,
        id: ServiceTokenId,
    ) -> AppResult<ServiceTokenView> {
        let found = self.context.store.read().service_token_fetch(&actor.account_id, id).await?;
        Ok(self.token_view(found.ok_or(AppError::NotFound("service token"))?))
    }

    /// Makes a new token with the same name, scope, limit and life; the old one works until the
    /// overlap ends.
    ///
    /// # Errors
    /// If the token is not there, or does not work any more.
    pub async fn service_token_rotate(
        &self,
        actor: &Actor,
        id: ServiceTokenId,
        overlap_hours: Option<i64>,
    ) -> AppResult<MadeServiceToken> {
        actor.may_give_access()?;
        let overlap = overlap_hours.unwrap_or(24);
        if !(0..=OVERLAP_MAX).contains(&overlap) {
            return Err(AppError::field(
                "overlap_hours",
                "overlap_out_of_range",
                format!("Give an overlap of 0 to {OVERLAP_MAX} hours."),
            ));
        }
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let old = txn
            .service_token_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("service token"))?;
        let now = self.token_now();
        if let Some(refusal) = old.refusal(now) {
            return Err(AppError::Conflict {
                code: "service_token_dead",
                detail: format!("{refusal} Make a new one instead."),
            });
        }
        if let Some(by) = old.replaced_by {
            return Err(AppError::Conflict {
                code: "service_token_replaced",
                detail: format!("The token {by} took its place already; rotate that one."),
            });
        }
        let new = NewServiceToken {
            name: old.name.clone(),
            scope: old.scope,
            limit: old.limit,
            days: old.days,
        };
        let (token, secret) = self.token_write(&txn, actor, new).await?;
        let end = now.plus(overlap * HOUR);
        let until = old.expires_at.map_or(end, |at| at.min(end));
        txn.service_token_replaced(id, token.id, until).await?;
        let change = serde_json::json!({ "new": token.id, "old_works_until": until });
        self.context.audit(&txn, actor, "service_token.rotate", &id, &change).await?;
        txn.commit().await?;
        Ok(MadeServiceToken { view: self.token_view(token), secret })
    }

    /// Revokes a service token at once.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn service_token_revoke(&self, actor: &Actor, id: ServiceTokenId) -> AppResult<()> {
        actor.may_give_access()?;
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let token = txn
            .service_token_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("service token"))?;
        if token.revoked_at.is_none() {
            txn.service_token_revoke(id, self.token_now()).await?;
            let change = serde_json::json!({ "name": token.name, "prefix": token.prefix });
            self.context.audit(&txn, actor, "service_token.revoke", &id, &change).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// The actor behind the secret of a service token.
    ///
    /// # Errors
    /// If no token has it, or the token does not work any more.
    pub async fn service_token_actor(&self, secret: &str, caller: Caller) -> AppResult<Actor> {
        let hash = self.context.secrets.hash(secret);
        let read = self.context.store.read();
        let token = read.service_token_by_hash(&hash).await?.ok_or(AppError::Unauthenticated(
            "No service token has this secret. An administrator makes one under Settings, Service tokens.",
        ))?;
        let now = self.token_now();
        if token.refusal(now).is_some() {
            return Err(AppError::Unauthenticated(
                "This service token was revoked or has expired. An administrator makes a new one under Settings, Service tokens.",
            ));
        }
        let account = read.account_fetch(&token.account_id).await?.ok_or(
            AppError::Unauthenticated("The account of this service token is not there any more."),
        )?;
        let noted = self.tokens_used.get(&token.id).or(token.last_used_at);
        if noted.is_none_or(|at| now.since(at) >= USED_EVERY) {
            self.tokens_used.insert(token.id, now);
            self.token_used(token.id, now);
        }
        Ok(Actor { modules: account.modules, ..Actor::service(token, caller) })
    }

    /// Notes that a token is used, while the request goes on.
    fn token_used(&self, id: ServiceTokenId, now: Timestamp) {
        let store = self.context.store.clone();
        let write = async move {
            let txn = store.write().await?;
            txn.service_token_used(id, now).await?;
            txn.commit().await
        };
        self.context.in_background(async move {
            if let Err(error) = write.await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "It could not be written that a service token was used"
                );
            }
        });
    }

    /// Whether a group belongs to the one thing that a token is for.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn limit_has_group(&self, actor: &Actor, id: GroupId) -> AppResult<bool> {
        let Who::Service(token, _) = &actor.who else { return Ok(true) };
        let group = self.context.store.read().group_fetch(&actor.account_id, id).await?;
        Ok(group.is_some_and(|group| token.limit == Some(Limit::Device(group.group.device_id))))
    }

    /// Whether an import belongs to the one thing that a token is for.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn limit_has_import(&self, actor: &Actor, id: ImportId) -> AppResult<bool> {
        let Who::Service(token, _) = &actor.who else { return Ok(true) };
        let import = self.context.store.read().import_fetch(&actor.account_id, id).await?;
        Ok(import.is_some_and(|import| token.limit == Some(Limit::Source(import.source_id))))
    }
}
