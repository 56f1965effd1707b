//! Signs of life, and the ticks that keep things moving.

use iocast_domain::{
    message::MessageState,
    subscription::Freshness,
    time::{SECOND, Timestamp},
};
use iocast_store::Pool;
use prometheus_client::metrics::histogram::Histogram;

use crate::{App, Delivered, LastBackup, Memory, Role, TaskAge};

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

/// Figures for a monitoring system.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Signs of life.
    pub readiness: Readiness,
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
    /// The product's time.
    pub now: Timestamp,
    /// What became of messages since the server started.
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

/// How often the heart beats, in microseconds.
const HEARTBEAT: i64 = 5 * SECOND;

impl App {
    /// Whether devices are served, and whether work goes on. Asks nobody: see
    /// [`iocast_ops::Ops::look_around`].
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let now = self.context.clock.real_now();
        let (groups_waiting, publisher_lag) = self.publishing.waiting();
        Readiness {
            database: self.ops.database_answers(),
            write_age: now.micros() - self.watch.last_heartbeat(),
            groups_waiting,
            publisher_lag,
            tasks: self.context.tasks.ages(),
            memory: self.serving.memory(),
            memory_age: self.serving.memory_age(),
            role: self.context.settings.role,
        }
    }

    /// Figures for a monitoring system. What the database would have to be asked for is a moment
    /// old, or older where it does not answer.
    pub async fn metrics(&self) -> Metrics {
        if self.ops.database_answers() {
            // What is known already is shown where this fails.
            let _ = self.ops.look_around().await;
        }
        let figures = self.ops.figures();
        Metrics {
            readiness: self.readiness(),
            outages_open: figures.outages_open,
            oldest_due: figures.oldest_due,
            messages: figures.messages.clone(),
            protections: figures.protections.clone(),
            subscriptions: figures.subscriptions.clone(),
            backup: figures.backup.clone(),
            now: self.context.now(),
            delivered: self.watch.delivered(),
            pulls: self.watch.answers(),
            pulls_dropped: self.watch.pulls_dropped(),
            publications: self.publishing.durations(),
            kept: self.serving.kept(),
            known: self.serving.known(),
            writers_waiting: self.context.store.writers_waiting(),
            pools: self.context.store.pools(),
        }
    }
}
