//! Sources of IOCs.

use std::sync::Arc;

use iocast_domain::{
    account::Module,
    id::{AccountId, IocId, SourceId},
    problem::FieldError,
    source::{Confidence, Source, SourceKind, SourceLimits, parse_source_name},
    time::clip,
};
use iocast_store::Txn;

use crate::{Actor, AppError, AppResult, Fields, Intake, taken};

/// IOCs of a source that are marked as changed one by one; beyond that, groups look at everything.
const MARKED_AT_MOST: u64 = 10_000;
/// Links of a deleted source that are deleted in one write.
const UNLINKED_AT_ONCE: u64 = 10_000;

/// A source to be made.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// At most 100 characters.
    pub name: String,
    /// 1 to 3.
    pub confidence: i64,
    /// Switched on?
    pub enabled: bool,
    /// What brings its IOCs.
    pub kind: SourceKind,
    /// What it is about.
    pub description: String,
    /// What it may claim, and for how long its IOCs stay.
    pub limits: SourceLimits,
}

impl NewSource {
    /// A feed that is on.
    #[must_use]
    pub fn feed(name: String, confidence: i64) -> Self {
        Self {
            name,
            confidence,
            enabled: true,
            kind: SourceKind::Feed,
            description: String::new(),
            limits: SourceLimits::default(),
        }
    }
}

/// What may be changed of a source.
#[derive(Clone, Debug, Default)]
pub struct SourcePatch {
    /// New name.
    pub name: Option<String>,
    /// New confidence, for reports from now on.
    pub confidence: Option<i64>,
    /// On or off.
    pub enabled: Option<bool>,
    /// What it may claim, and for how long its IOCs stay, for reports from now on.
    pub limits: Option<SourceLimits>,
}

fn confidence(level: i64) -> Result<Confidence, FieldError> {
    let wrong = || {
        FieldError::new(
            "confidence",
            "confidence_out_of_range",
            "Give a confidence of 1 (low), 2 (medium) or 3 (high).",
        )
    };
    u8::try_from(level).ok().and_then(|l| Confidence::try_from(l).ok()).ok_or_else(wrong)
}

impl Intake {
    /// Makes a source.
    ///
    /// # Errors
    /// If a field breaks a rule.
    pub async fn source_create(&self, actor: &Actor, new: NewSource) -> AppResult<Source> {
        actor.may_change(Module::Tip)?;
        let mut fields = Fields::default();
        let name = fields.take(parse_source_name(&new.name));
        let level = fields.take(confidence(new.confidence));
        let limits = fields.take(new.limits.checked());
        fields.done()?;
        let (Some(name), Some(confidence), Some(limits)) = (name, level, limits) else {
            return Err(AppError::Invalid(Vec::new()));
        };
        let source = Source {
            id: SourceId::random(&*self.context.entropy),
            name,
            confidence,
            enabled: new.enabled,
            created_at: self.context.now(),
            kind: new.kind,
            description: clip(&new.description, 2_000),
            limits,
        };
        let txn = self.context.store.write().await?;
        txn.source_insert(&actor.account_id, &source)
            .await
            .map_err(|e| taken(e, "name", "a source"))?;
        self.context.audit(&txn, actor, "source.create", &source.id, &shown(&source)).await?;
        self.context.idempotency_effect(&txn, actor, &source.id).await?;
        txn.commit().await?;
        Ok(source)
    }

    /// The source of this name, made where it is not there (for imports from the shell).
    ///
    /// # Errors
    /// If the name is not valid.
    pub async fn source_named(
        &self,
        actor: &Actor,
        name: &str,
        confidence: i64,
    ) -> AppResult<Source> {
        let wanted = parse_source_name(name)?.to_lowercase();
        let there = self
            .context
            .store
            .read()
            .source_list(&actor.account_id)
            .await?
            .into_iter()
            .find(|s| s.name.to_lowercase() == wanted);
        match there {
            Some(source) => Ok(source),
            None => self.source_create(actor, NewSource::feed(name.to_owned(), confidence)).await,
        }
    }

