//! IOCs by the names that they carry: tags, threat actors, campaigns, malware families.
//!
//! What is written here may say more than holds: an import that was undone, or a tag that was taken
//! away, leaves its line. Who reads an IOC by a name looks whether it still carries it.

use std::collections::BTreeMap;

use iocast_domain::{
    id::{AccountId, IocId},
    ioc::{Enrichment, Ioc, ioc_id},
    threat_name::{NameKind, folded, name_id, names},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
    sea_query::{Expr, ExprTrait as _, OnConflict, Query},
};
use uuid::Uuid;

use crate::{
    Conn, IocFilter, IocRow, Page, PageOf, StoreError, StoreResult, Txn,
    accounts::account_id,
    error::corrupt,
    iocs::conditions,
    named::containing,
    row::{ioc, ioc_name, threat_name},
};

/// Rows in one statement.
const ROWS: usize = 2_000;
/// IOCs of a name that are looked at in one statement.
const AT_ONCE: u64 = 1_000;
/// IOCs of a name that are looked at to say whether it is still carried.
const LOOKED_AT: u64 = 100;
/// Statements of one page: what is left after them is for the next page.
const STATEMENTS: usize = 20;

/// A name that IOCs of an account carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreatName {
    /// Its id.
    pub id: Uuid,
    /// What it is.
    pub what: NameKind,
    /// As it was written first.
    pub name: String,
}

/// The statements that note which names these IOCs carry.
pub(crate) fn noted<'a>(
    backend: sea_orm::DbBackend,
    account: &AccountId,
    iocs: impl Iterator<Item = (Uuid, &'a Enrichment)>,
) -> StoreResult<Vec<Statement>> {
    let mut known: BTreeMap<Uuid, (String, NameKind, String)> = BTreeMap::new();
    let mut links: Vec<(Uuid, Uuid)> = Vec::new();
    for (ioc, enrichment) in iocs {
        for (what, name) in names(enrichment) {
            let folded = folded(name);
            let id = name_id(account, what, &folded);
            known.entry(id).or_insert_with(|| (folded, what, name.to_owned()));
            links.push((id, ioc));
        }
    }
    links.sort_unstable();
    links.dedup();
    let mut all = Vec::new();
    let known: Vec<(Uuid, (String, NameKind, String))> = known.into_iter().collect();
    for chunk in known.chunks(ROWS) {
        let mut insert = Query::insert();
        insert.into_table(threat_name::Entity).columns([
            threat_name::Column::AccountId,
            threat_name::Column::Folded,
            threat_name::Column::What,
            threat_name::Column::Id,
            threat_name::Column::Name,
        ]);
        for (id, (folded, what, name)) in chunk {
            let values: [Expr; 5] = [
                Expr::value(account.as_str()),
                Expr::value(folded.as_str()),
                Expr::value(what.code()),
                Expr::value(*id),
                Expr::value(name.as_str()),
            ];
            insert.values(values).map_err(|e| corrupt("threat_names", "columns", e))?;
        }
        let key = [
            threat_name::Column::AccountId,
            threat_name::Column::Folded,
            threat_name::Column::What,
        ];
        let once = OnConflict::columns(key).do_nothing().to_owned();
        all.push(backend.build(insert.on_conflict(once)));
    }
    for chunk in links.chunks(ROWS) {
        let mut insert = Query::insert();
        insert
            .into_table(ioc_name::Entity)
            .columns([ioc_name::Column::NameId, ioc_name::Column::IocId]);
        for (name, ioc) in chunk {
            insert
                .values([Expr::value(*name), Expr::value(*ioc)])
                .map_err(|e| corrupt("ioc_names", "columns", e))?;
        }
        let once = OnConflict::columns([ioc_name::Column::NameId, ioc_name::Column::IocId])
            .do_nothing()
            .to_owned();
        all.push(backend.build(insert.on_conflict(once)));
    }
    Ok(all)
}

impl Txn {
    /// Notes which names IOCs carry: all of a transaction at once, as names are locked in one order.
    pub(crate) async fn names_put<'a>(
        &self,
        account: &AccountId,
        iocs: impl Iterator<Item = &'a Ioc>,
    ) -> StoreResult<()> {
        let of = iocs.map(|ioc| (ioc.id.0, &ioc.enrichment));
        for statement in noted(self.0.get_database_backend(), account, of)? {
            self.0.execute_raw(statement).await?;
        }
        Ok(())
    }

    /// Notes which names IOCs carry that were there before names were noted: the next `limit` of
    /// all accounts behind `after`, by id. Gives the last one, or nothing at the end.
    pub async fn names_put_some(
        &self,
        after: Option<IocId>,
        limit: u64,
    ) -> StoreResult<Option<IocId>> {
        let mut find = ioc::Entity::find()
            .select_only()
            .columns([ioc::Column::Id, ioc::Column::AccountId, ioc::Column::Enrichment])
            .order_by_asc(ioc::Column::Id)
            .limit(limit);
        if let Some(after) = after {
            find = find.filter(ioc::Column::Id.gt(after.0));
        }
        let rows: Vec<(Uuid, String, String)> = find.into_tuple().all(&self.0).await?;
        let last = rows.last().map(|(id, ..)| IocId(*id));
        let mut of_account: BTreeMap<String, Vec<(Uuid, Enrichment)>> = BTreeMap::new();
        for (id, account, enrichment) in rows {
            let enrichment =
                serde_json::from_str(&enrichment).map_err(|e| corrupt("iocs", "enrichment", e))?;
            of_account.entry(account).or_default().push((id, enrichment));
        }
        for (account, iocs) in of_account {
            let account = account_id("iocs", account)?;
            let each = iocs.iter().map(|(id, enrichment)| (*id, enrichment));
            for statement in noted(self.0.get_database_backend(), &account, each)? {
                self.0.execute_raw(statement).await?;
            }
        }
        Ok(last)
    }
}

