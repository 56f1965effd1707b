//! Every other device: firewalls, SIEMs, sensors, resolvers. Each pulls the form that it really
//! takes.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};

use crate::support::{Admin, Answer, Post, TestApp, basic, eventually, send, stories, text};

stories!(
    a_firewall_pulls_its_list,
    a_siem_pulls_csv,
    sensors_and_resolvers_load_what_they_pull,
    what_is_not_for_the_device_is_told,
    covered_entries_take_no_room,
    adjacent_networks_are_one_entry,
    a_loss_of_more_than_half_is_held,
    a_view_for_those_who_come_from_elsewhere,
    an_event_stream_tells_of_additions_and_deletions,
    a_test_from_a_set_up_form_is_no_pull,
);

/// A device with a group, and a source that feeds it.
pub(crate) struct Pulled {
    pub(crate) name: &'static str,
    pub(crate) device: String,
    pub(crate) group: String,
    pub(crate) url: String,
}

pub(crate) fn source(admin: &Admin) -> String {
    text(&admin.post("/api/v1/sources", json!({ "name": "Own feed", "confidence": 2 }), 201), "id")
}

pub(crate) fn device(admin: &Admin, of_type: &'static str, group: Value) -> Pulled {
    let name = format!("Lab {}", of_type.replace('-', "_"));
    let device = text(
        &admin.post("/api/v1/devices", json!({ "name": name, "device_type": of_type }), 201),
        "id",
    );
    let mut body = json!({ "name": format!("Group {}", of_type.replace('-', "_")) });
    body.as_object_mut().unwrap().extend(group.as_object().unwrap().clone());
    let group = admin.post(&format!("/api/v1/devices/{device}/groups"), body, 201);
    Pulled { name: of_type, device, group: text(&group, "id"), url: text(&group, "url") }
}

/// Pulls as the device does: with Basic, and `Accept: */*`.
pub(crate) fn pull(app: &TestApp, url: &str) -> Answer {
    send(
        "GET",
        url,
        &[
            ("authorization", &basic(&app.account_id, &app.appliance_key)),
            ("accept", "*/*"),
            ("user-agent", "device/1"),
        ],
        None,
    )
}

/// Waits until the list holds exactly these lines, and gives it.
pub(crate) fn settled(app: &TestApp, url: &str, expected: &[&str]) -> Answer {
    let wanted: BTreeSet<&str> = expected.iter().copied().collect();
    eventually(&format!("{url} lists {wanted:?}"), || {
        let answer = pull(app, url);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.text();
        (body.lines().collect::<BTreeSet<_>>() == wanted && body.lines().count() == wanted.len())
            .then_some(answer)
    })
}

pub(crate) fn import(admin: &Admin, source: &str, list: &[&str]) {
    let report = admin.import(source, "text/plain", &list.join("\n"), 200);
    assert_eq!(report["rejected_count"], 0, "{report}");
}

/// Pulls are written a second late at most.
pub(crate) fn turns_green(admin: &Admin, device: &str) {
    eventually("the dot turns green", || (admin.dot(device).0 == "green").then_some(()));
}

pub(crate) fn group(admin: &Admin, of: &Pulled) -> Value {
    admin.get(&format!("/api/v1/groups/{}", of.group))
}

