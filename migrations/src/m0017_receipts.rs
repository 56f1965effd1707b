//! What clients verifiably fetched, and from which groups IOCs were withdrawn when. TAXII collections are
//! published again.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, boolean, integer, string, string_null, uuid, uuid_null},
};

use crate::table::{add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0017_receipts"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let clients = vec![
            uuid("id"),
            uuid("device_id"),
            uuid("key_id"),
            string_null("misp_uuid"),
            string_null("misp_version"),
            string("user_agent"),
            big_integer("first_at"),
            big_integer("last_at"),
        ];
        let receipts = vec![
            uuid("client_id"),
            uuid("group_id"),
            big_integer("publication"),
            big_integer("fetched_at"),
            big_integer_null("confirmed"),
            big_integer_null("confirmed_at"),
            big_integer_null("check_at"),
        ];
        let events = vec![
            uuid("client_id"),
            uuid("event"),
            uuid("group_id"),
            uuid("version"),
            big_integer("publication"),
            big_integer("fetched_at"),
            integer("times"),
            integer("offered").default(0).take(),
        ];
        let withdrawals = vec![uuid("ioc_id"), uuid("group_id"), big_integer("publication"), uuid_null("event"), big_integer("at")];
        create(
            manager,
            vec![
                table("clients", &["id"], clients),
                table("receipts", &["client_id", "group_id"], receipts),
                table("event_receipts", &["client_id", "event"], events),
                table("withdrawals", &["ioc_id", "group_id"], withdrawals),
            ],
            &[
                index("clients", "clients_device", &["device_id"]),
                index("clients", "clients_last", &["last_at"]),
                index("receipts", "receipts_group", &["group_id"]),
                index("receipts", "receipts_check", &["check_at"]),
                index("event_receipts", "event_receipts_event", &["event"]),
                index("withdrawals", "withdrawals_at", &["at"]),
                index("withdrawals", "withdrawals_group", &["group_id"]),
            ],
        )
        .await?;
        // Each object of a TAXII collection gets a date of its own: their fingerprints are others now.
        let taxii = "(SELECT id FROM ioc_groups WHERE device_id IN (SELECT id FROM devices WHERE device_type IN \
                     ('taxii', 'stix-bundle', 'splunk-es-taxii', 'splunk-es-taxii-on-premises', 'azure-sentinel')))";
        let connection = manager.get_connection();
        let again = format!("UPDATE ioc_groups SET config_version = config_version + 1 WHERE id IN {taxii}");
        connection.execute_unprepared(&again).await?;
        add(manager, "parts", vec![boolean("offer_again").default(false).take()]).await?;
        add(manager, "pulls", vec![integer("events").default(0).take()]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
