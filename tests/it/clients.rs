//! Real clients pull: PyMISP and misp-feed-manager, as they come from the Python package registry.

use std::process::Command;

use serde_json::Value;

use crate::support::{Scene, TestApp, stories};

stories!(real_clients_pull_fifty_thousand);

/// Has the Python clients pull a feed. Gives what they say.
pub(crate) fn real_clients_pull(url: &str, account: &str, key: &str) -> Value {
    let python = std::env::var("IOCAST_PYTHON").expect(
        "IOCAST_PYTHON names a Python with PyMISP and misp-feed-manager; `make test` sets one up",
    );
    let script = crate::edges::root().join("tests/python/pull.py");
    let done = Command::new(python).arg(script).args([url, account, key]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn real_clients_pull_fifty_thousand(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let mut list = String::new();
    // Kinds in turn; addresses of both families, hashes of all lengths. Five too many for a MISP.
    for i in 0..50_005_u32 {
        let line = match i % 8 {
            0 => format!("host{i}.evil.example"),
            1 => format!("http://evil.example/Path/{i}?q=%20"),
            2 => format!("45.{}.{}.{}", 18 + i % 2, i >> 8 & 255, i & 255),
            3 => format!("2001:db8::{:x}:{:x}", i >> 12, i & 4095),
            4 => format!("{i:032x}"),
            5 => format!("{i:040x}"),
            6 => format!("{i:064x}"),
            _ => format!("user{i}@evil.example"),
        };
        list.push_str(&line);
        list.push('\n');
    }
    let report = scene.import(&admin, &list);
    assert_eq!(
        (report["accepted"].as_u64(), report["rejected_count"].as_u64()),
        (Some(50_005), Some(0))
    );
    crate::support::eventually("the group is full", || {
        (admin.get(&format!("/api/v1/groups/{}", scene.group))["published"] == 50_000).then_some(())
    });
    let group = admin.get(&format!("/api/v1/groups/{}", scene.group));
    assert_eq!(group["cut"]["reasons"]["limit"], 5);
    let pulled = real_clients_pull(&scene.url, &app.account_id, &app.appliance_key);
    assert_eq!(pulled["problems"].as_array().unwrap().len(), 0, "{pulled}");
    assert_eq!(
        (pulled["events"].as_u64(), pulled["values"].as_u64()),
        (Some(25), Some(50_000)),
        "{pulled}"
    );
    assert!(
        pulled["hashes"].as_u64() > Some(50_000),
        "URLs with capitals have two lines: {pulled}"
    );
    assert!(pulled["consumed"].as_u64() > Some(0), "{pulled}");
    assert_eq!(admin.dot(&scene.device).0, "green");
}
