//! Subscriptions of sources, what their fetches did, and what their lists hold.

use iocast_domain::{
    id::{AccountId, ImportId, IocId, SourceId},
    subscription::{
        Access, Coverage, FetchOutcome, FetchProgress, Freshness, Protocol, Subscription,
    },
    time::{HOUR, Timestamp},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait as _, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, StoreResult,
    accounts::account_id,
    error::corrupt,
    page::cursor,
    row::{
        fetch, ioc_source, subscription, subscription_ledger, subscription_missing,
        subscription_section,
    },
};

/// Ids in one statement.
const IDS: usize = 1_000;

mod options;
mod write;

/// A part of what a source fetches that has a name and a version of its own: an event of a feed.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its version: another one says something else.
    pub version: String,
    /// What it held, in the form in which it was put.
    pub data: Vec<u8>,
}

/// What a fetch did.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Its id.
    pub id: Uuid,
    /// The source it was for.
    pub source_id: SourceId,
    /// When it ended.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: FetchOutcome,
    /// The status that the server answered with.
    pub status: Option<u16>,
    /// Bytes of the body.
    pub bytes: u64,
    /// IOCs that the list holds.
    pub listed: u64,
    /// IOCs that were not known.
    pub added: u64,
    /// IOCs of which something changed.
    pub changed: u64,
    /// IOCs that this source reports no more.
    pub gone: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// The import that it made.
    pub import_id: Option<ImportId>,
    /// Why it failed.
    pub error: Option<String>,
}

fn to_subscription(row: subscription::Model) -> StoreResult<(AccountId, Subscription)> {
    let subscription::Model {
        source_id,
        account_id: account,
        url,
        form,
        every,
        coverage,
        grace,
        access,
        access_name,
        secret,
        paused,
        next_at,
        claimed_until: _,
        tried_at,
        ok_at,
        changed_at,
        failures,
        error,
        etag,
        last_modified,
        sha256,
        listed,
        protocol,
        options,
        tls_key,
        cursor,
        failing_since,
        told,
    } = row;
    let wrong = |column: &'static str, code: i16| corrupt("subscriptions", column, code);
    let of = Subscription {
        source_id: SourceId(source_id),
        protocol: Protocol::from_code(protocol).ok_or_else(|| wrong("protocol", protocol))?,
        url,
        form,
        every,
        coverage: Coverage::from_code(coverage).ok_or_else(|| wrong("coverage", coverage))?,
        grace,
        access: Access::from_code(access).ok_or_else(|| wrong("access", access))?,
        access_name,
        secret,
        tls_key: tls_key.unwrap_or_default(),
        paused,
        options: options::read(&options)?,
        progress: FetchProgress {
            next_at: Timestamp::from_micros(next_at),
            tried_at: tried_at.map(Timestamp::from_micros),
            ok_at: ok_at.map(Timestamp::from_micros),
            changed_at: changed_at.map(Timestamp::from_micros),
            failures: u32::try_from(failures).unwrap_or_default(),
            error,
            etag,
            last_modified,
            sha256,
            listed: u64::try_from(listed).unwrap_or_default(),
            cursor,
            failing_since: failing_since.map(Timestamp::from_micros),
            is_told: told,
        },
    };
    Ok((account_id("subscriptions", account)?, of))
}

