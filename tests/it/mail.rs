//! Messages arrive, whatever the mail server does: once each, or twice with one Message-ID where
//! nobody can know better.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::Command,
    sync::{Arc, Mutex},
};

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Admin, Engine, Post, Scene, TestApp, eventually, stories, text},
    watchdog::{HOUR, look, with_post},
};

stories!(
    every_fault_at_every_step,
    one_bad_address_holds_nobody_back,
    a_mail_server_away_for_three_days,
    the_outbox_is_seen_and_turned,
    a_password_by_message,
    what_monitoring_sees,
    a_program_is_told_too,
    an_answer_that_was_lost_is_asked_for_again_and_the_end_is_told,
    a_program_that_hangs_holds_up_no_mail,
    rows_that_cant_be_read_hold_nobody_up
);

fn messages(admin: &Admin, state: &str) -> Vec<Value> {
    admin.get(&format!("/api/v1/outbox?limit=1000&state={state}"))["items"]
        .as_array()
        .unwrap()
        .clone()
}

fn add(admin: &Admin, name: &str) -> String {
    text(&admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201), "id")
}

/// Adds a device and lets it fall silent.
fn fall_silent(app: &TestApp, admin: &Admin, name: &str) {
    add(admin, name);
    app.advance(admin, "49h");
}

fn copies(post: &Post, name: &str) -> Vec<String> {
    let subject = format!("[iocast] {name} is silent (iocast)");
    post.messages()
        .iter()
        .filter(|l| text(l, "subject") == subject)
        .map(|l| text(l, "message"))
        .collect()
}

fn every_fault_at_every_step(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    let mut table =
        String::from("| at | fault | tried again | copies after recovery |\n|---|---|---|---|\n");
    let steps = ["connect", "EHLO", "MAIL", "RCPT", "DATA", "dot"];
    let faults = ["451 later", "550 never", "421 closing", "hang", "reset", "close", "garbage"];
    for (n, (step, fault)) in steps
        .iter()
        .flat_map(|step| faults.iter().map(move |fault| (*step, *fault)))
        .chain([("dot", "lost")])
        .enumerate()
    {
        let name = format!("Fault {n}");
        post.fault(step, fault);
        fall_silent(app, &admin, &name);
        let found = |state: &str| {
            messages(&admin, state)
                .into_iter()
                .find(|l| text(l, "subject").contains(&format!("{name} ")))
        };
        // What is said of the message for good is taken at its word; a server that is out of order
        // is not.
        let refused = fault == "550 never" && !["connect", "EHLO"].contains(&step);
        let failed = eventually(&format!("{step} {fault} is known"), || {
            found(if refused { "dead" } else { "due" }).filter(|l| l["attempts"] != 0)
        });
        assert!(
            failed["attempts"] == 1 && !text(&failed, "last_answer").is_empty(),
            "{step} {fault}: {failed}"
        );
        post.calm();
        app.advance(&admin, "1m");
        let taken = copies(&post, &name);
        let expected = match (refused, fault) {
            (true, _) => 0,
            (false, "lost") => 2,
            (false, _) => 1,
        };
        assert_eq!(taken.len(), expected, "{step} {fault}");
        assert!(taken.iter().all(|id| *id == taken[0]), "one Message-ID");
        table.push_str(&format!(
            "| {step} | {fault} | {} | {expected} |\n",
            if refused { "no: dead at once" } else { "yes" }
        ));
        if refused {
            admin.post(&format!("/api/v1/outbox/{}/retry", text(&failed, "id")), json!({}), 200);
            eventually("tried again by hand it arrives", || {
                (copies(&post, &name).len() == 1).then_some(())
            });
        }
    }
    println!("{table}");
}

fn one_bad_address_holds_nobody_back(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    for email in ["second@example.com", "third@example.com"] {
        admin.post("/api/v1/users", json!({ "email": email, "role": "admin" }), 201);
    }
    look(&admin);
    post.fault_for("RCPT", "550 no such user", "second@example.com");
    fall_silent(app, &admin, "Lab MISP");
    let mut to: Vec<String> = post
        .messages()
        .iter()
        .filter(|l| text(l, "subject").contains("silent"))
        .map(|l| l["to"][0].as_str().unwrap().to_owned())
        .collect();
    to.sort();
    assert_eq!(to, [ADMIN, "third@example.com"]);
    let dead = messages(&admin, "dead");
    assert_eq!(
        (dead.len(), text(&dead[0], "to"), dead[0]["attempts"].as_u64()),
        (1, "second@example.com".into(), Some(1))
    );
    assert!(
        text(&dead[0], "last_answer").contains("RCPT TO")
            && text(&dead[0], "last_answer").contains("no such user"),
        "{dead:?}"
    );
}

