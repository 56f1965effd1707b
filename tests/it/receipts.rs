//! What devices fetched: whether they have what their groups hold, who is behind them, where an IOC
//! is, and whether a withdrawal arrived.

use serde_json::{Value, json};

use crate::{
    lists,
    pages::{page, signed_in},
    support::{Admin, Answer, Scene, TestApp, basic, eventually, misp::Misp, send, stories, text},
};

stories!(
    a_list_is_complete_once_it_was_fetched,
    the_client_that_is_behind_decides,
    a_misp_that_stops_halfway_is_partly_there,
    a_misp_from_before_receipts_has_what_it_shows,
    a_taxii_client_is_complete_at_the_last_page,
    a_withdrawal_is_confirmed_device_by_device,
    where_an_ioc_is_and_why_not_elsewhere,
    an_event_that_was_not_taken_is_offered_again,
    a_misp_that_leaves_everything_is_named,
    a_misp_that_has_everything_is_left_alone,
    a_misp_that_does_not_name_itself_is_noted,
    what_joins_a_refused_event_is_not_lost,
    a_look_with_curl_does_not_count_beside_a_misp,
    monitoring_sees_how_many_devices_lack_what,
);

/// The states of a group, the most urgent first.
fn states(admin: &Admin, group: &str) -> Vec<String> {
    let group = admin.get(&format!("/api/v1/groups/{group}"));
    group["protection"].as_array().unwrap().iter().map(|p| text(p, "state")).collect()
}

fn becomes(admin: &Admin, group: &str, expected: &[&str]) {
    eventually(&format!("{group} is {expected:?}"), || {
        (states(admin, group) == expected).then_some(())
    });
}

/// Waits until a group serves so many IOCs.
fn publishes(admin: &Admin, group: &str, iocs: u64) {
    eventually(&format!("{iocs} IOCs are published"), || {
        (admin.get(&format!("/api/v1/groups/{group}"))["published"] == iocs).then_some(())
    });
}

/// Pulls as a client that calls itself so.
fn pull_as(app: &TestApp, agent: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
    let key = basic(&app.account_id, &app.appliance_key);
    let own = [("authorization", key.as_str()), ("user-agent", agent)];
    send("GET", url, &[&own, headers].concat(), None)
}

fn clients(admin: &Admin, device: &str) -> Vec<Value> {
    admin.get(&format!("/api/v1/devices/{device}/clients"))["items"].as_array().unwrap().clone()
}

fn a_list_is_complete_once_it_was_fetched(app: &mut TestApp) {
    let admin = app.admin();
    let source = lists::source(&admin);
    let list = lists::device(&admin, "plain-list", json!({ "limit": 3 }));
    lists::import(&admin, &source, &["192.0.2.1", "192.0.2.2"]);
    publishes(&admin, &list.group, 2);
    becomes(&admin, &list.group, &["never_fetched"]);
    // A slice says nothing of the rest, and turns the dot green all the same.
    assert_eq!(pull_as(app, "fw", &format!("{}?n=1", list.url), &[]).status, 200);
    becomes(&admin, &list.group, &["unknown"]);
    assert_eq!(admin.dot(&list.device).0, "green");
    let whole = pull_as(app, "fw", &list.url, &[]);
    becomes(&admin, &list.group, &["complete"]);
    let client = clients(&admin, &list.device).remove(0);
    let receipt = &client["groups"][0];
    assert_eq!((text(&client, "name"), &client["counts"]), ("fw".into(), &json!(true)));
    assert_eq!(receipt["confirmed"], Value::Null, "it was given the list, no more: {client}");
    // The ETag proves that it has it.
    let etag = whole.header("etag").to_owned();
    assert_eq!(pull_as(app, "fw", &list.url, &[("if-none-match", &etag)]).status, 304);
    eventually("the list is confirmed", || {
        let receipt = clients(&admin, &list.device).remove(0)["groups"][0].clone();
        (receipt["confirmed"] == receipt["publication"]).then_some(())
    });
    // More is published, one finds no room, and the device has not fetched it yet.
    lists::import(&admin, &source, &["192.0.2.3", "192.0.2.4"]);
    publishes(&admin, &list.group, 3);
    becomes(&admin, &list.group, &["at_limit", "behind"]);
    app.advance(&admin, "30h");
    becomes(&admin, &list.group, &["late", "at_limit"]);
    let device = admin.get(&format!("/api/v1/devices/{}", list.device));
    assert_eq!(device["protection"]["word"], "behind by 1");
    assert_eq!(device["sync"]["status"], "green", "the dot is contact: {device}");
    pull_as(app, "fw", &list.url, &[]);
    becomes(&admin, &list.group, &["at_limit"]);
    // Another device's key opens nothing here, and says why.
    let other = text(
        &admin.post("/api/v1/devices", json!({ "name": "Other", "device_type": "csv" }), 201),
        "id",
    );
    let key = admin.post(&format!("/api/v1/devices/{other}/keys"), json!({}), 201);
    let refused = send(
        "GET",
        &list.url,
        &[("authorization", &basic(&app.account_id, &text(&key, "secret")))],
        None,
    );
    assert_eq!(refused.status, 404);
    assert!(refused.text().starts_with("This key is another device's"), "{}", refused.text());
    // Receipts survive a restart, and go with the device.
    app.restart();
    let admin = app.admin();
    becomes(&admin, &list.group, &["at_limit"]);
    admin.delete(&format!("/api/v1/devices/{}", list.device), 204);
    assert_eq!(admin.get_status(&format!("/api/v1/devices/{}/clients", list.device)), 404);
}

