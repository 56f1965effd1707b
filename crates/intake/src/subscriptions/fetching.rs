//! A list is fetched, compared with what it held before, and taken.

use std::sync::Arc;

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    ioc::Enrichment,
    subscription::{Coverage, FetchOutcome, Protocol, Subscription},
    time::{DAY, HOUR, Timestamp},
};
use iocast_fetch::Failure;
use iocast_formats::read::Options;
use iocast_store::{Fetch, Section, Txn};

use super::{
    Ledger, Loss,
    file::name_of,
    ledger::{Kept, LedgerOptions},
    outcome::{failed, remember, succeeded},
    upstream::{Came, file_name},
};
use crate::{Actor, AppError, AppResult, ImportReport, ImportRequest, Intake, Mode, Trust};

/// Lists that are fetched at once.
pub(crate) const AT_ONCE: usize = 4;
/// After so much silence (half of the shortest lifetime) all that a list holds is taken again, in
/// microseconds.
const RENEWED: i64 = 7 * DAY;
/// Links of a source that are read at once.
const LINKS: u64 = 10_000;
/// For how long (real time) nobody else fetches a list that somebody fetches, in microseconds.
const CLAIM: i64 = HOUR;

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
        let until = real_now.plus(CLAIM);
        let txn = self.context.store.write().await?;
        if !txn.subscription_claim(source, real_now, until).await? {
            return Ok(None);
        }
        // As it is now that nobody else changes it.
        let of = txn.subscription_fetch(source).await?;
        txn.commit().await?;
        let Some(of) = of else { return Ok(None) };
        let fetched = self.fetch_and_take(account, &of, loss).await;
        let settled = self.settle(account, of, fetched, until).await;
        if settled.is_err() {
            let txn = self.context.store.write().await?;
            txn.subscription_release(source, until).await?;
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
        let unchanged = |came, gone| Fetched {
            outcome: FetchOutcome::Unchanged,
            came,
            report: ImportReport::default(),
            listed: of.progress.listed,
            gone,
        };
        // After a long silence, IOCs that the list still holds may be retired: all are taken again.
        let now = self.context.now();
        let renew = of.progress.ok_at.is_none_or(|at| at.plus(RENEWED) < now);
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

    /// What the list held when it was fetched last.
    async fn ledger(
        &self,
        of: &Subscription,
        came: &Came,
        renew: bool,
        loss: Loss,
    ) -> AppResult<Arc<Ledger>> {
        let options = LedgerOptions {
            full: of.coverage == Coverage::Full,
            renew,
            loss,
            stays: came.stays.clone(),
            may_be_empty: of.protocol != Protocol::File,
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

    /// The subscription, if it still fetches the same in the same way. Nobody changes it until the
    /// transaction ends.
    async fn still(
        &self,
        txn: &Txn,
        account: &AccountId,
        of: &Subscription,
    ) -> AppResult<Option<Subscription>> {
        txn.account_lock(account).await?;
        let current = txn.subscription_fetch(of.source_id).await?;
        Ok(current.filter(|now| now.fetches_the_same(of)))
    }

    /// Writes down what the list holds now, and removes what is gone for long enough. Gives how
    /// many IOCs it removed.
    async fn keep_list(
        self: &Arc<Self>,
        account: &AccountId,
        of: &Subscription,
        ledger: &Ledger,
        came: &Came,
    ) -> AppResult<u64> {
        let (source, now, listed) = (of.source_id, self.context.now(), ledger.listed());
        let is_full = of.coverage == Coverage::Full;
        // Once all of it is known for the first time.
        let is_new = of.progress.sha256.is_none() && came.sha256.is_some();
        let unknown = if is_full && (is_new || ledger.is_first()) && !came.more {
            self.not_listed(source, ledger).await?
        } else {
            Vec::new()
        };
        let txn = self.context.store.write().await?;
        let Some(mut current) = self.still(&txn, account, of).await? else { return Ok(0) };
        if of.protocol == Protocol::MispFeed {
            let section = |(name, version): &(String, String)| Section {
                name: name.clone(),
                version: version.clone(),
                data: listed.section_bytes(&file_name(name)),
            };
            if ledger.is_renewed() {
                txn.subscription_sections_forget(source, None).await?;
            }
            txn.subscription_sections_forget(source, Some(&came.gone)).await?;
            txn.subscription_sections_put(source, came.versions.iter().map(section).collect())
                .await?;
        } else {
            match ledger.kept() {
                Kept::Same => {}
                Kept::All(bytes) => txn.subscription_ledger_put(source, &bytes).await?,
                Kept::Changes(bytes) => txn.subscription_ledger_add(source, &bytes).await?,
            }
        }
        if is_full {
            let missing = txn.subscription_missing(source, now).await?;
            let back: Vec<IocId> = missing.into_iter().filter(|id| listed.holds(*id)).collect();
            txn.subscription_missing_forget(source, &back).await?;
            txn.subscription_missing_put(source, &listed.gone, now).await?;
            txn.subscription_missing_put(source, &unknown, now).await?;
        }
        // With what it holds: after a kill in between, an older body would look unchanged.
        remember(&mut current, came, listed.listed);
        txn.subscription_put(account, &current).await?;
        txn.commit().await?;
        self.remove_missing(account, of).await
    }

    /// What a source reports and its list does not hold, where it is not known what the list held
    /// before.
    async fn not_listed(&self, source: SourceId, ledger: &Ledger) -> AppResult<Vec<IocId>> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let ids = self.context.store.read().source_ioc_ids(source, after, LINKS).await?;
            let Some(last) = ids.last() else { return Ok(found) };
            after = Some(*last);
            found.extend(ids.into_iter().map(IocId).filter(|id| !ledger.listed().holds(*id)));
        }
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
        let txn = self.context.store.write().await?;
        let still = self.still(&txn, account, of).await?;
        txn.commit().await?;
        if still.is_none() {
            return Ok(0);
        }
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
    Failure { status: None, retry_after: None, why: why.into() }
}

/// What went wrong on our side, or with what the list holds.
fn of_app(error: AppError) -> Failure {
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
        also: Enrichment { system_tags, ..Enrichment::default() },
        trust: Trust::Feed,
        mode,
        ledger: Some(Arc::clone(ledger)),
    })
}
