//! What a fetch means for its subscription, and for the line that is kept of it.

use iocast_domain::{id::AccountId, message::FailingSource};
use iocast_domain::{
    subscription::{FetchOutcome, Subscription, retry_after},
    time::Timestamp,
};
use iocast_fetch::Failure;
use iocast_store::{Fetch, Txn};

use super::{fetching::Fetched, upstream::Came};
use crate::{AppResult, GroupNews, Intake};

pub(super) fn succeeded(
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
    let more = came.as_ref().is_some_and(|came| came.more);
    of.progress.next_at = if more { now } else { of.after_success(now, chance) };
    let progress = &mut of.progress;
    progress.tried_at = Some(now);
    progress.ok_at = Some(now);
    progress.failures = 0;
    progress.error = came.as_ref().and_then(|came| came.missing.clone());
    line.error.clone_from(&progress.error);
    if outcome == FetchOutcome::Taken || progress.changed_at.is_none() {
        progress.changed_at = Some(now);
    }
    if let Some(came) = came {
        line.bytes = came.bytes;
        remember(of, &came, listed);
    }
}

/// Which body the list held last.
pub(super) fn remember(of: &mut Subscription, came: &Came, listed: u64) {
    let progress = &mut of.progress;
    progress.etag.clone_from(&came.etag);
    progress.last_modified.clone_from(&came.last_modified);
    progress.sha256.clone_from(&came.sha256);
    progress.cursor.clone_from(&came.cursor);
    progress.listed = listed;
}

pub(super) fn failed(
    of: &mut Subscription,
    line: &mut Fetch,
    failure: Failure,
    now: Timestamp,
    chance: f64,
) {
    let Failure { status, retry_after: asked, why, cut: _ } = failure;
    line.status = status;
    line.error = Some(why.clone());
    let asked = asked.and_then(|text| retry_after(&text, now));
    of.progress.next_at = of.after_failure(now, asked, chance);
    let progress = &mut of.progress;
    progress.tried_at = Some(now);
    progress.failing_since = progress.failing_since.or(Some(now));
    progress.failures = progress.failures.saturating_add(1);
    progress.error = Some(why);
}

impl Intake {
    /// Writes to people once when a source could not fetch for long, and once when it can again.
    pub(super) async fn tell_of_outage(
        &self,
        txn: &Txn,
        account: &AccountId,
        of: &mut Subscription,
    ) -> AppResult<()> {
        let now = self.context.now();
        let is_back = of.progress.failures == 0;
        let since = of.progress.failing_since;
        if is_back {
            of.progress.failing_since = None;
        }
        let Some(since) = since.filter(|_| is_back == of.progress.is_told) else { return Ok(()) };
        if !is_back && !of.is_out(now) {
            return Ok(());
        }
        let (Some(account), Some(source)) =
            (txn.account_fetch(account).await?, txn.source_fetch(account, of.source_id).await?)
        else {
            return Ok(());
        };
        of.progress.is_told = !is_back;
        let news = FailingSource {
            source: source.name.to_string(),
            address: without_query(&of.url),
            since,
            until: is_back.then_some(now),
            error: of.progress.error.clone().unwrap_or_default(),
            listed: of.progress.listed,
            link: format!(
                "{}/tip/sources/{}/subscription",
                self.context.settings.public_url, of.source_id
            ),
        };
        let subject = format!("source:{}:{}:{is_back}", of.source_id, since.micros());
        let news =
            if is_back { GroupNews::SourceRecovered(news) } else { GroupNews::SourceFailing(news) };
        self.messages.tell(txn, &account, &news, &subject).await
    }

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

/// An address without its parameters, which may be a key.
fn without_query(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| String::new(),
        |mut url| {
            url.set_query(None);
            url.to_string()
        },
    )
}
