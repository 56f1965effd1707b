//! Members of groups: who is in, since when, and what became of those who left.

use std::{collections::HashMap, sync::Arc};

use iocast_domain::{
    id::{GroupId, IocId, PartId},
    member::{LeaveReason, MembershipState},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect,
    Select, Value,
    sea_query::{Expr, InsertStatement, OnConflict, Query},
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, StoreError, StoreResult, Txn,
    error::corrupt,
    iocs::{IocFilter, conditions},
    row::{ioc, member},
};

/// Most member rows in one statement: 13 columns each.
const ROWS: usize = 2_000;

/// A member as it is stored.
#[derive(Clone, Debug)]
pub struct MemberRow {
    /// The part it is in.
    pub part_id: PartId,
    /// The IOC.
    pub ioc_id: IocId,
    /// Where it stands.
    pub standing: MembershipState,
    /// When it joined, in UTC microseconds.
    pub joined_at: i64,
    /// When its attribute last changed, in UTC seconds.
    pub stamp: i64,
    /// Of the enrichment that was last published.
    pub fingerprint: i64,
    /// Its enrichment changed and waits.
    pub pending: bool,
    /// When it left, in UTC microseconds.
    pub left_at: Option<i64>,
    /// Why it left.
    pub leave: Option<LeaveReason>,
    /// To be sent again in a new part.
    pub resend: bool,
    /// It was here before and was listed as deleted when it came back.
    pub readded: bool,
    /// The prefix length of the network that its entry stands for, where that is wider than its
    /// own.
    pub merged_prefix: Option<u8>,
}

fn to_member(row: member::Model) -> StoreResult<MemberRow> {
    let member::Model {
        part_id,
        ioc_id,
        group_id: _,
        standing,
        joined_at,
        stamp,
        fingerprint,
        pending,
        left_at,
        leave_reason,
        resend,
        readded,
        merged_prefix,
    } = row;
    Ok(MemberRow {
        part_id: PartId(part_id),
        ioc_id: IocId(ioc_id),
        standing: MembershipState::from_code(standing)
            .ok_or_else(|| corrupt("members", "standing", standing))?,
        joined_at,
        stamp,
        fingerprint,
        pending,
        left_at,
        leave: LeaveReason::from_code(leave_reason),
        resend,
        readded,
        merged_prefix: merged_prefix.and_then(|s| u8::try_from(s).ok()),
    })
}

/// By the index `members_to_resend`, which holds only what is marked. Anything more that is asked
/// for leads to another index.
pub(crate) fn to_resend(groups: &[GroupId]) -> Select<member::Entity> {
    member::Entity::find()
        .filter(member::Column::GroupId.is_in(groups.iter().map(|g| g.0)))
        .filter(Expr::col(member::Column::Resend))
}

/// The statement that writes the first of these members.
fn put(members: &[(GroupId, MemberRow)]) -> StoreResult<InsertStatement> {
    use member::Column as C;
    let fixed = [C::PartId, C::IocId, C::GroupId, C::JoinedAt, C::Resend, C::Readded];
    let kept = [
        C::Standing,
        C::Stamp,
        C::Fingerprint,
        C::Pending,
        C::LeftAt,
        C::LeaveReason,
        C::MergedPrefix,
    ];
    let mut insert = Query::insert();
    insert.into_table(member::Entity).columns(fixed.into_iter().chain(kept));
    for (group, m) in members.iter().take(ROWS) {
        let MemberRow {
            part_id,
            ioc_id,
            standing,
            joined_at,
            stamp,
            fingerprint,
            pending,
            left_at,
            leave,
            resend,
            readded,
            merged_prefix,
        } = m;
        let fixed: [Value; 6] = [
            part_id.0.into(),
            ioc_id.0.into(),
            group.0.into(),
            (*joined_at).into(),
            (*resend).into(),
            (*readded).into(),
        ];
        let leave = leave.map_or(0, LeaveReason::code);
        let kept: [Value; 7] = [
            standing.code().into(),
            (*stamp).into(),
            (*fingerprint).into(),
            (*pending).into(),
            (*left_at).into(),
            leave.into(),
            merged_prefix.map(i16::from).into(),
        ];
        insert
            .values(fixed.into_iter().chain(kept).map(Expr::value))
            .map_err(|e| corrupt("members", "columns", e))?;
    }
    insert.on_conflict(OnConflict::columns([C::PartId, C::IocId]).update_columns(kept).to_owned());
    Ok(insert)
}

