//! TIP → Sources → a source's subscription: what it fetches, how fresh it is, what fetches did.

use actix_web::http::StatusCode;
use iocast_app::{AppError, Loss, Page};
use iocast_domain::{id::SourceId, ioc::Kind, subscription::FetchOutcome};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::api::{
    imports::ImportOut,
    sources::SourceOut,
    subscriptions::{FetchOut, SubscriptionOut, of_form},
};

/// Fetches on a page.
const ROWS: u64 = 50;

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    let none = || Value::from(());
    page(&visitor, SourceId(id.0), StatusCode::OK, none(), None, none()).await
}

async fn page(
    visitor: &PageContext,
    id: SourceId,
    status: StatusCode,
    problem: Value,
    sent: Option<&Form>,
    report: Value,
) -> PageResult {
    let (app, actor) = (&visitor.app, &visitor.actor);
    let source = app.intake.source_fetch(actor, id).await?;
    let subscription = match app.intake.subscription_fetch(actor, id).await {
        Ok(found) => Some(SubscriptionOut::from(found)),
        Err(AppError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    // Of what was typed and not taken, or of what is stored.
    let saved = sent.filter(|form| form.text("do") == "save");
    let ticked: Vec<String> = match (saved, &subscription) {
        (Some(form), _) => form.all("kinds").map(str::to_owned).collect(),
        (None, Some(of)) => of.kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        (None, None) => Vec::new(),
    };
    let sent = sent.map_or_else(|| context! {}, |form| form.again());
    let subscription = subscription.map_or_else(|| Value::from(()), view::value);
    let wanted = Page { limit: ROWS, after: visitor.query("cursor") };
    let found = app.intake.fetch_list(actor, id, &wanted).await?;
    let next = found.next.as_deref().map(|next| view::with_query(&visitor.request, "cursor", next));
    let fetches: Vec<Value> =
        found.items.into_iter().map(|fetch| view::value(FetchOut::from(fetch))).collect();
    let of_page = context! {
        source => view::value(SourceOut::from(source)),
        subscription, fetches, next, problem, sent, ticked, report,
        kinds => Kind::ALL.iter().map(|kind| kind.word()).collect::<Vec<_>>(),
    };
    Ok(visitor.page(status, "pages/fetches.html", of_page))
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = SourceId(id.0);
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let here = format!("/tip/sources/{id}/subscription");
    if form.text("do") == "try" {
        let none = || Value::from(());
        return match app.intake.subscription_try(actor, id).await {
            Ok(report) => {
                let report = view::value(ImportOut::from(report));
                page(visitor, id, StatusCode::OK, none(), Some(&form), report).await
            }
            Err(error) => {
                let (status, problem) = problem(error)?;
                page(visitor, id, status, problem, Some(&form), none()).await
            }
        };
    }
    let outcome = async {
        match form.text("do") {
            "save" => {
                let new = of_form(&form)?;
                app.intake.subscription_put(actor, id, new).await?;
                Ok((
                    here.clone(),
                    "Saved; the list is fetched at once unless it is paused.".to_owned(),
                ))
            }
            "fetch" | "accept" => {
                let loss = if form.text("do") == "accept" { Loss::Accept } else { Loss::Refuse };
                let done = app.intake.subscription_fetch_now(actor, id, loss).await?;
                let said = match done.outcome {
                    FetchOutcome::Taken => format!(
                        "Fetched: {} new, {} changed, {} gone.",
                        done.added, done.changed, done.gone
                    ),
                    FetchOutcome::Unchanged => "Fetched: nothing changed.".to_owned(),
                    FetchOutcome::Failed => {
                        "The fetch failed, and nothing changed; the page says why.".to_owned()
                    }
                };
                Ok((here.clone(), said))
            }
            "end" => {
                app.intake.subscription_delete(actor, id).await?;
                let said = "The subscription is ended; what it brought stays.".to_owned();
                Ok((format!("/tip/sources/{id}"), said))
            }
            _ => Err(super::settings::unknown()),
        }
    };
    match outcome.await {
        Ok((path, said)) => visitor.done(&path, &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, id, status, problem, Some(&form), Value::from(())).await
        }
    }
}
