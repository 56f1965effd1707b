//! Who may do what, and that two accounts never see each other.

use serde_json::{Value, json};

use crate::support::{
    ADMIN, Admin, Device, Scene, TestApp, agent, basic, eventually, stories, text,
};

stories!(
    two_accounts_never_see_each_other,
    what_a_missing_module_takes_away,
    signing_in_and_out,
    guessing_is_slowed_down,
    the_cookie_is_guarded,
    tokens_are_checked
);

/// A second account, made through the shell's door while the server runs.
pub(crate) fn second_account(app: &TestApp) -> (Admin, Value) {
    let args = ["init", "--account", "Second", "--admin", "other@example.com", "--json"];
    let made = crate::shell::iocast_on(app, &args, None);
    let account: Value = serde_json::from_str(&made).unwrap_or_else(|e| panic!("{e}: {made}"));
    let device = Device::new(&text(&account, "account_id"), &text(&account, "appliance_key"));
    eventually("the server knows the new key", || {
        (device
            .get(
                &format!("{}/feeds/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/manifest.json", app.url),
                &[],
            )
            .status
            == 404)
            .then_some(())
    });
    (Admin::sign_in(&app.url, "other@example.com", &text(&account, "admin_password")), account)
}

fn what_a_missing_module_takes_away(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    scene.settled(&app.device(), &["evil.example"]);
    let switch =
        |args: &[&str]| crate::shell::iocast_on(app, &[&["admin", "modules"], args].concat(), None);
    assert_eq!(switch(&[]), "Automation is on, TIP is on.\n");
    let refused = |path: &str, module: &str| {
        let answer = admin.send("GET", path, &[], None);
        let said = answer.json();
        answer.status == 403
            && said["code"] == "module_missing"
            && text(&said, "detail").contains(&format!("the {module} module"))
    };

    switch(&["--tip", "off"]);
    assert_eq!(admin.get("/api/v1/me")["modules"], json!(["automation"]));
    for path in [
        "/api/v1/iocs".to_owned(),
        "/api/v1/sources".to_owned(),
        format!("/api/v1/sources/{}", scene.source),
    ] {
        assert!(refused(&path, "TIP"), "{path}");
    }
    assert_eq!(
        admin.import(&scene.source, "text/plain", "more.example", 403)["code"],
        "module_missing"
    );
    admin.get("/api/v1/devices");

    switch(&["--tip", "on", "--automation", "off"]);
    for path in [
        "/api/v1/devices".to_owned(),
        "/api/v1/rules".to_owned(),
        format!("/api/v1/groups/{}", scene.group),
        format!("/api/v1/devices/{}/pulls", scene.device),
    ] {
        assert!(refused(&path, "Automation"), "{path}");
    }
    assert_eq!(
        admin.post("/api/v1/devices", json!({ "name": "Second", "device_type": "misp" }), 403)["code"],
        "module_missing"
    );
    scene.import(&admin, "more.example");
    scene.settled(&app.device(), &["evil.example", "more.example"]);

    assert_eq!(switch(&["--automation", "on"]), "Automation is on, TIP is on.\n");
    eventually("devices were served and noted all along", || {
        (admin.dot(&scene.device).0 == "green").then_some(())
    });
    let audit = admin.get("/api/v1/audit");
    assert_eq!(
        audit["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|l| l["action"] == "account.modules")
            .count(),
        4
    );
}

fn two_accounts_never_see_each_other(app: &mut TestApp) {
    let (first, (second, account)) = (app.admin(), second_account(app));
    let scene = Scene::set(&first, None);
    scene.import(&first, "canary.example");
    let feed = scene.settled(&app.device(), &["canary.example"]);
    let ioc = text(&first.ioc("canary.example"), "id");
    let rule = text(&first.get("/api/v1/rules")["items"][0], "id");
    let key = text(&first.get("/api/v1/keys")["items"][0], "id");
    let other = Scene::set(&second, None);

    let gets = [
        "devices/{device}",
        "devices/{device}/keys",
        "devices/{device}/groups",
        "devices/{device}/pulls",
        "groups/{group}",
        "groups/{group}/iocs",
        "rules/{rule}",
        "sources/{source}",
        "iocs/{ioc}",
    ];
    let fill = |path: &str| {
        format!(
            "/api/v1/{}",
            path.replace("{device}", &scene.device)
                .replace("{group}", &scene.group)
                .replace("{rule}", &rule)
                .replace("{source}", &scene.source)
                .replace("{ioc}", &ioc)
                .replace("{key}", &key)
        )
    };
    for path in gets {
        let path = fill(path);
        assert_eq!(first.get_status(&path), 200, "{path}");
        let foreign = second.send("GET", &path, &[], None);
        assert!(
            foreign.status == 404 && !foreign.text().contains("canary"),
            "{path}: {}",
            foreign.text()
        );
    }
    let writes = [
        ("PATCH", "devices/{device}", json!({ "name": "Mine" })),
        ("DELETE", "devices/{device}", Value::Null),
        ("POST", "devices/{device}/keys", json!({})),
        ("POST", "devices/{device}/groups", json!({ "name": "Mine" })),
        ("PATCH", "groups/{group}", json!({ "limit": 1 })),
        ("DELETE", "groups/{group}", Value::Null),
        ("POST", "groups/{group}/send-again", json!({})),
        ("PATCH", "rules/{rule}", json!({ "enabled": false })),
        ("DELETE", "rules/{rule}", Value::Null),
        ("PATCH", "sources/{source}", json!({ "enabled": false })),
        ("DELETE", "sources/{source}", Value::Null),
        ("PATCH", "iocs/{ioc}", json!({ "whitelist": "never_sent" })),
        ("DELETE", "iocs/{ioc}", Value::Null),
        ("POST", "keys/{key}/rotate", json!({})),
        ("DELETE", "keys/{key}", Value::Null),
    ];
    for (method, path, body) in writes {
        let path = fill(path);
        let body = (!body.is_null()).then(|| body.to_string());
        let foreign = second.send(
            method,
            &path,
            &[("content-type", "application/json")],
            body.as_deref().map(str::as_bytes),
        );
        assert_eq!(foreign.status, 404, "{method} {path}: {}", foreign.text());
    }
    // Own parent, foreign child, and the other way round.
    let mixed =
        second.post("/api/v1/rules", json!({ "name": "Mixed", "group_ids": [scene.group] }), 422);
    assert_eq!(mixed["errors"][0]["code"], "group_unknown");
    let mixed = second.post(
        &format!("/api/v1/devices/{}/groups", other.device),
        json!({ "name": "Mixed", "source_priority": [scene.source] }),
        422,
    );
    assert!(mixed["errors"].as_array().unwrap().iter().any(|e| e["code"] == "source_unknown"));
    second.delete(&format!("/api/v1/devices/{}/keys/{key}", other.device), 404);
    second.import(&scene.source, "text/plain", "intruder.example", 404);
    for list in ["devices", "rules", "sources", "iocs", "keys", "audit"] {
        assert!(!second.get(&format!("/api/v1/{list}")).to_string().contains("canary"), "{list}");
    }
    // Feeds: the key of one opens nothing of the other, and what is foreign is as what is not
    // there.
    let stranger = Device::new(&text(&account, "account_id"), &text(&account, "appliance_key"));
    let foreign = stranger.get(&format!("{}/manifest.json", scene.url), &[]);
    let missing = stranger
        .get(&format!("{}/feeds/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/manifest.json", app.url), &[]);
    assert_eq!((foreign.status, foreign.text()), (404, missing.text()));
    assert_eq!(stranger.get(&format!("{}/manifest.json", other.url), &[]).status, 200);
    // The same value is an IOC of its own in each account.
    second.import(&other.source, "text/plain", "canary.example", 200);
    assert_ne!(text(&second.ioc("canary.example"), "id"), ioc);
    assert_eq!(
        app.device().feed(&scene.url).events,
        feed.events,
        "nothing of it touched the first account"
    );
}

fn signing_in_and_out(app: &mut TestApp) {
    let admin = app.admin();
    let me = admin.get("/api/v1/me");
    assert_eq!(
        (text(&me, "email"), text(&me, "role"), text(&me, "account_id")),
        (ADMIN.into(), "admin".into(), app.account_id.clone())
    );
    // The product's clock signs nobody out.
    app.advance(&admin, "30d");
    admin.get("/api/v1/me");
    admin.delete("/api/v1/sessions/current", 204);
    assert_eq!(admin.get_status("/api/v1/me"), 401);
    let basic_to_api = agent()
        .get(format!("{}/api/v1/me", app.url))
        .header("authorization", basic(&app.account_id, &app.appliance_key))
        .call()
        .unwrap();
    assert_eq!(
        basic_to_api.status().as_u16(),
        401,
        "a device's key does not open the management API"
    );
}

fn sign_in(app: &TestApp, email: &str, password: &str) -> (u16, Value, String) {
    let mut answer = agent()
        .post(format!("{}/api/v1/sessions", app.url))
        .send_json(json!({ "email": email, "password": password }))
        .unwrap();
    let retry = answer
        .headers()
        .get("retry-after")
        .map(|v| v.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap(), retry)
}

fn guessing_is_slowed_down(app: &mut TestApp) {
    let (wrong, body, _) = sign_in(app, ADMIN, "not the password");
    let (unknown, unknown_body, _) = sign_in(app, "nobody@example.com", "not the password");
    assert_eq!(
        (wrong, unknown, &body["detail"]),
        (401, 401, &unknown_body["detail"]),
        "an unknown address is not told from a wrong password"
    );
    for _ in 0..9 {
        sign_in(app, ADMIN, "guess");
    }
    let (status, body, retry) = sign_in(app, ADMIN, &app.password);
    assert_eq!((status, body["code"].as_str()), (429, Some("throttled")));
    assert!((1..=31).contains(&retry.parse::<u64>().unwrap()), "{retry}");
    app.restart();
    assert_eq!(sign_in(app, ADMIN, &app.password).0, 429, "a restart forgets nothing");
}

fn the_cookie_is_guarded(app: &mut TestApp) {
    let answer = agent()
        .post(format!("{}/api/v1/sessions", app.url))
        .send_json(json!({ "email": ADMIN, "password": app.password }))
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let post = |headers: &[(&str, &str)]| {
        let mut request =
            agent().post(format!("{}/api/v1/sources", app.url)).header("cookie", pair);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .send_json(json!({ "name": "By cookie", "confidence": 1 }))
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(
        agent()
            .get(format!("{}/api/v1/me", app.url))
            .header("cookie", pair)
            .call()
            .unwrap()
            .status()
            .as_u16(),
        200
    );
    for foreign in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", app.url.as_str())],
    ] {
        assert_eq!(post(foreign), 403, "{foreign:?}");
    }
    assert_eq!(
        post(&[("authorization", "Bearer x"), ("sec-fetch-site", "same-origin")]),
        401,
        "of two credentials the token counts"
    );
    assert_eq!(post(&[("origin", app.url.as_str())]), 201);
}

fn tokens_are_checked(app: &mut TestApp) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let admin = app.admin();
    let parts: Vec<&str> = admin.token.split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let mut forged = vec![
        format!("{}.{}.", encode(&json!({ "alg": "none" })), parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][1..]),
        "x".repeat(16_384),
        String::new(),
    ];
    for (claim, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(1)),
        ("sub", json!("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")),
        ("aud", json!("other")),
    ] {
        let mut changed = claims.clone();
        changed[claim] = value;
        forged.push(format!("{}.{}.{}", parts[0], encode(&changed), parts[2]));
    }
    for token in forged {
        let forger = Admin { url: admin.url.clone(), token };
        assert_eq!(forger.get_status("/api/v1/me"), 401, "{}", forger.token);
    }
    admin.get("/api/v1/me");
}
