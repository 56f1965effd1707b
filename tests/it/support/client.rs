//! People, scripts and devices, as they speak HTTP.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use ureq::{Agent, RequestExt as _, http};

pub(crate) fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

pub(crate) fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Answer {
    try_send(method, url, headers, body).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
}

/// The same where the answer may break off.
pub(crate) fn try_send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Answer, ureq::Error> {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let agent = agent();
    let answer = match body {
        Some(body) => request
            .body(body)
            .unwrap()
            .with_agent(&agent)
            .configure()
            .allow_non_standard_methods(true)
            .run(),
        None => request
            .body(())
            .unwrap()
            .with_agent(&agent)
            .configure()
            .allow_non_standard_methods(true)
            .run(),
    };
    let mut answer = answer?;
    let body = answer.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
}

/// A signed-in administrator.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Admin {
    /// The same session at another address.
    pub(crate) fn moved_to(self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self }
    }

    pub(crate) fn sign_in(url: &str, email: &str, password: &str) -> Self {
        let body = json!({ "email": email, "password": password }).to_string();
        let answer = send(
            "POST",
            &format!("{url}/api/v1/sessions"),
            &[("content-type", "application/json")],
            Some(body.as_bytes()),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
        Self { url: url.to_owned(), token: super::text(&answer.json(), "token") }
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        send(method, &format!("{}{path}", self.url), &all, body)
    }

    fn call(&self, method: &str, path: &str, body: Option<Value>, expected: u16) -> Value {
        let body = body.map(|b| b.to_string());
        let answer = self.send(
            method,
            path,
            &[("content-type", "application/json")],
            body.as_deref().map(str::as_bytes),
        );
        assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, None, 200)
    }

    pub(crate) fn get_status(&self, path: &str) -> u16 {
        self.send("GET", path, &[], None).status
    }

    pub(crate) fn post(&self, path: &str, body: Value, expected: u16) -> Value {
        self.call("POST", path, Some(body), expected)
    }

    pub(crate) fn put(&self, path: &str, body: Value, expected: u16) -> Value {
        self.call("PUT", path, Some(body), expected)
    }

    pub(crate) fn patch(&self, path: &str, body: Value, expected: u16) -> Value {
        self.call("PATCH", path, Some(body), expected)
    }

    pub(crate) fn delete(&self, path: &str, expected: u16) -> Value {
        self.call("DELETE", path, None, expected)
    }

    pub(crate) fn import(
        &self,
        source: &str,
        content_type: &str,
        body: &str,
        expected: u16,
    ) -> Value {
        let answer = self.send(
            "POST",
            &format!("/api/v1/sources/{source}/iocs"),
            &[("content-type", content_type)],
            Some(body.as_bytes()),
        );
        assert_eq!(answer.status, expected, "import: {}", answer.text());
        answer.json()
    }

    /// Restores an export: what people decided comes with it.
    pub(crate) fn restore(&self, source: &str, content_type: &str, body: &str) -> Value {
        let path = format!("/api/v1/sources/{source}/iocs?restore=true");
        let answer =
            self.send("POST", &path, &[("content-type", content_type)], Some(body.as_bytes()));
        assert_eq!(answer.status, 200, "restore: {}", answer.text());
        answer.json()
    }

    /// Trusts a source as much as there is.
    pub(crate) fn trust(&self, source: &str) {
        self.patch(
            &format!("/api/v1/sources/{source}"),
            serde_json::json!({ "confidence": 3 }),
            200,
        );
    }

    pub(crate) fn dot(&self, device: &str) -> (String, String) {
        let sync = self.get(&format!("/api/v1/devices/{device}"))["sync"].clone();
        (super::text(&sync, "status"), super::text(&sync, "reason"))
    }

    /// The id of the IOC with this value.
    pub(crate) fn ioc(&self, value: &str) -> Value {
        let list = self
            .get(&format!("/api/v1/iocs?value={}", value.replace(':', "%3A").replace('/', "%2F")));
        list["items"][0].clone()
    }
}

