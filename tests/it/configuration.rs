//! Configuration as code: an account as a document, over the API and from the shell.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    shell::{binary, try_iocast_on},
    support::{Admin, TestApp, eventually, stories, text},
};

stories!(
    an_account_is_what_its_document_says,
    a_document_can_be_the_whole_truth,
    a_document_that_is_wrong_changes_nothing,
    the_made_up_world_is_exported_and_made_again,
    what_is_deleted_widens_nothing,
    the_same_document_changes_nothing,
    the_shell_applies_documents,
);

const PATH: &str = "/api/v1/configuration";

fn apply(admin: &Admin, document: &Value) -> Value {
    admin.post(PATH, document.clone(), 200)
}

/// `action what name` of each change.
fn changes(of: &Value) -> Vec<String> {
    let one = |c: &Value| {
        format!("{} {} {}", text(c, "action"), text(c, "what"), text(c, "name")).trim().to_owned()
    };
    of["changes"].as_array().unwrap().iter().map(one).collect()
}

fn document() -> Value {
    json!({
        "version": 1,
        "account": { "silent_after_hours": 24, "webhook_url": "" },
        "guards": {
            "off": [],
            "own": ["Corp.Example", "198.51.100.0/24"],
            "allow": [{ "value": "cdn.example", "comment": "Our CDN" }, { "value": "test.example", "device": "edge 1" }],
        },
        "people": [{ "email": "admin@iocast.local", "role": "admin" }],
        "sources": [
            { "name": "Own list", "confidence": 3, "limits": { "lifetime_days": 30 } },
            {
                "name": "Feed",
                "subscription": { "url": "https://feed.example/list.txt", "cron": "0 6 * * *", "tags": ["feed"], "paused": true },
            },
        ],
        "devices": [
            {
                "name": "Edge 1", "device_type": "panorama", "ioc_limit": 9_000, "labels": ["Site: Berlin", "dmz"], "silent_after_hours": 6,
                "groups": [
                    { "name": "Addresses", "kind": "ip", "limit": 5_000, "source_priority": ["own list"] },
                    { "name": "Domains", "kind": "domain", "limit": 4_000 },
                ],
            },
            { "name": "Lab", "device_type": "misp", "groups": [{ "name": "All", "limit": 50_000 }] },
        ],
        "rules": [
            { "name": "High", "criteria": { "severities": ["medium", "high"], "sources": ["feed", "OWN LIST"] }, "groups": ["Edge 1/Domains", "edge 1/addresses"] },
            { "name": "Everything", "groups": ["Lab/All"] },
        ],
    })
}

