//! The watchdog and its messages under the axe: killed, stopped and continued, a message is neither
//! lost nor sent twice.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use iocast_server::{Entropy, clock::SystemEntropy};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    crash::{Server, serve_with},
    support::{ADMIN, Admin, Post, eventually, postgres_database, rounds, text},
};

pub(crate) fn settings(post: &Post, database: Option<&str>) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("EMULATOR", "true".to_owned()),
        ("SMTP_HOST", "127.0.0.1".to_owned()),
        ("SMTP_PORT", post.port.to_string()),
        ("SMTP_SECURITY", "plain".to_owned()),
        ("MAIL_DEADLINE_SECONDS", "1".to_owned()),
    ];
    settings.extend(database.map(|url| ("DATABASE_URL", url.to_owned())));
    settings
}

pub(crate) fn signal(server: &Server, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &server.child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

pub(crate) fn kill(mut server: Server) {
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}

/// Message-IDs of the messages with this subject, with how often each was taken.
fn taken(post: &Post, subject: &str) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for message in post.messages().iter().filter(|l| text(l, "subject") == subject) {
        *ids.entry(text(message, "message")).or_default() += 1;
    }
    ids
}

pub(crate) fn advance(admin: &Admin, span: &str) {
    // The line may break: that is the story.
    let body = json!({ "advance": span }).to_string();
    let _ = crate::support::agent()
        .post(format!("{}/api/v1/emulator/clock", admin.url))
        .header("authorization", format!("Bearer {}", admin.token))
        .header("content-type", "application/json")
        .send(body.as_bytes());
}

/// Kills the server while it hangs at each step of handing a message over, and at random moments
/// from noticing to settling.
fn killed_at_every_step(database: Option<&str>) {
    let mut post = Post::open();
    let folder = TempDir::new().unwrap();
    let settings = settings(&post, database);
    let mut server = serve_with(folder.path(), &settings);
    let password = server.password.clone().unwrap();
    let steps = ["connect", "EHLO", "MAIL", "RCPT", "DATA", "dot", "lost", "random"];
    let rounds = rounds(10, 100);
    for round in 0..rounds {
        let step = steps[round % steps.len()];
        let admin = Admin::sign_in(&server.url, ADMIN, &password);
        let name = format!("Device {round}");
        admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201);
        let before = post.reached(step);
        match step {
            "random" => {}
            // The server takes the message, and never hears so.
            "lost" => post.fault("dot", "lost"),
            step => post.fault(step, "hang"),
        }
        let subject = format!("[iocast] {name} is silent (iocast)");
        let noticing = {
            let admin = admin.clone();
            std::thread::spawn(move || advance(&admin, "49h"))
        };
        match step {
            "random" => std::thread::sleep(Duration::from_micros(u64::from(random()) % 60_000)),
            "lost" => eventually("the message is taken", || {
                (!taken(&post, &subject).is_empty()).then_some(())
            }),
            step => eventually(&format!("{step} is reached"), || {
                (post.reached(step) > before).then_some(())
            }),
        }
        kill(server);
        noticing.join().unwrap();
        post.calm();
        server = serve_with(folder.path(), &settings);
        let admin = Admin::sign_in(&server.url, ADMIN, &password);
        // Killed before the clock was moved, nothing is due yet.
        if step == "random"
            && admin.get("/api/v1/outages")["items"].as_array().unwrap().len() <= round
        {
            advance(&admin, "49h");
        }
        let ids = eventually(&format!("round {round} ({step}): the message arrives"), || {
            Some(taken(&post, &subject)).filter(|ids| !ids.is_empty())
        });
        eventually("it is settled", || {
            let open = open_messages(&admin);
            // What failed before the kill rests for a minute.
            if open.iter().any(|l| l["state"] == "due") {
                advance(&admin, "1m");
            }
            open.is_empty().then_some(())
        });
        let ids = if taken(&post, &subject) == ids { ids } else { taken(&post, &subject) };
        assert_eq!(ids.len(), 1, "round {round} ({step}): one Message-ID: {ids:?}");
        let copies = ids.values().sum::<usize>();
        assert!(
            copies == 1 || copies == 2 && ["lost", "random"].contains(&step),
            "round {round} ({step}): {copies} copies"
        );
    }
    let admin = Admin::sign_in(&server.url, ADMIN, &password);
    let outages = admin.get("/api/v1/outages?limit=1000")["items"].as_array().unwrap().clone();
    assert!(
        outages.len() == rounds
            && outages.iter().all(|o| o["messages"].as_array().unwrap().len() <= 1),
        "{} outages",
        outages.len()
    );
    kill(server);
}

