//! Pages at the level of HTTP: who may send forms from where, headers, redirects, and an operator's
//! own templates.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{
    Admin, Answer, Engine, Scene, TestApp, agent, eventually, send, stories, text,
};

stories!(
    forms_are_taken_from_our_own_pages_only,
    no_other_site_reaches_the_api_by_the_cookie,
    pages_carry_their_headers,
    signing_in_leads_where_one_was,
    a_form_outlives_its_session,
    nobody_overwrites_what_another_saved,
    devices_are_found_sorted_and_followed
);

/// A signed-in browser: its cookies, and the token of its forms.
pub(crate) struct Tab {
    pub(crate) url: String,
    pub(crate) cookies: String,
    pub(crate) token: String,
}

fn cookie(answer: &Answer, name: &str) -> String {
    let all = answer.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap());
    let found =
        all.filter_map(|c| c.split(';').next()).find(|pair| pair.starts_with(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("{name} in {:?}", answer.headers)).to_owned()
}

pub(crate) fn field(page: &str, name: &str) -> String {
    let at = page
        .split(&format!("name=\"{name}\" value=\""))
        .nth(1)
        .unwrap_or_else(|| panic!("{name} in {page}"));
    at.split('"').next().unwrap().to_owned()
}

fn encoded(fields: &[(&str, &str)]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    let one = |text: &str| {
        text.bytes()
            .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect::<String>()
    };
    fields.iter().map(|(k, v)| format!("{}={}", one(k), one(v))).collect::<Vec<_>>().join("&")
}

/// As a browser: redirects are looked at, not followed.
pub(crate) fn form(url: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
    let mut request = agent().post(url).header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request
        .config()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .send(encoded(fields))
        .unwrap();
    let body = answer.body_mut().read_to_vec().unwrap();
    Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
}

pub(crate) fn page(url: &str, cookies: &str) -> Answer {
    let request = agent().get(url).header("cookie", cookies).header("accept", "text/html");
    let mut answer =
        request.config().max_redirects(0).max_redirects_will_error(false).build().call().unwrap();
    let body = answer.body_mut().read_to_vec().unwrap();
    Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
}

/// The cookie of a browser that signed in.
pub(crate) fn signed_in(app: &TestApp) -> String {
    Tab::open(app).cookies
}

impl Tab {
    pub(crate) fn open(app: &TestApp) -> Self {
        let url = app.url.clone();
        let shown = page(&format!("{url}/sign-in"), "");
        let (seal, token) = (cookie(&shown, "iocast-form"), field(&shown.text(), "token"));
        let fields = [
            ("token", token.as_str()),
            ("email", crate::support::ADMIN),
            ("password", app.password.as_str()),
            ("next", ""),
        ];
        let entered = form(&format!("{url}/sign-in"), &[("cookie", &seal)], &fields);
        assert_eq!((entered.status, entered.header("location")), (303, "/"), "{}", entered.text());
        let cookies = cookie(&entered, "iocast");
        let token = field(&page(&format!("{url}/settings/profile"), &cookies).text(), "token");
        Self { url, cookies, token }
    }

    pub(crate) fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut all = vec![("cookie", self.cookies.as_str())];
        all.extend_from_slice(headers);
        form(&format!("{}{path}", self.url), &all, fields)
    }
}

/// The paths of pages that answer a method, as the router's own source lists them.
pub(crate) fn pages_that(answer: &str) -> Vec<String> {
    let routes = include_str!("../../crates/web/src/routes/people.rs");
    let registered = routes.split(".service(").filter(|page| page.contains("page("));
    let answering = registered.filter(|page| page.contains(answer));
    answering.map(|page| page.split('"').nth(1).unwrap().to_owned()).collect()
}

fn everything(admin: &Admin) -> Vec<Value> {
    let lists = [
        "/devices",
        "/rules",
        "/sources",
        "/users",
        "/keys",
        "/account",
        "/outbox",
        "/emulator/clock",
    ];
    lists.iter().map(|path| admin.get(&format!("/api/v1{path}"))).collect()
}

