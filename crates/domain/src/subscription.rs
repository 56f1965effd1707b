//! Subscriptions: a source that fetches a list by itself, and how fresh it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

mod schedule;
mod takes;

pub use self::{schedule::Schedule, takes::Takes};
use crate::{
    id::SourceId,
    ioc::words,
    problem::FieldError,
    time::{DAY, HOUR, MINUTE, SECOND, Timestamp},
};

words! {
    /// What a list says of what it does not hold any more.
    Coverage {
        /// Nothing: each fetch only adds.
        Growing = 1 "growing",
        /// It is whole: what is gone from it is reported by this source no more.
        Full = 2 "full",
    }
}

words! {
    /// How a fetch says who it is.
    Access {
        /// It does not.
        None = 1 "none",
        /// By name and password.
        Basic = 2 "basic",
        /// By a token.
        Bearer = 3 "bearer",
        /// By a header of any name, such as `Auth-Key`.
        Header = 4 "header",
        /// By a parameter of the URL.
        Query = 5 "query",
        /// By a token that another server gives for a client's id and secret (OAuth2 client
        /// credentials).
        OAuth2 = 6 "oauth2",
    }
}

words! {
    /// What is fetched.
    Protocol {
        /// One file, in any form that can be imported.
        File = 1 "file",
        /// A MISP feed: a folder with `manifest.json` and one file for each event.
        MispFeed = 2 "misp_feed",
        /// A collection of a TAXII server, 2.0 or 2.1.
        Taxii = 3 "taxii",
        /// The IOCs of a Threat Command account, by its API.
        ThreatCommand = 4 "threat_command",
        /// All files in a folder of the machine that iocast runs on.
        Folder = 5 "folder",
    }
}

words! {
    /// What came of a fetch.
    FetchOutcome {
        /// There was something new, changed or gone, and it was taken.
        Taken = 1 "taken",
        /// It is the same as before.
        Unchanged = 2 "unchanged",
        /// It was not taken, and nothing changed.
        Failed = 3 "failed",
    }
}

words! {
    /// How fresh a subscription is.
    Freshness {
        /// It was never fetched.
        NeverFetched = 1 "never_fetched",
        /// The last fetch went well.
        Fresh = 2 "fresh",
        /// The last fetch failed, or none was made for too long.
        Failing = 3 "failing",
        /// A person paused it.
        Paused = 4 "paused",
    }
}

/// Shortest time between two fetches, in microseconds.
pub const EVERY_MIN: i64 = 5 * MINUTE;
/// Longest time between two fetches.
pub const EVERY_MAX: i64 = 30 * DAY;
/// Longest time for which what is gone stays.
pub const GRACE_MAX: i64 = 90 * DAY;
/// How long a fetch that failed waits at first.
const RETRY: i64 = MINUTE;
/// Failures before people are written to.
const OUT_AFTER: u32 = 3;
/// A fetch is this late at most before its subscription counts as failing.
const LATE: i64 = HOUR;

/// A source that fetches a list by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The source; it has one subscription at most.
    pub source_id: SourceId,
    /// What is fetched.
    pub protocol: Protocol,
    /// Where it lies.
    pub url: String,
    /// Its form, where a person chose one: the word for it in the API.
    pub form: Option<String>,
    /// How often, in microseconds.
    pub every: i64,
    /// What it says of what it does not hold any more.
    pub coverage: Coverage,
    /// For how long what is gone from a full list stays, in microseconds.
    pub grace: i64,
    /// How a fetch says who it is.
    pub access: Access,
    /// The user's name, or that of the header or parameter.
    pub access_name: String,
    /// The password, token or key, encrypted; empty without one.
    pub secret: Vec<u8>,
    /// The private key, in PEM, of the certificate that iocast shows, encrypted; empty without one.
    pub tls_key: Vec<u8>,
    /// A person paused it.
    pub paused: bool,
    /// What is said of few.
    pub options: SubscriptionOptions,
    /// How it went so far.
    pub progress: FetchProgress,
}

/// What is said of few subscriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Which IOCs are taken of those that are fetched.
    pub takes: Takes,
    /// Tags for all of them.
    pub tags: BTreeSet<String>,
    /// Where the token of [`Access::OAuth2`] comes from.
    pub token_url: Option<String>,
    /// What the token is for.
    pub scope: Option<String>,
    /// Certificates, in PEM, of those who sign for the server, in place of the public ones.
    pub ca: Option<String>,
    /// The certificate, in PEM, that iocast shows to the server.
    pub certificate: Option<String>,
    /// At which times it is fetched, in place of a pause between two fetches.
    pub schedule: Option<Schedule>,
    /// Where the next page of a JSON file is: the names that lead to it, parted by dots, such as
    /// `meta.next`.
    pub next_field: Option<String>,
    /// The parameter that takes what stands there; without one, that is the address of the page.
    pub next_parameter: Option<String>,
    /// What the columns of a table hold, where that is not found by itself: as
    /// `iocast_formats::read::Columns` reads it.
    pub columns: Option<String>,
}

/// How a subscription went so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// When the next fetch is due.
    pub next_at: Timestamp,
    /// When the last one ended.
    pub tried_at: Option<Timestamp>,
    /// When the last one ended that went well.
    pub ok_at: Option<Timestamp>,
    /// When something in it changed last.
    pub changed_at: Option<Timestamp>,
    /// Failures since the last one that went well.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
    /// `ETag` of the last body.
    pub etag: Option<String>,
    /// `Last-Modified` of the last body.
    pub last_modified: Option<String>,
    /// SHA-256 of the last body, in hexadecimal.
    pub sha256: Option<String>,
    /// IOCs in the last body.
    pub listed: u64,
    /// Up to where a collection was read.
    pub cursor: Option<String>,
    /// Since when no fetch went well.
    pub failing_since: Option<Timestamp>,
    /// The account's administrators were written to about that.
    pub is_told: bool,
}

