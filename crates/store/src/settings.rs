//! Settings of the whole installation that the database keeps.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Set,
    sea_query::{Expr, OnConflict},
};

use crate::{Conn, StoreResult, Txn, row::setting};

impl<C: ConnectionTrait> Conn<C> {
    /// A setting of the whole installation.
    pub async fn setting_fetch(&self, name: &str) -> StoreResult<Option<String>> {
        Ok(setting::Entity::find_by_id(name).one(&self.0).await?.map(|r| r.value))
    }
}

impl Txn {
    /// Writes a setting of the whole installation, unless somebody did before.
    pub async fn setting_insert(&self, name: &str, value: &str) -> StoreResult<()> {
        let row = setting::ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()) };
        setting::Entity::insert(row)
            .on_conflict(OnConflict::column(setting::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }

    /// A setting of the whole installation, which nobody else changes until this transaction ends.
    pub async fn setting_lock(&self, name: &str) -> StoreResult<Option<String>> {
        setting::Entity::update_many()
            .col_expr(setting::Column::Name, Expr::value(name))
            .filter(setting::Column::Name.eq(name))
            .exec(&self.0)
            .await?;
        self.setting_fetch(name).await
    }

    /// Forgets settings of the whole installation.
    pub async fn setting_delete(&self, names: &[String]) -> StoreResult<()> {
        setting::Entity::delete_many()
            .filter(setting::Column::Name.is_in(names.iter().map(String::as_str)))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes a setting of the whole installation.
    pub async fn setting_put(&self, name: &str, value: &str) -> StoreResult<()> {
        let row = setting::ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()) };
        setting::Entity::insert(row)
            .on_conflict(
                OnConflict::column(setting::Column::Name)
                    .update_column(setting::Column::Value)
                    .to_owned(),
            )
            .exec_without_returning(&self.0)
            .await?;
        Ok(())
    }
}
