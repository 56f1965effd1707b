//! Alerts.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, boolean, small_integer, string, text},
};

use crate::table::{IndexSpec, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_alerts"
    }
}

const INDEXES: &[IndexSpec] = &[index("alerts", "alerts_by_update", &["account_id", "updated_at", "id"])];

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let alerts = table(
            "alerts",
            &["account_id", "id"],
            vec![
                string("account_id"),
                string("id"),
                small_integer("kind"),
                small_integer("severity"),
                boolean("closed"),
                big_integer("found_at"),
                big_integer("received_at"),
                big_integer("updated_at"),
                text("document"),
            ],
        );
        create(manager, vec![alerts], INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
