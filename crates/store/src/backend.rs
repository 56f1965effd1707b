//! Opening the database. The only place that knows which engine it is.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use iocast_domain::time::Timestamp;
use iocast_migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnAcquireErr, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend,
    DbErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
    sqlx::{Executor as _, postgres::PgListener, sqlite::SqliteAutoVacuum},
};
use tokio::sync::Semaphore;

use crate::{
    Conn, Reader, StoreError, StoreResult, Txn,
    copy::step_names,
    error::refused,
    transaction::{Suspicion, Write, distrust, settle},
};

mod signals;
pub use self::signals::{Signal, Signals};

/// Locks every replica's migrations against each other; the number is only ours.
const MIGRATION_LOCK: i64 = 0x696f_6361_7374;
/// Connections to PostgreSQL: for reading and writing, and one that listens.
const POSTGRES_CONNECTIONS: u32 = 11;
/// How long a statement waits for a lock of somebody else on PostgreSQL, and how long a transaction
/// may stand still with the locks it has. The second is shorter, so that a replica that is frozen
/// gives its locks up before the others stop waiting for them.
const TIMEOUTS: &str = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '20s'";
/// For a transaction that waits for something else on purpose.
pub(crate) const NO_TIMEOUTS: &str =
    "SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
/// Where replicas tell each other what they changed.
const CHANNEL: &str = "iocast";
/// How long closing waits for a database that does not answer any more.
const CLOSING: Duration = Duration::from_secs(3);
/// Rows that SQLite's thread may be ahead of who takes them: with few, the two wait for each other
/// at every turn.
const ROW_BUFFER: usize = 250;
/// Statements that a connection to SQLite keeps prepared. Those for many rows are as long as their
/// rows are many: with the usual 100, each connection would keep some 10 MiB of them.
const STATEMENTS: usize = 16;
/// How long a write waits for the one writer of SQLite.
const TURN: Duration = Duration::from_secs(60);
/// How long a statement waits for a locked database.
const BUSY: Duration = Duration::from_secs(8);

/// The database: one pool that writes, one that reads.
#[derive(Clone, Debug)]
pub struct Store {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// Who waits for the writer just now.
    waiting: Arc<AtomicUsize>,
    /// The turn at the one writer of SQLite; PostgreSQL has many.
    turn: Option<Arc<Semaphore>>,
    suspicion: Suspicion,
}

/// How busy the connections are.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// `reader` or `writer`; both on PostgreSQL, which has one pool.
    pub name: &'static str,
    /// Connections that are open.
    pub open: u64,
    /// Those that nobody uses.
    pub idle: u64,
}

impl Store {
    /// Opens `url`, or the bundled SQLite file `iocast.sqlite` in `data` where there is none, and
    /// migrates it.
    ///
    /// # Errors
    /// If it can't be reached, or was written by a newer version.
    pub async fn open(url: Option<&str>, data: &Path) -> StoreResult<Self> {
        let store = Self::connect(url, data).await?;
        store.migrate(None).await?;
        store.refuse_half().await?;
        Ok(store)
    }

    pub(crate) async fn connect(url: Option<&str>, data: &Path) -> StoreResult<Self> {
        match url {
            Some(url) => Self::postgres(url).await,
            None => Self::sqlite(&data.join("iocast.sqlite")).await,
        }
    }

    async fn sqlite(path: &Path) -> StoreResult<Self> {
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let suspicion = Suspicion::default();
        let options = |connections, query_only: &'static str, cache: &'static str| {
            let mut options = ConnectOptions::new(url.clone());
            let suspicion = suspicion.clone();
            options.map_sqlx_sqlite_pool_opts(move |pool| {
                let pool = distrust(pool, &suspicion);
                if query_only == "OFF" { settle(pool) } else { pool }
            });
            // A connection is a file in this process: it does not go away between two uses.
            options.test_before_acquire(false);
            options
                .max_connections(connections)
                .min_connections(1)
                .sqlx_logging(false)
                .acquire_timeout(TURN)
                .map_sqlx_sqlite_opts(move |o| {
                    o.busy_timeout(BUSY)
                        .statement_cache_capacity(STATEMENTS)
                        .auto_vacuum(SqliteAutoVacuum::Incremental)
                        .row_buffer_size(ROW_BUFFER)
                        .pragma("journal_mode", "WAL")
                        .pragma("synchronous", "FULL")
                        .pragma("foreign_keys", "ON")
                        .pragma("trusted_schema", "OFF")
                        .pragma("journal_size_limit", "67108864")
                        .pragma("cache_size", cache)
                        .pragma("temp_store", "MEMORY")
                        .pragma("query_only", query_only)
                });
            options
        };
        // In KiB, for each connection. Readers do with little: what they miss lies in the system's
        // own cache.
        let writer = Database::connect(options(1, "OFF", "-65536")).await?;
        let reader = Database::connect(options(4, "ON", "-4096")).await?;
        Ok(Self {
            writer,
            reader,
            waiting: Arc::default(),
            turn: Some(Arc::new(Semaphore::new(1))),
            suspicion,
        })
    }

