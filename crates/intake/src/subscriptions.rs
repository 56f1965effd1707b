//! Subscriptions: sources that fetch their lists by themselves.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    id::SourceId,
    problem::FieldError,
    subscription::{
        Access, Coverage, FetchProgress, Freshness, Subscription, checked_every, checked_grace,
    },
    time::Timestamp,
};
use iocast_formats::read::Input;
use iocast_store::{Fetch, Page, PageOf};

use crate::{Actor, AppError, AppResult, Fields, ImportReport, Intake};

mod download;
mod fetching;
mod gone;
mod ledger;
mod outcome;

use self::ledger::LedgerOptions;
pub use self::ledger::{Ledger, Loss};
pub(crate) use self::{fetching::AT_ONCE, ledger::fact};

/// Longest address, in characters.
const URL_MAX: usize = 2_000;
/// Longest name or secret, in characters.
const ACCESS_MAX: usize = 2_000;
/// Headers that iocast sets itself.
const OWN_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "accept-encoding",
    "if-none-match",
    "if-modified-since",
    "user-agent",
];

/// What a subscription is to be.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// What is fetched.
    pub url: String,
    /// Its form, where a person chose one.
    pub form: Option<String>,
    /// How often, in microseconds.
    pub every: i64,
    /// What it says of what it does not hold any more.
    pub coverage: Coverage,
    /// For how long what is gone from a full list stays, in microseconds.
    pub grace: i64,
    /// How a fetch says who it is.
    pub access: Access,
    /// The user's name, or that of the header or parameter.
    pub access_name: Option<String>,
    /// The password, token or key; none keeps the stored one.
    pub secret: Option<String>,
    /// Whether it rests.
    pub paused: bool,
}

/// A subscription, and how fresh it is.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// The subscription. Its secret is left out.
    pub subscription: Subscription,
    /// Whether it has a secret.
    pub has_secret: bool,
    /// How fresh it is.
    pub freshness: Freshness,
}

impl SubscriptionView {
    fn of(mut subscription: Subscription, now: Timestamp) -> Self {
        let has_secret = !std::mem::take(&mut subscription.secret).is_empty();
        let freshness = subscription.freshness(now);
        Self { subscription, has_secret, freshness }
    }
}

/// For what the secret of a source's subscription is sealed.
fn purpose(source: SourceId) -> String {
    format!("subscription {source}")
}

impl Intake {
    /// What the list of a source held when it was fetched last.
    pub(crate) async fn ledger_of(&self, source: SourceId) -> AppResult<Ledger> {
        let bytes = self.context.store.read().subscription_ledger(source).await?;
        Ok(Ledger::read(&bytes, LedgerOptions::default()))
    }

    /// The subscription of a source.
    ///
    /// # Errors
    /// If there is no such source, or it has none.
    pub async fn subscription_fetch(
        &self,
        actor: &Actor,
        source: SourceId,
    ) -> AppResult<SubscriptionView> {
        self.source_fetch(actor, source).await?;
        let found = self.context.store.read().subscription_fetch(source).await?;
        let found = found.ok_or(AppError::NotFound("subscription"))?;
        Ok(SubscriptionView::of(found, self.context.now()))
    }

    /// The subscriptions of the account.
    ///
    /// # Errors
    /// If the actor may not read.
    pub async fn subscription_list(&self, actor: &Actor) -> AppResult<Vec<SubscriptionView>> {
        actor.may_read(Module::Tip)?;
        let found = self.context.store.read().subscription_list(&actor.account_id).await?;
        let now = self.context.now();
        Ok(found.into_iter().map(|of| SubscriptionView::of(of, now)).collect())
    }

