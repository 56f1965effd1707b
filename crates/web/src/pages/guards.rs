//! Settings → Guards: which are on, the allow list, the warninglists.

use actix_web::http::StatusCode;
use iocast_app::{AppError, GuardsPatch, Page};
use iocast_domain::{
    guard::{AllowEntry, NewAllow, Refusal},
    id::{DeviceId, SourceId, WarninglistId},
    time::{Timestamp, clip},
};
use minijinja::{Value, context};

use super::{
    settings::unknown,
    view,
    visit::{Form, PageContext, PageResult, problem},
};
use crate::api::{
    guards::GuardsOut,
    warninglists::{CheckOut, WarninglistOut, list_mode},
};

/// Entries of the allow list on a page.
const ENTRIES: usize = 200;
/// Devices that can be chosen for an entry.
const DEVICES: u64 = 1_000;

pub(crate) async fn show(visitor: PageContext) -> PageResult {
    guards_page(&visitor, StatusCode::OK, Value::from(()), context! {}).await
}

async fn guards_page(
    visitor: &PageContext,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    visitor.actor.may_write()?;
    let (app, actor) = (&visitor.app, &visitor.actor);
    let mut guards = app.accounts.guards(actor).await?;
    let stamp = view::stamp(&guards);
    let all = guards.allow.len();
    let wanted = visitor.query("q").unwrap_or_default();
    guards.allow.retain(|entry| finds(entry, &wanted));
    let found = guards.allow.len();
    guards.allow.truncate(ENTRIES);
    let sources: Vec<Value> = app
        .intake
        .source_list(actor)
        .await?
        .into_iter()
        .map(|source| context! { code => format!("source {}", source.id), name => source.name })
        .collect();
    let devices: Vec<Value> = app
        .accounts
        .device_list(actor, &Page { limit: DEVICES, after: None })
        .await?
        .items
        .into_iter()
        .map(|view| context! { code => format!("device {}", view.device.id), name => view.device.name.to_string() })
        .collect();
    let lists = app.intake.warninglists(actor).await?;
    let on = lists.iter().filter(|list| list.mode != iocast_domain::warninglist::ListMode::Off);
    let of_page = context! {
        guards => view::value(GuardsOut::from(guards)),
        stamp, problem, sent, all, found, q => wanted, sources, devices,
        lists => lists.len(), lists_on => on.count(),
    };
    Ok(visitor.page(status, "pages/guards.html", of_page))
}

/// Whether an entry has what is searched for in its value or its comment.
fn finds(entry: &AllowEntry, wanted: &str) -> bool {
    let wanted = wanted.trim().to_lowercase();
    wanted.is_empty()
        || String::from(entry.value.clone()).contains(&wanted)
        || entry.comment.as_ref().is_some_and(|text| text.to_lowercase().contains(&wanted))
}

pub(crate) async fn act(form: Form) -> PageResult {
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let outcome = async {
        match form.text("do") {
            "save" => {
                form.of_version(&view::stamp(&app.accounts.guards(actor).await?))?;
                let is_off = |word: &&str| !form.on(&format!("on_{word}"));
                let off = Refusal::GUARDS.iter().map(|guard| guard.word()).filter(is_off);
                let patch = GuardsPatch {
                    off: Some(off.map(str::to_owned).collect()),
                    own: Some(form.text("own").lines().map(str::to_owned).collect()),
                    allow: None,
                };
                app.accounts.guards_update(actor, patch).await?;
                Ok("The guards are saved; every group is looked at again.".to_owned())
            }
            "allow" => {
                let add = new_entries(&form)?;
                let count = add.len();
                app.accounts.allow_change(actor, add, Vec::new()).await?;
                Ok(format!("{count} allowed; every group is looked at again."))
            }
            "remove" => {
                let remove: Vec<NewAllow> = form.all("entry").map(scoped).collect();
                let count = remove.len();
                app.accounts.allow_change(actor, Vec::new(), remove).await?;
                Ok(format!("{count} taken off the allow list; every group is looked at again."))
            }
            _ => Err(unknown()),
        }
    };
    match outcome.await {
        Ok(said) => visitor.done("/settings/guards", &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            guards_page(visitor, status, problem, form.again()).await
        }
    }
}