    /// The sources of the account, by name.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn source_list(&self, actor: &Actor) -> AppResult<Vec<Source>> {
        actor.may_read(Module::Tip)?;
        Ok(self.context.store.read().source_list(&actor.account_id).await?)
    }

    /// How many IOCs a source reported.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn source_ioc_count(&self, actor: &Actor, id: SourceId) -> AppResult<u64> {
        self.source_fetch(actor, id).await?;
        Ok(self.context.store.read().source_ioc_count(id).await?)
    }

    /// One source.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn source_fetch(&self, actor: &Actor, id: SourceId) -> AppResult<Source> {
        actor.may_read(Module::Tip)?;
        self.context
            .store
            .read()
            .source_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("source"))
    }

    /// Changes a source. Switched off, its reports don't count: IOCs that nobody else reported
    /// leave the groups.
    ///
    /// # Errors
    /// If it is not there, or a field breaks a rule.
    pub async fn source_update(
        &self,
        actor: &Actor,
        id: SourceId,
        patch: SourcePatch,
    ) -> AppResult<Source> {
        actor.may_change(Module::Tip)?;
        let SourcePatch { name, confidence: level, enabled, limits } = patch;
        let txn = self.context.store.write().await?;
        // Nobody changes it between reading and writing.
        txn.account_lock(&actor.account_id).await?;
        let before =
            txn.source_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("source"))?;
        let mut after = before.clone();
        let mut fields = Fields::default();
        if let Some(name) = name.and_then(|n| fields.take(parse_source_name(&n))) {
            after.name = name;
        }
        if let Some(level) = level.and_then(|l| fields.take(confidence(l))) {
            after.confidence = level;
        }
        if let Some(limits) = limits.and_then(|of| fields.take(of.checked())) {
            after.limits = limits;
        }
        after.enabled = enabled.unwrap_or(before.enabled);
        fields.done()?;
        txn.source_update(&actor.account_id, &after)
            .await
            .map_err(|e| taken(e, "name", "a source"))?;
        if (after.confidence != before.confidence || after.limits != before.limits)
            && let Some(mut of) = txn.subscription_fetch(id).await?
        {
            // Its reports are renewed at the next fetch.
            of.progress.forget_body();
            txn.subscription_sections_stale(id).await?;
            of.progress.next_at = self.context.now();
            txn.subscription_put(&actor.account_id, &of).await?;
        }
        if after.enabled != before.enabled || after.name != before.name {
            self.source_weighs_otherwise(&txn, &actor.account_id, id).await?;
        }
        self.context
            .audit(
                &txn,
                actor,
                "source.update",
                &id,
                &serde_json::json!({ "before": shown(&before), "after": shown(&after) }),
            )
            .await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(after)
    }

    /// Deletes a source. Its IOCs stay, but a report of it counts no more.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn source_delete(self: &Arc<Self>, actor: &Actor, id: SourceId) -> AppResult<()> {
        actor.may_change(Module::Tip)?;
        let txn = self.context.store.write().await?;
        let source =
            txn.source_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("source"))?;
        self.source_weighs_otherwise(&txn, &actor.account_id, id).await?;
        txn.source_delete(&actor.account_id, id).await?;
        txn.subscription_delete(id).await?;
        self.context.audit(&txn, actor, "source.delete", &id, &shown(&source)).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        let (intake, account) = (Arc::clone(self), actor.account_id.clone());
        self.context.in_background(async move {
            if let Err(error) = intake.source_unlink(id, Some(&account)).await {
                tracing::warn!(source.id = %id, error = &error as &dyn std::error::Error, "The links of source {id}, which was deleted, could not be deleted; it is tried again within the hour");
            }
        });
        Ok(())
    }

    /// Has groups look again at what a source reports: at its IOCs, or, where they are very many,
    /// at everything. Each IOC would be written for that, and nobody else could write until the
    /// last one was; and in pieces, the loss of each would pass the guard against shrinking.
    async fn source_weighs_otherwise(
        &self,
        txn: &Txn,
        account: &AccountId,
        id: SourceId,
    ) -> AppResult<()> {
        if txn.source_ioc_ids(id, None, MARKED_AT_MOST + 1).await?.len() as u64 > MARKED_AT_MOST {
            return Ok(txn.group_reconfigure_account(account).await?);
        }
        let seq = txn.account_next_seq(account, || self.context.now()).await?;
        Ok(txn.source_touch_iocs(account, id, seq).await?)
    }

    /// Deletes the links of a deleted source, some at a time. What it said of lifetimes counts no
    /// more.
    async fn source_unlink(&self, id: SourceId, account: Option<&AccountId>) -> AppResult<()> {
        loop {
            let ids = match account {
                Some(_) => {
                    let read = self.context.store.read();
                    read.source_ioc_ids(id, None, UNLINKED_AT_ONCE).await?
                }
                None => Vec::new(),
            };
            let txn = self.context.store.write().await?;
            if let Some(account) = account {
                self.lifetimes_forget(&txn, account, id, ids).await?;
            }
            let deleted = txn.source_unlink_some(id, UNLINKED_AT_ONCE).await?;
            txn.commit().await?;
            if deleted == 0 || self.context.is_closing() {
                return Ok(());
            }
        }
    }

    /// Takes the lifetimes out of reports of a source.
    async fn lifetimes_forget(
        &self,
        txn: &Txn,
        account: &AccountId,
        source: SourceId,
        ids: Vec<uuid::Uuid>,
    ) -> AppResult<()> {
        let mut seq = None;
        let ids: Vec<IocId> = ids.into_iter().map(IocId).collect();
        for mut row in txn.ioc_fetch_many(&ids).await?.into_values().filter(|row| !row.deleted) {
            let reports = row.ioc.enrichment.reports.iter_mut();
            let mut of_source = reports.filter(|report| report.source_id == source);
            if of_source.next().and_then(|report| report.lifetime_days.take()).is_some() {
                let number = match seq {
                    Some(number) => number,
                    None => txn.account_next_seq(account, || self.context.now()).await?,
                };
                seq = Some(number);
                row.ioc.state = row.ioc.state_at(self.context.now());
                txn.ioc_update(account, &row, number).await?;
            }
        }
        Ok(())
    }

    /// Deletes links of sources that were deleted before iocast was stopped.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn sources_tick(&self) -> AppResult<()> {
        for id in self.context.store.read().source_linked_and_gone().await? {
            self.source_unlink(id, None).await?;
        }
        Ok(())
    }
}

fn shown(source: &Source) -> serde_json::Value {
    serde_json::json!({
        "name": source.name, "confidence": u8::from(source.confidence), "enabled": source.enabled,
        "limits": source.limits,
    })
}
