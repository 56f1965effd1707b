//! nftables commands for `nft --file`, which applies all of them or none. What is downloaded is
//! executed, so only addresses that parse are written.

use iocast_domain::{
    guard::{network, network_text},
    ioc::Kind,
    name::slug,
};

use super::list::{Entry, ListWriter, Scope};

pub(super) struct Nftables;

/// The table of a list: each group has its own.
fn table(scope: &Scope) -> String {
    format!("inet iocast_{}", slug(&scope.group_name))
}

impl ListWriter for Nftables {
    /// The table is made again: the first `add` is for a host that has none.
    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        let table = table(scope);
        let mut head = format!("add table {table}\ndelete table {table}\nadd table {table}\n");
        for (set, of_type) in [("ipv4", "ipv4_addr"), ("ipv6", "ipv6_addr")] {
            head += &format!(
                "add set {table} {set} {{ type {of_type}; flags interval; auto-merge; }}\n"
            );
        }
        // What comes in is dropped; what goes out is rejected, so that programs do not wait.
        for (chain, rules) in [
            ("input", &[("saddr", "drop")][..]),
            ("forward", &[("saddr", "drop"), ("daddr", "reject")]),
            ("output", &[("daddr", "reject")]),
        ] {
            head += &format!(
                "add chain {table} {chain} {{ type filter hook {chain} priority -10; }}\n"
            );
            for (address, verdict) in rules {
                head += &format!("add rule {table} {chain} ip {address} @ipv4 counter {verdict}\n");
                head +=
                    &format!("add rule {table} {chain} ip6 {address} @ipv6 counter {verdict}\n");
            }
        }
        out.extend_from_slice(head.as_bytes());
    }

    /// The head empties the sets: only the first page may do that.
    fn head_on_every_page(&self) -> bool {
        false
    }

    fn entry(&self, entry: &Entry<'_>, scope: &Scope, out: &mut Vec<u8>) {
        let Some(network) = network(&entry.ioc.value) else { return };
        let set = if entry.ioc.kind == Kind::Ipv6 { "ipv6" } else { "ipv4" };
        let address = network_text(network);
        let command = format!("add element {} {set} {{ {address} }}\n", table(scope));
        out.extend_from_slice(command.as_bytes());
    }
}
