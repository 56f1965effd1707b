//! Starting on an existing data folder, and stopping at any moment.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    shell::{binary, iocast},
    support::{ADMIN, Admin, Engine, TestApp, eventually, postgres_database, send, text},
};

struct Started {
    child: Child,
    url: String,
    lines: Vec<String>,
}

/// Starts a server and gives it as soon as it says that it listens; what it says on standard error
/// goes to `log`.
fn start(data: &Path, args: &[&str], environment: &[(&str, &str)]) -> Started {
    let log =
        fs::File::options().create(true).append(true).open(data.with_extension("log")).unwrap();
    let mut child = Command::new(binary())
        .args(["serve", "--data"])
        .arg(data)
        .args(if args.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
        .args(args)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let listens = line.starts_with("iocast listens");
        lines.push(line);
        if listens {
            break;
        }
    }
    let url = lines
        .last()
        .and_then(|line| line.split(" at ").nth(1)?.split("/ ").next())
        .map(str::to_owned)
        .expect("it listens");
    Started { child, url, lines }
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args(["-s", name, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

fn log(data: &Path) -> String {
    fs::read_to_string(data.with_extension("log")).unwrap_or_default()
}

/// It ends well, and nothing was cut off.
fn ends(server: &mut Started, data: &Path) {
    let status = eventually("the server ends", || server.child.try_wait().unwrap());
    assert!(status.success(), "{}", log(data));
    assert!(!log(data).contains("WARN") && !log(data).contains("ERROR"), "{}", log(data));
}

#[test]
fn a_stop_at_any_moment_is_heard() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    for pause in [0, 0, 0, 1, 2, 5, 10, 20, 50, 100] {
        let mut server = start(&data, &[], &[]);
        std::thread::sleep(std::time::Duration::from_millis(pause));
        signal(&server.child, "TERM");
        ends(&mut server, &data);
    }
}

#[test]
fn every_request_is_logged_where_that_is_wanted() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let ask = |server: &Started, parent: &str| {
        let url = format!("{}/api/v1/health?key=a-secret", server.url);
        let answer = send("GET", &url, &[("traceparent", parent)], None);
        answer.header("x-request-id").to_owned()
    };
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let mut server = start(&data, &[], &[]);
    ask(&server, &parent);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
    assert!(!log(&data).contains("/api/v1/health"), "{}", log(&data));
    let log_all = [("IOCAST_LOG", "info,access=info"), ("IOCAST_LOG_FORMAT", "json")];
    let mut server = start(&data, &[], &log_all);
    let with_trace = ask(&server, &parent);
    let without = ask(&server, "00-0af7-1-01");
    signal(&server.child, "TERM");
    ends(&mut server, &data);
    let log = log(&data);
    assert!(!log.contains("a-secret"), "{log}");
    let line = |id: &str| -> serde_json::Value {
        let line = log.lines().find(|line| line.contains(id)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let wanted = line(&with_trace);
    assert_eq!(wanted["message"], "GET /api/v1/health answered 200", "{wanted}");
    assert_eq!((&wanted["trace.id"], &wanted["http.status"]), (&trace.into(), &200.into()));
    assert!(wanted["http.ms"].as_f64().is_some_and(|ms| ms > 0.0), "{wanted}");
    assert!(line(&without)["trace.id"].is_null(), "{log}");
}

#[test]
fn a_stop_with_https_cuts_nothing_off() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = Command::new("openssl")
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
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success());
    let flags = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let mut server = start(&data, &flags, &[]);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
    // A hang-up reads the certificate again.
    let mut server = start(&data, &flags, &[]);
    signal(&server.child, "HUP");
    signal(&server.child, "USR1");
    signal(&server.child, "TERM");
    ends(&mut server, &data);
}

#[test]
fn a_hang_up_kills_nobody() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut server = start(&data, &[], &[]);
    for name in ["HUP", "USR1", "USR2", "HUP"] {
        signal(&server.child, name);
    }
    assert_eq!(send("GET", &format!("{}/api/v1/health", server.url), &[], None).status, 200);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
}

