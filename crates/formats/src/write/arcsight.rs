//! The event stream of the ArcSight REST FlexConnector: IOCs added and deleted, oldest first.
//! `?after=` gives what came after the `next` of the answer before.

use serde::Serialize;

use super::{
    json::put,
    list::{Entry, ListWriter, Scope, sources},
};

pub(super) struct ArcsightEvents;

#[derive(Serialize)]
struct Event<'a> {
    at: String,
    action: &'a str,
    id: String,
    r#type: &'a str,
    value: &'a str,
    severity: &'a str,
    first_seen: String,
    last_seen: String,
    sources: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_id: Option<&'a str>,
}

impl ListWriter for ArcsightEvents {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn head(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"events\":[\n");
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let ioc = entry.ioc;
        let event = Event {
            at: entry.stamp.to_string(),
            action: if entry.removed { "delete" } else { "add" },
            id: ioc.id.to_string(),
            r#type: ioc.kind.word(),
            value: &ioc.value,
            severity: ioc.severity().word(),
            first_seen: ioc.first_seen.to_string(),
            last_seen: ioc.last_seen.to_string(),
            sources: sources(ioc, &scope.names).map(|(name, _)| name).collect(),
            alert_id: ioc.enrichment.alert_id.as_deref(),
        };
        put(&event, out);
    }

    fn between(&self) -> &'static [u8] {
        b",\n"
    }

    fn tail(&self, scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("\n],\"next\":\"{}\"}}\n", scope.latest).as_bytes());
    }
}
