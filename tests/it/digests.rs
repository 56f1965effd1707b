//! What happens within a few minutes is told in a few messages, and each thing in exactly one of
//! them.

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    support::{Admin, Post, TestApp, eventually, stories, text},
    watchdog::{HOUR, look, with_post},
};

stories!(
    devices_that_fall_silent_one_after_the_other,
    what_ends_before_a_digest_goes_out_is_not_in_it,
    a_digest_of_which_nothing_is_left_makes_room_for_the_next,
    many_held_groups_are_a_few_messages,
    very_many_devices_are_counted,
);

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

fn add(app: &TestApp, admin: &Admin, name: &str, apart: i64) -> (String, String) {
    let device = text(
        &admin.post("/api/v1/devices", json!({ "name": name, "device_type": "misp" }), 201),
        "id",
    );
    let group = admin.post(
        &format!("/api/v1/devices/{device}/groups"),
        json!({ "name": "Perimeter" }),
        201,
    );
    app.clock.advance(apart);
    (device, text(&group, "url"))
}

/// Three devices that get a message each, and one a minute later for which a digest is opened: its
/// id and its group's URL.
fn three_early_and_one_late(app: &TestApp, admin: &Admin) -> (String, String) {
    for n in 0..3 {
        add(app, admin, &format!("Early {n}"), 0);
    }
    app.clock.advance(MINUTE);
    add(app, admin, "Late", 0)
}

/// In how many messages with such a subject a device is named.
fn named(messages: &[Value], subject: &str, device: &str) -> usize {
    let about = |message: &&Value| {
        text(message, "subject").contains(subject)
            && text(message, "text").contains(&format!("{device} ("))
    };
    messages.iter().filter(about).count()
        + messages
            .iter()
            .filter(|l| text(l, "subject").starts_with(&format!("[iocast] {device} {subject}")))
            .count()
}

fn about(post: &Post, subject: &str) -> Vec<Value> {
    post.messages()
        .into_iter()
        .filter(|message| text(message, "subject").contains(subject))
        .collect()
}

