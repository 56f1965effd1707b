//! Indexes for what was found by reading whole tables: the keys of a device, and the answers that are old enough to forget.

use sea_orm_migration::{async_trait::async_trait, prelude::*};

use crate::table::{IndexSpec, create, index};

const INDEXES: &[IndexSpec] = &[
    index("keys", "keys_by_device", &["device_id"]),
    index("idempotency", "idempotency_by_age", &["created_at"]),
    index("accounts", "accounts_untold", &["nobody_told", "id"]),
];

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0011_indexes"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, Vec::new(), INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
