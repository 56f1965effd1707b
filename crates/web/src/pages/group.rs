//! One IOC group: what it holds and why, what it serves, and sending again.

use actix_web::{HttpResponse, http::StatusCode, http::header};
use iocast_app::{AppError, DeviceView, GroupPatch, IocQuery, Page, RefusedIoc, SendAgain};
use iocast_domain::{
    group::Group,
    guard::Refusal,
    id::{GroupId, IocId, SourceId},
    ioc::Whitelist,
    member::MembershipState,
    name::slug,
    normalise::detect,
    rule::NotMet,
};
use minijinja::{Value, context};

use super::{
    iocs::filter,
    view,
    visit::{Failure, Form, Id, PageContext, PageResult, problem},
};
use crate::{
    api::{
        devices::DeviceOut,
        groups::{GroupIocOut, GroupOut},
        rules::RuleOut,
        snapshots::RefusedOut,
        sources::SourceOut,
    },
    csv,
    extract::path_id,
    problem::Problem,
};

/// IOCs on the page.
const IOCS: u64 = 50;
/// IOCs that are kept back, on the page.
const REFUSED: u64 = 50;
/// IOCs of an export that are read at once.
const EXPORTED: u64 = 1_000;
/// Values on each side of a comparison.
const COMPARED: usize = 200;
/// Characters of a file that are shown.
const PREVIEW: usize = 20_000;

/// IOCs that a device may still give to a group.
pub(crate) fn limits_left(view: &DeviceView) -> u64 {
    let given: u64 = view.groups.iter().map(|g| u64::from(g.row.group.limit)).sum();
    u64::from(view.device.ioc_limit).saturating_sub(given)
}

pub(crate) async fn show(visitor: PageContext, id: Id) -> PageResult {
    page(&visitor, GroupId(id.0), StatusCode::OK, Value::from(()), context! {}).await
}

fn reason(visitor: &PageContext) -> Option<Refusal> {
    visitor.query("reason").and_then(|word| word.parse().ok())
}

/// The IOCs that are kept back from a group, with why, as a table.
pub(crate) async fn excluded(visitor: PageContext, id: Id) -> PageResult {
    let (app, actor, reason) = (visitor.app.clone(), visitor.actor.clone(), reason(&visitor));
    let id = GroupId(id.0);
    let name = app.accounts.group_fetch(&actor, id).await?.view.row.group.name;
    let file = format!("excluded-{}.csv", slug(name.as_str()));
    let head = &["value", "kind", "reason", "because", "warninglists"];
    let first = Page { limit: EXPORTED, after: None };
    Ok(csv::streamed(&file, head, Some(first), move |page: Page| {
        let (app, actor) = (app.clone(), actor.clone());
        async move {
            let found = app.accounts.group_refused(&actor, id, reason, &page).await?;
            let line = |of: RefusedIoc| {
                let lists: Vec<String> = of.lists.into_iter().map(|list| list.name).collect();
                let (value, kind) = (of.ioc.value.as_str(), of.ioc.kind.word());
                let (word, because) = (of.refusal.word(), of.refusal.because());
                csv::line(&[value, kind, word, because, &lists.join(";")])
            };
            let lines = found.items.into_iter().map(line).collect();
            Ok((lines, found.next.map(|next| Page { after: Some(next), ..page })))
        }
    }))
}

