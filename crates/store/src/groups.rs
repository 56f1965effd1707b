//! IOC groups.

use iocast_domain::{
    device_type::GroupKind,
    group::{Group, Held, Truncation},
    id::{AccountId, DeviceId, GroupId},
    name::Name,
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait,
    QueryFilter, QueryOrder, Set, sea_query::Expr,
};

use crate::{
    Conn, Signal, StoreResult, Txn,
    devices::limit_column,
    error::corrupt,
    row::{blob, group, member, part, publication, refused, rule_group},
};

/// A group and what it serves.
#[derive(Clone, Debug)]
pub struct GroupRow {
    /// The group.
    pub group: Group,
    /// IOCs in its last publication.
    pub live: u32,
    /// What its last publication left out.
    pub cut: Truncation,
    /// Number of its last publication; 0 before the first.
    pub publication: i64,
    /// The publication that an admin keeps it at.
    pub frozen: Option<i64>,
    /// The publication that restored that one, 0 until there is one; none where the group serves
    /// the files of the frozen one itself, as earlier versions had it.
    pub restored: Option<i64>,
    /// A publication that waits because it would lose too much.
    pub held: Option<Held>,
}

/// Most ids in one statement.
const AT_ONCE: usize = 1_000;

pub(crate) fn to_group(row: group::Model) -> StoreResult<GroupRow> {
    Ok(GroupRow {
        group: Group {
            id: GroupId(row.id),
            account_id: crate::accounts::account_id("ioc_groups", row.account_id)?,
            device_id: DeviceId(row.device_id),
            name: Name::parse(&row.name).map_err(|e| corrupt("ioc_groups", "name", e.message))?,
            kind: row
                .kind
                .map(|k| GroupKind::from_code(k).ok_or_else(|| corrupt("ioc_groups", "kind", k)))
                .transpose()?,
            collapse: row.collapse,
            limit: u32::try_from(row.ioc_limit)
                .map_err(|e| corrupt("ioc_groups", "ioc_limit", e))?,
            source_priority: serde_json::from_str(&row.source_priority)
                .map_err(|e| corrupt("ioc_groups", "source_priority", e))?,
            notify_on_limit: row.notify_on_limit,
            created_at: Timestamp::from_micros(row.created_at),
        },
        live: u32::try_from(row.live).unwrap_or_default(),
        cut: serde_json::from_str(&row.cut).map_err(|e| corrupt("ioc_groups", "cut", e))?,
        publication: row.publication,
        frozen: row.frozen,
        restored: row.restored,
        held: row
            .held
            .filter(|_| row.held_until.is_some())
            .map(|h| serde_json::from_str(&h))
            .transpose()
            .map_err(|e| corrupt("ioc_groups", "held", e))?,
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// The groups of an account, or of one device of it; by name.
    pub async fn group_list(
        &self,
        account: &AccountId,
        device: Option<DeviceId>,
    ) -> StoreResult<Vec<GroupRow>> {
        let mut find = group::Entity::find().filter(group::Column::AccountId.eq(account.as_str()));
        if let Some(device) = device {
            find = find.filter(group::Column::DeviceId.eq(device.0));
        }
        find.order_by_asc(group::Column::Folded)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_group)
            .collect()
    }

    /// The groups of some devices of an account, by name.
    pub async fn group_list_of(
        &self,
        account: &AccountId,
        devices: &[DeviceId],
    ) -> StoreResult<Vec<GroupRow>> {
        let mut found = Vec::new();
        for chunk in devices.chunks(AT_ONCE) {
            let find = group::Entity::find()
                .filter(group::Column::AccountId.eq(account.as_str()))
                .filter(group::Column::DeviceId.is_in(chunk.iter().map(|d| d.0)));
            for row in find.order_by_asc(group::Column::Folded).all(&self.0).await? {
                found.push(to_group(row)?);
            }
        }
        Ok(found)
    }

    /// Some groups, whosever they are.
    pub async fn group_fetch_many(&self, ids: &[GroupId]) -> StoreResult<Vec<GroupRow>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(AT_ONCE) {
            for row in group::Entity::find()
                .filter(group::Column::Id.is_in(chunk.iter().map(|i| i.0)))
                .all(&self.0)
                .await?
            {
                found.push(to_group(row)?);
            }
        }
        Ok(found)
    }

    /// One group of an account.
    pub async fn group_fetch(
        &self,
        account: &AccountId,
        id: GroupId,
    ) -> StoreResult<Option<GroupRow>> {
        group::Entity::find_by_id(id.0)
            .filter(group::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_group)
            .transpose()
    }
}