fn the_client_that_is_behind_decides(app: &mut TestApp) {
    let admin = app.admin();
    let source = lists::source(&admin);
    let list = lists::device(&admin, "plain-list", json!({}));
    lists::import(&admin, &source, &["192.0.2.1"]);
    publishes(&admin, &list.group, 1);
    // Each more than once: somebody who tries the URL once is no client that counts.
    for _ in 0..2 {
        pull_as(app, "one", &list.url, &[]);
        pull_as(app, "two", &list.url, &[]);
        app.advance(&admin, "11m");
    }
    becomes(&admin, &list.group, &["complete"]);
    lists::import(&admin, &source, &["192.0.2.2"]);
    publishes(&admin, &list.group, 2);
    pull_as(app, "one", &list.url, &[]);
    let of_one = |admin: &Admin| {
        let all = clients(admin, &list.device);
        let one = all.iter().find(|client| client["name"] == "one").unwrap();
        one["groups"][0]["publication"].as_i64()
    };
    let newest = admin.get(&format!("/api/v1/groups/{}", list.group))["publication"].as_i64();
    eventually("the first has it", || (of_one(&admin) == newest).then_some(()));
    becomes(&admin, &list.group, &["behind"]);
    // The second is not seen for two days: the state depends on it no more.
    app.advance(&admin, "50h");
    pull_as(app, "one", &list.url, &[]);
    becomes(&admin, &list.group, &["complete"]);
    let gone: Vec<String> = clients(&admin, &list.device)
        .iter()
        .filter(|client| client["counts"] == false)
        .map(|client| text(client, "name"))
        .collect();
    assert_eq!(gone, ["two"]);
    // Of very many clients the last sixteen are kept.
    app.advance(&admin, "1h");
    for nth in 0..20 {
        pull_as(app, &format!("agent {nth}"), &list.url, &[]);
    }
    eventually("clients are forgotten", || {
        let all = clients(&admin, &list.device);
        let new = all.iter().all(|client| text(client, "name").starts_with("agent"));
        (all.len() == 16 && new).then_some(())
    });
}

/// A MISP group with events of three days; gives where they are, in order of their days.
fn three_events(app: &TestApp, admin: &Admin, scene: &Scene) -> Vec<String> {
    for (day, value) in ["one.example", "two.example", "three.example"].iter().enumerate() {
        scene.import(admin, value);
        publishes(admin, &scene.group, day as u64 + 1);
        if day < 2 {
            app.advance(admin, "1d");
        }
    }
    let manifest = app.device().get(&format!("{}/manifest.json", scene.url), &[]).json();
    let mut events: Vec<(String, &String)> =
        manifest.as_object().unwrap().iter().map(|(id, of)| (text(of, "date"), id)).collect();
    events.sort();
    events.into_iter().map(|(_, id)| format!("{}/{id}.json", scene.url)).collect()
}

