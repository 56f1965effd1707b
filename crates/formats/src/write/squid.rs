//! Squid `dstdomain` files. Squid refuses a name beside its parent: what another entry covers was
//! left out before.

use super::list::{Entry, ListWriter, Scope};

pub(super) struct SquidDomains;

impl ListWriter for SquidDomains {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        out.push(b'.');
        out.extend_from_slice(entry.ioc.value.as_bytes());
        out.push(b'\n');
    }
}
