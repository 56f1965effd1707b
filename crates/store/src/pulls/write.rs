//! Pulls are written in batches.

use std::collections::{BTreeMap, HashMap, HashSet};

use iocast_domain::{
    id::KeyId,
    time::{HOUR, SECOND, Timestamp},
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{
    EVENTS_KEPT, FAILURES_KEPT, FAILURES_OF_ADDRESS, HOURS_KEPT, IDS, NewPull, PULLS_KEPT, PullLine,
};
use crate::{
    StoreResult, Txn,
    row::{device, key, pull, pull_hour},
};

/// Things of which something happened within the same second, with the last moment of it. What is
/// written of very many of them is the same then, and one statement does for all.
fn by_second<T>(of: impl IntoIterator<Item = (T, Timestamp)>) -> Vec<(Timestamp, Vec<T>)> {
    let mut seconds: BTreeMap<i64, (Timestamp, Vec<T>)> = BTreeMap::new();
    for (what, at) in of {
        let (last, all) =
            seconds.entry(at.micros().div_euclid(SECOND)).or_insert_with(|| (at, Vec::new()));
        *last = at.max(*last);
        all.push(what);
    }
    seconds.into_values().collect()
}

fn times(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Txn {
    /// Writes lines of the pull history, in order of time, and with pulls moves the devices' last
    /// ones. 304s like the ones before are counted with them. Moments are kept to the second:
    /// devices that pulled in the same one are written together.
    pub async fn pull_insert_many(&self, lines: &[PullLine]) -> StoreResult<()> {
        let pulled = lines
            .iter()
            .filter(|l| l.reason.is_none() && l.events == 0)
            .map(|l| (l.pull.device_id.0, l.pull.at));
        for (at, devices) in by_second(pulled) {
            for chunk in devices.chunks(IDS) {
                device::Entity::update_many()
                    .col_expr(device::Column::LastPullAt, Expr::value(at.micros()))
                    .filter(device::Column::Id.is_in(chunk.iter().copied()))
                    .filter(
                        device::Column::LastPullAt
                            .is_null()
                            .or(device::Column::LastPullAt.lt(at.micros())),
                    )
                    .exec(&self.0)
                    .await?;
            }
        }
        // Each device once at a time: a line may be counted with the one before it.
        let mut rest: Vec<&PullLine> = lines.iter().collect();
        while !rest.is_empty() {
            let mut seen = HashSet::new();
            let (now, later): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|l| seen.insert((l.pull.device_id, l.reason.is_some())));
            for chunk in now.chunks(IDS) {
                self.pull_lines(chunk).await?;
            }
            rest = later;
        }
        self.pull_counts(lines).await
    }

    /// Lines of as many devices.
    async fn pull_lines(&self, lines: &[&PullLine]) -> StoreResult<()> {
        let mut merged = Vec::new();
        let mut fresh = Vec::new();
        let last = self.pull_lasts(lines).await?;
        for line in lines {
            let new = &line.pull;
            let alike = last.get(&(new.device_id.0, line.reason.is_some())).filter(|l| {
                let both = if line.events > 0 {
                    l.events > 0
                } else {
                    new.status == 304 && l.status == 304
                };
                both && l.group_id == new.group_id.0
                    && l.address == new.address
                    && l.user_agent == new.user_agent
                    && l.misp_uuid == new.misp_uuid
                    && l.misp_version == new.misp_version
            });
            match alike {
                Some(last) if line.events > 0 => self.pull_events_add(last.id, line).await?,
                Some(last) => merged.push(((last.id, times(line.count)), new.at)),
                None => fresh.push(*line),
            }
        }
        for (at, rows) in by_second(merged) {
            let mut by_count: BTreeMap<i32, Vec<Uuid>> = BTreeMap::new();
            for (id, count) in rows {
                by_count.entry(count).or_default().push(id);
            }
            for (count, ids) in by_count {
                pull::Entity::update_many()
                    .col_expr(pull::Column::At, Expr::value(at.micros()))
                    .col_expr(pull::Column::Count, Expr::col(pull::Column::Count).add(count))
                    .filter(pull::Column::Id.is_in(ids))
                    .exec(&self.0)
                    .await?;
            }
        }
        if fresh.is_empty() {
            return Ok(());
        }
        pull::Entity::insert_many(fresh.iter().map(|line| to_row(line)))
            .exec_without_returning(&self.0)
            .await?;
        let devices = |which: &dyn Fn(&PullLine) -> bool| -> Vec<Uuid> {
            fresh.iter().filter(|line| which(line)).map(|line| line.pull.device_id.0).collect()
        };
        let failed = devices(&|line| line.reason.is_some());
        self.failures_prune(&failed).await?;
        self.pull_prune(&failed, &pull::Column::Failed.eq(true), FAILURES_KEPT).await?;
        // Events push no pull out.
        let done = || pull::Column::Failed.eq(false);
        let pulled = devices(&|line| line.reason.is_none() && line.events == 0);
        let of_pulls = done().and(pull::Column::Events.eq(0));
        self.pull_prune(&pulled, &of_pulls, PULLS_KEPT).await?;
        let fetched = devices(&|line| line.events > 0);
        let of_events = done().and(pull::Column::Events.gt(0));
        self.pull_prune(&fetched, &of_events, EVENTS_KEPT).await
    }

    /// More events that a client fetched one after the other.
    async fn pull_events_add(&self, id: Uuid, line: &PullLine) -> StoreResult<()> {
        let bytes = i64::try_from(line.pull.bytes).unwrap_or(i64::MAX);
        pull::Entity::update_many()
            .col_expr(pull::Column::At, Expr::value(line.pull.at.micros()))
            .col_expr(pull::Column::Count, Expr::col(pull::Column::Count).add(times(line.count)))
            .col_expr(pull::Column::Events, Expr::col(pull::Column::Events).add(times(line.events)))
            .col_expr(pull::Column::Bytes, Expr::col(pull::Column::Bytes).add(bytes))
            .filter(pull::Column::Id.eq(id))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// The last line of each of these lines' devices, pulls and failures apart.
    async fn pull_lasts(
        &self,
        lines: &[&PullLine],
    ) -> StoreResult<HashMap<(Uuid, bool), pull::Model>> {
        let mut found = HashMap::with_capacity(lines.len());
        for failed in [false, true] {
            let devices: Vec<Uuid> = lines
                .iter()
                .filter(|l| l.reason.is_some() == failed)
                .map(|l| l.pull.device_id.0)
                .collect();
            if devices.is_empty() {
                continue;
            }
            let of_devices = || {
                pull::Column::DeviceId
                    .is_in(devices.iter().copied())
                    .and(pull::Column::Failed.eq(failed))
            };
            let lasts = pull::Entity::find()
                .select_only()
                .column(pull::Column::DeviceId)
                .expr_as(pull::Column::At.max(), "at")
                .filter(of_devices())
                .group_by(pull::Column::DeviceId)
                .into_query();
            let row = Expr::tuple([Expr::col(pull::Column::DeviceId), Expr::col(pull::Column::At)]);
            for row in pull::Entity::find()
                .filter(of_devices())
                .filter(row.in_subquery(lasts))
                .all(&self.0)
                .await?
            {
                found.insert((row.device_id, failed), row);
            }
        }
        Ok(found)
    }

    /// Forgets the oldest lines of devices that have more than are kept.
    async fn pull_prune(&self, devices: &[Uuid], of: &Expr, kept: u64) -> StoreResult<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let too_many: Vec<Uuid> = pull::Entity::find()
            .select_only()
            .column(pull::Column::DeviceId)
            .filter(pull::Column::DeviceId.is_in(devices.iter().copied()))
            .filter(of.clone())
            .group_by(pull::Column::DeviceId)
            .having(pull::Column::Id.count().gt(i64::try_from(kept).unwrap_or(i64::MAX)))
            .into_tuple()
            .all(&self.0)
            .await?;
        for device in too_many {
            self.pull_keep(&pull::Column::DeviceId.eq(device).and(of.clone()), kept).await?;
        }
        Ok(())
    }

    /// Forgets the oldest failures from addresses of which a device has more than are kept: a
    /// stranger who knows a group's URL pushes no failure of the device itself out.
    async fn failures_prune(&self, devices: &[Uuid]) -> StoreResult<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let too_many: Vec<(Uuid, String)> = pull::Entity::find()
            .select_only()
            .columns([pull::Column::DeviceId, pull::Column::Address])
            .filter(pull::Column::DeviceId.is_in(devices.iter().copied()))
            .filter(pull::Column::Failed.eq(true))
            .group_by(pull::Column::DeviceId)
            .group_by(pull::Column::Address)
            .having(
                pull::Column::Id.count().gt(i64::try_from(FAILURES_OF_ADDRESS).unwrap_or(i64::MAX)),
            )
            .into_tuple()
            .all(&self.0)
            .await?;
        for (device, address) in too_many {
            let of_address = pull::Column::DeviceId
                .eq(device)
                .and(pull::Column::Failed.eq(true))
                .and(pull::Column::Address.eq(address));
            self.pull_keep(&of_address, FAILURES_OF_ADDRESS).await?;
        }
        Ok(())
    }

    /// Keeps the newest of these lines.
    async fn pull_keep(&self, of: &Expr, kept: u64) -> StoreResult<()> {
        let newest_first = pull::Entity::find()
            .filter(of.clone())
            .order_by_desc(pull::Column::At)
            .order_by_asc(pull::Column::Id);
        if let Some(first) = newest_first.offset(kept).limit(1).one(&self.0).await? {
            let behind = pull::Column::At
                .lt(first.at)
                .or(pull::Column::At.eq(first.at).and(pull::Column::Id.gte(first.id)));
            pull::Entity::delete_many().filter(of.clone()).filter(behind).exec(&self.0).await?;
        }
        Ok(())
    }

    /// Adds to the hourly counts of the lines' devices, and forgets what is older than they are
    /// kept.
    async fn pull_counts(&self, lines: &[PullLine]) -> StoreResult<()> {
        let mut counts: BTreeMap<(Uuid, i64), (i32, i32)> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.events == 0) {
            let (pulls, failures) = counts
                .entry((line.pull.device_id.0, line.pull.at.micros().div_euclid(HOUR)))
                .or_default();
            let of_kind = if line.reason.is_some() { failures } else { pulls };
            *of_kind = of_kind.saturating_add(times(line.count));
        }
        let rows: Vec<_> = counts
            .iter()
            .map(|((device, hour), (pulls, failures))| pull_hour::ActiveModel {
                device_id: Set(*device),
                hour: Set(*hour),
                pulls: Set(*pulls),
                failures: Set(*failures),
            })
            .collect();
        let add = |column: pull_hour::Column| {
            Expr::col((pull_hour::Entity, column)).add(Expr::col(("excluded", column)))
        };
        for chunk in rows.chunks(IDS) {
            let count = OnConflict::columns([pull_hour::Column::DeviceId, pull_hour::Column::Hour])
                .value(pull_hour::Column::Pulls, add(pull_hour::Column::Pulls))
                .value(pull_hour::Column::Failures, add(pull_hour::Column::Failures))
                .to_owned();
            pull_hour::Entity::insert_many(chunk.iter().cloned())
                .on_conflict(count)
                .exec_without_returning(&self.0)
                .await?;
        }
        let Some(hour) = counts.keys().map(|(_, hour)| *hour).max() else { return Ok(()) };
        let devices: Vec<Uuid> = counts.keys().map(|(device, _)| *device).collect();
        for chunk in devices.chunks(IDS) {
            pull_hour::Entity::delete_many()
                .filter(pull_hour::Column::DeviceId.is_in(chunk.iter().copied()))
                .filter(pull_hour::Column::Hour.lt(hour - HOURS_KEPT / HOUR))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Notes that keys opened something.
    pub async fn keys_used(
        &self,
        keys: impl IntoIterator<Item = (KeyId, Timestamp)>,
    ) -> StoreResult<()> {
        for (at, ids) in by_second(keys) {
            for chunk in ids.chunks(IDS) {
                key::Entity::update_many()
                    .col_expr(key::Column::LastUsedAt, Expr::value(at.micros()))
                    .filter(key::Column::Id.is_in(chunk.iter().map(|k| k.0)))
                    .exec(&self.0)
                    .await?;
            }
        }
        Ok(())
    }
}

fn to_row(line: &PullLine) -> pull::ActiveModel {
    let NewPull {
        id,
        device_id,
        group_id,
        at,
        address,
        user_agent,
        misp_version,
        misp_uuid,
        status,
        bytes,
    } = line.pull.clone();
    pull::ActiveModel {
        id: Set(id),
        device_id: Set(device_id.0),
        group_id: Set(group_id.0),
        failed: Set(line.reason.is_some()),
        at: Set(at.micros()),
        first_at: Set(line.first_at.micros()),
        count: Set(times(line.count)),
        address: Set(address),
        user_agent: Set(user_agent),
        misp_version: Set(misp_version),
        misp_uuid: Set(misp_uuid),
        status: Set(i16::try_from(status).unwrap_or_default()),
        bytes: Set(i64::try_from(bytes).unwrap_or(i64::MAX)),
        reason: Set(line.reason.clone()),
        events: Set(times(line.events)),
    }
}
