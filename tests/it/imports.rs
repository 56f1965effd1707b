//! What comes in: forms, dry runs, all or nothing, bodies that are too long, cut off or not what
//! they say.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{Admin, Scene, TestApp, stories, text};

stories!(
    every_form_is_read,
    a_dry_run_writes_nothing,
    all_or_nothing,
    the_same_import_twice,
    bad_bodies_change_nothing,
    deleted_and_reported_again,
    what_people_say_during_an_import_is_kept,
    two_imports_at_once_are_like_one_after_the_other
);

fn counts(report: &Value) -> (u64, u64, u64, u64) {
    let n = |key: &str| report[key].as_u64().unwrap();
    (n("accepted"), n("updated"), n("unchanged"), n("rejected_count"))
}

fn total(admin: &Admin) -> usize {
    admin.get("/api/v1/iocs?limit=1000")["items"].as_array().unwrap().len()
}

fn every_form_is_read(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    let import = |content_type, body: &str| counts(&admin.import(&source, content_type, body, 200));
    assert_eq!(
        import("text/plain; charset=utf-8", "a.example\na.example\nA.EXAMPLE # twice more\nnodots"),
        (1, 0, 0, 1)
    );
    assert_eq!(
        import("text/csv", "value,severity\nb.example,high\na.example,high\n"),
        (1, 1, 0, 0)
    );
    assert_eq!(
        import("application/json", r#"["c.example",{"value":"d.example","campaigns":["X"]}]"#),
        (2, 0, 0, 0)
    );
    assert_eq!(
        import(
            "application/json",
            r#"{"Event":{"info":"x","Attribute":[{"type":"ip-dst|port","category":"Network activity","value":"203.0.113.4|80"},{"type":"link","category":"External analysis","value":"https://x.example"}]}}"#
        ),
        (1, 0, 0, 0)
    );
    assert_eq!(
        import("text/vnd.iocast.report", "Seen: evil[.]com and setup.py\nserver-{1,30}[.]evil.com"),
        (1, 0, 0, 1)
    );
    let many = admin.send(
        "POST",
        &format!("/api/v1/sources/{source}/iocs?malware_family=Emotet&tag=mine"),
        &[("content-type", "text/plain")],
        Some(b"tagged.example"),
    );
    assert_eq!(many.status, 200, "{}", many.text());
    let tagged = admin.ioc("tagged.example");
    assert_eq!(
        (tagged["malware_families"][0].as_str(), tagged["user_tags"][0].as_str()),
        (Some("Emotet"), Some("mine"))
    );
    let only = admin.send(
        "POST",
        &format!("/api/v1/sources/{source}/iocs?to_ids=only"),
        &[("content-type", "application/json")],
        Some(br#"{"Event":{"Attribute":[{"type":"domain","value":"no.example"},{"type":"domain","value":"yes.example","to_ids":true}]}}"#),
    );
    assert_eq!(counts(&only.json()), (1, 0, 0, 0));
    assert_eq!(admin.ioc("b.example")["severity"], "high");
    assert_eq!(
        (
            admin.ioc("c.example")["severity"].as_str(),
            admin.ioc("c.example")["severity_rated"].as_bool()
        ),
        (Some("low"), Some(false))
    );
}

fn a_dry_run_writes_nothing(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    let dry = admin
        .send(
            "POST",
            &format!("/api/v1/sources/{source}/iocs?dry_run=true"),
            &[("content-type", "text/plain")],
            Some(b"a.example\nnodots"),
        )
        .json();
    assert_eq!((counts(&dry), dry["dry_run"].as_bool()), ((1, 0, 0, 1), Some(true)));
    assert_eq!(total(&admin), 0);
    assert_eq!(counts(&admin.import(&source, "text/plain", "a.example", 200)), (1, 0, 0, 0));
}

fn all_or_nothing(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    let mut body = String::from("[");
    for i in 0..5_000 {
        body.push_str(&format!("\"host{i}.example\","));
    }
    let broken = admin.import(&source, "application/json", &body, 400);
    assert!(text(&broken, "detail").contains("line 1"), "{broken}");
    assert_eq!((broken["code"].as_str(), total(&admin)), (Some("malformed"), 0));
    let spool = app.data_folder().join("spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0, "nothing stays in the spool");
}

fn the_same_import_twice(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    let send = |key: &str, body: &str| {
        admin.send(
            "POST",
            &format!("/api/v1/sources/{source}/iocs"),
            &[("content-type", "text/plain"), ("idempotency-key", key)],
            Some(body.as_bytes()),
        )
    };
    let first = send("import-1", "a.example\nb.example");
    let again = send("import-1", "a.example\nb.example");
    assert_eq!(
        (counts(&again.json()), again.header("idempotency-replayed")),
        (counts(&first.json()), "true")
    );
    let other = send("import-1", "c.example");
    assert_eq!(
        (other.status, other.json()["errors"][0]["code"].as_str()),
        (422, Some("idempotency_key_reused"))
    );
    assert_eq!(counts(&send("import-2", "a.example\nb.example").json()), (0, 0, 2, 0));
    app.advance(&admin, "24h");
    assert_eq!(
        counts(&send("import-1", "c.example").json()),
        (1, 0, 0, 0),
        "after a day the key is free"
    );
}

fn raw(app: &TestApp, request: &[u8], pause: Duration) -> String {
    let mut stream = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(request).unwrap();
    std::thread::sleep(pause);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = Vec::new();
    // The server may close without an answer: that is one, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn bad_bodies_change_nothing(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    let path = format!("/api/v1/sources/{source}/iocs");
    let send = |content_type: &str, headers: &[(&str, &str)], body: &[u8]| {
        let mut all = vec![("content-type", content_type)];
        all.extend_from_slice(headers);
        let answer = admin.send("POST", &path, &all, Some(body));
        (answer.status, text(&answer.json(), "code"))
    };
    assert_eq!(send("image/png", &[], b"x"), (415, "media_type".into()));
    assert_eq!(
        send("text/plain", &[("content-encoding", "gzip")], b"\x1f\x8b"),
        (415, "content_encoding".into())
    );
    assert_eq!(send("text/csv", &[], b"name,age\nAda,36\n"), (400, "malformed".into()));
    assert_eq!(
        send("application/json", &[], "[".repeat(100_000).as_bytes()),
        (400, "malformed".into())
    );
    assert_eq!(send("application/json", &[], b"\xff\xfe"), (400, "malformed".into()));
    let nul = admin.import(&source, "text/plain", "ev\0il.example\n\u{fffd}.example", 200);
    assert_eq!(counts(&nul), (0, 0, 0, 2));
    let cut = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\ncut.example\n",
        admin.token
    );
    raw(app, cut.as_bytes(), Duration::from_millis(50));
    assert_eq!(total(&admin), 0);
    let long = vec![b'x'; 200_000_000];
    let too_long =
        admin.send("POST", "/api/v1/devices", &[("content-type", "application/json")], Some(&long));
    assert_eq!((too_long.status, text(&too_long.json(), "code")), (413, "too_large".into()));
    assert_eq!(
        admin.post(&path.replace(&source, "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"), json!({}), 404)
            ["code"],
        "not_found"
    );
    assert_eq!(
        admin
            .send(
                "POST",
                &format!("{path}?to_ids=all"),
                &[("content-type", "text/plain")],
                Some(b"a.example")
            )
            .status,
        422
    );
    assert_eq!(
        admin
            .send(
                "POST",
                &format!("{path}?colour=red"),
                &[("content-type", "text/plain")],
                Some(b"a.example")
            )
            .status,
        400
    );
    assert_eq!(total(&admin), 0);
}

fn deleted_and_reported_again(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    admin.import(
        &source,
        "application/json",
        r#"[{"value":"a.example","user_tags":["old"],"severity":"high"}]"#,
        200,
    );
    let id = text(&admin.ioc("a.example"), "id");
    admin.delete(&format!("/api/v1/iocs/{id}"), 204);
    assert_eq!(total(&admin), 0);
    assert_eq!(counts(&admin.import(&source, "text/plain", "a.example", 200)), (1, 0, 0, 0));
    let back = admin.ioc("a.example");
    assert_eq!(
        (
            text(&back, "id"),
            back["user_tags"].as_array().unwrap().len(),
            back["severity_rated"].as_bool()
        ),
        (id, 0, Some(false)),
        "it starts afresh"
    );
}

fn what_people_say_during_an_import_is_kept(app: &mut TestApp) {
    let admin = app.admin();
    let source = Scene::set(&admin, None).source;
    admin.import(&source, "text/plain", "talked-of.example\ndeleted.example", 200);
    let id = |value: &str| text(&admin.ioc(value), "id");
    let (talked_of, deleted) = (id("talked-of.example"), id("deleted.example"));
    // Talked of in the first line: it lies on the stage while people write.
    let mut body = String::from("talked-of.example\ndeleted.example\n");
    for i in 0..60_000 {
        body.push_str(&format!("host{i}.example\n"));
    }
    let (done, is_done) = std::sync::mpsc::channel();
    let importing = {
        let (admin, source) = (admin.clone(), source.clone());
        std::thread::spawn(move || {
            let path = format!("/api/v1/sources/{source}/iocs?tag=imported");
            let report = admin
                .send("POST", &path, &[("content-type", "text/plain")], Some(body.as_bytes()))
                .json();
            done.send(()).unwrap();
            report
        })
    };
    let mut said = 0;
    loop {
        admin.patch(
            &format!("/api/v1/iocs/{talked_of}"),
            json!({ "comment": format!("remark {said}") }),
            200,
        );
        said += 1;
        if said == 2 {
            admin.delete(&format!("/api/v1/iocs/{deleted}"), 204);
        }
        if is_done.try_recv().is_ok() {
            break;
        }
    }
    let report = importing.join().unwrap();
    let (accepted, updated, ..) = counts(&report);
    assert!(said > 2, "people could write while the import ran");
    assert!(accepted + updated == 60_002 && updated <= 2, "{report}");
    let ioc = admin.ioc("talked-of.example");
    let remarks: Vec<String> =
        ioc["comments"].as_array().unwrap().iter().map(|c| text(c, "text")).collect();
    assert_eq!(
        remarks,
        (0..said).map(|n| format!("remark {n}")).collect::<Vec<_>>(),
        "no remark is lost"
    );
    assert_eq!(ioc["user_tags"], json!(["imported"]), "nor what the import said");
    // Deleted before the import counted: it is back. After: it is gone. Nothing else.
    let after = admin.ioc("deleted.example");
    assert!(after.is_null() || after["user_tags"] == json!(["imported"]), "{after}");
}

fn two_imports_at_once_are_like_one_after_the_other(app: &mut TestApp) {
    let admin = app.admin();
    let scene = Scene::set(&admin, None);
    let other = text(
        &admin.post("/api/v1/sources", json!({ "name": "Other feed", "confidence": 3 }), 201),
        "id",
    );
    let body: String = (0..8_000).map(|i| format!("host{i}.example\n")).collect();
    let imports: Vec<_> = [(scene.source.clone(), "mine"), (other, "other")]
        .into_iter()
        .map(|(source, tag)| {
            let (admin, body) = (admin.clone(), body.clone());
            std::thread::spawn(move || {
                let path = format!("/api/v1/sources/{source}/iocs?tag={tag}");
                counts(
                    &admin
                        .send(
                            "POST",
                            &path,
                            &[("content-type", "text/plain")],
                            Some(body.as_bytes()),
                        )
                        .json(),
                )
            })
        })
        .collect();
    let mut reports: Vec<_> = imports.into_iter().map(|i| i.join().unwrap()).collect();
    reports.sort_unstable();
    assert_eq!(
        reports,
        [(0, 8_000, 0, 0), (8_000, 0, 0, 0)],
        "each IOC is new in one of them and known in the other"
    );
    for value in ["host0.example", "host7999.example"] {
        let ioc = admin.ioc(value);
        assert_eq!(
            (ioc["user_tags"].clone(), ioc["reports"].as_array().unwrap().len()),
            (json!(["mine", "other"]), 2),
            "{value}"
        );
    }
}
