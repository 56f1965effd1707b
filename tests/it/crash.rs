//! A kill leaves nothing half done.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::support::{Admin, Scene, eventually, rounds, text};

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) password: Option<String>,
}

fn serve(data: &std::path::Path) -> Server {
    serve_with(data, &[])
}

/// A server in a process of its own, with settings from the environment.
pub(crate) fn serve_with(data: &std::path::Path, settings: &[(&str, String)]) -> Server {
    let environment: Vec<(String, String)> =
        settings.iter().map(|(name, value)| (format!("IOCAST_{name}"), value.clone())).collect();
    let environment: Vec<(&str, String)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    serve_raw(data, &environment).expect("the server says where it listens")
}

/// The same in an environment of the caller's; nothing where it ends before it listens.
pub(crate) fn serve_raw(data: &std::path::Path, environment: &[(&str, String)]) -> Option<Server> {
    let mut child = Command::new(crate::shell::binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut server = Server { child, url: String::new(), password: None };
    for line in lines {
        if let Some(rest) = line.trim().strip_prefix("password") {
            server.password = Some(rest.trim().to_owned());
        }
        if let Some((_, rest)) =
            line.split_once(" at http").filter(|(begin, _)| begin.starts_with("iocast "))
        {
            server.url = format!("http{}", rest.split('/').take(3).collect::<Vec<_>>().join("/"));
            return Some(server);
        }
    }
    None
}

#[test]
fn a_kill_during_an_import_leaves_all_or_nothing_and_sweeps_the_stage() {
    let folder = tempfile::TempDir::new().unwrap();
    let first = serve(folder.path());
    let password = first.password.clone().unwrap();
    let admin = Admin::sign_in(&first.url, crate::support::ADMIN, &password);
    let scene = Scene::set(&admin, None);
    drop(first);
    let mut whole = 0;
    for round in 0..rounds(6, 40) {
        let mut server = serve(folder.path());
        let admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
        let body: String = (0..20_000).map(|i| format!("r{round}-{i}.example\n")).collect();
        let importing = {
            let (admin, source) = (admin.clone(), scene.source.clone());
            std::thread::spawn(move || {
                // The line may break: that is the story.
                let _ = crate::support::agent()
                    .post(format!("{}/api/v1/sources/{source}/iocs", admin.url))
                    .header("authorization", format!("Bearer {}", admin.token))
                    .header("content-type", "text/plain")
                    .send(body.as_bytes());
            })
        };
        std::thread::sleep(std::time::Duration::from_millis(40 * (round + 1)));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        importing.join().unwrap();

        let server = serve(folder.path());
        let admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
        let count = |value: &str| {
            admin.get(&format!("/api/v1/iocs?value={value}"))["items"].as_array().unwrap().len()
        };
        let (begin, end) =
            (count(&format!("r{round}-0.example")), count(&format!("r{round}-19999.example")));
        assert_eq!(begin, end, "round {round}: all or nothing");
        whole += begin;
        assert_eq!(
            std::fs::read_dir(folder.path().join("spool")).map_or(0, Iterator::count),
            0,
            "round {round}: the stage is swept"
        );
        // What was published before stands, and the group is published on.
        let expected = (20_000 * whole).min(50_000);
        eventually("the server publishes on", || {
            (admin.get(&format!("/api/v1/groups/{}", scene.group))["published"] == expected)
                .then_some(())
        });
    }
}

/// The import was made, and nobody heard of it: the repeated request does.
#[test]
fn a_kill_between_importing_and_answering_loses_no_answer() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut server = serve(folder.path());
    let password = server.password.clone().unwrap();
    let source = {
        let admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
        let source = json!({ "name": "Own feed", "confidence": 2 });
        text(&admin.post("/api/v1/sources", source, 201), "id")
    };
    for round in 0..rounds(10, 60) {
        let admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
        let body: String = (0..500).map(|i| format!("k{round}-{i}.example\n")).collect();
        let send = {
            let (token, source) = (admin.token.clone(), source.clone());
            move |url: &str| {
                crate::support::agent()
                    .post(format!("{url}/api/v1/sources/{source}/iocs"))
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", "text/plain")
                    .header("idempotency-key", format!("import-{round}"))
                    .send(body.as_bytes())
            }
        };
        let importing = {
            let (send, url) = (send.clone(), server.url.clone());
            // The line may break: that is the story.
            std::thread::spawn(move || drop(send(&url)))
        };
        std::thread::sleep(std::time::Duration::from_millis(12 * (round % 12 + 1)));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        importing.join().unwrap();

        server = serve(folder.path());
        let answer = send(&server.url).unwrap();
        let status = answer.status().as_u16();
        let report: serde_json::Value =
            serde_json::from_str(&answer.into_body().read_to_string().unwrap()).unwrap();
        assert_eq!((status, &report["accepted"]), (200, &json!(500)), "round {round}: {report}");
    }
}

#[test]
fn a_term_signal_ends_the_server_in_order() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut server = serve(folder.path());
    let admin =
        Admin::sign_in(&server.url, crate::support::ADMIN, server.password.as_ref().unwrap());
    Scene::set(&admin, None);
    let killed = Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let status = eventually("the server ends", || server.child.try_wait().unwrap());
    assert!(status.success());
    assert!(!folder.path().join("iocast.sock").exists());
    assert_eq!(
        std::fs::metadata(folder.path().join("iocast.sqlite-wal")).map_or(0, |m| m.len()),
        0,
        "the write-ahead log was emptied"
    );
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_kill_between_doing_and_answering_loses_no_idempotent_request() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut server = serve(folder.path());
    let password = server.password.clone().unwrap();
    for round in 0..rounds(12, 100) {
        let admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
        let body = format!("{{\"name\":\"Device {round}\",\"device_type\":\"misp\"}}");
        let making = {
            let (admin, body) = (admin.clone(), body.clone());
            std::thread::spawn(move || {
                // The line may break: that is the story.
                let _ = crate::support::agent()
                    .post(format!("{}/api/v1/devices", admin.url))
                    .header("authorization", format!("Bearer {}", admin.token))
                    .header("content-type", "application/json")
                    .header("idempotency-key", format!("make-{round}"))
                    .send(body.as_bytes());
            })
        };
        std::thread::sleep(std::time::Duration::from_micros(700 * (round % 12 + 1)));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        making.join().unwrap();

        server = serve(folder.path());
        let admin = Admin::sign_in(&server.url, crate::support::ADMIN, &password);
        let key = format!("make-{round}");
        let again = admin.send(
            "POST",
            "/api/v1/devices",
            &[("content-type", "application/json"), ("idempotency-key", &key)],
            Some(body.as_bytes()),
        );
        assert_eq!(again.status, 201, "round {round}: {}", again.text());
        assert_eq!(again.json()["name"], format!("Device {round}"));
        assert_eq!(
            admin.get("/api/v1/devices?limit=1000")["items"].as_array().unwrap().len() as u64,
            round + 1
        );
    }
}
