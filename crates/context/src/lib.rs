//! What every service works with: the database, the clock, chance, the secrets and the settings;
//! who acts, what can go wrong, the audit log and `Idempotency-Key`.
//!
//! It holds handles, and knows no rule of any service. Services do not call each other: what one
//! asks of another while a transaction is open, or right after it, goes through the two traits
//! [`Tables`] and [`Messages`]; `iocast-app` says who stands behind them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use iocast_domain::{
    device::Device,
    id::GroupId,
    staleness::{SyncState, judge},
    time::{Clock, Entropy, Timestamp},
    watch::threshold,
};
use iocast_store::Store;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};
use tokio_util::task::TaskTracker;

mod actor;
mod audit;
mod credentials;
mod downtime;
mod error;
mod guards;
mod idempotency;
mod messages;
mod secrets;
mod settings;
mod tables;
mod tasks;

pub use self::{
    actor::{Actor, Caller, Who},
    credentials::{Credentials, credentials, shown},
    downtime::Downtime,
    error::{AppError, AppResult, Fields, taken},
    idempotency::{Idempotent, Known, Replay},
    messages::{GroupNews, Messages},
    secrets::{Secrets, database_is_used, random_hex},
    settings::{Role, Settings},
    tables::{Made, Pulled, Tables, etag_of, file_etag, misp_event},
    tasks::{TaskAge, Tasks},
};

/// What a function of [`Tables`] or [`Messages`] gives back.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = AppResult<T>> + Send + 'a>>;

/// How long work in the background gets to end.
const BACKGROUND: Duration = Duration::from_secs(10);

/// What every service works with.
pub struct Context {
    /// Settings.
    pub settings: Settings,
    /// The database.
    pub store: Store,
    /// The product's clock, and the real one.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Secrets of the installation.
    pub secrets: Secrets,
    /// When nobody could answer.
    pub downtime: Downtime,
    /// Signs of life of what runs without being asked.
    pub tasks: Tasks,
    /// Poked whenever there may be something to publish.
    pub changed: Notify,
    guards: guards::GuardCache,
    /// Where work is done that may take long: not on the threads that answer requests.
    runtime: Handle,
    /// What goes on after its caller got an answer; the end waits for it.
    background: TaskTracker,
    closing: AtomicBool,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Context {
    /// Puts it together, on the runtime that calls this.
    #[must_use]
    pub fn new(
        settings: Settings,
        store: Store,
        secrets: Secrets,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            settings,
            store,
            clock,
            entropy,
            secrets,
            downtime: Downtime::default(),
            tasks: Tasks::default(),
            changed: Notify::new(),
            guards: guards::GuardCache::default(),
            runtime: Handle::current(),
            background: TaskTracker::new(),
            closing: AtomicBool::new(false),
        }
    }

    /// The product's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The product's time, whatever is wrong with this server's clock.
    #[must_use]
    pub fn judged_now(&self) -> Timestamp {
        self.now().plus(-self.downtime.clock_ahead())
    }

    /// The dot of a device, in an account with this threshold.
    #[must_use]
    pub fn sync_state(&self, device: &Device, account: Option<i64>) -> SyncState {
        judge(
            device.last_pull_at,
            threshold(device.silent_after, account),
            &self.downtime.gaps(),
            self.judged_now(),
        )
    }

    /// A fresh id for a request.
    #[must_use]
    pub fn request_id(&self) -> String {
        self.entropy.uuid().to_string()
    }

    /// The group URL: at most 255 characters, without a query.
    #[must_use]
    pub fn group_url(&self, id: GroupId) -> String {
        format!("{}/feeds/{id}", self.settings.public_url)
    }

    /// Begins to end: what works off a queue stops at the next piece.
    pub fn begin_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Goes on with work that must not end with the request that began it, on the threads for work
    /// that may take long. The end waits for it.
    pub fn in_background<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.background.spawn_on(work, &self.runtime)
    }

    /// Does work that takes a thread to itself, on those for long work.
    pub fn spawn_blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        self.runtime.spawn_blocking(work)
    }

    /// Takes no more work in the background, and waits for what is under way, for a while.
    pub async fn end_background(&self) {
        self.background.close();
        if tokio::time::timeout(BACKGROUND, self.background.wait()).await.is_err() {
            tracing::warn!(
                "Stopping: {} tasks in the background are cut off",
                self.background.len()
            );
        }
    }
}
