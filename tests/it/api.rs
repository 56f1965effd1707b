//! The management API's manners: errors, lists, documents.

use serde_json::{Value, json};

use crate::support::{Scene, TestApp, agent, stories, text};

stories!(
    broken_rules_are_told_field_by_field,
    limits_add_up,
    long_lists_come_in_pages,
    creating_twice_with_one_key,
    a_rule_of_a_newer_version_hides_no_other,
    the_document_and_its_page,
    iocs_are_found,
    everything_is_in_the_audit_log,
    signs_of_life,
    an_emulator_is_asked_for,
    every_example_is_taken,
    calls_are_found_by_their_names,
    a_generated_client_works,
);

fn broken_rules_are_told_field_by_field(app: &mut TestApp) {
    let admin = app.admin();
    let both =
        admin.post("/api/v1/devices", json!({ "name": "Bad-name", "device_type": "toaster" }), 422);
    let codes: Vec<&str> =
        both["errors"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["name_bad_character", "device_type_unknown"]);
    assert_eq!(
        (both["status"].as_u64(), both["type"].as_str()),
        (Some(422), Some("urn:iocast:problem:invalid"))
    );
    assert!(!text(&both, "request_id").is_empty());
    let unknown = admin.post(
        "/api/v1/devices",
        json!({ "name": "A", "device_type": "misp", "colour": "red" }),
        422,
    );
    assert_eq!(
        (unknown["errors"][0]["field"].as_str(), unknown["errors"][0]["code"].as_str()),
        (Some("colour"), Some("unknown_field"))
    );
    assert_eq!(
        admin.post("/api/v1/devices", json!({ "device_type": "misp" }), 422)["errors"][0]["field"],
        "name"
    );
    assert_eq!(
        admin.post("/api/v1/devices", json!({ "name": 5, "device_type": "misp" }), 422)["errors"]
            [0]["code"],
        "wrong_type"
    );
    assert_eq!(
        admin.post("/api/v1/devices", json!({ "name": "A", "device_type": "office-365" }), 422)["errors"]
            [0]["code"],
        "device_type_push"
    );
    let broken = admin.send(
        "POST",
        "/api/v1/devices",
        &[("content-type", "application/json")],
        Some(b"{\"name\":"),
    );
    assert_eq!((broken.status, broken.header("content-type")), (400, "application/problem+json"));
    assert_eq!(
        admin
            .send("POST", "/api/v1/devices", &[("content-type", "text/plain")], Some(b"{}"))
            .status,
        415
    );
    assert_eq!(admin.get_status("/api/v1/devices/not-a-uuid"), 404);
    assert_eq!(admin.get_status("/api/v1/nothing"), 404);
    let wrong = admin.send("DELETE", "/api/v1/devices", &[], None);
    assert_eq!(
        (wrong.status, wrong.header("allow"), text(&wrong.json(), "code").as_str()),
        (405, "GET, POST", "method")
    );
    let anonymous = agent().get(format!("{}/api/v1/devices", app.url)).call().unwrap();
    assert_eq!(
        (anonymous.status().as_u16(), anonymous.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Bearer realm=\"iocast\"")
    );
    let types = admin.get("/api/v1/device-types");
    let misp = types["items"].as_array().unwrap().iter().find(|t| t["id"] == "misp").unwrap();
    assert_eq!(
        (
            misp["method"].as_str(),
            misp["max_iocs"].as_u64(),
            misp["mixed_group"].as_bool(),
            misp["kinds"].as_array().unwrap().len()
        ),
        (Some("pull"), Some(50_000), Some(true), 8)
    );
}