fn to_fetch(row: fetch::Model) -> StoreResult<Fetch> {
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    Ok(Fetch {
        id: row.id,
        source_id: SourceId(row.source_id),
        at: Timestamp::from_micros(row.at),
        outcome: FetchOutcome::from_code(row.outcome)
            .ok_or_else(|| corrupt("fetches", "outcome", row.outcome))?,
        status: row.status.and_then(|status| u16::try_from(status).ok()),
        bytes: count(row.bytes),
        listed: count(row.listed),
        added: count(row.added),
        changed: count(row.changed),
        gone: count(row.gone),
        refused: count(row.refused),
        import_id: row.import_id.map(ImportId),
        error: row.error,
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// The subscription of a source.
    pub async fn subscription_fetch(&self, source: SourceId) -> StoreResult<Option<Subscription>> {
        let row = subscription::Entity::find_by_id(source.0).one(&self.0).await?;
        row.map(|row| to_subscription(row).map(|(_, of)| of)).transpose()
    }

    /// The subscriptions of an account.
    pub async fn subscription_list(&self, account: &AccountId) -> StoreResult<Vec<Subscription>> {
        let rows = subscription::Entity::find()
            .filter(subscription::Column::AccountId.eq(account.as_str()))
            .order_by_asc(subscription::Column::SourceId)
            .all(&self.0)
            .await?;
        rows.into_iter().map(|row| to_subscription(row).map(|(_, of)| of)).collect()
    }

    /// How many subscriptions of all accounts are how fresh, by [`Subscription::freshness`].
    pub async fn subscription_counts(&self, now: Timestamp) -> StoreResult<Vec<(Freshness, u64)>> {
        let code = Freshness::code;
        let sql = format!(
            "SELECT CASE WHEN paused THEN {} WHEN failures > 0 OR (ok_at IS NOT NULL AND next_at < {}) THEN {} \
             WHEN ok_at IS NOT NULL THEN {} ELSE {} END AS state, COUNT(*) AS total FROM subscriptions GROUP BY 1",
            code(Freshness::Paused),
            now.plus(-HOUR).micros(),
            code(Freshness::Failing),
            code(Freshness::Fresh),
            code(Freshness::NeverFetched),
        );
        let rows = self
            .0
            .query_all_raw(Statement::from_string(self.0.get_database_backend(), sql))
            .await?;
        let mut counts = Vec::with_capacity(rows.len());
        for row in rows {
            let state: i32 = row.try_get("", "state")?;
            let total: i64 = row.try_get("", "total")?;
            let of = i16::try_from(state).ok().and_then(Freshness::from_code);
            counts.extend(of.map(|of| (of, u64::try_from(total).unwrap_or_default())));
        }
        Ok(counts)
    }

    /// Subscriptions that are due by the product's clock and not claimed by the real one.
    pub async fn subscriptions_due(
        &self,
        now: Timestamp,
        real_now: Timestamp,
        limit: u64,
    ) -> StoreResult<Vec<(AccountId, Subscription)>> {
        let rows = subscription::Entity::find()
            .filter(subscription::Column::Paused.eq(false))
            .filter(subscription::Column::NextAt.lte(now.micros()))
            .filter(subscription::Column::ClaimedUntil.lte(real_now.micros()))
            .order_by_asc(subscription::Column::NextAt)
            .limit(limit)
            .all(&self.0)
            .await?;
        rows.into_iter().map(to_subscription).collect()
    }

    /// What the list of a source held when it was fetched last, in the form in which it was put.
    pub async fn subscription_ledger(&self, source: SourceId) -> StoreResult<Vec<u8>> {
        let rows = subscription_ledger::Entity::find()
            .filter(subscription_ledger::Column::SourceId.eq(source.0))
            .order_by_asc(subscription_ledger::Column::Number)
            .all(&self.0)
            .await?;
        Ok(rows.into_iter().map(|row| row.data).collect::<Vec<_>>().concat())
    }

    /// The sections of a source.
    pub async fn subscription_sections(&self, source: SourceId) -> StoreResult<Vec<Section>> {
        let rows = subscription_section::Entity::find()
            .filter(subscription_section::Column::SourceId.eq(source.0))
            .all(&self.0)
            .await?;
        let section = |row: subscription_section::Model| Section {
            name: row.name,
            version: row.version,
            data: row.data,
        };
        Ok(rows.into_iter().map(section).collect())
    }

    /// IOCs that a list does not hold any more, since this time or earlier.
    pub async fn subscription_missing(
        &self,
        source: SourceId,
        since: Timestamp,
    ) -> StoreResult<Vec<IocId>> {
        let find = subscription_missing::Entity::find()
            .select_only()
            .column(subscription_missing::Column::IocId)
            .filter(subscription_missing::Column::SourceId.eq(source.0))
            .filter(subscription_missing::Column::Since.lte(since.micros()));
        let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
        Ok(ids.into_iter().map(IocId).collect())
    }

    /// Which of these IOCs subscriptions have brought that were fetched well at least once, by
    /// source.
    pub async fn subscribed(
        &self,
        account: &AccountId,
        iocs: &[IocId],
    ) -> StoreResult<Vec<(Subscription, Vec<IocId>)>> {
        let mut found = Vec::new();
        for of in self.subscription_list(account).await? {
            if of.progress.ok_at.is_none() {
                continue;
            }
            let mut ids = Vec::new();
            for chunk in iocs.chunks(IDS) {
                let find = ioc_source::Entity::find()
                    .select_only()
                    .column(ioc_source::Column::IocId)
                    .filter(ioc_source::Column::SourceId.eq(of.source_id.0))
                    .filter(ioc_source::Column::IocId.is_in(chunk.iter().map(|id| id.0)));
                let some: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
                ids.extend(some.into_iter().map(IocId));
            }
            if !ids.is_empty() {
                found.push((of, ids));
            }
        }
        Ok(found)
    }

    /// What the fetches of a source did, latest first.
    pub async fn fetch_list(&self, source: SourceId, page: &Page) -> StoreResult<PageOf<Fetch>> {
        use fetch::Column;
        let mut find = fetch::Entity::find().filter(Column::SourceId.eq(source.0));
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            let same = Column::At.eq(at).and(Column::Id.lt(id));
            find = find.filter(Column::At.lt(at).or(same));
        }
        let rows = find
            .order_by_desc(Column::At)
            .order_by_desc(Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        let rows = rows.into_iter().map(to_fetch).collect::<StoreResult<Vec<_>>>()?;
        Ok(PageOf::cut(rows, page.limit, |f| format!("{}.{}", f.at.micros(), f.id)))
    }
}
