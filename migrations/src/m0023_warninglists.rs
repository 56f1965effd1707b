//! Warninglists; guards have a version, and entries of the allow list may end.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, blob, integer, small_integer, string, text, uuid},
};

use crate::table::{add, create, index, table, unique};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0023_warninglists"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "accounts", vec![big_integer("guards_version").default(0).take(), big_integer_null("guards_due")]).await?;
        let lists = vec![
            uuid("id"),
            string("account_id"),
            string("name"),
            string("folded"),
            text("description"),
            big_integer("version"),
            small_integer("matching"),
            text("attributes"),
            small_integer("mode"),
            big_integer("entries"),
            text("left_out"),
            string("sha256"),
            big_integer("updated_at"),
        ];
        let bodies = vec![uuid("list_id"), integer("number"), blob("data")];
        create(
            manager,
            vec![table("warninglists", &["id"], lists), table("warninglist_bodies", &["list_id", "number"], bodies)],
            &[
                unique("warninglists", "warninglists_name", &["account_id", "folded"]),
                index("accounts", "accounts_guards_due", &["guards_due"]),
                index("import_records", "import_records_started", &["started_at"]),
            ],
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
