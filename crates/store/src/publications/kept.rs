//! What stays of publications that were made, and what is forgotten.

use std::collections::HashMap;

use iocast_domain::id::GroupId;
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{FileRef, ROWS};
use crate::{
    StoreResult, Txn,
    row::{blob, group, publication},
};

impl Txn {
    /// Writes blobs. A blob that exists is noted as used by the publication.
    pub(super) async fn blobs_insert(&self, mut blobs: Vec<blob::ActiveModel>) -> StoreResult<()> {
        while !blobs.is_empty() {
            let some: Vec<_> = blobs.drain(..blobs.len().min(64)).collect();
            let keep = OnConflict::columns([blob::Column::GroupId, blob::Column::Hash])
                .update_column(blob::Column::LastPublication)
                .to_owned();
            blob::Entity::insert_many(some)
                .on_conflict(keep)
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Which of these groups are frozen at which publication. What a frozen group serves is kept
    /// however old it gets: its blobs count as used by the publication that was just made.
    pub(super) async fn frozen_kept(
        &self,
        numbers: &[(GroupId, i64)],
    ) -> StoreResult<HashMap<GroupId, i64>> {
        let find = group::Entity::find()
            .select_only()
            .column(group::Column::Id)
            .column(group::Column::Frozen);
        let of_frozen = group::Column::Id
            .is_in(numbers.iter().map(|(group, _)| group.0))
            .and(group::Column::Frozen.is_not_null())
            .and(group::Column::Restored.is_null());
        let frozen: Vec<(Uuid, i64)> = find.filter(of_frozen).into_tuple().all(&self.0).await?;
        let frozen: HashMap<GroupId, i64> =
            frozen.into_iter().map(|(group, number)| (GroupId(group), number)).collect();
        for (group, number) in numbers {
            let Some(at) = frozen.get(group).copied() else { continue };
            let files = self.publication_files_of(*group, at).await?.unwrap_or_default();
            let hashes: Vec<String> =
                files.iter().flat_map(FileRef::blobs).map(|s| s.hash.clone()).collect();
            self.blobs_used(*group, &hashes, *number).await?;
        }
        Ok(frozen)
    }

    /// Forgets publications of some groups up to a number, but for those that groups are frozen at.
    pub(super) async fn publications_forget(
        &self,
        oldest: &[(GroupId, i64)],
        frozen: &HashMap<GroupId, i64>,
    ) -> StoreResult<()> {
        let (mut old, mut unused) = (Condition::any(), Condition::any());
        for (group, oldest) in oldest.iter().filter(|(_, oldest)| *oldest > 0) {
            let not_frozen =
                frozen.get(group).map(|number| publication::Column::Number.ne(*number));
            let of_group = publication::Column::GroupId.eq(group.0);
            old = old.add(
                Condition::all()
                    .add(of_group)
                    .add(publication::Column::Number.lte(*oldest))
                    .add_option(not_frozen),
            );
            unused = unused.add(
                blob::Column::GroupId.eq(group.0).and(blob::Column::LastPublication.lte(*oldest)),
            );
        }
        if !old.is_empty() {
            publication::Entity::delete_many().filter(old).exec(&self.0).await?;
            blob::Entity::delete_many().filter(unused).exec(&self.0).await?;
        }
        Ok(())
    }

    /// Notes that a publication uses blobs that are there.
    pub(super) async fn blobs_used(
        &self,
        id: GroupId,
        hashes: &[String],
        number: i64,
    ) -> StoreResult<()> {
        for chunk in hashes.chunks(ROWS) {
            blob::Entity::update_many()
                .col_expr(blob::Column::LastPublication, Expr::value(number))
                .filter(blob::Column::GroupId.eq(id.0))
                .filter(blob::Column::Hash.is_in(chunk.iter().map(String::as_str)))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }
}
