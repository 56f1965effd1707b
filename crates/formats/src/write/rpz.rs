//! DNS response policy zones: `CNAME .` answers NXDOMAIN for a name, all below it, and answers that
//! hold an address.

use std::net::IpAddr;

use iocast_domain::{guard::network, ioc::Kind};

use super::list::{Entry, ListWriter, Scope};

pub(super) struct Rpz;

impl ListWriter for Rpz {
    /// The serial is the publication's number: it rises, and only when something changed.
    fn head(&self, scope: &Scope, out: &mut Vec<u8>) {
        let serial = scope.publication.max(1);
        out.extend_from_slice(format!("$TTL 300\n@ IN SOA localhost. hostmaster.localhost. {serial} 300 60 86400 300\n@ IN NS localhost.\n").as_bytes());
    }

    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        let value = entry.ioc.value.as_str();
        if entry.ioc.kind == Kind::Domain {
            out.extend_from_slice(format!("{value} CNAME .\n*.{value} CNAME .\n").as_bytes());
        } else if let Some(network) = network(value) {
            out.extend_from_slice(
                format!(
                    "{}.{}.rpz-ip CNAME .\n",
                    network.prefix_len(),
                    reversed(network.network())
                )
                .as_bytes(),
            );
        }
    }
}

/// The parts of an address, last one first; the longest run of zeros of an IPv6 address is `zz`.
fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            // Written with `::` in it, it shows which run that is.
            let text = v6.to_string();
            let words = |part: &str| {
                part.split(':')
                    .filter(|w| !w.is_empty())
                    .rev()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            match text.split_once("::") {
                Some((front, back)) => words(back)
                    .into_iter()
                    .chain(["zz".to_owned()])
                    .chain(words(front))
                    .collect::<Vec<_>>()
                    .join("."),
                None => words(&text).join("."),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reversed;

    #[test]
    fn addresses_are_written_backwards() {
        for (address, name) in [
            ("192.0.2.1", "1.2.0.192"),
            ("2001:db8::1", "1.zz.db8.2001"),
            ("2001:db8::", "zz.db8.2001"),
            ("1:2:3:4:5:6:7:8", "8.7.6.5.4.3.2.1"),
        ] {
            assert_eq!(reversed(address.parse().unwrap()), name);
        }
    }
}
