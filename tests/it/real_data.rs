//! Real data, where `IOCAST_SAMPLES` names its folder: MISP events, reports, malware trails.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Scene, TestApp, eventually, stories, text};

stories!(real_data_is_imported_and_pulled);

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}

fn real_data_is_imported_and_pulled(app: &mut TestApp) {
    let Some(samples) = std::env::var_os("IOCAST_SAMPLES").map(PathBuf::from) else {
        println!("IOCAST_SAMPLES names no folder: only the own samples were used");
        return;
    };
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let source = |name: &str| {
        text(&admin.post("/api/v1/sources", json!({ "name": name, "confidence": 2 }), 201), "id")
    };
    let import = |source: &str, content_type: &str, query: &str, path: &Path| {
        let body = std::fs::read(path).unwrap();
        let answer = admin.send(
            "POST",
            &format!("/api/v1/sources/{source}/iocs{query}"),
            &[("content-type", content_type)],
            Some(&body),
        );
        assert_eq!(answer.status, 200, "{}: {}", path.display(), answer.text());
        answer.json()
    };
    let mut accepted = 0;
    let events = source("Events");
    for path in files(&samples.join("misp-events"), "json") {
        let report = import(&events, "application/json", "", &path);
        let known = ["accepted", "updated", "unchanged"]
            .iter()
            .map(|k| report[k].as_u64().unwrap())
            .sum::<u64>();
        assert!(known > 0, "{} holds indicators: {report}", path.display());
        accepted += report["accepted"].as_u64().unwrap();
    }
    let reports = source("Reports");
    for path in files(&samples.join("reports"), "adoc") {
        let report = import(&reports, "text/vnd.iocast.report", "", &path);
        let known =
            ["accepted", "updated"].iter().map(|k| report[k].as_u64().unwrap()).sum::<u64>();
        assert!(known > 0, "{}: {report}", path.display());
        accepted += report["accepted"].as_u64().unwrap();
    }
    for (value, of) in [
        ("recsecas.com", "a defanged domain in a table"),
        ("team.managment@outlook.com", "an address"),
        ("5.101.6.132", "a half defanged address"),
        ("https://gitlab.com/amigo_159753/gold/-/raw/master/README.md", "a URL of a file"),
    ] {
        assert_eq!(admin.ioc(value)["value"], value, "{of}");
    }
    assert!(
        admin.ioc("www.welivesecurity.com").is_null(),
        "where the report was published is no indicator"
    );
    let trails = source("Trails");
    for path in files(&samples.join("malware-trails"), "txt") {
        let family = path.file_stem().unwrap().to_string_lossy();
        let report = import(&trails, "text/plain", &format!("?malware_family={family}"), &path);
        accepted += report["accepted"].as_u64().unwrap();
    }
    assert!(accepted > 50_000, "{accepted} IOCs");
    let azorult = admin.get("/api/v1/iocs?prefix=http&limit=1000")["items"]
        .as_array()
        .unwrap()
        .iter()
        .any(|i| i["malware_families"].as_array().is_some_and(|f| !f.is_empty()));
    assert!(azorult, "the family is the file's name");
    eventually("the group is full", || {
        (admin.get(&format!("/api/v1/groups/{}", scene.group))["published"] == 50_000).then_some(())
    });
    if app.database_url().is_some() && std::env::var_os("IOCAST_LONG").is_none() {
        // What clients get does not depend on the engine, and 50,000 attributes take them a minute.
        return;
    }
    // Moving the clock runs what is due: nothing is published any more while the clients pull.
    app.advance(&admin, "1s");
    let pulled = crate::clients::real_clients_pull(&scene.url, &app.account_id, &app.appliance_key);
    assert_eq!(
        (pulled["values"].as_u64(), pulled["problems"].as_array().map(Vec::len)),
        (Some(50_000), Some(0)),
        "{pulled}"
    );
}
