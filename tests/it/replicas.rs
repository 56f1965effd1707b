//! Several processes on one PostgreSQL, none of them special: what one knows all know, and devices
//! notice nothing when one is killed, stopped, restarted, or loses the database.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    crash::{Server, serve_with},
    kills::{kill, signal},
    support::{
        ADMIN, Admin, Device, Scene, allow_connections, eventually, postgres_database, psql_answer,
        text,
    },
};

/// Replicas of one installation.
pub(crate) struct Fleet {
    folder: TempDir,
    database: String,
    servers: Vec<Option<Server>>,
    password: String,
}

impl Fleet {
    fn of(replicas: &[&[(&str, &str)]]) -> Self {
        Self::on(postgres_database(), replicas)
    }

    pub(crate) fn on(database: String, replicas: &[&[(&str, &str)]]) -> Self {
        let mut fleet = Self {
            folder: TempDir::new().unwrap(),
            database,
            servers: Vec::new(),
            password: String::new(),
        };
        for settings in replicas {
            fleet.add(settings);
        }
        fleet
    }

    pub(crate) fn add(&mut self, settings: &[(&str, &str)]) {
        self.servers.push(None);
        self.start(self.servers.len() - 1, settings);
    }

    fn start(&mut self, i: usize, settings: &[(&str, &str)]) {
        let mut all = vec![
            ("DATABASE_URL", self.database.clone()),
            ("SECRETS_FILE", self.folder.path().join("secrets.json").to_str().unwrap().to_owned()),
        ];
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let server = serve_with(&self.folder.path().join(i.to_string()), &all);
        if let Some(password) = &server.password {
            self.password.clone_from(password);
        }
        self.servers[i] = Some(server);
    }

    fn kill(&mut self, i: usize) {
        kill(self.servers[i].take().unwrap());
    }

    fn server(&self, i: usize) -> &Server {
        self.servers[i].as_ref().unwrap()
    }

    pub(crate) fn admin(&self, i: usize) -> Admin {
        Admin::sign_in(&self.server(i).url, ADMIN, &self.password)
    }

    /// A group's URL at one replica.
    pub(crate) fn at(&self, i: usize, group_url: &str) -> String {
        let path = group_url.splitn(4, '/').last().unwrap();
        format!("{}/{path}", self.server(i).url)
    }

    pub(crate) fn ready(&self, i: usize) -> (u16, Value) {
        let answer =
            crate::support::send("GET", &format!("{}/api/v1/ready", self.server(i).url), &[], None);
        (answer.status, answer.json())
    }
}

/// A key for devices, made at a replica: its id, and who polls with it.
pub(crate) fn key(admin: &Admin) -> (String, Device) {
    let account = text(&admin.get("/api/v1/account"), "id");
    let made = admin.post("/api/v1/keys", json!({ "kind": "appliance" }), 201);
    (text(&made, "id"), Device::new(&account, &text(&made, "secret")))
}

/// Waits until a replica has heard of a new key.
fn knows(url: &str, device: &Device) {
    eventually("the key is known", || {
        (device.get(&format!("{url}/feeds/{}", uuid::Uuid::nil()), &[]).status == 404).then_some(())
    });
}

pub(crate) fn lists(fleet: &Fleet, i: usize, device: &Device, url: &str, wanted: &[&str]) {
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    knows(&fleet.server(i).url, device);
    eventually(&format!("replica {i} lists {wanted:?}"), || {
        let feed = device.feed(&fleet.at(i, url)).live();
        (feed.iter().map(String::as_str).collect::<BTreeSet<_>>() == wanted).then_some(())
    });
}

