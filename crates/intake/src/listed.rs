//! What a fetched list holds was seen when it was fetched last. That is one fact for the list, and is
//! written to no IOC; but where a rule goes by age, IOCs of a list must not grow old.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use iocast_domain::{
    id::{AccountId, IocId},
    ioc::Kind,
    rule::Criteria,
    source::SourceLimits,
    subscription::Subscription,
    time::{DAY, HOUR, Timestamp},
};

use crate::{AppResult, Intake};

/// How often IOCs of lists are looked at, in microseconds of the product's time.
const EVERY: i64 = 6 * HOUR;
/// IOCs that are read together.
const READ_AT_ONCE: usize = 2_000;
/// IOCs that are written in one transaction: others wait for it some milliseconds.
const WRITTEN_AT_ONCE: usize = 500;

/// How old IOCs of an account may grow before it is written that they were seen, in days.
#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    /// The shortest time that a rule asks for.
    age: Option<u16>,
    /// A rule goes by score.
    score: bool,
}

impl Patience {
    fn of(rules: &[Criteria]) -> Self {
        Self {
            age: rules.iter().filter_map(|rule| rule.max_age_days).min(),
            score: rules.iter().any(|rule| rule.min_score.is_some()),
        }
    }

    /// Of IOCs of a kind that a source with these limits reports: half of the days that a rule asks
    /// for, or a twentieth of the lifetime, but no less than a day.
    fn days(self, kind: Kind, limits: &SourceLimits) -> i64 {
        let lifetime = limits.lifetime(kind).map_or(kind.lifetime() / DAY, i64::from);
        let of_age = self.age.map(|days| i64::from(days) / 2);
        let of_score = self.score.then_some(lifetime / 20);
        of_age.into_iter().chain(of_score).min().unwrap_or(lifetime).max(1)
    }
}

impl Intake {
    /// Writes that IOCs were seen which lists hold, where a rule would drop them for their age
    /// otherwise.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn listed_tick(&self) -> AppResult<()> {
        let now = self.context.now();
        let last = self.listed_at.load(Ordering::Relaxed);
        if last != 0 && now.micros() < last.saturating_add(EVERY) {
            return Ok(());
        }
        let mut rules: BTreeMap<AccountId, Vec<Criteria>> = BTreeMap::new();
        for (account, criteria) in self.context.store.read().rules_by_age().await? {
            rules.entry(account).or_default().push(criteria);
        }
        for (account, rules) in rules {
            let patience = Patience::of(&rules);
            for of in self.context.store.read().subscription_list(&account).await? {
                if self.context.is_closing() {
                    return Ok(());
                }
                self.listed_seen(&account, &of, patience).await?;
                self.context.task_alive("listed");
            }
        }
        self.listed_at.store(now.micros(), Ordering::Relaxed);
        Ok(())
    }

    async fn listed_seen(
        &self,
        account: &AccountId,
        of: &Subscription,
        patience: Patience,
    ) -> AppResult<()> {
        let Some(at) = of.progress.ok_at else { return Ok(()) };
        let read = self.context.store.read();
        let source = read.source_fetch(account, of.source_id).await?;
        let limits = source.map(|source| source.limits).unwrap_or_default();
        // By UTC days, as rules go by them.
        let day = Timestamp::from_micros(at.micros().div_euclid(DAY) * DAY);
        let before: Vec<(Kind, Timestamp)> = Kind::ALL
            .iter()
            .map(|kind| (*kind, day.plus(DAY - patience.days(*kind, &limits) * DAY)))
            .collect();
        for ids in self.ledger_of(of.source_id).await?.ids().chunks(READ_AT_ONCE) {
            let old = read.ioc_seen_before(account, ids, &before).await?;
            for some in old.chunks(WRITTEN_AT_ONCE) {
                self.write_seen(account, some, at).await?;
            }
            if self.context.is_closing() {
                return Ok(());
            }
        }
        self.context.changed.notify_one();
        Ok(())
    }

    async fn write_seen(&self, account: &AccountId, ids: &[IocId], at: Timestamp) -> AppResult<()> {
        let txn = self.context.store.write().await?;
        let seq = txn.account_next_seq(account, || self.context.now()).await?;
        for mut row in txn.ioc_fetch_many(ids).await?.into_values() {
            if !row.deleted && at > row.ioc.last_seen {
                row.ioc.last_seen = at;
                txn.ioc_update(account, &row, seq).await?;
            }
        }
        Ok(txn.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iocs_are_seen_long_before_a_rule_drops_them() {
        let limits = SourceLimits::default();
        let of = |age, score| Patience { age, score }.days(Kind::Url, &limits);
        assert_eq!((of(Some(7), false), of(Some(1), false), of(None, true)), (3, 1, 3));
        assert_eq!(of(Some(30), true), 3);
        let short = SourceLimits { lifetime_days: Some(10), ..SourceLimits::default() };
        assert_eq!(Patience { age: None, score: true }.days(Kind::Url, &short), 1);
    }
}
