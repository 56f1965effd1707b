//! Writes of imports as they are kept.

use iocast_domain::{
    id::{AccountId, ImportId, IocId},
    import::{Choice, ImportState, Undone},
    time::Timestamp,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel as _, QueryFilter,
    QuerySelect as _, QueryTrait as _, Set,
    sea_query::{Expr, Query},
};

use super::{ImportLine, ImportRecord, ReviewFilter, alive, of_review, state};
use uuid::Uuid;

use crate::{
    StoreResult, Txn,
    error::corrupt,
    row::{import, import_body, import_line, import_record, staged},
};

/// Most rows in one statement.
const ROWS: usize = 1_000;
/// Rows that are deleted in one write.
const DELETED_AT_ONCE: u64 = 5_000;
/// Pieces of bodies, a MiB each, that are deleted in one write.
const PIECES_DELETED_AT_ONCE: u64 = 8;

impl Txn {
    /// Writes down that an import began.
    pub async fn import_insert(&self, account: &AccountId, new: &ImportRecord) -> StoreResult<()> {
        let ImportRecord {
            id,
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
        } = new;
        let undone = undone
            .map(|undone| serde_json::to_string(&undone))
            .transpose()
            .map_err(|e| corrupt("import_records", "undone", e))?;
        let row = import_record::Model {
            id: id.0,
            account_id: account.to_string(),
            source_id: source_id.0,
            source_name: source_name.clone(),
            made_by: made_by.clone(),
            file_name: file_name.clone(),
            sha256: sha256.clone(),
            bytes: i64::try_from(*bytes).unwrap_or(i64::MAX),
            started_at: started_at.micros(),
            ended_at: ended_at.map(Timestamp::micros),
            state: state.code(),
            handled: i64::try_from(*handled).unwrap_or(i64::MAX),
            seq: *seq,
            request: request.clone(),
            report: report.clone(),
            error: error.clone(),
            undone,
        };
        row.into_active_model().insert(&self.0).await?;
        Ok(())
    }

