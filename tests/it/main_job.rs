//! The main job: a device is added, IOCs arrive, a MISP pulls them, the dot turns green.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::{Device, Scene, TestApp, basic, eventually, stories, text};

stories!(
    a_misp_pulls_and_the_dot_turns_green,
    silence_turns_the_dot_red_again,
    a_line_cut_midway_is_no_pull,
    refusals_say_why_and_are_kept,
    what_is_not_a_pull_leaves_the_dot_alone,
    pulls_survive_a_restart
);

fn a_misp_pulls_and_the_dot_turns_green(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    assert_eq!(misp.get(&format!("{}/manifest.json", scene.url), &[]).text(), "{}");
    let scene_before = admin.get(&format!("/api/v1/devices/{}", scene.device));
    assert_eq!(scene_before["groups"][0]["published"], 0);

    let report = scene.import(
        &admin,
        "evil[.]example\n203.0.113.7:8080\n# a comment\nhxxp://bad.example/x\nd41d8cd98f00b204e9800998ecf8427e\nbad@evil.example\nnot-an-indicator\n",
    );
    assert_eq!(
        (report["accepted"].as_u64(), report["rejected"][0]["line"].as_u64()),
        (Some(5), Some(7))
    );
    let feed = scene.settled(
        &misp,
        &[
            "203.0.113.7",
            "bad@evil.example",
            "d41d8cd98f00b204e9800998ecf8427e",
            "evil.example",
            "http://bad.example/x",
        ],
    );
    assert_eq!(feed.infos(), ["Perimeter - 2026-11-03"]);

    let sync = eventually("the dot turns green", || {
        Some(admin.get(&format!("/api/v1/devices/{}", scene.device))["sync"].clone())
            .filter(|s| s["status"] == "green")
    });
    assert_eq!(
        (text(&sync, "reason"), text(&sync, "last_pull_at")),
        ("synced".into(), "2026-11-03T10:00:00.000000Z".into())
    );

    // The second pull costs nothing, and like ones are counted together.
    let manifest = misp.get(&format!("{}/manifest.json", scene.url), &[]);
    let etag = manifest.header("etag").to_owned();
    assert!(etag.starts_with('"'), "{etag} is strong");
    for _ in 0..3 {
        let again = misp.get(&format!("{}//manifest.json", scene.url), &[("if-none-match", &etag)]);
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, etag.as_str()));
    }
    let conditional = |line: &Value| line["count"] == 3 && line["status"] == 304;
    let pulls = eventually("three like pulls are one line", || {
        Some(admin.get(&format!("/api/v1/devices/{}/pulls", scene.device)))
            .filter(|p| p["items"].as_array().unwrap().iter().any(conditional))
    });
    let line = pulls["items"].as_array().unwrap().iter().find(|l| conditional(l)).unwrap();
    assert_eq!(
        (
            line["status"].as_u64(),
            text(line, "user_agent"),
            text(line, "misp_version"),
            text(line, "address")
        ),
        (Some(304), "MISP 2.5.1 - #abc".into(), "2.5.1".into(), "127.0.0.1".into())
    );
    let key = admin.get("/api/v1/keys")["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["kind"] == "appliance")
        .unwrap()
        .clone();
    assert_eq!(text(&key, "last_used_at"), "2026-11-03T10:00:00.000000Z");
}

fn silence_turns_the_dot_red_again(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    assert_eq!(admin.dot(&scene.device), ("red".into(), "never_pulled".into()));
    app.device().get(&format!("{}/manifest.json", scene.url), &[]);
    eventually("the dot turns green", || (admin.dot(&scene.device).0 == "green").then_some(()));
    app.advance(&admin, "48h");
    assert_eq!(
        admin.dot(&scene.device),
        ("green".into(), "synced".into()),
        "exactly 48 hours is not yet silent"
    );
    app.advance(&admin, "1s");
    assert_eq!(admin.dot(&scene.device), ("red".into(), "silent".into()));
    let sync = admin.get(&format!("/api/v1/devices/{}", scene.device))["sync"].clone();
    assert_eq!(sync["silent_since"], sync["last_pull_at"]);
}

fn a_line_cut_midway_is_no_pull(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    let misp = app.device();
    // Each time it is sent again it enters a new event, and the old one stays listed for its
    // tombstone: in the end the manifest is too long for the buffers between a server and a client
    // that does not read.
    for _ in 0..40 {
        admin.post(&format!("/api/v1/groups/{}/send-again", scene.group), json!({}), 200);
    }
    let length = misp
        .request("HEAD", &format!("{}/manifest.json", scene.url), &[])
        .header("content-length")
        .parse::<usize>()
        .unwrap();
    assert!(length > 8_000, "{length} bytes");
    let address: std::net::SocketAddr = app.url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(&SockAddr::from(address)).unwrap();
    let mut stream = TcpStream::from(socket);
    let path = scene.url.strip_prefix(&app.url).unwrap();
    write!(
        stream,
        "GET {path}/manifest.json HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n",
        basic(&app.account_id, &app.appliance_key)
    )
    .unwrap();
    let mut some = [0; 400];
    stream.read_exact(&mut some).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(stream);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(admin.dot(&scene.device), ("red".into(), "never_pulled".into()));
    assert_eq!(misp.get(&format!("{}/manifest.json", scene.url), &[]).body.len(), length);
    eventually("a whole pull turns the dot green", || {
        (admin.dot(&scene.device).0 == "green").then_some(())
    });
}