fn a_misp_that_stops_halfway_is_partly_there(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let events = three_events(app, &admin, &scene);
    becomes(&admin, &scene.group, &["partly_fetched"]);
    for event in &events[..2] {
        assert_eq!(misp.get(event, &[]).status, 200);
    }
    eventually("two of three events are there", || {
        let group = admin.get(&format!("/api/v1/groups/{}", scene.group));
        (group["protection"][0]["word"] == "partly fetched: 2 of 3").then_some(())
    });
    assert_eq!(admin.dot(&scene.device).0, "green");
    misp.get(&events[2], &[]);
    becomes(&admin, &scene.group, &["complete"]);
    let client = clients(&admin, &scene.device).remove(0);
    assert_eq!(
        (&client["groups"][0]["events"], text(&client, "name")),
        (&json!(3), "MISP 7c5e1d3a".into())
    );
    // The pull log names the events, and counts the manifest as the only pull.
    let log = admin.get(&format!("/api/v1/devices/{}/pulls", scene.device));
    let lines = log["items"].as_array().unwrap();
    let fetched: u64 = lines.iter().map(|line| line["events"].as_u64().unwrap()).sum();
    assert_eq!(fetched, 3, "{log}");
    assert_eq!(lines.iter().filter(|line| line["events"] == 0).count(), 1, "{log}");
    // One event is fetched at every pull: this MISP does not store it. What somebody looks at in
    // between does not count.
    let entry = format!("{}/manifest.json", scene.url);
    misp.get(&events[0], &[]);
    for expected in ["complete", "refused"] {
        app.advance(&admin, "11m");
        misp.get(&entry, &[]);
        misp.get(&events[0], &[]);
        misp.get(&events[0], &[]);
        app.advance(&admin, "1s");
        becomes(&admin, &scene.group, &[expected]);
    }
    // Something new in today's event: what it has of it is an older version.
    scene.import(&admin, "four.example");
    publishes(&admin, &scene.group, 4);
    eventually("the event is old", || {
        misp.get(&entry, &[]);
        let group = admin.get(&format!("/api/v1/groups/{}", scene.group));
        let words: Vec<String> =
            group["protection"].as_array().unwrap().iter().map(|p| text(p, "word")).collect();
        (words == ["refused by the device", "partly fetched: 2 of 3"]).then_some(())
    });
    // Somebody took it off the blocklist of the MISP: it is not fetched at the next pull.
    misp.get(&events[2], &[]);
    app.advance(&admin, "11m");
    misp.get(&entry, &[]);
    becomes(&admin, &scene.group, &["complete"]);
}

fn a_misp_from_before_receipts_has_what_it_shows(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    for event in three_events(app, &admin, &scene) {
        misp.get(&event, &[]);
    }
    becomes(&admin, &scene.group, &["complete"]);
    // As an earlier version left it: pulls, and no receipts.
    app.stop();
    for table in ["clients", "receipts", "event_receipts"] {
        app.sql(&format!("DELETE FROM {table}"));
    }
    app.restart();
    let admin = app.admin();
    app.advance(&admin, "1m");
    becomes(&admin, &scene.group, &["unknown"]);
    let entry = format!("{}/feeds/{}/manifest.json", app.url, scene.group);
    let etag = pull_as(app, "somebody else", &entry, &[]).header("etag").to_owned();
    assert_eq!(misp.get(&entry, &[("if-none-match", &etag)]).status, 304);
    eventually("the MISP is known to have all events", || {
        let all = clients(&admin, &scene.device);
        let misp = all.iter().find(|client| client["misp_uuid"].is_string())?;
        (misp["groups"][0]["events"] == 3).then_some(())
    });
    // The same where the first answer is a new manifest: it has all events but the
    // new one.
    app.stop();
    for table in ["clients", "receipts", "event_receipts"] {
        app.sql(&format!("DELETE FROM {table}"));
    }
    app.restart();
    let admin = app.admin();
    app.advance(&admin, "1m");
    scene.import(&admin, "four.example");
    publishes(&admin, &scene.group, 4);
    let entry = format!("{}/feeds/{}/manifest.json", app.url, scene.group);
    eventually("what it lacks is known", || {
        misp.get(&entry, &[]);
        let group = admin.get(&format!("/api/v1/groups/{}", scene.group));
        (group["protection"][0]["word"] == "partly fetched: 3 of 4").then_some(())
    });
    // Nothing is offered to a MISP that only looked at the manifest.
    let manifest = || pull_as(app, "iocast-test", &entry, &[]).text();
    let before = manifest();
    app.advance(&admin, "3h");
    assert_eq!(manifest(), before);
}

