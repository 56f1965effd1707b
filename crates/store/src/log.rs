//! What is written down on the side: audit, login attempts, stored answers, settings.

use iocast_domain::{id::AccountId, time::Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DeleteMany, EntityTrait, ExprTrait,
    QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use crate::{
    Conn, Page, PageOf, StoreResult, Txn,
    page::cursor,
    row::{attempt, audit, idempotency},
};

/// A line of the audit log.
#[derive(Clone, Debug)]
pub struct AuditLine {
    /// A fresh id.
    pub id: Uuid,
    /// The account it happened in.
    pub account_id: AccountId,
    /// When.
    pub at: Timestamp,
    /// Who: an e-mail address, or what did it.
    pub actor: String,
    /// What: `device.create`.
    pub action: String,
    /// To what: an id.
    pub object: String,
    /// Before and after, as JSON without secrets.
    pub detail: String,
    /// From which address.
    pub address: String,
    /// In which request.
    pub request_id: String,
}

/// Which lines of the audit log are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// By whom.
    pub actor: Option<String>,
    /// What: `device.create`, or `device` for everything done to devices.
    pub action: Option<String>,
    /// To what: an id.
    pub object: Option<String>,
}

/// Failed sign-ins of one person or from one address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// Failures since the window began.
    pub failures: u32,
    /// When it began, real time.
    pub window_start: Timestamp,
    /// No further try before this, real time.
    pub blocked_until: Timestamp,
}

/// An answer kept for an `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Method and path.
    pub operation: String,
    /// Hash of the request body.
    pub body_hash: String,
    /// Status of the answer; 0 while the request is being carried out.
    pub status: u16,
    /// Body of the answer, secrets left out; while status is 0, what the request brought about so
    /// far.
    pub answer: String,
    /// When the key was reserved.
    pub created_at: Timestamp,
}

fn without_effect() -> DeleteMany<idempotency::Entity> {
    idempotency::Entity::delete_many()
        .filter(idempotency::Column::Status.eq(0))
        .filter(idempotency::Column::Answer.eq(""))
}

impl<C: ConnectionTrait> Conn<C> {
    /// The audit log of an account, newest first.
    pub async fn audit_list(
        &self,
        account: &AccountId,
        filter: &AuditFilter,
        page: &Page,
    ) -> StoreResult<PageOf<AuditLine>> {
        let mut find = audit::Entity::find().filter(audit::Column::AccountId.eq(account.as_str()));
        let AuditFilter { actor, action, object } = filter;
        if let Some(actor) = actor {
            find = find.filter(audit::Column::Actor.eq(actor.as_str()));
        }
        if let Some(action) = action {
            // `device` stands for all of its actions. Nobody is served by wildcards, and the
            // engines differ in capitals.
            let action: String = action
                .to_lowercase()
                .chars()
                .filter(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_'))
                .collect();
            find = find.filter(
                audit::Column::Action
                    .eq(action.as_str())
                    .or(audit::Column::Action.starts_with(format!("{action}."))),
            );
        }
        if let Some(object) = object {
            find = find.filter(audit::Column::Object.eq(object.as_str()));
        }
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            find = find.filter(
                audit::Column::At.lt(at).or(audit::Column::At.eq(at).and(audit::Column::Id.lt(id))),
            );
        }
        let rows = find
            .order_by_desc(audit::Column::At)
            .order_by_desc(audit::Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        Ok(PageOf::cut(rows, page.limit, |r| format!("{}.{}", r.at, r.id)).map(|r| AuditLine {
            id: r.id,
            account_id: account.clone(),
            at: Timestamp::from_micros(r.at),
            actor: r.actor,
            action: r.action,
            object: r.object,
            detail: r.detail,
            address: r.address,
            request_id: r.request_id,
        }))
    }

    /// Whether something was ever done, in any account.
    pub async fn audit_any(&self, action: &str) -> StoreResult<bool> {
        Ok(audit::Entity::find()
            .filter(audit::Column::Action.eq(action))
            .one(&self.0)
            .await?
            .is_some())
    }

    /// Failed sign-ins of `subject`.
    pub async fn attempt_fetch(&self, subject: &str) -> StoreResult<Attempt> {
        Ok(attempt::Entity::find_by_id(subject)
            .one(&self.0)
            .await?
            .map(|r| Attempt {
                failures: u32::try_from(r.failures).unwrap_or_default(),
                window_start: Timestamp::from_micros(r.window_start),
                blocked_until: Timestamp::from_micros(r.blocked_until),
            })
            .unwrap_or_default())
    }

    /// The answer kept for a key since `since`.
    pub async fn idempotency_fetch(
        &self,
        account: &AccountId,
        key: &str,
        since: Timestamp,
    ) -> StoreResult<Option<Stored>> {
        let row = idempotency::Entity::find_by_id((account.to_string(), key.to_owned()))
            .filter(idempotency::Column::CreatedAt.gt(since.micros()))
            .one(&self.0)
            .await?;
        Ok(row.map(|r| Stored {
            operation: r.operation,
            body_hash: r.body_hash,
            status: u16::try_from(r.status).unwrap_or_default(),
            answer: r.answer,
            created_at: Timestamp::from_micros(r.created_at),
        }))
    }
}

impl Txn {
    /// Writes a line of the audit log.
    pub async fn audit_insert(&self, line: &AuditLine) -> StoreResult<()> {
        let AuditLine { id, account_id, at, actor, action, object, detail, address, request_id } =
            line.clone();
        audit::ActiveModel {
            id: Set(id),
            account_id: Set(account_id.to_string()),
            at: Set(at.micros()),
            actor: Set(actor),
            action: Set(action),
            object: Set(object),
            detail: Set(detail),
            address: Set(address),
            request_id: Set(request_id),
        }
        .insert(&self.0)
        .await?;
        Ok(())
    }