fn limits_add_up(app: &mut TestApp) {
    let admin = app.admin();
    let device = admin.post(
        "/api/v1/devices",
        json!({ "name": "Lab", "device_type": "misp", "ioc_limit": 100 }),
        201,
    );
    let path = format!("/api/v1/devices/{}", text(&device, "id"));
    assert_eq!(
        admin.post(
            "/api/v1/devices",
            json!({ "name": "Big", "device_type": "misp", "ioc_limit": 50_001 }),
            422
        )["errors"][0]["code"],
        "limit_out_of_range"
    );
    admin.post(&format!("{path}/groups"), json!({ "name": "First", "limit": 60 }), 201);
    let over = admin.post(&format!("{path}/groups"), json!({ "name": "Second", "limit": 41 }), 422);
    assert!(text(&over["errors"][0], "message").contains("Shrink the group `First`"), "{over}");
    let rest = admin.post(&format!("{path}/groups"), json!({ "name": "Second" }), 201);
    assert_eq!(rest["limit"], 40);
    assert_eq!(
        admin.patch(&path, json!({ "ioc_limit": 99 }), 422)["errors"][0]["code"],
        "limit_below_groups"
    );
    admin.patch(&format!("/api/v1/groups/{}", text(&rest, "id")), json!({ "limit": 41 }), 422);
    admin.patch(&format!("/api/v1/groups/{}", text(&rest, "id")), json!({ "limit": 39 }), 200);
    let device =
        admin.patch(&path, json!({ "ioc_limit": 99, "paused": true, "name": "Renamed" }), 200);
    assert_eq!(
        (device["ioc_limit"].as_u64(), device["paused"].as_bool(), text(&device, "name")),
        (Some(99), Some(true), "Renamed".into())
    );
    assert_eq!(
        admin.post(&format!("{path}/groups"), json!({ "name": "FIRST", "limit": 1 }), 422)["errors"]
            [0]["code"],
        "limit_exceeds_device"
    );
    let url = text(&device["groups"][0], "url");
    assert!(url.len() <= 255 && url.starts_with(&app.url) && !url.contains('?'));
}

fn long_lists_come_in_pages(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let many: Vec<String> = (0..250).map(|i| format!("host{i:03}.example")).collect();
    scene.import(&admin, &many.join("\n"));
    scene.settled(&app.device(), &many.iter().map(String::as_str).collect::<Vec<_>>());
    for list in ["/api/v1/iocs".to_owned(), format!("/api/v1/groups/{}/iocs", scene.group)] {
        let mut seen = Vec::new();
        let mut next = format!("{list}?limit=100");
        loop {
            let answer = admin.send("GET", &next, &[], None);
            let page = answer.json();
            seen.extend(page["items"].as_array().unwrap().iter().map(|i| text(i, "value")));
            let Some(cursor) = page["next_cursor"].as_str() else {
                assert_eq!(answer.header("link"), "");
                break;
            };
            assert!(
                answer.header("link").contains(cursor)
                    && answer.header("link").ends_with("rel=\"next\"")
            );
            next = format!("{list}?limit=100&cursor={cursor}");
        }
        seen.sort();
        assert_eq!(seen, many, "{list}");
    }
    assert_eq!(
        admin.send("GET", "/api/v1/iocs?limit=0", &[], None).json()["errors"][0]["code"],
        "limit_out_of_range"
    );
}

