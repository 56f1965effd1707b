//! The whole database as rows, whatever engine holds it: for backups, for moving to another engine,
//! and for checks.
//!
//! Every table of `row.rs` is listed here once; a test compares the list with the schema.

use iocast_migrations::{Migrator, MigratorTrait};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseTransaction, EntityName as _, EntityTrait,
    IdenStatic as _, IsolationLevel, Iterable as _, ModelTrait, PrimaryKeyToColumn,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, TransactionTrait as _, Value,
    sea_query::{Alias, Expr, ExprTrait as _, Query},
};
use uuid::Uuid;

use crate::{Conn, Store, StoreResult, Txn, backend::NO_TIMEOUTS, error::corrupt, row};

mod check;
mod open;
pub use self::check::DamagedGroup;
mod restored;
pub use self::restored::Restored;

/// Values that one statement takes: SQLite's bound.
const VALUES: usize = 30_000;
/// Rows that are read at once, and fewer where they hold files.
const ROWS: u64 = 1_000;
const ROWS_WITH_FILES: u64 = 16;

/// The setting of a database to which another one is moved: how far that is. It is removed when all
/// rows are copied and compared.
pub const MOVE_PROGRESS: &str = "move_progress";

/// The setting of a database that is being filled from a backup. It is removed when all rows are copied.
pub const RESTORE_PROGRESS: &str = "restore_progress";

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A yes or no.
    Bool(Option<bool>),
    /// 16 bits.
    Small(Option<i16>),
    /// 32 bits.
    Int(Option<i32>),
    /// 64 bits.
    Big(Option<i64>),
    /// Text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
    /// An id.
    Uuid(Option<Uuid>),
}

/// A table, and in which order its columns come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Which of them are its key.
    keys: Vec<usize>,
}

/// Some rows of a table.
pub type Rows = Vec<Vec<Cell>>;

/// The database as it is at one moment, whatever is written since.
pub struct Snapshot(Conn<DatabaseTransaction>);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

fn table_of<E: EntityTrait>() -> Table {
    let columns: Vec<String> = E::Column::iter().map(|of| of.as_str().to_owned()).collect();
    let key = |key: E::PrimaryKey| {
        let name = key.into_column().as_str().to_owned();
        columns.iter().position(|column| *column == name)
    };
    Table {
        name: E::default().table_name().to_owned(),
        keys: E::PrimaryKey::iter().filter_map(key).collect(),
        columns,
    }
}

async fn page_of<E: EntityTrait, C: ConnectionTrait>(
    conn: &C,
    after: Option<&[Cell]>,
    limit: u64,
) -> StoreResult<Rows> {
    let keys: Vec<E::Column> = E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column).collect();
    let mut find = E::find();
    if let Some(after) = after {
        let place = Expr::tuple(keys.iter().map(|key| Expr::col(*key)));
        let last = Expr::tuple(after.iter().cloned().map(|cell| Expr::value(Value::from(cell))));
        find = find.filter(place.gt(last));
    }
    for key in keys {
        find = find.order_by_asc(key);
    }
    let rows = find.limit(limit).all(conn).await?;
    let cells = |row: E::Model| E::Column::iter().map(|column| cell(row.get(column))).collect();
    rows.into_iter().map(cells).collect()
}

macro_rules! tables {
    ($($module:ident),+ $(,)?) => {
        /// Every table.
        #[must_use]
        pub fn tables() -> Vec<Table> {
            vec![$(table_of::<row::$module::Entity>()),+]
        }

        async fn page<C: ConnectionTrait>(
            conn: &C,
            table: &str,
            after: Option<&[Cell]>,
            limit: u64,
        ) -> StoreResult<Rows> {
            $(if row::$module::Entity.table_name() == table {
                return page_of::<row::$module::Entity, C>(conn, after, limit).await;
            })+
            Err(corrupt("copy", "table", table))
        }
    };
}

