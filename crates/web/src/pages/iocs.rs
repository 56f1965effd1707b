//! TIP → IOCs: searching them, and one with everything that is known of it.

use std::collections::BTreeSet;

use actix_web::http::StatusCode;
use iocast_app::{
    AppError, AuditFilter, BulkEditResult, COUNTED, IocEdit, IocPatch, IocPlaces, IocQuery,
    IocView, Page,
};
use iocast_domain::{
    account::Module,
    id::{IocId, SourceId},
    ioc::{Ioc, Kind, Severity, State, Whitelist},
    normalise::{detect, prefix},
    time::Timestamp,
};
use minijinja::{Value, context};

use super::{
    settings::changes,
    view,
    visit::{Form, Id, PageContext, PageResult, problem, see_other},
};
use crate::api::{iocs::IocOut, receipts::PlacesOut, sources::SourceOut};
use crate::csv;

/// IOCs on a page.
const IOCS: u64 = 50;
/// IOCs that an export reads at once.
const EXPORTED: u64 = 500;
/// Lines of the history of one.
const HISTORY: usize = 60;

/// What the query of a page asks for, and how the page shows it.
pub(crate) struct Search {
    pub(crate) query: IocQuery,
    pub(crate) shown: Value,
}

/// Reads the search of a page: `q` by `match` (what begins so, exactly so, or under a domain), and
/// the filters.
pub(crate) fn filter(visitor: &PageContext) -> Search {
    let text = visitor.query("q");
    let how = visitor.query("match").unwrap_or_else(|| "prefix".to_owned());
    // What people paste is often defanged, or in capitals: the whole of a value is brought to its
    // normal form.
    let normal =
        |text: String| detect(&text).map_or_else(|_| text.to_lowercase(), |(_, value)| value);
    let wanted = |matching: &str| text.clone().filter(|_| how == matching);
    let by_value = text.is_none() && visitor.query("sort").as_deref() == Some("value");
    let mut query = IocQuery {
        value: wanted("exact").map(normal),
        prefix: wanted("prefix").map(|text| prefix(&text)),
        domain_suffix: wanted("domain").map(normal),
        kinds: visitor.query("kind").and_then(|k| k.parse().ok()).into_iter().collect(),
        severities: visitor.query("severity").and_then(|s| s.parse().ok()).into_iter().collect(),
        state: visitor.query("state").and_then(|s| s.parse().ok()),
        sources: visitor
            .query("source")
            .and_then(|s| s.parse().ok())
            .map(SourceId)
            .into_iter()
            .collect(),
        whitelist: visitor.query("whitelist").and_then(|w| w.parse().ok()).into_iter().collect(),
        ..IocQuery::default()
    };
    let active = !query.is_empty();
    if by_value {
        // Every value begins with nothing: all of them, in order of value.
        query.prefix = Some(String::new());
    }
    let shown = context! {
        q => text, how, by_value, active,
        kind => query.kinds.first().map(|k| k.word()), severity => query.severities.first().map(|s| s.word()), state => query.state.map(State::word),
        source => query.sources.first().map(ToString::to_string), whitelist => query.whitelist.first().map(|w| w.word()),
        kinds => Kind::ALL.iter().map(|k| k.word()).collect::<Vec<_>>(),
    };
    Search { query, shown }
}

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    list_page(&visitor, StatusCode::OK, Value::from(())).await
}

/// How many IOCs a search finds, for the page that shows the first of them.
pub(crate) async fn count(visitor: PageContext) -> PageResult {
    let found = visitor.app.intake.ioc_count(&visitor.actor, &filter(&visitor).query).await?;
    let of_part = context! { found => found.min(COUNTED), more => found > COUNTED };
    Ok(view::page(StatusCode::OK, "parts/found.html", of_part))
}