#[test]
fn settings_are_read_again() {
    let folder = TempDir::new().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("iocast.toml"));
    fs::write(&file, "log = \"info,access=off\"\n").unwrap();
    let mut server = start(&data, &["--config", file.to_str().unwrap()], &[]);
    let says = |what: &str| eventually(what, || log(&data).contains(what).then_some(()));
    let hang_up = |settings: &str| {
        fs::write(&file, settings).unwrap();
        signal(&server.child, "HUP");
    };
    let ask = || send("GET", &format!("{}/api/v1/health", server.url), &[], None).status;
    ask();
    assert!(!log(&data).contains("/api/v1/health"));
    hang_up("log = \"info,access=off\"\n");
    says("nothing has changed");
    hang_up("log = \"info,access=info\"\nworkers = 3\ndrain_seconds = 7\n");
    says("`log` is now `info,access=info`");
    says("Restart iocast for the new drain_seconds, workers");
    ask();
    says("/api/v1/health");
    hang_up("lisen = 5\n");
    says("those before are kept");
    assert_eq!(ask(), 200);
    signal(&server.child, "TERM");
    let status = eventually("the server ends", || server.child.try_wait().unwrap());
    assert!(status.success());
}

#[test]
fn data_that_is_missing_is_not_taken_for_a_first_start() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let args = |more: &[&'static str]| -> Vec<String> {
        ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]
            .into_iter()
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    let refused = |more: &[&'static str]| {
        let args = args(more);
        let (ok, _, err) = iocast(&args.iter().map(String::as_str).collect::<Vec<_>>(), None);
        assert!(!ok);
        err
    };
    let mut server = start(&data, &[], &[]);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
    // A volume that is not mounted.
    let database = data.join("iocast.sqlite");
    fs::rename(&database, folder.path().join("kept")).unwrap();
    let err = refused(&[]);
    assert!(
        err.contains("data is missing") && err.contains("backup") && err.contains("--new-database"),
        "{err}"
    );
    assert!(!database.exists(), "nothing is made in its place");
    fs::write(&database, "").unwrap();
    assert!(refused(&[]).contains("data is missing"));
    // The secrets file is missing: the database exists, and none of its keys would work.
    fs::rename(folder.path().join("kept"), &database).unwrap();
    let secrets = fs::read(data.join("secrets.json")).unwrap();
    fs::remove_file(data.join("secrets.json")).unwrap();
    let err = refused(&[]);
    assert!(err.contains("secrets.json") && err.contains("original"), "{err}");
    assert!(
        !data.join("secrets.json").exists() && !data.join("secrets.json.new").exists(),
        "none are made that would not belong to it"
    );
    fs::write(data.join("secrets.json"), "").unwrap();
    let err = refused(&[]);
    assert!(err.contains("not whole") && err.contains("backup"), "{err}");
    fs::write(data.join("secrets.json"), secrets).unwrap();
    let mut server = start(&data, &[], &[]);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
    // On purpose.
    fs::remove_file(&database).unwrap();
    let mut server = start(&data, &["--new-database"], &[]);
    assert!(server.lines.iter().any(|line| line.contains("made an account")));
    signal(&server.child, "TERM");
    ends(&mut server, &data);
}

#[test]
fn an_empty_postgresql_beside_secrets_is_refused() {
    let mut app = TestApp::open(Engine::Postgres);
    app.stop();
    let empty = postgres_database();
    let data = app.data_folder();
    let (ok, _, err) = iocast(
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            data.to_str().unwrap(),
            "--database-url",
            &empty,
        ],
        None,
    );
    assert!(!ok && err.contains("data is missing") && err.contains("--new-database"), "{err}");
    app.restart();
    app.admin();
}

#[test]
fn files_are_private_whatever_the_folder_and_the_shell_say() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    // What an earlier version left open.
    let mut first = start(&data, &[], &[]);
    signal(&first.child, "TERM");
    ends(&mut first, &data);
    fs::set_permissions(data.join("iocast.sqlite"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut shell = Command::new("sh");
    let mut child = shell
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("iocast listens")));
    eventually("the socket is there", || data.join("iocast.sock").exists().then_some(()));
    for name in [
        "iocast.sqlite",
        "iocast.sqlite-wal",
        "iocast.sqlite-shm",
        "iocast.sock",
        "secrets.json",
        "iocast.lock",
    ] {
        let mode = fs::metadata(data.join(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} is {mode:o}");
    }
    signal(&child, "TERM");
    child.wait().unwrap();
}