fn forms_are_taken_from_our_own_pages_only(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example\n");
    let published =
        || (admin.get(&format!("/api/v1/groups/{}", scene.group))["published"] == 1).then_some(());
    eventually("the IOC is published", published);
    let rule = text(&admin.get("/api/v1/rules")["items"][0], "id");
    let ioc = text(&admin.ioc("evil.example"), "id");
    let tab = Tab::open(app);
    let pages = pages_that("web::post()");
    assert!(pages.len() > 15, "{pages:?}");
    let before = everything(&admin);
    let fields = |token: &'static str| {
        [
            ("token", token),
            ("do", "edit"),
            ("name", "Taken over"),
            ("email", "eve@example.com"),
            ("advance", "1h"),
            ("typed", "Lab MISP"),
            ("confidence", "1"),
        ]
    };
    for path in &pages {
        let id = match path.as_str() {
            p if p.contains("/groups/") => &scene.group,
            p if p.contains("/policy/") => &rule,
            p if p.contains("/iocs/") => &ioc,
            p if p.contains("/sources/") => &scene.source,
            _ => &scene.device,
        };
        let path = path.replace("{id}", id);
        // Signing in and asking for a message need no session: there the seal of the form stands in
        // for it.
        let open = path == "/sign-in" || path == "/forgotten-password";
        let own = [
            ("token", tab.token.as_str()),
            ("do", "edit"),
            ("name", "Taken over"),
            ("email", "eve@example.com"),
            ("advance", "1h"),
        ];
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example")],
        ] {
            let answer = tab.send(&path, foreign, &own);
            assert_eq!(answer.status, 403, "{path} {foreign:?}: {}", answer.text());
        }
        for nameless in [&[][..], &[("origin", "null")]] {
            let answer = tab.send(&path, nameless, &fields(""));
            assert!(
                answer.status == 403 || (open && matches!(answer.status, 200 | 401)),
                "{path} {nameless:?}: {}",
                answer.status
            );
            let answer = tab.send(&path, nameless, &fields("0000"));
            assert!(
                answer.status == 403 || (open && matches!(answer.status, 200 | 401)),
                "{path} {nameless:?}: {}",
                answer.status
            );
        }
        let plain = send(
            "POST",
            &format!("{}{path}", tab.url),
            &[("cookie", tab.cookies.as_str()), ("content-type", "text/plain")],
            Some(b"do=edit"),
        );
        assert_eq!(plain.status, 415, "{path} as text");
        let nobody = form(&format!("{}{path}", tab.url), &[], &own);
        assert!(
            matches!(nobody.status, 303 | 401) || (open && nobody.status == 200),
            "{path} without a session: {}",
            nobody.status
        );
    }
    assert_eq!(everything(&admin), before, "nothing changed");
    // The same form from our own page does change it.
    let done = tab.send(
        &format!("/tip/sources/{}", scene.source),
        &[("sec-fetch-site", "same-origin")],
        &[("token", tab.token.as_str()), ("do", "edit"), ("name", "Renamed"), ("confidence", "1")],
    );
    assert_eq!(done.status, 303, "{}", done.text());
    assert_eq!(admin.get(&format!("/api/v1/sources/{}", scene.source))["name"], "Renamed");
    // A token of one session opens no other.
    let other = Tab::open(app);
    let crossed = other.send("/sign-out", &[], &[("token", tab.token.as_str())]);
    assert_eq!(crossed.status, 403);
    // Signed out, the cookie opens nothing.
    assert_eq!(
        other.send("/sign-out", &[], &[("token", other.token.as_str())]).header("location"),
        "/sign-in"
    );
    assert_eq!(page(&format!("{}/settings/profile", app.url), &other.cookies).status, 303);
}