fn a_firewall_pulls_its_list(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let device_id = text(
        &admin.post("/api/v1/devices", json!({ "name": "Edge", "device_type": "panos-edl" }), 201),
        "id",
    );
    // A kind that the type does not take is refused with a reason; so is a kind where none is asked
    // for.
    let wrong = admin.post(
        &format!("/api/v1/devices/{device_id}/groups"),
        json!({ "name": "Hashes", "kind": "hash" }),
        422,
    );
    assert_eq!(wrong["errors"][0]["code"], "kind_not_taken", "{wrong}");
    assert!(wrong["errors"][0]["message"].as_str().unwrap().contains("ip, domain, url"), "{wrong}");
    let misp = text(
        &admin.post("/api/v1/devices", json!({ "name": "Lab", "device_type": "misp" }), 201),
        "id",
    );
    assert_eq!(
        admin.post(
            &format!("/api/v1/devices/{misp}/groups"),
            json!({ "name": "Ips", "kind": "ip" }),
            422
        )["errors"][0]["code"],
        "kind_not_needed"
    );
    // Left out, it is the type's usual kind; several groups share one device.
    let groups: Vec<Value> = [
        json!({ "name": "Addresses", "limit": 1000 }),
        json!({ "name": "Names", "kind": "domain", "limit": 1000 }),
        json!({ "name": "Urls", "kind": "url", "limit": 1000 }),
    ]
    .into_iter()
    .map(|body| admin.post(&format!("/api/v1/devices/{device_id}/groups"), body, 201))
    .collect();
    assert_eq!(
        groups.iter().map(|g| g["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["ip", "domain", "url"]
    );
    let urls: Vec<String> = groups.iter().map(|g| text(g, "url")).collect();
    // Empty, and still an answer: a device that gets 404 or 503 would think the list gone.
    let empty = pull(app, &urls[0]);
    assert_eq!(
        (empty.status, empty.text().as_str(), empty.header("content-length")),
        (200, "", "0")
    );
    // An empty list that is pulled is a pull.
    turns_green(&admin, &device_id);
    import(
        &admin,
        &source,
        &[
            "192.0.2.7",
            "198.51.100.0/24",
            "2001:db8::/32",
            "bad.example",
            "https://Evil.example",
            "http://evil.example:8080/a?b=1",
            "d41d8cd98f00b204e9800998ecf8427e",
        ],
    );
    settled(app, &urls[0], &["192.0.2.7", "198.51.100.0/24", "2001:db8::/32"]);
    settled(app, &urls[1], &["bad.example"]);
    let answer = settled(app, &urls[2], &["evil.example/", "evil.example:8080/a?b=1"]);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    // Conditional, HEAD, gzip.
    let again = send(
        "GET",
        &urls[2],
        &[
            ("authorization", &basic(&app.account_id, &app.appliance_key)),
            ("if-none-match", answer.header("etag")),
        ],
        None,
    );
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = send(
        "HEAD",
        &urls[2],
        &[("authorization", &basic(&app.account_id, &app.appliance_key))],
        None,
    );
    assert_eq!(
        (head.status, head.header("content-length"), head.header("etag")),
        (200, answer.header("content-length"), answer.header("etag"))
    );
    // Bearer, a header of its own, the key in the URL: all open the same list.
    let key = app.appliance_key.as_str();
    for (url, header) in [
        (urls[1].clone(), Some(("authorization", format!("Bearer {key}")))),
        (urls[1].clone(), Some(("x-api-key", key.to_owned()))),
        (format!("{}?key={key}", urls[1]), None),
    ] {
        let headers: Vec<(&str, &str)> = header.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = send("GET", &url, &headers, None);
        assert_eq!((answer.status, answer.text().as_str()), (200, "bad.example\n"), "{headers:?}");
    }
    assert_eq!(send("GET", &urls[1], &[("x-api-key", "wrong")], None).status, 401);
    assert!(
        pull(app, &format!("{}/manifest.json", urls[1]))
            .text()
            .contains("the list is the URL itself")
    );
    // What leaves, leaves the list; what a person never wants sent is gone at once.
    let id = text(&admin.ioc("192.0.2.7"), "id");
    admin.patch(&format!("/api/v1/iocs/{id}"), json!({ "whitelist": "never_sent" }), 200);
    settled(app, &urls[0], &["198.51.100.0/24", "2001:db8::/32"]);
}

fn a_siem_pulls_csv(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let splunk = device(&admin, "splunk-es", json!({ "kind": "url" }));
    let table = device(&admin, "csv", json!({}));
    let check_point = device(&admin, "check-point", json!({}));
    let defender = device(&admin, "defender-csv", json!({}));
    let records = json!([
        { "value": "http://evil.example/a,b", "severity": "high", "malware_families": ["Quote\"d, Family"], "threat_actors": ["=1+1"], "tags": ["tlp:green", "-dash"] },
        { "value": "http://evil.example/plain", "severity": "high" },
        { "value": "192.0.2.9", "severity": "medium" },
        { "value": "192.0.2.0/24" },
        { "value": "user@evil.example" },
        { "value": "d41d8cd98f00b204e9800998ecf8427e" },
    ]);
    let report = admin.import(&source, "application/json", &records.to_string(), 200);
    assert_eq!(report["rejected_count"], 0, "{report}");
    let rows = |of: &Pulled, count: usize| -> Vec<Vec<String>> {
        eventually("the rows are there", || {
            let answer = pull(app, &of.url);
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, "text/csv; charset=utf-8")
            );
            // An independent reader: the csv module of Python.
            let script = "import csv, json, sys; print(json.dumps(list(csv.reader(sys.stdin, strict=True))))";
            let rows: Vec<Vec<String>> =
                serde_json::from_str(&python(&["-c", script], &answer.text())).unwrap();
            (rows.len() == count).then_some(rows)
        })
    };
    let urls = rows(&splunk, 2);
    assert_eq!(urls[0], ["description", "http_referrer", "http_user_agent", "url", "weight"]);
    assert_eq!(urls[1][1..], ["", "", "http://evil.example/plain", "90"].map(str::to_owned));
    assert_eq!(
        group(&admin, &splunk)["not_for_device"][0]["reason"],
        "sign",
        "Splunk parses lines at commas"
    );
    let all = rows(&table, 7);
    assert!(
        all.iter().all(|row| row.len() == 13),
        "every row has as many cells as the head: {all:?}"
    );
    let evil = all.iter().find(|row| row[0] == "http://evil.example/a,b").unwrap();
    assert_eq!(
        (evil[12].as_str(), evil[10].as_str()),
        ("Quote d, Family", "'=1+1"),
        "what a spreadsheet would run is text"
    );
    // The network is not for Check Point, whose IP is one address; every name is there once, and no
    // row lacks a cell.
    let feed = rows(&check_point, 5);
    assert!(
        feed.iter().all(|row| row.len() == 7 && row[1..6].iter().all(|cell| !cell.is_empty())),
        "{feed:?}"
    );
    assert_eq!(feed.iter().map(|row| &row[0]).collect::<BTreeSet<_>>().len(), 5);
    let told = group(&admin, &check_point)["not_for_device"].clone();
    assert_eq!(
        (told[0]["reason"].as_str(), told[1]["reason"].as_str()),
        (Some("network"), Some("sign"))
    );
    let import = rows(&defender, 4);
    assert_eq!(
        import.iter().skip(1).map(|row| row[0].as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(["Url", "IpAddress"])
    );
    // In files of so many rows as an import takes, each with its head.
    let page = pull(app, &format!("{}?s=1&n=1", defender.url)).text();
    assert_eq!(
        (page.lines().count(), page.lines().next().unwrap().starts_with("indicatorType,")),
        (2, true),
        "{page}"
    );
    for of in [&splunk, &table, &check_point, &defender] {
        turns_green(&admin, &of.device);
    }
}

/// Runs Python with something on its standard input. Gives what it says.
pub(crate) fn python(args: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let python = std::env::var("IOCAST_PYTHON")
        .expect("IOCAST_PYTHON names a Python with the real clients; `make test` sets one up");
    let mut child = Command::new(python)
        .args(args)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Has a parser of the distribution read a file.
fn parser_takes(command: &str, args: &[&str]) {
    let done = Command::new(command)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{command}: {e}; `make test` installs it"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        done.status.success() && !said.contains("ERROR") && !said.contains("WARNING"),
        "{command} {args:?}: {said}"
    );
}

fn sensors_and_resolvers_load_what_they_pull(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let types = [
        "squid",
        "rpz",
        "hosts",
        "dnsmasq",
        "unbound",
        "zeek",
        "suricata",
        "cisco-si",
        "f5-afm",
        "mikrotik",
        "carbon-black-response",
        "ndjson",
        "json",
    ];
    let devices: Vec<(&str, Pulled)> =
        types.iter().map(|t| (*t, device(&admin, t, json!({})))).collect();
    let long = format!("{}.{}.{}.example", "a".repeat(63), "b".repeat(63), "c".repeat(63));
    let longest = format!("{long}.{}.example", "d".repeat(40));
    import(
        &admin,
        &source,
        &[
            "bad.example",
            "sub.bad.example",
            "xn--bcher-kva.example",
            "_dmarc.odd_name.example",
            &long,
            &longest,
            "192.0.2.1",
            "192.0.2.128/25",
            "2001:db8::1",
            "2001:db8:0:1::/64",
            "http://evil.example/a?q=\"x\"&y='z'",
            "user@evil.example",
            "d41d8cd98f00b204e9800998ecf8427e",
        ],
    );
    let folder = app.data_folder();
    let saved = |of_type: &str, holds: &str| {
        let (_, of) = devices.iter().find(|(t, _)| *t == of_type).unwrap();
        let body = eventually(&format!("{of_type} is published"), || {
            Some(pull(app, &of.url).text()).filter(|body| body.contains(holds))
        });
        let file = folder.join(format!("{of_type}.txt"));
        fs::write(&file, &body).unwrap();
        (file.to_str().unwrap().to_owned(), body)
    };
    // Squid refuses a name beside its parent.
    let (file, body) = saved("squid", ".bad.example");
    assert!(!body.contains("sub.bad.example"), "{body}");
    let config = folder.join("squid.conf");
    fs::write(&config, format!("acl bad dstdomain \"{file}\"\nhttp_access deny bad\nhttp_access deny all\nhttp_port 127.0.0.1:3128\n")).unwrap();
    parser_takes("squid", &["-k", "parse", "-f", config.to_str().unwrap()]);
    let (file, body) = saved("rpz", "1.2.0.192.rpz-ip");
    assert!(
        body.contains("bad.example CNAME .\n*.bad.example CNAME .\n")
            && body.contains("25.128.2.0.192.rpz-ip CNAME .")
            && body.contains("64.zz.1.0.db8.2001.rpz-ip CNAME ."),
        "{body}"
    );
    assert!(!body.contains(&longest), "a name that does not fit into the zone is left out");
    parser_takes("named-checkzone", &["-i", "none", "rpz.iocast", &file]);
    let serial = |body: &str| {
        body.lines()
            .find(|l| l.contains("SOA"))
            .and_then(|l| l.split_whitespace().nth(5))
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    let before = serial(&body);
    let (file, body) = saved("dnsmasq", "bad.example");
    assert!(body.contains("local=/bad.example/\n"));
    parser_takes("dnsmasq", &["--test", &format!("--conf-file={file}")]);
    let (file, _) = saved("unbound", "bad.example");
    parser_takes("unbound-checkconf", &[&file]);
    let (_, body) = saved("hosts", "bad.example");
    let is_entry = |line: &str| {
        let address = line.split(' ').next().unwrap();
        ["0.0.0.0", "::"].contains(&address) && line.split(' ').count() == 2
    };
    assert!(body.lines().all(is_entry), "{body}");
    // Zeek reads tabs and nothing else; every line has as many fields as the head, and a type that
    // it knows.
    let (_, body) = saved("zeek", "Intel::URL");
    let known = [
        "Intel::ADDR",
        "Intel::SUBNET",
        "Intel::DOMAIN",
        "Intel::URL",
        "Intel::EMAIL",
        "Intel::FILE_HASH",
    ];
    for line in body.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        assert!(
            fields.len() == 4 && known.contains(&fields[1]) && fields.iter().all(|f| !f.is_empty()),
            "{line}"
        );
    }
    assert!(body.contains("evil.example/a?q=") && !body.contains("http://evil.example"), "{body}");
    let (_, body) = saved("suricata", "YmFkLmV4YW1wbGU=");
    let decoded = python(
        &[
            "-c",
            "import base64, sys; print('\\n'.join(base64.b64decode(l, validate=True).decode() for l in sys.stdin.read().split()))",
        ],
        &body,
    );
    assert!(decoded.lines().any(|l| l == "sub.bad.example"), "{decoded}");
    // Cisco compares the checksum before it downloads.
    let (_, cisco) = devices.iter().find(|(t, _)| *t == "cisco-si").unwrap();
    let (_, body) = saved("cisco-si", "192.0.2.1");
    let sum = python(
        &["-c", "import hashlib, sys; print(hashlib.md5(sys.stdin.buffer.read()).hexdigest())"],
        &body,
    );
    assert_eq!(pull(app, &format!("{}.md5", cisco.url)).text(), sum);
    let (_, body) = saved("f5-afm", "192.0.2.1");
    assert!(
        body.contains("192.0.2.1,32,BL,additional\n")
            && body.contains("2001:db8:0:1::,64,BL,additional\n"),
        "{body}"
    );
    let (_, body) = saved("mikrotik", "192.0.2.1");
    for line in body.lines() {
        let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next());
        let family = if address.is_some_and(|a| a.contains(':')) { "/ipv6" } else { "/ip" };
        let whole = address.map(|a| format!(":do {{ {family} firewall address-list add list=group_mikrotik address={a} comment=iocast }} on-error={{}}"));
        assert!(whole.is_none_or(|whole| whole == line), "{line}");
        assert!(
            address.is_some()
                || line.ends_with(
                    "firewall address-list remove [find list=group_mikrotik comment=iocast]"
                ),
            "{line}"
        );
    }
    assert!(
        !pull(
            app,
            &format!("{}?s=1&n=1", devices.iter().find(|(t, _)| *t == "mikrotik").unwrap().1.url)
        )
        .text()
        .contains("remove"),
        "a later page empties nothing"
    );
    let (_, body) = saved("carbon-black-response", "192.0.2.1");
    let feed: Value = serde_json::from_str(&body).unwrap();
    let kinds: BTreeSet<&str> = feed["reports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["iocs"].as_object().unwrap().keys().next().unwrap().as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["dns", "ipv4", "ipv6", "md5"]));
    assert!(
        feed["feedinfo"]["name"]
            .as_str()
            .unwrap()
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    );
    let (_, body) = saved("ndjson", "192.0.2.1");
    let values: BTreeSet<String> =
        body.lines().map(|l| text(&serde_json::from_str(l).unwrap(), "value")).collect();
    let (_, body) = saved("json", "192.0.2.1");
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        document["iocs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| text(i, "value"))
            .collect::<BTreeSet<_>>(),
        values
    );
    assert_eq!(document["count"], values.len());
    for (_, of) in &devices {
        turns_green(&admin, &of.device);
    }
    // A change reaches the zone with a serial that rises.
    import(&admin, &source, &["later.example"]);
    let (_, body) = saved("rpz", "later.example");
    assert!(serial(&body) > before);
}

fn what_is_not_for_the_device_is_told(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let sophos = device(&admin, "sophos", json!({ "kind": "ip" }));
    import(
        &admin,
        &source,
        &[
            "192.0.2.1",
            "45.0.0.0/24",
            "10.0.0.1",
            "192.168.7.0/24",
            "224.0.0.251",
            "44.0.0.0/6",
            "8.8.8.8",
            "co.uk",
            "bad.example",
            "www.corp.example",
            "http://corp.example/login",
            "good.example",
            "2001:db8::7",
        ],
    );
    settled(
        app,
        &plain.url,
        &[
            "192.0.2.1",
            "45.0.0.0/24",
            "bad.example",
            "www.corp.example",
            "http://corp.example/login",
            "good.example",
            "2001:db8::7",
        ],
    );
    let reasons = |of: &Pulled| -> Vec<(String, u64)> {
        // Between the two counts something may be published.
        eventually("the reasons sum up", || {
            let told = group(&admin, of);
            let reasons: Vec<(String, u64)> = told["not_for_device"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|r| (text(r, "reason"), r["count"].as_u64().unwrap()))
                .collect();
            let all = told["cut"]["reasons"]["not_for_device"].as_u64().unwrap_or(0);
            (all == reasons.iter().map(|(_, n)| n).sum::<u64>()).then_some(reasons)
        })
    };
    let owned =
        |list: &[(&str, u64)]| list.iter().map(|(r, n)| ((*r).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(
        reasons(&plain),
        owned(&[
            ("private_address", 3),
            ("wide_network", 1),
            ("public_suffix", 1),
            ("public_resolver", 1)
        ])
    );
    // The account's own names and networks, and an allow list; a bad entry loses nothing.
    let wrong = admin.patch(
        "/api/v1/account/guards",
        json!({ "own": ["corp.example", "not a name"] }),
        422,
    );
    assert!(wrong["errors"][0]["message"].as_str().unwrap().contains("not a name"), "{wrong}");
    admin.patch(
        "/api/v1/account/guards",
        json!({ "own": ["corp.example"], "allow": ["good.example", "45.0.0.7"] }),
        200,
    );
    settled(app, &plain.url, &["192.0.2.1", "bad.example", "2001:db8::7"]);
    assert_eq!(
        reasons(&plain)
            .iter()
            .filter(|(r, _)| r == "own" || r == "allowed")
            .cloned()
            .collect::<Vec<_>>(),
        owned(&[("own", 2), ("allowed", 2)])
    );
    // Each is named with its reason, and there is a way to allow: one IOC, or a whole guard.
    let list = admin.get(&format!("/api/v1/groups/{}/refused?reason=public_resolver", plain.group));
    assert_eq!(
        (list["items"].as_array().unwrap().len(), list["items"][0]["value"].as_str()),
        (1, Some("8.8.8.8"))
    );
    admin.patch(
        &format!("/api/v1/iocs/{}", text(&list["items"][0], "id")),
        json!({ "whitelist": "always_sent" }),
        200,
    );
    settled(app, &plain.url, &["192.0.2.1", "bad.example", "2001:db8::7", "8.8.8.8"]);
    admin.patch("/api/v1/account/guards", json!({ "off": ["private_address"] }), 200);
    settled(
        app,
        &plain.url,
        &[
            "192.0.2.1",
            "bad.example",
            "2001:db8::7",
            "8.8.8.8",
            "10.0.0.1",
            "192.168.7.0/24",
            "224.0.0.251",
        ],
    );
    assert!(admin.patch("/api/v1/account/guards", json!({ "off": ["sense"] }), 422)["errors"][0]["message"].as_str().unwrap().contains("private_address"));
    // What a Sophos can't take is a matter of its own parser.
    settled(app, &sophos.url, &["192.0.2.1", "8.8.8.8", "10.0.0.1", "224.0.0.251"]);
    let told: Vec<String> = reasons(&sophos).into_iter().map(|(r, _)| r).collect();
    assert!(told.contains(&"network".to_owned()), "{told:?}");
    // The report follows what changes, without anybody touching the group.
    let id = text(&admin.ioc("44.0.0.0/6"), "id");
    admin.delete(&format!("/api/v1/iocs/{id}"), 204);
    eventually("the report follows", || {
        (!reasons(&plain).iter().any(|(r, _)| r == "wide_network")).then_some(())
    });
    import(&admin, &source, &["co.jp", "1.1.1.1"]);
    eventually("the report follows", || {
        (reasons(&plain).contains(&("public_suffix".to_owned(), 2))
            && reasons(&plain).contains(&("public_resolver".to_owned(), 1)))
        .then_some(())
    });
}

fn covered_entries_take_no_room(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let names = device(&admin, "dnsmasq", json!({ "collapse": true, "limit": 2 }));
    let addresses = device(&admin, "panos-edl", json!({ "collapse": true }));
    let records: Vec<Value> =
        ["evil.example", "a.evil.example", "b.a.evil.example", "other.example"]
            .iter()
            .map(|v| json!({ "value": v, "severity": "low" }))
            .collect();
    admin.import(&source, "application/json", &json!(records).to_string(), 200);
    import(&admin, &source, &["192.0.2.1", "192.0.2.200", "192.0.2.128/25", "2001:db8::1"]);
    settled(app, &names.url, &["local=/evil.example/", "local=/other.example/"]);
    settled(app, &addresses.url, &["192.0.2.1", "192.0.2.128/25", "2001:db8::1"]);
    let told = group(&admin, &names);
    assert_eq!(
        (told["not_for_device"][0]["reason"].as_str(), told["not_for_device"][0]["count"].as_u64()),
        (Some("covered"), Some(2))
    );
    assert!(told["cut"]["reasons"]["limit"].is_null(), "what is covered takes no room: {told}");
    // The cover goes: those below it come back.
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("evil.example"), "id")), 204);
    settled(app, &names.url, &["local=/a.evil.example/", "local=/other.example/"]);
    admin.patch(&format!("/api/v1/groups/{}", addresses.group), json!({ "collapse": false }), 200);
    settled(app, &addresses.url, &["192.0.2.1", "192.0.2.200", "192.0.2.128/25", "2001:db8::1"]);
}

