//! Service tokens: what programs may do with them, for how long, and for which device or source.

use serde_json::{Value, json};

use crate::{
    pages::{Tab, page},
    support::{Admin, Scene, TestApp, eventually, stories, text},
};

stories!(
    a_token_does_what_its_scope_says,
    no_token_does_more_than_its_scope,
    a_token_for_one_device_or_source,
    tokens_end,
    tokens_are_made_on_their_page,
);

const DAY: i64 = 86_400_000_000;

fn made(admin: &Admin, asks: Value) -> (String, Admin) {
    let token = admin.post("/api/v1/service-tokens", asks, 201);
    (text(&token, "id"), Admin { url: admin.url.clone(), token: text(&token, "secret") })
}

fn with_scope(admin: &Admin, scope: &str) -> Admin {
    made(admin, json!({ "name": format!("program with {scope}"), "scope": scope })).1
}

fn a_token_does_what_its_scope_says(app: &mut TestApp) {
    let admin = app.admin();
    let devices = with_scope(&admin, "devices");
    let device =
        devices.post("/api/v1/devices", json!({ "name": "Lab", "device_type": "misp" }), 201);
    let path = format!("/api/v1/devices/{}", text(&device, "id"));
    let group = devices.post(&format!("{path}/groups"), json!({ "name": "Lab" }), 201);
    devices.patch(&format!("/api/v1/groups/{}", text(&group, "id")), json!({ "limit": 500 }), 200);
    devices.post(&format!("{path}/keys"), json!({}), 201);
    let refused = devices.post("/api/v1/sources", json!({ "name": "Feed", "confidence": 2 }), 403);
    assert_eq!(refused["code"], "scope");
    assert_eq!(
        refused["detail"],
        "This service token has the scope `devices`; this call needs `intake` or `admin`."
    );
    let intake = with_scope(&admin, "intake");
    let source = intake.post("/api/v1/sources", json!({ "name": "Feed", "confidence": 2 }), 201);
    let taken = intake.import(&text(&source, "id"), "text/plain", "a.example", 200);
    assert_eq!(taken["accepted"], 1, "{taken}");
    intake.delete(&path, 403);
    let read = with_scope(&admin, "read");
    assert_eq!(read.get("/api/v1/devices")["items"][0]["name"], "Lab");
    assert_eq!(read.get("/api/v1/iocs")["items"][0]["value"], "a.example");
    read.delete(&path, 403);
    let all = with_scope(&admin, "admin");
    all.patch("/api/v1/account", json!({ "silent_after_hours": 24 }), 200);
    all.delete(&path, 204);
    // What would outlive the token, or works for others, is for people.
    all.post("/api/v1/keys", json!({ "kind": "api" }), 403);
    devices.post("/api/v1/keys", json!({ "kind": "appliance" }), 403);
    all.post("/api/v1/users", json!({ "email": "eve@example.com", "role": "admin" }), 403);
    let people =
        json!({ "version": 1, "people": [{ "email": "eve@example.com", "role": "admin" }] });
    let refused = all.post("/api/v1/configuration", people, 422);
    assert_eq!(refused["errors"][0]["code"], "not_for_service_tokens");
    assert!(all.get("/api/v1/account")["webhook_secret"].is_null());
    assert_eq!(intake.get_status("/api/v1/audit"), 403);
    // What it did is in the audit log under its name.
    let log = admin.get("/api/v1/audit?limit=200");
    let by = |action: &str| {
        let line = log["items"].as_array().unwrap().iter().find(|l| l["action"] == action);
        text(line.unwrap(), "actor")
    };
    assert_eq!(by("device.delete"), "service token program with admin");
    assert_eq!(by("device.create"), "service token program with devices");
    // A repeated call is answered once, as for people.
    let key = [("idempotency-key", "once"), ("content-type", "application/json")];
    let body = json!({ "name": "Twice", "device_type": "misp" }).to_string();
    let twice = || {
        devices.send("POST", "/api/v1/devices", &key, Some(body.as_bytes())).json()["id"].clone()
    };
    assert_eq!(twice(), twice());
}

