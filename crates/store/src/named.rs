//! Things of an account by a part of their name.

use iocast_domain::id::{AccountId, DeviceId, GroupId, RuleId, SourceId};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait as _, LikeExpr},
};
use uuid::Uuid;

use crate::{
    Conn, StoreResult,
    row::{device, group, rule, source, user},
};

/// What contains a text, ignoring case.
pub(crate) fn containing(text: &str) -> LikeExpr {
    let folded = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    LikeExpr::new(format!("%{folded}%")).escape('\\')
}

/// Things whose name contains a text, each by name.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Devices.
    pub devices: Vec<(DeviceId, String)>,
    /// Groups.
    pub groups: Vec<(GroupId, String)>,
    /// Rules.
    pub rules: Vec<(RuleId, String)>,
    /// Sources.
    pub sources: Vec<(SourceId, String)>,
    /// People, by address.
    pub people: Vec<String>,
}

macro_rules! named {
    ($read:expr, $row:ident, $account:expr, $like:expr, $limit:expr) => {
        $row::Entity::find()
            .select_only()
            .columns([$row::Column::Id, $row::Column::Name])
            .filter($row::Column::AccountId.eq($account.as_str()))
            .filter(Expr::col($row::Column::Folded).like($like.clone()))
            .order_by_asc($row::Column::Folded)
            .limit($limit)
            .into_tuple::<(Uuid, String)>()
            .all(&$read.0)
            .await?
            .into_iter()
    };
}

impl<C: ConnectionTrait> Conn<C> {
    /// Things of an account whose name contains `text`, ignoring case: at most `limit` of each.
    pub async fn named(&self, account: &AccountId, text: &str, limit: u64) -> StoreResult<Named> {
        let like = containing(text);
        let people = user::Entity::find()
            .select_only()
            .column(user::Column::Email)
            .filter(user::Column::AccountId.eq(account.as_str()))
            .filter(Expr::col(user::Column::Email).like(like.clone()))
            .order_by_asc(user::Column::Email)
            .limit(limit);
        Ok(Named {
            devices: named!(self, device, account, like, limit)
                .map(|(id, name)| (DeviceId(id), name))
                .collect(),
            groups: named!(self, group, account, like, limit)
                .map(|(id, name)| (GroupId(id), name))
                .collect(),
            rules: named!(self, rule, account, like, limit)
                .map(|(id, name)| (RuleId(id), name))
                .collect(),
            sources: named!(self, source, account, like, limit)
                .map(|(id, name)| (SourceId(id), name))
                .collect(),
            people: people.into_tuple().all(&self.0).await?,
        })
    }
}
