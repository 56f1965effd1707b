//! Since when a client asks for a group: a MISP that asks for a day and fetches no event is told
//! from one that was set up a moment ago.

use sea_orm_migration::{async_trait::async_trait, prelude::*, schema::big_integer};

use crate::table::add;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0021_left_events"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "receipts", vec![big_integer("first_at").default(0).take()]).await?;
        let known = "UPDATE receipts SET first_at = fetched_at";
        manager.get_connection().execute_unprepared(known).await?;
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
