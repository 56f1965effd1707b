//! A recording as an HTTP Archive (HAR 1.2), as browsers and debuggers open it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use iocast_app::inflate_start;
use serde_json::{Value, json};

use super::recording::{BODY_MAX, Exchange, Kept, Recorded};

/// What a client asked and was answered, the oldest first.
pub(crate) fn har(client: &Recorded) -> Value {
    json!({ "log": {
        "version": "1.2",
        "creator": { "name": "iocast", "version": env!("CARGO_PKG_VERSION") },
        "comment": format!(
            "The last {} of {} requests of {} from {}. Secrets are replaced; times are the product's.",
            client.exchanges.len(), client.requests, client.who.user_agent, client.who.address
        ),
        "entries": client.exchanges.iter().map(entry).collect::<Vec<_>>(),
    } })
}

fn entry(exchange: &Exchange) -> Value {
    let Exchange {
        at,
        method,
        url,
        version,
        sent,
        body,
        status,
        reason,
        got,
        answer,
        is_cut,
        fault,
        waited,
        received,
    } = exchange;
    let milliseconds = |span: &std::time::Duration| span.as_secs_f64() * 1e3;
    let mut request = json!({
        "method": method, "url": url, "httpVersion": version, "cookies": [],
        "headers": pairs(sent), "queryString": query(url), "headersSize": -1, "bodySize": body.size,
    });
    if body.size > 0 {
        let mut post = text(body, sent);
        post["mimeType"] = named(sent, "content-type").unwrap_or_default().into();
        request["postData"] = post;
    }
    let mut content = text(answer, got);
    let unpacked = content["text"].as_str().map_or(0, str::len) as u64;
    let is_packed = named(got, "content-encoding").is_some();
    content["size"] = if is_packed { unpacked } else { answer.size }.into();
    content["mimeType"] = named(got, "content-type").unwrap_or_default().into();
    let mut notes = Vec::new();
    if let Some(fault) = fault {
        notes.push(format!("It met the fault {fault}."));
    }
    if *is_cut {
        notes.push("The answer was not sent to its end.".to_owned());
    }
    json!({
        "startedDateTime": at.millis(),
        "time": milliseconds(waited) + milliseconds(received),
        "request": request,
        "response": {
            "status": status, "statusText": reason, "httpVersion": version, "cookies": [],
            "headers": pairs(got), "content": content, "redirectURL": named(got, "location").unwrap_or_default(),
            "headersSize": -1, "bodySize": answer.size,
        },
        "cache": {},
        "timings": { "send": 0, "wait": milliseconds(waited), "receive": milliseconds(received) },
        "comment": notes.join(" "),
    })
}

fn pairs(of: &[(String, String)]) -> Value {
    of.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn named<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
}

fn query(url: &str) -> Value {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}

/// A body as text, unpacked; as base64 where it is none.
fn text(body: &Kept, headers: &[(String, String)]) -> Value {
    let is_packed = named(headers, "content-encoding") == Some("gzip");
    let unpacked = || inflate_start(&body.bytes, BODY_MAX as u64).ok().filter(|_| is_packed);
    let bytes = unpacked().unwrap_or_else(|| body.bytes.clone());
    let is_whole = body.size <= BODY_MAX as u64 && bytes.len() < BODY_MAX;
    let mut shown = match std::str::from_utf8(&bytes) {
        Ok(text) => json!({ "text": text }),
        // Cut within a character.
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            json!({ "text": String::from_utf8_lossy(whole) })
        }
        Err(_) => json!({ "text": STANDARD.encode(&bytes), "encoding": "base64" }),
    };
    if !is_whole {
        shown["comment"] = format!("The first {} bytes.", bytes.len()).into();
    }
    shown
}
