//! What groups publish: parts, publications, and the blobs that hold their files.

use std::collections::{BTreeSet, HashMap, HashSet};

use iocast_domain::{
    group::{Boundary, Held, Truncation},
    id::{AccountId, GroupId, PartId},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, JoinType, QueryFilter,
    QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict, Query},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Conn, Signal, StoreResult, Txn,
    error::corrupt,
    groups::{GroupRow, to_group},
    row::{account, blob, group, member, part, publication},
};

/// Publications kept of each group.
const PUBLICATIONS_KEPT: i64 = 20;
/// Most rows in one statement.
const ROWS: usize = 2_000;

/// A compressed piece of a file, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// BLAKE3 of the compressed bytes, in hexadecimal.
    #[serde(rename = "h")]
    pub hash: String,
    /// CRC-32 of the plain bytes.
    #[serde(rename = "c")]
    pub crc: u32,
    /// Plain length.
    #[serde(rename = "r")]
    pub raw_len: u64,
    /// Compressed length.
    #[serde(rename = "l")]
    pub len: u64,
}

/// A file of a publication.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileRef {
    /// Path below the group URL.
    #[serde(rename = "p")]
    pub path: String,
    /// Its pieces, in order.
    #[serde(rename = "s")]
    pub segments: Vec<BlobRef>,
    /// Of a list: the plain length of what stands before the first entry.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// A blob to write.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Its name.
    pub hash: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A publication to be written.
#[derive(Debug)]
pub struct NewPublication {
    /// Whose it is.
    pub group: GroupId,
    /// Its line in the history.
    pub line: PublicationLine,
    /// The change number that it holds.
    pub seq: i64,
    /// Its files.
    pub files: Vec<FileRef>,
    /// What of them is new.
    pub blobs: Vec<NewBlob>,
}

/// What the publisher knows of a group.
#[derive(Clone, Debug)]
pub struct PublishState {
    /// Raised by every change of rules, limit, priority or sources.
    pub config_version: i64,
    /// The configuration that the last publication was made from.
    pub applied_config: i64,
    /// The change number that the last publication holds.
    pub applied_seq: i64,
    /// Number of the last publication.
    pub publication: i64,
    /// Live members.
    pub live: u32,
    /// What was left out.
    pub cut: Truncation,
    /// When something is to do even without a change.
    pub due_at: Option<i64>,
    /// The latest stamp given: UTC seconds for an event, UTC microseconds in a log.
    pub latest_stamp: Option<i64>,
    /// A publication that is held.
    pub held: Option<Held>,
    /// An admin lets it through.
    pub let_through: bool,
    /// People were told that the group is full.
    pub limit_told: bool,
    /// Where the room of a full group ends.
    pub boundary: Option<Boundary>,
}

/// A part as it is stored.
#[derive(Clone, Debug)]
pub struct PartRow {
    /// Event UUID.
    pub id: PartId,
    /// `YYYY-MM-DD`.
    pub day: String,
    /// From 1 within the day.
    pub number: u32,
    /// The group's name when it was begun.
    pub group_name: String,
    /// Event timestamp, UTC seconds.
    pub stamp: i64,
    /// Takes no more members.
    pub sealed: bool,
    /// Members, tombstones counted.
    pub total: u32,
    /// Live members.
    pub live: u32,
    /// Something waits to be told to receivers.
    pub dirty: bool,
    /// Until when it rests, in UTC microseconds.
    pub rested_at: i64,
    /// Its entry in the manifest.
    pub manifest_entry: String,
    /// Its event file.
    pub event: BlobRef,
    /// Its lines of `hashes.csv`.
    pub hashes: BlobRef,
}

/// A publication in the history of a group.
#[derive(Clone, Debug)]
pub struct PublicationLine {
    /// From 1.
    pub number: i64,
    /// When.
    pub created_at: Timestamp,
    /// IOCs in it.
    pub live: u32,
    /// IOCs that joined.
    pub added: u32,
    /// IOCs that left.
    pub removed: u32,
}

