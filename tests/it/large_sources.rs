//! A source that reports more IOCs than are marked one by one: it is switched off and on, and
//! deleted.

use serde_json::{Value, json};

use crate::support::{Admin, TestApp, eventually, stories, text};

stories!(a_large_source_is_switched_off_and_on, a_large_source_is_deleted);

/// More than are marked one by one, and than are unlinked in one write.
const MANY: usize = 12_000;
/// How many of them a second source reports, too.
const SHARED: usize = 200;

struct Sources {
    large: String,
    group: String,
    url: String,
}

fn list(count: usize) -> String {
    (0..count).map(|n| format!("host{n}.example\n")).collect()
}

/// A plain list of what a large source and a small one report.
fn set_up(admin: &Admin) -> Sources {
    let source = |name: &str, list: &str| {
        let new = json!({ "name": name, "confidence": 2 });
        let id = text(&admin.post("/api/v1/sources", new, 201), "id");
        admin.import(&id, "text/plain", list, 200);
        id
    };
    let large = source("Large", &list(MANY));
    source("Small", &list(SHARED));
    let device = json!({ "name": "Firewall", "device_type": "plain-list" });
    let device = text(&admin.post("/api/v1/devices", device, 201), "id");
    let group = json!({ "name": "Malicious", "limit": 20_000 });
    let group = admin.post(&format!("/api/v1/devices/{device}/groups"), group, 201);
    let sources = Sources { large, group: text(&group, "id"), url: text(&group, "url") };
    sources.publishes(admin, MANY);
    sources
}

impl Sources {
    fn group(&self, admin: &Admin) -> Value {
        admin.get(&format!("/api/v1/groups/{}", self.group))
    }

    fn publishes(&self, admin: &Admin, count: usize) {
        eventually(&format!("{count} are published"), || {
            (self.group(admin)["published"] == count).then_some(())
        });
    }

    fn switch(&self, admin: &Admin, enabled: bool) {
        let path = format!("/api/v1/sources/{}", self.large);
        admin.patch(&path, json!({ "enabled": enabled }), 200);
    }

    /// Nearly everything would be lost: an admin is asked first.
    fn held(&self, admin: &Admin) {
        let held = eventually("it is held", || {
            Some(self.group(admin)).filter(|group| group["held"].is_object())
        });
        assert_eq!(held["held"]["would_lose"], MANY - SHARED);
        assert_eq!(held["published"], MANY, "the device keeps what it has");
    }

    fn let_through(&self, admin: &Admin) {
        admin.post(&format!("/api/v1/groups/{}/let-through", self.group), json!({}), 200);
    }
}

fn served(app: &TestApp, url: &str) -> usize {
    app.device().get(url, &[]).text().lines().count()
}

fn a_large_source_is_switched_off_and_on(app: &mut TestApp) {
    let admin = app.admin();
    let sources = set_up(&admin);
    sources.switch(&admin, false);
    sources.held(&admin);
    sources.switch(&admin, true);
    eventually("the hold ends", || sources.group(&admin)["held"].is_null().then_some(()));
    sources.publishes(&admin, MANY);
    sources.switch(&admin, false);
    sources.held(&admin);
    sources.let_through(&admin);
    sources.publishes(&admin, SHARED);
    eventually("the list follows", || (served(app, &sources.url) == SHARED).then_some(()));
    sources.switch(&admin, true);
    sources.publishes(&admin, MANY);
    eventually("all are back", || (served(app, &sources.url) == MANY).then_some(()));
}

fn a_large_source_is_deleted(app: &mut TestApp) {
    let admin = app.admin();
    let sources = set_up(&admin);
    admin.delete(&format!("/api/v1/sources/{}", sources.large), 204);
    // What was left to do is done after the start.
    app.restart();
    let admin = app.admin();
    sources.held(&admin);
    sources.let_through(&admin);
    sources.publishes(&admin, SHARED);
    let of_source = format!("/api/v1/iocs?source_id={}", sources.large);
    eventually("nothing counts as its report", || {
        admin.get(&of_source)["items"].as_array().unwrap().is_empty().then_some(())
    });
    let stays = admin.ioc(&format!("host{}.example", MANY - 1));
    assert_eq!(stays["reports"], json!([]), "IOCs stay, without a report");
}
