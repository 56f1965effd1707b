//! Going back to an earlier publication makes a new one: what each publication changed, and which one
//! restored the one that a group is frozen at.

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
        add(manager, "ioc_groups", vec![big_integer_null("restored")]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
