//! Silence is noticed, told once, and over with the next pull.

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::support::{Admin, Engine, Post, Scene, TestApp, eventually, stories, text};

stories!(
    more_than_48_hours_is_told_once_and_the_next_pull_is_told_too,
    who_is_watched_and_who_is_told,
    thresholds_of_account_and_device,
    flapping_never_tells_twice,
    many_at_once_are_one_message,
    our_downtime_is_not_their_silence,
    a_full_group_is_told_of_once,
    a_clock_that_jumps_judges_nobody,
    a_longer_silence_may_be_allowed_while_it_lasts
);

pub(crate) const HOUR: i64 = 3_600_000_000;
const MILLI: i64 = 1_000;

/// A app whose messages go to a mail server of its own.
pub(crate) fn with_post(app: &mut TestApp) -> Post {
    let post = Post::open();
    app.reopen(|config| post.plain(config));
    post
}

/// Lets the watchdog look around, and messages be handed over.
pub(crate) fn look(admin: &Admin) -> Value {
    admin.post("/api/v1/emulator/clock", json!({ "advance": "0s" }), 200)
}

fn pull(app: &TestApp, admin: &Admin, scene: &Scene) {
    let device = app.device();
    let before =
        admin.get(&format!("/api/v1/devices/{}", scene.device))["sync"]["last_pull_at"].clone();
    assert_eq!(device.get(&format!("{}/manifest.json", scene.url), &[]).status, 200);
    eventually("the pull shows", || {
        let sync = admin.get(&format!("/api/v1/devices/{}", scene.device))["sync"].clone();
        (sync["last_pull_at"] != before
            || sync["last_pull_at"] == admin.get("/api/v1/emulator/clock")["now"])
            .then_some(())
    });
}

fn outages(admin: &Admin) -> Vec<Value> {
    admin.get("/api/v1/outages")["items"].as_array().unwrap().clone()
}

