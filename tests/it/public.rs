//! The Threat Command REST API, as its clients use it: shapes, codes and quirks of the original,
//! and what devices get of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    support::{Admin, Answer, Scene, TestApp, basic, eventually, rounds, send, stories, text},
    watchdog::HOUR,
};

stories!(
    who_may_ask_and_about_the_account,
    a_document_reaches_the_device_and_leaves_it_again,
    iocs_are_listed_in_the_original_s_shape,
    what_is_said_of_iocs_acts_on_devices,
    enrichment_is_answered_and_counted,
    everything_as_a_table,
    whoever_walks_the_pages_misses_nothing,
    iocs_retire_by_age_and_come_back,
    a_client_of_the_original_works_unchanged,
    no_generated_call_breaks_the_rest_api,
    no_generated_call_breaks_the_management_api,
    fixtures_are_loaded_and_emptied
);

/// A client of the original: account ID and API key, and nothing else.
pub(crate) struct Client {
    url: String,
    key: String,
    authorization: String,
}

impl Client {
    pub(crate) fn new(app: &TestApp, admin: &Admin) -> Self {
        Self::of(app, admin, &app.account_id)
    }

    pub(crate) fn of(app: &TestApp, admin: &Admin, account: &str) -> Self {
        Self::at(&app.url, admin, account)
    }