/// What a search finds, as a table that can be imported again.
pub(crate) async fn export(visitor: PageContext) -> PageResult {
    visitor.actor.may_read(Module::Tip)?;
    let name = visitor.query("name").and_then(|id| id.parse().ok());
    let query = filter(&visitor).query;
    let first = Page { limit: EXPORTED, after: None };
    let (app, actor) = (visitor.app.clone(), visitor.actor.clone());
    Ok(csv::streamed("iocast-iocs.csv", COLUMNS, Some(first), move |page: Page| {
        let (app, actor, query) = (app.clone(), actor.clone(), query.clone());
        async move {
            let found = match name {
                Some(id) => app.intake.ioc_list_named(&actor, id, &query, &page).await?.1,
                None => app.intake.ioc_list(&actor, &query, &page).await?,
            };
            let lines = found.items.into_iter().map(|of| row(&of)).collect();
            Ok((lines, found.next.map(|next| Page { after: Some(next), ..page })))
        }
    }))
}

/// Columns of an export. An import takes them by these names.
const COLUMNS: &[&str] = &[
    "value",
    "kind",
    "severity",
    "state",
    "whitelist",
    "first_seen",
    "last_seen",
    "score",
    "tags",
    "threat_actors",
    "campaigns",
    "malware_families",
    "sources",
    "alert_id",
];

fn row(of: &IocView) -> String {
    let IocView { ioc, sources, score, .. } = of;
    let about = &ioc.enrichment;
    let list =
        |all: &BTreeSet<String>| all.iter().map(String::as_str).collect::<Vec<_>>().join(";");
    let tags: BTreeSet<String> = about.user_tags.union(&about.system_tags).cloned().collect();
    let mut names: Vec<&str> = sources.values().map(|source| source.name.as_str()).collect();
    names.sort_unstable();
    csv::line(&[
        ioc.value.clone(),
        ioc.kind.word().to_owned(),
        ioc.severity().word().to_owned(),
        ioc.state.word().to_owned(),
        ioc.whitelist.word().to_owned(),
        ioc.first_seen.to_string(),
        ioc.last_seen.to_string(),
        score.to_string(),
        list(&tags),
        list(&about.threat_actors),
        list(&about.campaigns),
        list(&about.malware_families),
        names.join(";"),
        about.alert_id.clone().unwrap_or_default(),
    ])
}

/// Changes the IOCs that were ticked, all or none.
pub(crate) async fn change(form: Form) -> PageResult {
    let visitor = &form.visitor;
    let outcome = async {
        let values = form.parsed_all::<String>("values")?;
        if values.is_empty() {
            let message = "Tick at least one IOC.";
            return Err(AppError::field("values", "nothing_chosen", message));
        }
        let text = form.text("value").trim();
        let edit = match form.text("do") {
            "withdraw" => IocEdit::Whitelist(Whitelist::NeverSent),
            "restore" => IocEdit::Whitelist(Whitelist::Default),
            "tag" => IocEdit::Tag(text.to_owned()),
            "comment" => IocEdit::Comment(text.to_owned()),
            "block" => IocEdit::Blocklist(true),
            "unblock" => IocEdit::Blocklist(false),
            word => match word.parse() {
                Ok(severity) => IocEdit::Severity(severity),
                Err(_) => return Err(super::settings::unknown()),
            },
        };
        let all = values.into_iter().map(|value| (value, edit.clone())).collect();
        visitor.app.intake.ioc_bulk_edit(&visitor.actor, all).await
    };
    match outcome.await {
        Ok(BulkEditResult { changed }) => {
            let here = Some(form.text("here")).filter(|path| view::is_place(path));
            let are = if changed == 1 { "IOC is" } else { "IOCs are" };
            visitor.done(here.unwrap_or("/tip/iocs"), &format!("{changed} {are} changed."))
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            list_page(visitor, status, problem).await
        }
    }
}

/// What is on the remediation blocklist.
pub(crate) async fn blocklist(visitor: PageContext) -> PageResult {
    let id = visitor.app.intake.blocklist_id(&visitor.actor);
    match visitor.app.intake.threat_name(&visitor.actor, id).await? {
        Some(_) => Ok(see_other(&format!("/tip/iocs?name={id}"))),
        None => visitor.show("pages/blocklist.html", context! {}),
    }
}

