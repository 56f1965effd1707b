//! Outages, what the watchdog looks at, and the gaps in which nobody could answer.

use iocast_domain::{
    device::Device,
    id::{AccountId, DeviceId, MessageId, OutageId},
    message::{MessageKind, MessageState},
    staleness::SILENT_AFTER,
    time::Timestamp,
    watch::{EndedBy, Gap, Outage},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, Func, Query},
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, PullLine, StoreResult,
    devices::to_device,
    digests::OPEN,
    error::{corrupt, readable},
    messages::{kind_code, to_kind, to_state},
    page::cursor,
    pulls::to_line,
    row::{account, device, gap, message, outage, outage_message, pull},
};

mod end;
mod write;
pub use self::end::WarningFate;

/// An outage with the messages that were written about it.
#[derive(Clone, Debug)]
pub struct OutageRow {
    /// The outage.
    pub outage: Outage,
    /// The messages.
    pub messages: Vec<OutageMessage>,
}

/// A message about an outage.
#[derive(Clone, Debug)]
pub struct OutageMessage {
    /// The message.
    pub id: MessageId,
    /// Why it was written.
    pub kind: MessageKind,
    /// To whom.
    pub recipient: String,
    /// What became of it.
    pub state: MessageState,
    /// A try ended without an answer: it may have arrived.
    pub maybe_sent: bool,
    /// It still gathers more, and tells of this outage only if that lasts.
    pub gathers: bool,
}

/// A silence that was allowed, and may last longer than that.
const ENDED_BY_THRESHOLD: i16 = 3;

fn ended_by(code: i16) -> StoreResult<EndedBy> {
    match code {
        1 => Ok(EndedBy::Pull),
        2 => Ok(EndedBy::Pause),
        ENDED_BY_THRESHOLD => Ok(EndedBy::Threshold),
        other => Err(corrupt("outages", "ended_by", other)),
    }
}

