//! What devices did: their pulls and failures, written in batches.

use iocast_domain::{
    id::{DeviceId, GroupId},
    time::{DAY, Timestamp},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, StoreResult,
    page::cursor,
    row::{pull, pull_hour},
};

mod write;

/// Most ids in one statement.
const IDS: usize = 1_000;
/// Pulls kept for each device.
const PULLS_KEPT: u64 = 200;
/// Lines about MISP events kept for each device.
const EVENTS_KEPT: u64 = 50;
/// Failures kept for each device.
const FAILURES_KEPT: u64 = 50;
/// Of them, from one address.
const FAILURES_OF_ADDRESS: u64 = 10;
/// How long hourly counts are kept, in microseconds.
const HOURS_KEPT: i64 = 90 * DAY;

/// A completed pull, about to be written.
#[derive(Clone, Debug)]
pub struct NewPull {
    /// A fresh id.
    pub id: Uuid,
    /// The device.
    pub device_id: DeviceId,
    /// The group that was pulled.
    pub group_id: GroupId,
    /// When the last byte was handed over.
    pub at: Timestamp,
    /// Client address.
    pub address: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// `MISP-version`.
    pub misp_version: Option<String>,
    /// `MISP-uuid`.
    pub misp_uuid: Option<String>,
    /// 200 or 304.
    pub status: u16,
    /// Body length.
    pub bytes: u64,
}

/// A line of the pull history.
#[derive(Clone, Debug)]
pub struct PullLine {
    /// The pull; `at` is the last of `count` like ones.
    pub pull: NewPull,
    /// The first of them.
    pub first_at: Timestamp,
    /// How many.
    pub count: u32,
    /// For a failure: why.
    pub reason: Option<String>,
    /// MISP events that were fetched; then it is no pull.
    pub events: u32,
}

pub(crate) fn to_line(row: pull::Model) -> PullLine {
    let pull::Model {
        id,
        device_id,
        group_id,
        failed: _,
        at,
        first_at,
        count,
        address,
        user_agent,
        misp_version,
        misp_uuid,
        status,
        bytes,
        reason,
        events,
    } = row;
    PullLine {
        pull: NewPull {
            id,
            device_id: DeviceId(device_id),
            group_id: GroupId(group_id),
            at: Timestamp::from_micros(at),
            address,
            user_agent,
            misp_version,
            misp_uuid,
            status: u16::try_from(status).unwrap_or_default(),
            bytes: u64::try_from(bytes).unwrap_or_default(),
        },
        first_at: Timestamp::from_micros(first_at),
        count: u32::try_from(count).unwrap_or_default(),
        reason,
        events: u32::try_from(events).unwrap_or_default(),
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// The pulls and failures of a device, newest first.
    pub async fn pull_list(&self, device: DeviceId, page: &Page) -> StoreResult<PageOf<PullLine>> {
        let mut find = pull::Entity::find().filter(pull::Column::DeviceId.eq(device.0));
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            find = find.filter(
                pull::Column::At.lt(at).or(pull::Column::At.eq(at).and(pull::Column::Id.gt(id))),
            );
        }
        let rows = find
            .order_by_desc(pull::Column::At)
            .order_by_asc(pull::Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        Ok(PageOf::cut(rows, page.limit, |r| format!("{}.{}", r.at, r.id)).map(to_line))
    }
}

/// Pulls of a device on a UTC day.
#[derive(Clone, Copy, Debug)]
pub struct PullDay {
    /// The device.
    pub device_id: DeviceId,
    /// Days since 1970.
    pub day: i64,
    /// Completed pulls.
    pub pulls: u64,
    /// Refused ones.
    pub failures: u64,
}

impl<C: ConnectionTrait> Conn<C> {
    /// Pulls by day of these devices, since an hour (hours since 1970).
    pub async fn pull_days(&self, devices: &[DeviceId], since: i64) -> StoreResult<Vec<PullDay>> {
        let mut found = Vec::new();
        for chunk in devices.chunks(IDS) {
            // The whole expression in text: two bound numbers would be two expressions to
            // PostgreSQL.
            let day = || Expr::cust("\"hour\" / 24");
            let rows: Vec<(Uuid, i64, i64, i64)> = pull_hour::Entity::find()
                .select_only()
                .column(pull_hour::Column::DeviceId)
                .expr_as(day(), "day")
                .expr_as(pull_hour::Column::Pulls.sum(), "pulls")
                .expr_as(pull_hour::Column::Failures.sum(), "failures")
                .filter(pull_hour::Column::DeviceId.is_in(chunk.iter().map(|d| d.0)))
                .filter(pull_hour::Column::Hour.gte(since))
                .group_by(pull_hour::Column::DeviceId)
                .group_by(day())
                .into_tuple()
                .all(&self.0)
                .await?;
            let count = |n: i64| u64::try_from(n).unwrap_or_default();
            found.extend(rows.into_iter().map(|(device, day, pulls, failures)| PullDay {
                device_id: DeviceId(device),
                day,
                pulls: count(pulls),
                failures: count(failures),
            }));
        }
        Ok(found)
    }
}
