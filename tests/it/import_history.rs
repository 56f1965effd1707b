//! Imports are kept: looked at before they are taken, followed while they are read, undone when
//! they were a mistake.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Admin, Answer, Scene, TestApp, eventually, stories, text};

stories!(
    an_import_is_kept,
    an_import_is_undone,
    what_others_said_survives_an_undo,
    an_undone_import_does_not_empty_a_device,
    a_take_that_was_cut_off_waits_again,
    a_review_takes_what_a_person_selects,
    a_review_is_merged_with_what_happened_since,
    an_import_goes_on_without_its_client,
    imports_are_forgotten_in_time,
);

fn send(admin: &Admin, source: &str, query: &str, body: &str) -> Answer {
    let path = format!("/api/v1/sources/{source}/iocs{query}");
    admin.send(
        "POST",
        &path,
        &[("content-type", "application/octet-stream")],
        Some(body.as_bytes()),
    )
}

/// Imports a text. Gives the id under which the import is kept.
fn import(admin: &Admin, source: &str, query: &str, body: &str) -> String {
    let answer = send(admin, source, query, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    text(&answer.json(), "id")
}

fn kept(admin: &Admin, id: &str) -> Value {
    admin.get(&format!("/api/v1/imports/{id}"))
}

fn source(admin: &Admin, name: &str) -> String {
    text(&admin.post("/api/v1/sources", json!({ "name": name, "confidence": 2 }), 201), "id")
}

fn there(admin: &Admin) -> BTreeSet<String> {
    let found = admin.get("/api/v1/iocs?state=active&limit=1000");
    found["items"].as_array().unwrap().iter().map(|ioc| text(ioc, "value")).collect()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn an_import_is_kept(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin, "Own feed");
    let id = import(&admin, &own, "?file_name=june.txt", "evil.example\n=cmd|'x'\nnodots\n");
    let record = kept(&admin, &id);
    for (field, value) in [
        ("state", json!("done")),
        ("file_name", json!("june.txt")),
        ("source_name", json!("Own feed")),
        ("bytes", json!(29)),
        ("error", Value::Null),
        ("undone", Value::Null),
    ] {
        assert_eq!(record[field], value, "{field}: {record}");
    }
    // `sha256sum` says so of the same bytes.
    assert_eq!(record["sha256"], sha256("evil.example\n=cmd|'x'\nnodots\n"));
    assert!(text(&record, "made_by").contains('@'), "{record}");
    assert_eq!(
        (&record["report"]["accepted"], &record["report"]["rejected_count"]),
        (&json!(1), &json!(2))
    );
    // What was refused can be downloaded, and does nothing in a spreadsheet.
    let refused = admin.send("GET", &format!("/api/v1/imports/{id}/refused"), &[], None).text();
    assert!(refused.starts_with("\"line\",\"value\",\"why\",\"taken\"\r\n"), "{refused}");
    assert!(refused.contains("\"3\",\"nodots\"") && refused.contains("\"'=cmd|'x'\""), "{refused}");
    // One that can't be read is kept with the reason, a dry run is not.
    assert_eq!(send(&admin, &own, "?form=json&file_name=broken.json", "{").status, 400);
    assert_eq!(send(&admin, &own, "?dry_run=true", "dry.example").json()["id"], Value::Null);
    let all = admin.get(&format!("/api/v1/imports?source_id={own}"));
    let states: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|i| text(i, "state")).collect();
    assert_eq!(states, ["failed", "done"]);
    assert!(text(&all["items"][0], "error").contains("JSON"), "{all}");
    assert_eq!(admin.get("/api/v1/imports?state=done")["items"].as_array().unwrap().len(), 1);
    assert_eq!(admin.get_status("/api/v1/imports?state=lost"), 422);
    assert_eq!(admin.get_status("/api/v1/imports/00000000-0000-4000-8000-000000000000"), 404);
}

