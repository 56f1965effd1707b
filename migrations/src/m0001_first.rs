//! The first schema. Times are UTC microseconds in `bigint`, ids UUIDs, enumerations `smallint`, documents JSON text.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, blob, boolean, integer, small_integer, string, string_null, text, text_null, uuid, uuid_null},
};

use crate::table::{IndexSpec, TableSpec, create, index, table, unique};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

fn tables() -> Vec<TableSpec> {
    vec![
        table(
            "accounts",
            &["id"],
            vec![string("id"), string("name"), string("folded"), boolean("automation"), boolean("tip"), big_integer("change_seq"), big_integer("created_at")],
        ),
        table(
            "users",
            &["id"],
            vec![uuid("id"), string("account_id"), string("email"), text("password_hash"), small_integer("role"), boolean("active"), big_integer("created_at")],
        ),
        table("sessions", &["id"], vec![uuid("id"), string("account_id"), uuid("user_id"), big_integer("created_at"), big_integer("expires_at")]),
        table("login_attempts", &["subject"], vec![string("subject"), integer("failures"), big_integer("window_start"), big_integer("blocked_until")]),
        table(
            "keys",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                small_integer("kind"),
                uuid_null("device_id"),
                string("prefix"),
                string("hash"),
                big_integer("created_at"),
                big_integer_null("expires_at"),
                big_integer_null("revoked_at"),
                big_integer_null("last_used_at"),
            ],
        ),
        table(
            "sources",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                string("name"),
                string("folded"),
                small_integer("confidence"),
                boolean("enabled"),
                big_integer("created_at"),
            ],
        ),
        table(
            "iocs",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                big_integer("seq"),
                small_integer("kind"),
                text("value"),
                string("value_head"),
                string_null("reversed_host"),
                big_integer("first_seen"),
                big_integer("last_seen"),
                small_integer("severity"),
                small_integer("state"),
                big_integer("retires_at"),
                small_integer("whitelist"),
                text("enrichment"),
                big_integer("created_at"),
                big_integer_null("deleted_at"),
            ],
        ),
        table("ioc_sources", &["source_id", "ioc_id"], vec![uuid("source_id"), uuid("ioc_id")]),
        table(
            "devices",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                string("name"),
                string("folded"),
                string("device_type"),
                integer("ioc_limit"),
                boolean("paused"),
                big_integer_null("last_pull_at"),
                big_integer("created_at"),
            ],
        ),
        table(
            "ioc_groups",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                uuid("device_id"),
                string("name"),
                string("folded"),
                integer("ioc_limit"),
                text("source_priority"),
                boolean("notify_on_limit"),
                big_integer("created_at"),
                // What the last publication was made from, and when there is something to do without a change.
                big_integer("config_version"),
                big_integer("applied_config"),
                big_integer("applied_seq"),
                big_integer("publication"),
                integer("live"),
                text("cut"),
                big_integer_null("due_at"),
                big_integer_null("latest_stamp"),
                uuid_null("claim_token"),
                big_integer("claim_until"),
            ],
        ),
        table(
            "rules",
            &["id"],
            vec![uuid("id"), string("account_id"), string("name"), string("folded"), boolean("enabled"), text("criteria"), big_integer("created_at")],
        ),
        table("rule_groups", &["rule_id", "group_id"], vec![uuid("rule_id"), uuid("group_id")]),
        table(
            "parts",
            &["id"],
            vec![
                uuid("id"),
                uuid("group_id"),
                string("day"),
                integer("number"),
                string("group_name"),
                big_integer("stamp"),
                boolean("sealed"),
                integer("total"),
                integer("live"),
                // Something in it waits to be told to receivers, and how long it rests.
                boolean("dirty"),
                big_integer("rested_at"),
                text("manifest_entry"),
                text("event_segment"),
                text("hashes_segment"),
            ],
        ),
        table(
            "members",
            &["part_id", "ioc_id"],
            vec![
                uuid("part_id"),
                uuid("ioc_id"),
                uuid("group_id"),
                small_integer("standing"),
                big_integer("joined_at"),
                big_integer("stamp"),
                big_integer("fingerprint"),
                boolean("dirty"),
                big_integer_null("left_at"),
                small_integer("leave_reason"),
                boolean("resend"),
            ],
        ),
        table(
            "publications",
            &["group_id", "number"],
            vec![
                uuid("group_id"),
                big_integer("number"),
                big_integer("created_at"),
                big_integer("seq"),
                integer("live"),
                integer("added"),
                integer("removed"),
                text("files"),
            ],
        ),
        table("blobs", &["group_id", "hash"], vec![uuid("group_id"), string("hash"), big_integer("last_publication"), blob("data")]),
        table(
            "pulls",
            &["id"],
            vec![
                uuid("id"),
                uuid("device_id"),
                uuid("group_id"),
                boolean("failed"),
                big_integer("at"),
                big_integer("first_at"),
                integer("count"),
                string("address"),
                string("user_agent"),
                string_null("misp_version"),
                string_null("misp_uuid"),
                small_integer("status"),
                big_integer("bytes"),
                text_null("reason"),
            ],
        ),
        table("pull_hours", &["device_id", "hour"], vec![uuid("device_id"), big_integer("hour"), integer("pulls"), integer("failures")]),
        table(
            "audit",
            &["id"],
            vec![
                uuid("id"),
                string("account_id"),
                big_integer("at"),
                string("actor"),
                string("action"),
                string("object"),
                text("detail"),
                string("address"),
                string("request_id"),
            ],
        ),
        table(
            "idempotency",
            &["account_id", "key"],
            vec![
                string("account_id"),
                string("key"),
                string("operation"),
                string("body_hash"),
                small_integer("status"),
                text("answer"),
                big_integer("created_at"),
            ],
        ),
        table("settings", &["name"], vec![string("name"), text("value")]),
    ]
}

const INDEXES: &[IndexSpec] = &[
    unique("accounts", "accounts_folded", &["folded"]),
    unique("users", "users_account_email", &["account_id", "email"]),
    index("users", "users_email", &["email"]),
    index("sessions", "sessions_user", &["user_id"]),
    unique("keys", "keys_hash", &["hash"]),
    index("keys", "keys_account", &["account_id", "created_at"]),
    unique("sources", "sources_account_name", &["account_id", "folded"]),
    index("iocs", "iocs_account_seq", &["account_id", "seq", "id"]),
    index("iocs", "iocs_account_value", &["account_id", "value_head"]),
    index("iocs", "iocs_account_host", &["account_id", "reversed_host"]),
    index("iocs", "iocs_state_retires", &["state", "retires_at"]),
    unique("devices", "devices_account_name", &["account_id", "folded"]),
    unique("ioc_groups", "ioc_groups_device_name", &["device_id", "folded"]),
    index("ioc_groups", "ioc_groups_account", &["account_id"]),
    unique("rules", "rules_account_name", &["account_id", "folded"]),
    index("rule_groups", "rule_groups_group", &["group_id"]),
    unique("parts", "parts_group_day_number", &["group_id", "day", "number"]),
    index("members", "members_group_ioc", &["group_id", "ioc_id"]),
    index("members", "members_group_standing", &["group_id", "standing", "left_at"]),
    index("pulls", "pulls_device_at", &["device_id", "failed", "at"]),
    index("audit", "audit_account_at", &["account_id", "at", "id"]),
];

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, tables(), INDEXES).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
