//! What can go wrong here.

use sea_orm::{DbErr, RuntimeErr, SqlErr};

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
        let away = match &error {
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(e)) | DbErr::Query(RuntimeErr::SqlxError(e)) => {
                let text = e.to_string();
                [
                    "database is locked",
                    "disk is full",
                    "disk I/O error",
                    "Connection refused",
                    "terminating connection",
                    "unexpected end of file",
                    "pool timed out",
                    "Broken pipe",
                    "Connection reset",
                    "deadlock detected",
                    "could not serialize access",
                    "starting up",
                    "shutting down",
                    "being shutdown",
                ]
                .iter()
                .any(|mark| text.contains(mark))
            }
            _ => false,
        };
        if away { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

pub(crate) fn corrupt(table: &'static str, column: &'static str, what: impl ToString) -> StoreError {
    StoreError::Corrupt { table, column, what: iocast_domain::time::clip(&what.to_string(), 80) }
}

/// What can be read of rows that are looked at together: one that can't is told in the log, and holds nobody up.
pub(crate) fn readable<M, T>(rows: impl IntoIterator<Item = M>, read: impl Fn(M) -> StoreResult<T>) -> Vec<T> {
    let told = |error: StoreError| tracing::error!(error = &error as &dyn std::error::Error, "A row can't be read and is left out");
    rows.into_iter().filter_map(|row| read(row).map_err(told).ok()).collect()
}
