//! An import is taken back: the reports that it made, and that nothing touched since, are removed.
//! It is an import the other way round: staged in small writes, made seen under one change number,
//! so that the guard against shrinking sees all of it.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    id::{AccountId, ImportId, IocId},
    import::{ImportState, Undone},
    ioc::{Change, Report, State},
};
use iocast_store::{ImportRecord, IocRow, Staged};
use uuid::Uuid;

use super::{
    ImportReport,
    kept::{Asked, parsed},
};
use crate::{Actor, AppError, AppResult, Intake};

/// IOCs that are read and staged together.
const BATCH: u64 = 2_000;
/// Who makes the imports of a subscription.
const BY_SUBSCRIPTION: &str = "subscription";
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
    /// The source said more of it since, or a person decided something about it.
    Changed,
    /// It rests on no report of the import.
    Other,
}

impl Intake {
    /// What [`Self::import_undo`] would do.
    ///
    /// # Errors
    /// If the import was not taken, or was taken back.
    pub async fn import_undo_plan(&self, actor: &Actor, id: ImportId) -> AppResult<UndoPlan> {
        actor.may_read(Module::Tip)?;
        let record = self.undoable(actor, id).await?;
        self.undo_walk(&actor.account_id, &record, None).await
    }

    /// Takes an import back: removes the reports that it made and nothing touched since. An IOC
    /// that nobody else reports leaves the groups, as a loss that the guard against shrinking
    /// counts.
    ///
    /// # Errors
    /// If the import was not taken, or was taken back.
    pub async fn import_undo(self: &Arc<Self>, actor: &Actor, id: ImportId) -> AppResult<UndoPlan> {
        actor.may_change(Module::Tip)?;
        let record = self.undoable(actor, id).await?;
        let stage = self.context.entropy.uuid();
        let txn = self.context.store.write().await?;
        txn.import_begin(stage, &actor.account_id, self.alive_until()).await?;
        txn.commit().await?;
        let done = self.undo_staged(actor, &record, stage).await;
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
        stage: Uuid,
    ) -> AppResult<UndoPlan> {
        let account = &actor.account_id;
        let seen = self.context.store.read().account_seq(account).await?;
        let mut plan = self.undo_walk(account, record, Some(stage)).await?;
        let txn = self.context.store.write().await?;
        // From here on nobody changes an IOC.
        let number = txn.account_next_seq(account, || self.context.now()).await?;
        let overtaken = txn.stage_overtaken(stage, account, seen).await?;
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
        // The next fetch would bring it again.
        if let Some(mut of) = txn.subscription_fetch(record.source_id).await?
            && record.made_by == BY_SUBSCRIPTION
        {
            of.paused = true;
            of.progress = of.progress.started_over();
            txn.subscription_forget_list(record.source_id).await?;
            txn.subscription_put(account, &of).await?;
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

    /// Looks at every IOC of the source, and lays those of which the import made the only report of
    /// the source on the stage, if there is one.
    async fn undo_walk(
        &self,
        account: &AccountId,
        record: &ImportRecord,
        stage: Option<Uuid>,
    ) -> AppResult<UndoPlan> {
        let asked: Asked = parsed(&record.request)?;
        let mut plan = UndoPlan::default();
        let mut after: Option<Uuid> = None;
        loop {
            let read = self.context.store.read();
            let ids = read.source_ioc_ids(record.source_id, after, BATCH).await?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            let ids: Vec<IocId> = ids.into_iter().map(IocId).collect();
            let mut staged = Vec::new();
            for mut row in read.ioc_fetch_many(&ids).await?.into_values() {
                match taken_back(&mut row, record, &asked) {
                    Fate::Other => continue,
                    Fate::Changed => {
                        plan.undone.changed += 1;
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
                let write = self.context.store.stage_write(account, stage, &staged)?;
                let txn = self.context.store.write().await?;
                txn.stage_put_many(stage, write, self.alive_until()).await?;
                txn.commit().await?;
            }
        }
        plan.shared.sort_unstable();
        let Undone { removed, shared, known: _, changed } = plan.undone;
        let report: ImportReport = parsed(&record.report)?;
        let all = report.accepted + report.updated + report.unchanged;
        plan.undone.known = all.saturating_sub(removed + shared + changed);
        Ok(plan)
    }

    /// The import, if it can be undone.
    async fn undoable(&self, actor: &Actor, id: ImportId) -> AppResult<ImportRecord> {
        let found = self.context.store.read().import_fetch(&actor.account_id, id).await?;
        let record = found.ok_or(AppError::NotFound("import"))?;
        if record.state == ImportState::Done { Ok(record) } else { Err(not_undoable(record.state)) }
    }
}

/// Takes the report of the import out of an IOC, if that is the only one of its source, and nobody
/// decided anything about it.
fn taken_back(row: &mut IocRow, record: &ImportRecord, asked: &Asked) -> Fate {
    let began = record.started_at.micros();
    let of_import =
        |report: &Report| report.source_id == record.source_id && report.first_at == began;
    let Some(report) = row.ioc.enrichment.reports.iter().find(|report| of_import(report)) else {
        return Fate::Other;
    };
    if row.deleted || report.reported_at != began || row.ioc.is_decided() || asked.tagged(&row.ioc)
    {
        return Fate::Changed;
    }
    row.ioc.enrichment.reports.retain(|report| !of_import(report));
    if row.ioc.enrichment.reports.is_empty() {
        row.ioc.state = State::Retired;
        return Fate::Removed;
    }
    Fate::Shared
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