async fn list_page(visitor: &PageContext, status: StatusCode, problem: Value) -> PageResult {
    let search = filter(visitor);
    let page = Page { limit: IOCS, after: visitor.query("cursor") };
    let (intake, actor) = (&visitor.app.intake, &visitor.actor);
    let (name, found) = match visitor.query("name").and_then(|id| id.parse().ok()) {
        Some(id) => {
            let (name, found) = intake.ioc_list_named(actor, id, &search.query, &page).await?;
            (Some(name), found)
        }
        None => (None, intake.ioc_list(actor, &search.query, &page).await?),
    };
    let found = found.map(IocOut::from);
    let sources: Vec<Value> = visitor
        .app
        .intake
        .source_list(&visitor.actor)
        .await?
        .into_iter()
        .map(|s| view::value(SourceOut::from(s)))
        .collect();
    Ok(visitor.page(
        status,
        "pages/iocs.html",
        context! {
            problem,
            iocs => view::value(&found.items),
            export => view::at_query(&visitor.request, "/tip/iocs.csv", &["cursor", "sort"]),
            count => view::at_query(&visitor.request, "/tip/iocs/count", &["cursor", "sort"]),
            by_change => view::at_query(&visitor.request, "/tip/iocs", &["cursor", "sort"]),
            by_value => view::sorted(&visitor.request, "/tip/iocs", &["cursor", "sort"], "value"),
            next => found.next.map(|c| view::with_query(&visitor.request, "cursor", &c)),
            later => visitor.query("cursor").is_some(),
            search => search.shown,
            name => name.map(|of| context! { id => of.id.to_string(), name => of.name, what => of.what.in_words() }),
            sources,
        },
    ))
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    page(&visitor, IocId(id.0), StatusCode::OK, Value::from(()), context! {}).await
}

async fn page(
    visitor: &PageContext,
    id: IocId,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    let view = visitor.app.intake.ioc_fetch(&visitor.actor, id).await?;
    let retires_at = view.ioc.retires_at().to_string();
    let user_severity = view.ioc.enrichment.user_severity.map(Severity::word);
    let places = visitor.app.accounts.ioc_places(&visitor.actor, id).await?;
    let history = history(visitor, id, &view.ioc, &places).await?;
    let places = view::value(PlacesOut::from(places));
    let blocklisted = view.ioc.enrichment.blocklisted;
    let alert = view.ioc.enrichment.alert_id.as_deref().and_then(|id| id.parse().ok());
    let alert_is_here = match alert {
        Some(id) => visitor.app.intake.alert_fetch(&visitor.actor, &id).await.is_ok(),
        None => false,
    };
    let of_page = context! { alert_is_here, blocklisted, history, ioc => view::value(IocOut::from(view)), user_severity, retires_at, places, problem, sent };
    Ok(visitor.page(status, "pages/ioc.html", of_page))
}

/// Changes by people, and when the IOC joined and left groups, the latest first; nothing for those
/// who may not read the audit log.
async fn history(
    visitor: &PageContext,
    id: IocId,
    ioc: &Ioc,
    places: &IocPlaces,
) -> Result<Option<Vec<Value>>, AppError> {
    if visitor.actor.may_write().is_err() {
        return Ok(None);
    }
    let filter = AuditFilter { object: Some(id.to_string()), ..AuditFilter::default() };
    let lines = visitor.app.ops.audit_list(&visitor.actor, &filter, &Page::first(IOCS)).await?;
    let none = || Value::from(Vec::<Value>::new());
    let mut all: Vec<(Timestamp, Value)> = Vec::new();
    for line in lines.items {
        let what = match line.action.as_str() {
            "ioc.update" => "changed",
            "ioc.delete" => "deleted",
            other => other,
        };
        let detail = serde_json::from_str(&line.detail).unwrap_or_default();
        all.push((line.at, context! { at => line.at.to_string(), who => line.actor, what, changes => changes(&detail) }));
    }
    for place in &places.places {
        let group = format!("{} > {}", place.device, place.group);
        let by = if place.rules.is_empty() { "a rule".to_owned() } else { place.rules.join(", ") };
        let mut add = |at: Timestamp, what: String| {
            all.push((
                at,
                context! { at => at.to_string(), who => "publisher", what, changes => none() },
            ));
        };
        add(place.since, format!("joined {group}, by {by}"));
        if let Some(left) = place.left {
            add(left, format!("left {group}"));
        }
    }
    // Each source once: when its first report was received.
    let known = visitor.app.intake.source_list(&visitor.actor).await?;
    for report in ioc.enrichment.reports.iter().filter(|report| report.first_at > 0) {
        let at = Timestamp::from_micros(report.first_at);
        let name = known.iter().find(|of| of.id == report.source_id).map(|of| of.name.as_str());
        let what = format!("reported by {}", name.unwrap_or("a source that is deleted"));
        all.push((at, context! { at => at.to_string(), who => "import", what, changes => none() }));
    }
    all.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Ok(Some(all.into_iter().map(|(_, line)| line).take(HISTORY).collect()))
}

