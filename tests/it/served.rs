//! Lists as servers really serve them: behind nginx, cut, in pages, as tables in other words, in a
//! folder, and at certain times.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    lists::{device, settled, source},
    support::{TestApp, eventually, stories, text},
    upstreams::{Site, certificate, fetch, open, subscribe, subscription},
};

stories!(
    a_list_behind_nginx,
    a_body_that_breaks_off_is_resumed,
    json_comes_in_pages,
    a_table_in_other_words,
    a_folder_is_followed,
    a_list_is_fetched_at_certain_times,
);

struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn serve(files: &Path, locations: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().to_str().unwrap();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("{of}_temp_path {at}/{of};\n"))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {at}/nginx.pid;\n\
             error_log {at}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}\
             server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {at}/server.pem;\n\
             ssl_certificate_key {at}/server.key;\nssl_client_certificate {at}/client.pem;\n\
             ssl_verify_client optional;\nroot {};\ngzip on;\ngzip_types text/plain;\n\
             gzip_min_length 10;\n{locations}}}\n}}\n",
            files.display()
        );
        certificate(folder.path(), "server");
        certificate(folder.path(), "client");
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let child = Command::new("nginx")
            .args(["-p", at, "-e", "error.log", "-c", "nginx.conf"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { child, folder, port };
        eventually("nginx listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        nginx
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }
}

fn a_list_behind_nginx(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let files = tempfile::tempdir().unwrap();
    let lines = |n: usize| (0..n).map(|at| format!("host-{at}.example\n")).collect::<String>();
    fs::write(files.path().join("list.txt"), lines(60)).unwrap();
    fs::write(files.path().join("page.html"), "<html><body>Sign in</body></html>").unwrap();
    fs::write(files.path().join("empty.txt"), "").unwrap();
    // Its hash is that of "lamp river seven".
    let hash = Command::new("openssl").args(["passwd", "-apr1", "lamp river seven"]).output();
    let users = format!("iocast:{}", String::from_utf8(hash.unwrap().stdout).unwrap());
    let users_file = files.path().join("users");
    fs::write(&users_file, users).unwrap();
    let locations = format!(
        "location /basic/ {{ auth_basic lists; auth_basic_user_file {users}; alias {files}/; }}\n\
         location /shown/ {{ if ($ssl_client_verify != SUCCESS) {{ return 403 \"no certificate\"; }} alias {files}/; }}\n\
         location /moved {{ return 302 /list.txt; }}\n\
         location /away {{ return 302 https://198.51.100.7/list.txt; }}\n\
         location /loop {{ return 302 /loop; }}\n\
         location /busy {{ add_header Retry-After 7200 always; return 429 \"slow down\"; }}\n\
         location /slow/ {{ alias {files}/; limit_rate 2k; }}\n",
        users = users_file.display(),
        files = files.path().display(),
    );
    let nginx = Nginx::serve(files.path(), &locations);
    let with = |path: &str, more: Value| {
        let mut what = json!({ "url": nginx.url(path), "ca": nginx.file("server.pem"), "paused": true, "coverage": "full" });
        what.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        subscribe(&admin, &own, what)
    };
    with("list.txt", json!({}));
    assert_eq!(fetch(&admin, &own, "")["new"], 60);
    let again = fetch(&admin, &own, "");
    assert_eq!((&again["outcome"], &again["status"]), (&json!("unchanged"), &json!(304)));
    fs::write(files.path().join("list.txt"), lines(61)).unwrap();
    let grown = fetch(&admin, &own, "");
    assert_eq!((&grown["new"], &grown["listed"]), (&json!(1), &json!(61)), "{grown}");
    for path in ["moved", "slow/list.txt"] {
        with(path, json!({}));
        assert_eq!(fetch(&admin, &own, "")["listed"], 61, "{path}");
    }
    let basic = json!({ "access": "basic", "access_name": "iocast", "secret": "lamp river seven" });
    with("basic/list.txt", basic);
    assert_eq!(fetch(&admin, &own, "")["listed"], 61);
    let shown = json!({ "certificate": nginx.file("client.pem"), "certificate_key": nginx.file("client.key") });
    with("shown/list.txt", shown);
    assert_eq!(fetch(&admin, &own, "")["listed"], 61);
    // Whatever goes wrong changes nothing, and says what to do.
    let wrong = json!({ "access": "basic", "access_name": "iocast", "secret": "lake" });
    for (path, more, why) in [
        ("basic/list.txt", wrong, "401 Unauthorized. Check the access"),
        ("shown/list.txt", json!({}), "403 Forbidden"),
        ("away", json!({}), "redirects on the same server only"),
        ("loop", json!({}), "redirected more than 5 times"),
        ("busy", json!({}), "429 Too Many Requests. It is asked too often. It says: slow down"),
        ("gone.txt", json!({}), "404 Not Found. Check the address."),
        ("empty.txt", json!({}), "empty"),
        ("page.html", json!({}), "web page (HTML)"),
        ("list.txt", json!({ "ca": null }), "certificate"),
    ] {
        with(path, more);
        let failed = fetch(&admin, &own, "");
        let said = text(&failed, "error");
        assert!(failed["outcome"] == "failed" && said.contains(why), "{path}: {failed}");
        assert_eq!(
            admin.get(&format!("/api/v1/iocs?source_id={own}&limit=100"))["items"]
                .as_array()
                .unwrap()
                .len(),
            61
        );
    }
    // How long a server asks for is waited.
    with("busy", json!({ "paused": false }));
    let of = eventually("it was asked", || {
        let of = subscription(&admin, &own);
        (of["failures"] == 1).then_some(of)
    });
    let hour = |field: &str| text(&of, field)[11..13].parse::<i64>().unwrap();
    let waits = (hour("next_at") - hour("tried_at")).rem_euclid(24);
    assert!((2..=3).contains(&waits), "{of}");
}

/// A server that breaks its answer off in the middle for some times, and can go on from there.
fn cutting(body: Vec<u8>, times: usize, etag: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/list.txt", listener.local_addr().unwrap());
    let (asked, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&counted);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut from = 0;
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                }
                if line.is_empty() {
                    break;
                }
            }
            let rest = &body[from..];
            let status = if from > 0 {
                format!(
                    "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                    body.len() - 1,
                    body.len()
                )
            } else {
                "200 OK".to_owned()
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nETag: {etag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                rest.len()
            );
            let end = if asked.fetch_add(1, Ordering::SeqCst) < times {
                rest.len() / 2
            } else {
                rest.len()
            };
            // Who goes away is no fault here.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..end]));
        }
    });
    (url, counted)
}

