//! Whatever happens to an IOC group and to the MISPs that pull it: after some quiet pulls each MISP
//! holds what the group holds, with the right tags, or iocast says that it does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    properties::TestRng,
    support::{
        Admin, Engine, TestApp, basic,
        misp::{Kill, Misp, tags},
        rounds, send, text,
    },
};

/// What happens between two moments, and to how many MISPs at once.
const STEPS: u64 = 12;
const DEVICES: usize = 2;
const MISPS: usize = 8;
/// From which on they are one installation that was cloned.
const CLONES: usize = 6;
/// Pulls after which all is well, if nothing changes any more.
const QUIET: usize = 4;

struct World {
    app: TestApp,
    admin: Admin,
    source: String,
    devices: Vec<Device>,
    seed: u64,
    absences: u32,
}

struct Device {
    id: String,
    group: String,
    url: String,
    published: i64,
    misps: Vec<Misp>,
}

impl World {
    fn new(engine: Engine, seed: u64) -> Self {
        let app = TestApp::open(engine);
        let admin = app.admin();
        let source = json!({ "name": "Own feed", "confidence": 2 });
        let source = text(&admin.post("/api/v1/sources", source, 201), "id");
        let mut world = Self { app, admin, source, devices: Vec::new(), seed, absences: 0 };
        for nth in 0..DEVICES {
            let device = json!({ "name": format!("MISP {nth}"), "device_type": "misp" });
            let id = text(&world.admin.post("/api/v1/devices", device, 201), "id");
            let group = json!({ "name": format!("Group {nth}") });
            let path = format!("/api/v1/devices/{id}/groups");
            let group = world.admin.post(&path, group, 201);
            let url = text(&group, "url");
            let misp = |nth: usize| {
                let uuid = format!("00000000-0000-4000-8000-00000000000{}", nth.min(CLONES));
                let key = (world.app.account_id.as_str(), world.app.appliance_key.as_str());
                let mut misp = Misp::new(&uuid, &url, key);
                match nth {
                    1 => misp.ahead = 2 * 86_400,
                    2 => misp.skips = '4',
                    _ => {}
                }
                misp
            };
            let misps = (0..MISPS).map(misp).collect();
            world.devices.push(Device { id, group: text(&group, "id"), url, published: 0, misps });
        }
        world
    }

    fn now(&self) -> i64 {
        self.app.clock.now().secs()
    }

    /// Something happens to the IOCs, or to a group.
    fn change(&mut self, rng: &mut TestRng) {
        let admin = &self.admin;
        let value = |rng: &mut TestRng| match rng.roll(20) {
            n @ 0..=15 => format!("host{n}.example"),
            n => format!("http://host.example/{}", ["Path", "path", "A", "B"][n as usize - 16]),
        };
        let device = &self.devices[rng.roll(DEVICES as u64) as usize];
        let group = format!("/api/v1/groups/{}", device.group);
        let picked = value(rng);
        let ioc = || admin.ioc(&picked)["id"].as_str().map(|id| format!("/api/v1/iocs/{id}"));
        let what = rng.roll(12);
        println!("{}: change {what} of {picked} or {}", self.now(), device.group);
        match what {
            0..=4 => {
                let some: Vec<Value> = (0..=rng.roll(8))
                    .map(|_| {
                        let severity = ["low", "medium", "high"][rng.roll(3) as usize];
                        json!({ "value": value(rng), "severity": severity, "tags": [format!("s{}", rng.roll(3))] })
                    })
                    .collect();
                admin.import(&self.source, "application/json", &json!(some).to_string(), 200);
            }
            5 => drop(ioc().map(|ioc| admin.delete(&ioc, 204))),
            6 | 7 => {
                let whitelist = if rng.roll(2) == 1 { "default" } else { "never_sent" };
                drop(ioc().map(|ioc| admin.patch(&ioc, json!({ "whitelist": whitelist }), 200)));
            }
            8 | 9 => {
                let edit = json!({ "user_tags": [format!("t{}", rng.roll(4))] });
                drop(ioc().map(|ioc| admin.patch(&ioc, edit, 200)));
            }
            10 => drop(admin.patch(&group, json!({ "limit": 4 + rng.roll(20) }), 200)),
            _ => {
                let number = (device.published > 0).then(|| 1 + rng.roll(device.published as u64));
                let freeze = json!({ "publication": number.filter(|_| rng.roll(2) == 1) });
                admin.send(
                    "POST",
                    &format!("{group}/freeze"),
                    &JSON,
                    Some(freeze.to_string().as_bytes()),
                );
            }
        }
    }

