//! What clients of the Threat Command REST API do: known by account ID and API key, they walk the
//! IOCs in order of their last change, and edit many IOCs at once, by value.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use iocast_domain::{
    account::Module,
    id::{IocId, SourceId},
    ioc::{Comment, Ioc, LABELS_MAX, Severity, Whitelist, ioc_id, label},
    normalise::detect,
    source::{Source, SourceKind, SourceLimits},
    time::Timestamp,
};
use iocast_store::{IocFilter, IocRow};
use serde::Serialize;

use crate::{Actor, AppError, AppResult, ImportReport, Intake, NewSource, iocs::check_comment};

/// Most IOCs in one call.
pub(crate) const AT_ONCE: usize = 10_000;
/// Which IOCs to walk through. Empty lists ask for nothing.
#[derive(Clone, Debug, Default)]
pub struct WalkQuery {
    /// Changed at this time or later; of these only the last six months.
    pub updated_from: Option<Timestamp>,
    /// Changed until this time.
    pub updated_to: Option<Timestamp>,
    /// The rest.
    pub filter: IocFilter,
    /// At most so many.
    pub limit: u64,
    /// Where the last page ended.
    pub offset: Option<String>,
}

/// An IOC with its sources, and when it last changed.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The IOC.
    pub ioc: Ioc,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Reports that count: the source, and how sure it is.
    pub feeds: Vec<(Arc<Source>, u8)>,
}

/// A page of a walk.
#[derive(Clone, Debug)]
pub struct WalkPage {
    /// In order of their last change.
    pub iocs: Vec<Walked>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// What is changed of an IOC.
#[derive(Clone, Debug)]
pub enum IocEdit {
    /// A user tag more.
    Tag(String),
    /// The severity that counts.
    Severity(Severity),
    /// A remark.
    Comment(String),
    /// Whether it is sent.
    Whitelist(Whitelist),
    /// On the remediation blocklist, or off it.
    Blocklist(bool),
}

/// What a bulk edit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkEditResult {
    /// IOCs that changed.
    pub changed: usize,
}

/// A document with IOCs, handed in.
#[derive(Clone, Debug)]
pub struct NewDocument {
    /// Its name: the source's.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// 1 to 3.
    pub confidence: i64,
}

/// An IOC of a document.
#[derive(Clone, Debug, Serialize)]
pub struct DocumentIoc {
    /// Its value.
    pub value: String,
    /// How bad it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Tags.
    #[serde(rename = "user_tags")]
    pub tags: Vec<String>,
}

impl Intake {
    async fn walked(&self, actor: &Actor, rows: Vec<IocRow>) -> AppResult<Vec<Walked>> {
        let read = self.context.store.read();
        let sources: HashMap<SourceId, Arc<Source>> = read
            .source_list(&actor.account_id)
            .await?
            .into_iter()
            .map(|s| (s.id, Arc::new(s)))
            .collect();
        let seqs: BTreeSet<i64> = rows.iter().map(|row| row.seq).collect();
        let times = read.change_times(&actor.account_id, &seqs).await?;
        let view = |row: IocRow| {
            let feed = |r: &iocast_domain::ioc::Report| {
                Some((
                    Arc::clone(sources.get(&r.source_id).filter(|s| s.enabled)?),
                    u8::from(r.confidence),
                ))
            };
            let feeds = row.ioc.enrichment.reports.iter().filter_map(feed).collect();
            Walked {
                updated_at: times.get(&row.seq).copied().unwrap_or(row.ioc.last_seen),
                feeds,
                ioc: row.ioc,
            }
        };
        Ok(rows.into_iter().map(view).collect())
    }

