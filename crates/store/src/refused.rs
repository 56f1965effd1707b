//! IOCs that groups keep back although rules chose them, and why.

use std::collections::HashMap;

use iocast_domain::{
    guard::Refusal,
    id::{GroupId, IocId},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Set, sea_query::OnConflict,
};
use uuid::Uuid;

use crate::{Conn, Page, PageOf, StoreError, StoreResult, Txn, error::corrupt, row::refused};

/// Most rows in one statement.
const ROWS: usize = 2_000;

impl<C: ConnectionTrait> Conn<C> {
    /// How many IOCs a group keeps back, by reason.
    pub async fn refused_counts(&self, id: GroupId) -> StoreResult<Vec<(Refusal, u64)>> {
        let rows: Vec<(i16, i64)> = refused::Entity::find()
            .select_only()
            .column(refused::Column::Reason)
            .column_as(refused::Column::IocId.count(), "how_many")
            .filter(refused::Column::GroupId.eq(id.0))
            .group_by(refused::Column::Reason)
            .order_by_asc(refused::Column::Reason)
            .into_tuple()
            .all(&self.0)
            .await?;
        rows.into_iter()
            .map(|(code, n)| {
                Ok((
                    Refusal::from_code(code)
                        .ok_or_else(|| corrupt("refused_iocs", "reason", code))?,
                    u64::try_from(n).unwrap_or_default(),
                ))
            })
            .collect()
    }

    /// The ids of a page of the IOCs that a group keeps back, by id.
    pub async fn refused_ids(
        &self,
        id: GroupId,
        after: Option<IocId>,
        limit: u64,
    ) -> StoreResult<Vec<IocId>> {
        let mut find = refused::Entity::find()
            .select_only()
            .column(refused::Column::IocId)
            .filter(refused::Column::GroupId.eq(id.0));
        if let Some(after) = after {
            find = find.filter(refused::Column::IocId.gt(after.0));
        }
        let ids: Vec<Uuid> = find
            .order_by_asc(refused::Column::IocId)
            .limit(limit)
            .into_tuple()
            .all(&self.0)
            .await?;
        Ok(ids.into_iter().map(IocId).collect())
    }

    /// How many IOCs each of some groups keeps back; those that keep back none are left out.
    pub async fn refused_totals(&self, groups: &[GroupId]) -> StoreResult<HashMap<GroupId, u64>> {
        let rows: Vec<(Uuid, i64)> = refused::Entity::find()
            .select_only()
            .column(refused::Column::GroupId)
            .column_as(refused::Column::IocId.count(), "how_many")
            .filter(refused::Column::GroupId.is_in(groups.iter().map(|g| g.0)))
            .group_by(refused::Column::GroupId)
            .into_tuple()
            .all(&self.0)
            .await?;
        Ok(rows
            .into_iter()
            .map(|(group, n)| (GroupId(group), u64::try_from(n).unwrap_or_default()))
            .collect())
    }

    /// How many of these IOCs a group keeps back.
    pub async fn refused_among(&self, id: GroupId, iocs: &[IocId]) -> StoreResult<u64> {
        let mut found = 0;
        for chunk in iocs.chunks(ROWS) {
            let among = refused::Column::IocId.is_in(chunk.iter().map(|i| i.0));
            found += refused::Entity::find()
                .filter(refused::Column::GroupId.eq(id.0))
                .filter(among)
                .count(&self.0)
                .await?;
        }
        Ok(found)
    }

    /// Which of these groups keep an IOC back, and why.
    pub async fn refused_of_ioc(
        &self,
        groups: &[GroupId],
        ioc: IocId,
    ) -> StoreResult<Vec<(GroupId, Refusal)>> {
        let mut found = Vec::new();
        for chunk in groups.chunks(ROWS) {
            let rows = refused::Entity::find()
                .filter(refused::Column::GroupId.is_in(chunk.iter().map(|group| group.0)))
                .filter(refused::Column::IocId.eq(ioc.0))
                .all(&self.0)
                .await?;
            for row in rows {
                let refusal = Refusal::from_code(row.reason)
                    .ok_or_else(|| corrupt("refused_iocs", "reason", row.reason))?;
                found.push((GroupId(row.group_id), refusal));
            }
        }
        Ok(found)
    }

    /// A page of the IOCs that a group keeps back, by IOC id.
    pub async fn refused_list(
        &self,
        id: GroupId,
        reason: Option<Refusal>,
        page: &Page,
    ) -> StoreResult<PageOf<(IocId, Refusal)>> {
        let mut find = refused::Entity::find().filter(refused::Column::GroupId.eq(id.0));
        if let Some(reason) = reason {
            find = find.filter(refused::Column::Reason.eq(reason.code()));
        }
        if let Some(after) = page
            .after
            .as_deref()
            .map(|a| a.parse::<Uuid>().map_err(|_invalid| StoreError::Cursor))
            .transpose()?
        {
            find = find.filter(refused::Column::IocId.gt(after));
        }
        let rows =
            find.order_by_asc(refused::Column::IocId).limit(page.limit + 1).all(&self.0).await?;
        let read = |row: refused::Model| {
            Ok((
                IocId(row.ioc_id),
                Refusal::from_code(row.reason)
                    .ok_or_else(|| corrupt("refused_iocs", "reason", row.reason))?,
            ))
        };
        Ok(PageOf::cut(
            rows.into_iter().map(read).collect::<StoreResult<_>>()?,
            page.limit,
            |(ioc, _)| ioc.to_string(),
        ))
    }
}

impl Txn {
    /// Notes which IOCs a group keeps back, and which ones it does so no more.
    pub async fn refused_put_many(
        &self,
        id: GroupId,
        from_scratch: bool,
        refused: &[(IocId, Option<Refusal>)],
    ) -> StoreResult<()> {
        if from_scratch {
            refused::Entity::delete_many()
                .filter(refused::Column::GroupId.eq(id.0))
                .exec(&self.0)
                .await?;
        }
        for chunk in refused.chunks(ROWS) {
            let gone = chunk.iter().filter(|(_, r)| r.is_none()).map(|(ioc, _)| ioc.0);
            if !from_scratch {
                refused::Entity::delete_many()
                    .filter(refused::Column::GroupId.eq(id.0))
                    .filter(refused::Column::IocId.is_in(gone))
                    .exec(&self.0)
                    .await?;
            }
            let rows: Vec<_> = chunk
                .iter()
                .filter_map(|(ioc, r)| {
                    r.map(|r| refused::ActiveModel {
                        group_id: Set(id.0),
                        ioc_id: Set(ioc.0),
                        reason: Set(r.code()),
                    })
                })
                .collect();
            if rows.is_empty() {
                continue;
            }
            let update = OnConflict::columns([refused::Column::GroupId, refused::Column::IocId])
                .update_column(refused::Column::Reason)
                .to_owned();
            refused::Entity::insert_many(rows)
                .on_conflict(update)
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }
}
