//! Sources that follow what others serve: MISP feeds, TAXII collections, another iocast, an account of
//! Threat Command, and lists behind OAuth2 and client certificates.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    lists::{device, import, python, settled, source},
    support::{Admin, Engine, TestApp, basic, eventually, send, stories, text},
};

stories!(
    a_misp_feed_is_followed,
    a_feed_that_is_being_written_is_followed,
    another_iocast_is_followed_as_a_misp_feed,
    another_iocast_is_followed_by_taxii,
    a_taxii_server_is_followed_page_by_page,
    an_account_of_the_original_is_followed,
    a_list_behind_oauth2_and_client_certificates,
    only_what_a_source_takes_comes_in,
);

/// A folder that is served as it is, and what was asked of it.
pub(crate) struct Site {
    pub(crate) url: String,
    folder: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(crate) fn serve(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Self { url, folder: folder.to_owned(), asked: Arc::default() };
        let (folder, asked) = (site.folder.clone(), Arc::clone(&site.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no fault here.
                let _ = answer(stream, &folder, &asked);
            }
        });
        site
    }

    /// The paths that were asked for since this was last called.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(mut stream: TcpStream, folder: &Path, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let body = fs::read(folder.join(&path));
    asked.lock().unwrap().push(path);
    let status = if body.is_ok() { "200 OK" } else { "404 Not Found" };
    let body = body.unwrap_or_default();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

pub(crate) fn open(app: &mut TestApp) -> Admin {
    app.reopen(|config| config.fetch_networks = "127.0.0.0/8".to_owned());
    app.admin()
}

pub(crate) fn subscribe(admin: &Admin, source: &str, what: Value) -> Value {
    admin.put(&format!("/api/v1/sources/{source}/subscription"), what, 200)
}

pub(crate) fn subscription(admin: &Admin, source: &str) -> Value {
    admin.get(&format!("/api/v1/sources/{source}/subscription"))
}

/// Fetches now, whatever is under way.
pub(crate) fn fetch(admin: &Admin, source: &str, query: &str) -> Value {
    let path = format!("/api/v1/sources/{source}/subscription/fetch{query}");
    eventually("nobody else fetches", || {
        let answer =
            admin.send("POST", &path, &[("content-type", "application/json")], Some(b"{}"));
        (answer.status != 409).then(|| answer.json())
    })
}

const FIRST: &str = "5f0b5c4e-0000-4000-8000-000000000001";
const SECOND: &str = "5f0b5c4e-0000-4000-8000-000000000002";

pub(crate) fn event(uuid: &str, stamp: u32, attributes: &Value) -> Value {
    json!({ "uuid": uuid, "info": "Campaign", "date": "2026-11-01", "timestamp": stamp,
        "tags": ["tlp:green", "misp-galaxy:threat-actor=\"APT Test\""], "attributes": attributes })
}

pub(crate) fn write_feed(folder: &Path, events: &Value) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/misp_feed.py");
    python(&[script, folder.to_str().unwrap()], &events.to_string());
}

