//! The overview of an account: is protection up, and what waits for a person?

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use iocast_accounts::Condition;
use iocast_domain::{
    account::Module,
    id::AccountId,
    import::ImportState,
    ioc::{Kind, Severity},
    receipt::Protection,
    subscription::Freshness,
    time::{DAY, MINUTE, Timestamp},
};
use iocast_store::{AuditFilter, AuditLine, HeldGroup, IocDay, Page};

use crate::{Actor, App, AppResult, MailWay};

/// Days of IOCs that are kept.
const DAYS_KEPT: i64 = 400;
/// How old a count is at which it is written again though nothing changed, in microseconds.
const WRITTEN_EVERY: i64 = 10 * MINUTE;
/// A count may take a fiftieth of the time, however often the overview is opened.
const PART: u32 = 50;
/// IOCs are not counted more often than this.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the overview waits for a count.
const COUNT_WAIT: Duration = Duration::from_millis(150);
/// How long before its end a key is named, in microseconds.
const KEYS_END: i64 = 14 * DAY;
/// Held groups that are named.
const HELD_SHOWN: u64 = 5;
/// Last changes that are shown.
const CHANGES: usize = 8;
/// Lines of the audit log among which they are looked for.
const LOOKED_AT: u64 = 60;
/// Imports that wait for a review, up to which they are counted.
const REVIEWS: u64 = 100;

/// The devices of an account.
#[derive(Clone, Debug, Default)]
pub struct HomeDevices {
    /// How many there are.
    pub all: usize,
    /// How many are in which contact, the worst first.
    pub contact: Vec<(Condition, usize)>,
    /// How many have which state of protection, by the worst of their groups; the most urgent
    /// first. Devices without a publication are in none.
    pub protection: Vec<(&'static str, usize)>,
    /// Groups of which a publication waits.
    pub held: Vec<HeldGroup>,
    /// How many those are.
    pub held_all: u64,
}

/// The sources of an account.
#[derive(Clone, Debug, Default)]
pub struct HomeSources {
    /// How many there are.
    pub all: usize,
    /// How many subscriptions are how fresh.
    pub freshness: Vec<(Freshness, usize)>,
    /// Imports that wait for a review; at most a hundred are counted.
    pub reviews: usize,
}

/// What waits in the settings of an account; for those who may change them.
#[derive(Clone, Debug)]
pub struct HomeSettings {
    /// Messages that nobody tries to deliver any more.
    pub dead_messages: u64,
    /// Keys that end within two weeks.
    pub keys_ending: u64,
    /// When the first of them does.
    pub first_key_ends: Option<Timestamp>,
    /// People who get alerts.
    pub alerted_people: usize,
    /// The last changes.
    pub changes: Vec<AuditLine>,
}

/// IOCs by day.
#[derive(Clone, Debug, Default)]
pub struct HomeIocs {
    /// When they were counted last; none if they never were.
    pub counted_at: Option<Timestamp>,
    /// Active IOCs at the last count, by kind, with a number for each severity from low to high.
    pub kinds: Vec<(Kind, [u64; 3])>,
    /// Each day of the range with a number for each severity from low to high; none for a day on
    /// which nothing was counted.
    pub days: Vec<(Timestamp, Option<[u64; 3]>)>,
}

/// How the IOCs of an account are counted.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    is_running: bool,
    /// When the last count ended, and what it took.
    last: Option<(Instant, Duration)>,
}

impl Counting {
    /// Begins a count, unless one is running or the last one is too near for what it took.
    fn begin(&mut self, now: Instant) -> bool {
        let is_near = |(ended, took): (Instant, Duration)| {
            now.saturating_duration_since(ended) < PAUSE.max(took * PART)
        };
        if self.is_running || self.last.is_some_and(is_near) {
            return false;
        }
        self.is_running = true;
        true
    }

    fn end(&mut self, begun: Instant) {
        self.is_running = false;
        self.last = Some((Instant::now(), begun.elapsed()));
    }
}

/// Ends a count when it is dropped.
struct Ends<'a> {
    app: &'a App,
    account: &'a AccountId,
    begun: Instant,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.app.counts().entry(self.account.clone()).or_default().end(self.begun);
    }
}

/// The overview of an account. What its modules leave out is none.
#[derive(Clone, Debug)]
pub struct Home {
    /// Devices.
    pub devices: Option<HomeDevices>,
    /// Sources.
    pub sources: Option<HomeSources>,
    /// IOCs.
    pub iocs: Option<HomeIocs>,
    /// Settings.
    pub settings: Option<HomeSettings>,
}

