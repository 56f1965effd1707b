//! IOCs that were read already while a publication is made.

use std::collections::HashMap;

use iocast_domain::{id::IocId, ioc::Ioc};

use super::PublicationJob;
use crate::AppResult;

/// Most of them: a MISP device's whole group. Where more join, all are read again where they are
/// needed, a piece at a time, so that half a million IOCs are never in memory at once.
const MOST: usize = 50_000;

/// IOCs that were looked at and join: most publications read each but once.
#[derive(Debug, Default)]
pub(super) struct LoadedIocs {
    iocs: HashMap<IocId, Ioc>,
    /// There were too many; none is kept.
    full: bool,
}

impl LoadedIocs {
    pub(super) fn keep(&mut self, ioc: Ioc) {
        if self.iocs.len() >= MOST {
            *self = Self { full: true, ..Self::default() };
        }
        if !self.full {
            self.iocs.insert(ioc.id, ioc);
        }
    }

    pub(super) fn drop(&mut self, id: &IocId) {
        self.iocs.remove(id);
    }
}

impl PublicationJob<'_> {
    /// These IOCs: those that are loaded are handed out, the others read.
    pub(super) async fn load(
        &self,
        loaded: &mut LoadedIocs,
        ids: impl Iterator<Item = IocId>,
    ) -> AppResult<HashMap<IocId, Ioc>> {
        let mut found = HashMap::new();
        let mut others = Vec::new();
        for id in ids {
            match loaded.iocs.remove(&id) {
                Some(ioc) => drop(found.insert(id, ioc)),
                None => others.push(id),
            }
        }
        found.extend(
            self.read.ioc_fetch_many(&others).await?.into_iter().map(|(id, row)| (id, row.ioc)),
        );
        Ok(found)
    }

    /// Something short about each of these IOCs, which stay loaded.
    pub(super) async fn summaries<T>(
        &self,
        loaded: &LoadedIocs,
        ids: &[IocId],
        what: impl Fn(&Ioc) -> T,
    ) -> AppResult<HashMap<IocId, T>> {
        let mut told: HashMap<IocId, T> =
            ids.iter().filter_map(|id| Some((*id, what(loaded.iocs.get(id)?)))).collect();
        let others: Vec<IocId> = ids.iter().filter(|id| !told.contains_key(id)).copied().collect();
        for some in others.chunks(super::PAGE) {
            told.extend(
                self.read
                    .ioc_fetch_many(some)
                    .await?
                    .into_iter()
                    .map(|(id, row)| (id, what(&row.ioc))),
            );
        }
        Ok(told)
    }
}
