//! Suricata datasets: hashes and addresses as they are, strings in base64.

use iocast_domain::ioc::Kind;

use super::list::{Entry, ListWriter, Scope, as_requested, without_scheme};

pub(super) struct SuricataDataset;

impl ListWriter for SuricataDataset {
    fn entry(&self, entry: &Entry<'_>, _scope: &Scope, out: &mut Vec<u8>) {
        let value = entry.ioc.value.as_str();
        match entry.ioc.kind {
            Kind::Domain | Kind::Email => {
                out.extend_from_slice(base64(value.as_bytes()).as_bytes());
            }
            Kind::Url => {
                let requested = as_requested(value);
                out.extend_from_slice(base64(without_scheme(&requested).as_bytes()).as_bytes());
            }
            Kind::Ipv4 | Kind::Ipv6 | Kind::Md5 | Kind::Sha1 | Kind::Sha256 => {
                out.extend_from_slice(value.as_bytes());
            }
        }
        out.push(b'\n');
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