/// What a new publication says of its group.
#[derive(Clone, Debug)]
pub struct GroupUpdate {
    /// The claim it was made under, where other processes publish, too.
    pub claim: Option<Uuid>,
    /// The configuration it was made from.
    pub applied_config: i64,
    /// The change number it holds.
    pub applied_seq: i64,
    /// Its number; unchanged where nothing was published.
    pub publication: i64,
    /// Live members.
    pub live: u32,
    /// What was left out.
    pub cut: Truncation,
    /// When something is to do next.
    pub due_at: Option<i64>,
    /// The latest stamp given.
    pub latest_stamp: Option<i64>,
    /// Where the room of a full group ends.
    pub boundary: Option<Boundary>,
}

fn count(n: i32) -> u32 {
    u32::try_from(n).unwrap_or_default()
}

fn stored(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn blob_ref(column: &'static str, text: &str) -> StoreResult<BlobRef> {
    serde_json::from_str(text).map_err(|e| corrupt("parts", column, e))
}

fn json(value: &impl Serialize) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|e| corrupt("parts", "json", e))
}

fn to_part(row: part::Model) -> StoreResult<PartRow> {
    let part::Model {
        id,
        group_id: _,
        day,
        number,
        group_name,
        stamp,
        sealed,
        total,
        live,
        dirty,
        rested_at,
        manifest_entry,
        event_segment,
        hashes_segment,
    } = row;
    Ok(PartRow {
        id: PartId(id),
        day,
        number: count(number),
        group_name,
        stamp,
        sealed,
        total: count(total),
        live: count(live),
        dirty,
        rested_at,
        manifest_entry,
        event: blob_ref("event_segment", &event_segment)?,
        hashes: blob_ref("hashes_segment", &hashes_segment)?,
    })
}

impl PartRow {
    /// A part that holds nothing yet.
    #[must_use]
    pub fn empty(id: PartId, day: &str, number: u32, group_name: &str) -> Self {
        let nothing = BlobRef { hash: String::new(), crc: 0, raw_len: 0, len: 0 };
        Self {
            id,
            day: day.to_owned(),
            number,
            group_name: group_name.to_owned(),
            stamp: 0,
            sealed: false,
            total: 0,
            live: 0,
            dirty: false,
            rested_at: 0,
            manifest_entry: String::new(),
            event: nothing.clone(),
            hashes: nothing,
        }
    }
}