async fn page(
    visitor: &PageContext,
    id: GroupId,
    status: StatusCode,
    problem: Value,
    sent: Value,
) -> PageResult {
    let (app, actor) = (&visitor.app, &visitor.actor);
    let detail = app.accounts.group_fetch(actor, id).await?;
    let group = detail.view.row.group.clone();
    let device = app.accounts.device_fetch(actor, group.device_id).await?;
    let search = filter(visitor);
    let reason = reason(visitor);
    let refused = app
        .accounts
        .group_refused(actor, id, reason, &Page { limit: REFUSED, after: visitor.query("refused") })
        .await?
        .map(RefusedOut::from);
    let iocs = app
        .accounts
        .group_iocs(actor, id, &search.query, &Page { limit: IOCS, after: visitor.query("cursor") })
        .await?
        .map(GroupIocOut::from);
    let all_sources = match app.intake.source_list(actor).await {
        // Without the module its names are not shown, and the priority is left as it is.
        Err(AppError::NoModule(_)) => Vec::new(),
        sources => sources?,
    };
    // First those that have a place in the priority, in its order; then the others by name.
    let place =
        |id: SourceId| group.source_priority.iter().position(|s| *s == id).unwrap_or(usize::MAX);
    let mut sources = all_sources;
    sources.sort_by_key(|s| place(s.id));
    let sources: Vec<Value> =
        sources.into_iter().map(|s| context! { ranked => place(s.id) != usize::MAX, source => view::value(SourceOut::from(s)) }).collect();
    let rules: Vec<Value> = app
        .accounts
        .rule_list(actor)
        .await?
        .into_iter()
        .filter(|r| r.group_ids.contains(&id))
        .map(|r| view::value(RuleOut::from(r)))
        .collect();
    let files: Vec<Value> = app.serving
        .group_files(actor, id)?
        .iter()
        .map(|(path, file)| context! { path, etag => file.etag.clone(), bytes => file.raw_len, gzip => file.gzip_len(), content_type => file.content_type })
        .collect();
    let why_not = match visitor.query("why") {
        Some(text) => view::value(why_not(visitor, &group, &text).await?),
        None => Value::from(()),
    };
    let entry = device.device.device_type.format.entry();
    let sends_again = device.device.device_type.format.delivers_changes();
    let of_page = context! {
        sends_again,
        stamp => stamp(&group),
        group => view::value(GroupOut::from(detail)),
        takes => device.device.device_type.kinds_of_group(group.kind).iter().map(|k| k.word()).collect::<Vec<_>>(),
        type_name => device.device.device_type.name,
        left => limits_left(&device) + u64::from(group.limit),
        device => view::value(DeviceOut::from(device)),
        iocs => view::value(&iocs.items),
        next => iocs.next.map(|c| view::with_query(&visitor.request, "cursor", &c)),
        search => search.shown,
        is_misp => entry == "manifest.json",
        refused => view::value(&refused.items),
        refused_next => refused.next.map(|c| view::with_query(&visitor.request, "refused", &c)),
        reason => reason.map(Refusal::word),
        why => visitor.query("why"),
        why_not,
        sources, rules, files, entry, problem, sent,
    };
    Ok(visitor.page(status, "pages/group.html", of_page))
}

/// Whether one IOC is in a group, and if not why, in sentences.
async fn why_not(
    visitor: &PageContext,
    group: &Group,
    text: &str,
) -> Result<Vec<String>, AppError> {
    let (app, actor) = (&visitor.app, &visitor.actor);
    let Ok((kind, value)) = detect(text) else {
        return Ok(vec![format!("{text} is no domain, URL, e-mail address, IP address or hash.")]);
    };
    let query = IocQuery { value: Some(value), kinds: vec![kind], ..IocQuery::default() };
    let found = app.intake.ioc_list(actor, &query, &Page::first(1)).await?;
    let Some(ioc) = found.items.into_iter().next().map(|view| view.ioc) else {
        return Ok(vec!["No source has reported it.".to_owned()]);
    };
    let places = app.accounts.ioc_places(actor, ioc.id).await?;
    let of_group = |id: GroupId| id == group.id;
    let mut said = Vec::new();
    if let Some(place) = places.places.iter().find(|place| of_group(place.group_id)) {
        if place.standing == MembershipState::Live {
            return Ok(vec![format!("It is in the group since {}.", place.since.minute())]);
        }
        let left = place.left.map(|left| format!("It left the group {}.", left.minute()));
        said.push(left.unwrap_or_else(|| "It is leaving the group.".to_owned()));
    }
    if ioc.whitelist == Whitelist::NeverSent {
        said.push("A person said that it is never sent.".to_owned());
        return Ok(said);
    }
    if let Some(out) = places.left_out.iter().find(|out| of_group(out.group_id)) {
        let full = "the group is full, and others come first";
        said.push(format!(
            "It is left out, because {}.",
            out.refusal.map_or(full, Refusal::because)
        ));
        return Ok(said);
    }
    let rules = app.accounts.rule_list(actor).await?;
    let feeds: Vec<_> = rules.iter().filter(|rule| rule.group_ids.contains(&group.id)).collect();
    if feeds.is_empty() {
        said.push("No rule feeds the group.".to_owned());
        return Ok(said);
    }
    let because = |rule: &&iocast_domain::rule::Rule| {
        let known = places.not_met.iter().find(|of| of.rule_id == rule.id)?;
        let because = known.not_met.map_or("the rule is off", NotMet::because);
        Some(format!("The rule {} does not choose it: {because}.", rule.name))
    };
    let all: Vec<String> = feeds.iter().filter_map(because).collect();
    if all.is_empty() {
        said.push("Its rules choose it: it comes with the next publication.".to_owned());
    }
    said.extend(all);
    Ok(said)
}

