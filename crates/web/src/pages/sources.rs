//! TIP → Sources: who reports IOCs, and bringing IOCs in by hand.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use iocast_app::{
    AppError, ImportRequest, Mode, NewSource, Options, SourcePatch, Spooled, Stated, Trust,
};
use iocast_domain::{
    id::SourceId,
    ioc::{Enrichment, Kind, Severity, label},
    source::SourceLimits,
};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, Id, PageContext, PageResult, problem, see_other},
};
use crate::api::{
    imports::{ImportOut, stated},
    sources::SourceOut,
    subscriptions::SubscriptionOut,
};

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    list_page(&visitor, StatusCode::OK, Value::from(()), context! {}).await
}

async fn list_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    let mut subscriptions: BTreeMap<String, SubscriptionOut> = visitor
        .app
        .intake
        .subscription_list(&visitor.actor)
        .await?
        .into_iter()
        .map(SubscriptionOut::from)
        .map(|of| (of.source_id.clone(), of))
        .collect();
    let freshness = visitor.query("freshness");
    if let Some(word) = &freshness {
        subscriptions.retain(|_, of| of.freshness == *word);
    }
    let sources: Vec<Value> = visitor
        .app
        .intake
        .source_list(&visitor.actor)
        .await?
        .into_iter()
        .map(SourceOut::from)
        .filter(|of| freshness.is_none() || subscriptions.contains_key(&of.id))
        .map(view::value)
        .collect();
    let rated = visitor.app.intake.source_quality(&visitor.actor).await?;
    let counts: BTreeMap<String, Value> = rated
        .sources
        .into_iter()
        .map(|of| {
            let counts = context! { iocs => of.counts.iocs, refused => of.handled.refused };
            (of.source_id.to_string(), counts)
        })
        .collect();
    let counted_at = rated.counted_at.map(|at| at.to_string());
    let of_page = context! { counts => view::value(counts), counted_at, sources, subscriptions => view::value(&subscriptions), freshness, problem, sent };
    Ok(visitor.page(status, "pages/sources.html", of_page))
}

pub(crate) async fn list_act(form: Form) -> PageResult {
    let visitor = &form.visitor;
    let outcome = async {
        if form.text("do") == "switch" {
            let id = SourceId(form.parsed("id")?.ok_or(AppError::NotFound("source"))?);
            let enabled = form.text("to") == "on";
            let source = visitor
                .app
                .intake
                .source_update(
                    &visitor.actor,
                    id,
                    SourcePatch { enabled: Some(enabled), ..SourcePatch::default() },
                )
                .await?;
            let said = if enabled {
                "is on: its reports count."
            } else {
                "is off: its reports do not count, and what only it reported leaves the groups."
            };
            return Ok(("/tip/sources".to_owned(), format!("{} {said}", source.name)));
        }
        if let Some(patch) = of_several(form.text("do")) {
            return change_several(visitor, &form.parsed_all("ids")?, &patch).await;
        }
        let confidence = form.number("confidence")?.unwrap_or(2);
        let source = visitor
            .app
            .intake
            .source_create(
                &visitor.actor,
                NewSource::feed(form.text("name").to_owned(), confidence),
            )
            .await?;
        Ok((
            format!("/tip/sources/{}", source.id),
            format!("Source {} created. Import its IOCs next.", source.name),
        ))
    };
    match outcome.await {
        Ok((path, said)) => visitor.done(&path, &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            list_page(visitor, status, problem, form.again()).await
        }
    }
}

/// What a button does to all sources that are ticked.
fn of_several(what: &str) -> Option<SourcePatch> {
    let enabled = match what {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    };
    let confidence = what.strip_prefix("confidence_").and_then(|n| n.parse().ok());
    (enabled.is_some() || confidence.is_some()).then(|| SourcePatch {
        enabled,
        confidence,
        ..SourcePatch::default()
    })
}

/// Changes the sources that were ticked, one after the other; the first that can't be changed ends
/// it.
async fn change_several(
    visitor: &PageContext,
    ids: &[uuid::Uuid],
    patch: &SourcePatch,
) -> Result<(String, String), AppError> {
    if ids.is_empty() {
        return Err(AppError::field("ids", "nothing_chosen", "Tick at least one source."));
    }
    for id in ids {
        visitor.app.intake.source_update(&visitor.actor, SourceId(*id), patch.clone()).await?;
    }
    let are = if ids.len() == 1 { "source is" } else { "sources are" };
    Ok(("/tip/sources".to_owned(), format!("{} {are} changed.", ids.len())))
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    page(&visitor, SourceId(id.0), StatusCode::OK, Value::from(()), context! {}, Value::from(()))
        .await
}

