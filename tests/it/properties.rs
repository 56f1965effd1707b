//! What must hold whatever happens: random days of a group, watched by a receiver that does as a
//! MISP does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Admin, Device, Engine, Feed, Scene, TestApp, rounds, text};

/// A receiver that keeps what it pulled, by the rules of a real MISP.
#[derive(Default)]
pub(crate) struct Receiver {
    /// Event UUID → (timestamp, attribute UUID → (timestamp, value, deleted)).
    events: BTreeMap<String, (i64, BTreeMap<String, (i64, String, bool)>)>,
    /// Values that it did not keep: they have a twin in their event.
    pub(crate) dropped: BTreeSet<String>,
}

impl Receiver {
    pub(crate) fn pull(&mut self, feed: &Feed) {
        for (id, entry) in &feed.manifest {
            let stamp = entry["timestamp"].as_i64().unwrap();
            let known = self.events.get(id).map(|(t, _)| *t);
            if known.is_some_and(|t| stamp <= t) {
                assert!(known == Some(stamp), "a stamp went back");
                continue;
            }
            let (kept, attributes) = self.events.entry(id.clone()).or_default();
            *kept = stamp;
            for attribute in feed.events[id]["Attribute"].as_array().unwrap() {
                let changed: i64 = text(attribute, "timestamp").parse().unwrap();
                assert!(changed <= stamp, "an attribute is younger than its event");
                let deleted = attribute["deleted"] == true;
                match attributes.get_mut(&text(attribute, "uuid")) {
                    Some(old) if changed > old.0 => {
                        *old = (changed, text(attribute, "value"), old.2 || deleted);
                    }
                    Some(_) => {}
                    None => {
                        let value = text(attribute, "value");
                        let twin = attributes.values().any(|(_, v, gone)| *v == value && !gone);
                        assert!(
                            !twin || deleted,
                            "{value} is twice in one event: a MISP would drop it"
                        );
                        // It compares without case, and keeps only the first.
                        let twin = |(_, v, gone): &(i64, String, bool)| {
                            v.eq_ignore_ascii_case(&value) && !gone
                        };
                        if !deleted && attributes.values().any(twin) {
                            self.dropped.insert(value);
                            continue;
                        }
                        attributes.insert(text(attribute, "uuid"), (changed, value, deleted));
                    }
                }
            }
        }
    }

    pub(crate) fn live(&self) -> BTreeSet<String> {
        self.events
            .values()
            .flat_map(|(_, a)| a.values())
            .filter(|(_, _, deleted)| !deleted)
            .map(|(_, v, _)| v.clone())
            .collect()
    }
}

/// A small generator, so that a seed tells the whole story.
pub(crate) struct TestRng(pub(crate) u64);