fn a_body_that_breaks_off_is_resumed(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let body: String = (0..5_000).map(|at| format!("host-{at}.example\n")).collect();
    let (url, resumed) = cutting(body.clone().into_bytes(), 3, "\"one\"");
    subscribe(&admin, &own, json!({ "url": url, "paused": true }));
    let taken = fetch(&admin, &own, "");
    assert_eq!((&taken["outcome"], &taken["new"]), (&json!("taken"), &json!(5_000)), "{taken}");
    assert_eq!(taken["bytes"], body.len());
    assert_eq!(resumed.load(Ordering::SeqCst), 3);
    // Without a strong ETag nobody can say that it is the same body.
    let (url, resumed) = cutting(body.into_bytes(), 1, "W/\"one\"");
    subscribe(&admin, &own, json!({ "url": url, "paused": true }));
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("broke off"), "{failed}");
    assert_eq!(resumed.load(Ordering::SeqCst), 0);
}

/// A server of pages: at `/next` by a field, at `/cursor` by a parameter, at `/link` by a header, at
/// `/loop` always the same one.
fn paged() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines =
                BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let page = query.split('&').find_map(|pair| pair.strip_prefix("page="));
            let page: usize = page.map_or(1, |number| number.parse().unwrap());
            let more = page < 3;
            let (mut body, mut link) = (
                json!({ "data": [{ "value": format!("p{page}.example"), "type": "domain" }] }),
                String::new(),
            );
            match path {
                "/next" if more => {
                    body["meta"] = json!({ "next": format!("/next?page={}", page + 1) });
                }
                "/cursor" => body["cursor"] = if more { json!(page + 1) } else { Value::Null },
                "/loop" => body["meta"] = json!({ "next": "/loop" }),
                "/away" => body["meta"] = json!({ "next": "http://198.51.100.7/next" }),
                "/link" if more => {
                    link = format!(
                        "Link: <http://h/>; rel=\"help\"\r\nLink: </link?of=1,2&page={}>; rel=\"next\"\r\n",
                        page + 1
                    );
                }
                "/keyed" if !query.contains("key=river") => {
                    let _ = write!(stream, "HTTP/1.1 401 No key\r\nContent-Length: 0\r\n\r\n");
                    continue;
                }
                "/keyed" if more => {
                    body["meta"] = json!({ "next": format!("/keyed?page={}", page + 1) });
                }
                "/else" => link = "Link: <http://198.51.100.7/>; rel=next\r\n".to_owned(),
                _ => {}
            }
            let body = body.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{link}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    base
}

