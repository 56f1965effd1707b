//! IOCs: listed, looked at, edited by people.

use std::collections::{BTreeSet, HashMap};

use iocast_domain::{
    account::Module,
    id::{IocId, SourceId},
    ioc::{Comment, Ioc, Severity, Whitelist, label},
    rule::EnabledSources,
    score::score,
    source::Source,
    threat_name::{NameKind, REMEDIATION_BLOCKLIST, folded, name_id},
    warninglist::ListMatch,
};
pub use iocast_store::IocFilter as IocQuery;
use iocast_store::{IocFilter, IocRow, Page, PageOf, ThreatName};
use uuid::Uuid;

use crate::{Actor, AppError, AppResult, Intake};

/// How far the names of IOCs are noted: the last IOC, or that all are.
const NAMES_NOTED: &str = "names_noted";
const ALL_NOTED: &str = "all";
/// IOCs that a search counts at most.
pub const COUNTED: u64 = 10_000;
/// IOCs whose names are noted in one write.
const NOTED_AT_ONCE: u64 = 2_000;

/// An IOC with the names of those who reported it.
#[derive(Clone, Debug)]
pub struct IocView {
    /// The IOC.
    pub ioc: Ioc,
    /// Its sources, those deleted since left out.
    pub sources: HashMap<SourceId, Source>,
    /// The warninglists that it is on.
    pub lists: Vec<ListMatch>,
    /// Its score today.
    pub score: u8,
}

/// What people may change of an IOC.
#[derive(Clone, Debug, Default)]
pub struct IocPatch {
    /// The severity that counts; `Some(None)` goes back to what sources say.
    pub severity: Option<Option<Severity>>,
    /// User tags, whole.
    pub user_tags: Option<Vec<String>>,
    /// Whether it is sent.
    pub whitelist: Option<Whitelist>,
    /// A remark to be added.
    pub comment: Option<String>,
}

/// A remark in the form in which it is kept.
pub(crate) fn check_comment(text: &str) -> AppResult<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 2_000 || text.contains('\0') {
        return Err(AppError::field(
            "comment",
            "comment_invalid",
            "A comment is 1 to 2,000 characters.",
        ));
    }
    Ok(text.to_owned())
}

impl Intake {
    async fn ioc_view(&self, actor: &Actor, rows: Vec<IocRow>) -> AppResult<Vec<IocView>> {
        let all: HashMap<SourceId, Source> = self
            .context
            .store
            .read()
            .source_list(&actor.account_id)
            .await?
            .into_iter()
            .map(|s| (s.id, s))
            .collect();
        let account = self.context.store.read().account_fetch(&actor.account_id).await?;
        let guard = self.context.guard(&account.ok_or(AppError::NotFound("account"))?).await?;
        let now = self.context.now();
        let enabled: EnabledSources =
            all.values().filter(|source| source.enabled).map(|source| source.id).collect();
        let view = |row: IocRow| {
            let lists = guard.lists().matches(row.ioc.kind, &row.ioc.value);
            let score = score(&row.ioc, &enabled, now);
            let sources = row
                .ioc
                .enrichment
                .reports
                .iter()
                .filter_map(|r| all.get(&r.source_id).map(|s| (s.id, s.clone())))
                .collect();
            IocView { ioc: row.ioc, sources, lists, score }
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// The IOCs of the account, last changed first; those that begin so in order of value, those
    /// under a domain in order of host.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn ioc_list(
        &self,
        actor: &Actor,
        filter: &IocFilter,
        page: &Page,
    ) -> AppResult<PageOf<IocView>> {
        actor.may_read(Module::Tip)?;
        let rows = self.context.store.read().ioc_list(&actor.account_id, filter, page).await?;
        Ok(PageOf { items: self.ioc_view(actor, rows.items).await?, next: rows.next })
    }

    /// How many IOCs a search finds, counted as far as [`COUNTED`].
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn ioc_count(&self, actor: &Actor, filter: &IocFilter) -> AppResult<u64> {
        actor.may_read(Module::Tip)?;
        let read = self.context.store.read();
        Ok(read.ioc_count_up_to(&actor.account_id, filter, COUNTED + 1).await?)
    }

    /// The id of what is on the remediation blocklist, as a name.
    #[must_use]
    pub fn blocklist_id(&self, actor: &Actor) -> Uuid {
        name_id(&actor.account_id, NameKind::Blocklist, &folded(REMEDIATION_BLOCKLIST))
    }

    /// The IOCs of the account that carry a name (a tag, an actor, a campaign, a family, the
    /// remediation blocklist), by id.
    ///
    /// # Errors
    /// If there is no such name.
    pub async fn ioc_list_named(
        &self,
        actor: &Actor,
        name: Uuid,
        filter: &IocFilter,
        page: &Page,
    ) -> AppResult<(ThreatName, PageOf<IocView>)> {
        actor.may_read(Module::Tip)?;
        let (read, account) = (self.context.store.read(), &actor.account_id);
        let name = read.threat_name(account, name).await?.ok_or(AppError::NotFound("name"))?;
        let rows = read.ioc_list_named(account, &name, filter, page).await?;
        let items = self.ioc_view(actor, rows.items).await?;
        Ok((name, PageOf { items, next: rows.next }))
    }

    /// A name that IOCs of the account carry, or carried.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn threat_name(&self, actor: &Actor, id: Uuid) -> AppResult<Option<ThreatName>> {
        actor.may_read(Module::Tip)?;
        Ok(self.context.store.read().threat_name(&actor.account_id, id).await?)
    }

