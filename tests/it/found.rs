//! One question finds things; many devices are handled with one call; why an IOC is not somewhere.

use serde_json::{Value, json};

use crate::{
    pages::{Tab, field, form, page},
    support::{Admin, Device, TestApp, eventually, stories, text},
};

stories!(
    an_ioc_is_found_by_what_it_carries,
    many_devices_with_one_call,
    why_an_ioc_is_not_there,
    a_rule_that_cannot_be_read_is_not_widened,
);

fn source(admin: &Admin, name: &str) -> String {
    text(&admin.post("/api/v1/sources", json!({ "name": name, "confidence": 2 }), 201), "id")
}

fn values(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|ioc| text(ioc, "value")).collect()
}

fn an_ioc_is_found_by_what_it_carries(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin, "Reports");
    let iocs = json!([
        { "value": "one.example", "malware_families": ["PlugX"], "threat_actors": ["APT28"] },
        { "value": "two.example", "malware_families": ["plugx"], "user_tags": ["plugx loader"] },
        { "value": "three.example", "campaigns": ["Autumn 2026"] },
    ]);
    admin.import(&source, "application/json", &iocs.to_string(), 200);
    let search = |text: &str| admin.get(&format!("/api/v1/search?q={text}"));
    let hits = search("PLUGX");
    let names: Vec<(String, String)> = hits["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (text(n, "what"), text(n, "name")))
        .collect();
    assert_eq!(names.len(), 2, "a family and a tag: {names:?}");
    assert_eq!(names[0].0, "malware_family", "{names:?}");
    let id = |hits: &Value, nth: usize| text(&hits["names"][nth], "id");
    let named = |id: &str, more: &str| {
        let list = admin.get(&format!("/api/v1/iocs?name_id={id}{more}"));
        let mut found = values(&list);
        found.sort();
        found
    };
    let plugx = id(&hits, 0);
    assert_eq!(named(&plugx, ""), ["one.example", "two.example"], "in any spelling");
    assert_eq!(named(&plugx, "&prefix=one"), ["one.example"], "with the other filters");
    let page_of_one = admin.get(&format!("/api/v1/iocs?name_id={plugx}&limit=1"));
    let cursor = text(&page_of_one, "next_cursor");
    let next = admin.get(&format!("/api/v1/iocs?name_id={plugx}&limit=1&cursor={cursor}"));
    assert_ne!(values(&page_of_one), values(&next));
    assert_eq!(named(&id(&search("apt2"), 0), ""), ["one.example"]);
    assert_eq!(named(&id(&search("tumn"), 0), ""), ["three.example"], "by a part of it");
    assert_eq!(admin.get_status("/api/v1/iocs?name_id=00000000-0000-4000-8000-000000000000"), 404);
    // A tag that a person takes away is found no more; one that a person sets is found at once.
    let two = text(&admin.ioc("two.example"), "id");
    admin.patch(&format!("/api/v1/iocs/{two}"), json!({ "user_tags": ["Old mark"] }), 200);
    assert_eq!(named(&id(&search("old%20m"), 0), ""), ["two.example"]);
    admin.patch(&format!("/api/v1/iocs/{two}"), json!({ "user_tags": ["Seen at work"] }), 200);
    assert_eq!(search("old%20m")["names"], json!([]));
    assert_eq!(named(&id(&search("at%20work"), 0), ""), ["two.example"]);
    // Values and names of ours, in one answer.
    let device = text(
        &admin.post("/api/v1/devices", json!({ "name": "Two eyes", "device_type": "misp" }), 201),
        "id",
    );
    let hits = search("two");
    assert_eq!(hits["iocs"][0]["value"], "two.example");
    assert_eq!(hits["devices"][0]["id"], device.as_str());
    assert_eq!(search("hxxps://ONE[.]example/path")["iocs"][0]["value"], "one.example");
    // Another account finds nothing.
    let (other, _) = crate::accounts::second_account(app);
    let nothing = other.get("/api/v1/search?q=plugx");
    assert_eq!((&nothing["names"], &nothing["iocs"]), (&json!([]), &json!([])));
    assert_eq!(other.get_status(&format!("/api/v1/iocs?name_id={plugx}")), 404);
}

