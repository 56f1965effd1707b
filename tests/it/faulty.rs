//! What goes wrong with each protocol: nothing changes, and what is said tells what to do. And the
//! last server of the standard's authors that speaks TAXII 2.0.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    lists::{device, settled, source},
    support::{TestApp, basic, send, stories, text},
    upstreams::{Running, collection, fetch, open, subscribe, subscription, taxii_access},
};

stories!(every_fault_of_every_protocol_changes_nothing, a_server_of_taxii_20_is_followed);

/// How a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// As it should.
    None,
    /// Its body ends in the middle.
    Cut,
    /// It has no body.
    Empty,
    /// A page that asks for a name and a password.
    Page,
    /// JSON of another kind.
    Other,
    /// It can't at the moment.
    Busy,
    /// The same page again and again.
    Loop,
}

const OBJECTS: usize = 30;

/// The good answers of all protocols, by path.
fn good(path: &str, is_loop: bool) -> Value {
    let uuid = "5f0b5c4e-0000-4000-8000-000000000001";
    let attribute = |n: usize| {
        json!({ "uuid": format!("5f0b5c4e-0000-4000-9000-{n:012}"), "type": "domain", "category": "Network activity",
            "to_ids": true, "value": format!("h{n}.example"), "timestamp": "1000" })
    };
    let object = |n: usize| {
        json!({ "type": "indicator", "spec_version": "2.1", "id": format!("indicator--00000000-0000-4000-8000-{n:012}"),
            "created": "2026-11-01T00:00:00.000Z", "modified": "2026-11-01T00:00:00.000Z",
            "valid_from": "2026-11-01T00:00:00Z", "pattern_type": "stix",
            "pattern": format!("[domain-name:value = 'h{n}.example']") })
    };
    let ioc = |n: usize| {
        json!({ "value": format!("h{n}.example"), "type": "Domains", "status": "Active",
            "lastUpdateDate": "2026-11-01T00:00:00.000Z", "whitelisted": false })
    };
    let all = |one: &dyn Fn(usize) -> Value| (0..OBJECTS).map(one).collect::<Vec<_>>();
    if path.contains("manifest.json") {
        return json!({ (uuid): { "info": "Campaign", "date": "2026-11-01", "timestamp": "1000" } });
    }
    if path.contains(uuid) {
        return json!({ "Event": { "uuid": uuid, "info": "Campaign", "date": "2026-11-01", "timestamp": "1000",
            "Attribute": all(&attribute) } });
    }
    if path.contains("/objects") {
        return json!({ "objects": all(&object), "more": is_loop, "next": is_loop.then_some("same") });
    }
    if path.contains("/public/") {
        return json!({ "content": all(&ioc), "nextOffset": is_loop.then_some("2026-11-01T00:00:00.000Z::same") });
    }
    if path.contains("/list.json") {
        let next = if is_loop { json!("/list.json") } else { Value::Null };
        return json!({ "data": all(&|n| json!({ "value": format!("h{n}.example") })), "next": next });
    }
    json!({ "id": "91a7b528-80eb-42ed-a74d-c6fbd5a26116", "title": "All", "can_read": true, "can_write": false,
        "media_types": ["application/stix+json;version=2.1"] })
}

fn serve(fault: Arc<Mutex<Fault>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines =
                BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let path = first.split(' ').nth(1).unwrap_or_default();
            let fault = *fault.lock().unwrap();
            let kind = if path.contains("/taxii/") {
                "application/taxii+json;version=2.1"
            } else {
                "application/json"
            };
            let body = match fault {
                Fault::Empty | Fault::Busy => String::new(),
                Fault::Page => "<html><body><form>Sign in</form></body></html>".to_owned(),
                Fault::Other => json!({ "error": "no such thing" }).to_string(),
                Fault::None | Fault::Cut | Fault::Loop => {
                    good(path, fault == Fault::Loop).to_string()
                }
            };
            let status = match fault {
                Fault::Busy => "503 Service Unavailable\r\nRetry-After: 600",
                _ => "200 OK",
            };
            let kind = if fault == Fault::Page { "text/html" } else { kind };
            let sent = if fault == Fault::Cut { body.len() / 2 } else { body.len() };
            // Who goes away is no fault here.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                body.len(),
                &body[..sent]
            );
        }
    });
    url
}

