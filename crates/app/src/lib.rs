//! The use cases: what may be done, by whom, in which order. It does not know what HTTP is.
//!
//! [`App`] is built once by the server and shared by all requests. Every use case takes an
//! [`Actor`] first, and every query starts from the actor's account: what is not yours is not
//! there.
//!
//! # How the crates work together
//!
//! ```text
//!                            server                       flags, environment, the real clock, signals, periodic tasks
//!                              |
//!                             web                         actix-web: HTTP in, HTTP out
//!                              |
//!                             app                         puts the services together; use cases of more than one
//!     .--------.----------.----+----.---------.-------.
//!  serving publishing  intake     watch    accounts  ops   one service each, with its own state
//!     `--------`----------`----+----`---------`-------'
//!                           context                       handles: store, clock, chance, secrets, who acts
//!         /         |          |         |         \
//!      store     formats    notify    fetch     domain    sea-orm | bytes, pure | messages | lists of others | types and rules, pure
//!        |
//!    migrations
//! ```
//!
//! Services do not call each other. What one asks of another in a transaction, or right after it,
//! goes through two traits of `context`: `Tables` (serving) and `Messages` (watch).
//!
//! A test compares this with the manifests. To find your way read `crates/web/src/routes.rs`, this
//! file and `crates/domain/src/lib.rs`, in that order.
//!
//! # Three journeys
//!
//! **A device polls.** `web/feed` makes one call that never waits: `serving` finds the group in
//! its table, checks the key by a keyed hash, compares the ETag, and answers 304 or a ready body
//! from a cache that is bounded in bytes. The pull is noted by `watch` when the last byte is sent, and
//! written in batches at most a second later (on SQLite some seconds later while the end of an
//! import of hundreds of thousands is written, which has the only writer to itself).
//!
//! **IOCs arrive.** The body is spooled. `formats` splits it on one thread and parses the pieces on
//! all, with a reason for each line that is refused. `intake` merges them with what is known
//! into a staging table, in small writes that block nobody, and one transaction makes them visible
//! under the account's next change number. What others changed in between is merged again. The
//! publisher (`publishing`) takes the changes since the number that a group last applied,
//! evaluates its rules on those alone, renders the events that changed (of one that only grew, what
//! is new), and commits the new publication in one transaction. A full group keeps
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
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicI64},
};

pub use iocast_accounts::{
    Accounts, Chosen, ClientView, Condition, DayOfPulls, DeviceOrder, DevicePatch, DeviceView,
    FLEET_COLUMNS, FLEET_MAX, FleetAdded, FleetChange, FleetChanged, FleetGroup, FleetRow,
    GroupDetail, GroupIoc, GroupPatch, GroupView, GuardsPatch, IocLeftOut, IocPlace, IocPlaces,
    KeyView, MadeServiceToken, NewAccount, NewDevice, NewGroup, NewKey, NewRule, NewServiceToken,
    Overview, OverviewQuery, Quota, RefusedIoc, RuleNotMet, RulePatch, SendAgain, ServiceTokenView,
    SessionKind, SignedIn, UserPatch, Withdrawn,
};
pub use iocast_context::{
    Actor, AppError, AppResult, Caller, Context, Idempotent, Known, Pulled, Replay, Role, Secrets,
    Settings, TaskAge, Who, credentials, database_is_used,
};
use iocast_domain::{
    id::AccountId,
    time::{Clock, Entropy},
};
pub use iocast_formats::{
    gzip::inflate_start,
    read::{
        Input, Options, Rejected,
        document::Document,
        form::{Stated, of_file_name},
    },
    snapshot::{Comparison, Snapshot},
};
pub use iocast_intake::{
    ALERT_SOURCE, AlertChange, AlertQuery, BulkEditResult, COUNTED, DocumentIoc, Extracted,
    ExtractedFile, Ignored, ImportReport, ImportRequest, ImportView, Intake, IocEdit, IocPatch,
    IocQuery, IocView, ListGiven, ListOutcome, Loss, Mode, NewAlert, NewDocument, NewSource,
    NewSubscription, PreviewRow, Progress, PublicFeedView, RatedSource, ReadAs, ReviewIoc,
    ReviewPage, SourcePatch, SourceQuality, Spooled, SubscriptionView, Trust, UndoPlan, WalkPage,
    WalkQuery, Walked, extracted_file,
};
pub use iocast_notify::{
    Email, Failure, MailTransport, MailWay, Mailer, Security, Smtp, Transport, Webhooks,
};
pub use iocast_ops::{LastBackup, Ops};
pub use iocast_publishing::Publishing;
pub use iocast_serving::{
    FeedAnswer, FeedBody, FeedFile, FeedRequest, File, Memory, PAGE_MAX, Serving, TaxiiAnswer,
    TaxiiRequest,
};
use iocast_store::Store;
pub use iocast_store::{
    AlertFilter, AuditFilter, AuditLine, Channel, CountedSource, Fetch, Handled, HeldGroup,
    ImportFilter, ImportLine, MessageRow, OutageMessage, OutageRow, Page, PageOf, Pool,
    PublicationLine, PullLine, Receipt, ReviewFilter, ReviewRow, SessionRow, ThreatName,
};
pub use iocast_watch::{Client, Delivered, PullNote, PullUnderWay, Watch, Watched};

