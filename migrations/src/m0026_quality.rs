//! Sources are counted once a day, and have lifetimes of their own; groups look at their members
//! once a day where a rule goes by age.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::*,
    schema::{big_integer, big_integer_null, string, text, uuid},
};

use crate::table::{add, create, index, table};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0026_quality"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Rows that are there get no value: no row is written, however many there are.
        add(manager, "ioc_sources", vec![big_integer_null("first_at")]).await?;
        add(manager, "sources", vec![text("limits").default("{}").take()]).await?;
        add(manager, "ioc_groups", vec![big_integer_null("aged_day")]).await?;
        let counted = ["iocs", "only_here", "timed", "first_here", "never_sent", "kept_back", "in_groups", "handled", "refused"];
        let mut days = vec![uuid("source_id"), big_integer("day"), big_integer("counted_at")];
        days.extend(counted.map(big_integer));
        let overlaps = vec![uuid("source_a"), uuid("source_b"), string("account_id"), big_integer("iocs")];
        let counts = vec![string("account_id"), big_integer("day"), big_integer_null("counted_at"), big_integer("imports_until"), big_integer("claimed_until")];
        create(
            manager,
            vec![
                table("source_days", &["source_id", "day"], days),
                table("source_overlaps", &["source_a", "source_b"], overlaps),
                table("source_counts", &["account_id"], counts),
            ],
            &[index("source_days", "source_days_by_day", &["day"]), index("source_overlaps", "source_overlaps_account", &["account_id"])],
        )
        .await?;
        // As fine as clients are shown: they go on from what they saw.
        manager.get_connection().execute_unprepared("UPDATE alerts SET updated_at = updated_at / 1000 * 1000").await?;
        // Only those that a person said are never sent stand in it.
        let marked = Index::create()
            .name("iocs_never_sent")
            .table(Alias::new("iocs"))
            .col(Alias::new("account_id"))
            .col(Alias::new("id"))
            .and_where(Expr::col(Alias::new("whitelist")).eq(NEVER_SENT))
            .to_owned();
        manager.create_index(marked).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}

/// The code of what is never sent.
const NEVER_SENT: i16 = 1;