fn a_mail_server_away_for_three_days(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    post.fault("connect", "421 later");
    fall_silent(app, &admin, "Lab MISP");
    for _ in 0..72 {
        app.advance(&admin, "1h");
    }
    let waiting = messages(&admin, "due");
    assert!(waiting.len() == 1 && waiting[0]["attempts"].as_u64().unwrap() > 70, "{waiting:?}");
    post.calm();
    app.advance(&admin, "15m");
    assert_eq!(copies(&post, "Lab MISP").len(), 1);
    assert!(
        text(&post.messages()[0], "text")
            .contains("It never pulled: it was added on 2026-11-03 10:00 UTC"),
        "the message says since when"
    );

    // Longer than that nobody tries: the message is dead, and seen to be.
    post.fault("connect", "421 later");
    fall_silent(app, &admin, "Another MISP");
    for _ in 0..15 {
        app.advance(&admin, "5h");
    }
    let dead = messages(&admin, "dead");
    assert_eq!((dead.len(), messages(&admin, "due").len()), (1, 0), "{dead:?}");
    assert!(text(&dead[0], "last_answer").contains("421"), "{dead:?}");
}

fn the_outbox_is_seen_and_turned(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    assert_eq!(admin.post("/api/v1/mail/test", json!({}), 200)["to"], ADMIN);
    assert_eq!(post.subjects(), ["[iocast] Test message (iocast)"]);
    assert_eq!(
        admin.post("/api/v1/mail/test", json!({ "to": "nobody" }), 422)["errors"][0]["field"],
        "to"
    );
    post.fault("RCPT", "550 no such user");
    let refused = admin.post("/api/v1/mail/test", json!({ "to": "nobody@example.com" }), 409);
    assert!(
        refused["code"] == "mail_not_taken" && text(&refused, "detail").contains("no such user"),
        "{refused}"
    );
    fall_silent(app, &admin, "Lab MISP");
    let dead = text(&messages(&admin, "dead")[0], "id");
    post.calm();
    assert_eq!(admin.post(&format!("/api/v1/outbox/{dead}/retry"), json!({}), 200)["state"], "due");
    eventually("it arrives", || (copies(&post, "Lab MISP").len() == 1).then_some(()));
    eventually("it is settled", || (messages(&admin, "sent").len() == 1).then_some(()));
    assert_eq!(
        admin.post(&format!("/api/v1/outbox/{dead}/retry"), json!({}), 409)["code"],
        "message_settled"
    );
    post.fault("MAIL", "451 later");
    fall_silent(app, &admin, "Other MISP");
    let due = text(&messages(&admin, "due")[0], "id");
    assert_eq!(admin.delete(&format!("/api/v1/outbox/{due}"), 200)["state"], "discarded");
    post.calm();
    app.advance(&admin, "1h");
    assert_eq!(
        (
            copies(&post, "Other MISP").len(),
            admin.get("/api/v1/outbox")["items"].as_array().unwrap().len()
        ),
        (0, 2)
    );
    let out = crate::shell::iocast_on(app, &["mail", "test", "--to", "me@example.com"], None);
    assert!(app.database_url().is_some() || out.contains("was taken: 250 taken"), "{out}");
}

