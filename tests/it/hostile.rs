//! What suppliers, devices, analysts and strangers try: it harms nobody else, and the one who tries
//! is told.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    crash::serve_with,
    lists::device,
    pages::{page, signed_in},
    shell::iocast,
    support::{
        ADMIN, Admin, Device, Engine, Scene, TestApp, basic, eventually, send, stories, text,
    },
};

stories!(
    directives_of_a_format_are_left_out_and_told,
    a_file_decides_nothing,
    what_a_weak_source_claims_pushes_nobody_out,
    guards_see_one_host_in_every_spelling,
    filters_and_views_have_bounds,
    bodies_of_strangers_are_small,
    a_table_without_line_ends_is_refused,
    one_ioc_does_not_grow_without_end,
    the_audit_shows_every_change_of_the_guards,
    nobody_locks_somebody_else_out,
    a_stranger_pushes_no_failure_of_the_device_out,
    keys_say_what_they_open,
    a_session_lasts_while_it_is_used,
    a_role_that_changes_ends_the_sessions,
    a_repeated_request_is_for_those_who_may_make_it,
);

fn pull(app: &TestApp, url: &str) -> crate::support::Answer {
    send(
        "GET",
        url,
        &[("authorization", &basic(&app.account_id, &app.appliance_key)), ("accept", "*/*")],
        None,
    )
}

fn lists(app: &TestApp, url: &str, expected: &[&str]) {
    let mut wanted: Vec<&str> = expected.to_vec();
    wanted.sort_unstable();
    eventually(&format!("{url} lists {wanted:?}"), || {
        let answer = pull(app, url);
        let body = answer.text();
        let mut lines: Vec<&str> =
            body.lines().filter(|line| !line.starts_with(['$', '@'])).collect();
        lines.sort_unstable();
        (answer.status == 200 && lines == wanted).then_some(())
    });
}

fn directives_of_a_format_are_left_out_and_told(app: &mut TestApp) {
    let admin = app.admin();
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 3 }), 201),
        "id",
    );
    let zone = device(&admin, "rpz", json!({}));
    let plain = device(&admin, "plain-list", json!({}));
    let directives =
        ["8.0.0.0.127.rpz-client-ip", "1.0.0.0.128.rpz-ip", "ns1.x.example.rpz-nsdname"];
    // Bare, they would be no names for certain.
    let rows: String =
        directives.iter().chain(&["evil.example"]).map(|name| format!("{name},domain\n")).collect();
    admin.import(&source, "text/csv", &format!("value,kind\n{rows}"), 200);
    admin.import(&source, "application/json", r##"["#x@evil.example", "!y@evil.example"]"##, 200);
    lists(app, &zone.url, &["evil.example CNAME .", "*.evil.example CNAME ."]);
    // Nothing that a person says makes a directive a name.
    let trigger = text(&admin.ioc(directives[1]), "id");
    admin.patch(&format!("/api/v1/iocs/{trigger}"), json!({ "whitelist": "always_sent" }), 200);
    admin.import(&source, "text/plain", "evil2.example\n", 200);
    lists(
        app,
        &zone.url,
        &[
            "evil.example CNAME .",
            "*.evil.example CNAME .",
            "evil2.example CNAME .",
            "*.evil2.example CNAME .",
        ],
    );
    let told = admin.get(&format!("/api/v1/groups/{}/refused?reason=reserved", zone.group));
    let mut values: Vec<String> =
        told["items"].as_array().unwrap().iter().map(|item| text(item, "value")).collect();
    values.sort();
    assert_eq!(
        values,
        ["1.0.0.0.128.rpz-ip", "8.0.0.0.127.rpz-client-ip", "ns1.x.example.rpz-nsdname"]
    );
    // In a plain list those are names like others, and what begins a comment is none.
    lists(
        app,
        &plain.url,
        &["evil.example", "evil2.example", directives[0], directives[1], directives[2]],
    );
    let told = admin.get(&format!("/api/v1/groups/{}/refused?reason=reserved", plain.group));
    assert_eq!(told["items"].as_array().unwrap().len(), 2, "{told}");
}