fn adjacent_networks_are_one_entry(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let addresses = device(&admin, "panos-edl", json!({ "collapse": true, "limit": 3 }));
    let told = device(&admin, "csv", json!({ "collapse": true }));
    let block: Vec<String> = (0..32).map(|i| format!("192.0.2.{i}")).collect();
    import(
        &admin,
        &source,
        &block
            .iter()
            .map(String::as_str)
            .chain(["192.0.2.40", "198.51.100.0/25"])
            .collect::<Vec<_>>(),
    );
    settled(app, &addresses.url, &["192.0.2.0/27", "192.0.2.40", "198.51.100.0/25"]);
    let shown = group(&admin, &addresses);
    assert_eq!(
        (shown["published"].as_u64(), shown["not_for_device"][0]["count"].as_u64()),
        (Some(3), Some(31)),
        "{shown}"
    );
    assert!(shown["cut"]["reasons"]["limit"].is_null(), "34 IOCs within a limit of 3: {shown}");
    // Rows that tell more than the value stay one an IOC.
    eventually("34 rows below a head", || {
        (pull(app, &told.url).text().lines().count() == 35).then_some(())
    });
    // The other half arrives, and the network grows; one address leaves, and it falls apart around
    // the hole.
    import(&admin, &source, &["198.51.100.128/25"]);
    settled(app, &addresses.url, &["192.0.2.0/27", "192.0.2.40", "198.51.100.0/24"]);
    admin.patch(&format!("/api/v1/groups/{}", addresses.group), json!({ "limit": 100 }), 200);
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("192.0.2.0"), "id")), 204);
    let apart = [
        "192.0.2.1",
        "192.0.2.2/31",
        "192.0.2.4/30",
        "192.0.2.8/29",
        "192.0.2.16/28",
        "192.0.2.40",
        "198.51.100.0/24",
    ];
    settled(app, &addresses.url, &apart);
    // A sighting changes nothing of what the list says.
    import(&admin, &source, &["192.0.2.4", "198.51.100.0/25"]);
    import(&admin, &source, &["192.0.2.41"]);
    settled(
        app,
        &addresses.url,
        &[
            "192.0.2.1",
            "192.0.2.2/31",
            "192.0.2.4/30",
            "192.0.2.8/29",
            "192.0.2.16/28",
            "192.0.2.40/31",
            "198.51.100.0/24",
        ],
    );
    // Without collapsing each is an entry again, with its own value.
    admin.patch(&format!("/api/v1/groups/{}", addresses.group), json!({ "collapse": false }), 200);
    let all: Vec<&str> = block
        .iter()
        .skip(1)
        .map(String::as_str)
        .chain(["192.0.2.40", "192.0.2.41", "198.51.100.0/25", "198.51.100.128/25"])
        .collect();
    settled(app, &addresses.url, &all);
    // Back on, it loses most of its entries and no address: nothing is held.
    admin.patch(&format!("/api/v1/groups/{}", addresses.group), json!({ "collapse": true }), 200);
    settled(
        app,
        &addresses.url,
        &[
            "192.0.2.1",
            "192.0.2.2/31",
            "192.0.2.4/30",
            "192.0.2.8/29",
            "192.0.2.16/28",
            "192.0.2.40/31",
            "198.51.100.0/24",
        ],
    );
    assert!(group(&admin, &addresses)["held"].is_null());
}

