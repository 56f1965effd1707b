//! Sources compared, how long their IOCs stay, what they may claim, and rules that go by age and
//! score.

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    lists::{device, import, settled, source},
    shell::iocast_on,
    support::{Admin, TestApp, eventually, stories, text},
    upstreams::{Site, fetch, open, subscribe},
    watchdog::HOUR,
};

stories!(
    sources_are_compared,
    a_source_has_lifetimes_and_limits_of_its_own,
    rules_go_by_age_and_score,
    a_full_group_lets_go_of_what_is_too_old,
    what_a_list_holds_does_not_grow_old,
    a_short_lifetime_outlives_a_silence,
);

fn named(admin: &Admin, name: &str) -> String {
    text(&admin.post("/api/v1/sources", json!({ "name": name, "confidence": 2 }), 201), "id")
}

/// What was counted of a source.
fn counted(quality: &Value, source: &str) -> Value {
    let all = quality["sources"].as_array().unwrap();
    all.iter().find(|of| of["source_id"] == source).unwrap().clone()
}

fn sources_are_compared(app: &mut TestApp) {
    let admin = app.admin();
    let (one, two) = (source(&admin), named(&admin, "Second feed"));
    let before = admin.get("/api/v1/sources/quality");
    assert_eq!(before["counted_at"], Value::Null);
    let plain = device(&admin, "plain-list", json!({}));
    import(&admin, &one, &["a.example", "b.example", "c.example", "d.example"]);
    app.advance(&admin, "1h");
    import(&admin, &two, &["c.example", "d.example", "e.example"]);
    // Lines that are none count as refused.
    admin.import(&two, "text/csv", "value\nf.example\nno indicator at all\n", 200);
    app.advance(&admin, "1h");
    import(&admin, &one, &["e.example"]);
    let of = admin.get("/api/v1/iocs?value=a.example");
    let path = format!("/api/v1/iocs/{}", text(&of["items"][0], "id"));
    admin.patch(&path, json!({ "whitelist": "never_sent" }), 200);
    // What the account protects is kept back by its groups.
    admin.patch("/api/v1/account/guards", json!({ "own": ["b.example"] }), 200);
    let misp = device(&admin, "misp", json!({}));
    let published = |count: u64| {
        for group in [&plain.group, &misp.group] {
            let path = format!("/api/v1/groups/{group}");
            eventually("it is published", || {
                (admin.get(&path)["published"] == count).then_some(())
            });
        }
    };
    published(4);
    let quality = admin.post("/api/v1/sources/quality/count", json!({}), 200);
    assert!(quality["counted_at"].is_string());
    assert_eq!(
        counted(&quality, &one)["counts"],
        json!({ "iocs": 5, "only_here": 2, "timed": 3, "first_here": 2, "never_sent": 1,
            "kept_back": 1, "in_groups": 3, "fetched": 0 })
    );
    let second = counted(&quality, &two);
    assert_eq!(
        second["counts"],
        json!({ "iocs": 4, "only_here": 1, "timed": 3, "first_here": 1, "never_sent": 0,
            "kept_back": 0, "in_groups": 4, "fetched": 0 })
    );
    assert_eq!((&second["handled"], &second["refused"]), (&json!(5), &json!(1)));
    let overlap = &quality["overlaps"].as_array().unwrap()[..];
    assert!(overlap.len() == 1 && overlap[0]["iocs"] == 3, "{overlap:?}");
    // Counted twice on one day, imports count once. What the MISP fetched of its events has arrived.
    app.device().feed(&misp.url);
    app.advance(&admin, "0s");
    let again = admin.post("/api/v1/sources/quality/count", json!({}), 200);
    assert_eq!(counted(&again, &two)["handled"], 5);
    let fetched = |quality: &Value| {
        [&one, &two].map(|of| counted(quality, of)["counts"]["fetched"].as_u64().unwrap())
    };
    assert_eq!(fetched(&again), [3, 4]);
    // What comes later has not, until a device fetches it: here a list, whole.
    app.advance(&admin, "1h");
    import(&admin, &two, &["g.example"]);
    published(5);
    let count = || admin.post("/api/v1/sources/quality/count", json!({}), 200);
    assert_eq!(fetched(&count()), [3, 4]);
    let all = ["c.example", "d.example", "e.example", "f.example", "g.example"];
    settled(app, &plain.url, &all);
    app.advance(&admin, "1m");
    assert_eq!(fetched(&count()), [3, 5]);
    // The next day is a row of its own, which the clock brings.
    app.advance(&admin, "24h");
    let days = |source: &str| admin.get(&format!("/api/v1/sources/{source}/quality"));
    eventually("the next day is counted", || {
        (days(&one)["items"].as_array().unwrap().len() >= 2).then_some(())
    });
    assert_eq!(days(&one)["items"][0]["counts"]["iocs"], 5);
    assert_eq!(days(&two)["items"][0]["handled"], 0);
    assert!(iocast_on(app, &["sources", "quality"], None).contains("Second feed"));
    // A source that is deleted leaves nothing behind.
    admin.delete(&format!("/api/v1/sources/{two}"), 204);
    let after = admin.get("/api/v1/sources/quality");
    assert_eq!(after["overlaps"], json!([]));
    assert_eq!(admin.get_status(&format!("/api/v1/sources/{two}/quality")), 404);
}

