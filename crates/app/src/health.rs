//! Signs of life, and the ticks that keep things moving.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use iocast_domain::{
    id::{AccountId, IocId},
    time::{DAY, MINUTE, SECOND, Timestamp, parse_span, span_in_words},
};

use crate::{Actor, App, AppError, AppResult};

/// Whether requests can be served.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The database answers.
    pub database: bool,
    /// Microseconds since the database last took a write of ours.
    pub write_age: i64,
    /// Groups that wait for the publisher.
    pub groups_waiting: u64,
    /// Microseconds that the first of them has waited.
    pub publisher_lag: i64,
    /// Microseconds since the last tick.
    pub tick_age: i64,
}

impl Readiness {
    /// All is well.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.database && self.write_age < 6 * HEARTBEAT && self.tick_age < 2 * MINUTE
    }
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
}

/// How often the heart beats, in microseconds.
const HEARTBEAT: i64 = 5 * SECOND;
const HEARTBEAT_AT: &str = "heartbeat";
const CLOCK: &str = "emulator_clock_offset";
/// The longest step of the emulator's clock, in microseconds.
const ADVANCE_MAX: i64 = 3_653 * DAY;
const RETIRE_AT_ONCE: u64 = 5_000;

impl App {
    /// Whether requests can be served.
    pub async fn readiness(&self) -> Readiness {
        let waiting = match self.store.ping().await {
            Ok(()) => self.store.read().publish_due(self.now()).await.ok(),
            Err(_) => None,
        };
        let now = self.clock.real_now();
        let age = |last: &AtomicI64| now.micros() - last.load(Ordering::Relaxed);
        Readiness {
            database: waiting.is_some(),
            write_age: age(&self.last_heartbeat),
            groups_waiting: waiting.map_or(0, |w| w.len() as u64),
            publisher_lag: self.publisher.lag(now),
            tick_age: age(&self.last_tick),
        }
    }

    /// Writes that this server could answer just now: proof that the database takes writes.
    ///
    /// # Errors
    /// If it does not.
    pub async fn heartbeat(&self) -> AppResult<()> {
        let now = self.clock.real_now();
        let txn = self.store.write().await?;
        txn.setting_put(HEARTBEAT_AT, &now.micros().to_string()).await?;
        txn.commit().await?;
        self.last_heartbeat.store(now.micros(), Ordering::Relaxed);
        Ok(())
    }

    /// Notes that the ticks are running.
    pub fn tick_done(&self) {
        self.last_tick.store(self.clock.real_now().micros(), Ordering::Relaxed);
    }

    /// Retires the IOCs that were not seen for longer than their kind's lifetime. Gives how many.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn retire_tick(&self) -> AppResult<u64> {
        let mut retired = 0;
        loop {
            let now = self.now();
            let due = self.store.read().ioc_due_to_retire(now, RETIRE_AT_ONCE).await?;
            if due.is_empty() {
                return Ok(retired);
            }
            let mut by_account: std::collections::BTreeMap<AccountId, Vec<IocId>> = std::collections::BTreeMap::new();
            for (account, id) in due {
                by_account.entry(account).or_default().push(id);
            }
            for (account, ids) in by_account {
                let txn = self.store.write().await?;
                let seq = txn.account_next_seq(&account).await?;
                txn.ioc_retire(&ids, seq, now).await?;
                txn.commit().await?;
                retired += ids.len() as u64;
            }
            self.changed.notify_one();
        }
    }

    /// Puts the product's clock where it was when the emulator last ran.
    pub(crate) async fn restore_clock(&self) -> AppResult<()> {
        if self.settings.emulator
            && let Some(offset) = self.store.read().setting_fetch(CLOCK).await?
        {
            self.clock.advance(offset.parse().unwrap_or(0));
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
        let micros = parse_span(span).map_err(|message| AppError::field("advance", "span_invalid", message))?;
        if micros > ADVANCE_MAX {
            return Err(AppError::field("advance", "span_too_long", "Advance the clock by at most ten years at a time."));
        }
        self.pulls_flush().await?;
        let txn = self.store.write().await?;
        let offset: i64 = txn.setting_fetch(CLOCK).await?.and_then(|o| o.parse().ok()).unwrap_or(0);
        txn.setting_put(CLOCK, &offset.saturating_add(micros).to_string()).await?;
        self.audit(&txn, actor, "emulator.advance", &span_in_words(micros), &()).await?;
        txn.commit().await?;
        self.clock.advance(micros);
        let retired = self.retire_tick().await?;
        let publications = self.publish_due(true).await?;
        Ok(Advanced { now: self.now(), retired, publications })
    }
}