    /// Gives a source a subscription, or changes the one that it has. It is fetched at once.
    ///
    /// # Errors
    /// If there is no such source, or a field breaks a rule.
    pub async fn subscription_put(
        &self,
        actor: &Actor,
        source: SourceId,
        new: NewSubscription,
    ) -> AppResult<SubscriptionView> {
        actor.may_change(Module::Tip)?;
        let name = self.source_fetch(actor, source).await?.name;
        let mut fields = Fields::default();
        let url = fields.take(checked_url(&new.url));
        let every = fields.take(checked_every(new.every));
        let grace = fields.take(checked_grace(new.grace));
        let form = fields.take(checked_form(new.form.as_deref()));
        let access_name = fields.take(checked_name(new.access, new.access_name.as_deref()));
        let secret = fields.take(checked_secret(new.secret.as_deref()));
        fields.done()?;
        let missing = || AppError::Invalid(Vec::new());
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let before = txn.subscription_fetch(source).await?;
        // A secret goes to no other server than the one that it was given for.
        let kept = before
            .as_ref()
            .filter(|of| {
                url.as_deref().is_some_and(|url| same_origin(&of.url, url))
                    && of.access == new.access
                    && access_name.as_ref() == Some(&of.access_name)
            })
            .map(|of| of.secret.clone())
            .unwrap_or_default();
        let secret = match (new.access, secret.flatten()) {
            (Access::None, _) => Vec::new(),
            (_, None) => kept,
            (_, Some(plain)) => {
                self.context.secrets.seal(&*self.context.entropy, &purpose(source), &plain)?
            }
        };
        if new.access != Access::None && secret.is_empty() {
            return Err(AppError::field(
                "secret",
                "secret_missing",
                "Give the password, token or key that goes with this access; it is kept only for the same server and the same kind of access.",
            ));
        }
        let mut after = Subscription {
            source_id: source,
            url: url.ok_or_else(missing)?,
            form: form.ok_or_else(missing)?,
            every: every.ok_or_else(missing)?,
            coverage: new.coverage,
            grace: grace.ok_or_else(missing)?,
            access: new.access,
            access_name: access_name.ok_or_else(missing)?,
            secret,
            paused: new.paused,
            progress: before.as_ref().map(|of| of.progress.clone()).unwrap_or_default(),
        };
        let same_list = before.as_ref().is_some_and(|of| of.fetches_the_same(&after));
        if !same_list {
            // Another list: nothing is known of it.
            after.progress = FetchProgress::default();
            txn.subscription_forget_list(source).await?;
        }
        after.progress.next_at = self.context.now();
        after.progress.failures = 0;
        txn.subscription_put(&actor.account_id, &after).await?;
        let action = if before.is_some() { "subscription.update" } else { "subscription.create" };
        let shown = |of: &Subscription| {
            serde_json::json!({
                "url": of.url, "form": of.form, "every": of.every, "coverage": of.coverage,
                "grace": of.grace, "access": of.access, "access_name": of.access_name,
                "paused": of.paused,
            })
        };
        let detail = serde_json::json!({
            "source": name, "before": before.as_ref().map(shown), "after": shown(&after),
            "secret": new.secret.is_some(),
        });
        self.context.audit(&txn, actor, action, &source, &detail).await?;
        txn.commit().await?;
        Ok(SubscriptionView::of(after, self.context.now()))
    }

    /// Ends the subscription of a source. What it brought stays.
    ///
    /// # Errors
    /// If there is no such source, or it has none.
    pub async fn subscription_delete(&self, actor: &Actor, source: SourceId) -> AppResult<()> {
        actor.may_change(Module::Tip)?;
        let name = self.source_fetch(actor, source).await?.name;
        let txn = self.context.store.write().await?;
        if !txn.subscription_delete(source).await? {
            return Err(AppError::NotFound("subscription"));
        }
        let detail = serde_json::json!({ "source": name });
        self.context.audit(&txn, actor, "subscription.delete", &source, &detail).await?;
        Ok(txn.commit().await?)
    }

    /// What the fetches of a source did, latest first.
    ///
    /// # Errors
    /// If there is no such source.
    pub async fn fetch_list(
        &self,
        actor: &Actor,
        source: SourceId,
        page: &Page,
    ) -> AppResult<PageOf<Fetch>> {
        self.source_fetch(actor, source).await?;
        Ok(self.context.store.read().fetch_list(source, page).await?)
    }

