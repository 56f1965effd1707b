//! Accounts, people, sessions.

use std::collections::{BTreeSet, HashMap};

use iocast_domain::{
    account::{Account, Modules, Role, User},
    id::{AccountId, SessionId, UserId},
    time::Timestamp,
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::{
    Conn, StoreResult,
    error::corrupt,
    row::{account, change, quota, session, user},
};

mod write;

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
        guards_version,
        guards_due: _,
    } = row;
    Ok(Account {
        id: account_id("accounts", id)?,
        name,
        modules: Modules { automation, tip },
        silent_after,
        webhook_url,
        guards: serde_json::from_str(&guards).map_err(|e| corrupt("accounts", "guards", e))?,
        guards_version,
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
