//! Signs of life of what runs without being asked.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::Context;

/// A task of this process.
#[derive(Clone, Copy, Debug)]
pub struct TaskAge {
    /// Its name.
    pub name: &'static str,
    /// How long ago it gave a sign of life.
    pub age: Duration,
    /// How often it ended by a fault and was started again.
    pub failures: u64,
    /// It gave none for longer than it may.
    pub is_stuck: bool,
}

#[derive(Debug)]
struct Task {
    within: Duration,
    alive_at: Instant,
    failures: u64,
}

/// The tasks of this process.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<BTreeMap<&'static str, Task>>);

impl Tasks {
    fn with(&self, name: &'static str, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name) {
            change(task);
        }
    }

    /// How long ago each gave a sign of life.
    pub fn ages(&self) -> Vec<TaskAge> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |(name, task): (&&'static str, &Task)| {
            let age = task.alive_at.elapsed();
            TaskAge { name, age, failures: task.failures, is_stuck: age > task.within }
        };
        tasks.iter().map(age).collect()
    }
}

impl Context {
    /// From now on the task gives a sign of life at least every `within`.
    pub fn task_expect(&self, name: &'static str, within: Duration) {
        let task = Task { within, alive_at: Instant::now(), failures: 0 };
        self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, task);
    }

    /// The task gives a sign of life.
    pub fn task_alive(&self, name: &'static str) {
        self.tasks.with(name, |task| task.alive_at = Instant::now());
    }

    /// The task ended by a fault, and is started again.
    pub fn task_failed(&self, name: &'static str) {
        self.tasks.with(name, |task| task.failures += 1);
    }
}
