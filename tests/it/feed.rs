//! How a MISP feed grows, takes back, comes back, seals and shrinks.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Scene, TestApp, eventually, stories, text};

stories!(
    the_open_part_grows_and_sealed_ones_rest,
    an_event_that_grew_says_what_one_made_at_once_says,
    what_leaves_becomes_a_tombstone_and_comes_back_elsewhere,
    a_come_back_on_a_later_day_enters_that_day,
    midnight_seals_the_part,
    a_renamed_group_keeps_its_old_events,
    a_limit_is_never_exceeded_and_the_cut_is_told,
    a_cut_that_is_taken_back_within_the_hour_leaves_no_tombstone,
    source_priority_decides_who_stays,
    sent_again_in_new_events,
    all_enrichment_reaches_misp_and_a_replaced_tag_is_taken_back,
    whitelisted_leaves_at_once_and_retired_leaves,
    rules_choose,
    tombstones_expire_after_thirty_days
);

fn the_open_part_grows_and_sealed_ones_rest(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let many: Vec<String> = (0..2_005).map(|i| format!("host{i}.example")).collect();
    scene.import(&admin, &many.join("\n"));
    let all: Vec<&str> = many.iter().map(String::as_str).collect();
    let first = scene.settled(&misp, &all);
    assert_eq!(first.infos(), ["Perimeter - 2026-11-03", "Perimeter - 2026-11-03 (2)"]);
    let id = |feed: &crate::support::Feed, info: &str| {
        feed.events.iter().find(|(_, e)| e["info"] == info).unwrap().0.clone()
    };
    let (full, open) =
        (id(&first, "Perimeter - 2026-11-03"), id(&first, "Perimeter - 2026-11-03 (2)"));
    assert_eq!(first.events[&full]["Attribute"].as_array().unwrap().len(), 2_000);
    assert_eq!(first.stamp(&open) - first.stamp(&full), 1, "consecutive seconds");

    scene.import(&admin, "one-more.example");
    let second = scene.settled(&misp, &[all.as_slice(), &["one-more.example"]].concat());
    assert_eq!(second.events[&full], first.events[&full], "the full part did not change by a byte");
    assert!(second.stamp(&open) > first.stamp(&open));
    let before: BTreeMap<String, String> = first.events[&open]["Attribute"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (text(a, "uuid"), text(a, "timestamp")))
        .collect();
    for attribute in second.events[&open]["Attribute"].as_array().unwrap() {
        match before.get(&text(attribute, "uuid")) {
            Some(stamp) => {
                assert_eq!(
                    *stamp,
                    text(attribute, "timestamp"),
                    "an old attribute keeps its stamp"
                );
            }
            None => assert_eq!(text(attribute, "timestamp"), second.stamp(&open).to_string()),
        }
    }
    for (id, entry) in &second.manifest {
        assert_eq!(
            entry["timestamp"].as_i64().unwrap().to_string(),
            text(&second.events[id], "timestamp"),
            "manifest and event carry the same stamp"
        );
    }
    let hashes: Vec<&str> = second.hashes.lines().collect();
    assert_eq!(hashes.len(), 2_006);
    let seen_again = scene.import(&admin, &many.join("\n"));
    assert_eq!(
        (seen_again["accepted"].as_u64(), seen_again["unchanged"].as_u64()),
        (Some(0), Some(2_005))
    );
}

