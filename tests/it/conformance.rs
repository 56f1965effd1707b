//! Every request that public clients of Threat Command send is sent, and the page that says what came
//! of it is compared with the one in the handbook.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    edges::root,
    lists::source,
    public::Client,
    support::{Admin, TestApp, send, stories, text},
};

stories!(every_request_of_every_client);

#[derive(Deserialize)]
struct Clients {
    client: Vec<Program>,
}

/// A client of the original.
#[derive(Deserialize)]
struct Program {
    name: String,
    version: String,
    source: String,
    headers: BTreeMap<String, String>,
    call: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    name: String,
    method: String,
    path: String,
    body: Option<String>,
    status: Vec<u16>,
    needs: Vec<String>,
    calls_missing: bool,
    /// Why it can't pass.
    fails: Option<String>,
}

#[derive(Deserialize)]
struct Differences {
    difference: Vec<Difference>,
}

#[derive(Deserialize)]
struct Difference {
    call: String,
    note: String,
}

/// What placeholders of one request stand for: IOCs, an alert and a source of its own, so that what
/// one request changes is not in the way of the next.
struct World<'a> {
    app: &'a TestApp,
    client: &'a Client,
    user: Value,
}

const KINDS: [&str; 4] = ["{domain}", "{url}", "{ip}", "{hash}"];

fn ioc(kind: &str, n: usize) -> String {
    match kind {
        "{domain}" => format!("d{n}.conformance.example"),
        "{url}" => format!("http://d{n}.conformance.example/a?b=1"),
        "{ip}" => format!("2001:db8::{n:x}"),
        _ => format!("{n:032x}"),
    }
}

impl World<'_> {
    /// A request's text with everything in its place.
    fn filled(&self, of: &str, n: usize) -> String {
        let mut filled = of.to_owned();
        for kind in KINDS {
            filled = filled.replace(kind, &ioc(kind, n));
        }
        let quoted = |text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            let one =
                |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
            text.bytes().map(one).collect::<String>()
        };
        let email = text(&self.user, "Email");
        filled = filled
            .replace("{url_quoted}", &quoted(&ioc("{url}", n)))
            .replace("{name}", &format!("Conformance {n}"))
            .replace("{account}", &self.app.account_id)
            .replace("{user}", &text(&self.user, "_id"))
            .replace("{email_quoted}", &quoted(&email))
            .replace("{email}", &email);
        if filled.contains("{alert}") || filled.contains("{tag}") {
            let (alert, tag) = self.alert(n);
            filled = filled.replace("{alert}", &alert).replace("{tag}", &tag);
        }
        if filled.contains("{source}") {
            let document = json!({ "DocumentDetails": { "Name": format!("Document {n}"), "Tags": ["case"] }, "Iocs": [{ "Type": "Domains", "Value": ioc("{domain}", n) }] });
            let made = self.client.post("/v1/iocs/add-source", document);
            filled = filled.replace("{source}", &text(&made["Data"]["sourceDetails"], "_id"));
        }
        if filled.contains("{task}") {
            let task =
                self.client.post("/v1/iocs/rescan", json!({ "IocValue": ioc("{domain}", n) }));
            filled = filled.replace("{task}", &text(&task, "TaskId"));
        }
        filled
    }

    fn alert(&self, n: usize) -> (String, String) {
        let body = json!({
            "FoundDate": "2026-10-05T10:00:00.000Z",
            "Details": {
                "Title": format!("Alert {n}"), "Type": "Phishing", "Severity": "High",
                "Source": { "Type": "Paste Site", "NetworkType": "ClearWeb", "Date": "2026-10-05" },
            },
            "RelatedIocs": [ioc("{domain}", n)],
        });
        let id = self.client.ask("PUT", "/v1/data/alerts/add-alert", Some(body)).text();
        let tag = format!("/v1/data/alerts/add-tag/{id}");
        assert_eq!(self.client.ask("PATCH", &tag, Some(json!({ "TagName": "watch" }))).status, 200);
        let found = self.client.get(&format!("/v1/data/alerts/get-complete-alert/{id}"));
        let tag = text(&found["Details"]["Tags"][0], "_id");
        (id, tag)
    }

    /// Sends a request as the client does. Gives `pass`, the status of what is not emulated, or what
    /// is wrong.
    fn result(&self, program: &Program, call: &Call, n: usize) -> String {
        // Path and body are about the same things.
        let both = format!("{}\n{}", call.path, call.body.as_deref().unwrap_or_default());
        let both = self.filled(&both, n);
        let (path, body) = both.split_once('\n').unwrap();
        let body = Some(body).filter(|_| call.body.is_some());
        let mut headers =
            vec![("authorization".to_owned(), self.client.authorization().to_owned())];
        for (name, value) in &program.headers {
            headers.push((name.clone(), self.filled(value, n)));
        }
        if body.is_some() && !program.headers.keys().any(|k| k.eq_ignore_ascii_case("content-type"))
        {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let url = format!("{}{path}", self.app.url);
        let answer = send(&call.method, &url, &headers, body.map(str::as_bytes));
        if answer.status == 501 {
            return "501".to_owned();
        }
        if !call.status.contains(&answer.status) {
            return format!("FAILS: status {} ({})", answer.status, answer.text());
        }
        if answer.status == 200 && !call.needs.is_empty() {
            let found = answer.json();
            if let Some(need) =
                call.needs.iter().find(|need| at(&found, need).is_none_or(Value::is_null))
            {
                return format!("FAILS: without {need}");
            }
        }
        "pass".to_owned()
    }
}

