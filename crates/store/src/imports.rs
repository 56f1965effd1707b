//! Imports as they are kept: who brought what in, what was refused, and what waits for a person.

use iocast_domain::{
    id::{AccountId, ImportId, IocId, SourceId},
    import::{ImportState, Undone},
    ioc::{Change, Ioc},
    time::Timestamp,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait as _, PaginatorTrait as _, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, Query},
};

use crate::{
    Conn, Page, PageOf, StoreResult,
    error::corrupt,
    page::cursor,
    row::{import, import_body, import_line, import_record, staged},
    stage::{change_of, staged_ioc},
};

mod write;

/// An import.
#[derive(Clone, Debug)]
pub struct ImportRecord {
    /// Its id.
    pub id: ImportId,
    /// The source it went into.
    pub source_id: SourceId,
    /// What the source was called.
    pub source_name: String,
    /// By whom: an e-mail address, or what did it.
    pub made_by: String,
    /// The file's name, where it had one.
    pub file_name: Option<String>,
    /// The SHA-256 hash of the body, in hexadecimal.
    pub sha256: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// When it began; its reports bear this time.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What became of it.
    pub state: ImportState,
    /// How many things were met so far.
    pub handled: u64,
    /// The account's change number under which its IOCs became visible.
    pub seq: Option<i64>,
    /// What was asked for, as JSON.
    pub request: String,
    /// What it did, as JSON.
    pub report: String,
    /// Why it failed.
    pub error: Option<String>,
    /// What taking it back did.
    pub undone: Option<Undone>,
}

/// A line that was refused, or a field that was left out.
#[derive(Clone, Debug)]
pub struct ImportLine {
    /// The IOC was taken, without a field.
    pub remark: bool,
    /// Line in a text, or place in a list.
    pub line: u64,
    /// The value, clipped.
    pub value: String,
    /// Why.
    pub reason: String,
}

/// Which imports.
#[derive(Clone, Debug, Default)]
pub struct ImportFilter {
    /// Into this source.
    pub source: Option<SourceId>,
    /// In this state.
    pub state: Option<ImportState>,
}

/// Which IOCs of an import in review.
#[derive(Clone, Debug, Default)]
pub struct ReviewFilter {
    /// What the import would do to them.
    pub change: Option<Change>,
    /// Only those that are left out, or only those that are not.
    pub left_out: Option<bool>,
    /// What their value begins with.
    pub prefix: Option<String>,
}

/// An IOC of an import in review.
#[derive(Clone, Debug)]
pub struct ReviewRow {
    /// As it would be.
    pub ioc: Ioc,
    /// What the import would do to it.
    pub change: Change,
    /// A person unselected it.
    pub left_out: bool,
}

fn to_record(row: import_record::Model) -> StoreResult<ImportRecord> {
    let import_record::Model {
        id,
        account_id: _,
        source_id,
        source_name,
        made_by,
        file_name,
        sha256,
        bytes,
        started_at,
        ended_at,
        state,
        handled,
        seq,
        request,
        report,
        error,
        undone,
    } = row;
    let undone = undone
        .map(|text| serde_json::from_str(&text).map_err(|e| corrupt("import_records", "undone", e)))
        .transpose()?;
    Ok(ImportRecord {
        id: ImportId(id),
        source_id: SourceId(source_id),
        source_name,
        made_by,
        file_name,
        sha256,
        bytes: u64::try_from(bytes).unwrap_or_default(),
        started_at: Timestamp::from_micros(started_at),
        ended_at: ended_at.map(Timestamp::from_micros),
        state: ImportState::from_code(state)
            .ok_or_else(|| corrupt("import_records", "state", state))?,
        handled: u64::try_from(handled).unwrap_or_default(),
        seq,
        request,
        report,
        error,
        undone,
    })
}

fn of_review(id: ImportId, filter: &ReviewFilter) -> sea_orm::Select<staged::Entity> {
    let ReviewFilter { change, left_out, prefix } = filter;
    let mut find = staged::Entity::find().filter(staged::Column::ImportId.eq(id.0));
    if let Some(change) = change {
        find = find.filter(staged::Column::Change.eq(crate::stage::code(*change)));
    }
    if let Some(left_out) = left_out {
        find = find.filter(staged::Column::LeftOut.eq(*left_out));
    }
    if let Some(prefix) = prefix {
        // Compared as text, not as a pattern.
        find = find.filter(
            staged::Column::Value
                .gte(prefix.as_str())
                .and(staged::Column::Value.lt(format!("{prefix}\u{10ffff}"))),
        );
    }
    find
}