fn an_event_that_grew_says_what_one_made_at_once_says(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let import = |values: &[&str], severity: &str| {
        let list: Vec<_> = values.iter().map(|v| json!({ "value": v, "severity": severity, "user_tags": ["case"], "malware_families": ["Emotet"] })).collect();
        admin.post(&format!("/api/v1/sources/{}/iocs", scene.source), json!(list), 200);
    };
    import(&["a.example", "b.example"], "low");
    scene.settled(&misp, &["a.example", "b.example"]);
    // It grows; somebody leaves; it grows beside the tombstone.
    import(&["http://c.example/X"], "high");
    scene.settled(&misp, &["a.example", "b.example", "http://c.example/X"]);
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("b.example"), "id")), 204);
    scene.settled(&misp, &["a.example", "http://c.example/X"]);
    import(&["d.example"], "medium");
    let grown = scene.settled(&misp, &["a.example", "d.example", "http://c.example/X"]);
    assert_eq!((grown.events.len(), grown.tombstones()), (1, vec!["b.example".to_owned()]));
    let other =
        admin.post("/api/v1/devices", json!({ "name": "Other MISP", "device_type": "misp" }), 201);
    let other = admin.post(
        &format!("/api/v1/devices/{}/groups", text(&other, "id")),
        json!({ "name": "Perimeter 2" }),
        201,
    );
    let whole = misp.feed(&text(&other, "url"));
    let said = |feed: &crate::support::Feed| -> BTreeMap<String, serde_json::Value> {
        let live = feed.attributes().filter(|(_, a)| a.get("deleted").is_none());
        live.map(|(event, a)| {
            let mut a = a.clone();
            a["uuid"].take();
            a["timestamp"].take();
            (text(&a, "value"), json!([a, event["threat_level_id"], event["Orgc"]]))
        })
        .collect()
    };
    assert_eq!(said(&grown), said(&whole));
    assert_eq!(said(&grown).len(), 3);
    let sums = |feed: &crate::support::Feed| {
        feed.hashes.lines().map(|l| l[..32].to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(sums(&grown), sums(&whole));
}

fn what_leaves_becomes_a_tombstone_and_comes_back_elsewhere(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example\nb.example");
    let first = scene.settled(&misp, &["a.example", "b.example"]);
    let ioc = text(&admin.ioc("a.example"), "id");
    admin.delete(&format!("/api/v1/iocs/{ioc}"), 204);
    let second = scene.settled(&misp, &["b.example"]);
    assert_eq!(second.tombstones(), ["a.example"]);
    let (_, gone) = first.find("a.example");
    let (_, tombstone) = second.attributes().find(|(_, a)| a["deleted"] == true).unwrap();
    assert_eq!(tombstone["uuid"], gone["uuid"]);
    assert!(text(tombstone, "timestamp") > text(&gone, "timestamp"));
    assert!(!second.hashes.contains(&md5_hex("a.example")));
    assert_eq!(admin.get_status(&format!("/api/v1/iocs/{ioc}")), 404);

    scene.import(&admin, "a.example");
    let third = scene.settled(&misp, &["a.example", "b.example"]);
    let (event, back) = third.find("a.example");
    assert_ne!(back["uuid"], gone["uuid"], "a new attribute");
    assert_eq!(text(&event, "info"), "Perimeter - 2026-11-03 (2)", "not beside its tombstone");
    assert_eq!(third.tombstones(), ["a.example"]);
    assert!(!serde_json::to_string(&third.events).unwrap().contains("\"deleted\":false"));
}

fn a_come_back_on_a_later_day_enters_that_day(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example\nb.example");
    scene.settled(&misp, &["a.example", "b.example"]);
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("a.example"), "id")), 204);
    scene.settled(&misp, &["b.example"]);
    app.advance(&admin, "1d");
    scene.import(&admin, "a.example");
    let feed = scene.settled(&misp, &["a.example", "b.example"]);
    assert_eq!(text(&feed.find("a.example").0, "info"), "Perimeter - 2026-11-04");
    assert_eq!(text(&feed.find("b.example").0, "info"), "Perimeter - 2026-11-03");
}

