//! Databases that earlier versions wrote: each is opened by this one, and nothing of it is lost.
//!
//! `tests/databases/DATE` holds one account as that day's code left it on each engine, with the
//! secrets of its data folder and what a client of it knows (`known.json`). `write` makes such a
//! folder with the current code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    lists::device,
    properties::Receiver,
    support::{Device, Engine, Feed, Scene, TestApp, eventually, rounds, text},
};

/// Spellings that iocast took as they were until this day, with the one that they mean.
pub(crate) const SPELLINGS: &[(&str, &str)] = &[
    ("http://evil7.example/z", "http://evil7.example/z"),
    ("http://EVIL7.example/z", "http://evil7.example/z"),
    ("HTTP://evil7.example/z", "http://evil7.example/z"),
    ("http://evil7.example:80/z", "http://evil7.example/z"),
    ("http://evil8.example./x", "http://evil8.example/x"),
    ("https://WWW.Evil9.Example/Path?Q=1", "https://www.evil9.example/Path?Q=1"),
    ("http://1572395042/", "http://93.184.216.34/"),
    ("http://0x5db8d822/hex", "http://93.184.216.34/hex"),
    ("203.0.113.7", "203.0.113.7"),
    ("::ffff:203.0.113.7", "203.0.113.7"),
    ("::ffff:203.0.113.8", "203.0.113.8"),
    ("http://Withdrawn.example/a", "http://withdrawn.example/a"),
    ("http://withdrawn.example/a", "http://withdrawn.example/a"),
    ("http://Always.example/a", "http://always.example/a"),
    ("http://always.example/a", "http://always.example/a"),
    ("http://Half.example/a", "http://half.example/a"),
    ("http://half.example/a", "http://half.example/a"),
];

/// Addresses beside them that always had one spelling.
const ALIKE: usize = 40;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("databases")
}

