//! What can go wrong here.

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// Result of a store function.
pub type StoreResult<T> = Result<T, StoreError>;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique key is taken: somebody else was first.
    #[error("a unique key is taken")]
    Duplicate(#[source] DbErr),
    /// The database is busy, full or away; trying again later may work.
    #[error("the database does not answer or takes no writes now")]
    Unavailable(#[source] DbErr),
    /// A row holds what no version of this program writes.
    #[error("{table}.{column} holds something that can't be: {what}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// The value, clipped.
        what: String,
    },
    /// The file of the bundled database is not one, or holds nonsense.
    #[error(
        "the database file is damaged. Stop iocast, keep a copy of the data folder, and put a backup of iocast.sqlite back"
    )]
    Damaged(#[source] DbErr),
    /// Anything else the driver said.
    #[error("the database refused a statement")]
    Database(#[source] DbErr),
    /// A cursor that no page of this list gave.
    #[error("the cursor is not one that this list gave")]
    Cursor,
    /// The database can't be opened as it is.
    #[error("{0}")]
    Unusable(String),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) {
            return Self::Duplicate(error);
        }
        let told = match &error {
            DbErr::Conn(RuntimeErr::SqlxError(e))
            | DbErr::Exec(RuntimeErr::SqlxError(e))
            | DbErr::Query(RuntimeErr::SqlxError(e)) => Some(e),
            _ => None,
        };
        if told.is_some_and(|e| is_damage(e)) {
            return Self::Damaged(error);
        }
        let away = match &error {
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => {
                is_passing(e)
            }
            _ => false,
        };
        if away { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

impl StoreError {
    /// Whether the database may be there in a while, without anybody changing anything here.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            // A user or a database that is not there is a matter of settings, and so is TLS.
            Self::Unavailable(DbErr::Conn(RuntimeErr::SqlxError(e))) => {
                is_passing(e) && !matches!(**e, sqlx::Error::Tls(_))
            }
            Self::Unavailable(_) => true,
            _ => false,
        }
    }
}

/// Whether it is a matter of time: the line is cut, the database starts, ends, is full or busy, or
/// is a standby that takes over.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            match told.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                // Connection, rollback, resources, a lock that is not given, operator, system; what
                // a standby says of a write; a transaction that stood still for too long.
                Some(_) => ["08", "40", "53", "55P03", "57", "58", "25006", "25P03"]
                    .iter()
                    .any(|class| code.starts_with(class)),
                // SQLite's extended codes end in the plain one: busy, locked, out of memory,
                // interrupted, I/O, full, can't open.
                None => code
                    .parse::<u32>()
                    .is_ok_and(|code| [5, 6, 7, 9, 10, 13, 14].contains(&(code & 0xff))),
            }
        }
        _ => false,
    }
}

/// Whether SQLite found its file damaged, or no database.
fn is_damage(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(told) = error else { return false };
    let code = told.code().unwrap_or_default();
    told.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_none()
        && code.parse::<u32>().is_ok_and(|code| [11, 26].contains(&(code & 0xff)))
}

/// What PostgreSQL says at the door, where that has to do with the URL: with what to do about it.
pub(crate) fn refused(error: DbErr) -> StoreError {
    let told = match &error {
        DbErr::Conn(RuntimeErr::SqlxError(e)) => e.as_database_error(),
        _ => None,
    };
    let advice = match told.and_then(sqlx::error::DatabaseError::code).as_deref() {
        Some("28P01" | "28000") => {
            "Correct the user and the password in the database URL, or let the user in (pg_hba.conf)"
        }
        Some("3D000") => "Create the database (createdb), or correct its name in the database URL",
        // What PgBouncer says to a client that has sessions of its own.
        Some("08P01" | "42P05" | "26000") => {
            "iocast needs sessions of its own: connect to PostgreSQL itself, or use PgBouncer with pool_mode = session and ignore_startup_parameters = extra_float_digits"
        }
        _ => return error.into(),
    };
    StoreError::Unusable(format!(
        "PostgreSQL refuses the login: {}. {advice}.",
        told.map_or("", |told| told.message())
    ))
}

pub(crate) fn corrupt(
    table: &'static str,
    column: &'static str,
    what: impl ToString,
) -> StoreError {
    StoreError::Corrupt { table, column, what: iocast_domain::time::clip(&what.to_string(), 80) }
}

/// What can be read of rows that are looked at together: one that can't is told in the log, and
/// holds nobody up.
pub(crate) fn readable<M, T>(
    rows: impl IntoIterator<Item = M>,
    read: impl Fn(M) -> StoreResult<T>,
) -> Vec<T> {
    let told = |error: StoreError| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "A row can't be read and is left out"
        );
    };
    rows.into_iter().filter_map(|row| read(row).map_err(told).ok()).collect()
}
