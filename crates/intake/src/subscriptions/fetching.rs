//! A list is fetched, compared with what it held before, and taken.

use std::sync::Arc;

use iocast_domain::{
    id::{AccountId, SourceId},
    ioc::Enrichment,
    subscription::{Coverage, FetchOutcome, Protocol, Subscription},
    time::{DAY, Timestamp},
};
use iocast_fetch::Failure;
use iocast_formats::read::Options;
use iocast_store::Fetch;

use super::{
    Ledger, Loss,
    file::name_of,
    ledger::LedgerOptions,
    outcome::{failed, succeeded},
    upstream::Came,
};
use crate::{Actor, AppError, AppResult, ImportReport, ImportRequest, Intake, Mode, Trust};

/// Lists that are fetched at once.
pub(crate) const AT_ONCE: usize = 4;
/// After so much silence (half of the shortest lifetime of a kind) all that a list holds is taken
/// again, in microseconds.
const RENEWED: i64 = 7 * DAY;
/// Parts that follow the first one, where a person fetches.
const PARTS: usize = 200;

/// What came of a fetch.
pub(super) struct Fetched {
    pub(super) outcome: FetchOutcome,
    pub(super) came: Option<Came>,
    pub(super) report: ImportReport,
    pub(super) listed: u64,
    pub(super) gone: u64,
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
        for due in self.due(free).await? {
            let Ok(permit) = Arc::clone(&self.fetching).try_acquire_owned() else { break };
            let intake = Arc::clone(self);
            self.context.in_background(async move {
                let mut next = Some(due);
                // Where many are due, each is followed by another one at once.
                while let Some((account, of)) = next.take() {
                    let source = of.source_id;
                    match intake.fetch_one(&account, of, Loss::Refuse).await {
                        Ok(_) if intake.context.is_closing() => {}
                        Ok(_) => next = intake.due(1).await.ok().and_then(|mut due| due.pop()),
                        Err(error) => {
                            tracing::warn!(source.id = %source, error = &error as &dyn std::error::Error, "The fetch for source {source} could not be written down; it is tried again");
                        }
                    }
                }
                drop(permit);
            });
        }
        Ok(())
    }

    /// Some subscriptions that are due and that nobody fetches.
    async fn due(&self, count: u64) -> AppResult<Vec<(AccountId, Subscription)>> {
        let now = self.context.now();
        let real_now = self.context.store.shared_now(self.context.clock.real_now()).await?;
        Ok(self.context.store.read().subscriptions_due(now, real_now, count).await?)
    }

    /// Fetches a list and takes it. Gives nothing if somebody else is at it.
    pub(super) async fn fetch_one(
        self: &Arc<Self>,
        account: &AccountId,
        of: Subscription,
        loss: Loss,
    ) -> AppResult<Option<Fetch>> {
        let source = of.source_id;
        let Some((of, mut claim)) = self.claim(source).await? else { return Ok(None) };
        let fetched = tokio::select! {
            fetched = self.fetch_and_take(account, &of, loss) => fetched,
            // Another process is at it: it says what came of that.
            lost = claim.keep(self) => return lost.map(|()| None),
        };
        let settled = self.settle(account, of, fetched, claim.until).await;
        if settled.is_err() {
            let txn = self.context.store.write().await?;
            txn.subscription_release(source, claim.until).await?;
            txn.commit().await?;
        }
        settled.map(Some)
    }

    /// The same, until all of it came; a source that is paused would get the first part only.
    pub(super) async fn fetch_all(
        self: &Arc<Self>,
        account: &AccountId,
        of: Subscription,
        loss: Loss,
    ) -> AppResult<Option<Fetch>> {
        let source = of.source_id;
        let Some(mut all) = self.fetch_one(account, of, loss).await? else { return Ok(None) };
        for _ in 0..PARTS {
            let found = self.context.store.read().subscription_fetch(source).await?;
            let is_part = |of: &Subscription| {
                of.protocol != Protocol::File
                    && of.progress.sha256.is_none()
                    && of.progress.error.is_none()
            };
            let Some(rest) = found.filter(is_part) else { break };
            let Some(done) = self.fetch_one(account, rest, loss).await? else { break };
            let Fetch { added, changed, gone, refused, bytes, .. } = all;
            all = Fetch {
                added: added + done.added,
                changed: changed + done.changed,
                gone: gone + done.gone,
                refused: refused + done.refused,
                bytes: bytes + done.bytes,
                ..done
            };
            if all.outcome == FetchOutcome::Failed {
                break;
            }
        }
        Ok(Some(all))
    }

    async fn fetch_and_take(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
        loss: Loss,
    ) -> Result<Fetched, Failure> {
        let unchanged = |came, gone| Fetched {
            outcome: FetchOutcome::Unchanged,
            came,
            report: ImportReport::default(),
            listed: of.progress.listed,
            gone,
        };
        // After a long silence, IOCs that the list still holds may be retired: all are taken again.
        let now = self.context.now();
        let renewed = self.renewed_after(account, of.source_id).await.map_err(of_app)?;
        let renew = of.progress.ok_at.is_none_or(|at| at.plus(renewed) < now);
        let Some(came) = self.download(of, renew).await? else {
            // What was missing may be gone for good by now.
            let gone = self.remove_missing(account, of).await.map_err(of_app)?;
            return Ok(unchanged(None, gone));
        };
        // One after the other: each takes all cores.
        let alone = self.reading.lock().await;
        let ledger = self.ledger(of, &came, renew, loss).await.map_err(of_app)?;
        let mut report = match request(of, &came, Mode::Take, &ledger) {
            Some(request) => self.take(account, of.source_id, request).await.map_err(of_app)?,
            None => {
                ledger.check().map_err(of_app)?;
                ImportReport::default()
            }
        };
        let listed = ledger.listed().listed;
        let gone = self.keep_list(account, of, &ledger, &came).await.map_err(of_app)?;
        drop(alone);
        if report.accepted + report.updated + report.unchanged == 0 {
            // Nothing was taken: the fetch is written down, and no import.
            self.import_forget(report.id.take()).await.map_err(of_app)?;
        }
        let some = report.accepted + report.updated + gone > 0;
        let outcome = if some { FetchOutcome::Taken } else { FetchOutcome::Unchanged };
        Ok(Fetched { outcome, came: Some(came), report, listed, gone })
    }

    /// After how much silence all that a list holds is taken again: half of its shortest lifetime.
    async fn renewed_after(&self, account: &AccountId, source: SourceId) -> AppResult<i64> {
        let source = self.context.store.read().source_fetch(account, source).await?;
        let shortest = source.and_then(|source| source.limits.shortest());
        Ok(shortest.map_or(RENEWED, |days| RENEWED.min(i64::from(days) * DAY / 2)))
    }

    /// What the list held when it was fetched last.
    async fn ledger(
        &self,
        of: &Subscription,
        came: &Came,
        renew: bool,
        loss: Loss,
    ) -> AppResult<Arc<Ledger>> {
        let is_files = matches!(of.protocol, Protocol::File | Protocol::Folder);
        let options = LedgerOptions {
            full: of.coverage == Coverage::Full,
            renew: renew || came.renews,
            loss,
            stays: came.stays.clone(),
            may_be_empty: !is_files,
            by_objects: of.protocol == Protocol::Taxii,
            revokes: !is_files,
            is_folder: of.protocol == Protocol::Folder,
            takes: Some(of.options.takes.clone())
                .filter(|takes| !takes.all())
                .map(|takes| (takes, self.context.now())),
        };
        Ok(Arc::new(Ledger::read(&self.listed_before(of.source_id).await?, options)))
    }

    async fn take(
        self: &Arc<Self>,
        account: &AccountId,
        source: SourceId,
        request: ImportRequest,
    ) -> AppResult<ImportReport> {
        let actor = Actor::subscription(account.clone());
        let source = self.source_fetch(&actor, source).await?;
        let begun = self.import_begin_in(&actor, source, &request).await?;
        self.import_run(&actor, begun, request, &|_| {}, None).await
    }

    /// Says what taking a list would do.
    pub(super) async fn fetch_dry(
        self: &Arc<Self>,
        actor: &Actor,
        of: Subscription,
    ) -> AppResult<ImportReport> {
        let came = self
            .download(&of, true)
            .await
            .map_err(|failure| AppError::Conflict { code: "fetch_failed", detail: failure.why })?;
        let Some(came) = came else { return Ok(ImportReport::default()) };
        let ledger = self.ledger(&of, &came, false, Loss::Refuse).await?;
        let Some(request) = request(&of, &came, Mode::DryRun, &ledger) else {
            return Ok(ImportReport::default());
        };
        self.import(actor, of.source_id, request, &|_| {}).await
    }

    /// Writes down what came of a fetch, and when the next one is due.
    async fn settle(
        &self,
        account: &AccountId,
        mut of: Subscription,
        fetched: Result<Fetched, Failure>,
        until: Timestamp,
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
        self.tell_of_outage(&txn, account, &mut of).await?;
        txn.fetch_insert(&line).await?;
        let is_same = |now: &Subscription| {
            let body = |progress| now.progress.same_body(progress);
            now.fetches_the_same(&before) && (body(&before.progress) || body(&of.progress))
        };
        if let Some(mut current) = current.filter(is_same) {
            let is_changed =
                Subscription { progress: before.progress.clone(), ..current.clone() } != before;
            current.progress = of.progress;
            if is_changed {
                // It is fetched once more, as it is to be fetched now.
                current.progress.next_at = now;
            }
            txn.subscription_put(account, &current).await?;
        }
        txn.subscription_release(of.source_id, until).await?;
        txn.commit().await?;
        self.messages.wake();
        Ok(line)
    }

    /// From 0 to 1.
    fn chance(&self) -> f64 {
        let mut byte = [0];
        self.context.entropy.fill(&mut byte);
        f64::from(byte[0]) / 255.0
    }
}

pub(super) fn plain(why: impl Into<String>) -> Failure {
    Failure { status: None, retry_after: None, why: why.into(), cut: None }
}

/// What went wrong on our side, or with what the list holds.
pub(super) fn of_app(error: AppError) -> Failure {
    match error {
        AppError::Internal(error) => {
            tracing::error!(error = &*error as &dyn std::error::Error, "A fetch failed");
            plain("Something went wrong on our side; it is tried again.")
        }
        other => Failure { status: Some(200), ..plain(other.to_string()) },
    }
}

/// How what came is imported; nothing where nothing came.
fn request(
    of: &Subscription,
    came: &Came,
    mode: Mode,
    ledger: &Arc<Ledger>,
) -> Option<ImportRequest> {
    let system_tags = of.options.tags.clone();
    Some(ImportRequest {
        path: came.spooled.as_ref()?.0.clone(),
        file_name: Some(name_of(&of.url)),
        stated: came.stated,
        options: Options::default(),
        columns: of.options.columns.as_ref().and_then(|text| text.parse().ok()).map(Arc::new),
        also: Enrichment { system_tags, ..Enrichment::default() },
        trust: Trust::Feed,
        mode,
        ledger: Some(Arc::clone(ledger)),
    })
}