/// What a withdrawal changes, or its undo.
fn sending(whitelist: Whitelist, why: &str) -> IocPatch {
    let comment = Some(why.trim()).filter(|why| !why.is_empty()).map(str::to_owned);
    IocPatch { whitelist: Some(whitelist), comment, ..IocPatch::default() }
}

/// Only what was changed on this page: what somebody else changed since stays.
fn edited(form: &Form) -> Result<IocPatch, AppError> {
    let changed = |name: &str| {
        form.text(name).replace('\r', "") != form.text(&format!("was_{name}")).replace('\r', "")
    };
    let tags = || {
        let lines = form.text("user_tags").split('\n').map(str::trim);
        lines.filter(|t| !t.is_empty()).map(str::to_owned).collect()
    };
    Ok(IocPatch {
        severity: if changed("severity") {
            Some(form.parsed::<Severity>("severity")?)
        } else {
            None
        },
        user_tags: changed("user_tags").then(tags),
        whitelist: if changed("whitelist") { form.parsed::<Whitelist>("whitelist")? } else { None },
        comment: None,
    })
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = IocId(id.0);
    let visitor = &form.visitor;
    let outcome = async {
        let patch = match form.text("do") {
            "edit" => edited(&form)?,
            "withdraw" => {
                let patch = sending(Whitelist::NeverSent, form.text("why"));
                visitor.app.intake.ioc_update(&visitor.actor, id, patch).await?;
                let was = Some(form.text("was")).filter(|was| *was == "always_sent");
                let query = was.map(|was| format!("?was={was}")).unwrap_or_default();
                return Ok((
                    format!("/tip/iocs/{id}{query}"),
                    "It is withdrawn from every group. This page shows which devices have fetched that.",
                ));
            }
            "restore" => {
                let was = visitor.query("was").and_then(|was| was.parse().ok());
                let patch = sending(was.unwrap_or(Whitelist::Default), "");
                visitor.app.intake.ioc_update(&visitor.actor, id, patch).await?;
                return Ok((
                    format!("/tip/iocs/{id}"),
                    "It is sent again, to every group whose rules choose it.",
                ));
            }
            "comment" => {
                IocPatch { comment: Some(form.text("comment").to_owned()), ..IocPatch::default() }
            }
            "delete" => {
                visitor.app.intake.ioc_delete(&visitor.actor, id).await?;
                return Ok(("/tip/iocs".to_owned(), "The IOC is deleted: it leaves every group."));
            }
            _ => {
                return Err(AppError::Malformed(
                    "This page does not know what to do with that form.".to_owned(),
                ));
            }
        };
        let said = if patch.comment.is_some() {
            "The comment is added."
        } else {
            "The changes are saved."
        };
        visitor.app.intake.ioc_update(&visitor.actor, id, patch).await?;
        Ok((format!("/tip/iocs/{id}"), said))
    };
    match outcome.await {
        Ok((path, said)) => visitor.done(&path, said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, id, status, problem, form.again()).await
        }
    }
}