fn open_messages(admin: &Admin) -> Vec<Value> {
    ["due", "claimed"]
        .iter()
        .flat_map(|state| {
            admin.get(&format!("/api/v1/outbox?state={state}&limit=1000"))["items"]
                .as_array()
                .unwrap()
                .clone()
        })
        .collect()
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    SystemEntropy.fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

#[test]
fn killed_at_every_step_on_sqlite() {
    killed_at_every_step(None);
}

#[test]
fn killed_at_every_step_on_postgres() {
    killed_at_every_step(Some(&postgres_database()));
}

/// One of several servers on one database, under an axe that falls at random.
struct Replica {
    server: Option<Server>,
    folder: Arc<TempDir>,
    stopped_until: Option<Instant>,
}

#[test]
fn three_processes_killed_stopped_and_continued_tell_each_outage_once() {
    let post = Post::open();
    let database = postgres_database();
    let folders: Vec<Arc<TempDir>> = (0..3).map(|_| Arc::new(TempDir::new().unwrap())).collect();
    let mut settings = settings(&post, Some(&database));
    settings.push((
        "SECRETS_FILE",
        folders[0].path().join("secrets.json").to_str().unwrap().to_owned(),
    ));
    let first = serve_with(folders[0].path(), &settings);
    let password = first.password.clone().unwrap();
    let mut replicas =
        vec![Replica { server: Some(first), folder: Arc::clone(&folders[0]), stopped_until: None }];
    for folder in &folders[1..] {
        replicas.push(Replica {
            server: Some(serve_with(folder.path(), &settings)),
            folder: Arc::clone(folder),
            stopped_until: None,
        });
    }
    let admin = Admin::sign_in(&replicas[0].server.as_ref().unwrap().url, ADMIN, &password);
    // A few at a time, so that each outage has a message of its own.
    let wanted: usize = rounds(20, 500);
    let mut made = 0;
    let mut strikes = 0;
    while made < wanted {
        let alive = awake(&mut replicas, &settings);
        let admin = Admin { url: alive, token: admin.token.clone() };
        for _ in 0..3.min(wanted - made) {
            let name = format!("Device {made}");
            admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201);
            made += 1;
        }
        let noticing = std::thread::spawn(move || advance(&admin, "49h"));
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(u64::from(random()) % 120));
            let at = random() as usize % 3;
            strikes += usize::from(strike(&mut replicas[at]));
        }
        // Awake first: the one that is to move the clock may be among the stopped.
        let url = awake(&mut replicas, &settings);
        noticing.join().unwrap();
        // If it died before it could, another moves the clock.
        let admin = Admin::sign_in(&url, ADMIN, &password);
        if all_outages(&admin) < made {
            advance(&admin, "49h");
        }
        eventually("every silence is noticed", || (all_outages(&admin) == made).then_some(()));
    }
    let url = awake(&mut replicas, &settings);
    let admin = Admin::sign_in(&url, ADMIN, &password);
    eventually("every message is settled", || {
        advance(&admin, "15m");
        open_messages(&admin).is_empty().then_some(())
    });
    let mut extra = 0;
    for n in 0..wanted {
        let ids = taken(&post, &format!("[iocast] Device {n} is silent (iocast)"));
        assert_eq!(ids.len(), 1, "device {n}: one message, and none missing: {ids:?}");
        extra += ids.values().sum::<usize>() - 1;
    }
    println!(
        "{wanted} outages, {strikes} kills and stops, {extra} extra copies with the same Message-ID"
    );
    // Only a strike between the last look at the claim and the note of what came of it gives a
    // second copy, and each of a server's four senders may be in that gap.
    assert!(extra <= 4 * strikes, "{extra} extra copies for {strikes} strikes");
    for replica in replicas {
        if let Some(server) = replica.server {
            kill(server);
        }
    }
}

fn all_outages(admin: &Admin) -> usize {
    admin.get("/api/v1/outages?limit=1000")["items"].as_array().unwrap().len()
}

/// Kills a replica, stops it for longer than its claims hold, or spares it. Gives whether it was
/// struck.
fn strike(replica: &mut Replica) -> bool {
    if replica.stopped_until.is_some() {
        return false;
    }
    match (&replica.server, random() % 3) {
        (Some(_), 0) => {
            kill(replica.server.take().unwrap());
            true
        }
        (Some(server), 1) => {
            signal(server, "-STOP");
            replica.stopped_until = Some(Instant::now() + Duration::from_millis(2_500));
            true
        }
        _ => false,
    }
}

/// Continues and restarts everybody, and gives the address of one.
fn awake(replicas: &mut [Replica], settings: &[(&str, String)]) -> String {
    for replica in replicas.iter_mut() {
        if let (Some(until), Some(server)) = (replica.stopped_until.take(), &replica.server) {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            signal(server, "-CONT");
        }
        if replica.server.is_none() {
            replica.server = Some(serve_with(Path::new(replica.folder.path()), settings));
        }
    }
    replicas[random() as usize % replicas.len()].server.as_ref().unwrap().url.clone()
}
