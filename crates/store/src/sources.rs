//! Sources of IOCs.

use iocast_domain::{
    id::{AccountId, SourceId},
    source::{Confidence, Source, SourceKind},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Set, sea_query::Expr,
};

use crate::{
    Conn, StoreResult, Txn,
    error::corrupt,
    row::{ioc, ioc_source, source},
};

fn to_source(row: source::Model) -> StoreResult<Source> {
    let source::Model {
        id,
        account_id: _,
        name,
        folded: _,
        confidence,
        enabled,
        created_at,
        kind,
        description,
        limits,
    } = row;
    let confidence = u8::try_from(confidence)
        .ok()
        .and_then(|c| Confidence::try_from(c).ok())
        .ok_or_else(|| corrupt("sources", "confidence", confidence))?;
    let kind = match kind {
        1 => SourceKind::Feed,
        2 => SourceKind::Document,
        other => return Err(corrupt("sources", "kind", other)),
    };
    Ok(Source {
        id: SourceId(id),
        name,
        confidence,
        enabled,
        created_at: Timestamp::from_micros(created_at),
        kind,
        description,
        limits: serde_json::from_str(&limits).map_err(|e| corrupt("sources", "limits", e))?,
    })
}

fn to_row(account: &AccountId, source: &Source) -> StoreResult<source::ActiveModel> {
    let Source { id, name, confidence, enabled, created_at, kind, description, limits } = source;
    Ok(source::ActiveModel {
        id: Set(id.0),
        account_id: Set(account.to_string()),
        name: Set(name.clone()),
        folded: Set(name.to_lowercase()),
        confidence: Set(u8::from(*confidence).into()),
        enabled: Set(*enabled),
        created_at: Set(created_at.micros()),
        kind: Set(match kind {
            SourceKind::Feed => 1,
            SourceKind::Document => 2,
        }),
        description: Set(description.clone()),
        limits: Set(serde_json::to_string(limits).map_err(|e| corrupt("sources", "limits", e))?),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// The sources of an account, by name.
    pub async fn source_list(&self, account: &AccountId) -> StoreResult<Vec<Source>> {
        source::Entity::find()
            .filter(source::Column::AccountId.eq(account.as_str()))
            .order_by_asc(source::Column::Folded)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_source)
            .collect()
    }

    /// One source of an account.
    pub async fn source_fetch(
        &self,
        account: &AccountId,
        id: SourceId,
    ) -> StoreResult<Option<Source>> {
        source::Entity::find_by_id(id.0)
            .filter(source::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_source)
            .transpose()
    }

    /// The source of an account that has this name.
    pub async fn source_by_name(
        &self,
        account: &AccountId,
        name: &str,
    ) -> StoreResult<Option<Source>> {
        source::Entity::find()
            .filter(source::Column::AccountId.eq(account.as_str()))
            .filter(source::Column::Folded.eq(name.trim().to_lowercase()))
            .one(&self.0)
            .await?
            .map(to_source)
            .transpose()
    }

    /// How many IOCs a source reported.
    pub async fn source_ioc_count(&self, id: SourceId) -> StoreResult<u64> {
        Ok(ioc_source::Entity::find()
            .filter(ioc_source::Column::SourceId.eq(id.0))
            .count(&self.0)
            .await?)
    }

    /// Sources that were deleted and still have links.
    pub async fn source_linked_and_gone(&self) -> StoreResult<Vec<SourceId>> {
        let (mut gone, mut after) = (Vec::new(), uuid::Uuid::nil());
        // One step of the index for each source, not one for each link.
        while let Some(id) = self.source_linked_behind(after).await? {
            if source::Entity::find_by_id(id).one(&self.0).await?.is_none() {
                gone.push(SourceId(id));
            }
            after = id;
        }
        Ok(gone)
    }

    async fn source_linked_behind(&self, after: uuid::Uuid) -> StoreResult<Option<uuid::Uuid>> {
        let find = ioc_source::Entity::find()
            .select_only()
            .column(ioc_source::Column::SourceId)
            .filter(ioc_source::Column::SourceId.gt(after));
        Ok(find
            .order_by_asc(ioc_source::Column::SourceId)
            .limit(1)
            .into_tuple()
            .one(&self.0)
            .await?)
    }

    /// The ids of a page of the IOCs that a source reported, by id.
    pub async fn source_ioc_ids(
        &self,
        id: SourceId,
        after: Option<uuid::Uuid>,
        limit: u64,
    ) -> StoreResult<Vec<uuid::Uuid>> {
        let mut find = ioc_source::Entity::find()
            .select_only()
            .column(ioc_source::Column::IocId)
            .filter(ioc_source::Column::SourceId.eq(id.0));
        if let Some(after) = after {
            find = find.filter(ioc_source::Column::IocId.gt(after));
        }
        Ok(find
            .order_by_asc(ioc_source::Column::IocId)
            .limit(limit)
            .into_tuple::<uuid::Uuid>()
            .all(&self.0)
            .await?)
    }
}

impl Txn {
    /// Writes a new source.
    pub async fn source_insert(&self, account: &AccountId, new: &Source) -> StoreResult<()> {
        to_row(account, new)?.insert(&self.0).await?;
        Ok(())
    }

    /// Writes a changed source.
    pub async fn source_update(&self, account: &AccountId, changed: &Source) -> StoreResult<()> {
        to_row(account, changed)?.update(&self.0).await?;
        Ok(())
    }

    /// Deletes a source; the reports in the IOCs' documents don't count any more without it. Its
    /// links are deleted some at a time.
    pub async fn source_delete(&self, account: &AccountId, id: SourceId) -> StoreResult<()> {
        source::Entity::delete_many()
            .filter(source::Column::Id.eq(id.0))
            .filter(source::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        self.source_counts_delete(id).await
    }

    /// Deletes some links of a source that was deleted. Gives how many.
    pub async fn source_unlink_some(&self, id: SourceId, limit: u64) -> StoreResult<u64> {
        let some = self.source_ioc_ids(id, None, limit).await?;
        let of_source = ioc_source::Column::SourceId.eq(id.0);
        let Some(last) = some.last() else { return Ok(0) };
        Ok(ioc_source::Entity::delete_many()
            .filter(of_source)
            .filter(ioc_source::Column::IocId.lte(*last))
            .exec(&self.0)
            .await?
            .rows_affected)
    }

    /// Gives all IOCs of a source a new change number.
    pub async fn source_touch_iocs(
        &self,
        account: &AccountId,
        id: SourceId,
        seq: i64,
    ) -> StoreResult<()> {
        let of_source = sea_orm::sea_query::Query::select()
            .column(ioc_source::Column::IocId)
            .from(ioc_source::Entity)
            .and_where(ioc_source::Column::SourceId.eq(id.0))
            .take();
        ioc::Entity::update_many()
            .col_expr(ioc::Column::Seq, Expr::value(seq))
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .filter(ioc::Column::Id.in_subquery(of_source))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
