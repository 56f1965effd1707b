//! The people of an account: invited, changed, given a new password by message.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use iocast_domain::message::{Content, is_webhook};
use iocast_domain::{
    account::{Account, Role, User, parse_address},
    id::{DeviceId, UserId},
    time::{DAY, HOUR},
    watch::check_silent_after,
};
use iocast_store::Page;

use crate::{Accounts, Actor, AppError, AppResult, Fields, taken};

mod passwords;

/// How long an invitation holds, in microseconds of real time.
const INVITED: i64 = 7 * DAY;
/// What may be changed of a person.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// New role.
    pub role: Option<Role>,
    /// Disable or enable.
    pub active: Option<bool>,
    /// Messages about silent devices and full groups.
    pub mail_alerts: Option<bool>,
}

impl Accounts {
    /// Changes the account's threshold (`Some(None)` goes back to 48 hours) and webhook
    /// (`Some(None)` takes it away).
    ///
    /// # Errors
    /// If a field breaks a rule.
    pub async fn account_update(
        &self,
        actor: &Actor,
        silent_after_hours: Option<Option<i64>>,
        webhook_url: Option<Option<String>>,
    ) -> AppResult<Account> {
        actor.may_write()?;
        if webhook_url.as_ref().and_then(Option::as_deref).is_some_and(|url| !is_webhook(url)) {
            let message = "Give an http or https URL of at most 250 characters, without credentials or a fragment.";
            return Err(AppError::field("webhook_url", "webhook_url_invalid", message));
        }
        let silent_after = silent_after_hours
            .map(|hours| hours.map(check_silent_after).transpose())
            .transpose()?;
        if silent_after.is_some() || webhook_url.is_some() {
            let txn = self.context.store.write().await?;
            // Nobody changes it between reading and writing.
            txn.account_lock(&actor.account_id).await?;
            let before =
                txn.account_fetch(&actor.account_id).await?.ok_or(AppError::NotFound("account"))?;
            let after = Account {
                silent_after: silent_after.unwrap_or(before.silent_after),
                webhook_url: webhook_url.unwrap_or_else(|| before.webhook_url.clone()),
                ..before.clone()
            };
            txn.account_set_alerts(
                &actor.account_id,
                after.silent_after,
                after.webhook_url.clone(),
            )
            .await?;
            if after.silent_after != before.silent_after {
                let mut page = Page { limit: 1_000, after: None };
                loop {
                    let open = txn.outage_list(&actor.account_id, None, Some(true), &page).await?;
                    let devices: Vec<DeviceId> =
                        open.items.iter().map(|row| row.outage.device_id).collect();
                    self.outages_allowed(&txn, &after, &devices).await?;
                    page.after = open.next;
                    if page.after.is_none() {
                        break;
                    }
                }
            }
            let shown = |of: &Account| serde_json::json!({ "silent_after_hours": of.silent_after.map(|m| m / HOUR), "webhook_url": of.webhook_url });
            let detail = serde_json::json!({ "before": shown(&before), "after": shown(&after) });
            self.context.audit(&txn, actor, "account.update", &actor.account_id, &detail).await?;
            txn.commit().await?;
        }
        self.account_fetch(actor).await
    }

    /// The secret by which a webhook knows us, in base64 as its specification wants it.
    ///
    /// # Errors
    /// For everybody but an administrator.
    pub fn webhook_secret(&self, actor: &Actor, url: &str) -> AppResult<String> {
        actor.may_write()?;
        Ok(format!(
            "whsec_{}",
            STANDARD.encode(self.context.secrets.webhook_key(actor.account_id.as_str(), url))
        ))
    }

