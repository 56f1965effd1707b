//! Warninglists, and the version of the guards that they belong to.

use iocast_domain::{
    guard::Guards,
    id::{AccountId, WarninglistId},
    time::Timestamp,
    warninglist::{ListMode, Matching, Warninglist},
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait as _,
    IntoActiveModel as _, QueryFilter, QueryOrder, QuerySelect, Set, sea_query::Expr,
};

use crate::{
    Conn, StoreResult, Txn,
    accounts::account_id,
    error::corrupt,
    row::{account, warninglist, warninglist_body},
};

/// Bytes of a body in one row.
const PIECE: usize = 1 << 20;

fn to_list(row: warninglist::Model) -> StoreResult<Warninglist> {
    let warninglist::Model {
        id,
        account_id: _,
        name,
        folded: _,
        description,
        version,
        matching,
        attributes,
        mode,
        entries,
        left_out,
        sha256,
        updated_at,
    } = row;
    let wrong = |column: &'static str| move |e| corrupt("warninglists", column, e);
    Ok(Warninglist {
        id: WarninglistId(id),
        name,
        description,
        version,
        matching: Matching::from_code(matching)
            .ok_or_else(|| corrupt("warninglists", "matching", matching))?,
        attributes: serde_json::from_str(&attributes).map_err(wrong("attributes"))?,
        mode: ListMode::from_code(mode).ok_or_else(|| corrupt("warninglists", "mode", mode))?,
        entries: u64::try_from(entries).unwrap_or_default(),
        left_out: serde_json::from_str(&left_out).map_err(wrong("left_out"))?,
        sha256,
        updated_at: Timestamp::from_micros(updated_at),
    })
}

impl<C: ConnectionTrait> Conn<C> {
    /// The warninglists of an account, by name.
    pub async fn warninglist_list(&self, account: &AccountId) -> StoreResult<Vec<Warninglist>> {
        warninglist::Entity::find()
            .filter(warninglist::Column::AccountId.eq(account.as_str()))
            .order_by_asc(warninglist::Column::Folded)
            .all(&self.0)
            .await?
            .into_iter()
            .map(to_list)
            .collect()
    }

    /// One warninglist of an account.
    pub async fn warninglist_fetch(
        &self,
        account: &AccountId,
        id: WarninglistId,
    ) -> StoreResult<Option<Warninglist>> {
        warninglist::Entity::find_by_id(id.0)
            .filter(warninglist::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_list)
            .transpose()
    }

    /// The warninglist of this name, in any case.
    pub async fn warninglist_by_name(
        &self,
        account: &AccountId,
        name: &str,
    ) -> StoreResult<Option<Warninglist>> {
        warninglist::Entity::find()
            .filter(warninglist::Column::AccountId.eq(account.as_str()))
            .filter(warninglist::Column::Folded.eq(name.to_lowercase()))
            .one(&self.0)
            .await?
            .map(to_list)
            .transpose()
    }

    /// The file of a warninglist, as it was put.
    pub async fn warninglist_body(&self, id: WarninglistId) -> StoreResult<Vec<u8>> {
        let rows = warninglist_body::Entity::find()
            .filter(warninglist_body::Column::ListId.eq(id.0))
            .order_by_asc(warninglist_body::Column::Number)
            .all(&self.0)
            .await?;
        Ok(rows.into_iter().map(|row| row.data).collect::<Vec<_>>().concat())
    }

    /// Accounts of which an entry of the allow list has ended.
    pub async fn guards_due(&self, now: Timestamp, limit: u64) -> StoreResult<Vec<AccountId>> {
        let find = account::Entity::find()
            .select_only()
            .column(account::Column::Id)
            .filter(account::Column::GuardsDue.lte(now.micros()))
            .limit(limit);
        let ids: Vec<String> = find.into_tuple().all(&self.0).await?;
        ids.into_iter().map(|id| account_id("accounts", id)).collect()
    }
}

impl Txn {
    /// Writes a warninglist with its file, in place of what was there.
    pub async fn warninglist_put(
        &self,
        account: &AccountId,
        list: &Warninglist,
        body: &[u8],
    ) -> StoreResult<()> {
        let Warninglist {
            id,
            name,
            description,
            version,
            matching,
            attributes,
            mode,
            entries,
            left_out,
            sha256,
            updated_at,
        } = list;
        let json = |column: &'static str, value: serde_json::Result<String>| {
            value.map_err(|e| corrupt("warninglists", column, e))
        };
        let row = warninglist::Model {
            id: id.0,
            account_id: account.to_string(),
            name: name.clone(),
            folded: name.to_lowercase(),
            description: description.replace('\0', "\u{fffd}"),
            version: *version,
            matching: matching.code(),
            attributes: json("attributes", serde_json::to_string(attributes))?,
            mode: mode.code(),
            entries: i64::try_from(*entries).unwrap_or(i64::MAX),
            left_out: json("left_out", serde_json::to_string(left_out))?,
            sha256: sha256.clone(),
            updated_at: updated_at.micros(),
        };
        self.warninglist_delete(*id).await?;
        row.into_active_model().insert(&self.0).await?;
        for (piece, number) in body.chunks(PIECE).zip(0..) {
            let row = warninglist_body::ActiveModel {
                list_id: Set(id.0),
                number: Set(number),
                data: Set(piece.to_vec()),
            };
            warninglist_body::Entity::insert(row).exec_without_returning(&self.0).await?;
        }
        Ok(())
    }

    /// Says what a warninglist does.
    pub async fn warninglist_set_mode(&self, id: WarninglistId, mode: ListMode) -> StoreResult<()> {
        warninglist::Entity::update_many()
            .col_expr(warninglist::Column::Mode, Expr::value(mode.code()))
            .filter(warninglist::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Deletes a warninglist.
    pub async fn warninglist_delete(&self, id: WarninglistId) -> StoreResult<()> {
        warninglist::Entity::delete_by_id(id.0).exec(&self.0).await?;
        warninglist_body::Entity::delete_many()
            .filter(warninglist_body::Column::ListId.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Sets an account's guards.
    pub async fn account_set_guards(&self, id: &AccountId, guards: &Guards) -> StoreResult<()> {
        let text = serde_json::to_string(guards).map_err(|e| corrupt("accounts", "guards", e))?;
        account::Entity::update_many()
            .col_expr(account::Column::Guards, Expr::value(text))
            .col_expr(
                account::Column::GuardsDue,
                Expr::value(guards.next_end().map(Timestamp::micros)),
            )
            .filter(account::Column::Id.eq(id.as_str()))
            .exec(&self.0)
            .await?;
        self.guards_changed(id).await
    }

    /// Has the guards and warninglists of an account read again, and its groups looked at again.
    pub async fn guards_changed(&self, id: &AccountId) -> StoreResult<()> {
        account::Entity::update_many()
            .col_expr(
                account::Column::GuardsVersion,
                Expr::col(account::Column::GuardsVersion).add(1),
            )
            .filter(account::Column::Id.eq(id.as_str()))
            .exec(&self.0)
            .await?;
        self.group_reconfigure_account(id).await
    }
}