fn an_account_is_what_its_document_says(app: &mut TestApp) {
    let admin = app.admin();
    let planned = admin.post(&format!("{PATH}?plan=true"), document(), 200);
    assert_eq!(planned["applied"], false);
    assert!(admin.get("/api/v1/devices")["items"].as_array().unwrap().is_empty(), "only a plan");
    let applied = apply(&admin, &document());
    assert_eq!(changes(&applied), changes(&planned));
    assert_eq!(
        changes(&applied),
        [
            "update account",
            "update guards",
            "update guards allow list",
            "create source Own list",
            "create source Feed",
            "create subscription Feed",
            "create device Edge 1",
            "create group Edge 1/Addresses",
            "create group Edge 1/Domains",
            "create device Lab",
            "create group Lab/All",
            "create rule High",
            "create rule Everything",
            "update guards allow list",
        ]
    );
    let urls: Vec<String> =
        applied["groups"].as_array().unwrap().iter().map(|g| text(g, "url")).collect();
    assert!(urls.len() == 3 && urls.iter().all(|url| url.contains("/feeds/")), "{urls:?}");
    // What it asked for is there, and reaches devices.
    let devices = admin.get("/api/v1/devices");
    let edge = &devices["items"][0];
    assert_eq!(
        (&edge["labels"], &edge["silent_after_hours"]),
        (&json!(["dmz", "site: berlin"]), &json!(6))
    );
    let source = text(&admin.get("/api/v1/sources")["items"][1], "id");
    admin.import(
        &source,
        "application/json",
        &json!([{ "value": "a.example", "severity": "high" }]).to_string(),
        200,
    );
    let device = app.device();
    eventually("the device gets it", || {
        (device.get(&urls[1], &[]).text().trim() == "a.example").then_some(())
    });
    let rules = admin.get("/api/v1/rules");
    assert_eq!(rules["items"].as_array().unwrap().len(), 2, "no rule by default beside: {rules}");
    // The same again changes nothing, and neither does what is exported.
    assert_eq!(changes(&apply(&admin, &document())), Vec::<String>::new());
    let exported = admin.get(PATH);
    assert_eq!(
        changes(&admin.post(&format!("{PATH}?prune=true"), exported.clone(), 200)),
        Vec::<String>::new()
    );
    assert_eq!(exported["sources"][0]["subscription"]["cron"], "0 6 * * *");
    // One field is one change; what the document leaves out stays.
    let one = json!({ "version": 1, "devices": [{ "name": "edge 1", "device_type": "panorama", "groups": [{ "name": "Domains", "limit": 3_000 }] }] });
    let planned = admin.post(&format!("{PATH}?plan=true"), one.clone(), 200);
    assert_eq!(
        planned["changes"],
        json!([
            { "action": "update", "what": "group", "name": "edge 1/Domains", "fields": [{ "field": "limit", "from": 4_000, "to": 3_000 }] },
            { "action": "update", "what": "device", "name": "Edge 1", "fields": [{ "field": "name", "from": "Edge 1", "to": "edge 1" }] },
        ])
    );
    // Room moves from one group to another in one go, and with the device's limit.
    let mut moved = document();
    moved["devices"][0]["ioc_limit"] = json!(8_000);
    moved["devices"][0]["groups"][0]["limit"] = json!(7_000);
    moved["devices"][0]["groups"][1]["limit"] = json!(1_000);
    apply(&admin, &moved);
    moved["devices"][0]["ioc_limit"] = json!(20_000);
    moved["devices"][0]["groups"][1]["limit"] = json!(13_000);
    apply(&admin, &moved);
    assert_eq!(changes(&apply(&admin, &moved)), Vec::<String>::new());
    let log = admin.get("/api/v1/audit?limit=200");
    assert!(log["items"].as_array().unwrap().iter().any(|line| line["action"] == "rule.create"));
}

fn a_document_can_be_the_whole_truth(app: &mut TestApp) {
    let admin = app.admin();
    apply(&admin, &document());
    let mut less = document();
    less["devices"].as_array_mut().unwrap().pop();
    less["devices"][0]["groups"].as_array_mut().unwrap().pop();
    less["rules"] = json!([{ "name": "High", "groups": ["Edge 1/Addresses"], "criteria": {} }]);
    less["sources"].as_array_mut().unwrap().pop();
    less["guards"]["allow"].as_array_mut().unwrap().pop();
    assert_eq!(
        changes(&admin.post(&format!("{PATH}?plan=true"), less.clone(), 200)),
        ["update rule High"]
    );
    let pruned = admin.post(&format!("{PATH}?prune=true"), less.clone(), 200);
    assert_eq!(
        changes(&pruned),
        [
            "delete group Edge 1/Domains",
            "delete device Lab",
            "update rule High",
            "delete rule Everything",
            "update guards allow list",
            "delete source Feed",
        ]
    );
    assert_eq!(
        changes(&admin.post(&format!("{PATH}?prune=true"), less, 200)),
        Vec::<String>::new()
    );
    // A part that is left out is not touched, and who asks keeps the own access.
    let nothing = json!({ "version": 1, "rules": [], "people": [] });
    let pruned = admin.post(&format!("{PATH}?prune=true"), nothing, 200);
    assert_eq!(changes(&pruned), ["delete rule High"]);
    assert_eq!(admin.get("/api/v1/devices")["items"].as_array().unwrap().len(), 1);
}

