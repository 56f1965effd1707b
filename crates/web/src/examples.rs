//! One body for each call that takes one, to be copied from the documentation. A story sends every
//! one of them.

use serde_json::{Value, json};
use utoipa::openapi::{HttpMethod, OpenApi, RefOr, path::Operation};

use crate::api::imports::ImportIocIn;

/// Method, path, body.
#[expect(clippy::too_many_lines, reason = "a table of examples")]
fn bodies() -> Vec<(HttpMethod, &'static str, Value)> {
    use HttpMethod::{Delete, Patch, Post, Put};
    let value = "evil.example";
    vec![
        (
            Post,
            "/api/v1/sessions",
            json!({ "email": "admin@example.com", "password": "lamp river seven coat" }),
        ),
        (Post, "/api/v1/password-resets", json!({ "email": "admin@example.com" })),
        (
            Post,
            "/api/v1/passwords",
            json!({ "token": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.x", "password": "lamp river seven coat" }),
        ),
        (
            Patch,
            "/api/v1/account",
            json!({ "silent_after_hours": 24, "webhook_url": "https://hooks.example.com/iocast" }),
        ),
        (
            Patch,
            "/api/v1/account/guards",
            json!({ "own": ["corp.example", "198.51.100.0/24"], "allow": ["good.example"], "off": [] }),
        ),
        (
            Post,
            "/api/v1/account/guards/allow",
            json!({ "add": [{ "value": "partner.example", "comment": "Until the contract ends", "expires_at": "2099-01-01T00:00:00Z" }], "remove": ["good.example"] }),
        ),
        (
            Post,
            "/api/v1/warninglists",
            json!({ "name": "Our update servers", "type": "hostname", "version": 1, "description": "", "matching_attributes": ["domain", "hostname", "url"], "list": ["updates.corp.example"] }),
        ),
        (Patch, "/api/v1/warninglists/{id}", json!({ "mode": "withhold" })),
        (Post, "/api/v1/users", json!({ "email": "analyst@example.com", "role": "analyst" })),
        (Patch, "/api/v1/users/{id}", json!({ "mail_alerts": false })),
        (
            Post,
            "/api/v1/devices",
            json!({ "name": "Lab MISP", "device_type": "misp", "ioc_limit": 50_000 }),
        ),
        (
            Post,
            "/api/v1/devices/batch",
            json!({ "devices": [{ "name": "Firewall 1", "device_type": "panorama", "groups": [{ "name": "Firewall 1 addresses", "kind": "ip" }], "labels": ["site: berlin"] }], "check": true }),
        ),
        (
            Post,
            "/api/v1/devices/changes",
            json!({ "ids": ["00000000-0000-4000-8000-000000000000"], "add_labels": ["dmz"] }),
        ),
        (Patch, "/api/v1/devices/{id}", json!({ "paused": true })),
        (Post, "/api/v1/devices/{id}/groups", json!({ "name": "Perimeter", "limit": 10_000 })),
        (Post, "/api/v1/devices/{id}/keys", json!({})),
        (Patch, "/api/v1/groups/{id}", json!({ "limit": 5_000 })),
        (Post, "/api/v1/groups/{id}/send-again", json!({})),
        (Post, "/api/v1/groups/{id}/freeze", json!({ "publication": 7 })),
        (
            Post,
            "/api/v1/service-tokens",
            json!({ "name": "deploy", "scope": "devices", "expires_in_days": 90 }),
        ),
        (Post, "/api/v1/service-tokens/{id}/rotate", json!({ "overlap_hours": 24 })),
        (Post, "/api/v1/keys", json!({ "kind": "api" })),
        (Post, "/api/v1/keys/{id}/rotate", json!({ "overlap_hours": 24 })),
        (
            Post,
            "/api/v1/rules",
            json!({ "name": "High only", "criteria": { "severities": ["high"] }, "group_ids": [] }),
        ),
        (Patch, "/api/v1/rules/{id}", json!({ "enabled": false })),
        (
            Post,
            "/api/v1/configuration",
            json!({ "version": 1, "sources": [{ "name": "Own list", "confidence": 3 }], "devices": [{ "name": "Lab MISP", "device_type": "misp", "groups": [{ "name": "Lab", "limit": 5_000 }] }], "rules": [{ "name": "Own", "criteria": { "sources": ["Own list"] }, "groups": ["Lab MISP/Lab"] }] }),
        ),
        (Post, "/api/v1/sources", json!({ "name": "Own feed", "confidence": 2 })),
        (
            Put,
            "/api/v1/sources/{id}/subscription",
            json!({ "url": "https://feeds.example.com/list.txt", "every_minutes": 60, "coverage": "full", "grace_hours": 24, "access": "header", "access_name": "Auth-Key", "secret": "lamp river seven coat" }),
        ),
        (Post, "/api/v1/public-feeds/{id}/follow", json!({ "secret": "lamp river seven coat" })),
        (Patch, "/api/v1/sources/{id}", json!({ "confidence": 3 })),
        (Post, "/api/v1/imports/{id}/iocs", json!({ "choice": "leave_out", "ids": [] })),
        (Post, "/api/v1/imports/{id}/take", json!({ "tag": "phishing" })),
        (Patch, "/api/v1/iocs/{id}", json!({ "severity": "high", "comment": "Seen in the lab" })),
        (Post, "/api/v1/mail/test", json!({ "to": "admin@example.com" })),
        (Post, "/api/v1/emulator/clock", json!({ "advance": "49h" })),
        (Post, "/api/v1/emulator/fixtures", json!({ "load": "small" })),
        (Post, "/api/v1/emulator/scenarios", json!({ "run": "ioc_is_whitelisted" })),
        (
            Post,
            "/api/v1/emulator/faults",
            json!({ "path": "/public/v3/iocs", "method": "GET", "times": 2, "status": 429, "retry_after": 1 }),
        ),
        (Post, "/public/v1/iocs/rescan", json!({ "IocValue": value })),
        (Post, "/public/v1/iocs/tags", json!([{ "iocValue": value, "tag": "phishing" }])),
        (
            Post,
            "/public/v1/apps/splunk/iocs/tags/batch",
            json!([{ "iocValue": value, "tag": "splunk" }]),
        ),
        (
            Post,
            "/public/v1/apps/splunk/iocs/comments/batch",
            json!([{ "iocValue": value, "comment": "Seen in Splunk" }]),
        ),
        (
            Post,
            "/public/v2/app/splunk/iocs/whitelist",
            json!({ "iocs": [{ "value": value, "whitelisted": true }] }),
        ),
        (Post, "/public/v1/apps/splunk/iocs/sync/report", json!({ "lastSyncIocs": 3 })),
        (Post, "/public/v1/apps/splunk/alerts/sync-report", json!({ "lastSyncAlerts": 1 })),
        (Post, "/public/v1/apps/splunk/cves/sync-report", json!({ "lastSyncCvesCount": 0 })),
        (Patch, "/public/v2/iocs/severity", json!([{ "iocValue": value, "severity": "High" }])),
        (Post, "/public/v2/iocs/severity", json!([{ "iocValue": value, "severity": "High" }])),
        (
            Post,
            "/public/v1/iocs/comments",
            json!([{ "iocValue": value, "comment": "Seen in the lab" }]),
        ),
        (
            Post,
            "/public/v2/iocs/user-whitelist",
            json!({ "iocs": [{ "value": value, "whitelisted": true }] }),
        ),
        (Delete, "/public/v2/iocs/user-whitelist", json!({ "iocs": [value] })),
        (Post, "/public/v1/iocs/blocklist", json!({ "iocs": [value] })),
        (Delete, "/public/v1/iocs/blocklist", json!({ "iocs": [value] })),
        (
            Post,
            "/public/v1/iocs/add-source",
            json!({ "DocumentDetails": { "Name": "Report 7", "Description": "From the lab", "ConfidenceLevel": 2 }, "Iocs": [{ "Type": "Domains", "Value": value }] }),
        ),
        (
            Post,
            "/public/v1/iocs/add-iocs-to-source/{id}",
            json!({ "Iocs": [{ "Type": "Domains", "Value": value }] }),
        ),
        (
            Put,
            "/public/v1/data/alerts/add-alert",
            json!({ "Details": {
                "Title": "Phishing site", "Description": "A copy of the sign-in page", "Type": "Phishing", "SubType": "SuspiciousPhishingDomain", "Severity": "High",
                "Source": { "Type": "Other", "NetworkType": "ClearWeb" },
            } }),
        ),
        (Patch, "/public/v1/data/alerts/close-alert/{id}", json!({ "Reason": "ProblemSolved" })),
        (Patch, "/public/v1/data/alerts/change-severity/{id}", json!({ "Severity": "Low" })),
        (
            Patch,
            "/public/v1/data/alerts/assign-alert/{id}",
            json!({ "AssigneeID": "64f0c0ffee0000000000abcd" }),
        ),
        (Patch, "/public/v1/data/alerts/add-tag/{id}", json!({ "TagName": "takedown" })),
        (
            Patch,
            "/public/v1/data/alerts/remove-tag/{id}",
            json!({ "TagID": "64f0c0ffee0000000000abcd" }),
        ),
        (
            Patch,
            "/public/v1/data/alerts/change-iocs-blocklist-status/{id}",
            json!({ "Iocs": [{ "Value": value, "BlocklistStatus": "Sent" }] }),
        ),
    ]
}

/// The forms in which IOCs are imported.
fn imports() -> [(&'static str, Value); 4] {
    [
        ("application/json", json!([ImportIocIn::example()])),
        ("text/csv", json!("value,severity\nevil.example,high\n")),
        ("text/plain", json!("evil[.]example\nhxxp://evil[.]example/a\n")),
        ("text/vnd.iocast.report", json!("The site hxxp://evil[.]example/a was seen again.\n")),
    ]
}

fn operation<'a>(
    document: &'a mut OpenApi,
    method: HttpMethod,
    path: &str,
) -> Option<&'a mut Operation> {
    let item = document.paths.paths.get_mut(path)?;
    match method {
        HttpMethod::Post => item.post.as_mut(),
        HttpMethod::Put => item.put.as_mut(),
        HttpMethod::Patch => item.patch.as_mut(),
        HttpMethod::Delete => item.delete.as_mut(),
        _ => None,
    }
}

/// Writes the examples into the document. Gives the places that it does not have.
pub(crate) fn add(document: &mut OpenApi) -> Vec<&'static str> {
    let mut without = Vec::new();
    for (method, path, body) in bodies() {
        if !give(operation(document, method, path), "application/json", body) {
            without.push(path);
        }
    }
    for (form, body) in imports() {
        let import = operation(document, HttpMethod::Post, "/api/v1/sources/{id}/iocs");
        if !give(import, form, body) {
            without.push(form);
        }
    }
    without
}

/// Gives a call its example in one form; false where there is no such call or form.
fn give(operation: Option<&mut Operation>, form: &str, example: Value) -> bool {
    let request = operation.and_then(|operation| operation.request_body.as_mut());
    let Some(RefOr::T(request)) = request else { return false };
    let Some(RefOr::T(content)) = request.content.get_mut(form) else { return false };
    content.example = Some(example);
    true
}