    /// A page of the IOCs in order of their last change. A client that follows the pages sees each
    /// IOC that exists throughout, and again only what changed after it was given.
    ///
    /// # Errors
    /// If the offset is not one that this list gave.
    pub async fn ioc_walk(&self, actor: &Actor, query: &WalkQuery) -> AppResult<WalkPage> {
        /// The original keeps the last six months.
        const WINDOW: i64 = 183 * iocast_domain::time::DAY;
        actor.may_read(Module::Tip)?;
        let from = query
            .updated_from
            .unwrap_or(Timestamp::from_micros(0))
            .max(self.context.now().plus(-WINDOW));
        let to = query.updated_to.unwrap_or(Timestamp::from_micros(i64::MAX));
        let Some((first, last)) =
            self.context.store.read().change_range(&actor.account_id, from, to).await?
        else {
            return Ok(WalkPage { iocs: Vec::new(), next: None });
        };
        let page = self
            .context
            .store
            .read()
            .ioc_scan(
                &actor.account_id,
                (first, last),
                &query.filter,
                query.offset.as_deref(),
                query.limit,
            )
            .await?;
        Ok(WalkPage { iocs: self.walked(actor, page.items).await?, next: page.next })
    }

    /// The IOC of a value, in its normal form or defanged.
    ///
    /// # Errors
    /// If the value is none.
    pub async fn ioc_by_value(&self, actor: &Actor, value: &str) -> AppResult<Option<Walked>> {
        actor.may_read(Module::Tip)?;
        let (kind, value) = detect(value).map_err(|_none| {
            AppError::field("iocValue", "InvalidIocValue", "The value is no IOC.")
        })?;
        let row = self
            .context
            .store
            .read()
            .ioc_fetch(&actor.account_id, ioc_id(&actor.account_id, kind, &value))
            .await?;
        Ok(self.walked(actor, row.into_iter().collect()).await?.pop())
    }

    /// Says things of IOCs, all or nothing.
    ///
    /// # Errors
    /// If one of the values is no IOC of the account, or what is said is not valid.
    pub async fn ioc_bulk_edit(
        &self,
        actor: &Actor,
        all: Vec<(String, IocEdit)>,
    ) -> AppResult<BulkEditResult> {
        actor.may_change(Module::Tip)?;
        if all.len() > AT_ONCE {
            return Err(AppError::TooLarge(format!("At most {AT_ONCE} IOCs at once.")));
        }
        let unknown = |value: &str| {
            AppError::field(
                "iocValue",
                "InvalidIocValue",
                format!("`{}` is no IOC of this account.", iocast_domain::time::clip(value, 200)),
            )
        };
        let mut by_id: Vec<(IocId, String, IocEdit)> = Vec::with_capacity(all.len());
        for (text, edit) in all {
            let (kind, value) = detect(&text).map_err(|_none| unknown(&text))?;
            by_id.push((ioc_id(&actor.account_id, kind, &value), text, check(edit)?));
        }
        let now = self.context.now();
        let txn = self.context.store.write().await?;
        // The number first: it locks the account's row, so that nobody changes the IOCs between
        // reading and writing them.
        let seq = txn.account_next_seq(&actor.account_id, || self.context.now()).await?;
        let ids: Vec<IocId> = by_id.iter().map(|(id, ..)| *id).collect();
        let mut rows = txn.ioc_fetch_many(&ids).await?;
        let mut changed = HashSet::new();
        for (id, text, edit) in &by_id {
            let row = rows.get_mut(id).filter(|row| !row.deleted).ok_or_else(|| unknown(text))?;
            if apply(&mut row.ioc, edit, actor.name(), now)? {
                changed.insert(*id);
            }
        }
        let written: Vec<&IocRow> = changed.iter().filter_map(|id| rows.get(id)).collect();
        txn.ioc_update_many(&actor.account_id, written.iter().copied(), seq).await?;
        if changed.is_empty() {
            return Ok(BulkEditResult { changed: 0 });
        }
        let values: Vec<&str> = by_id
            .iter()
            .filter(|(id, ..)| changed.contains(id))
            .map(|(_, text, _)| text.as_str())
            .take(20)
            .collect();
        let what = by_id.first().map(|(_, _, edit)| word(edit));
        self.context
            .audit(
                &txn,
                actor,
                "ioc.update_many",
                &changed.len(),
                &serde_json::json!({ "what": what, "values": values }),
            )
            .await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(BulkEditResult { changed: changed.len() })
    }