fn a_document_that_is_wrong_changes_nothing(app: &mut TestApp) {
    let admin = app.admin();
    apply(&admin, &document());
    let before = admin.get(PATH);
    let mut wrong = document();
    wrong["account"]["silent_after_hours"] = json!(12);
    wrong["devices"][0]["device_type"] = json!("misp");
    wrong["devices"][0]["groups"][0]["kind"] = json!("domain");
    wrong["rules"][0]["groups"][0] = json!("Edge 1/Nowhere");
    wrong["rules"][1]["criteria"] = json!({ "source_ids": [] });
    wrong["sources"][1]["subscription"]["every"] = json!(5);
    wrong["guards"]["own"][0] = json!("not a name");
    wrong["rules"].as_array_mut().unwrap().push(json!({ "name": "HIGH" }));
    let refused = admin.post(PATH, wrong, 422);
    let mut fields: Vec<String> =
        refused["errors"].as_array().unwrap().iter().map(|e| text(e, "field")).collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "devices.Edge 1.Addresses.kind",
            "devices.Edge 1.device_type",
            "guards.own",
            "rules",
            "rules.Everything.criteria.source_ids",
            "rules.High.groups",
            "sources.Feed.subscription",
        ]
    );
    assert_eq!(admin.get(PATH), before);
    admin.post(PATH, json!({ "version": 2 }), 422);
    admin.post(PATH, json!({ "version": 1, "rule": [] }), 422);
    // What only shows while it is done ends the work, and says how far it came.
    let mut too_much = document();
    too_much["account"]["silent_after_hours"] = json!(12);
    too_much["devices"][0].as_object_mut().unwrap().remove("ioc_limit");
    too_much["devices"][0]["groups"][0]["limit"] = json!(60_000);
    let stopped = admin.post(PATH, too_much, 409);
    assert_eq!(stopped["code"], "apply_stopped");
    let said = text(&stopped, "detail");
    assert!(said.starts_with("group Edge 1/Addresses: "), "{said}");
    assert!(
        said.ends_with(
            "1 of 2 changes were made before: account changed. Correct the document, and apply it again."
        ),
        "{said}"
    );
}

fn the_made_up_world_is_exported_and_made_again(app: &mut TestApp) {
    let admin = app.admin();
    admin.post("/api/v1/emulator/fixtures", json!({ "load": "small" }), 200);
    let mut world = admin.get(PATH);
    assert_eq!(
        changes(&admin.post(&format!("{PATH}?prune=true"), world.clone(), 200)),
        Vec::<String>::new()
    );
    admin.delete("/api/v1/emulator/fixtures", 200);
    let made = apply(&admin, &world);
    assert!(changes(&made).len() > 5, "{made}");
    // Guards may name what was deleted in between; all else is as it was.
    let mut again = admin.get(PATH);
    for document in [&mut world, &mut again] {
        document.as_object_mut().unwrap().remove("guards");
    }
    assert_eq!(again, world);
}

