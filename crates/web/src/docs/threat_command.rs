//! The Threat Command part on its own: an OpenAPI document, and a collection of requests for Postman
//! and Bruno made from it.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, http::header, web};
use iocast_app::App;
use iocast_domain::time::DAY;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

/// The document.
pub(crate) struct Document(pub(crate) Value);

const DESCRIPTION: &str = "The part of the Threat Command REST API that feeds devices, as iocast answers it. Basic authentication with account ID and API key. Errors are codes as plain text.";

/// The calls under `/public`, with what they need of the whole document.
pub(crate) fn document(whole: &OpenApi) -> Document {
    let mut document = serde_json::to_value(whole).unwrap_or_default();
    document["info"]["title"] = "Threat Command REST API, as iocast answers it".into();
    document["info"]["description"] = DESCRIPTION.into();
    document["security"] = json!([{ "basic": [] }]);
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|path, _| path.starts_with("/public/"));
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                give_examples(method, path, operation);
            }
        }
    }
    let mut needed = BTreeSet::new();
    let mut found = Vec::new();
    references(&document["paths"], &mut found);
    while let Some(name) = found.pop() {
        if needed.insert(name.clone()) {
            references(&document["components"]["schemas"][&name], &mut found);
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| needed.contains(name));
    }
    if let Some(schemes) = document["components"]["securitySchemes"].as_object_mut() {
        schemes.retain(|name, _| name == "basic");
    }
    Document(document)
}

/// The names of the schemas that a part refers to.
fn references(of: &Value, found: &mut Vec<String>) {
    match of {
        Value::Object(of) => {
            let name = of.get("$ref").and_then(Value::as_str);
            found.extend(
                name.and_then(|name| name.strip_prefix("#/components/schemas/")).map(str::to_owned),
            );
            of.values().for_each(|value| references(value, found));
        }
        Value::Array(of) => of.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// An example for each parameter that a call can't do without, and for the answers that clients read
/// most.
fn give_examples(method: &str, path: &str, operation: &mut Value) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if let Some(example) = parameter["name"].as_str().and_then(example) {
            parameter["example"] = example.into();
        }
    }
    let answer = match (method, path) {
        ("get", "/public/v2/iocs" | "/public/v3/iocs") => {
            json!({ "content": [ioc()], "nextOffset": null })
        }
        ("get", "/public/v3/iocs/ioc-by-value") => ioc(),
        ("get", "/public/v1/data/alerts/alerts-list") => json!(["64f0c0ffee0000000000abcd"]),
        _ => return,
    };
    if let Some(body) = operation.pointer_mut("/responses/200/content/application~1json") {
        body["example"] = answer;
    }
}

fn example(parameter: &str) -> Option<&'static str> {
    Some(match parameter {
        "lastUpdatedFrom" => "2026-11-01T00:00:00.000Z",
        "iocValue" | "value" => "evil.example",
        "id" => "64f0c0ffee0000000000abcd",
        "task" => "0e0f7c52-2c0f-5b0e-9d0b-6a8f5b9f3a11",
        _ => return None,
    })
}

fn ioc() -> Value {
    json!({
        "value": "evil.example", "type": "Domains", "status": "Active", "severity": "High", "score": 85.0,
        "firstSeen": "2026-11-01T10:00:00.000Z", "lastSeen": "2026-11-20T08:30:00.000Z", "lastUpdateDate": "2026-11-20T08:31:02.114Z",
        "whitelisted": false, "tags": ["phishing"], "relatedMalware": [], "relatedCampaigns": [], "relatedThreatActors": [],
        "reportedFeeds": [{ "id": "6a0f3a6a-8f0e-4a6a-9a39-2f4f6f3f9a10", "name": "Own feed", "confidenceLevel": 2 }],
    })
}

/// A collection in the form of Postman 2.1, which Bruno imports as well. Account ID and API key are
/// variables.
fn collection(document: &Value, url: &str, since: &str) -> Value {
    let mut folders: Map<String, Value> = Map::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let folder = operation["tags"][0].as_str().unwrap_or_default();
            let folder = folder.strip_prefix("Threat Command: ").unwrap_or(folder);
            let items = folders.entry(folder).or_insert_with(|| json!([]));
            if let Some(items) = items.as_array_mut() {
                items.push(request(path, method, operation));
            }
        }
    }
    let folder = |(name, item): (String, Value)| json!({ "name": name, "item": item });
    let variable = |key: &str, value: &str| json!({ "key": key, "value": value });
    let basic = |key: &str, value: &str| json!({ "key": key, "value": value, "type": "string" });
    json!({
        "info": {
            "name": "Threat Command REST API (iocast)",
            "description": "Set the variables account_id and api_key.",
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": { "type": "basic", "basic": [basic("username", "{{account_id}}"), basic("password", "{{api_key}}")] },
        "variable": [variable("url", url), variable("account_id", ""), variable("api_key", ""), variable("since", since)],
        "item": folders.into_iter().map(folder).collect::<Vec<_>>(),
    })
}

fn request(path: &str, method: &str, operation: &Value) -> Value {
    let parameters = |place: &str| {
        let of = operation["parameters"].as_array().into_iter().flatten();
        of.filter(|of| of["in"] == place).collect::<Vec<_>>()
    };
    let value = |of: &Value| match of["name"].as_str() {
        Some("lastUpdatedFrom") => "{{since}}".to_owned(),
        _ => of["example"].as_str().unwrap_or_default().to_owned(),
    };
    let query: Vec<Value> = parameters("query")
        .into_iter()
        .map(|of| {
            let is_needed = of["required"] == true;
            json!({ "key": of["name"], "value": value(of), "description": of["description"], "disabled": !is_needed })
        })
        .collect();
    let variable: Vec<Value> = parameters("path")
        .into_iter()
        .map(|of| json!({ "key": of["name"], "value": value(of) }))
        .collect();
    // `{id}` is `:id` there.
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => format!(":{name}"),
            None => part.to_owned(),
        })
        .collect();
    let shown: Vec<String> = query
        .iter()
        .filter(|of| of["disabled"] == false)
        .map(|of| {
            format!(
                "{}={}",
                of["key"].as_str().unwrap_or_default(),
                of["value"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let ask = if shown.is_empty() { "" } else { "?" };
    let mut request = json!({
        "method": method.to_uppercase(),
        "description": operation["description"],
        "header": [],
        "url": {
            "raw": format!("{{{{url}}}}/{}{ask}{}", parts.join("/"), shown.join("&")),
            "host": ["{{url}}"], "path": parts, "query": query, "variable": variable,
        },
    });
    let body = &operation["requestBody"]["content"]["application/json"]["example"];
    if !body.is_null() {
        let text = serde_json::to_string_pretty(body).unwrap_or_default();
        request["body"] =
            json!({ "mode": "raw", "raw": text, "options": { "raw": { "language": "json" } } });
    }
    let name = operation["summary"].as_str().unwrap_or(path).trim_end_matches('.');
    json!({ "name": name, "request": request })
}

pub(crate) async fn json(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok().json(&document.0)
}

pub(crate) async fn postman(app: web::Data<App>, document: web::Data<Document>) -> HttpResponse {
    let since = app.context.now().plus(-30 * DAY).millis();
    let found = collection(&document.0, &app.context.settings.public_url, &since);
    HttpResponse::Ok()
        .insert_header((
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"threat-command.postman.json\"",
        ))
        .json(found)
}
