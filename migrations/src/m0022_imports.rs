//! Imports are kept: who brought what in, what was refused, and what taking it back would take.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, blob, boolean, integer, small_integer, string, string_null, text, text_null, uuid},
};

use crate::table::{add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0022_imports"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let records = vec![
            uuid("id"),
            string("account_id"),
            uuid("source_id"),
            string("source_name"),
            string("made_by"),
            string_null("file_name"),
            string("sha256"),
            big_integer("bytes"),
            big_integer("started_at"),
            big_integer_null("ended_at"),
            small_integer("state"),
            big_integer("handled"),
            big_integer_null("seq"),
            text("request"),
            text("report"),
            text_null("error"),
            text_null("undone"),
        ];
        let lines = vec![uuid("import_id"), integer("number"), boolean("remark"), big_integer("line"), text("value"), text("reason")];
        let bodies = vec![uuid("import_id"), integer("number"), blob("data")];
        create(
            manager,
            vec![
                table("import_records", &["id"], records),
                table("import_lines", &["import_id", "number"], lines),
                table("import_bodies", &["import_id", "number"], bodies),
            ],
            &[
                index("import_records", "import_records_latest", &["account_id", "started_at", "id"]),
                index("import_records", "import_records_state", &["state", "started_at"]),
            ],
        )
        .await?;
        // Of those that wait for a person: not taken for dead with the server.
        add(manager, "imports", vec![boolean("review").default(false).take()]).await?;
        add(manager, "ioc_stage", vec![boolean("left_out").default(false).take()]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