/// A rule that asks for a deleted source takes nothing, and so it stays; so does what was allowed
/// for a deleted device.
fn what_is_deleted_widens_nothing(app: &mut TestApp) {
    let admin = app.admin();
    apply(&admin, &document());
    let id = |list: &str, name: &str| {
        let all = admin.get(&format!("/api/v1/{list}"));
        let found = all["items"].as_array().unwrap().iter().find(|of| of["name"] == name).cloned();
        text(&found.unwrap(), "id")
    };
    let rule =
        json!({ "version": 1, "rules": [{ "name": "High", "criteria": { "sources": ["Feed"] } }] });
    apply(&admin, &rule);
    admin.delete(&format!("/api/v1/sources/{}", id("sources", "Feed")), 204);
    admin.delete(&format!("/api/v1/devices/{}", id("devices", "Edge 1")), 204);
    let exported = admin.get(PATH);
    let criteria = |document: &Value| document["rules"][1]["criteria"].clone();
    let name = criteria(&exported)["sources"][0].as_str().unwrap().to_owned();
    assert!(name.starts_with("deleted source "), "{name}");
    // Changed in something else, it goes on asking for that source.
    let mut changed = exported.clone();
    changed["rules"][1]["criteria"]["severities"] = json!(["low"]);
    assert_eq!(changes(&apply(&admin, &changed)), ["update rule High"]);
    let rules = admin.get("/api/v1/rules");
    let high = rules["items"].as_array().unwrap().iter().find(|of| of["name"] == "High").unwrap();
    assert_eq!(high["criteria"]["source_ids"].as_array().unwrap().len(), 1, "{high}");
    // Elsewhere that name is unknown: better refused than wide.
    let other = json!({ "version": 1, "rules": [{ "name": "Other", "criteria": { "sources": ["deleted source 1"] } }] });
    assert_eq!(admin.post(PATH, other, 422)["errors"][0]["code"], "unknown");
    let more = json!({ "version": 1, "guards": { "allow": [{ "value": "more.example" }] } });
    apply(&admin, &more);
    let guards = admin.get("/api/v1/account/guards");
    let test = guards["allow"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["value"] == "test.example")
        .unwrap();
    assert!(test["device_id"].is_string(), "still for that device only: {guards}");
    // What a document would delete, the rest of it can't name.
    let mut contradicts = document();
    contradicts["devices"] = json!([]);
    let refused = admin.post(&format!("{PATH}?prune=true"), contradicts, 422);
    assert!(
        refused["errors"]
            .as_array()
            .unwrap()
            .iter()
            .any(|e| e["field"] == "rules.Everything.groups"),
        "{refused}"
    );
}

/// However a person writes it.
fn the_same_document_changes_nothing(app: &mut TestApp) {
    let admin = app.admin();
    let subscription = json!({
        "url": "https://feed.example", "protocol": "file", "access": "oauth2", "access_name": " client ",
        "secret": "s3cret", "token_url": "https://tok.example", "cron": "0  6 * * *", "time_zone": "Europe/Berlin",
        "columns": "Indicator = value\n", "tags": [" b ", "a"], "kinds": ["url", "domain"], "paused": true,
    });
    let document = json!({
        "version": 1,
        "account": { "webhook_url": " https://hooks.example/x " },
        "guards": {
            "own": ["10.1.2.3/16"],
            "allow": [
                { "value": "A.example", "comment": " " },
                { "value": "over.example", "expires_at": "2020-01-01T00:00:00Z" },
            ],
        },
        "sources": [{ "name": " Feed ", "subscription": subscription, "limits": { "lifetimes": {} } }, { "name": "Plain", "subscription": { "url": "http://a.example/x", "secret": "unused" } }],
        "devices": [{ "name": " Edge ", "device_type": "panorama", "labels": ["B", "a"], "groups": [{ "name": "Domains ", "kind": "Domain" }] }],
        "rules": [
            { "name": "Alerts", "criteria": { "alerts": { "types": ["Phishing"] } }, "groups": ["edge/domains"] },
            { "name": "Past", "criteria": { "alerts": { "past": true } } },
            { "name": "Tags", "criteria": { "tags": ["b", "a"], "kinds": ["url", "domain"], "first_seen_from": "2026-01-01T00:00:00Z" } },
        ],
    });
    apply(&admin, &document);
    let again = apply(&admin, &document);
    assert_eq!(changes(&again), Vec::<String>::new(), "{again}");
    app.advance(&admin, "48h");
    assert_eq!(changes(&apply(&admin, &document)), Vec::<String>::new(), "nor later");
}