/// A key opens a MISP feed, as soon as it is built.
fn opens(app: &TestApp, key: &str, url: &str) {
    let device = Device::new(&app.account_id, key);
    eventually("the key opens the feed", || {
        Some(()).filter(|()| device.get(&format!("{url}/manifest.json"), &[]).status == 200)
    });
}

fn many_devices_with_one_call(app: &mut TestApp) {
    let admin = app.admin();
    let row = |name: &str, device_type: &str| json!({ "name": name, "device_type": device_type });
    let mut devices = vec![row("a-b", "misp"), row("Lab", "toaster"), row("Lab MISP", "misp")];
    devices[2]["groups"] = json!([{ "name": "Lab feed" }]);
    devices[2]["labels"] = json!(["Site: Berlin", "lab"]);
    devices.push(row("lab misp", "misp"));
    let body = json!({ "devices": devices });
    let mut check = body.clone();
    check["check"] = json!(true);
    let checked = admin.post("/api/v1/devices/batch", check, 200);
    assert_eq!((checked["added"].as_u64(), checked["failed"].as_u64()), (Some(0), Some(3)));
    assert_eq!(admin.get("/api/v1/devices")["items"], json!([]));
    let added = admin.post("/api/v1/devices/batch", body, 200);
    assert_eq!((added["added"].as_u64(), added["failed"].as_u64()), (Some(1), Some(3)));
    let says = |nth: usize, what: &str| {
        let problem = text(&added["items"][nth], "problem");
        assert!(problem.contains(what), "{problem}");
    };
    says(0, "take out -");
    says(1, "no such device type");
    says(3, "is a device called");
    let item = &added["items"][2];
    let (device, url) = (text(item, "device_id"), text(&item["groups"][0], "url"));
    let shown = admin.get(&format!("/api/v1/devices/{device}"));
    assert_eq!(shown["labels"], json!(["lab", "site: berlin"]));
    opens(app, &text(item, "key"), &url);
    // Changed together; each says what came of it.
    let change = |what: Value, expected: u16| {
        let mut body = json!({ "ids": [device, "00000000-0000-4000-8000-000000000000"] });
        body.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        admin.post("/api/v1/devices/changes", body, expected)
    };
    let done = change(json!({ "add_labels": ["DMZ"] }), 200);
    assert_eq!((done["changed"].as_u64(), done["failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(text(&done["items"][1], "problem"), "There is no such device.");
    change(json!({ "remove_labels": ["lab"] }), 200);
    let labels = admin.get(&format!("/api/v1/devices/{device}"))["labels"].clone();
    assert_eq!(labels, json!(["dmz", "site: berlin"]));
    assert_eq!(change(json!({}), 422)["errors"][0]["code"], "one_change");
    assert_eq!(
        change(json!({ "new_key": true, "paused": true }), 422)["errors"][0]["code"],
        "one_change"
    );
    let key = text(&change(json!({ "new_key": true }), 200)["items"][0], "key");
    opens(app, &key, &url);
    // A pause that ends by itself.
    let now = iocast_server::Clock::now(&*app.clock);
    let until = now.plus(3 * crate::watchdog::HOUR).to_string();
    change(json!({ "paused": true, "paused_until": until }), 200);
    let paused = || admin.get(&format!("/api/v1/devices/{device}"))["paused"] == true;
    assert!(paused());
    app.advance(&admin, "2h");
    assert!(paused());
    app.advance(&admin, "2h");
    assert!(!paused(), "it ended by itself");
    let over = admin.patch(
        &format!("/api/v1/devices/{device}"),
        json!({ "paused": true, "paused_until": "2020-01-01T00:00:00Z" }),
        422,
    );
    assert_eq!(over["errors"][0]["code"], "time_out_of_range");
}

fn why_an_ioc_is_not_there(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin, "Own feed");
    let device = json!({ "name": "Lab MISP", "device_type": "misp" });
    let device = text(&admin.post("/api/v1/devices", device, 201), "id");
    let path = format!("/api/v1/devices/{device}/groups");
    let group = json!({ "name": "Perimeter", "limit": 1, "default_rule": false });
    let group = text(&admin.post(&path, group, 201), "id");
    let rule = json!({ "name": "High only", "criteria": { "severities": ["high"] }, "group_ids": [group] });
    admin.post("/api/v1/rules", rule, 201);
    let iocs = json!([
        { "value": "low.example", "severity": "low" },
        { "value": "a.example", "severity": "high" },
        { "value": "b.example", "severity": "high" },
    ]);
    admin.import(&source, "application/json", &iocs.to_string(), 200);
    eventually("the group is full", || {
        Some(()).filter(|()| admin.get(&format!("/api/v1/groups/{group}"))["published"] == 1)
    });
    let tab = Tab::open(app);
    let why = |value: &str| {
        page(&format!("{}/automation/groups/{group}?why={value}", tab.url), &tab.cookies).text()
    };
    let says = |value: &str, what: &str| assert!(why(value).contains(what), "{value}: {what}");
    let both = [why("a.example"), why("b.example")];
    assert_eq!(both.iter().filter(|page| page.contains("It is in the group since")).count(), 1);
    assert_eq!(
        both.iter()
            .filter(|page| page.contains("the group is full, and others come first"))
            .count(),
        1
    );
    says(
        "LOW[.]example",
        "The rule High only does not choose it: the rule takes other severities.",
    );
    says("nobody.example", "No source has reported it.");
    says("neither+nor", "is no domain, URL, e-mail address");
    let places =
        admin.get(&format!("/api/v1/iocs/{}/places", text(&admin.ioc("low.example"), "id")));
    assert_eq!(places["not_met"][0]["reason"], "severity", "{places}");
    // All that is kept back, as a table for those who ask in bulk.
    let private = json!([{ "value": "10.1.2.3", "severity": "high" }]);
    admin.import(&source, "application/json", &private.to_string(), 200);
    let table = || {
        page(&format!("{}/automation/groups/{group}/excluded.csv", tab.url), &tab.cookies).text()
    };
    let listed = eventually("the address is kept back", || {
        Some(table()).filter(|table| table.contains("10.1.2.3"))
    });
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[0], "\"value\",\"kind\",\"reason\",\"because\",\"warninglists\"");
    assert!(lines.len() == 2 && lines[1].starts_with("\"10.1.2.3\",\"ipv4\","), "{listed}");
}

fn a_rule_that_cannot_be_read_is_not_widened(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin, "Own feed");
    let rule = json!({ "name": "Narrow", "criteria": { "kinds": ["domain"], "severities": ["high"], "source_ids": [source], "tags": ["botnet"] }, "group_ids": [] });
    let rule = text(&admin.post("/api/v1/rules", rule, 201), "id");
    // Its source is gone: without a device, too, the form still asks for it.
    admin.delete(&format!("/api/v1/sources/{source}"), 204);
    let tab = Tab::open(app);
    let url = format!("{}/automation/policy/{rule}", tab.url);
    let html = page(&url, &tab.cookies).text();
    assert!(
        html.contains(&format!("value=\"{source}\" checked")),
        "the deleted source stays ticked"
    );
    // One field that can't be read takes nothing away from the others.
    let stamp = field(&html, "stamp");
    let sent = [
        ("token", tab.token.as_str()),
        ("do", "save"),
        ("stamp", stamp.as_str()),
        ("name", "Narrow"),
        ("kinds", "domain"),
        ("severities", "high"),
        ("source_ids", source.as_str()),
        ("tags", "botnet"),
        ("state", "active"),
        ("first_seen_from", "yesterday"),
        ("enabled", "1"),
    ];
    let again = form(&url, &[("cookie", &tab.cookies)], &sent);
    assert_eq!(again.status, 422);
    let html = again.text();
    for kept in
        ["value=\"domain\" checked", "value=\"high\" checked", "botnet", "value=\"yesterday\""]
    {
        assert!(html.contains(kept), "{kept}");
    }
    assert!(html.contains(&format!("value=\"{source}\" checked")));
}