fn a_taxii_client_is_complete_at_the_last_page(app: &mut TestApp) {
    let admin = app.admin();
    let source = lists::source(&admin);
    let taxii = lists::device(&admin, "taxii", json!({}));
    lists::import(&admin, &source, &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    publishes(&admin, &taxii.group, 3);
    let objects =
        format!("{}/taxii2/{}/collections/{}/objects/", app.url, app.account_id, taxii.group);
    let page = |query: &str| {
        let accept = ("accept", "application/taxii+json;version=2.1");
        pull_as(app, "taxii", &format!("{objects}?{query}"), &[accept]).json()
    };
    let first = page("limit=2");
    assert_eq!(first["more"], true, "{first}");
    becomes(&admin, &taxii.group, &["unknown"]);
    let mut next = text(&first, "next");
    loop {
        let more = page(&format!("limit=2&next={next}"));
        if more["more"] != true {
            break;
        }
        next = text(&more, "next");
    }
    becomes(&admin, &taxii.group, &["complete"]);
}

fn a_withdrawal_is_confirmed_device_by_device(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let quick = lists::device(&admin, "plain-list", json!({}));
    let slow = lists::device(&admin, "csv", json!({}));
    let never = lists::device(&admin, "panos-edl", json!({ "kind": "domain" }));
    scene.import(&admin, "wrong.example\nright.example");
    for group in [&scene.group, &quick.group, &slow.group, &never.group] {
        publishes(&admin, group, 2);
    }
    misp.pull(&scene.url);
    for list in [&quick, &slow] {
        pull_as(app, "fw", &list.url, &[]);
        becomes(&admin, &list.group, &["complete"]);
    }
    becomes(&admin, &scene.group, &["complete"]);
    let ioc = text(&admin.ioc("wrong.example"), "id");
    admin.patch(&format!("/api/v1/iocs/{ioc}"), json!({ "whitelist": "never_sent" }), 200);
    for group in [&scene.group, &quick.group, &slow.group, &never.group] {
        publishes(&admin, group, 1);
    }
    let withdrawn = || admin.get(&format!("/api/v1/iocs/{ioc}/places"))["withdrawn"].clone();
    assert_eq!(
        withdrawn()["sentence"],
        "Withdrawn from 4 devices: 3 have not fetched it yet, 1 never pulled."
    );
    pull_as(app, "fw", &quick.url, &[]);
    eventually("the first device has fetched it", || (withdrawn()["fetched"] == 1).then_some(()));
    // Of a MISP the manifest is not enough: the event says it.
    let entry = format!("{}/manifest.json", scene.url);
    misp.get(&entry, &[]);
    pull_as(app, "fw", &quick.url, &[]);
    becomes(&admin, &scene.group, &["partly_fetched"]);
    assert_eq!(withdrawn()["fetched"], 1);
    misp.pull(&scene.url);
    eventually("the MISP has fetched it", || (withdrawn()["fetched"] == 2).then_some(()));
    assert_eq!(withdrawn()["missing"][0]["device_id"], slow.device);
    // The last one falls silent: it still has the IOC, and iocast says so.
    app.advance(&admin, "50h");
    assert_eq!(
        withdrawn()["sentence"],
        "Withdrawn from 4 devices: 2 fetched it, 1 silent, 1 never pulled."
    );
    // A deletion is a withdrawal, too, and can be followed although the IOC is gone.
    let gone = text(&admin.ioc("right.example"), "id");
    admin.delete(&format!("/api/v1/iocs/{gone}"), 204);
    publishes(&admin, &quick.group, 0);
    pull_as(app, "fw", &quick.url, &[]);
    eventually("the deletion was fetched", || {
        let places = admin.get(&format!("/api/v1/iocs/{gone}/places"));
        (places["withdrawn"]["fetched"] == 1).then_some(())
    });
    becomes(&admin, &quick.group, &["empty"]);
    let nothing = "/api/v1/iocs/00000000-0000-4000-8000-000000000000/places";
    assert_eq!(admin.get_status(nothing), 404);
}

fn where_an_ioc_is_and_why_not_elsewhere(app: &mut TestApp) {
    let admin = app.admin();
    let source = lists::source(&admin);
    let all = lists::device(&admin, "plain-list", json!({}));
    let full = lists::device(&admin, "csv", json!({ "limit": 1 }));
    lists::import(&admin, &source, &["192.0.2.1", "192.0.2.2"]);
    publishes(&admin, &all.group, 2);
    publishes(&admin, &full.group, 1);
    let first = pull_as(app, "fw", &all.url, &[]).text();
    becomes(&admin, &all.group, &["complete"]);
    let held = pull_as(app, "fw", &full.url, &[]).text();
    let left_out = first.lines().find(|value| !held.contains(value)).unwrap();
    let ioc = text(&admin.ioc(left_out), "id");
    let places = admin.get(&format!("/api/v1/iocs/{ioc}/places"));
    let place = &places["places"][0];
    assert_eq!(
        (&place["device_id"], &place["standing"], &place["fetched"]),
        (&json!(all.device), &json!("live"), &json!(true)),
        "{places}"
    );
    assert!(place["clients"][0]["fetched_at"].is_string() && place["rules"][0].is_string());
    assert_eq!(places["left_out"][0]["device_id"], full.device, "{places}");
    assert_eq!(places["left_out"][0]["reason"], "limit");
    assert_eq!(places["withdrawn"], Value::Null);
    // What must never be blocked is in no list, and the reason is said.
    lists::import(&admin, &source, &["10.1.2.3"]);
    let private = text(&admin.ioc("10.1.2.3"), "id");
    eventually("the reason is known", || {
        let places = admin.get(&format!("/api/v1/iocs/{private}/places"));
        let left_out = places["left_out"].as_array().unwrap();
        let because = left_out.iter().all(|of| of["reason"] != "limit" && of["because"] != "");
        (left_out.len() == 2 && because && places["places"] == json!([])).then_some(())
    });
    // What joined since was not fetched.
    app.advance(&admin, "1m");
    lists::import(&admin, &source, &["192.0.2.3"]);
    publishes(&admin, &all.group, 3);
    let new = text(&admin.ioc("192.0.2.3"), "id");
    let places = admin.get(&format!("/api/v1/iocs/{new}/places"));
    let place = places["places"].as_array().unwrap().iter().find(|p| p["device_id"] == all.device);
    assert_eq!(place.unwrap()["fetched"], false, "{places}");
}

/// The timestamps of an event and of its attributes.
fn stamps(app: &TestApp, url: &str) -> (String, Vec<String>) {
    let event = pull_as(app, "iocast-test", url, &[]).json()["Event"].clone();
    let attributes = event["Attribute"].as_array().unwrap();
    (text(&event, "timestamp"), attributes.iter().map(|a| text(a, "timestamp")).collect())
}

fn an_event_that_was_not_taken_is_offered_again(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let misp = app.device();
    let entry = format!("{}/manifest.json", scene.url);
    let events = three_events(app, &admin, &scene);
    // A MISP asks for all but one: an analyst edited that one on its side, or its import broke off.
    for event in &events[..2] {
        misp.get(event, &[]);
    }
    becomes(&admin, &scene.group, &["partly_fetched"]);
    let file = |url: &str| {
        // As a set-up form does: that is no pull, and no client.
        let all = pull_as(app, "iocast-test", &entry, &[]).json();
        let id = url.rsplit('/').next().unwrap().trim_end_matches(".json").to_owned();
        all[&id]["timestamp"].to_string().trim_matches('"').parse::<i64>().unwrap()
    };
    let (before, mut others) = (file(&events[2]), [file(&events[0]), file(&events[1])]);
    let mut last = before;
    for nth in 1..=3 {
        app.advance(&admin, "2h");
        let after = file(&events[2]);
        assert!(after > last, "offer {nth}");
        last = after;
        // Its import may have broken off: what it fetched last is offered once more, too.
        if nth == 1 {
            let again = [file(&events[0]), file(&events[1])];
            assert!(again[0] > others[0] && again[1] > others[1], "both were given at one moment");
            others = again;
        }
        // It polls, and leaves the event again.
        misp.get(&entry, &[]);
        if nth == 1 {
            events[..2].iter().for_each(|event| drop(misp.get(event, &[])));
        }
        eventually("the pull is written", || {
            let all = clients(&admin, &scene.device);
            let misp = all.iter().find(|client| client["misp_uuid"].is_string())?;
            let group = admin.get(&format!("/api/v1/groups/{}", scene.group));
            (misp["groups"][0]["publication"] == group["publication"]).then_some(())
        });
    }
    app.advance(&admin, "2h");
    assert_eq!(file(&events[2]), last, "three times are enough");
    assert_eq!([file(&events[0]), file(&events[1])], others, "the others rest");
    becomes(&admin, &scene.group, &["not_taken"]);
    // Its attributes were given new timestamps, too: a MISP compares both.
    let (stamp, attributes) = stamps(app, &events[2]);
    assert!(attributes.iter().all(|attribute| *attribute == stamp), "{attributes:?}");
    // Once it takes the event, all is well, and a later gap counts from the beginning.
    misp.get(&events[2], &[]);
    becomes(&admin, &scene.group, &["complete"]);
    assert_eq!(told_not_taken(&admin), 1, "people are told once");
}

/// How many messages say that a MISP does not take events.
fn told_not_taken(admin: &Admin) -> usize {
    let messages = admin.get("/api/v1/outbox?limit=100")["items"].as_array().unwrap().clone();
    messages.iter().filter(|message| message["kind"] == "not_taken").count()
}

fn a_misp_that_leaves_everything_is_named(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    for (nth, value) in ["one.example", "two.example"].iter().enumerate() {
        scene.import(&admin, value);
        publishes(&admin, &scene.group, nth as u64 + 1);
        app.advance(&admin, "1d");
    }
    // A filter of its feed skips all events: it asks for the manifest, and for nothing else.
    let key = (app.account_id.as_str(), app.appliance_key.as_str());
    let mut misp = Misp::new("00000000-0000-4000-8000-0000000000aa", &scene.url, key);
    misp.skips = 'g';
    let before = misp.index();
    app.advance(&admin, "2h");
    becomes(&admin, &scene.group, &["partly_fetched"]);
    assert_eq!(told_not_taken(&admin), 0, "a person may have looked at the list");
    asks_for_two_days(app, &admin, &mut misp);
    becomes(&admin, &scene.group, &["not_taken"]);
    assert_eq!(told_not_taken(&admin), 1);
    let after = misp.index();
    assert_eq!(before, after, "another timestamp would not help, and costs other MISPs a fetch");
    // It leaves the next event, too; people know that already.
    scene.import(&admin, "three.example");
    publishes(&admin, &scene.group, 3);
    misp.pull(None);
    becomes(&admin, &scene.group, &["not_taken", "partly_fetched"]);
    asks_for_two_days(app, &admin, &mut misp);
    becomes(&admin, &scene.group, &["not_taken"]);
    assert_eq!((told_not_taken(&admin), misp.asked), (1, 0));
    // Somebody corrects the filter.
    misp.skips = '0';
    misp.pull(None);
    assert_eq!(misp.asked, 3);
    becomes(&admin, &scene.group, &["complete"]);
}

fn asks_for_two_days(app: &TestApp, admin: &Admin, misp: &mut Misp) {
    for _ in 0..8 {
        misp.pull(None);
        app.advance(admin, "6h");
    }
}

/// Without a name, what it leaves can't be offered again: its device's page says so, and what to
/// set.
fn a_misp_that_does_not_name_itself_is_noted(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "a.example");
    publishes(&admin, &scene.group, 1);
    let cookies = signed_in(app);
    let shown = || {
        let url = format!("{}/automation/integrations/{}", app.url, scene.device);
        page(&url, &cookies).text()
    };
    let pull = |headers: &[(&str, &str)]| {
        let url = format!("{}/manifest.json", scene.url);
        assert_eq!(pull_as(app, "MISP 2.5.20", &url, headers).status, 200);
    };
    let named = [("misp-version", "2.5.20"), ("misp-uuid", "5d3f8b1e-9c2a-4c39-8f5e-2a6f0a7b1c01")];
    pull(&named);
    eventually("the client is shown", || shown().contains("MISP 2.5.20").then_some(()));
    assert!(!shown().contains("does not name itself"));
    pull(&named[..1]);
    eventually("the page says what to set", || shown().contains("MISP.uuid").then_some(()));
    assert!(shown().contains("does not name itself"));
}

