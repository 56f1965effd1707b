//! Every page renders, whatever its data lacks: a template that asks for what is not there makes an
//! error of the whole page.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    old_databases,
    pages::{Tab, page, pages_that},
    support::{Engine, TestApp, stories, text},
    watchdog::HOUR,
};

stories!(
    an_empty_account,
    devices_of_every_type,
    iocs_that_lack_each_thing,
    lines_of_the_audit_log_of_every_shape,
    forms_that_are_sent_empty
);

/// Pages of one kind that are looked at: a list links to many alike.
const ALIKE: usize = 60;

/// The path of a link without what tells one thing from another: pages of one kind have one.
fn kind(path: &str) -> String {
    let plain = path.split(['?', '#']).next().unwrap_or_default();
    let named = |part: &str| {
        if part.len() >= 24 && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            "{id}".to_owned()
        } else {
            part.to_owned()
        }
    };
    plain.split('/').map(named).collect::<Vec<_>>().join("/")
}

/// What HTML escapes in a link.
fn unescaped(text: &str) -> String {
    [("&#x2f;", "/"), ("&amp;", "&"), ("&#x27;", "'"), ("&quot;", "\"")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Follows the links of all pages, from those in the navigation on. Gives what is on each.
fn crawl(tab: &Tab) -> BTreeMap<String, String> {
    let shown = pages_that("web::get()");
    let mut next: VecDeque<String> = shown.into_iter().filter(|path| !path.contains('{')).collect();
    assert!(next.len() > 12, "{next:?}");
    let (mut seen, mut of_kind, mut found) =
        (BTreeSet::new(), BTreeMap::<String, usize>::new(), BTreeMap::new());
    while let Some(path) = next.pop_front() {
        let count = of_kind.entry(kind(&path)).or_default();
        if path.starts_with("/assets")
            || path.starts_with("/api")
            || *count >= ALIKE
            || !seen.insert(path.clone())
        {
            continue;
        }
        *count += 1;
        let answer = page(&format!("{}{path}", tab.url), &tab.cookies);
        // Some of what is linked belongs to a module or a role that this person lacks.
        assert!(
            [200, 303, 403, 404].contains(&answer.status),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
        let html = answer.text();
        for link in
            html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(unescaped)
        {
            if link.starts_with('/') {
                next.push_back(link.split('#').next().unwrap_or_default().to_owned());
            }
        }
        found.insert(path, html);
    }
    found
}

fn of_kinds(pages: &BTreeMap<String, String>) -> BTreeSet<String> {
    pages.keys().map(|path| kind(path)).collect()
}

/// Every page of the product leads to a place in the handbook that exists.
fn leads_into_the_handbook(pages: &BTreeMap<String, String>) {
    let mut led = BTreeSet::new();
    for (path, html) in pages {
        for link in html.split("href=\"/help/").skip(1).filter_map(|rest| rest.split('"').next()) {
            led.insert((unescaped(link), path));
        }
    }
    assert!(led.len() > 30, "{led:?}");
    for (link, from) in led {
        let (page, place) = link.split_once('#').unwrap_or((&link, ""));
        let html = pages.get(&format!("/help/{page}")).unwrap_or_else(|| panic!("{from}: {link}"));
        let here = html.matches(&format!("id=\"{place}\"")).count();
        assert!(place.is_empty() || here == 1, "{from} leads to {link}: {here} places");
    }
}

fn an_empty_account(app: &mut TestApp) {
    let tab = Tab::open(app);
    let pages = crawl(&tab);
    leads_into_the_handbook(&pages);
    let shown = |path: &str| page(&format!("{}{path}", app.url), &tab.cookies).text();
    let found = shown("/help?q=BACKUP");
    let mut links = found.split("<article>").nth(1).unwrap().split("href=\"");
    let first = unescaped(links.nth(1).unwrap().split('"').next().unwrap());
    assert_eq!(first, "/help/operations#backup", "headings first, in any case: {found}");
    assert!(shown("/help?q=without_database_hours+503").contains("1 section has these words"));
    assert!(shown("/help?q=no+such+word+anywhere").contains("No section has all of these words"));
    let nothing = shown("/%3Cscript%3Ealert(1)%3C/script%3E");
    assert!(nothing.contains("<title>") && !nothing.contains("<script>alert"), "{nothing}");
    assert!(of_kinds(&pages).len() > 12, "{:?}", of_kinds(&pages));
    // The same without each of its modules.
    for modules in [["--automation", "off", "--tip", "on"], ["--automation", "on", "--tip", "off"]]
    {
        crate::shell::iocast_on(app, &[&["admin", "modules"][..], &modules].concat(), None);
        crawl(&Tab::open(app));
    }
}

fn devices_of_every_type(app: &mut TestApp) {
    let admin = app.admin();
    let types = admin.get("/api/v1/device-types?limit=1000")["items"].as_array().unwrap().clone();
    let mut with_groups = 0;
    for (n, of) in types.iter().enumerate() {
        let answer = admin.send(
            "POST",
            "/api/v1/devices",
            &[("content-type", "application/json")],
            Some(
                json!({ "name": format!("Device {n}"), "device_type": of["id"] })
                    .to_string()
                    .as_bytes(),
            ),
        );
        if answer.status != 201 {
            continue;
        }
        let device = text(&answer.json(), "id");
        let kinds: Vec<Value> = of["group_kinds"].as_array().cloned().unwrap_or_default();
        let kind = kinds.first().cloned().unwrap_or(Value::Null);
        let body = if kind.is_null() {
            json!({ "name": "Group" })
        } else {
            json!({ "name": "Group", "kind": kind })
        };
        let made = admin.send(
            "POST",
            &format!("/api/v1/devices/{device}/groups"),
            &[("content-type", "application/json")],
            Some(body.to_string().as_bytes()),
        );
        with_groups += usize::from(made.status == 201);
        match n % 4 {
            0 => drop(admin.patch(
                &format!("/api/v1/devices/{device}"),
                json!({ "paused": true }),
                200,
            )),
            1 => drop(admin.post(&format!("/api/v1/devices/{device}/keys"), json!({}), 201)),
            _ => {}
        }
    }
    assert!(with_groups > 20, "{with_groups} of {} types take a group", types.len());
    app.advance(&admin, "49h");
    let pages = crawl(&Tab::open(app));
    for wanted in [
        "/automation/integrations/{id}",
        "/automation/integrations/{id}/setup",
        "/automation/groups/{id}",
    ] {
        assert!(
            pages.keys().filter(|path| kind(path) == wanted).count() > 20,
            "{wanted}: {:?}",
            of_kinds(&pages)
        );
    }
}

fn iocs_that_lack_each_thing(app: &mut TestApp) {
    let admin = app.admin();
    let scene = crate::support::Scene::set(&admin, None);
    let full = json!({
        "severity": "high", "confidence": 2, "first_seen": "2026-10-01T10:00:00Z", "last_seen": "2026-11-01T10:00:00Z", "alert_id": "6f9619ff8b86d01bb42d00cf",
        "tags": ["apt"], "threat_actors": ["Actor"], "campaigns": ["Campaign"], "malware_families": ["Family"], "score": 77.5
    });
    let keys: Vec<&String> = full.as_object().unwrap().keys().collect();
    let mut list = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        // Each thing alone, and all but each.
        let mut alone = json!({ "value": format!("alone{n}.example") });
        alone[key.as_str()] = full[key.as_str()].clone();
        let mut all_but = full.clone();
        all_but.as_object_mut().unwrap().remove(key.as_str());
        all_but["value"] = json!(format!("without{n}.example"));
        list.extend([alone, all_but]);
    }
    for value in [
        "192.0.2.7",
        "192.0.2.0/24",
        "2001:db8::1",
        "http://a.example/x",
        "a@b.example",
        "d41d8cd98f00b204e9800998ecf8427e",
    ] {
        list.push(json!({ "value": value }));
    }
    admin.import(&scene.source, "application/json", &Value::from(list).to_string(), 200);
    for (n, patch) in [
        json!({ "severity": "low" }),
        json!({ "user_tags": ["x"] }),
        json!({ "whitelist": "never_sent" }),
        json!({ "comment": "A remark" }),
    ]
    .iter()
    .enumerate()
    {
        admin.patch(
            &format!("/api/v1/iocs/{}", text(&admin.ioc(&format!("alone{n}.example")), "id")),
            patch.clone(),
            200,
        );
    }
    let pages = crawl(&Tab::open(app));
    assert!(
        pages.keys().filter(|path| kind(path) == "/tip/iocs/{id}").count() > 25,
        "{:?}",
        of_kinds(&pages)
    );
}

fn lines_of_the_audit_log_of_every_shape(app: &mut TestApp) {
    let admin = app.admin();
    admin.post("/api/v1/users", json!({ "email": "analyst@example.com", "role": "analyst" }), 201);
    let tab = Tab::open(app);
    let (cookies, account) = (tab.cookies.clone(), app.account_id.clone());
    let values = [
        json!(null),
        json!("text"),
        json!(""),
        json!(7),
        json!(true),
        json!([]),
        json!(["a", 1, null]),
        json!({}),
        json!({ "own": ["a"] }),
    ];
    let mut details: Vec<Value> = values.to_vec();
    for value in &values {
        details.push(json!({ "name": value }));
        details.push(json!({ "before": value, "after": { "x": 1 } }));
        details.push(json!({ "before": { "x": value }, "after": {} }));
        details.push(json!({ "before": { "x": value, "y": 1 }, "after": { "x": value } }));
        details.push(json!({ "before": {}, "after": value }));
        details.push(json!({ "after": { "x": value } }));
        details.push(json!({ "before": { "x": value } }));
    }
    app.stop();
    for (n, detail) in details.iter().enumerate() {
        let id = uuid(n);
        let id = if app.database_url().is_some() {
            format!("'{id}'")
        } else {
            format!("X'{}'", id.replace('-', ""))
        };
        // Far in the future: they are on the first pages.
        app.sql(&format!(
            "INSERT INTO audit (id, account_id, at, actor, action, object, detail, address, request_id) \
             VALUES ({id}, '{account}', {}, 'somebody', 'thing.change', 'x', '{detail}', '', '')",
            4_000_000_000_000_000_i64 + n as i64,
        ));
    }
    app.restart();
    let mut next = Some("/settings/audit".to_owned());
    let (mut lines, mut shown_values) = (0, String::new());
    while let Some(path) = next.take() {
        let shown = page(&format!("{}{path}", app.url), &cookies);
        assert_eq!(shown.status, 200, "{path}: {}", shown.text());
        let html = shown.text();
        lines += html.matches("thing.change").count();
        shown_values += &html;
        next = html
            .split("href=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .map(unescaped)
            .find(|link| link.contains("cursor="));
    }
    assert!(lines >= details.len(), "{lines} of {}", details.len());
    // What is not set is shown as a word, never as nothing.
    for value in ["none", "yes", "a, 1, none"] {
        assert!(shown_values.contains(&format!("<dd>{value}</dd>")), "{value}: {shown_values}");
    }
    assert_eq!(page(&format!("{}/settings/audit.csv", app.url), &cookies).status, 200);
}

fn uuid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// A form is shown again beside what is wrong with it: with what was sent, and that may be nothing.
fn forms_that_are_sent_empty(app: &mut TestApp) {
    let admin = app.admin();
    let scene = crate::support::Scene::set(&admin, None);
    scene.import(&admin, "evil.example\nworse.example");
    scene.settled(&app.device(), &["evil.example", "worse.example"]);
    app.clock.advance(HOUR);
    let pages = crawl(&Tab::open(app));
    let mut forms = 0;
    for (path, html) in &pages {
        // Signing out or moving the clock is no form to be shown again.
        let places: BTreeSet<String> = html
            .split("<form ")
            .skip(1)
            .filter(|form| {
                form.split('>').next().is_some_and(|tag| {
                    tag.contains("method=\"post\"") && !tag.contains("multipart")
                })
            })
            .map(|form| {
                let tag = form.split('>').next().unwrap_or_default();
                tag.split("action=\"")
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .map_or_else(|| path.clone(), unescaped)
            })
            .filter(|place| place != "/sign-out" && place != "/emulator/clock")
            .collect();
        let acts: BTreeSet<&str> = html
            .split("name=\"do\" value=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .chain(["", "nonsense"])
            .collect();
        for place in places {
            for act in &acts {
                // Those who leave something for good are asked, and an empty form says nothing.
                let tab = Tab::open(app);
                let sent = tab.send(&place, &[], &[("token", tab.token.as_str()), ("do", act)]);
                assert!(sent.status < 500, "{place} do={act}: {} {}", sent.status, sent.text());
                forms += 1;
            }
        }
    }
    assert!(forms > 40, "{forms} forms");
}

/// What earlier versions left: sent events, tombstones, held and frozen groups, outages, keys.
#[test]
fn an_old_database() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (app, _) = old_databases::open(engine, &old_databases::days()[0], |_| {});
        let pages = crawl(&Tab::open(&app));
        let kinds = of_kinds(&pages);
        for wanted in [
            "/automation/groups/{id}",
            "/automation/groups/{id}/compare",
            "/automation/policy/{id}",
            "/tip/sources/{id}",
            "/tip/iocs/{id}",
        ] {
            assert!(kinds.contains(wanted), "{wanted} in {kinds:?}");
        }
    }
}
