//! One device: how it is, what it did, and its keys.

use actix_web::http::StatusCode;
use iocast_app::{AppError, DevicePatch, DeviceView, NewKey, Page};
use iocast_domain::{
    id::{DeviceId, GroupId, KeyId},
    key::KeyKind,
    time::HOUR,
};
use minijinja::{Value, context};

use super::{
    group::answer_of,
    integrations::{bars, condition},
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::api::{
    device_types::DeviceTypeOut, devices::DeviceOut, devices::PullOut, keys::KeyOut,
    outages::OutageOut, receipts::ClientOut,
};

/// Lines of the pull log on the page; the API has more.
const PULLS: u64 = 50;
const OUTAGES: u64 = 20;

/// What a page about a device shows beside the device.
struct DevicePageExtras {
    problem: Value,
    sent: Option<Value>,
    /// A key that was just made: the only time that its secret is shown.
    made: Option<NewKey>,
    /// What the device would be answered.
    trial: Value,
}

impl Default for DevicePageExtras {
    fn default() -> Self {
        Self { problem: Value::from(()), sent: None, made: None, trial: Value::from(()) }
    }
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    page(&visitor, DeviceId(id.0), StatusCode::OK, DevicePageExtras::default()).await
}

async fn page(
    visitor: &PageContext,
    id: DeviceId,
    status: StatusCode,
    beside: DevicePageExtras,
) -> PageResult {
    let (app, actor) = (&visitor.app, &visitor.actor);
    let view = app.accounts.device_fetch(actor, id).await?;
    let part = |limit| Page { limit, after: None };
    let pulls = app.watch.pull_list(actor, id, &part(PULLS)).await?.map(PullOut::from);
    let outages =
        app.watch.outage_list(actor, Some(id), None, &part(OUTAGES)).await?.map(OutageOut::from);
    let keys: Vec<Value> = app
        .accounts
        .key_list(actor, Some(id))
        .await?
        .into_iter()
        .map(|k| view::value(KeyOut::from(k)))
        .collect();
    let clients: Vec<ClientOut> =
        app.accounts.device_clients(actor, id).await?.into_iter().map(ClientOut::from).collect();
    let days = app.accounts.device_days(actor, id).await?;
    let names: Vec<(String, String)> = view
        .groups
        .iter()
        .map(|g| (g.row.group.id.to_string(), g.row.group.name.to_string()))
        .collect();
    // A refusal since its last pull says why it does not pull.
    let last_pull = view.sync.last_pull_at;
    let cause = app.watch.last_refusal(actor, id).await?;
    let cause = cause.filter(|of| last_pull.is_none_or(|pull| of.pull.at > pull));
    let DevicePageExtras { problem, sent, made, trial } = beside;
    let of_page = context! {
        condition => condition(view.condition()),
        served => view.served(),
        device_type => view::value(DeviceTypeOut::from(view.device.device_type)),
        account_hours => visitor.account.silent_after.unwrap_or(48 * HOUR) / HOUR,
        chart => bars(&days),
        group_names => view::value(names.into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        clients => view::value(&clients),
        pulls => view::value(&pulls.items),
        cause => cause.map(|of| view::value(PullOut::from(of))),
        more_pulls => pulls.next.is_some(),
        outages => view::value(&outages.items),
        keys,
        made => made.map(|m| context! { secret => m.secret.clone(), prefix => m.view.key.prefix }),
        sent => sent.unwrap_or_else(|| context! {}),
        problem,
        trial,
        stamp => stamp(&view),
        device => view::value(DeviceOut::from(view)),
    };
    Ok(visitor.page(status, "pages/device.html", of_page))
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = DeviceId(id.0);
    let here = format!("/automation/integrations/{id}");
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let patch = |patch: DevicePatch| app.accounts.device_update(actor, id, patch);
    let outcome: Result<&str, AppError> = match form.text("do") {
        "edit" => edit(&form, id).await.map(|()| "The changes are saved."),
        "pause" => match form.number("pause_hours") {
            Ok(hours) => patch(pause_for(&form, hours)).await,
            Err(error) => Err(error),
        }.map(|_| "Monitoring is paused. The device still gets its feed; no message is sent when it is silent."),
        "resume" => patch(DevicePatch { paused: Some(false), ..DevicePatch::default() }).await.map(|_| "The device is watched again."),
        "key" => match app.accounts.key_create(actor, KeyKind::Device, Some(id)).await {
            Ok(made) => return page(visitor, id, StatusCode::OK, DevicePageExtras { made: Some(made), ..DevicePageExtras::default() }).await,
            Err(error) => Err(error),
        },
        "rotate" => match app.accounts.key_rotate(actor, KeyId(form.id("id")?), form.number("overlap_hours")?.map(|h| h.saturating_mul(HOUR))).await {
            Ok(made) => return page(visitor, id, StatusCode::OK, DevicePageExtras { made: Some(made), ..DevicePageExtras::default() }).await,
            Err(error) => Err(error),
        },
        "revoke" => app.accounts.key_revoke(actor, Some(id), KeyId(form.id("id")?)).await.map(|()| "The key is revoked: it opens nothing any more."),
        "try" => {
            let group = GroupId(form.id("group")?);
            let trial = answer_of(visitor, group, None).await?;
            return page(visitor, id, StatusCode::OK, DevicePageExtras { trial, ..DevicePageExtras::default() }).await;
        }
        "delete" => {
            let name = app.accounts.device_fetch(actor, id).await?.device.name.to_string();
            if form.text("typed") == name {
                app.accounts.device_delete(actor, id).await?;
                return visitor.done("/automation/integrations", &format!("{name} is deleted, with its groups, keys and history."));
            }
            Err(AppError::field("typed", "name_differs", format!("Type the device's name, {name}, to delete it.")))
        }
        _ => Err(AppError::Malformed("This page does not know what to do with that form.".to_owned())),
    };
    match outcome {
        Ok(said) => visitor.done(&here, said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(
                visitor,
                id,
                status,
                DevicePageExtras {
                    problem,
                    sent: Some(form.again()),
                    ..DevicePageExtras::default()
                },
            )
            .await
        }
    }
}

fn stamp(of: &DeviceView) -> String {
    let iocast_domain::device::Device { name, ioc_limit, silent_after, labels, .. } = &of.device;
    view::stamp(&(name.as_str(), ioc_limit, silent_after, labels))
}

/// A pause that ends after some hours, or when somebody ends it.
fn pause_for(form: &Form, hours: Option<i64>) -> DevicePatch {
    let until = |hours: i64| form.visitor.app.context.now().plus(hours.saturating_mul(HOUR));
    DevicePatch {
        paused: Some(true),
        paused_until: Some(hours.map(until)),
        ..DevicePatch::default()
    }
}

async fn edit(form: &Form, id: DeviceId) -> Result<(), AppError> {
    let (app, actor) = (&form.visitor.app, &form.visitor.actor);
    form.of_version(&stamp(&app.accounts.device_fetch(actor, id).await?))?;
    let patch = DevicePatch {
        name: Some(form.text("name").to_owned()),
        ioc_limit: form.number("ioc_limit")?,
        labels: Some(super::fleet::labels_of(form.text("labels"))),
        silent_after_hours: Some(form.number("silent_after_hours")?),
        ..DevicePatch::default()
    };
    app.accounts.device_update(actor, id, patch).await.map(|_| ())
}
