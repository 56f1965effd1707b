//! Alerts, as far as they feed devices: they come with IOCs, and the IOCs remember them.

use std::{collections::HashSet, sync::Arc};

use iocast_domain::{
    account::Module,
    alert::{Alert, AlertKind, AlertSource, AlertTag, AlertText, Closing},
    id::{AlertId, IocId, UserId},
    ioc::{Kind, Severity, ioc_id, label},
    normalise::certain,
    time::{Timestamp, clip},
};
use iocast_store::{AlertFilter, Page, PageOf, Txn};
use serde_json::json;

use crate::{Actor, AppError, AppResult, Intake, taken};

/// The source under whose name alerts report their IOCs; made with the first of them.
pub const ALERT_SOURCE: &str = "Alerts";
/// Default confidence.
const ALERT_CONFIDENCE: i64 = 3;
/// Most IOCs of an alert.
const IOCS_MAX: usize = 1_000;
/// Alerts that are looked at together, at least and at most.
const PAGE: (u64, u64) = (50, 500);

/// An alert to be made.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// Its id; a random one unless given.
    pub id: Option<AlertId>,
    /// What it is about.
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// When it was found; now unless given.
    pub found_at: Option<Timestamp>,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// The finer type.
    pub sub_type: String,
    /// Where it was found.
    pub source: AlertSource,
    /// IOCs that came up in it, in their normal form or defanged.
    pub iocs: Vec<String>,
}

/// What may be changed of an alert.
#[derive(Clone, Debug)]
pub enum AlertChange {
    /// How bad it is; its IOCs follow.
    Severity(Severity),
    /// Closes it. IOCs that were sent for it stay where they are.
    Close(Closing),
    /// Opens it again.
    Reopen,
    /// Has this person look after it.
    Assign(UserId),
    /// Nobody looks after it.
    Unassign,
    /// Adds a tag.
    Tag(String),
    /// Removes a tag.
    Untag(AlertId),
}

/// Which alerts to list. Empty lists ask for nothing; words are compared ignoring case and blanks.
#[derive(Clone, Debug, Default)]
pub struct AlertQuery {
    /// What the store filters by.
    pub filter: AlertFilter,
    /// With one of these tags.
    pub tags: Vec<String>,
    /// Found in one of these kinds of places.
    pub source_types: Vec<String>,
    /// Found in one of these networks.
    pub networks: Vec<String>,
    /// Published there between these times.
    pub published: (Option<Timestamp>, Option<Timestamp>),
    /// Somebody looks after it, or nobody.
    pub assigned: Option<bool>,
    /// With IOCs, or without.
    pub has_iocs: Option<bool>,
    /// Behind this place in the order of changes.
    pub after: Option<(Timestamp, AlertId)>,
    /// At most so many.
    pub limit: usize,
}

impl AlertQuery {
    fn fits(&self, alert: &Alert) -> bool {
        // `PasteSites` is asked for, and `Paste Site` is shown.
        let plain =
            |text: &str| text.replace(' ', "").to_lowercase().trim_end_matches('s').to_owned();
        let word = |wanted: &[String], is: &str| {
            wanted.is_empty() || wanted.iter().any(|w| plain(w) == plain(is))
        };
        let AlertText { source, assignees, iocs, .. } = &alert.text;
        let (from, to) = self.published;
        let tagged = |wanted: &String| {
            alert.text.tags.iter().any(|tag| tag.name.eq_ignore_ascii_case(wanted))
        };
        (self.tags.is_empty() || self.tags.iter().any(tagged))
            && word(&self.source_types, &source.kind)
            && word(&self.networks, &source.network)
            && from.is_none_or(|from| source.date.is_some_and(|at| at >= from))
            && to.is_none_or(|to| source.date.is_some_and(|at| at <= to))
            && self.assigned.is_none_or(|wanted| wanted != assignees.is_empty())
            && self.has_iocs.is_none_or(|wanted| wanted != iocs.is_empty())
    }
}