fn a_misp_that_has_everything_is_left_alone(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let import = |body: Value| {
        admin.import(&scene.source, "application/json", &body.to_string(), 200);
        app.advance(&admin, "1m");
    };
    import(json!([{ "value": "evil.example", "severity": "low" }]));
    let key = (app.account_id.as_str(), app.appliance_key.as_str());
    let mut misp = Misp::new("00000000-0000-4000-8000-0000000000aa", &scene.url, key);
    misp.pull(None);
    // A tag is taken back right after the first import: the MISP may not have stored that yet.
    import(json!([{ "value": "evil.example", "severity": "high" }]));
    misp.pull(None);
    let mut asked = Vec::new();
    for _ in 0..6 {
        app.advance(&admin, "2h");
        let before = misp.asked;
        misp.pull(None);
        asked.push(misp.asked - before);
    }
    assert_eq!(asked.iter().sum::<usize>(), 1, "it is offered once more, to be sure: {asked:?}");
    becomes(&admin, &scene.group, &["complete"]);
}

fn what_joins_a_refused_event_is_not_lost(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "one.example");
    publishes(&admin, &scene.group, 1);
    let key = (app.account_id.as_str(), app.appliance_key.as_str());
    let mut misp = Misp::new("00000000-0000-4000-8000-0000000000bb", &scene.url, key);
    misp.pull(None);
    // An analyst deletes the event, and MISP keeps it out from then on.
    misp.delete_event(0);
    for _ in 0..3 {
        app.advance(&admin, "11m");
        misp.pull(None);
    }
    becomes(&admin, &scene.group, &["refused"]);
    // What comes soon after goes into another event, and the first stays refused.
    app.advance(&admin, "1m");
    scene.import(&admin, "two.example");
    publishes(&admin, &scene.group, 2);
    app.advance(&admin, "11m");
    misp.pull(None);
    let held: Vec<&str> = misp
        .events
        .values()
        .flat_map(|event| event.attributes.values().map(|attribute| attribute.value.as_str()))
        .collect();
    assert_eq!(held, ["two.example"]);
    becomes(&admin, &scene.group, &["refused"]);
    // The refused event changes: MISP fetches it as it is now, and refuses that, too. What joins
    // goes into another event still.
    let one = text(&admin.ioc("one.example"), "id");
    admin.patch(&format!("/api/v1/iocs/{one}"), json!({ "user_tags": ["seen"] }), 200);
    app.advance(&admin, "1h");
    misp.pull(None);
    becomes(&admin, &scene.group, &["refused"]);
    scene.import(&admin, "three.example");
    publishes(&admin, &scene.group, 3);
    app.advance(&admin, "11m");
    misp.pull(None);
    let held = misp.events.values().flat_map(|event| event.attributes.values());
    let mut held: Vec<&str> = held.map(|attribute| attribute.value.as_str()).collect();
    held.sort_unstable();
    assert_eq!(held, ["three.example", "two.example"]);
    becomes(&admin, &scene.group, &["refused"]);
    // People are told once.
    app.advance(&admin, "3h");
    misp.pull(None);
    app.advance(&admin, "3h");
    let told: Vec<String> = admin.get("/api/v1/outbox?limit=100")["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["kind"] == "not_taken")
        .map(|message| text(message, "subject"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("MISP does not take Perimeter from Lab MISP"), "{told:?}");
    // Sent again in another event, nothing is lacking any more.
    let event = misp.blocked.iter().next().unwrap().clone();
    admin.post(
        &format!("/api/v1/groups/{}/send-again", scene.group),
        json!({ "event": event }),
        200,
    );
    app.advance(&admin, "2h");
    misp.pull(None);
    app.advance(&admin, "2h");
    misp.pull(None);
    becomes(&admin, &scene.group, &["complete"]);
}

fn a_look_with_curl_does_not_count_beside_a_misp(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "one.example");
    publishes(&admin, &scene.group, 1);
    let key = (app.account_id.as_str(), app.appliance_key.as_str());
    let mut misp = Misp::new("00000000-0000-4000-8000-0000000000dd", &scene.url, key);
    misp.pull(None);
    app.advance(&admin, "1h");
    misp.pull(None);
    let entry = format!("{}/manifest.json", scene.url);
    let manifest = pull_as(app, "curl/8", &entry, &[]).json();
    app.advance(&admin, "1m");
    for event in manifest.as_object().unwrap().keys() {
        pull_as(app, "curl/8", &format!("{}/{event}.json", scene.url), &[]);
    }
    scene.import(&admin, "two.example");
    publishes(&admin, &scene.group, 2);
    app.advance(&admin, "1h");
    misp.pull(None);
    becomes(&admin, &scene.group, &["complete"]);
}

