//! What a database that comes from a backup has to say again.

use iocast_domain::{device_type, id::GroupId, time::Timestamp};
use sea_orm::{
    ColumnTrait, EntityTrait, JoinType, QueryFilter, QuerySelect, Set,
    sea_query::{Expr, ExprTrait as _},
};
use uuid::Uuid;

use crate::{
    StoreResult, Txn,
    copy::RESTORE_PROGRESS,
    row::{account, attempt, device, group, part, session},
};

/// How far the numbers of changes are raised: more than an account changes between two backups.
const CHANGES: i64 = 1_000_000_000;

/// What is said again after a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Groups whose MISP events are offered again.
    pub misp_groups: u64,
    /// Groups whose entries are sent again: TAXII collections and logs.
    pub log_groups: u64,
}

impl Txn {
    /// Makes a database that comes from a backup fit for devices that saw what came after it. What
    /// devices put in order by time or number (timestamps of MISP events, dates of TAXII objects,
    /// numbers of changes) goes on above anything that may have been given out, and they get all of
    /// it once more. Lists need nothing: a device compares what they hold. Sessions end.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn after_restore(&self, now: Timestamp) -> StoreResult<Restored> {
        self.setting_delete(&[RESTORE_PROGRESS.to_owned()]).await?;
        session::Entity::delete_many().exec(&self.0).await?;
        attempt::Entity::delete_many().exec(&self.0).await?;
        account::Entity::update_many()
            .col_expr(
                account::Column::ChangeSeq,
                Expr::col(account::Column::ChangeSeq).add(CHANGES),
            )
            .exec(&self.0)
            .await?;
        let devices = group::Entity::belongs_to(device::Entity)
            .from(group::Column::DeviceId)
            .to(device::Column::Id);
        let groups: Vec<(Uuid, Option<i64>, String)> = group::Entity::find()
            .select_only()
            .columns([group::Column::Id, group::Column::LatestStamp])
            .join(JoinType::InnerJoin, devices.into())
            .column(device::Column::DeviceType)
            .into_tuple()
            .all(&self.0)
            .await?;
        let mut restored = Restored::default();
        for (id, latest, of_type) in groups {
            let format = device_type::find(&of_type).map(|of| of.format);
            let is_log = format.is_some_and(device_type::Format::is_log);
            let is_misp = format == Some(device_type::Format::MispFeed);
            let floor = if is_misp { now.secs() } else { now.micros() };
            let raised = if is_misp || is_log {
                Some(latest.map_or(floor, |latest| Ord::max(latest, floor)))
            } else {
                latest
            };
            group::Entity::update_many()
                .set(group::ActiveModel {
                    latest_stamp: Set(raised),
                    claim_token: Set(None),
                    claim_until: Set(0),
                    ..group::ActiveModel::default()
                })
                .filter(group::Column::Id.eq(id))
                .exec(&self.0)
                .await?;
            if is_misp {
                restored.misp_groups += 1;
                part::Entity::update_many()
                    .col_expr(part::Column::OfferAgain, Expr::value(true))
                    .filter(part::Column::GroupId.eq(id))
                    .exec(&self.0)
                    .await?;
                group::Entity::update_many()
                    .col_expr(group::Column::DueAt, Expr::value(0_i64))
                    .filter(group::Column::Id.eq(id))
                    .exec(&self.0)
                    .await?;
            } else if is_log {
                restored.log_groups += 1;
                self.group_reconfigure(&[GroupId(id)]).await?;
                self.member_mark_resend(GroupId(id), None, None).await?;
            }
        }
        Ok(restored)
    }
}
