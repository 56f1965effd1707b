//! Files as analysts have them: found out what they are, read, and answered for.

use std::io::Write as _;

use serde_json::{Value, json};
use zip::{unstable::write::FileOptionsExt as _, write::SimpleFileOptions};

use crate::{
    shell::{iocast_on, try_iocast_on},
    support::{Admin, Answer, Scene, TestApp, stories, text},
};

stories!(
    files_in_every_wrapping_are_read,
    what_cannot_be_read_is_left_out_and_said,
    what_is_no_indicator_stays_out,
    a_bundle_brings_what_it_knows,
    a_choice_wins_over_the_content,
    hostile_files_harm_nobody,
    a_shell_reads_folders_and_standard_input,
);

/// A source, and what comes back of what is sent to it.
struct Desk {
    admin: Admin,
    source: String,
}

impl Desk {
    fn open(app: &TestApp) -> Self {
        let admin = app.admin();
        let source = json!({ "name": "Files", "confidence": 3 });
        let source = text(&admin.post("/api/v1/sources", source, 201), "id");
        Self { admin, source }
    }

    fn send(&self, query: &str, content_type: &str, body: &[u8]) -> Answer {
        let path = format!("/api/v1/sources/{}/iocs{query}", self.source);
        self.admin.send("POST", &path, &[("content-type", content_type)], Some(body))
    }

