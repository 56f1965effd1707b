//! The stage of imports: IOCs lie here until one transaction makes them seen.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, small_integer, string, string_null, text, uuid},
};

use crate::table::{TableSpec, create, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_stage"
    }
}

fn tables() -> Vec<TableSpec> {
    vec![
        // One row an import under way; what it staged is nobody's once the row is gone or has lapsed.
        table("imports", &["id"], vec![uuid("id"), string("account_id"), big_integer("alive_until")]),
        table(
            "ioc_stage",
            &["import_id", "id"],
            vec![
                uuid("import_id"),
                uuid("id"),
                small_integer("change"),
                small_integer("kind"),
                text("value"),
                string("value_head"),
                string_null("reversed_host"),
                big_integer("first_seen"),
                big_integer("last_seen"),
                small_integer("severity"),
                small_integer("state"),
                big_integer("retires_at"),
                small_integer("whitelist"),
                text("enrichment"),
                big_integer("created_at"),
            ],
        ),
    ]
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, tables(), &[]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