pub(crate) async fn act(form: Form, id: Id) -> PageResult {
    let id = GroupId(id.0);
    let here = format!("/automation/groups/{id}");
    let (visitor, app, actor) = (&form.visitor, &form.visitor.app, &form.visitor.actor);
    let again = |n: u64| match n {
        1 => "1 IOC goes out again, in a new event.".to_owned(),
        n => format!("{n} IOCs go out again, in new events."),
    };
    let outcome: Result<String, AppError> = match form.text("do") {
        "edit" => edit(&form, id).await.map(|()| "The changes are saved.".to_owned()),
        "again" => app.group_send_again(actor, id, SendAgain::All).await.map(again),
        "again_event" => {
            app.group_send_again(actor, id, SendAgain::Event(form.id("event")?)).await.map(again)
        }
        "again_ioc" => {
            app.group_send_again(actor, id, SendAgain::Ioc(IocId(form.id("ioc")?))).await.map(again)
        }
        "let_through" => app
            .group_let_through(actor, id)
            .await
            .map(|()| "The publication is let through.".to_owned()),
        "freeze" => {
            let number = form.number("publication")?;
            app.group_freeze(actor, id, number).await.map(|()| {
                let number = number.unwrap_or_default();
                format!("The group is frozen: devices get what publication {number} held.")
            })
        }
        "thaw" => app
            .group_freeze(actor, id, None)
            .await
            .map(|()| "The group goes by its rules again.".to_owned()),
        "delete" => {
            let group = app.accounts.group_fetch(actor, id).await?.view.row.group;
            if form.text("typed") == group.name.as_str() {
                app.accounts.group_delete(actor, id).await?;
                let name = group.name;
                return visitor.done(
                    &format!("/automation/integrations/{}", group.device_id),
                    &format!("The group {name} is deleted; its URL now returns 404."),
                );
            }
            Err(AppError::field(
                "typed",
                "name_differs",
                format!("Type the group's name, {}, to delete it.", group.name),
            ))
        }
        _ => Err(AppError::Malformed(
            "This page does not know what to do with that form.".to_owned(),
        )),
    };
    match outcome {
        Ok(said) => visitor.done(&here, &said),
        Err(error) => {
            let (status, problem) = problem(error)?;
            page(visitor, id, status, problem, form.again()).await
        }
    }
}

/// What differs between two publications.
pub(crate) async fn compare(visitor: PageContext) -> PageResult {
    let id = GroupId(path_id(&visitor.request, "id")?);
    let detail = visitor.app.accounts.group_fetch(&visitor.actor, id).await?;
    let number = |name: &str| visitor.query(name).and_then(|n| n.trim().parse::<i64>().ok());
    let to = number("to").unwrap_or(detail.view.row.publication);
    let from = number("from").unwrap_or(to - 1);
    let found = visitor.app.serving.group_compare(&visitor.actor, id, from, to).await?;
    let side = |name, title, values: Vec<String>| context! { name, title, count => values.len(), values => values.into_iter().take(COMPARED).collect::<Vec<_>>() };
    let sides = vec![
        side("added", "Added", found.added),
        side("removed", "Removed", found.removed),
        side("changed", "Described differently", found.changed),
    ];
    visitor.show("pages/compare.html", context! { id => id.to_string(), group => detail.view.row.group.name.as_str(), from, to, sides })
}

