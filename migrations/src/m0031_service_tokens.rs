//! Service tokens.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, small_integer, string, uuid, uuid_null},
};

use crate::table::{create, index, table, unique};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0031_service_tokens"
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
            uuid("id"),
            string("account_id"),
            string("name"),
            small_integer("scope"),
            uuid_null("device_id"),
            uuid_null("source_id"),
            string("prefix"),
            string("hash"),
            string("made_by"),
            big_integer("created_at"),
            big_integer_null("expires_at"),
            big_integer_null("revoked_at"),
            big_integer_null("last_used_at"),
            big_integer_null("days"),
            uuid_null("replaced_by"),
        ];
        create(
            manager,
            vec![table("service_tokens", &["id"], columns)],
            &[unique("service_tokens", "service_tokens_hash", &["hash"]), index("service_tokens", "service_tokens_account", &["account_id", "created_at"])],
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
