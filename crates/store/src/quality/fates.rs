//! What became of IOCs: never sent, in groups, fetched, kept back.

use std::collections::HashSet;

use iocast_domain::{
    device_type::{CATALOGUE, Format},
    id::{AccountId, IocId},
    ioc::Whitelist,
    member::MembershipState,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QuerySelect, Select,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{IdRange, within};
use crate::{
    Conn, StoreResult,
    row::{device, group, ioc, member, refused},
};

/// Whether what a receipt is about holds a member: it was fetched after the member joined, and is no
/// publication that was made before. One that is not kept any more counts by the time alone.
const HAS_IT: &str = "r.fetched_at >= members.joined_at AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.group_id = r.group_id AND p.number = r.publication AND p.created_at < members.joined_at)";

impl<C: ConnectionTrait> Conn<C> {
    /// IOCs of an account in a range that a person said are never sent.
    pub async fn never_sent_between(
        &self,
        account: &AccountId,
        range: IdRange,
    ) -> StoreResult<Vec<IocId>> {
        // Written out: only so do the engines see that the index holds all of them.
        let never_sent = format!("whitelist = {}", Whitelist::NeverSent.code());
        let find = ioc::Entity::find()
            .select_only()
            .column(ioc::Column::Id)
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .filter(Expr::cust(never_sent))
            .filter(within(ioc::Column::Id, range));
        let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
        Ok(ids.into_iter().map(IocId).collect())
    }

    /// IOCs in a range that groups of an account hold, each once.
    pub async fn in_groups_between(
        &self,
        account: &AccountId,
        range: IdRange,
    ) -> StoreResult<Vec<IocId>> {
        let find = self.live_between(account, range);
        let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
        Ok(ids.into_iter().map(IocId).collect())
    }

    /// IOCs in a range that devices of an account fetched after they joined a group, each once: a
    /// MISP the event, others the publication.
    pub async fn fetched_between(
        &self,
        account: &AccountId,
        range: IdRange,
    ) -> StoreResult<HashSet<IocId>> {
        let misp = CATALOGUE.iter().filter(|of| of.format == Format::MispFeed).map(|of| of.id);
        let of_device = group::Entity::belongs_to(device::Entity)
            .from(group::Column::DeviceId)
            .to(device::Column::Id)
            .into();
        let lists = self
            .live_between(account, range)
            .join(JoinType::InnerJoin, of_device)
            .filter(device::Column::DeviceType.is_not_in(misp))
            .filter(Expr::cust(format!(
                "EXISTS (SELECT 1 FROM receipts r WHERE r.group_id = members.group_id AND {HAS_IT})"
            )));
        let events = self.live_between(account, range).filter(Expr::cust(format!(
            "EXISTS (SELECT 1 FROM event_receipts r WHERE r.event = members.part_id AND r.publication > 0 AND {HAS_IT})"
        )));
        let mut found = HashSet::new();
        for find in [lists, events] {
            let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
            found.extend(ids.into_iter().map(IocId));
        }
        Ok(found)
    }

    /// The ids of IOCs in a range that groups of an account hold, each once.
    fn live_between(&self, account: &AccountId, range: IdRange) -> Select<member::Entity> {
        let of_group = member::Entity::belongs_to(group::Entity)
            .from(member::Column::GroupId)
            .to(group::Column::Id)
            .into();
        member::Entity::find()
            .join(JoinType::InnerJoin, of_group)
            .select_only()
            .column(member::Column::IocId)
            .distinct()
            .filter(group::Column::AccountId.eq(account.as_str()))
            .filter(member::Column::Standing.eq(MembershipState::Live.code()))
            .filter(within(member::Column::IocId, range))
    }

    /// IOCs in a range that groups of an account keep back, each once.
    pub async fn kept_back_between(
        &self,
        account: &AccountId,
        range: IdRange,
    ) -> StoreResult<Vec<IocId>> {
        let of_group = refused::Entity::belongs_to(group::Entity)
            .from(refused::Column::GroupId)
            .to(group::Column::Id)
            .into();
        let find = refused::Entity::find()
            .join(JoinType::InnerJoin, of_group)
            .select_only()
            .column(refused::Column::IocId)
            .distinct()
            .filter(group::Column::AccountId.eq(account.as_str()))
            .filter(within(refused::Column::IocId, range));
        let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
        Ok(ids.into_iter().map(IocId).collect())
    }
}