impl Intake {
    /// Makes an alert. Its IOCs are reported by a source of their own with the alert's
    /// severity, and remember the alert.
    ///
    /// # Errors
    /// If a field breaks a rule or one of the values is no IOC; then nothing was written.
    pub async fn alert_add(self: &Arc<Self>, actor: &Actor, new: NewAlert) -> AppResult<AlertId> {
        actor.may_change(Module::Tip)?;
        let NewAlert { id, kind, severity, found_at, title, description, sub_type, source, iocs } =
            new;
        if title.trim().is_empty() {
            return Err(AppError::field("Title", "title_missing", "An alert needs a title."));
        }
        if iocs.len() > IOCS_MAX {
            return Err(AppError::TooLarge(format!("At most {IOCS_MAX} IOCs in an alert.")));
        }
        let mut read: Vec<(Kind, String)> = Vec::with_capacity(iocs.len());
        for text in &iocs {
            let one = certain(text).map_err(|why| {
                AppError::field(
                    "RelatedIocs",
                    "not_an_ioc",
                    format!("`{}` is no IOC: {why}.", clip(text, 200)),
                )
            })?;
            if !read.contains(&one) {
                read.push(one);
            }
        }
        let text = AlertText {
            title: clip(title.trim(), 500),
            description: clip(&description, 10_000),
            sub_type: clip(&sub_type, 100),
            source: AlertSource {
                kind: clip(&source.kind, 100),
                network: clip(&source.network, 100),
                url: clip(&source.url, 2_000),
                date: source.date,
            },
            iocs: read,
            ..AlertText::default()
        };
        let now = self.context.now();
        let id = id.unwrap_or_else(|| AlertId::random(&*self.context.entropy));
        let alert = Alert {
            id: id.clone(),
            kind,
            severity,
            found_at: found_at.unwrap_or(now),
            received_at: now,
            updated_at: now,
            text,
        };
        let (intake, actor) = (Arc::clone(self), actor.clone());
        // On a task of its own: a client that is cut off must not leave IOCs without their alert.
        let work = self.context.in_background(async move {
            if alert.text.iocs.is_empty() {
                let txn = intake.context.store.write().await?;
                let seq = txn.account_next_seq(&actor.account_id, || intake.context.now()).await?;
                intake.alert_write(&txn, &actor, &alert, seq).await?;
                return Ok(txn.commit().await?);
            }
            let source = intake.source_named(&actor, ALERT_SOURCE, ALERT_CONFIDENCE).await?;
            let rows: Vec<_> = alert.text.iocs.iter().map(|(kind, value)| json!({ "value": value, "kind": kind, "severity": alert.severity })).collect();
            intake.import_list_of(&actor, source.id, &rows, Some(&alert)).await.map(drop)
        });
        work.await.map_err(AppError::internal)?.map(|()| id)
    }

    /// Writes an alert and has its IOCs remember it, under the account's change number `seq` of
    /// this transaction.
    pub(crate) async fn alert_write(
        &self,
        txn: &Txn,
        actor: &Actor,
        alert: &Alert,
        seq: i64,
    ) -> AppResult<()> {
        self.remember(txn, actor, alert, seq).await?;
        let updated_at = self.alert_moment(txn, actor).await?;
        let alert = &Alert { updated_at, ..alert.clone() };
        txn.alert_insert(&actor.account_id, alert).await.map_err(|e| taken(e, "id", "an alert"))?;
        let shown = json!({ "type": alert.kind, "severity": alert.severity, "title": alert.text.title, "iocs": alert.text.iocs.len() });
        self.context.audit(txn, actor, "alert.create", &alert.id, &shown).await
    }

    /// When an alert changes: in whole milliseconds, as it is shown, and later than every other
    /// change of the account. A client goes on from the last one that it was shown.
    async fn alert_moment(&self, txn: &Txn, actor: &Actor) -> AppResult<Timestamp> {
        const MILLISECOND: i64 = 1_000;
        let last = txn.alert_last_change(&actor.account_id).await?;
        let now = self.context.now().micros() / MILLISECOND * MILLISECOND;
        let behind =
            last.map_or(now, |last| last.micros() / MILLISECOND * MILLISECOND + MILLISECOND);
        Ok(Timestamp::from_micros(now.max(behind)))
    }

    /// Has the IOCs of an alert remember it as it is. Taking `seq` locked the account's row: nobody
    /// changes the IOCs between reading and writing them.
    async fn remember(&self, txn: &Txn, actor: &Actor, alert: &Alert, seq: i64) -> AppResult<()> {
        let ids: Vec<IocId> = alert
            .text
            .iocs
            .iter()
            .map(|(kind, value)| ioc_id(&actor.account_id, *kind, value))
            .collect();
        for mut row in txn.ioc_fetch_many(&ids).await?.into_values().filter(|row| !row.deleted) {
            row.ioc.enrichment.remember(alert.reference());
            txn.ioc_update(&actor.account_id, &row, seq).await?;
        }
        Ok(())
    }

