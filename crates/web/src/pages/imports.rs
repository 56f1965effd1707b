//! TIP → Imports: what was brought in, what waits for a review, and taking one back.

use actix_web::http::StatusCode;
use iocast_app::{AppError, ImportFilter, ImportView, Page, ReviewFilter};
use iocast_domain::{
    id::{ImportId, IocId, SourceId},
    import::{Choice, ImportState},
    ioc::{Enrichment, label},
};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::api::imports::{
    ImportOut,
    kept::{ImportRecordOut, UndoOut},
    review::{ReviewOut, review_filter},
};

/// Imports on a page.
const ROWS: u64 = 50;
/// IOCs of a review on a page.
const IOCS: u64 = 100;

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    let source = visitor.query("source").and_then(|id| id.parse().ok()).map(SourceId);
    let filter =
        ImportFilter { source, state: visitor.query("state").and_then(|s| s.parse().ok()) };
    let page = Page { limit: ROWS, after: visitor.query("cursor") };
    let found = visitor.app.intake.import_list_page(&visitor.actor, &filter, &page).await?;
    let next = found.next.as_deref().map(|next| view::with_query(&visitor.request, "cursor", next));
    let imports: Vec<Value> =
        found.items.into_iter().map(|i| view::value(ImportRecordOut::from(i))).collect();
    let filtered = source.is_some() || filter.state.is_some();
    visitor.show("pages/imports.html", context! { imports, next, filtered })
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    page(&visitor, ImportId(id.0), StatusCode::OK, Value::from(())).await
}

async fn page(
    visitor: &PageContext,
    id: ImportId,
    status: StatusCode,
    problem: Value,
) -> PageResult {
    let (app, actor) = (&visitor.app, &visitor.actor);
    let view = app.intake.import_fetch(actor, id).await?;
    let (rejected, remarks) = lines(visitor, &view).await?;
    let review = match view.state {
        ImportState::Review => review(visitor, id).await?,
        _ => Value::from(()),
    };
    let undo = match (view.state, visitor.query("undo")) {
        (ImportState::Done, Some(_)) if actor.may_write().is_ok() => {
            view::value(UndoOut::from(app.intake.import_undo_plan(actor, id).await?))
        }
        _ => Value::from(()),
    };
    let mut report = view.report.clone();
    (report.rejected, report.remarks) = (rejected, remarks);
    let of_page = context! {
        import => view::value(ImportRecordOut::from(view)),
        report => view::value(ImportOut::from(report)),
        review,
        undo,
        problem,
    };
    Ok(visitor.page(status, "pages/import.html", of_page))
}

/// The first lines that were refused, and those of which a field was left out.
async fn lines(
    visitor: &PageContext,
    view: &ImportView,
) -> Result<(Vec<iocast_app::Rejected>, Vec<iocast_app::Rejected>), AppError> {
    let lines = visitor.app.intake.import_lines(&visitor.actor, view.id, 0, IOCS).await?;
    let (remarks, rejected): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.remark);
    let shown = |lines: Vec<iocast_app::ImportLine>| {
        lines
            .into_iter()
            .map(|line| iocast_app::Rejected {
                line: line.line,
                value: line.value,
                reason: line.reason,
            })
            .collect()
    };
    Ok((shown(rejected), shown(remarks)))
}

/// A page of the IOCs of a review.
async fn review(visitor: &PageContext, id: ImportId) -> Result<Value, super::visit::Failure> {
    let (filter, change, prefix, offset) = wanted(visitor)?;
    let found = visitor.app.intake.review_list(&visitor.actor, id, &filter, offset, IOCS).await?;
    let out = ReviewFilter { left_out: Some(true), ..ReviewFilter::default() };
    let left_out = visitor.app.intake.review_list(&visitor.actor, id, &out, 0, 0).await?.found;
    let end = offset + found.rows.len() as u64;
    Ok(context! {
        rows => view::value(ReviewOut::from(found.clone())),
        found => found.found,
        left_out,
        change,
        prefix,
        first => offset + 1,
        end,
        before => (offset > 0).then(|| offset.saturating_sub(IOCS)),
        next => (end < found.found).then_some(end),
    })
}

type Wanted = (ReviewFilter, Option<String>, Option<String>, u64);

fn wanted(visitor: &PageContext) -> Result<Wanted, super::visit::Failure> {
    let (change, prefix) = (visitor.query("change"), visitor.query("prefix"));
    let offset =
        visitor.query("offset").and_then(|text| text.parse::<u32>().ok()).map_or(0, u64::from);
    let filter = review_filter(change.as_deref(), None, prefix.clone())?;
    Ok((filter, change, prefix, offset))
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let (visitor, id) = (&form.visitor, ImportId(id.0));
    let (app, actor) = (&visitor.app, &visitor.actor);
    let here = format!("/tip/imports/{id}");
    let outcome = async {
        match form.text("do") {
            "select" | "take" => {
                let (mut take, mut leave) = (Vec::new(), Vec::new());
                let taken: Vec<uuid::Uuid> = form.parsed_all("take")?;
                for shown in form.parsed_all::<uuid::Uuid>("shown")? {
                    let list = if taken.contains(&shown) { &mut take } else { &mut leave };
                    list.push(IocId(shown));
                }
                app.intake.review_select(actor, id, &take, Choice::Take).await?;
                app.intake.review_select(actor, id, &leave, Choice::LeaveOut).await?;
                if form.text("do") == "select" {
                    return Ok((
                        form.text("then").to_owned(),
                        "The selection is saved.".to_owned(),
                    ));
                }
                let mut also = Enrichment::default();
                also.user_tags.extend(label(form.text("tag")));
                also.malware_families.extend(label(form.text("malware_family")));
                app.intake.review_take(actor, id, &also).await?;
                Ok((here.clone(), "The import is taken.".to_owned()))
            }
            word @ ("all" | "none") => {
                let choice = if word == "all" { Choice::Take } else { Choice::LeaveOut };
                let change = form.maybe("change");
                let filter = review_filter(change.as_deref(), None, form.maybe("prefix"))
                    .map_err(|problem| AppError::Malformed(problem.detail))?;
                app.intake.review_select_all(actor, id, &filter, choice).await?;
                Ok((form.text("then").to_owned(), "The selection is saved.".to_owned()))
            }
            "discard" => {
                app.intake.import_discard(actor, id).await?;
                Ok((here.clone(), "Nothing of this import is written.".to_owned()))
            }
            "undo" => {
                app.intake.import_undo(actor, id).await?;
                Ok((here.clone(), "The import is undone.".to_owned()))
            }
            _ => Err(AppError::Malformed(
                "This page does not know what to do with that form.".to_owned(),
            )),
        }
    };
    match outcome.await {
        Ok((path, said)) => {
            // Only back to this page.
            let path = if path.starts_with(&here) { path } else { here };
            visitor.done(&path, &said)
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, id, status, problem).await
        }
    }
}