fn a_password_by_message(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    admin.post("/api/v1/users", json!({ "email": "new@example.com", "role": "analyst" }), 201);
    let token = |n: usize| {
        let message = eventually("the message comes", || post.messages().get(n).cloned());
        let words = text(&message, "text");
        words
            .split_once("/password#")
            .unwrap_or_else(|| panic!("{words}"))
            .1
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    let say = |path: &str, body: Value| {
        let answer = crate::support::agent()
            .post(format!("{}/api/v1/{path}", app.url))
            .header("content-type", "application/json")
            .send(body.to_string());
        answer.unwrap().status().as_u16()
    };
    let invited = token(0);
    assert_eq!(say("passwords", json!({ "token": invited, "password": "short" })), 422);
    assert_eq!(
        say(
            "passwords",
            json!({ "token": format!("{invited}x"), "password": "lamp river seven coat" })
        ),
        401
    );
    assert_eq!(
        say("passwords", json!({ "token": invited, "password": "lamp river seven coat" })),
        204
    );
    assert_eq!(
        say("passwords", json!({ "token": invited, "password": "another lamp river coat" })),
        401,
        "a link works once"
    );
    let analyst = Admin::sign_in(&app.url, "new@example.com", "lamp river seven coat");
    assert_eq!(
        analyst.post("/api/v1/users", json!({ "email": "x@example.com", "role": "admin" }), 403)["code"],
        "forbidden"
    );
    assert_eq!(
        (
            say("password-resets", json!({ "email": "new@example.com" })),
            say("password-resets", json!({ "email": "nobody@example.com" }))
        ),
        (202, 202)
    );
    assert_eq!(
        say("passwords", json!({ "token": token(1), "password": "seven coats by the river" })),
        204
    );
    assert_eq!(analyst.get_status("/api/v1/me"), 401, "the sessions were ended");
    Admin::sign_in(&app.url, "new@example.com", "seven coats by the river");
    assert_eq!(
        (
            post.messages().len(),
            admin.post(
                "/api/v1/users",
                json!({ "email": "new@example.com", "role": "admin" }),
                422
            )["errors"][0]["field"]
                .as_str()
        ),
        (2, Some("email"))
    );
    assert!(
        (0..40).any(|_| say("password-resets", json!({ "email": "new@example.com" })) == 429),
        "asking is slowed down"
    );
}

fn what_monitoring_sees(app: &mut TestApp) {
    let mut post = Post::open();
    let listen =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    app.reopen(|config| {
        post.plain(config);
        config.metrics_token = Some("0123456789abcdef".into());
        config.metrics_listen = Some(listen.clone());
    });
    let admin = app.admin();
    post.fault("connect", "421 later");
    fall_silent(app, &admin, "Quiet MISP");
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    scene.settled(&app.device(), &["evil.example"]);
    let refused = crate::support::Device::new(&app.account_id, "wrong")
        .get(&format!("{}/manifest.json", scene.url), &[]);
    assert_eq!(refused.status, 401);
    let get = |url: &str, token: Option<&str>| {
        let request = crate::support::agent().get(url);
        let mut answer = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
        .call()
        .unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let main = format!("{}/metrics", app.url);
    assert_eq!((get(&main, None).0, get(&main, Some("0123456789abcdeX")).0), (401, 401));
    // A poll's receipt may be written at the moment of one request, so it is asked until it rests.
    eventually("no writer waits", || {
        let (_, figures) = get(&main, Some("0123456789abcdef"));
        figures.lines().any(|line| line == "iocast_writers_waiting 0.0").then_some(())
    });
    for (status, figures) in
        [get(&main, Some("0123456789abcdef")), get(&format!("http://{listen}/metrics"), None)]
    {
        assert_eq!(status, 200);
        let value = |name: &str| {
            figures
                .lines()
                .find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok())
                .unwrap_or_else(|| panic!("{name} in {figures}"))
        };
        for line in [
            "iocast_outages_open 1",
            "iocast_ready 1",
            "iocast_task_stuck{task=\"mail 1\"} 0",
            "iocast_messages{state=\"due\"} 1",
            "iocast_message_tries_total{result=\"failed\"} 1",
            "iocast_messages{state=\"dead\"} 0",
            "iocast_pulls_total{status=\"401\"} 1",
            "iocast_pulls_total{status=\"503\"} 0",
            "iocast_publication_duration_seconds_count 2",
            "iocast_build_info{version=\"0.1.0\"} 1",
            "iocast_table_entries{of=\"keys\"} 2",
            "iocast_groups{protection=\"refused\"} 0",
        ] {
            let (name, wanted) = line.rsplit_once(' ').unwrap();
            assert_eq!(value(name), wanted.parse::<f64>().unwrap(), "{line} in {figures}");
        }
        assert!(
            value("iocast_pulls_total{status=\"200\"}") > 0.0
                && value("iocast_cache_bytes{of=\"bodies\"}") > 0.0,
            "{figures}"
        );
        assert!(value("iocast_publication_duration_seconds_sum") > 0.0, "{figures}");
        assert!(value("iocast_request_duration_seconds_count{route=\"api\"}") > 0.0, "{figures}");
        assert!(value("iocast_request_duration_seconds_count{route=\"feed\"}") > 0.0, "{figures}");
        assert!(value("process_resident_memory_bytes") > 1e6, "{figures}");
        assert!(value("process_cpu_seconds_total") > 0.0, "{figures}");
        let names: BTreeMap<&str, usize> = figures
            .lines()
            .filter(|l| l.starts_with("# TYPE"))
            .fold(BTreeMap::new(), |mut names, l| {
                *names.entry(l.split(' ').nth(2).unwrap()).or_default() += 1;
                names
            });
        assert!(names.len() > 8 && names.values().all(|n| *n == 1), "{figures}");
        // The files of the handbook ask for what is there.
        for file in ["iocast-alerts.yml", "iocast-dashboard.json"] {
            let (status, text) = get(&format!("{}/help/{file}", app.url), None);
            assert_eq!(status, 200);
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let asked: BTreeSet<&str> = words
                .filter(|word| word.starts_with("iocast_") || word.starts_with("process_"))
                .map(|word| word.trim_end_matches("_bucket"))
                .collect();
            assert!(asked.len() > 10, "{asked:?}");
            for name in asked {
                let there = names.contains_key(name)
                    // Counters are declared without their last word, backups only where they are made.
                    || names.contains_key(name.trim_end_matches("_total"))
                    || name.starts_with("iocast_backup_");
                assert!(there, "{file} asks for {name}");
            }
        }
    }
}

/// A certificate for `localhost` by an authority of its own.
fn certificate(folder: &std::path::Path) -> (String, String) {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let done = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (certificate.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned())
}

#[test]
fn nothing_is_sent_in_clear_unless_said_so() {
    let clear = Post::open();
    let mut app = TestApp::with(Engine::Sqlite, |config| {
        clear.plain(config);
        config.smtp_security = "starttls".into();
    });
    let admin = app.admin();
    let refused = admin.post("/api/v1/mail/test", json!({}), 409);
    assert!(text(&refused, "detail").contains("STARTTLS"), "{refused}");
    eventually("it was greeted", || (clear.reached("EHLO") > 0).then_some(()));
    assert!(clear.reached("MAIL") == 0 && clear.messages().is_empty());

    let folder = tempfile::TempDir::new().unwrap();
    let (certificate, key) = certificate(folder.path());
    let private = Post::with(&["--tls", &certificate, &key]);
    let server = |config: &mut iocast_server::config::Config, trusted: bool| {
        private.plain(config);
        config.smtp_host = Some("localhost".into());
        config.smtp_security = "starttls".into();
        config.smtp_ca_file = trusted.then(|| certificate.clone().into());
    };
    app.reopen(|config| server(config, false));
    let admin = app.admin();
    assert!(
        text(&admin.post("/api/v1/mail/test", json!({}), 409), "detail").contains("STARTTLS"),
        "a certificate that nobody vouches for"
    );
    assert!(private.messages().is_empty());
    app.reopen(|config| server(config, true));
    let admin = app.admin();
    admin.post("/api/v1/mail/test", json!({}), 200);
    assert_eq!(private.messages()[0]["tls"], true);
    app.reopen(|config| {
        server(config, true);
        config.smtp_host = Some("127.0.0.1".into());
    });
    admin_refused(&app);
}

fn admin_refused(app: &TestApp) {
    let refused = app.admin().post("/api/v1/mail/test", json!({}), 409);
    assert!(
        text(&refused, "detail").contains("STARTTLS"),
        "a certificate for another name: {refused}"
    );
}

#[test]
fn a_mail_server_that_comes_back_gets_what_waited() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let app = TestApp::with(Engine::Sqlite, |config| {
        config.smtp_host = Some("127.0.0.1".into());
        config.smtp_port = Some(port);
        config.smtp_security = "plain".into();
        config.mail_deadline_seconds = 1;
    });
    let admin = app.admin();
    Scene::set(&admin, None);
    app.advance(&admin, "49h");
    let due = messages(&admin, "due");
    assert!(due.len() == 1 && text(&due[0], "last_answer").contains("refused"), "{due:?}");
    let post = Post::with(&["--port", &port.to_string()]);
    app.advance(&admin, "1m");
    assert_eq!(copies(&post, "Lab MISP").len(), 1);
}

