//! The audit log.

use std::collections::BTreeSet;

use iocast_app::{AuditFilter, AuditLine, Page};
use minijinja::{Value, context};
use serde_json::Value as Json;

use super::super::{
    view,
    visit::{PageContext, PageResult},
};
use crate::{api::audit::AuditOut, csv};

/// Lines of the outbox and the audit log on a page.
pub(super) const LINES: u64 = 50;

/// Lines of the audit log that are read at once for the file.
const EXPORTED: u64 = 2_000;

fn audit_filter(visitor: &PageContext) -> AuditFilter {
    AuditFilter {
        actor: visitor.query("actor"),
        action: visitor.query("action"),
        object: visitor.query("object"),
    }
}

/// What a line of the audit log says: the name of each thing, what it was and what it is. Lines of
/// any version are shown, whatever they hold.
pub(crate) fn changes(detail: &Json) -> Vec<Value> {
    let one = |name: &str, is: &Json| context! { name => name.replace('_', " "), is => view::value(is), was => (), changed => false };
    let Json::Object(detail) = detail else {
        return if detail.is_null() { Vec::new() } else { vec![one("detail", detail)] };
    };
    let (Some(before), Some(after)) = (detail.get("before"), detail.get("after")) else {
        return detail.iter().map(|(name, is)| one(name, is)).collect();
    };
    let others = detail.iter().filter(|(name, _)| !["before", "after"].contains(&name.as_str()));
    let mut rows: Vec<Value> = others.map(|(name, is)| one(name, is)).collect();
    let changed = |name: &str, was: &Json, is: &Json| context! { name => name.replace('_', " "), is => view::value(is), was => view::value(was), changed => true };
    let (Json::Object(old), Json::Object(new)) = (before, after) else {
        rows.push(changed("value", before, after));
        return rows;
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let of = |side: &serde_json::Map<String, Json>, name: &str| {
        side.get(name).cloned().unwrap_or_default()
    };
    rows.extend(
        names
            .into_iter()
            .filter(|name| of(old, name) != of(new, name))
            .map(|name| changed(name, &of(old, name), &of(new, name))),
    );
    rows
}

pub(crate) async fn audit(visitor: PageContext) -> PageResult {
    let filter = audit_filter(&visitor);
    let lines = visitor
        .app
        .ops
        .audit_list(&visitor.actor, &filter, &Page { limit: LINES, after: visitor.query("cursor") })
        .await?
        .map(AuditOut::from);
    let people: Vec<String> = visitor
        .app
        .accounts
        .user_list(&visitor.actor)
        .await?
        .into_iter()
        .map(|u| u.email)
        .collect();
    let AuditFilter { actor, action, object } = filter;
    let of_page = context! {
        lines => lines.items.iter().map(|line| context! { changes => changes(&line.detail), ..view::value(line) }).collect::<Vec<_>>(),
        next => lines.next.map(|c| view::with_query(&visitor.request, "cursor", &c)),
        csv => format!("/settings/audit.csv?{}", visitor.request.query_string()),
        actor, action, object, people,
    };
    visitor.show("pages/audit.html", of_page)
}

/// The audit log as a table for spreadsheets: nothing in it is taken for a formula.
pub(crate) async fn audit_csv(visitor: PageContext) -> PageResult {
    let filter = audit_filter(&visitor);
    // Who may not is told before the table begins.
    visitor.actor.may_write()?;
    let head = ["at", "actor", "action", "object", "detail", "address", "request_id"];
    Ok(csv::streamed(
        "iocast-audit.csv",
        &head,
        Some(Page { limit: EXPORTED, after: None }),
        move |page| {
            let (app, actor, filter) = (visitor.app.clone(), visitor.actor.clone(), filter.clone());
            async move {
                let lines = app.ops.audit_list(&actor, &filter, &page).await?;
                let row = |l: AuditLine| {
                    csv::line(&[
                        &l.at.to_string(),
                        &l.actor,
                        &l.action,
                        &l.object,
                        &l.detail,
                        &l.address,
                        &l.request_id,
                    ])
                };
                let table = lines.items.into_iter().map(row).collect();
                Ok((table, lines.next.map(|after| Page { limit: EXPORTED, after: Some(after) })))
            }
        },
    ))
}
