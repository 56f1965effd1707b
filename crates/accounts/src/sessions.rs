//! Signing in and out.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use iocast_domain::{
    account::{User, check_password},
    id::{SessionId, UserId},
    key::KeyKind,
    time::{DAY, HOUR, MINUTE, Timestamp},
};
use iocast_store::SessionRow;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use crate::{Accounts, Actor, AppError, AppResult, Caller};

mod throttle;
use self::throttle::forgiven;
pub(crate) use self::throttle::{account_subject, network};

mod browser;

/// How long the session of a program lasts, in microseconds.
const BEARER: i64 = HOUR;
/// How long the session of a browser lasts that nobody uses,
const IDLE: i64 = 12 * HOUR;
/// and one that is used.
const ABSOLUTE: i64 = 7 * DAY;
/// How often it is written that a session is used.
const RENEW: i64 = 5 * MINUTE;
/// How long a sign-in waits for its turn at the password hash.
const PATIENCE: Duration = Duration::from_secs(5);
/// Checked when there is no such person, so that the answer takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$9WwbLMVkLvpbXSOHSDbGhKQhJWOnTbQRuVGEMXJJVSo";
const WRONG: AppError = AppError::Unauthenticated("The e-mail address or the password is wrong.");

/// What signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A program, with the token as Bearer.
    Program,
    /// A browser, with the token in a cookie.
    Browser,
}

/// A fresh session.
pub struct SignedIn {
    /// The token: for the cookie, or as Bearer.
    pub token: String,
    /// When it ends, real time.
    pub expires_at: Timestamp,
    /// Who signed in.
    pub user: User,
    /// What this browser shows at the next sign-in, to be known by.
    pub known_browser: String,
    /// What is wrong with the password, by the rules for new ones.
    pub weak_password: Option<String>,
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedIn(…)")
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    iat: i64,
    exp: i64,
    /// Of a browser's session: its row says when it ends unless it is used.
    #[serde(default)]
    browser: bool,
}

impl Accounts {
    /// Signs a person in.
    ///
    /// # Errors
    /// The same for an unknown address and a wrong password; throttled after too many failures.
    pub async fn sign_in(
        self: &Arc<Self>,
        email: &str,
        password: &str,
        account: Option<&str>,
        caller: &Caller,
        kind: SessionKind,
    ) -> AppResult<SignedIn> {
        let email = email.trim().to_lowercase();
        let now = self.context.clock.real_now();
        let email = email.replace('\0', " ");
        let subjects = self.sign_in_subjects(&email, caller);
        let mut candidates = self.context.store.read().user_by_email(&email).await?;
        candidates.retain(|(user, _)| account.is_none_or(|a| a == user.account_id.as_str()));
        self.count_sign_in(&subjects, caller).await?;
        let hashes: HashMap<UserId, String> =
            candidates.iter().map(|(user, hash)| (user.id, hash.clone())).collect();
        let people: Vec<User> = candidates.iter().map(|(user, _)| user.clone()).collect();
        let Some(user) = self.right_person(candidates, password.to_owned()).await? else {
            tracing::info!(client.address = %caller.address, people = people.len(), "A sign-in was refused");
            self.sign_in_refused(people, caller).await?;
            return Err(WRONG);
        };
        let txn = self.context.store.write().await?;
        // Changed or disabled while the hash was made: what was proven is not true any more.
        txn.user_lock(user.id).await?;
        let still = txn
            .user_with_password(user.id)
            .await?
            .is_some_and(|(now, hash)| now.active && hashes.get(&user.id) == Some(&hash));
        if !still {
            return Err(WRONG);
        }
        for (subject, allowed) in &subjects {
            txn.attempt_lock(subject).await?;
            let attempt = txn.attempt_fetch(subject).await?;
            txn.attempt_put(subject, forgiven(attempt, subject, *allowed)).await?;
        }
        let id = SessionId::random(&*self.context.entropy);
        let (expires_at, idle_until) = match kind {
            SessionKind::Program => (now.plus(BEARER), now.plus(BEARER)),
            SessionKind::Browser => (now.plus(ABSOLUTE), now.plus(IDLE)),
        };
        txn.session_insert(id, &user, now, idle_until).await?;
        let actor = Actor { session: Some(id), ..Actor::person(user.clone(), caller.clone()) };
        self.context.audit(&txn, &actor, "session.create", &id, &()).await?;
        txn.commit().await?;
        let token = self.token(&Claims {
            iss: "iocast".to_owned(),
            aud: "iocast".to_owned(),
            sub: user.id.0,
            sid: id.0,
            iat: now.secs(),
            exp: expires_at.secs(),
            browser: kind == SessionKind::Browser,
        })?;
        let known_browser = self.known_browser(&user.email);
        let weak_password = check_password(password, &user.email).err().map(|error| error.message);
        Ok(SignedIn { token, expires_at, user, known_browser, weak_password })
    }

