//! The watchdog: outages, the outbox, the gaps in which nobody could answer, and thresholds.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, boolean, integer, small_integer, small_integer_null, string, string_null, text, text_null, uuid, uuid_null},
};

use crate::table::{IndexSpec, TableSpec, add, create, index, table, unique};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_watch"
    }
}

fn tables() -> Vec<TableSpec> {
    vec![
        table(
            "outages",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                uuid("device_id"),
                big_integer("began_at"),
                big_integer("noticed_at"),
                big_integer_null("ended_at"),
                small_integer_null("ended_by"),
            ],
        ),
        table(
            "letters",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                small_integer("kind"),
                string("recipient"),
                string("message_id"),
                text("subject"),
                text("body_text"),
                text("body_html"),
                small_integer("state"),
                integer("attempts"),
                big_integer("created_at"),
                big_integer("next_at"),
                uuid_null("claim_token"),
                big_integer("claim_until"),
                big_integer_null("settled_at"),
                text_null("last_answer"),
                // For letters without an outage: written once.
                string_null("subject_key"),
                // A recovery never goes before its warning.
                uuid_null("after_letter"),
            ],
        ),
        table("outage_letters", &["outage_id", "recipient", "kind"], vec![uuid("outage_id"), string("recipient"), small_integer("kind"), uuid("letter_id")]),
        table("gaps", &["from_at"], vec![big_integer("from_at"), big_integer("to_at")]),
    ]
}

const INDEXES: &[IndexSpec] = &[
    unique("outages", "outages_device_began", &["device_id", "began_at"]),
    index("outages", "outages_account", &["account_id", "noticed_at", "id"]),
    index("outages", "outages_open", &["ended_at", "device_id"]),
    index("letters", "letters_due", &["state", "next_at"]),
    index("letters", "letters_account", &["account_id", "created_at", "id"]),
    unique("letters", "letters_subject_key", &["subject_key"]),
    index("outage_letters", "outage_letters_letter", &["letter_id"]),
];

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, tables(), INDEXES).await?;
        let flag = |name, value: bool| boolean(name).default(value).take();
        add(manager, "accounts", vec![big_integer_null("silent_after"), flag("nobody_told", false), text_null("webhook_url")]).await?;
        add(manager, "users", vec![flag("mail_alerts", true)]).await?;
        add(manager, "devices", vec![big_integer_null("silent_after"), big_integer("watched_since").default(0).take()]).await?;
        add(manager, "ioc_groups", vec![flag("limit_told", false)]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
