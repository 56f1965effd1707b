//! Many small groups of one account are published together; what happens to one of them is no
//! matter of the others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Admin, Device, TestApp, eventually, stories, text};

stories!(many_groups_follow_together, one_that_fails_holds_up_no_other);

struct Group {
    id: String,
    url: String,
    kind: &'static str,
}

/// Groups of these types, each of its own device.
fn groups(admin: &Admin, types: &[&'static str]) -> Vec<Group> {
    let group = |(n, kind): (usize, &&'static str)| {
        let device = text(
            &admin.post(
                "/api/v1/devices",
                json!({ "name": format!("Device {n}"), "device_type": kind }),
                201,
            ),
            "id",
        );
        let made = admin.post(
            &format!("/api/v1/devices/{device}/groups"),
            json!({ "name": "Malicious", "limit": 100 }),
            201,
        );
        Group { id: text(&made, "id"), url: text(&made, "url"), kind }
    };
    types.iter().enumerate().map(group).collect()
}

/// What a group says that it holds.
fn held(admin: &Admin, group: &Group) -> BTreeSet<String> {
    let page = admin.get(&format!("/api/v1/groups/{}/iocs?limit=1000", group.id));
    page["items"].as_array().unwrap().iter().map(|ioc| text(ioc, "value")).collect()
}

/// What a device gets, as far as these values go.
fn served(device: &Device, group: &Group, values: &[&str]) -> BTreeSet<String> {
    if group.kind == "misp" {
        return device.feed(&group.url).live().into_iter().collect();
    }
    let body = device.get(&group.url, &[]).text();
    if group.kind == "json" {
        let list: Value = serde_json::from_str(&body).unwrap();
        return list["iocs"].as_array().unwrap().iter().map(|ioc| text(ioc, "value")).collect();
    }
    values.iter().filter(|value| body.contains(**value)).map(|value| (*value).to_owned()).collect()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

const ALL: [&str; 5] = ["a.example", "b.example", "c.example", "d.example", "e.example"];

fn all_serve(admin: &Admin, device: &Device, groups: &[Group], values: &[&str]) {
    for group in groups {
        eventually(&format!("the {} group holds {values:?}", group.kind), || {
            (held(admin, group) == set(values)).then_some(())
        });
        let got = eventually("it is served", || {
            Some(served(device, group, &ALL)).filter(|got| *got == set(values))
        });
        assert_eq!(got, set(values), "{}", group.kind);
    }
}

fn many_groups_follow_together(app: &mut TestApp) {
    let (admin, device) = (app.admin(), app.device());
    let kinds = ["plain-list", "json", "misp", "csv", "ndjson", "hosts", "zeek"];
    // More than are published together.
    let types: Vec<&'static str> = kinds.iter().cycle().take(40).copied().collect();
    let mut groups = groups(&admin, &types);
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 2 }), 201),
        "id",
    );
    admin.import(&source, "text/plain", "a.example\nb.example", 200);
    all_serve(&admin, &device, &groups, &["a.example", "b.example"]);
    // Lists that only grow are added to.
    admin.import(&source, "text/plain", "c.example", 200);
    admin.import(&source, "text/plain", "d.example\nc.example", 200);
    all_serve(&admin, &device, &groups, &["a.example", "b.example", "c.example", "d.example"]);
    // What is taken back leaves all of them.
    let ioc = text(&admin.ioc("b.example"), "id");
    admin.patch(&format!("/api/v1/iocs/{ioc}"), json!({ "whitelist": "never_sent" }), 200);
    all_serve(&admin, &device, &groups, &["a.example", "c.example", "d.example"]);
    // A frozen one stays where it is, and the others go on.
    let frozen = groups.remove(1);
    let publication = admin.get(&format!("/api/v1/groups/{}", frozen.id))["publication"].clone();
    admin.post(
        &format!("/api/v1/groups/{}/freeze", frozen.id),
        json!({ "publication": publication }),
        200,
    );
    admin.import(&source, "text/plain", "e.example", 200);
    all_serve(&admin, &device, &groups, &["a.example", "c.example", "d.example", "e.example"]);
    assert_eq!(served(&device, &frozen, &ALL), set(&["a.example", "c.example", "d.example"]));
    admin.post(
        &format!("/api/v1/groups/{}/freeze", frozen.id),
        json!({ "publication": null }),
        200,
    );
    eventually("it goes on, too", || (served(&device, &frozen, &ALL).len() == 4).then_some(()));
}

fn one_that_fails_holds_up_no_other(app: &mut TestApp) {
    let (admin, device) = (app.admin(), app.device());
    let mut groups = groups(&admin, &["plain-list"; 6]);
    let source = text(
        &admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 2 }), 201),
        "id",
    );
    admin.import(&source, "text/plain", "a.example", 200);
    all_serve(&admin, &device, &groups, &["a.example"]);
    // What is stored of one of them can't be read any more.
    let broken = groups.remove(2);
    admin.patch(&format!("/api/v1/groups/{}", broken.id), json!({ "name": "Broken" }), 200);
    app.sql("UPDATE parts SET event_segment = 'broken' WHERE group_id IN (SELECT id FROM ioc_groups WHERE name = 'Broken')");
    admin.import(&source, "text/plain", "b.example", 200);
    all_serve(&admin, &device, &groups, &["a.example", "b.example"]);
    assert_eq!(served(&device, &broken, &ALL), set(&["a.example"]), "its device keeps what it had");
}
