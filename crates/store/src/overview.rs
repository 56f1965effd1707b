//! What the overview of an account shows, by indexes alone but for the count of its IOCs, which
//! walks one.

use iocast_domain::{
    id::{AccountId, DeviceId, GroupId},
    ioc::{Kind, Severity, State},
    message::MessageState,
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait as _, PaginatorTrait as _, QueryFilter,
    QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict, Query},
};
use uuid::Uuid;

use crate::{
    Conn, StoreResult, Txn,
    accounts::account_id,
    error::corrupt,
    messages::state_code,
    row::{account, audit, group, ioc, ioc_day, key, message, protection, rule},
};

/// How many IOCs of one kind and severity an account had on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IocDay {
    /// Days since 1970.
    pub day: i64,
    /// Their kind.
    pub kind: Kind,
    /// Their severity.
    pub severity: Severity,
    /// Active ones.
    pub iocs: u64,
    /// When they were counted.
    pub counted_at: Timestamp,
}

/// A group of which a publication waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldGroup {
    /// The group.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Until when.
    pub until: Timestamp,
}

fn to_day(row: &ioc_day::Model) -> StoreResult<IocDay> {
    Ok(IocDay {
        day: row.day,
        kind: Kind::from_code(row.kind).ok_or_else(|| corrupt("ioc_days", "kind", row.kind))?,
        severity: Severity::from_code(row.severity)
            .ok_or_else(|| corrupt("ioc_days", "severity", row.severity))?,
        iocs: u64::try_from(row.iocs).unwrap_or_default(),
        counted_at: Timestamp::from_micros(row.counted_at),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// The last verdict on each group of an account, by device.
    pub async fn device_protections(
        &self,
        account: &AccountId,
    ) -> StoreResult<Vec<(DeviceId, String)>> {
        let find = Query::select()
            .column((group::Entity, group::Column::DeviceId))
            .column((protection::Entity, protection::Column::State))
            .from(group::Entity)
            .inner_join(
                protection::Entity,
                Expr::col((protection::Entity, protection::Column::GroupId))
                    .equals((group::Entity, group::Column::Id)),
            )
            .and_where(Expr::col((group::Entity, group::Column::AccountId)).eq(account.as_str()))
            .take();
        let rows = self.0.query_all(&find).await?;
        rows.iter()
            .map(|row| Ok((DeviceId(row.try_get_by_index(0)?), row.try_get_by_index(1)?)))
            .collect()
    }

    /// Groups of an account of which a publication waits, the one that is let through first at the
    /// top, and how many there are.
    pub async fn group_held(
        &self,
        account: &AccountId,
        limit: u64,
    ) -> StoreResult<(Vec<HeldGroup>, u64)> {
        let find = group::Entity::find()
            .filter(group::Column::AccountId.eq(account.as_str()))
            .filter(group::Column::HeldUntil.is_not_null());
        let all = find.clone().count(&self.0).await?;
        let rows: Vec<(Uuid, String, i64)> = find
            .select_only()
            .columns([group::Column::Id, group::Column::Name, group::Column::HeldUntil])
            .order_by_asc(group::Column::HeldUntil)
            .limit(limit)
            .into_tuple()
            .all(&self.0)
            .await?;
        let held = rows.into_iter().map(|(id, name, until)| HeldGroup {
            id: GroupId(id),
            name,
            until: Timestamp::from_micros(until),
        });
        Ok((held.collect(), all))
    }

    /// How many messages of an account nobody tries to deliver any more.
    pub async fn message_dead(&self, account: &AccountId) -> StoreResult<u64> {
        Ok(message::Entity::find()
            .filter(message::Column::AccountId.eq(account.as_str()))
            .filter(message::Column::State.eq(state_code(MessageState::Dead)))
            .count(&self.0)
            .await?)
    }

    /// Keys of an account that end between two moments: how many, and when the first does.
    pub async fn keys_ending(
        &self,
        account: &AccountId,
        (from, to): (Timestamp, Timestamp),
    ) -> StoreResult<(u64, Option<Timestamp>)> {
        let find = key::Entity::find()
            .filter(key::Column::AccountId.eq(account.as_str()))
            .filter(key::Column::ExpiresAt.gt(from.micros()))
            .filter(key::Column::ExpiresAt.lte(to.micros()))
            .filter(key::Column::RevokedAt.is_null());
        let first: Option<Option<i64>> = find
            .clone()
            .select_only()
            .column(key::Column::ExpiresAt)
            .order_by_asc(key::Column::ExpiresAt)
            .into_tuple()
            .one(&self.0)
            .await?;
        Ok((find.count(&self.0).await?, first.flatten().map(Timestamp::from_micros)))
    }

    /// How many active IOCs an account has, by kind and severity. It walks an index of all of them.
    pub async fn ioc_totals(&self, account: &AccountId) -> StoreResult<Vec<(Kind, Severity, u64)>> {
        let rows: Vec<(i16, i16, i64)> = ioc::Entity::find()
            .select_only()
            .columns([ioc::Column::Kind, ioc::Column::Severity])
            .column_as(ioc::Column::Id.count(), "count")
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            .filter(ioc::Column::DeletedAt.is_null())
            .filter(ioc::Column::State.eq(State::Active.code()))
            .group_by(ioc::Column::Kind)
            .group_by(ioc::Column::Severity)
            .into_tuple()
            .all(&self.0)
            .await?;
        let total = |(kind, severity, n): (i16, i16, i64)| {
            Ok((
                Kind::from_code(kind).ok_or_else(|| corrupt("iocs", "kind", kind))?,
                Severity::from_code(severity)
                    .ok_or_else(|| corrupt("iocs", "severity", severity))?,
                u64::try_from(n).unwrap_or_default(),
            ))
        };
        rows.into_iter().map(total).collect()
    }

    /// Accounts whose IOCs were not counted on this day (days since 1970).
    pub async fn ioc_days_due(&self, day: i64) -> StoreResult<Vec<AccountId>> {
        let counted = Query::select()
            .expr(Expr::value(1))
            .from(ioc_day::Entity)
            .and_where(
                Expr::col((ioc_day::Entity, ioc_day::Column::AccountId))
                    .equals((account::Entity, account::Column::Id)),
            )
            .and_where(Expr::col((ioc_day::Entity, ioc_day::Column::Day)).gte(day))
            .take();
        let due: Vec<String> = account::Entity::find()
            .select_only()
            .column(account::Column::Id)
            .filter(Expr::exists(counted).not())
            .into_tuple()
            .all(&self.0)
            .await?;
        due.into_iter().map(|id| account_id("accounts", id)).collect()
    }

    /// Whether a message of an account, or a test message, was ever handed over.
    pub async fn mail_was_handed_over(&self, account: &AccountId) -> StoreResult<bool> {
        let sent = message::Entity::find()
            .select_only()
            .column(message::Column::Id)
            .filter(message::Column::AccountId.eq(account.as_str()))
            .filter(message::Column::State.eq(state_code(MessageState::Sent)));
        if sent.into_tuple::<Uuid>().one(&self.0).await?.is_some() {
            return Ok(true);
        }
        let tested = audit::Entity::find()
            .select_only()
            .column(audit::Column::Id)
            .filter(audit::Column::AccountId.eq(account.as_str()))
            .filter(audit::Column::Action.eq("mail.test"));
        Ok(tested.into_tuple::<Uuid>().one(&self.0).await?.is_some())
    }

    /// Whether an account has a rule.
    pub async fn rule_any(&self, account: &AccountId) -> StoreResult<bool> {
        let find = rule::Entity::find()
            .select_only()
            .column(rule::Column::Id)
            .filter(rule::Column::AccountId.eq(account.as_str()));
        Ok(find.into_tuple::<Uuid>().one(&self.0).await?.is_some())
    }

    /// The days of an account from one on, the oldest first.
    pub async fn ioc_days(&self, account: &AccountId, from: i64) -> StoreResult<Vec<IocDay>> {
        let rows = ioc_day::Entity::find()
            .filter(ioc_day::Column::AccountId.eq(account.as_str()))
            .filter(ioc_day::Column::Day.gte(from))
            .order_by_asc(ioc_day::Column::Day)
            .all(&self.0)
            .await?;
        rows.iter().map(to_day).collect()
    }
}

impl Txn {
    /// Writes how many IOCs an account has today, in place of what was counted today before, and
    /// forgets days before `keep`.
    pub async fn ioc_day_put(
        &self,
        account: &AccountId,
        day: i64,
        keep: i64,
        now: Timestamp,
        totals: &[(Kind, Severity, u64)],
    ) -> StoreResult<()> {
        let gone = ioc_day::Column::Day.eq(day).or(ioc_day::Column::Day.lt(keep));
        ioc_day::Entity::delete_many()
            .filter(ioc_day::Column::AccountId.eq(account.as_str()))
            .filter(gone)
            .exec(&self.0)
            .await?;
        // An account without IOCs was counted, too.
        let none = [(Kind::Domain, Severity::Low, 0)];
        let totals = if totals.is_empty() { &none } else { totals };
        let rows = totals.iter().map(|(kind, severity, iocs)| ioc_day::ActiveModel {
            account_id: Set(account.to_string()),
            day: Set(day),
            kind: Set(kind.code()),
            severity: Set(severity.code()),
            iocs: Set(i64::try_from(*iocs).unwrap_or(i64::MAX)),
            counted_at: Set(now.micros()),
        });
        // Another replica may count at the same moment.
        let key = [
            ioc_day::Column::AccountId,
            ioc_day::Column::Day,
            ioc_day::Column::Kind,
            ioc_day::Column::Severity,
        ];
        let over = OnConflict::columns(key)
            .update_columns([ioc_day::Column::Iocs, ioc_day::Column::CountedAt])
            .to_owned();
        ioc_day::Entity::insert_many(rows)
            .on_conflict(over)
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }
}
