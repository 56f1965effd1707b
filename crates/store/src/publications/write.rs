//! Publishing: claims, parts, publications and holds are written.

use std::collections::{HashMap, HashSet};

use iocast_domain::{
    group::Held,
    id::{GroupId, PartId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{
    FileRef, GroupUpdate, NewBlob, NewPublication, PUBLICATIONS_KEPT, PartRow, PublicationLine,
    ROWS, before_bytes, json, stored,
};
use crate::{
    StoreResult, Txn,
    row::{blob, event_receipt, group, member, part, publication, withdrawal},
};

impl Txn {
    /// Claims a group for one publisher until `until`; false if another one holds it. `left` are
    /// claims of the same publisher that it could not give back. Claims run on the real clock.
    pub async fn publish_claim(
        &self,
        id: GroupId,
        token: Uuid,
        left: Vec<Uuid>,
        now: Timestamp,
        until: Timestamp,
    ) -> StoreResult<bool> {
        let done = group::Entity::update_many()
            .col_expr(group::Column::ClaimToken, Expr::value(token))
            .col_expr(group::Column::ClaimUntil, Expr::value(until.micros()))
            .filter(group::Column::Id.eq(id.0))
            .filter(
                Condition::any()
                    .add(group::Column::ClaimUntil.lte(now.micros()))
                    .add(group::Column::ClaimToken.is_in(left)),
            )
            .exec(&self.0)
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Holds a claim until later; false if another process holds the group, or it is gone.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn publish_renew(
        &self,
        id: GroupId,
        token: Uuid,
        until: Timestamp,
    ) -> StoreResult<bool> {
        let done = group::Entity::update_many()
            .col_expr(group::Column::ClaimUntil, Expr::value(until.micros()))
            .filter(group::Column::Id.eq(id.0))
            .filter(group::Column::ClaimToken.eq(token))
            .filter(group::Column::ClaimUntil.gt(0_i64))
            .exec(&self.0)
            .await?;
        Ok(done.rows_affected == 1)
    }

    /// Writes what a group serves from now on and releases the claim; false if the claim was lost,
    /// the group is gone, or it was frozen or thawed since.
    pub async fn publish_settle(&self, id: GroupId, update: &GroupUpdate) -> StoreResult<bool> {
        let GroupUpdate {
            claim,
            applied_config,
            applied_seq,
            publication,
            live,
            cut,
            due_at,
            latest_stamp,
            boundary,
            kept_at: (frozen, was_restored),
            restored,
            aged_day,
            withdrawals_only,
        } = update;
        let as_it_was = |column: group::Column, value: &Option<i64>| match value {
            Some(value) => column.eq(*value),
            None => column.is_null(),
        };
        let mut done = group::Entity::update_many()
            .col_expr(group::Column::AppliedConfig, Expr::value(*applied_config))
            .col_expr(group::Column::AppliedSeq, Expr::value(*applied_seq))
            .col_expr(group::Column::Publication, Expr::value(*publication))
            .col_expr(group::Column::Live, Expr::value(stored(*live)))
            .col_expr(group::Column::Cut, Expr::value(json(cut)?))
            .col_expr(group::Column::DueAt, Expr::value(*due_at))
            .col_expr(group::Column::LatestStamp, Expr::value(*latest_stamp))
            .col_expr(
                group::Column::Boundary,
                Expr::value(boundary.as_ref().map(json).transpose()?),
            )
            .col_expr(group::Column::ClaimUntil, Expr::value(0_i64))
            .col_expr(group::Column::Restored, Expr::value(*restored))
            .col_expr(group::Column::AgedDay, Expr::value(*aged_day))
            .filter(group::Column::Id.eq(id.0))
            .filter(as_it_was(group::Column::Frozen, frozen))
            .filter(as_it_was(group::Column::Restored, was_restored))
            .filter(
                Condition::all().add_option(claim.map(|claim| group::Column::ClaimToken.eq(claim))),
            );
        if !withdrawals_only {
            done = done
                .col_expr(group::Column::Held, Expr::value(None::<String>))
                .col_expr(group::Column::HeldUntil, Expr::value(None::<i64>))
                .col_expr(group::Column::LetThrough, Expr::value(None::<i64>));
        }
        Ok(done.exec(&self.0).await?.rows_affected == 1)
    }

    /// Holds a publication until `held.until`, unless a change after `seq` or `config` asks for
    /// another look. Gives whether it was held just now; false if it was before, or the claim was
    /// lost.
    pub async fn publish_hold(
        &self,
        id: GroupId,
        claim: Option<Uuid>,
        held: &Held,
        seq: i64,
        config: i64,
    ) -> StoreResult<bool> {
        let newly = group::Entity::update_many()
            .col_expr(group::Column::Held, Expr::value(json(held)?))
            .col_expr(group::Column::HeldUntil, Expr::value(held.until.micros()))
            .col_expr(group::Column::HeldSeq, Expr::value(seq))
            .col_expr(group::Column::HeldConfig, Expr::value(config))
            .filter(group::Column::Id.eq(id.0))
            // A group that was frozen since holds nothing.
            .filter(group::Column::Restored.is_null())
            .filter(
                Condition::all().add_option(claim.map(|claim| group::Column::ClaimToken.eq(claim))),
            );
        let first = newly
            .clone()
            .filter(group::Column::HeldUntil.is_null())
            .exec(&self.0)
            .await?
            .rows_affected
            == 1;
        if !first {
            newly.exec(&self.0).await?;
        }
        Ok(first)
    }

    /// Notes whether people were told that a group is full. Gives false if it was noted so already.
    pub async fn group_set_limit_told(&self, id: GroupId, told: bool) -> StoreResult<bool> {
        let note = group::Entity::update_many()
            .col_expr(group::Column::LimitTold, Expr::value(told))
            .filter(group::Column::Id.eq(id.0))
            .filter(group::Column::LimitTold.eq(!told));
        Ok(note.exec(&self.0).await?.rows_affected > 0)
    }

    /// Releases a claim without a publication.
    pub async fn publish_release(&self, id: GroupId, token: Uuid) -> StoreResult<()> {
        group::Entity::update_many()
            .col_expr(group::Column::ClaimUntil, Expr::value(0_i64))
            .filter(group::Column::Id.eq(id.0))
            .filter(group::Column::ClaimToken.eq(token))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes parts, new or changed.
    pub async fn part_put_many(&self, parts: &[(GroupId, PartRow)]) -> StoreResult<()> {
        for chunk in parts.chunks(ROWS) {
            let rows = chunk
                .iter()
                .map(|(group, p)| {
                    let PartRow {
                        id: part_id,
                        day,
                        number,
                        group_name,
                        stamp,
                        sealed,
                        total,
                        live,
                        pending,
                        next_change_at,
                        offer_again: _,
                        manifest_entry,
                        event,
                        first,
                        version,
                        hashes,
                    } = p;
                    Ok(part::ActiveModel {
                        id: Set(part_id.0),
                        group_id: Set(group.0),
                        day: Set(day.clone()),
                        number: Set(stored(*number)),
                        group_name: Set(group_name.clone()),
                        stamp: Set(*stamp),
                        sealed: Set(*sealed),
                        total: Set(stored(*total)),
                        live: Set(stored(*live)),
                        pending: Set(*pending),
                        next_change_at: Set(*next_change_at),
                        manifest_entry: Set(manifest_entry.clone()),
                        event_segment: Set(json(event)?),
                        hashes_segment: Set(json(hashes)?),
                        first_segment: Set(first.as_ref().map(json).transpose()?),
                        version: Set(version.clone()),
                        // A receiver may lack it since this was read: it is cleared for what was
                        // made.
                        offer_again: Set(false),
                    })
                })
                .collect::<StoreResult<Vec<_>>>()?;
            let update = OnConflict::column(part::Column::Id)
                .update_columns([
                    part::Column::Stamp,
                    part::Column::Total,
                    part::Column::Live,
                    part::Column::Pending,
                    part::Column::NextChangeAt,
                    part::Column::ManifestEntry,
                    part::Column::EventSegment,
                    part::Column::HashesSegment,
                    part::Column::FirstSegment,
                    part::Column::Version,
                ])
                // Somebody may have closed it since it was read.
                .value(
                    part::Column::Sealed,
                    Expr::col((part::Entity, part::Column::Sealed))
                        .or(Expr::col(("excluded", part::Column::Sealed))),
                )
                .to_owned();
            part::Entity::insert_many(rows)
                .on_conflict(update)
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Forgets a part that holds nothing any more.
    pub async fn part_delete(&self, id: PartId) -> StoreResult<()> {
        part::Entity::delete_by_id(id.0).exec(&self.0).await?;
        member::Entity::delete_many().filter(member::Column::PartId.eq(id.0)).exec(&self.0).await?;
        event_receipt::Entity::delete_many()
            .filter(event_receipt::Column::Event.eq(id.0))
            .exec(&self.0)
            .await?;
        // From now on the manifest without the event says that its IOCs are gone.
        withdrawal::Entity::update_many()
            .col_expr(withdrawal::Column::Event, Expr::value(None::<Uuid>))
            .filter(withdrawal::Column::Event.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes publications of some groups with their new blobs, and forgets what is older than the
    /// last twenty. Gives the publications whose files groups serve instead of their last ones.
    pub async fn publication_insert(
        &self,
        all: Vec<NewPublication>,
    ) -> StoreResult<HashMap<GroupId, i64>> {
        let (mut blobs, mut rows, mut used) =
            (Vec::new(), Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
        for publication in all {
            let NewPublication {
                group,
                line: PublicationLine { number, created_at, live, added, removed },
                seq,
                files,
                blobs: mut new,
                before,
            } = publication;
            new.sort_unstable_by(|a, b| a.hash.cmp(&b.hash));
            new.dedup_by(|a, b| a.hash == b.hash);
            let written: HashSet<&str> = new.iter().map(|b| b.hash.as_str()).collect();
            let others = files
                .iter()
                .flat_map(FileRef::blobs)
                .map(|s| s.hash.as_str())
                .filter(|hash| !written.contains(hash));
            used.push((group, number, others.map(str::to_owned).collect::<Vec<_>>()));
            rows.push(publication::ActiveModel {
                group_id: Set(group.0),
                number: Set(number),
                created_at: Set(created_at.micros()),
                seq: Set(seq),
                live: Set(stored(live)),
                added: Set(stored(added)),
                removed: Set(stored(removed)),
                files: Set(json(&files)?),
                before: Set(Some(before_bytes(&before))),
            });
            let row = |b: NewBlob| blob::ActiveModel {
                group_id: Set(group.0),
                hash: Set(b.hash),
                last_publication: Set(number),
                data: Set(b.data),
            };
            blobs.extend(new.into_iter().map(row));
        }
        self.blobs_insert(blobs).await?;
        for (group, number, hashes) in &used {
            self.blobs_used(*group, hashes, *number).await?;
        }
        publication::Entity::insert_many(rows).exec_without_returning(&self.0).await?;
        let numbers: Vec<(GroupId, i64)> =
            used.iter().map(|(group, number, _)| (*group, *number)).collect();
        let frozen = self.frozen_kept(&numbers).await?;
        let oldest: Vec<(GroupId, i64)> =
            numbers.iter().map(|(group, number)| (*group, number - PUBLICATIONS_KEPT)).collect();
        self.publications_forget(&oldest, &frozen).await?;
        let groups: Vec<GroupId> = numbers.iter().map(|(group, _)| *group).collect();
        self.feeds_moved(&groups).await?;
        Ok(frozen)
    }
}
