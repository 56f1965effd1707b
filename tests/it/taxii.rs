//! TAXII clients walk collections: taxii2-client, with the OASIS validators judging each object.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    lists::{Pulled, device, group, source, turns_green},
    support::{Answer, TestApp, basic, eventually, send, stories, text},
};

stories!(
    a_taxii_client_walks_a_collection,
    the_original_sentinel_pulls_taxii_20,
    the_protocol_to_the_letter,
    fifty_thousand_of_one_publication_come_once_each,
    a_client_may_go_on_after_any_date
);

fn script(app: &TestApp, version: &str, collection: &str, rest: &[&str]) -> Command {
    let python = std::env::var("IOCAST_PYTHON")
        .expect("IOCAST_PYTHON names a Python with taxii2-client; `make test` sets one up");
    let folder = if version == "2.0" { "taxii" } else { "taxii2" };
    let mut command = Command::new(python);
    command.arg(crate::edges::root().join("tests/python/taxii.py")).args([
        version,
        &format!("{}/{folder}/", app.url),
        &app.account_id,
        &app.appliance_key,
        collection,
    ]);
    command.args(rest);
    command
}

fn walk(app: &TestApp, version: &str, collection: &str, rest: &[&str]) -> Value {
    let done = script(app, version, collection, rest).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    let auth = basic(&app.account_id, &app.appliance_key);
    let mut all = vec![("authorization", auth.as_str())];
    all.extend_from_slice(headers);
    send("GET", &format!("{}{path}", app.url), &all, None)
}

/// Waits until the first page of the collection lists so many indicators. Gives the moments at
/// which they were added.
fn collected(app: &TestApp, of: &Pulled, count: usize) -> BTreeSet<String> {
    let folder = if of.name == "azure-sentinel" { "taxii" } else { "taxii2" };
    eventually("the collection is whole", || {
        let manifest = get(
            app,
            &format!(
                "/{folder}/{}/collections/{}/manifest/?match%5Btype%5D=indicator",
                app.account_id, of.group
            ),
            &[],
        )
        .json();
        let list = manifest["objects"].as_array().filter(|list| list.len() == count)?;
        Some(list.iter().map(|o| text(o, "date_added")).collect())
    })
}

/// IOCs whose values and enrichment are made to break patterns, names and JSON.
fn nasty() -> (Value, BTreeSet<String>) {
    let values = [
        "bad.example",
        "http://evil.example/it's?a=\\b&c=\"d\"",
        "http://evil.example/%27%5C",
        "192.0.2.7",
        "198.51.100.0/24",
        "2001:db8::7",
        "user@evil.example",
        "d41d8cd98f00b204e9800998ecf8427e",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ];
    let records: Vec<Value> = values
        .iter()
        .map(|v| {
            json!({
                "value": v, "severity": "high", "first_seen": "2026-11-01T00:00:00Z", "last_seen": "2026-11-02T00:00:00Z", "alert_id": "5fd0ef17a1b2c3d4e5f60718",
                "tags": ["tlp:amber+strict", "<script>alert(1)</script>", "ünïcode"], "threat_actors": ["APT \\ 'quoted'"], "campaigns": ["Camp\u{202e}aign"], "malware_families": ["Fam ] AND [", "Other"],
            })
        })
        .collect();
    (json!(records), values.iter().map(|v| (*v).to_owned()).collect())
}