    /// Something happens to a MISP.
    fn live(&mut self, rng: &mut TestRng, device: usize, nth: usize) {
        let now = self.now();
        let misp = &mut self.devices[device].misps[nth];
        let pick = rng.roll(1_000) as usize;
        let what = rng.roll(20);
        println!("{now}: MISP {nth} of {device} does {what} ({pick})");
        // One of two that call themselves the same speaks for the other: what breaks in it can't be
        // known.
        let is_clone = nth >= CLONES;
        match what {
            0..=7 => misp.pull(None),
            8..=10 => {
                let kill = Kill { after: pick % 3, halfway: rng.roll(2) == 1 && !is_clone };
                misp.pull(Some(kill));
            }
            // Who looks at an event of the feed looks like who imports it: after an edit on its side,
            // nobody can tell that it did not.
            11 | 12 if nth.is_multiple_of(2) && nth != 2 => misp.preview(pick),
            11..=15 if !is_clone && !nth.is_multiple_of(2) => misp.analyst(pick, now, what == 15),
            16 if nth == 3 => misp.delete_event(pick),
            17 if !is_clone => misp.back_up(),
            18 if misp.restore() => misp.pull(None),
            _ => {}
        }
    }

    fn step(&mut self, rng: &mut TestRng) {
        for _ in 0..=rng.roll(2) {
            self.change(rng);
        }
        let mut span = ["1m", "20m", "2h", "1d", "45d"][(rng.roll(13) / 3) as usize];
        if span == "45d" {
            // Tombstones are kept for 180 days: four of these spans would be longer.
            self.absences += 1;
            if self.absences > 3 {
                span = "1d";
            }
            // What a backup from then lacks, nobody can know; and of two that call themselves the
            // same, one would speak for the other.
            for device in &mut self.devices {
                device.misps.iter_mut().for_each(Misp::forget_backup);
                device.misps[CLONES..].iter_mut().for_each(|misp| misp.pull(None));
            }
        }
        self.app.advance(&self.admin, span);
        println!("{}: {span} later", self.now());
        for device in 0..DEVICES {
            let path = format!("/api/v1/groups/{}", self.devices[device].group);
            let group = self.admin.get(&path);
            self.devices[device].published = group["publication"].as_i64().unwrap();
            if group["held"].is_object() {
                self.admin.post(&format!("{path}/let-through"), json!({}), 200);
            }
            for nth in 0..MISPS {
                self.live(rng, device, nth);
            }
        }
    }

    fn settle(&mut self) {
        for device in &self.devices {
            let path = format!("/api/v1/groups/{}", device.group);
            if self.admin.get(&path)["held"].is_object() {
                self.admin.post(&format!("{path}/let-through"), json!({}), 200);
            }
        }
        for _ in 0..QUIET {
            self.app.advance(&self.admin, "2h");
            for misp in self.devices.iter_mut().flat_map(|device| &mut device.misps) {
                misp.pull(None);
            }
        }
        self.app.advance(&self.admin, "1m");
    }

    /// Sooner or later nothing is sent again: what may be wrong is corrected a few times, no more.
    fn rests(&mut self) {
        for round in 0..12 {
            self.app.advance(&self.admin, "2h");
            for misp in self.devices.iter_mut().flat_map(|of| &mut of.misps) {
                let before = misp.asked;
                misp.pull(None);
                // What an analyst deleted is fetched again and again.
                let is_quiet = misp.asked == before || !misp.blocked.is_empty();
                assert!(round < 10 || is_quiet, "seed {}: {} gets no rest", self.seed, misp.uuid);
            }
        }
    }

