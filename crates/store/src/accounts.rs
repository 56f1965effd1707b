//! Accounts, people, sessions.

use std::collections::{BTreeSet, HashMap};

use iocast_domain::{
    account::{Account, Modules, Role, User},
    id::{AccountId, SessionId, UserId},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, Set,
    sea_query::{Expr, OnConflict},
};

use crate::{
    Conn, Signal, StoreResult, Txn,
    error::corrupt,
    row::{account, change, quota, session, user},
};

fn role_code(role: Role) -> i16 {
    match role {
        Role::Admin => 1,
        Role::Analyst => 2,
    }
}

pub(crate) fn account_id(table: &'static str, text: String) -> StoreResult<AccountId> {
    text.parse().map_err(|_: String| corrupt(table, "account_id", text))
}

fn to_account(row: account::Model) -> StoreResult<Account> {
    let account::Model {
        id,
        name,
        folded: _,
        automation,
        tip,
        change_seq: _,
        created_at,
        silent_after,
        nobody_told: _,
        webhook_url,
        guards,
    } = row;
    Ok(Account {
        id: account_id("accounts", id)?,
        name,
        modules: Modules { automation, tip },
        silent_after,
        webhook_url,
        guards: serde_json::from_str(&guards).map_err(|e| corrupt("accounts", "guards", e))?,
        created_at: Timestamp::from_micros(created_at),
    })
}

fn to_user(row: user::Model) -> StoreResult<(User, String)> {
    let user::Model {
        id,
        account_id: account,
        email,
        password_hash,
        role,
        active,
        created_at: _,
        mail_alerts,
    } = row;
    let role = match role {
        1 => Role::Admin,
        2 => Role::Analyst,
        other => return Err(corrupt("users", "role", other)),
    };
    Ok((
        User {
            id: UserId(id),
            account_id: account_id("users", account)?,
            email,
            role,
            active,
            mail_alerts,
        },
        password_hash,
    ))
}

/// A session that goes on.
#[derive(Clone, Copy, Debug)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// When the person signed in, real time.
    pub created_at: Timestamp,
    /// When it ends, real time.
    pub expires_at: Timestamp,
}

impl<C: ConnectionTrait> Conn<C> {
    /// One account.
    pub async fn account_fetch(&self, id: &AccountId) -> StoreResult<Option<Account>> {
        account::Entity::find_by_id(id.to_string()).one(&self.0).await?.map(to_account).transpose()
    }

    /// One account with the number of its last change.
    pub async fn account_with_seq(&self, id: &AccountId) -> StoreResult<Option<(Account, i64)>> {
        let row = account::Entity::find_by_id(id.to_string()).one(&self.0).await?;
        row.map(|row| Ok((row.change_seq, to_account(row)?)))
            .transpose()
            .map(|found| found.map(|(seq, account)| (account, seq)))
    }