fn a_file_decides_nothing(app: &mut TestApp) {
    let admin = app.admin();
    let trusted = text(
        &admin.post("/api/v1/sources", json!({ "name": "Trusted", "confidence": 3 }), 201),
        "id",
    );
    let feed = text(
        &admin.post("/api/v1/sources", json!({ "name": "Some feed", "confidence": 1 }), 201),
        "id",
    );
    admin.patch("/api/v1/account/guards", json!({ "own": ["corp.example"] }), 200);
    let plain = device(&admin, "plain-list", json!({}));
    admin.import(&trusted, "text/plain", "c2.example\n", 200);
    lists(app, &plain.url, &["c2.example"]);
    let body = json!([
        { "value": "0.0.0.0/0", "whitelist": "always_sent" }, { "value": "10.0.0.0/8", "whitelist": "always_sent" },
        { "value": "corp.example", "whitelist": "always_sent" }, { "value": "co.uk", "whitelist": "always_sent" },
        { "value": "c2.example", "whitelist": "never_sent", "confidence": 3, "user_tags": ["mine"] }, { "value": "other.example" },
    ]);
    let report = admin.import(&feed, "application/json", &body.to_string(), 200);
    let said = report["ignored"].to_string();
    assert!(
        said.contains("5 whitelist states")
            && said.contains("1 IOCs came with user tags")
            && said.contains("1 confidences"),
        "{report}"
    );
    lists(app, &plain.url, &["c2.example", "other.example"]);
    let c2 = admin.ioc("c2.example");
    assert_eq!(
        (&c2["whitelist"], &c2["user_tags"], &c2["system_tags"]),
        (&json!("default"), &json!([]), &json!(["mine"]))
    );
    assert!(
        c2["reports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["source"] == "Some feed" && r["confidence"] == 1),
        "{c2}"
    );
    let audit = admin.get("/api/v1/audit?action=ioc.import");
    let of_feed = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["detail"]["source"] == "Some feed")
        .unwrap();
    assert!(of_feed["detail"]["ignored"].to_string().contains("whitelist"), "{of_feed}");
    // An administrator who restores an export decides.
    admin.restore(
        &feed,
        "application/json",
        &json!([{ "value": "c2.example", "whitelist": "never_sent" }]).to_string(),
    );
    lists(app, &plain.url, &["other.example"]);
}

fn what_a_weak_source_claims_pushes_nobody_out(app: &mut TestApp) {
    let admin = app.admin();
    let trusted = text(
        &admin.post("/api/v1/sources", json!({ "name": "Trusted", "confidence": 3 }), 201),
        "id",
    );
    let weak = text(
        &admin.post("/api/v1/sources", json!({ "name": "Some feed", "confidence": 1 }), 201),
        "id",
    );
    let plain = device(&admin, "plain-list", json!({ "limit": 10 }));
    let ours: Vec<String> = (0..10).map(|i| format!("trusted{i}.example")).collect();
    let body: Vec<_> = ours.iter().map(|v| json!({ "value": v, "severity": "medium" })).collect();
    admin.import(&trusted, "application/json", &json!(body).to_string(), 200);
    let expected: Vec<&str> = ours.iter().map(String::as_str).collect();
    lists(app, &plain.url, &expected);
    let loud: Vec<_> = (0..10).map(|i| json!({ "value": format!("a-loud{i}.example"), "severity": "high", "confidence": 3 })).collect();
    admin.import(&weak, "application/json", &json!(loud).to_string(), 200);
    eventually("the newcomers found no room", || {
        (admin.get(&format!("/api/v1/groups/{}", plain.group))["cut"]["reasons"]["limit"] == 10)
            .then_some(())
    });
    lists(app, &plain.url, &expected);
}

