//! Whether devices have what their groups hold is kept for each group, and counted by state.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, boolean, string, uuid},
};

use crate::table::{add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0019_protection"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let protections = vec![uuid("group_id"), string("state"), big_integer("due_at"), big_integer("version")];
        let counts = vec![string("state"), big_integer("total")];
        create(
            manager,
            vec![table("protections", &["group_id"], protections), table("protection_counts", &["state"], counts)],
            &[index("protections", "protections_due", &["due_at"])],
        )
        .await?;
        // What is published already is looked at once.
        let all = "INSERT INTO protections (group_id, state, due_at, version) SELECT id, '', 0, 0 FROM ioc_groups WHERE publication > 0";
        let connection = manager.get_connection();
        connection.execute_unprepared(all).await?;
        // Sophos' lists carry URLs as requests show them: without user, password and fragment.
        let again = "UPDATE ioc_groups SET config_version = config_version + 1 WHERE device_id IN (SELECT id FROM devices WHERE device_type = 'sophos')";
        connection.execute_unprepared(again).await?;
        add(manager, "event_receipts", vec![boolean("reported").default(false).take()]).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