fn a_loss_of_more_than_half_is_held(app: &mut TestApp) {
    let post = Post::open();
    app.reopen(|config| post.plain(config));
    let admin = app.admin();
    let source = source(&admin);
    let list: Vec<String> = (0..30).map(|i| format!("host{i}.example")).collect();
    let all: Vec<&str> = list.iter().map(String::as_str).collect();
    let plain = device(&admin, "plain-list", json!({}));
    import(&admin, &source, &all);
    settled(app, &plain.url, &all);
    // The source is switched off: everything would be unblocked at once.
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": false }), 200);
    let held =
        eventually("it is held", || Some(group(&admin, &plain)).filter(|g| g["held"].is_object()));
    assert_eq!(
        (held["held"]["iocs"].as_u64(), held["held"]["would_lose"].as_u64()),
        (Some(30), Some(30))
    );
    settled(app, &plain.url, &all);
    let subject = "[iocast] Group plain_list on Lab plain_list is held back (iocast)";
    eventually("it is mailed", || (post.subjects() == [subject]).then_some(()));
    // The source is back: the hold ends by itself, and nothing was lost.
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": true }), 200);
    eventually("the hold ends", || group(&admin, &plain)["held"].is_null().then_some(()));
    settled(app, &plain.url, &all);
    // Off again, and this time on purpose.
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": false }), 200);
    eventually("it is held again", || group(&admin, &plain)["held"].is_object().then_some(()));
    app.restart();
    let admin = app.admin();
    let told = admin.post(&format!("/api/v1/groups/{}/let-through", plain.group), json!({}), 200);
    assert!(told["held"].is_null() && told["published"] == 0, "{told}");
    let plain = Pulled { url: format!("{}/feeds/{}", app.url, plain.group), ..plain };
    settled(app, &plain.url, &[]);
    assert_eq!(
        admin.post(&format!("/api/v1/groups/{}/let-through", plain.group), json!({}), 409)["code"],
        "nothing_held"
    );
    // Nobody does anything: it goes out when its time has come.
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": true }), 200);
    settled(app, &plain.url, &all);
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": false }), 200);
    eventually("it is held once more", || group(&admin, &plain)["held"].is_object().then_some(()));
    app.advance(&admin, "23h");
    settled(app, &plain.url, &all);
    app.advance(&admin, "2h");
    settled(app, &plain.url, &[]);
    // What a person wants gone goes at once, however much it is.
    admin.patch(&format!("/api/v1/sources/{source}"), json!({ "enabled": true }), 200);
    settled(app, &plain.url, &all);
    for value in &all[..20] {
        admin.patch(
            &format!("/api/v1/iocs/{}", text(&admin.ioc(value), "id")),
            json!({ "whitelist": "never_sent" }),
            200,
        );
    }
    settled(app, &plain.url, &all[20..]);
}