fn guards_see_one_host_in_every_spelling(app: &mut TestApp) {
    let admin = app.admin();
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 3 }), 201),
        "id",
    );
    admin.patch(
        "/api/v1/account/guards",
        json!({ "own": ["corp.example"], "allow": ["good.example"] }),
        200,
    );
    let urls = device(&admin, "panos-edl", json!({ "kind": "url" }));
    let spelled = [
        "http://CORP.example/",
        "http://corp.example./",
        "http://corp%2Eexample/",
        "http://1572395042/",
        "http://2130706433/dec",
        "http://0x7f000001/hex",
        "http://Good.example/y",
        "HTTP://EVIL7.example/z",
        "http://evil7.example/z",
        "http://evil7.example:80/z",
    ];
    let report = admin.import(&source, "text/plain", &spelled.join("\n"), 200);
    assert_eq!(
        (&report["accepted"], &report["rejected_count"]),
        (&json!(6), &json!(0)),
        "{report}"
    );
    lists(app, &urls.url, &["93.184.216.34/", "evil7.example/z"]);
    // A search in any spelling finds it, and what is said of it holds for all.
    let evil = text(&admin.ioc("hxxp://Evil7[.]example:80/z"), "id");
    admin.patch(&format!("/api/v1/iocs/{evil}"), json!({ "whitelist": "never_sent" }), 200);
    lists(app, &urls.url, &["93.184.216.34/"]);
    assert_eq!(admin.get("/api/v1/iocs?prefix=HTTP://EVIL7")["items"].as_array().unwrap().len(), 1);
    // Of two schemes the inner one was meant: it is an IOC that is known, and withheld.
    let repaired = admin.import(&source, "text/plain", "http://http://corp.example/\n", 200);
    assert_eq!(repaired["unchanged"], 1, "{repaired}");
    // As long as a line can be, and made to be read again and again.
    let nested = format!("a{}.{}b", "[".repeat(7_000), "]".repeat(7_000));
    assert_eq!(
        admin.get_status(&format!(
            "/api/v1/iocs?value={}",
            nested.replace('[', "%5B").replace(']', "%5D")
        )),
        200
    );
    let report =
        admin.import(&source, "text/plain", &format!("{}\n{nested}\n", "[.]".repeat(20_000)), 200);
    assert_eq!(report["rejected_count"], 2, "{report}");
}

fn a_stranger_pushes_no_failure_of_the_device_out(app: &mut TestApp) {
    app.reopen(|config| config.trusted_proxies = "127.0.0.1".to_owned());
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let refused = |address: &str, agent: &str| {
        let headers = [
            ("authorization", &*basic(&app.account_id, "iak_wrong")),
            ("x-forwarded-for", address),
            ("user-agent", agent),
        ];
        assert_eq!(
            send("GET", &format!("{}/manifest.json", scene.url), &headers, None).status,
            401
        );
    };
    refused("198.51.100.7", "the device");
    let failures = || {
        admin.get(&format!("/api/v1/devices/{}/pulls?limit=200", scene.device))["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    eventually("its failure is noted", || (failures().len() == 1).then_some(()));
    app.clock.pass(1_000_000);
    for n in 0..120 {
        refused("203.0.113.9", &format!("stranger {n}"));
        app.clock.pass(1_000);
    }
    eventually("the stranger's are noted", || {
        failures().iter().any(|f| f["user_agent"] == "stranger 119").then_some(())
    });
    assert!(failures().iter().any(|f| f["address"] == "198.51.100.7"), "{:?}", failures());
    assert!(failures().len() <= 11, "{}", failures().len());
}

fn filters_and_views_have_bounds(app: &mut TestApp) {
    let admin = app.admin();
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 3 }), 201),
        "id",
    );
    let taxii = device(&admin, "taxii", json!({}));
    let plain = device(&admin, "plain-list", json!({}));
    let many: String = (0..3_000).map(|i| format!("http://host{i}.example/a\n")).collect();
    admin.import(&source, "text/plain", &many, 200);
    eventually("both are published", || {
        [&taxii, &plain]
            .iter()
            .all(|of| admin.get(&format!("/api/v1/groups/{}", of.group))["published"] == 3_000)
            .then_some(())
    });
    let objects =
        format!("{}/taxii2/{}/collections/{}/objects", app.url, app.account_id, taxii.group);
    let times: Vec<String> = (0..1_000).map(|i| format!("2026-01-01T00:00:00.{i:06}Z")).collect();
    let answer = pull(app, &format!("{objects}/?match[version]={}", times[..400].join(",")));
    assert!(answer.status == 400 && answer.text().contains("at most 100"), "{}", answer.text());
    assert_eq!(
        pull(app, &format!("{objects}/?match[version]={}", times[..50].join(","))).status,
        200
    );
    // Many slices at once with one key: each is answered, or told to come again.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let app: &TestApp = app;
        let ask = |n: usize| {
            let url = format!("{}?v=json&s={n}", plain.url);
            scope.spawn(move || pull(app, &url).status)
        };
        let asked: Vec<_> = (0..30).map(ask).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(
        answers.iter().all(|status| [200, 503].contains(status)) && answers.contains(&200),
        "{answers:?}"
    );
    assert_eq!(pull(app, &plain.url).status, 200, "the list itself is served");
    for (query, said) in
        [("v=mwg&t=regex", "must be one of"), ("v=proxysg&cd=a%0Aend", "letters, digits")]
    {
        let answer = pull(app, &format!("{}?{query}", plain.url));
        assert!(answer.status == 400 && answer.text().contains(said), "{}", answer.text());
    }
    admin.import(&source, "text/plain", "http://*@evil.com/\nhttp://evil.example/a\\\n", 200);
    eventually("it is published", || {
        pull(app, &plain.url).text().contains("evil.example/a\\").then_some(())
    });
    for (view, without) in [("panosurl", '*'), ("mwg", '\\')] {
        // Made, and then from memory: what is missing is told each time.
        for _ in 0..2 {
            let answer = pull(app, &format!("{}?v={view}", plain.url));
            assert!(!answer.text().contains(without), "no value is rewritten to another");
            // Of the first the list itself holds nothing.
            assert_eq!(
                answer.header("iocast-left-out"),
                if view == "mwg" { "1" } else { "" },
                "{view}"
            );
        }
    }
    assert_eq!(pull(app, &plain.url).header("iocast-left-out"), "", "the list itself is whole");
}

