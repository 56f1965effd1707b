//! Files of resolvers on one host: hosts, dnsmasq, Unbound.

use super::list::{Entry, ListWriter, Scope};

pub(super) struct Hosts;

impl ListWriter for Hosts {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("0.0.0.0 {}\n", entry.ioc.value).as_bytes());
    }
}

pub(super) struct Dnsmasq;

impl ListWriter for Dnsmasq {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("address=/{}/0.0.0.0\n", entry.ioc.value).as_bytes());
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
