//! What people see: stories in a real Chromium. What happens in the browser is told in
//! `tests/python/browser.py`; here is the app in which it happens.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::{
    shell::iocast,
    support::{ADMIN, Engine, TestApp, stories},
};

stories!(the_whole_work_of_an_admin);

/// Where pictures go: of pages, and of the page at which a story went wrong.
fn pictures() -> PathBuf {
    std::env::var_os("IOCAST_PICTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures"),
        PathBuf::from,
    )
}

/// Real data where it is there, else a few lines of our own.
fn file(app: &TestApp) -> PathBuf {
    let real = std::env::var_os("IOCAST_SAMPLES")
        .map(|samples| PathBuf::from(samples).join("malware-trails"));
    let trails = real
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .map(|f| f.unwrap().path());
    let mut trails: Vec<(u64, PathBuf)> = trails
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .map(|p| (p.metadata().unwrap().len(), p))
        .collect();
    trails.sort();
    // One of a middling size.
    if let Some((_, path)) = trails.get(trails.len() / 2) {
        return path.clone();
    }
    let path = app.data.path().join("own.txt");
    std::fs::write(&path, "evil.example\n203.0.113.9\nhttp://bad.example/a.exe\n").unwrap();
    path
}

fn browse(app: &TestApp, story: &str, also: Value) {
    let python = std::env::var("IOCAST_PYTHON")
        .expect("IOCAST_PYTHON names a Python with the test clients; `make test` sets one up");
    let mut scene = json!({
        "url": app.url,
        "email": ADMIN,
        "password": app.password,
        "account_id": app.account_id,
        "file": file(app),
        "pictures": pictures(),
    });
    scene.as_object_mut().unwrap().extend(also.as_object().cloned().unwrap_or_default());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/browser.py");
    let mut child = Command::new(python)
        .args([script, story])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(scene.to_string().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    println!("{said}");
    assert!(done.status.success(), "{wrong}");
}

fn the_whole_work_of_an_admin(app: &mut TestApp) {
    browse(app, "the_whole_work_of_an_admin", json!({}));
}

/// Stories about what the browser makes of pages need one engine only.
fn on_sqlite(story: &str) {
    browse(&TestApp::open(Engine::Sqlite), story, json!({}));
}

#[test]
fn every_set_up_form_opens_its_feed() {
    on_sqlite("every_set_up_form_opens_its_feed");
}

#[test]
fn what_a_device_holds() {
    on_sqlite("what_a_device_holds");
}

#[test]
fn overview_and_search() {
    on_sqlite("overview_and_search");
}

#[test]
fn many_devices_at_once() {
    on_sqlite("many_devices_at_once");
}

#[test]
fn alerts_and_lists() {
    on_sqlite("alerts_and_lists");
}

#[test]
fn every_error_of_the_add_dialog() {
    on_sqlite("every_error_of_the_add_dialog");
}

#[test]
fn the_emulator() {
    on_sqlite("the_emulator");
}

#[test]
fn with_the_keyboard_only() {
    on_sqlite("with_the_keyboard_only");
}

#[test]
fn analysts_files() {
    let paper = crate::documents::pdf(&[&[
        "The group used evil-paper[.]com first, and later",
        "hxxp://evil-paper-two[.]net/a.exe was seen.",
    ]]);
    let paper = base64::engine::general_purpose::STANDARD.encode(paper);
    browse(&TestApp::open(Engine::Sqlite), "analysts_files", json!({ "paper": paper }));
}

#[test]
fn subscriptions() {
    let mut app = TestApp::open(Engine::Sqlite);
    app.reopen(|config| config.fetch_networks = "127.0.0.0/8".to_owned());
    browse(&app, "subscriptions", json!({}));
}

#[test]
fn public_feeds() {
    let mut app = TestApp::open(Engine::Sqlite);
    // Nothing is fetched from the owners of feeds: nobody listens there.
    app.reopen(|config| config.fetch_proxy = Some("http://127.0.0.1:9".to_owned()));
    browse(&app, "public_feeds", json!({}));
}

#[test]
fn sources_fail_recover_and_are_compared() {
    let mut app = TestApp::open(Engine::Sqlite);
    let _post = crate::watchdog::with_post(&mut app);
    app.reopen(|config| config.fetch_networks = "127.0.0.0/8".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let site = crate::upstreams::Site::serve(folder.path());
    let feed = json!({ "feed": site.url, "folder": folder.path() });
    browse(&app, "sources_fail_recover_and_are_compared", feed);
}

#[test]
fn warninglists() {
    on_sqlite("warninglists");
}

#[test]
fn without_script() {
    on_sqlite("without_script");
}

#[test]
fn the_rest_of_the_pages() {
    on_sqlite("the_rest_of_the_pages");
}

#[test]
fn a_form_outlives_its_session() {
    on_sqlite("a_form_outlives_its_session");
}

#[test]
fn every_page_is_accessible() {
    on_sqlite("every_page_is_accessible");
}

#[test]
fn an_analyst_looks_and_changes_nothing() {
    let app = TestApp::open(Engine::Sqlite);
    let admin = app.admin();
    let (email, password) = ("ann@example.com", "a phrase of an analyst");
    admin.post("/api/v1/users", json!({ "email": email, "role": "analyst" }), 201);
    // The password comes from the shell, where there is no mailbox to look into.
    let data = app.data_folder();
    let (done, _, wrong) = iocast(
        &[
            "admin",
            "reset-password",
            "--email",
            email,
            "--data",
            data.to_str().unwrap(),
            "--password-stdin",
        ],
        Some(password),
    );
    assert!(done, "{wrong}");
    browse(
        &app,
        "an_analyst_looks_and_changes_nothing",
        json!({ "analyst": email, "analyst_password": password }),
    );
}

#[test]
fn texts_are_shown_literally() {
    let mut app = TestApp::open(Engine::Sqlite);
    let data = app.data_folder();
    let (name, email, password) =
        ("<img src=x onerror=alert(1)> & \"friends\"", "eve@example.com", "a phrase of eve");
    let (done, said, wrong) = iocast(
        &[
            "init",
            "--account",
            name,
            "--admin",
            email,
            "--data",
            data.to_str().unwrap(),
            "--password-stdin",
            "--json",
        ],
        Some(password),
    );
    assert!(done, "{wrong}");
    let made: Value = serde_json::from_str(&said).unwrap();
    app.account_id = made["account_id"].as_str().unwrap().to_owned();
    browse(
        &app,
        "texts_are_shown_literally",
        json!({ "email": email, "password": password, "account_name": name }),
    );
}

/// Not a test: `make screenshots` runs it.
#[test]
#[ignore = "makes pictures; `make screenshots` runs it"]
fn screenshots() {
    on_sqlite("screenshots");
}
