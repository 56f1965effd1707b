//! What two steps brought only after they had been edited: m0003 an account's webhook, m0004 the wide indexes of IOCs.
//! A database that ran them before lacks both.

use sea_orm_migration::{async_trait::async_trait, prelude::*, schema::text_null};

use crate::table::{IndexSpec, add, create, index};

/// As m0004 makes them since it was edited.
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
        "m0010_repair"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("accounts", "webhook_url").await? {
            add(manager, "accounts", vec![text_null("webhook_url")]).await?;
        }
        for name in BEFORE {
            if manager.has_index("iocs", name).await? {
                manager.drop_index(Index::drop().name(name).table(Alias::new("iocs")).to_owned()).await?;
            }
        }
        for spec in INDEXES {
            if !manager.has_index(spec.table, spec.name).await? {
                create(manager, Vec::new(), std::slice::from_ref(spec)).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
