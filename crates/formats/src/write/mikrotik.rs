//! RouterOS commands for `/import`. What is downloaded is executed, so only addresses that parse
//! are written.

use iocast_domain::{
    guard::{network, network_text},
    ioc::Kind,
    name::slug,
};

use super::list::{Entry, ListWriter, Scope};

pub(super) struct MikrotikScript;

impl ListWriter for MikrotikScript {
    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        let list = slug(&scope.group_name);
        let remove = |family: &str| {
            format!("{family} firewall address-list remove [find list={list} comment=iocast]\n")
        };
        out.extend_from_slice(format!("{}{}", remove("/ip"), remove("/ipv6")).as_bytes());
    }

    /// The head empties the list: only the first page may do that.
    fn head_on_every_page(&self) -> bool {
        false
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let Some(network) = network(&entry.ioc.value) else { return };
        let family = if entry.ioc.kind == Kind::Ipv6 { "/ipv6" } else { "/ip" };
        let address = network_text(network);
        // An address that is there already is no reason to stop.
        let command = format!(
            ":do {{ {family} firewall address-list add list={} address={address} comment=iocast }} on-error={{}}\n",
            slug(&scope.group_name)
        );
        out.extend_from_slice(command.as_bytes());
    }
}
