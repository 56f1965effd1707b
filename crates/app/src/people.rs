//! The people of an account: invited, changed, given a new password by letter.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use iocast_domain::{
    account::{Account, Role, User, check_password, parse_address},
    id::{DeviceId, UserId},
    letter::LetterKind,
    problem::FieldError,
    time::{DAY, HOUR, Timestamp, clip},
    watch::check_silent_after,
};
use iocast_mail::{Content, is_webhook};
use iocast_store::{Page, Txn};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Actor, App, AppError, AppResult, Caller,
    error::{Fields, taken},
    sessions::{account_subject, network},
};

/// How long an invitation holds, in microseconds of real time.
const INVITED: i64 = 7 * DAY;
/// How long the link for a new password holds.
const FORGOTTEN: i64 = HOUR;
/// Links for a new password that one person is sent before it gets slow.
const RESETS: u32 = 3;
const AUDIENCE: &str = "iocast-password";
const NO_TOKEN: AppError = AppError::Unauthenticated(
    "This link was already used, has expired, or is incomplete. Request a new e-mail.",
);

/// What may be changed of a person.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// New role.
    pub role: Option<Role>,
    /// Disable or enable.
    pub active: Option<bool>,
    /// Letters about silent devices and full groups.
    pub mail_alerts: Option<bool>,
}

/// What a link in a letter carries. It names the password that it replaces: once that is another,
/// the link is dead.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: Uuid,
    exp: i64,
    old: String,
}

fn fingerprint(password_hash: &str) -> String {
    blake3::hash(password_hash.as_bytes()).to_hex().chars().take(32).collect()
}