    /// Writes down how far an import is.
    pub async fn import_handled(&self, id: ImportId, handled: u64) -> StoreResult<()> {
        let handled = i64::try_from(handled).unwrap_or(i64::MAX);
        import_record::Entity::update_many()
            .col_expr(import_record::Column::Handled, Expr::value(handled))
            .filter(import_record::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes down how an import ended. Gives false if it is not in state `from` any more.
    pub async fn import_settle(
        &self,
        id: ImportId,
        from: ImportState,
        to: ImportState,
        at: Timestamp,
        seq: Option<i64>,
        report: &str,
        error: Option<&str>,
    ) -> StoreResult<bool> {
        let settle = import_record::Entity::update_many()
            .col_expr(import_record::Column::State, state(to))
            .col_expr(import_record::Column::EndedAt, Expr::value(at.micros()))
            .col_expr(import_record::Column::Seq, Expr::value(seq))
            .col_expr(import_record::Column::Report, Expr::value(report))
            .col_expr(import_record::Column::Error, Expr::value(error.map(str::to_owned)))
            .filter(import_record::Column::Id.eq(id.0))
            .filter(import_record::Column::State.eq(from.code()));
        Ok(settle.exec(&self.0).await?.rows_affected > 0)
    }

    /// Moves an import to another state. Gives false if it is not in state `from`.
    pub async fn import_turn(
        &self,
        id: ImportId,
        from: ImportState,
        to: ImportState,
    ) -> StoreResult<bool> {
        let turn = import_record::Entity::update_many()
            .col_expr(import_record::Column::State, state(to))
            .filter(import_record::Column::Id.eq(id.0))
            .filter(import_record::Column::State.eq(from.code()));
        Ok(turn.exec(&self.0).await?.rows_affected > 0)
    }

    /// Moves the time of an import to the one at which it is taken, with what is asked for then.
    pub async fn import_restarted(
        &self,
        id: ImportId,
        at: Timestamp,
        request: &str,
    ) -> StoreResult<()> {
        import_record::Entity::update_many()
            .col_expr(import_record::Column::Request, Expr::value(request))
            .col_expr(import_record::Column::StartedAt, Expr::value(at.micros()))
            .filter(import_record::Column::Id.eq(id.0))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes down that an import was taken back. Gives false if it was before.
    pub async fn import_undone(&self, id: ImportId, undone: Undone) -> StoreResult<bool> {
        let undone =
            serde_json::to_string(&undone).map_err(|e| corrupt("import_records", "undone", e))?;
        let update = import_record::Entity::update_many()
            .col_expr(import_record::Column::State, state(ImportState::Undone))
            .col_expr(import_record::Column::Undone, Expr::value(undone))
            .filter(import_record::Column::Id.eq(id.0))
            .filter(import_record::Column::State.eq(ImportState::Done.code()));
        Ok(update.exec(&self.0).await?.rows_affected > 0)
    }

    /// Has imports wait for a review again that were being taken when iocast was stopped.
    pub(crate) async fn import_takes_end(&self) -> StoreResult<()> {
        let waits = Query::select()
            .column(import::Column::Id)
            .from(import::Entity)
            .and_where(import::Column::Review.eq(true))
            .take();
        import_record::Entity::update_many()
            .col_expr(import_record::Column::State, state(ImportState::Review))
            .filter(import_record::Column::State.eq(ImportState::Running.code()))
            .filter(import_record::Column::Id.in_subquery(waits))
            .exec(&self.0)
            .await?;
        Ok(())
    }

    /// Writes down how imports ended that were cut off, or waited for too long.
    pub(crate) async fn import_records_end_lapsed(&self) -> StoreResult<()> {
        for (from, to, why) in [
            (
                ImportState::Running,
                ImportState::Failed,
                Some("iocast was stopped while it read this. Nothing was written; send it again."),
            ),
            (
                ImportState::Review,
                ImportState::Discarded,
                Some("Nobody took this within 7 days. Nothing was written; send it again."),
            ),
        ] {
            import_record::Entity::update_many()
                .col_expr(import_record::Column::State, state(to))
                .col_expr(import_record::Column::Error, Expr::value(why.map(str::to_owned)))
                .filter(import_record::Column::State.eq(from.code()))
                .filter(import_record::Column::Id.not_in_subquery(alive()))
                .exec(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Keeps refused lines of an import, from number `from` on.
    pub async fn import_lines_put(
        &self,
        id: ImportId,
        from: usize,
        lines: &[ImportLine],
    ) -> StoreResult<()> {
        let rows = lines.iter().zip(from..).map(|(line, number)| {
            let ImportLine { remark, line, value, reason } = line;
            import_line::ActiveModel {
                import_id: Set(id.0),
                number: Set(i32::try_from(number).unwrap_or(i32::MAX)),
                remark: Set(*remark),
                line: Set(i64::try_from(*line).unwrap_or(i64::MAX)),
                value: Set(value.replace('\0', "\u{fffd}")),
                reason: Set(reason.replace('\0', "\u{fffd}")),
            }
        });
        let rows: Vec<_> = rows.collect();
        for chunk in rows.chunks(ROWS) {
            import_line::Entity::insert_many(chunk.to_vec())
                .exec_without_returning(&self.0)
                .await?;
        }
        Ok(())
    }

    /// Forgets some of the refused lines of an import. Gives how many.
    pub async fn import_lines_forget(&self, id: ImportId) -> StoreResult<u64> {
        let find = import_line::Entity::find()
            .select_only()
            .column(import_line::Column::Number)
            .filter(import_line::Column::ImportId.eq(id.0))
            .limit(DELETED_AT_ONCE);
        let numbers: Vec<i32> = find.into_tuple().all(&self.0).await?;
        let Some(last) = numbers.iter().max() else { return Ok(0) };
        let deleted = import_line::Entity::delete_many()
            .filter(import_line::Column::ImportId.eq(id.0))
            .filter(import_line::Column::Number.lte(*last))
            .exec(&self.0)
            .await?;
        Ok(deleted.rows_affected)
    }

    /// Keeps a piece of the body of an import that is to be reviewed.
    pub async fn import_body_put(
        &self,
        id: ImportId,
        number: i32,
        data: Vec<u8>,
    ) -> StoreResult<()> {
        let row =
            import_body::ActiveModel { import_id: Set(id.0), number: Set(number), data: Set(data) };
        import_body::Entity::insert(row).exec_without_returning(&self.0).await?;
        Ok(())
    }

    /// Forgets some pieces of the bodies of imports that wait for nobody any more. Gives how many.
    pub async fn import_bodies_forget(&self) -> StoreResult<u64> {
        let find = import_body::Entity::find()
            .select_only()
            .column(import_body::Column::ImportId)
            .column(import_body::Column::Number)
            .filter(import_body::Column::ImportId.not_in_subquery(alive()))
            .limit(PIECES_DELETED_AT_ONCE);
        let pieces: Vec<(Uuid, i32)> = find.into_tuple().all(&self.0).await?;
        let found = pieces.len() as u64;
        for piece in pieces {
            import_body::Entity::delete_by_id(piece).exec(&self.0).await?;
        }
        Ok(found)
    }

    /// Has what an import staged wait for a person until `until` (real time). Gives false if the
    /// import was ended.
    pub async fn import_review(&self, id: ImportId, until: Timestamp) -> StoreResult<bool> {
        let update = import::Entity::update_many()
            .col_expr(import::Column::Review, Expr::value(true))
            .col_expr(import::Column::AliveUntil, Expr::value(until.micros()))
            .filter(import::Column::Id.eq(id.0));
        Ok(update.exec(&self.0).await?.rows_affected > 0)
    }

    /// Leaves IOCs of a review out, or takes them in again.
    pub async fn review_select(
        &self,
        id: ImportId,
        iocs: &[IocId],
        choice: Choice,
    ) -> StoreResult<u64> {
        let mut changed = 0;
        for chunk in iocs.chunks(ROWS) {
            let update = staged::Entity::update_many()
                .col_expr(staged::Column::LeftOut, Expr::value(choice == Choice::LeaveOut))
                .filter(staged::Column::ImportId.eq(id.0))
                .filter(staged::Column::Id.is_in(chunk.iter().map(|ioc| ioc.0)));
            changed += update.exec(&self.0).await?.rows_affected;
        }
        Ok(changed)
    }

    /// The same of all that a filter finds.
    pub async fn review_select_all(
        &self,
        id: ImportId,
        filter: &ReviewFilter,
        choice: Choice,
    ) -> StoreResult<u64> {
        let found = of_review(id, filter).select_only().column(staged::Column::Id);
        let update = staged::Entity::update_many()
            .col_expr(staged::Column::LeftOut, Expr::value(choice == Choice::LeaveOut))
            .filter(staged::Column::ImportId.eq(id.0))
            .filter(staged::Column::Id.in_subquery(found.into_query()));
        Ok(update.exec(&self.0).await?.rows_affected)
    }

    /// Forgets an import.
    pub async fn import_record_forget(&self, id: ImportId) -> StoreResult<()> {
        import_record::Entity::delete_by_id(id.0).exec(&self.0).await?;
        Ok(())
    }

    /// Forgets imports that began before `before`, and have no lines left.
    pub async fn import_records_forget(&self, before: Timestamp) -> StoreResult<()> {
        import_record::Entity::delete_many()
            .filter(import_record::Column::StartedAt.lt(before.micros()))
            .exec(&self.0)
            .await?;
        Ok(())
    }
}