    /// How many people get messages about silent devices; with none, no message is sent.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn alerted_people(&self, actor: &Actor) -> AppResult<usize> {
        Ok(self.user_list(actor).await?.iter().filter(|u| u.gets_alerts()).count())
    }

    /// The people of the account, by age.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn user_list(&self, actor: &Actor) -> AppResult<Vec<User>> {
        Ok(self.context.store.read().user_list(&actor.account_id).await?)
    }

    /// Adds a person without a password, and writes where to choose one.
    ///
    /// # Errors
    /// If the address is none, or there already; if mail is off, as nobody could ever choose a
    /// password.
    pub async fn user_invite(
        self: &Arc<Self>,
        actor: &Actor,
        email: &str,
        role: Role,
    ) -> AppResult<User> {
        actor.may_give_access()?;
        if self.messages.are_off() {
            return Err(AppError::Conflict {
                code: "mail_off",
                detail:
                    "Mail is switched off, so no invitation can be sent; see the setting `mail`."
                        .to_owned(),
            });
        }
        let mut fields = Fields::default();
        let email = fields.take(parse_address(email));
        fields.done()?;
        let Some(email) = email else { return Err(AppError::Invalid(Vec::new())) };
        let user = User {
            id: UserId::random(&*self.context.entropy),
            account_id: actor.account_id.clone(),
            email,
            role,
            active: true,
            mail_alerts: true,
        };
        // No password has this hash.
        let nothing = format!("invited:{}", self.context.entropy.uuid());
        let txn = self.context.store.write().await?;
        txn.user_insert(&user, nothing.clone(), self.context.now())
            .await
            .map_err(|e| taken(e, "email", "a person"))?;
        let account =
            txn.account_fetch(&actor.account_id).await?.ok_or(AppError::NotFound("account"))?;
        let (link, until) = self.password_link(&user, &nothing, INVITED)?;
        let content = Content::Invitation { invited_by: actor.name().to_owned(), link, until };
        self.messages.tell_person(&txn, &account, &user, &content).await?;
        self.context
            .audit(
                &txn,
                actor,
                "user.invite",
                &user.id,
                &serde_json::json!({ "email": user.email, "role": role }),
            )
            .await?;
        self.context.idempotency_effect(&txn, actor, &user.id).await?;
        txn.commit().await?;
        self.messages.wake();
        Ok(user)
    }

    /// Changes a person. With another role, or disabled, the person is signed out.
    ///
    /// # Errors
    /// If the person is not there, or it would leave the account without an active administrator.
    pub async fn user_update(
        &self,
        actor: &Actor,
        id: UserId,
        patch: UserPatch,
    ) -> AppResult<User> {
        actor.may_give_access()?;
        let txn = self.context.store.write().await?;
        // The account's row is locked: two administrators can't disable each other at once.
        txn.account_lock(&actor.account_id).await?;
        let people = txn.user_list(&actor.account_id).await?;
        let before =
            people.iter().find(|u| u.id == id).cloned().ok_or(AppError::NotFound("person"))?;
        let after = User {
            role: patch.role.unwrap_or(before.role),
            active: patch.active.unwrap_or(before.active),
            mail_alerts: patch.mail_alerts.unwrap_or(before.mail_alerts),
            ..before.clone()
        };
        let rules = |u: &User| u.active && u.role == Role::Admin;
        if !rules(&after) && !people.iter().any(|u| u.id != id && rules(u)) {
            let detail = "This is the account's last active administrator; make another one first."
                .to_owned();
            return Err(AppError::Conflict { code: "last_admin", detail });
        }
        txn.user_update(&after).await?;
        if (before.role, before.active) != (after.role, after.active) {
            // A session that goes on has the new role.
            txn.session_delete_all(id).await?;
        }
        let shown = |u: &User| serde_json::json!({ "role": u.role, "active": u.active, "mail_alerts": u.mail_alerts });
        let detail = serde_json::json!({ "email": after.email, "before": shown(&before), "after": shown(&after) });
        self.context.audit(&txn, actor, "user.update", &id, &detail).await?;
        txn.commit().await?;
        Ok(after)
    }
}
