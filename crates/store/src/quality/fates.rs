//! What became of IOCs: never sent, in groups, fetched, kept back.

use std::collections::HashSet;

use iocast_domain::{
    device_type::{CATALOGUE, Format},
    id::{AccountId, IocId},
    ioc::Whitelist,
    member::MembershipState,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait as _, JoinType, QueryFilter, QuerySelect,
    Select, sea_query::Expr,
};
use uuid::Uuid;

use super::{IdRange, within};
use crate::{
    Conn, StoreResult,
    row::{device, event_receipt, group, ioc, member, receipt, refused},
};

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

    /// IOCs in a range that devices of an account fetched since they are in a group, each once: a
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
        let of_receipt = member::Entity::belongs_to(receipt::Entity)
            .from(member::Column::GroupId)
            .to(receipt::Column::GroupId)
            .into();
        let lists = self
            .live_between(account, range)
            .join(JoinType::InnerJoin, of_device)
            .join(JoinType::InnerJoin, of_receipt)
            .filter(device::Column::DeviceType.is_not_in(misp))
            .filter(
                Expr::col((receipt::Entity, receipt::Column::FetchedAt))
                    .gte(Expr::col((member::Entity, member::Column::JoinedAt))),
            );
        let of_event = member::Entity::belongs_to(event_receipt::Entity)
            .from(member::Column::PartId)
            .to(event_receipt::Column::Event)
            .into();
        let events = self
            .live_between(account, range)
            .join(JoinType::InnerJoin, of_event)
            .filter(event_receipt::Column::Publication.gt(0_i64))
            .filter(
                Expr::col((event_receipt::Entity, event_receipt::Column::FetchedAt))
                    .gte(Expr::col((member::Entity, member::Column::JoinedAt))),
            );
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