/// A program with a webhook: answers as told, keeps what it heard.
struct Program {
    url: String,
    answer: Arc<Mutex<&'static str>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Program {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (answer, heard) = (Arc::new(Mutex::new("200 OK")), Arc::new(Mutex::new(Vec::new())));
        let (says, hears) = (Arc::clone(&answer), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                hears.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
                let status = *says.lock().unwrap();
                let _ = write!(
                    stream.get_mut(),
                    "HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        });
        Self { url, answer, heard }
    }

    fn says(&self, status: &'static str) {
        *self.answer.lock().unwrap() = status;
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// Base64 of the HMAC-SHA-256, by somebody else's code.
fn hmac(secret: &str, signed: &str) -> String {
    let python = std::env::var("IOCAST_PYTHON").unwrap();
    let script = "import base64, hashlib, hmac, sys; print(base64.b64encode(hmac.new(base64.b64decode(sys.argv[1]), sys.argv[2].encode(), hashlib.sha256).digest()).decode())";
    String::from_utf8(
        Command::new(python).args(["-c", script, secret, signed]).output().unwrap().stdout,
    )
    .unwrap()
    .trim()
    .to_owned()
}

fn a_program_is_told_too(app: &mut TestApp) {
    let post = with_post(app);
    let program = Program::open();
    let admin = app.admin();
    for no in ["nowhere", "https://me:secret@hooks.example.com/"] {
        assert_eq!(
            admin.patch("/api/v1/account", json!({ "webhook_url": no }), 422)["errors"][0]["code"],
            "webhook_url_invalid"
        );
    }
    let account = admin.patch("/api/v1/account", json!({ "webhook_url": program.url }), 200);
    assert_eq!(account["silent_after_hours"], 48, "what is not named stays");
    // Private addresses are refused unless the operator allows them.
    fall_silent(app, &admin, "Refused MISP");
    let dead = messages(&admin, "dead");
    assert!(
        dead.len() == 1
            && text(&dead[0], "last_answer").contains("webhook_allow_private")
            && program.heard().is_empty(),
        "{dead:?}"
    );
    assert_eq!(post.messages().len(), 1, "people are told all the same");

    let restart = |app: &mut TestApp| app.reopen(|config| config.webhook_allow_private = true);
    restart(app);
    let admin = app.admin();
    assert_eq!(
        admin.get("/api/v1/account")["webhook_secret"],
        account["webhook_secret"],
        "a restart changes no secret"
    );
    let scene = Scene::set(&admin, None);
    for status in ["500 Oops", "302 Found"] {
        program.says(status);
        if status.starts_with("500") {
            app.advance(&admin, "49h");
        } else {
            app.advance(&admin, "1m");
        }
        let due = messages(&admin, "due");
        assert!(
            due.len() == 1 && text(&due[0], "last_answer").contains(&status[..3]),
            "{status}: {due:?}"
        );
    }
    program.says("204 No Content");
    app.advance(&admin, "2m");
    assert_eq!(
        app.device().get(&format!("{}/feeds/{}/manifest.json", app.url, scene.group), &[]).status,
        200
    );
    let heard = eventually("silence and recovery are told", || {
        Some(program.heard()).filter(|h| h.len() == 4)
    });
    let header = |n: usize, name: &str| {
        let line = heard[n].lines().find_map(|l| {
            l.to_ascii_lowercase()
                .starts_with(&format!("{name}:"))
                .then(|| l[name.len() + 1..].trim().to_owned())
        });
        line.unwrap_or_else(|| panic!("{name} in {}", heard[n]))
    };
    let body = |n: usize| heard[n].split_once("\r\n\r\n").unwrap().1.to_owned();
    let json = |n: usize| serde_json::from_str::<Value>(&body(n)).unwrap();
    assert_eq!(
        (header(0, "webhook-id"), body(0)),
        (header(2, "webhook-id"), body(2)),
        "every try carries the same id and body"
    );
    assert!(heard.iter().all(|h| h.starts_with("POST /hook ")), "no redirect is followed");
    assert_eq!(
        (json(2)["type"].as_str(), json(3)["type"].as_str()),
        (Some("device.silent"), Some("device.recovered"))
    );
    assert_eq!(
        (json(2)["data"]["devices"][0]["name"].as_str(), json(2)["account_id"].as_str()),
        (Some("Lab MISP"), Some(app.account_id.as_str()))
    );
    let secret = text(&account, "webhook_secret");
    let signed =
        format!("{}.{}.{}", header(3, "webhook-id"), header(3, "webhook-timestamp"), body(3));
    assert_eq!(
        header(3, "webhook-signature"),
        format!("v1,{}", hmac(secret.strip_prefix("whsec_").unwrap(), &signed))
    );
    assert!(
        admin.patch("/api/v1/account", json!({ "webhook_url": null }), 200)["webhook_secret"]
            .is_null()
    );
}

fn an_answer_that_was_lost_is_asked_for_again_and_the_end_is_told(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    post.fault("dot", "lost");
    app.advance(&admin, "49h");
    let due = messages(&admin, "due");
    assert!(due.len() == 1 && due[0]["maybe_sent"] == true, "{due:?}");
    // The device comes back. The reader has the warning in hands already, so it is not taken back.
    assert_eq!(app.device().get(&format!("{}/manifest.json", scene.url), &[]).status, 200);
    eventually("the outage ends", || {
        admin.get("/api/v1/outages")["items"][0]["ended_at"].is_string().then_some(())
    });
    post.calm();
    app.advance(&admin, "1m");
    let subjects = post.subjects();
    assert_eq!(subjects[2..], ["[iocast] Lab MISP pulls again (iocast)"], "{subjects:?}");
    let warnings = copies(&post, "Lab MISP");
    assert!(warnings.len() == 2 && warnings[0] == warnings[1], "{warnings:?}");
}

fn a_program_that_hangs_holds_up_no_mail(app: &mut TestApp) {
    let post = Post::open();
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    app.reopen(|config| {
        post.plain(config);
        config.webhook_allow_private = true;
        // Long enough that no hook gives up before the messages are through.
        config.mail_deadline_seconds = 60;
    });
    let admin = app.admin();
    admin.patch(
        "/api/v1/account",
        json!({ "webhook_url": format!("http://{}/", hangs.local_addr().unwrap()) }),
        200,
    );
    for n in 0..3 {
        add(&admin, &format!("MISP {n}"));
    }
    app.clock.advance(49 * HOUR);
    eventually("all people are told", || (post.messages().len() == 3).then_some(()));
    let hooks = eventually("the first hook is on its way", || {
        let all = admin.get("/api/v1/outbox?limit=1000")["items"].as_array().unwrap().clone();
        let hooks: Vec<Value> =
            all.into_iter().filter(|l| text(l, "to").starts_with("http")).collect();
        hooks.iter().any(|l| l["state"] == "claimed").then_some(hooks)
    });
    let at = |state: &str| hooks.iter().filter(|l| l["state"] == state).count();
    assert_eq!(
        (hooks.len(), at("claimed"), at("due")),
        (3, 1, 2),
        "one at a time to each program: {hooks:?}"
    );
    assert!(
        hooks.iter().all(|l| l["attempts"].as_u64() <= Some(1) && l["last_answer"].is_null()),
        "none has given up: {hooks:?}"
    );
}

fn rows_that_cant_be_read_hold_nobody_up(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    add(&admin, "Broken MISP");
    post.fault("connect", "421 later");
    fall_silent(app, &admin, "Lab MISP");
    add(&admin, "Later MISP");
    app.stop();
    app.sql("UPDATE devices SET device_type = 'nonsense' WHERE name = 'Broken MISP'");
    app.sql("UPDATE outages SET ended_at = 1, ended_by = 1 WHERE device_id IN (SELECT id FROM devices WHERE name = 'Broken MISP')");
    app.sql("UPDATE messages SET kind = 99 WHERE subject LIKE '%Lab MISP%'");
    app.restart();
    post.calm();
    app.clock.advance(49 * HOUR);
    eventually("the others are told", || (copies(&post, "Later MISP").len() == 1).then_some(()));
    assert!(copies(&post, "Lab MISP").is_empty(), "nobody can know what was to be written");
    let ready = app.admin().get("/api/v1/ready");
    let watch =
        ready["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "watch").unwrap();
    assert!(
        watch["status"] == "alive" && watch["failures"] == 0,
        "the watchdog has looked at all devices: {ready}"
    );
}