fn stamp(of: &Group) -> String {
    view::stamp(&(of.name.as_str(), of.limit, of.collapse, &of.source_priority, of.notify_on_limit))
}

async fn edit(form: &Form, id: GroupId) -> Result<(), AppError> {
    let (app, actor) = (&form.visitor.app, &form.visitor.actor);
    form.of_version(&stamp(&app.accounts.group_fetch(actor, id).await?.view.row.group))?;
    let mut ranked: Vec<SourceId> =
        form.parsed_all::<uuid::Uuid>("priority")?.into_iter().map(SourceId).collect();
    let listed = !ranked.is_empty();
    // Without script, a source is moved by its number; what has none has no place.
    let mut numbered: Vec<(i64, SourceId)> = Vec::new();
    for (position, source) in ranked.drain(..).enumerate() {
        let given = form.number(&format!("rank_{source}"))?;
        let place = i64::try_from(position).unwrap_or(i64::MAX);
        numbered.extend(given.map(|n| (n.saturating_mul(100_000).saturating_add(place), source)));
    }
    numbered.sort_unstable();
    let patch = GroupPatch {
        name: Some(form.text("name").to_owned()),
        limit: form.number("limit")?,
        collapse: Some(form.on("collapse")),
        source_priority: listed.then(|| numbered.into_iter().map(|(_, s)| s).collect()),
        notify_on_limit: Some(form.on("notify_on_limit")),
    };
    app.accounts.group_update(actor, id, patch).await.map(|_| ())
}

/// What the device would be answered for a file of a group; the entry document unless a path is
/// given.
pub(crate) async fn answer_of(
    visitor: &PageContext,
    id: GroupId,
    path: Option<&str>,
) -> Result<Value, Failure> {
    let detail = visitor.app.accounts.group_fetch(&visitor.actor, id).await?;
    let device =
        visitor.app.accounts.device_fetch(&visitor.actor, detail.view.row.group.device_id).await?;
    let path = path.unwrap_or_else(|| device.device.device_type.format.entry());
    let files = visitor.app.serving.group_files(&visitor.actor, id)?;
    let Some(file) = files.get(path) else {
        if files.is_empty() {
            return Ok(
                context! { status => 503, path, group => detail.view.row.group.name.as_str() },
            );
        }
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "The group serves no such file now; it may have been replaced.",
        )
        .into());
    };
    // A character takes four bytes at most.
    let start = visitor.app.serving.feed_start(file, 4 * PREVIEW as u64).await?;
    let shown: String = String::from_utf8_lossy(&start).chars().take(PREVIEW).collect();
    Ok(context! {
        status => 200, path, group => detail.view.row.group.name.as_str(), group_id => id.to_string(), device_id => device.device.id.to_string(),
        device => device.device.name.as_str(),
        etag => file.etag.clone(), bytes => file.raw_len, gzip => file.gzip_len(), content_type => file.content_type,
        cut => (shown.len() as u64) < file.raw_len, text => shown,
    })
}

/// A file of a group, exactly as it is served: the beginning on a page, or the whole of it to be
/// saved.
pub(crate) async fn file(visitor: PageContext) -> PageResult {
    let id = GroupId(path_id(&visitor.request, "id")?);
    let path = visitor.request.match_info().get("path").unwrap_or_default().to_owned();
    if visitor.query("save").is_none() {
        let answer = answer_of(&visitor, id, Some(&path)).await?;
        return visitor.show("pages/file.html", context! { answer });
    }
    let files = visitor.app.serving.group_files(&visitor.actor, id)?;
    let file = files.get(&path).ok_or(AppError::NotFound("file"))?;
    let body = visitor.app.serving.feed_body(file, None, false).await?;
    let name: String = path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    Ok(HttpResponse::Ok()
        .content_type(file.content_type)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .body(body.bytes))
}
