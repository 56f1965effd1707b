//! The overview: is protection up, and what waits for a person?

use actix_web::HttpResponse;
use iocast_app::{
    Home, HomeDevices, HomeIocs, HomeSettings, HomeSources, LastBackup, MailWay, Started,
};
use iocast_domain::{receipt::Protection, subscription::Freshness, time::Timestamp};
use minijinja::{Value, context};
use serde_json::Value as Json;

use super::{
    view,
    visit::{Form, PageContext, PageResult, brief_cookie, see_other, set_cookie},
};
use crate::extract::is_https;

/// The ranges that can be chosen, in days.
const RANGES: [i64; 3] = [30, 90, 365];
/// The cookie of a browser in which the first steps are not shown any more.
const LEFT: &str = "iocast-started";
/// Height of the chart.
const HIGH: u64 = 100;

pub(crate) async fn show(visitor: PageContext) -> PageResult {
    let days = visitor.query("days").and_then(|d| d.parse().ok());
    let days = days.filter(|d| RANGES.contains(d)).unwrap_or(RANGES[0]);
    let app = std::sync::Arc::clone(&visitor.app);
    let home = app.home(&visitor.actor, days).await?;
    let is_left = visitor.request.cookie(LEFT).is_some();
    let started = match &home.settings {
        Some(_) if !is_left => Some(app.started(&visitor.actor, &home).await?),
        _ => None,
    };
    let started = started.filter(|of| !of.is_done()).map(steps);
    let mail = app.watch.mail_way();
    let figures = app.ops.figures();
    let waiting = waiting(&home, mail, (figures.backup.as_ref(), app.context.now()));
    let Home { devices, sources, iocs, settings } = home;
    visitor.show(
        "pages/overview.html",
        context! {
            started, waiting, days, ranges => RANGES,
            devices => devices.as_ref().map(devices_of),
            sources => sources.as_ref().map(sources_of),
            iocs => iocs.as_ref().map(iocs_of),
            changes => settings.as_ref().map(changes_of),
        },
    )
}

/// The first steps are not shown in this browser any more.
pub(crate) async fn act(form: Form) -> PageResult {
    let mut answer: HttpResponse = see_other("/");
    let mut cookie = brief_cookie(LEFT, "left".to_owned(), is_https(&form.visitor.app));
    cookie.set_max_age(actix_web::cookie::time::Duration::days(365));
    set_cookie(&mut answer, &cookie);
    Ok(answer)
}

fn steps(of: Started) -> Value {
    let Started { source, rule, device, pulled, mail } = of;
    let step =
        |done: bool, word: &str, href: &str, about: &str| context! { done, word, href, about };
    Value::from(vec![
        step(
            source,
            "Bring IOCs in",
            "/tip/sources/public",
            "Follow a public feed, or add a source and import a file.",
        ),
        step(
            rule,
            "Say which IOCs devices get",
            "/automation/policy/new",
            "A rule chooses IOCs for groups.",
        ),
        step(
            device,
            "Add a device",
            "/automation/integrations/new",
            "MISP, a firewall, a SIEM: iocast shows what to fill in.",
        ),
        step(
            pulled,
            "Have it pull",
            "/automation/integrations",
            "Its dot turns green at its first pull.",
        ),
        step(
            mail,
            "Prove that mail arrives",
            "/settings/mail",
            "Set a mail server and send a test message: silence is told by mail.",
        ),
    ])
}

/// What waits for a person, the most urgent first.
fn waiting(
    home: &Home,
    mail: MailWay,
    (backup, now): (Option<&LastBackup>, Timestamp),
) -> Vec<Value> {
    let mut all = Vec::new();
    let mut add = |n: u64, what: String, href: String| {
        if n > 0 {
            all.push(context! { n, what, href });
        }
    };
    let many = |n: u64, one: &str, more: &str| if n == 1 { one } else { more }.to_owned();
    if let Some(HomeDevices { contact, protection, held, held_all, .. }) = &home.devices {
        for (condition, n) in contact {
            let n = *n as u64;
            let href = format!("/automation/integrations?state={}", condition.code());
            match condition.code() {
                "silent" => add(n, many(n, "device is silent", "devices are silent"), href),
                "not_connected" => {
                    add(n, many(n, "device never pulled", "devices never pulled"), href);
                }
                _ => {}
            }
        }
        for (code, n) in protection {
            let n = *n as u64;
            let what = match *code {
                "refused" => many(n, "device refuses events", "devices refuse events"),
                "not_taken" => many(n, "device leaves out events", "devices leave out events"),
                "late" => many(n, "device is late", "devices are late"),
                "shrunk" => many(n, "device's list shrank", "devices' lists shrank"),
                "empty" => many(n, "device's list is empty", "devices' lists are empty"),
                "at_limit" => many(n, "device is at its limit", "devices are at their limits"),
                _ => continue,
            };
            add(n, what, format!("/automation/integrations?protection={code}"));
        }
        let of_group = held.first().map(|group| format!("/automation/groups/{}", group.id));
        let href = of_group
            .filter(|_| *held_all == 1)
            .unwrap_or_else(|| "/automation/integrations?protection=held".to_owned());
        add(*held_all, many(*held_all, "publication is held", "publications are held"), href);
    }
    if let Some(HomeSources { freshness, reviews, .. }) = &home.sources {
        for (of, n) in freshness {
            if *of == Freshness::Failing {
                let n = *n as u64;
                add(
                    n,
                    many(n, "subscription fails", "subscriptions fail"),
                    "/tip/sources?freshness=failing".to_owned(),
                );
            }
        }
        let n = *reviews as u64;
        add(
            n,
            many(n, "import waits for a review", "imports wait for a review"),
            "/tip/imports?state=review".to_owned(),
        );
    }
    if let Some(HomeSettings { dead_messages, keys_ending, alerted_people, .. }) = &home.settings {
        add(
            *dead_messages,
            many(
                *dead_messages,
                "message could not be delivered",
                "messages could not be delivered",
            ),
            "/settings/mail?state=dead".to_owned(),
        );
        add(
            *keys_ending,
            many(*keys_ending, "key ends within two weeks", "keys end within two weeks"),
            "/settings/subscription".to_owned(),
        );
        match backup {
            Some(last) if last.is_late(now) => all.push(context! { n => 0, what => last.error.as_ref().map_or_else(|| "No backup was made in time".to_owned(), |why| format!("No backup could be made: {why}")), href => "/help/operations#backup" }),
            _ => {}
        }
        if *alerted_people == 0 && mail == MailWay::Smtp {
            all.push(context! { n => 0, what => "Nobody gets alerts by mail", href => "/settings/users" });
        }
    }
    all
}

