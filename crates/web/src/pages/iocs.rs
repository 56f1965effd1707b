//! TIP → IOCs: searching them, and one with everything that is known of it.

use actix_web::http::StatusCode;
use iocast_app::{AppError, IocPatch, IocQuery, Page};
use iocast_domain::{
    id::{IocId, SourceId},
    ioc::{Kind, Severity, State, Whitelist},
    normalise::{detect, prefix},
};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::api::{iocs::IocOut, receipts::PlacesOut, sources::SourceOut};

/// IOCs on a page.
const IOCS: u64 = 50;

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
    let query = IocQuery {
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
    let shown = context! {
        q => text, how,
        kind => query.kinds.first().map(|k| k.word()), severity => query.severities.first().map(|s| s.word()), state => query.state.map(State::word),
        source => query.sources.first().map(ToString::to_string), whitelist => query.whitelist.first().map(|w| w.word()),
        kinds => Kind::ALL.iter().map(|k| k.word()).collect::<Vec<_>>(),
        active => !query.is_empty(),
    };
    Search { query, shown }
}

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    let search = filter(&visitor);
    let found = visitor
        .app
        .intake
        .ioc_list(
            &visitor.actor,
            &search.query,
            &Page { limit: IOCS, after: visitor.query("cursor") },
        )
        .await?
        .map(IocOut::from);
    let sources: Vec<Value> = visitor
        .app
        .intake
        .source_list(&visitor.actor)
        .await?
        .into_iter()
        .map(|s| view::value(SourceOut::from(s)))
        .collect();
    visitor.show(
        "pages/iocs.html",
        context! {
            iocs => view::value(&found.items),
            next => found.next.map(|c| view::with_query(&visitor.request, "cursor", &c)),
            later => visitor.query("cursor").is_some(),
            search => search.shown,
            sources,
        },
    )
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
    let places = view::value(PlacesOut::from(places));
    let of_page = context! { ioc => view::value(IocOut::from(view)), user_severity, retires_at, places, problem, sent };
    Ok(visitor.page(status, "pages/ioc.html", of_page))
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = IocId(id.0);
    let visitor = &form.visitor;
    let outcome = async {
        let patch = match form.text("do") {
            "edit" => {
                // Only what was changed on this page: what somebody else changed since stays.
                let changed = |name: &str| {
                    form.text(name).replace('\r', "")
                        != form.text(&format!("was_{name}")).replace('\r', "")
                };
                let tags = || {
                    form.text("user_tags")
                        .split('\n')
                        .map(str::trim)
                        .filter(|t| !t.is_empty())
                        .map(str::to_owned)
                        .collect()
                };
                IocPatch {
                    severity: if changed("severity") {
                        Some(form.parsed::<Severity>("severity")?)
                    } else {
                        None
                    },
                    user_tags: changed("user_tags").then(tags),
                    whitelist: if changed("whitelist") {
                        form.parsed::<Whitelist>("whitelist")?
                    } else {
                        None
                    },
                    comment: None,
                }
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