    pub(crate) fn at(server: &str, admin: &Admin, account: &str) -> Self {
        let key = text(&admin.post("/api/v1/keys", json!({ "kind": "api" }), 201), "secret");
        Self { url: format!("{server}/public"), authorization: basic(account, &key), key }
    }

    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|b| b.to_string());
        let headers =
            [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        send(method, &format!("{}{path}", self.url), &headers, body.as_deref().map(str::as_bytes))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("POST", path, Some(body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Status and body as text.
    pub(crate) fn refused(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let answer = self.ask(method, path, body);
        assert!(!answer.header("content-type").contains("html"), "{path}");
        (answer.status, answer.text())
    }

    /// The values of a list, in its order.
    fn values(&self, query: &str) -> Vec<String> {
        let page = self.get(&format!("/v3/iocs?lastUpdatedFrom=2026-01-01T00:00:00.000Z{query}"));
        page["content"].as_array().unwrap().iter().map(|i| text(i, "value")).collect()
    }
}

fn document(name: &str, iocs: &[(&str, &str)]) -> Value {
    let iocs: Vec<Value> =
        iocs.iter().map(|(kind, value)| json!({ "Type": kind, "Value": value })).collect();
    json!({ "DocumentDetails": { "Name": name, "Description": "From a case", "ConfidenceLevel": 3, "Severity": "high", "Tags": ["case 7"] }, "Iocs": iocs })
}

fn who_may_ask_and_about_the_account(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let head = client.ask("HEAD", "/v1/test-credentials", None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let asked = |authorization: &str| {
        send(
            "GET",
            &format!("{}/v1/iocs/sources", client.url),
            &[("authorization", authorization)],
            None,
        )
    };
    for wrong in [
        basic(&app.account_id, "wrong"),
        basic("0123456789abcdef01234567", &client.key),
        format!("Bearer {}", client.key),
        "Nonsense".to_owned(),
    ] {
        let answer = asked(&wrong);
        assert_eq!(
            (answer.status, answer.header("www-authenticate").starts_with("Basic")),
            (401, true),
            "{wrong}"
        );
    }
    assert!(
        asked(&basic(&app.account_id, &app.appliance_key)).text().contains("takes the API key"),
        "the wrong one of two secrets is named"
    );
    assert_eq!(send("GET", &format!("{}/v1/iocs/sources", client.url), &[], None).status, 401);
    let sub = [
        ("authorization", client.authorization.as_str()),
        ("account-id", "5fd0ef17a1b2c3d4e5f60718"),
    ];
    let refused = send("GET", &format!("{}/v1/iocs/sources", client.url), &sub, None);
    assert!(
        refused.status == 400 && refused.text().contains("another account"),
        "{}",
        refused.text()
    );
    assert!(client.get("/v1/api/version")["version"].is_string());
    assert_eq!(client.get("/v1/account/system-modules")["IOC"], true);
    let people = client.get("/v1/account/users-details");
    assert_eq!(
        (people.as_array().unwrap().len(), people[0]["Email"].as_str(), people[0]["Role"].as_str()),
        (1, Some(crate::support::ADMIN), Some("Admin"))
    );
    assert_eq!(client.get("/v1/account/users-details?userType=Analyst"), json!([]));
    assert_eq!(
        client.get(&format!(
            "/v1/account/users-details?userEmail={}",
            crate::support::ADMIN.replace('@', "%40")
        )),
        people
    );
    for missing in ["/v1/data/takedowns", "/v1/threat-library/cyber-terms", "/v9/anything"] {
        let (status, said) = client.refused("GET", missing, None);
        assert!(status == 501 && said.contains(missing), "{said}");
    }
    eventually("that the key is used shows", || {
        let keys = admin.get("/api/v1/keys");
        keys["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|k| k["kind"] == "api" && k["last_used_at"].is_string())
            .then_some(())
    });
    // Within a minute so many calls and no more; other accounts and devices are not held back by
    // it.
    app.reopen(|config| config.api_calls_per_minute = 5);
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let throttled = (0..11)
        .map(|_| client.ask("HEAD", "/v1/test-credentials", None))
        .find(|a| a.status == 429)
        .expect("the sixth call of a minute");
    assert!((1..=61).contains(&throttled.header("retry-after").parse::<u64>().unwrap()));
    // A revoked key opens nothing.
    app.reopen(|config| config.api_calls_per_minute = 0);
    let admin = app.admin();
    let client = Client::new(app, &admin);
    for key in admin.get("/api/v1/keys")["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|k| k["kind"] == "api" && k["active"] == true)
    {
        admin.delete(&format!("/api/v1/keys/{}", text(key, "id")), 204);
    }
    assert_eq!(client.ask("HEAD", "/v1/test-credentials", None).status, 401);
}

fn a_document_reaches_the_device_and_leaves_it_again(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let added = client.post(
        "/v1/iocs/add-source",
        document(
            "Case 7",
            &[
                ("Domains", "evil.example"),
                ("IpAddresses", "203.0.113.9"),
                ("Hashes", "not a hash"),
                ("Urls", "evil.example"),
                ("Emails", "a@evil.example"),
            ],
        ),
    );
    let id = text(&added["Data"]["sourceDetails"], "_id");
    assert_eq!(
        added,
        json!({ "Success": true, "Data": { "sourceDetails": { "_id": id, "SourceType": "File" }, "iocSavedCount": 3, "leftOut": ["not a hash", "evil.example"] } })
    );
    let feed = scene.settled(&device, &["203.0.113.9", "a@evil.example", "evil.example"]);
    let (_, attribute) = feed.find("evil.example");
    let tags = attribute["Tag"].to_string();
    assert!(
        tags.contains("high")
            && tags.contains("case 7")
            && tags.contains("Case 7")
            && tags.contains("completely-confident"),
        "severity, user tag, source, confidence: {tags}"
    );
    let taken = client.ask(
        "POST",
        "/v1/iocs/add-source",
        Some(document("case 7", &[("Domains", "b.example")])),
    );
    assert_eq!(
        (taken.status, taken.json()),
        (200, json!({ "Success": false, "Data": "SourceNameAlreadyExists" }))
    );
    assert_eq!(client.refused("POST", "/v1/iocs/add-source", Some(json!({ "Iocs": [] }))).0, 422);
    assert_eq!(
        client
            .refused(
                "POST",
                "/v1/iocs/add-source",
                Some(document("Other", &[("Nonsense", "evil.example")]))
            )
            .0,
        422
    );
    assert_eq!(
        client.post(
            &format!("/v1/iocs/add-iocs-to-source/{id}"),
            json!({ "Iocs": [{ "Type": "Domains", "Value": "more[.]example" }] })
        )["Success"],
        true
    );
    scene.settled(&device, &["203.0.113.9", "a@evil.example", "evil.example", "more.example"]);
    let sources = client.get("/v1/iocs/sources");
    assert_eq!(sources["Files"][0]["_id"], id.as_str());
    assert_eq!(
        (
            sources["Files"][0]["ConfidenceLevel"].as_u64(),
            sources["Files"][0]["IsEnabled"].as_bool()
        ),
        (Some(3), Some(true))
    );
    assert_eq!(
        (sources["IntelligenceFeed"][0]["Name"].as_str(), &sources["Emails"]),
        (Some("Own feed"), &json!([]))
    );
    assert_eq!(client.ask("DELETE", &format!("/v1/iocs/delete-source/{id}"), None).status, 200);
    scene.settled(&device, &[]);
    for (method, path) in [
        ("DELETE", format!("/v1/iocs/delete-source/{id}")),
        ("DELETE", "/v1/iocs/delete-source/5fd0ef17".to_owned()),
        ("POST", format!("/v1/iocs/add-iocs-to-source/{id}")),
    ] {
        let body = (method == "POST").then(|| json!({ "Iocs": [] }));
        assert_eq!(
            client.refused(method, &path, body),
            (404, "SourceDoesNotExist".to_owned()),
            "{path}"
        );
    }
}

fn iocs_are_listed_in_the_original_s_shape(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let rich = json!([{
        "value": "evil.example", "severity": "high", "score": 85.5, "first_seen": "2026-10-01T00:00:00Z", "last_seen": "2026-11-01T10:00:00.25Z", "confidence": 3,
        "user_tags": ["mine"], "system_tags": ["phishing"], "threat_actors": ["pinchyspider"], "campaigns": ["autumn"], "malware_families": ["sodinokibi"]
    }]);
    admin.trust(&scene.source);
    admin.restore(&scene.source, "application/json", &rich.to_string());
    app.clock.advance(HOUR);
    scene.import(
        &admin,
        "203.0.113.9\n44d88612fea8a8f36de82e1278abb02f\nhttp://evil.example/x\na@evil.example\n",
    );
    let page = client.get("/v3/iocs?lastUpdatedFrom=2026-11-01T00:00:00.000Z&limit=1");
    assert!(page["nextOffset"].is_string());
    let expected = json!({
        "value": "evil.example", "type": "Domains", "status": "Active", "severity": "High", "score": 85.5, "firstSeen": "2026-10-01T00:00:00.000Z",
        "lastSeen": "2026-11-01T10:00:00.250Z", "lastUpdateDate": "2026-11-03T10:00:00.000Z", "whitelisted": false, "tags": ["mine"],
        "relatedMalware": ["sodinokibi"], "relatedCampaigns": ["autumn"], "relatedThreatActors": ["pinchyspider"],
        "reportedFeeds": [{ "id": scene.source, "name": "Own feed", "confidenceLevel": 3 }],
    });
    assert_eq!(page["content"], json!([expected]));
    assert_eq!(
        client.get("/v2/iocs?lastUpdatedFrom=2026-11-01&limit=1")["content"],
        json!([expected])
    );
    assert_eq!(client.get("/v3/iocs/ioc-by-value?iocValue=EVIL[.]example"), expected);
    let old = client.get("/v2/iocs/ioc-by-value?iocValue=evil.example");
    assert_eq!(
        (
            &old["Value"],
            &old["Type"],
            &old["Severity"],
            &old["Whitelist"],
            &old["SystemTags"],
            &old["RelatedMalware"]
        ),
        (
            &json!("evil.example"),
            &json!("Domains"),
            &json!("High"),
            &json!(false),
            &json!(["phishing"]),
            &json!(["sodinokibi"])
        )
    );
    assert_eq!(old["Sources"], json!([{ "Name": "Own feed", "ConfidenceLevel": 3 }]));
    let first = client.get("/v1/iocs/ioc-by-value?iocValue=evil.example");
    assert_eq!(
        (
            &first["Value"],
            &first["Severity"]["Value"],
            &first["SourceID"],
            &first["Source"],
            &first["Domain"],
            &first["AccountID"]
        ),
        (
            &json!("evil.example"),
            &json!("High"),
            &json!(scene.source),
            &json!({ "Name": "Own feed", "Confidence": 3 }),
            &json!("evil.example"),
            &json!(app.account_id)
        )
    );
    assert_eq!(client.get("/v1/iocs/complete-iocs-list?type=Domains"), json!([first]));
    assert_eq!(
        client
            .get(&format!("/v1/iocs/complete-iocs-list?sourceId={}&severity=Low", scene.source))
            .as_array()
            .unwrap()
            .len(),
        4
    );
    assert_eq!(client.ask("GET", "/v1/iocs/complete-iocs-list?severity=Medium", None).status, 204);
    for unknown in ["unknown.example", "a%40evil.example", "nonsense"] {
        let answer = client.ask("GET", &format!("/v3/iocs/ioc-by-value?iocValue={unknown}"), None);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{unknown}");
    }
    // Filters, multi-values in both spellings.
    let sorted = |query: &str| {
        let mut values = client.values(query);
        values.sort();
        values
    };
    assert_eq!(sorted("&type=Domains&type=Urls"), ["evil.example", "http://evil.example/x"]);
    assert_eq!(sorted("&type[0]=Domains&type[1]=Urls"), ["evil.example", "http://evil.example/x"]);
    assert_eq!(sorted("&type%5B0%5D=hashes"), ["44d88612fea8a8f36de82e1278abb02f"]);
    assert_eq!(sorted("&severity=High"), ["evil.example"]);
    assert_eq!(sorted("&severity=PendingEnrichment"), Vec::<String>::new());
    assert_eq!(
        (
            sorted("&status=Active").len(),
            sorted("&status=Retired").len(),
            sorted("&whitelisted=true").len()
        ),
        (5, 0, 0)
    );
    assert_eq!(
        (
            sorted(&format!("&sourceIds={}", scene.source)).len(),
            sorted("&killChainPhases=Delivery").len()
        ),
        (5, 0)
    );
    assert_eq!(sorted("&lastSeenTo=2026-11-02T00:00:00Z"), ["evil.example"]);
    assert_eq!(sorted("&firstSeenFrom=2026-11-02T00:00:00Z").len(), 4);
    assert_eq!(sorted("&lastUpdatedTo=2026-11-03T10:30:00Z"), ["evil.example"]);
    assert_eq!(
        client.get("/v3/iocs?lastUpdatedFrom=2026-11-03T10:30:00Z")["content"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let none = client.get("/v3/iocs?lastUpdatedFrom=2026-11-04T00:00:00Z");
    assert_eq!(none, json!({ "content": [], "nextOffset": null }));
    for wrong in [
        "",
        "?lastUpdatedFrom=yesterday",
        "?lastUpdatedFrom=2026-11-01&limit=0",
        "?lastUpdatedFrom=2026-11-01&limit=1001",
        "?lastUpdatedFrom=2026-11-01&type=Cats",
        "?lastUpdatedFrom=2026-11-01&offset=zzz",
        "?lastUpdatedFrom=2026-11-01&whitelisted=perhaps",
    ] {
        let (status, said) = client.refused("GET", &format!("/v3/iocs{wrong}"), None);
        assert!(status == 422 && said.len() > 10, "{wrong}: {status} {said}");
    }
}

fn what_is_said_of_iocs_acts_on_devices(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let device = app.device();
    scene.import(&admin, "a.example\nb.example\n");
    scene.settled(&device, &["a.example", "b.example"]);
    let one = |value: &str| client.get(&format!("/v3/iocs/ioc-by-value?iocValue={value}"));

    assert_eq!(
        client.post("/v1/iocs/tags", json!([{ "iocValue": "a.example", "tag": "Seen here" }])),
        json!({ "success": true })
    );
    assert_eq!(
        client.refused(
            "POST",
            "/v1/iocs/tags",
            Some(json!([{ "iocValue": "a.example", "tag": "Seen here" }]))
        ),
        (400, "TagExist".into())
    );
    assert_eq!(one("a.example")["tags"], json!(["Seen here"]));
    let severe = json!([{ "iocValue": "a.example", "severity": "High" }]);
    let set = client.ask("PATCH", "/v2/iocs/severity", Some(severe.clone()));
    assert_eq!((set.status, set.json()), (200, json!({ "content": { "success": true } })));
    let again = client.post("/v2/iocs/severity", severe);
    assert_eq!(again, json!({ "content": { "success": false, "reason": "SeverityNotChanged" } }));
    assert_eq!(
        client
            .refused(
                "PATCH",
                "/v2/iocs/severity",
                Some(json!([{ "iocValue": "a.example", "severity": "Awful" }]))
            )
            .0,
        422
    );
    assert_eq!(one("a.example")["severity"], "High");
    assert_eq!(
        client.post("/v1/iocs/comments", json!([{ "iocValue": "a.example", "comment": "Ours?" }])),
        json!({ "success": true })
    );
    let shown = admin.ioc("a.example");
    assert_eq!(
        (shown["comments"][0]["text"].as_str(), shown["comments"][0]["author"].as_str()),
        (Some("Ours?"), Some("API"))
    );
    eventually("the device gets tag and severity", || {
        let tags = device.feed(&scene.url).find("a.example").1["Tag"].to_string();
        (tags.contains("Seen here") && tags.contains("high")).then_some(())
    });

    // Three whitelist states.
    client.post(
        "/v2/iocs/user-whitelist",
        json!({ "iocs": [{ "value": "a.example", "whitelisted": true }] }),
    );
    scene.settled(&device, &["b.example"]);
    assert_eq!(
        (one("a.example")["whitelisted"].as_bool(), client.values("&whitelisted=true")),
        (Some(true), vec!["a.example".to_owned()])
    );
    client.post(
        "/v2/iocs/user-whitelist",
        json!({ "iocs": [{ "value": "a.example", "whitelisted": false }] }),
    );
    assert_eq!(admin.ioc("a.example")["whitelist"], "always_sent");
    scene.settled(&device, &["a.example", "b.example"]);
    assert_eq!(
        client
            .ask("DELETE", "/v2/iocs/user-whitelist", Some(json!({ "iocs": ["a.example"] })))
            .status,
        200
    );
    assert_eq!(admin.ioc("a.example")["whitelist"], "default");

    // The remediation blocklist, in a group whose rule takes nothing else.
    let rule = text(&admin.get("/api/v1/rules")["items"][0], "id");
    admin.patch(
        &format!("/api/v1/rules/{rule}"),
        json!({ "criteria": { "tags": ["no ioc has this"], "blocklist": true } }),
        200,
    );
    scene.settled(&device, &[]);
    client.post("/v1/iocs/blocklist", json!({ "iocs": ["b[.]example"] }));
    scene.settled(&device, &["b.example"]);
    assert_eq!(
        client.refused("POST", "/v1/iocs/blocklist", Some(json!({ "iocs": ["b.example"] }))),
        (400, "IocBlocklistStatusNotChanged".into())
    );
    assert_eq!(
        client.ask("DELETE", "/v1/iocs/blocklist", Some(json!({ "iocs": ["b.example"] }))).status,
        200
    );
    scene.settled(&device, &[]);

    // One that is not there spoils the call, and nothing of it is done.
    let blocked = json!({ "iocs": ["a.example", "unknown.example"] });
    let answer = client.ask("POST", "/v1/iocs/blocklist", Some(blocked));
    assert_eq!(
        (answer.status, answer.json()["error"]["name"].as_str()),
        (400, Some("InvalidIocValue"))
    );
    let tags =
        json!([{ "iocValue": "b.example", "tag": "x" }, { "iocValue": "nonsense", "tag": "x" }]);
    let (status, said) = client.refused("POST", "/v1/iocs/tags", Some(tags));
    assert!(status == 422 && said.contains("nonsense"), "{said}");
    assert_eq!(one("b.example")["tags"], json!([]));
    // Taking off what is not on it is no error.
    let off = Some(json!({ "iocs": ["a.example"] }));
    assert_eq!(client.ask("DELETE", "/v1/iocs/blocklist", off).status, 200);
    for (path, body) in [
        ("/v1/iocs/tags", json!([])),
        ("/v1/iocs/tags", json!({ "iocValue": "a.example" })),
        ("/v1/iocs/comments", json!([{ "iocValue": "a.example", "comment": " " }])),
    ] {
        assert_eq!(client.refused("POST", path, Some(body)).0, 422, "{path}");
    }
}

fn enrichment_is_answered_and_counted(app: &mut TestApp) {
    app.reopen(|config| config.api_enrichments_per_day = 3);
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    scene.import(&admin, "http://evil.example/a/b?c=d\n");
    assert_eq!(
        client.get("/v1/iocs/quota"),
        json!({ "EnrichIocsQuota": { "TimePeriod": "2026-11-03", "Total": 3, "Remaining": 3 } })
    );
    let known = client.get("/v1/iocs/enrich/http%3A%2F%2Fevil.example%2Fa%2Fb%3Fc%3Dd");
    assert_eq!(
        (&known["Status"], &known["OriginalValue"]),
        (&json!("Done"), &json!("http://evil.example/a/b?c=d")),
        "{known}"
    );
    let data = &known["Data"];
    assert_eq!(
        (&data["Type"], &data["IsKnownIoc"], &data["Severity"]),
        (&json!("Urls"), &json!(true), &json!({ "Value": "Low", "Score": 60, "Origin": "system" }))
    );
    assert_eq!(
        (&data["Sources"], &data["DnsRecords"]),
        (&json!([{ "Name": "Own feed", "ConfidenceLevel": 2 }]), &json!([]))
    );
    assert_eq!(client.get("/v1/iocs/enrich/unknown.example")["Data"]["IsKnownIoc"], false);
    let invalid = client.get("/v1/iocs/enrich/nonsense");
    assert!(invalid["Status"] == "Invalid" && invalid["FailedReason"].is_string(), "{invalid}");
    assert_eq!(
        client.get("/v1/iocs/quota")["EnrichIocsQuota"]["Remaining"],
        1,
        "what is no IOC is not counted"
    );
    client.get("/v1/iocs/enrich/203.0.113.9");
    assert_eq!(client.get("/v1/iocs/enrich/203.0.113.9")["Status"], "QuotaExceeded");
    app.clock.advance(24 * HOUR);
    assert_eq!(
        client.get("/v1/iocs/quota")["EnrichIocsQuota"],
        json!({ "TimePeriod": "2026-11-04", "Total": 3, "Remaining": 3 })
    );
    let task =
        text(&client.post("/v1/iocs/rescan", json!({ "IocValue": "evil.example" })), "TaskId");
    assert_eq!(client.get(&format!("/v1/iocs/rescan/status/{task}"))["Status"], "Done");
}

fn everything_as_a_table(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let many: String = (0..2_500).map(|n| format!("host{n}.example\n")).collect();
    scene.import(&admin, &many);
    admin.restore(
        &scene.source,
        "application/json",
        &json!([{ "value": "evil.example", "user_tags": ["=cmd()", "two"] }]).to_string(),
    );
    let answer = client.ask(
        "GET",
        "/v1-1/iocs/iocs-details-csv?lastUpdatedFrom=2026-01-01T00:00:00.000Z",
        None,
    );
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/csv; charset=utf-8"));
    let table = answer.text();
    assert!(table.starts_with("\"ID\",\"Value\",\"Type\",\"First Seen\""), "{}", &table[..200]);
    assert_eq!(table.lines().count(), 2_502);
    assert!(
        table.contains("\"evil.example\",\"Domains\",\"Tue Nov 03 2026 10:00:00 GMT+0000 (Coord")
            && table.contains("\"'=cmd();two\""),
        "nothing is taken for a formula"
    );
    let all = client.ask("GET", "/v1-1/iocs/iocs-details-csv", None);
    assert_eq!(all.text(), table, "from the beginning unless it says from when");
}

/// Walks 20,000 IOCs (100,000 in the long run) at 1,000 a page while a tenth of them changes.
fn whoever_walks_the_pages_misses_nothing(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let source =
        text(&admin.post("/api/v1/sources", json!({ "name": "Walk", "confidence": 2 }), 201), "id");
    let all: usize = rounds(20_000, 100_000);
    let list: String = (0..all).map(|n| format!("host{n}.example\n")).collect();
    admin.import(&source, "text/plain", &list, 200);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut changed: BTreeSet<String> = BTreeSet::new();
    let (mut offset, mut pages, mut took) = (String::new(), 0, Vec::new());
    loop {
        let begun = std::time::Instant::now();
        let page = client
            .get(&format!("/v3/iocs?lastUpdatedFrom=2026-01-01T00:00:00Z&limit=1000{offset}"));
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        for ioc in page["content"].as_array().unwrap() {
            let value = text(ioc, "value");
            let times = seen.entry(value.clone()).or_default();
            *times += 1;
            assert!(
                *times == 1 || changed.contains(&value),
                "{value} came again, and did not change"
            );
        }
        pages += 1;
        let Some(next) = page["nextOffset"].as_str() else { break };
        offset = format!("&offset={next}");
        // After each of the first pages some change: of those already given, and of those still to
        // come.
        if pages <= all / 1_000 {
            let some: Vec<String> = (0..100)
                .map(|n| format!("host{}.example", (n * 97 + pages * 7_919) % all))
                .collect();
            let tags: Vec<Value> = some
                .iter()
                .map(|value| json!({ "iocValue": value, "tag": format!("page {pages}") }))
                .collect();
            client.post("/v1/iocs/tags", json!(tags));
            changed.extend(some);
        }
    }
    // For people: the cost of a page must not grow with its number.
    let median = |some: &[f64]| {
        let mut sorted = some.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let (first, last) = (&took[..pages / 4], &took[pages - pages / 4..]);
    println!(
        "{pages} pages of {all} IOCs; ms a page, medians of the first and the last quarter: {:.1}, {:.1}",
        median(first),
        median(last)
    );
    assert_eq!(seen.len(), all, "each of them was seen");
    assert!(
        changed.len() > all / 20 && pages > all / 1_000,
        "{} changed, {pages} pages",
        changed.len()
    );
}

fn iocs_retire_by_age_and_come_back(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let list = "203.0.113.9\nhttp://evil.example/x\na@evil.example\nevil.example\n44d88612fea8a8f36de82e1278abb02f\n";
    scene.import(&admin, list);
    let all = [
        "203.0.113.9",
        "44d88612fea8a8f36de82e1278abb02f",
        "a@evil.example",
        "evil.example",
        "http://evil.example/x",
    ];
    scene.settled(&device, &all);
    // In days: 2 weeks, 2 months, 3 months, a year.
    for (days, left) in [
        (13, &all[..]),
        (1, &all[1..]),
        (46, &["44d88612fea8a8f36de82e1278abb02f", "evil.example"]),
        (30, &["44d88612fea8a8f36de82e1278abb02f"]),
        (275, &[]),
    ] {
        app.advance(&admin, &format!("{days}d"));
        scene.settled(&device, left);
    }
    let retired =
        client.get("/v3/iocs?lastUpdatedFrom=2027-07-01T00:00:00Z&status=Retired")["content"]
            .clone();
    assert_eq!(
        (retired.as_array().unwrap().len(), &retired[0]["status"]),
        (1, &json!("Retired")),
        "the last six months are served"
    );
    scene.import(&admin, "203.0.113.9\n");
    scene.settled(&device, &["203.0.113.9"]);
    assert_eq!(client.get("/v3/iocs/ioc-by-value?iocValue=203.0.113.9")["status"], "Active");
}

/// msticpy's provider for the original, from the Python package registry.
fn a_client_of_the_original_works_unchanged(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let hash = "44d88612fea8a8f36de82e1278abb02f";
    let known = json!([
        { "value": hash, "severity": "high", "malware_families": ["sodinokibi"], "threat_actors": ["pinchyspider"], "user_tags": ["mine"], "score": 85.0 },
        { "value": "http://evil.example/x?y=1", "severity": "medium" },
        { "value": "1.2.3.4", "whitelist": "never_sent" }
    ]);
    let report = admin.restore(&scene.source, "application/json", &known.to_string());
    assert_eq!(report["accepted"], 3, "{report}");
    let lookups = json!([
        [hash, "md5_hash"],
        ["http://evil.example/x?y=1", "url"],
        ["1.2.3.4", "ipv4"],
        ["ffffffffffffffffffffffffffffffff", "md5_hash"]
    ]);
    let script = crate::edges::root().join("tests/python/msticpy_client.py");
    let args = [app.url.as_str(), &app.account_id, &client.key, &lookups.to_string()];
    let done = Command::new(std::env::var("IOCAST_PYTHON").unwrap())
        .arg(script)
        .args(args)
        .env("HOME", app.data.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let said: Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&done.stdout)));
    let [rich, url, whitelisted, unknown] = said.as_array().unwrap().as_slice() else {
        panic!("{said}")
    };
    assert_eq!(
        (&rich["found"], &rich["severity"], &rich["details"]["malware"]),
        (&json!(true), &json!("high"), &json!(["sodinokibi"])),
        "{said}"
    );
    assert_eq!(
        (&rich["details"]["threat_actors"], &rich["details"]["tags"], &rich["details"]["score"]),
        (&json!(["pinchyspider"]), &json!(["mine"]), &json!(85))
    );
    assert_eq!((&url["found"], &url["severity"]), (&json!(true), &json!("warning")), "{said}");
    assert_eq!(
        (&whitelisted["details"], &unknown["found"], &unknown["details"]),
        (&json!("Whitelisted."), &json!(false), &json!({})),
        "{said}"
    );
}

/// Has schemathesis make up calls from the OpenAPI document: none may end in 5xx or in an answer
/// that is not described.
fn generated(app: &TestApp, document: &str, authorization: &str, paths: &[&str], least: usize) {
    // The engines differ in what the store does, which other stories look at: one takes fewer.
    let usual = if app.database_url().is_some() { 8 } else { 30 };
    let examples = rounds::<u64>(usual, 100).to_string();
    let python = std::env::var("IOCAST_PYTHON").unwrap();
    let done = Command::new(std::path::Path::new(&python).with_file_name("schemathesis"))
        .args(["run", &format!("{}/api/{document}", app.url), "--header", &format!("Authorization: {authorization}"), "--max-examples", &examples])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .args(["--phases", "examples,fuzzing", "--suppress-health-check", "all", "--no-color"])
        .args(paths)
        .current_dir(app.data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let count = |before: &str, after: &str| {
        said.split(before)
            .nth(1)
            .and_then(|t| t.split(after).next())
            .and_then(|n| n.trim().parse::<usize>().ok())
            .unwrap_or(0)
    };
    let (operations, calls) = (count("Tested:", "\n"), count("Test cases:", " generated"));
    assert!(
        operations >= least && calls > 5 * operations,
        "{operations} operations, {calls} calls: {said}"
    );
}

fn no_generated_call_breaks_the_rest_api(app: &mut TestApp) {
    app.reopen(|config| config.api_calls_per_minute = 0);
    let admin = app.admin();
    let client = Client::new(app, &admin);
    Scene::set(&admin, None);
    generated(app, "threat-command.json", &client.authorization, &[], 60);
}

fn no_generated_call_breaks_the_management_api(app: &mut TestApp) {
    let admin = app.admin();
    Scene::set(&admin, None);
    // What would end the session, lock its person out, or move the clock beyond it is left alone.
    let apart = "/sessions|/users|/password|/emulator|/mail/test";
    generated(
        app,
        "openapi.json",
        &format!("Bearer {}", admin.token),
        &["--include-path-regex", "^/api/v1", "--exclude-path-regex", apart],
        40,
    );
}

fn fixtures_are_loaded_and_emptied(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    assert!(
        text(&admin.post("/api/v1/emulator/fixtures", json!({ "load": "nothing" }), 400), "detail")
            .contains("small (")
    );
    let loaded = admin.post("/api/v1/emulator/fixtures", json!({ "load": "small" }), 200);
    assert_eq!(loaded, json!({ "sources": 5, "iocs": 31, "alerts": 2, "devices": 4, "rules": 4 }));
    assert_eq!(
        admin.post("/api/v1/emulator/fixtures", json!({ "load": "small" }), 409)["code"],
        "fixtures_there"
    );
    let count = |query: &str| client.values(query).len();
    assert_eq!((count(""), count("&status=Retired"), count("&whitelisted=true")), (31, 2, 1));
    for kind in ["Domains", "Urls", "Emails", "IpAddresses", "Hashes"] {
        assert!(
            ["High", "Medium", "Low"]
                .iter()
                .all(|severity| count(&format!("&type={kind}&severity={severity}")) > 0),
            "{kind}"
        );
    }
    app.advance(&admin, "0s");
    let dot = |name: &str| {
        let devices = admin.get("/api/v1/devices");
        let device = devices["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|d| d["name"] == name)
            .unwrap()
            .clone();
        (text(&device["sync"], "status"), text(&device["sync"], "reason"), device["paused"] == true)
    };
    assert_eq!(dot("Fixture synced"), ("green".into(), "synced".into(), false));
    assert_eq!(dot("Fixture silent"), ("red".into(), "silent".into(), false));
    assert_eq!(dot("Fixture not connected"), ("red".into(), "never_pulled".into(), false));
    assert!(dot("Fixture paused").2);
    assert_eq!(
        admin.get("/api/v1/outages?open=true")["items"].as_array().unwrap().len(),
        1,
        "the silent one is told of"
    );
    let alert = client.get("/v1/data/alerts/get-complete-alert/5fd0ef17a1b2c3d4e5f60718");
    assert_eq!(
        (&alert["Details"]["Severity"], &alert["RelatedIocs"]),
        (&json!("High"), &json!(["host94.fixture.example"]))
    );
    assert_eq!(admin.ioc("host94.fixture.example")["alert_id"], "5fd0ef17a1b2c3d4e5f60718");
    assert_eq!(
        client.get("/v1/data/alerts/alerts-list?isClosed=true"),
        json!(["5fd0ef17a1b2c3d4e5f60719"])
    );
    let emptied = admin.delete("/api/v1/emulator/fixtures", 200);
    assert_eq!(emptied, json!({ "sources": 5, "iocs": 31, "alerts": 2, "devices": 4, "rules": 4 }));
    assert_eq!((count(""), admin.get("/api/v1/devices")["items"].clone()), (0, json!([])));
    assert_eq!(client.ask("GET", "/v1/data/alerts/alerts-list", None).status, 204);
    // The same world again.
    assert_eq!(admin.post("/api/v1/emulator/fixtures", json!({ "load": "small" }), 200), loaded);
    assert_eq!(count(""), 31);
    let said = crate::shell::iocast_on(app, &["fixtures", "reset", "--yes"], None);
    assert!(
        app.database_url().is_some()
            || said.contains("Emptied: 5 sources, 31 IOCs, 2 alerts, 4 devices"),
        "{said}"
    );
    app.reopen(|config| config.emulator = false);
    let admin = app.admin();
    admin.post("/api/v1/emulator/fixtures", json!({ "load": "small" }), 404);
}
