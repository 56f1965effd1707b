//! A write that knows whether it may still be committed.
//!
//! What the driver does not promise is held here: a transaction in which a statement failed, or was
//! dropped before its answer came, is not committed (SQLite may have rolled it back by itself and
//! would write the rest outside of it; PostgreSQL answers its COMMIT with a quiet rollback). A
//! connection whose commit or rollback failed is not used again: the driver loses count of
//! transactions there, and would make savepoints of one that never ends.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    prelude::async_trait::async_trait,
    sqlx::{
        Connection,
        pool::{PoolConnectionMetadata, PoolOptions},
    },
};
use tokio::sync::OwnedSemaphorePermit;

use crate::{StoreResult, Txn};

/// For a transaction on PostgreSQL that stands still between two statements.
const MAY_IDLE: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";

/// When a commit or a rollback last failed. Connections that were open then are replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspicion(Arc<Mutex<Option<Instant>>>);

impl Suspicion {
    fn raise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection that has been open for `age` was opened since.
    fn clears(&self, age: Duration) -> bool {
        let failed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_none_or(|failed| age < failed.elapsed())
    }
}

/// Has a pool close connections that were open when a commit or a rollback failed.
pub(crate) fn distrust<DB: sea_orm::sqlx::Database>(
    options: PoolOptions<DB>,
    suspicion: &Suspicion,
) -> PoolOptions<DB> {
    let suspicion = suspicion.clone();
    options.before_acquire(move |connection, metadata: PoolConnectionMetadata| {
        let known = suspicion.clears(metadata.age) && !connection.is_in_transaction();
        Box::pin(async move { Ok(known) })
    })
}

/// Has a pool whose connections write take one back only when its last transaction has ended.
pub(crate) fn settle<DB: sea_orm::sqlx::Database>(options: PoolOptions<DB>) -> PoolOptions<DB> {
    options.after_release(|connection, _| {
        Box::pin(async move {
            // A rollback that was queued is carried out before the answer.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// A transaction under way. Dropped, it is rolled back.
pub struct Write {
    transaction: DatabaseTransaction,
    suspicion: Suspicion,
    /// A statement failed.
    failed: AtomicBool,
    /// Statements that were begun and did not end.
    unanswered: AtomicU32,
    /// The turn at the one writer of SQLite; given back after everything else.
    _turn: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Write {
    pub(crate) fn new(
        transaction: DatabaseTransaction,
        suspicion: Suspicion,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            transaction,
            suspicion,
            failed: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            _turn: turn,
        }
    }

    /// Waits for a statement, and remembers if it failed. One that is dropped on the way
    /// stays unanswered for good.
    async fn watched<T>(
        &self,
        statement: impl Future<Output = Result<T, DbErr>> + Send,
    ) -> Result<T, DbErr> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(broken());
        }
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let result = statement.await;
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }

    fn is_broken(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.unanswered.load(Ordering::Relaxed) > 0
    }

    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        let broken_before = self.is_broken();
        let Self { transaction, suspicion, _turn, .. } = self;
        let ended =
            if broken_before { transaction.rollback().await } else { transaction.commit().await };
        if ended.is_err() {
            suspicion.raise();
        }
        ended?;
        if broken_before { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> DbErr {
    DbErr::Custom(
        "a statement of this transaction failed before: nothing of it was written".to_owned(),
    )
}

#[async_trait]
impl ConnectionTrait for Write {
    fn get_database_backend(&self) -> DbBackend {
        self.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.watched(self.transaction.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.watched(self.transaction.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.watched(self.transaction.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.watched(self.transaction.query_all_raw(statement)).await
    }
}

impl Txn {
    /// Lets this transaction stand still between two statements for as long as it needs.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn may_idle(&self) -> StoreResult<()> {
        if self.0.get_database_backend() == DbBackend::Postgres {
            self.0.execute_unprepared(MAY_IDLE).await?;
        }
        Ok(())
    }
}
