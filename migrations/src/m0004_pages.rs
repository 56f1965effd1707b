//! What the pages look through at once, and letters that may have arrived.

use sea_orm_migration::{async_trait::async_trait, prelude::*, schema::boolean};

use crate::table::{IndexSpec, add, create, index};

/// Every column by which IOCs are filtered stands in each index by which they are listed: what does not fit is not read.
const INDEXES: &[IndexSpec] = &[
    index("iocs", "iocs_by_change", &["account_id", "seq", "id", "kind", "severity", "state", "whitelist", "deleted_at"]),
    index("iocs", "iocs_by_value", &["account_id", "value_head", "id", "kind", "severity", "state", "whitelist", "deleted_at"]),
    index("iocs", "iocs_by_host", &["account_id", "reversed_host", "id", "kind", "severity", "state", "whitelist", "deleted_at"]),
];
/// Those of which they take the place.
const BEFORE: [&str; 3] = ["iocs_account_seq", "iocs_account_value", "iocs_account_host"];

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_pages"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The line died, or the sender: whether the letter was taken is not known.
        add(manager, "letters", vec![boolean("maybe_sent").default(false).take()]).await?;
        for name in BEFORE {
            manager.drop_index(Index::drop().name(name).table(Alias::new("iocs")).to_owned()).await?;
        }
        create(manager, Vec::new(), INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
