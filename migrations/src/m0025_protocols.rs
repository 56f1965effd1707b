//! Subscriptions speak several protocols, and people are written to when they fail.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer_null, blob, boolean, small_integer, string, text, text_null, uuid},
};

use crate::table::{add, create, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0025_protocols"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = vec![
            small_integer("protocol").default(1).take(),
            text("options").default("{}").take(),
            blob("tls_key").null().take(),
            text_null("cursor"),
            big_integer_null("failing_since"),
            boolean("told").default(false).take(),
        ];
        add(manager, "subscriptions", columns).await?;
        let sections = vec![uuid("source_id"), string("name"), text("version"), blob("data")];
        create(manager, vec![table("subscription_sections", &["source_id", "name"], sections)], &[]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