#[test]
fn what_one_replica_does_the_other_knows_within_a_second() {
    let fleet = Fleet::of(&[&[], &[]]);
    let (first, second) = (fleet.admin(0), fleet.admin(1));
    let scene = Scene::set(&first, None);
    let mut quick = 0;
    for _ in 0..5 {
        let (id, device) = key(&first);
        let url = format!("{}/manifest.json", fleet.at(1, &scene.url));
        eventually("the new key opens at the other replica", || {
            (device.get(&url, &[]).status == 200).then_some(())
        });
        first.delete(&format!("/api/v1/keys/{id}"), 204);
        let begun = Instant::now();
        let refused = eventually("the revoked key is refused there", || {
            Some(device.get(&url, &[])).filter(|a| a.status == 401)
        });
        assert!(refused.text().contains("revoked"), "{}", refused.text());
        quick += usize::from(begun.elapsed() < Duration::from_secs(1));
    }
    // A machine that is busy with other stories may be late now and then; a replica that does not
    // listen always is.
    assert!(quick >= 3, "only {quick} of 5 revocations were known within a second");
    // So is a key that went with its device.
    let elsewhere_id = text(
        &first.post("/api/v1/devices", json!({ "name": "Elsewhere", "device_type": "misp" }), 201),
        "id",
    );
    let made = first.post(&format!("/api/v1/devices/{elsewhere_id}/keys"), json!({}), 201);
    let device = Device::new(&text(&first.get("/api/v1/account"), "id"), &text(&made, "secret"));
    let own = text(
        &first.post(
            &format!("/api/v1/devices/{elsewhere_id}/groups"),
            json!({ "name": "Own", "limit": 100 }),
            201,
        ),
        "url",
    );
    eventually("its key opens its group there", || {
        (device.get(&format!("{}/manifest.json", fleet.at(1, &own)), &[]).status == 200)
            .then_some(())
    });
    // What a device is called is known there, too, and that a group is gone.
    first.patch(
        &format!("/api/v1/devices/{elsewhere_id}"),
        json!({ "name": "Somewhere else" }),
        200,
    );
    let page = || device.get(&fleet.at(1, &own), &[("accept", "text/html")]).text();
    eventually("the new name is on the group's page there", || {
        page().contains("device Somewhere else").then_some(())
    });
    let second_url = text(
        &first.post(
            &format!("/api/v1/devices/{elsewhere_id}/groups"),
            json!({ "name": "Second", "limit": 10 }),
            201,
        ),
        "url",
    );
    let status = || device.get(&format!("{}/manifest.json", fleet.at(1, &second_url)), &[]).status;
    eventually("its second group is served there", || (status() == 200).then_some(()));
    let second_group = second_url.rsplit('/').next().unwrap();
    first.delete(&format!("/api/v1/groups/{second_group}"), 204);
    eventually("its second group is gone there", || (status() == 404).then_some(()));
    first.delete(&format!("/api/v1/devices/{elsewhere_id}"), 204);
    eventually("its key opens nothing there", || {
        (device.get(&format!("{}/manifest.json", fleet.at(1, &scene.url)), &[]).status == 401)
            .then_some(())
    });
    // Sessions are shared: who signed in at one is known at the other, and who signs out is known
    // no more.
    let elsewhere = Admin { url: second.url.clone(), token: first.token.clone() };
    let (_, device) = key(&first);
    elsewhere.import(&scene.source, "text/plain", "shared.example", 200);
    lists(&fleet, 0, &device, &scene.url, &["shared.example"]);
    lists(&fleet, 1, &device, &scene.url, &["shared.example"]);
    first.delete("/api/v1/sessions/current", 204);
    assert_eq!(elsewhere.get_status("/api/v1/devices"), 401);
    // So are throttles: wrong passwords count wherever they were tried.
    let mut last = 0;
    for n in 0..40 {
        let url = &fleet.server(n % 2).url;
        let body = json!({ "email": ADMIN, "password": "wrong" }).to_string();
        last = crate::support::send(
            "POST",
            &format!("{url}/api/v1/sessions"),
            &[("content-type", "application/json")],
            Some(body.as_bytes()),
        )
        .status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
    let body = json!({ "email": ADMIN, "password": fleet.password }).to_string();
    for i in 0..2 {
        let url = format!("{}/api/v1/sessions", fleet.server(i).url);
        assert_eq!(
            crate::support::send(
                "POST",
                &url,
                &[("content-type", "application/json")],
                Some(body.as_bytes())
            )
            .status,
            429,
            "replica {i}"
        );
    }
}

#[test]
fn one_is_killed_and_one_is_stopped_and_continued() {
    let mut fleet = Fleet::of(&[&[], &[]]);
    let admin = fleet.admin(1);
    let scene = Scene::set(&admin, None);
    let (id, device) = key(&admin);
    admin.import(&scene.source, "text/plain", "a.example", 200);
    lists(&fleet, 0, &device, &scene.url, &["a.example"]);
    // Whatever the killed one was publishing, the other publishes.
    fleet.admin(0).import(&scene.source, "text/plain", "b.example", 200);
    fleet.kill(0);
    lists(&fleet, 1, &device, &scene.url, &["a.example", "b.example"]);
    fleet.start(0, &[]);
    lists(&fleet, 0, &device, &scene.url, &["a.example", "b.example"]);
    // The other sleeps through an import and a revocation, and knows both when it wakes.
    signal(fleet.server(1), "-STOP");
    let admin = fleet.admin(0);
    let (_, other) = key(&admin);
    admin.import(&scene.source, "text/plain", "c.example", 200);
    lists(&fleet, 0, &other, &scene.url, &["a.example", "b.example", "c.example"]);
    admin.delete(&format!("/api/v1/keys/{id}"), 204);
    signal(fleet.server(1), "-CONT");
    lists(&fleet, 1, &other, &scene.url, &["a.example", "b.example", "c.example"]);
    let url = format!("{}/manifest.json", fleet.at(1, &scene.url));
    eventually("the key is refused", || (device.get(&url, &[]).status == 401).then_some(()));
}

#[test]
fn one_that_stops_within_a_write_holds_nobody_up() {
    let fleet = Fleet::of(&[&[], &[]]);
    let (admin, of_stopped) = (fleet.admin(0), fleet.admin(1));
    let (id, device) = key(&admin);
    // A lock that somebody else holds makes sure that the replica is within a write as it stops.
    let mut other = Command::new("psql")
        .args([&fleet.database, "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sql = other.stdin.take().unwrap();
    sql.write_all(b"BEGIN;\nSELECT count(*) FROM (SELECT 1 FROM keys FOR UPDATE) k;\n").unwrap();
    let mut said = BufReader::new(other.stdout.take().unwrap()).lines();
    said.find(|line| line.as_ref().is_ok_and(|line| line.contains("row"))).unwrap().unwrap();
    let address = format!("/api/v1/keys/{id}");
    let first = {
        let address = address.clone();
        std::thread::spawn(move || of_stopped.send("DELETE", &address, &[], None).status)
    };
    eventually("it waits for the lock", || {
        let waiting = psql_answer(
            &fleet.database,
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        (waiting != "0").then_some(())
    });
    signal(fleet.server(1), "-STOP");
    sql.write_all(b"COMMIT;\n").unwrap();
    drop(sql);
    assert!(other.wait().unwrap().success());
    // The database ends the write that stands still, and the other replica goes on.
    admin.delete(&address, 204);
    signal(fleet.server(1), "-CONT");
    assert!([204, 404, 503].contains(&first.join().unwrap()));
    let url = format!("{}/feeds/{}", fleet.server(1).url, uuid::Uuid::nil());
    eventually("the key is refused", || (device.get(&url, &[]).status == 401).then_some(()));
}

#[test]
fn without_the_database_devices_get_what_was_published_last() {
    let token = "0123456789abcdef";
    let fleet = Fleet::of(&[&[("METRICS_TOKEN", token)], &[("WITHOUT_DATABASE_HOURS", "0")]]);
    let admin = fleet.admin(0);
    let scene = Scene::set(&admin, None);
    let (_, device) = key(&admin);
    admin.import(&scene.source, "text/plain", "a.example\nb.example", 200);
    let whole = ["a.example", "b.example"];
    let account = text(&admin.get("/api/v1/account"), "id");
    lists(&fleet, 0, &device, &scene.url, &whole);
    lists(&fleet, 1, &device, &scene.url, &whole);
    // Another group, which nobody asks for before the database is gone, and a collection of a TAXII
    // client.
    let group_of = |device_type: &str| {
        let made = admin.post(
            "/api/v1/devices",
            json!({ "name": format!("Another {device_type}"), "device_type": device_type }),
            201,
        );
        admin.post(
            &format!("/api/v1/devices/{}/groups", text(&made, "id")),
            json!({ "name": "Unasked" }),
            201,
        )
    };
    let (unasked, collection) = (text(&group_of("misp"), "url"), text(&group_of("taxii"), "id"));
    eventually("all files are in memory", || {
        let metrics = crate::support::send(
            "GET",
            &format!("{}/metrics", fleet.server(0).url),
            &[("authorization", &format!("Bearer {token}"))],
            None,
        )
        .text();
        let entries: f64 = metrics
            .lines()
            .find_map(|l| l.strip_prefix("iocast_cache_entries{of=\"bodies\"} "))?
            .trim()
            .parse()
            .ok()?;
        (entries >= 7.0).then_some(())
    });
    let manifest = format!("{}/manifest.json", fleet.at(0, &scene.url));
    let known = device.get(&manifest, &[]).header("etag").to_owned();
    assert_eq!(fleet.ready(0).1["status"], "ready");
    allow_connections(&fleet.database, false);
    // It says so, and stays with the load balancer, from the first moment on.
    eventually("it says that the database is away", || {
        let (status, told) = fleet.ready(0);
        assert_eq!(status, 200, "{told}");
        (told["status"] == "degraded" && told["database"] == false && told["feeds"] == "memory")
            .then_some(())
    });
    // Every file of the last publication is there, and none is empty.
    for _ in 0..5 {
        let answer = device.get(&manifest, &[("if-none-match", &known)]);
        assert_eq!(answer.status, 304);
        assert_eq!(device.feed(&fleet.at(0, &scene.url)).live(), whole);
    }
    assert_eq!(device.feed(&fleet.at(0, &unasked)).live(), whole, "what nobody asked for before");
    let objects =
        format!("{}/taxii2/{account}/collections/{collection}/objects/", fleet.server(0).url);
    let page = device.get(&objects, &[("accept", "application/taxii+json;version=2.1")]);
    assert!(
        page.status == 200 && page.text().contains("b.example"),
        "{} {}",
        page.status,
        page.text()
    );
    let nobody = Device::new("000000000000000000000000", "wrong");
    assert_eq!(nobody.get(&manifest, &[]).status, 401);
    // People are told, and nothing of theirs is half done.
    let refused = admin.send("GET", "/api/v1/devices", &[], None);
    assert!(
        refused.status == 503 && !refused.header("retry-after").is_empty(),
        "{} {}",
        refused.status,
        refused.text()
    );
    // The stated time of the other is over at once: 503, which makes devices keep what they have.
    let url = format!("{}/manifest.json", fleet.at(1, &scene.url));
    let stale = eventually("the other serves nobody any more", || {
        Some(device.get(&url, &[])).filter(|a| a.status != 200)
    });
    assert!(
        stale.status == 503 && stale.text().contains("no database"),
        "{} {}",
        stale.status,
        stale.text()
    );
    assert_eq!((fleet.ready(1).0, fleet.ready(1).1["feeds"].as_str()), (503, Some("unavailable")));
    // It comes back: all are served again, the pulls since are written, and work goes on.
    allow_connections(&fleet.database, true);
    for i in 0..2 {
        eventually("it is ready again", || (fleet.ready(i).1["status"] == "ready").then_some(()));
    }
    admin.import(&scene.source, "text/plain", "c.example", 200);
    for i in 0..2 {
        lists(&fleet, i, &device, &scene.url, &["a.example", "b.example", "c.example"]);
    }
    let pulls = || {
        admin.get(&format!("/api/v1/devices/{}/pulls", scene.device))["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["count"].as_u64().unwrap_or(1))
            .sum::<u64>()
    };
    eventually("the pulls since are in the history", || (pulls() >= 10).then_some(()));
}

#[test]
fn one_answers_and_another_works() {
    let mut fleet = Fleet::of(&[&[("ROLE", "web")], &[("ROLE", "worker")]]);
    assert_eq!(
        (fleet.ready(0).1["role"].clone(), fleet.ready(1).1["role"].clone()),
        (json!("web"), json!("worker"))
    );
    let admin = fleet.admin(0);
    // A new group is full when its creation is answered, whichever replica works.
    let scene = Scene::set(&admin, None);
    let (_, device) = key(&admin);
    admin.import(&scene.source, "text/plain", "a.example", 200);
    lists(&fleet, 0, &device, &scene.url, &["a.example"]);
    // The worker answers nobody but who asks for signs of life.
    let asked = device.get(&format!("{}/manifest.json", fleet.at(1, &scene.url)), &[]);
    assert!(
        asked.status == 404 && asked.text().contains("worker"),
        "{} {}",
        asked.status,
        asked.text()
    );
    // Without a worker nothing is published; with one again, what waited is.
    fleet.kill(1);
    admin.import(&scene.source, "text/plain", "b.example", 200);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(device.feed(&fleet.at(0, &scene.url)).live(), ["a.example"]);
    fleet.start(1, &[("ROLE", "worker")]);
    lists(&fleet, 0, &device, &scene.url, &["a.example", "b.example"]);
    // The bundled database has one process.
    let folder = TempDir::new().unwrap();
    let refused = Command::new(crate::shell::binary())
        .args(["serve", "--role", "web", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("needs PostgreSQL"), "{said}");
}

/// The example of the README: two replicas behind nginx.
struct Example {
    child: Child,
    folder: TempDir,
    url: String,
    password: String,
}

impl Example {
    fn run() -> Self {
        let folder = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(crate::edges::root().join("tests/replicas"))
            .env("DATA", folder.path())
            .env("LISTEN", format!("127.0.0.1:{port}"))
            .env("DATABASE_URL", postgres_database())
            .env("IOCAST", crate::shell::binary())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut example = Self {
            child,
            folder,
            url: format!("http://127.0.0.1:{port}"),
            password: String::new(),
        };
        for line in BufReader::new(example.child.stdout.take().unwrap()).lines().map(Result::unwrap)
        {
            if let Some(rest) = line.trim().strip_prefix("password") {
                rest.trim().clone_into(&mut example.password);
            }
            if line.starts_with("Replicas stand") {
                return example;
            }
        }
        panic!(
            "the example does not start: {}",
            std::fs::read_to_string(example.folder.path().join("replica-1.log"))
                .unwrap_or_default()
        );
    }

    fn process(&self, replica: u8) -> Option<String> {
        let id = std::fs::read_to_string(self.folder.path().join(format!("replica-{replica}.pid")))
            .ok()?;
        Some(id.trim().to_owned())
            .filter(|id| !id.is_empty() && Path::new("/proc").join(id).exists())
    }

    /// Ends a replica, and waits until it was started again and both answer.
    fn strike(&self, replica: u8, how: &str) {
        let before = self.process(replica).unwrap();
        assert!(Command::new("kill").args([how, &before]).status().unwrap().success());
        eventually("it is started again", || self.process(replica).filter(|id| *id != before));
        let log = || {
            std::fs::read_to_string(self.folder.path().join("nginx/error.log")).unwrap_or_default()
        };
        // nginx leaves it alone for a second; then both answer again.
        std::thread::sleep(Duration::from_millis(1_500));
        eventually("both answer", || {
            let before = log().len();
            let answers = (0..10).all(|_| {
                crate::support::send("GET", &format!("{}/api/v1/ready", self.url), &[], None).status
                    == 200
            });
            (answers && log().len() == before).then_some(())
        });
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Bodies that may be cut off in a story: a few, where servers are killed.
const BODIES_CUT_OFF: usize = 2;

/// A device that polls without pause, until it is asked how often it got what.
pub(crate) struct Poller {
    stop: Arc<AtomicBool>,
    polls: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Poller {
    pub(crate) fn start(device: Device, url: &str, wanted: &'static [u16]) -> Self {
        let (stop, polls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, url) =
            (Arc::clone(&stop), Arc::clone(&polls), format!("{url}/manifest.json"));
        let thread = std::thread::spawn(move || {
            let (mut wrong, mut cut_off) = (Vec::new(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let answer = match device.try_request("GET", &url, &[]) {
                    Ok(answer) => answer,
                    // A server that is killed in the middle of a body: nothing can take that back,
                    // and a device fetches it again.
                    Err(ureq::Error::Io(error))
                        if error.kind() == std::io::ErrorKind::UnexpectedEof
                            && cut_off < BODIES_CUT_OFF =>
                    {
                        cut_off += 1;
                        continue;
                    }
                    Err(error) => {
                        wrong.push(error.to_string());
                        continue;
                    }
                };
                let empty = answer.status == 200 && answer.json().as_object().unwrap().is_empty();
                if !wanted.contains(&answer.status) || empty {
                    wrong.push(format!("{} {}", answer.status, answer.text()));
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            wrong
        });
        Self { stop, polls, thread }
    }

    /// What it was told that no device should be, and how often it polled.
    pub(crate) fn stop(self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        (self.thread.join().unwrap(), self.polls.load(Ordering::Relaxed))
    }
}

#[test]
fn behind_nginx_devices_notice_neither_a_kill_nor_a_rolling_restart() {
    let mut example = Example::run();
    let admin = Admin::sign_in(&example.url, ADMIN, &example.password);
    let scene = Scene::set(&admin, None);
    assert!(
        scene.url.starts_with(&example.url),
        "devices are given nginx's address: {}",
        scene.url
    );
    let (_, device) = key(&admin);
    admin.import(&scene.source, "text/plain", "a.example", 200);
    scene.settled(&device, &["a.example"]);
    let (_, polling) = key(&admin);
    // The new key may still be on its way to the other replica.
    eventually("both know the key", || {
        (0..10)
            .all(|_| polling.get(&format!("{}/manifest.json", scene.url), &[]).status == 200)
            .then_some(())
    });
    let poller = Poller::start(polling, &scene.url, &[200]);
    example.strike(1, "-KILL");
    example.strike(2, "-KILL");
    // A rolling restart: one after the other is told to end, and answers what it was asked before.
    for replica in [1, 2] {
        example.strike(replica, "-TERM");
    }
    admin.import(&scene.source, "text/plain", "b.example", 200);
    scene.settled(&device, &["a.example", "b.example"]);
    let (wrong, polls) = poller.stop();
    let log =
        std::fs::read_to_string(example.folder.path().join("nginx/error.log")).unwrap_or_default();
    assert!(wrong.is_empty() && polls > 50, "{polls} polls, of which went wrong: {wrong:?}\n{log}");
    // One word ends it all.
    let replicas = [example.process(1).unwrap(), example.process(2).unwrap()];
    assert!(Command::new("kill").arg(example.child.id().to_string()).status().unwrap().success());
    eventually("the example ends", || example.child.try_wait().unwrap());
    assert!(
        replicas.iter().all(|id| !Path::new("/proc").join(id).exists()),
        "no replica is left behind"
    );
}