fn devices_that_fall_silent_one_after_the_other(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let names: Vec<String> = (10..34).map(|n| format!("Sensor {n}")).collect();
    let urls: Vec<String> =
        names.iter().map(|name| add(app, &admin, name, 30 * SECOND).1).collect();
    app.clock.advance(48 * HOUR - 24 * 30 * SECOND);
    for _ in 0..24 {
        app.clock.advance(30 * SECOND);
        look(&admin);
    }
    app.advance(&admin, "6m");
    let warnings = about(&post, "silent");
    assert!((4..=7).contains(&warnings.len()), "{:?}", post.subjects());
    for name in &names {
        assert_eq!(
            named(&warnings, "is silent", name) + named(&warnings, "devices are silent", name),
            1,
            "{name} in {:?}",
            post.subjects()
        );
    }
    assert!(admin.get("/api/v1/outbox?state=due")["items"].as_array().unwrap().is_empty());

    // They come back one by one within two minutes.
    let device = app.device();
    for (n, url) in urls.iter().enumerate() {
        assert_eq!(device.get(&format!("{url}/manifest.json"), &[]).status, 200);
        let ended = |o: &Value| o["ended_by"] == "pull";
        eventually("the pull is written", || {
            (admin.get("/api/v1/outages?limit=100")["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|o| ended(o))
                .count()
                > n)
                .then_some(())
        });
        app.clock.advance(5 * SECOND);
    }
    app.advance(&admin, "6m");
    let recoveries = about(&post, "again");
    assert!((2..=4).contains(&recoveries.len()), "{:?}", post.subjects());
    for name in &names {
        assert_eq!(
            named(&recoveries, "pulls again", name)
                + named(&recoveries, "devices pull again", name),
            1,
            "{name} in {:?}",
            post.subjects()
        );
    }
}

fn what_ends_before_a_digest_goes_out_is_not_in_it(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let (late, url) = three_early_and_one_late(app, &admin);
    add(app, &admin, "Later", 0);
    app.clock.advance(48 * HOUR - MINUTE);
    app.advance(&admin, "3s");
    assert_eq!(
        post.messages().len(),
        3,
        "a few come one by one, with all they say: {:?}",
        post.subjects()
    );
    app.advance(&admin, "1m");
    assert_eq!(post.messages().len(), 3);
    let waiting = admin.get("/api/v1/outbox?state=due")["items"].as_array().unwrap().clone();
    assert!(
        waiting.len() == 1 && waiting[0]["gathers"] == true && waiting[0]["attempts"] == 0,
        "{waiting:?}"
    );
    // A digest that waits survives a restart.
    app.restart();
    let admin = app.admin();
    let url = format!("{}/feeds/{}", app.url, url.rsplit('/').next().unwrap());
    assert_eq!(app.device().get(&format!("{url}/manifest.json"), &[]).status, 200);
    eventually("it is back", || {
        (admin.get(&format!("/api/v1/outages?device_id={late}"))["items"][0]["ended_by"] == "pull")
            .then_some(())
    });
    app.advance(&admin, "6m");
    let messages = post.messages();
    assert_eq!(
        post.subjects()[3..],
        ["[iocast] Later is silent (iocast)"],
        "alone in its digest, it is told in full"
    );
    assert!(text(&messages[3], "text").contains("What to check"), "{}", messages[3]);
    app.advance(&admin, "10m");
    assert_eq!(
        post.messages().len(),
        4,
        "nobody heard that it was silent, so nobody hears that it pulls"
    );
}

fn a_digest_of_which_nothing_is_left_makes_room_for_the_next(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let (late, url) = three_early_and_one_late(app, &admin);
    app.clock.advance(48 * HOUR);
    app.clock.advance(-MINUTE);
    app.advance(&admin, "3s");
    app.advance(&admin, "1m");
    assert_eq!(
        (
            post.messages().len(),
            admin.get("/api/v1/outbox?state=due")["items"].as_array().unwrap().len()
        ),
        (3, 1)
    );
    assert_eq!(app.device().get(&format!("{url}/manifest.json"), &[]).status, 200);
    eventually("it is back", || {
        (admin.get(&format!("/api/v1/outages?device_id={late}"))["items"][0]["ended_by"] == "pull")
            .then_some(())
    });
    app.advance(&admin, "6m");
    assert_eq!(post.messages().len(), 3, "{:?}", post.subjects());
    assert_eq!(admin.get("/api/v1/outbox?state=superseded")["items"].as_array().unwrap().len(), 1);
    for n in 0..5 {
        add(app, &admin, &format!("Next {n}"), 0);
    }
    app.advance(&admin, "49h");
    assert!(
        post.subjects()[3..].iter().any(|s| s == "[iocast] 6 devices are silent (iocast)"),
        "{:?}",
        post.subjects()
    );
}

fn many_held_groups_are_a_few_messages(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 2 }), 201),
        "id",
    );
    let list: String = (0..30).map(|n| format!("host{n}.example\n")).collect();
    admin.import(&source, "text/plain", &list, 200);
    let groups: Vec<String> = (10..22)
        .map(|n| {
            let device = text(
                &admin.post(
                    "/api/v1/devices",
                    json!({ "name": format!("Wall {n}"), "device_type": "plain-list" }),
                    201,
                ),
                "id",
            );
            text(
                &admin.post(
                    &format!("/api/v1/devices/{device}/groups"),
                    json!({ "name": "Perimeter" }),
                    201,
                ),
                "id",
            )
        })
        .collect();
    let group = |id: &str| admin.get(&format!("/api/v1/groups/{id}"));
    groups.iter().for_each(|id| {
        eventually("it is published", || (group(id)["published"] == 30).then_some(()));
    });
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": false }), 200);
    groups
        .iter()
        .for_each(|id| eventually("it is held", || group(id)["held"].is_object().then_some(())));
    // One of those that wait for the digest is let through before it goes out.
    eventually("the first are mailed", || {
        let open = |state: &str| {
            admin.get(&format!("/api/v1/outbox?state={state}"))["items"].as_array().unwrap().len()
        };
        (post.messages().len() >= 3 && open("due") == 1 && open("claimed") == 0).then_some(())
    });
    let told = |messages: &[Value], n: usize| {
        messages.iter().filter(|l| text(l, "text").contains(&format!("Wall {n}"))).count()
    };
    let mailed = post.messages();
    let waiting: Vec<usize> = (10..22).filter(|n| told(&mailed, *n) == 0).collect();
    // Two that are held at the same moment may both be the third.
    assert!((8..=9).contains(&waiting.len()), "{:?}", post.subjects());
    admin.post(&format!("/api/v1/groups/{}/let-through", groups[waiting[0] - 10]), json!({}), 200);
    app.advance(&admin, "6m");
    let messages = post.messages();
    assert_eq!(
        post.subjects()[mailed.len()..],
        [format!("[iocast] {} IOC groups are held back (iocast)", waiting.len() - 1)]
    );
    for n in 10..22 {
        assert_eq!(told(&messages, n), usize::from(n != waiting[0]), "Wall {n}: {messages:?}");
    }
}

fn very_many_devices_are_counted(app: &mut TestApp) {
    let post = with_post(app);
    let admin = app.admin();
    for n in 0..120 {
        admin.post(
            "/api/v1/devices",
            json!({ "name": format!("Sensor {n}"), "device_type": "misp" }),
            201,
        );
    }
    app.advance(&admin, "49h");
    assert_eq!(post.subjects(), ["[iocast] 120 devices are silent (iocast)"]);
    let words = text(&post.messages()[0], "text");
    assert!(words.contains("and 20 more: ") && words.matches("Sensor ").count() == 100, "{words}");
    let link = words.split_whitespace().find(|word| word.contains("state=silent")).unwrap();
    assert_eq!(crate::support::agent().get(link).call().unwrap().status().as_u16(), 200);
    let told = admin.get("/api/v1/outages?limit=200")["items"].as_array().unwrap().clone();
    assert!(
        told.len() == 120 && told.iter().all(|o| o["messages"][0]["state"] == "sent"),
        "all of them are known to be told"
    );
}