    /// Names that IOCs of the account carry and that contain a text, each with whether an IOC still
    /// carries it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn threat_names(
        &self,
        actor: &Actor,
        text: &str,
        limit: u64,
    ) -> AppResult<Vec<ThreatName>> {
        actor.may_read(Module::Tip)?;
        let (read, account) = (self.context.store.read(), &actor.account_id);
        let mut found = Vec::new();
        for name in read.threat_names(account, text, limit).await? {
            if read.name_is_carried(account, &name).await? {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// Notes the names of IOCs that were there before names were noted. It goes on where it was.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn names_tick(&self) -> AppResult<()> {
        while !self.context.is_closing() {
            let progress = self.context.store.read().setting_fetch(NAMES_NOTED).await?;
            if progress.as_deref() == Some(ALL_NOTED) {
                return Ok(());
            }
            let after = progress.and_then(|text| text.parse().ok()).map(IocId);
            let txn = self.context.store.write().await?;
            let last = txn.names_put_some(after, NOTED_AT_ONCE).await?;
            let progress = last.map_or_else(|| ALL_NOTED.to_owned(), |id| id.to_string());
            txn.setting_put(NAMES_NOTED, &progress).await?;
            txn.commit().await?;
            self.context.task_alive("names");
        }
        Ok(())
    }

    /// One IOC.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn ioc_fetch(&self, actor: &Actor, id: IocId) -> AppResult<IocView> {
        actor.may_read(Module::Tip)?;
        let row = self
            .context
            .store
            .read()
            .ioc_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("IOC"))?;
        self.ioc_view(actor, vec![row]).await?.pop().ok_or(AppError::NotFound("IOC"))
    }

    /// Changes what people say of an IOC. Whitelisted, it leaves the feeds at once.
    ///
    /// # Errors
    /// If it is not there, or a tag is empty.
    pub async fn ioc_update(
        &self,
        actor: &Actor,
        id: IocId,
        patch: IocPatch,
    ) -> AppResult<IocView> {
        actor.may_change(Module::Tip)?;
        let IocPatch { severity, user_tags, whitelist, comment } = patch;
        let txn = self.context.store.write().await?;
        // The number first: it locks the account's row, so that nobody changes the IOC between
        // reading and writing it.
        let seq = txn.account_next_seq(&actor.account_id, || self.context.now()).await?;
        let mut row =
            txn.ioc_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("IOC"))?;
        let shown = |ioc: &Ioc, comment: Option<&str>| serde_json::json!({ "value": ioc.value, "severity": ioc.enrichment.user_severity, "user_tags": ioc.enrichment.user_tags, "whitelist": ioc.whitelist, "comment": comment });
        let before = shown(&row.ioc, None);
        let remark = comment.clone();
        let ioc = &mut row.ioc;
        if let Some(severity) = severity {
            ioc.enrichment.user_severity = severity;
        }
        if let Some(tags) = &user_tags {
            let clean: BTreeSet<String> = tags.iter().filter_map(|t| label(t)).collect();
            if clean.len() != tags.iter().collect::<BTreeSet<_>>().len() {
                return Err(AppError::field(
                    "user_tags",
                    "tag_invalid",
                    "A tag is 1 to 160 characters, without quotes or control characters, and not twice the same.",
                ));
            }
            ioc.enrichment.user_tags = clean;
        }
        ioc.whitelist = whitelist.unwrap_or(ioc.whitelist);
        if let Some(text) = comment {
            ioc.enrichment.comment(Comment {
                at: self.context.now(),
                author: actor.name().to_owned(),
                text: check_comment(&text)?,
            })?;
        }
        txn.ioc_update(&actor.account_id, &row, seq).await?;
        self.context.audit(
            &txn,
            actor,
            "ioc.update",
            &id,
            &serde_json::json!({ "value": row.ioc.value, "before": before, "after": shown(&row.ioc, remark.as_deref()) }),
        )
        .await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        self.ioc_fetch(actor, id).await
    }

    /// Deletes an IOC: it leaves every list and group, until somebody reports it again.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn ioc_delete(&self, actor: &Actor, id: IocId) -> AppResult<()> {
        actor.may_change(Module::Tip)?;
        let txn = self.context.store.write().await?;
        // The number first: it locks the account's row, so that nobody changes the IOC between
        // reading and writing it.
        let seq = txn.account_next_seq(&actor.account_id, || self.context.now()).await?;
        let row = txn.ioc_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("IOC"))?;
        txn.ioc_delete(&actor.account_id, &row, seq, self.context.now()).await?;
        self.context
            .audit(&txn, actor, "ioc.delete", &id, &serde_json::json!({ "value": row.ioc.value }))
            .await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(())
    }
}