    /// An import of which nothing is said but what it holds.
    fn import(&self, body: &[u8]) -> Value {
        let answer = self.send("", "application/octet-stream", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn is_there(&self, value: &str) -> bool {
        self.admin.get(&format!("/api/v1/iocs?value={value}"))["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|ioc| ioc["value"] == value)
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn zip(files: &[(&str, &[u8])], password: Option<&str>) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let mut options = SimpleFileOptions::default();
        if let Some(password) = password {
            options = options.with_deprecated_encryption(password.as_bytes()).unwrap();
        }
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn forms(report: &Value) -> Vec<(Value, Value)> {
    let all = report["read_as"].as_array().unwrap();
    all.iter().map(|one| (one["file"].clone(), one["form"].clone())).collect()
}

fn files_in_every_wrapping_are_read(app: &mut TestApp) {
    let desk = Desk::open(app);
    let utf16: Vec<u8> =
        "\u{feff}a1.example\r\na2.example\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let report = desk.import(&utf16);
    assert_eq!(
        (&report["accepted"], forms(&report)),
        (&json!(2), vec![(Value::Null, json!("list"))])
    );
    let table = "IOC Value;IOC Type\nb1.example;Domains\n203.0.113.9;IpAddresses\n";
    let report = desk.import(&gzip(table.as_bytes()));
    assert_eq!(
        (&report["accepted"], forms(&report)),
        (&json!(2), vec![(Value::Null, json!("table"))])
    );
    // An archive: each file in its own form. What can't be read is refused by name.
    let archive = zip(
        &[
            ("list.txt", b"c1.example # a remark\n- c2[.]example\n"),
            ("report.md", b"The server was c3[.]example, see https://blog.example.com/x.\n"),
            ("events.ndjson", b"{\"value\":\"c4.example\"}\n{\"value\":\"c5.example\"}\n"),
            ("paper.pdf", b"%PDF-1.7 nonsense"),
            ("inner.csv.gz", &gzip(b"value\nc6.example\n")),
        ],
        None,
    );
    let report = desk.import(&archive);
    assert_eq!(report["accepted"], 6, "{report}");
    assert_eq!(
        forms(&report),
        [
            (json!("list.txt"), json!("list")),
            (json!("report.md"), json!("report")),
            (json!("events.ndjson"), json!("json")),
            (json!("inner.csv.gz"), json!("table")),
        ]
    );
    let refused = report["rejected"].as_array().unwrap();
    assert!(
        refused
            .iter()
            .any(|line| line["value"] == "paper.pdf" && text(line, "reason").contains("PDF")),
        "{report}"
    );
    assert!(
        refused.iter().any(|line| text(line, "reason").starts_with("report.md: a live link")),
        "{report}"
    );
    let report = desk.import(&zip(&[("hashes.txt", b"d1.example\n")], Some("infected")));
    assert_eq!(report["accepted"], 1, "{report}");
    let answer = desk.send(
        "",
        "application/zip",
        &zip(&[("hashes.txt", b"d2.example\n")], Some("something else")),
    );
    assert!(answer.status == 400 && answer.text().contains("infected"), "{}", answer.text());
}

fn what_cannot_be_read_is_left_out_and_said(app: &mut TestApp) {
    let desk = Desk::open(app);
    let table = "value,first_seen,last_seen,severity,confidence\n\
        evil1.example,2026-10-30 10:11:12 UTC,N/A,critical,75\n\
        evil2.example,whenever,,awful,7000\n\
        evil3.example,2001-01-01,2001-01-02,,\n";
    let report = desk.send("", "text/csv", table.as_bytes()).json();
    assert_eq!(
        (
            &report["accepted"],
            &report["rejected_count"],
            &report["remarks_count"],
            &report["retired"]
        ),
        (&json!(3), &json!(0), &json!(3), &json!(1)),
        "{report}"
    );
    assert!(text(&report["remarks"][0], "reason").contains("`whenever`"), "{report}");
    let first = desk.admin.ioc("evil1.example");
    assert_eq!(first["severity"], "high");
    assert!(text(&first, "first_seen").starts_with("2026-10-30T10:11:12"));
    // The dry run says the same, and writes nothing.
    let other = table.replace("evil", "other");
    let report = desk.send("?dry_run=true", "text/csv", other.as_bytes()).json();
    assert_eq!((&report["accepted"], &report["retired"]), (&json!(3), &json!(1)));
    assert!(!desk.is_there("other1.example"));
}

fn what_is_no_indicator_stays_out(app: &mut TestApp) {
    let scene = Scene::set(&app.admin(), None);
    let admin = app.admin();
    let words = "kernel32.dll\nHTTP/1.1\nand/or\nN/A\ninvoice.exe\nC2/Family-A\nevil.example\n\
        address=/evil2.example/0.0.0.0\nhxxp:/evil3.example/x\nhttp://evil4.example/y\u{200b}\n";
    let report = admin.import(&scene.source, "text/plain", words, 200);
    assert_eq!(
        (&report["accepted"], &report["rejected_count"]),
        (&json!(4), &json!(6)),
        "{report}"
    );
    let reasons = report["rejected"].to_string();
    assert!(reasons.contains("looks like the name of a file"), "{reasons}");
    scene.settled(
        &app.device(),
        &["evil.example", "evil2.example", "http://evil3.example/x", "http://evil4.example/y"],
    );
}

fn a_bundle_brings_what_it_knows(app: &mut TestApp) {
    let desk = Desk::open(app);
    let bundle = json!({ "type": "bundle", "id": "bundle--1", "objects": [
        { "type": "indicator", "id": "indicator--1", "pattern": "[domain-name:value IN ('evil1.example', 'evil2.example')]", "confidence": 20 },
        { "type": "indicator", "id": "indicator--2", "pattern": "[url:value = 'http://evil3.example/x' AND file:name = 'x']" },
        { "type": "indicator", "id": "indicator--3", "pattern": "[domain-name:value = 'gone.example']", "revoked": true },
        { "type": "malware", "id": "malware--4", "name": "SomeRAT" },
        { "type": "relationship", "id": "relationship--5", "relationship_type": "indicates", "source_ref": "indicator--1", "target_ref": "malware--4" },
    ]});
    let report = desk.import(bundle.to_string().as_bytes());
    assert_eq!(
        (&report["accepted"], &report["rejected_count"]),
        (&json!(2), &json!(1)),
        "{report}"
    );
    assert!(text(&report["rejected"][0], "reason").contains("AND"), "{report}");
    assert_eq!(desk.admin.ioc("evil2.example")["malware_families"], json!(["SomeRAT"]));
    assert!(!desk.is_there("gone.example"));
    // The same file again changes nothing.
    let report = desk.import(bundle.to_string().as_bytes());
    assert_eq!((&report["accepted"], &report["unchanged"]), (&json!(0), &json!(2)), "{report}");
}

fn a_choice_wins_over_the_content(app: &mut TestApp) {
    let desk = Desk::open(app);
    let prose = b"See http://evil1.example.com/x and evil2[.]com.\n";
    let report = desk.send("?form=report", "text/plain", prose).json();
    assert_eq!((&report["accepted"], &report["read_as"][0]["form"]), (&json!(1), &json!("report")));
    let report = desk.send("?form=report&live_links=true", "text/plain", prose).json();
    assert_eq!((&report["accepted"], &report["unchanged"]), (&json!(1), &json!(1)), "{report}");
    let report = desk.send("?form=list", "application/json", b"{\"value\":\"x.example\"}").json();
    assert_eq!(
        (&report["accepted"], &report["rejected_count"]),
        (&json!(0), &json!(1)),
        "{report}"
    );
    let answer = desk.send("?form=nonsense", "text/plain", prose);
    assert!(answer.status == 422 && answer.text().contains("openioc"), "{}", answer.text());
    let answer = desk.send("", "image/png", prose);
    assert!(answer.status == 415 && answer.text().contains("octet-stream"), "{}", answer.text());
}

fn hostile_files_harm_nobody(app: &mut TestApp) {
    let desk = Desk::open(app);
    let bomb = gzip(&vec![b'a'; 40 << 20]);
    let deep = "[".repeat(500_000);
    let tags = format!("<html>{}", "<div>".repeat(200_000));
    let wide = format!("<a {}>", "a=1 ".repeat(300_000));
    let few: Vec<(String, &[u8])> =
        (0..400).map(|n| (format!("{n}.txt"), &b"x.example\n"[..])).collect();
    let few: Vec<(&str, &[u8])> = few.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let inner = zip(&few, None);
    let many = zip(&[("a.zip", &inner), ("b.zip", &inner), ("c.zip", &inner)], None);
    let quine = zip(
        &[(
            "a.zip",
            &zip(
                &[("b.zip", &zip(&[("c.zip", &zip(&[("d.txt", b"x.example\n")], None))], None))],
                None,
            ),
        )],
        None,
    );
    for (body, status) in [
        (bomb.as_slice(), 400),
        (b"PK\x03\x04broken", 400),
        (b"\x1f\x8bbroken", 400),
        (deep.as_bytes(), 400),
        (tags.as_bytes(), 200),
        (wide.as_bytes(), 200),
        (b"<?xml version=\"1.0\"?><ioc ><a></b></ioc>", 400),
        (quine.as_slice(), 400),
        (many.as_slice(), 400),
        (b"MZ\x90\0\x03\0\0\0", 400),
        (b"\xff\xfe", 200),
        (b"", 200),
    ] {
        let answer = desk.send("", "application/octet-stream", body);
        let begin = String::from_utf8_lossy(&body[..body.len().min(8)]).into_owned();
        assert_eq!(answer.status, status, "{begin}: {}", answer.text());
        if status == 400 {
            let detail = text(&answer.json(), "detail");
            assert!(detail.len() > 20 && detail.ends_with(['.', ';']), "{begin}: {detail}");
        }
    }
    let spool = app.data_folder().join("spool");
    assert_eq!(std::fs::read_dir(spool).map_or(0, Iterator::count), 0, "nothing is left behind");
    assert_eq!(desk.admin.get("/api/v1/iocs")["items"], json!([]));
}

fn a_shell_reads_folders_and_standard_input(app: &mut TestApp) {
    let admin = app.admin();
    let folder = app.data.path().join("files");
    std::fs::create_dir_all(folder.join("below")).unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    put("report.md", "Dropper at hxxps://evil-one[.]com/a and 203.0.113[.]7.\n");
    put("below/feed.ndjson", "{\"value\":\"evil-two.example\"}\n");
    put("table.tsv", "value\ttype\nevil-three.example\tdomain\n");
    put("README", "Nothing of note is in this file, apart from these words.\n");
    put(".hidden", "hidden.example\n");
    let files = folder.to_str().unwrap();
    let out = iocast_on(app, &["import", files, "--source", "Folder"], None);
    assert!(out.contains("read as report") && out.contains("read as json"), "{out}");
    for value in ["https://evil-one.com/a", "203.0.113.7", "evil-two.example", "evil-three.example"]
    {
        assert_eq!(admin.ioc(value)["value"], value);
    }
    assert_eq!(admin.get("/api/v1/iocs?value=hidden.example")["items"], json!([]));
    let out = iocast_on(app, &["import", "-", "--source", "Pipe"], Some("evil-four.example\n"));
    assert!(out.contains("standard input: 1 new"), "{out}");
    // Nothing was taken: the script that called must hear of it.
    let (ok, out, err) =
        try_iocast_on(app, &["import", "-", "--source", "Pipe"], Some("kernel32.dll\n"));
    assert!(!ok && out.contains("1 refused") && err.contains("nothing was taken"), "{out}{err}");
    let (ok, _, err) = try_iocast_on(app, &["import", "-", "--source", "Pipe"], Some("# empty\n"));
    assert!(!ok && err.contains("no IOC was found"), "{err}");
    let (ok, _, err) =
        try_iocast_on(app, &["import", files, "--source", "X", "--as", "poem"], None);
    assert!(!ok && err.contains("`poem` is no form"), "{err}");
}
