//! The real clock and the real source of random numbers. Nobody else touches them.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use iocast_domain::time::{Clock, Entropy, Timestamp};

/// The system's clock, with the emulator's offset on the product's side.
#[derive(Debug, Default)]
pub struct SystemClock {
    offset: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.real_now().plus(self.offset.load(Ordering::Relaxed))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the real clock"
    )]
    fn real_now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn advance(&self, micros: i64) {
        self.offset.fetch_add(micros.max(0), Ordering::Relaxed);
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that owns the real source of random numbers"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            // Without random numbers no secret is safe: better to stop than to go on.
            tracing::error!(error = %error, "The operating system gives no random numbers; stopping");
            std::process::abort();
        }
    }
}