fn a_source_has_lifetimes_and_limits_of_its_own(app: &mut TestApp) {
    let admin = app.admin();
    let limits =
        json!({ "lifetime_days": 3, "lifetimes": { "url": 6 }, "severity_most": "medium" });
    let body = json!({ "name": "Short feed", "confidence": 2, "limits": limits });
    let made = admin.post("/api/v1/sources", body, 201);
    assert_eq!(made["limits"], limits);
    let short = text(&made, "id");
    let plain = device(&admin, "plain-list", json!({}));
    let list = json!([
        { "value": "a.example", "severity": "high" },
        { "value": "both.example", "severity": "low" },
        { "value": "http://u.example/x" },
    ]);
    let report = admin.import(&short, "application/json", &list.to_string(), 200);
    assert!(report["ignored"].to_string().contains("worst one"), "{report}");
    import(&admin, &source(&admin), &["both.example"]);
    let a = admin.get("/api/v1/iocs?value=a.example");
    assert_eq!(a["items"][0]["severity"], "medium");
    settled(app, &plain.url, &["a.example", "both.example", "http://u.example/x"]);
    app.advance(&admin, "73h");
    // What a source with the usual lifetime reports as well stays for that.
    settled(app, &plain.url, &["both.example", "http://u.example/x"]);
    app.advance(&admin, "73h");
    settled(app, &plain.url, &["both.example"]);
    // Reports from now on have what the source is changed to.
    let path = format!("/api/v1/sources/{short}");
    admin.patch(&path, json!({ "limits": { "lifetime_days": 30 } }), 200);
    import(&admin, &short, &["a.example"]);
    app.advance(&admin, "100h");
    settled(app, &plain.url, &["a.example", "both.example"]);
    for wrong in [
        json!({ "lifetime_days": 0 }),
        json!({ "lifetimes": { "domain": 3_651 } }),
        json!({ "lifetimes": { "mutex": 3 } }),
    ] {
        let answer = admin.send(
            "PATCH",
            &path,
            &[("content-type", "application/json")],
            Some(json!({ "limits": wrong }).to_string().as_bytes()),
        );
        assert!(matches!(answer.status, 400 | 422), "{}", answer.text());
    }
}

