//! What administrators decide about what a group publishes.

use iocast_domain::{id::GroupId, time::Timestamp};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};

use crate::{Signal, StoreResult, Txn, row::group};

impl Txn {
    /// Lets a held publication through; false if none is held.
    pub async fn group_let_through(&self, id: GroupId, now: Timestamp) -> StoreResult<bool> {
        let done = group::Entity::update_many()
            .col_expr(group::Column::LetThrough, Expr::value(now.micros()))
            .col_expr(group::Column::ConfigVersion, Expr::col(group::Column::ConfigVersion).add(1))
            .filter(group::Column::Id.eq(id.0))
            .filter(group::Column::HeldUntil.is_not_null())
            .exec(&self.0)
            .await?;
        self.notify(Signal::Changes).await?;
        Ok(done.rows_affected == 1)
    }

    /// Keeps a group at one of its publications, or at none. The group's row is locked from here on.
    pub async fn group_freeze(&self, id: GroupId, publication: Option<i64>) -> StoreResult<()> {
        let set = group::Entity::update_many()
            .col_expr(group::Column::Frozen, Expr::value(publication))
            .filter(group::Column::Id.eq(id.0));
        set.exec(&self.0).await?;
        self.feeds_moved(&[id]).await
    }

    /// Has the publisher make a publication that restores the one that a group is frozen at
    /// (`restored` is 0), or one of what the group selects by now (none). What gets lost by that is
    /// not held: an admin asked for it.
    pub async fn group_republish(
        &self,
        id: GroupId,
        restored: Option<i64>,
        now: Timestamp,
    ) -> StoreResult<()> {
        group::Entity::update_many()
            .col_expr(group::Column::Restored, Expr::value(restored))
            .col_expr(group::Column::LetThrough, Expr::value(now.micros()))
            .col_expr(group::Column::ConfigVersion, Expr::col(group::Column::ConfigVersion).add(1))
            .filter(group::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        self.notify(Signal::Changes).await
    }
}