    /// Fetches a source now, whenever the next fetch would be due. `loss` says what becomes of a
    /// list that lost more than half. Gives what it did.
    ///
    /// # Errors
    /// If it has no subscription, or somebody fetches it at the moment.
    pub async fn subscription_fetch_now(
        self: &Arc<Self>,
        actor: &Actor,
        source: SourceId,
        loss: Loss,
    ) -> AppResult<Fetch> {
        actor.may_change(Module::Tip)?;
        self.source_fetch(actor, source).await?;
        let found = self.context.store.read().subscription_fetch(source).await?;
        let found = found.ok_or(AppError::NotFound("subscription"))?;
        let (intake, account) = (Arc::clone(self), actor.account_id.clone());
        // It goes on if the line of the client breaks.
        let fetching = self
            .context
            .in_background(async move { intake.fetch_one(&account, found, loss).await });
        fetching.await.map_err(AppError::internal)??.ok_or_else(|| AppError::Conflict {
            code: "being_fetched",
            detail: "This list is being fetched at the moment; look at it again in a minute."
                .to_owned(),
        })
    }

    /// Fetches a list and says what taking it would do. Nothing is written.
    ///
    /// # Errors
    /// If it has no subscription, or the list can't be fetched or read.
    pub async fn subscription_try(
        self: &Arc<Self>,
        actor: &Actor,
        source: SourceId,
    ) -> AppResult<ImportReport> {
        actor.may_change(Module::Tip)?;
        self.source_fetch(actor, source).await?;
        let found = self.context.store.read().subscription_fetch(source).await?;
        let found = found.ok_or(AppError::NotFound("subscription"))?;
        self.fetch_dry(actor, found).await
    }
}

fn same_origin(one: &str, other: &str) -> bool {
    let origin = |text: &str| url::Url::parse(text).map(|url| url.origin()).ok();
    origin(one).is_some_and(|of| origin(other) == Some(of))
}

fn checked_url(url: &str) -> Result<String, FieldError> {
    let url = url.trim();
    let wrong = |why: &str| Err(FieldError::new("url", "url_invalid", why));
    if url.chars().count() > URL_MAX {
        return wrong("Give an address of at most 2,000 characters.");
    }
    let Ok(parsed) = url::Url::parse(url) else {
        return wrong("Give a whole address, such as https://example.com/list.txt.");
    };
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return wrong("Give an address that begins with https:// or http://.");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return wrong("Leave name and password out of the address; give them as access.");
    }
    Ok(parsed.to_string())
}

fn checked_form(form: Option<&str>) -> Result<Option<String>, FieldError> {
    match form {
        None | Some("" | "auto") => Ok(None),
        Some(word) if Input::from_word(word).is_some() => Ok(Some(word.to_owned())),
        Some(_) => Err(FieldError::new(
            "form",
            "form_invalid",
            "form is one of auto, json, table, list, report, html, openioc.",
        )),
    }
}

fn checked_name(access: Access, name: Option<&str>) -> Result<String, FieldError> {
    let name = name.unwrap_or_default().trim();
    let wrong = |why: &str| Err(FieldError::new("access_name", "access_name_invalid", why));
    let is_token = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match access {
        Access::None | Access::Bearer => Ok(String::new()),
        Access::Basic if name.chars().count() > ACCESS_MAX || name.contains(':') => {
            wrong("A user name has no colon.")
        }
        Access::Header if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) => {
            wrong("iocast sets this header itself; give the name of another one.")
        }
        Access::Header if !is_token(name) => {
            wrong("Give the name of the header, such as Auth-Key.")
        }
        Access::Query if !is_token(name) => wrong("Give the name of the parameter, such as key."),
        Access::Basic | Access::Header | Access::Query => Ok(name.to_owned()),
    }
}

fn checked_secret(secret: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(secret) = secret.map(str::trim).filter(|secret| !secret.is_empty()) else {
        return Ok(None);
    };
    if secret.chars().count() > ACCESS_MAX || secret.chars().any(char::is_control) {
        return Err(FieldError::new(
            "secret",
            "secret_invalid",
            "Give a secret of at most 2,000 characters, in one line.",
        ));
    }
    Ok(Some(secret.to_owned()))
}