tables!(
    account,
    user,
    session,
    attempt,
    key,
    service_token,
    source,
    source_day,
    source_overlap,
    source_count,
    change,
    alert,
    quota,
    ioc,
    ioc_day,
    threat_name,
    ioc_name,
    ioc_source,
    import,
    subscription,
    subscription_section,
    fetch,
    subscription_ledger,
    subscription_missing,
    warninglist,
    warninglist_body,
    import_record,
    import_line,
    import_body,
    staged,
    device,
    group,
    rule,
    rule_group,
    part,
    member,
    refused,
    publication,
    blob,
    pull,
    client,
    receipt,
    event_receipt,
    protection,
    protection_count,
    withdrawal,
    pull_hour,
    audit,
    idempotency,
    feed_change,
    outage,
    message,
    message_item,
    outage_message,
    key_change,
    gap,
    setting,
);

impl Table {
    /// Rows that are read at once.
    fn at_once(&self) -> u64 {
        let files = ["data", "before"];
        let has_files = self.columns.iter().any(|column| files.contains(&column.as_str()));
        if has_files { ROWS_WITH_FILES } else { ROWS }
    }

    /// The key of a row.
    #[must_use]
    pub fn key(&self, row: &[Cell]) -> Vec<Cell> {
        self.keys.iter().filter_map(|at| row.get(*at).cloned()).collect()
    }
}

impl Snapshot {
    /// The next rows of a table behind a key, by key; none at its end.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn rows(&self, table: &Table, after: Option<&[Cell]>) -> StoreResult<Rows> {
        page(&self.0.0, &table.name, after, table.at_once()).await
    }

    /// Something to read with.
    #[must_use]
    pub const fn read(&self) -> &Conn<DatabaseTransaction> {
        &self.0
    }

    /// Ends it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn end(self) -> StoreResult<()> {
        Ok(self.0.0.rollback().await?)
    }
}

impl Store {
    /// The database as it is now.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn snapshot(&self) -> StoreResult<Snapshot> {
        let begun = if self.is_bundled() {
            // It sees what was committed when it reads for the first time.
            let txn = self.reader().begin().await?;
            txn.execute_unprepared("SELECT count(*) FROM settings").await?;
            txn
        } else {
            let level = Some(IsolationLevel::RepeatableRead);
            let txn = self.reader().begin_with_config(level, Some(AccessMode::ReadOnly)).await?;
            // Where the copy goes may be slow.
            txn.execute_unprepared(NO_TIMEOUTS).await?;
            txn
        };
        Ok(Snapshot(Conn(begun)))
    }
}

/// The steps that lead to the present form of the database.
#[must_use]
pub fn step_names() -> Vec<String> {
    Migrator::migrations().iter().map(|step| step.name().to_owned()).collect()
}

impl Txn {
    /// Adds rows to a table of any form.
    ///
    /// # Errors
    /// If a row with the same key exists, or the table has no such column.
    pub async fn rows_add(&self, table: &str, columns: &[String], rows: Rows) -> StoreResult<()> {
        let at_once = (VALUES / columns.len().max(1)).max(1);
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut insert = Query::insert();
            insert.into_table(Alias::new(table)).columns(columns.iter().map(Alias::new));
            for row in rows.by_ref().take(at_once) {
                let values = row.into_iter().map(|cell| Expr::value(Value::from(cell)));
                insert.values(values).map_err(|e| corrupt("copy", "columns", e))?;
            }
            self.0.execute(&insert).await?;
        }
        Ok(())
    }

    /// Takes all rows out of a table.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn rows_clear(&self, table: &str) -> StoreResult<()> {
        let all = Query::delete().from_table(Alias::new(table)).take();
        self.0.execute(&all).await?;
        Ok(())
    }
}

fn cell(value: Value) -> StoreResult<Cell> {
    Ok(match value {
        Value::Bool(of) => Cell::Bool(of),
        Value::SmallInt(of) => Cell::Small(of),
        Value::Int(of) => Cell::Int(of),
        Value::BigInt(of) => Cell::Big(of),
        Value::String(of) => Cell::Text(of),
        Value::Bytes(of) => Cell::Bytes(of),
        Value::Uuid(of) => Cell::Uuid(of),
        other => return Err(corrupt("row", "type", format!("{other:?}"))),
    })
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Bool(of) => Self::Bool(of),
            Cell::Small(of) => Self::SmallInt(of),
            Cell::Int(of) => Self::Int(of),
            Cell::Big(of) => Self::BigInt(of),
            Cell::Text(of) => Self::String(of),
            Cell::Bytes(of) => Self::Bytes(of),
            Cell::Uuid(of) => Self::Uuid(of),
        }
    }
}
