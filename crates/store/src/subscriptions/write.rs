//! Writes of subscriptions.

use iocast_domain::{
    id::{AccountId, IocId, SourceId},
    subscription::{FetchProgress, Subscription},
    time::{MINUTE, Timestamp},
};
use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::NotSet,
    ColumnTrait, EntityTrait, IntoActiveModel as _, QueryFilter, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};

use super::{Fetch, IDS, Section, options};
use crate::{
    StoreResult, Txn,
    row::{fetch, subscription, subscription_ledger, subscription_missing, subscription_section},
};

/// By how much a renewal may lengthen a claim: a claim of somebody else is longer.
const RENEWAL: i64 = 2 * MINUTE;
/// Bytes of a ledger in one row.
const PIECE: usize = 1 << 20;

impl Txn {
    /// Writes a subscription, in place of that of its source. What is claimed stays claimed.
    pub async fn subscription_put(
        &self,
        account: &AccountId,
        of: &Subscription,
    ) -> StoreResult<()> {
        let Subscription {
            source_id,
            protocol,
            url,
            form,
            every,
            coverage,
            grace,
            access,
            access_name,
            secret,
            tls_key,
            paused,
            options,
            progress,
        } = of;
        let FetchProgress {
            next_at,
            tried_at,
            ok_at,
            changed_at,
            failures,
            error,
            etag,
            last_modified,
            sha256,
            listed,
            cursor,
            failing_since,
            is_told,
        } = progress;
        let is_there = subscription::Entity::find_by_id(source_id.0).one(&self.0).await?.is_some();
        let row = subscription::Model {
            source_id: source_id.0,
            account_id: account.to_string(),
            url: url.clone(),
            form: form.clone(),
            every: *every,
            coverage: coverage.code(),
            grace: *grace,
            access: access.code(),
            access_name: access_name.clone(),
            secret: secret.clone(),
            paused: *paused,
            next_at: next_at.micros(),
            claimed_until: 0,
            tried_at: tried_at.map(Timestamp::micros),
            ok_at: ok_at.map(Timestamp::micros),
            changed_at: changed_at.map(Timestamp::micros),
            failures: i32::try_from(*failures).unwrap_or(i32::MAX),
            error: error.as_ref().map(|text| text.replace('\0', "\u{fffd}")),
            etag: etag.clone(),
            last_modified: last_modified.clone(),
            sha256: sha256.clone(),
            listed: i64::try_from(*listed).unwrap_or(i64::MAX),
            protocol: protocol.code(),
            options: options::write(options)?,
            tls_key: Some(tls_key.clone()),
            cursor: cursor.clone(),
            failing_since: failing_since.map(Timestamp::micros),
            told: *is_told,
        };
        let row = row.into_active_model().reset_all();
        if is_there {
            // Who fetches it claims it, and renews that, at any moment.
            let row = subscription::ActiveModel { claimed_until: NotSet, ..row };
            row.update(&self.0).await?;
        } else {
            row.insert(&self.0).await?;
        }
        Ok(())
    }

    /// Has nobody else fetch a source until `until` (real time). Gives false if somebody does.
    pub async fn subscription_claim(
        &self,
        source: SourceId,
        real_now: Timestamp,
        until: Timestamp,
    ) -> StoreResult<bool> {
        let claim = subscription::Entity::update_many()
            .col_expr(subscription::Column::ClaimedUntil, Expr::value(until.micros()))
            .filter(subscription::Column::SourceId.eq(source.0))
            .filter(subscription::Column::ClaimedUntil.lte(real_now.micros()));
        Ok(claim.exec(&self.0).await?.rows_affected > 0)
    }

    /// Claims a source for longer that is claimed until `from`. Gives false if it is not any more.
    pub async fn subscription_renew(
        &self,
        source: SourceId,
        from: Timestamp,
        until: Timestamp,
    ) -> StoreResult<bool> {
        let renew = subscription::Entity::update_many()
            .col_expr(subscription::Column::ClaimedUntil, Expr::value(until.micros()))
            .filter(subscription::Column::SourceId.eq(source.0))
            .filter(subscription::Column::ClaimedUntil.eq(from.micros()));
        Ok(renew.exec(&self.0).await?.rows_affected > 0)
    }