/// An entry as the form names it: its scope, and its value.
fn scoped(text: &str) -> NewAllow {
    let (scope, value) = text.split_once('|').unwrap_or_default();
    with_scope(scope, value)
}

fn with_scope(scope: &str, value: &str) -> NewAllow {
    let id = |word: &str| scope.strip_prefix(word).and_then(|id| id.trim().parse().ok());
    NewAllow {
        value: value.to_owned(),
        source_id: id("source ").map(SourceId),
        device_id: id("device ").map(DeviceId),
        ..NewAllow::default()
    }
}

fn new_entries(form: &Form) -> Result<Vec<NewAllow>, AppError> {
    let until = form.text("until").trim();
    let expires_at = (!until.is_empty()).then(|| end_of_day(until)).transpose()?;
    let values = form.text("values").lines().map(str::trim).filter(|line| !line.is_empty());
    let entry = |value: &str| NewAllow {
        comment: Some(form.text("comment").to_owned()),
        expires_at,
        ..with_scope(form.text("scope"), value)
    };
    let entries: Vec<NewAllow> = values.map(entry).collect();
    if entries.is_empty() {
        return Err(AppError::field(
            "allow",
            "entry_missing",
            "Give at least one domain, address or network.",
        ));
    }
    Ok(entries)
}

/// The last moment of a day in UTC.
fn end_of_day(day: &str) -> Result<Timestamp, AppError> {
    Timestamp::parse(&format!("{day}T23:59:59Z")).map_err(|_| {
        AppError::field(
            "until",
            "date_invalid",
            format!("`{}` is not a date; give one such as 2027-01-31.", clip(day, 40)),
        )
    })
}

pub(crate) async fn lists(visitor: PageContext) -> PageResult {
    lists_page(&visitor, StatusCode::OK, Value::from(())).await
}

async fn lists_page(visitor: &PageContext, status: StatusCode, trouble: Value) -> PageResult {
    visitor.actor.may_write()?;
    let (app, actor) = (&visitor.app, &visitor.actor);
    let lists = app.intake.warninglists(actor).await?;
    let lists: Vec<WarninglistOut> = lists.into_iter().map(WarninglistOut::from).collect();
    let value = visitor.query("value").unwrap_or_default();
    let (mut checked, mut not_checked) = (Value::from(()), None);
    if !value.trim().is_empty() {
        match app.intake.warninglists_check(actor, value.trim()).await {
            Ok(found) => checked = view::value(CheckOut::from(found)),
            Err(error) => not_checked = Some(problem(error)?.1),
        }
    }
    let of_page = context! {
        lists => view::value(lists), problem => trouble, value, checked, not_checked,
        max => app.context.settings.import_max,
    };
    Ok(visitor.page(status, "pages/warninglists.html", of_page))
}

pub(crate) async fn lists_act(form: Form) -> PageResult {
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let outcome = async {
        let ids: Vec<uuid::Uuid> = form.parsed_all("list")?;
        let (count, wish) = (ids.len(), form.text("do"));
        for id in ids.into_iter().map(WarninglistId) {
            match wish {
                "delete" => app.intake.warninglist_delete(actor, id).await?,
                word => {
                    app.intake.warninglist_set_mode(actor, id, list_mode(word)?).await?;
                }
            }
        }
        let lists = if count == 1 { "list" } else { "lists" };
        Ok(match (count, wish) {
            (0, _) => "No list was selected; nothing changed.".to_owned(),
            (_, "delete") => format!("{count} {lists} deleted."),
            (_, "off") => format!("{count} {lists} switched off."),
            (_, "warn") => format!("{count} {lists} will only warn."),
            _ => format!("{count} {lists} will withhold; every group is looked at again."),
        })
    };
    match outcome.await {
        Ok(said) => visitor.done("/settings/warninglists", &said),
        Err::<_, AppError>(error) => {
            let (status, trouble) = problem(error)?;
            lists_page(visitor, status, trouble).await
        }
    }
}
