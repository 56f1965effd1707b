//! Many devices at once: changed together on the Integrations page, added from a table, and
//! exported as one.

use actix_web::http::StatusCode;
use iocast_app::{AppError, DeviceView, FLEET_COLUMNS, FleetChange, Page, fleet_table};
use iocast_domain::{id::DeviceId, time::HOUR};
use minijinja::{Value, context};

use super::{
    integrations, view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::{
    api::fleet::{FleetChangedOut, FleetOut},
    csv,
};

/// Devices that are read at once for the file.
const EXPORTED: u64 = 500;

/// Labels as a person writes them into one field.
pub(crate) fn labels_of(text: &str) -> Vec<String> {
    text.split([',', ';', '\n'])
        .map(str::trim)
        .filter(|label| !label.is_empty())
        .map(str::to_owned)
        .collect()
}

fn asked(form: &Form) -> Result<FleetChange, AppError> {
    let number = |what: &str| {
        form.number("value")?.ok_or_else(|| {
            AppError::field("value", "value_missing", format!("Give {what} as a number."))
        })
    };
    let labels = || {
        let labels = labels_of(form.text("value"));
        if labels.is_empty() {
            let message = "Write the label into the field beside the buttons.";
            return Err(AppError::field("value", "value_missing", message));
        }
        Ok(labels)
    };
    let until = |hours: i64| form.visitor.app.context.now().plus(hours.saturating_mul(HOUR));
    Ok(match form.text("do") {
        "add_label" => FleetChange::AddLabels(labels()?),
        "remove_label" => FleetChange::RemoveLabels(labels()?),
        "limit" => FleetChange::Limit(number("the limit")?),
        "silent" => FleetChange::SilentAfter(Some(number("the hours")?).filter(|h| *h != 0)),
        "pause" => FleetChange::Pause(form.number("value")?.map(until)),
        "resume" => FleetChange::Resume,
        "key" => FleetChange::NewKey,
        _ => return Err(super::settings::unknown()),
    })
}

/// Changes the devices that were ticked.
pub(crate) async fn change(form: Form) -> PageResult {
    let visitor = &form.visitor;
    let outcome = async {
        let ids: Vec<DeviceId> =
            form.parsed_all::<uuid::Uuid>("ids")?.into_iter().map(DeviceId).collect();
        let change = asked(&form)?;
        visitor.app.accounts.devices_change(&visitor.actor, &ids, &change).await
    };
    match outcome.await {
        Ok(changed) => {
            let changed = FleetChangedOut::from(changed);
            let has_keys = form.text("do") == "key";
            if changed.failed == 0 && !has_keys {
                let here = Some(form.text("here")).filter(|path| view::is_place(path));
                let n = changed.changed;
                let said =
                    format!("{n} {} changed.", if n == 1 { "device is" } else { "devices are" });
                return visitor.done(here.unwrap_or("/automation/integrations"), &said);
            }
            integrations::list_page(visitor, StatusCode::OK, Value::from(()), view::value(changed))
                .await
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            integrations::list_page(visitor, status, problem, Value::from(())).await
        }
    }
}

/// The page on which a table of devices is given.
pub(crate) async fn table(visitor: PageContext) -> PageResult {
    visitor.actor.may_write()?;
    table_page(&visitor, StatusCode::OK, Value::from(()), Value::from(()), "")
}

fn table_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    result: Value,
    sent: &str,
) -> PageResult {
    let of_page = context! { problem, result, sent, columns => FLEET_COLUMNS.join(",") };
    Ok(visitor.page(status, "pages/device_table.html", of_page))
}

/// Checks a table, or adds its devices.
pub(crate) async fn add(form: Form) -> PageResult {
    let visitor = &form.visitor;
    let only_check = form.text("do") != "add";
    let text = form.text("table");
    let outcome = async {
        let rows = fleet_table(text)?;
        visitor.app.accounts.devices_add(&visitor.actor, rows, only_check).await
    };
    match outcome.await {
        Ok(added) => {
            let of = FleetOut::from(added);
            let result =
                context! { checked => only_check, table => of.table(), ..view::value(&of) };
            // What was added is not sent once more by the same form.
            let sent = if of.added > 0 { "" } else { text };
            table_page(visitor, StatusCode::OK, Value::from(()), result, sent)
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            table_page(visitor, status, problem, Value::from(()), text)
        }
    }
}

/// The devices as a table that can be given again.
pub(crate) async fn export(visitor: PageContext) -> PageResult {
    // Who may not is told before the table begins.
    visitor.actor.may_read(iocast_domain::account::Module::Automation)?;
    let more = ["state", "last_pull_at", "protection", "iocs", "urls"];
    let head: Vec<&str> = FLEET_COLUMNS.iter().copied().chain(more).collect();
    Ok(csv::streamed(
        "iocast-devices.csv",
        &head,
        Some(Page { limit: EXPORTED, after: None }),
        move |page| {
            let (app, actor) = (visitor.app.clone(), visitor.actor.clone());
            async move {
                let devices = app.accounts.device_list(&actor, &page).await?;
                let lines = devices.items.iter().map(line).collect();
                Ok((lines, devices.next.map(|after| Page { limit: EXPORTED, after: Some(after) })))
            }
        },
    ))
}

fn line(of: &DeviceView) -> String {
    let group = |group: &iocast_app::GroupView| {
        let group = &group.row.group;
        match group.kind {
            Some(kind) => format!("{}={}", group.name, kind.word()),
            None => group.name.to_string(),
        }
    };
    let joined = |all: Vec<String>| all.join("; ");
    let worst = of.groups.iter().filter_map(|group| group.protection.first()).min();
    csv::line(&[
        of.device.name.to_string(),
        of.device.device_type.id.to_owned(),
        of.device.ioc_limit.to_string(),
        joined(of.groups.iter().map(group).collect()),
        joined(of.device.labels.iter().cloned().collect()),
        of.condition().code().to_owned(),
        of.sync.last_pull_at.map(|at| at.to_string()).unwrap_or_default(),
        worst.map(|of| of.code().to_owned()).unwrap_or_default(),
        of.served().to_string(),
        joined(of.groups.iter().map(|group| group.url.clone()).collect()),
    ])
}
