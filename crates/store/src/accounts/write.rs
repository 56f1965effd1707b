//! Accounts, people, sessions and quotas are written.

use iocast_domain::{
    account::{Account, Modules, User},
    id::{AccountId, SessionId, UserId},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, Set,
    sea_query::{Expr, OnConflict},
};

use super::role_code;
use crate::{
    Signal, StoreResult, Txn,
    error::corrupt,
    row::{account, change, quota, session, user},
};

impl Txn {
    /// Writes a new account.
    pub async fn account_insert(&self, new: &Account) -> StoreResult<()> {
        let Account {
            id,
            name,
            modules,
            silent_after,
            webhook_url,
            guards,
            guards_version,
            created_at,
        } = new;
        account::ActiveModel {
            id: Set(id.to_string()),
            name: Set(name.clone()),
            folded: Set(name.to_lowercase()),
            automation: Set(modules.automation),
            tip: Set(modules.tip),
            change_seq: Set(0),
            created_at: Set(created_at.micros()),
            silent_after: Set(*silent_after),
            nobody_told: Set(false),
            webhook_url: Set(webhook_url.clone()),
            guards: Set(
                serde_json::to_string(guards).map_err(|e| corrupt("accounts", "guards", e))?
            ),
            guards_version: Set(*guards_version),
            guards_due: Set(guards.next_end().map(Timestamp::micros)),
        }
        .insert(&self.0)
        .await?;
        Ok(())
    }