pub mod copy;
mod emulator;
mod feeds;
mod fixtures;
mod fleet;
mod groups;
mod health;
mod home;
mod retention;
mod scenarios;
mod search;

pub use self::{
    emulator::{Advanced, advance_span},
    fixtures::{FIXTURES, FixtureReport, Fixtures},
    fleet::fleet_table,
    health::{Metrics, Readiness},
    home::{Home, HomeDevices, HomeIocs, HomeSettings, HomeSources, Started},
    scenarios::{Action, SCENARIOS, Scenario, Step},
    search::Hits,
};

/// The application: the services, and what needs more than one of them.
pub struct App {
    /// What every service works with.
    pub context: Arc<Context>,
    /// What devices are served.
    pub serving: Arc<Serving>,
    /// What makes publications.
    pub publishing: Arc<Publishing>,
    /// Where IOCs come in and are changed.
    pub intake: Arc<Intake>,
    /// Contact with devices, and messages.
    pub watch: Arc<Watch>,
    /// What people set up.
    pub accounts: Arc<Accounts>,
    /// What an operator asks.
    pub ops: Arc<Ops>,
    /// How the IOCs of accounts are counted.
    counts: Mutex<HashMap<AccountId, home::Counting>>,
    /// How far the emulator has moved the product's clock.
    clock_offset: AtomicI64,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("context", &self.context).finish_non_exhaustive()
    }
}

impl App {
    /// Puts the application together, checks that the secrets belong to the database, and loads the
    /// tables that devices are served from.
    ///
    /// # Errors
    /// If the database does not answer, or was made with other secrets.
    pub async fn open(
        settings: Settings,
        store: Store,
        secrets: Secrets,
        mailer: Mailer,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> AppResult<Arc<Self>> {
        let context = Arc::new(Context::new(settings, store, secrets, clock, entropy));
        let serving = Arc::new(Serving::new(Arc::clone(&context)));
        let watch = Arc::new(Watch::new(Arc::clone(&context), Arc::clone(&serving) as _, mailer));
        let app = Arc::new(Self {
            publishing: Arc::new(Publishing::new(
                Arc::clone(&context),
                Arc::clone(&serving) as _,
                Arc::clone(&watch) as _,
            )),
            intake: Arc::new(Intake::new(Arc::clone(&context), Arc::clone(&watch) as _)),
            accounts: Arc::new(Accounts::new(
                Arc::clone(&context),
                Arc::clone(&serving) as _,
                Arc::clone(&watch) as _,
            )),
            ops: Arc::new(Ops::new(Arc::clone(&context))),
            serving,
            watch,
            context,
            counts: Mutex::default(),
            clock_offset: AtomicI64::new(0),
        });
        app.context.check_secrets().await?;
        app.clock_follow().await?;
        if app.context.settings.role.works() {
            app.intake.respell().await?;
        }
        app.intake.end_imports().await?;
        app.intake.subscriptions_release().await?;
        app.watch.message_release().await?;
        app.context.idempotency_forget_cut_off().await?;
        app.sync_from_database().await?;
        Ok(app)
    }

    /// Learns what other replicas published or changed, and repairs what a cancelled request left
    /// stale. The cost is that of what changed.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn sync_from_database(&self) -> AppResult<()> {
        self.clock_follow().await?;
        self.serving.follow().await
    }

    /// Forgets what is old: messages that were settled long ago, failures that count no more, lines of
    /// the audit log. What can't be forgotten now does not keep the rest.
    ///
    /// # Errors
    /// The first one, if the database does not answer.
    pub async fn prune(&self) -> AppResult<()> {
        let all = [
            self.watch.prune().await,
            self.intake.imports_prune().await,
            self.accounts.prune().await,
            self.forget_old().await,
        ];
        all.into_iter().collect()
    }

    /// Waits for work in the background, for a while, and closes the database.
    ///
    /// # Errors
    /// If it does not answer any more.
    pub async fn close(&self) -> AppResult<()> {
        self.context.begin_closing();
        self.context.end_background().await;
        self.watch.pulls_flush().await?;
        Ok(self.context.store.clone().close().await?)
    }
}