fn midnight_seals_the_part(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example");
    let first = scene.settled(&misp, &["a.example"]);
    app.advance(&admin, "13h");
    scene.import(&admin, "b.example");
    let second = scene.settled(&misp, &["a.example", "b.example"]);
    assert_eq!(second.infos(), ["Perimeter - 2026-11-03"], "23:00 is still the same day");
    app.advance(&admin, "2h");
    scene.import(&admin, "a.example\nc.example");
    let third = scene.settled(&misp, &["a.example", "b.example", "c.example"]);
    assert_eq!(third.infos(), ["Perimeter - 2026-11-03", "Perimeter - 2026-11-04"]);
    let old = first.events.keys().next().unwrap();
    assert_eq!(
        third.events[old], second.events[old],
        "seen again is no reason to touch a sealed part"
    );
    // Other enrichment reaches it, and not more often than hourly.
    let ioc = format!("/api/v1/iocs/{}", text(&admin.ioc("a.example"), "id"));
    admin.patch(&ioc, json!({ "severity": "high" }), 200);
    let told = eventually("the severity reaches the sealed part", || {
        Some(misp.feed(&scene.url)).filter(|f| f.stamp(old) > third.stamp(old))
    });
    admin.patch(&ioc, json!({ "severity": "medium" }), 200);
    scene.import(&admin, "d.example");
    let resting = scene.settled(&misp, &["a.example", "b.example", "c.example", "d.example"]);
    assert_eq!(resting.stamp(old), told.stamp(old), "it rests for an hour");
    app.advance(&admin, "1h");
    let later = misp.feed(&scene.url);
    assert!(later.stamp(old) > told.stamp(old));
    assert!(
        serde_json::to_string(&later.find("a.example").1)
            .unwrap()
            .contains("iocast:severity=\\\"medium\\\"")
    );
}

fn a_renamed_group_keeps_its_old_events(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example");
    scene.settled(&misp, &["a.example"]);
    admin.patch(&format!("/api/v1/groups/{}", scene.group), json!({ "name": "Renamed" }), 200);
    app.advance(&admin, "1d");
    scene.import(&admin, "b.example");
    assert_eq!(
        scene.settled(&misp, &["a.example", "b.example"]).infos(),
        ["Perimeter - 2026-11-03", "Renamed - 2026-11-04"]
    );
}

fn a_limit_is_never_exceeded_and_the_cut_is_told(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "c.example\na.example\nb.example\nd.example");
    scene.settled(&misp, &["a.example", "b.example", "c.example", "d.example"]);
    admin.patch(&format!("/api/v1/groups/{}", scene.group), json!({ "limit": 2 }), 200);
    scene.settled(&misp, &["a.example", "b.example"]);
    let group = admin.get(&format!("/api/v1/groups/{}", scene.group));
    assert_eq!(
        (
            group["published"].as_u64(),
            group["cut"]["count"].as_u64(),
            group["cut"]["reasons"]["limit"].as_u64()
        ),
        (Some(2), Some(2), Some(2))
    );
    // Worse ones push out others, and at no time are there three.
    admin.import(
        &scene.source,
        "application/json",
        r#"[{"value":"z.example","severity":"high"}]"#,
        200,
    );
    let feed = scene.settled(&misp, &["a.example", "z.example"]);
    assert_eq!(feed.hashes.lines().count(), 2);
    admin.patch(&format!("/api/v1/groups/{}", scene.group), json!({ "limit": 50_000 }), 200);
    scene.settled(&misp, &["a.example", "b.example", "c.example", "d.example", "z.example"]);
}

fn a_cut_that_is_taken_back_within_the_hour_leaves_no_tombstone(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let group = format!("/api/v1/groups/{}", scene.group);
    scene.import(&admin, "a.example\nb.example");
    let first = scene.settled(&misp, &["a.example", "b.example"]);
    admin.patch(&group, json!({ "limit": 1 }), 200);
    let cut = scene.settled(&misp, &["a.example"]);
    assert!(cut.tombstones().is_empty());
    app.advance(&admin, "30m");
    admin.patch(&group, json!({ "limit": 2 }), 200);
    let back = scene.settled(&misp, &["a.example", "b.example"]);
    assert!(back.tombstones().is_empty());
    assert_eq!(
        back.find("b.example").1["uuid"],
        first.find("b.example").1["uuid"],
        "it never left for the receiver"
    );
    admin.patch(&group, json!({ "limit": 1 }), 200);
    scene.settled(&misp, &["a.example"]);
    app.advance(&admin, "1h");
    assert_eq!(misp.feed(&scene.url).tombstones(), ["b.example"], "after an hour the cut is final");
}

