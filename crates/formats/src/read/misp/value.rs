//! Values of attributes, as people type them.

use iocast_domain::{ioc::Kind, normalise};

use super::super::list;

/// A value as people type it into an attribute: an address with a port, a range of them.
pub(super) fn read(
    kind: Kind,
    text: &str,
    give: &mut dyn FnMut((Kind, String)),
) -> Result<(), String> {
    match normalise::of_hint(kind, text) {
        Ok((Kind::Ipv4 | Kind::Ipv6, address)) if kind == Kind::Domain => {
            Err(format!("`{address}` is an IP address, although its type says that it is a name"))
        }
        Ok(found) => {
            give(found);
            Ok(())
        }
        Err(reason) => list::word(text.trim(), give).map_err(|_| reason),
    }
}
