//! What a MISP can store: it compares values and tags without case, keeps three bytes a character,
//! and takes changes only with later timestamps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Feed, Scene, TestApp, eventually, stories, text};

stories!(
    values_that_differ_in_case_are_in_different_events,
    a_renamed_group_begins_a_new_event,
    last_seen_follows_within_a_week,
    characters_that_misp_cannot_store_are_replaced,
);

/// The value of each live attribute, with the id of its event.
fn live(feed: &Feed) -> BTreeMap<String, String> {
    let live = feed.attributes().filter(|(_, attribute)| attribute["deleted"] != true);
    live.map(|(event, a)| (text(a, "value"), text(event, "uuid"))).collect()
}

fn settled(app: &TestApp, scene: &Scene, count: usize) -> Feed {
    let device = app.device();
    eventually(&format!("{count} IOCs are listed"), || {
        Some(device.feed(&scene.url)).filter(|feed| live(feed).len() == count)
    })
}

fn values_that_differ_in_case_are_in_different_events(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let (upper, lower) = ("http://evil.example/Path", "http://evil.example/path");
    // In one import, and one after the other.
    scene.import(&admin, &format!("{upper}\n{lower}\nhttp://evil.example/Other\nother.example"));
    let feed = settled(app, &scene, 4);
    assert_ne!(live(&feed)[upper], live(&feed)[lower]);
    scene.import(&admin, "http://evil.example/oTHER\nhttp://evil.example/PATH\nlast.example");
    let feed = settled(app, &scene, 7);
    let events = live(&feed);
    for (a, b) in [
        (upper, lower),
        (upper, "http://evil.example/PATH"),
        (lower, "http://evil.example/PATH"),
        ("http://evil.example/Other", "http://evil.example/oTHER"),
    ] {
        assert_ne!(events[a], events[b], "{a} and {b}");
    }
    // Every spelling is found by its hash.
    let hashes: BTreeSet<&str> = feed.hashes.lines().collect();
    assert_eq!(hashes.len(), feed.hashes.lines().count());
    assert_eq!(feed.hashes.lines().count(), 7 + 4, "{}", feed.hashes);
}

fn a_renamed_group_begins_a_new_event(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "before.example");
    let before = settled(app, &scene, 1);
    let path = format!("/api/v1/groups/{}", scene.group);
    let old = text(&admin.get(&path), "name");
    admin.patch(&path, json!({ "name": "Renamed group" }), 200);
    scene.import(&admin, "after.example");
    let feed = settled(app, &scene, 2);
    let name_of = |value: &str| text(&feed.events[&live(&feed)[value]], "info");
    assert!(name_of("before.example").starts_with(&format!("{old} - ")));
    assert!(name_of("after.example").starts_with("Renamed group - "));
    let unchanged = |feed: &Feed| {
        let id = live(feed)["before.example"].clone();
        (text(&feed.events[&id], "info"), text(&feed.events[&id], "timestamp"))
    };
    assert_eq!(unchanged(&before), unchanged(&feed));
}

fn last_seen_follows_within_a_week(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let mut stamps = BTreeSet::new();
    for _ in 0..20 {
        scene.import(&admin, "seen.example");
        app.advance(&admin, "1d");
        let now = text(&admin.get("/api/v1/emulator/clock"), "now");
        let feed = device.feed(&scene.url);
        let attribute = feed.attributes().next().unwrap().1.clone();
        stamps.insert(text(&attribute, "timestamp"));
        // The tests begin in November, and end before January.
        let day = |text: &str| {
            let number = |at: std::ops::Range<usize>| text.get(at).unwrap().parse::<i64>().unwrap();
            (number(5..7) - 11) * 30 + number(8..10)
        };
        let behind = day(&now) - day(&text(&attribute, "last_seen"));
        assert!(behind <= 8, "{behind} days: {attribute}");
    }
    // Weekly, not daily: each time costs the MISP a fetch of the event.
    assert!((3..=5).contains(&stamps.len()), "{stamps:?}");
}

fn characters_that_misp_cannot_store_are_replaced(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let path = format!("/api/v1/sources/{}", scene.source);
    admin.patch(&path, json!({ "name": "Bugs \u{1f41b}" }), 200);
    let iocs = json!([{
        "value": "evil.example", "threat_actors": ["\u{20bb7}野 group"], "system_tags": ["\u{1f525} hot"],
        "campaigns": ["\u{1f600}"], "malware_families": ["Worm \u{1f41b}"], "alert_id": "64f0c0ffee"
    }]);
    admin.import(&scene.source, "application/json", &iocs.to_string(), 200);
    let feed = settled(app, &scene, 1);
    let all = format!("{:?}{:?}", feed.manifest, feed.events);
    assert!(all.chars().all(|c| c <= '\u{ffff}'), "{all}");
    let tags: Vec<Value> = feed.attributes().next().unwrap().1["Tag"].as_array().unwrap().clone();
    let names: BTreeSet<String> = tags.iter().map(|tag| text(tag, "name")).collect();
    assert!(names.contains("iocast:source=\"Bugs \u{fffd}\""), "{names:?}");
    assert!(names.contains("misp-galaxy:threat-actor=\"\u{fffd}野 group\""), "{names:?}");
    assert!(names.contains("iocast:alert-id=\"64f0c0ffee\""), "{names:?}");
    // Inside iocast it stays as it was given.
    assert!(admin.ioc("evil.example").to_string().contains('\u{1f41b}'));
}