    fn token(&self, claims: &Claims) -> AppResult<String> {
        let key = EncodingKey::from_secret(self.context.secrets.signing_key());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
            .map_err(AppError::internal)
    }

    /// Writes down that somebody tried to sign in as these people.
    async fn sign_in_refused(&self, people: Vec<User>, caller: &Caller) -> AppResult<()> {
        let txn = self.context.store.write().await?;
        for user in people {
            let actor = Actor::anybody(user.account_id.clone(), caller.clone());
            self.context
                .audit(
                    &txn,
                    &actor,
                    "session.refused",
                    &user.id,
                    &serde_json::json!({ "email": user.email, "active": user.active }),
                )
                .await?;
        }
        Ok(txn.commit().await?)
    }

    /// The person whose password this is; all of an address's accounts are tried, few at a time.
    pub(crate) async fn right_person(
        self: &Arc<Self>,
        candidates: Vec<(User, String)>,
        password: String,
    ) -> AppResult<Option<User>> {
        let _turn = self.password_turn().await?;
        let found = tokio::task::spawn_blocking(move || {
            // As long for everybody: those who are unknown, disabled, or have no password yet, are
            // measured against nobody's.
            let takes =
                |hash: &str| Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
            if candidates.is_empty() {
                takes(NOBODY);
            }
            let right = |user: &User, hash: &str| {
                let has_password = hash.starts_with("$argon2");
                takes(if has_password { hash } else { NOBODY }) && has_password && user.active
            };
            candidates
                .into_iter()
                .filter(|(user, hash)| right(user, hash))
                .map(|(user, _)| user)
                .collect::<Vec<_>>()
        });
        let mut found = found.await.map_err(AppError::internal)?;
        if found.len() > 1 {
            let accounts: Vec<String> = found.iter().map(|u| u.account_id.to_string()).collect();
            return Err(AppError::field(
                "account_id",
                "account_ambiguous",
                format!(
                    "This address and password belong to several accounts; say which in account_id: {}.",
                    accounts.join(", ")
                ),
            ));
        }
        Ok(found.pop())
    }

    /// Tells those apart who show a key where a session's token is asked for: each key opens
    /// something else.
    ///
    /// # Errors
    /// What the key opens.
    pub fn is_no_key(&self, token: &str) -> AppResult<()> {
        let Some(key) = self.tables.key(&self.context.secrets.hash(token)) else { return Ok(()) };
        Err(AppError::Unauthenticated(match key.kind {
            KeyKind::Api => {
                "This is an API key. It opens the Threat Command REST API below /public, with the account ID as user; this API takes the token of a session (POST /api/v1/sessions)."
            }
            KeyKind::Appliance | KeyKind::Device => {
                "This is a device's key. It opens group URLs, with the account ID as user; this API takes the token of a session (POST /api/v1/sessions)."
            }
        }))
    }