fn a_misp_feed_is_followed(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    let one = json!([["domain", "a.example"], ["ip-dst", "192.0.2.1"], ["domain", "both.example"]]);
    let two = json!([["url", "http://b.example/x"], ["domain", "both.example"]]);
    write_feed(folder.path(), &json!([event(FIRST, 1_000, &one), event(SECOND, 1_000, &two)]));
    let made = subscribe(
        &admin,
        &own,
        json!({ "protocol": "misp_feed", "url": site.url, "paused": true }),
    );
    assert_eq!((&made["coverage"], &made["protocol"]), (&json!("full"), &json!("misp_feed")));
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["new"], &first["listed"]), (&json!(4), &json!(4)), "{first}");
    settled(app, &plain.url, &["a.example", "192.0.2.1", "both.example", "http://b.example/x"]);
    let ioc = admin.ioc("a.example");
    assert_eq!(ioc["threat_actors"], json!(["APT Test"]), "{ioc}");
    assert_eq!(site.asked().len(), 3);
    // Nothing changed: no event is asked for.
    let same = fetch(&admin, &own, "");
    assert_eq!((&same["outcome"], &same["listed"]), (&json!("unchanged"), &json!(4)), "{same}");
    assert_eq!(site.asked(), ["manifest.json"]);
    // One event changed: only that one is, and what is gone from it leaves unless it stands in
    // another one.
    let one = json!([["domain", "a.example"], ["domain", "c.example"]]);
    write_feed(folder.path(), &json!([event(FIRST, 2_000, &one), event(SECOND, 1_000, &two)]));
    let edited = fetch(&admin, &own, "");
    let counts = ["new", "changed", "gone", "listed"].map(|field| edited[field].as_u64().unwrap());
    assert_eq!(counts, [1, 0, 1, 4], "{edited}");
    assert_eq!(site.asked(), ["manifest.json".to_owned(), format!("{FIRST}.json")]);
    settled(app, &plain.url, &["a.example", "c.example", "both.example", "http://b.example/x"]);
    // An event that is gone takes with it what no other one holds.
    write_feed(folder.path(), &json!([event(FIRST, 2_000, &one)]));
    let deleted = fetch(&admin, &own, "");
    assert_eq!((&deleted["gone"], &deleted["listed"]), (&json!(2), &json!(2)), "{deleted}");
    settled(app, &plain.url, &["a.example", "c.example"]);
    // What an undo takes out is fetched again once a person wants it.
    let undo = format!("/api/v1/imports/{}/undo", text(&first, "import_id"));
    admin.post(&undo, json!({}), 200);
    assert_eq!(fetch(&admin, &own, "")["listed"], 2);
    settled(app, &plain.url, &["a.example", "c.example"]);
    assert!(site.asked().contains(&format!("{FIRST}.json")));
}

fn a_feed_that_is_being_written_is_followed(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    let events = |stamp: u32| {
        let id = |n: u32| format!("5f0b5c4e-0000-4000-8000-{n:012}");
        let one = |n: u32| event(&id(n), stamp, &json!([["domain", format!("h{n}.example")]]));
        Value::from((0..30).map(one).collect::<Vec<_>>())
    };
    let names: Vec<String> = (0..30).map(|n| format!("h{n}.example")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    write_feed(folder.path(), &events(1_000));
    // One event is not there yet: the others are taken, and it is asked for again.
    let late = folder.path().join("5f0b5c4e-0000-4000-8000-000000000007.json");
    let body = fs::read(&late).unwrap();
    fs::remove_file(&late).unwrap();
    subscribe(
        &admin,
        &own,
        json!({ "protocol": "misp_feed", "url": format!("{}/manifest.json", site.url), "paused": true }),
    );
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["outcome"], &first["new"]), (&json!("taken"), &json!(29)), "{first}");
    assert!(text(&first, "error").contains("1 event could not be read"), "{first}");
    fs::write(&late, &body).unwrap();
    assert_eq!(fetch(&admin, &own, "")["new"], 1);
    settled(app, &plain.url, &all);
    assert_eq!(subscription(&admin, &own)["error"], Value::Null);
    // An answer that is no feed, and one that lost more than half, change nothing.
    let manifest = fs::read(folder.path().join("manifest.json")).unwrap();
    let ten: Value = events(1_000).as_array().unwrap()[..10].to_vec().into();
    for (bytes, why) in [
        (b"<html>Sign in</html>".to_vec(), "no manifest of a MISP feed"),
        (manifest[..manifest.len() / 2].to_vec(), "no manifest of a MISP feed"),
        (b"[]".to_vec(), "lost more than half"),
    ] {
        fs::write(folder.path().join("manifest.json"), bytes).unwrap();
        let failed = fetch(&admin, &own, "");
        assert_eq!(failed["outcome"], "failed", "{why}: {failed}");
        assert!(text(&failed, "error").contains(why), "{why}: {failed}");
    }
    write_feed(folder.path(), &ten);
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("lost more than half"), "{failed}");
    settled(app, &plain.url, &all);
    let accepted = fetch(&admin, &own, "?accept_loss=true");
    assert_eq!(
        (&accepted["outcome"], &accepted["gone"]),
        (&json!("taken"), &json!(20)),
        "{accepted}"
    );
    // The devices' own guard holds such a loss, until a person lets it go.
    settled(app, &plain.url, &all);
    assert_eq!(admin.ioc("h20.example")["state"], "retired");
}

/// Another iocast, with a device of a type that holds some domains.
fn other(of_type: &'static str, values: &[&str]) -> (TestApp, Admin, String, crate::lists::Pulled) {
    let other = TestApp::open(Engine::Sqlite);
    let admin = other.admin();
    let own = source(&admin);
    import(&admin, &own, values);
    let of = device(&admin, of_type, json!({}));
    (other, admin, own, of)
}

