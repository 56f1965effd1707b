//! Failed tries slow down who makes them, and lock nobody else out.

use iocast_domain::time::{MINUTE, SECOND, Timestamp};
use iocast_store::Attempt;

use crate::{Accounts, AppError, AppResult, Caller};

/// The time over which failures are counted, and the longest block, in microseconds.
pub(super) const WINDOW: i64 = 15 * MINUTE;

/// Failures in a window before one person's sign-ins from one address are slowed down.
pub(super) const PER_PAIR: u32 = 10;

/// The same for one client address and all people together,
pub(super) const PER_ADDRESS: u32 = 30;

/// for the network of an IPv6 address,
pub(super) const PER_SITE: u32 = 120;

/// and for one person, from wherever. It does not hold for a browser in which the person signed in
/// before: nobody locks somebody else out.
pub(super) const PER_ACCOUNT: u32 = 100;

/// Longest e-mail address, in bytes.
const ADDRESS_MAX: usize = 254;

/// Under what somebody's failures from anywhere are counted.
pub(crate) fn account_subject(email: &str) -> String {
    format!("account:{email}")
}

impl Accounts {
    /// What a try to sign in counts for, and how many each may have, always in the same order: two
    /// at once must not wait for each other.
    pub(super) fn sign_in_subjects(&self, email: &str, caller: &Caller) -> Vec<(String, u32)> {
        let network = network(&caller.address);
        let mut subjects = vec![(format!("address:{network}"), PER_ADDRESS)];
        subjects.extend(site(&caller.address).map(|site| (format!("site:{site}"), PER_SITE)));
        // What is no address is nobody's: it is counted where it came from, and kept nowhere.
        if email.len() <= ADDRESS_MAX {
            subjects.push((format!("pair:{email} {network}"), PER_PAIR));
            if !self.is_known_browser(email, caller) {
                subjects.push((account_subject(email), PER_ACCOUNT));
            }
        }
        subjects.sort();
        subjects
    }

    /// Counts a try before the password is looked at: tries at the same time count, too. It is
    /// forgiven when the password is right.
    pub(super) async fn count_sign_in(
        &self,
        subjects: &[(String, u32)],
        caller: &Caller,
    ) -> AppResult<()> {
        let now = self.context.clock.real_now();
        let txn = self.context.store.write().await?;
        for (subject, allowed) in subjects {
            txn.attempt_lock(subject).await?;
            let attempt = txn.attempt_fetch(subject).await?;
            if attempt.blocked_until > now {
                tracing::info!(client.address = %caller.address, "A sign-in was turned away: too many tries");
                return Err(throttled(attempt, now));
            }
            txn.attempt_put(subject, Some(failed(attempt, *allowed, now))).await?;
        }
        txn.commit().await?;
        Ok(())
    }

    /// Counts a try that nobody signs in with: beyond the allowance of one address each one doubles
    /// the wait.
    pub(crate) async fn count_try(&self, subject: &str) -> AppResult<()> {
        self.count_try_of(subject, PER_PAIR).await
    }

    /// The same with an allowance of its own.
    pub(crate) async fn count_try_of(&self, subject: &str, allowed: u32) -> AppResult<()> {
        let now = self.context.clock.real_now();
        let txn = self.context.store.write().await?;
        txn.attempt_lock(subject).await?;
        let attempt = txn.attempt_fetch(subject).await?;
        if attempt.blocked_until > now {
            return Err(throttled(attempt, now));
        }
        txn.attempt_put(subject, Some(failed(attempt, allowed, now))).await?;
        Ok(txn.commit().await?)
    }

    /// Forgets failures that count no more.
    pub(crate) async fn attempt_prune(&self) -> AppResult<()> {
        let now = self.context.clock.real_now();
        let txn = self.context.store.write().await?;
        txn.attempt_prune(now.plus(-WINDOW), now).await?;
        Ok(txn.commit().await?)
    }
}

pub(super) fn throttled(attempt: Attempt, now: Timestamp) -> AppError {
    AppError::Throttled {
        retry_after: u64::try_from(attempt.blocked_until.since(now) / SECOND + 1).unwrap_or(1),
    }
}

/// One more failure: beyond the allowance each one doubles the wait, up to the window.
pub(super) fn failed(before: Attempt, allowed: u32, now: Timestamp) -> Attempt {
    let fresh = now.since(before.window_start) > WINDOW;
    let failures = if fresh { 1 } else { before.failures.saturating_add(1) };
    let window_start = if fresh { now } else { before.window_start };
    let over = failures.saturating_sub(allowed);
    let wait = if failures < allowed {
        0
    } else {
        (30 * SECOND).saturating_mul(1_i64.checked_shl(over.min(10)).unwrap_or(1)).min(WINDOW)
    };
    Attempt { failures, window_start, blocked_until: now.plus(wait) }
}

/// One failure less. For a person at an address the rest are forgotten with it; others keep what
/// was tried from elsewhere.
pub(super) fn forgiven(after: Attempt, subject: &str, allowed: u32) -> Option<Attempt> {
    let failures = after.failures.saturating_sub(1);
    (!subject.starts_with("pair:") && failures > 0).then_some(Attempt {
        failures,
        blocked_until: if failures < allowed { after.window_start } else { after.blocked_until },
        ..after
    })
}

/// The address, or for IPv6 its /64: one household has more addresses than we have rows.
pub(crate) fn network(address: &str) -> String {
    match address.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => {
            v6.segments().iter().take(4).map(|s| format!("{s:x}")).collect::<Vec<_>>().join(":")
        }
        Err(_) => address.to_owned(),
    }
}

/// The /48 of an IPv6 address: what one customer gets, with very many households' worth of
/// addresses.
pub(super) fn site(address: &str) -> Option<String> {
    let v6: std::net::Ipv6Addr = address.parse().ok()?;
    Some(v6.segments().iter().take(3).map(|s| format!("{s:x}")).collect::<Vec<_>>().join(":"))
}
