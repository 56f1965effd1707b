//! Publications of a group are compared, and a group goes back to an earlier one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    lists::{Pulled, device, group, import, pull, settled, source},
    support::{Admin, TestApp, eventually, stories, text},
};

stories!(
    publications_are_compared_frozen_and_rolled_back,
    a_zone_never_goes_back_to_an_old_serial,
    what_is_withdrawn_leaves_a_held_group,
    what_is_withdrawn_leaves_a_frozen_group,
    a_misp_really_goes_back,
);

fn publications_are_compared_frozen_and_rolled_back(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let table = device(&admin, "csv", json!({}));
    let misp = device(&admin, "misp", json!({}));
    import(&admin, &source, &["stays.example", "goes.example"]);
    let number = |of: &Pulled, iocs: u64| {
        let there = eventually("it is published", || {
            Some(group(&admin, of)).filter(|g| g["published"] == iocs)
        });
        there["publication"].as_i64().unwrap()
    };
    let firsts = [number(&table, 2), number(&misp, 2)];
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("goes.example"), "id")), 204);
    admin.patch(
        &format!("/api/v1/iocs/{}", text(&admin.ioc("stays.example"), "id")),
        json!({ "severity": "high" }),
        200,
    );
    import(&admin, &source, &["comes.example", "too.example"]);
    for (of, first) in [(&table, firsts[0]), (&misp, firsts[1])] {
        let last = number(of, 3);
        let differs = eventually("all three show", || {
            let last = group(&admin, of)["publication"].as_i64().unwrap().max(last);
            let differs =
                admin.get(&format!("/api/v1/groups/{}/compare?from={first}&to={last}", of.group));
            (differs["changed"]["count"] == 1).then_some(differs)
        });
        assert_eq!(differs["added"]["values"], json!(["comes.example", "too.example"]));
        assert_eq!(differs["removed"]["values"], json!(["goes.example"]));
        assert_eq!(differs["changed"]["values"], json!(["stays.example"]));
    }
    assert_eq!(
        admin.get_status(&format!("/api/v1/groups/{}/compare?from=1&to=999", table.group)),
        404
    );
    // Back to the first one, and there it stays through everything that comes.
    let frozen = admin.post(
        &format!("/api/v1/groups/{}/freeze", table.group),
        json!({ "publication": firsts[0] }),
        200,
    );
    assert_eq!(frozen["frozen"], firsts[0]);
    let values = |app: &TestApp, of: &Pulled| -> BTreeSet<String> {
        pull(app, &of.url)
            .text()
            .lines()
            .skip(1)
            .map(|l| l.split(',').next().unwrap().to_owned())
            .collect()
    };
    // What a person deleted since stays out.
    let first = BTreeSet::from(["stays.example".to_owned()]);
    assert_eq!(values(app, &table), first);
    for i in 0..25 {
        import(&admin, &source, &[&format!("n{i}.example")]);
        number(&misp, 4 + i);
    }
    assert_eq!(values(app, &table), first, "a frozen group stays as it is, whatever comes");
    app.restart();
    let admin = app.admin();
    let table = Pulled { url: format!("{}/feeds/{}", app.url, table.group), ..table };
    assert_eq!(values(app, &table), first);
    admin.post(
        &format!("/api/v1/groups/{}/freeze", table.group),
        json!({ "publication": null }),
        200,
    );
    assert_eq!(values(app, &table).len(), 28);
    assert_eq!(
        admin
            .send(
                "POST",
                &format!("/api/v1/groups/{}/freeze", table.group),
                &[("content-type", "application/json")],
                Some(br#"{"publication":999}"#)
            )
            .status,
        404,
        "it was never made"
    );
}

/// Resolvers take a zone only if its serial is higher than that of the one they hold.
fn a_zone_never_goes_back_to_an_old_serial(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let zone = device(&admin, "rpz", json!({}));
    let serial = |app: &TestApp, holds: &str, lacks: &str| {
        eventually(&format!("{holds} is served and {lacks} is not"), || {
            let text = pull(app, &zone.url).text();
            let serial = text.lines().find(|line| line.contains(" SOA "))?.split(' ').nth(5)?;
            let served = text.contains(holds) && !text.contains(lacks);
            served.then(|| serial.parse::<i64>().unwrap())
        })
    };
    let freeze = |publication: Option<i64>| {
        let path = format!("/api/v1/groups/{}/freeze", zone.group);
        admin.post(&path, json!({ "publication": publication }), 200)
    };
    let publication = || group(&admin, &zone)["publication"].as_i64().unwrap();
    import(&admin, &source, &["first.example"]);
    let mut serials = vec![serial(app, "first.example", "second.example")];
    let first = publication();
    import(&admin, &source, &["second.example"]);
    serials.push(serial(app, "second.example", "third.example"));
    freeze(Some(first));
    serials.push(serial(app, "first.example", "second.example"));
    assert_eq!(group(&admin, &zone)["frozen"], first);
    // Nothing was published since.
    freeze(None);
    serials.push(serial(app, "second.example", "third.example"));
    freeze(Some(first));
    serials.push(serial(app, "first.example", "second.example"));
    import(&admin, &source, &["third.example"]);
    freeze(None);
    serials.push(serial(app, "third.example", "fourth.example"));
    import(&admin, &source, &["fourth.example"]);
    serials.push(serial(app, "fourth.example", "fifth.example"));
    assert!(serials.is_sorted_by(|a, b| a < b), "{serials:?}");
    // Asking for what is served already changes nothing.
    freeze(None);
    assert_eq!(serial(app, "fourth.example", "fifth.example"), serials[6]);
}