    /// Says what an account may use.
    pub async fn account_set_modules(&self, id: &AccountId, modules: Modules) -> StoreResult<()> {
        account::Entity::update_many()
            .col_expr(account::Column::Automation, Expr::value(modules.automation))
            .col_expr(account::Column::Tip, Expr::value(modules.tip))
            .filter(account::Column::Id.eq(id.as_str()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Takes the account's next change number, and its row lock: numbers become visible in order.
    /// When it was taken is kept; no later number has an earlier time.
    pub async fn account_next_seq(
        &self,
        id: &AccountId,
        clock: impl FnOnce() -> Timestamp,
    ) -> StoreResult<i64> {
        account::Entity::update_many()
            .col_expr(account::Column::ChangeSeq, Expr::col(account::Column::ChangeSeq).add(1))
            .filter(account::Column::Id.eq(id.as_str()))
            .exec(&self.0)
            .await?;
        let seq = self.account_seq(id).await?;
        // Only now: a change that waited for the lock must not be dated before what was seen since.
        let now = clock();
        let last = change::Entity::find()
            .filter(change::Column::AccountId.eq(id.as_str()))
            .order_by_desc(change::Column::Seq)
            .one(&self.0)
            .await?;
        let at = last.map_or(now, |last| now.max(Timestamp::from_micros(last.at))).micros();
        let row =
            change::ActiveModel { account_id: Set(id.to_string()), seq: Set(seq), at: Set(at) };
        change::Entity::insert(row).exec_without_returning(&self.0).await?;
        self.notify(Signal::Changes).await?;
        Ok(seq)
    }

    /// Counts a question of the account on a UTC day, unless `total` were asked. Gives how many
    /// were asked, this one included; none if it is one too many.
    pub async fn quota_take(
        &self,
        id: &AccountId,
        day: &str,
        total: u32,
    ) -> StoreResult<Option<u32>> {
        let row = quota::ActiveModel {
            account_id: Set(id.to_string()),
            day: Set(day.to_owned()),
            used: Set(0),
        };
        let there = OnConflict::columns([quota::Column::AccountId, quota::Column::Day])
            .do_nothing()
            .to_owned();
        quota::Entity::insert(row).on_conflict(there).exec_without_returning(&self.0).await?;
        let of_day = || quota::Column::AccountId.eq(id.as_str()).and(quota::Column::Day.eq(day));
        let take = quota::Entity::update_many()
            .col_expr(quota::Column::Used, Expr::col(quota::Column::Used).add(1))
            .filter(of_day())
            .filter(quota::Column::Used.lt(i64::from(total)));
        if take.exec(&self.0).await?.rows_affected == 0 {
            return Ok(None);
        }
        self.quota_used(id, day).await.map(Some)
    }

    /// Takes up to `some` questions of the account's `total` in a span of time at once. Gives how
    /// many were left to take.
    pub async fn quota_lease(
        &self,
        id: &AccountId,
        span: &str,
        some: u32,
        total: u32,
    ) -> StoreResult<u32> {
        let row = quota::ActiveModel {
            account_id: Set(id.to_string()),
            day: Set(span.to_owned()),
            used: Set(0),
        };
        let there = OnConflict::columns([quota::Column::AccountId, quota::Column::Day])
            .do_nothing()
            .to_owned();
        quota::Entity::insert(row).on_conflict(there).exec_without_returning(&self.0).await?;
        let of_span = || quota::Column::AccountId.eq(id.as_str()).and(quota::Column::Day.eq(span));
        // Written before it is read: the row is ours from here on.
        let take = |n: u32| {
            quota::Entity::update_many()
                .col_expr(quota::Column::Used, Expr::col(quota::Column::Used).add(i64::from(n)))
                .filter(of_span())
        };
        take(some).exec(&self.0).await?;
        let used = self.quota_used(id, span).await?;
        let over = Ord::min(used.saturating_sub(total), some);
        if over > 0 {
            let give_back = quota::Entity::update_many()
                .col_expr(quota::Column::Used, Expr::col(quota::Column::Used).sub(i64::from(over)));
            give_back.filter(of_span()).exec(&self.0).await?;
        }
        Ok(some - over)
    }

    /// Forgets spans of time that begin with `prefix` and come before `span`.
    pub async fn quota_prune(&self, prefix: &str, span: &str) -> StoreResult<()> {
        let old = quota::Entity::delete_many()
            .filter(quota::Column::Day.starts_with(prefix))
            .filter(quota::Column::Day.lt(span));
        old.exec(&self.0).await?;
        Ok(())
    }

    /// Writes a new person.
    pub async fn user_insert(
        &self,
        new: &User,
        password_hash: String,
        now: Timestamp,
    ) -> StoreResult<()> {
        let User { id, account_id, email, role, active, mail_alerts } = new;
        user::ActiveModel {
            id: Set(id.0),
            account_id: Set(account_id.to_string()),
            email: Set(email.clone()),
            password_hash: Set(password_hash),
            role: Set(role_code(*role)),
            active: Set(*active),
            created_at: Set(now.micros()),
            mail_alerts: Set(*mail_alerts),
        }
        .insert(&self.0)
        .await?;
        Ok(())
    }

    /// Locks the account's row.
    pub async fn account_lock(&self, id: &AccountId) -> StoreResult<()> {
        let touch = account::Entity::update_many()
            .col_expr(account::Column::ChangeSeq, Expr::col(account::Column::ChangeSeq));
        touch.filter(account::Column::Id.eq(id.as_str())).exec(&self.0).await?;
        Ok(())
    }

    /// Writes a person's role, whether he or she is active, and gets alerts.
    pub async fn user_update(&self, changed: &User) -> StoreResult<()> {
        user::Entity::update_many()
            .col_expr(user::Column::Role, Expr::value(role_code(changed.role)))
            .col_expr(user::Column::Active, Expr::value(changed.active))
            .col_expr(user::Column::MailAlerts, Expr::value(changed.mail_alerts))
            .filter(user::Column::Id.eq(changed.id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Ends all of a person's sessions.
    pub async fn session_delete_all(&self, of: UserId) -> StoreResult<()> {
        session::Entity::delete_many()
            .filter(session::Column::UserId.eq(of.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Locks a person's row: a password is not changed while a session begins.
    pub async fn user_lock(&self, id: UserId) -> StoreResult<()> {
        let same = user::Entity::update_many()
            .col_expr(user::Column::Active, Expr::col(user::Column::Active));
        same.filter(user::Column::Id.eq(id.0)).exec(&self.0).await?;
        Ok(())
    }

    /// Gives a person a new password and ends all of his or her sessions.
    pub async fn user_set_password(&self, id: UserId, password_hash: String) -> StoreResult<()> {
        user::Entity::update_many()
            .col_expr(user::Column::PasswordHash, Expr::value(password_hash))
            .filter(user::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        session::Entity::delete_many()
            .filter(session::Column::UserId.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes a new session, and forgets those that ended before `now`.
    pub async fn session_insert(
        &self,
        id: SessionId,
        of: &User,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> StoreResult<()> {
        session::Entity::delete_many()
            .filter(session::Column::ExpiresAt.lte(now.micros()))
            .exec(&self.0)
            .await?;
        session::ActiveModel {
            id: Set(id.0),
            account_id: Set(of.account_id.to_string()),
            user_id: Set(of.id.0),
            created_at: Set(now.micros()),
            expires_at: Set(expires_at.micros()),
        }
        .insert(&self.0)
        .await?;
        Ok(())
    }

    /// Lets a session last on.
    pub async fn session_extend(&self, id: SessionId, until: Timestamp) -> StoreResult<()> {
        let extend = session::Entity::update_many()
            .col_expr(session::Column::ExpiresAt, Expr::value(until.micros()));
        extend.filter(session::Column::Id.eq(id.0)).exec(&self.0).await?;
        Ok(())
    }

    /// Ends a session.
    pub async fn session_delete(&self, id: SessionId) -> StoreResult<()> {
        session::Entity::delete_by_id(id.0).exec(&self.0).await?;
        Ok(())
    }
}