fn by_group(rows: Vec<member::Model>) -> StoreResult<HashMap<GroupId, Vec<MemberRow>>> {
    let mut found: HashMap<GroupId, Vec<MemberRow>> = HashMap::new();
    for row in rows {
        found.entry(GroupId(row.group_id)).or_default().push(to_member(row)?);
    }
    Ok(found)
}

impl<C: ConnectionTrait> Conn<C> {
    /// The members of a part, in the order of their ids.
    pub async fn member_of_part(&self, id: PartId) -> StoreResult<Vec<MemberRow>> {
        member::Entity::find()
            .filter(member::Column::PartId.eq(id.0))
            .order_by_asc(member::Column::JoinedAt)
            .order_by_asc(member::Column::IocId)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_member)
            .collect()
    }

    /// All rows of some IOCs in a group, tombstones too.
    pub async fn member_of_iocs(
        &self,
        id: GroupId,
        iocs: &[IocId],
    ) -> StoreResult<HashMap<IocId, Vec<MemberRow>>> {
        let mut found: HashMap<IocId, Vec<MemberRow>> = HashMap::new();
        for chunk in iocs.chunks(ROWS) {
            let rows = member::Entity::find()
                .filter(member::Column::GroupId.eq(id.0))
                .filter(member::Column::IocId.is_in(chunk.iter().map(|i| i.0)))
                .all(&self.0)
                .await?;
            for row in rows {
                let row = to_member(row)?;
                found.entry(row.ioc_id).or_default().push(row);
            }
        }
        Ok(found)
    }

    /// The members of a group that are in one of these standings.
    pub async fn member_standing(
        &self,
        id: GroupId,
        standings: &[MembershipState],
    ) -> StoreResult<Vec<MemberRow>> {
        let find = member::Entity::find()
            .filter(member::Column::GroupId.eq(id.0))
            .filter(member::Column::Standing.is_in(standings.iter().map(|s| s.code())));
        find.all(&self.0).await?.into_iter().map(to_member).collect()
    }

    /// The same of several groups, for a few IOCs.
    pub async fn member_of_iocs_in(
        &self,
        groups: &[GroupId],
        iocs: &[IocId],
    ) -> StoreResult<HashMap<GroupId, Vec<MemberRow>>> {
        let in_groups = member::Column::GroupId.is_in(groups.iter().map(|g| g.0));
        let of_iocs = member::Column::IocId.is_in(iocs.iter().map(|i| i.0));
        by_group(member::Entity::find().filter(in_groups).filter(of_iocs).all(&self.0).await?)
    }

    /// The live members of some groups that are to be sent again.
    pub async fn member_to_resend(
        &self,
        groups: &[GroupId],
    ) -> StoreResult<HashMap<GroupId, Vec<MemberRow>>> {
        let mut marked = by_group(to_resend(groups).all(&self.0).await?)?;
        marked
            .values_mut()
            .for_each(|members| members.retain(|m| m.standing == MembershipState::Live));
        Ok(marked)
    }

    /// All rows of one IOC in these groups, tombstones too, the latest first.
    pub async fn member_of_ioc(
        &self,
        groups: &[GroupId],
        ioc: IocId,
    ) -> StoreResult<Vec<(GroupId, MemberRow)>> {
        let mut found = Vec::new();
        for chunk in groups.chunks(ROWS) {
            let of_groups = member::Column::GroupId.is_in(chunk.iter().map(|g| g.0));
            for row in member::Entity::find()
                .filter(of_groups)
                .filter(member::Column::IocId.eq(ioc.0))
                .all(&self.0)
                .await?
            {
                found.push((GroupId(row.group_id), to_member(row)?));
            }
        }
        found.sort_by_key(|(_, m)| std::cmp::Reverse(m.joined_at));
        Ok(found)
    }

    /// A page of the live members of a group whose IOCs fit, by IOC id.
    pub async fn member_list(
        &self,
        id: GroupId,
        filter: &IocFilter,
        page: &Page,
    ) -> StoreResult<PageOf<MemberRow>> {
        let mut find = member::Entity::find()
            .filter(member::Column::GroupId.eq(id.0))
            .filter(member::Column::Standing.eq(MembershipState::Live.code()));
        if !filter.is_empty() {
            let joined = member::Entity::belongs_to(ioc::Entity)
                .from(member::Column::IocId)
                .to(ioc::Column::Id)
                .into();
            find = find.join(JoinType::InnerJoin, joined).filter(conditions(filter));
        }
        if let Some(after) = page
            .after
            .as_deref()
            .map(|a| a.parse::<Uuid>().map_err(|_invalid| StoreError::Cursor))
            .transpose()?
        {
            find = find.filter(member::Column::IocId.gt(after));
        }
        let rows =
            find.order_by_asc(member::Column::IocId).limit(page.limit + 1).all(&self.0).await?;
        Ok(PageOf::cut(
            rows.into_iter().map(to_member).collect::<StoreResult<_>>()?,
            page.limit,
            |m: &MemberRow| m.ioc_id.to_string(),
        ))
    }

    /// When the oldest tombstone of a group was laid, in UTC microseconds.
    pub async fn member_oldest_tombstone(&self, id: GroupId) -> StoreResult<Option<i64>> {
        let row = member::Entity::find()
            .filter(member::Column::GroupId.eq(id.0))
            .filter(member::Column::Standing.eq(MembershipState::Tombstone.code()))
            .order_by_asc(member::Column::LeftAt)
            .limit(1)
            .one(&self.0)
            .await?;
        Ok(row.and_then(|r| r.left_at))
    }
}