/// The first steps of an account, and which are done.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// There is a source.
    pub source: bool,
    /// There is a rule.
    pub rule: bool,
    /// There is a device.
    pub device: bool,
    /// A device pulled.
    pub pulled: bool,
    /// A mail server took a message.
    pub mail: bool,
}

impl Started {
    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_done(self) -> bool {
        self.source && self.rule && self.device && self.pulled && self.mail
    }
}

impl App {
    /// The overview of an account, with IOCs of the last `days` days.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn home(self: &Arc<Self>, actor: &Actor, days: i64) -> AppResult<Home> {
        let (automation, tip) =
            (actor.may_read(Module::Automation).is_ok(), actor.may_read(Module::Tip).is_ok());
        Ok(Home {
            devices: if automation { Some(self.home_devices(actor).await?) } else { None },
            sources: if tip { Some(self.home_sources(actor).await?) } else { None },
            iocs: if tip { Some(self.home_iocs(actor, days).await?) } else { None },
            settings: if actor.may_write().is_ok() {
                Some(self.home_settings(actor).await?)
            } else {
                None
            },
        })
    }

    /// Which of the first steps of an account are done, as its overview shows it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn started(&self, actor: &Actor, home: &Home) -> AppResult<Started> {
        let read = self.context.store.read();
        let devices = home.devices.as_ref();
        let has_pulled = |of: &HomeDevices| {
            let pulls = |condition: Condition| condition != Condition::NotConnected;
            of.contact.iter().any(|(condition, _)| pulls(*condition))
        };
        let mail = self.watch.mail_way() == MailWay::Smtp
            && read.mail_was_handed_over(&actor.account_id).await?;
        Ok(Started {
            source: home.sources.as_ref().is_some_and(|of| of.all > 0),
            rule: read.rule_any(&actor.account_id).await?,
            device: devices.is_some_and(|of| of.all > 0),
            pulled: devices.is_some_and(has_pulled),
            mail,
        })
    }

    async fn home_devices(&self, actor: &Actor) -> AppResult<HomeDevices> {
        let read = self.context.store.read();
        let conditions = self.accounts.device_conditions(actor).await?;
        let mut contact: BTreeMap<Condition, usize> = BTreeMap::new();
        for condition in conditions.values() {
            *contact.entry(*condition).or_default() += 1;
        }
        let mut protection: BTreeMap<usize, usize> = BTreeMap::new();
        for rank in self.accounts.device_protections(actor).await?.into_values() {
            *protection.entry(rank).or_default() += 1;
        }
        let (held, held_all) = read.group_held(&actor.account_id, HELD_SHOWN).await?;
        Ok(HomeDevices {
            all: conditions.len(),
            contact: contact.into_iter().collect(),
            protection: protection
                .into_iter()
                .filter_map(|(rank, n)| Some((*Protection::CODES.get(rank)?, n)))
                .collect(),
            held,
            held_all,
        })
    }

    async fn home_sources(&self, actor: &Actor) -> AppResult<HomeSources> {
        let (read, now) = (self.context.store.read(), self.context.now());
        let subscriptions = read.subscription_list(&actor.account_id).await?;
        let all =
            [Freshness::Failing, Freshness::NeverFetched, Freshness::Fresh, Freshness::Paused];
        let count = |of: Freshness| subscriptions.iter().filter(|s| s.freshness(now) == of).count();
        let filter =
            iocast_store::ImportFilter { state: Some(ImportState::Review), ..Default::default() };
        let reviews =
            read.import_list(&actor.account_id, &filter, &Page::first(REVIEWS)).await?.items.len();
        Ok(HomeSources {
            all: read.source_list(&actor.account_id).await?.len(),
            freshness: all.map(|of| (of, count(of))).into_iter().filter(|(_, n)| *n > 0).collect(),
            reviews,
        })
    }

    async fn home_settings(&self, actor: &Actor) -> AppResult<HomeSettings> {
        let (read, now) = (self.context.store.read(), self.context.now());
        let (keys_ending, first_key_ends) =
            read.keys_ending(&actor.account_id, (now, now.plus(KEYS_END))).await?;
        // Who signed in or out changed nothing.
        let (all, page) = (AuditFilter::default(), Page::first(LOOKED_AT));
        let mut changes = self.ops.audit_list(actor, &all, &page).await?.items;
        changes.retain(|line| !line.action.starts_with("session."));
        changes.truncate(CHANGES);
        Ok(HomeSettings {
            dead_messages: read.message_dead(&actor.account_id).await?,
            keys_ending,
            first_key_ends,
            alerted_people: self.accounts.alerted_people(actor).await?,
            changes,
        })
    }

    async fn home_iocs(self: &Arc<Self>, actor: &Actor, days: i64) -> AppResult<HomeIocs> {
        let now = self.context.now();
        let today = now.micros().div_euclid(DAY);
        let from = today - days + 1;
        let read = self.context.store.read();
        let mut counted = read.ioc_days(&actor.account_id, from).await?;
        if self.count_in_time(&actor.account_id).await {
            counted = read.ioc_days(&actor.account_id, from).await?;
        }
        Ok(by_day(&counted, from, today))
    }

    /// Has the IOCs of an account counted; gives whether that ended before somebody who waits for
    /// a page would notice.
    async fn count_in_time(self: &Arc<Self>, account: &AccountId) -> bool {
        let (app, account) = (Arc::clone(self), account.clone());
        let counting = self.context.in_background(async move {
            let counted = app.count_iocs(&account).await;
            if let Err(error) = &counted {
                tracing::warn!(account.id = %account, error = error as &dyn std::error::Error, "The IOCs of account {account} could not be counted; it is tried again");
            }
            counted.unwrap_or(false)
        });
        matches!(tokio::time::timeout(COUNT_WAIT, counting).await, Ok(Ok(true)))
    }

    /// Counts the IOCs of an account; false if they are being counted, or were a moment ago.
    async fn count_iocs(&self, account: &AccountId) -> AppResult<bool> {
        if !self.counts().entry(account.clone()).or_default().begin(Instant::now()) {
            return Ok(false);
        }
        // Also where this is cut off.
        let _ends = Ends { app: self, account, begun: Instant::now() };
        self.count_and_write(account).await.map(|()| true)
    }

    async fn count_and_write(&self, account: &AccountId) -> AppResult<()> {
        let read = self.context.store.read();
        let totals = read.ioc_totals(account).await?;
        let now = self.context.now();
        let today = now.micros().div_euclid(DAY);
        let before = read.ioc_days(account, today).await?;
        let was = |of: &IocDay| (of.kind, of.severity, of.iocs);
        let is_fresh = before.first().is_some_and(|of| now.since(of.counted_at) < WRITTEN_EVERY);
        if is_fresh
            && before.iter().filter(|of| of.iocs > 0).count() == totals.len()
            && before.iter().map(was).all(|of| of.2 == 0 || totals.contains(&of))
        {
            return Ok(());
        }
        let txn = self.context.store.write().await?;
        txn.ioc_day_put(account, today, today - DAYS_KEPT, now, &totals).await?;
        Ok(txn.commit().await?)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<AccountId, Counting>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the IOCs of the accounts that were not counted today.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn home_tick(&self) -> AppResult<()> {
        let today = self.context.now().micros().div_euclid(DAY);
        for account in self.context.store.read().ioc_days_due(today).await? {
            if self.context.is_closing() {
                return Ok(());
            }
            // What is wrong with one account holds up no other.
            if let Err(error) = self.count_iocs(&account).await {
                tracing::warn!(account.id = %account, error = &error as &dyn std::error::Error, "The IOCs of account {account} could not be counted; it is tried again");
            }
            self.context.task_alive("count");
        }
        Ok(())
    }
}

fn by_day(counted: &[IocDay], from: i64, today: i64) -> HomeIocs {
    let place = |severity: Severity| match severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
    };
    let mut days: BTreeMap<i64, [u64; 3]> = BTreeMap::new();
    let mut kinds: BTreeMap<i16, (Kind, [u64; 3])> = BTreeMap::new();
    let last = counted.last().map(|of| of.day);
    for of in counted {
        let at = place(of.severity);
        if let Some(n) = days.entry(of.day).or_default().get_mut(at) {
            *n += of.iocs;
        }
        if Some(of.day) == last && of.iocs > 0 {
            let (_, numbers) = kinds.entry(of.kind.code()).or_insert((of.kind, [0; 3]));
            if let Some(n) = numbers.get_mut(at) {
                *n += of.iocs;
            }
        }
    }
    HomeIocs {
        counted_at: counted.iter().map(|of| of.counted_at).max(),
        kinds: kinds.into_values().collect(),
        days: (from..=today)
            .map(|day| (Timestamp::from_micros(day * DAY), days.get(&day).copied()))
            .collect(),
    }
}
