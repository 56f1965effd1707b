//! Accounts, and what people set up in them: people, sessions, keys, service tokens,
//! devices, groups, rules and guards.
//!
//! A change is written with its line in the audit log; the tables that devices are served from
//! follow right after the commit, through [`iocast_context::Tables`].

use std::sync::Arc;

use iocast_context::{
    Actor, AppError, AppResult, Caller, Context, Fields, Messages, Tables, credentials, random_hex,
    taken,
};
use iocast_domain::{
    id::{AccountId, ServiceTokenId},
    time::Timestamp,
};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

mod accounts;
mod calls;
mod devices;
mod fleet;
mod groups;
mod guards;
mod integrations;
mod keys;
mod outages;
mod people;
mod places;
mod protection;
mod quota;
mod rules;
mod service_tokens;
mod sessions;
mod snapshots;

pub use self::{
    accounts::NewAccount,
    devices::{DevicePatch, DeviceView, GroupView, NewDevice},
    fleet::{
        COLUMNS as FLEET_COLUMNS, FLEET_MAX, FleetAdded, FleetChange, FleetChanged, FleetGroup,
        FleetRow, NamedLine, fleet_rows,
    },
    groups::{GroupDetail, GroupIoc, GroupPatch, NewGroup, SendAgain},
    guards::GuardsPatch,
    integrations::{Condition, DayOfPulls, DeviceOrder, Overview, OverviewQuery},
    keys::{KeyView, NewKey},
    people::UserPatch,
    places::{IocLeftOut, IocPlace, IocPlaces, RuleNotMet, Withdrawn},
    protection::ClientView,
    quota::Quota,
    rules::{Chosen, NewRule, RulePatch},
    service_tokens::{MadeServiceToken, NewServiceToken, ServiceTokenView},
    sessions::{SessionKind, SignedIn},
    snapshots::RefusedIoc,
};

/// Names of rules of which the last number is remembered.
const RULE_NUMBERS: usize = 10_000;
/// Service tokens of which it is remembered when their use was noted.
const TOKENS_NOTED: usize = 10_000;
/// Password hashes that are made at once.
const PASSWORDS: usize = 2;

/// Keeps accounts.
pub struct Accounts {
    context: Arc<Context>,
    tables: Arc<dyn Tables>,
    messages: Arc<dyn Messages>,
    passwords: Semaphore,
    /// Of an account and the name that a rule was made from: the last number behind it that was
    /// given.
    rule_numbers: Cache<(AccountId, String), u32>,
    api_calls: calls::Calls,
    api_used: calls::Used,
    /// When it was last noted that a service token was used.
    tokens_used: Cache<ServiceTokenId, Timestamp>,
}

impl Accounts {
    /// Keeps `tables` up to date, and writes to people through `messages`.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        tables: Arc<dyn Tables>,
        messages: Arc<dyn Messages>,
    ) -> Self {
        Self {
            context,
            tables,
            messages,
            passwords: Semaphore::new(PASSWORDS),
            rule_numbers: Cache::new(RULE_NUMBERS),
            api_calls: calls::Calls::default(),
            api_used: calls::Used::default(),
            tokens_used: Cache::new(TOKENS_NOTED),
        }
    }

    /// Forgets failures to sign in and minutes of calls that count no more.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn prune(&self) -> AppResult<()> {
        self.api_calls_prune().await?;
        self.attempt_prune().await
    }
}
