//! Warninglists: what is often reported and rarely harmful is marked, or goes to no device. And the
//! allow list, whose entries may end, and may be for one device or one source.

use std::io::{Cursor, Write as _};

use serde_json::{Value, json};

use crate::{
    lists::{Pulled, device, import, settled, source},
    support::{Admin, Answer, Scene, TestApp, eventually, stories, text},
};

stories!(
    a_list_warns_or_withholds,
    an_archive_of_lists_is_taken,
    a_list_that_takes_too_much_is_held,
    a_review_names_the_lists,
    an_allow_entry_ends,
    an_allow_entry_is_for_one_device_or_source,
);

fn give(admin: &Admin, query: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", "application/octet-stream")];
    admin.send("POST", &format!("/api/v1/warninglists{query}"), &headers, Some(body))
}

fn given(admin: &Admin, query: &str, list: &Value) -> Value {
    let answer = give(admin, query, list.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["lists"][0].clone()
}

fn list(name: &str, kind: &str, attributes: &[&str], entries: &[&str]) -> Value {
    json!({ "name": name, "type": kind, "version": 1, "description": "What it is.", "matching_attributes": attributes, "list": entries })
}

fn refused(admin: &Admin, group: &str) -> Vec<(String, String)> {
    let path = format!("/api/v1/groups/{group}/refused?reason=warninglist");
    let found = admin.get(&path);
    let entry = |item: &Value| (text(item, "value"), item["warninglists"][0].to_string());
    found["items"].as_array().unwrap().iter().map(entry).collect()
}

fn a_list_warns_or_withholds(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let all = [
        "http://cdn.vendor.example/payload",
        "cdn.vendor.example",
        "evil.example",
        "192.0.2.7",
        "192.0.2.0/24",
        "203.0.113.9",
        "worse.example",
        "worst.example",
    ];
    import(&admin, &own, &all);
    settled(app, &plain.url, &all);
    // A list that warns marks its IOCs, and sends them.
    let added = given(
        &admin,
        "",
        &list("Content networks", "hostname", &["domain", "hostname", "url"], &["vendor.example"]),
    );
    assert_eq!(added["outcome"], "added");
    let marked = admin.ioc("cdn.vendor.example");
    assert_eq!(marked["warninglists"][0]["name"], "Content networks");
    assert_eq!(marked["warninglists"][0]["mode"], "warn");
    assert_eq!(admin.ioc("evil.example")["warninglists"], json!([]));
    settled(app, &plain.url, &all);
    // One that withholds takes them from every device, and says which list it was.
    let path = format!("/api/v1/warninglists/{}", text(&added, "id"));
    assert_eq!(admin.patch(&path, json!({ "mode": "withhold" }), 200)["mode"], "withhold");
    let left = [
        "evil.example",
        "192.0.2.7",
        "192.0.2.0/24",
        "203.0.113.9",
        "worse.example",
        "worst.example",
    ];
    settled(app, &plain.url, &left);
    let named = "\"Content networks\"".to_owned();
    let mut found = refused(&admin, &plain.group);
    found.sort();
    assert_eq!(
        found,
        [
            ("cdn.vendor.example".to_owned(), named.clone()),
            ("http://cdn.vendor.example/payload".to_owned(), named)
        ]
    );
    // A network is met by what lies in it and by what it lies in.
    let ranges =
        list("Office ranges", "cidr", &["ip-src", "ip-dst"], &["192.0.2.0/25", "not a network"]);
    let added = given(&admin, "?mode=withhold", &ranges);
    settled(app, &plain.url, &["evil.example", "203.0.113.9", "worse.example", "worst.example"]);
    let lists = admin.get("/api/v1/warninglists");
    let office = &lists["items"][1];
    assert_eq!(
        (office["entries"].as_u64(), office["left_out"].as_u64()),
        (Some(1), Some(1)),
        "{lists}"
    );
    assert!(office["left_out_reasons"][0].as_str().unwrap().contains("not a network"), "{lists}");
    assert_eq!(office["kinds"], json!(["ipv4", "ipv6"]));
    // One IOC may go all the same, and a whole guard may be switched off.
    admin.patch(
        &format!("/api/v1/iocs/{}", text(&admin.ioc("192.0.2.7"), "id")),
        json!({ "whitelist": "always_sent" }),
        200,
    );
    settled(
        app,
        &plain.url,
        &["evil.example", "203.0.113.9", "worse.example", "worst.example", "192.0.2.7"],
    );
    admin.patch("/api/v1/account/guards", json!({ "off": ["warninglist"] }), 200);
    settled(app, &plain.url, &all);
    admin.patch("/api/v1/account/guards", json!({ "off": [] }), 200);
    // The same list again changes nothing; a new one takes its place, and goes on withholding.
    assert_eq!(given(&admin, "", &ranges)["outcome"], "unchanged");
    let later = list("office RANGES", "cidr", &["ip-dst"], &["203.0.113.0/24"]);
    let updated = given(&admin, "?mode=off", &later);
    assert_eq!((&updated["outcome"], &updated["id"]), (&json!("updated"), &added["id"]));
    settled(
        app,
        &plain.url,
        &["evil.example", "192.0.2.7", "192.0.2.0/24", "worse.example", "worst.example"],
    );
    // It is given out as it came in, and taken again as it is.
    let file =
        admin.send("GET", &format!("/api/v1/warninglists/{}/file", text(&added, "id")), &[], None);
    assert_eq!(serde_json::from_str::<Value>(&file.text()).unwrap(), later);
    // A value can be looked up, in any spelling.
    let checked =
        admin.get("/api/v1/warninglists/check?value=hxxp%3A%2F%2FCDN.vendor%5B.%5Dexample%2Fx");
    assert_eq!(checked["warninglists"][0]["name"], "Content networks", "{checked}");
    assert_eq!(admin.get_status("/api/v1/warninglists/check?value=nodots"), 422);
    // Deleted, it holds nothing back.
    admin.delete(&path, 204);
    admin.delete(&format!("/api/v1/warninglists/{}", text(&added, "id")), 204);
    settled(app, &plain.url, &all);
    assert_eq!(admin.get_status(&format!("{path}/file")), 404);
    let audit = admin.get("/api/v1/audit?limit=50").to_string();
    for action in
        ["warninglist.add", "warninglist.mode", "warninglist.update", "warninglist.delete"]
    {
        assert!(audit.contains(action), "{action}");
    }
}

fn an_archive_of_lists_is_taken(app: &mut TestApp) {
    let admin = app.admin();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [
        (
            "misp-warninglists-main/lists/top/list.json",
            list("Top sites", "string", &["domain"], &["top.example"]).to_string(),
        ),
        (
            "misp-warninglists-main/lists/hashes/list.json",
            list("Known files", "string", &["filename|md5"], &["44D88612FEA8A8F36DE82E1278ABB02F"])
                .to_string(),
        ),
        ("misp-warninglists-main/lists/broken/list.json", "{".to_owned()),
        ("misp-warninglists-main/schema.json", "{}".to_owned()),
        ("misp-warninglists-main/README.md", "# Lists".to_owned()),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    let body = zip.finish().unwrap().into_inner();
    let answer = give(&admin, "?mode=off", &body).json();
    let outcomes: Vec<String> =
        answer["lists"].as_array().unwrap().iter().map(|l| text(l, "outcome")).collect();
    assert_eq!(outcomes, ["added", "added", "refused"], "{answer}");
    assert!(text(&answer["lists"][2], "name").contains("broken"), "{answer}");
    // What is off is kept, and not asked.
    let checked = |value: &str| admin.get(&format!("/api/v1/warninglists/check?value={value}"));
    assert_eq!(checked("top.example")["warninglists"], json!([]));
    for list in admin.get("/api/v1/warninglists")["items"].as_array().unwrap() {
        admin.patch(
            &format!("/api/v1/warninglists/{}", text(list, "id")),
            json!({ "mode": "warn" }),
            200,
        );
    }
    assert_eq!(checked("top.example")["warninglists"][0]["name"], "Top sites");
    assert_eq!(
        checked("44d88612fea8a8f36de82e1278abb02f")["warninglists"][0]["name"],
        "Known files"
    );
    // What is no list says so, and changes nothing.
    for (body, why) in
        [("{\"name\":\"x\"}", "no `list`"), ("hello", "no warninglist"), ("", "no warninglist")]
    {
        let answer = give(&admin, "", body.as_bytes());
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    assert_eq!(give(&admin, "?mode=maybe", b"{}").status, 422);
    assert_eq!(admin.get("/api/v1/warninglists")["items"].as_array().unwrap().len(), 2);
}

fn a_list_that_takes_too_much_is_held(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let of = |under: &str, count| (0..count).map(|n| format!("h{n}.{under}")).collect::<Vec<_>>();
    let (vendors, evil) = (of("vendor.example", 15), of("evil.example", 10));
    let evil: Vec<&str> = evil.iter().map(String::as_str).collect();
    let all: Vec<&str> = vendors.iter().map(String::as_str).chain(evil.iter().copied()).collect();
    import(&admin, &own, &all);
    settled(app, &plain.url, &all);
    given(&admin, "?mode=withhold", &list("Vendors", "hostname", &[], &["vendor.example"]));
    // More than half at once is more often an accident than a wish.
    let held = eventually("the publication is held", || {
        let group = admin.get(&format!("/api/v1/groups/{}", plain.group));
        (!group["held"].is_null()).then_some(group)
    });
    assert_eq!(held["held"]["would_lose"], 15, "{held}");
    settled(app, &plain.url, &all);
    admin.post(&format!("/api/v1/groups/{}/let-through", plain.group), json!({}), 200);
    settled(app, &plain.url, &evil);
}

fn a_review_names_the_lists(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    given(&admin, "?mode=withhold", &list("Shared hosts", "hostname", &[], &["shared.example"]));
    given(&admin, "", &list("Seen often", "substring", &[], &["often"]));
    let path = format!("/api/v1/sources/{}/iocs?review=true", scene.source);
    let body = "a.shared.example\noften.example\nevil.example\n";
    let answer =
        admin.send("POST", &path, &[("content-type", "text/plain")], Some(body.as_bytes())).json();
    let rows = admin.get(&format!("/api/v1/imports/{}/iocs", text(&answer, "id")));
    let row = |value: &str| {
        let all = rows["items"].as_array().unwrap();
        all.iter().find(|row| row["value"] == value).unwrap().clone()
    };
    assert_eq!(row("a.shared.example")["withheld"], "on a warninglist that withholds");
    assert_eq!(row("a.shared.example")["warninglists"][0]["name"], "Shared hosts");
    assert_eq!(
        (&row("often.example")["withheld"], &row("often.example")["warninglists"][0]["name"]),
        (&Value::Null, &json!("Seen often"))
    );
    assert_eq!(row("evil.example")["warninglists"], json!([]));
}

fn an_allow_entry_ends(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let all = ["partner.example", "good.example", "evil.example", "worse.example", "worst.example"];
    import(&admin, &own, &all);
    settled(app, &plain.url, &all);
    let entry = json!({ "value": "partner.example", "comment": "Until the contract ends", "expires_at": "2026-12-05T00:00:00Z" });
    let now = text(&admin.get("/api/v1/emulator/clock"), "now");
    assert!(now.as_str() < "2026-12-01", "the story needs a time before: {now}");
    admin.post("/api/v1/account/guards/allow", json!({ "add": [entry, "good.example"] }), 200);
    settled(app, &plain.url, &["evil.example", "worse.example", "worst.example"]);
    let guards = admin.get("/api/v1/account/guards");
    assert_eq!(guards["allow"][0]["comment"], "Until the contract ends", "{guards}");
    assert_eq!(
        guards["allow"][1],
        json!({ "value": "good.example", "comment": null, "expires_at": null, "source_id": null, "device_id": null })
    );
    // What would have ended already, or is none, is refused, and nothing is lost.
    for wrong in [
        json!({ "add": [{ "value": "x.example", "expires_at": "2020-01-01T00:00:00Z" }] }),
        json!({ "add": ["y.example", "not a name"] }),
        json!({ "add": [{ "value": "x.example", "source_id": "00000000-0000-4000-8000-000000000000" }] }),
    ] {
        admin.post("/api/v1/account/guards/allow", wrong, 422);
    }
    assert_eq!(admin.get("/api/v1/account/guards"), guards);
    // It ends by itself, and the audit log says so.
    app.advance(&admin, "35d");
    eventually("the entry has ended", || {
        let guards = admin.get("/api/v1/account/guards");
        (guards["allow"].as_array().unwrap().len() == 1).then_some(())
    });
    import(&admin, &own, &all);
    settled(
        app,
        &plain.url,
        &["partner.example", "evil.example", "worse.example", "worst.example"],
    );
    assert!(admin.get("/api/v1/audit?limit=20").to_string().contains("guards.expire"));
    admin.post("/api/v1/account/guards/allow", json!({ "remove": ["good.example"] }), 200);
    settled(app, &plain.url, &all);
}

fn an_allow_entry_is_for_one_device_or_source(app: &mut TestApp) {
    let admin = app.admin();
    let one = source(&admin);
    let second = json!({ "name": "Second feed", "confidence": 2 });
    let two = text(&admin.post("/api/v1/sources", second, 201), "id");
    let plain = device(&admin, "plain-list", json!({}));
    let second = json!({ "name": "Second", "device_type": "plain-list" });
    let id = text(&admin.post("/api/v1/devices", second, 201), "id");
    let path = format!("/api/v1/devices/{id}/groups");
    let group = admin.post(&path, json!({ "name": "Second" }), 201);
    let other = Pulled {
        name: "plain-list",
        device: id,
        group: text(&group, "id"),
        url: text(&group, "url"),
    };
    import(
        &admin,
        &one,
        &["a.example", "shared.example", "evil.example", "worse.example", "c.example"],
    );
    import(&admin, &two, &["shared.example", "b.example"]);
    let all =
        ["a.example", "b.example", "c.example", "shared.example", "evil.example", "worse.example"];
    settled(app, &plain.url, &all);
    settled(app, &other.url, &all);
    admin.post(
        "/api/v1/account/guards/allow",
        json!({ "add": [
            { "value": "c.example", "device_id": other.device },
            { "value": "a.example", "source_id": one },
            { "value": "shared.example", "source_id": one },
        ] }),
        200,
    );
    // What the second source reports, too, is sent on its word.
    settled(
        app,
        &plain.url,
        &["b.example", "c.example", "shared.example", "evil.example", "worse.example"],
    );
    settled(app, &other.url, &["b.example", "shared.example", "evil.example", "worse.example"]);
    admin.patch(&format!("/api/v1/sources/{two}"), json!({ "enabled": false }), 200);
    settled(app, &plain.url, &["c.example", "evil.example", "worse.example"]);
}
