//! Walks along the order in which IOCs compete for the room in a group.

use iocast_domain::{
    id::{AccountId, GroupId, IocId, SourceId},
    member::MembershipState,
    rule::Criteria,
    selection::{self, Place, value_head},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

use super::{IocPage, choosable_by, reported_by, sendable, to_row, with_sources};
use crate::{
    Conn, StoreResult, Txn,
    row::{ioc, member},
};

/// A place in the order of precedence, as the index keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// See [`iocast_domain::selection::precedence`].
    pub precedence: i64,
    /// The value, as far as it is indexed.
    pub head: String,
    /// The IOC.
    pub id: IocId,
}

impl From<&Place> for Standpoint {
    fn from(place: &Place) -> Self {
        Self {
            precedence: place.precedence,
            head: value_head(&place.value).to_owned(),
            id: place.id,
        }
    }
}

impl Standpoint {
    fn tuple(&self) -> Expr {
        Expr::tuple([
            Expr::value(self.precedence),
            Expr::value(self.head.as_str()),
            Expr::value(self.id.0),
        ])
    }
}

/// Which IOCs of an account a walk comes by.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The account.
    pub account: AccountId,
    /// Reported by this source, if any is named,
    pub source: Option<SourceId>,
    /// and by none of these.
    pub but: Vec<SourceId>,
    /// Not changed after this number.
    pub to: i64,
}

impl Walk {
    fn find(&self) -> Select<ioc::Entity> {
        let Self { account, source, but, to } = self;
        let id = || Expr::col((ioc::Entity, ioc::Column::Id));
        ioc::Entity::find()
            .filter(ioc::Column::AccountId.eq(account.as_str()))
            // As a sum no index holds it: SQLite would take the one of changes, and sort all that
            // it finds.
            .filter(Expr::col((ioc::Entity, ioc::Column::Seq)).add(0).lte(*to))
            .filter(sendable())
            .filter(Condition::all().add_option(source.map(|source| reported_by(&[source], id()))))
            .filter(
                Condition::all()
                    .add_option((!but.is_empty()).then(|| reported_by(but, id()).not())),
            )
    }
}

fn place() -> Expr {
    Expr::tuple([
        Expr::col(ioc::Column::Precedence),
        Expr::col(ioc::Column::ValueHead),
        Expr::col(ioc::Column::Id),
    ])
}

/// What the walk comes by behind a place, best first.
pub(super) fn behind(
    walk: &Walk,
    rules: &[&Criteria],
    after: Option<&Standpoint>,
) -> Select<ioc::Entity> {
    let bound = after.map(|after| place().gt(after.tuple()));
    let find = walk.find().filter(choosable_by(rules)).filter(Condition::all().add_option(bound));
    find.order_by_asc(ioc::Column::Precedence)
        .order_by_asc(ioc::Column::ValueHead)
        .order_by_asc(ioc::Column::Id)
}

/// The live members of a group before a place, the weakest first.
pub(super) fn members_before(
    walk: &Walk,
    group: GroupId,
    from: Option<&Standpoint>,
) -> Select<ioc::Entity> {
    let of_group = Query::select()
        .expr(Expr::value(1))
        .from(member::Entity)
        .and_where(Expr::col((member::Entity, member::Column::GroupId)).eq(group.0))
        .and_where(
            Expr::col((member::Entity, member::Column::IocId))
                .eq(Expr::col((ioc::Entity, ioc::Column::Id))),
        )
        .and_where(
            Expr::col((member::Entity, member::Column::Standing)).eq(MembershipState::Live.code()),
        )
        .take();
    let bound = from.map(|from| place().lt(from.tuple()));
    let find =
        walk.find().filter(Expr::exists(of_group)).filter(Condition::all().add_option(bound));
    find.order_by_desc(ioc::Column::Precedence)
        .order_by_desc(ioc::Column::ValueHead)
        .order_by_desc(ioc::Column::Id)
}

fn unplaced(account: &AccountId) -> Select<ioc::Entity> {
    ioc::Entity::find()
        .filter(ioc::Column::AccountId.eq(account.as_str()))
        .filter(ioc::Column::Precedence.is_null())
}

impl<C: ConnectionTrait> Conn<C> {
    /// The next IOCs of a walk that one of these rules may choose, as far as columns tell.
    pub async fn ioc_behind(
        &self,
        walk: &Walk,
        rules: &[&Criteria],
        after: Option<&Standpoint>,
        limit: u64,
    ) -> StoreResult<IocPage> {
        if rules.is_empty() {
            return Ok(IocPage(Vec::new()));
        }
        Ok(IocPage(with_sources(behind(walk, rules, after).limit(limit)).all(&self.0).await?))
    }

    /// The live members of a group that a walk comes by backwards, from a place on.
    pub async fn ioc_members_before(
        &self,
        walk: &Walk,
        group: GroupId,
        from: Option<&Standpoint>,
        limit: u64,
    ) -> StoreResult<IocPage> {
        Ok(IocPage(
            with_sources(members_before(walk, group, from).limit(limit)).all(&self.0).await?,
        ))
    }

    /// Whether the place of some IOC of an account is not known yet: an earlier version wrote it.
    pub async fn ioc_any_unplaced(&self, account: &AccountId) -> StoreResult<bool> {
        let find = unplaced(account).select_only().column(ioc::Column::Id).limit(1);
        Ok(find.into_tuple::<Uuid>().one(&self.0).await?.is_some())
    }
}

impl Txn {
    /// Writes the places of some IOCs that have none. Gives how many.
    pub async fn ioc_place_some(&self, account: &AccountId, limit: u64) -> StoreResult<u64> {
        // Nobody changes an IOC between reading and writing it.
        self.account_lock(account).await?;
        let rows = with_sources(unplaced(account).limit(limit)).all(&self.0).await?;
        let count = rows.len() as u64;
        for row in rows {
            let id = row.id;
            // One that can't be read is not published either: it stands behind all others.
            let precedence = to_row(row).map_or(i64::MAX, |row| selection::precedence(&row.ioc));
            let write = ioc::Entity::update_many()
                .col_expr(ioc::Column::Precedence, Expr::value(precedence))
                .filter(ioc::Column::Id.eq(id));
            write.exec(&self.0).await?;
        }
        Ok(count)
    }
}
