//! The server is killed while a source fetches: nothing is lost, and nothing comes twice.

use std::{fs, time::Duration};

use iocast_server::{Entropy as _, clock::SystemEntropy};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    crash::serve_with,
    kills::kill,
    lists::{device, python, source},
    support::{ADMIN, Admin, basic, eventually, postgres_database, psql_on, rounds, send, text},
    upstreams::Site,
};

/// What the feeds hold in a round: most of it as before, some new, some gone.
fn names(of: &str, round: usize) -> Vec<String> {
    (round * 20..round * 20 + 200).map(|n| format!("{of}{n}.example")).collect()
}

fn write_feeds(list: &std::path::Path, feed: &std::path::Path, round: usize) {
    fs::write(list.join("list.txt"), names("l", round).join("\n")).unwrap();
    let events: Vec<Value> = names("m", round)
        .chunks(10)
        .map(|some| {
            let number = some[0].trim_start_matches('m').trim_end_matches(".example");
            let attributes: Vec<Value> = some.iter().map(|name| json!(["domain", name])).collect();
            json!({ "uuid": format!("5f0b5c4e-0000-4000-8000-{number:0>12}"), "info": "Campaign",
                "date": "2026-11-01", "timestamp": 1_000 + round, "tags": [], "attributes": attributes })
        })
        .collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/misp_feed.py");
    python(&[script, feed.to_str().unwrap()], &Value::from(events).to_string());
}

#[test]
fn a_kill_during_a_fetch_loses_and_doubles_nothing() {
    kills_during_fetches(None);
}

#[test]
fn a_kill_during_a_fetch_on_postgres() {
    kills_during_fetches(Some(&postgres_database()));
}

fn kills_during_fetches(database: Option<&str>) {
    let (folder, feed, list) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let site = Site::serve(list.path());
    let misp = Site::serve(feed.path());
    let mut settings = vec![("FETCH_NETWORKS", "127.0.0.0/8".to_owned())];
    settings.extend(database.map(|url| ("DATABASE_URL", url.to_owned())));
    let mut server = serve_with(folder.path(), &settings);
    let password = server.password.clone().unwrap();
    let admin = Admin::sign_in(&server.url, ADMIN, &password);
    let plain = device(&admin, "plain-list", json!({}));
    let key = text(
        &admin.post(&format!("/api/v1/devices/{}/keys", plain.device), json!({}), 201),
        "secret",
    );
    let account = text(&admin.get("/api/v1/account"), "id");
    let lists = source(&admin);
    let other = json!({ "name": "Events", "confidence": 2 });
    let events = text(&admin.post("/api/v1/sources", other, 201), "id");
    write_feeds(list.path(), feed.path(), 0);
    for (source, body) in [
        (
            &lists,
            json!({ "url": format!("{}/list.txt", site.url), "coverage": "full", "paused": true }),
        ),
        (&events, json!({ "url": misp.url, "protocol": "misp_feed", "paused": true })),
    ] {
        admin.put(&format!("/api/v1/sources/{source}/subscription"), body, 200);
    }
    let fetch = |admin: &Admin, source: &str| {
        let path = format!("/api/v1/sources/{source}/subscription/fetch?accept_loss=true");
        eventually("nobody else fetches", || {
            let answer =
                admin.send("POST", &path, &[("content-type", "application/json")], Some(b"{}"));
            (answer.status == 200).then(|| answer.json())
        })
    };
    let rounds: usize = rounds(if database.is_some() { 3 } else { 6 }, 60);
    for round in 0..rounds {
        write_feeds(list.path(), feed.path(), round);
        let admin = Admin::sign_in(&server.url, ADMIN, &password);
        let asking = [&lists, &events].map(|source| {
            let url = format!(
                "{}/api/v1/sources/{source}/subscription/fetch?accept_loss=true",
                server.url
            );
            let token = format!("Bearer {}", admin.token);
            // The line breaks: that is the story.
            std::thread::spawn(move || {
                let _ =
                    crate::support::agent().post(url).header("authorization", token).send_empty();
            })
        });
        let mut chance = [0; 2];
        SystemEntropy.fill(&mut chance);
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_le_bytes(chance)) * 5));
        kill(server);
        asking.into_iter().for_each(|asked| asked.join().unwrap());
        if let Some(url) = database {
            // Other replicas wait until claims lapse; five minutes pass.
            psql_on(url, "UPDATE subscriptions SET claimed_until = 0");
            psql_on(url, "UPDATE ioc_groups SET claim_until = 0");
        }
        server = serve_with(folder.path(), &settings);
        let admin = Admin::sign_in(&server.url, ADMIN, &password);
        for source in [&lists, &events] {
            let done = fetch(&admin, source);
            assert_ne!(done["outcome"], "failed", "round {round}: {done}");
            assert_eq!(done["listed"], 200, "round {round}: {done}");
        }
        let mut wanted = [names("l", round), names("m", round)].concat();
        wanted.sort();
        let url = format!("{}/feeds/{}", server.url, plain.group);
        eventually(&format!("round {round}: the device gets what the feeds hold"), || {
            let answer = send("GET", &url, &[("authorization", &basic(&account, &key))], None);
            let mut found: Vec<String> = answer.text().lines().map(str::to_owned).collect();
            found.sort();
            (found == wanted).then_some(())
        });
        let reports = admin.ioc(&wanted[0])["reports"].clone();
        assert_eq!(reports.as_array().map(Vec::len), Some(1), "round {round}: {reports}");
    }
    kill(server);
}
