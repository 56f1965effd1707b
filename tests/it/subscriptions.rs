//! Sources that fetch their lists by themselves: on time, only what changed, and nothing from an
//! answer that is none.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    lists::{device, import, settled, source},
    support::{Admin, TestApp, eventually, stories, text},
};

stories!(
    a_list_is_fetched_on_time,
    what_is_gone_from_a_whole_list_leaves,
    an_answer_that_is_no_list_changes_nothing,
    a_fetch_says_who_it_is,
    private_addresses_are_refused,
    what_stays_in_a_list_does_not_retire,
    another_list_takes_the_place_of_the_first,
    a_list_is_tried_before_it_is_taken,
);

/// A server with one list, and what was asked of it.
#[derive(Clone)]
struct Feed {
    url: String,
    answer: Arc<Mutex<Reply>>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// How many bytes of the body are sent.
    cut_after: Option<usize>,
}

impl Feed {
    fn start(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let feed = Self {
            url: format!("http://{}/list.txt", listener.local_addr().unwrap()),
            answer: Arc::new(Mutex::new(Reply {
                status: "200 OK",
                headers: String::new(),
                body: body.into(),
                cut_after: None,
            })),
            asked: Arc::default(),
        };
        let of = feed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no fault here.
                let _ = of.serve(stream);
            }
        });
        feed
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let mut head = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            head.push_str(&line);
            head.push('\n');
        }
        let reply = self.answer.lock().unwrap().clone();
        let tag = format!(
            "\"{}\"",
            reply.body.len() * 31 + usize::from(reply.body.first().copied().unwrap_or(0))
        );
        let is_known = head.contains(&tag) && reply.status == "200 OK";
        self.asked.lock().unwrap().push(head);
        let mut stream = stream;
        if is_known {
            return write!(
                stream,
                "HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n"
            );
        }
        let Reply { status, headers, body, cut_after } = reply;
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        )?;
        stream.write_all(&body[..cut_after.unwrap_or(length)])
    }

    fn says(&self, body: &str) {
        let mut answer = self.answer.lock().unwrap();
        *answer =
            Reply { status: "200 OK", headers: String::new(), body: body.into(), cut_after: None };
    }

    fn last_asked(&self) -> String {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn allow_loopback(app: &mut TestApp) -> Admin {
    app.reopen(|config| config.fetch_networks = "127.0.0.0/8".to_owned());
    app.admin()
}

fn subscribe(admin: &Admin, source: &str, feed: &Feed, more: Value) -> Value {
    let mut body = json!({ "url": feed.url });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    admin.put(&format!("/api/v1/sources/{source}/subscription"), body, 200)
}

fn subscription(admin: &Admin, source: &str) -> Value {
    admin.get(&format!("/api/v1/sources/{source}/subscription"))
}

/// Waits until as many fetches have ended. Gives the last one.
fn fetched(admin: &Admin, source: &str, count: usize) -> Value {
    eventually(&format!("{count} fetches of {source}"), || {
        let list = admin.get(&format!("/api/v1/sources/{source}/subscription/fetches"));
        let items = list["items"].as_array().unwrap().clone();
        (items.len() >= count).then(|| items[0].clone())
    })
}

fn fetch_now(admin: &Admin, source: &str, query: &str) -> Value {
    admin.post(&format!("/api/v1/sources/{source}/subscription/fetch{query}"), json!({}), 200)
}

fn lines(under: &str, count: usize) -> String {
    (0..count).map(|n| format!("h{n}.{under}\n")).collect()
}

fn a_list_is_fetched_on_time(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let feed = Feed::start("# a list\nhxxp://evil[.]example/a\nb.example\nno indicator here\n");
    assert_eq!(admin.get_status(&format!("/api/v1/sources/{own}/subscription")), 404);
    let made = subscribe(&admin, &own, &feed, json!({ "every_minutes": 60 }));
    assert_eq!(made["coverage"], "growing");
    let first = fetched(&admin, &own, 1);
    assert_eq!(
        (&first["outcome"], &first["new"], &first["listed"]),
        (&json!("taken"), &json!(2), &json!(2)),
        "{first}"
    );
    settled(app, &plain.url, &["http://evil.example/a", "b.example"]);
    let import = admin.get(&format!("/api/v1/imports/{}", text(&first, "import_id")));
    assert_eq!(
        (&import["made_by"], &import["file_name"]),
        (&json!("subscription"), &json!("list.txt"))
    );
    assert_eq!(subscription(&admin, &own)["freshness"], "fresh");
    // Not before it is due; then only if it changed.
    app.advance(&admin, "30m");
    app.advance(&admin, "45m");
    let second = fetched(&admin, &own, 2);
    assert_eq!(
        (&second["outcome"], &second["status"]),
        (&json!("unchanged"), &json!(304)),
        "{second}"
    );
    assert!(
        feed.last_asked().to_ascii_lowercase().contains("if-none-match"),
        "{}",
        feed.last_asked()
    );
    assert_eq!(feed.asked.lock().unwrap().len(), 2);
    // What is new is taken, and what stays is not written again.
    feed.says("hxxp://evil[.]example/a\nc.example\n");
    app.advance(&admin, "70m");
    let third = fetched(&admin, &own, 3);
    for (field, count) in [("new", 1), ("changed", 0), ("gone", 0), ("listed", 2)] {
        assert_eq!(third[field], count, "{field}: {third}");
    }
    settled(app, &plain.url, &["http://evil.example/a", "b.example", "c.example"]);
    // Paused, it rests; ended, what it brought stays.
    subscribe(&admin, &own, &feed, json!({ "paused": true }));
    app.advance(&admin, "3h");
    assert_eq!(subscription(&admin, &own)["freshness"], "paused");
    assert_eq!(feed.asked.lock().unwrap().len(), 3);
    admin.delete(&format!("/api/v1/sources/{own}/subscription"), 204);
    assert_eq!(admin.get_status(&format!("/api/v1/sources/{own}/subscription")), 404);
    settled(app, &plain.url, &["http://evil.example/a", "b.example", "c.example"]);
    let audit = admin.get("/api/v1/audit?limit=50").to_string();
    for action in ["subscription.create", "subscription.update", "subscription.delete"] {
        assert!(audit.contains(action), "{action}");
    }
}

fn what_is_gone_from_a_whole_list_leaves(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let second = json!({ "name": "Second feed", "confidence": 2 });
    let other = text(&admin.post("/api/v1/sources", second, 201), "id");
    let plain = device(&admin, "plain-list", json!({}));
    import(&admin, &other, &["shared.example"]);
    let feed = Feed::start("a.example\nb.example\nshared.example\n");
    subscribe(
        &admin,
        &own,
        &feed,
        json!({ "coverage": "full", "grace_hours": 24, "every_minutes": 60 }),
    );
    settled(app, &plain.url, &["a.example", "b.example", "shared.example"]);
    feed.says("a.example\nc.example\n");
    let done = fetch_now(&admin, &own, "");
    assert_eq!((&done["new"], &done["gone"]), (&json!(1), &json!(0)), "{done}");
    settled(app, &plain.url, &["a.example", "b.example", "c.example", "shared.example"]);
    // One that comes back within the time of grace never left.
    feed.says("a.example\nc.example\nb.example\n");
    fetch_now(&admin, &own, "");
    app.advance(&admin, "25h");
    settled(app, &plain.url, &["a.example", "b.example", "c.example", "shared.example"]);
    // After it, what nobody else reports leaves, also where the list did not change since.
    feed.says("a.example\nc.example\n");
    fetch_now(&admin, &own, "");
    app.advance(&admin, "25h");
    settled(app, &plain.url, &["a.example", "c.example", "shared.example"]);
    let reports = admin.ioc("shared.example")["reports"].clone();
    assert_eq!(reports.as_array().unwrap().len(), 1, "{reports}");
    // It may come back.
    feed.says("a.example\nb.example\nc.example\n");
    fetch_now(&admin, &own, "");
    settled(app, &plain.url, &["a.example", "b.example", "c.example", "shared.example"]);
}

fn an_answer_that_is_no_list_changes_nothing(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let good = lines("evil.example", 30);
    let all: Vec<&str> = good.lines().collect();
    let feed = Feed::start(&good);
    subscribe(&admin, &own, &feed, json!({ "coverage": "full", "every_minutes": 60 }));
    settled(app, &plain.url, &all);
    let reply = |status, headers: &str, body: &str, cut_after| Reply {
        status,
        headers: headers.to_owned(),
        body: body.into(),
        cut_after,
    };
    let few = lines("evil.example", 10);
    let cases = [
        (reply("200 OK", "", "<!DOCTYPE html><html><body>Sign in</body></html>", None), "web page"),
        (reply("200 OK", "", "", None), "empty"),
        (reply("200 OK", "", "# nothing today\n", None), "no IOC"),
        (reply("200 OK", "", &lines("evil.example", 31), Some(100)), "broke off"),
        (reply("200 OK", "", &few, None), "lost more than half"),
        (
            reply("503 Service Unavailable", "Retry-After: 7200\r\n", "maintenance", None),
            "503 Service Unavailable. It says: maintenance",
        ),
        (reply("401 Unauthorized", "", "no", None), "Check the access"),
        (reply("404 Not Found", "", "no", None), "Check the address"),
        (
            reply("302 Found", "Location: http://198.51.100.1/other\r\n", "", None),
            "redirects to http://198.51.100.1/other",
        ),
    ];
    for (n, (reply, why)) in cases.into_iter().enumerate() {
        *feed.answer.lock().unwrap() = reply;
        let done = fetch_now(&admin, &own, "");
        assert_eq!(done["outcome"], "failed", "{why}: {done}");
        assert!(text(&done, "error").contains(why), "{why}: {done}");
        let state = subscription(&admin, &own);
        assert_eq!(
            (&state["freshness"], &state["failures"]),
            (&json!("failing"), &json!(n + 1)),
            "{state}"
        );
        assert_eq!((&state["error"], &state["listed"]), (&done["error"], &json!(30)));
        settled(app, &plain.url, &all);
    }
    // A person may say that the list really is so much shorter. It recovers by itself otherwise.
    feed.says(&few);
    let done = fetch_now(&admin, &own, "?accept_loss=true");
    assert_eq!((&done["outcome"], &done["gone"]), (&json!("taken"), &json!(20)), "{done}");
    let state = subscription(&admin, &own);
    assert_eq!((&state["freshness"], &state["error"]), (&json!("fresh"), &Value::Null), "{state}");
}

fn a_fetch_says_who_it_is(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let feed = Feed::start("a.example\n");
    let secret = "lamp river seven";
    let cases = [
        (
            json!({ "access": "basic", "access_name": "ann", "secret": secret }),
            "authorization: Basic YW5uOmxhbXAgcml2ZXIgc2V2ZW4=",
        ),
        (json!({ "access": "bearer", "secret": secret }), "authorization: Bearer lamp river seven"),
        (
            json!({ "access": "header", "access_name": "Auth-Key", "secret": secret }),
            "auth-key: lamp river seven",
        ),
        (
            json!({ "access": "query", "access_name": "key", "secret": secret }),
            "GET /list.txt?key=lamp+river+seven ",
        ),
        // The secret stays where none is given, for the same server and access.
        (
            json!({ "access": "query", "access_name": "key", "every_minutes": 90 }),
            "GET /list.txt?key=lamp+river+seven ",
        ),
    ];
    for (access, said) in cases {
        let before = feed.asked.lock().unwrap().len();
        let made = subscribe(&admin, &own, &feed, access);
        assert_eq!(made["has_secret"], true);
        assert!(!made.to_string().contains(secret), "{made}");
        eventually(said, || (feed.asked.lock().unwrap().len() > before).then_some(()));
        let asked = feed.last_asked();
        let has = |line: &str| line.eq_ignore_ascii_case(said) || line.starts_with(said);
        assert!(asked.lines().any(has), "{said}: {asked}");
    }
    assert!(!admin.get("/api/v1/audit?limit=50").to_string().contains(secret));
    for wrong in [
        json!({ "access": "bearer", "secret": "a\nb" }),
        json!({ "access": "header", "access_name": "Host", "secret": "x" }),
        json!({ "access": "header", "access_name": "a b", "secret": "x" }),
        json!({ "access": "keycard" }),
        json!({ "every_minutes": 1 }),
        json!({ "form": "magic" }),
        json!({ "url": "ftp://example.com/list" }),
        json!({ "url": "https://ann:secret@example.com/list" }),
    ] {
        let mut body = json!({ "url": feed.url });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        admin.put(&format!("/api/v1/sources/{own}/subscription"), body, 422);
    }
    // It goes to no other server, and comes back in no sentence.
    let other = Feed::start("a.example\n");
    let elsewhere = json!({ "url": other.url, "access": "query", "access_name": "key" });
    admin.put(&format!("/api/v1/sources/{own}/subscription"), elsewhere, 422);
    for (status, headers, body) in [
        ("403 Forbidden", String::new(), "no such key: lamp river seven"),
        (
            "302 Found",
            "Location: http://198.51.100.1/list.txt?key=lamp+river+seven\r\n".to_owned(),
            "",
        ),
    ] {
        *feed.answer.lock().unwrap() =
            Reply { status, headers, body: body.into(), cut_after: None };
        let done = fetch_now(&admin, &own, "");
        assert_eq!(done["outcome"], "failed", "{done}");
        assert!(!done.to_string().contains("river"), "{done}");
    }
    // Open to all again: the secret is gone.
    assert_eq!(subscribe(&admin, &own, &feed, json!({ "access": "none" }))["has_secret"], false);
    admin.put(
        &format!("/api/v1/sources/{own}/subscription"),
        json!({ "url": feed.url, "access": "bearer" }),
        422,
    );
}

fn private_addresses_are_refused(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let feed = Feed::start("a.example\n");
    subscribe(&admin, &own, &feed, json!({}));
    let done = fetched(&admin, &own, 1);
    assert!(
        text(&done, "error").contains("127.0.0.1")
            && text(&done, "error").contains("fetch_networks"),
        "{done}"
    );
    assert!(feed.asked.lock().unwrap().is_empty());
    assert_eq!(subscription(&admin, &own)["freshness"], "failing");
}

fn what_stays_in_a_list_does_not_retire(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let feed = Feed::start("192.0.2.7\n");
    subscribe(&admin, &own, &feed, json!({ "coverage": "full", "every_minutes": 600 }));
    fetched(&admin, &own, 1);
    let seen = text(&admin.ioc("192.0.2.7"), "last_seen");
    // An address retires after two weeks without being seen.
    for (days, fetches) in [("13d", 2), ("13d", 3)] {
        app.advance(&admin, days);
        fetched(&admin, &own, fetches);
    }
    app.advance(&admin, "2h");
    let ioc = admin.ioc("192.0.2.7");
    assert_eq!(ioc["state"], "active", "{ioc}");
    assert!(text(&ioc, "last_seen") > seen, "{ioc}");
    // So with a list that only adds; what is not in it retires.
    import(&admin, &own, &["192.0.2.8"]);
    subscribe(&admin, &own, &feed, json!({ "coverage": "growing", "every_minutes": 600 }));
    fetched(&admin, &own, 4);
    for fetches in [5, 6] {
        app.advance(&admin, "13d");
        fetched(&admin, &own, fetches);
    }
    app.advance(&admin, "2h");
    assert_eq!(admin.ioc("192.0.2.7")["state"], "active");
    assert_eq!(admin.ioc("192.0.2.8")["state"], "retired");
    // After a long outage what the list still holds is there again.
    feed.answer.lock().unwrap().status = "500 Internal Server Error";
    app.advance(&admin, "20d");
    eventually("the outage shows", || {
        (subscription(&admin, &own)["freshness"] == "failing").then_some(())
    });
    // It is tried less and less often.
    for _ in 0..10 {
        assert_eq!(fetch_now(&admin, &own, "")["outcome"], "failed");
    }
    app.advance(&admin, "2h");
    assert_eq!(admin.ioc("192.0.2.7")["state"], "retired");
    feed.says("192.0.2.7\n");
    fetch_now(&admin, &own, "");
    assert_eq!(admin.ioc("192.0.2.7")["state"], "active");
}

fn another_list_takes_the_place_of_the_first(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let (first, second) =
        (Feed::start("a.example\nb.example\n"), Feed::start("b.example\nc.example\n"));
    subscribe(&admin, &own, &first, json!({ "coverage": "full" }));
    settled(app, &plain.url, &["a.example", "b.example"]);
    subscribe(&admin, &own, &second, json!({ "coverage": "full" }));
    settled(app, &plain.url, &["b.example", "c.example"]);
    // One that only adds keeps what is gone; whole again, it does not.
    subscribe(&admin, &own, &second, json!({ "coverage": "growing" }));
    fetched(&admin, &own, 3);
    second.says("c.example\nd.example\n");
    fetch_now(&admin, &own, "");
    settled(app, &plain.url, &["b.example", "c.example", "d.example"]);
    subscribe(&admin, &own, &second, json!({ "coverage": "full" }));
    settled(app, &plain.url, &["c.example", "d.example"]);
    // What a fetch took can be undone; then nothing is fetched until a person wants it.
    let list = admin.get(&format!("/api/v1/sources/{own}/subscription/fetches"));
    let taken = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|fetch| fetch["new"] == 1 && fetch["gone"] == 0)
        .unwrap()
        .clone();
    admin.post(&format!("/api/v1/imports/{}/undo", text(&taken, "import_id")), json!({}), 200);
    assert_eq!(subscription(&admin, &own)["freshness"], "paused");
}

fn a_list_is_tried_before_it_is_taken(app: &mut TestApp) {
    let admin = allow_loopback(app);
    let own = source(&admin);
    let feed = Feed::start("a.example\nno indicator\n");
    subscribe(&admin, &own, &feed, json!({ "paused": true }));
    let path = format!("/api/v1/sources/{own}/subscription/try");
    let report = admin.post(&path, json!({}), 200);
    assert_eq!(
        (&report["accepted"], &report["rejected_count"], &report["dry_run"]),
        (&json!(1), &json!(1), &json!(true)),
        "{report}"
    );
    assert_eq!(admin.get("/api/v1/iocs")["items"], json!([]));
    assert_eq!(subscription(&admin, &own)["freshness"], "paused");
    feed.answer.lock().unwrap().status = "500 Internal Server Error";
    let refused = admin.post(&path, json!({}), 409);
    assert!(text(&refused, "detail").contains("500 Internal Server Error"), "{refused}");
}
