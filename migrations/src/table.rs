//! Tables and indexes written down as data, made the same way on both engines.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

pub(crate) struct TableSpec {
    name: &'static str,
    columns: Vec<ColumnDef>,
    key: &'static [&'static str],
}

pub(crate) struct IndexSpec {
    pub(crate) table: &'static str,
    pub(crate) name: &'static str,
    columns: &'static [&'static str],
    unique: bool,
}

pub(crate) const fn index(table: &'static str, name: &'static str, columns: &'static [&'static str]) -> IndexSpec {
    IndexSpec { table, name, columns, unique: false }
}

pub(crate) const fn unique(table: &'static str, name: &'static str, columns: &'static [&'static str]) -> IndexSpec {
    IndexSpec { table, name, columns, unique: true }
}

pub(crate) fn table(name: &'static str, key: &'static [&'static str], columns: Vec<ColumnDef>) -> TableSpec {
    TableSpec { name, columns, key }
}

/// Searched by prefix and compared bytewise, the same on both engines and under any locale.
const BYTEWISE: &[&str] = &["folded", "value_head", "reversed_host", "email"];

/// Adds columns to a table that may hold rows.
pub(crate) async fn add(manager: &SchemaManager<'_>, table: &'static str, columns: Vec<ColumnDef>) -> Result<(), DbErr> {
    // One by one: SQLite takes no two at once.
    for column in columns {
        manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).to_owned()).await?;
    }
    Ok(())
}

pub(crate) async fn create(manager: &SchemaManager<'_>, tables: Vec<TableSpec>, indexes: &[IndexSpec]) -> Result<(), DbErr> {
    for spec in tables {
        let mut statement = Table::create();
        statement.table(Alias::new(spec.name));
        for mut column in spec.columns {
            if manager.get_database_backend() == DbBackend::Postgres && BYTEWISE.contains(&column.get_column_name().as_str()) {
                column.extra("COLLATE \"C\"");
            }
            statement.col(&mut column);
        }
        let mut key = Index::create();
        for column in spec.key {
            key.col(Alias::new(*column));
        }
        statement.primary_key(&mut key);
        manager.create_table(statement).await?;
    }
    for spec in indexes {
        let mut statement = Index::create();
        statement.name(spec.name).table(Alias::new(spec.table));
        for column in spec.columns {
            statement.col(Alias::new(*column));
        }
        if spec.unique {
            statement.unique();
        }
        manager.create_index(statement).await?;
    }
    Ok(())
}
