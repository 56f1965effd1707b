//! Which groups' feeds changed, and which groups are due: replicas and the publisher read those,
//! and not all that exist.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, uuid},
};

use crate::table::{IndexSpec, create, index, table};

const INDEXES: &[IndexSpec] = &[index("ioc_groups", "ioc_groups_behind", &["account_id", "applied_seq"]), index("ioc_groups", "ioc_groups_due", &["due_at"])];

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0015_feed_changes"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, vec![table("feed_changes", &["version", "group_id"], vec![big_integer("version"), uuid("group_id")])], INDEXES).await?;
        // Its few rows are those whose configuration changed a moment ago. Both engines write it
        // the same way.
        manager
            .get_connection()
            .execute_unprepared("CREATE INDEX ioc_groups_reconfigured ON ioc_groups (account_id) WHERE applied_config < config_version")
            .await?;
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
