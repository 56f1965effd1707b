//! Passwords: links by which to choose one, and changing it.

use std::sync::Arc;

use iocast_domain::message::Content;
use iocast_domain::{
    account::{User, check_password, parse_address},
    id::UserId,
    problem::FieldError,
    time::{HOUR, Timestamp, clip},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Accounts, Actor, AppError, AppResult, Caller,
    sessions::{account_subject, network},
};

/// How long the link for a new password holds.
const FORGOTTEN: i64 = HOUR;

/// Links for a new password that one person is sent before it gets slow.
const RESETS: u32 = 3;

const AUDIENCE: &str = "iocast-password";

const NO_TOKEN: AppError = AppError::Unauthenticated(
    "This link was already used, has expired, or is incomplete. Request a new e-mail.",
);

/// What a link in a message carries. It names the password that it replaces: once that is another,
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

impl Accounts {
    /// Writes everybody of this address a message by which to choose a new password. Gives nothing
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
        if self.messages.are_off() {
            return Ok(());
        }
        // Nobody learns by the time it takes whether there is such a person.
        let (app, caller) = (Arc::clone(self), caller.clone());
        self.context.in_background(async move {
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
        for (user, hash) in self
            .context
            .store
            .read()
            .user_by_email(email)
            .await?
            .into_iter()
            .filter(|(u, _)| u.active)
        {
            let txn = self.context.store.write().await?;
            let Some(account) = txn.account_fetch(&user.account_id).await? else { continue };
            let (link, until) = self.password_link(&user, &hash, FORGOTTEN)?;
            let content = Content::PasswordReset { link, until };
            self.messages.tell_person(&txn, &account, &user, &content).await?;
            let who = Actor::anybody(user.account_id.clone(), caller.clone());
            self.context
                .audit(
                    &txn,
                    &who,
                    "user.password_forgotten",
                    &user.id,
                    &serde_json::json!({ "email": user.email }),
                )
                .await?;
            txn.commit().await?;
        }
        self.messages.wake();
        Ok(())
    }

    /// A link that holds for `span` of real time; what it says of its end is in the product's time.
    pub(super) fn password_link(
        &self,
        user: &User,
        old: &str,
        span: i64,
    ) -> AppResult<(String, Timestamp)> {
        let claims = Claims {
            aud: AUDIENCE.to_owned(),
            sub: user.id.0,
            exp: self.context.clock.real_now().plus(span).secs(),
            old: fingerprint(old),
        };
        let key = EncodingKey::from_secret(self.context.secrets.signing_key());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            .map_err(AppError::internal)?;
        Ok((
            format!("{}/password#{token}", self.context.settings.public_url),
            self.context.now().plus(span),
        ))
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
            .context
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
        let txn = self.context.store.write().await?;
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
        self.context.audit(&txn, actor, "user.password_changed", &user.id, &()).await?;
        Ok(txn.commit().await?)
    }

    /// Gives a person the password that he or she chose by means of a message, and ends the
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
        let key = DecodingKey::from_secret(self.context.secrets.signing_key());
        let claims = jsonwebtoken::decode::<Claims>(token.trim(), &key, &validation)
            .map_err(|_invalid| NO_TOKEN)?
            .claims;
        if claims.exp <= self.context.clock.real_now().secs() {
            return Err(NO_TOKEN);
        }
        let holds = |old: &str| fingerprint(old) == claims.old;
        // Before the costly hash: a link that was used costs nothing.
        let (user, _) = self
            .context
            .store
            .read()
            .user_with_password(UserId(claims.sub))
            .await?
            .filter(|(u, old)| u.active && holds(old))
            .ok_or(NO_TOKEN)?;
        check_password(&password, &user.email)?;
        self.count_try(&format!("choose:{}", network(&caller.address))).await?;
        let hash = self.hash_password(password).await?;
        let txn = self.context.store.write().await?;
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
        self.context
            .audit(
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
