//! IOCs that earlier versions kept under a spelling of their own are moved to the one spelling.

use iocast_domain::{
    id::{AccountId, GroupId, IocId, PartId, SourceId},
    ioc::Kind,
    member::MembershipState,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Set, Statement,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use crate::{
    Conn, IocRow, StoreResult, Txn,
    accounts::account_id,
    iocs::{active, to_ioc},
    row::{device, group, ioc, ioc_source, member, part},
};

/// Rows are respelled by one process at a time; the number is only ours.
const RESPELL_LOCK: i64 = 0x696f_7370_656c;

impl<C: ConnectionTrait> Conn<C> {
    /// IOCs of these kinds that are not deleted, with their accounts, in order of id.
    pub async fn ioc_walk(
        &self,
        kinds: &[Kind],
        after: Option<IocId>,
        limit: u64,
    ) -> StoreResult<Vec<(AccountId, IocRow)>> {
        let mut find = ioc::Entity::find()
            .filter(ioc::Column::Kind.is_in(kinds.iter().map(|k| k.code())))
            .filter(ioc::Column::DeletedAt.is_null());
        if let Some(after) = after {
            find = find.filter(ioc::Column::Id.gt(after.0));
        }
        let rows = find.order_by_asc(ioc::Column::Id).limit(limit).all(&self.0).await?;
        let read = |row: ioc::Model| {
            let account = account_id("iocs", row.account_id)?;
            let ioc = to_ioc(
                row.id,
                row.kind,
                row.value,
                row.first_seen,
                row.last_seen,
                row.state,
                row.whitelist,
                &row.enrichment,
            )?;
            Ok((
                account,
                IocRow {
                    ioc,
                    seq: row.seq,
                    first_seq: row.first_seq,
                    created_at: row.created_at,
                    deleted: false,
                },
            ))
        };
        rows.into_iter().map(read).collect()
    }
}

impl Txn {
    /// Waits until no other process respells.
    pub async fn respell_lock(&self) -> StoreResult<()> {
        if self.0.get_database_backend() == sea_orm::DbBackend::Postgres {
            let lock = Statement::from_sql_and_values(
                sea_orm::DbBackend::Postgres,
                "SELECT pg_advisory_xact_lock($1)",
                [RESPELL_LOCK.into()],
            );
            self.0.execute_raw(lock).await?;
        }
        Ok(())
    }

    /// Writes an IOC that was not there, or comes back, under the account's change number `seq`, as
    /// reported by these sources.
    pub async fn ioc_put(
        &self,
        account: &AccountId,
        row: &IocRow,
        sources: &[SourceId],
        is_there: bool,
        seq: i64,
    ) -> StoreResult<()> {
        let model = active(account, &row.ioc, row.created_at, seq, None)?;
        if is_there {
            model.update(&self.0).await?;
        } else {
            let model = ioc::ActiveModel { first_seq: Set(seq), ..model };
            ioc::Entity::insert(model).exec_without_returning(&self.0).await?;
        }
        let links = sources.iter().map(|source| ioc_source::ActiveModel {
            source_id: Set(source.0),
            ioc_id: Set(row.ioc.id.0),
            first_at: Set(None),
        });
        let once = OnConflict::columns([ioc_source::Column::SourceId, ioc_source::Column::IocId])
            .do_nothing()
            .to_owned();
        if !sources.is_empty() {
            ioc_source::Entity::insert_many(links)
                .on_conflict(once)
                .exec_without_returning(&self.0)
                .await?;
        }
        self.names_put(account, std::iter::once(&row.ioc)).await
    }

    /// Has groups of these device types part from the old spelling: what follows goes into new
    /// parts, and where both spellings are members, the one that stays is sent again, as a receiver
    /// may have taken the two for one.
    pub async fn members_respelled(
        &self,
        device_types: &[&str],
        old: &[IocId],
        kept: &[IocId],
    ) -> StoreResult<()> {
        let listed: Vec<(Uuid, Uuid)> = member::Entity::find()
            .select_only()
            .column(member::Column::PartId)
            .column(member::Column::GroupId)
            .distinct()
            .filter(member::Column::IocId.is_in(old.iter().map(|id| id.0)))
            .into_tuple()
            .all(&self.0)
            .await?;
        let of_type = device::Entity::find()
            .select_only()
            .column(device::Column::Id)
            .filter(device::Column::DeviceType.is_in(device_types.iter().copied()));
        let groups: Vec<Uuid> = group::Entity::find()
            .select_only()
            .column(group::Column::Id)
            .filter(group::Column::Id.is_in(listed.iter().map(|(_, group)| *group)))
            .filter(group::Column::DeviceId.in_subquery(sea_orm::QueryTrait::into_query(of_type)))
            .into_tuple()
            .all(&self.0)
            .await?;
        let (parts, groups): (Vec<PartId>, Vec<GroupId>) = (
            listed
                .iter()
                .filter(|(_, group)| groups.contains(group))
                .map(|(part, _)| PartId(*part))
                .collect(),
            groups.iter().copied().map(GroupId).collect(),
        );
        if parts.is_empty() {
            return Ok(());
        }
        part::Entity::update_many()
            .col_expr(part::Column::Sealed, Expr::value(true))
            .filter(part::Column::Id.is_in(parts.iter().map(|id| id.0)))
            .exec(&self.0)
            .await?;
        member::Entity::update_many()
            .col_expr(member::Column::Resend, Expr::value(true))
            .filter(member::Column::GroupId.is_in(groups.iter().map(|id| id.0)))
            .filter(member::Column::IocId.is_in(kept.iter().map(|id| id.0)))
            .filter(member::Column::Standing.eq(MembershipState::Live.code()))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