fn a_view_for_those_who_come_from_elsewhere(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    import(
        &admin,
        &source,
        &["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "http://evil.example:8080/x"],
    );
    settled(
        app,
        &plain.url,
        &["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "http://evil.example:8080/x"],
    );
    let lines = |query: &str| -> BTreeSet<String> {
        pull(app, &format!("{}?{query}", plain.url)).text().lines().map(str::to_owned).collect()
    };
    let set = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(lines("tr=2&pr=1&sp=1"), set(&["192.0.2.0/30", "evil.example/x"]));
    assert_eq!(lines("tr=1"), set(&["192.0.2.0-192.0.2.3", "http://evil.example:8080/x"]));
    assert_eq!(lines("n=2").len(), 2);
    assert_eq!(lines("v=panosurl&di").len(), 5);
    let json: Value =
        serde_json::from_str(&pull(app, &format!("{}?v=json", plain.url)).text()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 5);
    // A view has an ETag of its own; with gzip and without it is the same.
    let auth = basic(&app.account_id, &app.appliance_key);
    let view = pull(app, &format!("{}?tr=2", plain.url));
    assert_ne!(view.header("etag"), pull(app, &plain.url).header("etag"));
    assert_eq!(
        send(
            "GET",
            &format!("{}?tr=2", plain.url),
            &[("authorization", &auth), ("if-none-match", view.header("etag"))],
            None
        )
        .status,
        304
    );
    let head = send(
        "HEAD",
        &format!("{}?tr=2", plain.url),
        &[("authorization", &auth), ("accept-encoding", "identity")],
        None,
    );
    assert_eq!(head.header("content-length"), view.body.len().to_string());
    let wrong = pull(app, &format!("{}?v=xml", plain.url));
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("`v` must be one of"), "{}", wrong.text());
}

fn an_event_stream_tells_of_additions_and_deletions(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let arcsight = device(&admin, "arcsight", json!({}));
    import(&admin, &source, &["one.example", "two.example"]);
    let stream = |after: &str| -> Value {
        serde_json::from_str(&pull(app, &format!("{}?after={after}", arcsight.url)).text()).unwrap()
    };
    let told = |stream: &Value| -> Vec<(String, String)> {
        stream["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| (text(e, "action"), text(e, "value")))
            .collect()
    };
    let first = eventually("both are there", || {
        Some(stream("$START_AT_TIME")).filter(|s| s["events"].as_array().unwrap().len() == 2)
    });
    let next = text(&first, "next");
    assert_eq!(told(&stream(&next)), [], "nothing came after it");
    app.advance(&admin, "1m");
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("one.example"), "id")), 204);
    let second = eventually("the deletion is told", || {
        Some(stream(&next)).filter(|s| !s["events"].as_array().unwrap().is_empty())
    });
    assert_eq!(told(&second), [("delete".to_owned(), "one.example".to_owned())]);
    app.advance(&admin, "1m");
    import(&admin, &source, &["one.example"]);
    let third = eventually("it comes back", || {
        Some(stream(&text(&second, "next"))).filter(|s| !s["events"].as_array().unwrap().is_empty())
    });
    assert_eq!(told(&third), [("add".to_owned(), "one.example".to_owned())]);
    assert_eq!(pull(app, &format!("{}?after=yesterday", arcsight.url)).status, 400);
    turns_green(&admin, &arcsight.device);
    // Deletions are told for thirty days.
    app.advance(&admin, "31d");
    import(&admin, &source, &["two.example"]);
    eventually("the deletion is forgotten", || {
        (!told(&stream(""))
            .iter()
            .any(|(action, value)| action == "delete" && value == "one.example"))
        .then_some(())
    });
}

/// The command that a set-up form shows names itself.
fn a_test_from_a_set_up_form_is_no_pull(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let tested = device(&admin, "plain-list", json!({}));
    let pulled = device(&admin, "panos-edl", json!({}));
    import(&admin, &source, &["192.0.2.7"]);
    settled(app, &pulled.url, &["192.0.2.7"]);
    let test = |headers: &[(&str, &str)]| {
        let key = basic(&app.account_id, &app.appliance_key);
        let own = [("authorization", key.as_str()), ("user-agent", "iocast-test")];
        send("GET", &tested.url, &[&own, headers].concat(), None)
    };
    let answer = test(&[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "192.0.2.7\n"));
    assert_eq!(test(&[("if-none-match", answer.header("etag"))]).status, 304);
    // Pulls are written in their order: once this one is, the others would be.
    settled(app, &pulled.url, &["192.0.2.7"]);
    turns_green(&admin, &pulled.device);
    assert_eq!(admin.dot(&tested.device).0, "red");
    let page = admin.get(&format!("/api/v1/devices/{}/pulls", tested.device));
    assert_eq!(page["items"].as_array().unwrap().len(), 0, "{page}");
    settled(app, &tested.url, &["192.0.2.7"]);
    turns_green(&admin, &tested.device);
}