fn no_other_site_reaches_the_api_by_the_cookie(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let tab = Tab::open(app);
    let before = everything(&admin);
    let document = admin.get("/api/openapi.json");
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["post", "put", "patch", "delete"].iter().filter(|m| item.get(**m).is_some())
        {
            if ["/api/v1/sessions", "/api/v1/passwords", "/api/v1/password-resets"]
                .contains(&path.as_str())
            {
                continue;
            }
            let path = path.replace("{id}", &scene.device).replace("{key_id}", &scene.device);
            let url = format!("{}{path}", tab.url);
            // The Threat Command REST API knows no cookie at all.
            let public = path.starts_with("/public/");
            for foreign in [
                None,
                Some(("origin", "null")),
                Some(("origin", "https://evil.example")),
                Some(("sec-fetch-site", "cross-site")),
            ] {
                let mut headers =
                    vec![("cookie", tab.cookies.as_str()), ("content-type", "application/json")];
                headers.extend(foreign);
                let answer = send(&method.to_uppercase(), &url, &headers, Some(b"{}"));
                assert_eq!(
                    answer.status,
                    if public { 401 } else { 403 },
                    "{method} {path} {foreign:?}: {}",
                    answer.text()
                );
                assert!(
                    public || text(&answer.json(), "code") == "foreign_origin",
                    "{method} {path}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 80, "{tried}");
    assert_eq!(everything(&admin), before, "nothing changed");
}

fn pages_carry_their_headers(app: &mut TestApp) {
    let tab = Tab::open(app);
    for path in [
        "/sign-in",
        "/automation/integrations",
        "/settings/subscription",
        "/nowhere",
        "/assets/iocast.js",
    ] {
        let shown =
            page(&format!("{}{path}", tab.url), if path == "/sign-in" { "" } else { &tab.cookies });
        let policy = shown.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(shown.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(shown.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(shown.header("server"), "", "{path}");
        let kept = shown.header("cache-control");
        assert!(
            if path.starts_with("/assets") { kept == "no-cache" } else { kept == "no-store" },
            "{path}: {kept}"
        );
        // What a GET answers, a HEAD does, without the body.
        let head = send(
            "HEAD",
            &format!("{}{path}", tab.url),
            &[("cookie", tab.cookies.as_str()), ("accept", "text/html")],
            None,
        );
        assert_eq!((head.status, head.body.len()), (shown.status, 0), "{path}");
        // No page carries script or style of its own.
        let html = shown.text();
        assert!(
            path.starts_with("/assets")
                || (!html.contains("<style")
                    && !html.contains(" style=")
                    && !html.contains("<script>")),
            "{path}"
        );
    }
    // A page names the version of what it loads: that is kept for good, and a new page never runs
    // an old script.
    let html = page(&format!("{}/automation/integrations", tab.url), &tab.cookies).text();
    let named = html
        .split("src=\"")
        .chain(html.split("href=\""))
        .filter_map(|rest| rest.split('"').next())
        .find(|link| link.contains("style.css?v="))
        .unwrap();
    let style = page(&format!("{}{}", tab.url, named.replace("&#x2f;", "/")), "");
    assert!(
        style.status == 200 && style.header("cache-control").contains("immutable"),
        "{named}: {}",
        style.header("cache-control")
    );
    let known = [("if-none-match", style.header("etag"))];
    assert_eq!(
        send("GET", &format!("{}/assets/style.css?v=old", tab.url), &known, None).status,
        304
    );
    // Behind TLS the cookies are bound to this host.
    app.reopen(|config| config.public_url = Some("https://iocast.example".into()));
    let shown = page(&format!("{}/sign-in", address(app)), "");
    let (seal, token) = (cookie(&shown, "__Host-iocast-form"), field(&shown.text(), "token"));
    let fields = [
        ("token", token.as_str()),
        ("email", crate::support::ADMIN),
        ("password", app.password.as_str()),
    ];
    let entered = form(&format!("{}/sign-in", address(app)), &[("cookie", &seal)], &fields);
    let session = entered
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|c| c.to_str().unwrap())
        .find(|c| c.starts_with("__Host-iocast="))
        .unwrap()
        .to_owned();
    assert!(
        session.contains("Secure")
            && session.contains("HttpOnly")
            && session.contains("Path=/")
            && session.contains("SameSite=Lax"),
        "{session}"
    );
}

/// Where the app listens, whatever it says of itself.
fn address(app: &TestApp) -> String {
    format!("http://127.0.0.1:{}", app.port)
}

fn signing_in_leads_where_one_was(app: &mut TestApp) {
    let wanted = page(&format!("{}/settings/audit?action=device", app.url), "");
    assert_eq!(
        (wanted.status, wanted.header("location")),
        (303, "/sign-in?next=%2Fsettings%2Faudit%3Faction%3Ddevice")
    );
    let shown = page(&format!("{}/sign-in", app.url), "");
    let (seal, token) = (cookie(&shown, "iocast-form"), field(&shown.text(), "token"));
    let leads = |next: &str| {
        let fields = [
            ("token", token.as_str()),
            ("email", crate::support::ADMIN),
            ("password", app.password.as_str()),
            ("next", next),
        ];
        form(&format!("{}/sign-in", app.url), &[("cookie", &seal)], &fields)
            .header("location")
            .to_owned()
    };
    assert_eq!(leads("/settings/audit?action=device"), "/settings/audit?action=device");
    for elsewhere in [
        "https://evil.example/",
        "//evil.example/",
        "/\t/evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/sign-in",
        "evil.example",
        "/a\r\nSet-Cookie: x=y",
    ] {
        assert_eq!(leads(elsewhere), "/", "{elsewhere}");
    }
    // After too many tries the page says how long to wait, in words.
    let wrong = [
        ("token", token.as_str()),
        ("email", crate::support::ADMIN),
        ("password", "wrong"),
        ("next", ""),
    ];
    let last = (0..12)
        .map(|_| form(&format!("{}/sign-in", app.url), &[("cookie", &seal)], &wrong))
        .collect::<Vec<_>>()
        .pop()
        .unwrap();
    assert!(
        last.status == 429 && last.text().contains("Too many tries; try again in"),
        "{}",
        last.status
    );
}

fn a_form_outlives_its_session(app: &mut TestApp) {
    let tab = Tab::open(app);
    assert_eq!(tab.send("/sign-out", &[], &[("token", tab.token.as_str())]).status, 303);
    // The person has filled in a form, and sends it.
    let fields = [
        ("token", tab.token.as_str()),
        ("name", "Kept device"),
        ("device_type", "misp"),
        ("ioc_limit", "1234"),
        ("note", "a\"b\r\nc"),
    ];
    let shown = tab.send("/automation/integrations/new?tab=x", &[], &fields);
    assert_eq!(shown.status, 401, "{}", shown.text());
    assert!(shown.text().contains("what you filled in is kept"), "{}", shown.text());
    let admin = app.admin();
    assert_eq!(admin.get("/api/v1/devices")["items"].as_array().unwrap().len(), 0);
    let (seal, token, kept) = (
        cookie(&shown, "iocast-form"),
        field(&shown.text(), "token"),
        field(&shown.text(), "kept"),
    );
    let enter = |password: &str, kept: &str| {
        let fields = [
            ("token", token.as_str()),
            ("email", crate::support::ADMIN),
            ("password", password),
            ("next", "/tip"),
            ("kept", kept),
        ];
        form(&format!("{}/sign-in", app.url), &[("cookie", &seal)], &fields)
    };
    let kept = kept.replace("&amp;", "&");
    // A wrong password loses nothing.
    let wrong = enter("wrong", &kept);
    assert_eq!(
        (wrong.status, field(&wrong.text(), "kept").replace("&amp;", "&")),
        (401, kept.clone())
    );
    let offered = enter(&app.password, &kept);
    let text_of = offered.text();
    assert!(
        offered.status == 200 && text_of.contains("Send it now") && text_of.contains("1234"),
        "{text_of}"
    );
    assert!(
        text_of.contains("action=\"&#x2f;automation&#x2f;integrations&#x2f;new?tab=x\"")
            && !text_of.contains(&tab.token),
        "{text_of}"
    );
    // Nothing happens before the person says so; then it goes through, in the new session.
    assert_eq!(admin.get("/api/v1/devices")["items"].as_array().unwrap().len(), 0);
    let again = [
        ("token", &*field(&text_of, "token")),
        ("name", &*field(&text_of, "name")),
        ("device_type", "misp"),
        ("ioc_limit", "1234"),
    ];
    let sent = form(
        &format!("{}/automation/integrations/new", app.url),
        &[("cookie", &cookie(&offered, "iocast"))],
        &again,
    );
    assert_eq!(sent.status, 303, "{}", sent.text());
    assert_eq!(admin.get("/api/v1/devices")["items"][0]["name"], "Kept device");
    // A browser without our cookie may have been sent by another site.
    let foreign = form(
        &format!("{}/automation/integrations/new", app.url),
        &[("origin", "null")],
        &[("name", "Evil")],
    );
    assert!(
        foreign.status == 303 && foreign.header("location").starts_with("/sign-in?next="),
        "{}",
        foreign.status
    );
    // Passwords are typed again, and what is too long or from elsewhere is not carried along.
    let long = "x".repeat(9_000);
    for (path, headers, fields) in [
        (
            "/settings/profile",
            vec![],
            vec![("do", "password"), ("password", "old"), ("new_password", "new one that is long")],
        ),
        ("/automation/integrations/new", vec![], vec![("name", long.as_str())]),
        (
            "/automation/integrations/new",
            vec![("origin", "https://evil.example")],
            vec![("name", "Evil")],
        ),
    ] {
        let shown = tab.send(path, &headers, &fields);
        assert!(
            shown.status == 303 && shown.header("location").starts_with("/sign-in?next="),
            "{path}: {} {}",
            shown.status,
            shown.text()
        );
    }
    // A place that is not ours is not kept.
    for nonsense in ["=https%3A%2F%2Fevil.example%2F&a=b", "a=b", "=%2F%2Fevil.example", "%ff%00="]
    {
        assert_eq!(enter(&app.password, nonsense).header("location"), "/tip", "{nonsense}");
    }
}

/// Two tabs with the same form: the second one to be sent says so, and what it would have undone
/// stays.
fn nobody_overwrites_what_another_saved(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example\n");
    let tab = Tab::open(app);
    let rule = text(&admin.get("/api/v1/rules")["items"][0], "id");
    let device = format!("/automation/integrations/{}", scene.device);
    let group = format!("/automation/groups/{}", scene.group);
    let policy = format!("/automation/policy/{rule}");
    let stamp =
        |path: &str| field(&page(&format!("{}{path}", app.url), &tab.cookies).text(), "stamp");
    for (path, change, fields) in [
        (
            &device,
            json!({ "silent_after_hours": 12 }),
            vec![("name", "Lab MISP"), ("ioc_limit", "50000"), ("silent_after_hours", "")],
        ),
        (&group, json!({ "limit": 77 }), vec![("name", "Perimeter"), ("limit", "50000")]),
        (
            &policy,
            json!({ "enabled": false }),
            vec![("name", "Perimeter"), ("enabled", "1"), ("group_ids", scene.group.as_str())],
        ),
    ] {
        let action = if *path == policy { "save" } else { "edit" };
        let api = match path {
            p if *p == device => format!("/api/v1/devices/{}", scene.device),
            p if *p == group => format!("/api/v1/groups/{}", scene.group),
            _ => format!("/api/v1/rules/{rule}"),
        };
        let seen = stamp(path);
        admin.patch(&api, change, 200);
        let kept = admin.get(&api);
        let send = |stamp: &str| {
            let mut all = vec![("token", tab.token.as_str()), ("do", action), ("stamp", stamp)];
            all.extend(fields.iter().copied());
            tab.send(path, &[], &all)
        };
        let refused = send(&seen);
        assert!(
            refused.status == 409 && refused.text().contains("Someone else changed this"),
            "{path}: {}",
            refused.status
        );
        let now = admin.get(&api);
        assert!(
            ["name", "limit", "ioc_limit", "silent_after_hours", "enabled"]
                .iter()
                .all(|f| now[f] == kept[f]),
            "{path}: {now}"
        );
        assert_eq!(
            send(&field(&refused.text(), "stamp")).status,
            303,
            "looked at again it goes through"
        );
    }
    // An IOC's form changes only what was changed in it.
    let ioc = text(&admin.ioc("evil.example"), "id");
    admin.patch(
        &format!("/api/v1/iocs/{ioc}"),
        json!({ "whitelist": "never_sent", "user_tags": ["APT28, Fancy Bear"] }),
        200,
    );
    let path = format!("/tip/iocs/{ioc}");
    let fields = [
        ("token", tab.token.as_str()),
        ("do", "edit"),
        ("severity", "high"),
        ("was_severity", ""),
        ("whitelist", "default"),
        ("was_whitelist", "default"),
        ("user_tags", ""),
        ("was_user_tags", ""),
    ];
    assert_eq!(tab.send(&path, &[], &fields).status, 303);
    let now = admin.ioc("evil.example");
    assert_eq!(
        (&now["severity"], &now["whitelist"], &now["user_tags"]),
        (&json!("high"), &json!("never_sent"), &json!(["APT28, Fancy Bear"]))
    );
}

#[test]
fn an_operator_has_pages_of_his_own() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir_all(folder.path().join("pages")).unwrap();
    std::fs::write(folder.path().join("pages/forgotten.html"), "{% extends \"parts/frame.html\" %}{% block main %}<p>Call Ann, 2nd floor.</p>{% endblock %}")
        .unwrap();
    let config = |broken: bool| {
        let folder = folder.path().to_owned();
        if broken {
            std::fs::write(folder.join("pages/forgotten.html"), "{% extends").unwrap();
        }
        json!({ "templates": folder })
    };
    let run = |settings: Value, data: &std::path::Path| {
        let file = data.join("iocast.toml");
        std::fs::create_dir_all(data).unwrap();
        std::fs::write(&file, format!("templates = {}\n", settings["templates"])).unwrap();
        let mut child = std::process::Command::new(crate::shell::binary())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--config",
                file.to_str().unwrap(),
                "--data",
                data.to_str().unwrap(),
            ])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let url = lines.find_map(|l| {
            l.unwrap()
                .split("Sign in at ")
                .nth(1)
                .map(|u| u.split('/').take(3).collect::<Vec<_>>().join("/"))
        });
        (child, url)
    };
    let data = tempfile::TempDir::new().unwrap();
    let (mut child, url) = run(config(false), data.path());
    let url = url.expect("it starts");
    assert!(page(&format!("{url}/forgotten-password"), "").text().contains("Call Ann, 2nd floor."));
    assert!(
        page(&format!("{url}/sign-in"), "").text().contains("E-mail address"),
        "the others stay ours"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // One that is no template is told of at the start, with its name.
    let (child, url) = run(config(true), &data.path().join("other"));
    assert!(url.is_none());
    let said = child.wait_with_output().unwrap();
    assert!(
        !said.status.success() && String::from_utf8_lossy(&said.stderr).contains("forgotten.html"),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

fn devices_are_found_sorted_and_followed(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let add = |name: &str| {
        let new = json!({ "name": name, "device_type": "plain-list" });
        text(&admin.post("/api/v1/devices", new, 201), "id")
    };
    let (edge_one, edge_two) = (add("Edge_1"), add("EdgeX1"));
    admin.patch(&format!("/api/v1/devices/{edge_two}"), json!({ "paused": true }), 200);
    scene.import(&admin, "evil.example\n");
    let device = app.device();
    scene.settled(&device, &["evil.example"]);
    eventually("the pull is noted", || (admin.dot(&scene.device).0 == "green").then_some(()));
    let cookie = signed_in(app);
    let listed = |query: &str| -> Vec<String> {
        let shown = page(&format!("{}/automation/integrations?{query}", app.url), &cookie);
        assert_eq!(shown.status, 200, "{query}");
        let shown = shown.text();
        let rows = shown.split("<tr data-device=\"").skip(1);
        rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
    };
    let both = |tab: &str, query: &str| listed(&format!("tab={tab}&{query}"));
    let tab =
        |id: &str| if both("cloud", "").contains(&id.to_owned()) { "cloud" } else { "on_premises" };
    let lists = tab(&edge_one);
    assert_eq!(both(lists, "q=edge_1"), [edge_one.as_str()], "an underscore is no wildcard");
    assert_eq!(both(lists, "q=EDGE"), [edge_one.as_str(), &edge_two]);
    assert_eq!(both(lists, "q=edge&reversed=1"), [edge_two.as_str(), &edge_one]);
    assert_eq!(both(lists, "q=edge&state=paused"), [edge_two.as_str()]);
    assert_eq!(both(lists, "q=%25"), [] as [&str; 0]);
    let misp = tab(&scene.device);
    assert_eq!(both(misp, "q=perimeter"), [scene.device.as_str()], "by the name of a group");
    for order in ["name", "state", "type", "last_pull", "iocs"] {
        assert!(both(misp, &format!("sort={order}")).contains(&scene.device), "{order}");
    }
    assert_eq!(both(misp, "sort=iocs")[0], scene.device, "it alone holds an IOC");
    let states = |ids: &str| -> Vec<(String, String)> {
        let path = format!("/automation/integrations/states?ids={ids}");
        let states = page(&format!("{}{path}", app.url), &cookie).json();
        let states = states.as_array().unwrap().iter();
        states.map(|s| (text(s, "name"), text(s, "state"))).collect()
    };
    assert_eq!(states(&scene.device), [("Lab MISP".to_owned(), "synced".to_owned())]);
    assert_eq!(states(&format!("{edge_two},nonsense")), [("EdgeX1".into(), "paused".to_owned())]);
    assert_eq!(states(""), []);
}

/// Many devices and IOCs (a thousand and a million in the long run): every page and search finds
/// what is there, and says how long the server took. No time is asserted; the table is for people.
#[test]
fn many_devices_and_iocs_are_looked_through() {
    let long = std::env::var_os("IOCAST_LONG").is_some();
    let (devices, iocs) = if long { (1_000, 1_000_000) } else { (120, 20_000) };
    let app = TestApp::with(Engine::Sqlite, |config| config.import_max_bytes = 1 << 30);
    let admin = app.admin();
    for n in 0..devices {
        admin.post(
            "/api/v1/devices",
            json!({ "name": format!("Device {n:04}"), "device_type": "misp" }),
            201,
        );
    }
    let mut sources = Vec::new();
    for (name, half) in [("First", 0..iocs / 2), ("Second", iocs / 2..iocs)] {
        let source = text(
            &admin.post("/api/v1/sources", json!({ "name": name, "confidence": 2 }), 201),
            "id",
        );
        let list: String = half
            .map(|n| {
                if n % 2 == 0 {
                    format!("host{n}.zone{}.example\n", n % 100)
                } else {
                    format!("{}.{}.{}.{}\n", 1 + n % 200, (n >> 16) & 255, (n >> 8) & 255, n & 255)
                }
            })
            .collect();
        assert_eq!(admin.import(&source, "text/plain", &list, 200)["accepted"], iocs / 2);
        sources.push(source);
    }
    let tab = Tab::open(&app);
    let rare = text(&admin.ioc("host4.zone4.example"), "id");
    admin.patch(
        &format!("/api/v1/iocs/{rare}"),
        json!({ "whitelist": "never_sent", "severity": "high" }),
        200,
    );
    println!("| page | found | median ms |\n|---|---|---|");
    for (path, rows) in [
        ("/automation/integrations".to_owned(), 100),
        ("/automation/integrations?page=2&sort=last_pull".to_owned(), 100.min(devices - 100)),
        ("/automation/integrations?q=device+0077".to_owned(), 1),
        ("/tip/iocs".to_owned(), 50),
        ("/tip/iocs?q=h".to_owned(), 50),
        ("/tip/iocs?q=1&kind=email".to_owned(), 0),
        ("/tip/iocs?q=host10.&match=prefix".to_owned(), 1),
        ("/tip/iocs?q=HOST10[.]zone10[.]example&match=exact".to_owned(), 1),
        ("/tip/iocs?q=zone10.example&match=domain".to_owned(), 50),
        ("/tip/iocs?q=example&match=domain&severity=high".to_owned(), 1),
        ("/tip/iocs?kind=ipv4".to_owned(), 50),
        ("/tip/iocs?kind=sha256".to_owned(), 0),
        ("/tip/iocs?whitelist=never_sent".to_owned(), 1),
        ("/tip/iocs?severity=high&kind=domain".to_owned(), 1),
        ("/tip/iocs?state=retired".to_owned(), 0),
        (format!("/tip/iocs?source={}", sources[0]), 50),
        (format!("/tip/iocs?source={}", sources[1]), 50),
        (format!("/tip/iocs?source={}&whitelist=never_sent", sources[1]), 0),
    ] {
        let mut took = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            let shown = page(&format!("{}{path}", app.url), &tab.cookies);
            took.push(begun.elapsed());
            let listed =
                shown.text().split("<tbody").nth(1).map_or(0, |body| {
                    body.split("</tbody>").next().unwrap().matches("<tr").count()
                });
            assert_eq!((shown.status, listed), (200, rows), "{path}");
        }
        took.sort();
        println!("| {path} | {rows} | {:.1} |", took[2].as_secs_f64() * 1_000.0);
    }
    // A source that has nothing among the latest changes is listed whole all the same, each IOC
    // once.
    for source in &sources {
        let (mut seen, mut cursor, mut pages) =
            (std::collections::BTreeSet::new(), String::new(), 0);
        while pages < 25 {
            let page = admin.get(&format!("/api/v1/iocs?source_id={source}&limit=1000{cursor}"));
            for ioc in page["items"].as_array().unwrap() {
                assert_eq!(ioc["reports"][0]["source_id"], source.as_str());
                assert!(seen.insert(text(ioc, "value")), "{} came twice", ioc["value"]);
            }
            pages += 1;
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen.len(), (iocs / 2).min(25_000), "{pages} pages");
    }
}
