//! Device types beyond MISP: groups of one kind, guards, held publications, frozen groups.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer_null, boolean, small_integer, small_integer_null, text, text_null, uuid},
};

use crate::table::{IndexSpec, add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_device_types"
    }
}

const INDEXES: &[IndexSpec] = &[index("refused_iocs", "refused_iocs_by_reason", &["group_id", "reason", "ioc_id"])];

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let groups = vec![
            small_integer_null("kind"),
            boolean("collapse").default(false).to_owned(),
            big_integer_null("frozen"),
            text_null("held"),
            big_integer_null("held_until"),
            big_integer_null("held_seq"),
            big_integer_null("held_config"),
            big_integer_null("let_through"),
        ];
        add(manager, "ioc_groups", groups).await?;
        add(manager, "accounts", vec![text("guards").default("{}").to_owned()]).await?;
        add(manager, "members", vec![boolean("reborn").default(false).to_owned()]).await?;
        let refused = table("refused_iocs", &["group_id", "ioc_id"], vec![uuid("group_id"), uuid("ioc_id"), small_integer("reason")]);
        create(manager, vec![refused], INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
