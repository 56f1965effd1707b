//! A list is fetched, compared with what it held before, and taken.

use std::sync::Arc;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::Enrichment,
    subscription::{Coverage, FetchOutcome, Subscription, retry_after},
    time::{MINUTE, Timestamp},
};
use iocast_fetch::Failure;
use iocast_formats::read::Options;
use iocast_store::Fetch;

use super::{
    Ledger, Loss,
    download::{Came, name_of},
};
use crate::{Actor, AppError, AppResult, ImportReport, ImportRequest, Intake, Mode, Trust};

/// Lists that are fetched at once.
pub(crate) const AT_ONCE: usize = 4;
/// For how long (real time) nobody else fetches a list that somebody fetches, in microseconds.
const CLAIM: i64 = 30 * MINUTE;

/// What came of a fetch.
struct Fetched {
    outcome: FetchOutcome,
    came: Option<Came>,
    report: ImportReport,
    listed: u64,
    gone: u64,
}

impl Intake {
    /// Fetches lists that are due, some at a time; those that take long hold up nobody.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn subscriptions_tick(self: &Arc<Self>) -> AppResult<()> {
        let free = self.fetching.available_permits() as u64;
        if free == 0 || self.context.is_closing() {
            return Ok(());
        }
        let (now, real_now) = (self.context.now(), self.context.clock.real_now());
        let due = self.context.store.read().subscriptions_due(now, real_now, free).await?;
        for (account, of) in due {
            let Ok(permit) = Arc::clone(&self.fetching).try_acquire_owned() else { break };
            let intake = Arc::clone(self);
            self.context.in_background(async move {
                let source = of.source_id;
                if let Err(error) = intake.fetch_one(&account, of, Loss::Refuse).await {
                    tracing::warn!(source.id = %source, error = &error as &dyn std::error::Error, "The fetch for source {source} could not be written down; it is tried again");
                }
                drop(permit);
            });
        }
        Ok(())
    }

    /// Fetches a list and takes it. Gives nothing if somebody else is at it.
    pub(super) async fn fetch_one(
        self: &Arc<Self>,
        account: &AccountId,
        of: Subscription,
        loss: Loss,
    ) -> AppResult<Option<Fetch>> {
        let source = of.source_id;
        let real_now = self.context.clock.real_now();
        let txn = self.context.store.write().await?;
        if !txn.subscription_claim(source, real_now, real_now.plus(CLAIM)).await? {
            return Ok(None);
        }
        // As it is now that nobody else changes it.
        let of = txn.subscription_fetch(source).await?;
        txn.commit().await?;
        let Some(of) = of else { return Ok(None) };
        let fetched = self.fetch_and_take(account, &of, loss).await;
        let settled = self.settle(account, of, fetched).await;
        if settled.is_err() {
            let txn = self.context.store.write().await?;
            txn.subscription_release(source).await?;
            txn.commit().await?;
        }
        settled.map(Some)
    }

    async fn fetch_and_take(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
        loss: Loss,
    ) -> Result<Fetched, Failure> {
        let unchanged = |came| Fetched {
            outcome: FetchOutcome::Unchanged,
            came,
            report: ImportReport::default(),
            listed: of.progress.listed,
            gone: 0,
        };
        let came = self.download(of, true).await?;
        let known = of.progress.sha256.as_deref();
        let actor = Actor::subscription(account.clone());
        let came = match came {
            Some(came) if known != Some(came.sha256.as_str()) => came,
            same => {
                // What was missing may be gone for good by now.
                let gone = self.remove_missing(account, of).await.map_err(of_app)?;
                return Ok(Fetched { gone, ..unchanged(same) });
            }
        };
        let read = self.context.store.read();
        let before = read.subscription_ledger(of.source_id).await.map_err(|e| of_app(e.into()))?;
        let ledger = Arc::new(Ledger::read(&before, loss));
        drop(before);
        let request = request(of, &came, Mode::Take, Some(Arc::clone(&ledger)));
        let report = self.take(&actor, of.source_id, request).await.map_err(of_app)?;
        let listed = ledger.listed().listed;
        let gone = self.keep_list(account, of, &ledger).await.map_err(of_app)?;
        let some = report.accepted + report.updated + gone > 0;
        let outcome = if some { FetchOutcome::Taken } else { FetchOutcome::Unchanged };
        Ok(Fetched { outcome, came: Some(came), report, listed, gone })
    }

    async fn take(
        self: &Arc<Self>,
        actor: &Actor,
        source: SourceId,
        request: ImportRequest,
    ) -> AppResult<ImportReport> {
        let source = self.source_fetch(actor, source).await?;
        // One after the other: each takes all cores.
        let _alone = self.reading.lock().await;
        let begun = self.import_begin_in(actor, source, &request).await?;
        self.import_run(actor, begun, request, &|_| {}, None).await
    }

    /// Writes down what the list holds now, and removes what is gone for long enough. Gives how
    /// many IOCs it removed.
    async fn keep_list(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
        ledger: &Ledger,
    ) -> AppResult<u64> {
        let (source, now, listed) = (of.source_id, self.context.now(), ledger.listed());
        let bytes = listed.bytes();
        let txn = self.context.store.write().await?;
        txn.subscription_ledger_put(source, &bytes).await?;
        if of.coverage == Coverage::Full {
            let missing = txn.subscription_missing(source, now).await?;
            let back: Vec<IocId> = missing.into_iter().filter(|id| listed.holds(*id)).collect();
            txn.subscription_missing_forget(source, &back).await?;
            txn.subscription_missing_put(source, &listed.gone, now).await?;
        }
        txn.commit().await?;
        self.remove_missing(account, of).await
    }

    /// Removes what a full list has not held for the time of grace.
    async fn remove_missing(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
    ) -> AppResult<u64> {
        if of.coverage != Coverage::Full {
            return Ok(0);
        }
        let source = of.source_id;
        let since = self.context.now().plus(-of.grace);
        let due = self.context.store.read().subscription_missing(source, since).await?;
        let done = self.reports_remove(account, source, &due).await?;
        if !done.is_empty() {
            let txn = self.context.store.write().await?;
            txn.subscription_missing_forget(source, &done).await?;
            txn.commit().await?;
        }
        Ok(done.len() as u64)
    }

    /// Says what taking a list would do.
    pub(super) async fn fetch_dry(
        self: &Arc<Self>,
        actor: &Actor,
        of: Subscription,
    ) -> AppResult<ImportReport> {
        let came = self
            .download(&of, false)
            .await
            .map_err(|failure| AppError::Conflict { code: "fetch_failed", detail: failure.why })?;
        let Some(came) = came else { return Ok(ImportReport::default()) };
        let request = request(&of, &came, Mode::DryRun, None);
        self.import(actor, of.source_id, request, &|_| {}).await
    }

    /// Writes down what came of a fetch, and when the next one is due.
    async fn settle(
        &self,
        account: &AccountId,
        mut of: Subscription,
        fetched: Result<Fetched, Failure>,
    ) -> AppResult<Fetch> {
        let now = self.context.now();
        let chance = self.chance();
        let mut line = Fetch {
            id: self.context.entropy.uuid(),
            source_id: of.source_id,
            at: now,
            outcome: FetchOutcome::Failed,
            status: None,
            bytes: 0,
            listed: of.progress.listed,
            added: 0,
            changed: 0,
            gone: 0,
            refused: 0,
            import_id: None,
            error: None,
        };
        let txn = self.context.store.write().await?;
        txn.account_lock(account).await?;
        // A person may have changed it, or ended it, since it was fetched.
        let current = txn.subscription_fetch(of.source_id).await?;
        let before = of.clone();
        match fetched {
            Ok(fetched) => succeeded(&mut of, &mut line, fetched, now, chance),
            Err(failure) => failed(&mut of, &mut line, failure, now, chance),
        }
        txn.fetch_insert(&line).await?;
        if let Some(mut current) = current.filter(|now| now.fetches_the_same(&before)) {
            let is_changed =
                Subscription { progress: before.progress.clone(), ..current.clone() } != before;
            current.progress = of.progress;
            if is_changed {
                // It is fetched once more, as it is to be fetched now.
                current.progress.next_at = now;
            }
            txn.subscription_put(account, &current).await?;
        }
        txn.subscription_release(of.source_id).await?;
        txn.commit().await?;
        Ok(line)
    }

    /// From 0 to 1.
    fn chance(&self) -> f64 {
        let mut byte = [0];
        self.context.entropy.fill(&mut byte);
        f64::from(byte[0]) / 255.0
    }
}

