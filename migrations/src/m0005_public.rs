//! What the Threat Command REST API needs: when each change was made, where a source comes from, and how often it was asked.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, integer, small_integer, string, text},
};

use crate::table::{IndexSpec, add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_public"
    }
}

const INDEXES: &[IndexSpec] = &[index("changes", "changes_by_time", &["account_id", "at", "seq"])];

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = vec![
            // A change number and when it was taken; both only grow.
            table("changes", &["account_id", "seq"], vec![string("account_id"), big_integer("seq"), big_integer("at")]),
            table("quotas", &["account_id", "day"], vec![string("account_id"), string("day"), integer("used")]),
        ];
        create(manager, tables, INDEXES).await?;
        add(manager, "sources", vec![small_integer("kind").default(1).take(), text("description").default("").take()]).await?;
        // What was changed before counts as changed by its last write at the latest.
        let before = Query::select()
            .column("id")
            .column("change_seq")
            .expr(Expr::cust("COALESCE((SELECT MAX(at) FROM audit WHERE audit.account_id = accounts.id), accounts.created_at)"))
            .from("accounts")
            .take();
        let insert =
            Query::insert().into_table("changes").columns(["account_id", "seq", "at"]).select_from(before).map_err(|e| DbErr::Migration(e.to_string()))?.take();
        manager.exec_stmt(insert).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
