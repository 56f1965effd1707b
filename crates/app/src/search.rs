//! One question to everything: values in any spelling, and names.

use iocast_domain::{
    account::Module,
    host::{HostOf, host_of},
    normalise::{detect, prefix},
};
use iocast_intake::{IocQuery, IocView};
use iocast_store::{Named, Page, ThreatName};

use crate::{Actor, App, AppResult};

/// What one question found.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    /// IOCs: the one that was asked for, what begins so, what is under the domain.
    pub iocs: Vec<IocView>,
    /// Tags, actors, campaigns and families that IOCs carry.
    pub threats: Vec<ThreatName>,
    /// Things with such a name.
    pub named: Named,
}

/// Shortest text for which names are looked through.
const SHORTEST: usize = 2;

impl App {
    /// Looks for a value or a name everywhere in an account: at most `limit` of each kind. Values
    /// are found whole, by their beginning, and by their domain.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn search(&self, actor: &Actor, text: &str, limit: u64) -> AppResult<Hits> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Hits::default());
        }
        let mut hits = Hits::default();
        if actor.may_read(Module::Tip).is_ok() {
            hits.iocs = self.iocs_like(actor, text, limit).await?;
            if text.chars().count() >= SHORTEST {
                hits.threats = self.intake.threat_names(actor, text, limit).await?;
            }
        }
        if text.chars().count() >= SHORTEST {
            hits.named = self.context.store.read().named(&actor.account_id, text, limit).await?;
        }
        if actor.may_read(Module::Automation).is_err() {
            (hits.named.devices, hits.named.groups, hits.named.rules) = Default::default();
        }
        if actor.may_read(Module::Tip).is_err() {
            hits.named.sources.clear();
        }
        if actor.may_administer().is_err() {
            hits.named.people.clear();
        }
        Ok(hits)
    }

    async fn iocs_like(&self, actor: &Actor, text: &str, limit: u64) -> AppResult<Vec<IocView>> {
        let value = detect(text).ok();
        // An address with another scheme or path is found by its host.
        let under = value.as_ref().and_then(|(kind, value)| match host_of(*kind, value) {
            Some(HostOf::Name(host)) => Some(host.to_owned()),
            _ => None,
        });
        let mut asked = Vec::new();
        if let Some((kind, value)) = value {
            asked.push(IocQuery { value: Some(value), kinds: vec![kind], ..IocQuery::default() });
        }
        asked.push(IocQuery { prefix: Some(prefix(text)), ..IocQuery::default() });
        asked.extend(
            under.map(|host| IocQuery { domain_suffix: Some(host), ..IocQuery::default() }),
        );
        let mut found: Vec<IocView> = Vec::new();
        for query in asked {
            let more = self.intake.ioc_list(actor, &query, &Page::first(limit)).await?;
            for ioc in more.items {
                if !found.iter().any(|known| known.ioc.id == ioc.ioc.id) {
                    found.push(ioc);
                }
            }
        }
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }
}
