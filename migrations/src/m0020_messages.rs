//! What goes out to people and programs is called a message everywhere.

use sea_orm_migration::{async_trait::async_trait, prelude::*};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0020_messages"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for rename in [
            "ALTER TABLE letters RENAME TO messages",
            "ALTER TABLE messages RENAME COLUMN after_letter TO after_message",
            "ALTER TABLE letter_items RENAME TO message_items",
            "ALTER TABLE message_items RENAME COLUMN letter_id TO message_id",
            "ALTER TABLE outage_letters RENAME TO outage_messages",
            "ALTER TABLE outage_messages RENAME COLUMN letter_id TO message_id",
        ] {
            manager.get_connection().execute_unprepared(rename).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