fn audited(admin: &Admin, action: &str) -> usize {
    admin.get("/api/v1/audit?limit=1000")["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["action"] == action)
        .count()
}

fn more_than_48_hours_is_told_once_and_the_next_pull_is_told_too(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let device = app.device();
    pull(app, &admin, &scene);
    let refused = crate::support::Device::new(&app.account_id, "iak_wrong")
        .get(&format!("{}/manifest.json", scene.url), &[]);
    assert_eq!(refused.status, 401);
    app.clock.advance(48 * HOUR - MILLI);
    assert_eq!(
        (look(&admin)["outages_opened"].as_u64(), admin.dot(&scene.device).0.as_str()),
        (Some(0), "green"),
        "47:59:59.999"
    );
    app.clock.advance(MILLI);
    assert_eq!(
        (look(&admin)["outages_opened"].as_u64(), admin.dot(&scene.device).0.as_str()),
        (Some(0), "green"),
        "48:00:00.000"
    );
    assert!(post.messages().is_empty());
    app.clock.advance(MILLI);
    let done = look(&admin);
    assert_eq!(
        (&done["outages_opened"], &done["messages_queued"], &done["messages_sent"]),
        (&json!(1), &json!(1), &json!(1)),
        "{done}"
    );
    assert_eq!(admin.dot(&scene.device), ("red".into(), "silent".into()));
    let message = post.messages().pop().unwrap();
    assert_eq!(
        (text(&message, "subject"), message["to"].clone()),
        ("[iocast] Lab MISP is silent (iocast)".into(), json!([crate::support::ADMIN]))
    );
    let words = text(&message, "text");
    for said in [
        "\"Lab MISP\" (MISP)",
        "2 days",
        "2026-11-03 10:00 UTC",
        "127.0.0.1",
        "What to check",
        &scene.device,
    ] {
        assert!(words.contains(said), "{said} in {words}");
    }
    let link = words.lines().find_map(|l| l.strip_prefix("The device: ")).unwrap();
    assert_eq!(crate::support::agent().get(link).call().unwrap().status().as_u16(), 200, "{link}");
    // Told once, however long it lasts.
    for _ in 0..5 {
        app.advance(&admin, "30h");
    }
    assert_eq!((post.messages().len(), outages(&admin).len()), (1, 1));

    assert_eq!(device.get(&format!("{}/manifest.json", scene.url), &[]).status, 200);
    let recovery = eventually("the recovery is told", || post.messages().get(1).cloned());
    assert_eq!(text(&recovery, "subject"), "[iocast] Lab MISP pulls again (iocast)");
    assert_eq!(admin.dot(&scene.device), ("green".into(), "synced".into()));
    let outage = outages(&admin).pop().unwrap();
    assert_eq!(
        (outage["began_at"].as_str(), outage["ended_by"].as_str()),
        (Some("2026-11-03T10:00:00.000000Z"), Some("pull"))
    );
    let messages: Vec<(String, String)> = outage["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (text(l, "kind"), text(l, "state")))
        .collect();
    assert_eq!(messages, [("warning".into(), "sent".into()), ("recovery".into(), "sent".into())]);
    assert_eq!((audited(&admin, "device.silent"), audited(&admin, "device.recovered")), (1, 1));
    // The next silence is another outage.
    app.advance(&admin, "49h");
    assert_eq!((post.messages().len(), outages(&admin).len()), (3, 2));
}

fn who_is_watched_and_who_is_told(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let add = |name: &str| {
        text(
            &admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201),
            "id",
        )
    };
    let (_never, paused, deleted, renamed) =
        (add("Never pulled"), add("Paused"), add("Deleted"), add("Old name"));
    admin.patch(&format!("/api/v1/devices/{paused}"), json!({ "paused": true }), 200);
    admin.delete(&format!("/api/v1/devices/{deleted}"), 204);
    admin.patch(&format!("/api/v1/devices/{renamed}"), json!({ "name": "New name" }), 200);
    // People: a second administrator, one who wants no messages, one who is disabled, an analyst.
    let invite = |email: &str, role: &str| {
        text(&admin.post("/api/v1/users", json!({ "email": email, "role": role }), 201), "id")
    };
    invite("second@example.com", "admin");
    let quiet = invite("quiet@example.com", "admin");
    let gone = invite("gone@example.com", "admin");
    invite("analyst@example.com", "analyst");
    admin.patch(&format!("/api/v1/users/{quiet}"), json!({ "mail_alerts": false }), 200);
    admin.patch(&format!("/api/v1/users/{gone}"), json!({ "active": false }), 200);
    assert_eq!(admin.get("/api/v1/account")["alerted_people"], 2);
    app.advance(&admin, "49h");
    let warned = |post: &Post| {
        let mut told: Vec<(String, String)> = post
            .messages()
            .iter()
            .filter(|l| text(l, "subject").contains("silent"))
            .map(|l| (l["to"][0].as_str().unwrap().to_owned(), text(l, "subject")))
            .collect();
        told.sort();
        told
    };
    let expected: Vec<(String, String)> = [crate::support::ADMIN, "second@example.com"]
        .into_iter()
        .flat_map(|to| {
            ["[iocast] Never pulled is silent (iocast)", "[iocast] New name is silent (iocast)"]
                .map(|s| (to.to_owned(), s.to_owned()))
        })
        .collect();
    assert_eq!(warned(&post), expected);
    assert!(post.messages().iter().any(|l| text(l, "text").contains("It never pulled")));

    // Pausing ends an outage quietly; resumed, silence counts from then.
    admin.patch(&format!("/api/v1/devices/{renamed}"), json!({ "paused": true }), 200);
    assert_eq!(outages(&admin).iter().filter(|o| o["ended_by"] == "pause").count(), 1);
    admin.patch(&format!("/api/v1/devices/{paused}"), json!({ "paused": false }), 200);
    app.advance(&admin, "48h");
    assert_eq!(warned(&post).len(), 4);
    app.advance(&admin, "1s");
    assert_eq!(warned(&post).len(), 6, "48 hours after it was resumed");

    // An account in which nobody gets messages says so, once.
    for user in admin.get("/api/v1/users")["items"].as_array().unwrap() {
        admin.patch(
            &format!("/api/v1/users/{}", text(user, "id")),
            json!({ "mail_alerts": false }),
            200,
        );
    }
    add("Untold");
    app.advance(&admin, "49h");
    add("Untold too");
    app.advance(&admin, "49h");
    assert_eq!(
        (
            warned(&post).len(),
            audited(&admin, "alerts.nobody"),
            admin.get("/api/v1/account")["alerted_people"].as_u64()
        ),
        (6, 1, Some(0))
    );
    let me = text(&admin.get("/api/v1/me"), "id");
    // Once an administrator gets messages again, they hear of what is still silent and was told to
    // no one.
    admin.patch(&format!("/api/v1/users/{me}"), json!({ "mail_alerts": true }), 200);
    look(&admin);
    eventually("the outages are mailed late", || (warned(&post).len() == 8).then_some(()));
    assert!(
        warned(&post)
            .iter()
            .filter(|(to, subject)| to == crate::support::ADMIN && subject.contains("Untold"))
            .count()
            == 2,
        "{:?}",
        warned(&post)
    );
    look(&admin);
    assert_eq!(warned(&post).len(), 8, "and not again");
    let last = admin.patch(&format!("/api/v1/users/{me}"), json!({ "role": "analyst" }), 200);
    assert_eq!(last["role"], "analyst", "the invited second administrator is one, too");
}

fn thresholds_of_account_and_device(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let add = |name: &str| {
        text(
            &admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201),
            "id",
        )
    };
    let (quick, slow) = (add("Quick"), add("Slow"));
    assert_eq!(admin.get("/api/v1/account")["silent_after_hours"], 48);
    assert_eq!(
        admin.patch("/api/v1/account", json!({ "silent_after_hours": 1 }), 200)["silent_after_hours"],
        1
    );
    assert_eq!(
        admin.patch(&format!("/api/v1/devices/{slow}"), json!({ "silent_after_hours": 720 }), 200)
            ["silent_after_hours"],
        720
    );
    for (path, hours) in
        [("/api/v1/account".to_owned(), 0), (format!("/api/v1/devices/{quick}"), 721)]
    {
        assert_eq!(
            admin.patch(&path, json!({ "silent_after_hours": hours }), 422)["errors"][0]["code"],
            "silent_after_out_of_range"
        );
    }
    app.advance(&admin, "1h");
    assert!(post.messages().is_empty());
    app.advance(&admin, "1s");
    assert_eq!(post.subjects(), ["[iocast] Quick is silent (iocast)"]);
    app.advance(&admin, "718h");
    assert_eq!(post.messages().len(), 1);
    app.advance(&admin, "1h");
    assert_eq!(post.subjects()[1], "[iocast] Slow is silent (iocast)");
    assert_eq!(
        admin.patch("/api/v1/account", json!({ "silent_after_hours": null }), 200)["silent_after_hours"],
        48
    );
}