    /// One alert.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn alert_fetch(&self, actor: &Actor, id: &AlertId) -> AppResult<Alert> {
        actor.may_read(Module::Tip)?;
        self.context
            .store
            .read()
            .alert_fetch(&actor.account_id, id)
            .await?
            .ok_or(AppError::NotFound("alert"))
    }

    /// Alerts, in order of their last change.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn alert_list(&self, actor: &Actor, query: &AlertQuery) -> AppResult<Vec<Alert>> {
        actor.may_read(Module::Tip)?;
        let mut found = Vec::new();
        let together = u64::try_from(query.limit).unwrap_or(PAGE.1).clamp(PAGE.0, PAGE.1);
        let mut after = query.after.clone();
        while found.len() < query.limit {
            let place = after.as_ref().map(|(at, id)| (*at, id));
            let page = self
                .context
                .store
                .read()
                .alert_list(&actor.account_id, &query.filter, place, together)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some((last.updated_at, last.id.clone()));
            found.extend(page.into_iter().filter(|alert| query.fits(alert)));
        }
        found.truncate(query.limit);
        Ok(found)
    }

    /// A page of alerts, last changed first.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn alert_list_latest(
        &self,
        actor: &Actor,
        filter: &AlertFilter,
        page: &Page,
    ) -> AppResult<PageOf<Alert>> {
        actor.may_read(Module::Tip)?;
        let read = self.context.store.read();
        Ok(read.alert_list_latest(&actor.account_id, filter, page).await?)
    }

    /// Changes an alert; gives whether it was otherwise before.
    ///
    /// # Errors
    /// If the alert or the person is not there, or a tag is none.
    pub async fn alert_change(
        &self,
        actor: &Actor,
        id: &AlertId,
        change: AlertChange,
    ) -> AppResult<bool> {
        actor.may_change(Module::Tip)?;
        let txn = self.context.store.write().await?;
        txn.account_lock(&actor.account_id).await?;
        let before =
            txn.alert_fetch(&actor.account_id, id).await?.ok_or(AppError::NotFound("alert"))?;
        let mut after = before.clone();
        let text = &mut after.text;
        let what = match change {
            AlertChange::Severity(severity) => {
                after.severity = severity;
                "severity"
            }
            AlertChange::Close(closing) => {
                text.closing = Some(Closing { text: clip(&closing.text, 2_000), ..closing });
                "close"
            }
            AlertChange::Reopen => {
                text.closing = None;
                "reopen"
            }
            AlertChange::Assign(user) => {
                let there = txn
                    .user_list(&actor.account_id)
                    .await?
                    .into_iter()
                    .any(|u| u.id == user && u.active);
                text.assignees = there.then_some(vec![user]).ok_or(AppError::NotFound("user"))?;
                "assign"
            }
            AlertChange::Unassign => {
                text.assignees.clear();
                "unassign"
            }
            AlertChange::Tag(tag) => {
                let name = label(&tag).ok_or_else(|| {
                    AppError::field("TagName", "InvalidTag", "A tag is 1 to 160 characters.")
                })?;
                if !text.tags.iter().any(|t| t.name == name) {
                    text.tags.push(AlertTag {
                        id: AlertId::random(&*self.context.entropy),
                        name,
                        by: actor.name().to_owned(),
                    });
                }
                "tag"
            }
            AlertChange::Untag(tag) => {
                text.tags.retain(|t| t.id != tag);
                "untag"
            }
        };
        if after == before {
            return Ok(false);
        }
        after.updated_at = self.alert_moment(&txn, actor).await?;
        txn.alert_update(&actor.account_id, &after).await?;
        if after.severity != before.severity {
            let seq = txn.account_next_seq(&actor.account_id, || self.context.now()).await?;
            self.remember(&txn, actor, &after, seq).await?;
        }
        self.context.audit(&txn, actor, "alert.update", id, &json!({ "what": what, "severity": after.severity, "closed": after.text.closing.is_some() })).await?;
        txn.commit().await?;
        self.context.changed.notify_one();
        Ok(true)
    }

    /// The IOCs of an alert, with whether each is on the remediation blocklist.
    ///
    /// # Errors
    /// If the alert is not there.
    pub async fn alert_blocklist(
        &self,
        actor: &Actor,
        id: &AlertId,
    ) -> AppResult<Vec<(Kind, String, bool)>> {
        let alert = self.alert_fetch(actor, id).await?;
        let id = |(kind, value): &(Kind, String)| ioc_id(&actor.account_id, *kind, value);
        let ids: Vec<IocId> = alert.text.iocs.iter().map(id).collect();
        let rows = self.context.store.read().ioc_fetch_many(&ids).await?;
        let on: HashSet<IocId> = rows
            .into_values()
            .filter(|r| !r.deleted && r.ioc.enrichment.blocklisted)
            .map(|r| r.ioc.id)
            .collect();
        Ok(alert
            .text
            .iocs
            .into_iter()
            .map(|ioc| (ioc.0, ioc.1.clone(), on.contains(&id(&ioc))))
            .collect())
    }
}