fn json_comes_in_pages(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let base = paged();
    let all = ["p1.example", "p2.example", "p3.example"];
    for (path, more) in [
        ("next", json!({ "next_field": "meta.next" })),
        ("cursor?all=1", json!({ "next_field": "cursor", "next_parameter": "page" })),
        ("link", json!({})),
        (
            "keyed",
            json!({ "next_field": "meta.next", "access": "query", "access_name": "key", "secret": "river" }),
        ),
    ] {
        let mut what =
            json!({ "url": format!("{base}/{path}"), "paused": true, "coverage": "full" });
        what.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        subscribe(&admin, &own, what);
        let taken = fetch(&admin, &own, "");
        assert_eq!(
            (&taken["listed"], &taken["error"]),
            (&json!(3), &Value::Null),
            "{path}: {taken}"
        );
        assert_eq!(fetch(&admin, &own, "")["outcome"], "unchanged", "{path}");
        settled(app, &plain.url, &all);
    }
    for (path, why) in [("loop", "the same page again"), ("away", "on another server")] {
        let what =
            json!({ "url": format!("{base}/{path}"), "paused": true, "next_field": "meta.next" });
        subscribe(&admin, &own, what);
        let failed = fetch(&admin, &own, "");
        assert!(text(&failed, "error").contains(why), "{failed}");
    }
    // A page that is cut off there would take away all that stands behind it.
    let what = json!({ "url": format!("{base}/else"), "paused": true, "coverage": "full" });
    subscribe(&admin, &own, what);
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("on another server"), "{failed}");
    settled(app, &plain.url, &all);
}

fn a_table_in_other_words(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    // Nobody could tell which of the names is bad.
    let table = "victim;angreifer;gesehen;stufe\ncorp.example;evil.example;2026-10-20;hoch\ncorp.example;bad.example;2026-10-21;3\n";
    fs::write(folder.path().join("table.csv"), table).unwrap();
    let columns = "victim = ignore\nAngreifer = domain\ngesehen = last_seen\n4 = severity";
    let what =
        json!({ "url": format!("{}/table.csv", site.url), "paused": true, "columns": columns });
    let made = subscribe(&admin, &own, what.clone());
    assert_eq!((&made["form"], &made["columns"]), (&json!("table"), &json!(columns)));
    // A try shows what comes of it, and writes nothing.
    let path = format!("/api/v1/sources/{own}/subscription/try");
    let tried = admin.post(&path, json!({}), 200);
    let preview = tried["preview"].as_array().unwrap();
    let row = |value: &str| preview.iter().find(|row| row["value"] == value).unwrap();
    assert_eq!(preview.len(), 2, "{tried}");
    assert_eq!(row("evil.example")["last_seen"], "2026-10-20T00:00:00.000000Z");
    assert_eq!(
        (&row("bad.example")["new"], &row("bad.example")["kind"]),
        (&json!(true), &json!("domain"))
    );
    assert_eq!(admin.get("/api/v1/iocs")["items"], json!([]));
    assert_eq!(fetch(&admin, &own, "")["new"], 2);
    assert_eq!(admin.get("/api/v1/iocs?value=corp.example")["items"], json!([]));
    // A column that its owner renamed is missed: victims would pass for indicators.
    let renamed = "opfer;angreifer;gesehen;stufe\ncorp.example;evil.example;2026-10-20;hoch\n";
    fs::write(folder.path().join("table.csv"), renamed).unwrap();
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("no column `victim`"), "{failed}");
    let refuse = |columns: &str, form: &str| {
        let mut body = what.clone();
        body["columns"] = json!(columns);
        body["form"] = json!(form);
        admin.put(&format!("/api/v1/sources/{own}/subscription"), body, 422).to_string()
    };
    assert!(refuse("a = colour", "auto").contains("nothing that a column holds"));
    assert!(refuse("a", "auto").contains("names no column"));
    assert!(refuse("a = value", "list").contains("Only a table has columns"));
}

