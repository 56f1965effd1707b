//! Publications: the queue of groups with something to publish, who joins, stays and leaves, the
//! files that changed, and one transaction for the result.
//!
//! `publisher` decides who publishes when; `job` makes one publication. A publication that was
//! made is handed to [`iocast_context::Tables`].

use std::sync::Arc;

use iocast_context::{
    AppError, AppResult, Context, GroupNews, Made, Messages, Tables, etag_of, misp_event,
};
use prometheus_client::metrics::histogram::Histogram;

mod job;
mod offers;
mod publisher;

/// Publishes groups.
pub struct Publishing {
    context: Arc<Context>,
    tables: Arc<dyn Tables>,
    messages: Arc<dyn Messages>,
    scheduler: publisher::PublishScheduler,
}

impl Publishing {
    /// Hands publications to `tables`, and news of groups to `messages`.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        tables: Arc<dyn Tables>,
        messages: Arc<dyn Messages>,
    ) -> Self {
        Self { context, tables, messages, scheduler: publisher::PublishScheduler::default() }
    }

    /// What publications took since the start, in seconds.
    #[must_use]
    pub fn durations(&self) -> Histogram {
        self.scheduler.durations.clone()
    }

    /// Groups that wait, and microseconds that the first of them has waited.
    #[must_use]
    pub fn waiting(&self) -> (u64, i64) {
        (self.scheduler.waiting_count(), self.scheduler.lag(self.context.clock.real_now()))
    }
}