fn never_sent(admin: &Admin, value: &str) {
    let id = text(&admin.ioc(value), "id");
    admin.patch(&format!("/api/v1/iocs/{id}"), json!({ "whitelist": "never_sent" }), 200);
}

fn another_iocast_is_followed_as_a_misp_feed(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let (other, theirs, their_source, misp) =
        other("misp", &["a.example", "b.example", "c.example"]);
    eventually("the other has published", || {
        (theirs.get(&format!("/api/v1/groups/{}", misp.group))["published"] == 3).then_some(())
    });
    subscribe(
        &admin,
        &own,
        json!({
            "protocol": "misp_feed", "url": misp.url, "access": "basic", "every_minutes": 60, "paused": true,
            "access_name": other.account_id, "secret": other.appliance_key,
        }),
    );
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["outcome"], &first["new"]), (&json!("taken"), &json!(3)), "{first}");
    settled(app, &plain.url, &["a.example", "b.example", "c.example"]);
    // What is withdrawn at the first is gone from the devices of the second after its next fetch.
    never_sent(&theirs, "b.example");
    import(&theirs, &their_source, &["d.example"]);
    eventually("the withdrawal and the newcomer come", || {
        fetch(&admin, &own, "");
        let gone = admin.ioc("b.example")["state"] == "retired";
        (gone && admin.get("/api/v1/iocs?value=d.example")["items"] != json!([])).then_some(())
    });
    settled(app, &plain.url, &["a.example", "c.example", "d.example"]);
    // The first knows what the second has.
    eventually("the receipts of the second are complete", || {
        fetch(&admin, &own, "");
        let group = theirs.get(&format!("/api/v1/groups/{}", misp.group));
        (group["protection"][0]["state"] == "complete").then_some(())
    });
}

fn another_iocast_is_followed_by_taxii(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    for (of_type, folder) in [("taxii", "taxii2"), ("azure-sentinel", "taxii")] {
        let (other, theirs, their_source, of) = other(of_type, &["a.example", "b.example"]);
        let url = format!("{}/{folder}/{}/collections/{}/", other.url, other.account_id, of.group);
        eventually("the other has published", || {
            (theirs.get(&format!("/api/v1/groups/{}", of.group))["published"] == 2).then_some(())
        });
        subscribe(
            &admin,
            &own,
            json!({
                "protocol": "taxii", "url": url, "access": "basic", "paused": true,
                "access_name": other.account_id, "secret": other.appliance_key,
            }),
        );
        let first = fetch(&admin, &own, "");
        assert_eq!((&first["outcome"], &first["listed"]), (&json!("taken"), &json!(2)), "{first}");
        settled(app, &plain.url, &["a.example", "b.example"]);
        assert_eq!(fetch(&admin, &own, "")["outcome"], "unchanged");
        import(&theirs, &their_source, &["c.example"]);
        never_sent(&theirs, "b.example");
        eventually("the newcomer comes, and what was withdrawn goes", || {
            let done = fetch(&admin, &own, "");
            assert_ne!(done["outcome"], "failed", "{done}");
            let gone = admin.ioc("b.example")["state"] == "retired";
            (gone && done["listed"] == 2).then_some(())
        });
        settled(app, &plain.url, &["a.example", "c.example"]);
    }
}

/// A program that the test talks to until it ends.
pub(crate) struct Running(Child, pub(crate) Value);