impl App {
    /// Where letters go, in words.
    #[must_use]
    pub fn mail_goes_to(&self) -> String {
        self.post.describe()
    }

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
            let txn = self.store.write().await?;
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
            self.audit(&txn, actor, "account.update", &actor.account_id, &detail).await?;
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
            STANDARD.encode(self.secrets.webhook_key(actor.account_id.as_str(), url))
        ))
    }

    /// How many people get letters about silent devices; with none, nobody is told.
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
        Ok(self.store.read().user_list(&actor.account_id).await?)
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
        actor.may_write()?;
        if self.post.is_off() {
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
            id: UserId::random(&*self.entropy),
            account_id: actor.account_id.clone(),
            email,
            role,
            active: true,
            mail_alerts: true,
        };
        // No password has this hash.
        let nothing = format!("invited:{}", self.entropy.uuid());
        let txn = self.store.write().await?;
        txn.user_insert(&user, nothing.clone(), self.now())
            .await
            .map_err(|e| taken(e, "email", "a person"))?;
        let account =
            txn.account_fetch(&actor.account_id).await?.ok_or(AppError::NotFound("account"))?;
        let (link, until) = self.password_link(&user, &nothing, INVITED)?;
        let content = Content::Invitation { invited_by: actor.name().to_owned(), link, until };
        self.letter_to(&txn, &account, LetterKind::Invitation, &user, &content).await?;
        self.audit(
            &txn,
            actor,
            "user.invite",
            &user.id,
            &serde_json::json!({ "email": user.email, "role": role }),
        )
        .await?;
        self.idempotency_effect(&txn, actor, &user.id).await?;
        txn.commit().await?;
        self.letters_wait();
        Ok(user)
    }

    async fn letter_to(
        &self,
        txn: &Txn,
        account: &Account,
        kind: LetterKind,
        user: &User,
        content: &Content,
    ) -> AppResult<()> {
        let letter = self.letter(account, kind, &user.email, content)?;
        txn.letter_insert(&letter).await?;
        Ok(())
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
        actor.may_write()?;
        let txn = self.store.write().await?;
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
        self.audit(&txn, actor, "user.update", &id, &detail).await?;
        txn.commit().await?;
        Ok(after)
    }

    /// Writes everybody of this address a letter by which to choose a new password. Gives nothing
    /// away.
    ///
    /// # Errors
    /// If asked too often from one address.
    pub async fn password_forgotten(
        self: &Arc<Self>,
        email: &str,
        caller: &Caller,
    ) -> AppResult<()> {
        self.count_try(&format!("forgotten:{}", network(&caller.address))).await?;
        let Ok(email) = parse_address(email) else { return Ok(()) };
        if self.post.is_off() {
            return Ok(());
        }
        // Nobody learns by the time it takes whether there is such a person.
        let (app, caller) = (Arc::clone(self), caller.clone());
        self.in_background(async move {
            if let Err(error) = app.password_links(&email, &caller).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "A password reset could not be written"
                );
            }
        });
        Ok(())
    }

    /// Writes everybody of this address where to choose a new password, unless that was done
    /// several times lately.
    async fn password_links(&self, email: &str, caller: &Caller) -> AppResult<()> {
        if matches!(
            self.count_try_of(&format!("reset:{}", clip(email, 200)), RESETS).await,
            Err(AppError::Throttled { .. })
        ) {
            tracing::info!(client.address = %caller.address, "A password reset was not sent: the person got several lately");
            return Ok(());
        }
        for (user, hash) in
            self.store.read().user_by_email(email).await?.into_iter().filter(|(u, _)| u.active)
        {
            let txn = self.store.write().await?;
            let Some(account) = txn.account_fetch(&user.account_id).await? else { continue };
            let (link, until) = self.password_link(&user, &hash, FORGOTTEN)?;
            self.letter_to(
                &txn,
                &account,
                LetterKind::PasswordReset,
                &user,
                &Content::PasswordReset { link, until },
            )
            .await?;
            let who = Actor::anybody(user.account_id.clone(), caller.clone());
            self.audit(
                &txn,
                &who,
                "user.password_forgotten",
                &user.id,
                &serde_json::json!({ "email": user.email }),
            )
            .await?;
            txn.commit().await?;
        }
        self.letters_wait();
        Ok(())
    }

    /// A link that holds for `span` of real time; what it says of its end is in the product's time.
    fn password_link(&self, user: &User, old: &str, span: i64) -> AppResult<(String, Timestamp)> {
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: user.id.0,
            exp: self.clock.real_now().plus(span).secs(),
            old: fingerprint(old),
        };
        let key = EncodingKey::from_secret(self.secrets.signing_key());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            .map_err(AppError::internal)?;
        Ok((format!("{}/password#{token}", self.settings.public_url), self.now().plus(span)))
    }

    /// Gives the actor a new password, and ends all of his or her sessions.
    ///
    /// # Errors
    /// If the present password is not right, or the new one breaks a rule.
    pub async fn password_change(
        self: &Arc<Self>,
        actor: &Actor,
        present: &str,
        new: &str,
    ) -> AppResult<()> {
        let user = actor.user().ok_or(AppError::NotFound("person"))?;
        self.count_try(&format!("change:{}", user.id)).await?;
        let (_, hash) = self
            .store
            .read()
            .user_with_password(user.id)
            .await?
            .ok_or(AppError::NotFound("person"))?;
        if self
            .right_person(vec![(user.clone(), hash.clone())], present.to_owned())
            .await?
            .is_none()
        {
            return Err(AppError::field(
                "present",
                "password_wrong",
                "This is not your present password.",
            ));
        }
        check_password(new, &user.email)
            .map_err(|error| FieldError { field: "new".to_owned(), ..error })?;
        let new_hash = self.hash_password(new.to_owned()).await?;
        let txn = self.store.write().await?;
        // What was proven may not be true any more: somebody may have given the person another
        // password since.
        txn.user_lock(user.id).await?;
        let still = txn
            .user_with_password(user.id)
            .await?
            .is_some_and(|(now, present)| now.active && present == hash);
        if !still {
            return Err(AppError::field(
                "present",
                "password_wrong",
                "This is not your present password.",
            ));
        }
        txn.user_set_password(user.id, new_hash).await?;
        txn.attempt_put(&format!("change:{}", user.id), None).await?;
        self.audit(&txn, actor, "user.password_changed", &user.id, &()).await?;
        Ok(txn.commit().await?)
    }

    /// Gives a person the password that he or she chose by means of a letter, and ends the
    /// sessions.
    ///
    /// # Errors
    /// If the token is not ours, too old, or was used; if the password breaks a rule; if tried too
    /// often from one address.
    pub async fn password_choose(
        self: &Arc<Self>,
        token: &str,
        password: String,
        caller: &Caller,
    ) -> AppResult<()> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.set_audience(&[AUDIENCE]);
        let key = DecodingKey::from_secret(self.secrets.signing_key());
        let claims = jsonwebtoken::decode::<Claims>(token.trim(), &key, &validation)
            .map_err(|_invalid| NO_TOKEN)?
            .claims;
        if claims.exp <= self.clock.real_now().secs() {
            return Err(NO_TOKEN);
        }
        let holds = |old: &str| fingerprint(old) == claims.old;
        // Before the costly hash: a link that was used costs nothing.
        let (user, _) = self
            .store
            .read()
            .user_with_password(UserId(claims.sub))
            .await?
            .filter(|(u, old)| u.active && holds(old))
            .ok_or(NO_TOKEN)?;
        check_password(&password, &user.email)?;
        self.count_try(&format!("choose:{}", network(&caller.address))).await?;
        let hash = self.hash_password(password).await?;
        let txn = self.store.write().await?;
        // Locked: the same link twice at once gives one password.
        txn.user_lock(user.id).await?;
        let (user, _) = txn
            .user_with_password(UserId(claims.sub))
            .await?
            .filter(|(u, old)| u.active && holds(old))
            .ok_or(NO_TOKEN)?;
        txn.user_set_password(user.id, hash).await?;
        txn.attempt_put(&account_subject(&user.email), None).await?;
        let who = Actor::person(user.clone(), Caller::default());
        self.audit(
            &txn,
            &who,
            "user.password_chosen",
            &user.id,
            &serde_json::json!({ "email": user.email }),
        )
        .await?;
        Ok(txn.commit().await?)
    }
}
