//! When IOCs were seen.

use iocast_domain::{
    id::{AccountId, IocId},
    ioc::Kind,
    time::Timestamp,
};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::ROWS;
use crate::{Conn, StoreResult, row::ioc};

impl<C: ConnectionTrait> Conn<C> {
    /// Those of some IOCs of an account that were last seen before the time of their kind, active or
    /// retired.
    pub async fn ioc_seen_before(
        &self,
        account: &AccountId,
        ids: &[IocId],
        before: &[(Kind, Timestamp)],
    ) -> StoreResult<Vec<IocId>> {
        let of_kind = |(kind, at): &(Kind, Timestamp)| {
            Condition::all()
                .add(ioc::Column::Kind.eq(kind.code()))
                .add(ioc::Column::LastSeen.lt(at.micros()))
        };
        let any = before.iter().map(of_kind).fold(Condition::any(), Condition::add);
        let mut found = Vec::new();
        for chunk in ids.chunks(ROWS) {
            let find = ioc::Entity::find()
                .select_only()
                .column(ioc::Column::Id)
                .filter(ioc::Column::Id.is_in(chunk.iter().map(|id| id.0)))
                .filter(ioc::Column::AccountId.eq(account.as_str()))
                .filter(ioc::Column::DeletedAt.is_null())
                .filter(any.clone());
            let some: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
            found.extend(some.into_iter().map(IocId));
        }
        Ok(found)
    }
}
