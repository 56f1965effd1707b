//! Connecting a device: its group, and the form to be filled in on its side.

use actix_web::http::StatusCode;
use iocast_app::{AppError, DeviceView, GroupView, NewGroup, NewKey};
use iocast_domain::{
    device_type::GroupKind,
    id::{DeviceId, GroupId},
    key::KeyKind,
    name::slug,
    time::clip,
};
use minijinja::{Value, context};
use serde::Serialize;

use super::{
    group::limits_left,
    integrations::condition,
    view,
    visit::{Form, Id, PageContext, PageResult, problem},
};
use crate::{
    api::{device_types::DeviceTypeOut, devices::DeviceOut, groups::GroupOut},
    feed::TEST,
};

/// What the page shows beside the device.
struct SetupExtras {
    problem: Value,
    sent: Option<Value>,
    /// A key that was just made: the only time that its secret is shown.
    made: Option<NewKey>,
    /// The group that was just made, or none where it could not be made.
    group: Option<Option<GroupId>>,
}

impl Default for SetupExtras {
    fn default() -> Self {
        Self { problem: Value::from(()), sent: None, made: None, group: None }
    }
}

/// The steps after a device was added: its group, then the form to be filled in on its side.
pub(crate) async fn form(visitor: PageContext, id: Id) -> PageResult {
    page(&visitor, DeviceId(id.0), StatusCode::OK, SetupExtras::default()).await
}

async fn page(
    visitor: &PageContext,
    id: DeviceId,
    status: StatusCode,
    beside: SetupExtras,
) -> PageResult {
    let view = visitor.app.accounts.device_fetch(&visitor.actor, id).await?;
    let SetupExtras { problem, sent, made, group } = beside;
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
        next => next_group(&view),
        copy_all => lines.as_deref().map(as_text),
        group => chosen.map(|g| view::value(GroupOut::from(g))),
        lines => lines.map(|lines| view::value(&lines)),
        curl,
        fresh_key => made.is_some(),
        known_prefix => usable.map(|k| k.key.prefix.clone()),
        sent => sent.unwrap_or_else(|| context! {}),
        problem,
        device => view::value(DeviceOut::from(view)),
    };
    Ok(visitor.page(status, "pages/setup.html", of_page))
}

/// What the form for another group suggests: the first kind that has no group yet, and a limit that
/// leaves room for the others.
fn next_group(view: &DeviceView) -> Value {
    let taken = |kind: &GroupKind| view.groups.iter().any(|g| g.row.group.kind == Some(*kind));
    let kinds = view.device.device_type.group_kinds;
    let open: Vec<GroupKind> = kinds.iter().copied().filter(|kind| !taken(kind)).collect();
    let limit = match u64::try_from(open.len()) {
        Ok(open @ 2..) => (limits_left(view) / open).to_string(),
        _ => String::new(),
    };
    let device = view.device.name.as_str();
    let name = match open.first() {
        Some(kind) if kinds.len() > 1 => format!("{} {}", clip(device, 40), kind.word()),
        _ if view.groups.is_empty() => device.to_owned(),
        _ => String::new(),
    };
    context! { kind => open.first().map(|kind| kind.word()), limit, name }
}

/// All fields of a set-up form as text.
fn as_text(lines: &[SetupLine]) -> String {
    let line = |line: &SetupLine| match line.label {
        "" => format!("{}\n", line.value),
        label => format!("{label}: {}\n", line.value),
    };
    lines.iter().map(line).collect()
}

/// A field of a set-up form.
#[derive(Serialize)]
struct SetupLine {
    label: &'static str,
    value: String,
    copied: bool,
    secret: bool,
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
) -> Vec<SetupLine> {
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
    let line = |field: &iocast_domain::device_type::SetupField| SetupLine {
        label: field.label,
        value: filled(field.value),
        copied: field.value.contains('{'),
        secret: field.value.contains("{key}") || field.value.contains("{secret_url}"),
    };
    view.device.device_type.setup.iter().map(line).collect()
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = DeviceId(id.0);
    let visitor = &form.visitor;
    match step(&form, id).await {
        Ok((made, group)) => {
            page(
                visitor,
                id,
                StatusCode::OK,
                SetupExtras { made, group: group.map(Some), ..SetupExtras::default() },
            )
            .await
        }
        Err(error) => {
            let (status, problem) = problem(error)?;
            let group = (form.text("do") == "group").then_some(None);
            page(
                visitor,
                id,
                status,
                SetupExtras { problem, sent: Some(form.again()), group, ..SetupExtras::default() },
            )
            .await
        }
    }
}

/// Makes the group, or a key, where it is asked for. The first group comes with the device's key, so
/// that the form below is whole; further ones go on with that key.
async fn step(form: &Form, id: DeviceId) -> Result<(Option<NewKey>, Option<GroupId>), AppError> {
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
    let keys = app.accounts.key_list(actor, Some(id)).await?;
    if group.is_some() && keys.iter().any(|key| key.refusal.is_none()) {
        return Ok((None, group));
    }
    Ok((Some(app.accounts.key_create(actor, KeyKind::Device, Some(id)).await?), group))
}

/// What the device asks for first.
fn entry_url(view: &DeviceView, group: &GroupView) -> String {
    match view.device.device_type.format.entry() {
        "" => group.url.clone(),
        entry => format!("{}/{entry}", group.url),
    }
}