async fn page(
    visitor: &PageContext,
    id: SourceId,
    status: StatusCode,
    problem: Value,
    sent: Value,
    report: Value,
) -> PageResult {
    let source = visitor.app.intake.source_fetch(&visitor.actor, id).await?;
    let iocs = visitor.app.intake.source_ioc_count(&visitor.actor, id).await?;
    let days = visitor.app.intake.source_days(&visitor.actor, id).await?;
    let of_page = context! {
        source => view::value(SourceOut::from(source)), iocs, problem, sent, report,
        max => visitor.app.context.settings.import_max,
        kinds => Kind::ALL.iter().map(|kind| kind.word()).collect::<Vec<_>>(),
        chart => super::quality::chart(&days),
    };
    Ok(visitor.page(status, "pages/source.html", of_page))
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = SourceId(id.0);
    let visitor = &form.visitor;
    let (app, actor) = (&visitor.app, &visitor.actor);
    let outcome = async {
        match form.text("do") {
            "edit" => {
                let patch = SourcePatch {
                    name: Some(form.text("name").to_owned()),
                    confidence: form.number("confidence")?,
                    enabled: Some(form.on("enabled")),
                    limits: Some(limits(&form)?),
                };
                app.intake.source_update(actor, id, patch).await?;
                Ok((format!("/tip/sources/{id}"), "The changes are saved.".to_owned()))
            }
            "delete" => {
                let name = app.intake.source_fetch(actor, id).await?.name;
                if form.text("typed") != name {
                    return Err(AppError::field(
                        "typed",
                        "name_differs",
                        format!("Type the source's name, {name}, to delete it."),
                    ));
                }
                app.intake.source_delete(actor, id).await?;
                Ok((
                    "/tip/sources".to_owned(),
                    format!("{name} is deleted: its reports count no more."),
                ))
            }
            _ => Err(AppError::Malformed(
                "This page does not know what to do with that form.".to_owned(),
            )),
        }
    };
    if matches!(form.text("do"), "check" | "review" | "import") {
        return match paste(&form, id).await {
            Ok(ImportOut { id: Some(import), dry_run: true, .. }) => {
                Ok(see_other(&format!("/tip/imports/{import}")))
            }
            Ok(report) => {
                page(
                    visitor,
                    id,
                    StatusCode::OK,
                    Value::from(()),
                    form.again(),
                    view::value(&report),
                )
                .await
            }
            Err(error) => {
                let (status, problem) = problem(error)?;
                page(visitor, id, status, problem, form.again(), Value::from(())).await
            }
        };
    }
    match outcome.await {
        Ok((path, said)) => visitor.done(&path, &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, id, status, problem, form.again(), Value::from(())).await
        }
    }
}

/// What a source may claim, and for how long its IOCs stay.
fn limits(form: &Form) -> Result<SourceLimits, AppError> {
    // Too many days are refused with the bounds.
    let days = |number: i64| u16::try_from(number).unwrap_or(u16::MAX);
    let mut lifetimes = BTreeMap::new();
    for kind in Kind::ALL {
        if let Some(number) = form.number(&format!("lifetime_{}", kind.word()))? {
            lifetimes.insert(*kind, days(number));
        }
    }
    Ok(SourceLimits {
        lifetime_days: form.number("lifetime_days")?.map(days),
        lifetimes,
        severity_most: form
            .maybe("severity_most")
            .map(|word| word.parse::<Severity>())
            .transpose()
            .map_err(|why| AppError::field("severity_most", "word_unknown", why))?,
    })
}

/// Imports a text that was pasted; files go to the API, by the page's script.
async fn paste(form: &Form, id: SourceId) -> Result<ImportOut, AppError> {
    let (app, actor) = (&form.visitor.app, &form.visitor.actor);
    let text = form.untrimmed("pasted");
    if text.trim().is_empty() {
        return Err(AppError::field(
            "pasted",
            "nothing_pasted",
            "Paste some IOCs first: a list, a table, JSON, or a report.",
        ));
    }
    let stated = stated(Some(form.text("form")), Stated::Nothing)?;
    let mut also = Enrichment::default();
    also.user_tags.extend(label(form.text("tag")));
    let spooled = Spooled(app.intake.spool_path());
    tokio::fs::create_dir_all(app.intake.spool()).await.map_err(unwritable)?;
    tokio::fs::write(&spooled.0, text).await.map_err(unwritable)?;
    let request = ImportRequest {
        path: spooled.0.clone(),
        file_name: None,
        stated,
        options: Options {
            only_to_ids: form.on("to_ids"),
            live_links: form.on("live_links"),
            observables: form.on("observables"),
        },
        also,
        trust: if form.on("restore") { Trust::Restore } else { Trust::Feed },
        mode: match form.text("do") {
            "check" => Mode::DryRun,
            "review" => Mode::Review,
            _ => Mode::Take,
        },
        ledger: None,
        columns: None,
    };
    Ok(ImportOut::from(app.intake.import(actor, id, request, &|_| {}).await?))
}

fn unwritable(error: std::io::Error) -> AppError {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "A pasted import could not be spooled"
    );
    AppError::Unavailable("The import could not be put aside: the data folder is full or not writable. Nothing was written.".to_owned())
}
