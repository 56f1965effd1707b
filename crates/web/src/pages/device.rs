//! One device: how it is, what it did, its keys, and the form to be filled in on its side.

use actix_web::http::StatusCode;
use iocast_app::{AppError, DevicePatch, DeviceView, GroupView, NewGroup, NewKey, Page};
use iocast_domain::{
    device_type::GroupKind,
    id::{DeviceId, GroupId, KeyId},
    key::KeyKind,
    name::slug,
    time::HOUR,
};
use minijinja::{Value, context};

use super::{
    group::{answer_of, limits_left},
    integrations::{bars, condition},
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::api::{
    device_types::DeviceTypeOut, devices::DeviceOut, devices::PullOut, groups::GroupOut,
    keys::KeyOut, outages::OutageOut, receipts::ClientOut,
};
use crate::feed::TEST;

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
    /// The group that was just made, or none where it could not be made.
    group: Option<Option<GroupId>>,
}

impl Default for DevicePageExtras {
    fn default() -> Self {
        Self {
            problem: Value::from(()),
            sent: None,
            made: None,
            trial: Value::from(()),
            group: None,
        }
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
    let DevicePageExtras { problem, sent, made, trial, group: _ } = beside;
    let of_page = context! {
        condition => condition(view.condition()),
        served => view.served(),
        left => limits_left(&view),
        device_type => view::value(DeviceTypeOut::from(view.device.device_type)),
        account_hours => visitor.account.silent_after.unwrap_or(48 * HOUR) / HOUR,
        chart => bars(&days),
        group_names => view::value(names.into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        clients => view::value(&clients),
        pulls => view::value(&pulls.items),
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
    let pause = |paused| DevicePatch { paused: Some(paused), ..DevicePatch::default() };
    let outcome: Result<&str, AppError> = match form.text("do") {
        "edit" => edit(&form, id).await.map(|()| "The changes are saved."),
        "pause" => patch(pause(true)).await.map(|_| "Monitoring is paused. The device still gets its feed; no message is sent when it is silent."),
        "resume" => patch(pause(false)).await.map(|_| "The device is watched again."),
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
    view::stamp(&(of.device.name.as_str(), of.device.ioc_limit, of.device.silent_after))
}

async fn edit(form: &Form, id: DeviceId) -> Result<(), AppError> {
    let (app, actor) = (&form.visitor.app, &form.visitor.actor);
    form.of_version(&stamp(&app.accounts.device_fetch(actor, id).await?))?;
    let patch = DevicePatch {
        name: Some(form.text("name").to_owned()),
        ioc_limit: form.number("ioc_limit")?,
        paused: None,
        silent_after_hours: Some(form.number("silent_after_hours")?),
    };
    app.accounts.device_update(actor, id, patch).await.map(|_| ())
}

/// The steps after a device was added: its group, then the form to be filled in on its side.
pub(crate) async fn setup(visitor: PageContext, id: Id) -> PageResult {
    setup_page(&visitor, DeviceId(id.0), StatusCode::OK, DevicePageExtras::default()).await
}

async fn setup_page(
    visitor: &PageContext,
    id: DeviceId,
    status: StatusCode,
    beside: DevicePageExtras,
) -> PageResult {
    let view = visitor.app.accounts.device_fetch(&visitor.actor, id).await?;
    let DevicePageExtras { problem, sent, made, trial: _, group } = beside;
    let wanted = match group {
        // A group that could not be made: its form is shown again, and none of its neighbours.
        Some(None) => None,
        Some(Some(made)) => view.groups.iter().find(|g| g.row.group.id == made),
        None => {
            let named = visitor.query("group");
            view.groups
                .iter()
                .find(|g| named.as_ref().is_none_or(|w| *w == g.row.group.id.to_string()))
        }
    };
    let chosen = wanted.cloned();
    let keys = visitor.app.accounts.key_list(&visitor.actor, Some(id)).await?;
    let usable = keys.iter().find(|k| k.refusal.is_none());
    let key = made.as_ref().map(|m| m.secret.clone());
    let lines = chosen.as_ref().map(|group| lines(visitor, &view, group, key.as_deref()));
    let curl = chosen.as_ref().map(|group| {
        let password = key.as_deref().unwrap_or("KEY");
        format!(
            "curl -fsS -A {TEST} -u {}:{password} {}",
            visitor.account.id,
            entry_url(&view, group)
        )
    });
    let of_page = context! {
        condition => condition(view.condition()),
        device_type => view::value(DeviceTypeOut::from(view.device.device_type)),
        left => limits_left(&view),
        group => chosen.map(|g| view::value(GroupOut::from(g))),
        lines,
        curl,
        fresh_key => made.is_some(),
        known_prefix => usable.map(|k| k.key.prefix.clone()),
        sent => sent.unwrap_or_else(|| context! {}),
        problem,
        device => view::value(DeviceOut::from(view)),
    };
    Ok(visitor.page(status, "pages/setup.html", of_page))
}

/// What a FortiGate calls a feed of this kind.
const fn fortinet_kind(kind: Option<GroupKind>) -> &'static str {
    match kind {
        Some(GroupKind::Domain) => "domain",
        Some(GroupKind::Hash | GroupKind::Md5 | GroupKind::Sha256) => "malware",
        Some(GroupKind::Url) => "category",
        Some(GroupKind::Ip | GroupKind::Email) | None => "address",
    }
}

/// The device's own form with our values in it.
fn lines(
    visitor: &PageContext,
    view: &DeviceView,
    group: &GroupView,
    key: Option<&str>,
) -> Vec<Value> {
    let account = visitor.account.id.as_str();
    let key = key.unwrap_or("…");
    let (scheme, rest) = group.url.split_once("://").unwrap_or(("https", group.url.as_str()));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (discovery, root) = visitor
        .app
        .serving
        .taxii_urls(&visitor.account.id, view.device.device_type)
        .unwrap_or_default();
    let secret_url = format!("{scheme}://{account}:{key}@{rest}");
    let places = [
        ("{name}", format!("iocast {}", group.row.group.name)),
        ("{list}", slug(group.row.group.name.as_str())),
        ("{secret_url}", secret_url),
        ("{url}", group.url.clone()),
        ("{kind}", group.row.group.kind.map_or("ip", GroupKind::word).to_owned()),
        ("{fortinet_kind}", fortinet_kind(group.row.group.kind).to_owned()),
        ("{host}", host.to_owned()),
        ("{path}", path.to_owned()),
        ("{discovery}", discovery),
        ("{root}", root),
        ("{collection}", group.row.group.id.to_string()),
        ("{account_id}", account.to_owned()),
        ("{key}", key.to_owned()),
    ];
    let filled = |value: &str| {
        places.iter().fold(value.to_owned(), |text, (place, with)| text.replace(place, with))
    };
    let line = |field: &iocast_domain::device_type::SetupField| {
        context! { label => field.label, value => filled(field.value), copied => field.value.contains('{'), secret => field.value.contains("{key}") || field.value.contains("{secret_url}") }
    };
    view.device.device_type.setup.iter().map(line).collect()
}

pub(crate) async fn setup_act(form: Form, id: Id) -> PageResult {
    let id = DeviceId(id.0);
    let visitor = &form.visitor;
    match step(&form, id).await {
        Ok((made, group)) => {
            setup_page(
                visitor,
                id,
                StatusCode::OK,
                DevicePageExtras {
                    made: Some(made),
                    group: group.map(Some),
                    ..DevicePageExtras::default()
                },
            )
            .await
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            let group = (form.text("do") == "group").then_some(None);
            setup_page(
                visitor,
                id,
                status,
                DevicePageExtras {
                    problem,
                    sent: Some(form.again()),
                    group,
                    ..DevicePageExtras::default()
                },
            )
            .await
        }
    }
}

/// Makes the group where it is asked for, and in any case a fresh key, so that the form below is
/// whole.
async fn step(form: &Form, id: DeviceId) -> Result<(NewKey, Option<GroupId>), AppError> {
    let (app, actor) = (&form.visitor.app, &form.visitor.actor);
    let mut group = None;
    if form.text("do") == "group" {
        let new = NewGroup {
            name: form.text("name").to_owned(),
            kind: Some(form.text("kind").to_owned()),
            limit: form.number("limit")?,
            collapse: form.on("collapse"),
            source_priority: Vec::new(),
            notify_on_limit: form.on("notify_on_limit"),
            default_rule: form.on("default_rule"),
        };
        group = Some(app.group_create(actor, id, new).await?.view.row.group.id);
    }
    Ok((app.accounts.key_create(actor, KeyKind::Device, Some(id)).await?, group))
}

/// What the device asks for first.
fn entry_url(view: &DeviceView, group: &GroupView) -> String {
    match view.device.device_type.format.entry() {
        "" => group.url.clone(),
        entry => format!("{}/{entry}", group.url),
    }
}