fn bodies_of_strangers_are_small(app: &mut TestApp) {
    let long = format!("{{\"email\":\"{}\",\"password\":\"x\"}}", "a".repeat(20_000));
    for path in ["sessions", "password-resets", "passwords"] {
        let answer = send(
            "POST",
            &format!("{}/api/v1/{path}", app.url),
            &[("content-type", "application/json")],
            Some(long.as_bytes()),
        );
        assert_eq!(answer.status, 413, "{path}: {}", answer.text());
    }
}

fn a_table_without_line_ends_is_refused(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let answer =
        admin.import(&scene.source, "text/csv", &format!("value\n{}", "x".repeat(5_000_000)), 400);
    assert!(text(&answer, "detail").contains("longer than 1 MiB"), "{answer}");
}

fn one_ioc_does_not_grow_without_end(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    for round in 0..3 {
        let tags: Vec<String> = (0..80).map(|i| format!("tag {round} {i}")).collect();
        admin.import(
            &scene.source,
            "application/json",
            &json!([{ "value": "evil.example", "system_tags": tags }]).to_string(),
            200,
        );
    }
    assert_eq!(admin.ioc("evil.example")["system_tags"].as_array().unwrap().len(), 100);
}

fn the_audit_shows_every_change_of_the_guards(app: &mut TestApp) {
    let admin = app.admin();
    for change in [
        json!({ "own": ["corp.example"] }),
        json!({ "own": [], "allow": ["good.example"] }),
        json!({ "off": ["public_suffix"], "allow": [] }),
    ] {
        admin.patch("/api/v1/account/guards", change, 200);
        let cookie = format!("iocast={}", admin.token);
        let page =
            send("GET", &format!("{}/settings/audit", app.url), &[("cookie", &cookie)], None);
        assert_eq!(page.status, 200, "{}", page.text());
    }
    let page = send(
        "GET",
        &format!("{}/settings/audit", app.url),
        &[("cookie", &format!("iocast={}", admin.token))],
        None,
    )
    .text();
    assert!(page.matches("corp.example").count() >= 2, "it shows what came and what went: {page}");
}

fn sign_in(
    app: &TestApp,
    from: &str,
    email: &str,
    password: &str,
    cookie: &str,
) -> crate::support::Answer {
    let body = json!({ "email": email, "password": password }).to_string();
    let url = format!("{}/api/v1/sessions", app.url);
    send(
        "POST",
        &url,
        &[("content-type", "application/json"), ("x-forwarded-for", from), ("cookie", cookie)],
        Some(body.as_bytes()),
    )
}

fn nobody_locks_somebody_else_out(app: &mut TestApp) {
    app.reopen(|config| config.trusted_proxies = "127.0.0.1".to_owned());
    // From many addresses, a few tries from each.
    for n in 0..30 {
        assert_eq!(sign_in(app, &format!("198.51.100.{n}"), ADMIN, "wrong", "").status, 401);
    }
    assert_eq!(
        sign_in(app, "203.0.113.9", ADMIN, &app.password, "").status,
        201,
        "the person still signs in"
    );
    // One address with many tries waits, and only that one.
    let tries: Vec<u16> =
        (0..12).map(|_| sign_in(app, "198.51.100.200", ADMIN, "wrong", "").status).collect();
    assert_eq!(tries.last(), Some(&429), "{tries:?}");
    assert_eq!(sign_in(app, "203.0.113.9", ADMIN, &app.password, "").status, 201);
}

