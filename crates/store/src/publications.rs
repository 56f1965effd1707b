//! What groups publish: parts, publications, and the blobs that hold their files.

use std::collections::{BTreeSet, HashMap};

use iocast_domain::{
    id::{AccountId, GroupId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, JoinType, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

use crate::{
    Conn, StoreResult,
    error::corrupt,
    groups::{GroupRow, to_group},
    row::{account, blob, group, part, publication},
};

/// Groups whose publications are read together.
const LISTS: usize = 500;

mod decisions;
mod kept;
mod rows;
pub use self::rows::{
    Before, BlobRef, FileRef, GroupUpdate, NewBlob, NewPublication, PartRow, PublicationLine,
    PublishState,
};
use self::rows::{before_bytes, count, json, stored, to_before, to_part, to_state};
mod write;

/// Publications kept of each group.
const PUBLICATIONS_KEPT: i64 = 20;
/// Most rows in one statement.
const ROWS: usize = 2_000;

impl<C: ConnectionTrait> Conn<C> {
    /// What the publisher knows of a group.
    pub async fn publish_state(&self, id: GroupId) -> StoreResult<Option<PublishState>> {
        group::Entity::find_by_id(id.0).one(&self.0).await?.map(|row| to_state(&row)).transpose()
    }

    /// Some groups of an account with what the publisher knows of each.
    pub async fn groups_to_publish(
        &self,
        account: &AccountId,
        ids: &[GroupId],
    ) -> StoreResult<Vec<(GroupRow, PublishState)>> {
        let of_account = group::Column::AccountId.eq(account.as_str());
        let rows = group::Entity::find()
            .filter(group::Column::Id.is_in(ids.iter().map(|id| id.0)))
            .filter(of_account)
            .all(&self.0)
            .await?;
        let read = |row: group::Model| {
            let state = to_state(&row)?;
            Ok((to_group(row)?, state))
        };
        rows.into_iter().map(read).collect()
    }

    /// Groups with something to publish at `now`, with their accounts: those behind their account,
    /// those that are configured otherwise, and those whose time has come, each found by an index.
    /// By account, those that are furthest behind first.
    pub async fn publish_due(&self, now: Timestamp) -> StoreResult<Vec<(AccountId, GroupId)>> {
        // A held publication is looked at again only when something changed since, or its time has
        // come.
        let behind = Expr::col((group::Entity, group::Column::AppliedSeq))
            .lt(Expr::col((account::Entity, account::Column::ChangeSeq)));
        let changed_since = Expr::col((group::Entity, group::Column::HeldSeq))
            .lt(Expr::col((account::Entity, account::Column::ChangeSeq)));
        let reconfigured = Expr::col((group::Entity, group::Column::AppliedConfig))
            .lt(Expr::col((group::Entity, group::Column::ConfigVersion)));
        let reconfigured_since = Expr::col((group::Entity, group::Column::HeldConfig))
            .lt(Expr::col((group::Entity, group::Column::ConfigVersion)));
        let asked_again = Condition::any()
            .add(group::Column::HeldUntil.is_null())
            .add(group::Column::HeldUntil.lte(now.micros()))
            .add(changed_since)
            .add(reconfigured_since);
        let due = || {
            let accounts = account::Entity::belongs_to(group::Entity)
                .from(account::Column::Id)
                .to(group::Column::AccountId);
            let find =
                account::Entity::find().join(JoinType::InnerJoin, accounts.into()).select_only();
            find.column(group::Column::AccountId)
                .column(group::Column::AppliedSeq)
                .column(group::Column::Id)
                .filter(asked_again.clone())
        };
        let mut found: BTreeSet<(String, i64, Uuid)> = BTreeSet::new();
        // SQLite would look at all groups of all accounts at once; it uses the index for one
        // account.
        for account in self.accounts_behind().await? {
            found.extend(
                due()
                    .filter(account::Column::Id.eq(account))
                    .filter(behind.clone())
                    .into_tuple::<(String, i64, Uuid)>()
                    .all(&self.0)
                    .await?,
            );
        }
        for why in [reconfigured, group::Column::DueAt.lte(now.micros())] {
            found.extend(due().filter(why).into_tuple::<(String, i64, Uuid)>().all(&self.0).await?);
        }
        found
            .into_iter()
            .map(|(account, _, id)| {
                Ok((crate::accounts::account_id("ioc_groups", account)?, GroupId(id)))
            })
            .collect()
    }

    /// Accounts of which a group has not published all that changed.
    async fn accounts_behind(&self) -> StoreResult<Vec<String>> {
        let behind = Query::select()
            .expr(Expr::value(1))
            .from(group::Entity)
            .and_where(
                Expr::col((group::Entity, group::Column::AccountId))
                    .equals((account::Entity, account::Column::Id)),
            )
            .and_where(
                Expr::col((group::Entity, group::Column::AppliedSeq))
                    .lt(Expr::col((account::Entity, account::Column::ChangeSeq))),
            )
            .take();
        let find = account::Entity::find()
            .select_only()
            .column(account::Column::Id)
            .filter(Expr::exists(behind));
        Ok(find.into_tuple().all(&self.0).await?)
    }

    /// The parts of some groups, oldest first.
    pub async fn part_list(
        &self,
        groups: &[GroupId],
    ) -> StoreResult<HashMap<GroupId, Vec<PartRow>>> {
        let of_groups = part::Column::GroupId.is_in(groups.iter().map(|g| g.0));
        let mut found: HashMap<GroupId, Vec<PartRow>> = HashMap::new();
        for row in part::Entity::find()
            .filter(of_groups)
            .order_by_asc(part::Column::Day)
            .order_by_asc(part::Column::Number)
            .all(&self.0)
            .await?
        {
            found.entry(GroupId(row.group_id)).or_default().push(to_part(row)?);
        }
        Ok(found)
    }

    /// What some groups serve: the number of their last publication, and the files of that one or
    /// of the one that they are frozen at. Groups without a publication are left out.
    pub async fn publication_served(
        &self,
        ids: &[GroupId],
    ) -> StoreResult<HashMap<GroupId, (i64, Vec<FileRef>)>> {
        let mut found = HashMap::with_capacity(ids.len());
        let last = Expr::col((group::Entity, group::Column::Publication));
        let frozen = Expr::col((group::Entity, group::Column::Frozen)).if_null(last.clone());
        let restored = Expr::col((group::Entity, group::Column::Restored)).is_not_null();
        let number = Expr::case(restored, last).finally(frozen);
        for chunk in ids.chunks(ROWS) {
            let rows: Vec<(Uuid, i64, String)> = group::Entity::find()
                .join(
                    JoinType::InnerJoin,
                    group::Entity::belongs_to(publication::Entity)
                        .from(group::Column::Id)
                        .to(publication::Column::GroupId)
                        .into(),
                )
                .select_only()
                .column(group::Column::Id)
                .column(group::Column::Publication)
                .column(publication::Column::Files)
                .filter(group::Column::Id.is_in(chunk.iter().map(|id| id.0)))
                .filter(
                    Expr::col((publication::Entity, publication::Column::Number))
                        .eq(number.clone()),
                )
                .into_tuple()
                .all(&self.0)
                .await?;
            for (id, number, files) in rows {
                found.insert(
                    GroupId(id),
                    (
                        number,
                        serde_json::from_str(&files)
                            .map_err(|e| corrupt("publications", "files", e))?,
                    ),
                );
            }
        }
        Ok(found)
    }

    /// The last publications of a group, newest first.
    pub async fn publication_list(&self, id: GroupId) -> StoreResult<Vec<PublicationLine>> {
        Ok(self.publication_lists(&[id]).await?.remove(&id).unwrap_or_default())
    }

    /// The last publications of some groups, newest first.
    pub async fn publication_lists(
        &self,
        groups: &[GroupId],
    ) -> StoreResult<HashMap<GroupId, Vec<PublicationLine>>> {
        let mut found: HashMap<GroupId, Vec<PublicationLine>> = HashMap::new();
        for chunk in groups.chunks(LISTS) {
            let rows = publication::Entity::find()
                .filter(publication::Column::GroupId.is_in(chunk.iter().map(|group| group.0)))
                .order_by_desc(publication::Column::Number)
                .select_only()
                .columns([
                    publication::Column::GroupId,
                    publication::Column::Number,
                    publication::Column::CreatedAt,
                    publication::Column::Live,
                    publication::Column::Added,
                    publication::Column::Removed,
                ])
                .into_tuple::<(Uuid, i64, i64, i32, i32, i32)>()
                .all(&self.0)
                .await?;
            for (group, number, created_at, live, added, removed) in rows {
                found.entry(GroupId(group)).or_default().push(PublicationLine {
                    number,
                    created_at: Timestamp::from_micros(created_at),
                    live: count(live),
                    added: count(added),
                    removed: count(removed),
                });
            }
        }
        Ok(found)
    }

    /// The numbers of the last publications of all groups, each with the one that it is frozen at.
    pub async fn publication_numbers(&self) -> StoreResult<HashMap<GroupId, (i64, Option<i64>)>> {
        let find = group::Entity::find()
            .select_only()
            .column(group::Column::Id)
            .column(group::Column::Publication)
            .column(group::Column::Frozen);
        let rows: Vec<(Uuid, i64, Option<i64>)> = find.into_tuple().all(&self.0).await?;
        Ok(rows.into_iter().map(|(id, number, frozen)| (GroupId(id), (number, frozen))).collect())
    }

    /// What IOCs were in a group at one of its publications, as far as later ones changed them;
    /// none if one of those was made by a version that did not note it.
    pub async fn publication_before(
        &self,
        id: GroupId,
        number: i64,
    ) -> StoreResult<Option<Vec<Before>>> {
        let later: Vec<(i64, Option<Vec<u8>>)> = publication::Entity::find()
            .filter(publication::Column::GroupId.eq(id.0))
            .filter(publication::Column::Number.gt(number))
            .order_by_desc(publication::Column::Number)
            .select_only()
            .columns([publication::Column::Number, publication::Column::Before])
            .into_tuple()
            .all(&self.0)
            .await?;
        // One that an earlier version kept for a frozen group is older than those that are kept.
        let last = later.first().map_or(number, |(last, _)| *last);
        if i64::try_from(later.len()) != Ok(last - number) {
            return Ok(None);
        }
        let mut before = HashMap::new();
        for (_, bytes) in later {
            let Some(bytes) = bytes else { return Ok(None) };
            // Those of earlier publications count: they come last.
            before.extend(to_before(&bytes));
        }
        Ok(Some(before.into_iter().collect()))
    }

    /// The files of one publication of a group.
    pub async fn publication_files_of(
        &self,
        id: GroupId,
        number: i64,
    ) -> StoreResult<Option<Vec<FileRef>>> {
        let files: Option<String> = publication::Entity::find_by_id((id.0, number))
            .select_only()
            .column(publication::Column::Files)
            .into_tuple()
            .one(&self.0)
            .await?;
        let read = |files: String| serde_json::from_str(&files);
        files.map(read).transpose().map_err(|e| corrupt("publications", "files", e))
    }

    /// Blobs of a group by content.
    pub async fn blob_fetch(
        &self,
        id: GroupId,
        hashes: &[String],
    ) -> StoreResult<HashMap<String, Vec<u8>>> {
        let mut found = HashMap::with_capacity(hashes.len());
        for chunk in hashes.chunks(ROWS) {
            let rows = blob::Entity::find()
                .filter(blob::Column::GroupId.eq(id.0))
                .filter(blob::Column::Hash.is_in(chunk.iter().map(String::as_str)))
                .all(&self.0)
                .await?;
            found.extend(rows.into_iter().map(|r| (r.hash, r.data)));
        }
        Ok(found)
    }
}