fn succeeded(
    of: &mut Subscription,
    line: &mut Fetch,
    fetched: Fetched,
    now: Timestamp,
    chance: f64,
) {
    let Fetched { outcome, came, report, listed, gone } = fetched;
    line.outcome = outcome;
    line.status = Some(if came.is_some() { 200 } else { 304 });
    line.listed = listed;
    line.gone = gone;
    line.added = report.accepted;
    line.changed = report.updated;
    line.refused = report.rejected_count;
    line.import_id = report.id;
    of.progress.next_at = of.after_success(now, chance);
    let progress = &mut of.progress;
    progress.tried_at = Some(now);
    progress.ok_at = Some(now);
    progress.failures = 0;
    progress.error = None;
    progress.listed = listed;
    if outcome == FetchOutcome::Taken || progress.changed_at.is_none() {
        progress.changed_at = Some(now);
    }
    if let Some(came) = came {
        line.bytes = came.bytes;
        progress.etag = came.etag;
        progress.last_modified = came.last_modified;
        progress.sha256 = Some(came.sha256);
    }
}

fn failed(of: &mut Subscription, line: &mut Fetch, failure: Failure, now: Timestamp, chance: f64) {
    let Failure { status, retry_after: asked, why } = failure;
    line.status = status;
    line.error = Some(why.clone());
    let asked = asked.and_then(|text| retry_after(&text, now));
    of.progress.next_at = of.after_failure(now, asked, chance);
    let progress = &mut of.progress;
    progress.tried_at = Some(now);
    progress.failures = progress.failures.saturating_add(1);
    progress.error = Some(why);
}