fn keys_say_what_they_open(app: &mut TestApp) {
    let admin = app.admin();
    let api = text(&admin.post("/api/v1/keys", json!({ "kind": "api" }), 201), "secret");
    for (key, said) in
        [(api.as_str(), "Threat Command REST API"), (app.appliance_key.as_str(), "group URLs")]
    {
        let answer = send(
            "GET",
            &format!("{}/api/v1/devices", app.url),
            &[("authorization", &format!("Bearer {key}"))],
            None,
        );
        assert!(answer.status == 401 && answer.text().contains(said), "{}", answer.text());
    }
    // With the module off, no key of a device is made either.
    let scene = Scene::set(&admin, None);
    let data = app.data_folder();
    let mut args =
        vec!["admin", "modules", "--automation", "off", "--data", data.to_str().unwrap()];
    if let Some(url) = app.database_url() {
        args.extend(["--database-url", url]);
    }
    let (ok, _, err) = iocast(&args, None);
    assert!(ok, "{err}");
    admin.post(&format!("/api/v1/devices/{}/keys", scene.device), json!({}), 403);
}

fn a_session_lasts_while_it_is_used(app: &mut TestApp) {
    const HOUR: i64 = 3_600_000_000;
    let cookie = signed_in(app);
    let shown = |path: &str| page(&format!("{}{path}", app.url), &cookie).status;
    for _ in 0..3 {
        app.clock.pass(11 * HOUR);
        assert_eq!(shown("/automation/integrations"), 200, "used within 12 hours it goes on");
    }
    // What the page asks for by itself is no use.
    app.clock.pass(7 * HOUR);
    assert_eq!(shown("/automation/integrations/states"), 200);
    app.clock.pass(6 * HOUR);
    assert_eq!(shown("/automation/integrations"), 303);
    // And none goes on for more than seven days.
    let cookie = signed_in(app);
    let shown = || page(&format!("{}/automation/integrations", app.url), &cookie).status;
    for hours in (0..168).step_by(11).skip(1) {
        app.clock.pass(11 * HOUR);
        assert_eq!(shown(), 200, "after {hours} hours");
    }
    app.clock.pass(5 * HOUR);
    assert_eq!(shown(), 303);
    // A program's token lasts an hour, used or not.
    let admin = app.admin();
    app.clock.pass(HOUR / 2);
    assert_eq!(admin.get_status("/api/v1/devices"), 200);
    app.clock.pass(HOUR / 2 + 1_000_000);
    assert_eq!(admin.get_status("/api/v1/devices"), 401);
}

fn second_admin(app: &TestApp, admin: &Admin) -> Admin {
    let made =
        admin.post("/api/v1/users", json!({ "email": "second@example.com", "role": "admin" }), 201);
    assert_eq!(made["role"], "admin");
    let data = app.data_folder();
    let mut args = vec![
        "admin",
        "reset-password",
        "--json",
        "--email",
        "second@example.com",
        "--data",
        data.to_str().unwrap(),
    ];
    if let Some(url) = app.database_url() {
        args.extend(["--database-url", url]);
    }
    let (ok, out, err) = iocast(&args, None);
    assert!(ok, "{err}");
    Admin::sign_in(
        &app.url,
        "second@example.com",
        &text(&serde_json::from_str(&out).unwrap(), "admin_password"),
    )
}

