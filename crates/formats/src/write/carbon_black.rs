//! Carbon Black EDR feeds: one report an IOC, so that each keeps its own score and title.

use iocast_domain::{ioc::Kind, name::slug};
use serde::Serialize;
use serde_json::json;

use super::{
    json::put,
    list::{Entry, ListWriter, Scope, about, weight},
};

pub(super) struct CarbonBlackFeed;

#[derive(Serialize)]
struct Report<'a> {
    id: String,
    title: String,
    link: &'a str,
    score: u8,
    timestamp: i64,
    iocs: serde_json::Value,
}

impl ListWriter for CarbonBlackFeed {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        let info = json!({
            // The name takes letters and digits only.
            "name": format!("iocast{}", slug(&scope.group_name).replace('_', "")),
            "display_name": format!("iocast {}", scope.group_name),
            "provider_url": "",
            "summary": format!("IOCs of the group {}", scope.group_name),
            "tech_data": "There are no requirements to share any data to receive this feed.",
        });
        out.extend_from_slice(b"{\"feedinfo\":");
        put(&info, out);
        out.extend_from_slice(b",\"reports\":[\n");
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let ioc = entry.ioc;
        let list = match ioc.kind {
            Kind::Domain => "dns",
            Kind::Ipv4 => "ipv4",
            Kind::Ipv6 => "ipv6",
            Kind::Sha256 => "sha256",
            _ => "md5",
        };
        let report = Report {
            id: ioc.id.to_string(),
            title: format!("{} ({})", ioc.value, about(ioc, &scope.names, 200)),
            link: "",
            score: weight(ioc.severity()),
            timestamp: ioc.last_seen.secs(),
            iocs: json!({ list: [&ioc.value] }),
        };
        put(&report, out);
    }

    fn between(&self) -> &'static [u8] {
        b",\n"
    }

    fn tail(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\n]}\n");
    }
}
