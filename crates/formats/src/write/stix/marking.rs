//! Traffic light markings.

use std::collections::BTreeSet;

use iocast_domain::{device_type::Taxii, ioc::Ioc};

/// The traffic light markings, as the standard fixes them (STIX 2.1 section 7.2.1.4).
pub(super) const TLP: [(&str, &str); 4] = [
    ("white", "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9"),
    ("green", "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"),
    ("amber", "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"),
    ("red", "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"),
];

pub(super) const AMBER: &str = TLP[2].1;

pub(super) const RED: &str = TLP[3].1;

/// TLP 2.0 as OASIS publishes it for STIX 2.1: the one colour of it that version 1 has no equal of.
pub(super) const AMBER_STRICT: &str = "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003";

pub(super) const TLP_2: &str = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d";

/// The marking of an IOC: the strictest of the `tlp:` tags that people set, else of those that
/// sources gave, else amber. None goes out looser than it came in: STIX 2.0 has no word for
/// amber+strict, so there it is red.
pub(super) fn marking(version: Taxii, ioc: &Ioc) -> &'static str {
    let strictest = |tags: &BTreeSet<String>| {
        tags.iter()
            .filter_map(|tag| {
                let colour = tag.to_lowercase().strip_prefix("tlp:")?.to_owned();
                match colour.as_str() {
                    "white" | "clear" => Some(0),
                    "green" => Some(1),
                    "amber+strict" => Some(3),
                    colour if colour.starts_with("red") => Some(4),
                    "amber" => Some(2),
                    // A colour that is not known says nothing.
                    _ => None,
                }
            })
            .max()
    };
    match strictest(&ioc.enrichment.user_tags).or_else(|| strictest(&ioc.enrichment.system_tags)) {
        Some(0) => TLP[0].1,
        Some(1) => TLP[1].1,
        Some(3) if version == Taxii::V21 => AMBER_STRICT,
        Some(3 | 4) => RED,
        _ => AMBER,
    }
}
