//! What sources follow changes in ways that are easy to get wrong: feeds of many events after a
//! long silence, objects that share an IOC, accounts of one server, filters and tags.

use std::fs;

use serde_json::{Value, json};

use crate::{
    lists::{device, import, settled, source},
    support::{Engine, TestApp, eventually, stories, text},
    upstreams::{
        Running, Site, add_objects, event, fetch, indicator, open, subscribe, subscription,
        taxii_access, write_feed,
    },
};

stories!(
    a_large_feed_is_whole_after_a_long_silence,
    one_event_that_can_not_be_read_holds_up_no_other,
    objects_share_an_ioc_and_change_it,
    another_account_of_the_same_server_is_another_list,
    what_the_filter_takes_no_more_leaves_and_new_tags_come,
);

fn id(n: usize) -> String {
    format!("5f0b5c4e-0000-4000-8000-{n:012}")
}

fn events(count: usize, stamp: u32) -> Value {
    let one = |n: usize| event(&id(n), stamp, &json!([["domain", format!("h{n}.example")]]));
    (0..count).map(one).collect::<Vec<_>>().into()
}

fn a_large_feed_is_whole_after_a_long_silence(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    // More than are fetched at once.
    write_feed(folder.path(), &events(450, 1_000));
    subscribe(&admin, &own, json!({ "protocol": "misp_feed", "url": site.url, "paused": true }));
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["new"], &first["listed"]), (&json!(450), &json!(450)), "{first}");
    site.asked();
    app.advance(&admin, "8d");
    let admin = app.admin();
    // All of it is taken again, a part at a time, and nothing is gone in between.
    let renewed = fetch(&admin, &own, "");
    let counts = ["new", "gone", "listed"].map(|field| renewed[field].as_u64().unwrap());
    assert_eq!(counts, [0, 0, 450], "{renewed}");
    let asked = site.asked();
    assert_eq!(asked.iter().filter(|path| *path != "manifest.json").count(), 450);
    assert!(asked.iter().filter(|path| *path == "manifest.json").count() >= 2);
    let try_it = admin.post(&format!("/api/v1/sources/{own}/subscription/try"), json!({}), 200);
    assert_eq!((&try_it["accepted"], &try_it["dry_run"]), (&json!(0), &json!(true)), "{try_it}");
    assert_eq!(subscription(&admin, &own)["listed"], 450);
}

fn one_event_that_can_not_be_read_holds_up_no_other(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    write_feed(folder.path(), &events(5, 1_000));
    for (n, body) in [(0, "{}"), (1, "<html>"), (2, "")] {
        fs::write(folder.path().join(format!("{}.json", id(n))), body).unwrap();
    }
    subscribe(&admin, &own, json!({ "protocol": "misp_feed", "url": site.url, "paused": true }));
    let done = fetch(&admin, &own, "");
    assert_eq!((&done["outcome"], &done["new"]), (&json!("taken"), &json!(2)), "{done}");
    assert!(text(&done, "error").contains("3 events could not be read"), "{done}");
    // Once they can be, they are taken, and nothing else is asked for.
    write_feed(folder.path(), &events(5, 1_000));
    site.asked();
    assert_eq!(fetch(&admin, &own, "")["new"], 3);
    assert_eq!(site.asked().len(), 4);
}

fn objects_share_an_ioc_and_change_it(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let server = Running::start("taxii_server.py", &[]);
    let add = |objects: Value| add_objects(&server, &objects);
    let at = |day: u32| format!("2026-11-0{day}T00:00:00.000Z");
    add(json!([
        indicator(1, "shared.example", &at(1)),
        indicator(2, "shared.example", &at(1)),
        indicator(3, "before.example", &at(1)),
    ]));
    subscribe(&admin, &own, taxii_access(&server));
    assert_eq!(fetch(&admin, &own, "")["new"], 2);
    settled(app, &plain.url, &["shared.example", "before.example"]);
    // One of two is taken back, and the other one holds; one says something else.
    let mut revoked = indicator(1, "shared.example", &at(2));
    revoked["revoked"] = json!(true);
    add(json!([revoked, indicator(3, "after.example", &at(2))]));
    let done = fetch(&admin, &own, "");
    assert_eq!((&done["new"], &done["gone"]), (&json!(1), &json!(1)), "{done}");
    settled(app, &plain.url, &["shared.example", "after.example"]);
    // The other one ends by itself.
    let mut ended = indicator(2, "shared.example", &at(2));
    ended["valid_until"] = json!("2026-11-02T00:00:00Z");
    add(json!([ended]));
    assert_eq!(fetch(&admin, &own, "")["gone"], 1);
    settled(app, &plain.url, &["after.example"]);
}

fn another_account_of_the_same_server_is_another_list(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let original = TestApp::open(Engine::Sqlite);
    let theirs = original.admin();
    let their_source = source(&theirs);
    import(&theirs, &their_source, &["a.example", "b.example"]);
    let key = text(&theirs.post("/api/v1/keys", json!({ "kind": "api" }), 201), "secret");
    let follow = |account: &str, key: &str| {
        json!({ "protocol": "threat_command", "url": original.url, "access": "basic", "paused": true,
            "access_name": account, "secret": key })
    };
    subscribe(&admin, &own, follow(&original.account_id, &key));
    assert_eq!(fetch(&admin, &own, "")["new"], 2);
    settled(app, &plain.url, &["a.example", "b.example"]);
    let made = crate::shell::iocast_on(
        &original,
        &["init", "--account", "Second", "--admin", "second@example.com", "--json"],
        None,
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    let second = crate::support::Admin::sign_in(
        &original.url,
        "second@example.com",
        &text(&made, "admin_password"),
    );
    import(&second, &source(&second), &["b.example", "c.example"]);
    subscribe(&admin, &own, follow(&text(&made, "account_id"), &text(&made, "api_key")));
    assert_eq!(fetch(&admin, &own, "")["listed"], 2);
    settled(app, &plain.url, &["b.example", "c.example"]);
}

fn what_the_filter_takes_no_more_leaves_and_new_tags_come(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let server = Running::start("taxii_server.py", &[]);
    let marked = |n: u32, value: &str, day: u32, mark: &str| {
        let mut object = indicator(n, value, &format!("2026-11-0{day}T00:00:00.000Z"));
        object["labels"] = json!([format!("tlp:{mark}")]);
        object
    };
    add_objects(
        &server,
        &json!([marked(1, "a.example", 1, "green"), marked(2, "b.example", 1, "green")]),
    );
    let with = |tags: Value| {
        let mut what = taxii_access(&server);
        what["tlp_most"] = json!("green");
        what["tags"] = tags;
        what
    };
    subscribe(&admin, &own, with(json!([])));
    assert_eq!(fetch(&admin, &own, "")["new"], 2);
    settled(app, &plain.url, &["a.example", "b.example"]);
    // It is marked more strictly: it is to be here no more.
    add_objects(&server, &json!([marked(2, "b.example", 2, "red")]));
    assert_eq!(fetch(&admin, &own, "")["gone"], 1);
    settled(app, &plain.url, &["a.example"]);
    // IOCs that were fetched before get new tags.
    subscribe(&admin, &own, with(json!(["feed:partner"])));
    let done = fetch(&admin, &own, "");
    assert_eq!((&done["gone"], &done["listed"]), (&json!(0), &json!(1)), "{done}");
    eventually("the IOC has the tag", || {
        admin.ioc("a.example")["system_tags"].to_string().contains("feed:partner").then_some(())
    });
}