fn every_fault_of_every_protocol_changes_nothing(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let fault = Arc::new(Mutex::new(Fault::None));
    let url = serve(Arc::clone(&fault));
    let names: Vec<String> = (0..OBJECTS).map(|n| format!("h{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let threat_command =
        json!({ "access": "basic", "access_name": app.account_id, "secret": "river" });
    for (protocol, path, more) in [
        ("file", "/list.json", json!({ "next_field": "next" })),
        ("misp_feed", "/feed", json!({})),
        ("taxii", "/taxii/root/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116/", json!({})),
        ("threat_command", "", threat_command),
    ] {
        let mut what = json!({ "protocol": protocol, "url": format!("{url}{path}"), "paused": true, "coverage": "full" });
        what.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        *fault.lock().unwrap() = Fault::None;
        subscribe(&admin, &own, what.clone());
        let first = fetch(&admin, &own, "");
        assert_eq!(
            (&first["listed"], &first["error"]),
            (&json!(OBJECTS), &Value::Null),
            "{protocol}: {first}"
        );
        settled(app, &plain.url, &names);
        for (which, why) in [
            (Fault::Cut, "broke off"),
            (Fault::Empty, "empty"),
            (Fault::Page, ""),
            (Fault::Other, ""),
            (Fault::Busy, "503 Service Unavailable"),
            (Fault::Loop, if protocol == "threat_command" { "of one moment" } else { "again" }),
        ] {
            if which == Fault::Loop && protocol == "misp_feed" {
                // It names each event once.
                continue;
            }
            *fault.lock().unwrap() = which;
            // Known by nothing that it said before.
            let mut other = what.clone();
            other["tags"] = json!([format!("{which:?}").to_lowercase()]);
            subscribe(&admin, &own, other);
            let failed = fetch(&admin, &own, "");
            let said = text(&failed, "error");
            assert_eq!(failed["outcome"], "failed", "{protocol} {which:?}: {failed}");
            assert!(said.contains(why) && said.len() > 10, "{protocol} {which:?}: {said}");
            assert!(!said.contains("river"), "{said}");
            let of = subscription(&admin, &own);
            assert_eq!(
                (&of["listed"], &of["freshness"]),
                (&json!(OBJECTS), &json!("paused")),
                "{of}"
            );
            settled(app, &plain.url, &names);
        }
        *fault.lock().unwrap() = Fault::None;
        subscribe(&admin, &own, what);
        let again = fetch(&admin, &own, "");
        assert_eq!(
            (&again["listed"], &again["gone"]),
            (&json!(OBJECTS), &json!(0)),
            "{protocol}: {again}"
        );
        settled(app, &plain.url, &names);
    }
}

fn a_server_of_taxii_20_is_followed(app: &mut TestApp) {
    let admin = open(app);
    let own = source(&admin);
    let plain = device(&admin, "plain-list", json!({}));
    let server = Running::start("taxii20_server.py", &[]);
    let add = |objects: Value| {
        let headers = [
            ("authorization", basic("reader", "lamp river seven")),
            ("content-type", "application/vnd.oasis.stix+json;version=2.0".to_owned()),
            ("accept", "application/vnd.oasis.taxii+json; version=2.0".to_owned()),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let body = json!({ "type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000001",
            "spec_version": "2.0", "objects": objects });
        let url = format!("{}objects/", collection(&server));
        let answer = send("POST", &url, &headers, Some(body.to_string().as_bytes()));
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    let indicator = |n: usize, modified: &str| {
        json!({ "type": "indicator", "id": format!("indicator--00000000-0000-4000-8000-{n:012}"),
            "created": "2026-11-01T00:00:00.000Z", "modified": modified, "labels": ["malicious-activity"],
            "valid_from": "2026-11-01T00:00:00Z", "pattern": format!("[domain-name:value = 'h{n}.example']") })
    };
    add((0..5).map(|n| indicator(n, "2026-11-01T00:00:00.000Z")).collect());
    subscribe(&admin, &own, taxii_access(&server));
    let first = fetch(&admin, &own, "");
    assert_eq!((&first["new"], &first["error"]), (&json!(5), &Value::Null), "{first}");
    let mut revoked = indicator(1, "2026-11-02T00:00:00.000Z");
    revoked["revoked"] = json!(true);
    add(json!([indicator(5, "2026-11-02T00:00:00.000Z"), revoked]));
    let second = fetch(&admin, &own, "");
    let counts = |of: &Value| ["new", "gone", "listed"].map(|field| of[field].as_u64().unwrap());
    assert_eq!(counts(&second), [1, 0, 6], "2.0 gives no new version of a known object: {second}");
    app.advance(&admin, "24h");
    let third = fetch(&admin, &own, "");
    assert_eq!(counts(&third), [0, 1, 5], "all of it is asked for once a day: {third}");
    settled(
        app,
        &plain.url,
        &["h0.example", "h2.example", "h3.example", "h4.example", "h5.example"],
    );
    assert_eq!(fetch(&admin, &own, "")["outcome"], "unchanged");
}