fn a_taxii_client_walks_a_collection(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let of = device(&admin, "taxii", json!({}));
    let (records, values) = nasty();
    assert_eq!(
        admin.import(&source, "application/json", &records.to_string(), 200)["rejected_count"],
        0
    );
    collected(app, &of, values.len());
    let found = walk(app, "2.1", &of.group, &["7", "judge"]);
    assert_eq!(found["problems"], json!([]));
    assert_eq!(
        (&found["twice"], &found["dangling"], found["title"].as_str()),
        (&json!([]), &json!([]), Some("Group taxii"))
    );
    let count = |kind: &str| found["types"][kind].as_u64().unwrap_or(0);
    assert_eq!(
        (
            count("indicator"),
            count("relationship"),
            count("malware"),
            count("threat-actor"),
            count("campaign"),
            count("marking-definition")
        ),
        (10, 40, 2, 1, 1, 5)
    );
    assert_eq!(found["manifest"], found["objects"]);
    assert_eq!(found["live"].as_array().unwrap().len(), 10, "{found}");
    turns_green(&admin, &of.device);
    // One that leaves is revoked, not just gone; one that comes back is a new indicator, as the
    // standard wants it.
    app.advance(&admin, "1m");
    admin.delete(&format!("/api/v1/iocs/{}", text(&admin.ioc("bad.example"), "id")), 204);
    let found = eventually("it is revoked", || {
        Some(walk(app, "2.1", &of.group, &["100", "judge"]))
            .filter(|f| f["revoked"] == json!(["bad.example"]))
    });
    assert_eq!((found["live"].as_array().unwrap().len(), &found["problems"]), (9, &json!([])));
    app.advance(&admin, "1m");
    admin.import(&source, "text/plain", "bad.example", 200);
    let found = eventually("it is back", || {
        Some(walk(app, "2.1", &of.group, &["100", "judge"]))
            .filter(|f| f["live"].as_array().unwrap().len() == 10)
    });
    assert_eq!(
        (&found["revoked"], &found["twice"], &found["problems"], &found["types"]["indicator"]),
        (&json!(["bad.example"]), &json!([]), &json!([]), &json!(11))
    );
    // The same as one bundle, for those who read no TAXII; and a page for people at the bare URL,
    // whatever is accepted.
    let bundle = get(
        app,
        &format!("/feeds/{}/stix.json", of.group),
        &[("accept", "application/vnd.oasis.stix+json; version=2.0"), ("user-agent", "curl/8")],
    );
    assert_eq!(
        (bundle.status, bundle.json()["objects"].as_array().unwrap().len() as u64),
        (200, found["objects"].as_u64().unwrap())
    );
    let page = get(app, &format!("/feeds/{}", of.group), &[("accept", "*/*")]);
    assert_eq!(page.status, 200);
    assert!(
        page.text().contains(&format!("/taxii2/{}/", app.account_id))
            && page.text().contains(&of.group),
        "{}",
        page.text()
    );
    let stix = device(&admin, "stix-bundle", json!({}));
    let bundle = eventually("the bundle is whole", || {
        Some(get(
            app,
            &format!("/feeds/{}", stix.group),
            &[("accept", "application/vnd.oasis.stix+json; version=2.0")],
        ))
        .filter(|b| b.text().contains("bad.example"))
    });
    assert_eq!(bundle.header("content-type"), "application/stix+json;version=2.1");
    assert_eq!(bundle.json()["type"], "bundle");
}