fn flapping_never_tells_twice(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    pull(app, &admin, &scene);
    for _ in 0..3 {
        app.clock.advance(48 * HOUR - MILLI);
        look(&admin);
        pull(app, &admin, &scene);
    }
    assert_eq!((post.messages().len(), outages(&admin).len()), (0, 0), "always just in time");
    for _ in 0..3 {
        app.clock.advance(48 * HOUR + MILLI);
        look(&admin);
        look(&admin);
        pull(app, &admin, &scene);
        look(&admin);
    }
    let told: Vec<bool> = post.subjects().iter().map(|s| s.contains("silent")).collect();
    assert_eq!(told, [true, false, true, false, true, false], "each a warning, then its recovery");

    // Nobody got the warning: nobody needs to hear of the recovery.
    post.fault("connect", "421 later");
    app.advance(&admin, "49h");
    assert_eq!(admin.get("/api/v1/outbox?state=due")["items"].as_array().unwrap().len(), 1);
    pull(app, &admin, &scene);
    post.calm();
    app.advance(&admin, "1h");
    assert_eq!(post.messages().len(), 6);
    let states: Vec<String> = outages(&admin)[0]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| text(l, "state"))
        .collect();
    assert_eq!(states, ["superseded"]);
}

fn many_at_once_are_one_message(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let device = app.device();
    let scenes: Vec<(String, String)> = (0..7)
        .map(|n| {
            let id = text(
                &admin.post(
                    "/api/v1/devices",
                    json!({ "name": format!("MISP {n}"), "device_type": "misp" }),
                    201,
                ),
                "id",
            );
            let group = admin.post(
                &format!("/api/v1/devices/{id}/groups"),
                json!({ "name": "Perimeter" }),
                201,
            );
            (id, text(&group, "url"))
        })
        .collect();
    app.advance(&admin, "49h");
    assert_eq!(post.subjects(), ["[iocast] 7 devices are silent (iocast)"]);
    let told = outages(&admin);
    assert!(
        told.len() == 7
            && told.iter().all(|o| o["messages"].as_array().unwrap().len() == 1
                && o["messages"][0]["id"] == told[0]["messages"][0]["id"])
    );
    for (_, url) in &scenes {
        assert_eq!(device.get(&format!("{url}/manifest.json"), &[]).status, 200);
    }
    eventually("all are told to be back", || {
        outages(&admin).iter().all(|o| o["messages"].as_array().unwrap().len() == 2).then_some(())
    });
    app.advance(&admin, "5m");
    eventually("every recovery is sent", || {
        outages(&admin).iter().all(|o| o["messages"][1]["state"] == "sent").then_some(())
    });
    assert!(post.subjects().iter().skip(1).all(|s| s.contains("again")));
}

