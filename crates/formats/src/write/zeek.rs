//! Zeek's intelligence framework: tab separated, one header line.

use iocast_domain::ioc::Kind;

use super::list::{Entry, ListWriter, Scope, about, as_requested, without_scheme};

pub(super) struct ZeekIntel;

impl ListWriter for ZeekIntel {
    fn head(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\n");
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let value = entry.ioc.value.as_str();
        let requested = as_requested(value);
        let (value, kind) = match entry.ioc.kind {
            Kind::Ipv4 | Kind::Ipv6 if value.contains('/') => (value, "Intel::SUBNET"),
            Kind::Ipv4 | Kind::Ipv6 => (value, "Intel::ADDR"),
            Kind::Domain => (value, "Intel::DOMAIN"),
            Kind::Url => (without_scheme(&requested), "Intel::URL"),
            Kind::Email => (value, "Intel::EMAIL"),
            Kind::Md5 | Kind::Sha1 | Kind::Sha256 => (value, "Intel::FILE_HASH"),
        };
        out.extend_from_slice(
            format!("{value}\t{kind}\tiocast\t{}\n", about(entry.ioc, &scope.names, 200))
                .as_bytes(),
        );
    }
}