    /// Locks the failures of `subject`, so that two tries at once count as two.
    pub async fn attempt_lock(&self, subject: &str) -> StoreResult<()> {
        let row = attempt::ActiveModel {
            subject: Set(subject.to_owned()),
            failures: Set(0),
            window_start: Set(0),
            blocked_until: Set(0),
        };
        let same = Expr::col((attempt::Entity, attempt::Column::Failures));
        let lock = OnConflict::column(attempt::Column::Subject)
            .value(attempt::Column::Failures, same)
            .to_owned();
        attempt::Entity::insert(row).on_conflict(lock).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Forgets failures of windows that began before `window`, unless they block somebody at `now`
    /// (real time).
    pub async fn attempt_prune(&self, window: Timestamp, now: Timestamp) -> StoreResult<()> {
        attempt::Entity::delete_many()
            .filter(attempt::Column::WindowStart.lt(window.micros()))
            .filter(attempt::Column::BlockedUntil.lt(now.micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes how often `subject` failed to sign in; none forgets it.
    pub async fn attempt_put(&self, subject: &str, attempt: Option<Attempt>) -> StoreResult<()> {
        let Some(Attempt { failures, window_start, blocked_until }) = attempt else {
            attempt::Entity::delete_by_id(subject).exec(&self.0).await?;
            return Ok(());
        };
        let row = attempt::ActiveModel {
            subject: Set(subject.to_owned()),
            failures: Set(i32::try_from(failures).unwrap_or(i32::MAX)),
            window_start: Set(window_start.micros()),
            blocked_until: Set(blocked_until.micros()),
        };
        let update = OnConflict::column(attempt::Column::Subject)
            .update_columns([
                attempt::Column::Failures,
                attempt::Column::WindowStart,
                attempt::Column::BlockedUntil,
            ])
            .to_owned();
        attempt::Entity::insert(row).on_conflict(update).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Reserves a key for a request that is about to be carried out; forgets those older than
    /// `since`.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`](crate::StoreError::Duplicate) if it is taken.
    pub async fn idempotency_reserve(
        &self,
        account: &AccountId,
        key: &str,
        stored: &Stored,
        since: Timestamp,
    ) -> StoreResult<()> {
        idempotency::Entity::delete_many()
            .filter(idempotency::Column::CreatedAt.lte(since.micros()))
            .exec(&self.0)
            .await?;
        let Stored { operation, body_hash, status, answer, created_at } = stored.clone();
        let row = idempotency::ActiveModel {
            account_id: Set(account.to_string()),
            key: Set(key.to_owned()),
            operation: Set(operation),
            body_hash: Set(body_hash),
            status: Set(i16::try_from(status).unwrap_or_default()),
            answer: Set(answer),
            created_at: Set(created_at.micros()),
        };
        idempotency::Entity::insert(row).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Keeps the answer to a request whose key was reserved.
    pub async fn idempotency_keep(
        &self,
        account: &AccountId,
        key: &str,
        status: u16,
        answer: &str,
    ) -> StoreResult<()> {
        idempotency::Entity::update_many()
            .col_expr(
                idempotency::Column::Status,
                Expr::value(i16::try_from(status).unwrap_or_default()),
            )
            .col_expr(idempotency::Column::Answer, Expr::value(answer))
            .filter(idempotency::Column::AccountId.eq(account.as_str()))
            .filter(idempotency::Column::Key.eq(key))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes down what a request under way brings about, in the transaction that does it.
    pub async fn idempotency_effect(
        &self,
        account: &AccountId,
        key: &str,
        effect: &str,
    ) -> StoreResult<()> {
        self.idempotency_under_way(account, key, idempotency::Column::Answer, Expr::value(effect))
            .await
    }

    /// Moves the claim of a request under way on.
    pub async fn idempotency_alive(
        &self,
        account: &AccountId,
        key: &str,
        now: Timestamp,
    ) -> StoreResult<()> {
        self.idempotency_under_way(
            account,
            key,
            idempotency::Column::CreatedAt,
            Expr::value(now.micros()),
        )
        .await
    }

    /// Changes the row of a request that is not answered yet.
    async fn idempotency_under_way(
        &self,
        account: &AccountId,
        key: &str,
        column: idempotency::Column,
        value: Expr,
    ) -> StoreResult<()> {
        idempotency::Entity::update_many()
            .col_expr(column, value)
            .filter(idempotency::Column::AccountId.eq(account.as_str()))
            .filter(idempotency::Column::Key.eq(key))
            .filter(idempotency::Column::Status.eq(0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Gives a reserved key back, unless its request brought something about: it may be made again.
    pub async fn idempotency_release(&self, account: &AccountId, key: &str) -> StoreResult<()> {
        without_effect()
            .filter(idempotency::Column::AccountId.eq(account.as_str()))
            .filter(idempotency::Column::Key.eq(key))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Gives back all keys whose requests are under way and brought nothing about yet.
    pub async fn idempotency_release_all(&self) -> StoreResult<()> {
        without_effect().exec(&self.0).await?;
        Ok(())
    }
}
