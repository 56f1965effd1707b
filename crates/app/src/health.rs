//! Signs of life, and the ticks that keep things moving.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    id::{AccountId, IocId},
    letter::LetterState,
    time::{DAY, SECOND, Timestamp, parse_span, span_in_words},
};
use iocast_store::Pool;
use prometheus_client::metrics::histogram::Histogram;
use subtle::ConstantTimeEq as _;

use crate::{Actor, App, AppError, AppResult, Delivered, Role, TaskAge, Watched};

/// Whether devices are served, and whether work goes on: two questions, as a server that serves
/// must not be taken away because its work is late.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The database answered when it was last asked, a moment ago.
    pub database: bool,
    /// Microseconds since a write of ours was last seen in the database.
    pub write_age: i64,
    /// Groups that wait for the publisher of this process.
    pub groups_waiting: u64,
    /// Microseconds that the first of them has waited.
    pub publisher_lag: i64,
    /// What runs in this process without being asked.
    pub tasks: Vec<TaskAge>,
    /// What devices are served from.
    pub memory: Memory,
    /// Microseconds since it was last compared with the database.
    pub memory_age: i64,
    /// What this process does.
    pub role: Role,
}

/// How well what devices are served from is known to be the last state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The database was asked just now.
    Fresh,
    /// The database is away: devices get the last publication that was seen, and keys that worked
    /// then work.
    Old,
    /// It has been away for so long that nobody is served any more.
    Stale,
}

/// Figures for a monitoring system.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Signs of life.
    pub readiness: Readiness,
    /// Open outages of all accounts.
    pub outages_open: u64,
    /// Letters by state.
    pub letters: Vec<(LetterState, u64)>,
    /// Microseconds that the letter has been due which is due longest.
    pub oldest_due: i64,
    /// What became of letters since the server started.
    pub delivered: Delivered,
    /// Answers to devices since the server started, by status.
    pub pulls: Vec<(u16, u64)>,
    /// Pulls that could not be noted, because the database was away for long.
    pub pulls_dropped: u64,
    /// What publications took since the server started, in seconds.
    pub publications: Histogram,
    /// What is kept ready in memory: a name, bytes, entries.
    pub kept: [(&'static str, u64, u64); 2],
    /// Groups and keys that devices are served by.
    pub known: (u64, u64),
    /// How many wait to begin a write.
    pub writers_waiting: usize,
    /// Connections to the database.
    pub pools: Vec<Pool>,
}

impl Readiness {
    /// Devices are served; of a process that serves none, that its database answers.
    #[must_use]
    pub fn serves(&self) -> bool {
        if self.role.answers() { self.memory != Memory::Stale } else { self.database }
    }

    /// Everything else goes on, too: the database takes writes, and no task is stuck.
    #[must_use]
    pub fn works(&self) -> bool {
        self.database
            && self.write_age < 12 * HEARTBEAT
            && self.tasks.iter().all(|task| !task.is_stuck)
    }
}

/// What the database said when it was last asked. Monitoring reads this: it must not wait for what
/// it watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    outages_open: u64,
    letters: Vec<(LetterState, u64)>,
    oldest_due: i64,
}

/// What moving the product's clock did.
#[derive(Clone, Debug)]
pub struct Advanced {
    /// The product's time now.
    pub now: Timestamp,
    /// IOCs that retired.
    pub retired: u64,
    /// Publications that were made.
    pub publications: u64,
    /// Outages that were opened, and letters written about them.
    pub watched: Watched,
    /// What became of the letters that were due.
    pub delivered: Delivered,
}

/// How often the heart beats, in microseconds.
const HEARTBEAT: i64 = 5 * SECOND;
/// How long a question about the state of things may take.
const PATIENCE: Duration = Duration::from_secs(2);
const CLOCK: &str = "emulator_clock_offset";
/// The longest step of the emulator's clock, in microseconds.
const ADVANCE_MAX: i64 = 3_653 * DAY;
/// IOCs whose places are written in one transaction: others wait for it some milliseconds.
const PLACED_AT_ONCE: u64 = 500;
const RETIRE_AT_ONCE: u64 = 5_000;
/// For so long, in microseconds, the tables that devices are served from count as fresh.
const FRESH: i64 = 10 * SECOND;

