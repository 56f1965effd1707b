//! The order of what changes in a collection, and the dates of it.

use std::collections::HashMap;

use iocast_domain::{device_type::Taxii, id::IocId, ioc::Ioc, time::Timestamp};
use iocast_formats::write::stix;
use iocast_store::MemberRow;

use super::{
    super::{LoadedIocs, PublicationJob},
    render::{BETWEEN_DATES, MILLISECOND},
};
use crate::AppResult;

impl PublicationJob<'_> {
    /// Sorts changes by indicator id, whatever shard they are in.
    pub(super) async fn in_order(
        &self,
        loaded: &LoadedIocs,
        joins: &mut [MemberRow],
    ) -> AppResult<()> {
        let (version, namespace) = (self.version(), self.account.id.namespace());
        let ids: Vec<IocId> = joins.iter().map(|m| m.ioc_id).collect();
        // An IOC that was not removed before has one indicator, whenever it joined.
        let of = |ioc: &Ioc| stix::indicator_uuid(version, &namespace, ioc, self.now, false);
        let mut keys = self.summaries(loaded, &ids, of).await?;
        let readded: HashMap<IocId, Timestamp> = joins
            .iter()
            .filter(|m| m.readded)
            .map(|m| (m.ioc_id, Timestamp::from_micros(m.joined_at)))
            .collect();
        let ids: Vec<IocId> = readded.keys().copied().collect();
        keys.extend(
            self.summaries(loaded, &ids, |ioc| {
                stix::indicator_uuid(
                    version,
                    &namespace,
                    ioc,
                    readded.get(&ioc.id).copied().unwrap_or(self.now),
                    true,
                )
            })
            .await?,
        );
        joins.sort_by_key(|m| keys.get(&m.ioc_id).copied());
        Ok(())
    }

    /// Gives each change of a collection a date of its own, in their order: a client that goes on
    /// after the last date that it was given must not lose what was added with it. Gives the last.
    pub(super) fn stamp_each(&self, joins: &mut [MemberRow], stamp: i64) -> i64 {
        if self.device_type.format.taxii().is_none() {
            return stamp;
        }
        let mut latest = stamp;
        for (member, stamp) in joins.iter_mut().zip((stamp..).step_by(self.step() as usize)) {
            member.stamp = stamp;
            latest = stamp;
        }
        latest
    }

    /// How far the dates of two indicators are apart: in STIX 2.1 so that what points from the
    /// first has room between them, in STIX 2.0 as little as a date can say.
    pub(super) fn step(&self) -> i64 {
        match self.version() {
            Taxii::V20 => MILLISECOND,
            Taxii::V21 => BETWEEN_DATES,
        }
    }
}
