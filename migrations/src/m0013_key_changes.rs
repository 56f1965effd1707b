//! Which keys changed: a replica reads those again, and not all that exist.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, string},
};

use crate::table::{create, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0013_key_changes"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, vec![table("key_changes", &["version", "hash"], vec![big_integer("version"), string("hash")])], &[]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
