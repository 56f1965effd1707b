//! Alerts, as far as they feed devices: by the REST API of the original in, by policies out.

use iocast_server::Clock as _;
use serde_json::{Value, json};

use crate::{
    accounts::second_account,
    public::Client,
    support::{Admin, Answer, Scene, TestApp, eventually, stories, text},
    watchdog::HOUR,
};

stories!(
    an_alert_is_made_read_and_changed,
    alerts_are_listed_by_what_is_asked,
    alert_policies_send_the_iocs_of_alerts,
    a_source_and_an_alert_reach_the_device_whole
);

const LIST: &str = "/v1/data/alerts/alerts-list";

fn alert(title: &str, kind: &str, severity: &str, iocs: &[&str]) -> Value {
    json!({
        "FoundDate": "2026-11-02T10:00:00.000Z",
        "Details": {
            "Title": title, "Description": "Seen on a forum", "Type": kind, "SubType": "SuspiciousEmailAddress", "Severity": severity,
            "Source": { "Type": "Paste Site", "NetworkType": "DarkWeb", "URL": "http://forum.example/7", "Date": "2026-11-01T00:00:00.000Z" },
        },
        "RelatedIocs": iocs,
    })
}

fn add(client: &Client, body: Value) -> String {
    let answer = client.ask("PUT", "/v1/data/alerts/add-alert", Some(body));
    assert!(
        answer.status == 200 && answer.header("content-type").starts_with("text/plain"),
        "{}",
        answer.text()
    );
    answer.text()
}

fn patch(client: &Client, what: &str, id: &str, body: Option<Value>) -> Answer {
    client.ask("PATCH", &format!("/v1/data/alerts/{what}/{id}"), body)
}

fn patched(client: &Client, what: &str, id: &str, body: Option<Value>) {
    let answer = patch(client, what, id, body);
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{what}: {}", answer.text());
}

fn complete(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/data/alerts/get-complete-alert/{id}"))
}

/// A rule on alerts, in place of the rule that the scene's group came with.
fn policy(admin: &Admin, scene: &Scene, alerts: Value) -> String {
    for rule in admin.get("/api/v1/rules")["items"].as_array().unwrap() {
        admin.delete(&format!("/api/v1/rules/{}", text(rule, "id")), 204);
    }
    text(&admin.post("/api/v1/rules", json!({ "name": "Alerts", "criteria": { "alerts": alerts }, "group_ids": [scene.group] }), 201), "id")
}

