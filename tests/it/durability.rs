//! Nothing acknowledged is lost: after a full disk, after errors of the disk at any call, after
//! kills.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    crash::{Server, serve_raw},
    public::Client,
    shell::iocast,
    support::{Admin, eventually, rounds, send, text},
};

/// The library that makes a disk fail.
pub(crate) fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Tests may run in processes of their own, at the same time.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
        let library = folder.join("libfaults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/faults.c");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        library
    })
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Files can't grow.
    Full,
    /// The n-th call fails, once.
    Once(i32),
    /// The n-th call fails, and all after it.
    From(i32),
}

const WRITE: i32 = 1;
const SYNC: i32 = 2;
const RENAME: i32 = 4;
const ANY: i32 = WRITE | SYNC | RENAME;

/// A data folder on a disk that fails when told to.
struct Disk {
    folder: TempDir,
    control: File,
}

impl Disk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("control"), [0; 16]).unwrap();
        let control =
            File::options().write(true).read(true).open(folder.path().join("control")).unwrap();
        Self { folder, control }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn serve(&self) -> Option<Server> {
        let environment = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAULT_CONTROL", self.folder.path().join("control").display().to_string()),
            ("FAULT_UNDER", self.data().display().to_string()),
        ];
        serve_raw(&self.data(), &environment)
    }

    fn set(&self, fault: Fault, kinds: i32) {
        let (mode, countdown) = match fault {
            Fault::Full => (1_i32, 0),
            Fault::Once(n) => (2, n),
            Fault::From(n) => (3, n),
        };
        let mut bytes = Vec::new();
        for field in [0, kinds, countdown, 0] {
            bytes.extend_from_slice(&field.to_ne_bytes());
        }
        self.control.write_all_at(&bytes, 0).unwrap();
        self.control.write_all_at(&mode.to_ne_bytes(), 0).unwrap();
    }

    fn heal(&self) -> i32 {
        self.control.write_all_at(&0_i32.to_ne_bytes(), 0).unwrap();
        let mut failed = [0; 4];
        self.control.read_exact_at(&mut failed, 12).unwrap();
        i32::from_ne_bytes(failed)
    }
}

/// Makes a device, and says whether that was acknowledged.
fn device(admin: &Admin, name: &str) -> bool {
    let body = json!({ "name": name, "device_type": "misp" }).to_string();
    admin
        .send(
            "POST",
            "/api/v1/devices",
            &[("content-type", "application/json")],
            Some(body.as_bytes()),
        )
        .status
        == 201
}

/// Imports a list, and says whether that was acknowledged.
fn import(admin: &Admin, source: &str, value: &str) -> bool {
    admin
        .send(
            "POST",
            &format!("/api/v1/sources/{source}/iocs"),
            &[("content-type", "text/plain")],
            Some(value.as_bytes()),
        )
        .status
        == 200
}

/// What was acknowledged, by name.
#[derive(Default)]
struct Acknowledged {
    devices: BTreeSet<String>,
    iocs: BTreeSet<String>,
}

impl Acknowledged {
    fn are_there(&self, admin: &Admin, when: &str) {
        let mut cursor = String::new();
        let mut found = BTreeSet::new();
        loop {
            let page = admin.get(&format!("/api/v1/devices?limit=1000{cursor}"));
            found.extend(
                page["items"].as_array().unwrap().iter().map(|device| text(device, "name")),
            );
            match page["next_cursor"].as_str() {
                // A cursor holds the name that a page ended with.
                Some(next) => cursor = format!("&cursor={}", next.replace(' ', "%20")),
                None => break,
            }
        }
        let lost: Vec<_> = self.devices.difference(&found).collect();
        assert!(lost.is_empty(), "{when}: acknowledged devices are lost: {lost:?}");
        for value in self.iocs.iter().rev().take(20) {
            assert!(admin.ioc(value).is_object(), "{when}: the acknowledged {value} is lost");
        }
    }
}

