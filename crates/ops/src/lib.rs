//! What an operator asks: the state of the database, figures for monitoring, the audit log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use iocast_context::{Actor, AppError, AppResult, Context};
use iocast_domain::{message::MessageState, subscription::Freshness};
use subtle::ConstantTimeEq as _;

mod audit;
mod backups;
pub use self::backups::{LAST_BACKUP, LastBackup};

/// How long a question about the state of things may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the database said when it was last asked. Monitoring reads this: it must not wait for what
/// it watches.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Open outages of all accounts.
    pub outages_open: u64,
    /// Messages by state.
    pub messages: Vec<(MessageState, u64)>,
    /// Microseconds that the message has been due which is due longest.
    pub oldest_due: i64,
    /// Groups by [`iocast_domain::receipt::Protection::code`].
    pub protections: Vec<(String, u64)>,
    /// Subscriptions by how fresh they are.
    pub subscriptions: Vec<(Freshness, u64)>,
    /// How the last backup went; none where iocast makes none by itself.
    pub backup: Option<LastBackup>,
}

/// Looks after the installation.
pub struct Ops {
    context: Arc<Context>,
    /// The database answered when it was last asked.
    database_answers: AtomicBool,
    figures: ArcSwap<Figures>,
}

impl Ops {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, database_answers: AtomicBool::new(true), figures: ArcSwap::default() }
    }

    /// Whether the database answered when it was last asked.
    #[must_use]
    pub fn database_answers(&self) -> bool {
        self.database_answers.load(Ordering::Relaxed)
    }

    /// What it said then.
    #[must_use]
    pub fn figures(&self) -> Arc<Figures> {
        self.figures.load_full()
    }

    /// Asks the database for a sign of life, and for the figures that monitoring shows.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn look_around(&self) -> AppResult<()> {
        let asked = async {
            self.context.store.ping().await?;
            let messages = self.context.store.read().message_counts(self.context.now()).await?;
            Ok::<_, AppError>(Figures {
                outages_open: self.context.store.read().outage_open_count().await?,
                oldest_due: messages.oldest_due.map_or(0, |at| self.context.now().since(at)),
                messages: messages.by_state,
                backup: self
                    .context
                    .store
                    .read()
                    .setting_fetch(LAST_BACKUP)
                    .await?
                    .and_then(|text| serde_json::from_str(&text).ok()),
                protections: self.context.store.read().protection_counts().await?,
                subscriptions: self
                    .context
                    .store
                    .read()
                    .subscription_counts(self.context.now())
                    .await?,
            })
        };
        let late =
            |_elapsed| AppError::Unavailable("The database does not answer in time.".to_owned());
        let figures = tokio::time::timeout(PATIENCE, asked).await.map_err(late).flatten();
        self.database_answers.store(figures.is_ok(), Ordering::Relaxed);
        self.figures.store(Arc::new(figures?));
        Ok(())
    }

    /// Lets only those see the metrics who know the token.
    ///
    /// # Errors
    /// For the others; where there is no token they are not there.
    pub fn may_see_metrics(&self, token: &str) -> AppResult<()> {
        let Some(wanted) = &self.context.settings.metrics_token else {
            return Err(AppError::NotFound("endpoint"));
        };
        if bool::from(wanted.as_bytes().ct_eq(token.as_bytes())) {
            Ok(())
        } else {
            Err(AppError::Unauthenticated(
                "The metrics take the token of the setting `metrics_token` as Bearer.",
            ))
        }
    }
}