fn sha256(text: &str) -> String {
    let out = std::process::Command::new("sh")
        .args(["-c", "printf %s \"$1\" | sha256sum", "sh", text])
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn an_import_is_undone(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let other = source(&admin, "Other feed");
    import(&admin, &other, "", "shared.example\n");
    import(&admin, &scene.source, "", "before.example\n");
    let wrong = import(
        &admin,
        &scene.source,
        "?malware_family=Wrong",
        "alone.example\nshared.example\nbefore.example\ntouched.example\n",
    );
    let path = format!("/api/v1/iocs/{}", text(&admin.ioc("touched.example"), "id"));
    admin.patch(&path, json!({ "comment": "Seen in the lab" }), 200);
    let all = ["alone.example", "before.example", "shared.example", "touched.example"];
    scene.settled(&device, &all);
    // Told first, then done.
    let expected = json!({ "removed": 1, "shared": 1, "known": 1, "changed": 1, "shared_values": ["shared.example"] });
    let undo = format!("/api/v1/imports/{wrong}/undo");
    assert_eq!(admin.get(&undo), expected);
    assert_eq!(there(&admin), set(&all), "looking at it changes nothing");
    assert_eq!(admin.post(&undo, json!({}), 200), expected);
    scene.settled(&device, &all[1..]);
    assert_eq!(there(&admin), set(&all[1..]));
    let shared = admin.ioc("shared.example");
    assert_eq!(shared["reports"].as_array().unwrap().len(), 1, "{shared}");
    assert_eq!(shared["malware_families"], json!(["Wrong"]), "what it added stays, as was said");
    let record = kept(&admin, &wrong);
    assert_eq!((&record["state"], &record["undone"]["removed"]), (&json!("undone"), &json!(1)));
    let audit = admin.get("/api/v1/audit?action=import.undo");
    assert_eq!(audit["items"][0]["detail"]["changed"], 1, "{audit}");
    // Once only.
    assert_eq!(text(&admin.post(&undo, json!({}), 409), "code"), "not_undoable");
    // Reported again, it begins without what the mistake said of it.
    import(&admin, &other, "", "alone.example\n");
    scene.settled(&device, &all);
    assert_eq!(admin.ioc("alone.example")["malware_families"], json!([]));
}

/// Nothing but the import itself is taken back, however the same was said again.
fn what_others_said_survives_an_undo(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin, "Own feed");
    let undo = |id: &str| admin.post(&format!("/api/v1/imports/{id}/undo"), json!({}), 200);
    // A dated list that says nothing new says it all the same.
    let dated = "value,last_seen\ntwice.example,2026-11-01\n";
    let first = import(&admin, &own, "", &format!("{dated}once.example,2026-11-01\n"));
    import(&admin, &own, "", dated);
    // A source that is switched off and on again changes nothing about that.
    for enabled in [false, true] {
        admin.patch(&format!("/api/v1/sources/{own}"), json!({ "enabled": enabled }), 200);
    }
    let undone = undo(&first);
    assert_eq!((&undone["removed"], &undone["changed"]), (&json!(1), &json!(1)), "{undone}");
    assert_eq!(there(&admin), set(&["twice.example"]));
    // What a person decides about one that nobody reports holds when it is reported again.
    let path = format!("/api/v1/iocs/{}", text(&admin.ioc("once.example"), "id"));
    admin.patch(&path, json!({ "whitelist": "never_sent" }), 200);
    import(&admin, &own, "", "once.example\n");
    assert_eq!(admin.ioc("once.example")["whitelist"], "never_sent");
    // A tag that came with the import is no decision, one that came later is.
    let tagged = import(&admin, &own, "?tag=batch", "a.example\nb.example\n");
    let path = format!("/api/v1/iocs/{}", text(&admin.ioc("b.example"), "id"));
    admin.patch(&path, json!({ "user_tags": ["batch", "mine"] }), 200);
    let undone = undo(&tagged);
    assert_eq!((&undone["removed"], &undone["changed"]), (&json!(1), &json!(1)), "{undone}");
}