/// One cycle: the disk fails, somebody goes on working, the disk is well again.
fn cycle(
    disk: &Disk,
    admin: &Admin,
    source: &str,
    seen: &mut Acknowledged,
    round: u32,
    fault: Fault,
    kinds: i32,
) {
    let attempt = |seen: &mut Acknowledged, nth: &str| {
        let (name, value) = (format!("Device {round} {nth}"), format!("r{round}-{nth}.example"));
        if device(admin, &name) {
            seen.devices.insert(name);
        }
        if import(admin, source, &value) {
            seen.iocs.insert(value);
        }
    };
    disk.set(fault, kinds);
    for nth in 0..3 {
        attempt(seen, &nth.to_string());
    }
    let failed = disk.heal();
    eventually("the server takes writes again", || {
        let name = format!("Device {round} after");
        device(admin, &name).then(|| seen.devices.insert(name))
    });
    attempt(seen, "then");
    seen.are_there(admin, &format!("round {round}, {fault:?} at {kinds}, {failed} calls failed"));
    let ready = send("GET", &format!("{}/api/v1/ready", admin.url), &[], None);
    assert!(ready.status == 200, "{}", ready.text());
}

#[test]
fn nothing_acknowledged_is_lost_to_a_disk_that_is_full_or_fails() {
    let disk = Disk::new();
    let mut server = disk.serve().expect("the first start");
    let password = server.password.clone().unwrap();
    let mut admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 2 }), 201),
        "id",
    );
    let mut seen = Acknowledged::default();
    for round in 0..rounds(24, 500) {
        // The n-th call of a kind: a little later each time, so that each call of a write has its
        // turn.
        let nth = i32::try_from(round / 6).unwrap() % 30;
        let (fault, kinds) = match round % 6 {
            0 => (Fault::Full, ANY),
            1 => (Fault::Once(nth), WRITE),
            2 => (Fault::Once(nth), SYNC),
            3 => (Fault::From(nth), ANY),
            4 => (Fault::From(nth), SYNC),
            _ => (Fault::Once(nth), ANY),
        };
        cycle(&disk, &admin, &source, &mut seen, round, fault, kinds);
        if round % 8 == 7 {
            server.child.kill().unwrap();
            server.child.wait().unwrap();
            server = disk.serve().expect("a start after a kill");
            admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
            seen.are_there(&admin, &format!("round {round}, after a restart"));
        }
    }
    assert!(seen.devices.len() > 20 && !seen.iocs.is_empty());
}

#[test]
fn polls_alone_on_a_full_disk_lose_nothing_later() {
    let disk = Disk::new();
    let server = disk.serve().expect("the first start");
    let admin =
        Admin::sign_in(&server.url, crate::support::ADMIN, server.password.as_ref().unwrap());
    let mut seen = Acknowledged::default();
    disk.set(Fault::Full, ANY);
    // The heartbeat and the writer of pulls meet the full disk by themselves.
    std::thread::sleep(Duration::from_secs(7));
    let ready = send("GET", &format!("{}/api/v1/ready", admin.url), &[], None).json();
    disk.heal();
    for nth in 0..5 {
        let name = format!("Device {nth}");
        if eventually("a device is made", || Some(device(&admin, &name))) {
            seen.devices.insert(name);
        }
    }
    seen.are_there(&admin, &format!("ready said {ready}"));
    drop(server);
    let server = disk.serve().expect("a second start");
    let admin = Admin { url: server.url.clone(), ..admin };
    seen.are_there(&admin, "after a restart");
    assert!(!seen.devices.is_empty());
}

fn new_password(data: &Path) -> String {
    let (done, out, err) = iocast(
        &[
            "admin",
            "reset-password",
            "--json",
            "--email",
            crate::support::ADMIN,
            "--data",
            data.to_str().unwrap(),
        ],
        None,
    );
    assert!(done, "{err}");
    text(&serde_json::from_str(&out).unwrap(), "admin_password")
}

