//! What the emulator has for those who build a client: faults, recordings, scenarios, fixtures, and
//! documents of the REST API.

use serde_json::{Value, json};

use crate::{
    accounts::second_account,
    integrators::iocs,
    lists,
    public::Client,
    support::{Admin, Engine, TestApp, basic, eventually, send, stories, text, try_send},
};

stories!(
    faults_come_on_demand,
    what_clients_ask_is_recorded,
    a_device_falls_silent_and_comes_back,
    a_key_is_rotated_an_ioc_whitelisted_calls_refused,
    many_iocs_come_in_an_hour,
    the_medium_fixtures_are_the_same_each_time,
    the_collection_of_requests_works,
);

/// Takes long: 250,000 IOCs.
mod long {
    use super::*;

    #[test]
    #[ignore = "takes a minute; `make test-long` runs it"]
    fn the_large_fixtures() {
        let app = TestApp::open(Engine::Sqlite);
        let admin = app.admin();
        let loaded = admin.post("/api/v1/emulator/fixtures", json!({ "load": "large" }), 200);
        assert_eq!((&loaded["iocs"], &loaded["sources"]), (&json!(250_031), &json!(6)));
        let emptied = admin.delete("/api/v1/emulator/fixtures", 200);
        assert_eq!(emptied["iocs"], 250_031);
    }
}

const SCENARIOS: &str = "/api/v1/emulator/scenarios";

/// Starts a scenario; gives what its first steps said.
fn start(admin: &Admin, name: &str) -> Value {
    let run = admin.post(SCENARIOS, json!({ "run": name }), 201);
    assert_eq!(run["scenario"], name);
    run
}

/// What a run says behind some words, such as a key.
fn said(run: &Value, behind: &str) -> String {
    let lines = run["said"].as_array().unwrap().iter().map(|said| text(said, "what"));
    let found = lines.filter_map(|line| line.strip_prefix(behind).map(str::to_owned)).next();
    found.unwrap_or_else(|| panic!("{behind}: {run}"))
}

fn what_clients_ask_is_recorded(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    let recordings = "/api/v1/emulator/recordings";
    let device = lists::device(&admin, "plain-list", json!({}));
    let all = ["a.example", "http://b.example/x?q=1%20&r=2", "44d88612fea8a8f36de82e1278abb02f"];
    lists::settled(app, &device.url, &all);
    admin.delete(recordings, 204);

    let agent = "integrator/1.0";
    let authorization = client.authorization().to_owned();
    let ask = |method: &str, path: &str, body: Option<Value>| {
        let headers = [
            ("authorization", authorization.as_str()),
            ("user-agent", agent),
            ("content-type", "application/json"),
        ];
        let body = body.map(|of| of.to_string());
        try_send(
            method,
            &format!("{}/public{path}", app.url),
            &headers,
            body.as_deref().map(str::as_bytes),
        )
    };
    let page = "/v3/iocs?lastUpdatedFrom=2026-10-01T00:00:00Z&type[]=Domains";
    assert_eq!(ask("GET", page, None).unwrap().status, 200);
    let tag = json!([{ "iocValue": "a.example", "tag": "seen" }]);
    assert_eq!(ask("POST", "/v1/iocs/tags", Some(tag.clone())).unwrap().status, 200);
    // A fault is in the recording as well: the answer that was cut off.
    admin.post(
        "/api/v1/emulator/faults",
        json!({ "path": "/public/*", "drop_after_bytes": 20, "times": 1 }),
        201,
    );
    assert!(ask("GET", page, None).is_err());
    // A device that shows its key in the URL, whose name is escaped in part.
    let key = format!("{}?k%65y={}", device.url, app.appliance_key);
    assert_eq!(send("GET", &key, &[("user-agent", "firewall/2")], None).status, 200);

    let found = eventually("both are recorded", || {
        let found = admin.get(recordings)["items"].as_array().unwrap().clone();
        let requests = |name| {
            found.iter().find(|of| of["user_agent"] == name).map(|of| of["requests"].clone())
        };
        (requests(agent) == Some(json!(3)) && requests("firewall/2") == Some(json!(1)))
            .then_some(found)
    });
    let har = |name: &str| {
        let one = found.iter().find(|of| of["user_agent"] == name).unwrap();
        admin.get(&format!("{recordings}/{}", one["id"]))["log"].clone()
    };
    let log = har(agent);
    assert_eq!(log["version"], "1.2");
    let entries = log["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    let of = |n: usize, part: &str| entries[n][part].clone();
    assert_eq!(of(0, "request")["url"], format!("{}/public{page}", app.url));
    assert_eq!(of(0, "request")["queryString"][1], json!({ "name": "type[]", "value": "Domains" }));
    let shown = text(&of(0, "response")["content"], "text");
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["content"][0]["value"], "a.example");
    assert_eq!(of(0, "startedDateTime"), "2026-11-03T10:00:00.000Z");
    let sent = text(&of(1, "request")["postData"], "text");
    assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), tag);
    assert!(text(&entries[2], "comment").contains("It met the fault"), "{}", entries[2]);
    assert!(text(&entries[2], "comment").contains("not sent to its end"), "{}", entries[2]);
    assert_eq!(text(&of(2, "response")["content"], "text").len(), 20);
    // No secret is in it.
    let device = har("firewall/2");
    assert!(text(&device["entries"][0]["request"], "url").ends_with("?k%65y=redacted"), "{device}");
    let text_of_device = text(&device["entries"][0]["response"]["content"], "text");
    assert!(text_of_device.contains("a.example"), "it is shown unpacked: {device}");
    let password = authorization.split_once(' ').unwrap().1;
    for log in [&log, &device] {
        let all = log.to_string();
        assert!(!all.contains(password) && !all.contains(&app.appliance_key), "{all}");
    }
    assert!(log.to_string().contains("Basic redacted"));

    // Another account sees nothing of it.
    let other = second_account(app).0;
    let theirs = other.get(recordings)["items"].to_string();
    assert!(!theirs.contains(agent) && !theirs.contains("firewall"), "{theirs}");
    other.delete(recordings, 204);
    assert_eq!(other.get_status(&format!("{recordings}/{}", found[0]["id"])), 404);
    assert_eq!(admin.get(recordings)["items"].as_array().unwrap().len(), 2);
    admin.delete(recordings, 204);
    assert_eq!(admin.get(recordings)["items"], json!([]));
    app.reopen(|config| config.emulator = false);
    assert_eq!(app.admin().get_status(recordings), 404);
}

