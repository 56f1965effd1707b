//! Members that are to be sent again are found without looking at all others.

use sea_orm_migration::{async_trait::async_trait, prelude::*};

#[derive(Debug)]
pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_resend"
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    /// Without this, SQLite would be left with half a step after a crash.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Only those that are marked stand in it: nobody pays for it who is not.
        let marked = Index::create()
            .name("members_to_resend")
            .table(Alias::new("members"))
            .col(Alias::new("group_id"))
            .and_where(Expr::col(Alias::new("resend")))
            .to_owned();
        manager.create_index(marked).await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(crate::FORWARD.to_owned()))
    }
}
