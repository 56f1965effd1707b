//! The emulator moves the product's clock.

use std::sync::atomic::Ordering;

use iocast_domain::time::{DAY, Timestamp, parse_span, span_in_words};

use crate::{Actor, App, AppError, AppResult, Delivered, Watched};

const CLOCK: &str = "emulator_clock_offset";
/// The longest step of the emulator's clock, in microseconds.
const ADVANCE_MAX: i64 = 3_653 * DAY;

/// What moving the product's clock did.
#[derive(Clone, Debug)]
pub struct Advanced {
    /// The product's time now.
    pub now: Timestamp,
    /// IOCs that retired.
    pub retired: u64,
    /// Publications that were made.
    pub publications: u64,
    /// Outages that were opened, and messages written about them.
    pub watched: Watched,
    /// What became of the messages that were due.
    pub delivered: Delivered,
}

impl Advanced {
    /// This, and what a later step did.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            now: later.now,
            retired: self.retired + later.retired,
            publications: self.publications + later.publications,
            watched: Watched {
                outages: self.watched.outages + later.watched.outages,
                messages: self.watched.messages + later.watched.messages,
            },
            delivered: Delivered {
                sent: self.delivered.sent + later.delivered.sent,
                failed: self.delivered.failed + later.delivered.failed,
                dead: self.delivered.dead + later.delivered.dead,
                superseded: self.delivered.superseded + later.delivered.superseded,
            },
        }
    }
}

/// A span by which the clock may be moved, in microseconds.
///
/// # Errors
/// If it is not readable, or too long.
pub fn advance_span(span: &str) -> AppResult<i64> {
    let micros =
        parse_span(span).map_err(|message| AppError::field("advance", "span_invalid", message))?;
    if micros > ADVANCE_MAX {
        return Err(AppError::field(
            "advance",
            "span_too_long",
            "Advance the clock by at most ten years at a time.",
        ));
    }
    Ok(micros)
}

impl App {
    /// Puts the product's clock where the emulator has it: where it was when it last ran, or where
    /// another replica moved it.
    pub(crate) async fn clock_follow(&self) -> AppResult<()> {
        if self.context.settings.emulator
            && let Some(offset) = self.context.store.read().setting_fetch(CLOCK).await?
        {
            let offset = offset.parse().unwrap_or(0);
            let before = self.clock_offset.fetch_max(offset, Ordering::Relaxed);
            self.context.clock.advance((offset - before).max(0));
        }
        Ok(())
    }

    /// Moves the product's clock forward by a span such as `49h`, and runs what became due.
    ///
    /// # Errors
    /// If there is no emulator, or the span is not readable.
    pub async fn clock_advance(&self, actor: &Actor, span: &str) -> AppResult<Advanced> {
        let micros = advance_span(span)?;
        self.clock_advance_by(actor, micros).await
    }

    /// The same by microseconds.
    ///
    /// # Errors
    /// As [`Self::clock_advance`].
    pub async fn clock_advance_by(&self, actor: &Actor, micros: i64) -> AppResult<Advanced> {
        if !self.context.settings.emulator {
            return Err(AppError::NotFound("endpoint"));
        }
        actor.may_write()?;
        self.watch.pulls_end().await?;
        let (delivered, watched) = (self.watch.delivered(), self.watch.watched_so_far());
        let txn = self.context.store.write().await?;
        let offset: i64 = txn.setting_fetch(CLOCK).await?.and_then(|o| o.parse().ok()).unwrap_or(0);
        txn.setting_put(CLOCK, &offset.saturating_add(micros).to_string()).await?;
        self.context.audit(&txn, actor, "emulator.advance", &span_in_words(micros), &()).await?;
        txn.commit().await?;
        self.clock_follow().await?;
        let retired = self.intake.retire_tick().await?;
        self.intake.listed_tick().await?;
        self.accounts.guards_tick().await?;
        self.accounts.pauses_tick().await?;
        self.publishing.offers_tick().await?;
        let publications = self.publishing.publish_all().await?;
        self.accounts.protections_tick().await?;
        self.intake.quality_tick().await?;
        self.watch.watch_tick(0).await?;
        self.watch.deliver_and_wait().await?;
        self.prune().await?;
        // Counted over all ticks: the next one in the background may have been quicker.
        let found = self.watch.watched_so_far();
        let watched = Watched {
            outages: found.outages - watched.outages,
            messages: found.messages - watched.messages,
        };
        Ok(Advanced {
            now: self.context.now(),
            retired,
            publications,
            watched,
            delivered: self.watch.delivered().since(delivered),
        })
    }
}
