//! Outages and gaps are written.

use iocast_domain::{
    id::{AccountId, DeviceId, MessageId, OutageId},
    message::MessageKind,
    time::Timestamp,
    watch::{EndedBy, Gap, Outage},
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict, Query},
};

use super::ENDED_BY_THRESHOLD;
use crate::{
    StoreResult, Txn,
    messages::kind_code,
    row::{account, gap, outage, outage_message},
};

impl Txn {
    /// Writes an outage, or opens the one again that ended because this silence was allowed for a
    /// while. Gives its id; nothing if this silence is known already.
    pub async fn outage_insert(&self, new: &Outage) -> StoreResult<Option<OutageId>> {
        let Outage { id, account_id, device_id, began_at, noticed_at, ended: _ } = new;
        let row = outage::ActiveModel {
            id: Set(id.0),
            account_id: Set(account_id.to_string()),
            device_id: Set(device_id.0),
            began_at: Set(began_at.micros()),
            noticed_at: Set(noticed_at.micros()),
            ended_at: Set(None),
            ended_by: Set(None),
        };
        let once = OnConflict::columns([outage::Column::DeviceId, outage::Column::BeganAt])
            .do_nothing()
            .to_owned();
        if outage::Entity::insert(row).on_conflict(once).exec_without_returning(&self.0).await? > 0
        {
            return Ok(Some(*id));
        }
        let this = || {
            outage::Column::DeviceId
                .eq(device_id.0)
                .and(outage::Column::BeganAt.eq(began_at.micros()))
        };
        let again = outage::Entity::update_many()
            .col_expr(outage::Column::EndedAt, Expr::value(Option::<i64>::None))
            .col_expr(outage::Column::EndedBy, Expr::value(Option::<i16>::None))
            .col_expr(outage::Column::NoticedAt, Expr::value(noticed_at.micros()))
            .filter(this())
            .filter(outage::Column::EndedBy.eq(ENDED_BY_THRESHOLD));
        if again.exec(&self.0).await?.rows_affected == 0 {
            return Ok(None);
        }
        let Some(row) = outage::Entity::find().filter(this()).one(&self.0).await? else {
            return Ok(None);
        };
        // The next warning is a new one.
        outage_message::Entity::delete_many()
            .filter(outage_message::Column::OutageId.eq(row.id))
            .exec(&self.0)
            .await?;
        Ok(Some(OutageId(row.id)))
    }

    /// Ends an outage. Gives false if it had ended.
    pub async fn outage_end(&self, id: OutageId, at: Timestamp, by: EndedBy) -> StoreResult<bool> {
        let code: i16 = match by {
            EndedBy::Pull => 1,
            EndedBy::Pause => 2,
            EndedBy::Threshold => ENDED_BY_THRESHOLD,
        };
        let end = outage::Entity::update_many()
            .col_expr(outage::Column::EndedAt, Expr::value(at.micros()))
            .col_expr(outage::Column::EndedBy, Expr::value(code))
            .filter(outage::Column::Id.eq(id.0))
            .filter(outage::Column::EndedAt.is_null());
        Ok(end.exec(&self.0).await?.rows_affected > 0)
    }

    /// Forgets the outages of a device. Messages stay, and are pointless now.
    pub async fn outage_delete_of(&self, device: DeviceId) -> StoreResult<()> {
        let of = Query::select()
            .column(outage::Column::Id)
            .from(outage::Entity)
            .and_where(outage::Column::DeviceId.eq(device.0))
            .take();
        outage_message::Entity::delete_many()
            .filter(outage_message::Column::OutageId.in_subquery(of))
            .exec(&self.0)
            .await?;
        outage::Entity::delete_many()
            .filter(outage::Column::DeviceId.eq(device.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that a message is about an outage. Gives false if there is such a message to this person
    /// already.
    pub async fn outage_message_insert(
        &self,
        outage: OutageId,
        recipient: &str,
        kind: MessageKind,
        message: MessageId,
    ) -> StoreResult<bool> {
        let row = outage_message::ActiveModel {
            outage_id: Set(outage.0),
            recipient: Set(recipient.to_owned()),
            kind: Set(kind_code(kind)),
            message_id: Set(message.0),
        };
        let key = [
            outage_message::Column::OutageId,
            outage_message::Column::Recipient,
            outage_message::Column::Kind,
        ];
        let once = OnConflict::columns(key).do_nothing().to_owned();
        Ok(outage_message::Entity::insert(row)
            .on_conflict(once)
            .exec_without_returning(&self.0)
            .await?
            > 0)
    }

    /// Notes whether an account was told that nobody gets its alerts. Gives false if it was noted
    /// so already.
    pub async fn account_set_nobody_told(
        &self,
        account: &AccountId,
        told: bool,
    ) -> StoreResult<bool> {
        let note = account::Entity::update_many()
            .col_expr(account::Column::NobodyTold, Expr::value(told))
            .filter(account::Column::Id.eq(account.as_str()))
            .filter(account::Column::NobodyTold.eq(!told));
        Ok(note.exec(&self.0).await?.rows_affected > 0)
    }

    /// Writes the account's threshold and webhook.
    pub async fn account_set_alerts(
        &self,
        account: &AccountId,
        silent_after: Option<i64>,
        webhook_url: Option<String>,
    ) -> StoreResult<()> {
        let set = account::Entity::update_many()
            .col_expr(account::Column::SilentAfter, Expr::value(silent_after))
            .col_expr(account::Column::WebhookUrl, Expr::value(webhook_url));
        set.filter(account::Column::Id.eq(account.as_str())).exec(&self.0).await?;
        Ok(())
    }

    /// No gap reaches beyond `now`.
    pub async fn gap_end_at(&self, now: Timestamp) -> StoreResult<()> {
        gap::Entity::delete_many()
            .filter(gap::Column::FromAt.gte(now.micros()))
            .exec(&self.0)
            .await?;
        gap::Entity::update_many()
            .col_expr(gap::Column::ToAt, Expr::value(now.micros()))
            .filter(gap::Column::ToAt.gt(now.micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes a gap, and forgets those that ended before `since`.
    pub async fn gap_insert(&self, new: Gap, since: Timestamp) -> StoreResult<()> {
        gap::Entity::delete_many()
            .filter(gap::Column::ToAt.lt(since.micros()))
            .exec(&self.0)
            .await?;
        let row = gap::ActiveModel { from_at: Set(new.from.micros()), to_at: Set(new.to.micros()) };
        gap::Entity::insert(row)
            .on_conflict(OnConflict::column(gap::Column::FromAt).do_nothing().to_owned())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }
}