fn to_state(row: &group::Model) -> StoreResult<PublishState> {
    Ok(PublishState {
        config_version: row.config_version,
        applied_config: row.applied_config,
        applied_seq: row.applied_seq,
        publication: row.publication,
        live: count(row.live),
        cut: serde_json::from_str(&row.cut).map_err(|e| corrupt("ioc_groups", "cut", e))?,
        due_at: row.due_at,
        latest_stamp: row.latest_stamp,
        held: row
            .held
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(|e| corrupt("ioc_groups", "held", e))?,
        let_through: row.let_through.is_some(),
        limit_told: row.limit_told,
        // Without one, the group is selected from scratch.
        boundary: row.boundary.as_deref().and_then(|b| serde_json::from_str(b).ok()),
    })
}

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
        let number = Expr::col((group::Entity, group::Column::Frozen))
            .if_null(Expr::col((group::Entity, group::Column::Publication)));
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
        let rows = publication::Entity::find()
            .filter(publication::Column::GroupId.eq(id.0))
            .order_by_desc(publication::Column::Number)
            .all(&self.0)
            .await?;
        let line = |r: publication::Model| PublicationLine {
            number: r.number,
            created_at: Timestamp::from_micros(r.created_at),
            live: count(r.live),
            added: count(r.added),
            removed: count(r.removed),
        };
        Ok(rows.into_iter().map(line).collect())
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

    /// The files of one publication of a group.
    pub async fn publication_files_of(
        &self,
        id: GroupId,
        number: i64,
    ) -> StoreResult<Option<Vec<FileRef>>> {
        let row = publication::Entity::find_by_id((id.0, number)).one(&self.0).await?;
        row.map(|row| {
            serde_json::from_str(&row.files).map_err(|e| corrupt("publications", "files", e))
        })
        .transpose()
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

    /// Writes what a group serves from now on and releases the claim; false if the claim was lost
    /// or the group is gone.
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
        } = update;
        let done = group::Entity::update_many()
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
            .col_expr(group::Column::Held, Expr::value(None::<String>))
            .col_expr(group::Column::HeldUntil, Expr::value(None::<i64>))
            .col_expr(group::Column::LetThrough, Expr::value(None::<i64>))
            .filter(group::Column::Id.eq(id.0))
            .filter(
                Condition::all().add_option(claim.map(|claim| group::Column::ClaimToken.eq(claim))),
            )
            .exec(&self.0)
            .await?;
        Ok(done.rows_affected == 1)
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

    /// Has a group serve one of its publications whatever comes after it, or the last one again.
    pub async fn group_freeze(&self, id: GroupId, publication: Option<i64>) -> StoreResult<()> {
        let set = group::Entity::update_many()
            .col_expr(group::Column::Frozen, Expr::value(publication))
            .filter(group::Column::Id.eq(id.0));
        set.exec(&self.0).await?;
        self.feeds_moved(&[id]).await
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
                        dirty,
                        rested_at,
                        manifest_entry,
                        event,
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
                        dirty: Set(*dirty),
                        rested_at: Set(*rested_at),
                        manifest_entry: Set(manifest_entry.clone()),
                        event_segment: Set(json(event)?),
                        hashes_segment: Set(json(hashes)?),
                    })
                })
                .collect::<StoreResult<Vec<_>>>()?;
            let update = OnConflict::column(part::Column::Id)
                .update_columns([
                    part::Column::Stamp,
                    part::Column::Sealed,
                    part::Column::Total,
                    part::Column::Live,
                    part::Column::Dirty,
                    part::Column::RestedAt,
                    part::Column::ManifestEntry,
                    part::Column::EventSegment,
                    part::Column::HashesSegment,
                ])
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
        Ok(())
    }

    /// Writes publications of some groups with their new blobs, and forgets what is older than the
    /// last twenty. Gives the publications that groups are frozen at.
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
            } = publication;
            new.sort_unstable_by(|a, b| a.hash.cmp(&b.hash));
            new.dedup_by(|a, b| a.hash == b.hash);
            let written: HashSet<&str> = new.iter().map(|b| b.hash.as_str()).collect();
            let others = files
                .iter()
                .flat_map(|f| &f.segments)
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
            });
            let row = |b: NewBlob| blob::ActiveModel {
                group_id: Set(group.0),
                hash: Set(b.hash),
                last_publication: Set(number),
                data: Set(b.data),
            };
            blobs.extend(new.into_iter().map(row));
        }
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
        for (group, number, hashes) in &used {
            self.blobs_used(*group, hashes, *number).await?;
        }
        publication::Entity::insert_many(rows).exec_without_returning(&self.0).await?;
        let groups: Vec<GroupId> = used.iter().map(|(group, ..)| *group).collect();
        let find = group::Entity::find()
            .select_only()
            .column(group::Column::Id)
            .column(group::Column::Frozen);
        let of_frozen = group::Column::Id
            .is_in(groups.iter().map(|g| g.0))
            .and(group::Column::Frozen.is_not_null());
        let frozen: Vec<(Uuid, i64)> = find.filter(of_frozen).into_tuple().all(&self.0).await?;
        let frozen: HashMap<GroupId, i64> =
            frozen.into_iter().map(|(group, number)| (GroupId(group), number)).collect();
        for (group, number, _) in used.iter().filter(|(group, ..)| frozen.contains_key(group)) {
            // What a frozen group serves is kept however old it gets.
            let at = frozen.get(group).copied().unwrap_or_default();
            let files = self.publication_files_of(*group, at).await?.unwrap_or_default();
            let hashes: Vec<String> =
                files.iter().flat_map(|f| &f.segments).map(|s| s.hash.clone()).collect();
            self.blobs_used(*group, &hashes, *number).await?;
        }
        self.publications_forget(
            &used
                .iter()
                .map(|(group, number, _)| (*group, number - PUBLICATIONS_KEPT))
                .collect::<Vec<_>>(),
            &frozen,
        )
        .await?;
        self.feeds_moved(&groups).await?;
        Ok(frozen)
    }

    /// Forgets publications of some groups up to a number, but for those that groups are frozen at.
    async fn publications_forget(
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
    async fn blobs_used(&self, id: GroupId, hashes: &[String], number: i64) -> StoreResult<()> {
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