/// Every call of the document, whatever is added to it.
fn no_token_does_more_than_its_scope(app: &mut TestApp) {
    let admin = app.admin();
    let document = admin.get("/api/openapi.json");
    let tokens: Vec<(&str, Admin)> = ["read", "devices", "intake", "admin"]
        .into_iter()
        .map(|scope| (scope, with_scope(&admin, scope)))
        .collect();
    let mut refused = [0; 4];
    for (path, item) in document["paths"].as_object().unwrap() {
        // What is for anybody asks for no token.
        let anybody = ["/sessions", "/password-resets", "/passwords", "/health", "/ready"];
        let noun = path.trim_start_matches("/api/v1");
        if !path.starts_with("/api/v1/") || anybody.contains(&noun) {
            continue;
        }
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|of| of.0 != "parameters")
        {
            let method = method.to_uppercase();
            let body =
                operation["requestBody"]["content"]["application/json"]["example"].to_string();
            let body = (body != "null").then_some(body.as_bytes());
            // No object has this id: nothing is changed by asking.
            let at = path.replace("{id}", &uuid::Uuid::nil().to_string());
            let of_people = noun == "/me"
                || noun.starts_with("/sessions")
                || noun.starts_with("/users") && method != "GET"
                || noun.starts_with("/service-tokens") && !noun.ends_with("/current");
            let reads = method == "GET"
                && ![
                    "/audit",
                    "/configuration",
                    "/emulator",
                    "/outbox",
                    "/recordings",
                    "/scenarios",
                    "/users",
                ]
                .iter()
                .any(|of| noun.starts_with(of));
            for (i, (scope, token)) in tokens.iter().enumerate() {
                let may = !of_people
                    && (reads
                        || *scope == "admin"
                        || *scope == "devices"
                            && ["/devices", "/groups", "/rules"]
                                .iter()
                                .any(|of| noun.starts_with(of))
                        || *scope == "intake"
                            && ["/sources", "/imports", "/public-feeds", "/iocs"]
                                .iter()
                                .any(|of| noun.starts_with(of)));
                if may {
                    continue;
                }
                let answer =
                    token.send(&method, &at, &[("content-type", "application/json")], body);
                assert_eq!(answer.status, 403, "{scope} {method} {path}: {}", answer.text());
                refused[i] += 1;
            }
        }
    }
    assert!(refused[0] > refused[1] && refused[1] > refused[3] && refused[3] > 5, "{refused:?}");
}

fn a_token_for_one_device_or_source(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let other =
        admin.post("/api/v1/devices", json!({ "name": "Other", "device_type": "misp" }), 201);
    let other = text(&other, "id");
    let group =
        admin.post(&format!("/api/v1/devices/{other}/groups"), json!({ "name": "Other" }), 201);
    let asks = json!({ "name": "ansible", "scope": "devices", "device_id": other });
    let (_, one) = made(&admin, asks);
    one.patch(&format!("/api/v1/devices/{other}"), json!({ "paused": true }), 200);
    one.patch(&format!("/api/v1/groups/{}", text(&group, "id")), json!({ "limit": 500 }), 200);
    let refused = one.patch(&format!("/api/v1/devices/{}", scene.device), json!({}), 403);
    assert!(text(&refused, "detail").starts_with("This service token is for the device"));
    one.patch(&format!("/api/v1/groups/{}", scene.group), json!({ "limit": 500 }), 403);
    assert_eq!(one.get_status("/api/v1/devices"), 403);
    assert_eq!(one.get_status("/api/v1/iocs"), 403);
    assert_eq!(one.get_status("/api/v1/device-types"), 200);
    assert_eq!(one.get("/api/v1/service-tokens/current")["device_id"], other.as_str());

    let asks = json!({ "name": "feed", "scope": "intake", "source_id": scene.source });
    let (_, feed) = made(&admin, asks);
    feed.import(&scene.source, "text/plain", "a.example", 200);
    let import = text(&admin.get("/api/v1/imports")["items"][0], "id");
    assert_eq!(feed.get_status(&format!("/api/v1/imports/{import}")), 200);
    // It fills its source, and says nothing for others: neither tags and decisions of people nor
    // what the source may claim.
    let at = format!("/api/v1/sources/{}", scene.source);
    let list = [("content-type", "text/plain")];
    let sent = |query: &str| {
        feed.send("POST", &format!("{at}/iocs?{query}"), &list, Some(b"c.example")).status
    };
    assert_eq!((sent("restore=true"), sent("tag=mine")), (403, 422));
    feed.patch(&at, json!({ "confidence": 3 }), 403);
    feed.delete(&at, 403);
    let second = admin.post("/api/v1/sources", json!({ "name": "Second", "confidence": 2 }), 201);
    let second = text(&second, "id");
    feed.import(&second, "text/plain", "b.example", 403);
    admin.import(&second, "text/plain", "b.example", 200);
    let import = text(&admin.get("/api/v1/imports")["items"][0], "id");
    assert_eq!(feed.get_status(&format!("/api/v1/imports/{import}")), 403);

    let wrong = |asks: Value, code: &str| {
        let refused = admin.post("/api/v1/service-tokens", asks, 422);
        assert_eq!(refused["errors"][0]["code"], code, "{refused}");
    };
    let (d, s) = (&scene.device, &scene.source);
    wrong(json!({ "name": "x", "scope": "admin", "device_id": d }), "scope_and_limit");
    wrong(json!({ "name": "x", "scope": "intake", "device_id": d }), "scope_and_limit");
    wrong(json!({ "name": "x", "scope": "read", "device_id": d, "source_id": s }), "one_limit");
    wrong(json!({ "name": " ", "scope": "read" }), "name_invalid");
    wrong(json!({ "name": "x", "scope": "read", "expires_in_days": 0 }), "days_out_of_range");
    let gone = json!({ "name": "x", "scope": "read", "device_id": uuid::Uuid::nil() });
    admin.post("/api/v1/service-tokens", gone, 404);
}

