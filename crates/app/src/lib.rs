//! The use cases: what may be done, by whom, in which order. It does not know what HTTP is.
//!
//! [`App`] is built once by the server and shared by all requests. Every use case takes an
//! [`Actor`] first, and every query starts from the actor's account: what is not yours is not
//! there.
//!
//! # How the crates work together
//!
//! ```text
//!                      server                 flags, environment, the real clock, signals, periodic tasks
//!                        |
//!                       web                   actix-web: HTTP in, HTTP out
//!                        |
//!                       app                   use cases
//!                /       |        \
//!            store      mail     formats      sea-orm | lettre | input forms and output formats, pure
//!           /    \       |        /
//!  migrations     `--- domain ---'            types and rules, pure
//! ```
//!
//! A test compares this with the manifests. To find your way read `crates/web/src/routes.rs`, this
//! file and `crates/domain/src/lib.rs`, in that order.
//!
//! # Three journeys
//!
//! **A device polls.** `web/feed` makes one call that never waits: `app/feed` finds the group in
//! its table, checks the key by a keyed hash, compares the ETag, and answers 304 or a ready body
//! from a cache that is bounded in bytes. The pull is recorded when the last byte is sent, and
//! written in batches at most a second later (on SQLite some seconds later while the end of an
//! import of hundreds of thousands is written, which has the only writer to itself).
//!
//! **IOCs arrive.** The body is spooled. `formats` splits it on one thread and parses the pieces on
//! all, with a reason for each line that is refused. [`imports`] merges them with what is known
//! into a staging table, in small writes that block nobody, and one transaction makes them visible
//! under the account's next change number. What others changed in between is merged again. The
//! publisher ([`publisher`]) takes the changes since the number that a group last applied,
//! evaluates its rules on those alone, renders the events that changed (of one that only grew, what
//! is new), and commits the new publication in one transaction ([`publishing`]). A full group keeps
//! the boundary of its selection (source priority, severity as far as it is trusted, UTC day last
//! seen, value), compares what changed with it, and reads only as many IOCs from an index in that
//! order as cross it. A change of rule, limit or priority selects from scratch, along the same
//! index until the group is full; only a group that does not fill, or that leaves out what other
//! entries cover, looks at every IOC that its rules may choose.
//!
//! **The clock ticks.** The watchdog asks `store` for devices that may have fallen silent, `domain`
//! judges, and one transaction opens the outage and writes the messages; unique keys keep a second
//! replica or a restart from writing them twice. Senders claim a message, deliver it with no
//! transaction open, check once more whether it is still theirs before the text, and record the
//! result; a failed one is tried again with back-off. IOCs that were not seen for longer than their
//! kind's lifetime retire; tombstones expire. Every tick may fail: the next one is the retry.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use iocast_domain::{
    id::{AccountId, LetterId},
    time::{Clock, Entropy, Timestamp},
    watch::Gap,
};
use iocast_store::Store;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

/// Names of rules of which the last number is remembered.
const RULE_NUMBERS: usize = 10_000;
/// How long work in the background gets to end.
const BACKGROUND: Duration = Duration::from_secs(10);

mod accounts;
mod actor;
mod alerts;
mod audit;
mod devices;
mod digests;
mod error;
mod feed;
mod fixtures;
mod groups;
mod health;
mod idempotency;
mod imports;
mod integrations;
mod iocs;
mod keys;
mod outage_letters;
mod outbox;
mod people;
mod permits;
mod public;
mod publisher;
mod publishing;
mod pulls;
mod respell;
mod rules;
mod secrets;
mod sessions;
mod settings;
mod snapshots;
mod sources;
mod tasks;
mod taxii;
mod watchdog;
pub use iocast_formats::read::{Input, Options, Rejected};
pub use iocast_mail::{
    Failure, Letter, MailTransport, Mailer, Security, Smtp, Transport, Webhooks,
};
pub use iocast_store::{
    AlertFilter, AuditFilter, AuditLine, Channel, LetterRow, OutageLetter, OutageRow, Page, PageOf,
    Pool, PublicationLine, PullLine, SessionRow,
};

pub use self::{
    accounts::NewAccount,
    actor::{Actor, Caller, Who},
    alerts::{AlertChange, AlertQuery, NewAlert},
    devices::{DevicePatch, DeviceView, GroupView, NewDevice},
    error::{AppError, AppResult},
    feed::{FeedAnswer, FeedBody, FeedRequest, File, Pulled},
    fixtures::{FIXTURES, FixtureReport},
    groups::{GroupDetail, GroupIoc, GroupPatch, NewGroup, SendAgain},
    health::{Advanced, Memory, Metrics, Readiness},
    idempotency::{Idempotent, Known, Replay},
    imports::{Ignored, ImportReport, ImportRequest, Progress, Spooled, Trust},
    integrations::{Condition, DayOfPulls, DeviceOrder, Overview, OverviewQuery},
    iocs::{IocPatch, IocPlace, IocQuery, IocView},
    keys::{KeyView, NewKey},
    outbox::Delivered,
    people::UserPatch,
    public::{
        BulkEditResult, DocumentIoc, IocEdit, NewDocument, Quota, WalkPage, WalkQuery, Walked,
    },
    pulls::{Client, PullNote},
    rules::{Chosen, NewRule, RulePatch},
    secrets::{Secrets, database_is_used},
    sessions::{SessionKind, SignedIn},
    settings::{Role, Settings},
    snapshots::{GuardsPatch, RefusedIoc},
    sources::{NewSource, SourcePatch},
    tasks::TaskAge,
    taxii::{PAGE_MAX, TaxiiAnswer, TaxiiRequest},
    watchdog::Watched,
};