fn refusals_say_why_and_are_kept(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let manifest = format!("{}/manifest.json", scene.url);
    let anonymous = crate::support::agent().get(&manifest).call().unwrap();
    assert_eq!(
        (
            anonymous.status().as_u16(),
            anonymous.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic realm=")
        ),
        (401, true)
    );
    let stranger = Device::new(&app.account_id, "iak_0000");
    let refused = stranger.get(&manifest, &[]);
    assert!(
        refused.status == 401 && refused.text().starts_with("Key rejected"),
        "{}",
        refused.text()
    );
    assert!(
        Device::new("0123456789abcdef01234567", &app.appliance_key).get(&manifest, &[]).status
            == 401,
        "the key of another account"
    );
    assert_eq!(
        app.device()
            .get(
                &format!("{}/feeds/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/manifest.json", app.url),
                &[]
            )
            .status,
        404
    );
    assert!(
        app.device()
            .get(&format!("{manifest}/manifest.json"), &[])
            .text()
            .contains("End the feed URL before")
    );
    let page = app.device().get(&scene.url, &[("accept", "text/html")]);
    assert!(
        page.status == 200
            && page.text().contains("IOC group Perimeter of the MISP device Lab MISP")
    );
    admin.patch(&format!("/api/v1/devices/{}", scene.device), json!({ "name": "New name" }), 200);
    let page = app.device().get(&scene.url, &[("accept", "text/html")]);
    assert!(
        page.text().contains("IOC group Perimeter of the MISP device New name"),
        "{}",
        page.text()
    );
    admin.patch(&format!("/api/v1/devices/{}", scene.device), json!({ "name": "Lab MISP" }), 200);

    let key = admin.get("/api/v1/keys")["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["kind"] == "appliance")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    admin.delete(&format!("/api/v1/keys/{key}"), 204);
    app.advance(&admin, "2d");
    let refused = app.device().get(&manifest, &[]);
    assert!(
        refused.status == 401 && refused.text().contains("appliance key revoked 2 days ago"),
        "{}",
        refused.text()
    );
    let api_key =
        text(&admin.post("/api/v1/keys", serde_json::json!({ "kind": "api" }), 201), "secret");
    assert!(
        Device::new(&app.account_id, &api_key)
            .get(&manifest, &[])
            .text()
            .contains("this is an API key")
    );
    // Listed are clients that knew the account: with a dead key, a mistyped one, one that is for
    // something else.
    for reason in
        ["appliance key revoked 2 days ago", "account ID or key is wrong", "this is an API key"]
    {
        eventually(&format!("the history says: {reason}"), || {
            let pulls = admin.get(&format!("/api/v1/devices/{}/pulls", scene.device));
            pulls["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|l| l["status"] == 401 && text(l, "reason").contains(reason))
                .map(|_| ())
        });
    }
    let count = |address: &str| {
        admin
            .get(&format!("/api/v1/devices/{}/pulls", scene.device))
            .to_string()
            .matches(address)
            .count()
    };
    assert_eq!(count("Authentication needed"), 0, "strangers leave no trace");
    assert_eq!(admin.dot(&scene.device).1, "never_pulled");
}

fn what_is_not_a_pull_leaves_the_dot_alone(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    let misp = app.device();
    eventually("the event is there", || {
        misp.request("HEAD", &format!("{}/manifest.json", scene.url), &[])
            .header("content-length")
            .parse::<usize>()
            .ok()
            .filter(|l| *l > 100)
    });
    let takes = |encodings: &str| {
        let manifest = format!("{}/manifest.json", scene.url);
        let head = misp.request("HEAD", &manifest, &[("accept-encoding", encodings)]);
        assert!(head.status == 200 && head.body.is_empty(), "{encodings}");
        head.header("content-encoding") == "gzip"
    };
    for yes in ["gzip", "deflate, gzip, br, zstd", "GZIP;q=0.5", "*", "br, *;q=0.1"] {
        assert!(takes(yes), "{yes}");
    }
    for no in ["", "identity", "br", "gzip;q=0", "gzip;q=0, *"] {
        assert!(!takes(no), "{no}");
    }
    assert_eq!(misp.get(&scene.url, &[]).status, 200);
    assert_eq!(misp.get(&format!("{}/hashes.csv", scene.url), &[]).status, 200);
    assert_eq!(misp.get(&format!("{}/nothing.json", scene.url), &[]).status, 404);
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    assert_eq!(admin.dot(&scene.device), ("red".into(), "never_pulled".into()));
}

fn pulls_survive_a_restart(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "evil.example");
    let before = scene.settled(&app.device(), &["evil.example"]);
    app.restart();
    let (old, path) = scene.url.split_at(scene.url.find("/feeds/").unwrap());
    assert_ne!(old, app.url, "another port");
    let after = app.device().feed(&format!("{}{path}", app.url));
    assert_eq!(after.events, before.events);
    let admin = app.admin();
    assert_eq!(admin.dot(&scene.device).0, "green");
    assert_eq!(
        admin.post("/api/v1/devices", json!({ "name": "lab misp", "device_type": "misp" }), 422)["errors"]
            [0]["code"],
        "name_taken"
    );
}