impl Running {
    pub(crate) fn start(script: &str, args: &[&str]) -> Self {
        let mut child = Command::new(std::env::var("IOCAST_PYTHON").expect("IOCAST_PYTHON"))
            .arg(format!("{}/python/{script}", env!("CARGO_MANIFEST_DIR")))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        Self(child, serde_json::from_str(&said).expect(&said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn indicator(n: u32, value: &str, modified: &str) -> Value {
    json!({ "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{n:012}"),
        "created": "2026-11-01T00:00:00.000Z", "modified": modified, "valid_from": "2026-11-01T00:00:00Z",
        "pattern_type": "stix", "pattern": format!("[domain-name:value = '{value}']") })
}

/// The collection of a TAXII server.
pub(crate) fn collection(server: &Running) -> String {
    format!(
        "http://127.0.0.1:{}/root/collections/{}/",
        server.1["port"],
        text(&server.1, "collection")
    )
}

/// A subscription to it.
pub(crate) fn taxii_access(server: &Running) -> Value {
    json!({ "protocol": "taxii", "url": collection(server), "access": "basic", "paused": true,
        "access_name": "reader", "secret": "lamp river seven" })
}

/// Adds objects to it.
pub(crate) fn add_objects(server: &Running, objects: &Value) {
    let headers = [
        ("authorization", basic("reader", "lamp river seven")),
        ("content-type", "application/taxii+json;version=2.1".to_owned()),
        ("accept", "application/taxii+json;version=2.1".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let body = json!({ "objects": objects }).to_string();
    let url = format!("{}objects/", collection(server));
    let answer = send("POST", &url, &headers, Some(body.as_bytes()));
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn a_taxii_server_is_followed_page_by_page(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let server = Running::start("taxii_server.py", &[]);
    let url = collection(&server);
    let add = |objects: Value| add_objects(&server, &objects);
    let since = "2026-11-01T00:00:00.000Z";
    add((0..5).map(|n| indicator(n, &format!("h{n}.example"), since)).collect());
    subscribe(&admin, &own, taxii_access(&server));
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["outcome"], &first["new"]), (&json!("taken"), &json!(5)), "{first}");
    settled(
        app,
        &plain.url,
        &["h0.example", "h1.example", "h2.example", "h3.example", "h4.example"],
    );
    // One is new, one is taken back; the others are not sent again, and stay.
    let later = "2026-11-02T00:00:00.000Z";
    let mut revoked = indicator(1, "h1.example", later);
    revoked["revoked"] = json!(true);
    add(json!([indicator(5, "h5.example", later), revoked]));
    let second = fetch(&admin, &own, "");
    let counts = ["new", "gone", "listed"].map(|field| second[field].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 5], "{second}");
    settled(
        app,
        &plain.url,
        &["h0.example", "h2.example", "h3.example", "h4.example", "h5.example"],
    );
    // A wrong address is told from an empty collection.
    subscribe(
        &admin,
        &own,
        json!({ "protocol": "taxii", "url": format!("{}x/", url.trim_end_matches('/')), "access": "basic",
        "access_name": "reader", "paused": true, "secret": "lamp river seven" }),
    );
    let failed = fetch(&admin, &own, "");
    assert!(text(&failed, "error").contains("Give the address of a collection"), "{failed}");
}

fn an_account_of_the_original_is_followed(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let original = TestApp::open(Engine::Sqlite);
    let theirs = original.admin();
    let their_source = source(&theirs);
    let iocs = json!([
        { "value": "a.example", "severity": "high", "malware_families": ["Redtail"] },
        { "value": "b.example" },
    ]);
    theirs.import(&their_source, "application/json", &iocs.to_string(), 200);
    let key = theirs.post("/api/v1/keys", json!({ "kind": "api" }), 201);
    subscribe(
        &admin,
        &own,
        json!({
            "protocol": "threat_command", "url": original.url, "access": "basic", "paused": true,
            "access_name": original.account_id, "secret": text(&key, "secret"),
        }),
    );
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["outcome"], &first["new"]), (&json!("taken"), &json!(2)), "{first}");
    settled(app, &plain.url, &["a.example", "b.example"]);
    let ioc = admin.ioc("a.example");
    assert_eq!(ioc["severity"], "high", "{ioc}");
    assert_eq!(ioc["malware_families"].as_array().unwrap().len(), 1, "{ioc}");
    // Whitelisted there, it leaves the devices here.
    never_sent(&theirs, "b.example");
    import(&theirs, &their_source, &["c.example"]);
    let second = fetch(&admin, &own, "");
    assert_eq!((&second["new"], &second["gone"]), (&json!(1), &json!(1)), "{second}");
    settled(app, &plain.url, &["a.example", "c.example"]);
}

/// A certificate for 127.0.0.1, signed by itself.
pub(crate) fn certificate(folder: &Path, name: &str) -> (String, String) {
    let (key, pem) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let done = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-days", "2", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-subj", &format!("/CN={name}")])
        .args([Path::new("-keyout"), &key, Path::new("-out"), &pem])
        .output()
        .expect("openssl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (fs::read_to_string(pem).unwrap(), fs::read_to_string(key).unwrap())
}