pub(super) fn plain(why: impl Into<String>) -> Failure {
    Failure { status: None, retry_after: None, why: why.into() }
}

/// What went wrong on our side, or with what the list holds.
fn of_app(error: AppError) -> Failure {
    match error {
        AppError::Internal(error) => {
            tracing::error!(error = &*error as &dyn std::error::Error, "A fetch failed");
            plain("Something went wrong on our side. Nothing was taken; it is tried again.")
        }
        other => Failure { status: Some(200), ..plain(other.to_string()) },
    }
}

fn request(
    of: &Subscription,
    came: &Came,
    mode: Mode,
    ledger: Option<Arc<Ledger>>,
) -> ImportRequest {
    ImportRequest {
        path: came.spooled.0.clone(),
        file_name: Some(name_of(&of.url)),
        stated: came.stated,
        options: Options::default(),
        also: Enrichment::default(),
        trust: Trust::Feed,
        mode,
        ledger,
    }
}

impl Intake {
    /// Fetches that a server was at which is not running any more are free again, on the bundled
    /// database: no other server is at one. On PostgreSQL they lapse.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn subscriptions_release(&self) -> AppResult<()> {
        if self.context.store.is_bundled() {
            let txn = self.context.store.write().await?;
            txn.subscriptions_release_all().await?;
            txn.commit().await?;
        }
        Ok(())
    }
}