fn rules_go_by_age_and_score(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let (plain, misp) =
        (device(&admin, "plain-list", json!({})), device(&admin, "misp", json!({})));
    let now = admin.get("/api/v1/emulator/clock");
    let today = &text(&now, "now")[..10];
    let list = json!([
        { "value": "new.example", "last_seen": format!("{today}T00:00:00Z"), "first_seen": format!("{today}T00:00:00Z") },
        { "value": "weak.example", "score": 20, "last_seen": format!("{today}T00:00:00Z") },
    ]);
    admin.import(&own, "application/json", &list.to_string(), 200);
    settled(app, &plain.url, &["new.example", "weak.example"]);
    let rules = admin.get("/api/v1/rules");
    let rule_of = |group: &str| {
        let all = rules["items"].as_array().unwrap();
        let of = all.iter().find(|rule| rule["group_ids"].to_string().contains(group)).unwrap();
        format!("/api/v1/rules/{}", text(of, "id"))
    };
    let criteria = json!({ "criteria": { "min_score": 40, "max_age_days": 20 } });
    let changed = admin.patch(&rule_of(&plain.group), criteria.clone(), 200);
    assert_eq!(changed["criteria"]["min_score"], 40);
    // 20 points are too few, whatever the age.
    settled(app, &plain.url, &["new.example"]);
    let ioc = admin.get("/api/v1/iocs?value=new.example");
    assert_eq!(ioc["items"][0]["score_today"], 60);
    admin.patch(&rule_of(&misp.group), json!({ "criteria": { "max_age_days": 2 } }), 200);
    app.advance(&admin, "48h");
    settled(app, &plain.url, &["new.example"]);
    assert_eq!(admin.get(&format!("/api/v1/groups/{}", misp.group))["published"], 2);
    // Nothing changes but the day, and each leaves on its own.
    app.advance(&admin, "24h");
    eventually("the event holds them no more", || {
        (admin.get(&format!("/api/v1/groups/{}", misp.group))["published"] == 0).then_some(())
    });
    settled(app, &plain.url, &["new.example"]);
    app.advance(&admin, "432h");
    settled(app, &plain.url, &[]);
    // Seen again, it is back.
    import(&admin, &own, &["new.example"]);
    settled(app, &plain.url, &["new.example"]);
    for wrong in [
        json!({ "min_score": 0 }),
        json!({ "min_score": 101 }),
        json!({ "max_age_days": 0 }),
        json!({ "max_age_days": 3_651 }),
    ] {
        admin.patch(&rule_of(&plain.group), json!({ "criteria": wrong }), 422);
    }
}

fn a_full_group_lets_go_of_what_is_too_old(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({ "limit": 3 }));
    let rules = admin.get("/api/v1/rules");
    let rule = format!("/api/v1/rules/{}", text(&rules["items"][0], "id"));
    let now = admin.get("/api/v1/emulator/clock");
    let today = text(&now, "now");
    let day = &today[..10];
    // Severe ones take the room; others wait behind the boundary.
    let of = |value: &str, severity: &str, seen: &str| json!({ "value": value, "severity": severity, "last_seen": seen, "first_seen": seen });
    let noon = format!("{day}T00:00:00Z");
    let list = json!([
        of("a.example", "high", &noon),
        of("b.example", "high", &noon),
        of("c.example", "high", &noon),
    ]);
    admin.import(&own, "application/json", &list.to_string(), 200);
    app.advance(&admin, "72h");
    let later = text(&admin.get("/api/v1/emulator/clock"), "now");
    let later = format!("{}T00:00:00Z", &later[..10]);
    let list = json!([of("d.example", "low", &later), of("e.example", "low", &later)]);
    admin.import(&own, "application/json", &list.to_string(), 200);
    admin.patch(&rule, json!({ "criteria": { "max_age_days": 5 } }), 200);
    settled(app, &plain.url, &["a.example", "b.example", "c.example"]);
    app.advance(&admin, "72h");
    // All of the group goes at once by age, which the guard against shrinking does not see in a group
    // as small as this.
    settled(app, &plain.url, &["d.example", "e.example"]);
    // On a day on which old ones go, better ones come with the same publication.
    let third = of("f.example", "low", &later);
    admin.import(&own, "application/json", &json!([third]).to_string(), 200);
    settled(app, &plain.url, &["d.example", "e.example", "f.example"]);
    let clock = text(&admin.get("/api/v1/emulator/clock"), "now");
    let seen = format!("{}T00:00:00Z", &clock[..10]);
    app.advance(&admin, "48h");
    let better: Vec<Value> =
        ["g.example", "h.example"].iter().map(|value| of(value, "high", &seen)).collect();
    let paused = admin.patch(&rule, json!({ "enabled": false }), 200);
    assert_eq!(paused["enabled"], false);
    settled(app, &plain.url, &[]);
    admin.import(&own, "application/json", &Value::from(better).to_string(), 200);
    admin.patch(&rule, json!({ "enabled": true }), 200);
    settled(app, &plain.url, &["d.example", "g.example", "h.example"]);
    app.advance(&admin, "24h");
    let group = || admin.get(&format!("/api/v1/groups/{}", plain.group));
    settled(app, &plain.url, &["g.example", "h.example"]);
    assert_eq!(group()["published"], 2);
    // Full, with others waiting; then old members go and better ones come at the same moment.
    app.advance(&admin, "48h");
    let today =
        || format!("{}T00:00:00Z", &text(&admin.get("/api/v1/emulator/clock"), "now")[..10]);
    let add = |values: &[&str], severity: &str| {
        let seen = today();
        let list: Vec<Value> = values.iter().map(|value| of(value, severity, &seen)).collect();
        admin.import(&own, "application/json", &Value::from(list).to_string(), 200);
    };
    add(&["i.example", "j.example", "k.example"], "low");
    settled(app, &plain.url, &["g.example", "h.example", "i.example"]);
    app.clock.advance(24 * HOUR);
    add(&["l.example", "m.example", "n.example"], "high");
    settled(app, &plain.url, &["l.example", "m.example", "n.example"]);
    assert_eq!(group()["published"], 3);
}

