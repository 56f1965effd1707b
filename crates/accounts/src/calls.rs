//! Calls of the REST API are counted, by key and account.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use iocast_domain::{
    id::{AccountId, KeyId},
    key::KeyKind,
    time::{MINUTE, SECOND, Timestamp},
};
use subtle::ConstantTimeEq as _;

use crate::{Accounts, Actor, AppError, AppResult, Caller, credentials};

/// How often at most it is written that a key was used, in microseconds.
const USED_EVERY: i64 = MINUTE;

/// Calls that each account may still make in the minute under way, real time.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<HashMap<AccountId, (i64, u32)>>);

/// In how many shares replicas take the calls of a minute.
const SHARES: u32 = 20;

const MINUTE_PREFIX: &str = "minute ";

fn minute_name(minute: i64) -> String {
    format!("{MINUTE_PREFIX}{minute:012}")
}

impl Calls {
    /// Takes one of the calls that are left in the minute; a new minute begins with `first` of
    /// them.
    fn take(&self, account: &AccountId, minute: i64, first: u32) -> bool {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, left) = calls.entry(account.clone()).or_insert((minute, first));
        if *at != minute {
            (*at, *left) = (minute, first);
        }
        let one = *left > 0;
        *left = left.saturating_sub(1);
        one
    }

    fn add(&self, account: &AccountId, minute: i64, more: u32) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, left) = calls.entry(account.clone()).or_insert((minute, 0));
        if *at == minute {
            *left = left.saturating_add(more);
        }
    }
}

/// When it was last written that a key was used.
#[derive(Debug, Default)]
pub(crate) struct Used(Mutex<HashMap<KeyId, Timestamp>>);

impl Accounts {
    /// The program behind an `Authorization` header: Basic, with the account ID and an API key.
    ///
    /// # Errors
    /// If it is none, or asks too often.
    pub async fn api_authenticate(
        &self,
        authorization: Option<&str>,
        caller: Caller,
    ) -> AppResult<Actor> {
        const WANTED: AppError = AppError::Unauthenticated(
            "Send Basic authentication: the account ID as user, an API key as password.",
        );
        const WRONG: AppError =
            AppError::Unauthenticated("Account ID or API key is wrong, or the key was revoked.");
        let (account, secret) = authorization.and_then(credentials).ok_or(WANTED)?;
        let hash = self.context.secrets.hash(&secret);
        let key = self
            .tables
            .key(&hash)
            .filter(|key| {
                bool::from(key.hash.ct_eq(&hash))
                    && account.as_deref() == Some(key.account_id.as_str())
            })
            .ok_or(WRONG)?;
        if key.kind != KeyKind::Api {
            return Err(AppError::Unauthenticated(
                "This is an appliance or device key: it opens group URLs. The REST API takes the API key.",
            ));
        }
        if key.refusal(self.context.now()).is_some() {
            return Err(WRONG);
        }
        self.api_call(&key.account_id).await?;
        let account =
            self.context.store.read().account_fetch(&key.account_id).await?.ok_or(WRONG)?;
        self.api_key_used(key.id).await;
        Ok(Actor {
            account_id: account.id,
            modules: account.modules,
            who: iocast_context::Who::Program,
            session: None,
            caller,
        })
    }

    /// Counts a call. Replicas count together: each takes some of the minute's calls from the
    /// database, and counts those.
    async fn api_call(&self, account: &AccountId) -> AppResult<()> {
        let allowed = self.context.settings.api_calls_per_minute;
        if allowed == 0 {
            return Ok(());
        }
        let now = self.context.clock.real_now().micros();
        let minute = now.div_euclid(MINUTE);
        let throttled = || AppError::Throttled {
            retry_after: u64::try_from(((minute + 1) * MINUTE - now) / SECOND + 1).unwrap_or(60),
        };
        let first = if self.context.store.is_bundled() { allowed } else { 0 };
        if self.api_calls.take(account, minute, first) {
            return Ok(());
        }
        if self.context.store.is_bundled() {
            return Err(throttled());
        }
        let txn = self.context.store.write().await?;
        let left = txn
            .quota_lease(account, &minute_name(minute), (allowed / SHARES).max(1), allowed)
            .await?;
        txn.commit().await?;
        self.api_calls.add(account, minute, left);
        if self.api_calls.take(account, minute, 0) { Ok(()) } else { Err(throttled()) }
    }

    /// Forgets the minutes that were counted.
    pub(crate) async fn api_calls_prune(&self) -> AppResult<()> {
        let minute = self.context.clock.real_now().micros().div_euclid(MINUTE);
        let txn = self.context.store.write().await?;
        txn.quota_prune(MINUTE_PREFIX, &minute_name(minute - 1)).await?;
        Ok(txn.commit().await?)
    }

    /// Writes down now and then that a key is in use. That it can't be written is no reason to
    /// refuse.
    async fn api_key_used(&self, key: KeyId) {
        let now = self.context.now();
        let due = {
            let mut used = self.api_used.0.lock().unwrap_or_else(PoisonError::into_inner);
            let due = used.get(&key).is_none_or(|at| now.since(*at) >= USED_EVERY);
            if due {
                used.insert(key, now);
            }
            due
        };
        if due {
            let written = async {
                let txn = self.context.store.write().await?;
                txn.keys_used([(key, now)]).await?;
                Ok::<_, AppError>(txn.commit().await?)
            };
            if let Err(error) = written.await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "That an API key was used could not be written"
                );
            }
        }
    }
}