fn the_original_sentinel_pulls_taxii_20(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let of = device(&admin, "azure-sentinel", json!({}));
    let (records, values) = nasty();
    admin.import(&source, "application/json", &records.to_string(), 200);
    collected(app, &of, values.len());
    let found = walk(app, "2.0", &of.group, &["7", "judge"]);
    assert_eq!(
        (&found["problems"], &found["twice"], &found["dangling"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert_eq!(
        (found["types"]["indicator"].as_u64(), found["pages"].as_u64() > Some(1)),
        (Some(10), true),
        "{found}"
    );
    turns_green(&admin, &of.device);
    // Sentinel asks for a collection id that is a random UUID, and pages by items.
    assert_eq!(uuid_version(&of.group), '4');
    let objects = format!("/taxii/{}/collections/{}/objects/", app.account_id, of.group);
    let part = get(
        app,
        &objects,
        &[("range", "items 0-4"), ("accept", "application/vnd.oasis.stix+json; version=2.0")],
    );
    assert_eq!(part.status, 206);
    assert!(
        part.header("content-range").starts_with("items 0-4/"),
        "{}",
        part.header("content-range")
    );
    assert_eq!(part.header("content-type"), "application/vnd.oasis.stix+json; version=2.0");
    assert_eq!(get(app, &objects, &[("range", "items 9000-9004")]).status, 416);
    assert_eq!(
        get(app, &format!("/taxii2/{}/collections/{}/", app.account_id, of.group), &[]).status,
        404,
        "it is a collection of one server only"
    );
}

fn uuid_version(id: &str) -> char {
    id.chars().nth(14).unwrap()
}

fn the_protocol_to_the_letter(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let of = device(&admin, "taxii", json!({}));
    let other = device(&admin, "splunk-es-taxii", json!({ "kind": "ip" }));
    admin.import(&source, "text/plain", "one.example\ntwo.example\n192.0.2.1", 200);
    collected(app, &of, 3);
    let root = format!("/taxii2/{}/", app.account_id);
    let taxii = |path: &str| {
        let answer = get(app, path, &[("accept", "application/taxii+json;version=2.1")]);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/taxii+json;version=2.1"),
            "{path}: {}",
            answer.text()
        );
        answer
    };
    // Only what is plainly foreign is turned away.
    let status = |path: &str, accept: &str| get(app, path, &[("accept", accept)]).status;
    for yes in [
        "",
        "*/*",
        "application/taxii+json;version=2.1",
        "application/taxii+json; version=\"2.1\"",
        "application/vnd.oasis.stix+json; version=2.0",
        "text/html, */*;q=0.1",
        "application/json",
    ] {
        assert_eq!(status("/taxii2/", yes), 200, "{yes}");
    }
    for no in ["text/html", "application/taxii+json;version=2.0", "image/png"] {
        assert_eq!(status("/taxii2/", no), 406, "{no}");
    }
    assert_eq!(status("/taxii/", "application/vnd.oasis.taxii+json; version=2.0"), 200);
    // With the slash and without it, and never a redirect, on which some clients drop their
    // password.
    for path in ["/taxii2/", "/taxii2"] {
        let discovery = taxii(path).json();
        assert!(
            text(&discovery, "default").ends_with(&root)
                && discovery["api_roots"][0] == discovery["default"],
            "{discovery}"
        );
    }
    assert_eq!(taxii(&root).json()["versions"], json!(["application/taxii+json;version=2.1"]));
    assert_eq!(
        taxii(root.trim_end_matches('/')).json()["versions"],
        json!(["application/taxii+json;version=2.1"])
    );
    let collections = taxii(&format!("{root}collections/")).json();
    let ids: Vec<String> =
        collections["collections"].as_array().unwrap().iter().map(|c| text(c, "id")).collect();
    assert_eq!(ids, [other.group.clone(), of.group.clone()], "by name");
    let one = taxii(&format!("{root}collections/{}/", of.group)).json();
    assert_eq!(
        (&one["can_read"], &one["can_write"], &one["media_types"]),
        (&json!(true), &json!(false), &json!(["application/stix+json;version=2.1"]))
    );
    let objects = format!("{root}collections/{}/objects/", of.group);
    let all = taxii(&objects);
    let list = all.json()["objects"].as_array().unwrap().clone();
    assert_eq!(all.json()["more"], false);
    let manifest = taxii(&format!("{root}collections/{}/manifest/", of.group));
    let added: Vec<String> = manifest.json()["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| text(o, "date_added"))
        .collect();
    assert!(added.is_sorted(), "{added:?}");
    assert_eq!(
        (all.header("x-taxii-date-added-first"), all.header("x-taxii-date-added-last")),
        (added[0].as_str(), added.last().unwrap().as_str())
    );
    assert!(
        added.iter().all(|a| a.len() == "2026-11-03T10:00:00.000000Z".len()),
        "six decimals: {added:?}"
    );
    // `added_after` means later than, not from.
    let after = taxii(&format!("{objects}?added_after={}", added.last().unwrap()));
    assert_eq!((after.text().as_str(), after.header("x-taxii-date-added-first")), ("{}", ""));
    assert_eq!(
        taxii(&format!("{objects}?added_after=2026-01-01T00:00:00Z")).json()["objects"]
            .as_array()
            .unwrap()
            .len(),
        list.len()
    );
    // A cursor goes on where the page ended, also where the client moves `added_after` along; a
    // limit above ours is cut to it.
    let first = taxii(&format!("{objects}?limit=1")).json();
    let second = taxii(&format!(
        "{objects}?limit=1&next={}&added_after={}",
        text(&first, "next"),
        added.last().unwrap()
    ))
    .json();
    assert_eq!((&first["objects"][0], &second["objects"][0]), (&list[0], &list[1]));
    assert_eq!(
        taxii(&format!("{objects}?limit=999999")).json()["objects"].as_array().unwrap().len(),
        list.len()
    );
    // Filters, single objects, versions.
    let indicators = taxii(&format!("{objects}?match[type]=indicator")).json();
    assert_eq!(indicators["objects"].as_array().unwrap().len(), 3);
    let indicator = indicators["objects"][0].clone();
    let id = text(&indicator, "id");
    for query in [
        format!("?match[id]={id}"),
        format!("?match[id]={id}&match[version]=all&match[spec_version]=2.1"),
        format!("?match[id]={id}&match[version]={}", text(&indicator, "modified")),
    ] {
        assert_eq!(
            taxii(&format!("{objects}{query}")).json()["objects"],
            json!([indicator]),
            "{query}"
        );
    }
    assert_eq!(taxii(&format!("{objects}?match[spec_version]=2.0")).text(), "{}");
    assert_eq!(taxii(&format!("{objects}{id}/")).json()["objects"], json!([indicator]));
    assert_eq!(
        taxii(&format!("{objects}{id}/versions/")).json()["versions"],
        json!([indicator["modified"]])
    );
    // Faults in TAXII's own shape.
    let fault = |answer: &Answer, status: u16| {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "application/taxii+json;version=2.1"),
            "{}",
            answer.text()
        );
        let told = answer.json();
        assert!(
            told["title"].is_string()
                && told["description"].is_string()
                && told["http_status"].as_str() == Some(status.to_string().as_str())
                && told["error_id"].is_string(),
            "{told}"
        );
    };
    for query in [
        "limit=0",
        "limit=-1",
        "limit=many",
        "added_after=yesterday",
        "next=rubbish",
        "match[version]=newest",
        "match[colour]=red",
    ] {
        fault(&get(app, &format!("{objects}?{query}"), &[]), 400);
    }
    for path in [
        format!("{root}collections/00000000-0000-4000-8000-000000000000/"),
        format!("{objects}indicator--00000000-0000-4000-8000-000000000000/"),
        format!("{root}nothing/"),
        "/taxii2/000000000000000000000000/".to_owned(),
        format!("{root}status/1/"),
    ] {
        fault(&get(app, &path, &[]), 404);
    }
    fault(&get(app, &objects, &[("accept", "text/html")]), 406);
    let auth = basic(&app.account_id, &app.appliance_key);
    for method in ["POST", "DELETE"] {
        fault(
            &send(
                method,
                &format!("{}{objects}", app.url),
                &[("authorization", &auth)],
                Some(b"{}"),
            ),
            403,
        );
    }
    let stranger = send(
        "GET",
        &format!("{}{objects}", app.url),
        &[("authorization", &basic(&app.account_id, "wrong"))],
        None,
    );
    fault(&stranger, 401);
    assert!(stranger.header("www-authenticate").starts_with("Basic realm="));
    // A device key sees its own collection only.
    let key = text(
        &admin.post(&format!("/api/v1/devices/{}/keys", other.device), json!({}), 201),
        "secret",
    );
    let seen = send(
        "GET",
        &format!("{}{root}collections/", app.url),
        &[("authorization", &basic(&app.account_id, &key))],
        None,
    )
    .json();
    assert_eq!(
        (seen["collections"].as_array().unwrap().len(), text(&seen["collections"][0], "id")),
        (1, other.group)
    );
    assert_eq!(
        send(
            "GET",
            &format!("{}{objects}", app.url),
            &[("authorization", &basic(&app.account_id, &key))],
            None
        )
        .status,
        404
    );
    // Refused polls are in the device's pull log, with the reason.
    eventually("the refusal is told", || {
        admin
            .get(&format!("/api/v1/devices/{}/pulls", of.device))
            .to_string()
            .contains("Key rejected")
            .then_some(())
    });
}

/// At limit 1000, each once, also while the group changes underneath.
fn fifty_thousand_of_one_publication_come_once_each(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let of: Pulled = device(&admin, "taxii", json!({}));
    let list: String = (0..50_000).map(|i| format!("host{i}.evil.example\n")).collect();
    admin.import(&source, "text/plain", &list, 200);
    let moments = collected(app, &of, 5_000);
    assert_eq!(moments.len(), 5_000, "each has a moment of its own");
    let mut child = script(app, "2.1", &of.group, &["1000", "count", "pause"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut say, mut hear) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let mut pages = 0_u32;
    let found: Value = loop {
        let mut line = String::new();
        assert!(hear.read_line(&mut line).unwrap() > 0, "the walk ends too early");
        if line.starts_with('{') {
            break serde_json::from_str(&line).unwrap();
        }
        pages += 1;
        // While it walks: some leave that it has seen, some that it has not, some change, some
        // come.
        if pages.is_multiple_of(10) {
            app.advance(&admin, "1s");
            for n in [pages, 49_000 + pages] {
                admin.delete(
                    &format!(
                        "/api/v1/iocs/{}",
                        text(&admin.ioc(&format!("host{n}.evil.example")), "id")
                    ),
                    204,
                );
            }
            let changed = json!([{ "value": format!("host{}.evil.example", 25_000 + pages), "severity": "high" }, { "value": format!("new{pages}.evil.example") }]);
            admin.import(&source, "application/json", &changed.to_string(), 200);
            eventually("the publication follows", || {
                admin.get(&format!("/api/v1/groups/{}", of.group))["publications"]
                    .as_array()
                    .filter(|p| p.len() > usize::try_from(pages / 10).unwrap_or_default())
                    .map(|_| ())
            });
        }
        writeln!(say, "on").unwrap();
    };
    assert!(child.wait().unwrap().success());
    assert_eq!((&found["twice"], &found["problems"]), (&json!([]), &json!([])));
    // Everything that was there all the time, and everything that came: by the end nothing is
    // missing.
    let changes = u64::from(pages / 10);
    let live = found["live"].as_u64().unwrap();
    assert!(live >= 50_000 - changes && live <= 50_000 + changes, "{found}");
    assert!(found["revoked"].as_u64() > Some(0), "{found}");
}

/// Ids in the order in which a client gets them that goes on after the last date of each page.
fn by_date(page: &impl Fn(&str) -> Answer, size: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let answer = page(&after);
        let body = answer.json();
        let objects = body["objects"].as_array().cloned().unwrap_or_default();
        if objects.is_empty() {
            return ids;
        }
        assert!(objects.len() <= size, "{} objects on a page of {size}", objects.len());
        ids.extend(objects.iter().map(|object| text(object, "id")));
        after = answer.header("x-taxii-date-added-last").to_owned();
        assert!(ids.len() < 10_000, "it never ends");
    }
}

fn a_client_may_go_on_after_any_date(app: &mut TestApp) {
    let admin = app.admin();
    let source = source(&admin);
    let iocs: Vec<Value> = (0..300)
        .map(|n| {
            let mut ioc =
                json!({ "value": format!("192.0.2.{}", n % 250 + 1), "severity": "high" });
            if n >= 250 {
                ioc["value"] = json!(format!("host{n}.example"));
            }
            if n % 3 == 0 {
                ioc["malware_families"] = json!([format!("Family {}", n % 7), "Dropper"]);
                ioc["threat_actors"] = json!([format!("Actor {}", n % 5)]);
            }
            ioc
        })
        .collect();
    let collections = [
        ("taxii", "taxii2", "application/taxii+json;version=2.1"),
        ("azure-sentinel", "taxii", "application/vnd.oasis.stix+json; version=2.0"),
    ];
    let devices: Vec<_> =
        collections.iter().map(|(of_type, ..)| device(&admin, of_type, json!({}))).collect();
    // In two publications: dates go on where the last one ended.
    for some in [&iocs[..200], &iocs[200..]] {
        admin.import(&source, "application/json", &json!(some).to_string(), 200);
        let before = some.len() as u64 + if some.len() == 200 { 0 } else { 200 };
        for device in &devices {
            eventually("the collection is published", || {
                (group(&admin, device)["published"] == before).then_some(())
            });
        }
    }
    for ((_, server, accept), device) in collections.iter().zip(&devices) {
        let root = format!("{}/{server}/{}/collections/{}", app.url, app.account_id, device.group);
        let key = basic(&app.account_id, &app.appliance_key);
        let ask = |path: &str, headers: &[(&str, &str)]| {
            let own = [("authorization", key.as_str()), ("accept", accept)];
            send("GET", &format!("{root}/{path}"), &[&own, headers].concat(), None)
        };
        let is_old = *server == "taxii";
        let manifest = ask("manifest/", &[]).json();
        let listed: Vec<(String, String)> = manifest["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| (text(object, "date_added"), text(object, "id")))
            .collect();
        assert!(listed.len() > 600, "{}", listed.len());
        assert!(
            listed.is_sorted_by(|(a, _), (b, _)| a < b),
            "every object has a later date than the one before: {server}"
        );
        let expected: Vec<&String> = listed.iter().map(|(_, id)| id).collect();
        for size in [7, 100] {
            let page = |after: &str| {
                let after =
                    if after.is_empty() { String::new() } else { format!("&added_after={after}") };
                if is_old {
                    let range = format!("items 0-{}", size - 1);
                    ask(&format!("objects/?x=1{after}"), &[("range", range.as_str())])
                } else {
                    ask(&format!("objects/?limit={size}{after}"), &[])
                }
            };
            let ids = by_date(&page, size);
            assert_eq!(ids.iter().collect::<Vec<_>>(), expected, "{server}, {size} a page");
        }
        // Behind the last date there is nothing, and clients look for the list all the same.
        let last = &listed.last().unwrap().0;
        let empty = ask(&format!("objects/?added_after={last}"), &[]).json();
        let nothing = if is_old { json!([]) } else { Value::Null };
        assert_eq!(empty["objects"], nothing, "{empty}");
    }
}