    /// The actor behind a token.
    ///
    /// # Errors
    /// If the token is not ours, has ended, or its session was ended.
    pub async fn authenticate(&self, token: &str, caller: Caller) -> AppResult<Actor> {
        const ENDED: AppError = AppError::Unauthenticated("The session has ended; sign in again.");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        validation.set_issuer(&["iocast"]);
        validation.set_audience(&["iocast"]);
        let claims = jsonwebtoken::decode::<Claims>(
            token,
            &DecodingKey::from_secret(self.context.secrets.signing_key()),
            &validation,
        )
        .map_err(|_invalid| ENDED)?
        .claims;
        let now = self.context.clock.real_now();
        if claims.exp <= now.secs() || claims.iat > now.secs() + 5 {
            return Err(ENDED);
        }
        let session = SessionId(claims.sid);
        let user = self
            .context
            .store
            .read()
            .session_user(session, now)
            .await?
            .filter(|u| u.active && u.id == UserId(claims.sub))
            .ok_or(ENDED)?;
        let account =
            self.context.store.read().account_fetch(&user.account_id).await?.ok_or(ENDED)?;
        Ok(Actor {
            modules: account.modules,
            session: Some(session),
            ..Actor::person(user, caller)
        })
    }

    /// Notes that a person uses the session of the actor: it lasts on, up to its end.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn session_used(&self, actor: &Actor) -> AppResult<()> {
        let (Some(id), now) = (actor.session, self.context.clock.real_now()) else { return Ok(()) };
        let Some(row) = self.context.store.read().session_fetch(id).await? else { return Ok(()) };
        let until = now.plus(IDLE).min(row.created_at.plus(ABSOLUTE));
        // Of a program's session the end is fixed; and not every request writes.
        let of_browser = row.expires_at.since(row.created_at) > BEARER;
        if of_browser && until.since(row.expires_at) >= RENEW {
            let txn = self.context.store.write().await?;
            txn.session_extend(id, until).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Whether anybody has signed in since this installation began.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn anybody_signed_in(&self) -> AppResult<bool> {
        Ok(self.context.store.read().audit_any("session.create").await?)
    }

    /// The actor's sessions, newest first.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn session_list(&self, actor: &Actor) -> AppResult<Vec<SessionRow>> {
        let Some(user) = actor.user() else { return Ok(Vec::new()) };
        Ok(self.context.store.read().session_list(user.id, self.context.clock.real_now()).await?)
    }

    /// Ends another session of the actor.
    ///
    /// # Errors
    /// If it is not the actor's, or has ended.
    pub async fn session_end(&self, actor: &Actor, id: SessionId) -> AppResult<()> {
        let mine = self.session_list(actor).await?;
        mine.iter().find(|s| s.id == id).ok_or(AppError::NotFound("session"))?;
        let txn = self.context.store.write().await?;
        txn.session_delete(id).await?;
        self.context.audit(&txn, actor, "session.end", &id, &()).await?;
        Ok(txn.commit().await?)
    }

    /// Ends the actor's session.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn sign_out(&self, actor: &Actor) -> AppResult<()> {
        if let Some(session) = actor.session {
            let txn = self.context.store.write().await?;
            txn.session_delete(session).await?;
            self.context.audit(&txn, actor, "session.end", &session, &()).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// A turn at the password hash, which takes a core and 19 MiB: few have one at a time.
    async fn password_turn(&self) -> AppResult<SemaphorePermit<'_>> {
        let busy = || {
            AppError::Unavailable(
                "Too many people are signing in at once; try again in a few seconds.".to_owned(),
            )
        };
        tokio::time::timeout(PATIENCE, self.passwords.acquire())
            .await
            .map_err(|_elapsed| busy())?
            .map_err(|_closed| busy())
    }

    /// The hash of a new password.
    pub(crate) async fn hash_password(&self, password: String) -> AppResult<String> {
        let _turn = self.password_turn().await?;
        let mut salt = [0_u8; 16];
        self.context.entropy.fill(&mut salt);
        let hash = tokio::task::spawn_blocking(move || {
            Argon2::default()
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map(|h| h.to_string())
        });
        hash.await
            .map_err(AppError::internal)?
            .map_err(|e| AppError::Internal(e.to_string().into()))
    }
}

#[cfg(test)]
mod tests;