impl<C: ConnectionTrait> Conn<C> {
    /// Names of an account that contain a text, ignoring case: those that begin so first.
    pub async fn threat_names(
        &self,
        account: &AccountId,
        text: &str,
        limit: u64,
    ) -> StoreResult<Vec<ThreatName>> {
        let begin = folded(text);
        let find = || {
            threat_name::Entity::find()
                .filter(threat_name::Column::AccountId.eq(account.as_str()))
                .order_by_asc(threat_name::Column::Folded)
        };
        let mut rows = find()
            .filter(threat_name::Column::Folded.gte(begin.as_str()))
            .filter(threat_name::Column::Folded.lt(format!("{begin}\u{10ffff}")))
            .limit(limit)
            .all(&self.0)
            .await?;
        let left = limit - rows.len() as u64;
        if left > 0 {
            let known: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            let within = find()
                .filter(Expr::col(threat_name::Column::Folded).like(containing(text)))
                .filter(threat_name::Column::Id.is_not_in(known))
                .limit(left);
            rows.extend(within.all(&self.0).await?);
        }
        rows.into_iter().map(to_name).collect()
    }

    /// Whether an IOC of an account still carries a name, as far as a few tell.
    pub async fn name_is_carried(
        &self,
        account: &AccountId,
        name: &ThreatName,
    ) -> StoreResult<bool> {
        let find = ioc_name::Entity::find()
            .select_only()
            .column(ioc_name::Column::IocId)
            .filter(ioc_name::Column::NameId.eq(name.id))
            .order_by_asc(ioc_name::Column::IocId)
            .limit(LOOKED_AT);
        let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
        let all: Vec<IocId> = ids.iter().copied().map(IocId).collect();
        let rows = self.ioc_fetch_many(&all).await?;
        let is_shown = |row: &IocRow| {
            !row.deleted && row.ioc.id == ioc_id(account, row.ioc.kind, &row.ioc.value)
        };
        let wanted = folded(&name.name);
        Ok(ids.len() as u64 == LOOKED_AT
            || rows.values().any(|row| is_shown(row) && carries(row, name.what, &wanted)))
    }

    /// A name of an account.
    pub async fn threat_name(
        &self,
        account: &AccountId,
        id: Uuid,
    ) -> StoreResult<Option<ThreatName>> {
        threat_name::Entity::find()
            .filter(threat_name::Column::AccountId.eq(account.as_str()))
            .filter(threat_name::Column::Id.eq(id))
            .one(&self.0)
            .await?
            .map(to_name)
            .transpose()
    }

    /// A page of the account's IOCs that carry a name, by id.
    pub async fn ioc_list_named(
        &self,
        account: &AccountId,
        name: &ThreatName,
        filter: &IocFilter,
        page: &Page,
    ) -> StoreResult<PageOf<IocRow>> {
        let cursor = page.after.as_deref().map(str::parse::<Uuid>).transpose();
        let mut after = cursor.map_err(|_invalid| StoreError::Cursor)?;
        let wanted = folded(&name.name);
        let mut items: Vec<IocRow> = Vec::new();
        for _ in 0..STATEMENTS {
            let mut find = ioc_name::Entity::find()
                .select_only()
                .column(ioc_name::Column::IocId)
                .filter(ioc_name::Column::NameId.eq(name.id))
                .order_by_asc(ioc_name::Column::IocId)
                .limit(AT_ONCE);
            if let Some(after) = after {
                find = find.filter(ioc_name::Column::IocId.gt(after));
            }
            let ids: Vec<Uuid> = find.into_tuple().all(&self.0).await?;
            let Some(last) = ids.last().copied() else { return Ok(PageOf { items, next: None }) };
            let fitting: Vec<Uuid> = ioc::Entity::find()
                .select_only()
                .column(ioc::Column::Id)
                .filter(ioc::Column::AccountId.eq(account.as_str()))
                .filter(ioc::Column::Id.is_in(ids.iter().copied()))
                .filter(conditions(filter))
                .order_by_asc(ioc::Column::Id)
                .into_tuple()
                .all(&self.0)
                .await?;
            for chunk in fitting.chunks(100) {
                let ids: Vec<IocId> = chunk.iter().copied().map(IocId).collect();
                let mut rows = self.ioc_fetch_many(&ids).await?;
                for id in ids {
                    items.extend(rows.remove(&id).filter(|row| carries(row, name.what, &wanted)));
                    if items.len() as u64 == page.limit {
                        return Ok(PageOf { items, next: Some(id.to_string()) });
                    }
                }
            }
            after = Some(last);
            if (ids.len() as u64) < AT_ONCE {
                return Ok(PageOf { items, next: None });
            }
        }
        Ok(PageOf { items, next: after.map(|id| id.to_string()) })
    }
}

fn carries(row: &IocRow, what: NameKind, wanted: &str) -> bool {
    names(&row.ioc.enrichment).any(|(of, name)| of == what && folded(name) == wanted)
}

fn to_name(row: threat_name::Model) -> StoreResult<ThreatName> {
    let threat_name::Model { account_id: _, folded: _, what, id, name } = row;
    let what = NameKind::from_code(what).ok_or_else(|| corrupt("threat_names", "what", what))?;
    Ok(ThreatName { id, what, name })
}
