//! The steps by which a database reaches the present schema. A shipped step is never edited; new
//! ones go to the end.
//!
//! Every step is portable to SQLite and PostgreSQL, runs in a transaction on both, and names no
//! domain type.

use sea_orm_migration::{MigrationTrait, async_trait::async_trait};
pub use sea_orm_migration::{MigratorTrait, sea_orm};

#[expect(clippy::too_many_lines, reason = "a schema, and released")]
mod m0001_first;
mod m0002_stage;
mod m0003_watch;
mod m0004_pages;
mod m0005_public;
mod m0006_alerts;
mod m0007_device_types;
mod m0008_spans;
mod m0009_resend;
mod m0010_repair;
mod m0011_indexes;
mod m0012_digests;
mod m0013_key_changes;
mod m0014_precedence;
mod m0015_feed_changes;
mod m0016_rollbacks;
mod m0017_receipts;
mod m0018_first_imports;
mod m0019_protection;
mod m0020_messages;
mod m0021_left_events;
mod m0022_imports;
mod m0023_warninglists;
mod m0024_subscriptions;
mod m0025_protocols;
mod m0026_quality;
mod m0027_fetched;
mod m0028_versions;
mod m0029_overview;
mod m0030_blocklist;
mod m0031_service_tokens;
mod table;

/// What going back is answered with.
const FORWARD: &str = "iocast's migrations only go forward; restore a backup instead";

/// All steps, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::Migration),
            Box::new(m0002_stage::Migration),
            Box::new(m0003_watch::Migration),
            Box::new(m0004_pages::Migration),
            Box::new(m0005_public::Migration),
            Box::new(m0006_alerts::Migration),
            Box::new(m0007_device_types::Migration),
            Box::new(m0008_spans::Migration),
            Box::new(m0009_resend::Migration),
            Box::new(m0010_repair::Migration),
            Box::new(m0011_indexes::Migration),
            Box::new(m0012_digests::Migration),
            Box::new(m0013_key_changes::Migration),
            Box::new(m0014_precedence::Migration),
            Box::new(m0015_feed_changes::Migration),
            Box::new(m0016_rollbacks::Migration),
            Box::new(m0017_receipts::Migration),
            Box::new(m0018_first_imports::Migration),
            Box::new(m0019_protection::Migration),
            Box::new(m0020_messages::Migration),
            Box::new(m0021_left_events::Migration),
            Box::new(m0022_imports::Migration),
            Box::new(m0023_warninglists::Migration),
            Box::new(m0024_subscriptions::Migration),
            Box::new(m0025_protocols::Migration),
            Box::new(m0026_quality::Migration),
            Box::new(m0027_fetched::Migration),
            Box::new(m0028_versions::Migration),
            Box::new(m0029_overview::Migration),
            Box::new(m0030_blocklist::Migration),
            Box::new(m0031_service_tokens::Migration),
        ]
    }
}