/// iocast was stopped while it took an import that had been reviewed.
fn a_take_that_was_cut_off_waits_again(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin, "Own feed");
    let id = import(&admin, &own, "?review=true", "evil.example\n");
    let far = format!("/api/v1/imports/{id}/iocs?offset=18446744073709551615");
    assert_eq!(admin.get(&far)["items"], json!([]), "a page far behind the last is empty");
    app.sql("UPDATE import_records SET state = 1 WHERE state = 2");
    app.restart();
    let admin = app.admin();
    if app.database_url().is_some() {
        // Another replica may be at it: it can be thrown away.
        assert_eq!(kept(&admin, &id)["state"], "running");
        admin.delete(&format!("/api/v1/imports/{id}"), 204);
        return;
    }
    assert_eq!(kept(&admin, &id)["state"], "review");
    admin.post(&format!("/api/v1/imports/{id}/take"), json!({}), 200);
    assert_eq!(there(&admin), set(&["evil.example"]));
}

fn an_undone_import_does_not_empty_a_device(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let values: Vec<String> = (0..30).map(|n| format!("h{n:02}.example")).collect();
    let id = import(&admin, &scene.source, "", &values.join("\n"));
    let all: Vec<&str> = values.iter().map(String::as_str).collect();
    scene.settled(&device, &all);
    admin.post(&format!("/api/v1/imports/{id}/undo"), json!({}), 200);
    let group = format!("/api/v1/groups/{}", scene.group);
    eventually("the group is held", || admin.get(&group)["held"].is_object().then_some(()));
    scene.settled(&device, &all);
    admin.post(&format!("{group}/let-through"), json!({}), 200);
    scene.settled(&device, &[]);
}

fn rows(admin: &Admin, id: &str, query: &str) -> Vec<(String, String)> {
    let found = admin.get(&format!("/api/v1/imports/{id}/iocs{query}"));
    let items = found["items"].as_array().unwrap();
    items.iter().map(|row| (text(row, "value"), text(row, "change"))).collect()
}

fn a_review_takes_what_a_person_selects(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin, "Own feed");
    import(&admin, &own, "", "known.example\n");
    let body = "known.example # again\nnew-a.example\nnew-b.example\n10.0.0.1\nnot an ioc\n";
    let id = import(&admin, &own, "?review=true", body);
    assert_eq!(there(&admin), set(&["known.example"]), "nothing is written");
    let pair = |value: &str, change: &str| (value.to_owned(), change.to_owned());
    assert_eq!(
        rows(&admin, &id, "?change=new"),
        [pair("10.0.0.1", "new"), pair("new-a.example", "new"), pair("new-b.example", "new")]
    );
    assert_eq!(rows(&admin, &id, "?prefix=new-&limit=1&offset=1"), [pair("new-b.example", "new")]);
    let found = admin.get(&format!("/api/v1/imports/{id}/iocs?prefix=10."));
    assert_eq!(found["found"], 1);
    assert!(text(&found["items"][0], "withheld").contains("private"), "{found}");
    // It waits through a restart.
    app.restart();
    let admin = app.admin();
    assert_eq!(kept(&admin, &id)["state"], "review");
    let chosen = admin.get(&format!("/api/v1/imports/{id}/iocs?prefix=new-b"));
    let select = |choice: &str, ids: Value| {
        let body = json!({ "choice": choice, "ids": ids });
        admin.post(&format!("/api/v1/imports/{id}/iocs"), body, 200)["selected"].clone()
    };
    assert_eq!(select("leave_out", Value::Null), rows(&admin, &id, "").len());
    assert_eq!(select("take", json!([chosen["items"][0]["id"]])), 1);
    let path = format!("/api/v1/imports/{id}/take");
    let report = admin.post(&path, json!({ "tag": "checked" }), 200);
    assert_eq!((&report["accepted"], &report["dry_run"]), (&json!(1), &json!(false)), "{report}");
    assert_eq!(there(&admin), set(&["known.example", "new-b.example"]));
    assert_eq!(admin.ioc("new-b.example")["user_tags"], json!(["checked"]));
    let record = kept(&admin, &id);
    assert_eq!((&record["state"], &record["report"]["accepted"]), (&json!("done"), &json!(1)));
    assert_eq!(text(&admin.post(&path, json!({}), 409), "code"), "not_in_review");
    // It can be undone like any other.
    admin.post(&format!("/api/v1/imports/{id}/undo"), json!({}), 200);
    assert_eq!(there(&admin), set(&["known.example"]));
    // Thrown away, nothing of it is left.
    let id = import(&admin, &own, "?review=true", "new-c.example\n");
    admin.delete(&format!("/api/v1/imports/{id}"), 204);
    assert_eq!(kept(&admin, &id)["state"], "discarded");
    admin.post(&format!("/api/v1/imports/{id}/take"), json!({}), 409);
    assert_eq!(there(&admin), set(&["known.example"]));
}

