//! MISP events have a file for a MISP that never had them; whether a client stores an event is known
//! beside whether it fetched it. Lists of network devices are published again.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, boolean, integer, string_null, text_null},
};

use crate::table::add;

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0018_first_imports"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, "parts", vec![text_null("first_segment"), string_null("version")]).await?;
        // What was fetched up to now counts as stored.
        let columns = vec![
            boolean("stored").default(true).take(),
            boolean("mistaken").default(false).take(),
            big_integer("pulled_at").default(0).take(),
            integer("corrections").default(0).take(),
        ];
        add(manager, "event_receipts", columns).await?;
        let never = "UPDATE event_receipts SET stored = FALSE WHERE publication = 0";
        let connection = manager.get_connection();
        connection.execute_unprepared(never).await?;
        // Lists of network devices carry URLs as requests show them: without user, password and fragment.
        let again = "UPDATE ioc_groups SET config_version = config_version + 1 WHERE device_id IN (SELECT id FROM devices \
                     WHERE device_type IN ('panorama', 'panorama-on-premises', 'panos-edl', 'cisco-si', 'check-point', 'zeek', 'suricata'))";
        connection.execute_unprepared(again).await?;
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
