//! The command line: the binary itself, beside a running server and without one.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{Admin, Scene, TestApp, eventually, stories, text};

stories!(
    accounts_are_made_beside_a_running_server,
    files_are_imported_beside_a_running_server,
    a_lost_password_is_replaced
);

/// The binary that was built with this test.
pub(crate) fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("iocast");
    assert!(path.exists(), "{} is there: `make test` builds it", path.display());
    path
}

pub(crate) fn iocast(args: &[&str], stdin: Option<&str>) -> (bool, String, String) {
    let mut child = Command::new(binary())
        .args(args)
        .env_remove("RUST_LOG")
        .env("IOCAST_LOG", "warn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.unwrap_or_default().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    (
        done.status.success(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

/// Runs a command on a app's data. Gives whether it succeeded, and what it printed.
pub(crate) fn try_iocast_on(
    app: &TestApp,
    args: &[&str],
    stdin: Option<&str>,
) -> (bool, String, String) {
    let data = app.data_folder();
    let mut all = args.to_vec();
    all.extend(["--data", data.to_str().unwrap()]);
    if let Some(url) = app.database_url() {
        all.extend(["--database-url", url]);
    }
    iocast(&all, stdin)
}

/// Runs a command that must succeed. Gives what it printed.
pub(crate) fn iocast_on(app: &TestApp, args: &[&str], stdin: Option<&str>) -> String {
    let (ok, out, err) = try_iocast_on(app, args, stdin);
    assert!(ok, "{args:?}: {err}");
    assert_eq!(err, "", "nothing to complain about");
    out
}

fn accounts_are_made_beside_a_running_server(app: &mut TestApp) {
    let made: Value = serde_json::from_str(&iocast_on(
        app,
        &["init", "--account", "Acme", "--admin", "boss@example.com", "--password-stdin", "--json"],
        Some("correct horse battery\n"),
    ))
    .unwrap();
    let keys: Vec<&String> = made.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["account_id", "admin_password", "api_key", "appliance_key"]);
    assert_eq!(
        (
            text(&made, "account_id").len(),
            text(&made, "api_key").len(),
            text(&made, "admin_password")
        ),
        (24, 128, "correct horse battery".into())
    );
    let boss = Admin::sign_in(&app.url, "boss@example.com", "correct horse battery");
    let scene = Scene::set(&boss, None);
    let device =
        crate::support::Device::new(&text(&made, "account_id"), &text(&made, "appliance_key"));
    eventually("the new appliance key opens the feed", || {
        (device.get(&format!("{}/manifest.json", scene.url), &[]).status == 200).then_some(())
    });
    let data = app.data_folder();
    let mut args = vec![
        "init",
        "--account",
        "acme",
        "--admin",
        "nobody",
        "--password-stdin",
        "--json",
        "--data",
        data.to_str().unwrap(),
    ];
    if let Some(url) = app.database_url() {
        args.extend(["--database-url", url]);
    }
    let (ok, out, err) = iocast(&args, Some("short"));
    assert!(
        !ok && out.is_empty()
            && err.contains("email: Give an e-mail address")
            && err.contains("password: Choose a password of 12"),
        "{err}"
    );
}

fn files_are_imported_beside_a_running_server(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let list = app.data.path().join("Emotet.txt");
    std::fs::write(&list, "# list\nevil.example\nnodots\n").unwrap();
    let table = app.data.path().join("table.csv");
    std::fs::write(&table, "value\nevil2.example\n").unwrap();
    let out = iocast_on(
        app,
        &[
            "import",
            list.to_str().unwrap(),
            table.to_str().unwrap(),
            "--source",
            "Own feed",
            "--malware-family",
            "-",
        ],
        None,
    );
    assert!(
        out.contains("1 new, 0 updated, 0 unchanged, 1 refused") && out.contains("line 3: nodots"),
        "{out}"
    );
    scene.settled(&app.device(), &["evil.example", "evil2.example"]);
    assert_eq!(admin.ioc("evil.example")["malware_families"][0], "Emotet");
    let report = app.data.path().join("report.adoc");
    std::fs::write(&report, "see evil3[.]com").unwrap();
    let json: Value = serde_json::from_str(&iocast_on(
        app,
        &["import", report.to_str().unwrap(), "--source", "Reports", "--report", "--json"],
        None,
    ))
    .unwrap();
    assert_eq!(json["accepted"], 1);
    assert_eq!(
        admin.get("/api/v1/sources")["items"].as_array().unwrap().len(),
        2,
        "a source that is not there is made"
    );
}

fn a_lost_password_is_replaced(app: &mut TestApp) {
    let admin = app.admin();
    let made: Value = serde_json::from_str(&iocast_on(
        app,
        &["admin", "reset-password", "--email", crate::support::ADMIN, "--json"],
        None,
    ))
    .unwrap();
    assert_eq!(admin.get_status("/api/v1/me"), 401, "the sessions were ended");
    Admin::sign_in(&app.url, crate::support::ADMIN, &text(&made, "admin_password"));
}

#[test]
fn settings_are_checked_and_shown() {
    let (ok, out, _) = iocast(&["config", "check"], None);
    assert!(ok && out.contains("valid"));
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("iocast.toml");
    std::fs::write(
        &file,
        "listen = \"0.0.0.0:9999\"\ndatabase_url = \"postgres://me:hunter2@db/iocast\"\n",
    )
    .unwrap();
    let (ok, out, err) = iocast(&["config", "show", "--config", file.to_str().unwrap()], None);
    assert!(ok && out.contains("0.0.0.0:9999") && !out.contains("hunter2"), "{out}{err}");
    std::fs::write(&file, "colour = \"red\"\n").unwrap();
    let (ok, _, err) = iocast(&["config", "check", "--config", file.to_str().unwrap()], None);
    assert!(!ok && err.contains("colour"), "{err}");
    let (ok, _, err) = iocast(&["serve", "--listen", "nowhere"], None);
    assert!(!ok && err.contains("HOST:PORT"), "{err}");
}

#[test]
fn a_folder_in_use_and_foreign_secrets_are_refused() {
    let app = TestApp::open(crate::support::Engine::Sqlite);
    let data = app.data_folder();
    let (ok, _, err) =
        iocast(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()], None);
    assert!(!ok && err.contains("another iocast uses the data folder"), "{err}");
    drop(app);
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let (ok, out, err) =
        iocast(&["init", "--data", data, "--account", "A", "--admin", "a@example.com"], None);
    assert!(ok && out.contains("account ID"), "{err}");
    std::fs::remove_file(folder.path().join("secrets.json")).unwrap();
    let (ok, _, err) =
        iocast(&["init", "--data", data, "--account", "B", "--admin", "b@example.com"], None);
    assert!(!ok && err.contains("secrets.json"), "{err}");
}

#[test]
fn a_command_that_forgets_the_database_makes_no_second_iocast() {
    let database = crate::support::postgres_database();
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let server = crate::crash::serve_with(folder.path(), &[("DATABASE_URL", database.clone())]);
    // While a server runs on the folder, commands go through it, whatever database it has.
    let reset = ["admin", "reset-password", "--email", crate::support::ADMIN, "--data", data];
    let (ok, out, err) = iocast(&reset, None);
    assert!(ok && out.contains("New password"), "{out}{err}");
    drop(server);
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "evil.example\n").unwrap();
    let init = ["init", "--data", data, "--account", "B", "--admin", "b@example.com"];
    for command in [
        &reset[..],
        &init[..],
        &["import", list.to_str().unwrap(), "--source", "X", "--data", data][..],
    ] {
        let (ok, out, err) = iocast(command, None);
        assert!(!ok && err.contains("--database-url"), "{out}{err}");
    }
    assert!(!folder.path().join("iocast.sqlite").exists());
    let (ok, out, err) = iocast(&[&reset[..], &["--database-url", &database]].concat(), None);
    assert!(ok && out.contains("New password"), "{out}{err}");
}