fn our_downtime_is_not_their_silence(app: &mut TestApp) {
    let post = with_post(app);
    let mut admin = app.admin();
    let mut scene = Scene::set(&admin, None);
    admin.post("/api/v1/devices", json!({ "name": "Really silent", "device_type": "misp" }), 201);
    pull(app, &admin, &scene);
    for hours in [49, 72] {
        app.stop();
        app.clock.pass(hours * HOUR);
        app.restart();
        admin = app.admin();
        scene.url = format!("{}/feeds/{}", app.url, scene.group);
        assert_eq!(look(&admin)["outages_opened"], 0, "after {hours} hours");
        assert_eq!(admin.dot(&scene.device).0, "green");
    }
    pull(app, &admin, &scene);
    app.clock.advance(48 * HOUR);
    look(&admin);
    app.clock.advance(HOUR);
    look(&admin);
    let mut subjects = post.subjects();
    subjects.sort();
    assert_eq!(
        subjects,
        ["[iocast] Lab MISP is silent (iocast)", "[iocast] Really silent is silent (iocast)"],
        "each once, 48 hours of ours later"
    );
}

fn a_full_group_is_told_of_once(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let scene = Scene::set(&admin, Some(20));
    admin.patch(
        &format!("/api/v1/groups/{}", scene.group),
        json!({ "notify_on_limit": true }),
        200,
    );
    let list =
        |from: u32, to: u32| (from..to).map(|n| format!("host{n}.example\n")).collect::<String>();
    let published = |n: u32| {
        eventually(&format!("{n} are published"), || {
            (admin.get(&format!("/api/v1/groups/{}", scene.group))["published"] == n).then_some(())
        });
    };
    scene.import(&admin, &list(0, 19));
    published(19);
    look(&admin);
    assert!(post.messages().is_empty());
    scene.import(&admin, &list(19, 23));
    published(20);
    eventually("it is told", || {
        (post.subjects() == ["[iocast] Perimeter on Lab MISP reached its limit (iocast)"])
            .then_some(())
    });
    assert!(
        text(&post.messages()[0], "text").contains("Its rules choose 23 IOCs; 3 of them"),
        "{}",
        post.messages()[0]
    );
    let cut = |n: u32| {
        for i in 0..n {
            admin.delete(
                &format!("/api/v1/iocs/{}", text(&admin.ioc(&format!("host{i}.example")), "id")),
                204,
            );
        }
    };
    cut(4);
    published(19);
    scene.import(&admin, &list(30, 31));
    published(20);
    look(&admin);
    assert_eq!(post.messages().len(), 1, "it never fell under 95 %");
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("host30.example"), "id")), 204);
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("host10.example"), "id")), 204);
    published(18);
    scene.import(&admin, &list(40, 42));
    published(20);
    eventually("it is told again", || (post.messages().len() == 2).then_some(()));
}

fn a_clock_that_jumps_judges_nobody(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    pull(app, &admin, &scene);
    // Three days forward: nothing is told by that alone. Green again as soon as the tick has seen
    // the jump.
    app.clock.pass(72 * HOUR);
    let admin = app.admin();
    eventually("the jump is seen", || (admin.dot(&scene.device).0 == "green").then_some(()));
    assert_eq!(look(&admin)["outages_opened"], 0);
    // A device pulls at that time.
    pull(app, &admin, &scene);
    // And back again: what was excused while the clock was ahead is forgotten, and real silence is
    // told on time.
    app.clock.pass(-72 * HOUR);
    let admin = app.admin();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(look(&admin)["outages_opened"], 0);
    assert!(post.messages().is_empty());
    app.clock.advance(49 * HOUR);
    assert_eq!(
        look(&admin)["outages_opened"],
        1,
        "49 hours of silence after the clock was right again"
    );
}

