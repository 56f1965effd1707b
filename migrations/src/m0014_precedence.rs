//! The order in which IOCs compete for the room in a group, as an index: a full group reads those next to its boundary.
//!
//! The order of rows that are there already is written by the server afterwards, some at a time; until then groups of their
//! account select as before.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, text_null},
};

use crate::table::{IndexSpec, add, create, index};

const INDEXES: &[IndexSpec] =
    &[index("iocs", "iocs_by_precedence", &["account_id", "precedence", "value_head", "id", "kind", "severity", "state", "whitelist", "deleted_at"])];

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0014_precedence"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Without one, an IOC's place is not known yet.
        add(manager, "iocs", vec![big_integer_null("precedence"), big_integer("first_seq").default(0).take()]).await?;
        add(manager, "ioc_stage", vec![big_integer_null("precedence")]).await?;
        // The last place that found room, with what is known of those behind it.
        add(manager, "ioc_groups", vec![text_null("boundary")]).await?;
        create(manager, Vec::new(), INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