fn a_list_behind_oauth2_and_client_certificates(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let (authority, _) = certificate(folder.path(), "server");
    let (shown, key) = certificate(folder.path(), "client");
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let server = Running::start(
        "secure_list.py",
        &[&at("server.pem"), &at("server.key"), &at("client.pem")],
    );
    let base = format!("https://127.0.0.1:{}", server.1["port"]);
    let whole = json!({
        "url": format!("{base}/list.txt"), "paused": true, "access": "oauth2", "access_name": "iocast",
        "secret": "lamp river seven", "token_url": format!("{base}/token"), "scope": "lists.read",
        "ca": authority, "certificate": shown, "certificate_key": key,
    });
    let with = |name: &str, value: Value| {
        let mut body = whole.clone();
        body[name] = value;
        body
    };
    let made = subscribe(&admin, &own, whole.clone());
    assert!(
        !made.to_string().contains("PRIVATE KEY") && !made.to_string().contains("river"),
        "{made}"
    );
    let taken = fetch(&admin, &own, "");
    assert_eq!((&taken["outcome"], &taken["new"]), (&json!("taken"), &json!(1)), "{taken}");
    // Each of them is asked for, and no secret comes back.
    for (name, value, why) in [
        ("ca", Value::Null, "certificate"),
        ("certificate", Value::Null, "could not be reached"),
        ("secret", json!("other river"), "No token was given: The server answered 401"),
        ("scope", Value::Null, "No token was given"),
    ] {
        subscribe(&admin, &own, with(name, value));
        let failed = fetch(&admin, &own, "");
        let said = text(&failed, "error");
        assert!(said.contains(why) && !said.contains("river"), "{name}: {failed}");
    }
    // The key stays for the same server where none is given, and goes to no other one.
    subscribe(&admin, &own, whole.clone());
    subscribe(&admin, &own, with("certificate_key", Value::Null));
    assert_eq!(fetch(&admin, &own, "")["outcome"], "unchanged");
    let mut elsewhere = with("certificate_key", Value::Null);
    elsewhere["url"] = json!("https://198.51.100.1/list.txt");
    admin.put(&format!("/api/v1/sources/{own}/subscription"), elsewhere, 422);
    for (name, value) in [
        ("ca", json!("no certificate")),
        ("certificate", json!(authority)),
        ("certificate_key", json!("no key")),
        ("token_url", Value::Null),
        ("access_name", json!("")),
    ] {
        admin.put(&format!("/api/v1/sources/{own}/subscription"), with(name, value), 422);
    }
}

fn only_what_a_source_takes_comes_in(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    let list = json!([
        { "value": "green.example", "system_tags": ["tlp:green", "phishing"], "last_seen": "2026-11-02T00:00:00Z" },
        { "value": "red.example", "system_tags": ["tlp:red", "phishing"] },
        { "value": "other.example", "system_tags": ["spam"] },
        { "value": "old.example", "system_tags": ["phishing"], "first_seen": "2026-10-01T00:00:00Z", "last_seen": "2026-10-20T00:00:00Z" },
        { "value": "192.0.2.1", "system_tags": ["phishing"] },
    ]);
    fs::write(folder.path().join("list.json"), list.to_string()).unwrap();
    let whole = json!({ "url": format!("{}/list.json", site.url), "paused": true, "coverage": "full",
        "kinds": ["domain"], "only_tags": ["Phishing"], "tlp_most": "green", "max_age_days": 7, "tags": ["feed:test"] });
    let made = subscribe(&admin, &own, whole.clone());
    assert_eq!((&made["tlp_most"], &made["kinds"]), (&json!("green"), &json!(["domain"])));
    let taken = fetch(&admin, &own, "");
    assert_eq!((&taken["new"], &taken["listed"]), (&json!(1), &json!(1)), "{taken}");
    let tags = admin.ioc("green.example")["system_tags"].to_string();
    assert!(tags.contains("feed:test") && tags.contains("phishing"), "{tags}");
    // With a wider filter, what was left out comes.
    let mut wider = whole.clone();
    wider["kinds"] = json!([]);
    subscribe(&admin, &own, wider);
    assert_eq!(fetch(&admin, &own, "")["listed"], 2);
    for (name, wrong) in [
        ("kinds", json!(["car"])),
        ("tlp_most", json!("blue")),
        ("max_age_days", json!(0)),
        ("tags", json!(["x".repeat(101)])),
        ("protocol", json!("gopher")),
    ] {
        let mut body = whole.clone();
        body[name] = wrong;
        admin.put(&format!("/api/v1/sources/{own}/subscription"), body, 422);
    }
}