fn what_a_list_holds_does_not_grow_old(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    let list = folder.path().join("list.txt");
    std::fs::write(&list, "a.example\nb.example\n").unwrap();
    let what =
        json!({ "url": format!("{}/list.txt", site.url), "paused": true, "coverage": "full" });
    subscribe(&admin, &own, what);
    fetch(&admin, &own, "");
    settled(app, &plain.url, &["a.example", "b.example"]);
    let rules = admin.get("/api/v1/rules");
    let rule = format!("/api/v1/rules/{}", text(&rules["items"][0], "id"));
    admin.patch(&rule, json!({ "criteria": { "max_age_days": 3, "min_score": 50 } }), 200);
    for _ in 0..6 {
        app.advance(&admin, "24h");
        assert_eq!(fetch(&admin, &own, "")["outcome"], "unchanged");
        settled(app, &plain.url, &["a.example", "b.example"]);
    }
    let seen = |value: &str| text(&admin.ioc(value), "last_seen");
    let begun = seen("a.example");
    // What is gone from the list grows old like everything else.
    std::fs::write(&list, "a.example\n").unwrap();
    fetch(&admin, &own, "");
    settled(app, &plain.url, &["a.example"]);
    app.advance(&admin, "96h");
    assert!(seen("a.example") > begun);
    // Nobody fetched for four days: it is too old, until it is fetched again.
    settled(app, &plain.url, &[]);
    fetch(&admin, &own, "");
    app.advance(&admin, "6h");
    settled(app, &plain.url, &["a.example"]);
}

fn a_short_lifetime_outlives_a_silence(app: &mut TestApp) {
    let admin = open(app);
    let body = json!({ "name": "Short feed", "confidence": 2, "limits": { "lifetime_days": 1 } });
    let short = text(&admin.post("/api/v1/sources", body, 201), "id");
    let plain = device(&admin, "plain-list", json!({}));
    let folder = tempfile::tempdir().unwrap();
    let site = Site::serve(folder.path());
    std::fs::write(folder.path().join("list.txt"), "a.example\n").unwrap();
    let what =
        json!({ "url": format!("{}/list.txt", site.url), "paused": true, "coverage": "full" });
    subscribe(&admin, &short, what);
    fetch(&admin, &short, "");
    settled(app, &plain.url, &["a.example"]);
    app.advance(&admin, "25h");
    settled(app, &plain.url, &[]);
    // The same list says so again.
    fetch(&admin, &short, "");
    settled(app, &plain.url, &["a.example"]);
    // What a source that is deleted said of lifetimes counts no more.
    let long =
        json!({ "name": "Long feed", "confidence": 2, "limits": { "lifetime_days": 3_000 } });
    let long = text(&admin.post("/api/v1/sources", long, 201), "id");
    import(&admin, &long, &["a.example"]);
    import(&admin, &source(&admin), &["a.example"]);
    admin.delete(&format!("/api/v1/sources/{long}"), 204);
    eventually("its links are gone", || {
        let of = admin.get(&format!("/api/v1/iocs?source_id={long}"));
        of["items"].as_array().unwrap().is_empty().then_some(())
    });
    app.advance(&admin, "2200h");
    settled(app, &plain.url, &[]);
}