impl FetchProgress {
    /// The progress of a list that is read from its beginning. Messages about an outage stay known.
    #[must_use]
    pub fn started_over(&self) -> Self {
        Self { failing_since: self.failing_since, is_told: self.is_told, ..Self::default() }
    }

    /// Whether the last body is the same one.
    #[must_use]
    pub fn same_body(&self, other: &Self) -> bool {
        self.etag == other.etag
            && self.last_modified == other.last_modified
            && self.sha256 == other.sha256
            && self.cursor == other.cursor
    }

    /// Forgets what the last body was: all of it is fetched and taken again.
    pub fn forget_body(&mut self) {
        (self.etag, self.last_modified, self.sha256, self.cursor) = (None, None, None, None);
    }
}

impl Subscription {
    /// Whether another one fetches the same list, in the same form and as whole.
    #[must_use]
    pub fn fetches_the_same(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.url == other.url
            && self.form == other.form
            && self.coverage == other.coverage
            && self.options.takes == other.options.takes
            && self.options.columns == other.options.columns
            && self.options.next_field == other.options.next_field
            && self.options.next_parameter == other.options.next_parameter
            // Accounts of one server are several lists.
            && (self.protocol == Protocol::File || self.access_name == other.access_name)
    }

    /// Whether it failed for long enough to write to people: after three failures, and an hour or
    /// twice the pause between fetches, whichever is longer.
    #[must_use]
    pub fn is_out(&self, now: Timestamp) -> bool {
        let FetchProgress { failures, failing_since, .. } = &self.progress;
        let patience = (2 * self.pause(now)).max(HOUR);
        *failures >= OUT_AFTER && failing_since.is_some_and(|since| since.plus(patience) <= now)
    }

    /// How fresh it is.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        let FetchProgress { next_at, ok_at, failures, .. } = &self.progress;
        if self.paused {
            Freshness::Paused
        } else if *failures > 0 || (ok_at.is_some() && next_at.plus(LATE) < now) {
            Freshness::Failing
        } else if ok_at.is_some() {
            Freshness::Fresh
        } else {
            Freshness::NeverFetched
        }
    }

    /// When the next fetch is due after one that went well. `chance` from 0 to 1 spreads fetches of
    /// many subscriptions over a tenth of the pause, or over a minute after the time of a schedule.
    #[must_use]
    pub fn after_success(&self, now: Timestamp, chance: f64) -> Timestamp {
        match self.options.schedule.as_ref().map(|schedule| schedule.next(now)) {
            Some(Some(next)) => next.plus(spread(10 * MINUTE, chance)),
            // No time comes any more: once in the longest pause.
            Some(None) => now.plus(EVERY_MAX),
            None => now.plus(self.every + spread(self.every, chance)),
        }
    }

    /// The time between two fetches that go well, in microseconds.
    fn pause(&self, now: Timestamp) -> i64 {
        let schedule = self.options.schedule.as_ref();
        let next = schedule.and_then(|schedule| Some((schedule, schedule.next(now)?)));
        let gap = next.and_then(|(schedule, next)| Some(schedule.next(next)?.since(next)));
        gap.unwrap_or(self.every)
    }

    /// The same after one that failed: a minute, two, four, up to the pause between fetches; later
    /// if the server asked for that.
    #[must_use]
    pub fn after_failure(&self, now: Timestamp, asked: Option<i64>, chance: f64) -> Timestamp {
        let doubled = RETRY.saturating_mul(1 << self.progress.failures.min(20));
        let scheduled = self.options.schedule.as_ref().and_then(|schedule| schedule.next(now));
        // The next time of a schedule is not jumped over.
        let most = scheduled.map_or(self.every, |next| next.since(now));
        let wait = doubled.min(most).max(asked.unwrap_or(0).min(DAY));
        now.plus(wait + spread(wait, chance))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a part of a pause"
)]
fn spread(pause: i64, chance: f64) -> i64 {
    (pause as f64 / 10.0 * chance.clamp(0.0, 1.0)) as i64
}

/// Whether a full list that holds `listed` now and held `before` is more likely broken than shorter:
/// it lost more than half.
#[must_use]
pub const fn lost_too_much(before: u64, listed: u64) -> bool {
    before >= crate::group::SHRINK_FROM as u64 && listed < before.div_ceil(2)
}

/// Checks how often a list is fetched.
///
/// # Errors
/// The broken rule, as an error of `every_minutes`.
pub fn checked_every(every: i64) -> Result<i64, FieldError> {
    if (EVERY_MIN..=EVERY_MAX).contains(&every) {
        return Ok(every);
    }
    Err(FieldError::new(
        "every_minutes",
        "every_out_of_range",
        "Give 5 to 43,200 minutes (30 days) between two fetches.",
    ))
}

/// Checks for how long what is gone stays.
///
/// # Errors
/// The broken rule, as an error of `grace_hours`.
pub fn checked_grace(grace: i64) -> Result<i64, FieldError> {
    if (0..=GRACE_MAX).contains(&grace) {
        return Ok(grace);
    }
    Err(FieldError::new("grace_hours", "grace_out_of_range", "Give 0 to 2,160 hours (90 days)."))
}

/// Seconds or a date of `Retry-After`, as microseconds from `now` on.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<i64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(i64::from(seconds) * SECOND);
    }
    let at = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_micros();
    Some((at - now.micros()).max(0))
}

#[cfg(test)]
mod tests;