fn devices_of(of: &HomeDevices) -> Value {
    let contact: Vec<Value> = of
        .contact
        .iter()
        .map(|(condition, n)| context! { code => condition.code(), word => condition.word(), n })
        .collect();
    let protection: Vec<Value> = of
        .protection
        .iter()
        .map(|(code, n)| context! { code => *code, word => state_word(code), n, trouble => is_trouble(code) })
        .collect();
    context! { all => of.all, contact, protection }
}

/// A state of protection in words.
pub(crate) fn state_word(code: &str) -> String {
    match code {
        "unknown" => "not known".to_owned(),
        "at_limit" => "at the limit".to_owned(),
        other => other.replace('_', " "),
    }
}

/// Whether a state of protection is one that somebody should look at.
fn is_trouble(code: &str) -> bool {
    !["complete", "behind", "unknown"].contains(&code) && Protection::CODES.contains(&code)
}

fn sources_of(of: &HomeSources) -> Value {
    let freshness: Vec<Value> = of
        .freshness
        .iter()
        .map(|(freshness, n)| context! { code => freshness.word(), n })
        .collect();
    context! { all => of.all, freshness, subscribed => of.freshness.iter().map(|(_, n)| n).sum::<usize>() }
}

fn iocs_of(of: &HomeIocs) -> Value {
    let most = of.days.iter().filter_map(|(_, n)| n.map(|n| n.iter().sum())).max();
    let most = round_up(most.unwrap_or(0));
    let part = |n: u64| (n * HIGH).div_ceil(most.max(1));
    let day = |(day, n): &(Timestamp, Option<[u64; 3]>)| {
        let [low, medium, high] = n.unwrap_or_default();
        context! {
            day => day.day(), counted => n.is_some(), low, medium, high, all => low + medium + high,
            heights => [part(high), part(high + medium) - part(high), part(high + medium + low) - part(high + medium)],
        }
    };
    let kinds: Vec<Value> = of
        .kinds
        .iter()
        .map(|(kind, [low, medium, high])| {
            context! { kind => kind.word(), low, medium, high, all => low + medium + high }
        })
        .collect();
    let all: u64 = of.kinds.iter().map(|(_, n)| n.iter().sum::<u64>()).sum();
    context! {
        counted_at => of.counted_at.map(|at| at.to_string()), all, kinds, most, half => most / 2,
        days => of.days.iter().map(day).collect::<Vec<_>>(),
    }
}

/// The end of an axis: a round number that is not below this one.
fn round_up(n: u64) -> u64 {
    let mut step = 10_u64;
    while step.saturating_mul(10) <= n {
        step = step.saturating_mul(10);
    }
    n.div_ceil(step).max(1).saturating_mul(step)
}

fn changes_of(of: &HomeSettings) -> Vec<Value> {
    let line = |line: &iocast_app::AuditLine| {
        let detail: Json = serde_json::from_str(&line.detail).unwrap_or_default();
        let name = ["name", "value", "email", "subject"].iter().find_map(|key| {
            let of = |json: &Json| json.get(key).and_then(Json::as_str).map(str::to_owned);
            of(&detail)
                .or_else(|| detail.get("after").and_then(of))
                .or_else(|| detail.get("before").and_then(of))
        });
        context! {
            at => line.at.to_string(), actor => line.actor.clone(), object => line.object.clone(), name,
            action => line.action.replace(['.', '_'], " "), href => format!("/settings/audit?object={}", view::query_encoded(&line.object)),
        }
    };
    of.changes.iter().map(line).collect()
}