fn the_shell_applies_documents(app: &mut TestApp) {
    let admin = app.admin();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("iocast.toml");
    let path = file.to_str().unwrap();
    fs::write(
        &file,
        r#"
version = 1

[[sources]]
name = "Feed"
[sources.subscription]
url = "https://feed.example/list.txt"
access = "bearer"
secret = { file = "feed.key" }
paused = true

[[devices]]
name = "Edge"
device_type = "panorama"
[[devices.groups]]
name = "Domains"
kind = "domain"
"#,
    )
    .unwrap();
    let (done, _, said) = try_iocast_on(app, &["apply", "--file", path, "--plan"], None);
    assert!(!done && said.contains("feed.key"), "{said}");
    fs::write(folder.path().join("feed.key"), "very secret\n").unwrap();
    let (done, shown, said) = try_iocast_on(app, &["apply", "--file", path, "--plan"], None);
    assert!(!done, "a plan with changes ends with 3: {said}");
    assert!(shown.contains("+ device Edge\n") && shown.contains("4 to create"), "{shown}");
    let (done, _, said) = try_iocast_on(app, &["apply", "--file", path], None);
    assert!(!done && said.contains("--yes"), "{said}");
    let (done, shown, said) = try_iocast_on(app, &["apply", "--file", path, "--yes"], None);
    assert!(done && shown.contains("4 created, 0 changed, 0 deleted."), "{shown}{said}");
    let (done, shown, _) = try_iocast_on(app, &["apply", "--file", path, "--plan"], None);
    assert!(done && shown.starts_with("Nothing to change"), "{shown}");
    // Another secret is a change; it is not shown.
    fs::write(folder.path().join("feed.key"), "another secret\n").unwrap();
    let (_, shown, _) = try_iocast_on(app, &["apply", "--file", path, "--plan"], None);
    assert!(shown.contains("~ subscription Feed") && !shown.contains("another secret"), "{shown}");
    let (done, toml, said) = try_iocast_on(app, &["export"], None);
    assert!(
        done && toml.contains("[[devices.groups]]") && !toml.contains("secret\n"),
        "{toml}{said}"
    );
    fs::write(&file, &toml).unwrap();
    let (done, shown, said) =
        try_iocast_on(app, &["apply", "--file", path, "--prune", "--plan"], None);
    assert!(done && shown.starts_with("Nothing to change"), "{shown}{said}");

    // A rule whose criteria have unset parts: TOML has no word for nothing.
    let alerts =
        json!({ "name": "Past", "criteria": { "alerts": { "past": true } }, "group_ids": [] });
    admin.post("/api/v1/rules", alerts, 201);
    let (done, toml, said) = try_iocast_on(app, &["export"], None);
    assert!(done && toml.contains("past = true"), "{toml}{said}");
    // From another machine, with a service token.
    let asks = json!({ "name": "deploy", "scope": "admin" });
    let token = text(&admin.post("/api/v1/service-tokens", asks, 201), "secret");
    let remote = |token: &str, args: &[&str]| {
        let done = Command::new(binary())
            .args(args)
            .args(["--server", &app.url])
            .env("IOCAST_SERVICE_TOKEN", token)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let (code, there, said) = remote(&token, &["export"]);
    assert_eq!((code, &there), (Some(0), &toml), "{said}");
    fs::write(&file, "version = 1\n[[devices]]\nname = \"Edge\"\ndevice_type = \"panorama\"\nioc_limit = 2000000\n").unwrap();
    let (code, shown, said) = remote(&token, &["apply", "--file", path, "--plan"]);
    assert_eq!(code, Some(3), "{shown}{said}");
    let (code, _, said) = remote(&token, &["apply", "--file", path, "--yes"]);
    assert!(
        code == Some(1) && said.contains("device Edge: ") && said.contains("0 of 1 changes"),
        "{said}"
    );
    let elsewhere = |address: &str| {
        let command = ["export", "--server", address];
        let done = Command::new(binary())
            .args(command)
            .env("IOCAST_SERVICE_TOKEN", &token)
            .output()
            .unwrap();
        assert!(!done.status.success());
        String::from_utf8(done.stderr).unwrap()
    };
    assert!(elsewhere("http://iocast.example").contains("--insecure"), "not in the clear");
    assert!(elsewhere("iocast.example").contains("begin it with https://"));
    let (code, _, said) = remote("ist_nonsense", &["export"]);
    assert!(code == Some(1) && said.contains("No service token has this secret"), "{said}");
}
