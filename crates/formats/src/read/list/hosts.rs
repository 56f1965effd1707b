//! Lines of a `hosts` file: an address of this host, and the names that lead to it.

use super::{Give, one};

/// Gives the names of such a line; false where it is none.
pub(super) fn names(text: &str, give: Give<'_>) -> bool {
    let mut words = text.split_whitespace();
    let (Some(address), true) = (words.next(), text.contains(char::is_whitespace)) else {
        return false;
    };
    if !is_sink(address) {
        return false;
    }
    for name in words {
        // Names and addresses of this host itself.
        if name.contains('.') && !is_sink(name) && name != "localhost.localdomain" {
            one(name, give);
        }
    }
    true
}

/// An address to which nothing is sent.
fn is_sink(address: &str) -> bool {
    matches!(address, "0" | "::" | "::0" | "::1" | "0.0.0.0" | "255.255.255.255")
        || address.starts_with("127.")
        || address.starts_with("fe80::")
        || address.starts_with("ff0")
}