    /// All accounts, by age.
    pub async fn account_list(&self) -> StoreResult<Vec<Account>> {
        account::Entity::find()
            .order_by_asc(account::Column::CreatedAt)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_account)
            .collect()
    }

    /// The number of the account's last change.
    pub async fn account_seq(&self, id: &AccountId) -> StoreResult<i64> {
        Ok(account::Entity::find_by_id(id.to_string())
            .one(&self.0)
            .await?
            .map_or(0, |a| a.change_seq))
    }

    /// The people who sign in with this address, in whatever account, with their password hashes.
    pub async fn user_by_email(&self, email: &str) -> StoreResult<Vec<(User, String)>> {
        user::Entity::find()
            .filter(user::Column::Email.eq(email))
            .order_by_asc(user::Column::CreatedAt)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_user)
            .collect()
    }

    /// The people of an account, by age.
    pub async fn user_list(&self, account: &AccountId) -> StoreResult<Vec<User>> {
        let find = user::Entity::find()
            .filter(user::Column::AccountId.eq(account.as_str()))
            .order_by_asc(user::Column::CreatedAt);
        find.all(&self.0).await?.into_iter().map(|row| to_user(row).map(|(u, _)| u)).collect()
    }

    /// A person with the password's hash.
    pub async fn user_with_password(&self, id: UserId) -> StoreResult<Option<(User, String)>> {
        user::Entity::find_by_id(id.0).one(&self.0).await?.map(to_user).transpose()
    }

    /// A person.
    pub async fn user_fetch(&self, id: UserId) -> StoreResult<Option<User>> {
        user::Entity::find_by_id(id.0)
            .one(&self.0)
            .await?
            .map(|row| to_user(row).map(|(u, _)| u))
            .transpose()
    }

    /// A person's sessions that have not ended at `now` (real time), newest first.
    pub async fn session_list(&self, user: UserId, now: Timestamp) -> StoreResult<Vec<SessionRow>> {
        let find = session::Entity::find()
            .filter(session::Column::UserId.eq(user.0))
            .filter(session::Column::ExpiresAt.gt(now.micros()));
        let row = |r: session::Model| SessionRow {
            id: SessionId(r.id),
            created_at: Timestamp::from_micros(r.created_at),
            expires_at: Timestamp::from_micros(r.expires_at),
        };
        Ok(find
            .order_by_desc(session::Column::CreatedAt)
            .all(&self.0)
            .await?
            .into_iter()
            .map(row)
            .collect())
    }

    /// A session, ended or not.
    pub async fn session_fetch(&self, id: SessionId) -> StoreResult<Option<SessionRow>> {
        let row = |r: session::Model| SessionRow {
            id: SessionId(r.id),
            created_at: Timestamp::from_micros(r.created_at),
            expires_at: Timestamp::from_micros(r.expires_at),
        };
        Ok(session::Entity::find_by_id(id.0).one(&self.0).await?.map(row))
    }

    /// Whose session this is, if it has not ended at `now` (real time).
    pub async fn session_user(&self, id: SessionId, now: Timestamp) -> StoreResult<Option<User>> {
        let Some(row) = session::Entity::find_by_id(id.0)
            .filter(session::Column::ExpiresAt.gt(now.micros()))
            .one(&self.0)
            .await?
        else {
            return Ok(None);
        };
        self.user_fetch(UserId(row.user_id)).await
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// When change numbers of an account were taken; one that is not known (from before they were
    /// kept) counts as taken with the next that is.
    pub async fn change_times(
        &self,
        id: &AccountId,
        seqs: &BTreeSet<i64>,
    ) -> StoreResult<HashMap<i64, Timestamp>> {
        let mut known = HashMap::with_capacity(seqs.len());
        let all: Vec<i64> = seqs.iter().copied().collect();
        for chunk in all.chunks(1_000) {
            let find = change::Entity::find()
                .filter(change::Column::AccountId.eq(id.as_str()))
                .filter(change::Column::Seq.is_in(chunk.iter().copied()));
            known.extend(
                find.all(&self.0)
                    .await?
                    .into_iter()
                    .map(|row| (row.seq, Timestamp::from_micros(row.at))),
            );
        }
        if known.len() < all.len() {
            let find = change::Entity::find()
                .filter(change::Column::AccountId.eq(id.as_str()))
                .order_by_asc(change::Column::Seq);
            let first = find
                .one(&self.0)
                .await?
                .map_or(Timestamp::from_micros(0), |row| Timestamp::from_micros(row.at));
            known.extend(
                all.into_iter()
                    .filter(|seq| !known.contains_key(seq))
                    .map(|seq| (seq, first))
                    .collect::<Vec<_>>(),
            );
        }
        Ok(known)
    }

    /// The change numbers of an account between two times, both included: the first, where there is
    /// one, and the last.
    pub async fn change_range(
        &self,
        id: &AccountId,
        from: Timestamp,
        to: Timestamp,
    ) -> StoreResult<Option<(i64, i64)>> {
        let find = || change::Entity::find().filter(change::Column::AccountId.eq(id.as_str()));
        let inside = || {
            find()
                .filter(change::Column::At.gte(from.micros()))
                .filter(change::Column::At.lte(to.micros()))
        };
        let first = inside()
            .order_by_asc(change::Column::At)
            .order_by_asc(change::Column::Seq)
            .one(&self.0)
            .await?;
        let last = inside()
            .order_by_desc(change::Column::At)
            .order_by_desc(change::Column::Seq)
            .one(&self.0)
            .await?;
        let Some((first, last)) = first.zip(last) else { return Ok(None) };
        // What was changed before times were kept belongs to the first that is known.
        let oldest = find()
            .order_by_asc(change::Column::Seq)
            .one(&self.0)
            .await?
            .is_some_and(|oldest| oldest.seq == first.seq);
        Ok(Some((if oldest { 0 } else { first.seq }, last.seq)))
    }

    /// How many questions of a UTC day's quota an account has asked.
    pub async fn quota_used(&self, id: &AccountId, day: &str) -> StoreResult<u32> {
        let row = quota::Entity::find_by_id((id.to_string(), day.to_owned())).one(&self.0).await?;
        Ok(row.map_or(0, |row| u32::try_from(row.used).unwrap_or_default()))
    }
}

impl Txn {
    /// Writes a new account.
    pub async fn account_insert(&self, new: &Account) -> StoreResult<()> {
        let Account { id, name, modules, silent_after, webhook_url, guards, created_at } = new;
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