impl<C: ConnectionTrait> Conn<C> {
    /// The imports of an account, newest first.
    pub async fn import_list(
        &self,
        account: &AccountId,
        filter: &ImportFilter,
        page: &Page,
    ) -> StoreResult<PageOf<ImportRecord>> {
        use import_record::Column;
        let mut find = import_record::Entity::find().filter(Column::AccountId.eq(account.as_str()));
        if let Some(source) = filter.source {
            find = find.filter(Column::SourceId.eq(source.0));
        }
        if let Some(state) = filter.state {
            find = find.filter(Column::State.eq(state.code()));
        }
        if let Some((at, id)) = page.after.as_deref().map(cursor).transpose()? {
            let same = Column::StartedAt.eq(at).and(Column::Id.lt(id));
            find = find.filter(Column::StartedAt.lt(at).or(same));
        }
        let rows = find
            .order_by_desc(Column::StartedAt)
            .order_by_desc(Column::Id)
            .limit(page.limit + 1)
            .all(&self.0)
            .await?;
        let rows = rows.into_iter().map(to_record).collect::<StoreResult<Vec<_>>>()?;
        Ok(PageOf::cut(rows, page.limit, |r| format!("{}.{}", r.started_at.micros(), r.id)))
    }

    /// One import of an account.
    pub async fn import_fetch(
        &self,
        account: &AccountId,
        id: ImportId,
    ) -> StoreResult<Option<ImportRecord>> {
        import_record::Entity::find_by_id(id.0)
            .filter(import_record::Column::AccountId.eq(account.as_str()))
            .one(&self.0)
            .await?
            .map(to_record)
            .transpose()
    }

    /// When the latest import of an account began.
    pub async fn import_latest(&self, account: &AccountId) -> StoreResult<Option<Timestamp>> {
        let find = import_record::Entity::find()
            .select_only()
            .column(import_record::Column::StartedAt)
            .filter(import_record::Column::AccountId.eq(account.as_str()))
            .order_by_desc(import_record::Column::StartedAt)
            .limit(1);
        Ok(find.into_tuple().one(&self.0).await?.map(Timestamp::from_micros))
    }

    /// The refused lines of an import, in order, from number `from` on.
    pub async fn import_lines(
        &self,
        id: ImportId,
        from: u64,
        limit: u64,
    ) -> StoreResult<Vec<ImportLine>> {
        let rows = import_line::Entity::find()
            .filter(import_line::Column::ImportId.eq(id.0))
            .filter(import_line::Column::Number.gte(i32::try_from(from).unwrap_or(i32::MAX)))
            .order_by_asc(import_line::Column::Number)
            .limit(limit)
            .all(&self.0)
            .await?;
        let line = |row: import_line::Model| {
            let import_line::Model { import_id: _, number: _, remark, line, value, reason } = row;
            ImportLine { remark, line: u64::try_from(line).unwrap_or_default(), value, reason }
        };
        Ok(rows.into_iter().map(line).collect())
    }

    /// A page of the IOCs of an import in review, by value.
    pub async fn review_rows(
        &self,
        id: ImportId,
        filter: &ReviewFilter,
        offset: u64,
        limit: u64,
    ) -> StoreResult<Vec<ReviewRow>> {
        let rows = of_review(id, filter)
            .order_by_asc(staged::Column::Value)
            .order_by_asc(staged::Column::Id)
            // More than any review holds; the engines take no larger number.
            .offset(Ord::min(offset, 1 << 40))
            .limit(limit)
            .all(&self.0)
            .await?;
        let row = |row: staged::Model| {
            let (change, left_out) = (change_of(row.change)?, row.left_out);
            Ok(ReviewRow { ioc: staged_ioc(row)?, change, left_out })
        };
        rows.into_iter().map(row).collect()
    }

    /// How many IOCs of an import in review there are of these.
    pub async fn review_count(&self, id: ImportId, filter: &ReviewFilter) -> StoreResult<u64> {
        Ok(of_review(id, filter).count(&self.0).await?)
    }

    /// Those that a person unselected.
    pub async fn review_left_out(&self, id: ImportId) -> StoreResult<Vec<IocId>> {
        let filter = ReviewFilter { left_out: Some(true), ..ReviewFilter::default() };
        let ids = of_review(id, &filter).select_only().column(staged::Column::Id);
        Ok(ids.into_tuple().all(&self.0).await?.into_iter().map(IocId).collect())
    }

    /// A piece of the body of an import in review.
    pub async fn import_body(&self, id: ImportId, number: i32) -> StoreResult<Option<Vec<u8>>> {
        let row = import_body::Entity::find_by_id((id.0, number)).one(&self.0).await?;
        Ok(row.map(|row| row.data))
    }

    /// Imports that began before `before` and whose lines or bodies are still kept, some at a time.
    pub async fn import_with_lines(&self, before: Timestamp) -> StoreResult<Option<ImportId>> {
        let old = Query::select()
            .column(import_record::Column::Id)
            .from(import_record::Entity)
            .and_where(import_record::Column::StartedAt.lt(before.micros()))
            .take();
        let find = import_line::Entity::find()
            .select_only()
            .column(import_line::Column::ImportId)
            .filter(import_line::Column::ImportId.in_subquery(old))
            .limit(1);
        Ok(find.into_tuple().one(&self.0).await?.map(ImportId))
    }
}

/// Imports that somebody is at, or that wait for a person.
fn alive() -> sea_orm::sea_query::SelectStatement {
    Query::select().column(import::Column::Id).from(import::Entity).take()
}

/// The column of a state.
fn state(state: ImportState) -> sea_orm::sea_query::SimpleExpr {
    Expr::value(state.code())
}
