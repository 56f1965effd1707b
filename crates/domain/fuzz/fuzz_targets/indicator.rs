//! Any text, read as an indicator: it is refused, or it has one spelling that all readers agree on.
#![no_main]

use iocast_domain::{
    host::{Host, host_of},
    ioc::Kind,
    normalise::{detect, of_kind, prefix},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = prefix(text);
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()), Ok(host), "a host in its one spelling is the same host");
    }
    let Ok((kind, value)) = detect(text) else { return };
    assert_eq!(of_kind(kind, &value), Ok((kind, value.clone())), "{kind:?}");
    assert_eq!(detect(&value), Ok((kind, value.clone())), "{kind:?}");
    assert_eq!(prefix(&value), value, "a search for a value finds it");
    let has_host = !matches!(kind, Kind::Md5 | Kind::Sha1 | Kind::Sha256);
    assert_eq!(host_of(kind, &value).is_some(), has_host, "{value}");
    if matches!(kind, Kind::Domain | Kind::Ipv4) {
        for spelling in [value.replace('.', "[.]"), value.replace('.', "(dot)"), value.to_uppercase(), format!(" {value}. ")] {
            if kind == Kind::Domain || !spelling.contains(". ") {
                assert_eq!(detect(&spelling), Ok((kind, value.clone())), "{spelling}");
            }
        }
    }
});