/// A start that the disk breaks off at any call is one that the next start makes good.
#[test]
fn a_first_start_that_fails_is_made_good_by_the_next() {
    let disk = Disk::new();
    let step = if std::env::var_os("IOCAST_LONG").is_some() { 1 } else { 7 };
    for kinds in [WRITE, SYNC | RENAME] {
        for nth in (0..if kinds == WRITE { 70 } else { 35 }).step_by(step) {
            let _gone = fs::remove_dir_all(disk.data());
            disk.set(Fault::From(nth), kinds);
            let first = disk.serve();
            let password = first.as_ref().and_then(|server| server.password.clone());
            drop(first);
            disk.heal();
            let second = disk.serve().unwrap_or_else(|| {
                panic!("the start after one that failed at call {nth} of kind {kinds}")
            });
            // The account may have been made by a start that ended before it could say so: then the
            // operator gives a new password.
            let password =
                second.password.clone().or(password).unwrap_or_else(|| new_password(&disk.data()));
            Admin::sign_in(&second.url, crate::support::ADMIN, &password);
        }
    }
}

/// Adding an alert with its IOCs is one write: where the disk fails at any call of it, both are
/// there or none.
#[test]
fn an_alert_and_its_iocs_are_written_together() {
    let disk = Disk::new();
    let server = disk.serve().expect("the first start");
    let admin =
        Admin::sign_in(&server.url, crate::support::ADMIN, server.password.as_ref().unwrap());
    let client = Client::at(&server.url, &admin, &text(&admin.get("/api/v1/me"), "account_id"));
    let (mut taken, mut failed) = (0, 0);
    for nth in 0..rounds::<u32>(24, 120) {
        let (title, value) = (format!("Alert {nth}"), format!("alert{nth}.example"));
        let alert = json!({
            "FoundDate": "2026-11-02T10:00:00.000Z",
            "Details": { "Title": title, "Description": "", "Type": "Phishing", "SubType": "Other", "Severity": "High", "Source": { "Type": "Other", "NetworkType": "ClearWeb" } },
            "RelatedIocs": [value],
        });
        disk.set(
            Fault::Once(i32::try_from(nth % 24).unwrap()),
            if nth % 2 == 0 { WRITE } else { ANY },
        );
        let acknowledged =
            client.ask("PUT", "/v1/data/alerts/add-alert", Some(alert)).status == 200;
        disk.heal();
        eventually("the server takes writes again", || {
            device(&admin, &format!("Device after {nth}")).then_some(())
        });
        let titles: Vec<String> = client
            .get("/v1/data/alerts/alerts-list")
            .as_array()
            .unwrap()
            .iter()
            .map(|id| {
                let alert = client
                    .get(&format!("/v1/data/alerts/get-complete-alert/{}", id.as_str().unwrap()));
                text(&alert["Details"], "Title")
            })
            .collect();
        let ioc =
            admin.get(&format!("/api/v1/iocs?value={value}"))["items"].as_array().unwrap().len()
                == 1;
        assert_eq!(
            titles.contains(&title),
            ioc,
            "call {nth}: the alert is there without its IOC, or the IOC without its alert"
        );
        assert!(ioc || !acknowledged, "call {nth}: an acknowledged alert is lost");
        if acknowledged { taken += 1 } else { failed += 1 }
    }
    assert!(taken > 0 && failed > 0, "{taken} were taken, {failed} failed");
}

/// A file that the server can't lay down: the shell says why, however much of the file it still had
/// to send.
#[test]
fn an_import_from_the_shell_says_why_the_server_refuses_it() {
    let disk = Disk::new();
    let server = disk.serve().expect("the first start");
    let admin =
        Admin::sign_in(&server.url, crate::support::ADMIN, server.password.as_ref().unwrap());
    let list = disk.folder.path().join("list.txt");
    fs::write(&list, (0..400_000).map(|n| format!("host{n}.example\n")).collect::<String>())
        .unwrap();
    disk.set(Fault::Full, ANY);
    let data = disk.data();
    let (done, out, err) = iocast(
        &[
            "import",
            list.to_str().unwrap(),
            "--source",
            "Own feed",
            "--data",
            data.to_str().unwrap(),
        ],
        None,
    );
    disk.heal();
    assert!(
        !done
            && out.is_empty()
            && err.contains("nothing was imported")
            && err.contains("No space left"),
        "{out}{err}"
    );
    let (done, out, err) = iocast(
        &[
            "import",
            list.to_str().unwrap(),
            "--source",
            "Own feed",
            "--data",
            data.to_str().unwrap(),
        ],
        None,
    );
    assert!(done && out.contains("400000 new"), "{out}{err}");
    assert!(admin.ioc("host399999.example").is_object());
}