fn an_alert_is_made_read_and_changed(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let id = add(
        &client,
        alert("Look-alike", "Phishing", "High", &["Evil[.]example", "evil.example", "203.0.113.9"]),
    );
    assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let expected = json!({
        "_id": id, "Assets": [], "Assignees": [],
        "Details": {
            "Type": "Phishing", "SubType": "SuspiciousEmailAddress", "Title": "Look-alike", "Description": "Seen on a forum", "Severity": "High", "Images": [],
            "Source": { "Type": "Paste Site", "URL": "http://forum.example/7", "Email": "", "NetworkType": "DarkWeb", "Date": "2026-11-01T00:00:00.000Z" },
            "Tags": [],
        },
        "FoundDate": "2026-11-02T10:00:00.000Z", "UpdateDate": "2026-11-03T10:00:00.000Z", "TakedownStatus": "NotSent", "IsFlagged": false, "IsHidden": false,
        "Closed": { "IsClosed": false }, "RelatedIocs": ["evil.example", "203.0.113.9"], "RelatedThreatIDs": [],
    });
    assert_eq!(complete(&client, &id), expected);
    let ioc = admin.ioc("evil.example");
    assert_eq!((&ioc["alert_id"], &ioc["severity"]), (&json!(id), &json!("high")));
    // Without IOCs, in the words that people write, and with IOCs where the original shows them.
    let bare = add(
        &client,
        json!({ "Details": { "Title": "Bare", "Type": "Attack Indication", "Severity": "low", "RelatedIocs": ["b.example"] } }),
    );
    let shown = complete(&client, &bare);
    assert_eq!(
        (&shown["Details"]["Type"], &shown["Details"]["Source"]["Date"], &shown["RelatedIocs"]),
        (&json!("AttackIndication"), &Value::Null, &json!(["b.example"]))
    );

    app.clock.advance(HOUR);
    patched(&client, "change-severity", &id, Some(json!({ "Severity": "Medium" })));
    let me = text(&client.get("/v1/account/users-details")[0], "_id");
    patched(&client, "assign-alert", &id, Some(json!({ "AssigneeID": me, "IsMssp": false })));
    patched(&client, "add-tag", &id, Some(json!({ "TagName": "Ours" })));
    assert_eq!(
        patch(&client, "add-tag", &id, Some(json!({ "TagName": "Ours" }))).text(),
        "TagExist"
    );
    patched(
        &client,
        "close-alert",
        &id,
        Some(json!({ "Reason": "Problem Solved", "FreeText": "Gone", "Rate": 4 })),
    );
    let now = complete(&client, &id);
    let tag = now["Details"]["Tags"][0].clone();
    assert_eq!(
        (&now["Details"]["Severity"], &now["Assignees"], &tag["Name"], &tag["CreatedBy"]),
        (&json!("Medium"), &json!([me]), &json!("Ours"), &json!("API"))
    );
    assert_eq!(
        now["Closed"],
        json!({ "IsClosed": true, "Reason": "ProblemSolved", "FreeText": "Gone", "Rate": 4 })
    );
    // Each change is later than the one before, as far as clients are shown.
    assert!(text(&now, "UpdateDate").starts_with("2026-11-03T11:00:00.00"), "{now}");
    patched(&client, "reopen-alert", &id, None);
    patched(&client, "unassign-alert", &id, None);
    patched(&client, "remove-tag", &id, Some(json!({ "TagID": tag["_id"] })));
    let again = complete(&client, &id);
    assert_eq!(
        (&again["Closed"], &again["Assignees"], &again["Details"]["Tags"]),
        (&json!({ "IsClosed": false }), &json!([]), &json!([]))
    );
    assert!(admin.get("/api/v1/audit?action=alert.update")["items"].as_array().unwrap().len() >= 7);

    // What can't be done says why.
    for (what, body, status, said) in [
        (
            "assign-alert",
            json!({ "AssigneeID": "5fd0ef17a1b2c3d4e5f60718" }),
            400,
            "InvalidAssigneeID",
        ),
        (
            "assign-alert",
            json!({ "AssigneeID": "00000000-0000-4000-8000-000000000000" }),
            400,
            "InvalidAssigneeID",
        ),
        ("remove-tag", json!({ "TagID": tag["_id"] }), 400, "InvalidTagID"),
        ("change-severity", json!({ "Severity": "Awful" }), 422, "High, Medium, Low"),
        ("close-alert", json!({ "Reason": "Bored" }), 422, "FalsePositive"),
        ("close-alert", json!({ "Reason": "Other", "IsHidden": true }), 422, "FalsePositive"),
        (
            "change-iocs-blocklist-status",
            json!({ "Iocs": [{ "Type": "Domains", "Value": "evil.example", "BlocklistStatus": "Perhaps" }] }),
            422,
            "NotSent",
        ),
        (
            "change-iocs-blocklist-status",
            json!({ "Iocs": [{ "Type": "Domains", "Value": "unknown.example", "BlocklistStatus": "Sent" }] }),
            400,
            "InvalidIocValue",
        ),
    ] {
        let answer = patch(&client, what, &id, Some(body));
        assert!(
            answer.status == status && answer.text().contains(said),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
    }
    for unknown in ["5fd0ef17a1b2c3d4e5f60718", "123"] {
        assert_eq!(
            client.refused("GET", &format!("/v1/data/alerts/get-complete-alert/{unknown}"), None),
            (404, "AlertDoesNotExist".to_owned())
        );
        assert_eq!(patch(&client, "reopen-alert", unknown, None).status, 404);
        assert_eq!(
            client.ask("GET", &format!("/v1/data/alerts/blocklist-status/{unknown}"), None).status,
            404
        );
    }
    let before = client.get(LIST);
    let refused = |body: Value| client.refused("PUT", "/v1/data/alerts/add-alert", Some(body));
    let (status, said) =
        refused(alert("Bad", "Phishing", "High", &["fine.example", "no ioc at all"]));
    assert!(status == 422 && said.contains("`no ioc at all`"), "{said}");
    assert_eq!(admin.ioc("fine.example"), Value::Null, "all or nothing");
    assert!(refused(alert("Bad", "Weather", "High", &[])).1.contains("AttackIndication"));
    assert!(
        refused(json!({ "Details": { "Title": "Of no type", "Severity": "High" } }))
            .1
            .contains("Type is one of")
    );
    assert_eq!(refused(alert(" ", "Phishing", "High", &[])).0, 422);
    let mut pictured = alert("Pictured", "Phishing", "High", &[]);
    pictured["Details"]["Images"] = json!([{ "Type": "image/png", "Data": "" }]);
    let made = client.ask("PUT", "/v1/data/alerts/add-alert", Some(pictured));
    assert_eq!((made.status, made.header("x-left-out")), (200, "Images"));
    let (status, said) = client.refused(
        "PATCH",
        &format!("/v1/data/alerts/takedown-request/{id}"),
        Some(json!({ "Target": "Domain" })),
    );
    assert!(status == 501 && said.contains("takedown-request"), "{said}");
    let mut all = before.as_array().unwrap().clone();
    all.push(json!(made.text()));
    assert_eq!(client.get(LIST), json!(all));
    // Another account sees none of it.
    let (other, account) = second_account(app);
    let stranger = Client::of(app, &other, &text(&account, "account_id"));
    assert_eq!(stranger.ask("GET", LIST, None).status, 204);
    assert_eq!(
        stranger.ask("GET", &format!("/v1/data/alerts/get-complete-alert/{id}"), None).status,
        404
    );
}

fn alerts_are_listed_by_what_is_asked(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    assert_eq!(client.ask("GET", LIST, None).status, 204, "none yet");
    let mut ids = Vec::new();
    for (n, (kind, severity, iocs)) in [
        ("Phishing", "High", vec!["a.example"]),
        ("DataLeakage", "Low", vec![]),
        ("vip", "Medium", vec!["b.example"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = alert(&format!("Alert {n}"), kind, severity, &iocs);
        body["FoundDate"] = json!(format!("2026-11-0{}T00:00:00.000Z", n + 1));
        ids.push(add(&client, body));
        app.clock.advance(HOUR);
    }
    patched(&client, "close-alert", &ids[1], Some(json!({ "Reason": "Other" })));
    let me = text(&client.get("/v1/account/users-details")[0], "_id");
    app.clock.advance(HOUR);
    patched(&client, "assign-alert", &ids[2], Some(json!({ "AssigneeID": me })));
    let day = |n: i64| 1_793_491_200_000 + n * 86_400_000; // 2026-11-01 in milliseconds.
    let by_number = |query: &str| -> Vec<usize> {
        let answer = client.ask("GET", &format!("{LIST}?{query}"), None);
        if answer.status == 204 {
            return Vec::new();
        }
        let found: Vec<String> = serde_json::from_value(answer.json()).unwrap();
        let mut numbers: Vec<usize> =
            found.iter().map(|id| ids.iter().position(|i| i == id).unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    for (query, expected) in [
        ("", vec![0, 1, 2]),
        ("alertType=Phishing,DataLeakage", vec![0, 1]),
        ("alertType=Phishing&alertType=vip", vec![0, 2]),
        ("alertType[0]=Phishing&alertType[1]=vip", vec![0, 2]),
        ("severity=High,Medium", vec![0, 2]),
        ("isClosed=true", vec![1]),
        ("isClosed=False", vec![0, 2]),
        ("assigned=true", vec![2]),
        ("assigned=false", vec![0, 1]),
        ("hasIoc=true", vec![0, 2]),
        ("isFlagged=true", vec![]),
        ("isFlagged=false", vec![0, 1, 2]),
        ("sourceType=PasteSite", vec![0, 1, 2]),
        ("networkType=Clear%20Web", vec![]),
        ("networkType=DarkWeb&severity=Low", vec![1]),
        ("foundDateFrom=2026-11-02T00:00:00.000Z", vec![1, 2]),
        ("sourceDateFrom=2026-11-01T00:00:00.001Z", vec![]),
    ] {
        assert_eq!(by_number(query), expected, "{query}");
    }
    assert_eq!(by_number(&format!("foundDateFrom={}&foundDateTo={}", day(1), day(1))), [1]);
    assert_eq!(client.get("/v2/data/alerts/alerts-list"), client.get(LIST));
    for wrong in
        ["alertType=Weather", "severity=Awful", "isClosed=perhaps", "foundDateFrom=yesterday"]
    {
        assert_eq!(client.refused("GET", &format!("{LIST}?{wrong}"), None).0, 422, "{wrong}");
    }
    // Page by page in order of the last change.
    let updates = |query: &str| client.get(&format!("/v1/data/alerts/update-alerts?{query}"));
    let (mut seen, mut offset) = (Vec::new(), String::new());
    loop {
        let page = updates(&format!("limit=1{offset}"));
        seen.extend(page["content"].as_array().unwrap().iter().map(|a| text(a, "_id")));
        let Some(next) = page["nextOffset"].as_str() else { break };
        assert!(next.contains("::"), "{next}");
        offset = format!("&offset={next}");
    }
    assert_eq!(seen, ids);
    assert_eq!(
        updates("lastUpdatedFrom=2026-11-03T14:00:00.000Z")["content"],
        json!([{ "_id": ids[2], "updateDate": "2026-11-03T14:00:00.000Z" }])
    );
    assert_eq!(client.refused("GET", "/v1/data/alerts/update-alerts?offset=zzz", None).0, 422);
}

fn alert_policies_send_the_iocs_of_alerts(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let past = add(&client, alert("Past", "Phishing", "High", &["past.example"]));
    scene.import(&admin, "other.example\n");
    app.clock.advance(HOUR);
    let rule =
        policy(&admin, &scene, json!({ "types": ["Phishing", "vip"], "severities": ["high"] }));
    scene.settled(&device, &[]);
    let new = add(&client, alert("New", "Phishing", "High", &["new.example"]));
    let low = add(&client, alert("Low", "vip", "Low", &["low.example"]));
    add(&client, alert("Leak", "DataLeakage", "High", &["leak.example"]));
    scene.settled(&device, &["new.example"]);
    let comment = text(&device.feed(&scene.url).find("new.example").1, "comment");
    assert!(comment.contains(&format!("Alert ID: {new}")), "{comment}");
    // Its severity decides, whenever it is changed.
    patched(&client, "change-severity", &low, Some(json!({ "Severity": "High" })));
    scene.settled(&device, &["low.example", "new.example"]);
    patched(&client, "change-severity", &new, Some(json!({ "Severity": "Low" })));
    scene.settled(&device, &["low.example"]);
    // Closing calls nothing back.
    patched(&client, "close-alert", &low, Some(json!({ "Reason": "Problem Solved" })));
    // Something else is changed, and since when it acts stays; then past alerts are asked for.
    let criteria = admin.get(&format!("/api/v1/rules/{rule}"))["criteria"].clone();
    assert_eq!(criteria["alerts"]["since"], "2026-11-03T11:00:00.000000Z");
    app.clock.advance(HOUR);
    admin.patch(&format!("/api/v1/rules/{rule}"), json!({ "criteria": criteria }), 200);
    scene.settled(&device, &["low.example"]);
    admin.patch(
        &format!("/api/v1/rules/{rule}"),
        json!({ "criteria": { "alerts": { "severities": ["high"], "past": true } } }),
        200,
    );
    scene.settled(&device, &["leak.example", "low.example", "past.example"]);
    assert_eq!(admin.ioc("past.example")["alert_id"], past);
    // The blocklist of an alert, through a rule that takes it.
    let status = |value: &str, to: &str| json!({ "Iocs": [{ "Type": "Domains", "Value": value, "BlocklistStatus": to }] });
    assert_eq!(
        client.get(&format!("/v1/data/alerts/blocklist-status/{new}")),
        json!([{ "Type": "Domains", "Value": "new.example", "Status": "NotSent" }])
    );
    admin.patch(&format!("/api/v1/rules/{rule}"), json!({ "criteria": { "blocklist": true, "alerts": { "severities": ["medium"], "past": true } } }), 200);
    scene.settled(&device, &[]);
    patched(&client, "change-iocs-blocklist-status", &new, Some(status("new.example", "Sent")));
    patched(&client, "change-iocs-blocklist-status", &new, Some(status("new.example", "Sent")));
    assert_eq!(client.get(&format!("/v1/data/alerts/blocklist-status/{new}"))[0]["Status"], "Sent");
    scene.settled(&device, &["new.example"]);
    patched(&client, "change-iocs-blocklist-status", &new, Some(status("new.example", "Not Sent")));
    scene.settled(&device, &[]);
}

/// Add a source by REST → device pulls it as a MISP event with the right severity, confidence,
/// alert ID, tags.
fn a_source_and_an_alert_reach_the_device_whole(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let scene = Scene::set(&admin, None);
    let device = app.device();
    let document = json!({
        "DocumentDetails": { "Name": "Case 7", "Description": "From a case", "ConfidenceLevel": 1, "Severity": "medium", "Tags": ["case 7"] },
        "Iocs": [{ "Type": "Domains", "Value": "evil.example" }],
    });
    assert_eq!(client.post("/v1/iocs/add-source", document)["Success"], true);
    let id = add(&client, alert("Look-alike", "Phishing", "High", &["evil.example"]));
    eventually("the device gets everything", || {
        let feed = device.feed(&scene.url);
        let (event, attribute) = feed.attributes().find(|(_, a)| a["value"] == "evil.example")?;
        let tags: Vec<String> =
            attribute["Tag"].as_array().unwrap().iter().map(|t| text(t, "name")).collect();
        let has = |part: &str| tags.iter().any(|t| t.contains(part));
        let comment = text(attribute, "comment");
        let whole = has("severity=\"high\"")
            && has("case 7")
            && has("source=\"Case 7\"")
            && has("source=\"Alerts\"")
            && has("completely-confident");
        (whole
            && comment.contains(&format!("Alert ID: {id}"))
            && text(event, "info") == "Perimeter - 2026-11-03")
            .then_some(())
    });
}
