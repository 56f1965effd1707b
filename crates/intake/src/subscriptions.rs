//! Subscriptions: sources that fetch their lists by themselves.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    id::SourceId,
    subscription::{
        Access, Coverage, FetchProgress, Freshness, Protocol, Subscription, SubscriptionOptions,
    },
    time::Timestamp,
};
use iocast_store::{Fetch, Page, PageOf};

use crate::{Actor, AppError, AppResult, ImportReport, Intake};

mod bundle;
mod checked;
mod claim;
mod fetching;
mod file;
mod folder;
mod gone;
mod kept_list;
mod ledger;
mod misp_feed;
mod named;
mod outcome;
mod public;
mod taxii;
mod threat_command;
mod upstream;

use self::checked::{Checked, checked, same_origin};
use self::ledger::LedgerOptions;
pub(crate) use self::{fetching::AT_ONCE, ledger::Fact};
pub use self::{
    ledger::{Ledger, Loss},
    public::PublicFeedView,
};

/// What a subscription is to be.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// What is fetched.
    pub protocol: Protocol,
    /// Where it lies.
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
    /// The private key of the certificate that iocast shows, in PEM; none keeps the stored one.
    pub certificate_key: Option<String>,
    /// Whether it rests.
    pub paused: bool,
    /// At which times it is fetched, as by cron, in place of a pause.
    pub cron: Option<String>,
    /// The time zone of those.
    pub time_zone: Option<String>,
    /// What is said of few.
    pub options: SubscriptionOptions,
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
        subscription.tls_key = Vec::new();
        let freshness = subscription.freshness(now);
        Self { subscription, has_secret, freshness }
    }
}

/// A subscription as the audit log shows it.
fn shown(of: &Subscription) -> serde_json::Value {
    serde_json::json!({
        "protocol": of.protocol, "url": of.url, "form": of.form, "every": of.every,
        "coverage": of.coverage, "grace": of.grace, "access": of.access,
        "access_name": of.access_name, "paused": of.paused, "tags": of.options.tags,
        "token_url": of.options.token_url, "tlp_most": of.options.takes.tlp_most,
        "kinds": of.options.takes.kinds,
        "cron": of.options.schedule.as_ref().map(|of| (of.text(), of.zone())),
        "next_field": of.options.next_field, "columns": of.options.columns,
    })
}

/// A subscription that never fetched anything, without its secrets.
fn made(source: SourceId, new: &NewSubscription, checked: Checked) -> Subscription {
    let Checked { url, every, grace, form, access_name, options, .. } = checked;
    Subscription {
        source_id: source,
        protocol: new.protocol,
        url,
        form,
        every,
        coverage: new.coverage,
        grace,
        access: new.access,
        access_name,
        secret: Vec::new(),
        tls_key: Vec::new(),
        paused: new.paused,
        options,
        progress: FetchProgress::default(),
    }
}

/// For what the secret of a source's subscription is sealed.
fn purpose(source: SourceId) -> String {
    format!("subscription {source}")
}

impl Intake {
    /// What the list of a source held when it was fetched last.
    pub(crate) async fn ledger_of(&self, source: SourceId) -> AppResult<Ledger> {
        Ok(Ledger::read(&self.listed_before(source).await?, LedgerOptions::default()))
    }