/// Lives through what a database can hold: sent events, tombstones, a held and a frozen group,
/// outages, keys.
fn live(app: &mut TestApp) -> Value {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let other = text(
        &admin.post("/api/v1/sources", json!({ "name": "Other feed", "confidence": 3 }), 201),
        "id",
    );
    let plain = device(&admin, "hosts", json!({}));
    let table = device(&admin, "csv", json!({}));
    let urls = device(&admin, "panos-edl", json!({ "kind": "url" }));
    let taxii = device(&admin, "taxii", json!({}));
    let published = |group: &str, count: u64| {
        eventually(&format!("{group} holds {count}"), || {
            let found = admin.get(&format!("/api/v1/groups/{group}"));
            (found["published"] == count).then(|| found["publication"].as_i64().unwrap())
        })
    };
    // Mapped addresses were taken for private ones.
    admin.patch("/api/v1/account/guards", json!({ "off": ["private_address"] }), 200);
    let all: Vec<&str> = SPELLINGS.iter().map(|(value, _)| *value).collect();
    let others: Vec<String> = (1..=ALIKE).map(|i| format!("192.0.2.{i}")).collect();
    let count = (all.len() + others.len()) as u64;
    admin.import(
        &scene.source,
        "text/plain",
        &format!("{}\n{}", all.join("\n"), others.join("\n")),
        200,
    );
    published(&scene.group, count);
    let first = published(&table.group, count);
    admin.post(
        &format!("/api/v1/groups/{}/freeze", table.group),
        json!({ "publication": first }),
        200,
    );
    let ioc = |value: &str| {
        let list = admin
            .get(&format!("/api/v1/iocs?prefix={}", value.replace(':', "%3A").replace('/', "%2F")));
        let found = list["items"].as_array().unwrap().iter().find(|i| i["value"] == value).cloned();
        text(&found.unwrap_or_else(|| panic!("{value} in {list}")), "id")
    };
    admin.patch(
        &format!("/api/v1/iocs/{}", ioc("http://Withdrawn.example/a")),
        json!({ "whitelist": "never_sent" }),
        200,
    );
    for always in ["http://Always.example/a", "http://always.example/a", "http://half.example/a"] {
        admin.patch(
            &format!("/api/v1/iocs/{}", ioc(always)),
            json!({ "whitelist": "always_sent" }),
            200,
        );
    }
    admin.patch(
        &format!("/api/v1/iocs/{}", ioc("http://EVIL7.example/z")),
        json!({ "severity": "high", "user_tags": ["from the capital twin"] }),
        200,
    );
    published(&scene.group, count - 1);
    let device_key = admin.post(&format!("/api/v1/devices/{}/keys", scene.device), json!({}), 201);
    let misp = Device::new(&app.account_id, &text(&device_key, "secret"));
    misp.feed(&scene.url);
    misp.feed(&scene.url);
    app.advance(&admin, "50h");
    eventually("the outage is noticed", || {
        (!admin.get("/api/v1/outages")["items"].as_array().unwrap().is_empty()).then_some(())
    });
    misp.feed(&scene.url);
    eventually("the outage ends", || (admin.dot(&scene.device).0 == "green").then_some(()));
    app.advance(&admin, "49h");
    let many: Vec<String> = (0..30).map(|i| format!("host{i}.example")).collect();
    admin.import(&other, "text/plain", &many.join("\n"), 200);
    published(&scene.group, count - 1 + 30);
    admin.delete(&format!("/api/v1/iocs/{}", ioc("host0.example")), 204);
    published(&scene.group, count - 1 + 29);
    published(&urls.group, all.iter().filter(|value| value.contains("://")).count() as u64 - 1);
    published(&taxii.group, count - 1 + 29);
    published(&plain.group, 29);
    admin.patch(&format!("/api/v1/devices/{}", plain.device), json!({ "paused": true }), 200);
    misp.feed(&scene.url);
    // The source of all that the plain list holds goes: the list is held.
    admin.patch(&format!("/api/v1/sources/{other}"), json!({ "enabled": false }), 200);
    eventually("the list is held", || {
        admin.get(&format!("/api/v1/groups/{}", plain.group))["held"].is_object().then_some(())
    });
    published(&scene.group, count - 1);
    let api_key = admin.post("/api/v1/keys", json!({ "kind": "api" }), 201);
    let id = text(
        admin.get("/api/v1/keys")["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|k| k["kind"] == "appliance")
            .unwrap(),
        "id",
    );
    let appliance = admin.post(&format!("/api/v1/keys/{id}/rotate"), json!({}), 201);
    admin.post("/api/v1/users", json!({ "email": "analyst@example.com", "role": "analyst" }), 201);
    let feed = misp.feed(&scene.url);
    let held = admin.get(&format!("/api/v1/groups/{}", plain.group))["held"].clone();
    let served: Value = [("hosts", &plain), ("csv", &table), ("panos-edl", &urls)]
        .into_iter()
        .map(|(name, of)| (name.to_owned(), json!({ "group": of.group, "device": of.device, "body": misp_body(app, &of.url, &text(&appliance, "secret")) })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "password": app.password,
        "account": app.account_id,
        "appliance_key": text(&appliance, "secret"),
        "old_appliance_key": app.appliance_key,
        "device_key": text(&device_key, "secret"),
        "api_key": text(&api_key, "secret"),
        "misp": { "device": scene.device, "group": scene.group, "manifest": feed.manifest, "events": feed.events },
        "lists": served,
        "taxii": { "device": taxii.device, "group": taxii.group },
        "sources": { "own": scene.source, "other": other },
        "held": held,
        "outages": admin.get("/api/v1/outages")["items"].as_array().unwrap().len(),
    })
}

fn misp_body(app: &TestApp, url: &str, key: &str) -> String {
    Device::new(&app.account_id, key).get(url, &[("accept", "*/*")]).text()
}

fn zip(bytes: &[u8], to: &Path) {
    let mut out = GzEncoder::new(fs::File::create(to).unwrap(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap();
}

fn unzip(from: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(from).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// A app on a copy of what an earlier version wrote, and what its clients know.
pub(crate) fn open(engine: Engine, day: &str, change: impl FnOnce(&TestApp)) -> (TestApp, Value) {
    let (mut app, known) = prepared(engine, day);
    change(&app);
    app.restart();
    (app, known)
}

/// The same, not started yet.
fn prepared(engine: Engine, day: &str) -> (TestApp, Value) {
    let name = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgres => "postgres",
    };
    let from = folder().join(day).join(name);
    let known: Value = serde_json::from_slice(&fs::read(from.join("known.json")).unwrap()).unwrap();
    let mut app = TestApp::with_data(engine, |data, database| {
        fs::create_dir_all(data).unwrap();
        fs::copy(from.join("secrets.json"), data.join("secrets.json")).unwrap();
        let bytes = unzip(&from.join("database.gz"));
        match database {
            None => fs::write(data.join("iocast.sqlite"), bytes).unwrap(),
            Some(url) => {
                let file = data.join("dump.sql");
                fs::write(&file, bytes).unwrap();
                let done = Command::new("psql")
                    .args(["-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f"])
                    .arg(&file)
                    .arg(url)
                    .output()
                    .unwrap();
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            }
        }
    });
    app.password = text(&known, "password");
    app.account_id = text(&known, "account");
    app.appliance_key = text(&known, "appliance_key");
    (app, known)
}

/// Every folder of a day, oldest first.
pub(crate) fn days() -> Vec<String> {
    let mut days: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    days.sort();
    days
}

fn is_as_it_was(app: &TestApp, known: &Value) {
    let admin = app.admin();
    let key = |name: &str| Device::new(&app.account_id, &text(known, name));
    for (name, of) in known["lists"].as_object().unwrap() {
        let answer = key("appliance_key")
            .get(&format!("{}/feeds/{}", app.url, text(of, "group")), &[("accept", "*/*")]);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    let plain = &known["lists"]["hosts"];
    assert_eq!(
        misp_body(app, &format!("{}/feeds/{}", app.url, text(plain, "group")), &app.appliance_key),
        text(plain, "body"),
        "held"
    );
    assert_eq!(
        admin.get(&format!("/api/v1/groups/{}", text(plain, "group")))["held"],
        known["held"]
    );
    let table = &known["lists"]["csv"];
    assert_eq!(
        misp_body(app, &format!("{}/feeds/{}", app.url, text(table, "group")), &app.appliance_key),
        text(table, "body"),
        "frozen"
    );
    assert_eq!(
        admin.get("/api/v1/outages")["items"].as_array().unwrap().len() as u64,
        known["outages"].as_u64().unwrap()
    );
    assert_eq!(admin.get("/api/v1/users")["items"].as_array().unwrap().len(), 2);
    // What was sent keeps its ids: every event, and every attribute of it.
    let device = key("device_key");
    let url = format!("{}/feeds/{}", app.url, text(&known["misp"], "group"));
    let wanted = canonical();
    let feed = eventually("the group holds the one spelling of each", || {
        Some(device.feed(&url))
            .filter(|feed| feed.live().into_iter().collect::<BTreeSet<_>>() == wanted)
    });
    let uuids = |event: &Value| -> BTreeSet<String> {
        event["Attribute"].as_array().unwrap().iter().map(|a| text(a, "uuid")).collect()
    };
    for (id, event) in known["misp"]["events"].as_object().unwrap() {
        let now = feed.events.get(id).unwrap_or_else(|| panic!("event {id} was sent and is gone"));
        assert!(uuids(event).is_subset(&uuids(now)), "attributes of {id} were sent and are gone");
    }
    // A MISP that held what was sent then holds each once now, though it takes two spellings for
    // one.
    let mut receiver = Receiver::default();
    receiver.pull(&serde_json::from_value::<Known>(known["misp"].clone()).unwrap().feed());
    receiver.pull(&feed);
    assert_eq!(receiver.live(), wanted);
    // What people said of one spelling holds for the one that is left.
    let found = |value: &str| admin.ioc(value);
    assert_eq!(text(&found("http://withdrawn.example/a"), "whitelist"), "never_sent");
    assert_eq!(text(&found("http://always.example/a"), "whitelist"), "always_sent");
    assert_eq!(text(&found("http://half.example/a"), "whitelist"), "default");
    let evil = found("hxxp://EVIL7[.]example/z");
    assert_eq!(
        (text(&evil, "severity"), &evil["user_tags"]),
        ("high".to_owned(), &json!(["from the capital twin"]))
    );
    let list = format!("{}/feeds/{}", app.url, text(&known["lists"]["panos-edl"], "group"));
    eventually("the list names hosts in lower case", || {
        let lines = misp_body(app, &list, &app.appliance_key);
        let host = |line: &str| line.split('/').next().unwrap_or_default().to_owned();
        let lower = |line: &str| !host(line).contains(|c: char| c.is_ascii_uppercase());
        lines.lines().all(lower).then_some(())
    });
}

/// What the MISP group holds in the end.
fn canonical() -> BTreeSet<String> {
    let spelled =
        SPELLINGS.iter().map(|(_, one)| (*one).to_owned()).filter(|one| !one.contains("withdrawn"));
    spelled.chain((1..=ALIKE).map(|i| format!("192.0.2.{i}"))).collect()
}

/// What a MISP had fetched.
#[derive(serde::Deserialize)]
struct Known {
    manifest: BTreeMap<String, Value>,
    events: BTreeMap<String, Value>,
}

impl Known {
    fn feed(self) -> Feed {
        Feed { manifest: self.manifest, events: self.events, hashes: String::new() }
    }
}

/// A kill at any moment of the upgrade is made good by the next start.
#[test]
fn an_upgrade_that_is_killed_goes_on() {
    let day = &days()[0];
    for round in 0..rounds(8, 60) {
        let (mut app, known) = prepared(Engine::Sqlite, day);
        let data = app.data_folder();
        for kill in 0..3 {
            let mut child = Command::new(crate::shell::binary())
                .args(["serve", "--emulator", "--listen", "127.0.0.1:0", "--data"])
                .arg(&data)
                .env("LD_PRELOAD", crate::durability::library())
                // The time at which a app begins.
                .env("FAULT_TIME", "1793700000")
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5 + 37 * (round * 3 + kill) % 400));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        app.restart();
        is_as_it_was(&app, &known);
    }
}

fn each(engine: Engine, change: fn(&TestApp)) {
    for day in days() {
        let (app, known) = open(engine, &day, change);
        is_as_it_was(&app, &known);
    }
}

mod sqlite {
    #[test]
    fn every_old_database_opens() {
        super::each(crate::support::Engine::Sqlite, |_| {});
    }

    #[test]
    fn every_form_in_which_a_step_shipped_opens() {
        super::each(crate::support::Engine::Sqlite, super::first_forms);
    }
}

mod postgres {
    #[test]
    fn every_old_database_opens() {
        super::each(crate::support::Engine::Postgres, |_| {});
    }

    #[test]
    fn every_form_in_which_a_step_shipped_opens() {
        super::each(crate::support::Engine::Postgres, super::first_forms);
    }
}

/// What m0003 and m0004 made before they were edited: an account without a webhook, and narrower
/// indexes of IOCs.
fn first_forms(app: &TestApp) {
    for statement in [
        "ALTER TABLE accounts DROP COLUMN webhook_url",
        "DROP INDEX iocs_by_change",
        "DROP INDEX iocs_by_value",
        "DROP INDEX iocs_by_host",
        "CREATE INDEX iocs_account_seq ON iocs (account_id, seq, id)",
        "CREATE INDEX iocs_account_value ON iocs (account_id, value_head)",
        "CREATE INDEX iocs_account_host ON iocs (account_id, reversed_host)",
    ] {
        app.sql(statement);
    }
}

#[test]
#[ignore = "writes a folder for the versions to come: run it by hand before a release"]
fn write() {
    let day = std::env::var("IOCAST_DATABASE_OF")
        .expect("IOCAST_DATABASE_OF names the folder to write, as 2026-11-28");
    for (engine, name) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgres")] {
        let to = folder().join(&day).join(name);
        fs::create_dir_all(&to).unwrap();
        let mut app = TestApp::open(engine);
        let known = live(&mut app);
        app.stop();
        fs::write(to.join("known.json"), serde_json::to_vec_pretty(&known).unwrap()).unwrap();
        fs::copy(app.data_folder().join("secrets.json"), to.join("secrets.json")).unwrap();
        match app.database_url() {
            None => zip(
                &fs::read(app.data_folder().join("iocast.sqlite")).unwrap(),
                &to.join("database.gz"),
            ),
            Some(url) => {
                let dump = Command::new("pg_dump")
                    .args(["--no-owner", "--no-privileges", url])
                    .output()
                    .unwrap();
                assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
                let text = String::from_utf8(dump.stdout).unwrap();
                // Commands of one release of psql, which another does not know.
                let plain: String = text
                    .lines()
                    .filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict"))
                    .flat_map(|l| [l, "\n"])
                    .collect();
                zip(plain.as_bytes(), &to.join("database.gz"));
            }
        }
    }
}
