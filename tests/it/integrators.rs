//! The exact requests that public clients of Threat Command send, as they were seen: null for what is
//! unset, numbers as texts, values without escapes, paths of the vendor's own apps.

use serde_json::{Value, json};

use crate::{
    lists::source,
    public::Client,
    support::{Admin, TestApp, send, stories, text},
};

stories!(
    insightconnect_and_fortisoar_ask_their_way,
    the_vendor_s_apps_for_elastic_and_splunk_work,
    xsoar_goes_on_from_what_it_was_shown,
    an_unknown_filter_never_widens_an_answer,
    what_is_said_of_unknown_values_is_taken_or_refused,
);

fn alert(client: &Client, title: &str, found: Value, tag: Option<&str>) -> String {
    let body = json!({
        "FoundDate": found,
        "Details": { "Title": title, "Description": null, "Type": "Phishing", "SubType": null, "Severity": "High",
            "Source": { "Type": "Paste Site", "NetworkType": "ClearWeb", "URL": null, "Date": "" }, "Images": null },
    });
    let answer = client.ask("PUT", "/v1/data/alerts/add-alert", Some(body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.text();
    if let Some(tag) = tag {
        let path = format!("/v1/data/alerts/add-tag/{id}");
        assert_eq!(client.ask("PATCH", &path, Some(json!({ "TagName": tag }))).status, 200);
    }
    id
}

pub(crate) fn iocs(admin: &Admin) {
    let list = json!([
        { "value": "a.example", "severity": "high", "user_tags": ["phishing"] },
        { "value": "http://b.example/x?q=1%20&r=2" },
        { "value": "44d88612fea8a8f36de82e1278abb02f" },
    ]);
    admin.import(&source(admin), "application/json", &list.to_string(), 200);
}

fn insightconnect_and_fortisoar_ask_their_way(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    let id = alert(&client, "Phishing site", Value::Null, None);
    // InsightConnect sends each flag that is not set as null.
    let path = "/v1/data/alerts/alerts-list?assigned=null&isFlagged=null&isClosed=null&hasIoc=null&alertType=&severity=";
    assert_eq!(client.get(path), json!([id]));
    // FortiSOAR asks for credits first, and sends milliseconds with a fraction.
    assert!(client.get("/v1/account/used-credits").is_object());
    let path =
        "/v1/data/alerts/alerts-list?foundDateFrom=1767225600000.0&foundDateTo=1893456000000.0";
    assert_eq!(client.get(path), json!([id]));
    assert_eq!(client.get("/v1/data/alerts/alerts-list?sourceType=PasteSites"), json!([id]));
    // Numbers as texts, and null for what is not said.
    let close =
        json!({ "Reason": "ProblemSolved", "FreeText": null, "IsHidden": null, "Rate": "5" });
    assert_eq!(
        client.ask("PATCH", &format!("/v1/data/alerts/close-alert/{id}"), Some(close)).status,
        200
    );
    let of = client.get(&format!("/v1/data/alerts/get-complete-alert/{id}"));
    assert_eq!((&of["Closed"]["Rate"], &of["IsHidden"]), (&json!(5), &json!(false)));
    assert_eq!(
        client.ask("GET", &format!("/v1/data/alerts/takedown-status/{id}"), None).text(),
        "NotSent"
    );
    let document = json!({
        "DocumentDetails": { "Name": "Report 7", "Description": null, "ConfidenceLevel": "3", "Tags": null },
        "Iocs": [{ "Type": "Domains", "Value": "c.example" }, { "Type": "Hashes", "Value": "ab".repeat(64) }],
    });
    let made = client.post("/v1/iocs/add-source", document);
    assert_eq!(made["Data"]["iocSavedCount"], 1);
    assert_eq!(made["Data"]["leftOut"], json!(["ab".repeat(64)]));
    let empty = json!({ "DocumentDetails": { "Name": "Report 8" }, "Iocs": [] });
    assert_eq!(
        client.refused("POST", "/v1/iocs/add-source", Some(empty)),
        (422, "MissingIocs".to_owned())
    );
    // An alert with a picture comes without it, and the answer says so.
    let body = json!({ "Details": { "Title": "With a picture", "Type": "Phishing", "Severity": "Low",
        "Images": [{ "Type": "png", "Data": "AAAA" }] } });
    let answer = client.ask("PUT", "/v1/data/alerts/add-alert", Some(body));
    assert_eq!((answer.status, answer.header("x-left-out")), (200, "Images"));
    // A scenario instead of a type.
    let body = json!({ "Scenario": "ALookAlike", "Details": { "Title": "By scenario", "Severity": "Low", "Source": { "Type": "Paste Site" } } });
    let made = client.ask("PUT", "/v1/data/alerts/add-alert", Some(body)).text();
    let made = client.get(&format!("/v1/data/alerts/get-complete-alert/{made}"));
    assert_eq!(made["Details"]["SubType"], "ALookAlike", "{made}");
    // Chronicle begins some paths with two slashes; older clients write the month first.
    let own = [("authorization", client.authorization())];
    let url = format!("{}//public/v1/data/alerts/takedown-request/{id}", app.url);
    assert_eq!(send("PATCH", &url, &own, None).status, 501);
    let months =
        "lastUpdatedFrom=2026-10-01T00:00:00Z&lastSeenFrom=10/1/2026&lastSeenTo=12/31/2026";
    assert_eq!(client.get(&format!("/v3/iocs?{months}"))["content"].as_array().unwrap().len(), 4);
    // Values without escapes, as XSOAR, InsightConnect and Splunk SOAR send them.
    for value in ["http://b.example/x?q=1%20&r=2", "a.example"] {
        let found = client.get(&format!("/v1/iocs/enrich/{value}"));
        assert_eq!(
            (&found["OriginalValue"], &found["Status"]),
            (&json!(value), &json!("Done")),
            "{found}"
        );
        assert_eq!(found["Data"]["IsKnownIoc"], true, "{found}");
        // XSOAR splits it at the slash.
        assert_eq!(found["Data"]["AntivirusDetectedEngines"], "0/0");
        let details = &found["Data"]["Whois"]["Current"]["RegistrationDetails"];
        assert_eq!((&details["Statuses"], &details["NameServers"]), (&json!([]), &json!([])));
    }
    let escaped = client.get("/v1/iocs/enrich/http%3A%2F%2Fb.example%2Fx%3Fq%3D1%2520%26r%3D2");
    assert_eq!(escaped["Data"]["IsKnownIoc"], true, "{escaped}");
    let hash = client.get("/v1/iocs/enrich/44d88612fea8a8f36de82e1278abb02f");
    let own = json!([{ "Type": "MD5", "Value": "44d88612fea8a8f36de82e1278abb02f" }]);
    assert_eq!(hash["Data"]["RelatedHashes"], own);
    // XSOAR drops an empty list of DNS records, and then deletes it.
    let domain = client.get("/v1/iocs/enrich/a.example");
    assert_eq!(domain["Data"]["DnsRecords"].as_array().unwrap().len(), 1);
    // InsightConnect needs a subtype and a kind of source; a date only where there is one.
    let details = &client.get(&format!("/v1/data/alerts/get-complete-alert/{id}"))["Details"];
    assert_eq!(
        (&details["SubType"], &details["Source"]["Type"]),
        (&json!("Other"), &json!("Paste Site"))
    );
    assert!(details["Source"].get("Date").is_none(), "{details}");
    // A person who is not there is said so: Chronicle takes the first one.
    for (query, code) in
        [("userEmail=nobody@example.com", "InvaliduserEmail"), ("userId=1", "InvaliduserId")]
    {
        let path = format!("/v1/account/users-details?{query}");
        assert_eq!(client.refused("GET", &path, None), (400, code.to_owned()));
    }
    // Words behind commas; a number that is no time in milliseconds is refused.
    for wrong in ["1764547200", "2026", "13/45/2026"] {
        assert_eq!(
            client.refused("GET", &format!("/v3/iocs?lastUpdatedFrom={wrong}"), None).0,
            422,
            "{wrong}"
        );
    }
    let some = client.get("/v3/iocs?lastUpdatedFrom=2026-10-01T00:00:00Z&type=Domains,Hashes");
    assert_eq!(some["content"].as_array().unwrap().len(), 3, "{some}");
    // Its own account ID is no other account; a slash behind a path is none either.
    let own = [("authorization", client.authorization()), ("account-id", app.account_id.as_str())];
    let url = format!("{}/public/v1/api/version", app.url);
    assert_eq!(send("GET", &url, &own, None).status, 200);
    let other =
        [("authorization", client.authorization()), ("account-id", "5f0b5c4e0000400080000000")];
    assert_eq!(send("GET", &url, &other, None).status, 400);
    for path in [
        "/v1/account/system-modules/",
        "/v3/iocs/?lastUpdatedFrom=2026-10-01T00:00:00Z&type[]=Domains",
    ] {
        let answer = client.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_eq!(client.ask("HEAD", "/v1/api/version", None).status, 200);
    assert_eq!(client.ask("GET", "/v1/test-credentials", None).status, 200);
    let modules = client.get("/v1/account/system-modules");
    let names: Vec<&str> = modules.as_object().unwrap().keys().map(String::as_str).collect();
    for name in [
        "Discovery",
        "Remediation",
        "IOC",
        "VirtualAppliance",
        "InvestigationPage",
        "ThreatLibrary",
        "IntelliFind",
        "Cve",
    ] {
        assert!(names.contains(&name), "{modules}");
    }
    let user = client.get("/v1/account/users-details")[0].clone();
    for field in ["FirstName", "LastName", "IsDeleted"] {
        assert!(!user[field].is_null(), "{user}");
    }
    let types = client.get("/v1/data/alerts/types-subtypes-relations");
    let phishing = types["Phishing"].as_array().unwrap();
    assert!(phishing.contains(&json!("RegisteredSuspiciousDomain")), "{types}");
    assert!(client.get("/v1/data/alerts/source-types").as_array().unwrap().len() > 5);
    assert_eq!(
        client.get("/v1/iocs/iocs-values-list?type=Urls")[0]["Value"],
        "http://b.example/x?q=1%20&r=2"
    );
}

fn the_vendor_s_apps_for_elastic_and_splunk_work(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    let id = alert(&client, "Phishing site", Value::Null, None);
    let query = "lastUpdatedFrom=2026-10-01T00:00:00.000Z&limit=1000&syncId=6e7b2b1e-0000-4000-8000-000000000001&type[0]=Domains&type[1]=Urls";
    for path in ["/v2/app/elastic/iocs", "/v2/app/splunk/iocs"] {
        let page = client.get(&format!("{path}?{query}"));
        assert_eq!(page["content"].as_array().unwrap().len(), 2, "{page}");
        assert_eq!(page, client.get(&format!("/v2/iocs?{query}")));
    }
    // The app for Splunk collects what system-modules says, and reads everything in `content`.
    let modules = client.get("/v1/apps/splunk/system-modules")["content"].clone();
    assert_eq!((&modules["IOC"], &modules["Discovery"]), (&json!(true), &json!(true)));
    let feeds = client.get("/v1/apps/splunk/iocs/sources")["content"].clone();
    assert_eq!(feeds, client.get("/v1/iocs/sources"));
    let listed = client.get("/v1/apps/splunk/alerts/list?limit=10000&severity[]=High");
    assert_eq!((&listed["content"][0]["_id"], &listed["nextOffset"]), (&json!(id), &Value::Null));
    let complete = client.get(&format!("/v1/apps/splunk/alerts/complete-alert/{id}"));
    let of = &complete["content"];
    assert_eq!((&of["_id"], &of["details"]["severity"]), (&json!(id), &json!("High")));
    assert_eq!((&of["assignees"], &of["details"]["source"]["url"]), (&json!([]), &json!("")));
    let tag = json!([{ "iocValue": "a.example", "tag": "splunk" }]);
    client.post("/v1/apps/splunk/iocs/tags/batch", tag);
    let comment = json!([{ "iocValue": "a.example", "comment": "Seen in Splunk" }]);
    client.post("/v1/apps/splunk/iocs/comments/batch", comment);
    let found = client.get("/v1/apps/splunk/iocs/investigate/a.example");
    assert_eq!(found["content"]["type"], "Domains", "{found}");
    assert!(found["content"]["tags"].to_string().contains("splunk"), "{found}");
    let none = client.ask("GET", "/v1/apps/splunk/iocs/investigate/no-ioc", None);
    assert_eq!((none.status, &none.json()["error"]["name"]), (400, &json!("Investigation failed")));
    assert_eq!(admin.ioc("a.example")["comments"][0]["text"], "Seen in Splunk");
    // Its whitelist: what people set, from a moment on.
    let whitelist = "/v2/app/splunk/iocs/whitelist";
    client.post(whitelist, json!({ "iocs": [{ "value": "a.example", "whitelisted": true }] }));
    let of = |query: &str| {
        client.get(&format!("{whitelist}?whitelisted=true{query}"))["content"].clone()
    };
    assert_eq!(of("")[0]["value"], "a.example");
    assert_eq!(of("&updatedAfter=2026-10-01T00:00:00Z")[0]["value"], "a.example");
    assert_eq!(of("&updatedAfter=2026-12-01T00:00:00Z"), json!([]));
    for report in ["iocs/sync/report", "alerts/sync-report", "cves/sync-report"] {
        client.post(&format!("/v1/apps/splunk/{report}"), json!({ "syncId": "1" }));
    }
    // The older app reads a table by place, with the times as a browser writes them.
    let own = text(&feeds["IntelligenceFeed"][0], "_id");
    let path = format!(
        "/v1-1/iocs/iocs-details-csv?encloseValueWithQuotes=true&type=Domains&sourceId={own}&lastSeenFrom=1790812800000&severity=High"
    );
    let table = client.ask("GET", &path, None).text();
    let cells: Vec<&str> = table.lines().nth(1).unwrap().trim_matches('"').split("\",\"").collect();
    assert_eq!(
        (cells[1], cells[2], cells[5], cells[6]),
        ("a.example", "Domains", "High", own.as_str())
    );
    assert_eq!(cells[4], "Tue Nov 03 2026 10:00:00 GMT+0000 (Coordinated Universal Time)");
    assert_eq!((cells[7], table.lines().count()), ("Own feed", 2));
}

fn xsoar_goes_on_from_what_it_was_shown(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let all: Vec<String> =
        (0..5).map(|n| alert(&client, &format!("Alert {n}"), Value::Null, None)).collect();
    let pages = |offset: &str| {
        let path = format!(
            "/v1/data/alerts/update-alerts?lastUpdatedFrom=2026-10-01T00:00:00Z&limit=2{offset}"
        );
        client.get(&path)["content"].as_array().unwrap().clone()
    };
    // It makes its offset of the last alert that it was shown.
    let (mut seen, mut offset) = (Vec::new(), String::new());
    for _ in 0..6 {
        let page = pages(&offset);
        let Some(last) = page.last() else { break };
        offset = format!("&offset={}::{}", text(last, "updateDate"), text(last, "_id"));
        seen.extend(page.iter().map(|alert| text(alert, "_id")));
    }
    assert_eq!(seen, all, "each once, and the last one not again and again");
    // What changes comes again, once.
    let severity = json!({ "Severity": "Low" });
    client.ask("PATCH", &format!("/v1/data/alerts/change-severity/{}", all[1]), Some(severity));
    let changed: Vec<String> = pages(&offset).iter().map(|alert| text(alert, "_id")).collect();
    assert_eq!(changed, [all[1].clone()]);
    // QRadar's bookmark is the day on which the last one was found.
    let early = alert(&client, "Found early", json!("2026-10-02T00:00:00Z"), None);
    let by_day = client.get("/v1/data/alerts/alerts-list?foundDateFrom=2026-10-01T00:00:00Z");
    assert_eq!(by_day[0], json!(early));
    assert_eq!(pages("&offset=0").len(), 2);
}

fn an_unknown_filter_never_widens_an_answer(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    let tagged = alert(&client, "Tagged", Value::Null, Some("watch"));
    alert(&client, "Other", Value::Null, None);
    let since = "lastUpdatedFrom=2026-10-01T00:00:00Z";
    // Whether it is named in the singular or in the plural, a source narrows every list.
    let other = "00000000-0000-4000-8000-000000000001";
    let (one, more) = (format!("sourceId={other}"), format!("sourceIds[]={other}"));
    for none in
        ["enterpriseTactics[]=TA0001", "geolocation=DE", "killChainPhases=Delivery", &one, &more]
    {
        let page = client.get(&format!("/v3/iocs?{since}&{none}"));
        assert_eq!(page["content"], json!([]), "{none}");
    }
    assert_eq!(client.get("/v1/data/alerts/alerts-list?tags=WATCH"), json!([tagged]));
    for none in ["geolocation=DE", "matchedAssetValue=x", "tags=none"] {
        let answer = client.ask("GET", &format!("/v1/data/alerts/alerts-list?{none}"), None);
        assert_eq!(answer.status, 204, "{none}: {}", answer.text());
    }
    for path in
        [format!("/v3/iocs?{since}&mood=bad"), "/v1/data/alerts/alerts-list?mood=bad".to_owned()]
    {
        let (status, said) = client.refused("GET", &path, None);
        assert!(status == 422 && said.contains("mood"), "{said}");
    }
    // What narrows nothing is let through.
    let page = client.get(&format!("/v3/iocs?{since}&syncId=1&offset=0&mood=&status=null"));
    assert_eq!(page["content"].as_array().unwrap().len(), 3);
    // An IOC whose source is off has a feed that says so: clients take the first one.
    let own = admin.get("/api/v1/sources")["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["name"] == "Own feed")
        .cloned()
        .unwrap();
    admin.patch(&format!("/api/v1/sources/{}", text(&own, "id")), json!({ "enabled": false }), 200);
    let one = client.get("/v3/iocs/ioc-by-value?iocValue=a.example");
    assert_eq!(one["reportedFeeds"][0]["name"], "No active source");
}

fn what_is_said_of_unknown_values_is_taken_or_refused(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    iocs(&admin);
    // Whitelisting makes what the account lacks: it is never sent when it comes.
    let never = json!({ "iocs": [{ "value": "new.example", "whitelisted": true }] });
    client.post("/v2/iocs/user-whitelist", never);
    assert_eq!(admin.ioc("new.example")["whitelist"], "never_sent");
    // Taking back what was never said is no error.
    for path in ["/v2/iocs/user-whitelist", "/v1/iocs/blocklist"] {
        let answer =
            client.ask("DELETE", path, Some(json!({ "iocs": ["unknown.example", "a.example"] })));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let blocked = json!({ "iocs": ["a.example"] });
    client.post("/v1/iocs/blocklist", blocked);
    let one = client.get("/v3/iocs/ioc-by-value?iocValue=a.example");
    assert!(one["reportedFeeds"].to_string().contains("Remediation Blocklist"), "{one}");
    // What is no IOC takes no tag; a severity that can't be set is told with 200.
    let tag = json!([{ "iocValue": "no ioc at all", "tag": "x" }]);
    assert_eq!(client.refused("POST", "/v1/iocs/tags", Some(tag)).0, 422);
    let severity = json!([{ "iocValue": "unknown.example", "severity": "High" }]);
    let answer = client.ask("PATCH", "/v2/iocs/severity", Some(severity));
    assert_eq!((answer.status, &answer.json()["content"]["success"]), (200, &json!(false)));
    assert_eq!(answer.json()["content"]["reason"], "Invalid IOC values - unknown.example");
    let severity = json!([{ "iocValue": "no ioc at all", "severity": "High" }]);
    let answer = client.ask("PATCH", "/v2/iocs/severity", Some(severity));
    assert_eq!(answer.json()["content"]["reason"], "Invalid IOC values - no ioc at all");
}