#[test]
fn the_journal_learns_no_secrets() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut server = start(&data, &[], &[("JOURNAL_STREAM", "8:1234")]);
    let said = server.lines.join("\n");
    let file = fs::read_to_string(data.join("first-account.txt")).unwrap();
    let password =
        file.lines().find_map(|line| line.trim().strip_prefix("password")).unwrap().trim();
    assert!(said.contains("first-account.txt") && !said.contains(password), "{said}");
    Admin::sign_in(&server.url, ADMIN, password);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
}

#[test]
fn a_password_that_was_given_is_not_printed() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let (ok, _, err) = iocast(
        &["init", "--data", data, "--account", "Acme", "--admin", "a@acme.example", "--json"],
        None,
    );
    assert!(ok, "{err}");
    let given = "a long and winding pass phrase";
    for json in [&[][..], &["--json"]] {
        let args = [
            &[
                "admin",
                "reset-password",
                "--data",
                data,
                "--email",
                "a@acme.example",
                "--password-stdin",
            ][..],
            json,
        ]
        .concat();
        let (ok, out, err) = iocast(&args, Some(given));
        assert!(ok && !out.contains(given) && !err.contains(given), "{out} {err}");
    }
    let made = iocast(
        &["admin", "reset-password", "--data", data, "--email", "a@acme.example", "--json"],
        None,
    )
    .1;
    assert!(
        text(&serde_json::from_str(&made).unwrap(), "admin_password").len() > 12,
        "one that was made is shown"
    );
}

#[test]
fn figures_are_there_while_the_database_is_away() {
    let token = "0123456789abcdef";
    let mut app =
        TestApp::with(Engine::Postgres, |config| config.metrics_token = Some(token.to_owned()));
    let metrics = |app: &TestApp| {
        send(
            "GET",
            &format!("{}/metrics", app.url),
            &[("authorization", &format!("Bearer {token}"))],
            None,
        )
    };
    assert!(metrics(&app).text().contains("iocast_database_up 1"));
    let url = app.database_url().unwrap().to_owned();
    crate::support::allow_connections(&url, false);
    eventually("the figures tell it", || {
        let answer = metrics(&app);
        (answer.status == 200
            && answer.text().contains("iocast_database_up 0")
            && answer.text().contains("iocast_messages{"))
        .then_some(())
    });
    let ready = send("GET", &format!("{}/api/v1/ready", app.url), &[], None);
    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &json!("degraded")),
        "{}",
        ready.text()
    );
    crate::support::allow_connections(&url, true);
    eventually("all is well again", || {
        (send("GET", &format!("{}/api/v1/ready", app.url), &[], None).json()["status"] == "ready")
            .then_some(())
    });
    app.stop();
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it printed last is of no interest any more.
        let _ = self.child.stdout.take().map(|mut out| out.read_to_end(&mut Vec::new()));
    }
}

#[test]
fn a_damaged_database_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let mut server = start(&data, &[], &[]);
    signal(&server.child, "TERM");
    ends(&mut server, &data);
    let file = data.join("iocast.sqlite");
    let mut bytes = fs::read(&file).unwrap();
    bytes[..64].fill(b'x');
    fs::write(&file, bytes).unwrap();
    let refused = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("damaged") && said.contains("backup"),
        "{said}"
    );
    assert!(!said.contains("does not answer"), "{said}");
}

#[test]
fn urls_lead_to_this_machine_where_every_address_is_listened_on() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let mut server = start(&data, &["--listen", listen], &[]);
        assert!(!server.url.contains("0.0.0.0") && !server.url.contains("[::]"), "{}", server.url);
        assert_eq!(
            send("GET", &format!("{}/api/v1/health", server.url), &[], None).status,
            200,
            "{}",
            server.url
        );
        assert!(log(&data).contains("`public_url` is not set"), "{}", log(&data));
        signal(&server.child, "TERM");
        eventually("the server ends", || server.child.try_wait().unwrap());
    }
}
