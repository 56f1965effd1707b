//! Signals between replicas, on PostgreSQL.

use sea_orm::sqlx::postgres::PgListener;

use super::unanswered;
use crate::StoreResult;

/// What changed that replicas hold in memory, or wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Keys.
    Keys,
    /// What groups serve.
    Feed,
    /// IOCs, rules or groups: there may be something to publish.
    Changes,
}

impl Signal {
    pub(super) const ALL: [(Self, &'static str); 3] =
        [(Self::Keys, "keys"), (Self::Feed, "feed"), (Self::Changes, "changes")];
}

/// What other replicas say.
#[derive(Debug)]
pub struct Signals(pub(super) PgListener);

impl Signals {
    /// Waits for the next one. None means that some may have been missed: the line to
    /// the database was cut, and stands again.
    ///
    /// # Errors
    /// If the line is cut and does not come back.
    pub async fn next(&mut self) -> StoreResult<Option<Signal>> {
        let heard = self.0.try_recv().await.map_err(unanswered)?;
        Ok(heard.and_then(|said| {
            Signal::ALL.iter().find(|(_, word)| *word == said.payload()).map(|(signal, _)| *signal)
        }))
    }
}
