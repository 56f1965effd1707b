//! TIP → Alerts: those that came in, with the IOCs that came up in them.

use actix_web::{http::StatusCode, web};
use iocast_app::{AlertChange, AlertFilter, AppError, IocEdit, Page};
use iocast_domain::{
    alert::{Alert, AlertKind, CloseReason, Closing},
    id::AlertId,
    ioc::{Kind, Severity, ioc_id},
};
use minijinja::{Value, context};

use super::{
    view,
    visit::{Form, PageContext, PageResult, problem},
};

/// Alerts on a page.
const ALERTS: u64 = 50;

/// The id in the path. One that is none leads nowhere.
fn id_of(path: &web::Path<String>) -> Result<AlertId, AppError> {
    path.parse().map_err(|_none| AppError::NotFound("alert"))
}

fn row(of: &Alert) -> Value {
    context! {
        id => of.id.to_string(), title => of.text.title.clone(), kind => of.kind.word(), severity => of.severity.word(),
        closed => of.text.closing.is_some(), iocs => of.text.iocs.len(), source => of.text.source.kind.clone(),
        found_at => of.found_at.to_string(), updated_at => of.updated_at.to_string(),
    }
}

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    let kind: Option<AlertKind> = visitor.query("type").and_then(|k| k.parse().ok());
    let severity: Option<Severity> = visitor.query("severity").and_then(|s| s.parse().ok());
    let state = visitor.query("state");
    let filter = AlertFilter {
        kinds: kind.into_iter().collect(),
        severities: severity.into_iter().collect(),
        closed: state.as_deref().map(|state| state == "closed"),
        ..AlertFilter::default()
    };
    let page = Page { limit: ALERTS, after: visitor.query("cursor") };
    let found = visitor.app.intake.alert_list_latest(&visitor.actor, &filter, &page).await?;
    let filtered = kind.is_some() || severity.is_some() || state.is_some() || page.after.is_some();
    visitor.show(
        "pages/alerts.html",
        context! {
            alerts => found.items.iter().map(row).collect::<Vec<_>>(),
            next => found.next.map(|next| view::with_query(&visitor.request, "cursor", &next)),
            kinds => AlertKind::ALL.iter().map(|k| k.word()).collect::<Vec<_>>(),
            kind => kind.map(AlertKind::word), severity => severity.map(Severity::word), state, filtered,
        },
    )
}

pub(crate) async fn show(visitor: PageContext, path: web::Path<String>) -> PageResult {
    page(&visitor, &id_of(&path)?, StatusCode::OK, Value::from(())).await
}

async fn page(
    visitor: &PageContext,
    id: &AlertId,
    status: StatusCode,
    problem: Value,
) -> PageResult {
    let (intake, actor) = (&visitor.app.intake, &visitor.actor);
    let alert = intake.alert_fetch(actor, id).await?;
    let ioc = |(kind, value, blocked): (Kind, String, bool)| {
        let id = ioc_id(&actor.account_id, kind, &value).to_string();
        context! { id, kind => kind.word(), value, blocked }
    };
    let iocs: Vec<Value> = intake.alert_blocklist(actor, id).await?.into_iter().map(ioc).collect();
    let text = &alert.text;
    let closing = text
        .closing
        .as_ref()
        .map(|of| context! { reason => of.reason.word(), text => of.text.clone() });
    let of_page = context! {
        problem, alert => row(&alert), iocs, closing,
        reasons => CloseReason::ALL.iter().map(|r| r.word()).collect::<Vec<_>>(),
        description => text.description.clone(), sub_type => text.sub_type.clone(), network => text.source.network.clone(), url => text.source.url.clone(),
        tags => text.tags.iter().map(|tag| tag.name.clone()).collect::<Vec<_>>(),
    };
    Ok(visitor.page(status, "pages/alert.html", of_page))
}

pub(crate) async fn act(form: Form, path: web::Path<String>) -> PageResult {
    let visitor = &form.visitor;
    let id = id_of(&path)?;
    let (intake, actor) = (&visitor.app.intake, &visitor.actor);
    let outcome = async {
        let change = match form.text("do") {
            what @ ("block" | "unblock") => {
                let on = what == "block";
                let alert = intake.alert_fetch(actor, &id).await?;
                let all =
                    alert.text.iocs.into_iter().map(|(_, value)| (value, IocEdit::Blocklist(on)));
                intake.ioc_bulk_edit(actor, all.collect()).await?;
                return Ok(if on {
                    "Its IOCs are on the remediation blocklist."
                } else {
                    "Its IOCs are off the remediation blocklist."
                });
            }
            "severity" => AlertChange::Severity(
                form.parsed("severity")?.ok_or_else(super::settings::unknown)?,
            ),
            "close" => AlertChange::Close(Closing {
                reason: form.parsed("reason")?.ok_or_else(super::settings::unknown)?,
                text: form.text("text").to_owned(),
                hidden: false,
                rate: None,
            }),
            "reopen" => AlertChange::Reopen,
            "tag" => AlertChange::Tag(form.text("tag").to_owned()),
            _ => return Err(super::settings::unknown()),
        };
        intake.alert_change(actor, &id, change).await?;
        Ok("The alert is changed.")
    };
    match outcome.await {
        Ok(said) => visitor.done(&format!("/tip/alerts/{id}"), said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, &id, status, problem).await
        }
    }
}