fn creating_twice_with_one_key(app: &mut TestApp) {
    let admin = app.admin();
    let send = |body: &str| {
        admin.send(
            "POST",
            "/api/v1/devices",
            &[("content-type", "application/json"), ("idempotency-key", "d-1")],
            Some(body.as_bytes()),
        )
    };
    let first = send(r#"{"name":"Once","device_type":"misp"}"#);
    let again = send(r#"{"name":"Once","device_type":"misp"}"#);
    assert_eq!((first.status, again.status, &first.json()["id"]), (201, 201, &again.json()["id"]));
    assert_eq!(send(r#"{"name":"Twice","device_type":"misp"}"#).status, 422);
    assert_eq!(admin.get("/api/v1/devices")["items"].as_array().unwrap().len(), 1);
    // A person is invited once, too.
    let invite = || {
        let body = br#"{"email":"new@example.com","role":"analyst"}"#;
        admin.send(
            "POST",
            "/api/v1/users",
            &[("content-type", "application/json"), ("idempotency-key", "u-1")],
            Some(body),
        )
    };
    let (first, again) = (invite(), invite());
    assert_eq!(
        (first.status, again.status, &first.json()["id"]),
        (201, 201, &again.json()["id"]),
        "{}",
        again.text()
    );
    let messages = admin.get("/api/v1/outbox")["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["kind"] == "invitation")
        .count();
    assert_eq!(messages, 1);
}

/// Replicas are upgraded one by one: the old one may meet what the new one wrote.
fn a_rule_of_a_newer_version_hides_no_other(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    scene.settled(&app.device(), &["evil.example"]);
    let feeding = text(&admin.get("/api/v1/rules")["items"][0], "id");
    admin.post(
        "/api/v1/rules",
        json!({ "name": "Of today", "criteria": {}, "group_ids": [] }),
        201,
    );
    app.stop();
    app.sql("UPDATE rules SET criteria = '{\"regions\":[\"EU\"]}' WHERE name <> 'Of today'");
    app.restart();
    let admin = app.admin();
    let rules = admin.get("/api/v1/rules")["items"].as_array().unwrap().clone();
    assert_eq!(rules.iter().map(|r| text(r, "name")).collect::<Vec<_>>(), ["Of today"]);
    assert_ne!(text(&rules[0], "id"), feeding);
    // What the group holds stays: a rule that is not understood chooses neither more nor less.
    let url = format!("{}/feeds/{}", app.url, scene.group);
    admin.import(&scene.source, "text/plain", "other.example", 200);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(app.device().feed(&url).live(), ["evil.example"]);
}

fn the_document_and_its_page(app: &mut TestApp) {
    let mut answer = agent().get(format!("{}/api/openapi.json", app.url)).call().unwrap();
    let document: serde_json::Value = answer.body_mut().read_json().unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let endpoints: usize =
        document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert!(endpoints >= 44, "{endpoints} endpoints");
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            // What takes a body says which: else nobody can try it, and no generated call has one.
            let bodiless =
                ["/let-through", "/retry", "/discard", "/undo", "/fetch", "/try", "/count"];
            if path.starts_with("/api/v1/")
                && ["post", "patch", "put"].contains(&method.as_str())
                && !bodiless.iter().any(|end| path.ends_with(end))
            {
                assert!(operation["requestBody"].is_object(), "{method} {path} describes its body");
            }
        }
    }
    for path in [
        "/api/docs/",
        "/api/docs/swagger-ui.css",
        "/api/docs/swagger-ui-bundle.js",
        "/",
        "/assets/style.css",
    ] {
        let answer = agent().get(format!("{}{path}", app.url)).call().unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert!(
            answer.headers()["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("default-src 'none'"),
            "{path}"
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    }
}

fn iocs_are_found(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example\nwww.evil.example\nnotevil.example\nhttp://deep.evil.example/path\n203.0.113.7\nEVIL2.EXAMPLE\nbad@evil.example");
    let find = |query: &str| {
        let mut found: Vec<String> = admin.get(&format!("/api/v1/iocs?{query}"))["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| text(i, "value"))
            .collect();
        found.sort();
        found
    };
    assert_eq!(
        find("domain=evil.example"),
        ["bad@evil.example", "evil.example", "http://deep.evil.example/path", "www.evil.example"]
    );
    assert_eq!(find("prefix=evil"), ["evil.example", "evil2.example"]);
    assert_eq!(find("value=EVIL[.]example"), ["evil.example"]);
    assert_eq!(find("kind=ipv4"), ["203.0.113.7"]);
    assert_eq!(find("severity=high"), Vec::<String>::new());
    assert_eq!(
        find(&format!("source_id={}&kind=url", scene.source)),
        ["http://deep.evil.example/path"]
    );
    assert_eq!(
        admin.send("GET", "/api/v1/iocs?kind=smoke", &[], None).json()["errors"][0]["field"],
        "kind"
    );
    let id = text(&admin.ioc("evil.example"), "id");
    let patched = admin.patch(
        &format!("/api/v1/iocs/{id}"),
        json!({ "severity": "high", "comment": "Seen in the lab", "user_tags": ["a", "b"] }),
        200,
    );
    assert_eq!(
        (
            patched["severity"].as_str(),
            patched["comments"][0]["text"].as_str(),
            patched["user_tags"].as_array().unwrap().len()
        ),
        (Some("high"), Some("Seen in the lab"), 2)
    );
    assert_eq!(
        admin.patch(&format!("/api/v1/iocs/{id}"), json!({ "severity": null }), 200)["severity_rated"],
        false
    );
    assert_eq!(
        admin.patch(&format!("/api/v1/iocs/{id}"), json!({ "comment": "" }), 422)["errors"][0]["code"],
        "comment_invalid"
    );
}

fn everything_is_in_the_audit_log(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    admin.patch(&format!("/api/v1/devices/{}", scene.device), json!({ "paused": true }), 200);
    let lines = admin.get("/api/v1/audit?limit=1000");
    let actions: Vec<&str> =
        lines["items"].as_array().unwrap().iter().map(|l| l["action"].as_str().unwrap()).collect();
    for action in [
        "account.create",
        "key.create",
        "session.create",
        "device.create",
        "group.create",
        "rule.create",
        "source.create",
        "ioc.import",
        "device.update",
    ] {
        assert!(actions.contains(&action), "{action} in {actions:?}");
    }
    let update =
        lines["items"].as_array().unwrap().iter().find(|l| l["action"] == "device.update").unwrap();
    assert_eq!(
        (
            update["detail"]["before"]["paused"].as_bool(),
            update["detail"]["after"]["paused"].as_bool(),
            text(update, "address")
        ),
        (Some(false), Some(true), "127.0.0.1".into())
    );
}

fn signs_of_life(app: &mut TestApp) {
    for (path, status) in [("health", "ok"), ("ready", "ready")] {
        let mut answer = agent().get(format!("{}/api/v1/{path}", app.url)).call().unwrap();
        let body: serde_json::Value = answer.body_mut().read_json().unwrap();
        assert_eq!(
            (answer.status().as_u16(), body["status"].as_str()),
            (200, Some(status)),
            "{body}"
        );
        if path == "ready" {
            let counts = ["write_age_seconds", "groups_waiting", "publisher_lag_seconds"]
                .map(|c| body[c].as_i64());
            assert_eq!(counts, [Some(0); 3], "{body}");
            let tasks = body["tasks"].as_array().unwrap();
            assert!(
                tasks.iter().all(|task| task["status"] == "alive" && task["failures"] == 0),
                "{body}"
            );
            assert!(
                ["watch", "publish", "pulls", "mail 1"]
                    .iter()
                    .all(|name| tasks.iter().any(|task| task["name"] == *name)),
                "{body}"
            );
        }
    }
}

fn an_emulator_is_asked_for(app: &mut TestApp) {
    let admin = app.admin();
    assert_eq!(text(&admin.get("/api/v1/emulator/clock"), "now"), "2026-11-03T10:00:00.000000Z");
    assert_eq!(
        admin.post("/api/v1/emulator/clock", json!({ "advance": "yesterday" }), 422)["errors"][0]["code"],
        "span_invalid"
    );
    app.advance(&admin, "1d 2h");
    assert_eq!(text(&admin.get("/api/v1/emulator/clock"), "now"), "2026-11-04T12:00:00.000000Z");
}

/// What the documentation shows is taken as it stands: no body of it is unreadable.
fn every_example_is_taken(app: &mut TestApp) {
    let admin = app.admin();
    let document = admin.get("/api/openapi.json");
    assert_eq!(document["servers"][1]["url"], app.url);
    let key = text(&admin.post("/api/v1/keys", json!({ "kind": "api" }), 201), "secret");
    let basic = crate::support::basic(&app.account_id, &key);
    let mut sent = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (form, content) in
                operation["requestBody"]["content"].as_object().into_iter().flatten()
            {
                let id = if path.starts_with("/public") {
                    "64f0c0ffee00000000abcdef"
                } else {
                    "00000000-0000-4000-8000-000000000001"
                };
                let body = content["example"]
                    .as_str()
                    .map_or_else(|| content["example"].to_string(), str::to_owned);
                let bearer = format!("Bearer {}", admin.token);
                let authorization = if path.starts_with("/public") { &basic } else { &bearer };
                let headers =
                    [("authorization", authorization.as_str()), ("content-type", form.as_str())];
                let answer = crate::support::send(
                    &method.to_uppercase(),
                    &format!("{}{}", app.url, path.replace("{id}", id)),
                    &headers,
                    Some(body.as_bytes()),
                );
                let said = answer.text();
                let unreadable = ["unknown_field", "missing_field", "wrong_type", "malformed"]
                    .iter()
                    .any(|code| said.contains(code));
                // What the example names does not exist here; the public API says so with 400.
                let absent = ["InvalidIocValue", "InvalidAssigneeID", "NotChanged"]
                    .iter()
                    .any(|code| said.contains(code));
                let refused = [400, 415].contains(&answer.status) && !absent;
                assert!(!refused && !unreadable, "{method} {path}: {} {said}", answer.status);
                sent += 1;
            }
        }
    }
    assert!(sent > 40, "{sent}");
}

/// A program that knows nothing but the document makes a device, a group, a source and an import,
/// by the calls' names.
fn calls_are_found_by_their_names(app: &mut TestApp) {
    let admin = app.admin();
    let document = admin.get("/api/openapi.json");
    let call = |name: &str, id: &str, form: &str, change: &dyn Fn(&mut Value)| -> Value {
        let found = document["paths"].as_object().unwrap().iter().find_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .find(|(_, operation)| operation["operationId"] == name)
                .map(|(method, operation)| (path, method, operation))
        });
        let (path, method, operation) =
            found.unwrap_or_else(|| panic!("{name} is in the document"));
        let mut body = operation["requestBody"]["content"][form]["example"].clone();
        change(&mut body);
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let answer = admin.send(
            &method.to_uppercase(),
            &path.replace("{id}", id),
            &[("content-type", form)],
            Some(body.as_bytes()),
        );
        let expected =
            operation["responses"].as_object().unwrap().contains_key(&answer.status.to_string());
        assert!(answer.status < 300 && expected, "{name}: {} {}", answer.status, answer.text());
        // What comes back is what the document says of it: every field that must be there is.
        let reference = operation["responses"][answer.status.to_string()]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
        let schema = &document["components"]["schemas"][reference.rsplit('/').next().unwrap()];
        let got = answer.json();
        for field in schema["required"].as_array().into_iter().flatten() {
            assert!(
                got.get(field.as_str().unwrap()).is_some(),
                "{name}: {field} of {reference} in {got}"
            );
        }
        got
    };
    let json = "application/json";
    let device = call("post_devices", "", json, &|_| {});
    let group = call("post_devices_id_groups", &text(&device, "id"), json, &|_| {});
    let source = call("post_sources", "", json, &|_| {});
    let report = call("post_sources_id_iocs", &text(&source, "id"), json, &|_| {});
    assert_eq!(report["accepted"], 1, "{report}");
    let device = app.device();
    crate::support::eventually("it is published", || {
        (device.feed(&text(&group, "url")).live() == ["evil.example"]).then_some(())
    });
}

/// The document is valid, and a generator makes a client from it that an integrator can use.
fn a_generated_client_works(app: &mut TestApp) {
    let admin = app.admin();
    let folder = tempfile::TempDir::new().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/openapi_client.py");
    let args = [script, &app.url, &admin.token, folder.path().to_str().unwrap()];
    let group = crate::lists::python(&args, "");
    let device = app.device();
    crate::support::eventually("it is published", || {
        (device.feed(group.trim()).live() == ["evil.example"]).then_some(())
    });
}