impl TestRng {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn held(admin: &Admin, scene: &Scene) -> BTreeSet<String> {
    admin.get(&format!("/api/v1/groups/{}/iocs?limit=1000", scene.group))["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| text(i, "value"))
        .collect()
}

fn check(feed: &Feed, limit: usize, latest: &mut BTreeMap<String, i64>) {
    assert!(feed.live().len() <= limit, "{} live of {limit}", feed.live().len());
    // A value with capitals has a second line, in lower case.
    let capitals = feed.live().iter().filter(|v| v.contains(char::is_uppercase)).count();
    assert_eq!(feed.live().len() + capitals, feed.hashes.lines().count());
    let mut stamps = BTreeSet::new();
    let mut uuids = BTreeSet::new();
    for (id, entry) in &feed.manifest {
        let stamp = entry["timestamp"].as_i64().unwrap();
        assert!(stamps.insert(stamp), "two events share a stamp");
        assert!(
            latest.insert(id.clone(), stamp).is_none_or(|before| before <= stamp),
            "a stamp went back"
        );
        assert_eq!(stamp.to_string(), text(&feed.events[id], "timestamp"));
    }
    for (event, attribute) in feed.attributes() {
        assert!(uuids.insert(text(attribute, "uuid")), "two events share an attribute");
        assert!(event["Attribute"].as_array().unwrap().len() <= 2_000);
    }
}

fn a_random_life(engine: Engine, seed: u64, steps: u64) {
    println!("seed {seed}");
    let app = TestApp::open(engine);
    let admin = app.admin();
    let scene = Scene::set(&admin, Some(50));
    let misp: Device = app.device();
    let (mut rng, mut receiver, mut latest) = (TestRng(seed), Receiver::default(), BTreeMap::new());
    let mut limit = 50;
    // What publications held, and what is left of the one that the group is frozen at.
    let (mut published, mut kept) =
        (BTreeMap::<i64, BTreeSet<String>>::new(), None::<BTreeSet<String>>);
    let rule = text(&admin.get("/api/v1/rules")["items"][0], "id");
    // Some differ in case alone.
    let value = |n: u64| match n {
        0..=29 => format!("host{n}.example"),
        _ => {
            format!("http://host.example/{}", if n.is_multiple_of(2) { "Path" } else { "path" })
                + &format!("{}", (n - 30) / 2)
        }
    };
    for step in 0..steps {
        let value_of = value;
        let value = value(rng.roll(40));
        let ioc = || admin.ioc(&value)["id"].as_str().map(str::to_owned);
        match rng.roll(15) {
            0..=3 => {
                let some: Vec<Value> = (0..rng.roll(12))
                    .map(|_| json!({ "value": value_of(rng.roll(40)), "severity": if rng.roll(2) == 1 { "high" } else { "low" } }))
                    .collect();
                admin.import(&scene.source, "application/json", &json!(some).to_string(), 200);
            }
            4 => drop(ioc().map(|id| admin.delete(&format!("/api/v1/iocs/{id}"), 204))),
            5 => {
                drop(ioc().map(|id| {
                    admin.patch(&format!("/api/v1/iocs/{id}"), json!({ "whitelist": if rng.roll(2) == 1 { "default" } else { "never_sent" } }), 200)
                }));
            }
            6 => drop(ioc().map(|id| admin.patch(&format!("/api/v1/iocs/{id}"), json!({ "user_tags": [format!("t{}", rng.roll(3))] }), 200))),
            7 => {
                limit = 1 + usize::try_from(rng.roll(50)).unwrap();
                admin.patch(&format!("/api/v1/groups/{}", scene.group), json!({ "limit": limit }), 200);
            }
            8 => drop(admin.patch(
                &format!("/api/v1/rules/{rule}"),
                json!({ "criteria": { "severities": [if rng.roll(2) == 1 { "high" } else { "low" }] } }),
                200,
            )),
            9 => drop(admin.patch(&format!("/api/v1/rules/{rule}"), json!({ "criteria": {} }), 200)),
            10 => drop(admin.post(&format!("/api/v1/groups/{}/send-again", scene.group), json!({}), 200)),
            11 | 12 => {
                let number = published.len().saturating_sub(usize::try_from(rng.roll(6)).unwrap());
                if let Some((number, held)) = published.iter().nth(number) {
                    admin.post(&format!("/api/v1/groups/{}/freeze", scene.group), json!({ "publication": number }), 200);
                    kept = Some(held.clone());
                }
            }
            13 => {
                admin.post(&format!("/api/v1/groups/{}/freeze", scene.group), json!({ "publication": null }), 200);
                kept = None;
            }
            _ => {}
        }
        // Moving the clock runs what is due, so the next pull sees a settled feed.
        let span = ["1s", "20m", "2h", "1d"][usize::try_from(rng.roll(4)).unwrap()];
        app.advance(&admin, span);
        let mut group = admin.get(&format!("/api/v1/groups/{}", scene.group));
        if group["held"].is_object() && rng.roll(2) == 1 {
            group =
                admin.post(&format!("/api/v1/groups/{}/let-through", scene.group), json!({}), 200);
        }
        let feed = misp.feed(&scene.url);
        let is_held = group["held"].is_object();
        // A lower limit waits for the hold like everything but withdrawals.
        check(&feed, if is_held { 50 } else { limit }, &mut latest);
        let members = held(&admin, &scene);
        assert_eq!(
            feed.live().into_iter().collect::<BTreeSet<_>>(),
            members,
            "seed {seed}, step {step}: the feed lists what the group holds"
        );
        for value in &members {
            let ioc = admin.ioc(value);
            let sendable = ioc["id"].is_string() && ioc["whitelist"] != "never_sent";
            assert!(sendable, "seed {seed}, step {step}: {value} was withdrawn");
        }
        if let Some(kept) = &mut kept {
            let lost: Vec<&String> = kept.difference(&members).collect();
            let may_go = |value: &&String| {
                let ioc = admin.ioc(value);
                ioc["id"].is_null() || ioc["whitelist"] == "never_sent" || members.len() == limit
            };
            assert!(
                members.is_subset(kept) && lost.iter().all(may_go),
                "seed {seed}, step {step}: {members:?} of {kept:?}"
            );
            // What left once stays away for as long as the group is frozen.
            *kept = members.clone();
        }
        published.insert(group["publication"].as_i64().unwrap(), members);
        if rng.roll(3) > 0 {
            receiver.pull(&feed);
        }
    }
    app.advance(&admin, "2h");
    receiver.pull(&misp.feed(&scene.url));
    assert!(receiver.dropped.is_empty(), "seed {seed}: {:?}", receiver.dropped);
    assert_eq!(
        receiver.live(),
        held(&admin, &scene),
        "seed {seed}: what was pulled over time is what the group holds"
    );
}

/// Seeds tried: few in `make test`, many in `make test-long`.
fn seeds() -> u64 {
    rounds(4, 50)
}

#[test]
fn random_lives_on_sqlite() {
    for seed in 0..seeds() {
        a_random_life(Engine::Sqlite, seed, 30);
    }
}

#[test]
fn random_lives_on_postgres() {
    for seed in 0..seeds() {
        a_random_life(Engine::Postgres, 1_000 + seed, 30);
    }
}

#[test]
fn any_order_of_imports_gives_the_same_set() {
    let bodies = [
        r#"[{"value":"a.example","severity":"low","user_tags":["x"],"first_seen":"2026-01-01","last_seen":"2026-10-01"}]"#,
        r#"[{"value":"a.example","severity":"high","user_tags":["y"],"last_seen":"2026-10-20","score":10}]"#,
        r#"[{"value":"A.example","threat_actors":["APT28"],"last_seen":"2026-09-01","score":90},{"value":"b.example","last_seen":"2026-10-01"}]"#,
    ];
    let mut results = BTreeSet::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let app = TestApp::open(Engine::Sqlite);
        let admin = app.admin();
        let scene = Scene::set(&admin, None);
        for i in order {
            admin.import(&scene.source, "application/json", bodies[i], 200);
        }
        let mut iocs: Vec<Value> = admin.get("/api/v1/iocs")["items"].as_array().unwrap().clone();
        iocs.sort_by_key(|i| text(i, "value"));
        for ioc in &mut iocs {
            // Its id is the account's own.
            let ioc = ioc.as_object_mut().unwrap();
            ioc.remove("id");
            ioc.remove("reports");
        }
        results.insert(serde_json::to_string(&iocs).unwrap());
    }
    assert_eq!(results.len(), 1, "{results:#?}");
}
