//! What the overview shows: IOCs by day, kind and severity; keys that expire; what was done to one
//! thing. Labels of devices, and when their pauses end. IOCs by the tags, actors, campaigns and
//! families that they carry.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, small_integer, string, text, uuid},
};

use crate::table::{add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0029_overview"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "devices", vec![text("labels").default("[]").take(), big_integer_null("paused_until")]).await?;
        let days =
            vec![string("account_id"), big_integer("day"), small_integer("kind"), small_integer("severity"), big_integer("iocs"), big_integer("counted_at")];
        let key = &["account_id", "day", "kind", "severity"];
        let names = vec![string("account_id"), string("folded"), small_integer("what"), uuid("id"), text("name")];
        create(
            manager,
            vec![
                table("ioc_days", key, days),
                table("threat_names", &["account_id", "folded", "what"], names),
                table("ioc_names", &["name_id", "ioc_id"], vec![uuid("name_id"), uuid("ioc_id")]),
            ],
            &[
                index("keys", "keys_account_expires", &["account_id", "expires_at"]),
                index("audit", "audit_account_object", &["account_id", "object", "at"]),
                index("devices", "devices_paused_until", &["paused_until"]),
                index("threat_names", "threat_names_id", &["id"]),
            ],
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
