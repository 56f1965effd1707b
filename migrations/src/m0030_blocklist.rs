//! What is on the remediation blocklist is noted as names are: all IOCs are noted once more. IOCs that
//! a person deleted are found by when that was.

use sea_orm_migration::{async_trait::async_trait, prelude::*};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0030_blocklist"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let noted = Query::delete().from_table("settings").and_where(Expr::col("name").eq("names_noted")).to_owned();
        manager.execute(noted).await?;
        let deleted = "CREATE INDEX iocs_deleted ON iocs (deleted_at) WHERE deleted_at IS NOT NULL";
        manager.get_connection().execute_unprepared(deleted).await.map(drop)
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
