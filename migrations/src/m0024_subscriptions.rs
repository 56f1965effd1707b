//! Subscriptions: sources that fetch their lists by themselves.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, blob, boolean, integer, integer_null, small_integer, string, string_null, text, text_null, uuid, uuid_null},
};

use crate::table::{create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0024_subscriptions"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let subscriptions = vec![
            uuid("source_id"),
            string("account_id"),
            text("url"),
            string_null("form"),
            big_integer("every"),
            small_integer("coverage"),
            big_integer("grace"),
            small_integer("access"),
            text("access_name"),
            blob("secret"),
            boolean("paused"),
            big_integer("next_at"),
            big_integer("claimed_until"),
            big_integer_null("tried_at"),
            big_integer_null("ok_at"),
            big_integer_null("changed_at"),
            integer("failures"),
            text_null("error"),
            text_null("etag"),
            text_null("last_modified"),
            string_null("sha256"),
            big_integer("listed"),
        ];
        let fetches = vec![
            uuid("id"),
            uuid("source_id"),
            big_integer("at"),
            small_integer("outcome"),
            integer_null("status"),
            big_integer("bytes"),
            big_integer("listed"),
            big_integer("added"),
            big_integer("changed"),
            big_integer("gone"),
            big_integer("refused"),
            uuid_null("import_id"),
            text_null("error"),
        ];
        let ledgers = vec![uuid("source_id"), integer("number"), blob("data")];
        let missing = vec![uuid("source_id"), uuid("ioc_id"), big_integer("since")];
        create(
            manager,
            vec![
                table("subscriptions", &["source_id"], subscriptions),
                table("fetches", &["id"], fetches),
                table("subscription_ledgers", &["source_id", "number"], ledgers),
                table("subscription_missing", &["source_id", "ioc_id"], missing),
            ],
            &[
                index("subscriptions", "subscriptions_due", &["paused", "next_at"]),
                index("subscriptions", "subscriptions_account", &["account_id"]),
                index("fetches", "fetches_latest", &["source_id", "at", "id"]),
                index("subscription_missing", "subscription_missing_since", &["source_id", "since"]),
            ],
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
