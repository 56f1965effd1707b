//! Permits for work that costs much: some at once in all, fewer for one key, and nobody waits for
//! long. What a key asks for beyond that is turned away, so that it can't take memory and
//! processors from the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use iocast_domain::id::KeyId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::{AppError, AppResult};

/// At once in all.
const ALL: usize = 4;
/// At once for one key.
const OF_KEY: usize = 1;
/// Requests of one key that wait.
const WAITING: usize = 8;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Permits for views, filters and pages.
#[derive(Debug)]
pub(crate) struct Permits {
    all: Semaphore,
    keys: Mutex<HashMap<KeyId, Arc<OfKey>>>,
}

#[derive(Debug)]
struct OfKey {
    running: Arc<Semaphore>,
    /// Running and waiting together.
    places: Arc<Semaphore>,
}

/// Held while the work is done.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    _all: SemaphorePermit<'a>,
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Default for Permits {
    fn default() -> Self {
        Self { all: Semaphore::new(ALL), keys: Mutex::default() }
    }
}

impl Permits {
    /// Waits for a turn.
    ///
    /// # Errors
    /// If too many wait with this key, or for too long.
    pub(crate) async fn acquire(&self, key: KeyId) -> AppResult<Permit<'_>> {
        let busy = || {
            AppError::Unavailable(
                "Too much is asked for with this key at once; try again in a few seconds."
                    .to_owned(),
            )
        };
        let of_key = self.of(key);
        let place = Arc::clone(&of_key.places).try_acquire_owned().map_err(|_full| busy())?;
        let turns = async {
            // One's own turn first: who waits for it holds up nobody else.
            let running = Arc::clone(&of_key.running).acquire_owned().await.ok()?;
            Some((running, self.all.acquire().await.ok()?))
        };
        let (running, all) =
            tokio::time::timeout(PATIENCE, turns).await.ok().flatten().ok_or_else(busy)?;
        Ok(Permit { _all: all, _running: running, _place: place })
    }

    fn of(&self, key: KeyId) -> Arc<OfKey> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody uses are forgotten: there may be very many keys.
        keys.retain(|other, of| {
            *other == key
                || Arc::strong_count(of) > 1
                || of.places.available_permits() < OF_KEY + WAITING
        });
        let new = || {
            Arc::new(OfKey {
                running: Arc::new(Semaphore::new(OF_KEY)),
                places: Arc::new(Semaphore::new(OF_KEY + WAITING)),
            })
        };
        Arc::clone(keys.entry(key).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_takes_one_turn_and_leaves_the_others_theirs() {
        let permits = Arc::new(Permits::default());
        let key = |n: u128| KeyId(uuid::Uuid::from_u128(n));
        let first = permits.acquire(key(1)).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(20), permits.acquire(key(1))).await;
        assert!(second.is_err(), "it waits for the first");
        let others: Vec<_> = [
            permits.acquire(key(2)).await,
            permits.acquire(key(3)).await,
            permits.acquire(key(4)).await,
        ]
        .into();
        assert!(others.iter().all(Result::is_ok));
        let waiting = |_| {
            let permits = Arc::clone(&permits);
            tokio::spawn(async move { permits.acquire(key(1)).await.is_ok() })
        };
        let waiting: Vec<_> = (0..WAITING).map(waiting).collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            matches!(permits.acquire(key(1)).await, Err(AppError::Unavailable(_))),
            "no more may wait"
        );
        drop((first, others));
        for task in waiting {
            assert!(task.await.unwrap(), "each has its turn");
        }
        permits.acquire(key(5)).await.unwrap();
        assert_eq!(permits.keys.lock().unwrap().len(), 1, "those that nobody uses are forgotten");
    }
}