impl App {
    /// How well what devices are served from is known to be the last state.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let age = self.memory_age();
        match () {
            () if age < FRESH => Memory::Fresh,
            () if age
                < i64::try_from(self.settings.without_database.as_micros()).unwrap_or(i64::MAX) =>
            {
                Memory::Old
            }
            () => Memory::Stale,
        }
    }

    /// Microseconds since the tables that devices are served from were last compared with the
    /// database.
    pub(crate) fn memory_age(&self) -> i64 {
        self.memory_age.load(Ordering::Relaxed)
    }

    /// Whether devices are served, and whether work goes on. Asks nobody: see
    /// [`Self::look_around`].
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let now = self.clock.real_now();
        Readiness {
            database: self.database_answers.load(Ordering::Relaxed),
            write_age: now.micros() - self.last_heartbeat.load(Ordering::Relaxed),
            groups_waiting: self.publisher.waiting_count(),
            publisher_lag: self.publisher.lag(now),
            tasks: self.tasks.ages(),
            memory: self.memory(),
            memory_age: self.memory_age(),
            role: self.settings.role,
        }
    }

    /// Asks the database for a sign of life, and for the figures that monitoring shows.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub async fn look_around(&self) -> AppResult<()> {
        let asked = async {
            self.store.ping().await?;
            let letters = self.letter_counts().await?;
            Ok::<_, AppError>(Figures {
                outages_open: self.store.read().outage_open_count().await?,
                oldest_due: letters.oldest_due.map_or(0, |at| self.now().since(at)),
                letters: letters.by_state,
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
        let Some(wanted) = &self.settings.metrics_token else {
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

    /// Figures for a monitoring system. What the database would have to be asked for is a moment
    /// old, or older where it does not answer.
    pub async fn metrics(&self) -> Metrics {
        if self.database_answers.load(Ordering::Relaxed) {
            // What is known already is shown where this fails.
            let _ = self.look_around().await;
        }
        let Figures { outages_open, letters, oldest_due } = Figures::clone(&self.figures.load());
        Metrics {
            readiness: self.readiness(),
            outages_open,
            oldest_due,
            letters,
            delivered: self.tally.read(),
            pulls: self.pulls.read(),
            pulls_dropped: self.notes.dropped(),
            publications: self.publisher.durations.clone(),
            kept: self.feed.kept(),
            known: self.feed.known(),
            writers_waiting: self.store.writers_waiting(),
            pools: self.store.pools(),
        }
    }

    /// Retires the IOCs that were not seen for longer than their kind's lifetime. Gives how many.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn retire_tick(&self) -> AppResult<u64> {
        let mut retired = 0;
        while !self.is_closing() {
            let now = self.now();
            let due = self.store.read().ioc_due_to_retire(now, RETIRE_AT_ONCE).await?;
            if due.is_empty() {
                break;
            }
            let mut by_account: std::collections::BTreeMap<AccountId, Vec<IocId>> =
                std::collections::BTreeMap::new();
            for (account, id) in due {
                by_account.entry(account).or_default().push(id);
            }
            for (account, ids) in by_account {
                let txn = self.store.write().await?;
                let seq = txn.account_next_seq(&account, || self.now()).await?;
                txn.ioc_retire(&ids, seq, now).await?;
                txn.commit().await?;
                retired += ids.len() as u64;
            }
            self.changed.notify_one();
        }
        Ok(retired)
    }

    /// Writes the places of IOCs that an earlier version wrote without one, some at a time. Until
    /// all are written, the full groups of their account are selected from scratch.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn places_tick(&self) -> AppResult<()> {
        for account in self.store.read().account_list().await? {
            let mut written = 0;
            while !self.is_closing() && self.store.read().ioc_any_unplaced(&account.id).await? {
                let txn = self.store.write().await?;
                written += txn.ioc_place_some(&account.id, PLACED_AT_ONCE).await?;
                txn.commit().await?;
                self.task_alive("places");
            }
            if written > 0 {
                tracing::info!(account.id = %account.id, "The places of {written} IOCs of account {} were written", account.id);
            }
        }
        Ok(())
    }

    /// Puts the product's clock where the emulator has it: where it was when it last ran, or where
    /// another replica moved it.
    pub(crate) async fn clock_follow(&self) -> AppResult<()> {
        if self.settings.emulator
            && let Some(offset) = self.store.read().setting_fetch(CLOCK).await?
        {
            let offset = offset.parse().unwrap_or(0);
            let before = self.clock_offset.fetch_max(offset, Ordering::Relaxed);
            self.clock.advance((offset - before).max(0));
        }
        Ok(())
    }

    /// Moves the product's clock forward by a span such as `49h`, and runs what became due.
    ///
    /// # Errors
    /// If there is no emulator, or the span is not readable.
    pub async fn clock_advance(self: &Arc<Self>, actor: &Actor, span: &str) -> AppResult<Advanced> {
        if !self.settings.emulator {
            return Err(AppError::NotFound("endpoint"));
        }
        actor.may_write()?;
        let micros = parse_span(span)
            .map_err(|message| AppError::field("advance", "span_invalid", message))?;
        if micros > ADVANCE_MAX {
            return Err(AppError::field(
                "advance",
                "span_too_long",
                "Advance the clock by at most ten years at a time.",
            ));
        }
        self.pulls_flush().await?;
        let (delivered, watched) = (self.tally.read(), self.tally.watched_so_far());
        let txn = self.store.write().await?;
        let offset: i64 = txn.setting_fetch(CLOCK).await?.and_then(|o| o.parse().ok()).unwrap_or(0);
        txn.setting_put(CLOCK, &offset.saturating_add(micros).to_string()).await?;
        self.audit(&txn, actor, "emulator.advance", &span_in_words(micros), &()).await?;
        txn.commit().await?;
        self.clock_follow().await?;
        let retired = self.retire_tick().await?;
        let publications = self.publish_all().await?;
        self.watch_tick(0).await?;
        self.deliver_and_wait().await?;
        // Counted over all ticks: the next one in the background may have been quicker.
        let found = self.tally.watched_so_far();
        let watched = Watched {
            outages: found.outages - watched.outages,
            letters: found.letters - watched.letters,
        };
        Ok(Advanced {
            now: self.now(),
            retired,
            publications,
            watched,
            delivered: self.tally.read().since(delivered),
        })
    }
}