/// The value at a place such as `content[0].value`.
fn at<'a>(value: &'a Value, place: &str) -> Option<&'a Value> {
    let mut found = value;
    for part in place.split('.') {
        let (name, index) = part.split_once('[').map_or((part, None), |(n, i)| (n, Some(i)));
        if !name.is_empty() {
            found = found.get(name)?;
        }
        if let Some(index) = index {
            found = found.get(index.trim_end_matches(']').parse::<usize>().unwrap())?;
        }
    }
    Some(found)
}

/// The calls of iocast: method and path, and the parameters that each knows.
fn known() -> BTreeMap<(String, String), BTreeSet<String>> {
    let document = iocast_server::threat_command_openapi();
    let mut known = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let names = operation["parameters"].as_array().into_iter().flatten();
            let names = names.filter(|of| of["in"] == "query").map(|of| text(of, "name")).collect();
            known.insert((method.to_uppercase(), path.clone()), names);
        }
    }
    known
}

/// Which call of iocast a request is, or else the path as it was sent.
fn pattern(known: &BTreeMap<(String, String), BTreeSet<String>>, call: &Call) -> String {
    let path = call.path.split('?').next().unwrap().replace("//public", "/public");
    let path = path.trim_end_matches('/');
    let is = |pattern: &str| {
        let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) | (Some("{value}"), Some(_)) => return true,
                (Some(w), Some(g)) if w == g || w.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let found = known.keys().find(|(method, pattern)| *method == call.method && is(pattern));
    // Ids of things that are not here have one name.
    let is_id = |part: &str| {
        part.starts_with('{') || (part.len() == 24 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let named = |part| if is_id(part) { "{id}" } else { part };
    found.map_or_else(
        || path.split('/').map(named).collect::<Vec<_>>().join("/"),
        |(_, pattern)| pattern.clone(),
    )
}

/// The names of a request's parameters, without what is in brackets.
fn parameters(call: &Call) -> BTreeSet<String> {
    let query = call.path.split_once('?').map_or("", |(_, query)| query);
    let name = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().replace("%5B", "[");
        name.split('[').next().unwrap_or_default().to_owned()
    };
    query.split('&').map(name).filter(|name| !name.is_empty() && !name.contains('{')).collect()
}

/// A row of the table of calls.
#[derive(Default)]
struct Row {
    parameters: BTreeSet<String>,
    programs: BTreeSet<String>,
    results: BTreeSet<String>,
}

fn every_request_of_every_client(app: &mut TestApp) {
    let admin = app.admin();
    let client = Client::new(app, &admin);
    let read = |name: &str| fs::read_to_string(root().join("tests").join(name)).unwrap();
    let Clients { client: programs } = toml::from_str(&read("clients.toml")).unwrap();
    let Differences { difference: differences } =
        toml::from_str(&read("differences.toml")).unwrap();
    let known = known();
    let calls: usize = programs.iter().map(|program| program.call.len()).sum();
    furnish(&admin, calls);
    let user = client.get("/v1/account/users-details")[0].clone();
    let world = World { app, client: &client, user };
    world.alert(calls);

    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let mut of_programs = String::new();
    let mut n = 0;
    let mut failed = Vec::new();
    for program in &programs {
        let mut lines = String::new();
        let mut passed = 0;
        for call in &program.call {
            let result = world.result(program, call, n);
            n += 1;
            let result = match &call.fails {
                Some(why) if result.starts_with("FAILS") => format!("fails: {why}"),
                _ => result,
            };
            if (result != "pass" && !call.calls_missing) && !result.starts_with("fails: ") {
                let Call { name, method, path, .. } = call;
                failed.push(format!("{}, {name}: {method} {path}: {result}", program.name));
            }
            let pattern = pattern(&known, call);
            let row = rows.entry((pattern.clone(), call.method.clone())).or_default();
            row.parameters.extend(parameters(call));
            row.programs.insert(program.name.clone());
            row.results.insert(result.clone());
            passed += usize::from(result == "pass");
            writeln!(lines, "| {} | `{} {pattern}` | {} |", call.name, call.method, word(&result))
                .unwrap();
        }
        let Program { name, version, source, .. } = program;
        write!(of_programs, "\n## {name} {version}\n\n{}. {passed} of {} calls pass.\n\n| what it does | call | here |\n|---|---|---|\n{lines}", source.trim_end_matches('.'), program.call.len()).unwrap();
    }
    assert!(failed.is_empty(), "{failed:#?}");
    for Difference { call, .. } in &differences {
        let (method, path) = call.split_once(' ').unwrap();
        assert!(known.contains_key(&(method.to_owned(), path.to_owned())), "{call}");
    }
    let page = page(&known, &rows, &differences, &of_programs);
    let written =
        fs::read_to_string(root().join("web-templates/help/conformance.md")).unwrap_or_default();
    if page != written {
        fs::write(root().join("target/conformance.md"), &page).unwrap();
        panic!(
            "web-templates/help/conformance.md is not what this run gives. If the change is meant: cp target/conformance.md web-templates/help/"
        );
    }
}

fn word(result: &str) -> &str {
    if result == "501" { "not emulated" } else { result }
}

fn page(
    known: &BTreeMap<(String, String), BTreeSet<String>>,
    rows: &BTreeMap<(String, String), Row>,
    differences: &[Difference],
    of_programs: &str,
) -> String {
    let mut page = String::from(
        "# What of Threat Command is emulated\n\nEvery call that public clients of the original send, and what iocast answers. The tests send each of them and write this page: it \
         belongs to this version.\n\n## Calls\n\n**not emulated** is status 501. A filter that a call does not know is refused with 422; parameters in brackets are taken and change \
         nothing.\n\n| call | parameters | here | clients |\n|---|---|---|---|\n",
    );
    for ((path, method), row) in rows {
        let of = known.get(&(method.clone(), path.clone()));
        let shown = |name: &String| match of {
            Some(of) if !of.contains(name) => format!("({name})"),
            _ => name.clone(),
        };
        let parameters: Vec<String> = row.parameters.iter().map(shown).collect();
        let here = if row.results.contains("pass") {
            let call = format!("{method} {path}");
            let note = differences.iter().find(|of| of.call == call);
            note.map_or_else(|| "as there".to_owned(), |of| format!("differs: {}", of.note))
        } else {
            "not emulated".to_owned()
        };
        writeln!(
            page,
            "| `{method} {path}` | {} | {here} | {} |",
            parameters.join(", "),
            row.programs.len()
        )
        .unwrap();
    }
    page.push_str("\nCalls that iocast answers and none of these clients sends: ");
    let silent =
        known.keys().filter(|(method, path)| !rows.contains_key(&(path.clone(), method.clone())));
    let silent: Vec<String> = silent.map(|(method, path)| format!("`{method} {path}`")).collect();
    page.push_str(&silent.join(", "));
    page.push_str(".\n");
    page.push_str(of_programs);
    page
}

/// The IOCs that requests ask for, and a few alike to fill lists.
fn furnish(admin: &Admin, calls: usize) {
    let list: Vec<Value> = (0..=calls)
        .flat_map(|n| KINDS.map(|kind| json!({ "value": ioc(kind, n), "severity": "medium", "user_tags": ["known"] })))
        .collect();
    admin.import(&source(admin), "application/json", &json!(list).to_string(), 200);
}
