//! What a fetch means for its subscription, and for the line that is kept of it.

use iocast_domain::{
    subscription::{FetchOutcome, Subscription, retry_after},
    time::Timestamp,
};
use iocast_fetch::Failure;
use iocast_store::Fetch;

use super::{download::Came, fetching::Fetched};

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
    of.progress.next_at = of.after_success(now, chance);
    let progress = &mut of.progress;
    progress.tried_at = Some(now);
    progress.ok_at = Some(now);
    progress.failures = 0;
    progress.error = None;
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
    progress.sha256 = Some(came.sha256.clone());
    progress.listed = listed;
}

pub(super) fn failed(
    of: &mut Subscription,
    line: &mut Fetch,
    failure: Failure,
    now: Timestamp,
    chance: f64,
) {
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