fn a_device_falls_silent_and_comes_back(app: &mut TestApp) {
    let admin = app.admin();
    let listed = admin.get(SCENARIOS);
    assert!(listed["items"].as_array().unwrap().len() >= 5, "{listed}");
    start(&admin, "device_falls_silent");
    assert_eq!(
        admin.post(SCENARIOS, json!({ "run": "device_falls_silent" }), 409)["code"],
        "scenario_running"
    );
    let unknown = admin.post(SCENARIOS, json!({ "run": "rain" }), 422);
    assert!(text(&unknown["errors"][0], "message").contains("device_falls_silent"), "{unknown}");
    let device = || {
        let all = admin.get("/api/v1/devices");
        all["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|of| of["name"] == "Scenario silent")
            .unwrap()
            .clone()
    };
    assert_eq!(device()["sync"]["status"], "green");
    // One long step of the clock stops at each step of the scenario.
    app.advance(&admin, "50h");
    assert_eq!(device()["sync"]["status"], "red");
    assert_eq!(admin.get("/api/v1/outages?open=true")["items"].as_array().unwrap().len(), 1);
    app.advance(&admin, "30h");
    assert_eq!(device()["sync"]["status"], "green");
    let outages = admin.get("/api/v1/outages");
    assert_eq!(outages["items"].as_array().unwrap().len(), 1, "{outages}");
    assert_eq!(outages["items"][0]["ended_at"], "2026-11-06T10:00:00.000000Z", "{outages}");
    let messages = admin.get("/api/v1/outbox");
    let subjects: Vec<String> =
        messages["items"].as_array().unwrap().iter().map(|of| text(of, "subject")).collect();
    assert_eq!(subjects.len(), 2, "a warning and a recovery: {subjects:?}");
    let run = admin.get("/api/v1/emulator/scenarios/runs")["items"][0].clone();
    assert_eq!((&run["ended"], &run["next_at"]), (&json!(true), &Value::Null));
    assert_eq!(run["said"].as_array().unwrap().len(), 4, "{run}");
}

fn a_key_is_rotated_an_ioc_whitelisted_calls_refused(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let run = start(&admin, "key_is_rotated");
    let (url, first, second) =
        (said(&run, "Group URL: "), said(&run, "First key: "), said(&run, "Second key: "));
    let status = |key: &str| {
        let own = basic(&app.account_id, key);
        send("GET", &format!("{url}/manifest.json"), &[("authorization", &own)], None).status
    };
    assert_eq!((status(&first), status(&second)), (200, 200));
    app.advance(&admin, "9m");
    assert_eq!(status(&first), 200);
    app.advance(&admin, "1m");
    assert_eq!((status(&first), status(&second)), (401, 200));

    start(&admin, "ioc_is_whitelisted");
    let device = lists::device(&admin, "plain-list", json!({}));
    let value = |n: u32| format!("host{}.fixture.example", 2_000_000 + n);
    let all: Vec<String> = (0..10).map(value).collect();
    let without: Vec<&str> = all.iter().filter(|of| **of != value(2)).map(String::as_str).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    lists::settled(app, &device.url, &all);
    app.advance(&admin, "10m");
    lists::settled(app, &device.url, &without);
    app.advance(&admin, "20m");
    lists::settled(app, &device.url, &all);

    // It can be stopped, and is then over.
    let run = start(&admin, "ioc_is_whitelisted");
    let one = format!("{SCENARIOS}/runs/{}", text(&run, "id"));
    admin.delete(&one, 204);
    app.advance(&admin, "15m");
    assert_eq!(admin.ioc(&value(2))["whitelist"], "default");
    admin.delete(&format!("{SCENARIOS}/runs/00000000-0000-4000-8000-000000000001"), 404);

    start(&admin, "too_many_requests");
    let answer = client.ask("GET", "/v1/iocs/sources", None);
    assert_eq!((answer.status, answer.header("retry-after")), (429, "10"));
    app.advance(&admin, "1m");
    assert_eq!(client.ask("GET", "/v1/iocs/sources", None).status, 200);
    // Stopped, it refuses nothing more; two slashes before a path don't get around it.
    let run = start(&admin, "too_many_requests");
    let twice = send(
        "GET",
        &format!("{}//public/v1/iocs/sources", app.url),
        &[("authorization", client.authorization())],
        None,
    );
    assert_eq!(twice.status, 429);
    admin.delete(&format!("{SCENARIOS}/runs/{}", text(&run, "id")), 204);
    assert_eq!(client.ask("GET", "/v1/iocs/sources", None).status, 200);
}

fn many_iocs_come_in_an_hour(app: &mut TestApp) {
    let admin = app.admin();
    start(&admin, "many_iocs_in_an_hour");
    let client = Client::new(app, &admin);
    let table = || client.ask("GET", "/v1-1/iocs/iocs-details-csv", None).text();
    let count = || table().lines().count() - 1;
    assert_eq!(count(), 1_000);
    app.advance(&admin, "6m");
    assert_eq!(count(), 3_000);
    app.advance(&admin, "1h");
    assert_eq!(count(), 20_000);
}

fn the_medium_fixtures_are_the_same_each_time(app: &mut TestApp) {
    let admin = app.admin();
    let fixtures = "/api/v1/emulator/fixtures";
    let loaded = admin.post(fixtures, json!({ "load": "medium" }), 200);
    assert_eq!(
        loaded,
        json!({ "sources": 6, "iocs": 5_031, "alerts": 2, "devices": 4, "rules": 4 })
    );
    let some = || {
        let page = admin.get("/api/v1/iocs?limit=50&prefix=host1");
        page["items"].as_array().unwrap().iter().map(|of| text(of, "value")).collect::<Vec<_>>()
    };
    let first = some();
    assert_eq!(admin.delete(fixtures, 200)["iocs"], 5_031);
    assert_eq!(admin.post(fixtures, json!({ "load": "medium" }), 200), loaded);
    assert_eq!(some(), first);
}

/// Each request of the collection goes out as it stands, with the variables filled in.
fn the_collection_of_requests_works(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    let found = send("GET", &format!("{}/api/threat-command.postman.json", app.url), &[], None);
    assert!(found.header("content-disposition").contains("threat-command.postman.json"));
    let collection = found.json();
    let variable = |name: &str| {
        let of = collection["variable"].as_array().unwrap().iter().find(|of| of["key"] == name);
        text(of.unwrap(), "value")
    };
    assert_eq!(
        (variable("url"), variable("since")),
        (app.url.clone(), "2026-10-04T10:00:00.000Z".to_owned())
    );
    let mut sent = 0;
    for folder in collection["item"].as_array().unwrap() {
        for item in folder["item"].as_array().unwrap() {
            let request = &item["request"];
            let mut url = text(&request["url"], "raw")
                .replace("{{url}}", "")
                .replace("{{since}}", &variable("since"));
            for of in request["url"]["variable"].as_array().unwrap() {
                url = url
                    .replace(&format!("/:{}", text(of, "key")), &format!("/{}", text(of, "value")));
            }
            assert!(!url.contains("{{") && !url.contains("/:"), "{url}");
            let body =
                request["body"]["raw"].as_str().map(|raw| serde_json::from_str(raw).unwrap());
            let path = url.strip_prefix("/public").unwrap();
            let answer = client.ask(request["method"].as_str().unwrap(), path, body);
            assert!(
                matches!(answer.status, 200 | 204 | 400 | 404),
                "{url}: {} {}",
                answer.status,
                answer.text()
            );
            sent += 1;
        }
    }
    assert!(sent > 60, "{sent} requests");
}

fn faults_come_on_demand(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    let faults = "/api/v1/emulator/faults";
    let page = "/v3/iocs?lastUpdatedFrom=2026-10-01T00:00:00Z";
    let busy = json!({ "path": "/public/v3/iocs", "method": "get", "times": 2, "status": 429, "retry_after": 7, "body": "slow down" });
    let made = admin.post(faults, busy, 201);
    for _ in 0..2 {
        let answer = client.ask("GET", page, None);
        let said = (answer.status, answer.text());
        assert_eq!(said, (429, "slow down".to_owned()));
        assert_eq!(
            (answer.header("retry-after"), answer.header("x-fault")),
            ("7", text(&made, "id").as_str())
        );
    }
    // It met as many as it should; other methods and paths did not.
    assert_eq!(client.ask("GET", page, None).status, 200);
    assert_eq!(admin.get(faults)["items"][0]["met"], 2);
    // The line breaks in the middle of an answer, a device's too.
    let device = crate::lists::device(&admin, "plain-list", json!({}));
    let all = ["a.example", "http://b.example/x?q=1%20&r=2", "44d88612fea8a8f36de82e1278abb02f"];
    crate::lists::settled(app, &device.url, &all);
    admin.post(faults, json!({ "path": "/feeds/*", "drop_after_bytes": 5, "times": 1 }), 201);
    let pull = || {
        let own = basic(&app.account_id, &app.appliance_key);
        crate::support::try_send("GET", &device.url, &[("authorization", &own)], None)
    };
    assert!(pull().is_err(), "half an answer is none");
    assert_eq!(pull().unwrap().status, 200);
    // A slow one comes whole.
    let until = text(&admin.get("/api/v1/emulator/clock"), "now");
    let slow = json!({ "path": "/public/*", "rate": 2_000, "delay_ms": 10, "until": "2026-11-03T10:30:00Z" });
    admin.post(faults, slow, 201);
    assert_eq!(client.get(page)["content"].as_array().unwrap().len(), 3, "{until}");
    assert_eq!(admin.get(faults)["items"][2]["met"], 1);
    app.advance(&admin, "1h");
    client.get(page);
    assert_eq!(admin.get(faults)["items"][2]["met"], 1, "its time is over");
    let one = text(&admin.get(faults)["items"][0], "id");
    admin.delete(&format!("{faults}/{one}"), 204);
    admin.delete(&format!("{faults}/{one}"), 404);
    admin.delete(faults, 204);
    assert_eq!(admin.get(faults)["items"], json!([]));
    for wrong in [
        json!({ "path": "public", "status": 500 }),
        json!({ "path": "/public/*" }),
        json!({ "path": "/public/*", "status": 99 }),
        json!({ "path": "/public/*", "delay_ms": 600_001 }),
        json!({ "path": "/public/*", "bytes_per_second": 1 }),
    ] {
        admin.post(faults, wrong, 422);
    }
    // There are none outside the emulator.
    app.reopen(|config| config.emulator = false);
    assert_eq!(app.admin().get_status(faults), 404);
}