impl Txn {
    /// Writes a new group, not yet published.
    pub async fn group_insert(&self, new: &Group) -> StoreResult<()> {
        let mut row = group_row(new)?;
        row.config_version = Set(1);
        row.applied_config = Set(0);
        row.applied_seq = Set(0);
        row.publication = Set(0);
        row.live = Set(0);
        row.cut = Set("{}".to_owned());
        row.due_at = Set(None);
        row.latest_stamp = Set(None);
        row.claim_token = Set(None);
        row.claim_until = Set(0);
        row.insert(&self.0).await?;
        self.feeds_moved(&[new.id]).await
    }

    /// Writes a group's name, limit, priority and notice.
    pub async fn group_update(&self, changed: &Group) -> StoreResult<()> {
        group_row(changed)?.update(&self.0).await?;
        self.feeds_moved(&[changed.id]).await
    }

    /// Has groups reselect: their rules, limits or sources changed.
    pub async fn group_reconfigure(&self, ids: &[GroupId]) -> StoreResult<()> {
        group::Entity::update_many()
            .col_expr(group::Column::ConfigVersion, Expr::col(group::Column::ConfigVersion).add(1))
            .filter(group::Column::Id.is_in(ids.iter().map(|i| i.0)))
            .exec(&self.0)
            .await?;
        self.notify(Signal::Changes).await
    }

    /// Has all groups of an account reselect.
    pub async fn group_reconfigure_account(&self, account: &AccountId) -> StoreResult<()> {
        group::Entity::update_many()
            .col_expr(group::Column::ConfigVersion, Expr::col(group::Column::ConfigVersion).add(1))
            .filter(group::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        self.notify(Signal::Changes).await
    }

    /// Deletes a group with all that it published.
    pub async fn group_delete(&self, account: &AccountId, id: GroupId) -> StoreResult<()> {
        group::Entity::delete_many()
            .filter(group::Column::Id.eq(id.0))
            .filter(group::Column::AccountId.eq(account.as_str()))
            .exec(&self.0)
            .await?;
        rule_group::Entity::delete_many()
            .filter(rule_group::Column::GroupId.eq(id.0))
            .exec(&self.0)
            .await?;
        member::Entity::delete_many()
            .filter(member::Column::GroupId.eq(id.0))
            .exec(&self.0)
            .await?;
        self.event_receipts_delete_of_group(id).await?;
        part::Entity::delete_many().filter(part::Column::GroupId.eq(id.0)).exec(&self.0).await?;
        refused::Entity::delete_many()
            .filter(refused::Column::GroupId.eq(id.0))
            .exec(&self.0)
            .await?;
        publication::Entity::delete_many()
            .filter(publication::Column::GroupId.eq(id.0))
            .exec(&self.0)
            .await?;
        blob::Entity::delete_many().filter(blob::Column::GroupId.eq(id.0)).exec(&self.0).await?;
        self.receipts_delete_of_group(id).await?;
        self.protections_due_now(vec![id], Timestamp::from_micros(0)).await?;
        self.feeds_moved(&[id]).await
    }

    /// Has every replica look at what the groups of a device are called.
    pub async fn device_renamed(&self, groups: &[GroupId]) -> StoreResult<()> {
        self.feeds_moved(groups).await
    }
}

fn group_row(of: &Group) -> StoreResult<group::ActiveModel> {
    let Group {
        id,
        account_id,
        device_id,
        name,
        kind,
        limit,
        collapse,
        source_priority,
        notify_on_limit,
        created_at,
    } = of;
    Ok(group::ActiveModel {
        id: Set(id.0),
        account_id: Set(account_id.to_string()),
        device_id: Set(device_id.0),
        name: Set(name.to_string()),
        folded: Set(name.folded()),
        ioc_limit: Set(limit_column(*limit)?),
        kind: Set(kind.map(GroupKind::code)),
        collapse: Set(*collapse),
        source_priority: Set(serde_json::to_string(source_priority)
            .map_err(|e| corrupt("ioc_groups", "source_priority", e))?),
        notify_on_limit: Set(*notify_on_limit),
        created_at: Set(created_at.micros()),
        config_version: NotSet,
        applied_config: NotSet,
        applied_seq: NotSet,
        publication: NotSet,
        live: NotSet,
        cut: NotSet,
        due_at: NotSet,
        latest_stamp: NotSet,
        claim_token: NotSet,
        claim_until: NotSet,
        limit_told: NotSet,
        frozen: NotSet,
        held: NotSet,
        held_until: NotSet,
        held_seq: NotSet,
        held_config: NotSet,
        let_through: NotSet,
        boundary: NotSet,
        restored: NotSet,
        aged_day: NotSet,
    })
}