/// What others report and people decide while a review waits is not overwritten.
fn a_review_is_merged_with_what_happened_since(app: &mut TestApp) {
    let admin = app.admin();
    let (own, other) = (source(&admin, "Own feed"), source(&admin, "Other feed"));
    let id = import(&admin, &own, "?review=true&malware_family=Mine", "a.example\nb.example\n");
    import(&admin, &other, "?malware_family=Theirs", "a.example\n");
    let path = format!("/api/v1/iocs/{}", text(&admin.ioc("a.example"), "id"));
    admin.patch(&path, json!({ "whitelist": "never_sent", "severity": "high" }), 200);
    let report = admin.post(&format!("/api/v1/imports/{id}/take"), json!({}), 200);
    assert_eq!((&report["accepted"], &report["updated"]), (&json!(1), &json!(1)), "{report}");
    let ioc = admin.ioc("a.example");
    assert_eq!(
        (&ioc["whitelist"], &ioc["severity"], &ioc["malware_families"]),
        (&json!("never_sent"), &json!("high"), &json!(["Mine", "Theirs"]))
    );
    assert_eq!(ioc["reports"].as_array().unwrap().len(), 2);
}

fn an_import_goes_on_without_its_client(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin, "Own feed");
    let many: String = (0..20_000).map(|n| format!("h{n}.example\n")).collect();
    let first = send(&admin, &own, "?background=true&file_name=many.txt", &many);
    assert_eq!(first.status, 202, "{}", first.text());
    let first = text(&first.json(), "id");
    // The second waits for the first, and is stopped.
    let second = send(&admin, &own, "?background=true", "stopped.example\n");
    let second = text(&second.json(), "id");
    admin.delete(&format!("/api/v1/imports/{second}"), 204);
    let done = eventually("it is done", || {
        Some(kept(&admin, &first)).filter(|record| record["state"] == "done")
    });
    assert_eq!((&done["report"]["accepted"], &done["handled"]), (&json!(20_000), &json!(20_000)));
    assert_eq!(kept(&admin, &second)["state"], "discarded");
    assert_eq!(admin.get("/api/v1/iocs?value=stopped.example")["items"], json!([]));
    assert_eq!(
        text(&admin.delete(&format!("/api/v1/imports/{first}"), 409), "code"),
        "import_ended"
    );
    // One that can't be read says so.
    let broken = send(&admin, &own, "?background=true&form=json", "{");
    let broken = text(&broken.json(), "id");
    let failed = eventually("it failed", || {
        Some(kept(&admin, &broken)).filter(|record| record["state"] == "failed")
    });
    assert!(text(&failed, "error").contains("JSON"), "{failed}");
}

fn imports_are_forgotten_in_time(app: &mut TestApp) {
    let admin = app.admin();
    let own = source(&admin, "Own feed");
    let id = import(&admin, &own, "", "evil.example\nnodots\n");
    let refused = || admin.send("GET", &format!("/api/v1/imports/{id}/refused"), &[], None).text();
    app.advance(&admin, "29d");
    assert!(refused().contains("nodots"));
    app.advance(&admin, "2d");
    eventually("the refused lines are forgotten", || (!refused().contains("nodots")).then_some(()));
    assert_eq!(kept(&admin, &id)["state"], "done", "the import itself is kept longer");
    app.advance(&admin, "370d");
    eventually("the import is forgotten", || {
        (admin.get_status(&format!("/api/v1/imports/{id}")) == 404).then_some(())
    });
}