/// Sets an IOC to "never sent".
fn never_sent(admin: &Admin, value: &str) {
    let path = format!("/api/v1/iocs/{}", text(&admin.ioc(value), "id"));
    admin.patch(&path, json!({ "whitelist": "never_sent" }), 200);
}

fn delete(admin: &Admin, value: &str) {
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc(value), "id")), 204);
}

fn what_is_withdrawn_leaves_a_held_group(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let values: Vec<String> = (0..30).map(|n| format!("h{n:02}.example")).collect();
    let all: Vec<&str> = values.iter().map(String::as_str).collect();
    let list = device(&admin, "plain-list", json!({}));
    let misp = device(&admin, "misp", json!({}));
    import(&admin, &source, &all);
    settled(app, &list.url, &all);
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": false }), 200);
    for of in [&list, &misp] {
        eventually("it is held", || group(&admin, of)["held"].is_object().then_some(()));
    }
    never_sent(&admin, "h00.example");
    delete(&admin, "h01.example");
    settled(app, &list.url, &all[2..]);
    eventually("the MISP is offered the removals", || {
        (group(&admin, &misp)["published"] == 28).then_some(())
    });
    for of in [&list, &misp] {
        let held = eventually("the rest is still held", || {
            let held = group(&admin, of)["held"].clone();
            (held["would_lose"] == 28).then_some(held)
        });
        assert_eq!(held["iocs"], 28, "{held}");
    }
    // The hold ends as it would have without that.
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": true }), 200);
    eventually("the hold ends", || group(&admin, &list)["held"].is_null().then_some(()));
    settled(app, &list.url, &all[2..]);
}

fn what_is_withdrawn_leaves_a_frozen_group(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let list = device(&admin, "plain-list", json!({}));
    import(&admin, &source, &["a.example", "b.example", "c.example"]);
    settled(app, &list.url, &["a.example", "b.example", "c.example"]);
    let freeze = |admin: &Admin, publication: Value| {
        let path = format!("/api/v1/groups/{}/freeze", list.group);
        admin.post(&path, json!({ "publication": publication }), 200)
    };
    let frozen = freeze(&admin, group(&admin, &list)["publication"].clone());
    assert_eq!(frozen["frozen"], frozen["publication"]);
    import(&admin, &source, &["d.example"]);
    never_sent(&admin, "a.example");
    settled(app, &list.url, &["b.example", "c.example"]);
    delete(&admin, "b.example");
    settled(app, &list.url, &["c.example"]);
    // It holds across a restart, and rules do not count.
    app.restart();
    let admin = app.admin();
    let url = format!("{}/feeds/{}", app.url, list.group);
    let path = format!("/api/v1/groups/{}", list.group);
    admin.patch(&path, json!({ "limit": 7_000 }), 200);
    import(&admin, &source, &["e.example"]);
    never_sent(&admin, "e.example");
    settled(app, &url, &["c.example"]);
    assert_eq!(admin.get(&path)["frozen"], frozen["frozen"]);
    // What a guard keeps from all devices is kept from this one, too.
    admin.patch("/api/v1/account/guards", json!({ "own": ["c.example"] }), 200);
    settled(app, &url, &[]);
    admin.patch("/api/v1/account/guards", json!({ "own": [] }), 200);
    freeze(&admin, Value::Null);
    settled(app, &url, &["c.example", "d.example"]);
}

/// A MISP fetches an event again only when its timestamp rose, and takes out only what is listed as
/// deleted.
fn a_misp_really_goes_back(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let misp = device(&admin, "misp", json!({}));
    let events = |app: &TestApp| -> Vec<Value> {
        let manifest = pull(app, &format!("{}/manifest.json", misp.url)).json();
        let of = |id: &String| pull(app, &format!("{}/{id}.json", misp.url)).json();
        manifest.as_object().unwrap().keys().map(of).collect()
    };
    let attributes = |events: &[Value], deleted: bool| -> BTreeSet<String> {
        let all = events.iter().flat_map(|event| event["Event"]["Attribute"].as_array().unwrap());
        let wanted = all.filter(|a| a["deleted"].as_bool().unwrap_or_default() == deleted);
        wanted.map(|a| text(a, "value")).collect()
    };
    let latest = |events: &[Value]| -> i64 {
        let stamps = events.iter().map(|event| text(&event["Event"], "timestamp"));
        stamps.map(|stamp| stamp.parse::<i64>().unwrap()).max().unwrap()
    };
    import(&admin, &source, &["first.example"]);
    let published = |count: u64| {
        eventually("it is published", || {
            let group = group(&admin, &misp);
            (group["published"] == count).then(|| group["publication"].as_i64().unwrap())
        })
    };
    let first = published(1);
    import(&admin, &source, &["second.example"]);
    published(2);
    let before = events(app);
    let path = format!("/api/v1/groups/{}/freeze", misp.group);
    admin.post(&path, json!({ "publication": first }), 200);
    let after = events(app);
    assert_eq!(attributes(&after, false), BTreeSet::from(["first.example".to_owned()]));
    assert_eq!(attributes(&after, true), BTreeSet::from(["second.example".to_owned()]));
    assert!(latest(&after) > latest(&before), "a MISP fetches it again");
    // What comes back joins a part that does not list it as deleted.
    admin.post(&path, json!({ "publication": null }), 200);
    published(2);
    let again = events(app);
    let both = BTreeSet::from(["first.example".to_owned(), "second.example".to_owned()]);
    assert_eq!(attributes(&again, false), both);
    assert_eq!(again.len(), 2);
}
