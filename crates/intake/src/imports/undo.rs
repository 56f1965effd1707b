//! An import is taken back: the reports that it made, and that nothing touched since, are removed.
//! It is an import the other way round: staged in small writes, made seen under one change number,
//! so that the guard against shrinking sees all of it.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    id::{ImportId, IocId},
    import::{ImportState, Undone},
    ioc::{Change, State},
};
use iocast_store::{ImportRecord, IocRow, Staged};
use uuid::Uuid;

use crate::{Actor, AppError, AppResult, Intake};

/// IOCs that are read and staged together.
const BATCH: u64 = 2_000;
/// IOCs that are listed.
const LISTED: usize = 1_000;

/// What taking an import back does, or would do.
#[derive(Clone, Debug, Default)]
pub struct UndoPlan {
    /// In figures.
    pub undone: Undone,
    /// The first thousand of those that others report too, and that keep what the import added.
    pub shared: Vec<String>,
}

/// What becomes of one IOC.
enum Fate {
    /// Nobody reports it any more.
    Removed,
    /// Others report it, too.
    Shared,
    /// The source had reported it before.
    Known,
}

impl Intake {
    /// What [`Self::import_undo`] would do.
    ///
    /// # Errors
    /// If the import was not taken, or was taken back.
    pub async fn import_undo_plan(&self, actor: &Actor, id: ImportId) -> AppResult<UndoPlan> {
        actor.may_read(Module::Tip)?;
        let (record, seq) = self.undoable(actor, id).await?;
        self.undo_walk(actor, &record, seq, None).await
    }

    /// Takes an import back: removes the reports that it made and nothing touched since. An IOC
    /// that nobody else reports leaves the groups, as a loss that the guard against shrinking
    /// counts.
    ///
    /// # Errors
    /// If the import was not taken, or was taken back.
    pub async fn import_undo(self: &Arc<Self>, actor: &Actor, id: ImportId) -> AppResult<UndoPlan> {
        actor.may_change(Module::Tip)?;
        let (record, seq) = self.undoable(actor, id).await?;
        let stage = self.context.entropy.uuid();
        let txn = self.context.store.write().await?;
        txn.import_begin(stage, &actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        let done = self.undo_staged(actor, &record, seq, stage).await;
        if done.is_err() {
            let txn = self.context.store.write().await?;
            txn.import_end(stage).await?;
            txn.commit().await?;
        }
        self.context.changed.notify_one();
        self.clear_in_background(stage);
        done
    }

    async fn undo_staged(
        &self,
        actor: &Actor,
        record: &ImportRecord,
        seq: i64,
        stage: Uuid,
    ) -> AppResult<UndoPlan> {
        let mut plan = self.undo_walk(actor, record, seq, Some(stage)).await?;
        let account = &actor.account_id;
        let txn = self.context.store.write().await?;
        // From here on nobody changes an IOC.
        let number = txn.account_next_seq(account, || self.context.now()).await?;
        let overtaken = txn.stage_overtaken(stage, account, seq).await?;
        if !overtaken.is_empty() {
            // Counted again without those that somebody changed a moment ago.
            let among = txn.stage_fetch_many(stage, &overtaken).await?;
            for staged in among.values() {
                match staged.ioc.enrichment.reports.is_empty() {
                    true => plan.undone.removed -= 1,
                    false => plan.undone.shared -= 1,
                }
            }
            plan.undone.changed += overtaken.len() as u64;
            txn.stage_take_off(stage, &overtaken).await?;
        }
        let rows = plan.undone.removed + plan.undone.shared;
        txn.promote_undo(stage, account, record.source_id, number, rows).await?;
        if !txn.import_undone(record.id, plan.undone).await? {
            return Err(not_undoable(record.state));
        }
        let detail = serde_json::json!({
            "source": record.source_name,
            "file": record.file_name,
            "removed": plan.undone.removed,
            "shared": plan.undone.shared,
            "known": plan.undone.known,
            "changed": plan.undone.changed,
        });
        self.context.audit(&txn, actor, "import.undo", &record.id, &detail).await?;
        txn.commit().await?;
        Ok(plan)
    }

    /// Looks at every IOC that was last changed by the import, and lays those that change on the
    /// stage, if there is one.
    async fn undo_walk(
        &self,
        actor: &Actor,
        record: &ImportRecord,
        seq: i64,
        stage: Option<Uuid>,
    ) -> AppResult<UndoPlan> {
        let mut plan = UndoPlan::default();
        let mut after: Option<(i64, IocId)> = None;
        loop {
            let rows = self
                .context
                .store
                .read()
                .ioc_changed(&actor.account_id, seq - 1, seq, after, BATCH)
                .await?;
            let Some(last) = rows.last() else { break };
            after = Some((last.seq, last.ioc.id));
            let mut staged = Vec::new();
            for mut row in rows {
                match taken_back(&mut row, record) {
                    Fate::Known => {
                        plan.undone.known += 1;
                        continue;
                    }
                    Fate::Removed => plan.undone.removed += 1,
                    Fate::Shared => {
                        plan.undone.shared += 1;
                        if plan.shared.len() < LISTED {
                            plan.shared.push(row.ioc.value.clone());
                        }
                    }
                }
                let IocRow { ioc, created_at, .. } = row;
                staged.push(Staged { ioc, created_at, change: Change::Updated });
            }
            if let Some(stage) = stage {
                let write = self.context.store.stage_write(stage, &staged)?;
                let txn = self.context.store.write().await?;
                txn.stage_put_many(stage, write, self.alive_until()).await?;
                txn.commit().await?;
            }
        }
        let Undone { removed, shared, known, changed: _ } = plan.undone;
        let report: super::ImportReport = super::kept::parsed(&record.report)?;
        // Those that were merely there already were not written at all.
        let written = report.accepted + report.updated;
        plan.undone.changed = written.saturating_sub(removed + shared + known);
        Ok(plan)
    }

    /// The import, and the change number under which it was made seen.
    async fn undoable(&self, actor: &Actor, id: ImportId) -> AppResult<(ImportRecord, i64)> {
        let found = self.context.store.read().import_fetch(&actor.account_id, id).await?;
        let record = found.ok_or(AppError::NotFound("import"))?;
        match (record.state, record.seq) {
            (ImportState::Done, Some(seq)) => Ok((record, seq)),
            (state, _) => Err(not_undoable(state)),
        }
    }
}

/// Takes the report of the import out of an IOC.
fn taken_back(row: &mut IocRow, record: &ImportRecord) -> Fate {
    let reports = &mut row.ioc.enrichment.reports;
    let before = reports.len();
    reports.retain(|report| {
        report.source_id != record.source_id || report.first_at != record.started_at.micros()
    });
    match reports.len() {
        0 if before > 0 => {
            row.ioc.state = State::Retired;
            Fate::Removed
        }
        after if after < before => Fate::Shared,
        _ => Fate::Known,
    }
}

fn not_undoable(state: ImportState) -> AppError {
    let detail = match state {
        ImportState::Undone => "This import was undone before.",
        ImportState::Running => "This import is still being read; stop it instead.",
        ImportState::Review => "This import was not taken yet; throw it away instead.",
        _ => "Nothing of this import was written, so there is nothing to undo.",
    };
    AppError::Conflict { code: "not_undoable", detail: detail.to_owned() }
}
