//! Accounts, made by the operator.

use std::{fmt, sync::Arc};

use iocast_domain::{
    account::{Account, Modules, Role, User, check_password, parse_account_name, parse_address},
    guard::Guards,
    id::{AccountId, UserId},
    key::KeyKind,
};
use serde::Serialize;

use crate::{Accounts, Actor, AppError, AppResult, Fields, random_hex, taken};

/// A new account and everything that is needed to use it; the secrets are shown this once.
#[derive(Clone, Serialize)]
pub struct NewAccount {
    /// 24 hexadecimal digits.
    pub account_id: String,
    /// The first administrator's password.
    pub admin_password: String,
    /// 128 hexadecimal digits.
    pub api_key: String,
    /// The password of every device.
    pub appliance_key: String,
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewAccount(…)")
    }
}

impl Accounts {
    /// Makes an account with its first administrator. Without a password one is generated.
    ///
    /// # Errors
    /// If a name is not valid or the account is there already.
    pub async fn account_create(
        self: &Arc<Self>,
        name: &str,
        admin: &str,
        password: Option<String>,
    ) -> AppResult<NewAccount> {
        let mut fields = Fields::default();
        let name = fields.take(parse_account_name(name));
        let email = fields.take(parse_address(admin));
        let admin_password = password.unwrap_or_else(|| random_hex(&*self.context.entropy, 12));
        fields.take(check_password(&admin_password, admin));
        fields.done()?;
        let (Some(name), Some(email)) = (name, email) else {
            return Err(AppError::Invalid(Vec::new()));
        };
        let hash = self.hash_password(admin_password.clone()).await?;
        let now = self.context.now();
        let account = Account {
            id: AccountId::random(&*self.context.entropy),
            name,
            modules: Modules::ALL,
            silent_after: None,
            webhook_url: None,
            guards: Guards::default(),
            guards_version: 0,
            created_at: now,
        };
        let user = User {
            id: UserId::random(&*self.context.entropy),
            account_id: account.id.clone(),
            email,
            role: Role::Admin,
            active: true,
            mail_alerts: true,
        };
        let actor = Actor::operator(account.id.clone());
        let txn = self.context.store.write().await?;
        txn.account_insert(&account).await.map_err(|e| taken(e, "account", "an account"))?;
        txn.user_insert(&user, hash, now).await?;
        let (_, api_key) = self.key_write(&txn, &actor, KeyKind::Api, None).await?;
        let (_, appliance_key) = self.key_write(&txn, &actor, KeyKind::Appliance, None).await?;
        self.context
            .audit(
                &txn,
                &actor,
                "account.create",
                &account.id,
                &serde_json::json!({ "name": account.name, "admin": user.email }),
            )
            .await?;
        txn.commit().await?;
        self.tables.follow_keys().await?;
        Ok(NewAccount {
            account_id: account.id.to_string(),
            admin_password,
            api_key,
            appliance_key,
        })
    }

    /// All accounts, for the operator.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn account_list(&self) -> AppResult<Vec<Account>> {
        Ok(self.context.store.read().account_list().await?)
    }

    /// The actor's account.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn account_fetch(&self, actor: &Actor) -> AppResult<Account> {
        self.context
            .store
            .read()
            .account_fetch(&actor.account_id)
            .await?
            .ok_or(AppError::NotFound("account"))
    }

    /// Switches modules of an account on or off. Its devices are served either way: taking
    /// protection off them is nobody's wish. Gives what the account has now.
    ///
    /// # Errors
    /// If the account is not there.
    pub async fn account_switch(
        &self,
        operator: &Actor,
        automation: Option<bool>,
        tip: Option<bool>,
    ) -> AppResult<Modules> {
        let txn = self.context.store.write().await?;
        let before = txn
            .account_fetch(&operator.account_id)
            .await?
            .ok_or(AppError::NotFound("account"))?
            .modules;
        let after = Modules {
            automation: automation.unwrap_or(before.automation),
            tip: tip.unwrap_or(before.tip),
        };
        txn.account_set_modules(&operator.account_id, after).await?;
        let shown = |m: Modules| serde_json::json!({ "automation": m.automation, "tip": m.tip });
        self.context
            .audit(
                &txn,
                operator,
                "account.modules",
                &operator.account_id,
                &serde_json::json!({ "before": shown(before), "after": shown(after) }),
            )
            .await?;
        txn.commit().await?;
        Ok(after)
    }

    /// Gives everybody of this address (in one account, if one is named) a new password and ends
    /// their sessions. Gives the password and how many people it was.
    ///
    /// # Errors
    /// If there is nobody of this address.
    pub async fn password_reset(
        self: &Arc<Self>,
        email: &str,
        account: Option<&str>,
        password: Option<String>,
    ) -> AppResult<(String, usize)> {
        let email = parse_address(email)?;
        let password = password.unwrap_or_else(|| random_hex(&*self.context.entropy, 12));
        check_password(&password, &email)?;
        let hash = self.hash_password(password.clone()).await?;
        let wanted = |user: &User| account.is_none_or(|a| a == user.account_id.as_str());
        let people: Vec<User> = self
            .context
            .store
            .read()
            .user_by_email(&email)
            .await?
            .into_iter()
            .map(|(u, _)| u)
            .filter(wanted)
            .collect();
        if people.is_empty() {
            return Err(AppError::NotFound(
                "person; check the address, and the account ID if one is given",
            ));
        }
        let txn = self.context.store.write().await?;
        for user in &people {
            txn.user_set_password(user.id, hash.clone()).await?;
            txn.attempt_put(&format!("person:{email}"), None).await?;
            self.context
                .audit(
                    &txn,
                    &Actor::operator(user.account_id.clone()),
                    "user.password_reset",
                    &user.id,
                    &serde_json::json!({ "email": user.email }),
                )
                .await?;
        }
        txn.commit().await?;
        Ok((password, people.len()))
    }
}
