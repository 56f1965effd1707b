//! The indicator import of Microsoft Defender for Endpoint.

use iocast_domain::ioc::{Kind, Severity};

use super::list::{Entry, ListWriter, Scope, about, row};

pub(super) struct DefenderCsv;

impl ListWriter for DefenderCsv {
    fn content_type(&self) -> &'static str {
        "text/csv; charset=utf-8"
    }

    fn head(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"indicatorType,indicatorValue,expirationTime,action,severity,title,description,recommendedActions,rbacGroupNames,category,mitretechniques,GenerateAlert\n",
        );
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let ioc = entry.ioc;
        let (kind, action) = match ioc.kind {
            Kind::Domain => ("DomainName", "Block"),
            Kind::Ipv4 | Kind::Ipv6 => ("IpAddress", "Block"),
            Kind::Url => ("Url", "Block"),
            Kind::Sha1 => ("FileSha1", "BlockAndRemediate"),
            Kind::Sha256 => ("FileSha256", "BlockAndRemediate"),
            // The type takes neither; they were judged before.
            Kind::Email | Kind::Md5 => return,
        };
        let severity = match ioc.severity() {
            Severity::High => "High",
            Severity::Medium => "Medium",
            Severity::Low => "Low",
        };
        let expires = ioc.retires_at().seconds();
        row(
            out,
            &[
                kind,
                &ioc.value,
                &expires,
                action,
                severity,
                "iocast",
                &about(ioc, &scope.names, 200),
                "",
                "",
                "",
                "",
                "TRUE",
            ],
        );
    }
}