    /// The same, in the form in which it is kept.
    async fn listed_before(&self, source: SourceId) -> AppResult<Vec<u8>> {
        let read = self.context.store.read();
        let mut bytes = read.subscription_ledger(source).await?;
        for section in read.subscription_sections(source).await? {
            bytes.extend(section.data);
        }
        Ok(bytes)
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

    /// A subscription as it would be kept, without its secrets.
    ///
    /// # Errors
    /// If a field breaks a rule.
    pub fn subscription_checked(&self, new: &NewSubscription) -> AppResult<SubscriptionView> {
        let now = self.context.now();
        let checked = checked(new, now, &self.context.settings.fetch_folders)?;
        Ok(SubscriptionView::of(made(SourceId(uuid::Uuid::nil()), new, checked), now))
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
        let checked = checked(&new, self.context.now(), &self.context.settings.fetch_folders)?;
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let before = txn.subscription_fetch(source).await?;
        let (secret, tls_key) = self.sealed(source, before.as_ref(), &new, &checked)?;
        let progress = before.as_ref().map(|of| of.progress.clone()).unwrap_or_default();
        let mut after = Subscription { secret, tls_key, progress, ..made(source, &new, checked) };
        let same_list = before.as_ref().is_some_and(|of| of.fetches_the_same(&after));
        if !same_list {
            // Another list: nothing is known of it.
            after.progress = after.progress.started_over();
            txn.subscription_forget_list(source).await?;
        } else if before.as_ref().is_some_and(|of| of.options.tags != after.options.tags) {
            // Its IOCs get the new tags at the next fetch.
            after.progress.forget_body();
            txn.subscription_sections_stale(source).await?;
        }
        after.progress.next_at = self.context.now();
        after.progress.failures = 0;
        txn.subscription_put(&actor.account_id, &after).await?;
        let action = if before.is_some() { "subscription.update" } else { "subscription.create" };
        let detail = serde_json::json!({
            "source": name, "before": before.as_ref().map(shown), "after": shown(&after),
            "secret": new.secret.is_some(),
        });
        self.context.audit(&txn, actor, action, &source, &detail).await?;
        txn.commit().await?;
        Ok(SubscriptionView::of(after, self.context.now()))
    }

    /// The secret and the private key as they are kept. A secret goes to no other server than the
    /// one that it was given for.
    fn sealed(
        &self,
        source: SourceId,
        before: Option<&Subscription>,
        new: &NewSubscription,
        checked: &Checked,
    ) -> AppResult<(Vec<u8>, Vec<u8>)> {
        let Checked { url, access_name, secret, key, options, .. } = checked;
        let same_server = before
            .filter(|of| same_origin(&of.url, url) && of.options.token_url == options.token_url);
        let kept = same_server
            .filter(|of| of.access == new.access && of.access_name == *access_name)
            .map(|of| of.secret.clone());
        let secret = match (new.access, secret) {
            (Access::None, _) => Vec::new(),
            (_, None) => kept.unwrap_or_default(),
            (_, Some(plain)) => self.seal(source, plain)?,
        };
        if new.access != Access::None && secret.is_empty() {
            return Err(AppError::field(
                "secret",
                "secret_missing",
                "Give the password, token or key that goes with this access; it is kept only for the same server and the same kind of access.",
            ));
        }
        let tls_key = match (&options.certificate, key) {
            (None, _) => Vec::new(),
            (Some(_), Some(plain)) => self.seal(source, plain)?,
            (Some(_), None) => same_server.map(|of| of.tls_key.clone()).unwrap_or_default(),
        };
        if options.certificate.is_some() && tls_key.is_empty() {
            return Err(AppError::field(
                "certificate_key",
                "secret_missing",
                "Give the private key of the certificate; it is kept only for the same server.",
            ));
        }
        Ok((secret, tls_key))
    }

    /// Whether the subscription of a source has this secret and this private key, where they are
    /// given.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn subscription_has(
        &self,
        source: SourceId,
        secret: Option<&str>,
        key: Option<&str>,
    ) -> AppResult<bool> {
        if secret.is_none() && key.is_none() {
            return Ok(true);
        }
        let found = self.context.store.read().subscription_fetch(source).await?;
        let is = |given: Option<&str>, sealed: &[u8]| {
            given.is_none_or(|given| {
                let kept = self.context.secrets.open(&purpose(source), sealed);
                kept.is_some_and(|kept| kept.trim() == given.trim())
            })
        };
        Ok(found.is_some_and(|of| is(secret, &of.secret) && is(key, &of.tls_key)))
    }

    fn seal(&self, source: SourceId, plain: &str) -> AppResult<Vec<u8>> {
        self.context.secrets.seal(&*self.context.entropy, &purpose(source), plain)
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
            .in_background(async move { intake.fetch_all(&account, found, loss).await });
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
