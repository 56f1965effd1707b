//! Going back to an earlier publication makes a new one: what each publication changed, and which one
//! restored the one that a group is frozen at. Lists for dnsmasq and hosts files are published again: they let
//! questions for IPv6 addresses through.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer_null, binary_null},
};

use crate::table::add;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0016_rollbacks"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "publications", vec![binary_null("before")]).await?;
        add(manager, "ioc_groups", vec![big_integer_null("restored")]).await?;
        // A group that is configured otherwise is selected again, and what is written in another way is
        // rendered again.
        let again = "UPDATE ioc_groups SET config_version = config_version + 1 \
                     WHERE device_id IN (SELECT id FROM devices WHERE device_type IN ('dnsmasq', 'hosts'))";
        manager.get_connection().execute_unprepared(again).await.map(drop)
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
