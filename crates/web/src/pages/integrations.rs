//! Automation → Integrations: the devices, and adding one.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, http::StatusCode};
use iocast_app::{Condition, DayOfPulls, NewDevice, Overview, OverviewQuery};
use iocast_domain::{
    device_type::{CATALOGUE, DeviceType, Location},
    id::DeviceId,
    receipt::Protection,
    time::Timestamp,
};
use minijinja::{Value, context};
use serde::Serialize;

use super::{
    view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::api::{device_types::DeviceTypeOut, devices::DeviceOut};

const PLACE: &str = "/automation/integrations";

fn location(visitor: &PageContext) -> Location {
    if visitor.query("tab").as_deref() == Some("on_premises") {
        Location::OnPremises
    } else {
        Location::Cloud
    }
}

pub(crate) fn condition(of: Condition) -> Value {
    context! { code => of.code(), word => of.word() }
}

/// Bars of a chart: a day each, with its height in parts of the largest.
pub(crate) fn bars(days: &[DayOfPulls]) -> Value {
    let most = days.iter().map(|d| d.pulls + d.failures).max().unwrap_or_default().max(1);
    let bar = |d: &DayOfPulls| {
        let part = |n: u64| n * 100 / most;
        context! { day => d.day.day(), pulls => d.pulls, failures => d.failures, height => part(d.pulls), failed => part(d.failures) }
    };
    context! {
        days => days.iter().map(bar).collect::<Vec<_>>(),
        pulls => days.iter().map(|d| d.pulls).sum::<u64>(),
        failures => days.iter().map(|d| d.failures).sum::<u64>(),
        active => days.iter().filter(|d| d.pulls > 0).count(),
    }
}

pub(crate) async fn list(visitor: PageContext) -> PageResult {
    list_page(&visitor, StatusCode::OK, Value::from(()), Value::from(())).await
}

/// The list, with what came of a change to several devices.
pub(crate) async fn list_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    changed: Value,
) -> PageResult {
    let location = location(visitor);
    let order = visitor.query("sort").unwrap_or_else(|| "name".to_owned());
    let query = OverviewQuery {
        location,
        text: visitor.query("q"),
        condition: visitor.query("state").and_then(|s| s.parse().ok()),
        protection: visitor.query("protection"),
        label: visitor.query("label"),
        device_type: visitor.query("type"),
        order: order.parse().unwrap_or_default(),
        reversed: visitor.query("reversed").is_some(),
        page: visitor.query("page").and_then(|p| p.parse().ok()).unwrap_or(1),
    };
    let Overview { rows, found, all, conditions, labels, page, pages } =
        visitor.app.accounts.overview(&visitor.actor, &query).await?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(view, days)| {
            context! {
                condition => condition(view.condition()),
                served => view.served(),
                type_name => view.device.device_type.name,
                chart => bars(&days),
                device => view::value(DeviceOut::from(view)),
            }
        })
        .collect();
    let conditions: Vec<Value> = conditions
        .into_iter()
        .map(|(c, n)| context! { code => c.code(), word => c.word(), count => n })
        .collect();
    let types: Vec<Value> =
        types(location).map(|t| context! { id => t.id, name => t.name }).collect();
    let protections: Vec<Value> = Protection::CODES
        .iter()
        .map(|code| context! { code => *code, word => super::overview::state_word(code) })
        .collect();
    // A second click on a heading turns the order round.
    let sorted = |code: &str| {
        let at = view::sorted(&visitor.request, PLACE, &["sort", "reversed", "page"], code);
        let other = if code == order && !query.reversed { "&reversed=1" } else { "" };
        (code.to_owned(), format!("{at}{other}"))
    };
    let sorts: BTreeMap<String, String> =
        ["name", "state", "last_pull", "iocs"].into_iter().map(sorted).collect();
    let nobody_told = visitor.app.accounts.alerted_people(&visitor.actor).await? == 0;
    Ok(visitor.page(
        status,
        "pages/integrations.html",
        context! {
            problem, changed,
            tab => if location == Location::Cloud { "cloud" } else { "on_premises" },
            q => query.text, state => query.condition.map(Condition::code), of_type => query.device_type, protection => query.protection, protections, label => query.label, labels, sort => order, reversed => query.reversed,
            sorts, rows, found, all, conditions, types, number => page, pages, nobody_told,
        },
    ))
}

fn types(location: Location) -> impl Iterator<Item = &'static DeviceType> {
    CATALOGUE.iter().filter(move |t| t.location == location)
}

#[derive(Serialize)]
struct StateOut {
    id: String,
    name: String,
    state: &'static str,
    word: &'static str,
    last_pull: String,
    last_pull_exact: Option<String>,
    last_pull_at: Option<Timestamp>,
}

/// How the devices are whose ids a page names, because it shows them.
pub(crate) async fn states(visitor: PageContext) -> PageResult {
    let now = visitor.app.context.now();
    let ids = visitor.query("ids").unwrap_or_default();
    let shown: Vec<DeviceId> =
        ids.split(',').filter_map(|id| id.parse().ok().map(DeviceId)).collect();
    let states = visitor.app.accounts.conditions(&visitor.actor, &shown).await?.into_iter().map(
        |(id, name, condition, last)| StateOut {
            id: id.to_string(),
            name,
            state: condition.code(),
            word: condition.word(),
            last_pull: last.map_or_else(|| "never".to_owned(), |at| view::ago(at, now)),
            last_pull_exact: last.map(Timestamp::minute),
            last_pull_at: last,
        },
    );
    Ok(HttpResponse::Ok().json(states.collect::<Vec<_>>()))
}

pub(crate) async fn new(visitor: PageContext) -> PageResult {
    visitor.actor.may_write()?;
    let location = location(&visitor);
    Ok(new_page(&visitor, StatusCode::OK, location, context! {}, Value::from(())))
}

fn new_page(
    visitor: &PageContext,
    status: StatusCode,
    location: Location,
    sent: Value,
    problem: Value,
) -> HttpResponse {
    let types: Vec<Value> = types(location).map(|t| view::value(DeviceTypeOut::from(t))).collect();
    let tab = if location == Location::Cloud { "cloud" } else { "on_premises" };
    visitor.page(status, "pages/new_device.html", context! { tab, types, sent, problem })
}

pub(crate) async fn add(form: Form) -> PageResult {
    let visitor = &form.visitor;
    let made = async {
        let new = NewDevice {
            name: form.text("name").to_owned(),
            device_type: form.text("device_type").to_owned(),
            ioc_limit: form.number("ioc_limit")?,
            labels: super::fleet::labels_of(form.text("labels")),
        };
        visitor.app.accounts.device_create(&visitor.actor, new).await
    };
    match made.await {
        Ok(view) => visitor.done(
            &format!("/automation/integrations/{}/setup", view.device.id),
            &format!("{} is added.", view.device.name),
        ),
        Err(error) => {
            let (status, problem) = problem(error)?;
            Ok(new_page(visitor, status, location(visitor), form.again(), problem))
        }
    }
}