    async fn postgres(url: &str) -> StoreResult<Self> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(StoreError::Unusable("The database URL must begin with postgres://; leave it out for the bundled SQLite.".to_owned()));
        }
        let suspicion = Suspicion::default();
        let mut options = ConnectOptions::new(url);
        let of_pool = suspicion.clone();
        options.map_sqlx_postgres_pool_opts(move |pool| {
            settle(distrust(pool, &of_pool)).after_connect(|connection, _| {
                Box::pin(async move {
                    // A request behind somebody's lock gets an answer, and may be made again.
                    connection.execute(TIMEOUTS).await.map(drop)
                })
            })
        });
        // All connections are opened here, on the runtime that lives longest, and are not let go by
        // age: one that was opened by a thread that answers requests would die with that thread.
        options
            .max_connections(POSTGRES_CONNECTIONS)
            .min_connections(POSTGRES_CONNECTIONS)
            .sqlx_logging(false)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            .max_lifetime(None)
            .idle_timeout(None)
            .set_application_name("iocast");
        let pool = Database::connect(options).await.map_err(refused)?;
        Ok(Self {
            writer: pool.clone(),
            reader: pool,
            waiting: Arc::default(),
            turn: None,
            suspicion,
        })
    }

    /// Whether this is the bundled SQLite, which one process owns.
    #[must_use]
    pub fn is_bundled(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Sqlite
    }

    /// The time by which all replicas claim things: the database's, so that clocks which differ let
    /// nobody take for left behind what another is at. The bundled database has one process, and
    /// `ours` is its time.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn shared_now(&self, ours: Timestamp) -> StoreResult<Timestamp> {
        if self.is_bundled() {
            return Ok(ours);
        }
        let ask = Statement::from_string(
            DbBackend::Postgres,
            "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT AS now",
        );
        let now =
            self.reader.query_one_raw(ask).await?.map(|row| row.try_get("", "now")).transpose()?;
        Ok(now.map_or(ours, Timestamp::from_micros))
    }

    /// Brings the schema up to date, or as far as `steps`, one process at a time.
    pub(crate) async fn migrate(&self, steps: Option<usize>) -> StoreResult<()> {
        let lock = if self.is_bundled() {
            None
        } else {
            let txn = self.writer.begin().await?;
            // Another replica may take its time with the same steps.
            txn.execute_unprepared(NO_TIMEOUTS).await?;
            txn.execute_raw(Statement::from_sql_and_values(
                DbBackend::Postgres,
                "SELECT pg_advisory_xact_lock($1)",
                [MIGRATION_LOCK.into()],
            ))
            .await?;
            Some(txn)
        };
        let known = step_names();
        let applied = self.steps_applied().await?;
        if let Some(newer) = applied.iter().find(|step| !known.contains(step)) {
            return Err(StoreError::Unusable(format!(
                "The database was written by a newer iocast (it knows the step `{newer}`). Run that version, or restore a backup."
            )));
        }
        let left = steps.map(|steps| steps.saturating_sub(applied.len()));
        if left != Some(0) {
            Migrator::up(&self.writer, left.and_then(|left| u32::try_from(left).ok())).await?;
        }
        if let Some(txn) = lock {
            txn.commit().await?;
        }
        Ok(())
    }

    /// The steps that it has been through.
    pub(crate) async fn steps_applied(&self) -> StoreResult<Vec<String>> {
        Migrator::install(&self.writer).await?;
        let steps = Migrator::get_migration_models(&self.writer).await?;
        Ok(steps.into_iter().map(|step| step.version).collect())
    }

    pub(crate) const fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Something to read with.
    #[must_use]
    pub fn read(&self) -> Reader {
        Conn(self.reader.clone())
    }

    /// Begins a write. On SQLite it begins IMMEDIATE: a transaction that reads first and writes
    /// later fails at once under contention, whatever the busy timeout.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database stays locked.
    pub async fn write(&self) -> StoreResult<Txn> {
        let sqlite_transaction_mode = self.is_bundled().then_some(SqliteTransactionMode::Immediate);
        let _waits = WriterQueueGuard::begin(&self.waiting);
        let turn = match &self.turn {
            None => None,
            Some(turn) => {
                let late = |_elapsed| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
                let turn = tokio::time::timeout(TURN, Arc::clone(turn).acquire_owned())
                    .await
                    .map_err(late)?;
                Some(turn.map_err(|_closed| {
                    DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
                })?)
            }
        };
        let options =
            TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() };
        Ok(Conn(Write::new(
            self.writer.begin_with_options(options).await?,
            self.suspicion.clone(),
            turn,
        )))
    }

    /// How many wait to begin a write.
    #[must_use]
    pub fn writers_waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How busy the connections are.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        let pool =
            |name, open: u32, idle: usize| Pool { name, open: u64::from(open), idle: idle as u64 };
        if !self.is_bundled() {
            let both = self.writer.get_postgres_connection_pool();
            return vec![pool("both", both.size(), both.num_idle())];
        }
        let (reader, writer) =
            (self.reader.get_sqlite_connection_pool(), self.writer.get_sqlite_connection_pool());
        vec![
            pool("reader", reader.size(), reader.num_idle()),
            pool("writer", writer.size(), writer.num_idle()),
        ]
    }

    /// What other replicas say from now on; nothing on the bundled database, which has one process.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn signals(&self) -> StoreResult<Option<Signals>> {
        if self.is_bundled() {
            return Ok(None);
        }
        let listen = async {
            let mut listener =
                PgListener::connect_with(self.reader.get_postgres_connection_pool()).await?;
            listener.listen(CHANNEL).await?;
            Ok::<_, sea_orm::sqlx::Error>(listener)
        };
        Ok(Some(Signals(listen.await.map_err(unanswered)?)))
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// If there is none.
    pub async fn ping(&self) -> StoreResult<()> {
        self.reader.ping().await?;
        Ok(())
    }

    /// Closes both pools; on SQLite the write-ahead log is emptied first.
    ///
    /// # Errors
    /// If the database does not answer any more.
    pub async fn close(self) -> StoreResult<()> {
        if self.is_bundled() {
            self.writer.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            self.reader.close().await?;
        }
        match tokio::time::timeout(CLOSING, self.writer.close()).await {
            Ok(closed) => Ok(closed?),
            Err(_elapsed) => Ok(()),
        }
    }
}

/// Counts who waits for the writer, for as long as it lives.
struct WriterQueueGuard<'a>(&'a AtomicUsize);

impl<'a> WriterQueueGuard<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WriterQueueGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn unanswered(error: sea_orm::sqlx::Error) -> StoreError {
    StoreError::from(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(Arc::new(error))))
}

impl Txn {
    /// Tells the other replicas, once this is committed. They look by themselves, too: what gets
    /// lost costs time, nothing else.
    pub(crate) async fn notify(&self, signal: Signal) -> StoreResult<()> {
        if self.0.get_database_backend() == DbBackend::Postgres {
            let word = Signal::ALL.iter().find(|(s, _)| *s == signal).map_or("", |(_, word)| word);
            self.0
                .execute_raw(Statement::from_sql_and_values(
                    DbBackend::Postgres,
                    "SELECT pg_notify($1, $2)",
                    [CHANNEL.into(), word.into()],
                ))
                .await?;
        }
        Ok(())
    }

    /// Makes everything written seen, and lasting.
    ///
    /// # Errors
    /// If the database could not do so; then nothing was written.
    pub async fn commit(self) -> StoreResult<()> {
        Ok(self.0.commit().await?)
    }
}
