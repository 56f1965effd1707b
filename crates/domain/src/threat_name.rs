//! The names under which people look for IOCs: tags, threat actors, campaigns, malware families, and
//! the remediation blocklist.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::AccountId,
    ioc::{Enrichment, words},
};

words! {
    /// What a name is.
    NameKind {
        /// A tag of a person or of a source.
        Tag = 1 "tag",
        /// A threat actor.
        Actor = 2 "threat_actor",
        /// A campaign.
        Campaign = 3 "campaign",
        /// A malware family.
        Family = 4 "malware_family",
        /// A list that a person put it on: the remediation blocklist.
        Blocklist = 5 "blocklist",
    }
}

impl NameKind {
    /// In words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Actor => "threat actor",
            Self::Campaign => "campaign",
            Self::Family => "malware family",
            Self::Blocklist => "list",
        }
    }
}

/// The namespace of the ids of names.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c1d_94f0_35d2_4a5c_9d0e_5a52_77be_1f09);
/// The name of what is on the remediation blocklist.
pub const REMEDIATION_BLOCKLIST: &str = "Remediation blocklist";
/// Names are compared as far as this, in characters.
const COMPARED: usize = 160;

/// The form in which names are compared.
#[must_use]
pub fn folded(name: &str) -> String {
    name.trim().to_lowercase().chars().take(COMPARED).collect()
}

/// The id of a name: the same wherever it is made.
#[must_use]
pub fn name_id(account: &AccountId, what: NameKind, folded: &str) -> Uuid {
    let text = format!("{account}\n{}\n{folded}", what.code());
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

fn each(what: NameKind, all: &BTreeSet<String>) -> impl Iterator<Item = (NameKind, &str)> {
    all.iter().map(move |name| (what, name.as_str()))
}

/// The names that an IOC carries.
pub fn names(of: &Enrichment) -> impl Iterator<Item = (NameKind, &str)> {
    each(NameKind::Tag, &of.user_tags)
        .chain(each(NameKind::Tag, &of.system_tags))
        .chain(each(NameKind::Actor, &of.threat_actors))
        .chain(each(NameKind::Campaign, &of.campaigns))
        .chain(each(NameKind::Family, &of.malware_families))
        .chain(of.blocklisted.then_some((NameKind::Blocklist, REMEDIATION_BLOCKLIST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_in_any_spelling_and_of_one_account() {
        let (a, b): (AccountId, AccountId) = (
            "0123456789abcdef01234567".parse().unwrap(),
            "0123456789abcdef01234568".parse().unwrap(),
        );
        let id = |account: &AccountId, what, name: &str| name_id(account, what, &folded(name));
        assert_eq!(id(&a, NameKind::Family, " PlugX "), id(&a, NameKind::Family, "plugx"));
        assert_ne!(id(&a, NameKind::Family, "plugx"), id(&a, NameKind::Tag, "plugx"));
        assert_ne!(id(&a, NameKind::Family, "plugx"), id(&b, NameKind::Family, "plugx"));
        assert_eq!(folded(&"X".repeat(500)).len(), 160);
    }
}
