//! Backups, restoring one, moving to another engine and checking: with the commands that an operator
//! uses, and devices that notice nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    shell::{binary, iocast, try_iocast_on},
    support::{
        ADMIN, Admin, Device, Engine, Scene, TestApp, eventually, misp::Misp, postgres_database,
        send, stories, text,
    },
};

stories!(
    a_backup_is_restored_and_devices_go_on,
    a_backup_that_cannot_be_used_says_why,
    what_does_not_fit_together_is_found_and_made_right
);

const MISP: &str = "00000000-0000-4000-8000-0000000000aa";

/// A command that has to succeed; what it says.
fn done(args: &[&str]) -> String {
    let (ok, out, err) = iocast(args, None);
    assert!(ok, "{args:?}: {out}{err}");
    out
}

/// A command that has to be refused; why.
fn refused(args: &[&str]) -> String {
    let (ok, out, err) = iocast(args, None);
    assert!(!ok, "{args:?} was done: {out}");
    format!("{out}{err}")
}

/// Makes a key for backups; the file, and whom to encrypt for.
fn key(folder: &Path) -> (PathBuf, String) {
    let (_, text, err) = iocast(&["backup-key"], None);
    let file = folder.join("backup.key");
    fs::write(&file, &text).unwrap();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    assert!(err.contains(recipient) && err.contains("apart"), "{err}");
    (file, recipient.to_owned())
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A device of a type with one group. Gives the group's id.
fn group(admin: &Admin, name: &str, device_type: &str, kind: Option<&str>) -> String {
    let body = json!({ "name": name, "device_type": device_type });
    let device = text(&admin.post("/api/v1/devices", body, 201), "id");
    let body = json!({ "name": name, "kind": kind });
    text(&admin.post(&format!("/api/v1/devices/{device}/groups"), body, 201), "id")
}

fn url(admin: &Admin, group: &str) -> String {
    text(&admin.get(&format!("/api/v1/groups/{group}")), "url")
}

fn objects(app: &TestApp, device: &Device, group: &str, after: Option<&str>) -> Vec<Value> {
    let query = after.map(|at| format!("?added_after={at}")).unwrap_or_default();
    let place =
        format!("{}/taxii2/{}/collections/{group}/objects/{query}", app.url, app.account_id);
    let answer = device.get(&place, &[("accept", "application/taxii+json;version=2.1")]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut all = answer.json()["objects"].as_array().cloned().unwrap_or_default();
    all.retain(|of| of["type"] == "indicator");
    all
}

/// The data folder and the database that a command is to work on.
fn place<'a>(data: &'a Path, database: Option<&'a str>) -> Vec<&'a str> {
    let mut args = vec!["--data", str(data)];
    args.extend(database.map(|url| ["--database-url", url]).into_iter().flatten());
    args
}

/// Imports an IOC, withdraws another one, and waits until a MISP has fetched both changes.
fn change_and_pull(app: &TestApp, admin: &Admin, scene: &Scene, misp: &mut Misp) {
    scene.import(admin, "late.example");
    let withdrawn = text(&admin.ioc("one.example"), "id");
    let never = json!({ "whitelist": "never_sent" });
    admin.patch(&format!("/api/v1/iocs/{withdrawn}"), never, 200);
    app.advance(admin, "2h");
    eventually("the MISP has fetched both changes", || {
        misp.pull(None);
        let values = misp.values();
        (values.contains("late.example") && !values.contains("one.example")).then_some(())
    });
}

fn a_backup_is_restored_and_devices_go_on(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let (key_file, recipient) = key(folder.path());
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let list = group(&admin, "Edge", "panos-edl", Some("ip"));
    let collection = group(&admin, "Hub", "taxii", None);
    scene.import(&admin, "one.example\n203.0.113.7\n203.0.113.8");
    let device = app.device();
    let mut misp = Misp::new(MISP, &scene.url, (&app.account_id, &app.appliance_key));
    eventually("the MISP has both", || {
        misp.pull(None);
        (misp.values().len() == 3).then_some(())
    });
    let listed = eventually("the list is published", || {
        let answer = device.get(&url(&admin, &list), &[]);
        (answer.status == 200 && answer.text().lines().count() == 2).then_some(answer)
    });
    eventually("the collection is published", || {
        (objects(app, &device, &collection, None).len() == 3).then_some(())
    });

    // While the server runs.
    let file = folder.path().join("now.backup");
    let (ok, out, err) =
        try_iocast_on(app, &["backup", str(&file), "--recipient", &recipient], None);
    assert!(ok && out.contains("rows"), "{out}{err}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets = fs::read_to_string(app.data_folder().join("secrets.json")).unwrap();

    // What came later is lost with the old machine: an IOC that the MISP and the collection fetched,
    // and the withdrawal of another one.
    change_and_pull(app, &admin, &scene, &mut misp);
    let seen = eventually("the collection says so, too", || {
        let all = objects(app, &device, &collection, None);
        let late = all.iter().any(|of| of.to_string().contains("late.example"));
        let revoked = all.iter().any(|of| of["revoked"] == true);
        (late && revoked).then_some(())?;
        let place =
            format!("{}/taxii2/{}/collections/{collection}/manifest/", app.url, app.account_id);
        let manifest = device.get(&place, &[("accept", "application/taxii+json;version=2.1")]);
        Some(manifest.header("x-taxii-date-added-last").to_owned())
    });
    app.stop();

    // It says first what it will do, and does nothing.
    let new = folder.path().join("elsewhere");
    let database = app.database_url().map(|_| postgres_database());
    let at = place(&new, database.as_deref());
    let restore = [&["restore", str(&file), "--key-file", str(&key_file)][..], &at].concat();
    let said = refused(&restore);
    assert!(said.contains("MISP events are offered again") && said.contains("--yes"), "{said}");
    assert!(!new.join("iocast.sqlite").exists(), "nothing was done");
    let said = done(&[&restore[..], &["--yes"]].concat());
    assert!(said.contains("MISP groups offered again: 1"), "{said}");
    assert_eq!(fs::read_to_string(new.join("secrets.json")).unwrap(), secrets);
    assert_eq!(fs::metadata(new.join("secrets.json")).unwrap().permissions().mode() & 0o777, 0o600);
    // Never over existing data.
    let said = refused(&[&restore[..], &["--yes"]].concat());
    assert!(said.contains("empty place"), "{said}");

    let old_session = admin;
    app.reopen(|config| {
        config.data = new;
        config.database_url = database;
    });
    assert_eq!(old_session.moved_to(&app.url).get_status("/api/v1/devices"), 401, "sessions ended");
    let admin = app.admin();
    let etag = listed.header("etag").to_owned();
    let again = device.get(&url(&admin, &list), &[("if-none-match", &etag)]);
    assert_eq!(again.status, 304, "a list goes on as if nothing had happened");
    misp.moved_to(&url(&admin, &scene.group));
    let before = misp.asked;
    eventually("the MISP is offered its events again", || {
        misp.pull(None);
        (misp.asked > before).then_some(())
    });
    assert!(misp.values().contains("203.0.113.7"), "it has what it had");
    eventually(
        "the collection has again what was revoked, for who goes on from what it saw",
        || {
            let later = objects(app, &device, &collection, Some(&seen));
            let live =
                |of: &&Value| of["revoked"] != true && of.to_string().contains("one.example");
            later.iter().find(live).map(drop)
        },
    );
    // What is imported again gets through everywhere.
    change_and_pull(app, &admin, &scene, &mut misp);
    let now_at = place_of(app);
    let checked =
        done(&[&["check"][..], &now_at.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    assert!(checked.contains("Everything is consistent"), "{checked}");
}

fn place_of(app: &TestApp) -> Vec<String> {
    let mut args = vec!["--data".to_owned(), str(&app.data_folder()).to_owned()];
    args.extend(
        app.database_in_use().map(|url| ["--database-url".to_owned(), url]).into_iter().flatten(),
    );
    args
}

fn a_backup_that_cannot_be_used_says_why(app: &mut TestApp) {
    let folder = TempDir::new().unwrap();
    let (key_file, recipient) = key(folder.path());
    let file = folder.path().join("a.backup");
    let many: Vec<String> = (0..3_000).map(|n| format!("host{n}.example")).collect();
    let admin = app.admin();
    Scene::set(&admin, None).import(&admin, &many.join("\n"));
    let (ok, _, err) = try_iocast_on(app, &["backup", str(&file)], None);
    assert!(!ok && err.contains("--recipient") && err.contains("backup-key"), "{err}");
    let (ok, _, err) = try_iocast_on(app, &["backup", str(&file), "--recipient", "age1x"], None);
    assert!(!ok && err.contains("no recipient of age"), "{err}");
    let nowhere = folder.path().join("none/a.backup");
    let (ok, _, err) =
        try_iocast_on(app, &["backup", str(&nowhere), "--recipient", &recipient], None);
    assert!(!ok && err.contains("no backup was made"), "{err}");
    let (ok, ..) = try_iocast_on(app, &["backup", str(&file), "--recipient", &recipient], None);
    assert!(ok);
    let (ok, _, err) = try_iocast_on(app, &["backup", str(&file), "--recipient", &recipient], None);
    assert!(!ok && err.contains("exists already"), "{err}");

    let new = folder.path().join("new");
    let database = app.database_url().map(|_| postgres_database());
    let at = place(&new, database.as_deref());
    let (other, passphrase) = (folder.path().join("other.key"), folder.path().join("passphrase"));
    fs::write(&other, iocast(&["backup-key"], None).1).unwrap();
    fs::write(&passphrase, "not the right one\n").unwrap();
    let with = |file: &Path, flag: &'static str, key: &Path| {
        let (file, key) = (str(file).to_owned(), str(key).to_owned());
        let mut args = vec!["restore".to_owned(), file, flag.to_owned(), key, "--yes".to_owned()];
        args.extend(at.iter().map(|arg| (*arg).to_owned()));
        refused(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(with(&file, "--key-file", &other).contains("does not open"));
    assert!(with(&file, "--passphrase-file", &passphrase).contains("--key-file"));
    assert!(with(&key_file, "--key-file", &key_file).contains("no backup of iocast"));
    let whole = fs::read(&file).unwrap();
    let cut = folder.path().join("cut.backup");
    fs::write(&cut, &whole[..whole.len() - 1_000]).unwrap();
    let said = with(&cut, "--key-file", &key_file);
    assert!(said.contains("not whole") && said.contains("delete it"), "{said}");
    // Nobody starts on a part of it, or on nothing beside it.
    let start = [&["serve", "--listen", "127.0.0.1:0"][..], &at].concat();
    assert!(refused(&start).contains("not finished"), "it is not started by mistake");
    assert!(!new.join("secrets.json").exists());
    // The same command begins again, where the database can be emptied.
    if database.is_none() {
        let again =
            [&["restore", str(&file), "--key-file", str(&key_file), "--yes"][..], &at].concat();
        assert!(done(&again).contains("Restored"));
    } else {
        let said = with(&file, "--key-file", &key_file);
        assert!(said.contains("nothing was restored") && !said.contains("delete it"), "{said}");
    }
    // A passphrase does it, too.
    let by_word = folder.path().join("word.backup");
    let args = ["backup", str(&by_word), "--passphrase-file", str(&passphrase)];
    assert!(try_iocast_on(app, &args, None).0);
    let third = folder.path().join("third");
    let database = app.database_url().map(|_| postgres_database());
    let at = place(&third, database.as_deref());
    let args = ["restore", str(&by_word), "--passphrase-file", str(&passphrase), "--yes"];
    assert!(done(&[&args[..], &at].concat()).contains("Restored"));
}

fn what_does_not_fit_together_is_found_and_made_right(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let list = group(&admin, "Edge", "panos-edl", Some("ip"));
    scene.import(&admin, "one.example\n203.0.113.7\n203.0.113.8");
    let device = app.device();
    scene.settled(&device, &["203.0.113.7", "203.0.113.8", "one.example"]);
    let is_listed = |admin: &Admin| {
        let answer = device.get(&url(admin, &list), &[]);
        (answer.status == 200 && answer.text().lines().count() == 2).then_some(())
    };
    eventually("the list is published", || is_listed(&admin));
    app.stop();
    let (ok, out, err) = try_iocast_on(app, &["check"], None);
    assert!(ok && out.contains("Everything is consistent"), "{out}{err}");

    // A file of the list is damaged, and a device is gone whose key and clients are not.
    app.sql(
        "UPDATE blobs SET data = CAST('nonsense' AS BLOB_TYPE)"
            .replace("BLOB_TYPE", if app.database_url().is_some() { "BYTEA" } else { "BLOB" })
            .as_str(),
    );
    app.sql("INSERT INTO rule_groups (rule_id, group_id) SELECT id, id FROM rules");
    let (ok, out, err) = try_iocast_on(app, &["check"], None);
    assert!(
        !ok && out.contains("files are damaged") && out.contains("targets of a rule"),
        "{out}{err}"
    );
    assert!(out.contains("--repair"), "{out}");
    let (ok, out, err) = try_iocast_on(app, &["check", "--repair"], None);
    assert!(ok && out.contains("was repaired"), "{out}{err}");
    app.restart();
    let admin = app.admin();
    eventually("the list is made again", || is_listed(&admin));
    let feed = url(&admin, &scene.group);
    eventually("the events are made again", || {
        let manifest = device.get(&format!("{feed}/manifest.json"), &[]);
        (manifest.status == 200 && device.feed(&feed).live().len() == 3).then_some(())
    });
    app.stop();
    let (ok, out, err) = try_iocast_on(app, &["check", "--json"], None);
    assert!(ok, "{out}{err}");
}

/// Everything moves to PostgreSQL, killed again and again on the way, and back.
#[test]
fn everything_moves_to_the_other_engine_and_back() {
    let mut app = TestApp::open(Engine::Sqlite);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let list = group(&admin, "Edge", "panos-edl", Some("ip"));
    let many: Vec<String> = (0..3_000).map(|n| format!("host{n}.example")).collect();
    scene.import(&admin, &many.join("\n"));
    scene.import(&admin, "203.0.113.7");
    let device = app.device();
    let listed = eventually("the list is published", || {
        let answer = device.get(&url(&admin, &list), &[]);
        (answer.status == 200 && answer.text() == "203.0.113.7\n").then_some(answer)
    });
    let etag = listed.header("etag").to_owned();
    let manifest = eventually("all of it is published", || {
        let all = admin.get(&format!("/api/v1/groups/{}", scene.group))["published"] == 3_001;
        all.then(|| device.get(&format!("{}/manifest.json", scene.url), &[]).text())
    });
    let database = postgres_database();
    let data = app.data_folder();
    let running = refused(&["move", "--data", str(&data), "--to", &database]);
    assert!(running.contains("another iocast uses the data folder"), "{running}");
    app.stop();

    let mut kills = 0;
    let moved = loop {
        let mut child = Command::new(binary())
            .args(["move", "--data", str(&data), "--to", &database])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if kills < 12 {
            std::thread::sleep(Duration::from_millis(150 + 60 * kills));
            kills += 1;
            let _ = child.kill();
        }
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break String::from_utf8(output.stdout).unwrap();
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The last one was killed between its last write and its end.
        if said.contains("not empty") && data.join("on-postgresql").exists() {
            break "counted and compared".to_owned();
        }
        assert!(output.status.code().is_none(), "{said}");
    };
    assert!(moved.contains("counted and compared"), "{moved}");
    let back = refused(&["move", "--data", str(&data), "--to", &database]);
    assert!(back.contains("not empty"), "{back}");
    let mistaken = refused(&["serve", "--data", str(&data), "--listen", "127.0.0.1:0"]);
    assert!(mistaken.contains("PostgreSQL"), "the old file is not started by mistake: {mistaken}");

    let goes_on = |app: &mut TestApp, database_url: Option<String>| {
        app.reopen(|config| config.database_url = database_url);
        let admin = Admin::sign_in(&app.url, ADMIN, &app.password);
        let again = device.get(&url(&admin, &list), &[("if-none-match", &etag)]);
        assert_eq!(again.status, 304, "the same key, the same content");
        let feed = url(&admin, &scene.group);
        assert_eq!(device.get(&format!("{feed}/manifest.json"), &[]).text(), manifest);
        assert_eq!(
            admin.get("/api/v1/iocs?value=host2999.example")["items"][0]["value"],
            "host2999.example"
        );
        let sources = admin.get("/api/v1/sources")["items"].as_array().unwrap().len();
        let name = format!("Source {sources}");
        admin.post("/api/v1/sources", json!({ "name": name, "confidence": 1 }), 201);
        app.stop();
    };
    goes_on(&mut app, Some(database.clone()));
    let args = ["move", "--data", str(&data), "--database-url", &database, "--to", "sqlite"];
    let said = refused(&args);
    assert!(said.contains("not empty"), "the old file still exists: {said}");
    for file in ["iocast.sqlite", "iocast.sqlite-wal", "iocast.sqlite-shm"] {
        let _ = fs::remove_file(data.join(file));
    }
    assert!(done(&args).contains("without database_url"));
    goes_on(&mut app, None);
}

/// iocast makes backups by itself, keeps as many as it is told, and says where it could not.
#[test]
fn backups_are_made_by_themselves() {
    let folder = TempDir::new().unwrap();
    let (key_file, recipient) = key(folder.path());
    let backups = folder.path().join("backups");
    let token = "0123456789abcdef";
    let mut app = TestApp::with(Engine::Sqlite, |config| {
        config.backup_folder = Some(backups.clone());
        config.backup_keep = 2;
        config.backup_recipient = Some(recipient.clone());
        config.metrics_token = Some(token.to_owned());
    });
    let made = || -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(&backups) else { return Vec::new() };
        let mut all: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|of| of == "backup"));
        all.sort();
        all
    };
    let first = eventually("the first backup", || made().into_iter().next());
    let mut last = first.clone();
    for n in 2..=3 {
        app.advance(&app.admin(), "25h");
        app.restart();
        last = eventually("the next backup", || {
            made().pop().filter(|now| *now != last && made().len() == n.min(2))
        });
    }
    assert!(!made().contains(&first), "the oldest went");
    let bearer = format!("Bearer {token}");
    let at = format!("{}/metrics", app.url);
    let metrics = send("GET", &at, &[("authorization", &bearer)], None);
    let text = metrics.text();
    assert!(text.contains("iocast_backup_failing 0"), "{text}");
    assert!(text.contains("iocast_backup_last_success_timestamp_seconds 17"), "{text}");
    // The folder can't be written: the page says so, and so do the metrics.
    fs::remove_dir_all(&backups).unwrap();
    fs::write(&backups, "in the way").unwrap();
    let admin = app.admin();
    app.advance(&admin, "25h");
    app.restart();
    eventually("the failure shows", || {
        let page = app.page("/");
        page.contains("No backup could be made").then_some(())
    });
    fs::remove_file(&backups).unwrap();
    let admin = app.admin();
    app.advance(&admin, "2h");
    app.restart();
    let last = eventually("it is made again", || made().pop());
    eventually("the failure is gone", || (!app.page("/").contains("No backup")).then_some(()));
    let new = folder.path().join("new");
    let args = ["restore", str(&last), "--key-file", str(&key_file), "--data", str(&new), "--yes"];
    assert!(done(&args).contains("Restored"));
}

/// What is old is forgotten at its time, and the file gets smaller.
#[test]
fn what_is_old_is_forgotten_and_room_is_given_back() {
    let mut app = TestApp::with(Engine::Sqlite, |config| config.audit_kept_days = 30);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let many: Vec<String> = (0..20_000).map(|n| format!("host{n}.long-name.example")).collect();
    scene.import(&admin, &many.join("\n"));
    let actions = |admin: &Admin| -> Vec<String> {
        let all = admin.get("/api/v1/audit?limit=500");
        all["items"].as_array().unwrap().iter().map(|line| text(line, "action")).collect()
    };
    assert!(actions(&admin).contains(&"device.create".to_owned()));
    let one = text(&admin.ioc("host7.long-name.example"), "id");
    admin.delete(&format!("/api/v1/iocs/{one}"), 204);
    let (ok, out, err) = try_iocast_on(&app, &["fixtures", "reset", "--yes"], None);
    assert!(ok, "{out}{err}");
    app.stop();
    let size = |app: &TestApp| fs::metadata(app.data_folder().join("iocast.sqlite")).unwrap().len();
    let before = size(&app);
    app.restart();
    let admin = app.admin();
    app.advance(&admin, "31d");
    app.restart();
    let admin = app.admin();
    eventually("the audit log forgets", || {
        (!actions(&admin).contains(&"device.create".to_owned())).then_some(())
    });
    assert!(actions(&admin).contains(&"session.create".to_owned()), "what is new is kept");
    let after = eventually("room is given back", || {
        app.stop();
        let now = size(&app);
        app.restart();
        (now * 2 < before).then_some(now)
    });
    assert!(after > 0);
}
