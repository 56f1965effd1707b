//! Files of resolvers on one host: hosts, dnsmasq, Unbound.

use super::list::{Entry, ListWriter, Scope};

pub(super) struct Hosts;

impl ListWriter for Hosts {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        // Without the second line, a client that asks for an IPv6 address is sent on.
        let value = entry.ioc.value.as_str();
        out.extend_from_slice(format!("0.0.0.0 {value}\n:: {value}\n").as_bytes());
    }
}

pub(super) struct Dnsmasq;

impl ListWriter for Dnsmasq {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        // An address would answer questions for IPv4 addresses alone; this refuses every question
        // for the name and for those below it.
        out.extend_from_slice(format!("local=/{}/\n", entry.ioc.value).as_bytes());
    }
}

pub(super) struct Unbound;

impl ListWriter for Unbound {
    fn head(&self, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(b"server:\n");
    }

    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(
            format!("local-zone: \"{}.\" always_nxdomain\n", entry.ioc.value).as_bytes(),
        );
    }
}
