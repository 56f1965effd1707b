//! Signs that devices could be answered, and the clocks by which they are judged.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use iocast_domain::{
    time::{DAY, MINUTE, SECOND, Timestamp, span_in_words},
    watch::{HEARTBEAT_MISSED, gap_found},
};

use crate::{AppError, AppResult, Watch};

/// Real clock and steady clock this much apart within a tick: somebody set the clock, in
/// microseconds.
pub(super) const JUMP: i64 = MINUTE;

/// How long gaps are remembered: longer than any threshold, in microseconds.
const GAPS_KEPT: i64 = 366 * DAY;

const HEARTBEAT_AT: &str = "heartbeat";

/// The same by the database's clock: those of two replicas may differ.
const HEARTBEAT_SHARED: &str = "heartbeat_shared";

/// A sign of life: steady time, and real minus steady, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    steady: i64,
    apart: i64,
}

impl Watch {
    /// Writes that this server could answer just now, which also proves that the database takes
    /// writes. A long pause since the last such sign of any replica is a gap in which no device
    /// could pull. `steady` is the time since this server began, on a clock that nobody sets. Gives
    /// by how much the real clock went otherwise since the last sign, in microseconds.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn heartbeat(&self, steady: Duration) -> AppResult<i64> {
        let real_now = self.context.clock.real_now();
        let shared = self.shared_now().await?;
        self.note_clock_ahead(real_now.since(shared));
        let now = self.context.judged_now();
        let steady = i64::try_from(steady.as_micros()).unwrap_or(i64::MAX);
        let beat = Beat { steady, apart: real_now.micros() - steady };
        let before = *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner);
        let jump = before.map_or(0, |before| beat.apart - before.apart);
        // A process that could answer all the time knows that there was no gap. What another
        // replica's clock says then is that the two clocks differ.
        let was_there = before
            .is_some_and(|before| jump.abs() <= JUMP && steady - before.steady <= HEARTBEAT_MISSED);
        let txn = self.context.store.write().await?;
        let last: Option<i64> =
            txn.setting_fetch(HEARTBEAT_AT).await?.and_then(|at| at.parse().ok());
        // A process that answers nobody can't say when nobody could answer.
        let answers = self.context.settings.role.answers();
        let last_shared: Option<i64> =
            txn.setting_fetch(HEARTBEAT_SHARED).await?.and_then(|at| at.parse().ok());
        // Another replica wrote the last sign by its own clock. Ours alone tells only how far ours
        // was set.
        let missed = match last_shared.filter(|_| jump.abs() <= JUMP) {
            Some(last) => Some(shared.micros() - last),
            None => last.map(|last| real_now.micros() - last),
        };
        let gap =
            missed.filter(|_| answers && !was_there).and_then(|missed| gap_found(missed, now));
        let known = txn.gap_list(now.plus(-GAPS_KEPT)).await?;
        let ahead_of_us = last_shared
            .map(|last| last - shared.micros())
            .or_else(|| last.map(|last| last - real_now.micros()));
        let set_back =
            jump < -JUMP || (!was_there && ahead_of_us.is_some_and(|ahead| ahead > JUMP));
        let set_right = answers && (set_back || known.iter().any(|gap| gap.to.since(now) > JUMP));
        if set_right {
            // A clock was set back, ours or another replica's. If it was ahead before, the gap that
            // it made was none.
            txn.gap_end_at(now).await?;
            // A pull that was noted in the future would keep its device green until that time,
            // however long it is silent.
            let moved = txn.device_pulls_end_at(now).await?;
            if moved > 0 {
                tracing::warn!(
                    "{moved} devices pulled at a time that is still to come: their last pull counts as of now"
                );
            }
        }
        if let Some(gap) = gap {
            txn.gap_insert(gap, now.plus(-GAPS_KEPT)).await?;
        }
        if answers {
            txn.setting_put(HEARTBEAT_AT, &real_now.micros().to_string()).await?;
            txn.setting_put(HEARTBEAT_SHARED, &shared.micros().to_string()).await?;
        }
        // The list was read before it was changed, if it was.
        let gaps = if set_right || gap.is_some() {
            txn.gap_list(now.plus(-GAPS_KEPT)).await?
        } else {
            known
        };
        txn.commit().await?;
        if answers {
            self.is_written(real_now).await?;
        }
        if let Some(gap) = gap {
            let long = span_in_words(gap.to.since(gap.from));
            tracing::warn!(
                "The service was down for {long}; device deadlines are extended by that"
            );
        }
        self.context.downtime.set_gaps(gaps);
        self.last_heartbeat.store(real_now.micros(), Ordering::Relaxed);
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = Some(beat);
        Ok(jump)
    }

    /// Reads the sign of life on another connection than wrote it: one whose writes arrive nowhere
    /// would find it all the same.
    async fn is_written(&self, at: Timestamp) -> AppResult<()> {
        let found: Option<i64> = self
            .context
            .store
            .read()
            .setting_fetch(HEARTBEAT_AT)
            .await?
            .and_then(|at| at.parse().ok());
        let before = self.last_heartbeat.load(Ordering::Relaxed);
        // Another replica may have written its own since, by a clock that is behind ours.
        if found == Some(at.micros())
            || (!self.context.store.is_bundled() && found.is_some_and(|found| found != before))
        {
            return Ok(());
        }
        Err(AppError::Unavailable(
            "The database acknowledges writes and does not keep them.".to_owned(),
        ))
    }

    /// Whether no process that answers requests gave a sign of life lately: then devices are silent
    /// because they must be.
    pub(super) async fn nobody_answers(&self) -> AppResult<bool> {
        let last: Option<i64> = self
            .context
            .store
            .read()
            .setting_fetch(HEARTBEAT_SHARED)
            .await?
            .and_then(|at| at.parse().ok());
        let shared = self.shared_now().await?;
        Ok(last.is_none_or(|last| shared.micros() - last > HEARTBEAT_MISSED))
    }

    /// The real time, the same for all replicas.
    async fn shared_now(&self) -> AppResult<Timestamp> {
        let ours = self.context.clock.real_now();
        if self.context.store.is_bundled() {
            return Ok(ours);
        }
        Ok(self.context.clock.shared_now(self.context.store.shared_now(ours).await?))
    }

    /// Notes by how much this server's clock is ahead of the database's, in microseconds, and says
    /// when that is too much.
    fn note_clock_ahead(&self, ahead: i64) {
        // To the second: asking the database takes its time.
        let ahead = if ahead.abs() > JUMP {
            (ahead + ahead.signum() * SECOND / 2) / SECOND * SECOND
        } else {
            0
        };
        let before = self.context.downtime.set_clock_ahead(ahead);
        if ahead != 0 && before == 0 {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            tracing::warn!(
                "This server's clock is {} {way} the database's. Set it right: devices are judged by the database's clock",
                span_in_words(ahead.abs())
            );
        }
    }
}