pub(crate) fn to_outage(row: outage::Model) -> StoreResult<Outage> {
    let outage::Model { id, account_id, device_id, began_at, noticed_at, ended_at, ended_by: by } =
        row;
    Ok(Outage {
        id: OutageId(id),
        account_id: crate::accounts::account_id("outages", account_id)?,
        device_id: DeviceId(device_id),
        began_at: Timestamp::from_micros(began_at),
        noticed_at: Timestamp::from_micros(noticed_at),
        ended: ended_at
            .zip(by)
            .map(|(at, by)| Ok::<_, crate::StoreError>((Timestamp::from_micros(at), ended_by(by)?)))
            .transpose()?,
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// Devices that may have fallen silent, in order of id: watched, quiet for longer than their
    /// threshold, and without an open outage; and the device after which there may be more. Gaps
    /// are not looked at here.
    pub async fn device_maybe_silent(
        &self,
        now: Timestamp,
        after: Option<DeviceId>,
        limit: u64,
    ) -> StoreResult<(Vec<Device>, Option<DeviceId>)> {
        let column = |column: device::Column| Expr::col((device::Entity, column));
        let of_account = Query::select()
            .column(account::Column::SilentAfter)
            .from(account::Entity)
            .and_where(
                Expr::col((account::Entity, account::Column::Id))
                    .equals((device::Entity, device::Column::AccountId)),
            )
            .take();
        let threshold = Func::coalesce([
            column(device::Column::SilentAfter),
            Expr::SubQuery(None, Box::new(of_account.into())),
            Expr::value(SILENT_AFTER),
        ]);
        let cutoff = || Expr::value(now.micros()).sub(threshold.clone());
        let open = Query::select()
            .column(outage::Column::DeviceId)
            .from(outage::Entity)
            .and_where(outage::Column::EndedAt.is_null())
            .take();
        let mut find = device::Entity::find()
            .filter(device::Column::Paused.eq(false))
            .filter(
                Expr::from(Func::coalesce([
                    column(device::Column::LastPullAt),
                    column(device::Column::CreatedAt),
                ]))
                .lt(cutoff()),
            )
            .filter(column(device::Column::WatchedSince).lt(cutoff()))
            .filter(device::Column::Id.not_in_subquery(open));
        if let Some(after) = after {
            find = find.filter(device::Column::Id.gt(after.0));
        }
        let rows = find.order_by_asc(device::Column::Id).limit(limit).all(&self.0).await?;
        let next = rows.last().filter(|_| rows.len() as u64 == limit).map(|row| DeviceId(row.id));
        Ok((readable(rows, to_device), next))
    }

    /// The open outages of these devices.
    pub async fn outage_open(&self, devices: &[DeviceId]) -> StoreResult<Vec<Outage>> {
        let mut open = Vec::new();
        for chunk in devices.chunks(1_000) {
            let of = outage::Column::DeviceId.is_in(chunk.iter().map(|d| d.0));
            for row in outage::Entity::find()
                .filter(outage::Column::EndedAt.is_null())
                .filter(of)
                .all(&self.0)
                .await?
            {
                open.extend(readable([row], to_outage));
            }
        }
        Ok(open)
    }

    /// The accounts that had an outage while no administrator got alerts.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn account_list_untold(&self) -> StoreResult<Vec<AccountId>> {
        let untold = account::Entity::find()
            .select_only()
            .column(account::Column::Id)
            .filter(account::Column::NobodyTold.eq(true));
        let ids: Vec<String> = untold.into_tuple().all(&self.0).await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// How many outages are open.
    pub async fn outage_open_count(&self) -> StoreResult<u64> {
        Ok(outage::Entity::find().filter(outage::Column::EndedAt.is_null()).count(&self.0).await?)
    }

    /// The outages of an account, or of one of its devices; newest first.
    pub async fn outage_list(
        &self,
        account: &AccountId,
        device: Option<DeviceId>,
        open: Option<bool>,
        page: &Page,
    ) -> StoreResult<PageOf<OutageRow>> {
        let mut find =
            outage::Entity::find().filter(outage::Column::AccountId.eq(account.as_str()));
        if let Some(device) = device {
            find = find.filter(outage::Column::DeviceId.eq(device.0));
        }
        if let Some(open) = open {
            find = find.filter(if open {
                outage::Column::EndedAt.is_null()
            } else {
                outage::Column::EndedAt.is_not_null()
            });
        }
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            find = find.filter(
                outage::Column::NoticedAt
                    .lt(at)
                    .or(outage::Column::NoticedAt.eq(at).and(outage::Column::Id.lt(id))),
            );
        }
        let rows = find
            .order_by_desc(outage::Column::NoticedAt)
            .order_by_desc(outage::Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        let page = PageOf::cut(rows, page.limit, |r| format!("{}.{}", r.noticed_at, r.id));
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            let messages = self.outage_messages(OutageId(row.id)).await?;
            items.push(OutageRow { outage: to_outage(row)?, messages });
        }
        Ok(PageOf { items, next: page.next })
    }

    /// The messages about an outage.
    pub async fn outage_messages(&self, id: OutageId) -> StoreResult<Vec<OutageMessage>> {
        let states: Vec<(Uuid, i16, bool, i16)> = message::Entity::find()
            .select_only()
            .columns([
                message::Column::Id,
                message::Column::State,
                message::Column::MaybeSent,
                message::Column::Digest,
            ])
            .filter(
                message::Column::Id.in_subquery(
                    Query::select()
                        .column(outage_message::Column::MessageId)
                        .from(outage_message::Entity)
                        .and_where(outage_message::Column::OutageId.eq(id.0))
                        .take(),
                ),
            )
            .into_tuple()
            .all(&self.0)
            .await?;
        let mut messages = Vec::new();
        for row in outage_message::Entity::find()
            .filter(outage_message::Column::OutageId.eq(id.0))
            .order_by_asc(outage_message::Column::Kind)
            .order_by_asc(outage_message::Column::Recipient)
            .all(&self.0)
            .await?
        {
            if let Some((_, state, maybe_sent, digest)) =
                states.iter().copied().find(|(message, ..)| *message == row.message_id)
            {
                let (id, kind, state) =
                    (MessageId(row.message_id), to_kind(row.kind)?, to_state(state)?);
                messages.push(OutageMessage {
                    id,
                    kind,
                    recipient: row.recipient,
                    state,
                    maybe_sent,
                    gathers: digest == OPEN,
                });
            }
        }
        Ok(messages)
    }

    /// Whether a person was written of an outage.
    pub async fn outage_message_exists(
        &self,
        outage: OutageId,
        recipient: &str,
        kind: MessageKind,
    ) -> StoreResult<bool> {
        let find =
            outage_message::Entity::find_by_id((outage.0, recipient.to_owned(), kind_code(kind)));
        Ok(find.count(&self.0).await? > 0)
    }

    /// The last pull of a device, or the last refused one.
    pub async fn pull_last(&self, device: DeviceId, failed: bool) -> StoreResult<Option<PullLine>> {
        let find = pull::Entity::find()
            .filter(pull::Column::DeviceId.eq(device.0))
            .filter(pull::Column::Failed.eq(failed));
        Ok(find.order_by_desc(pull::Column::At).limit(1).one(&self.0).await?.map(to_line))
    }

    /// The gaps that end after `since`, oldest first.
    pub async fn gap_list(&self, since: Timestamp) -> StoreResult<Vec<Gap>> {
        let rows = gap::Entity::find()
            .filter(gap::Column::ToAt.gt(since.micros()))
            .order_by_asc(gap::Column::FromAt)
            .all(&self.0)
            .await?;
        Ok(rows
            .into_iter()
            .map(|r| Gap {
                from: Timestamp::from_micros(r.from_at),
                to: Timestamp::from_micros(r.to_at),
            })
            .collect())
    }
}