/// Something that pulls, as MISP does.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    authorization: String,
}

impl Device {
    pub(crate) fn new(user: &str, key: &str) -> Self {
        Self { authorization: basic(user, key) }
    }

    pub(crate) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", url, headers)
    }

    pub(crate) fn request(&self, method: &str, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.try_request(method, url, headers).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
    }

    /// The same where the answer may break off.
    pub(crate) fn try_request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let mut all = vec![
            ("authorization", self.authorization.as_str()),
            ("user-agent", "MISP 2.5.1 - #abc"),
            ("misp-version", "2.5.1"),
            ("misp-uuid", "7c5e1d3a-0000-4000-8000-000000000001"),
        ];
        all.extend_from_slice(headers);
        try_send(method, url, &all, None)
    }

    /// Pulls as the MISP that it is: the manifest, and every event.
    pub(crate) fn pull(&self, url: &str) {
        let manifest = self.get(&format!("{url}/manifest.json"), &[]).json();
        for id in manifest.as_object().unwrap().keys() {
            assert_eq!(self.get(&format!("{url}/{id}.json"), &[]).status, 200);
        }
    }

    /// Reads the whole feed: manifest, every event, hashes.
    pub(crate) fn feed(&self, url: &str) -> Feed {
        loop {
            let manifest = self.get(&format!("{url}/manifest.json"), &[]);
            assert_eq!(manifest.status, 200, "{}", manifest.text());
            let manifest: BTreeMap<String, Value> = serde_json::from_slice(&manifest.body).unwrap();
            let events: Option<BTreeMap<String, Value>> = manifest
                .keys()
                .map(|id| {
                    // As no MISP in particular: it gets what those get that had the event before.
                    let key = [("authorization", self.authorization.as_str())];
                    let answer = send("GET", &format!("{url}/{id}.json"), &key, None);
                    (answer.status == 200).then(|| (id.clone(), answer.json()["Event"].clone()))
                })
                .collect();
            let hashes = self.get(&format!("{url}/hashes.csv"), &[]).text();
            let again: BTreeMap<String, Value> =
                serde_json::from_slice(&self.get(&format!("{url}/manifest.json"), &[]).body)
                    .unwrap();
            // A publication in the middle of the walk: walk again.
            if let Some(events) = events.filter(|_| again == manifest) {
                return Feed { manifest, events, hashes };
            }
        }
    }
}

/// A pulled feed.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) manifest: BTreeMap<String, Value>,
    pub(crate) events: BTreeMap<String, Value>,
    pub(crate) hashes: String,
}

impl Feed {
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.events.values().flat_map(|event| {
            event["Attribute"].as_array().unwrap().iter().map(move |a| (event, a))
        })
    }

    /// The live values, sorted.
    pub(crate) fn live(&self) -> Vec<String> {
        let mut values: Vec<String> = self
            .attributes()
            .filter(|(_, a)| a["deleted"] != true)
            .map(|(_, a)| super::text(a, "value"))
            .collect();
        values.sort();
        values
    }

    /// The values listed as deleted, sorted.
    pub(crate) fn tombstones(&self) -> Vec<String> {
        let mut values: Vec<String> = self
            .attributes()
            .filter(|(_, a)| a["deleted"] == true)
            .map(|(_, a)| super::text(a, "value"))
            .collect();
        values.sort();
        values
    }

    /// The event and attribute in which a value is live.
    pub(crate) fn find(&self, value: &str) -> (Value, Value) {
        let found = self.attributes().find(|(_, a)| a["value"] == value && a["deleted"] != true);
        let (event, attribute) = found.unwrap_or_else(|| panic!("{value} is not live"));
        (event.clone(), attribute.clone())
    }

    pub(crate) fn infos(&self) -> Vec<String> {
        let mut infos: Vec<String> = self.events.values().map(|e| super::text(e, "info")).collect();
        infos.sort();
        infos
    }

    pub(crate) fn stamp(&self, event: &str) -> i64 {
        self.manifest[event]["timestamp"].as_i64().unwrap()
    }
}