fn tokens_end(app: &mut TestApp) {
    let admin = app.admin();
    let asks = json!({ "name": "nightly", "scope": "read", "expires_in_days": 30 });
    let (id, old) = made(&admin, asks);
    let works = |token: &Admin| token.get_status("/api/v1/devices") == 200;
    assert!(works(&old));
    let used = admin.get("/api/v1/service-tokens");
    assert!(used["items"][0]["active"] == true, "{used}");
    eventually("its use is noted", || {
        let all = admin.get("/api/v1/service-tokens");
        all["items"][0]["last_used_at"].is_string().then_some(())
    });
    let path = format!("/api/v1/service-tokens/{id}");
    let new = admin.post(&format!("{path}/rotate"), json!({ "overlap_hours": 24 }), 201);
    let new = Admin { url: admin.url.clone(), token: text(&new, "secret") };
    assert!(works(&old) && works(&new));
    // Twice would cut its life short, and leave one more.
    assert_eq!(
        admin.post(&format!("{path}/rotate"), json!({}), 409)["code"],
        "service_token_replaced"
    );
    // The emulator's clock moves the product, not what programs show.
    app.advance(&admin, "25h");
    assert!(works(&old));
    app.clock.pass(DAY + 1);
    let admin = app.admin();
    let refused = old.send("GET", "/api/v1/devices", &[], None);
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("revoked or has expired"), "{}", refused.text());
    assert_eq!(admin.post(&format!("{path}/rotate"), json!({}), 409)["code"], "service_token_dead");
    assert!(works(&new));
    app.clock.pass(30 * DAY);
    assert!(!works(&new));
    let admin = app.admin();
    let (id, third) = made(&admin, json!({ "name": "third", "scope": "admin" }));
    assert!(works(&third));
    admin.delete(&format!("/api/v1/service-tokens/{id}"), 204);
    assert!(!works(&third));
    assert_eq!(
        Admin { token: "ist_nonsense".to_owned(), ..third }.get_status("/api/v1/devices"),
        401
    );
}

fn tokens_are_made_on_their_page(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let tab = Tab::open(app);
    let url = format!("{}/settings/service-tokens", app.url);
    let name = text(&admin.get(&format!("/api/v1/devices/{}", scene.device)), "name");
    let send = |more: &[(&str, &str)]| {
        let fields: Vec<(&str, &str)> =
            [("token", tab.token.as_str())].into_iter().chain(more.iter().copied()).collect();
        tab.send("/settings/service-tokens", &[], &fields)
    };
    let asks =
        [("do", "make"), ("name", "ansible"), ("scope", "devices"), ("expires_in_days", "90")];
    let unknown = send(&[&asks[..], &[("device", "Nowhere")]].concat());
    assert_eq!(unknown.status, 422);
    assert!(unknown.text().contains("No device has this name."), "{}", unknown.text());
    let answer = send(&[&asks[..], &[("device", name.as_str())]].concat());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = answer.text();
    let at = shown.find("data-copy=\"ist_").expect("the token is shown") + 11;
    let secret = shown[at..].split('"').next().unwrap();
    let token = Admin { url: app.url.clone(), token: secret.to_owned() };
    token.patch(&format!("/api/v1/devices/{}", scene.device), json!({ "paused": true }), 200);
    let list = page(&url, &tab.cookies).text();
    assert!(list.contains(&format!("only device {name}")), "{list}");
    assert!(!list.contains(secret), "shown once");
}
