//! Messages that follow each other quickly are gathered in one: which message still gathers, and what it is about.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{small_integer, string, text, uuid},
};

use crate::table::{IndexSpec, add, create, index, table};

const INDEXES: &[IndexSpec] = &[index("letter_items", "letter_items_letter", &["letter_id", "item_key"])];

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0012_digests"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "letters", vec![small_integer("digest").default(0).take()]).await?;
        let items = table("letter_items", &["item_key"], vec![string("item_key"), uuid("letter_id"), text("content")]);
        create(manager, vec![items], INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
