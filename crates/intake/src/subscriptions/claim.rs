//! A source is fetched by one process at a time: it claims it, and renews the claim while it is at it.
//! The claim of one that was killed lapses.

use std::{sync::Arc, time::Duration};

use iocast_domain::{
    id::SourceId,
    subscription::Subscription,
    time::{MINUTE, Timestamp},
};

use crate::{AppResult, Intake};

/// How long a claim holds, in microseconds of the time that processes share.
const CLAIM: i64 = 5 * MINUTE;
/// How often it is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(60);

/// A source that this process fetches.
pub(super) struct FetchClaim {
    source: SourceId,
    pub(super) until: Timestamp,
}

impl Intake {
    /// Claims a source, and gives its subscription as it is from then on; nothing if somebody else
    /// is at it, or it has none any more.
    pub(super) async fn claim(
        &self,
        source: SourceId,
    ) -> AppResult<Option<(Subscription, FetchClaim)>> {
        let now = self.context.store.shared_now(self.context.clock.real_now()).await?;
        let until = now.plus(CLAIM);
        let txn = self.context.store.write().await?;
        if !txn.subscription_claim(source, now, until).await? {
            return Ok(None);
        }
        let of = txn.subscription_fetch(source).await?;
        txn.commit().await?;
        Ok(of.map(|of| (of, FetchClaim { source, until })))
    }
}

impl FetchClaim {
    /// Renews the claim from time to time. Ends once it is lost.
    pub(super) async fn keep(&mut self, intake: &Arc<Intake>) -> AppResult<()> {
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            match self.renew(intake).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // It holds for several renewals; the fetch itself says what is wrong.
                Err(error) => {
                    tracing::warn!(source.id = %self.source, error = &error as &dyn std::error::Error, "The claim of source {} could not be renewed; it is tried again", self.source);
                }
            }
        }
    }

    async fn renew(&mut self, intake: &Intake) -> AppResult<bool> {
        let context = &intake.context;
        let until = context.store.shared_now(context.clock.real_now()).await?.plus(CLAIM);
        let txn = context.store.write().await?;
        let is_held = txn.subscription_renew(self.source, self.until, until).await?;
        txn.commit().await?;
        if is_held {
            self.until = until;
        }
        Ok(is_held)
    }
}