    /// Lets others fetch a source again that was claimed until then, or a renewal later.
    pub async fn subscription_release(
        &self,
        source: SourceId,
        until: Timestamp,
    ) -> StoreResult<()> {
        subscription::Entity::update_many()
            .col_expr(subscription::Column::ClaimedUntil, Expr::value(0_i64))
            .filter(subscription::Column::SourceId.eq(source.0))
            .filter(subscription::Column::ClaimedUntil.gte(until.micros()))
            .filter(subscription::Column::ClaimedUntil.lte(until.plus(RENEWAL).micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Releases all, at the start of the only server that fetches.
    pub async fn subscriptions_release_all(&self) -> StoreResult<()> {
        subscription::Entity::update_many()
            .col_expr(subscription::Column::ClaimedUntil, Expr::value(0_i64))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Deletes the subscription of a source, with what it knows of its list. What its fetches did
    /// stays as long as it is kept.
    pub async fn subscription_delete(&self, source: SourceId) -> StoreResult<bool> {
        let deleted = subscription::Entity::delete_by_id(source.0).exec(&self.0).await?;
        self.subscription_forget_list(source).await?;
        Ok(deleted.rows_affected > 0)
    }

    /// Forgets what the list of a source held.
    pub async fn subscription_forget_list(&self, source: SourceId) -> StoreResult<()> {
        subscription_ledger::Entity::delete_many()
            .filter(subscription_ledger::Column::SourceId.eq(source.0))
            .exec(&self.0)
            .await?;
        subscription_missing::Entity::delete_many()
            .filter(subscription_missing::Column::SourceId.eq(source.0))
            .exec(&self.0)
            .await?;
        self.subscription_sections_forget(source, None).await
    }

    /// Forgets sections of a source by name, or all.
    pub async fn subscription_sections_forget(
        &self,
        source: SourceId,
        names: Option<&[String]>,
    ) -> StoreResult<()> {
        let of_source = || {
            subscription_section::Entity::delete_many()
                .filter(subscription_section::Column::SourceId.eq(source.0))
        };
        let Some(names) = names else {
            of_source().exec(&self.0).await?;
            return Ok(());
        };
        for chunk in names.chunks(IDS) {
            let names = chunk.iter().map(String::as_str);
            of_source()
                .filter(subscription_section::Column::Name.is_in(names))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Has all sections of a source be fetched and taken again: their versions are forgotten, and
    /// what they held is not.
    pub async fn subscription_sections_stale(&self, source: SourceId) -> StoreResult<()> {
        subscription_section::Entity::update_many()
            .col_expr(subscription_section::Column::Version, Expr::value(""))
            .filter(subscription_section::Column::SourceId.eq(source.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes down sections of a source, in place of those of their names.
    pub async fn subscription_sections_put(
        &self,
        source: SourceId,
        sections: Vec<Section>,
    ) -> StoreResult<()> {
        let names: Vec<String> = sections.iter().map(|section| section.name.clone()).collect();
        self.subscription_sections_forget(source, Some(&names)).await?;
        for Section { name, version, data } in sections {
            let row = subscription_section::ActiveModel {
                source_id: Set(source.0),
                name: Set(name),
                version: Set(version),
                data: Set(data),
            };
            subscription_section::Entity::insert(row).exec_without_returning(&self.0).await?;
        }
        Ok(())
    }

    /// Writes down what the list of a source holds, in place of what was there.
    pub async fn subscription_ledger_put(&self, source: SourceId, data: &[u8]) -> StoreResult<()> {
        subscription_ledger::Entity::delete_many()
            .filter(subscription_ledger::Column::SourceId.eq(source.0))
            .exec(&self.0)
            .await?;
        for (piece, number) in data.chunks(PIECE).zip(0..) {
            let row = subscription_ledger::ActiveModel {
                source_id: Set(source.0),
                number: Set(number),
                data: Set(piece.to_vec()),
            };
            subscription_ledger::Entity::insert(row).exec_without_returning(&self.0).await?;
        }
        Ok(())
    }

    /// Adds changes to what is stored of the list of a source.
    pub async fn subscription_ledger_add(&self, source: SourceId, data: &[u8]) -> StoreResult<()> {
        let last: Option<Option<i32>> = subscription_ledger::Entity::find()
            .select_only()
            .column_as(subscription_ledger::Column::Number.max(), "last")
            .filter(subscription_ledger::Column::SourceId.eq(source.0))
            .into_tuple()
            .one(&self.0)
            .await?;
        let row = subscription_ledger::ActiveModel {
            source_id: Set(source.0),
            number: Set(last.flatten().map_or(0, |last| last + 1)),
            data: Set(data.to_vec()),
        };
        subscription_ledger::Entity::insert(row).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Notes IOCs that a list does not hold any more. Those that were noted before keep their time.
    pub async fn subscription_missing_put(
        &self,
        source: SourceId,
        iocs: &[IocId],
        since: Timestamp,
    ) -> StoreResult<()> {
        for chunk in iocs.chunks(IDS) {
            let rows = chunk.iter().map(|id| subscription_missing::ActiveModel {
                source_id: Set(source.0),
                ioc_id: Set(id.0),
                since: Set(since.micros()),
            });
            let key = [subscription_missing::Column::SourceId, subscription_missing::Column::IocId];
            subscription_missing::Entity::insert_many(rows)
                .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Forgets that a list did not hold these IOCs.
    pub async fn subscription_missing_forget(
        &self,
        source: SourceId,
        iocs: &[IocId],
    ) -> StoreResult<()> {
        for chunk in iocs.chunks(IDS) {
            subscription_missing::Entity::delete_many()
                .filter(subscription_missing::Column::SourceId.eq(source.0))
                .filter(subscription_missing::Column::IocId.is_in(chunk.iter().map(|id| id.0)))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Writes down what a fetch did.
    pub async fn fetch_insert(&self, new: &Fetch) -> StoreResult<()> {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let row = fetch::Model {
            id: new.id,
            source_id: new.source_id.0,
            at: new.at.micros(),
            outcome: new.outcome.code(),
            status: new.status.map(i32::from),
            bytes: count(new.bytes),
            listed: count(new.listed),
            added: count(new.added),
            changed: count(new.changed),
            gone: count(new.gone),
            refused: count(new.refused),
            import_id: new.import_id.map(|id| id.0),
            error: new.error.as_ref().map(|text| text.replace('\0', "\u{fffd}")),
        };
        row.into_active_model().insert(&self.0).await?;
        Ok(())
    }

    /// Forgets what fetches did before `before`.
    pub async fn fetches_forget(&self, before: Timestamp) -> StoreResult<()> {
        fetch::Entity::delete_many()
            .filter(fetch::Column::At.lt(before.micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