fn source_priority_decides_who_stays(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let other = text(
        &admin.post("/api/v1/sources", json!({ "name": "Other", "confidence": 1 }), 201),
        "id",
    );
    scene.import(&admin, "a.example\nb.example");
    admin.import(&other, "text/plain", "x.example\ny.example", 200);
    scene.settled(&misp, &["a.example", "b.example", "x.example", "y.example"]);
    admin.patch(
        &format!("/api/v1/groups/{}", scene.group),
        json!({ "limit": 2, "source_priority": [other] }),
        200,
    );
    scene.settled(&misp, &["x.example", "y.example"]);
    admin.patch(
        &format!("/api/v1/groups/{}", scene.group),
        json!({ "source_priority": [scene.source, other] }),
        200,
    );
    scene.settled(&misp, &["a.example", "b.example"]);
    let unknown = admin.patch(
        &format!("/api/v1/groups/{}", scene.group),
        json!({ "source_priority": ["6f9619ff-8b86-4d01-b42d-00cf4fc964ff"] }),
        422,
    );
    assert_eq!(unknown["errors"][0]["code"], "source_unknown");
}

fn sent_again_in_new_events(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example\nb.example");
    let first = scene.settled(&misp, &["a.example", "b.example"]);
    let again = |body| {
        admin.post(&format!("/api/v1/groups/{}/send-again", scene.group), body, 200)["iocs"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(again(json!({ "ioc_id": admin.ioc("a.example")["id"] })), 1);
    let second = misp.feed(&scene.url);
    assert_eq!(second.live(), ["a.example", "b.example"]);
    assert_ne!(second.find("a.example").0["uuid"], first.find("a.example").0["uuid"]);
    assert_eq!(second.find("b.example").1, first.find("b.example").1);
    let event = text(&first.find("b.example").0, "uuid");
    assert_eq!(again(json!({ "event": event })), 1);
    assert_eq!(again(json!({})), 2);
    let last = misp.feed(&scene.url);
    assert_eq!(last.live(), ["a.example", "b.example"]);
    assert_eq!(last.find("a.example").0["uuid"], last.find("b.example").0["uuid"]);
    admin.post(
        &format!("/api/v1/groups/{}/send-again", scene.group),
        json!({ "event": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff" }),
        404,
    );
    // What fetches the whole list each time has nothing to gain from it: it is not offered.
    let wall = text(
        &admin.post("/api/v1/devices", json!({ "name": "Wall", "device_type": "plain-list" }), 201),
        "id",
    );
    let list = text(
        &admin.post(&format!("/api/v1/devices/{wall}/groups"), json!({ "name": "List" }), 201),
        "id",
    );
    assert_eq!(
        admin.post(&format!("/api/v1/groups/{list}/send-again"), json!({}), 409)["code"],
        "nothing_to_send_again"
    );
}

fn all_enrichment_reaches_misp_and_a_replaced_tag_is_taken_back(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let rich = json!([{
        "value": "evil.example", "first_seen": "2026-10-01T01:02:03.000004Z", "last_seen": "2026-10-30", "severity": "high", "confidence": 3, "score": 85.5,
        "alert_id": "64f0c0ffee", "user_tags": ["mine"], "system_tags": ["phishing"], "threat_actors": ["APT28"], "campaigns": ["Summer"], "malware_families": ["Emotet"]
    }]);
    admin.trust(&scene.source);
    admin.restore(&scene.source, "application/json", &rich.to_string());
    let feed = scene.settled(&misp, &["evil.example"]);
    let (event, attribute) = feed.find("evil.example");
    assert_eq!(
        (text(&attribute, "first_seen"), text(&attribute, "last_seen")),
        ("2026-10-01T01:02:03.000004+00:00".into(), "2026-10-30T00:00:00.000000+00:00".into())
    );
    assert_eq!(
        text(&attribute, "comment"),
        "Source: Own feed (confidence 3 of 3); Severity: high; Alert ID: 64f0c0ffee; Score: 85.5"
    );
    let tags: Vec<String> =
        attribute["Tag"].as_array().unwrap().iter().map(|t| text(t, "name")).collect();
    assert_eq!(
        tags,
        [
            "iocast:alert-id=\"64f0c0ffee\"",
            "iocast:campaign=\"Summer\"",
            "iocast:severity=\"high\"",
            "iocast:source=\"Own feed\"",
            "iocast:system-tag=\"phishing\"",
            "iocast:user-tag=\"mine\"",
            "misp-galaxy:malpedia=\"Emotet\"",
            "misp-galaxy:threat-actor=\"APT28\"",
            "misp:confidence-level=\"completely-confident\""
        ]
    );
    assert_eq!(
        (
            text(&event, "threat_level_id"),
            event["published"].as_bool(),
            text(&event["Orgc"], "name")
        ),
        ("1".into(), Some(true), "iocast".into())
    );

    admin.patch(
        &format!("/api/v1/iocs/{}", text(&admin.ioc("evil.example"), "id")),
        json!({ "severity": "low", "user_tags": [] }),
        200,
    );
    let changed = eventually("the new severity is published", || {
        Some(misp.feed(&scene.url))
            .filter(|f| f.find("evil.example").1["timestamp"] != attribute["timestamp"])
    });
    let (event, attribute) = changed.find("evil.example");
    let gone: Vec<String> = attribute["Tag"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["deleted"] == true)
        .map(|t| text(t, "name"))
        .collect();
    assert_eq!(gone, ["iocast:severity=\"high\"", "iocast:user-tag=\"mine\""]);
    assert_eq!(text(&event, "threat_level_id"), "3");
}

fn whitelisted_leaves_at_once_and_retired_leaves(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example\n203.0.113.7");
    scene.settled(&misp, &["203.0.113.7", "a.example"]);
    let ioc = format!("/api/v1/iocs/{}", text(&admin.ioc("a.example"), "id"));
    admin.patch(&ioc, json!({ "whitelist": "never_sent" }), 200);
    assert_eq!(scene.settled(&misp, &["203.0.113.7"]).tombstones(), ["a.example"]);
    admin.patch(&ioc, json!({ "whitelist": "default" }), 200);
    scene.settled(&misp, &["203.0.113.7", "a.example"]);
    app.advance(&admin, "13d 23h");
    assert_eq!(misp.feed(&scene.url).live(), ["203.0.113.7", "a.example"]);
    app.advance(&admin, "1h");
    let feed = scene.settled(&misp, &["a.example"]);
    assert!(
        feed.tombstones().contains(&"203.0.113.7".to_owned()),
        "an address retires after two weeks"
    );
    assert_eq!(admin.ioc("203.0.113.7")["state"], "retired");
    scene.import(&admin, "203.0.113.7");
    scene.settled(&misp, &["203.0.113.7", "a.example"]);
}

fn rules_choose(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let rules = admin.get("/api/v1/rules");
    let default = rules["items"][0].clone();
    assert_eq!(
        (text(&default, "name"), default["criteria"]["state"].as_str()),
        ("Perimeter".into(), Some("active"))
    );
    admin.delete(&format!("/api/v1/rules/{}", text(&default, "id")), 204);
    let body = json!([
        { "value": "high.example", "severity": "high", "user_tags": ["Phishing"], "confidence": 3 },
        { "value": "low.example", "severity": "low", "confidence": 1 },
        { "value": "203.0.113.9", "severity": "high", "first_seen": "2026-01-01" }
    ]);
    admin.import(&scene.source, "application/json", &body.to_string(), 200);
    let rule = admin.post("/api/v1/rules", json!({ "name": "Severe", "criteria": { "severities": ["high"] }, "group_ids": [scene.group] }), 201);
    scene.settled(&misp, &["203.0.113.9", "high.example"]);
    let path = format!("/api/v1/rules/{}", text(&rule, "id"));
    let with = |criteria| admin.patch(&path, json!({ "criteria": criteria }), 200);
    let too_many: Vec<&str> = vec!["00000000-0000-4000-8000-000000000001"; 1_001];
    for refused in [
        admin.patch(&path, json!({ "group_ids": too_many }), 422),
        admin.post("/api/v1/rules", json!({ "name": "Many", "group_ids": too_many }), 422),
    ] {
        assert_eq!(refused["errors"][0]["code"], "too_many", "a change is judged like a new rule");
    }
    with(json!({ "kinds": ["domain"] }));
    scene.settled(&misp, &["high.example", "low.example"]);
    with(json!({ "min_confidence": 2 }));
    scene.settled(&misp, &["203.0.113.9", "high.example"]);
    with(json!({ "tags": ["phishing"] }));
    scene.settled(&misp, &["high.example"]);
    with(json!({ "first_seen_to": "2026-02-01" }));
    scene.settled(&misp, &["203.0.113.9"]);
    with(json!({ "source_ids": [scene.source] }));
    scene.settled(&misp, &["203.0.113.9", "high.example", "low.example"]);
    admin.patch(&format!("/api/v1/sources/{}", scene.source), json!({ "enabled": false }), 200);
    scene.settled(&misp, &[]);
    admin.patch(&format!("/api/v1/sources/{}", scene.source), json!({ "enabled": true }), 200);
    scene.settled(&misp, &["203.0.113.9", "high.example", "low.example"]);
    assert_eq!(
        admin.post("/api/v1/rules", json!({ "name": "A name too long" }), 422)["errors"][0]["code"],
        "name_too_long"
    );
    assert_eq!(with_status(&admin, &path, json!({ "criteria": { "kinds": ["smoke"] } })), 422);
}

fn with_status(admin: &crate::support::Admin, path: &str, body: serde_json::Value) -> u16 {
    admin
        .send(
            "PATCH",
            path,
            &[("content-type", "application/json")],
            Some(body.to_string().as_bytes()),
        )
        .status
}

fn tombstones_expire_after_thirty_days(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    scene.import(&admin, "a.example\nd41d8cd98f00b204e9800998ecf8427e");
    scene.settled(&misp, &["a.example", "d41d8cd98f00b204e9800998ecf8427e"]);
    app.advance(&admin, "1d");
    scene.import(&admin, "b.example");
    scene.settled(&misp, &["a.example", "b.example", "d41d8cd98f00b204e9800998ecf8427e"]);
    for value in ["a.example", "b.example"] {
        admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc(value), "id")), 204);
    }
    let told = scene.settled(&misp, &["d41d8cd98f00b204e9800998ecf8427e"]);
    assert_eq!(
        (told.tombstones().len(), told.events.len()),
        (2, 2),
        "an event of tombstones alone stays listed"
    );
    app.advance(&admin, "29d 23h");
    assert_eq!(misp.feed(&scene.url).tombstones().len(), 2);
    app.advance(&admin, "1h");
    let after = misp.feed(&scene.url);
    assert_eq!((after.tombstones().len(), after.events.len()), (0, 1), "then it goes");
    assert_eq!(after.live(), ["d41d8cd98f00b204e9800998ecf8427e"]);
}

pub(crate) fn md5_hex(value: &str) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(value.as_bytes()))
}