    /// Makes a source of a document and takes in its IOCs; those that are none are left out and
    /// counted.
    ///
    /// # Errors
    /// If the name is taken or breaks a rule; then nothing was written.
    pub async fn document_add(
        self: &Arc<Self>,
        actor: &Actor,
        new: NewDocument,
        iocs: Vec<DocumentIoc>,
    ) -> AppResult<(Source, ImportReport)> {
        let NewDocument { name, description, confidence } = new;
        let (intake, actor) = (Arc::clone(self), actor.clone());
        // On a task of its own: a client that is cut off must not leave a source without its IOCs,
        // whose name is taken then.
        let work = self.context.in_background(async move {
            let source = intake
                .source_create(
                    &actor,
                    NewSource {
                        name,
                        confidence,
                        enabled: true,
                        kind: SourceKind::Document,
                        description,
                        limits: SourceLimits::default(),
                    },
                )
                .await?;
            match intake.document_extend(&actor, source.id, &iocs).await {
                Ok(report) => Ok((source, report)),
                Err(error) => {
                    intake.source_delete(&actor, source.id).await?;
                    Err(error)
                }
            }
        });
        work.await.map_err(AppError::internal)?
    }

    /// Takes IOCs into a source.
    ///
    /// # Errors
    /// If the source is not there.
    pub async fn document_extend(
        self: &Arc<Self>,
        actor: &Actor,
        id: SourceId,
        iocs: &[DocumentIoc],
    ) -> AppResult<ImportReport> {
        self.source_fetch(actor, id).await?;
        if iocs.is_empty() {
            return Ok(ImportReport::default());
        }
        self.import_list(actor, id, iocs).await
    }
}

/// What is said in the form in which it is kept.
fn check(edit: IocEdit) -> AppResult<IocEdit> {
    Ok(match edit {
        IocEdit::Tag(tag) => IocEdit::Tag(label(&tag).ok_or_else(|| {
            AppError::field("tag", "InvalidTag", "A tag is 1 to 160 characters.")
        })?),
        IocEdit::Comment(text) => IocEdit::Comment(check_comment(&text)?),
        other => other,
    })
}

/// Applies what is said; gives whether that changed anything.
fn apply(ioc: &mut Ioc, edit: &IocEdit, author: &str, now: Timestamp) -> AppResult<bool> {
    let enrichment = &mut ioc.enrichment;
    Ok(match edit {
        IocEdit::Tag(tag)
            if enrichment.user_tags.len() >= LABELS_MAX && !enrichment.user_tags.contains(tag) =>
        {
            return Err(AppError::field(
                "tag",
                "too_many_tags",
                format!("An IOC takes at most {LABELS_MAX} tags."),
            ));
        }
        IocEdit::Tag(tag) => enrichment.user_tags.insert(tag.clone()),
        IocEdit::Severity(severity) => {
            enrichment.user_severity.replace(*severity) != Some(*severity)
        }
        IocEdit::Comment(text) => {
            enrichment.comment(Comment {
                at: now,
                author: author.to_owned(),
                text: text.clone(),
            })?;
            true
        }
        IocEdit::Whitelist(whitelist) => {
            std::mem::replace(&mut ioc.whitelist, *whitelist) != *whitelist
        }
        IocEdit::Blocklist(on) => std::mem::replace(&mut enrichment.blocklisted, *on) != *on,
    })
}

fn word(edit: &IocEdit) -> &'static str {
    match edit {
        IocEdit::Tag(_) => "tag",
        IocEdit::Severity(_) => "severity",
        IocEdit::Comment(_) => "comment",
        IocEdit::Whitelist(_) => "whitelist",
        IocEdit::Blocklist(_) => "blocklist",
    }
}