impl Txn {
    /// Writes members, new or changed. Each piece is made ready while the one before is written.
    pub async fn member_put_many(&self, members: Vec<(GroupId, MemberRow)>) -> StoreResult<()> {
        let backend = self.0.get_database_backend();
        let members = Arc::new(members);
        let ready = |from: usize| {
            let members = Arc::clone(&members);
            tokio::task::spawn_blocking(move || {
                put(members.get(from..).unwrap_or_default()).map(|insert| backend.build(&insert))
            })
        };
        let mut next = (!members.is_empty()).then(|| ready(0));
        for from in (0..members.len()).step_by(ROWS) {
            let Some(writing) = next.take() else { break };
            let statement = writing
                .await
                .map_err(|e| StoreError::from(sea_orm::DbErr::Custom(e.to_string())))??;
            next = (from + ROWS < members.len()).then(|| ready(from + ROWS));
            self.0.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Takes the marks off members that were sent again.
    pub async fn member_resent(&self, part: PartId, iocs: &[IocId]) -> StoreResult<()> {
        for chunk in iocs.chunks(ROWS) {
            member::Entity::update_many()
                .col_expr(member::Column::Resend, Expr::value(false))
                .filter(member::Column::PartId.eq(part.0))
                .filter(member::Column::IocId.is_in(chunk.iter().map(|i| i.0)))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Forgets tombstones of a part.
    pub async fn member_delete_many(&self, part: PartId, iocs: &[IocId]) -> StoreResult<()> {
        for chunk in iocs.chunks(ROWS) {
            member::Entity::delete_many()
                .filter(member::Column::PartId.eq(part.0))
                .filter(member::Column::IocId.is_in(chunk.iter().map(|i| i.0)))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Marks live members of a group to be sent again: those of one event, one IOC, or all. Gives
    /// how many.
    pub async fn member_mark_resend(
        &self,
        id: GroupId,
        part: Option<PartId>,
        ioc: Option<IocId>,
    ) -> StoreResult<u64> {
        let mut update = member::Entity::update_many()
            .col_expr(member::Column::Resend, Expr::value(true))
            .filter(member::Column::GroupId.eq(id.0))
            .filter(member::Column::Standing.eq(MembershipState::Live.code()));
        if let Some(part) = part {
            update = update.filter(member::Column::PartId.eq(part.0));
        }
        if let Some(ioc) = ioc {
            update = update.filter(member::Column::IocId.eq(ioc.0));
        }
        Ok(update.exec(&self.0).await?.rows_affected)
    }
}
