//! All that is known of each IOC, a row each.

use super::{
    inert::is_formula,
    list::{Entry, ListWriter, Scope, cell, confidence, sources},
};

pub(super) struct Csv;

impl ListWriter for Csv {
    fn content_type(&self) -> &'static str {
        "text/csv; charset=utf-8"
    }

    fn head(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"value,kind,severity,confidence,score,first_seen,last_seen,sources,alert_id,tags,threat_actors,campaigns,malware_families\n");
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let ioc = entry.ioc;
        let e = &ioc.enrichment;
        let many = |items: &mut dyn Iterator<Item = &str>| items.collect::<Vec<_>>().join("; ");
        let cells = [
            ioc.value.clone(),
            ioc.kind.word().to_owned(),
            ioc.severity().word().to_owned(),
            confidence(ioc, &scope.names).map(|c| u8::from(c).to_string()).unwrap_or_default(),
            e.score.map(|s| s.to_string()).unwrap_or_default(),
            ioc.first_seen.seconds(),
            ioc.last_seen.seconds(),
            many(&mut sources(ioc, &scope.names).map(|(name, _)| name)),
            e.alert_id.clone().unwrap_or_default(),
            many(&mut e.user_tags.iter().chain(&e.system_tags).map(String::as_str)),
            many(&mut e.threat_actors.iter().map(String::as_str)),
            many(&mut e.campaigns.iter().map(String::as_str)),
            many(&mut e.malware_families.iter().map(String::as_str)),
        ];
        for (i, text) in cells.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            // A spreadsheet would take what begins like this for a formula.
            if i > 0 && is_formula(text) {
                cell(out, &format!("'{text}"));
            } else {
                cell(out, text);
            }
        }
        out.push(b'\n');
    }
}