fn a_role_that_changes_ends_the_sessions(app: &mut TestApp) {
    let admin = app.admin();
    let second = second_admin(app, &admin);
    assert_eq!(second.get_status("/api/v1/devices"), 200);
    let id = text(
        admin.get("/api/v1/users")["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|u| u["email"] == "second@example.com")
            .unwrap(),
        "id",
    );
    admin.patch(&format!("/api/v1/users/{id}"), json!({ "role": "analyst" }), 200);
    assert_eq!(second.get_status("/api/v1/devices"), 401);
}

fn a_repeated_request_is_for_those_who_may_make_it(app: &mut TestApp) {
    let admin = app.admin();
    let second = second_admin(app, &admin);
    let (key, body) = (
        [("content-type", "application/json"), ("idempotency-key", "make-one")],
        br#"{"name":"Lab MISP","device_type":"misp"}"#,
    );
    assert_eq!(admin.send("POST", "/api/v1/devices", &key, Some(body)).status, 201);
    assert_eq!(
        second.send("POST", "/api/v1/devices", &key, Some(body)).status,
        201,
        "an administrator may repeat it"
    );
    let id = text(
        admin.get("/api/v1/users")["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|u| u["email"] == "second@example.com")
            .unwrap(),
        "id",
    );
    admin.patch(&format!("/api/v1/users/{id}"), json!({ "role": "analyst" }), 200);
    let analyst = second_sign_in(app);
    assert_eq!(analyst.send("POST", "/api/v1/devices", &key, Some(body)).status, 403);
}

fn second_sign_in(app: &TestApp) -> Admin {
    let data = app.data_folder();
    let mut args = vec![
        "admin",
        "reset-password",
        "--json",
        "--email",
        "second@example.com",
        "--data",
        data.to_str().unwrap(),
    ];
    if let Some(url) = app.database_url() {
        args.extend(["--database-url", url]);
    }
    let (ok, out, err) = iocast(&args, None);
    assert!(ok, "{err}");
    Admin::sign_in(
        &app.url,
        "second@example.com",
        &text(&serde_json::from_str(&out).unwrap(), "admin_password"),
    )
}

/// Each connection takes one descriptor, and those that are in the way are closed.
#[test]
fn a_connection_takes_one_descriptor() {
    let folder = TempDir::new().unwrap();
    let server = serve_with(folder.path(), &[]);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let before = open();
    let lines: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut line = TcpStream::connect(&address).unwrap();
            line.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            line.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            line
        })
        .collect();
    let taken = open() - before;
    assert!((200..230).contains(&taken), "{taken} descriptors for 200 connections");
    drop(lines);
}

/// With few descriptors, one address does not take them all.
#[test]
fn one_address_leaves_room_for_others() {
    let folder = TempDir::new().unwrap();
    let app = TestApp::open(Engine::Sqlite);
    drop(app);
    let mut child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 512; exec \"$0\" \"$@\""])
        .arg(crate::shell::binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()))
        .map(Result::unwrap);
    let url = lines
        .find_map(|line| {
            line.split(" at http://").nth(1).map(|rest| rest.split('/').next().unwrap().to_owned())
        })
        .unwrap();
    let mut kept = 0;
    let mut held = Vec::new();
    for _ in 0..250 {
        let Ok(mut line) = TcpStream::connect(&url) else { break };
        line.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        line.write_all(b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = vec![0; 2_048];
        let read = line.read(&mut answer).unwrap_or(0);
        let said = String::from_utf8_lossy(&answer[..read]).to_lowercase();
        assert!(said.starts_with("http/1.1 200"), "{said}");
        if said.contains("connection: close") {
            continue;
        }
        kept += 1;
        held.push(line);
    }
    assert!(kept < 200, "{kept} idle connections of one address are kept");
    // A new connection is served.
    assert_eq!(send("GET", &format!("http://{url}/api/v1/health"), &[], None).status, 200);
    drop(held);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A reader that stops is cut off, and all readers of one body share it.
#[test]
fn readers_that_stop_share_one_body() {
    let app = TestApp::open(Engine::Sqlite);
    let admin = app.admin();
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 3 }), 201),
        "id",
    );
    let plain = device(&admin, "plain-list", json!({}));
    let many: String =
        (0..20_000).map(|i| format!("http://host{i}.example/some/longer/path/{i}\n")).collect();
    admin.import(&source, "text/plain", &many, 200);
    let key = Device::new(&app.account_id, &app.appliance_key);
    let whole = || key.get(&plain.url, &[("accept-encoding", "identity")]);
    eventually("it is served", || (whole().text().lines().count() == 20_000).then_some(()));
    let path = plain.url.strip_prefix(&app.url).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\r\n",
        basic(&app.account_id, &app.appliance_key)
    );
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut line = TcpStream::connect(("127.0.0.1", app.port)).unwrap();
            line.write_all(request.as_bytes()).unwrap();
            line
        })
        .collect();
    assert_eq!(key.get(&plain.url, &[]).status, 200, "others are served beside them");
    drop(stalled);
}