    /// Compares every MISP with its group.
    fn check(&self) {
        for device in &self.devices {
            let feed = self.feed(&device.url);
            let path = format!("/api/v1/devices/{}/clients", device.id);
            let clients = self.admin.get(&path);
            for (nth, misp) in device.misps.iter().enumerate() {
                let said = clients["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|client| client["misp_uuid"] == misp.uuid)
                    .map(|client| client["groups"][0].clone())
                    .unwrap_or_default();
                let differs = differences(misp, &feed, nth >= CLONES);
                let is_known = said["events"].as_u64() != Some(feed.len() as u64)
                    || said["refused"] != 0
                    || said["not_taken"] != 0;
                assert!(
                    differs.is_empty() || (is_known && [1, 2, 3].contains(&nth)),
                    "seed {}, MISP {nth} of {}: {differs:#?}; iocast says {said}",
                    self.seed,
                    device.group
                );
            }
        }
    }

    /// A MISP without edits and filters has everything after so much rest, and iocast says so.
    fn says_so(&self) {
        for device in &self.devices {
            let events = self.feed(&device.url).len() as u64;
            let clients = self.admin.get(&format!("/api/v1/devices/{}/clients", device.id));
            for nth in (0..CLONES).step_by(2).filter(|nth| *nth != 2) {
                let uuid = &device.misps[nth].uuid;
                let all = clients["items"].as_array().unwrap();
                let said = all.iter().find(|client| client["misp_uuid"] == **uuid).unwrap();
                let said = &said["groups"][0];
                assert!(
                    said["events"] == events && said["refused"] == 0 && said["not_taken"] == 0,
                    "seed {}, MISP {nth} of {}: {events} events; iocast says {said}",
                    self.seed,
                    device.group
                );
            }
        }
    }

    /// The feed as it is, without being a client.
    fn feed(&self, url: &str) -> BTreeMap<String, Value> {
        let key = basic(&self.app.account_id, &self.app.appliance_key);
        let get = |path: &str| {
            let headers = [("authorization", key.as_str()), ("user-agent", "iocast-test")];
            send("GET", &format!("{url}/{path}"), &headers, None).json()
        };
        let manifest = get("manifest.json");
        let ids = manifest.as_object().unwrap().keys();
        ids.map(|id| (id.clone(), get(&format!("{id}.json"))["Event"].take())).collect()
    }
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// What a MISP holds otherwise than the feed. One of two that call themselves the same may import an
/// event for the first time long after the other: it gets what the other needs, and attaches tags
/// that were taken back in between. Nobody can know.
fn differences(misp: &Misp, feed: &BTreeMap<String, Value>, is_clone: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut listed = BTreeMap::new();
    for (id, event) in feed {
        for entry in event["Attribute"].as_array().unwrap() {
            listed.insert(text(entry, "uuid"), (id, entry));
        }
    }
    let mut held = BTreeMap::new();
    for (id, event) in &misp.events {
        for (uuid, attribute) in &event.attributes {
            held.insert(uuid, (id, attribute));
        }
    }
    for (uuid, (event, attribute)) in &held {
        let entry = listed.get(*uuid).filter(|(_, entry)| entry["deleted"] != true);
        if entry.is_none() && !attribute.deleted {
            let listed = listed.get(*uuid).map(|(_, entry)| *entry);
            found.push(format!("holds {attribute:?} in {event}, listed as {listed:?}"));
        }
    }
    for (uuid, (event, entry)) in &listed {
        if entry["deleted"] == true || misp.blocked.contains(*event) {
            continue;
        }
        let Some((_, attribute)) = held.get(uuid) else {
            found.push(format!("lacks {} of {event}", entry["value"]));
            continue;
        };
        let live: BTreeSet<String> =
            tags(entry).filter(|(_, gone)| !gone).map(|(name, _)| name).collect();
        let mut tagged = attribute.tags.clone();
        if is_clone {
            tagged.retain(|name| live.contains(name) || !attribute.attached.contains(name));
        }
        if attribute.deleted && !attribute.rejected {
            found.push(format!("holds {} as deleted", attribute.value));
        } else if !attribute.deleted && tagged != live {
            found.push(format!("{event} holds {attribute:?}, not {live:?}: {entry}"));
        }
    }
    found
}

fn a_history(engine: Engine, seed: u64) {
    println!("seed {seed}");
    let (mut world, mut rng) = (World::new(engine, seed), TestRng(seed));
    for _ in 0..STEPS {
        world.step(&mut rng);
    }
    world.settle();
    world.check();
    if seed.is_multiple_of(8) {
        world.rests();
        world.check();
        world.says_so();
    }
}

/// Seeds of a part of the histories, each with sixteen MISPs: two thousand in all in `make test`.
/// `IOCAST_HISTORIES` tries more, from `IOCAST_SEED` on.
fn seeds(part: u64) -> Range<u64> {
    let given = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let usual = rounds(40, 100);
    let (first, count) =
        (given("IOCAST_SEED").unwrap_or(0), given("IOCAST_HISTORIES").unwrap_or(usual));
    let first = first + 100_000 * part;
    // PostgreSQL takes its time.
    first..first + if part == 3 { count.div_ceil(5) } else { count }
}

#[test]
fn every_misp_ends_with_what_its_group_holds() {
    seeds(0).for_each(|seed| a_history(Engine::Sqlite, seed));
}

#[test]
fn every_misp_ends_with_what_its_group_holds_in_a_second_part() {
    seeds(1).for_each(|seed| a_history(Engine::Sqlite, seed));
}

#[test]
fn every_misp_ends_with_what_its_group_holds_in_a_third_part() {
    seeds(2).for_each(|seed| a_history(Engine::Sqlite, seed));
}

#[test]
fn every_misp_ends_with_what_its_group_holds_on_postgres() {
    seeds(3).for_each(|seed| a_history(Engine::Postgres, seed));
}