fn monitoring_sees_how_many_devices_lack_what(app: &mut TestApp) {
    app.reopen(|config| config.metrics_token = Some("0123456789abcdef".into()));
    let admin = app.admin();
    let source = lists::source(&admin);
    let lists = ["plain-list", "csv"].map(|of_type| lists::device(&admin, of_type, json!({})));
    let counts = |app: &TestApp| {
        let token = [("authorization", "Bearer 0123456789abcdef")];
        let figures = send("GET", &format!("{}/metrics", app.url), &token, None).text();
        ["never_fetched", "empty", "behind", "late", "complete"].map(|state| {
            let name = format!("iocast_groups{{protection=\"{state}\"}} ");
            let count = figures.lines().find_map(|line| line.strip_prefix(&name));
            count.unwrap_or_else(|| panic!("{name} in {figures}")).parse::<f64>().unwrap() as u64
        })
    };
    app.advance(&admin, "1m");
    assert_eq!(counts(app), [2, 0, 0, 0, 0]);
    lists::import(&admin, &source, &["192.0.2.1"]);
    for list in &lists {
        publishes(&admin, &list.group, 1);
        pull_as(app, "fw", &list.url, &[]);
        becomes(&admin, &list.group, &["complete"]);
    }
    app.advance(&admin, "1m");
    assert_eq!(counts(app), [0, 0, 0, 0, 2]);
    // One follows, and the other does not.
    lists::import(&admin, &source, &["192.0.2.2"]);
    lists.iter().for_each(|list| publishes(&admin, &list.group, 2));
    pull_as(app, "fw", &lists[0].url, &[]);
    becomes(&admin, &lists[0].group, &["complete"]);
    app.advance(&admin, "1m");
    assert_eq!(counts(app), [0, 0, 1, 0, 1]);
    // Time alone makes it late.
    app.advance(&admin, "25h");
    assert_eq!(counts(app), [0, 0, 0, 1, 1]);
    // The message about its silence says what it lacks.
    app.advance(&admin, "24h");
    let told = admin.get("/api/v1/outbox?limit=100")["items"].as_array().unwrap().clone();
    assert!(!told.is_empty());
    let device = &lists[1].device;
    admin.delete(&format!("/api/v1/devices/{device}"), 204);
    app.advance(&admin, "1m");
    assert_eq!(counts(app)[3], 0, "what is deleted is not counted");
}
