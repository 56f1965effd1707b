//! Check Point's external IoC feed in its own CSV: every row has seven columns and a name of its
//! own.

use iocast_domain::{
    ioc::{Kind, Severity},
    source::Confidence,
};

use super::list::{Entry, ListWriter, Scope, about, as_requested, confidence, row};

pub(super) struct CheckPointCsv;

impl ListWriter for CheckPointCsv {
    fn content_type(&self) -> &'static str {
        "text/csv; charset=utf-8"
    }

    fn head(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"#UNIQ-NAME,VALUE,TYPE,CONFIDENCE,SEVERITY,PRODUCT,COMMENT\n");
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let ioc = entry.ioc;
        let (kind, product) = match ioc.kind {
            Kind::Url => ("URL", "AB"),
            Kind::Domain => ("Domain", "AB"),
            Kind::Ipv4 | Kind::Ipv6 => ("IP", "AB"),
            Kind::Email => ("Mail-from", "AV"),
            Kind::Md5 => ("MD5", "AV"),
            Kind::Sha1 => ("SHA1", "AV"),
            Kind::Sha256 => ("SHA256", "AV"),
        };
        let sure = match confidence(ioc, &scope.names) {
            Some(Confidence::HIGH) => "high",
            Some(Confidence::MEDIUM) => "medium",
            _ => "low",
        };
        let severity = match ioc.severity() {
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
        };
        let name = format!("iocast_{}", ioc.id.0.simple());
        let value = if ioc.kind == Kind::Url {
            as_requested(&ioc.value)
        } else {
            ioc.value.as_str().into()
        };
        row(out, &[&name, &value, kind, sure, severity, product, &about(ioc, &scope.names, 200)]);
    }
}