/// The application.
pub struct App {
    /// Settings.
    pub settings: Settings,
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    secrets: Secrets,
    feed: feed::Feed,
    notes: pulls::Notes,
    pulls: pulls::Pulls,
    publisher: publisher::PublishScheduler,
    /// Of an account and the name that a rule was made from: the last number behind it that was
    /// given.
    rule_numbers: Cache<(AccountId, String), u32>,
    /// Where work is done that may take long: not on the threads that answer requests.
    runtime: tokio::runtime::Handle,
    /// What goes on after its caller got an answer; the end waits for it.
    background: TaskTracker,
    post: Mailer,
    /// Poked whenever a letter was written, for each lane.
    letters: [Notify; 2],
    /// Letters that are handed over here just now.
    on_their_way: Mutex<HashSet<LetterId>>,
    /// When nobody could answer.
    gaps: ArcSwap<Vec<Gap>>,
    /// By how much this server's clock is ahead of the database's, in microseconds; 0 if they agree
    /// well enough.
    clock_ahead: AtomicI64,
    passwords: Semaphore,
    tasks: tasks::Tasks,
    /// The database answered when it was last asked.
    database_answers: AtomicBool,
    figures: ArcSwap<health::Figures>,
    /// Microseconds since the tables that devices are served from were last compared with the
    /// database.
    memory_age: AtomicI64,
    last_heartbeat: AtomicI64,
    /// How far the emulator has moved the product's clock.
    clock_offset: AtomicI64,
    last_beat: Mutex<Option<watchdog::Beat>>,
    tally: outbox::DeliveryCounters,
    api_calls: public::Calls,
    api_used: public::Used,
    /// For views, filters and pages, which cost much.
    permits: permits::Permits,
    /// Held while the stage of an import is cleared.
    clearing: tokio::sync::Mutex<()>,
    closing: AtomicBool,
    /// Poked whenever there may be something to publish.
    changed: Notify,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl App {
    /// Puts the application together, checks that the secrets belong to the database, and loads the
    /// feed table.
    ///
    /// # Errors
    /// If the database does not answer, or was made with other secrets.
    pub async fn open(
        settings: Settings,
        store: Store,
        secrets: Secrets,
        post: Mailer,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> AppResult<Arc<Self>> {
        let app = Arc::new(Self {
            runtime: tokio::runtime::Handle::current(),
            background: TaskTracker::new(),
            feed: feed::Feed::new(settings.cache_bytes),
            settings,
            store,
            clock,
            entropy,
            secrets,
            notes: pulls::Notes::default(),
            pulls: pulls::Pulls::default(),
            publisher: publisher::PublishScheduler::default(),
            rule_numbers: Cache::new(RULE_NUMBERS),
            post,
            letters: [Notify::new(), Notify::new()],
            on_their_way: Mutex::default(),
            gaps: ArcSwap::default(),
            clock_ahead: AtomicI64::new(0),
            passwords: Semaphore::new(2),
            tasks: tasks::Tasks::default(),
            database_answers: AtomicBool::new(true),
            figures: ArcSwap::default(),
            memory_age: AtomicI64::new(0),
            last_heartbeat: AtomicI64::new(0),
            clock_offset: AtomicI64::new(0),
            last_beat: Mutex::default(),
            tally: outbox::DeliveryCounters::default(),
            api_calls: public::Calls::default(),
            api_used: public::Used::default(),
            permits: permits::Permits::default(),
            clearing: tokio::sync::Mutex::default(),
            closing: AtomicBool::new(false),
            changed: Notify::new(),
        });
        app.check_secrets().await?;
        app.clock_follow().await?;
        if app.settings.role.works() {
            app.respell().await?;
        }
        app.end_imports().await?;
        app.letter_release().await?;
        app.idempotency_forget_cut_off().await?;
        app.sync_from_database().await?;
        Ok(app)
    }

    /// The product's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A fresh id for a request.
    #[must_use]
    pub fn request_id(&self) -> String {
        self.entropy.uuid().to_string()
    }

    /// The group URL: at most 255 characters, without a query.
    #[must_use]
    pub fn group_url(&self, id: iocast_domain::id::GroupId) -> String {
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
    /// that may take long. `close` waits for it.
    pub(crate) fn in_background<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.background.spawn_on(work, &self.runtime)
    }

    /// Waits for work in the background, for a while, and closes the database.
    ///
    /// # Errors
    /// If it does not answer any more.
    pub async fn close(&self) -> AppResult<()> {
        self.begin_closing();
        self.background.close();
        if tokio::time::timeout(BACKGROUND, self.background.wait()).await.is_err() {
            tracing::warn!(
                "Stopping: {} tasks in the background are cut off",
                self.background.len()
            );
        }
        self.pulls_flush().await?;
        Ok(self.store.clone().close().await?)
    }
}