fn a_longer_silence_may_be_allowed_while_it_lasts(app: &mut TestApp) {
    let mut post = with_post(app);
    let admin = app.admin();
    let add = |name: &str| {
        text(
            &admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201),
            "id",
        )
    };
    let (own, other) = (add("Own threshold"), add("Threshold of the account"));
    app.advance(&admin, "49h");
    assert_eq!((outages(&admin).len(), post.messages().len()), (2, 2));
    let open = |device: &str| {
        admin.get(&format!("/api/v1/outages?device_id={device}"))["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|o| o["ended_at"].is_null())
            .count()
    };
    admin.patch(&format!("/api/v1/devices/{own}"), json!({ "silent_after_hours": 100 }), 200);
    assert_eq!((open(&own), open(&other)), (0, 1), "the dot and the outage say the same");
    admin.patch("/api/v1/account", json!({ "silent_after_hours": 72 }), 200);
    assert_eq!((open(&own), open(&other)), (0, 0));
    assert_eq!(outages(&admin).iter().filter(|o| o["ended_by"] == "threshold").count(), 2);
    assert!([&own, &other].iter().all(|device| admin.dot(device).1 != "silent"));
    // No message says that it ended. When the silence exceeds the new limit, there is a new
    // warning.
    app.advance(&admin, "24h");
    assert_eq!(post.messages().len(), 3, "{:?}", post.subjects());
    assert_eq!(
        (open(&own), open(&other), outages(&admin).len()),
        (0, 1, 2),
        "one silence is one outage"
    );
    // What was not mailed yet is not mailed.
    post.fault("connect", "421 later");
    app.advance(&admin, "28h");
    admin.patch(&format!("/api/v1/devices/{own}"), json!({ "silent_after_hours": 500 }), 200);
    post.calm();
    app.advance(&admin, "1h");
    assert_eq!(post.messages().len(), 3, "{:?}", post.subjects());
}

#[test]
fn another_servers_wrong_clock_makes_no_gap_and_no_pull_of_tomorrow() {
    let mut app = TestApp::open(Engine::Postgres);
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    pull(&app, &admin, &scene);
    app.clock.advance(47 * HOUR);
    // The next server on the same database is an hour ahead.
    app.stop();
    app.clock.set_wrong(HOUR);
    app.restart();
    let admin = app.admin();
    assert_eq!(look(&admin)["outages_opened"], 0, "47 hours by the right clock");
    app.clock.advance(HOUR + 4_000 * MILLI);
    look(&admin);
    assert_eq!(outages(&admin).len(), 1, "48 hours by the right clock: its hour ahead is no gap");
    // It answers pulls, which count from when they were.
    assert_eq!(
        app.device().get(&format!("{}/feeds/{}/manifest.json", app.url, scene.group), &[]).status,
        200
    );
    eventually("the pull ends the outage", || {
        (outages(&admin)[0]["ended_by"] == "pull").then_some(())
    });
    app.stop();
    app.clock.set_wrong(-HOUR);
    app.restart();
    let admin = app.admin();
    let now = text(&admin.get("/api/v1/emulator/clock"), "now");
    let last =
        text(&admin.get(&format!("/api/v1/devices/{}", scene.device))["sync"], "last_pull_at");
    assert!(last <= now, "{last} is after {now}");
    // One that is behind does not take what was just pulled for a pull of tomorrow.
    app.stop();
    app.clock.set_wrong(-3 * HOUR);
    app.restart();
    let admin = app.admin();
    look(&admin);
    assert_eq!(
        text(&admin.get(&format!("/api/v1/devices/{}", scene.device))["sync"], "last_pull_at"),
        last
    );
    assert_eq!(outages(&admin).len(), 1);
}

#[test]
fn messages_go_into_a_folder_where_there_is_no_mail_server() {
    let app = TestApp::open(Engine::Sqlite);
    let admin = app.admin();
    Scene::set(&admin, None);
    assert!(text(&admin.get("/api/v1/account"), "mail").starts_with("folder "));
    app.advance(&admin, "49h");
    let messages: Vec<_> = std::fs::read_dir(app.data_folder().join("mail"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert!(messages.len() == 1 && messages[0].extension().unwrap() == "eml", "{messages:?}");
    let message = std::fs::read_to_string(&messages[0]).unwrap();
    assert!(
        message.contains("Subject: [iocast] Lab MISP is silent (iocast)\r\n")
            && message.contains("Message-ID: <"),
        "{message}"
    );
}