fn a_folder_is_followed(app: &mut TestApp) {
    let folder = tempfile::tempdir().unwrap();
    let (feeds, secret) = (folder.path().join("feeds"), folder.path().join("secret"));
    fs::create_dir_all(feeds.join("more")).unwrap();
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("keys.txt"), "secret.example\n").unwrap();
    let allowed = feeds.to_str().unwrap().to_owned();
    app.reopen(|config| config.fetch_folders = allowed.clone());
    let admin = app.admin();
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    fs::write(feeds.join("a.txt"), "a.example\nb.example\n").unwrap();
    fs::write(feeds.join("more/c.csv"), "value,severity\nc.example,high\n").unwrap();
    fs::write(feeds.join("half.txt.tmp"), "half.example\n").unwrap();
    // A link leads out of the folder, and is not followed.
    std::os::unix::fs::symlink(secret.join("keys.txt"), feeds.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(&secret, feeds.join("linked")).unwrap();
    let url = |path: &Path| format!("file://{}", path.display());
    let what = json!({ "protocol": "folder", "url": url(&feeds), "paused": true });
    let made = subscribe(&admin, &own, what.clone());
    assert_eq!(made["coverage"], "full");
    let taken = fetch(&admin, &own, "");
    assert_eq!((&taken["new"], &taken["error"]), (&json!(3), &Value::Null), "{taken}");
    settled(app, &plain.url, &["a.example", "b.example", "c.example"]);
    assert_eq!(fetch(&admin, &own, "")["outcome"], "unchanged");
    // Files that are gone are reported no more; new ones are.
    fs::remove_file(feeds.join("a.txt")).unwrap();
    fs::rename(feeds.join("half.txt.tmp"), feeds.join("half.txt")).unwrap();
    let changed = fetch(&admin, &own, "");
    assert_eq!((&changed["new"], &changed["gone"]), (&json!(1), &json!(2)), "{changed}");
    settled(app, &plain.url, &["c.example", "half.example"]);
    // A page is one file among others; one that can't be read takes nothing away.
    fs::write(feeds.join("report.html"), "<html><body>hxxp://d[.]example/x</body></html>").unwrap();
    fetch(&admin, &own, "");
    let url_of_d = ["c.example", "half.example", "http://d.example/x"];
    settled(app, &plain.url, &url_of_d);
    fs::write(feeds.join("more/c.csv"), [0x1f, 0x8b, 8, 0, 1, 2, 3]).unwrap();
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("more/c.csv in the folder can't be read"), "{failed}");
    settled(app, &plain.url, &url_of_d);
    fs::write(feeds.join("more/c.csv"), "value,severity\nc.example,high\n").unwrap();
    fs::create_dir_all(feeds.join("1/2/3/4/5")).unwrap();
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("deeper than 4 folders"), "{failed}");
    fs::remove_dir_all(feeds.join("1")).unwrap();
    fs::remove_file(feeds.join("report.html")).unwrap();
    fetch(&admin, &own, "");
    // Other folders are refused, by name and by link.
    for wrong in [
        url(&secret),
        url(&feeds.join("../secret")),
        "file:///etc".to_owned(),
        "https://example.com/".to_owned(),
    ] {
        let mut body = what.clone();
        body["url"] = json!(wrong);
        admin.put(&format!("/api/v1/sources/{own}/subscription"), body, 422);
    }
    let mut linked = what.clone();
    linked["url"] = json!(url(&feeds.join("linked")));
    subscribe(&admin, &own, linked);
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("not allowed"), "{failed}");
    // A folder that is gone is a failure, and takes nothing away.
    subscribe(&admin, &own, what);
    fs::rename(&feeds, folder.path().join("away")).unwrap();
    let failed = fetch(&admin, &own, "");
    assert!(
        failed["outcome"] == "failed" && text(&failed, "error").contains("can't be read"),
        "{failed}"
    );
    settled(app, &plain.url, &["c.example", "half.example"]);
}

fn a_list_is_fetched_at_certain_times(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    fs::write(folder.path().join("list.txt"), "a.example\n").unwrap();
    let what = json!({ "url": format!("{}/list.txt", site.url), "cron": "30  6 * * *", "time_zone": "Europe/Berlin" });
    let made = subscribe(&admin, &own, what.clone());
    assert_eq!(
        (&made["cron"], &made["time_zone"]),
        (&json!("30 6 * * *"), &json!("Europe/Berlin"))
    );
    let of = eventually("the first fetch follows at once", || {
        let of = subscription(&admin, &own);
        (of["listed"] == 1 && of["ok_at"].is_string()).then_some(of)
    });
    // Half past six in Berlin is half past four or five in UTC; a minute spreads the fetches.
    let next = text(&of, "next_at");
    assert!(["T04:3", "T05:3"].iter().any(|time| next.contains(time)), "{next}");
    fs::write(folder.path().join("list.txt"), "a.example\nb.example\n").unwrap();
    app.advance(&admin, "25h");
    eventually("the clock brings the next one", || {
        (subscription(&admin, &own)["listed"] == 2).then_some(())
    });
    for (field, wrong) in [
        ("cron", json!("every day")),
        ("cron", json!("* * * * *")),
        ("time_zone", json!("Mars")),
        ("next_parameter", json!("cursor")),
    ] {
        let mut body = what.clone();
        body[field] = wrong;
        let said = admin.put(&format!("/api/v1/sources/{own}/subscription"), body, 422);
        assert!(said.to_string().contains(field), "{said}");
    }
}
